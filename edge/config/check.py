"""`ncm-edge check`: either every fault, or what this appliance is going to read and write."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from edge.config import topic, traffic
from edge.config.keys import PROTOCOL_NAMES
from edge.config.load import ConfigError, load
from edge.config.types import (
    Appliance,
    Line,
    Link,
    ModbusLink,
    MqttSettings,
    OpcUaLink,
    PollGroup,
    TagRow,
    WordBlock,
)
from edge.core.registers import TAGS_BAD_BITS

NO_LIBRARY = "paho-mqtt is not installed; pip install 'ncm-edge[mqtt]'"
FINE = 0
FAULTY = 2
"""Exit code for a user's mistake."""


def check(directory: Path, *, lines: Sequence[str] | None = None) -> tuple[int, str]:
    """Exit code and text: (0, summary) or (2, one line per fault and their number)."""
    try:
        appliance = load(directory, lines=lines)
    except ConfigError as error:
        count = len(error.faults)
        return FAULTY, f"{error}\n{count} fault{'s' if count > 1 else ''} in {directory}"
    return FINE, summary(appliance, directory)


def summary(appliance: Appliance, directory: Path) -> str:
    """The configuration on one screen."""
    text = [
        f"{directory}: no faults",
        f"appliance {appliance.name}: provider {appliance.provider}, state in "
        f"{appliance.state_dir}, configuration {appliance.config_sha256[:12]}",
    ]
    for line in appliance.lines:
        text += ["", *_line(line)]
    if appliance.mqtt is not None:
        text += ["", *_mqtt(appliance, appliance.mqtt)]
    found = warnings(appliance)
    if found:
        text += ["", *(f"warning: {warning}" for warning in found)]
    return "\n".join(text)


def _line(line: Line) -> list[str]:
    row = f"{line.row_s:g} s"
    reportable = sum(component.reportable for component in line.topology.components)
    text = [
        f'line {line.name} "{line.title}": {len(line.tags)} tags, {len(line.context)} context, '
        f"{reportable} components, a row every {row}, ring {line.ring_rows} rows "
        f"({line.ring_rows * line.row_s / 3600:g} h)"
    ]
    text += [f"  {_link(line, link)}" for link in line.links]
    schedule = line.schedule
    text.append(
        "  schedule   none: a continuous process"
        if schedule is None
        else f"  schedule   {schedule.name}: {len(schedule.steps)} steps, {schedule.end_min:g} min"
    )
    text.append(f"  model      {line.model.bundle}")
    if line.deviation is not None:
        watched = ", ".join(rule.tag for rule in line.deviation.rules)
        text.append(f"  deviation  {line.deviation.persist_min} min off schedule: {watched}")
    text.append(f"  trim       {_trim(line)}")
    text.append(f"  writes     {_block(line, line.outputs.block_w)}; nothing else")
    if line.outputs.block_r is not None:
        text.append(f"  reads      {_block(line, line.outputs.block_r)}")
    return text


def _mqtt(appliance: Appliance, mqtt: MqttSettings) -> list[str]:
    who = f"user {mqtt.user}" if mqtt.user else "no user"
    how = "TLS" if mqtt.tls else "in the clear"
    places = [
        topic.fill(mqtt.topic, site=mqtt.site, area=mqtt.area, line=name, appliance=appliance.name)
        for name in (*(line.name for line in appliance.lines), appliance.name)
    ]
    return [
        f"mqtt {mqtt.at}: version {mqtt.version}, {how}, {who}, client {mqtt.client_id}; "
        "publishes only, takes nothing",
        *(f"  topics     {place}/..." for place in places),
    ]


def _link(line: Line, link: Link) -> str:
    asked = ", ".join(
        text
        for group in traffic.rates(line)
        if (text := _asked(link, traffic.rows_of_group(line, link, group), group))
    )
    if isinstance(link, ModbusLink):
        return f"link       {link.name}: {PROTOCOL_NAMES[link.protocol]} {link.at}, {asked}"
    return f"link       {link.name}: OPC UA {link.url}, {asked}{_security(link)}"


def _security(link: OpcUaLink) -> str:
    security = link.security
    if security.policy == "none":
        return ""
    who = f"user {security.user}" if security.user else "the user of its certificate"
    named = security.user or security.user_certificate
    return (
        f", {security.policy} {security.mode.replace('_', ' ')}, {who if named else 'anonymous'}, "
        f"{'pinned' if security.server_certificate else 'trusted'} server certificate"
    )


def _asked(link: Link, rows: Sequence[TagRow], group: PollGroup) -> str:
    """Values and requests of one rate; "" where a group has nothing on the link."""
    requests = traffic.request_count(link, rows)
    what = f"{len(rows)} values in {requests} request{'' if requests == 1 else 's'}"
    if not group.name:
        return f"{what} a row"
    return f"{what} every {group.poll_s:g} s ({group.name})" if rows else ""


def _trim(line: Line) -> str:
    trim = line.trim
    if trim is None:
        return "never suggested: no trim.toml"
    return (
        f"at most {trim.authority_fraction:.0%} of the feed-forward flow, "
        f"{trim.max_change_kg_h:g} kg/h per minute, from {trim.min_change_kg_h:g} kg/h up; expires "
        f"after {trim.ttl_s} s; pH {trim.ph_low:g}..{trim.ph_high:g}; held by "
        f"{', '.join(trim.hold_components)}"
    )


def _block(line: Line, block: WordBlock) -> str:
    """The addresses of a block, 0-based as on the wire and 1-based as many manuals print them."""
    if block.address is None:
        return f"{block.link}: node {block.node}, UInt16[{block.count}]"
    first, last = block.address, block.address + block.count - 1
    return (
        f"{block.link} unit {block.unit_id}: holding registers {first}..{last} (0-based, as on the "
        f"wire) = {first + 1}..{last + 1} (1-based)"
    )


def warnings(appliance: Appliance) -> tuple[str, ...]:
    """What is permitted but should be known: a missing bundle, links nobody uses, and the like."""
    found = [warning for line in appliance.lines for warning in _warnings(line)]
    if appliance.mqtt is not None and not appliance.mqtt.tls:
        found.append(
            "mqtt: without TLS; whoever is on its network reads every value and can pass for the "
            "broker"
        )
    if appliance.mqtt is not None and importlib.util.find_spec("paho") is None:
        found.append(f"mqtt: {NO_LIBRARY}; nothing is published until then")
    return tuple(found)


def _warnings(line: Line) -> list[str]:
    found = []
    place = f"line {line.name}"
    if not line.model.bundle.is_dir():
        found.append(
            f"{place}: bundle {line.model.bundle} is not there; the appliance will keep its "
            "ring and its heartbeat but give no verdict"
        )
    used = {row.source.link for row in (*line.tags, *line.context)}
    used |= {block.link for block in (line.outputs.block_w, line.outputs.block_r) if block}
    found += [
        f"{place}: link {link.name} carries no tag and no block; remove it from line.toml"
        for link in line.links
        if link.name not in used
    ]
    found += [
        f"{place}: link {link.name} is neither signed nor encrypted (security_policy); whoever is "
        "on its network can change what is read and written"
        for link in line.links
        if isinstance(link, OpcUaLink) and link.security.policy == "none" and not line.simulation
    ]
    found += traffic.warnings(line)
    if line.outputs.block_r is None:
        found.append(f"{place}: no block R, so neither the PLC's heartbeat nor answers are seen")
    if len(line.tags) > TAGS_BAD_BITS:
        found.append(
            f"{place}: {len(line.tags)} tags, but TAGS_BAD of block W names only the first "
            f"{TAGS_BAD_BITS}"
        )
    return found
