"""The PLC's function block: what it believes, what it shows, what it acts on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.outputs import Decision, decode_block_r, encode_block_w
from edge.core.registers import BLOCK_W_WORDS, Control, PackML, Status, TrimState, crc16
from edge.twin.operator import AcceptAfter, Ignore, RejectAll, operator
from edge.twin.plc import PlcBlock, PlcSettings, Process

OFFER = Decision(
    status=Status.RUNNING | Status.OUTPUT_VALID | Status.SIMULATION,
    probability=0.91,
    severity=2,
    components=((3, 0.8),),
    trim_seq=7,
    trim_kg_h=6.0,
    trim_base_kg_h=200.0,
    trim_lo_kg_h=-30.0,
    trim_hi_kg_h=30.0,
    trim_ttl_s=300.0,
    trim_state=TrimState.OFFERED,
)
RUNNING = Process(base_kg_h=200.0, minute=90.0, phase=2, batch_id=70_001)


class Line:
    """A PLC and the words in its memory, moved one second at a time."""

    def __init__(self, plc: PlcBlock) -> None:
        self.plc = plc
        self.words: tuple[int, ...] = (0,) * BLOCK_W_WORDS
        self.seq = 0
        self.trim_kg_h = 0.0

    def publish(self, decision: Decision) -> None:
        self.seq += 1
        self.words = encode_block_w(decision, self.seq)

    def seconds(
        self, count: int, decision: Decision | None = OFFER, process: Process = RUNNING
    ) -> list[float]:
        """Trim after each of `count` seconds; `decision` None: the appliance is silent."""
        trims = []
        for _ in range(count):
            if decision is not None:
                self.publish(decision)
            block_r, self.trim_kg_h = self.plc.scan(self.words, process)
            self.block_r = decode_block_r(block_r)
            trims.append(self.trim_kg_h)
        return trims


def test_nothing_is_shown_before_the_first_block() -> None:
    line = Line(PlcBlock())
    line.seconds(3, decision=None)
    assert (line.plc.panel.alive, line.plc.panel.decision) == (False, None)
    assert "never published" in line.plc.panel.fault
    assert line.block_r.heartbeat == 3


def test_an_accepted_trim_is_ramped_and_then_follows_the_schedule() -> None:
    line = Line(PlcBlock(PlcSettings(ramp_kg_h_min=20.0), AcceptAfter(4)))
    trims = line.seconds(8)
    assert trims[:4] == [0.0] * 4
    # 20 kg/h per minute is a third of a kg/h each second.
    assert trims[4:] == pytest.approx([1 / 3, 2 / 3, 1.0, 4 / 3])
    line.seconds(30)
    assert line.trim_kg_h == pytest.approx(6.0)
    # The next schedule step lowers the base by 1 %: the trim moves with it, unasked.
    line.seconds(1, process=replace(RUNNING, base_kg_h=198.0))
    assert line.trim_kg_h == pytest.approx(6.0 * 198 / 200)
    assert line.block_r.trim_applied_kg_h == pytest.approx(5.9)


def test_the_answer_is_a_pulse_that_names_its_suggestion() -> None:
    line = Line(PlcBlock(operator=AcceptAfter(0)))
    line.seconds(1)
    assert line.block_r.control & Control.ACCEPT
    assert line.block_r.trim_seq_ack == 7
    line.seconds(20)
    assert not line.block_r.control & Control.ACCEPT
    assert line.plc.accepted == [7]


def test_a_noted_answer_is_taken_back_early() -> None:
    line = Line(PlcBlock(operator=AcceptAfter(0)))
    line.seconds(1)
    line.seconds(3, decision=replace(OFFER, trim_state=TrimState.ACCEPTED))
    assert not line.block_r.control & Control.ACCEPT


def test_rejected_and_ignored_suggestions_change_nothing() -> None:
    for policy in (RejectAll(0), Ignore()):
        line = Line(PlcBlock(operator=policy))
        assert line.seconds(20) == [0.0] * 20
    line = Line(PlcBlock(operator=RejectAll(0)))
    line.seconds(1)
    assert line.block_r.control & Control.REJECT
    assert line.plc.panel.note == "suggestion 7 rejected by the operator"


def test_the_plc_clamps_to_its_own_authority() -> None:
    line = Line(PlcBlock(PlcSettings(authority=0.02), AcceptAfter(0)))
    line.seconds(120)
    assert line.trim_kg_h == pytest.approx(4.0)
    assert "clamped to +2.0% of the base" in line.plc.panel.note


def test_a_base_that_moved_away_is_refused_for_the_operator() -> None:
    line = Line(PlcBlock(operator=AcceptAfter(0)))
    line.seconds(1, process=replace(RUNNING, base_kg_h=210.0))
    assert line.plc.rejected == [7]
    assert line.plc.panel.note == (
        "suggestion 7 rejected by the PLC: base 210.0 kg/h has moved away from 200.0 kg/h"
    )


def test_a_real_plc_never_acts_on_a_simulation() -> None:
    line = Line(PlcBlock(PlcSettings(act_on_simulation=False), AcceptAfter(0)))
    line.seconds(20)
    assert line.trim_kg_h == 0.0
    assert line.plc.rejected == [7]


def test_a_silent_advisor_is_masked_after_five_seconds_and_its_trim_goes_back() -> None:
    line = Line(PlcBlock(PlcSettings(fallback_kg_h_min=6.0), AcceptAfter(0)))
    line.seconds(60)
    assert line.trim_kg_h == pytest.approx(6.0)
    line.seconds(4, decision=None)
    assert line.plc.panel.alive
    line.seconds(1, decision=None)
    assert not line.plc.panel.alive
    assert line.plc.panel.decision is None
    assert "unchanged for 5 s" in line.plc.panel.fault
    # 6 kg/h per minute: back to the recipe in one minute, without a bump.
    assert line.trim_kg_h == pytest.approx(5.9)
    line.seconds(60, decision=None)
    assert line.trim_kg_h == pytest.approx(0.0)
    # It returns and its old suggestion is not offered again.
    line.seconds(5)
    assert line.plc.panel.alive
    assert line.trim_kg_h == pytest.approx(0.0)


@pytest.mark.parametrize("word", [0, 3, 17, 40, 62, 63])
def test_a_damaged_block_is_masked_at_once_but_does_not_move_the_trim(word: int) -> None:
    line = Line(PlcBlock(operator=AcceptAfter(0)))
    line.seconds(60)
    line.publish(OFFER)
    damaged = list(line.words)
    damaged[word] ^= 0x0001
    _, trim_kg_h = line.plc.scan(damaged, RUNNING)
    assert line.plc.panel.decision is None
    assert trim_kg_h == pytest.approx(6.0)
    line.seconds(1)
    assert line.plc.panel.alive


def test_another_major_version_is_refused() -> None:
    line = Line(PlcBlock())
    line.publish(OFFER)
    words = list(line.words)
    words[1] = 0x0200
    words[62] = crc16(words[:62])
    line.plc.scan(words, RUNNING)
    assert "map version 2.0" in line.plc.panel.fault


def test_no_offer_is_shown_while_held_or_with_advice_off() -> None:
    line = Line(PlcBlock(operator=AcceptAfter(0)))
    line.seconds(5, process=replace(RUNNING, state=PackML.HELD))
    assert line.plc.panel.offer is None
    assert line.block_r.control & Control.HELD
    line.plc.advice_enabled = False
    line.seconds(5)
    assert line.plc.accepted == []
    assert not line.block_r.control & Control.ADVICE_ENABLED


def test_switching_advice_off_takes_the_trim_back() -> None:
    line = Line(PlcBlock(operator=AcceptAfter(0)))
    line.seconds(60)
    line.plc.advice_enabled = False
    line.seconds(60)
    assert line.trim_kg_h == pytest.approx(0.0)
    assert line.plc.panel.note == "advice switched off: trim goes back to the recipe"


def test_block_r_speaks_about_the_batch_and_the_repair() -> None:
    line = Line(PlcBlock(operator=Ignore()))
    line.plc.enter_maintenance(component=3, kind=1)
    line.seconds(1)
    r = line.block_r
    assert (r.batch_id, r.phase, r.batch_minutes, r.batch_state) == (70_001, 2, 90, PackML.EXECUTE)
    assert (r.maint_event, r.maint_component, r.maint_kind) == (1, 3, 1)
    assert r.control & Control.BATCH_ACTIVE


@given(
    trim=st.floats(allow_nan=True),
    base=st.floats(allow_nan=True),
    plant_base=st.floats(min_value=0.0, max_value=400.0),
    ttl=st.floats(allow_nan=True),
)
def test_whatever_is_written_the_trim_stays_in_bounds_and_rate(
    trim: float, base: float, plant_base: float, ttl: float
) -> None:
    line = Line(PlcBlock(PlcSettings(authority=0.15, ramp_kg_h_min=20.0), AcceptAfter(0)))
    wild = replace(
        OFFER, trim_kg_h=trim, trim_base_kg_h=base, trim_ttl_s=ttl,
        trim_lo_kg_h=-3000.0, trim_hi_kg_h=3000.0,
    )  # fmt: skip
    before = 0.0
    for after in line.seconds(100, decision=wild, process=replace(RUNNING, base_kg_h=plant_base)):
        assert abs(after) <= 0.15 * plant_base + 1e-9
        assert abs(after - before) <= 20.0 / 60.0 + 1e-9
        before = after


def test_operators_are_named_on_the_command_line() -> None:
    assert operator("accept:12") == AcceptAfter(12.0)
    assert operator("reject") == RejectAll()
    assert operator("ignore") == Ignore()
    with pytest.raises(ValueError, match="permitted are accept"):
        operator("accept:soon")
