"""The Modbus fault catalogue: never a wrong value, always a named reason, recovery by itself.

Register a of the fault server holds 100 + a, so every value says where it came from.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge.config.types import ModbusLink, WordBlock
from edge.core.tags import Quality, Reason
from edge.drivers.base import LinkError, WriteRefused
from edge.drivers.modbus import ModbusDriver
from tests.drivers.plc import (
    EXPECTED,
    ROWS,
    TIMEOUT_S,
    Virtual,
    check,
    recovers,
    row,
    running,
    settle,
)
from tests.faultserver import (
    LIES,
    LYING_ECHOES,
    Connection,
    Request,
    exception,
    half_an_answer,
    hang_up,
    in_pieces,
    late,
    refuse,
    silent,
)


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_modbus_does_not_allow_is_no_value(
    lie: str, virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        async with running(free_port()) as (server, driver):
            check(await driver.read())
            server.script.append(LIES[lie])
            sample = await driver.read()
            check(sample)
            assert set(sample.reason) == {Reason.BAD_ANSWER}
            assert driver.counters.bad_answers == 1
            await recovers(driver)
            assert server.connections == 2, "the link is dropped on any doubt"

    virtual(main())


@pytest.mark.parametrize("script", [hang_up, half_an_answer])
def test_a_peer_that_closes_fails_the_request_at_once(
    script: Any, virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        async with running(free_port()) as (server, driver):
            server.script.append(script)
            sample = await driver.read()
            assert set(sample.reason) == {Reason.NOT_CONNECTED}
            assert sample.end_s - sample.start_s < 0.05
            await recovers(driver)

    virtual(main())


def test_an_answer_in_pieces_is_an_answer(virtual: Virtual, free_port: Callable[[], int]) -> None:
    async def main() -> None:
        async with running(free_port()) as (server, driver):
            server.always = in_pieces
            sample = await driver.read()
            assert np.array_equal(sample.values, EXPECTED)
            assert driver.counters.bad_answers == 0

    virtual(main())


def test_a_late_answer_never_becomes_the_next_value(
    virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        # Two blocks: the late answer to the first one arrives while the second is asked.
        rows = (row(10), row(300))
        expected = np.array([110.0, 400.0])
        async with running(free_port(), rows) as (server, driver):
            server.script.extend([late(1.2 * TIMEOUT_S), late(0.4 * TIMEOUT_S)])
            sample = await driver.read()
            assert set(sample.reason) == {Reason.TIMEOUT}, "a silent unit is asked once a poll"
            for _ in range(5):
                check(await driver.read(), expected)
            assert np.array_equal((await driver.read()).values, expected)
            assert server.connections == 1, "a late answer is recognised, no need to reconnect"

    virtual(main())


def test_a_late_answer_glued_to_the_right_one_is_skipped(
    virtual: Virtual, free_port: Callable[[], int]
) -> None:
    held: list[bytes] = []

    async def keep(request: Request, _connection: Connection) -> None:
        held.append(request.good())

    async def both(request: Request, connection: Connection) -> None:
        connection.send(held.pop() + request.good())

    async def main() -> None:
        rows = tuple(row(a) for a in range(120))
        async with running(free_port(), rows) as (server, driver):
            server.script.extend([keep, both])
            assert set((await driver.read()).reason) == {Reason.TIMEOUT}
            sample = await driver.read()
            assert np.array_equal(sample.values, np.arange(100.0, 220.0))

    virtual(main())


def test_a_silent_device_is_dropped_after_three_timeouts_and_comes_back(
    virtual: Virtual, free_port: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with running(free_port()) as (server, driver):
            assert (await driver.read()).quality.max() == Quality.GOOD
            server.always = silent
            for _ in range(3):
                sample = await driver.read()
                assert set(sample.reason) == {Reason.TIMEOUT}
                assert sample.end_s - sample.start_s == pytest.approx(TIMEOUT_S, abs=0.01)
            await settle(0.0)
            assert not driver.counters.connected
            await settle(10.0)
            for _ in range(30):
                await driver.read()
            assert not driver.counters.connected, "connected is said only after an answer"
            server.always = None
            await recovers(driver)

    with caplog.at_level(logging.INFO):
        virtual(main())
    said = [r.message for r in caplog.records if r.name.startswith("edge.")]
    assert len(said) == 3, said
    assert not [r for r in caplog.records if r.name.startswith("pymodbus")]


def test_a_device_down_at_start_is_waited_for(
    virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        async with running(free_port(), device=False) as (server, driver):
            for _ in range(30):
                await settle(1.0)
                sample = await driver.read()
                assert set(sample.reason) == {Reason.NOT_CONNECTED}
            assert "no TCP connection" in driver.counters.last_error
            async with server:
                await settle(2.1)
                assert np.array_equal((await driver.read()).values, EXPECTED)

    virtual(main())


def test_one_refused_register_costs_only_its_own_tag(
    virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        async with running(free_port()) as (server, driver):
            server.always = refuse(3, 13)
            sample = await driver.read()
            check(sample)
            bad = sample.quality == Quality.BAD
            assert list(np.flatnonzero(bad)) == [3]
            assert sample.reason[3] == Reason.EXCEPTION
            assert driver.counters.bad_addresses == ["unit 1 holding 13..13 (u1-holding-13)"]
            before = len(server.requests)
            check(await driver.read())
            assert not any(
                r.address <= 13 < r.address + r.count for r in server.requests[before:]
            ), "a refused register is remembered"
            # The PLC program is changed: the register exists, and is found again within a minute.
            server.always = None
            await settle(61.0)
            await driver.read()
            assert np.array_equal((await driver.read()).values, EXPECTED)
            assert driver.counters.bad_addresses == []
            assert server.connections == 1

    virtual(main())


def test_a_refused_hole_splits_the_block_and_costs_nothing(
    virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        rows = (row(10), row(11), row(20), row(21))
        async with running(free_port(), rows) as (server, driver):
            server.always = refuse(3, *range(12, 20))
            for _ in range(2):
                sample = await driver.read()
                assert np.array_equal(sample.values, [110, 111, 120, 121])
            assert len(server.requests) == 3 + 2
            assert driver.counters.bad_addresses == []

    virtual(main())


@pytest.mark.parametrize("code", [1, 4, 6])
def test_an_exception_is_named_and_leaves_the_link_alone(
    code: int, virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        async with running(free_port()) as (server, driver):
            server.script.append(exception(code))
            sample = await driver.read()
            assert set(sample.reason) == {Reason.EXCEPTION}
            assert f"exception {code}" in driver.counters.last_error
            assert np.array_equal((await driver.read()).values, EXPECTED)
            assert server.connections == 1

    virtual(main())


@pytest.mark.parametrize("answer", [silent, exception(11)])
def test_a_dead_unit_costs_its_neighbours_at_most_one_timeout(
    answer: Any, virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def only_unit_2(request: Request, connection: Connection) -> None:
        if request.unit_id == 1:
            await answer(request, connection)
        else:
            connection.send(request.good())

    async def main() -> None:
        rows = (row(10, unit_id=1), row(20, unit_id=2), row(300, unit_id=1))
        async with running(free_port(), rows) as (server, driver):
            server.always = only_unit_2
            slow = 0
            for _ in range(60):
                sample = await driver.read()
                assert sample.values[1] == 120
                assert sample.end_s - sample.start_s < 1.1 * TIMEOUT_S
                slow += sample.end_s - sample.start_s > 0.1
                await settle(1.0)
            assert slow <= 6, "the breaker leaves a dead unit alone for longer and longer"
            assert server.connections == 1
            server.always = None
            await settle(31.0)
            assert np.array_equal((await driver.read()).values, [110, 120, 400])

    virtual(main())


def test_bits_are_read_as_bits(virtual: Virtual, free_port: Callable[[], int]) -> None:
    async def main() -> None:
        rows = (*(row(a, table="coil") for a in range(3, 14)), row(7, table="discrete"))
        async with running(free_port(), rows) as (server, driver):
            sample = await driver.read()
            expected = [float(a % 3 == 0) for a in (*range(3, 14), 7)]
            assert list(sample.values) == expected
            assert [r.function for r in server.requests] == [1, 2]

    virtual(main())


def test_the_write_is_one_frame_and_its_echo_is_checked(
    virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        async with running(free_port()) as (server, driver):
            await driver.write_words("W", range(8))
            (frame,) = server.requests
            assert (frame.function, frame.address, frame.count) == (16, 1000, 8)
            assert frame.data == b"".join(w.to_bytes(2, "big") for w in range(8))
            assert await driver.read_words("R") == (1200, 1201, 1202, 1203)

    virtual(main())


@pytest.mark.parametrize("lie", LYING_ECHOES)
def test_a_wrong_echo_is_a_failed_write_and_is_not_repeated(
    lie: str, virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        async with running(free_port()) as (server, driver):
            server.script.append(LYING_ECHOES[lie])
            with pytest.raises(LinkError, match=r'link "plc": block W at unit 1 holding 1000'):
                await driver.write_words("W", range(8))
            await recovers(driver)
            assert sum(r.function == 16 for r in server.requests) == 1

    virtual(main())


@pytest.mark.parametrize("script", [silent, hang_up, exception(4)])
def test_a_failed_write_is_sent_exactly_once(
    script: Any, virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        async with running(free_port()) as (server, driver):
            server.script.append(script)
            with pytest.raises(LinkError):
                await driver.write_words("W", range(8))
            await settle(5.0)
            assert len(server.requests) == 1

    virtual(main())


@pytest.mark.parametrize(
    ("block", "words"),
    [("R", range(4)), ("X", range(8)), ("W", range(7)), ("W", [0] * 7 + [65536]), ("W", [-1] * 8)],
)
def test_what_is_not_on_the_write_list_is_never_sent(
    block: str, words: Any, virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        async with running(free_port()) as (server, driver):
            with pytest.raises(WriteRefused, match="permitted"):
                await driver.write_words(block, words)
            assert server.requests == []

    virtual(main())


def test_a_write_waits_for_one_transaction_not_for_the_poll(
    virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        rows = tuple(row(200 * i) for i in range(10))
        async with running(free_port(), rows) as (server, driver):
            poll = asyncio.create_task(driver.read())
            await settle(0.0)
            await driver.write_words("W", range(8))
            assert not poll.done()
            await poll
            assert [r.function for r in server.requests][:3] == [3, 16, 3]

    virtual(main())


def test_the_pauses_a_device_needs_are_kept(virtual: Virtual, free_port: Callable[[], int]) -> None:
    async def main() -> None:
        rows = (row(0), row(200), row(400))
        async with running(free_port(), rows, pause_between_requests_ms=50) as (_, driver):
            sample = await driver.read()
            assert sample.end_s - sample.start_s == pytest.approx(0.1, abs=0.005)

    virtual(main())


def test_a_poll_that_is_given_up_leaves_nothing_for_the_next(
    virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        rows = (row(10), row(300))
        async with running(free_port(), rows) as (server, driver):
            server.script.append(late(0.3))
            poll = asyncio.create_task(driver.read())
            await settle(0.1)
            poll.cancel()
            await asyncio.gather(poll, return_exceptions=True)
            server.script.append(late(0.25))  # the answer to the first poll comes before this one
            assert list((await driver.read()).values) == [110, 400]
            assert server.connections == 1

    virtual(main())


def test_a_reconnect_in_the_middle_of_a_poll(
    virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        rows = tuple(row(200 * i) for i in range(6))
        async with running(free_port(), rows) as (server, driver):
            server.script.extend([None, refuse(3, 200), hang_up])
            sample = await driver.read()
            check(sample, 100 + 200 * np.arange(6.0))
            assert sample.quality[0] == Quality.GOOD
            assert Reason.NOT_CONNECTED in sample.reason
            await recovers(driver, 100 + 200 * np.arange(6.0))

    virtual(main())


def test_raw_words_are_those_of_the_tag(virtual: Virtual, free_port: Callable[[], int]) -> None:
    async def main() -> None:
        async with running(free_port()) as (server, driver):
            assert driver.raw_words(3) == ()
            await driver.read()
            assert [driver.raw_words(i) for i in range(10)] == [(110 + i,) for i in range(10)]
            server.always = refuse(3, 13)
            await driver.read()
            await driver.read()
            assert driver.raw_words(3) == ()
            assert driver.raw_words(4) == (114,)

    virtual(main())


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (WordBlock(link="plc", count=124, address=0), r"permitted: 1\.\.123 registers"),
        (WordBlock(link="plc", count=64, address=65500), r"within 0\.\.65535"),
        (WordBlock(link="plc", count=64, node="s=W"), "address None"),
    ],
)
def test_a_block_that_cannot_be_written_is_refused_at_once(block: WordBlock, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModbusDriver(ModbusLink(name="plc", host="127.0.0.1"), ROWS, {"W": block})


def test_it_works_on_the_ordinary_loop(free_port: Callable[[], int]) -> None:
    async def main() -> None:
        async with running(free_port()) as (_, driver), asyncio.timeout(20.0):
            while not np.array_equal((await driver.read()).values, EXPECTED):
                await settle(0.05)

    asyncio.run(main())
