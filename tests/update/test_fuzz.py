"""Five thousand spoilt update files; bench/update_fuzz.py tries a million of the same kinds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from edge.update import trust
from tests.update.fuzz import BY_A_HOLDER, KINDS, Material, spoilt, tried
from tests.update.site import Appliance

COUNT = 5_000


def test_spoilt_update_files(
    memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    material = Material(tmp_path)
    appliance = Appliance(state=memory / "state", pinned=material.pinned)
    # The pinned root is the appliance's own and never spoilt: one look at it is half the time.
    pinned = trust.pin(material.pinned.read_bytes())
    monkeypatch.setattr(trust, "pin", lambda _: pinned)
    for good in material.valid:
        assert tried(appliance, memory / "x.ncm", good) == "accepted"
    outcomes: Counter[tuple[str, str]] = Counter()
    for number in range(COUNT):
        one = spoilt(material, 2, number)
        outcome = tried(appliance, memory / "x.ncm", one.data)
        outcomes[one.kind, outcome] += 1
        assert outcome != "accepted" or one.kind in BY_A_HOLDER, f"number {number}, {one.kind}"
    assert {kind for kind, _ in outcomes} == set(KINDS)
    # It goes deep: no refusal that a file alone can cause stays untried.
    reasons = {name for _, name in outcomes}
    assert reasons >= {
        "truncated", "trailing-data", "not-a-bundle", "format", "bad-document", "bad-manifest",
        "hash", "signature", "root-signature", "root-rules", "root-mix", "epoch",
    }  # fmt: skip
