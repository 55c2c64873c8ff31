"""The HMI package: up to date, complete, and no more than six alarms."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from edge.__main__ import main
from edge.cli.hmi import DOCUMENTS, FLOW
from edge.core import hmi
from edge.core.conditions import TABLE
from edge.core.registers import Alarm, r, w

FOLDER = Path(__file__).parents[2] / "docs" / "hmi"


CONFIG = FOLDER.parents[1] / "firmware_config"


def test_the_package_is_up_to_date_and_nothing_else_lies_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["hmi", "--config", str(CONFIG), "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""
    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert set(made) == {path.name for path in FOLDER.iterdir()} == {*DOCUMENTS, FLOW}
    for name, text in made.items():
        kept = (FOLDER / name).read_text(encoding="utf-8")
        assert kept == text, f"{name} is out of date; run `ncm-edge hmi --out docs/hmi`"


def test_each_alarm_has_all_an_operator_needs() -> None:
    assert set(hmi.ALARMS) == set(Alarm) - {Alarm.NONE}
    assert len(hmi.ALARMS) <= 6
    assert {row.alarm for row in TABLE.values()} - {Alarm.NONE} == set(hmi.ALARMS)
    # A plant where most alarms are urgent has none (ISA-18.2: about 5, 15, 80 per cent).
    assert [row.priority for row in hmi.ALARMS.values()].count("high") == 1
    rows = list(csv.DictReader(io.StringIO(hmi.alarms_csv())))
    assert len(rows) == len(hmi.ALARMS)
    for row in rows:
        assert all(cell for cell in row.values()), row
        assert len(row["message"]) <= 40
        assert float(row["on_s_least"]) <= float(row["on_s_most"])
    causes = list(csv.DictReader(io.StringIO(hmi.conditions_csv())))
    assert len(causes) == sum(row.alarm is not Alarm.NONE for row in TABLE.values())
    assert all(all(cell for cell in row.values()) for row in causes)
    text = hmi.alarms_markdown()
    for row in rows:
        assert row["cause"] in text
        assert row["action"] in text


def test_delays_and_latches_are_those_that_are_carried_out() -> None:
    assert hmi.delays(Alarm.DRIFT) == ((600.0, 600.0), (1800.0, 1800.0), "no")
    assert hmi.delays(Alarm.DEFECT_CRITICAL)[2] == "yes"
    assert hmi.delays(Alarm.ADVISOR_FAILED) == ((0.0, 5.0), (0.0, 60.0), "some")


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
    assert sorted(p.name for p in (tmp_path / "hmi").iterdir()) == sorted([*DOCUMENTS, FLOW])
    (tmp_path / "file").write_text("")
    assert main(["hmi", "--out", str(tmp_path / "file")]) == 2
    assert "file" in capsys.readouterr().err
