"""The shipped register documents are the tables of the code, no more and no less."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.config.register_map import FILES, write
from edge.core import register_map
from edge.core import registers as reg

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted(FILES), ids=str)
def test_shipped_document_is_current(path: Path) -> None:
    remedy = "run: python -m edge.config.register_map"
    assert (ROOT / path).read_text(encoding="utf-8") == FILES[path](), f"{path} is old; {remedy}"


def test_write_makes_every_file(tmp_path: Path) -> None:
    for path in FILES:
        (tmp_path / path).parent.mkdir(parents=True)
    write(tmp_path)
    assert all((tmp_path / path).is_file() for path in FILES)


def test_csv_counts_both_ways() -> None:
    rows = [line.split(",") for line in register_map.csv(1000, 1100).splitlines()]
    assert len(rows) == 1 + reg.BLOCK_W_WORDS + reg.BLOCK_R_WORDS
    assert all(len(row) == len(rows[0]) for row in rows)
    assert rows[1][:5] == ["W", "0", "1000", "401001", "SEQ_HEAD"]
    assert rows[65][:5] == ["R", "0", "1100", "401101", "PLC_HEARTBEAT"]


def test_markdown_names_every_word_bit_and_code() -> None:
    text = register_map.markdown()
    for word in (*reg.BLOCK_W, *reg.BLOCK_R):
        assert f"| {word.name} |" in text
    for codes in (reg.Status, reg.Alarm, reg.Control, reg.TrimReason, reg.PackML):
        for code in codes:
            assert f"| {code.name} |" in text
