"""Checked values -> the types the rest of the appliance sees, when no fault was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.config.tables import HISTORY, PAGE
from edge.config.tables_opcua import SECURITY_KEYS
from edge.config.types import (
    Appliance,
    HistorySettings,
    Line,
    Link,
    ModbusLink,
    ModbusSource,
    ModelSettings,
    MqttSettings,
    OpcUaLink,
    OpcUaSecurity,
    OpcUaSource,
    Outputs,
    PageSettings,
    PollGroup,
    Source,
    TagRow,
    TlsFiles,
    UnitLimits,
    WordBlock,
)
from edge.core.codec import Encoding
from edge.core.deviation import DeviationRule, DeviationSettings
from edge.core.schedule import Schedule
from edge.core.tags import Tag
from edge.core.topology import Component, Topology
from edge.core.trim import TrimSettings

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LineParts:
    """The checked files of one line."""

    name: str
    line: Values
    tags: Values
    components: Values
    outputs: Values
    trim: Values | None
    schedule: Schedule | None


def appliance(
    directory: Path,
    values: Values,
    lines: Sequence[LineParts],
    sha256: str,
    state_dir: Path | None,
    runtime_dir: Path | None,
) -> Appliance:
    """The whole configuration; paths of bundles become absolute or relative to the caller."""
    state = state_dir or Path(values["state_dir"])
    return Appliance(
        name=values["name"],
        state_dir=state,
        runtime_dir=runtime_dir or Path(values["runtime_dir"]),
        provider=values["provider"],
        history=_history(values.get("history", {}), state, moved=state_dir is not None),
        page=_page(values.get("page", {}), directory),
        lines=tuple(_line(directory, parts) for parts in lines),
        config_sha256=sha256,
        trust_root=directory / "trust" / "root.json",
        metrics_file=Path(values["metrics_file"]) if "metrics_file" in values else None,
        mqtt=_mqtt(values["mqtt"], directory, values["name"]) if "mqtt" in values else None,
    )


def _mqtt(values: Values, directory: Path, appliance_name: str) -> MqttSettings:
    named = ("ca_file", "certificate_file", "key_file", "password_file")
    files = {name: directory / values[name] for name in named if name in values}
    given = {"client_id": f"ncm-edge-{appliance_name}"} | dict(values) | files
    return MqttSettings(**given)


def _history(values: Values, state: Path, *, moved: bool) -> HistorySettings:
    """`moved`: a state directory given on the command line takes the history with it."""
    given: dict[str, Any] = {key.name: key.default for key in HISTORY.keys} | dict(values)
    configured = None if moved else values.get("directory")
    return HistorySettings(
        directory=Path(configured) if configured else state / "history",
        max_mb=given["max_mb"],
        max_age_days=given["max_age_days"],
    )


def _page(values: Values, directory: Path) -> PageSettings:
    given: dict[str, Any] = {key.name: key.default for key in PAGE.keys} | dict(values)
    files = {
        key: directory / values[key] if key in values else None
        for key in ("certificate_file", "key_file", "client_ca_file", "token_file")
    }
    return PageSettings(listen=given["listen"], port=given["port"], **files)


def _line(directory: Path, parts: LineParts) -> Line:
    model = parts.line["model"]
    return Line(
        name=parts.name,
        title=parts.line["title"],
        links=tuple(_link(row, directory) for row in parts.line["link"]),
        tags=tuple(_tag_row(row) for row in parts.tags["tag"]),
        context=tuple(_tag_row(row) for row in parts.tags["context"]),
        topology=Topology(
            components=tuple(Component(**row) for row in parts.components["component"]),
            edges=parts.components["edges"],
        ),
        outputs=Outputs(
            block_w=_block(parts.outputs["block_w"]),
            block_r=_block(parts.outputs["block_r"]) if "block_r" in parts.outputs else None,
            plc_timeout_s=parts.outputs["plc_timeout_s"],
        ),
        model=ModelSettings(
            bundle=directory / model["bundle"],
            warn_probability=model.get("warn_probability"),
            persist_steps=model["persist_steps"],
            clear_steps=model["clear_steps"],
            min_valid=model["min_valid"],
            shadow_steps=model["shadow_steps"],
            probation_steps=model["probation_steps"],
        ),
        row_s=parts.line["ring"]["row_s"],
        ring_rows=parts.line["ring"]["rows"],
        schedule=parts.schedule,
        trim=None if parts.trim is None else _trim(parts.trim),
        deviation=_deviation(parts.line["deviation"]) if "deviation" in parts.line else None,
        groups=tuple(PollGroup(**row) for row in parts.line["poll_group"]),
        simulation=parts.line["simulation"],
    )


_NO_FIELDS = ("protocol", "forbidden", *(key.name for key in SECURITY_KEYS))
_NO_PATHS = ("security_policy", "security_mode", "application_uri", "user")
_FILE_KEYS = ("ca_file", "certificate_file", "key_file")
_OWN_KEYS = ("forbidden", "unit", "server_name", *_FILE_KEYS)


def _link(row: Values, directory: Path) -> Link:
    if row["protocol"] == "opc-ua":
        fields = {name: value for name, value in row.items() if name not in _NO_FIELDS}
        return OpcUaLink(**fields, security=_security(row, directory))
    fields = {name: value for name, value in row.items() if name not in _OWN_KEYS}
    tls = None
    if row["protocol"] == "modbus-tls":
        files = {name: directory / row[name] for name in _FILE_KEYS}
        tls = TlsFiles(**files, server_name=row.get("server_name", ""))
    limits = ("max_registers", "max_gap", "pause_between_requests_ms")
    return ModbusLink(
        **fields,
        tls=tls,
        units=tuple(
            UnitLimits(
                unit_id=unit["unit_id"], **{name: unit.get(name, row[name]) for name in limits}
            )
            for unit in row["unit"]
        ),
        forbidden=tuple((span["table"], span["first"], span["last"]) for span in row["forbidden"]),
    )


def _security(row: Values, directory: Path) -> OpcUaSecurity:
    given = {key.name: row[key.name] for key in SECURITY_KEYS if key.name in row}
    return OpcUaSecurity(
        **{
            name.removeprefix("security_"): value if name in _NO_PATHS else directory / value
            for name, value in given.items()
        }
    )


_TAG_KEYS = ("name", "text", "unit", "low", "high", "component", "part", "frozen_s", "max_age_s")


def _tag_row(row: Values) -> TagRow:
    no_range = {"low": 0.0, "high": 0.0}  # a string has no range
    tag = Tag(**no_range | {name: row[name] for name in _TAG_KEYS if name in row})
    return TagRow(tag=tag, source=_source(row), group=row["poll_group"])


def _source(row: Values) -> Source:
    if "node" in row:
        return OpcUaSource(
            link=row["link"], node=row["node"], scale=row["scale"], offset=row["offset"]
        )
    return ModbusSource(
        link=row["link"],
        unit_id=row["unit_id"],
        table=row["table"],
        address=row["address"],
        encoding=Encoding(
            type=row["type"],
            word_order=row["word_order"],
            byte_order=row["byte_order"],
            scale=row["scale"],
            offset=row["offset"],
            bit=row.get("bit", 0),
            invalid=row["invalid"],
            length=row.get("length", 0),
        ),
    )


def _block(row: Values) -> WordBlock:
    if "node" in row:
        return WordBlock(link=row["link"], count=row["count"], node=row["node"])
    return WordBlock(
        link=row["link"], count=row["count"], unit_id=row["unit_id"], address=row["address"]
    )


def _deviation(values: Values) -> DeviationSettings:
    return DeviationSettings(
        persist_min=values["persist_min"],
        settle_min=values["settle_min"],
        rules=tuple(DeviationRule(**rule) for rule in values["rule"]),
    )


def _trim(values: Values) -> TrimSettings:
    # Keys and fields have the same names; a test compares the two lists.
    return TrimSettings(**values["limits"], **values["plant"], **values["tags"])
