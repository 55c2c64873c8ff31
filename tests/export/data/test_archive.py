"""The panel's entries and the plant's log, merged: what is counted, what is only said."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.__main__ import main
from export.data.archive import Entry, merge
from export.data.labels import Event, parse_log

HEAD = "time,line,event,kind,component,batch,text\n"
LOG = "time,event,end,component,group,text\n"
T = 1_780_000_000.0
HOUR = 3600.0


def entry(hour: float, kind: str, component: str = "C03", row: int = 2) -> Entry:
    return Entry(time_s=T + hour * HOUR, event="maintenance", kind=kind, component=component,
                 batch="1", file="events.csv", row=row)  # fmt: skip


def own(kind: str, hour: float, end: float | None = None) -> Event:
    return Event(time_s=T + hour * HOUR, kind=kind, end_s=T + (hour if end is None else end) * HOUR,
                 component="C03", file="log.csv", line=2)  # fmt: skip


@pytest.mark.parametrize(
    ("log", "entries", "kinds"),
    [
        ([], [entry(0, "cleaned")], ["maintenance"]),
        ([], [entry(0, "calibrated")], ["maintenance"]),
        ([], [entry(0, "repaired")], ["failure", "maintenance"]),
        ([], [entry(0, "replaced")], ["failure", "maintenance"]),
        ([own("failure", -2)], [entry(0, "repaired")], ["failure", "maintenance"]),
        ([own("failure", -2), own("maintenance", -1, 1)], [entry(0, "repaired")],
         ["failure", "maintenance"]),
        ([own("maintenance", -9, -8)], [entry(0, "repaired")],
         ["maintenance", "failure", "maintenance"]),
    ],
)  # fmt: skip
def test_what_an_entry_at_the_panel_adds(
    log: list[Event], entries: list[Entry], kinds: list[str]
) -> None:
    events, findings = merge(log, entries)
    assert [event.kind for event in events] == kinds
    assert not any(finding.fault for finding in findings)


def test_an_unknown_kind_is_named_and_not_used() -> None:
    events, (finding,) = merge([], [entry(0, "code 9")])
    assert not events
    assert str(finding).startswith("events.csv:2: maintenance 'code 9'")
    assert finding.fault


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """One hour of nothing much, six hours before T."""
    folder = tmp_path / "archive"
    (folder / "line").mkdir(parents=True)
    times = pa.array([int((T - 6 * HOUR + n) * 1e6) for n in range(3600)],
                     pa.timestamp("us", tz="UTC"))  # fmt: skip
    pq.write_table(pa.table({"time": times}), folder / "line" / "00000001-x.parquet")
    (folder / "events.csv").write_text(HEAD)
    return folder


def label(archive: Path, log: str, *more: str) -> int:
    path = archive.parent / "log.csv"
    path.write_text(LOG + log)
    return main(["label", str(archive), "--log", str(path), *more])


def test_labels_are_written_as_a_log_that_is_read_again(
    archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert label(archive, "2026-05-28 20:26,failure,,C03,,burst\n") == 0
    out = capsys.readouterr()
    assert "D-1 60 min" in out.out
    assert "has no maintenance after it" in out.err
    events, faults = parse_log((archive / "labels.csv").read_text(), "labels.csv")
    assert not faults
    assert [(e.kind, e.component, e.text) for e in events] == [("failure", "C03", "burst")]


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("yesterday,failure,,,,\n", "log.csv:2: time 'yesterday'"),
        ("2026-05-28 20:26,exploded,,,,\n", "log.csv:2: event 'exploded'"),
        (
            "2026-05-28 10:00,maintenance,2026-05-28 14:00,,,\n"
            "2026-05-28 12:00,maintenance,2026-05-28 16:00,,,\n",
            "log.csv:3: maintenance of 2026-05-28 12:00:00 UTC begins before the one of line 2",
        ),
        ("2025-05-28 20:26,failure,,,,\n", "log.csv:2: failure of 2025-05-28 20:26:00 UTC lies"),
    ],
)
def test_conflicts_name_file_and_row_and_write_nothing(
    archive: Path, log: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert label(archive, log) == 2
    assert said in capsys.readouterr().err
    assert not (archive / "labels.csv").exists()
    assert label(archive, log, "--force") == 0


def test_an_operators_label_without_a_failure_is_said(
    archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (archive / "events.csv").write_text(HEAD + "2026-05-28T10:00:00+00:00,line,label,defect,,7,x\n")
    assert label(archive, "") == 0
    err = capsys.readouterr().err
    assert "events.csv:2: the operator calls batch 7 defective, but no failure follows" in err
    assert "no minute has a label" in err


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda a: (a / "events.csv").unlink(), "events.csv: cannot be read"),
        (lambda a: (a / "events.csv").write_bytes(b"\xff\xfe"), "not UTF-8"),
        (lambda a: (a / "line" / "00000001-x.parquet").write_bytes(b"PAR1"), "not a batch of"),
        (lambda a: (a / "line" / "00000001-x.parquet").unlink(), "holds no batches"),
    ],
)
def test_what_is_no_archive(archive: Path, spoil, said: str, capsys) -> None:  # type: ignore[no-untyped-def]
    spoil(archive)
    assert label(archive, "") == 2
    assert said in capsys.readouterr().err


def test_an_unknown_time_zone(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert label(archive, "", "--timezone", "Mars/North") == 2
    assert "Mars/North" in capsys.readouterr().err
