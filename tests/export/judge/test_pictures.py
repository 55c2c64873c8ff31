"""The panels: what they say is what the scores say, and twice the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.judge.pictures import BATCHES_A_YEAR, FAILURES, STOP, Judged, write_panels, yearly_cost


def judged(name: str, gain: float, seconds: float = 0.01) -> Judged:
    level = np.array([0] * 20 + [1] * 5 + [2] * 5 + [3] * 10, np.int8)
    draw = np.random.default_rng(4)
    return Judged(
        name=name, level=level, score=draw.normal(gain * level, 0.3), threshold=np.full(40, 0.8),
        seconds=seconds, history=[{"phase": 1, "classification": 1.0 / n} for n in range(1, 9)],
    )  # fmt: skip


def test_the_yearly_cost_counts_what_was_missed_and_what_was_stopped_for_nothing() -> None:
    level = np.array([0, 0, 0, 0, 3, 3], np.int8)
    one = Judged(name="x", level=level, score=np.array([0, 0, 0, 2.0, 0, 2.0]),
                 threshold=np.ones(6))  # fmt: skip
    assert yearly_cost(one) == (0.5 * FAILURES, 0.25 * BATCHES_A_YEAR * STOP)


def test_panels_are_small_and_the_same_twice(tmp_path: Path) -> None:
    every = [judged("ours", 1.0), judged("paper", 0.3, 0.02), judged("lstm", 0.1, 0.03)]
    files = [
        write_panels(
            every, tmp_path / side, "twin", "source -> target (simulated)", ("ours", "paper")
        )
        for side in ("a", "b")
    ]
    assert {f.stem for f in files[0]} == {
        f"twin-{p}" for p in ("roc", "severity", "confusion", "cost", "speed", "loss")
    }
    for one, two in zip(*files):
        assert one.read_bytes() == two.read_bytes()
        assert one.stat().st_size < 100_000
        assert "simulated" in one.read_text()


def test_no_method_no_picture(tmp_path: Path) -> None:
    assert write_panels([judged("a", 1.0)], tmp_path, "x", "t", ("ours",)) == []
    with pytest.raises(ValueError, match="shape"):
        _ = Judged(name="x", level=np.zeros(2, np.int8), score=np.zeros(3),
                   threshold=np.zeros(2)).flagged  # fmt: skip
