"""A reload in the core: what a line knows outlives a new setup exactly as far as it still holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge.core.batch import Batch, BatchState
from edge.core.conditions import Condition
from edge.core.line import LineCore, LineSetup, Surroundings
from edge.core.quality import Judge
from edge.core.registers import TrimState
from edge.core.tags import Quality, Reason, Row, Tag
from edge.core.topology import Component, Topology
from edge.core.verdict import Verdict

TOPOLOGY = Topology(
    components=(Component(code="C01", number=1, name="feed", parts=("meter",)),), edges=()
)


def tag(name: str, high: float = 10.0, frozen_s: float = 0.0) -> Tag:
    return Tag(
        name=name, text=name, unit="bar", low=0, high=high, component="C01", part="meter",
        frozen_s=frozen_s,
    )  # fmt: skip


SETUP = LineSetup(
    tags=(tag("A"), tag("B")), topology=TOPOLOGY, row_s=1.0, step_rows=60, has_batches=True,
    simulation="", verdict=None, drift=None, drift_limit=0.0,
)  # fmt: skip


def running() -> LineCore:
    """A core ten rows into a step, with a batch, a verdict and a condition."""
    core = LineCore(SETUP)
    for k in range(10):
        good = np.zeros(2, np.uint8)
        row = Row(
            t_s=float(k), values=np.ones(2, np.float32), quality=good, reason=good,
            start_s=float(k), end_s=float(k),
        )  # fmt: skip
        core.observe(row, {})
        core.decide(
            Surroundings(
                now_s=float(k), plc=None, seen={Condition.LINK_DOWN: "plc"}, buffer_fill=0.0,
                model_loaded=False,
            )
        )  # fmt: skip
    core.batch = Batch(batch_id=7, state=BatchState.RUNNING, step=5)
    core.finding.verdict = Verdict(severity=2)
    core.desk.advice = replace(core.desk.advice, seq=4, state=TrimState.OFFERED)
    return core


def test_a_limit_changes_nothing_that_is_known() -> None:
    core = running()
    raised, finding, desk = core.conditions.raised, core.finding, core.desk
    assert Condition.LINK_DOWN in raised
    core.adopt(replace(SETUP, tags=(tag("A", high=5.0), tag("B"))))
    assert core.setup.tags[0].high == 5.0
    assert (core.conditions.raised, core.finding, core.desk) == (raised, finding, desk)
    assert (core.batch.batch_id, core.batch.step) == (7, 5)
    assert core.data_quality == 1.0
    steps = [core.observe(_gap(), {}) for _ in range(50)]
    assert steps == [False] * 49 + [True], "the step under way is finished, not begun anew"


def _gap() -> Row:
    bad = np.full(2, Quality.BAD, np.uint8)
    return Row(
        t_s=0.0, values=np.full(2, np.nan, np.float32), quality=bad,
        reason=np.full(2, Reason.MISSED, np.uint8), start_s=0.0, end_s=0.0,
    )  # fmt: skip


def test_other_rows_begin_a_new_step_and_verdict_but_keep_batch_and_conditions() -> None:
    core = running()
    core.adopt(replace(SETUP, tags=(*SETUP.tags, tag("C"))))
    assert core.bad == (True,) * 3
    assert core.data_quality == 0.0
    assert core.finding.verdict.severity == 0
    assert core.batch.batch_id == 7
    assert Condition.LINK_DOWN in core.conditions.raised


def test_another_model_forms_its_own_verdict() -> None:
    core = running()
    core.adopt(replace(SETUP, model_hash=99))
    assert core.finding.verdict.severity == 0
    assert core.data_quality == 1.0


def test_an_offer_ends_where_its_basis_changes_and_its_number_is_never_used_again() -> None:
    core = running()
    core.adopt(replace(SETUP, tags=(tag("B"), tag("A"))))
    assert core.desk.advice.state is TrimState.NONE
    assert core.desk.advice.seq == 4


def test_a_frozen_value_is_no_fresh_one_for_a_reload() -> None:
    old = Judge([tag("A", frozen_s=5.0), tag("B", frozen_s=5.0)])
    new = Judge([tag("C", frozen_s=5.0), tag("B", frozen_s=5.0)])

    def judged(judge: Judge, now_s: float) -> list[int]:
        _, quality, _ = judge.judge(
            np.ones(2), np.zeros(2, np.uint8), np.zeros(2, np.uint8), np.full(2, np.nan),
            wall_s=0.0, monotonic_s=now_s,
        )  # fmt: skip
        return list(quality)

    judged(old, 0.0)
    assert judged(old, 6.0) == [Quality.BAD, Quality.BAD]
    new.take_over(old, {1: 1})
    assert judged(new, 7.0) == [Quality.GOOD, Quality.BAD]
