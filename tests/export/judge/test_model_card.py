"""The card in docs is what the stored results say, word for word."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.judge.benchmark import read_rows
from export.judge.card import _honest, card

DOCS = Path(__file__).parents[3] / "docs"
STORED = DOCS / "benchmark.jsonl"


def test_the_card_is_made_from_the_stored_results() -> None:
    if not STORED.exists():
        pytest.skip(f"{STORED} is not there: run `ncm-export benchmark` and then --card")
    text = (DOCS / "model-card.md").read_text(encoding="utf-8")
    assert text == card(STORED, DOCS / "figures"), "run `ncm-export benchmark --card`"


def test_simulated_data_is_called_so() -> None:
    if not STORED.exists():
        pytest.skip(f"{STORED} is not there: run `ncm-export benchmark` and then --card")
    text = (DOCS / "model-card.md").read_text(encoding="utf-8")
    for info in read_rows(STORED, "set"):
        if info["simulated"]:
            (head,) = [x for x in text.splitlines() if x.startswith(f"## {info['title']}")]
            assert "simulated" in head


def test_an_alarm_that_is_always_on_is_no_early_warning() -> None:
    goal = {"figure": "first_alarm_h", "if_most": {"early_alarms_per_10_days": 1.0}}
    row = {"figures": {"first_alarm_h": [80.0], "early_alarms_per_10_days": [50.0]}}
    assert _honest(row, goal) is None
    row["figures"]["early_alarms_per_10_days"] = [0.0]
    assert _honest(row, goal) == 80.0
