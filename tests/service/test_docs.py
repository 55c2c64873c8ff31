"""The documents name what there is: test files of the standards table, places, links."""

from __future__ import annotations

import re
from pathlib import Path

from edge.service import network, record, shipped

ROOT = Path(__file__).parents[2]


def test_every_test_of_the_standards_table_is_there() -> None:
    text = (ROOT / "docs" / "standards.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)`", text)
    assert len(named) > 20
    assert not [name for name in named if not (ROOT / "tests" / name).is_file()]


def test_the_places_of_the_document_are_those_of_the_program() -> None:
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    for place in (
        network.PLACE, record.PLACE, shipped.CONFIGURATION, shipped.STATE, shipped.DOCUMENTS,
        shipped.RULES / "70-ncm-edge-stick.rules",
    ):  # fmt: skip
        assert str(place) in text


def test_links_lead_to_files_and_no_merge_was_left_half_done() -> None:
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    assert len(documents) > 15
    faults = []
    for path in documents:
        text = path.read_text(encoding="utf-8")
        faults += [
            f"{path.name}: {mark}" for mark in re.findall(r"^(?:<{7}|={7}|>{7}).*", text, re.M)
        ]
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if "://" not in link and not (path.parent / link).exists():
                faults.append(f"{path.name}: {link}")
    assert not faults
