"""A maintenance log -> labels; what contradicts itself is named, never guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.data.findings import PlantError
from export.data.labels import (
    DAY_S,
    Event,
    conflicts,
    countdown_level,
    events_of,
    label_times,
    outside,
    parse_log,
)
from export.data.plant import load_plant, read_plant
from export.data.recording import load_recording
from tests.export.data.conftest import rows

HEAD = "time,event,end,component,group,text\n"
T0 = 1_780_000_000.0
DAYS = np.arange(0.0, 12.0, 0.25)
"""Twelve days, a row every six hours."""


def event(day: float, kind: str, hours: float = 0.0, line: int = 2) -> Event:
    start = T0 + day * DAY_S
    return Event(time_s=start, kind=kind, end_s=start + hours * 3600, file="log.csv", line=line)


def labelled(events: list[Event], **rules: object) -> dict[float, int]:
    severity, _ = label_times(T0 + DAYS * DAY_S, events, **rules)  # type: ignore[arg-type]
    return dict(zip(DAYS.tolist(), severity.tolist()))


def test_the_last_three_days_before_a_failure_are_levels_1_2_3() -> None:
    got = labelled([event(1, "maintenance", 6, 2), event(9, "failure", 0, 3)])
    assert [got[d] for d in (6.0, 6.25, 7.0, 7.25, 8.0, 8.25, 9.0)] == [-1, 1, 1, 2, 2, 3, 3]
    assert got[1.0] == -1, "being repaired"
    assert [got[d] for d in (1.25, 2.0, 4.25)] == [0, 0, 0], "three days after the repair"
    assert [got[d] for d in (4.5, 5.75)] == [-1, -1], "between: not used"
    assert [got[d] for d in (9.25, 11.75)] == [-1, -1], "failed and not repaired"


def test_what_lies_between_may_be_called_normal() -> None:
    got = labelled([event(1, "maintenance"), event(9, "failure", 0, 3)], between="normal")
    assert [got[d] for d in (0.0, 4.5, 5.75)] == [0, 0, 0]
    assert got[6.25] == 1
    short = labelled([event(1, "maintenance")], normal_h=12.0)
    assert [short[d] for d in (1.0, 1.5, 1.75)] == [0, 0, -1]


def test_time_to_the_next_failure() -> None:
    _, left = label_times(T0 + DAYS * DAY_S, [event(9, "failure")])
    assert left[0] == 9 * DAY_S
    assert np.isinf(left[-1])
    assert countdown_level(np.array([0.0, DAY_S, 2.5 * DAY_S, 3.1 * DAY_S, np.inf])).tolist() == [
        3, 2, 1, 0, 0,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([event(5, "failure", 0, 2), event(7, "failure", 0, 3)],
         "log.csv:3: failure of .* follows the failure of line 2, 2.0 days later without"),
        ([event(1, "failure", 0, 2), event(7, "failure", 0, 3)],
         "log.csv:3: .* follows the failure of line 2 without maintenance between them; add the"),
        ([event(4, "maintenance", 12, 2), event(6, "failure", 0, 3)],
         "log.csv:3: failure of .* comes 36.0 h after the maintenance of line 2: rows before it"),
        ([event(4, "maintenance", 24, 2), event(4.5, "failure", 0, 3)],
         "log.csv:3: .* lies within the maintenance of line 2; correct one of the times"),
        ([event(4, "maintenance", 24, 2), event(4.5, "maintenance", 5, 3)],
         "log.csv:3: maintenance of .* begins before the one of line 2 has ended"),
    ],
)  # fmt: skip
def test_events_that_contradict_each_other(events: list[Event], message: str) -> None:
    import re

    found = conflicts(events)
    assert len(found) == 1
    assert found[0].fault
    assert re.match(message, str(found[0])), str(found[0])
    severity = labelled(events)
    last = (max(e.time_s for e in events) - T0) / DAY_S
    assert {severity[d] for d in DAYS if last - 3 <= d <= last} == {-1}, "touched rows are unused"


def test_a_plain_history_has_no_conflict() -> None:
    history = [event(1, "maintenance", 6), event(5, "failure"), event(5.1, "maintenance", 3),
               event(9, "failure")]  # fmt: skip
    assert conflicts(history) == []


def test_events_outside_the_recording() -> None:
    spans = [("run-1", T0, T0 + 5 * DAY_S)]
    assert outside([event(6, "failure"), event(-1, "maintenance")], spans) == []
    (found,) = outside([event(400, "failure", 0, 7)], spans)
    assert "log.csv:7: failure of 2027-07-" in str(found)
    assert "check the year and the time zone" in str(found)
    other = Event(time_s=T0, kind="failure", end_s=T0, group="run-9", file="log.csv", line=2)
    assert "no stretch named 'run-9'" in str(outside([other], spans)[0])
    assert events_of([other], "run-1") == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2026-03-02 14:10,breakdown,,,,", r"log\.csv:2: event 'breakdown': permitted: failure, m"),
        ("2026-03-02 14:10,failur,,,,", r"log\.csv:2: event 'failur': did you mean 'failure'\?"),
        ("3.2.2026,failure,,,,", r"log\.csv:2: time '3.2.2026': write it like 2026-03-02 14:10"),
        ("2026-03-02 14:10,maintenance,2026-03-02 13:00,,,",
         r"log\.csv:2: maintenance ends at '2026-03-02 13:00', before it begins"),
        ("nan,failure,,,,", r"log\.csv:2: time 'nan': write it like"),
        ("1e30,failure,,,,", r"log\.csv:2: time '1e30': write it like"),
    ],
)  # fmt: skip
def test_a_log_that_cannot_be_read(line: str, message: str) -> None:
    import re

    events, found = parse_log(HEAD + line + "\n", "log.csv")
    assert events == []
    assert re.match(message, str(found[0])), str(found[0])


def test_a_log_without_its_columns() -> None:
    _, found = parse_log("when,event\n", "log.csv")
    assert str(found[0]).startswith("log.csv:1: column 'time' is missing")
    assert any("unknown column 'when'" in str(f) for f in found)


@pytest.mark.parametrize("apart", [",", ";", "\t"])
def test_a_log_as_a_spreadsheet_saves_it(apart: str) -> None:
    text = "\ufefftime,event,end,text\r\n\r\n2026-03-02 14:10,failure,,x\r\n,,,\r\n"
    (only,), found = parse_log(text.replace(",", apart), "log.csv")
    assert (only.kind, only.text, found) == ("failure", "x", [])


def test_a_conflict_across_two_files_names_both() -> None:
    other = Event(time_s=T0 + 1.0, kind="failure", end_s=T0 + 1.0, file="events.csv", line=2)
    (found,) = conflicts([event(0, "maintenance", 1), other])
    assert str(found).startswith("events.csv:2: failure of")
    assert "within the maintenance of log.csv:2" in str(found)


def test_local_times_of_a_log() -> None:
    events, _ = parse_log("time,event\n2026-07-01 12:00,failure\n", "log.csv", "Asia/Seoul")
    assert events[0].time_s == 1782874800.0  # 03:00 UTC


def test_each_batch_is_given_the_component_of_the_failure_it_leads_up_to(tmp_path: Path) -> None:
    for n, begins in enumerate(("2026-03-02T00:00", "2026-03-12T00:00")):
        table = rows(40)
        hours = np.datetime64(begins) + np.arange(40) * np.timedelta64(1, "h")
        table.time = [str(h) for h in hours]
        for name, column in table.columns.items():
            table.columns[name] = [str(float(value) + n) for value in column]
        table.write(tmp_path / f"run-{n}.csv")
    (tmp_path / "log.csv").write_text(
        HEAD + "2026-03-03 20:00,failure,,PIPE,,\n2026-03-04 20:00,maintenance,,,,\n"
        "2026-03-13 20:00,failure,,PUMP,,\n"
    )
    toml = tmp_path / "plant.toml"
    toml.write_text(
        'files = ["run-*.csv"]\ntime = "time"\nrow_s = 3600.0\nstep_rows = 4\n'
        'label = { log = "log.csv" }\n'
        'tag = [{ name = "Pressure", component = "PUMP" }, { name = "Flow", component = "PIPE" }]\n'
    )
    assert [batch.component for batch in load_plant(toml).batches] == ["PIPE", "PUMP"]


def test_a_plant_labelled_by_its_log(tmp_path: Path) -> None:
    table = rows(400)
    hours = np.datetime64("2026-03-02T00:00") + np.arange(400) * np.timedelta64(1, "h")
    table.time = [str(h) for h in hours]
    table.write(tmp_path / "run-1.csv")
    (tmp_path / "log.csv").write_text(
        HEAD + "2026-03-02 00:00,maintenance,,,,\n2026-03-12 12:00,failure,,PIPE,run-1,leak\n"
    )
    toml = tmp_path / "plant.toml"
    toml.write_text(
        'file = "run-1.csv"\ntime = "time"\nrow_s = 3600.0\nstep_rows = 4\nfault = "leak"\n'
        'label = { log = "log.csv", between = "normal" }\n'
        'tag = [{ name = "Pressure", component = "PUMP" }, { name = "Flow", component = "PIPE" }]\n'
    )
    (stretch,) = load_plant(toml).batches
    assert np.bincount(stretch.severity[stretch.severity >= 0]).tolist() == [45, 6, 6, 6]
    assert (stretch.fault, stretch.component) == ("leak", "PIPE")
    assert stretch.notes["to_failure_s"][62] == 9 * 3600 - 8 * 3600 + 0
    toml.write_text(toml.read_text().replace(', between = "normal"', ""))
    begin, rest = load_recording(toml).batches
    assert len(begin.severity) == 18, "only what the log says to be normal teaches the reference"
    assert (rest.severity[0], rest.level) == (-1, 3)
    (tmp_path / "log.csv").write_text(
        HEAD + "2026-03-11 00:00,failure,,,,\n2026-03-12 12:00,failure,,,,\n"
    )
    with pytest.raises(PlantError, match=r"log\.csv:3: failure of 2026-03-12 12:00:00 UTC follows"):
        load_plant(toml)
    assert any(f.kind == "log" for f in read_plant(toml).findings)
