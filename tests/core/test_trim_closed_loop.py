"""The trim advisor against the twin's plant, PLC block and operator: simulated."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge.config.load import load
from edge.core.batch import Batch, follow
from edge.core.outputs import (
    Decision,
    decode_block_r,
    decode_block_w,
    encode_block_w,
    next_seq,
)
from edge.core.registers import PackML, Status, TrimReason
from edge.core.tags import Quality
from edge.core.trim import Held
from edge.core.trim_advisor import Advice, Guard, TrimAdvisor, shown
from edge.core.trim_plant import minute_of
from edge.core.verdict import Verdict
from edge.twin.operator import AcceptAfter
from edge.twin.plant import LivePlant
from edge.twin.plc import PlcBlock, Process
from edge.twin.scenario import Scenario

CONFIG = Path(__file__).parents[2] / "firmware_config"
SOUND = Verdict(valid=True, why=None, probability=0.05)


@dataclass
class Run:
    ph: list[float] = field(default_factory=list)
    reasons: list[TrimReason] = field(default_factory=list)
    accepted: int = 0
    advice: Advice = field(default_factory=Advice)


def run(scenario: Scenario, minutes: int, accept_s: float) -> Run:
    line = next(line for line in load(CONFIG).lines if line.trim is not None)
    assert line.trim is not None
    assert line.schedule is not None
    plant, plc = LivePlant(scenario, line.schedule), PlcBlock(operator=AcceptAfter(accept_s))
    advisor, batch, out = TrimAdvisor(line.trim, line.schedule), Batch(), Run()
    context = [row.tag.name for row in line.context]
    names = [row.tag.name for row in line.tags] + context
    trim_kg_h, seq, now_s = 0.0, 0, 0.0
    for _ in range(minutes):
        rows = []
        for _ in range(60):
            now_s += 1.0
            second = plant.second(trim_kg_h, False)
            rows.append([*second.values, *(second.context[name] for name in context)])
            out.ph.append(second.ph_true)
            seq = next_seq(seq)
            words = encode_block_w(shown(Decision(status=Status.RUNNING), out.advice, now_s), seq)
            offer = decode_block_w(words).decision
            assert offer.trim_lo_kg_h <= offer.trim_kg_h <= offer.trim_hi_kg_h or (
                not offer.status & Status.TRIM_OFFERED
            )
            set_point = second.context[line.trim.naoh_flow_sp]
            block_r, trim_kg_h = plc.scan(
                words,
                Process(
                    base_kg_h=set_point - trim_kg_h, minute=second.minute, phase=second.step,
                    state=PackML.EXECUTE, batch_id=1,
                ),
            )  # fmt: skip
            state = decode_block_r(block_r)
            out.advice = advisor.second(out.advice, state, True, set_point, now_s)
        values = np.array(rows, np.float32)
        quality = np.where(np.isnan(values), Quality.BAD, Quality.GOOD).astype(np.uint8)
        batch = follow(batch, state, 60.0)
        guard = Guard(batch=batch, plc=state, plc_alive=True, verdict=SOUND)
        m = minute_of(line.trim, names, values, quality)
        out.advice = advisor.minute(out.advice, m, guard, now_s)
        if isinstance(out.advice.outcome, Held):
            out.reasons.append(out.advice.outcome.reason)
    out.accepted = len(plc.accepted)
    return out


def test_a_healthy_batch_is_kept_in_its_band() -> None:
    done = run(Scenario(seed=1), 90, 60.0)
    assert done.accepted >= 2
    assert max(abs(ph - 11.2) for ph in done.ph) < 0.25
    assert TrimReason.NAOH_DEMAND_ANOMALY not in done.reasons
    assert done.reasons.count(TrimReason.ON_TARGET) > 40


def test_a_leaking_naoh_line_is_not_hidden_by_the_trim() -> None:
    # From minute 65 on: what leaks before the batch begins looks like a weak lot of caustic.
    done = run(Scenario(seed=4, fault="F03", severity=3, start_fraction=0.06), 100, 600.0)
    assert done.advice.anomaly
    assert done.advice.outcome == Held(TrimReason.NAOH_DEMAND_ANOMALY)
