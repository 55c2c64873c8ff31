"""`ncm-edge tags`: the commissioning table. Every tag live, with what it takes to find a wrong one.

Values are judged as the daemon judges them, but a number that was refused is still shown, because
the engineer has to see it to find out why. Beside each Modbus value stand its registers and every
reading of them in the configured type, so that a wrong word or byte order is seen at a glance:
an order label in a manual is never to be trusted.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edge import drivers
from edge.cli.quiet import quiet
from edge.config.types import Appliance, Line, ModbusLink, ModbusSource, TagRow
from edge.core import codec
from edge.core.quality import Judge
from edge.core.tags import Quality, Reason, Tag
from edge.drivers.base import Driver
from edge.runtime.clock import Clock, SystemClock

CONNECT_S = 3.0
"""How long the first table waits for links that are not up yet."""
_WORDS = {
    Reason.NONE: "",
    Reason.NOT_CONNECTED: "link is not connected",
    Reason.TIMEOUT: "no answer in time",
    Reason.EXCEPTION: "device refuses this address",
    Reason.BAD_ANSWER: "answer failed a check",
    Reason.STATUS_BAD: "server says Bad",
    Reason.STATUS_UNCERTAIN: "server says Uncertain",
    Reason.NOT_A_NUMBER: "no number",
    Reason.INVALID_CODE: "device says: no value",
    Reason.MISSED: "not polled yet",
    Reason.TEXT: "",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One tag as it was read just now."""

    name: str
    unit: str
    value: float | None
    """Engineering unit, as read even when it was refused; None where nothing was read."""
    quality: str
    """good, uncertain or bad."""
    why: str
    """Why it is not good, in words."""
    age_s: float | None
    """Source time stamp (OPC UA) or last good read (Modbus); None if never."""
    where: str
    """Link and address; Modbus with the 0-based and the 1-based number."""
    raw: tuple[int, ...]
    """Registers of the last good read; empty for OPC UA."""
    readings: dict[str, float | None]
    """Label -> value for every type and order the registers could hold, unscaled."""
    orders: dict[str, float | None]
    """Order -> engineering value in the configured type; the configured order ends with "*"."""
    says: str | None
    """What a string says; None for numbers, and where nothing readable was read."""
    text: str
    context: bool
    """True for set-points and the like, which the model does not see."""


class Survey:
    """Reads one line again and again; keeps what it takes to tell ages and frozen values."""

    def __init__(self, line: Line, links: Mapping[str, Driver], clock: Clock) -> None:
        self.line = line
        self.links = links
        self._clock = clock
        self._rows = (*line.tags, *line.context)
        self._judge = Judge([row.tag for row in self._rows])
        self._good_s = np.full(len(self._rows), np.nan)

    async def read(self) -> list[Reading]:
        """Poll every link once, all at the same time."""
        loop = asyncio.get_running_loop()
        names = list(self.links)
        samples = await asyncio.gather(*(self.links[name].read() for name in names))
        size = len(self._rows)
        values, source_s = np.full(size, np.nan), np.full(size, np.nan)
        quality = np.full(size, Quality.BAD, np.uint8)
        reason = np.full(size, Reason.MISSED, np.uint8)
        place: dict[int, tuple[Driver, int]] = {}
        for name, sample in zip(names, samples):
            where = [i for i, row in enumerate(self._rows) if row.source.link == name]
            values[where], quality[where] = sample.values, sample.quality
            reason[where], source_s[where] = sample.reason, sample.source_s
            place.update({i: (self.links[name], at) for at, i in enumerate(where)})
        wall_s, now_s = self._clock.wall_s(), loop.time()
        self._good_s[quality == Quality.GOOD] = now_s
        _, quality, reason = self._judge.judge(
            values, quality, reason, source_s, wall_s=wall_s, monotonic_s=now_s
        )
        age_s = np.where(np.isnan(source_s), now_s - self._good_s, wall_s - source_s)
        out = []
        for i, row in enumerate(self._rows):
            driver, at = place[i]
            raw = driver.raw_words(at)
            says = _says(row, raw) if reason[i] == Reason.TEXT else None
            out.append(
                Reading(
                    name=row.tag.name,
                    unit=row.tag.unit,
                    value=_number(values[i]),
                    quality="good" if says is not None else Quality(int(quality[i])).name.lower(),
                    why=_why(Reason(int(reason[i])), row.tag),
                    age_s=_number(age_s[i]),
                    where=_where(row),
                    raw=raw,
                    readings={k: _number(v) for k, v in codec.all_orders(raw).items()}
                    if len(raw) in (1, 2, 4)
                    else {},
                    orders=_orders(row, raw),
                    says=says,
                    text=row.tag.text,
                    context=i >= len(self.line.tags),
                )
            )
        return out

    def link_texts(self) -> list[str]:
        """One sentence a link: address, state, last error."""
        return [
            f"link {link.name}: {_address(link)}, {_state(self.links[link.name])}"
            for link in self.line.links
        ]


def run(
    appliance: Appliance, *, errors: bool = False, watch: bool = False, as_json: bool = False
) -> int:
    """Print the table, again every second with `watch`. Returns 0 if every tag is good, else 1."""
    # The table says what the libraries and the drivers would log.
    with quiet("asyncua", "pymodbus", "edge"):
        return asyncio.run(show(appliance, errors=errors, watch=watch, as_json=as_json))


async def show(
    appliance: Appliance,
    *,
    errors: bool = False,
    watch: bool = False,
    as_json: bool = False,
    clock: Clock | None = None,
) -> int:
    """`run` inside a running loop; with `watch` it goes on until cancelled."""
    surveys = [
        Survey(line, drivers.build_all(line), clock or SystemClock()) for line in appliance.lines
    ]
    async with asyncio.TaskGroup() as tasks:
        owners = [tasks.create_task(driver.run()) for s in surveys for driver in s.links.values()]
        try:
            await _connected(surveys)
            while True:
                tables = [(survey, await survey.read()) for survey in surveys]
                print(_json(tables, errors) if as_json else _text(tables, errors), flush=True)
                if not watch:
                    break
                await asyncio.sleep(1.0)
                if sys.stdout.isatty() and not as_json:
                    print("\x1b[H\x1b[2J", end="")
        finally:
            for owner in owners:
                owner.cancel()
    return int(any(r.quality != "good" for _, readings in tables for r in readings))


async def _connected(surveys: Sequence[Survey]) -> None:
    """Wait until every link has answered once, but not longer than `CONNECT_S`."""
    loop = asyncio.get_running_loop()
    links = [link for survey in surveys for link in survey.links.values()]
    end_s = loop.time() + CONNECT_S
    while loop.time() < end_s:
        # A Modbus link counts as connected only after an answer, so it has to be asked.
        await asyncio.gather(*(link.read() for link in links))
        if all(link.counters.connected for link in links):
            return
        await asyncio.sleep(0.1)


def _text(tables: Sequence[tuple[Survey, list[Reading]]], errors: bool) -> str:
    out = []
    for survey, readings in tables:
        bad = [r for r in readings if r.quality != "good"]
        out.append(f"line {survey.line.name}: {survey.line.title}")
        out += ["  " + text for text in survey.link_texts()]
        shown = bad if errors else readings
        if shown:
            head = ("", "TAG", "VALUE", "UNIT", "QUALITY", "WHY", "AGE", "WHERE", "RAW", "READINGS")
            out += _columns([head, *(_cells(r) for r in shown)])
        out += [f"  {len(readings) - len(bad)} of {len(readings)} tags good", ""]
    return "\n".join(out[:-1])


def _cells(r: Reading) -> tuple[str, ...]:
    return (
        "" if r.quality == "good" else "!",
        r.name,
        _shown(r),
        r.unit,
        r.quality,
        r.why,
        "-" if r.age_s is None else f"{r.age_s:.1f} s",
        r.where,
        " ".join(f"{word:04X}" for word in r.raw),
        "  ".join(f"{k} {'-' if v is None else f'{v:.4g}'}" for k, v in r.orders.items()),
    )


def _shown(r: Reading) -> str:
    if r.says is not None:
        return f'"{r.says}"'
    return "-" if r.value is None else f"{r.value:.6g}"


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    right = {2, 6}  # numbers
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]


def _json(tables: Sequence[tuple[Survey, list[Reading]]], errors: bool) -> str:
    lines: list[dict[str, Any]] = [
        {
            "line": survey.line.name,
            "links": survey.link_texts(),
            "tags": [asdict(r) for r in readings if not errors or r.quality != "good"],
        }
        for survey, readings in tables
    ]
    return json.dumps(lines, ensure_ascii=False, allow_nan=False)


def _why(reason: Reason, tag: Tag) -> str:
    if reason is Reason.OUT_OF_RANGE:
        return f"outside the instrument range {tag.low:g}..{tag.high:g} {tag.unit}"
    if reason is Reason.STALE:
        return f"source time stamp differs by more than {tag.max_age_s:g} s; check both clocks"
    if reason is Reason.FROZEN:
        return f"unchanged for {tag.frozen_s:g} s"
    return _WORDS[reason]


def _says(row: TagRow, raw: tuple[int, ...]) -> str | None:
    source = row.source
    return codec.text(raw, source.encoding) if isinstance(source, ModbusSource) and raw else None


def _where(row: TagRow) -> str:
    source = row.source
    if not isinstance(source, ModbusSource):
        return f"{source.link} {source.node}"
    at = f"{source.table} {source.address} (1-based {source.address + 1})"
    return f"{source.link} unit {source.unit_id} {at}"


def _orders(row: TagRow, raw: tuple[int, ...]) -> dict[str, float | None]:
    source = row.source
    if not raw or not isinstance(source, ModbusSource):
        return {}
    if source.encoding.type in ("bit", "string"):
        return {}
    encoding = source.encoding
    own = (encoding.word_order, encoding.byte_order)
    out: dict[str, float | None] = {}
    for label, reading in codec.all_orders(raw).items():
        kind, order = label.split(" ")
        if kind == encoding.type:
            known = {
                "AB": ("big", "big"), "BA": ("big", "little"), **codec.ORDERS,
                **codec.SWAPPED_ORDERS,
            }[order]  # fmt: skip
            mine = known == own if len(raw) > 1 else known[1] == own[1]
            value = reading * encoding.scale + encoding.offset
            out[order + ("*" if mine else "")] = _number(value)
    return out


def _address(link: Any) -> str:
    return link.at if isinstance(link, ModbusLink) else str(link.url)


def _state(driver: Driver) -> str:
    counters = driver.counters
    state = f"connected, {counters.rtt_ms:.0f} ms" if counters.connected else "NOT CONNECTED"
    error = f"; last error: {counters.last_error}" if counters.last_error else ""
    refused = ", ".join(counters.bad_addresses)
    return state + error + (f"; refused addresses: {refused}" if refused else "")


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
