"""The schedule file: the reference, the round trip, and every fault with its line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge.core.schedule import (
    COLUMNS,
    REFERENCE_FEEDS,
    Schedule,
    ScheduleError,
    format_csv,
    header,
    parse_csv,
    reference_schedule,
)

FILE = Path(__file__).parents[2] / "firmware_config" / "schedules" / "ncm838.csv"
SHIPPED = FILE.read_text(encoding="utf-8")
HEADING = ",".join(COLUMNS)
ROW = "1,0,60,900,100,270,43,11.2,48,500,0.9,0.07,0.03"


def mean(schedule: Schedule, name: str) -> float:
    return (
        sum(getattr(s, name) * (s.end_min - s.start_min) for s in schedule.steps) / schedule.end_min
    )


def test_the_shipped_file_is_the_reference() -> None:
    assert parse_csv(SHIPPED) == reference_schedule()


def test_the_reference_is_the_paper_s_batch() -> None:
    schedule = reference_schedule()
    assert len(schedule.steps) == 21
    assert schedule.end_min == 1080.0
    assert mean(schedule, "naoh_kg_h") == pytest.approx(206.67, rel=1e-3)
    assert mean(schedule, "nh4oh_kg_h") == pytest.approx(32.08, abs=0.01)
    core, shell = mean(schedule, "core_kg_h"), mean(schedule, "shell_kg_h")
    assert core / shell == pytest.approx(1.0015, abs=5e-4)
    fed = [
        sum(
            getattr(s, name) * (s.core_kg_h + s.shell_kg_h) * (s.end_min - s.start_min)
            for s in schedule.steps
        )
        for name in ("ni_frac", "co_frac", "mn_frac")
    ]
    assert [f / sum(fed) for f in fed] == pytest.approx([0.838, 0.124, 0.038], abs=2e-4)


def test_round_trip_keeps_name_and_header() -> None:
    schedule = replace(reference_schedule(), name="trial 7")
    text = format_csv(schedule, header=("made by hand",))
    assert "# made by hand" in text
    assert parse_csv(text) == schedule


def test_at_gives_the_running_step() -> None:
    schedule = reference_schedule()
    assert [schedule.at(m).step for m in (0.0, 59.99, 60.0, 1079.9, 5000.0)] == [1, 1, 2, 21, 21]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no heading"),
        ("step,start\n1,2", "line 1: heading 'step,start'"),
        (f"# x\n{HEADING}\n", "line 2: no step follows"),
        (f"{HEADING}\n1,0,60", "line 2: 3 cells, permitted 13"),
        (f"{HEADING}\n{ROW.replace('270', 'much')}", "line 2: naoh_kg_h = 'much'; permitted: a"),
        (f"{HEADING}\n{ROW.replace('270', '-3')}", "= '-3'; permitted: a number 0..5000"),
        (f"{HEADING}\n{ROW.replace('270', 'nan')}", "naoh_kg_h = 'nan'"),
        (f"{HEADING}\n{ROW.replace('0.9', '0.8')}", "ni_frac [+] co_frac [+] mn_frac = 0.9;"),
        (f"{HEADING}\n{ROW.replace('1,0,60', '2,0,60')}", "line 2: step = '2'; permitted: 1"),
        (f"{HEADING}\n{ROW.replace('1,0,60', '1,5,60')}", "start_min = '5'; permitted: 0"),
        (f"{HEADING}\n{ROW.replace('1,0,60', '1,0,0')}", "end_min = '0'; permitted: above"),
    ],
)
def test_a_fault_names_line_value_and_range(text: str, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        parse_csv(text)


def test_every_fault_is_reported_at_once() -> None:
    rows = [ROW.replace("270", "x"), ROW.replace("11.2", "2"), "1,2"]
    with pytest.raises(ScheduleError) as caught:
        parse_csv("\n".join([HEADING, *rows]))
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "line 2",
        "line 3",
        "line 4",
    ]


def test_the_header_carries_tanks_and_whatever_else() -> None:
    feeds = replace(REFERENCE_FEEDS, core_mol_kg=(1.5, 0.1, 0.0), naoh_mol_kg=(8.0,))
    feeds = replace(feeds, shell_mol_kg=(1.1765, 0.2928, 0.0872))
    schedule = replace(reference_schedule(), feeds=feeds)
    text = format_csv(schedule, header=("c_alk: 0.134", "a remark"))
    assert parse_csv(text).feeds == feeds
    assert header(text)["c_alk"] == "0.134"
    assert "mol_kg" not in format_csv(reference_schedule())


@pytest.mark.parametrize("value", ["", "1 2", "1 2 x", "0 0 0", "-1 1 1", "nan 1 1", "99 1 1"])
def test_a_tank_that_cannot_be_is_a_fault(value: str) -> None:
    with pytest.raises(ScheduleError, match=r"line 1: core_mol_kg = '.*'; permitted: 3 number"):
        parse_csv(f"# core_mol_kg: {value}\n{HEADING}\n{ROW}")
