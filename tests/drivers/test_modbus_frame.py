"""Framing by property: no damage, lateness or cutting makes a wrong answer of a right one."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.drivers.modbus_frame import FORGET_S, DoubtError, Mbap, Pending, Rtu
from edge.runtime import virtual_time
from tests.drivers.plc import TIMEOUT_S, check, row, running, settle
from tests.faultserver import slow, with_crc

ASKED = Pending(5, 3, b"\x04", 5)
GOOD = with_crc(bytes([5, 3, 4, 1, 2, 3, 4]))


def rtu(now: Callable[[], float] = lambda: 0.0) -> Rtu:
    return Rtu(now)


def accepted(framing: Rtu | Mbap, data: bytes, pending: Pending | None) -> bytes:
    with contextlib.suppress(DoubtError):
        return framing.accept(data, pending)
    return b""


@given(st.sets(st.integers(0, 8 * len(GOOD) - 1), min_size=1, max_size=3))
def test_up_to_three_flipped_bits_are_found(bits: set[int]) -> None:
    frame = bytearray(GOOD)
    for bit in bits:
        frame[bit // 8] ^= 1 << bit % 8
    assert accepted(rtu(), bytes(frame), ASKED) == b""


@given(st.binary(max_size=12), st.binary(max_size=12))
def test_what_is_accepted_is_the_answer(before: bytes, behind: bytes) -> None:
    found = accepted(rtu(), before + GOOD + behind, ASKED)
    assert found == (b"" if before or behind else GOOD)


@given(st.lists(st.sampled_from([1, 2, 3]), max_size=4), st.data())
def test_late_answers_in_front_are_skipped_however_it_is_cut(
    late: list[int], data: st.DataObject
) -> None:
    framing = rtu()
    for unit in late:
        framing.unanswered(Pending(unit, 3, b"\x02", 3))
    stream = b"".join(with_crc(bytes([unit, 3, 2, 0, unit])) for unit in late) + GOOD
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=5)))
    for cut in cuts:  # pymodbus shows all that came since the request, again and again
        assert framing.accept(stream[:cut], ASKED) == b""
    assert framing.accept(stream, ASKED) == GOOD


def test_an_unanswered_request_is_remembered_until_its_unit_answers() -> None:
    now = [0.0]
    framing = rtu(lambda: now[0])
    framing.unanswered(ASKED)
    assert framing.ambiguous(ASKED)
    assert not framing.ambiguous(Pending(5, 3, b"\x02", 3)), "another length"
    framing.opened()
    framing.answered(Pending(6, 3, b"\x02", 3))
    assert framing.ambiguous(ASKED), "a new connection or another unit proves nothing"
    now[0] = FORGET_S
    assert not framing.ambiguous(ASKED), "no device answers that late"
    now[0] = 0.0
    framing.answered(Pending(5, 3, b"\x02", 3))
    assert not framing.ambiguous(ASKED)


@given(st.binary(min_size=1, max_size=30), st.integers(1, 0xFFFF))
def test_mbap_passes_nothing_that_was_not_asked_for(data: bytes, transaction: int) -> None:
    framing, asked = Mbap(), Pending(5, 3, b"\x04", 5)
    framing.sending(asked, transaction.to_bytes(2, "big") + bytes(10))
    shown = accepted(framing, data, asked)
    whole = len(data) >= 8 and int.from_bytes(data[4:6], "big") + 6 <= len(data)
    if shown and whole:
        assert data[:4] == transaction.to_bytes(2, "big") + b"\0\0"
        assert data[6] == 5
        assert data[7] in (3, 0x83)


@pytest.mark.parametrize("protocol", ["modbus-tcp", "modbus-rtu-over-tcp"])
@settings(max_examples=40, deadline=None)
@given(delays=st.lists(st.sampled_from([0.0, 0.2, 0.9, 1.1, 1.9, 2.1, 3.2, 7.0]), max_size=14))
def test_no_rhythm_of_lateness_makes_a_wrong_value(protocol: str, delays: list[float]) -> None:
    rows = (row(10), row(300), row(500, unit_id=2), row(700))
    expected = np.array([110.0, 400.0, 600.0, 800.0])

    async def main(port: int) -> None:
        async with running(port, rows, protocol=protocol) as (server, driver):
            server.script.extend(slow(d * TIMEOUT_S) for d in delays)
            for _ in range(len(delays) + 2):
                check(await driver.read(), expected)
                await settle(0.4)
            server.script.clear()
            for _ in range(40):
                await settle(1.0)
                sample = await driver.read()
                check(sample, expected)
                if np.array_equal(sample.values, expected):
                    return
            pytest.fail(f"not recovered: {sample} {driver.counters}")

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    virtual_time.run(main(port))
