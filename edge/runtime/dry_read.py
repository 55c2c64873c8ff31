"""Does a new link give what the new configuration asks of it? Found out beside the running one.

Nothing is written: block W is read, as it will be for its read-back.
"""

from __future__ import annotations

import asyncio

import numpy as np

from edge.config.types import Line
from edge.core.tags import Quality, Reason
from edge.drivers import blocks_of, rows_of
from edge.drivers.base import Driver, LinkError
from edge.runtime.line import LineRunner

DRY_READ_S = 5.0
"""A new link must have connected and answered everything by then."""
_ANSWERED = (
    Reason.NONE, Reason.TEXT, Reason.STATUS_BAD, Reason.STATUS_UNCERTAIN, Reason.NOT_A_NUMBER,
    Reason.INVALID_CODE,
)  # fmt: skip
"""The device said something of its own about the value: the address is right."""


async def dry_read(
    driver: Driver, line: Line, link: str, running: asyncio.Task[None], runner: LineRunner
) -> str:
    """Read every value and block of a new link once: "" or what is wrong with it."""
    rows, blocks = rows_of(line, link), blocks_of(line, link)
    missing = _missing(runner)
    why = "did not answer"
    loop = asyncio.get_running_loop()
    end_s = loop.time() + DRY_READ_S
    while loop.time() < end_s and not running.done():
        sample = await driver.read()
        refused = "; ".join(driver.counters.bad_addresses)
        silent = [
            row.tag.name
            for row, reason in zip(rows, sample.reason)
            if (reason not in _ANSWERED or f"({row.tag.name})" in refused)
            and row.tag.name not in missing
        ]
        try:
            for name in blocks:
                await driver.read_words(name)
        except LinkError as error:
            why = str(error)
        else:
            if driver.counters.connected and not silent:
                return ""
            if driver.counters.connected:
                why = f"no value for {', '.join(silent)}{refused and f': refused: {refused}'}"
                if refused:
                    break  # the device has made up its mind
        await asyncio.sleep(0.1)
    if not driver.counters.connected:
        why = driver.counters.last_error or why
    return (
        f"line {line.name}: link {link}: dry read failed: {why}; correct line.toml, tags.toml or "
        "outputs.toml, or the device. A device that takes one connection only needs a restart "
        "(systemctl restart ncm-edge)"
    )


def _missing(runner: LineRunner) -> set[str]:
    """Tags that bring no value now: that they bring none later is no fault of the new file."""
    row, line = runner.last_row, runner.line
    bad = {name for name, (_, quality) in runner.context.items() if quality is Quality.BAD}
    if row is not None:
        bad |= {line.tags[i].tag.name for i in np.flatnonzero(row.quality == Quality.BAD)}
    return bad
