"""Block W: written once, read back, and left alone when the PLC holds something else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from edge.config.types import WordBlock
from edge.core.registers import ADVISOR_TIMEOUT_S
from edge.drivers.base import LinkError, WriteRefused
from edge.drivers.soft import SoftDriver
from edge.runtime.publish import HOLD_S, Published, Publisher

Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
BLOCKS = {"W": WordBlock(link="x", count=64), "R": WordBlock(link="x", count=16)}


class Plc(SoftDriver):
    """Counts writes; a second writer may change a word behind the appliance's back."""

    def __init__(self) -> None:
        super().__init__("x", (), BLOCKS)
        self.writes = 0
        self.meddle: dict[int, int] = {}
        self.dies_after_write = False

    async def write_words(self, block: str, words: Sequence[int]) -> None:
        self.writes += 1
        await super().write_words(block, words)
        for i, word in self.meddle.items():
            self.words["W"][i] = word
        if self.dies_after_write:
            raise LinkError("block W: no answer in 500 ms")


def block(k: int) -> list[int]:
    return [k % 65536] * 64


async def settle(seconds: float) -> None:
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, done.set_result, None)
    await done


def test_a_block_is_written_once_and_verified(virtual: Virtual) -> None:
    async def main() -> None:
        plc = Plc()
        publisher = Publisher(plc)
        for k in range(10):
            outcome = await publisher.publish(block(k))
            assert outcome.kind is Published.VERIFIED
            assert plc.words["W"] == block(k)
        assert plc.writes == publisher.counters.verified == 10

    virtual(main())


def test_a_mismatch_disarms_for_longer_than_the_plc_waits(virtual: Virtual) -> None:
    async def main() -> None:
        plc = Plc()
        publisher = Publisher(plc)
        plc.meddle = {17: 4242, 18: 1}
        outcome = await publisher.publish(block(7))
        assert outcome.kind is Published.MISMATCH
        assert "2 of 64 words differ, first word 17: wrote 7, the PLC holds 4242" in outcome.text
        assert HOLD_S > ADVISOR_TIMEOUT_S
        seconds = 0
        while (await publisher.publish(block(8))).kind is Published.DISARMED:
            await settle(1.0)
            seconds += 1
        assert seconds == HOLD_S
        assert plc.writes == 2, "nothing is written while disarmed"
        plc.meddle = {}
        await settle(HOLD_S)
        assert (await publisher.publish(block(9))).kind is Published.VERIFIED

    virtual(main())


def test_a_link_that_is_down_is_reported_and_tried_again(virtual: Virtual) -> None:
    async def main() -> None:
        plc = Plc()
        publisher = Publisher(plc)
        plc.up = False
        outcome = await publisher.publish(block(1))
        assert outcome.kind is Published.LINK_DOWN
        assert "not connected" in outcome.text
        plc.up = True
        assert (await publisher.publish(block(2))).kind is Published.VERIFIED
        assert publisher.counters.link_errors == 1

    virtual(main())


def test_an_unanswered_write_is_not_repeated(virtual: Virtual) -> None:
    async def main() -> None:
        plc = Plc()
        plc.dies_after_write = True
        assert (await Publisher(plc).publish(block(1))).kind is Published.LINK_DOWN
        assert plc.writes == 1

    virtual(main())


def test_a_refused_write_is_a_fault_of_the_program(virtual: Virtual) -> None:
    async def main() -> None:
        with pytest.raises(WriteRefused, match="permitted: 64 words"):
            await Publisher(Plc()).publish([1, 2, 3])

    virtual(main())


def test_block_r_is_words_or_none(virtual: Virtual) -> None:
    async def main() -> None:
        plc = Plc()
        publisher = Publisher(plc, plc)
        plc.words["R"] = list(range(16))
        assert await publisher.read_r() == tuple(range(16))
        plc.up = False
        assert await publisher.read_r() is None
        assert "not connected" in publisher.read_error
        plc.up = True
        assert await publisher.read_r() == tuple(range(16))
        assert publisher.read_error == ""
        assert await Publisher(plc).read_r() is None, "a line may have no block R"

    virtual(main())
