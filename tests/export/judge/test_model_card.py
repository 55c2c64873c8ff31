"""The card in docs is what the stored results say, word for word."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.judge.benchmark import read_rows
from export.judge.card import card

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
