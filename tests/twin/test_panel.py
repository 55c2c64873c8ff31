"""The panel's keys: one key one scan, and nothing but key words can be written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from pymodbus.client import AsyncModbusTcpClient

from edge.config.load import load
from edge.core.outputs import PlcState, encode_block_r
from edge.core.registers import BLOCK_R_WORDS, Control, r
from edge.twin.operator import Answer, Offer
from edge.twin.panel import PULSE_S, Keys, PanelServer, Repair
from tests.line import CONFIG

OFFER = Offer(seq=5, trim_kg_h=1.0, base_kg_h=200.0, ttl_s=600.0, shown_s=3.0)
KEYS_AT = 1100 + BLOCK_R_WORDS


def pressed(**words: int | Control) -> Keys:
    keys = Keys()
    keys.write(0, encode_block_r(PlcState(**words)))  # type: ignore[arg-type]
    return keys


@pytest.mark.parametrize(
    ("control", "seq", "answer"),
    [
        (Control.ACCEPT, 5, Answer.ACCEPT),
        (Control.REJECT, 5, Answer.REJECT),
        (Control.ACCEPT | Control.REJECT, 5, Answer.REJECT),
        (Control.ACCEPT, 4, None),
        (Control.ACCEPT, 0, None),
        (Control.NONE, 5, None),
    ],
)
def test_an_answer_counts_for_its_own_suggestion(
    control: Control, seq: int, answer: Answer | None
) -> None:
    keys = pressed(control=control, trim_seq_ack=seq)
    keys.take()
    assert keys.answer(OFFER) is answer
    keys.take()
    assert keys.answer(OFFER) is None  # a key lives for one scan


def test_pulses_fade_and_maintenance_stays_until_pressed_again() -> None:
    keys = pressed(control=Control.ACKNOWLEDGE | Control.SHELVE | Control.MAINTENANCE,
                   shelve_min=60)  # fmt: skip
    keys.take()
    assert keys.held == Control.ACKNOWLEDGE | Control.SHELVE | Control.MAINTENANCE
    assert keys.shelve_min == 60
    for _ in range(PULSE_S):
        keys.take()
    assert keys.held == Control.MAINTENANCE
    keys.write(r("CONTROL").offset, [int(Control.MAINTENANCE)])
    keys.take()
    assert keys.held == Control.NONE


def test_the_plc_alone_says_that_a_batch_runs_and_advice_is_on() -> None:
    keys = pressed(control=Control.BATCH_ACTIVE | Control.ADVICE_ENABLED | Control.HELD)
    keys.take()
    assert keys.held == Control.NONE


def test_a_repair_is_taken_once() -> None:
    keys = pressed(maint_event=1, maint_component=3, maint_kind=1)
    assert keys.take() == Repair(component=3, kind=1)
    assert keys.take() is None


async def test_an_hmi_reads_the_blocks_and_writes_only_keys(free_port: Callable[[], int]) -> None:
    outputs = load(CONFIG, lines=("ncm-1",)).lines[0].outputs
    port, keys = free_port(), Keys()

    def block_w() -> Sequence[int]:
        return range(64)

    panel = PanelServer(port, outputs, keys, block_w, lambda: range(100, 116))
    await panel.start()
    client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=10)
    try:
        assert await client.connect()
        read = await client.read_holding_registers(1000, count=64)
        assert read.registers == list(range(64))
        read = await client.read_holding_registers(1100, count=16)
        assert read.registers == list(range(100, 116))
        assert (await client.read_holding_registers(1060, count=8)).isError()
        for address in (1000, 1063, 1100, 1115, 1064):
            assert (await client.write_registers(address, [1, 1])).isError()
        assert panel.refused_writes == 5
        # Beyond the last word there is no memory at all.
        assert (await client.write_registers(KEYS_AT + BLOCK_R_WORDS - 1, [1, 1])).isError()
        words = encode_block_r(PlcState(control=Control.ACCEPT, trim_seq_ack=5))
        assert not (await client.write_registers(KEYS_AT, list(words))).isError()
        keys.take()
        assert keys.answer(OFFER) is Answer.ACCEPT
        assert keys.answer(replace(OFFER, seq=6)) is None
    finally:
        client.close()
        await panel.stop()
