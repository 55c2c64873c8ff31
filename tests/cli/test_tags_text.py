"""A text of the PLC: shown to the engineer, a number for nobody."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from edge.cli import tags
from edge.config.types import ModbusSource, TagRow
from edge.core.codec import Encoding
from edge.core.tags import Quality, Reason
from edge.runtime.clock import LoopClock
from tests.drivers.plc import ROWS, Virtual, row, running
from tests.twin.small_line import small_line

LOT = (0x4C4F, 0x542D, 0x3720, 0x0000)  # "LOT-7"


def text_row(address: int) -> TagRow:
    plain = row(address)
    assert isinstance(plain.source, ModbusSource)
    source = replace(plain.source, encoding=Encoding(type="string", length=4))
    return TagRow(tag=replace(plain.tag, name="LOT", low=0, high=0), source=source)


def test_a_text_is_shown_and_is_no_number(virtual: Virtual, free_port: Callable[[], int]) -> None:
    lot = text_row(20)

    async def main() -> None:
        async with running(free_port(), (*ROWS, lot)) as (server, driver):
            server.special |= {20 + i: word for i, word in enumerate(LOT)}
            sample = await driver.read()
            assert math.isnan(sample.values[-1])
            assert (sample.quality[-1], sample.reason[-1]) == (Quality.BAD, Reason.TEXT)
            assert (sample.quality[:-1] == Quality.GOOD).all()
            assert driver.raw_words(len(ROWS)) == LOT

            link = driver._link
            line = replace(small_line(free_port), links=(link,), tags=ROWS, context=(lot,))
            survey = tags.Survey(line, {"plc": driver}, LoopClock(1.8e9))
            *_, shown = await survey.read()
            assert (shown.says, shown.quality, shown.value) == ("LOT-7", "good", None)
            assert '"LOT-7"' in tags._text([(survey, [shown])], errors=False)
            assert json.loads(tags._json([(survey, [shown])], errors=False))

            server.special[21] = 0xFF00
            *_, shown = await survey.read()
            assert (shown.says, shown.quality, shown.why) == (None, "bad", "no number")

    virtual(main())


@pytest.mark.parametrize("length", [1, 2, 4])
def test_a_text_has_no_other_readings(
    length: int, virtual: Virtual, free_port: Callable[[], int]
) -> None:
    lot = text_row(20)
    assert isinstance(lot.source, ModbusSource)
    lot = replace(
        lot, source=replace(lot.source, encoding=Encoding(type="string", length=length))
    )

    async def main() -> None:
        async with running(free_port(), (lot,)) as (server, driver):
            server.special |= {20 + i: word for i, word in enumerate(LOT)}
            line = replace(
                small_line(free_port), links=(driver._link,), tags=(), context=(lot,)
            )
            (shown,) = await tags.Survey(line, {"plc": driver}, LoopClock(1.8e9)).read()
            assert shown.says == "LOT-7"[: 2 * length]
            assert shown.orders == {}

    virtual(main())
