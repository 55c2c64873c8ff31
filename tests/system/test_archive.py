"""History -> archive -> labels -> a data set, with the commands people type."""

from __future__ import annotations

import json
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from edge.__main__ import main as edge
from edge.core.batch import BACK_MIN
from edge.core.tags import Quality
from edge.runtime.store import minute as codec
from edge.runtime.store import writer
from edge.runtime.store.reader import History
from edge.runtime.store.schema import FILE_NAME, open_for_writing
from edge.twin.scenario import Scenario
from edge.twin.simulate import simulate
from edge.twin.tag_table import TAGS
from export.__main__ import main as export
from tests.runtime.store.records import EPOCH_S, at, event, minute, step

CONFIG = Path(__file__).parents[2] / "firmware_config"
MINUTES = 40
DAY = 1440
REPAIRED = DAY + 60
"""Minute of the epoch in which the panel says: repaired."""
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two batches of the twin, an hour before a repair and an hour after it; one still runs."""
    folder = tmp_path_factory.mktemp("history")
    values = simulate([Scenario(seed=101, fault=None)], rows=60 * MINUTES)[0]
    tags = tuple((tag.name, tag.unit) for tag in TAGS)
    connection = open_for_writing(folder / FILE_NAME).connection
    records: list[Any] = [event(0, "start", "", config_sha256="ab")]
    for batch_id, first in ((41, REPAIRED - 100), (42, REPAIRED + 60), (43, REPAIRED + 200)):
        for n in range(MINUTES if batch_id != 43 else 3):
            rows = values[60 * n : 60 * (n + 1)]
            quality = np.where(np.isfinite(rows), Quality.GOOD, Quality.BAD).astype(np.uint8)
            if n == 5:
                quality[10:20, 3] = Quality.UNCERTAIN
            if batch_id == 42 and n == 7:
                continue  # a minute nobody recorded
            times = EPOCH_S + 60.0 * (first + n) + np.arange(60.0)
            records.append(
                replace(minute(0, at(batch_id, float(n))), tags=tags, times=times, values=rows,
                        quality=quality, reason=np.zeros_like(quality))
            )  # fmt: skip
            severity = 3 if batch_id == 41 and n > 20 else 0
            records.append(replace(step(first + n, at(batch_id, float(n)), severity), cam=None,
                                   deviation=None))  # fmt: skip
            if n == 10:
                records.append(event(first + n, condition="input drift", raised=True, text="x"))
            if n == 12:
                records.append(event(first + n, condition="input drift", raised=False))
        if batch_id != 43:
            records.append(step(first + MINUTES, at(batch_id, MINUTES + BACK_MIN, "complete"), 0))
    records.append(event(REPAIRED, "maintenance", counter=1, component="C03", number=3,
                         kind="repaired", batch_id=41))  # fmt: skip
    writer.write(connection, records)
    connection.close()
    return folder


@pytest.fixture
def history(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "history")) / FILE_NAME


def archive(history: Path, out: Path, *more: str) -> int:
    return edge(["archive", *more, "--out", str(out), "--file", str(history), "--config",
                 str(CONFIG)])  # fmt: skip


def code_of(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        edge(arguments)
    return int(ended.value.code or 0)


def test_from_the_history_to_labelled_batches(
    history: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "archive"
    assert archive(history, out) == 0
    said = capsys.readouterr().out
    assert "2 batches exported" in said
    assert "simulated" in said
    first, second = sorted((out / "ncm-1").glob("*.parquet"))
    table = pq.read_table(first)
    assert table.num_rows == 60 * MINUTES
    assert json.loads(table.schema.metadata[b"ncm-edge"])["batch_id"] == 41
    drift = [i for i, text in enumerate(table["conditions"].to_pylist()) if text]
    assert (drift[0], drift[-1]) == (600, 719)
    # Doubtful values are kept apart from those the model sees.
    name = TAGS[3].name
    part = slice(310, 320)
    assert table[name].to_pylist()[part] == [None] * 10
    assert None not in table[f"uncertain.{name}"].to_pylist()[part]
    assert table[f"quality.{name}"].to_pylist()[part] == [1] * 10
    assert set(table["severity"].to_pylist()) == {0, 3}
    gap = pq.read_table(second)
    assert gap.num_rows == 60 * MINUTES
    assert gap[name].null_count >= 60
    # Exported batches are no longer protected, and the log says so.
    with History(history) as found:
        assert [b.exported_s is not None for b in found.batches()] == [True, True, False]
        assert [e.body["batch_id"] for e in found.events(kind="export")] == [41, 42]
        assert not isinstance(found.verify(), str)

    assert export(["data", str(out / "plant.toml")]) == 2  # read, but nobody has labelled it
    assert "no step has a label" in capsys.readouterr().err
    assert export(["label", str(out)]) == 0
    said = capsys.readouterr().out
    assert "00000041-" in said
    assert f"D-1 {MINUTES} min" in said
    assert f"normal {MINUTES} min" in said
    assert export(["data", str(out / "plant.toml"), "--out", str(tmp_path / "set")]) == 0
    from export.data.dataset import load_dataset

    data = load_dataset(tmp_path / "set")
    assert data.simulated
    assert [set(batch.severity.tolist()) for batch in data.batches] == [{3}, {0}]
    assert [tag for tag, _ in data.line.tags] == [tag.name for tag in TAGS]


def test_only_what_is_new_unless_asked_for(history: Path, tmp_path: Path, capsys: Capture) -> None:
    assert archive(history, tmp_path / "a", "41") == 0
    assert archive(history, tmp_path / "a") == 0
    assert "1 batches exported" in capsys.readouterr().out
    assert archive(history, tmp_path / "a") == 0
    assert "0 batches exported" in capsys.readouterr().out
    assert archive(history, tmp_path / "a", "--again") == 0
    assert "2 batches exported" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["archive", "99", "--out", "."], "batch 99: not in"),
        (["archive", "43", "--out", "."], "is still running"),
        (["history", "show", "99"], "nearest numbers there: 43, 42, 41"),
        (["history", "show", "41", "--line", "other"], "batch 41: not in"),
    ],
)
def test_what_cannot_be_exported_or_shown(
    history: Path, words: list[str], said: str, capsys: Capture
) -> None:
    assert code_of([*words, "--file", str(history), "--config", str(CONFIG)][:None]) == 2
    assert said in capsys.readouterr().err


def test_a_stick_that_cannot_be_written(history: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "stick").write_text("not a folder")
    with pytest.raises(SystemExit) as ended:
        archive(history, tmp_path / "stick")
    assert ended.value.code == 2
    assert "stick" in capsys.readouterr().err
    with History(history) as found:
        assert not any(b.exported_s for b in found.batches())


def set_clock(history: Path, shift_s: Callable[[int], float], batch: int) -> None:
    """Rewrite the times of a batch's minutes, by their place in it."""
    connection = sqlite3.connect(history)
    found = connection.execute("SELECT id, rows FROM minutes WHERE batch = ? ORDER BY id", (batch,))
    for n, (key, blob) in enumerate(found.fetchall()):
        times, *rest = codec.decode(blob)
        times = times + shift_s(n)
        connection.execute("UPDATE minutes SET t_s = ?, end_s = ?, rows = ? WHERE id = ?",
                           (times[0], times[-1], codec.encode(times, *rest), key))  # fmt: skip
    connection.execute("UPDATE batches SET began_s = MIN(began_s, (SELECT MIN(t_s) FROM minutes "
                       "WHERE batch = batches.id)) WHERE id = ?", (batch,))  # fmt: skip
    connection.commit()
    connection.close()


def test_a_clock_that_was_set_forward_leaves_one_row_of_nothing(
    history: Path, tmp_path: Path, capsys: Capture
) -> None:
    set_clock(history, lambda n: -EPOCH_S if n < 2 else 0.0, 1)
    assert archive(history, tmp_path / "a") == 0
    said = capsys.readouterr().out
    assert "the clock jumped from 1970-01-01T" in said
    first, _ = sorted((tmp_path / "a" / "ncm-1").glob("*.parquet"))
    table = pq.read_table(first)
    assert table.num_rows == 60 * MINUTES + 1
    times = table["time"].cast("int64").to_numpy() / 1e6
    assert np.array_equal(np.flatnonzero(np.diff(times) != 1.0), [120])
    assert table[f"quality.{TAGS[3].name}"].to_pylist()[119:122] == [0, 2, 0]
    assert table["severity"].to_pylist()[-1] == 3
    assert len(json.loads(table.schema.metadata[b"ncm-edge"])["clock_jumps"]) == 1


def test_a_clock_that_was_set_back_is_said(history: Path, tmp_path: Path, capsys: Capture) -> None:
    set_clock(history, lambda n: -600.0 if n >= 20 else 0.0, 1)
    assert archive(history, tmp_path / "a", "41") == 0
    assert "the clock was set back: 600 rows" in capsys.readouterr().out


def test_a_batch_of_too_many_clocks_keeps_no_other_from_the_archive(
    history: Path, tmp_path: Path, capsys: Capture
) -> None:
    set_clock(history, lambda n: 80_000.0 * n, 1)
    assert archive(history, tmp_path / "a") == 1
    said = capsys.readouterr()
    assert "batch 41: " in said.err
    assert "slots without a row between" in said.err
    assert "1 batches exported" in said.out


def test_an_odd_batch_keeps_no_other_from_the_archive(
    history: Path, tmp_path: Path, capsys: Capture
) -> None:
    connection = sqlite3.connect(history)
    connection.execute("UPDATE batches SET began_s = -1e15 WHERE id = 1")
    connection.commit()
    connection.close()
    assert archive(history, tmp_path / "a") == 1
    said = capsys.readouterr()
    assert "batch 41: " in said.err
    assert "1 batches exported" in said.out


def test_rows_that_were_dropped_are_not_called_exported(
    history: Path, tmp_path: Path, capsys: Capture
) -> None:
    connection = sqlite3.connect(history)
    connection.execute("DELETE FROM minutes WHERE batch = 1")
    connection.commit()
    connection.close()
    assert archive(history, tmp_path / "a") == 1
    assert "batch 41: none of its rows is kept any more" in capsys.readouterr().err
    with History(history) as found:
        assert [b.exported_s is not None for b in found.batches()] == [False, True, False]


def test_list_show_and_verify(history: Path, capsys: Capture) -> None:
    at_file = ["--file", str(history)]
    assert edge(["history", "list", *at_file]) == 0
    listed = capsys.readouterr().out
    assert "D-1" in listed
    assert "simulated" in listed
    assert edge(["history", "show", "41", *at_file]) == 0
    assert "input drift raised" in capsys.readouterr().out
    assert edge(["history", "show", "41", "--json", *at_file]) == 0
    assert json.loads(capsys.readouterr().out)["batch"]["severity"] == 3
    assert edge(["history", "verify", *at_file]) == 0
    head = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("head "))
    assert edge(["history", "verify", "--head", head.removeprefix("head "), *at_file]) == 0
    assert edge(["history", "verify", "--head", "nonsense", *at_file]) == 2
    connection = sqlite3.connect(history)
    connection.execute("DROP TRIGGER events_stay")
    connection.execute("DELETE FROM events WHERE id = (SELECT MAX(id) FROM events)")
    connection.commit()
    connection.close()
    capsys.readouterr()
    assert edge(["history", "verify", "--head", head.removeprefix("head "), *at_file]) == 1
    assert "cut off" in capsys.readouterr().out
    assert edge(["history", "show", *at_file]) == 2


def test_a_disk_that_fills_in_mid_export_leaves_no_half_file(history: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge", "archive", "41", "--out", str(tmp_path / "full"),
         "--file", str(history), "--config", str(CONFIG)],
        # SQLite itself takes 32 kB.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)),
        cwd=CONFIG.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert str(tmp_path / "full") in done.stderr
    assert "free some room" in done.stderr
    assert not [path for path in (tmp_path / "full").rglob("*") if path.is_file()]
    with History(history) as found:
        assert not any(batch.exported_s for batch in found.batches())


@pytest.mark.parametrize(
    "words", [["report", "41"], ["history", "list"], ["archive", "--out", "a"]], ids=lambda w: w[0]
)
def test_a_history_that_is_locked_or_damaged(
    history: Path, words: list[str], tmp_path: Path, capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("edge.runtime.store.reader.BUSY_S", 0.05)
    monkeypatch.chdir(tmp_path)
    at_file = [*words, "--file", str(history), "--config", str(CONFIG)]
    other = sqlite3.connect(history, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    assert code_of(at_file) == 2
    assert f"{history}: database is locked; another program holds it" in capsys.readouterr().err
    other.execute("ROLLBACK")
    other.close()
    whole = history.read_bytes()
    history.write_bytes(whole[:16384] + b"\xff" * (len(whole) - 16384))
    assert code_of(at_file) == 2
    assert "it is damaged: the daemon sets it aside" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.html"))


def test_a_list_that_nobody_reads_to_its_end(history: Path) -> None:
    shown = f"{sys.executable} -u -m edge history list --file {history} --config {CONFIG}"
    done = subprocess.run(
        ["sh", "-c", f"{{ {shown}; echo $? >&2; }} | true"], cwd=CONFIG.parent,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr.strip() == "0"


def test_an_archive_from_a_history_of_another_program(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "x.sqlite").write_bytes(b"hello" * 1000)
    assert code_of(["history", "list", "--file", str(tmp_path / "x.sqlite")]) == 2
    assert "x.sqlite" in capsys.readouterr().err


def test_a_history_that_another_program_holds(
    history: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.runtime.store.reader.BUSY_S", 0.05)
    other = sqlite3.connect(history, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SystemExit) as ended:
        archive(history, tmp_path / "a")
    assert ended.value.code == 2
    assert "the batch stays protected: try again" in capsys.readouterr().err
    other.execute("ROLLBACK")
    other.close()
    assert archive(history, tmp_path / "a") == 0
