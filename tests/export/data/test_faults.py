"""Every kind of bad input: what is said, with file, row and remedy."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.config.faults import ConfigError
from export.data.dataset import DatasetError
from export.data.findings import PlantError
from export.data.plant import load_plant, read_plant
from tests.export.data.conftest import Rows, rows

Plant = Callable[..., Path]
Spoil = Callable[[Rows], None]


def renamed(table: Rows) -> None:
    table.columns = {"Presure" if n == "Pressure" else n: c for n, c in table.columns.items()}


def dropped(table: Rows) -> None:
    del table.columns["Flow"]


def emptied(table: Rows) -> None:
    table.columns["Flow"] = [""] * len(table.time)


def kilo(table: Rows) -> None:
    flow = table.columns["Flow"]
    table.columns["Flow"] = flow[:200] + [str(float(v) * 1000) for v in flow[200:]]


def beyond(table: Rows) -> None:
    """bar -> hPa: outside the range, so that no value of the rest is good."""
    p = table.columns["Pressure"]
    table.columns["Pressure"] = p[:200] + [str(float(v) * 1000) for v in p[200:]]


def fahrenheit(table: Rows) -> None:
    t = table.columns["Temp"]
    table.columns["Temp"] = t[:205] + [str(float(v) * 1.8 + 32) for v in t[205:]]


def repeated(table: Rows) -> None:
    table.time[50] = table.time[49]


def set_back(table: Rows) -> None:
    table.time[100:] = table.time[20:320]


def autumn(table: Rows) -> None:
    stamps = np.array(table.time, "datetime64[s]")
    stamps[200:] -= np.timedelta64(3600, "s")
    table.time = [str(s) for s in stamps]


def text_in_cell(table: Rows) -> None:
    table.columns["Flow"][17] = "Bad Input"


def no_time(table: Rows) -> None:
    table.time[3] = ""


def odd_time(table: Rows) -> None:
    table.time[3] = "yesterday"


def mixed_offsets(table: Rows) -> None:
    table.time[200:] = [f"{t}+01:00" for t in table.time[200:]]


def no_label(table: Rows) -> None:
    table.columns["bad"] = [""] * len(table.time)


FAULTS: list[tuple[Spoil, str]] = [
    (renamed, r"run-1\.csv:1: column 'Pressure' \(tag 'Pressure'\) is missing; did you mean "
              r"'Presure'\?; if it was renamed, map it with `columns`"),
    (dropped, r"run-1\.csv:1: column 'Flow' \(tag 'Flow'\) is missing; it has time, Pressure"),
    (emptied, r"plant\.toml: tag 'Flow' has no good value in any row; remove it from the"),
    (kilo, r"run-1\.csv:202: tag 'Flow' jumps from 12\d to 1\.2\d*e\+05, a factor of 1000: the "
           r"unit changed; convert the rows from here on to kg/h, or split the file here"),
    (beyond, r"run-1\.csv:202: tag 'Pressure' jumps from [34]\.?\d* to [34]\d{3}, a factor of 1"),
    (repeated, r"run-1\.csv:52: the time repeats; remove the second row"),
    (set_back, r"run-1\.csv:102: the clock goes back by 79 s; sort the rows"),
    (autumn, r"run-1\.csv:202: the clock goes back by 3599 s, as at the end of summer time; give "
             r'timezone = "Europe/Berlin" or times with their offset'),
    (text_in_cell, r"run-1\.csv:19: column 'Flow': 'Bad Input' is not a number; empty means"),
    (no_time, r"run-1\.csv:5: no time; remove the row or fill the time in"),
    (odd_time, r"run-1\.csv:5: time 'yesterday' does not fit time_format = 'iso'"),
    (mixed_offsets, r"run-1\.csv:202: times with and without an offset from UTC"),
    (no_label, r"plant\.toml: no step has a label; check `label`"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "message"), FAULTS, ids=[f.__name__ for f, _ in FAULTS])
def test_a_fault_is_said_with_its_row(plant: Plant, spoil: Spoil, message: str) -> None:
    table = rows(bad_from=300)
    spoil(table)
    with pytest.raises(DatasetError, match=message):
        load_plant(plant({"run-1.csv": table}))


def frozen(table: Rows) -> None:
    table.columns["Temp"][100:200] = ["60.0"] * 100


def out_of_range(table: Rows) -> None:
    table.columns["Pressure"][20:25] = ["99"] * 5


def dead_here(table: Rows) -> None:
    table.columns["Flow"] = [""] * len(table.time)


def healthy(table: Rows) -> None:
    table.columns["bad"] = ["0"] * len(table.time)


def all_bad(table: Rows) -> None:
    table.columns["bad"] = ["1"] * len(table.time)


WARNINGS: list[tuple[Spoil, str]] = [
    (dead_here, r"spoilt\.csv:2: 'spoilt': tag 'Flow' has no good row \(it has no value\)"),
    (all_bad, r"plant\.toml: domain 'spoilt' has no normal step: its reference cannot be learnt; "
              r"add rows after a maintenance"),
    (fahrenheit, r"spoilt\.csv:20\d: tag 'Temp' jumps from 60\.?\d* to 140\.?\d*, 1\.8 x \+ 32"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "message"), WARNINGS, ids=[w.__name__ for w, _ in WARNINGS])
def test_what_may_be_meant_is_a_warning(plant: Plant, spoil: Spoil, message: str) -> None:
    table = rows(seed=5)
    spoil(table)
    loaded = read_plant(plant({"spoilt.csv": table, "whole.csv": rows(seed=6)}))
    assert not [f for f in loaded.findings if f.fault], loaded.findings
    text = "\n".join(str(f) for f in loaded.findings)
    import re

    assert re.search(message, text), text


def test_frozen_and_out_of_range_rows_do_not_count_as_good(plant: Plant) -> None:
    table = rows()
    frozen(table)
    out_of_range(table)
    loaded = read_plant(plant({"run-1.csv": table}))
    (stretch,) = loaded.dataset.batches
    assert loaded.counts.frozen.tolist() == [0, 0, 40]
    assert stretch.valid[15:21, 2].tolist() == [1, 0, 0, 0, 0, 1]
    assert loaded.counts.out_of_range.tolist() == [5, 0, 0]
    assert stretch.valid[2, 0] == pytest.approx(0.5)
    assert stretch.features[2, 0, 3] < 10, "the maximum must not hold a value beyond the range"


def test_one_class_is_said(plant: Plant) -> None:
    table = rows()
    healthy(table)
    text = "\n".join(str(f) for f in read_plant(plant({"run-1.csv": table})).findings)
    assert "every labelled step is normal: a classifier cannot learn from one class" in text


def test_a_recording_shorter_than_a_step(plant: Plant) -> None:
    toml = plant({"a.csv": rows(), "b.csv": rows(7, seed=3)})
    loaded = read_plant(toml)
    assert [b.group for b in loaded.dataset.batches] == ["a"]
    assert any("b.csv: a stretch of 7 rows is shorter than a model step of 10 rows" in str(f)
               for f in loaded.findings)  # fmt: skip
    with pytest.raises(DatasetError, match="none is as long as a model step of 10 rows"):
        load_plant(toml, toml.parent / "b.csv")


def test_the_same_rows_under_two_names(plant: Plant) -> None:
    with pytest.raises(PlantError, match=r"b\.csv:2: stretch 'b' holds the same values as 'a'"):
        load_plant(plant({"a.csv": rows(), "b.csv": rows()}))


def test_rows_that_two_files_share_are_found_at_any_place(plant: Plant) -> None:
    one, two = rows(seed=1), rows(seed=2)
    for name in ("Pressure", "Flow", "Temp"):
        two.columns[name][7:207] = one.columns[name][150:350]
    loaded = read_plant(plant({"a.csv": one, "b.csv": two}))
    (found,) = [f for f in loaded.findings if f.kind == "duplicate"]
    assert "'b' repeats about" in str(found)
    assert 9 <= found.line <= 60


def test_one_group_in_two_files(plant: Plant) -> None:
    toml = plant({"run-a.csv": rows(seed=1), "run-b.csv": rows(seed=2)},
                 file_pattern='"(?P<kind>run)"', group='"{kind}"')  # fmt: skip
    with pytest.raises(PlantError, match=r"group 'run' is also in .*put \{stem\} into `group`"):
        load_plant(toml)


def test_a_tolerated_fault_is_a_warning(plant: Plant) -> None:
    table = rows()
    kilo(table)
    toml = plant({"run-1.csv": table}, tolerate='["units"]')
    assert len(load_plant(toml).batches) == 1
    assert any(f.kind == "units" for f in read_plant(toml).findings)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"stepp_rows": "5"}, r"plant\.toml:\d+: unknown key 'stepp_rows'; did you mean 'step_row"),
        ({"step_rows": ""}, r"key 'step_rows' is missing"),
        ({"row_s": "0.0"}, r"row_s = 0.0: give the seconds"),
        ({"gaps": '"fill"'}, r"gaps = 'fill': permitted are 'insert', 'ignore'"),
        ({"label": '{ column = "bad", kind = "levels" }'}, r"label: kind = 'levels': permitted"),
        ({"label": '{ colum = "bad" }'}, r"label: unknown key 'colum'; did you mean 'column'"),
        ({"tolerate": '["clocks"]'}, r"tolerate: unknown kind 'clocks'; did you mean 'clock'"),
        ({"timezone": '"Berlin"'}, r"timezone = 'Berlin': not known; write it like 'Europe/Berlin"),
        ({"files": '["day-*.csv"]'}, r"no file matches 'day-\*\.csv'; the pattern is relative"),
        ({"files": '["gone.csv"]'}, r"gone\.csv: cannot be read: No such file"),
        ({"tag": "[]"}, r"no tags: give config and line, or tag"),
        ({"faults": '{ leak = { expected = ["Flo"] } }'}, r"faults\.leak: no tag 'Flo'; did you m"),
        ({"normal_rows": "50"}, r"normal_rows = 50: permitted is at least ten model steps, 100"),
        ({"group": '"{stem"'}, r"group = '\{stem': expected '\}'"),
        ({"group": '"{0}"'}, r"group = '\{0\}': name a column or a word in the braces"),
        ({"delimiter": '";;"'}, r"delimiter = ';;': permitted is one character"),
        ({"skip": "[1]"}, r"skip = \[1\]: permitted is a list of texts"),
        ({"label": '{ column = "bad", level = 9 }'}, r"label: level = 9: permitted are 1, 2, 3"),
        ({"label": '{ column = 5 }'}, r"label: column = 5: permitted is str"),
        ({"split_gap_h": "-1"}, r"split_gap_h = -1: permitted is a number above 0"),
        ({"row_s": "nan"}, r"row_s = nan: give the seconds"),
        ({"file_pattern": '"("'}, r"file_pattern = '\(': missing"),
        ({"file_pattern": '"day(?P<d>.)"', "group": '"{d}"'}, r"does not fit file_pattern"),
    ],
)  # fmt: skip
def test_a_wrong_description_is_refused(plant: Plant, keys: dict[str, str], message: str) -> None:
    toml = plant(**keys)
    if "tag" in keys:
        text = toml.read_text()
        toml.write_text(text[: text.index("  { name")])
    with pytest.raises((DatasetError, ConfigError), match=message):
        load_plant(toml)


def test_files_that_are_none(plant: Plant, tmp_path: Path) -> None:
    toml = plant()
    cut = gzip.compress((tmp_path / "run-1.csv").read_bytes())[:-200]
    for name, raw, message in (
        ("half.csv.gz", cut, "half.csv.gz"),
        ("empty.csv", b"", "holds no data rows"),
        ("head.csv", b"time,Pressure,Flow,Temp,bad\n", "holds no data rows"),
        ("short.csv", b"time,Pressure,Flow,Temp,bad\n2026-03-02T08:00:00,1,2\n",
         "short.csv:2: 3 fields, the header has 5; was the file cut off"),
        ("none.parquet", b"PAR1", "none.parquet"),
        ("none.ring", b"NCMRUNG\0", "not a ring file"),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(DatasetError, match=message):
            load_plant(toml, tmp_path / name)


def test_local_times_with_a_time_zone_only_go_forwards(plant: Plant) -> None:
    """2026-10-25 has the hour from 2 to 3 twice, 2026-03-29 does not have it."""
    for first, count in (("2026-10-24T23:00", 28), ("2026-03-28T23:00", 20)):
        utc = np.datetime64(first) + np.arange(count) * np.timedelta64(15, "m")
        from datetime import UTC
        from zoneinfo import ZoneInfo

        local = [t.item().replace(tzinfo=UTC).astimezone(ZoneInfo("Europe/Berlin")) for t in utc]
        table = rows(count)
        table.time = [f"{t:%Y-%m-%d %H:%M}" for t in local]
        toml = plant({"run-1.csv": table}, row_s="900.0", step_rows="2",
                     timezone='"Europe/Berlin"')  # fmt: skip
        loaded = read_plant(toml)
        assert not [f for f in loaded.findings if f.kind in ("clock", "gaps")], loaded.findings
        t_s = loaded.dataset.batches[0].notes["t_s"]
        assert set(np.diff(t_s)) == {1800.0}
        assert t_s[0] == utc[1].astype("datetime64[s]").astype(int)


def test_offsets_from_utc_are_obeyed(plant: Plant) -> None:
    table = rows()
    table.time = [f"{t}+02:00" for t in table.time]
    (stretch,) = load_plant(plant({"run-1.csv": table})).batches
    assert stretch.notes["t_s"][0] == 1772431209.0  # 2026-03-02 06:00:09 UTC


def test_a_file_in_another_unit_is_told_from_the_others(plant: Plant) -> None:
    odd = rows(seed=3)
    odd.columns["Flow"] = [str(float(v) / 1000) for v in odd.columns["Flow"]]
    others = {f"run-{k}.csv": rows(seed=k) for k in (1, 2)}
    loaded = read_plant(plant({**others, "run-3.csv": odd}))
    (found,) = [f for f in loaded.findings if f.kind == "units"]
    assert "run-3.csv:2: tag 'Flow' of 'run-3' is 0.001 times what it is elsewhere" in str(found)


def test_too_little_memory_is_said(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("export.data.stretch.batch_features", full)
    with pytest.raises(
        DatasetError, match=r"run-1\.csv: the features of this file do not fit into"
    ):
        load_plant(plant())
