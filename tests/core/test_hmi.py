"""The HMI package: up to date, complete, and no more than six alarms."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from edge.__main__ import main
from edge.cli.hmi import DOCUMENTS, FLOW, flow_text, panel_line
from edge.config.load import load
from edge.core import hmi
from edge.core.conditions import TABLE
from edge.core.registers import Alarm, r, w

FOLDER = Path(__file__).parents[2] / "docs" / "hmi"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_package_is_up_to_date(name: str) -> None:
    kept = (FOLDER / name).read_text(encoding="utf-8")
    assert kept == DOCUMENTS[name](), "out of date; run `ncm-edge hmi --out docs/hmi`"


def test_nothing_else_lies_there() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(DOCUMENTS)


def test_each_alarm_has_all_an_operator_needs() -> None:
    assert set(hmi.ALARMS) == set(Alarm) - {Alarm.NONE}
    assert len(hmi.ALARMS) <= 6
    assert {row.alarm for row in TABLE.values()} - {Alarm.NONE} == set(hmi.ALARMS)
    # A plant where most alarms are urgent has none (ISA-18.2: about 5, 15, 80 per cent).
    assert [row.priority for row in hmi.ALARMS.values()].count("high") == 1
    rows = list(csv.DictReader(io.StringIO(hmi.alarms_csv())))
    assert len(rows) == sum(row.alarm is not Alarm.NONE for row in TABLE.values())
    assert all(all(cell for cell in row.values()) for row in rows)


def test_every_field_and_key_names_words_that_exist() -> None:
    for field in hmi.FACEPLATE:
        assert all(w(name) for name in field.words)
        assert field.blank_when
    for _, words, what in hmi.KEYS:
        assert all(r(name) for name in words)
        assert what


def test_the_command_writes_the_package_or_says_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["hmi", "--out", str(tmp_path / "hmi")]) == 0
    assert sorted(p.name for p in (tmp_path / "hmi").iterdir()) == sorted(DOCUMENTS)
    (tmp_path / "file").write_text("")
    assert main(["hmi", "--out", str(tmp_path / "file")]) == 2
    assert "file" in capsys.readouterr().err
