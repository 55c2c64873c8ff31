"""The speciation beside an independent code with the same constants."""

from __future__ import annotations

import pytest

from bench.phreeqc_compare import compare


def test_phreeqc_finds_the_same_ph_and_nickel() -> None:
    pytest.importorskip("phreeqpython", reason="phreeqpython is not installed (extra benchmark)")
    rows = compare()
    assert len(rows) == 20
    for ph, _, nickel, ph_same, nickel_same, *_ in rows:
        assert ph_same == pytest.approx(ph, abs=0.01)  # PHREEQC lowers the activity of water
        assert nickel_same == pytest.approx(nickel, rel=0.01)
