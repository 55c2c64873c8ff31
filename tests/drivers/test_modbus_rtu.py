"""RTU framing: no transaction tells a late answer apart, so these are the faults that matter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge.config.types import UnitLimits
from edge.core.tags import Quality, Reason
from edge.drivers.base import LinkError
from tests.drivers.plc import EXPECTED, ROWS, TIMEOUT_S, Virtual, check, row, running, settle
from tests.faultserver import (
    LYING_ECHOES,
    Connection,
    Request,
    Script,
    byte_count_too_large,
    exception,
    garbage,
    hang_up,
    in_pieces,
    long,
    other_function,
    other_unit,
    refuse,
    short,
    silent,
    slow,
)

BRIDGE = "modbus-rtu-over-tcp"
TWO_ROWS = (row(10), row(300))
TWO = np.array([110.0, 400.0])


def said(make: Callable[[Request], bytes]) -> Script:
    async def script(request: Request, connection: Connection) -> None:
        connection.send(make(request))

    return script


def wrong_crc(r: Request) -> bytes:
    return r.good()[:-1] + bytes([r.good()[-1] ^ 1])


def flipped_bit(r: Request) -> bytes:
    frame = bytearray(r.good())
    frame[4] ^= 0x10
    return bytes(frame)


NOISE: dict[str, Callable[[Request], bytes]] = {
    "wrong check sum": wrong_crc,
    "one flipped bit": flipped_bit,
    "noise before": lambda r: b"\xff\x00" + r.good(),
    "noise behind": lambda r: r.good() + b"\x00",
    "garbage": garbage,
    "twice": lambda r: r.good() + r.good(),
    "short": short,
    "long": long,
    "byte count": byte_count_too_large,
    "function": other_function,
    "unit": other_unit,
}


@pytest.mark.parametrize("name", NOISE)
def test_noise_is_never_a_value(
    name: str, virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        async with running(free_port(), protocol=BRIDGE) as (server, driver):
            check(await driver.read())
            server.script.append(said(NOISE[name]))
            for _ in range(6):
                check(await driver.read())
                await settle(1.0)
            assert np.array_equal((await driver.read()).values, EXPECTED)

    virtual(main())


@pytest.mark.parametrize("late_by", [1.2, 1.7, 2.5, 3.3, 10.0])
def test_a_late_answer_is_never_the_next_one(
    late_by: float, virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        # Two blocks of one length: in RTU framing their answers cannot be told apart.
        async with running(free_port(), TWO_ROWS, protocol=BRIDGE) as (server, driver):
            server.script.append(slow(late_by * TIMEOUT_S))
            for _ in range(12):
                check(await driver.read(), TWO)
                await settle(0.45)
            assert np.array_equal((await driver.read()).values, TWO)
            if late_by < 3:
                assert server.connections == 1, "recognised, no need to reconnect"

    virtual(main())


def test_a_device_that_is_always_one_answer_late_gives_no_wrong_value(
    virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        async with running(free_port(), TWO_ROWS, protocol=BRIDGE) as (server, driver):
            server.always = slow(1.1 * TIMEOUT_S)
            for _ in range(40):
                check(await driver.read(), TWO)
                await settle(0.3)
            server.always = None
            await settle(31.0)
            await driver.read()
            assert np.array_equal((await driver.read()).values, TWO)

    virtual(main())


def test_a_stalled_bridge_that_answers_everything_after_a_minute(
    virtual: Virtual, free_port: Callable[[], int]
) -> None:
    held: list[tuple[Request, Connection]] = []

    async def hold(request: Request, connection: Connection) -> None:
        held.append((request, connection))

    async def main() -> None:
        async with running(free_port(), TWO_ROWS, protocol=BRIDGE) as (server, driver):
            server.always = hold
            for _ in range(60):
                sample = await driver.read()
                assert not (sample.quality == Quality.GOOD).any()
                await settle(1.0)

            async def all_at_once(request: Request, connection: Connection) -> None:
                # The bridge mixes its connections up and sends it all to the newest.
                frames, held[:] = [r.good() for r, _ in held], []
                connection.send(b"".join(frames) + request.good())

            server.always = all_at_once
            for _ in range(40):
                check(await driver.read(), TWO)
                await settle(1.0)
            assert np.array_equal((await driver.read()).values, TWO)

    virtual(main())


def test_the_marker_keeps_out_of_forbidden_ranges(
    virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        walls = (("holding", 11, 20),)
        async with running(free_port(), TWO_ROWS, protocol=BRIDGE, forbidden=walls) as (
            server, driver,
        ):  # fmt: skip
            server.script.append(slow(1.5 * TIMEOUT_S))
            for _ in range(8):
                check(await driver.read(), TWO)
                await settle(0.5)
            assert not any(
                r.address <= 20 and r.address + r.count > 11 for r in server.requests
            )

    virtual(main())


@pytest.mark.parametrize("answer", [silent, exception(11)])
def test_a_dead_unit_of_a_bus_costs_its_neighbours_one_timeout(
    answer: Script, virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def only_unit_2(request: Request, connection: Connection) -> None:
        if request.unit_id == 1:
            await answer(request, connection)
        else:
            connection.send(request.good())

    async def main() -> None:
        rows = (row(10, unit_id=1), row(20, unit_id=2), row(300, unit_id=1))
        async with running(free_port(), rows, protocol=BRIDGE) as (server, driver):
            server.always = only_unit_2
            for _ in range(60):
                sample = await driver.read()
                assert sample.values[1] == 120
                assert sample.end_s - sample.start_s < 1.1 * TIMEOUT_S
                await settle(1.0)
            assert server.connections == 1
            server.always = None
            await settle(31.0)
            await driver.read()
            assert np.array_equal((await driver.read()).values, [110, 120, 400])

    virtual(main())


def test_bits_pieces_and_refused_registers(
    virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        coils = tuple(row(a, table="coil") for a in range(3, 14))
        async with running(free_port(), (*ROWS, *coils), protocol=BRIDGE) as (server, driver):
            expected = np.array([*EXPECTED, *(float(a % 3 == 0) for a in range(3, 14))])
            server.always = in_pieces
            assert np.array_equal((await driver.read()).values, expected)
            server.always = refuse(3, 13)
            sample = await driver.read()
            check(sample, expected)
            assert list(np.flatnonzero(sample.quality == Quality.BAD)) == [3]

    virtual(main())


@pytest.mark.parametrize("lie", ["shifted_echo", "short_echo", "other_unit"])
def test_a_wrong_echo_is_a_failed_write(
    lie: str, virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        async with running(free_port(), protocol=BRIDGE) as (server, driver):
            await driver.write_words("W", range(8))
            server.script.append(LYING_ECHOES[lie])
            with pytest.raises(LinkError, match="block W"):
                await driver.write_words("W", range(8))
            assert sum(r.function == 16 for r in server.requests) == 2

    virtual(main())


def test_a_late_echo_does_not_confirm_the_next_write(
    virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        async with running(free_port(), protocol=BRIDGE) as (server, driver):
            server.script.append(slow(1.5 * TIMEOUT_S))
            with pytest.raises(LinkError, match="no answer"):
                await driver.write_words("W", range(8))
            server.script.extend([None, silent])
            with pytest.raises(LinkError):
                await driver.write_words("W", range(8))

    virtual(main())


def test_a_unit_that_takes_less_is_asked_for_less(
    virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        rows = (*(row(a) for a in range(40)), *(row(a, unit_id=7) for a in range(40)))
        slow = UnitLimits(unit_id=7, max_registers=16, max_gap=0, pause_between_requests_ms=50)
        async with running(free_port(), rows, units=(slow,)) as (server, driver):
            sample = await driver.read()
            assert np.array_equal(sample.values, np.tile(np.arange(100.0, 140.0), 2))
            assert [r.count for r in server.requests] == [40, 16, 16, 8]
            assert sample.end_s - sample.start_s == pytest.approx(0.15, abs=0.01)

    virtual(main())


def test_a_peer_that_closes(virtual: Virtual, free_port: Callable[[], int]) -> None:
    async def main() -> None:
        async with running(free_port(), protocol=BRIDGE) as (server, driver):
            server.script.append(hang_up)
            sample = await driver.read()
            assert set(sample.reason) == {Reason.NOT_CONNECTED}
            assert sample.end_s - sample.start_s < 0.05

    virtual(main())
