"""The ring file on a real file system: kill -9, no room, damage, another shape."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.core.ring import Ring, row_dtype
from edge.core.tags import Quality, Row
from edge.runtime.ringfile import (
    HEADER_BYTES,
    KEEP_BAD,
    RingBusy,
    RingFile,
    open_empty,
    open_ring,
)

TAGS = tuple((f"TI-{i}.PV", "°C") for i in range(5))
ROWS = 50


def make_row(number: int) -> Row:
    """Every value of row n is n, so that a mixture of two rows would show."""
    zero = np.zeros(len(TAGS), np.uint8)
    return Row(float(number), np.full(len(TAGS), number, np.float32), zero, zero, 0.0, 0.0)


def fill(path: Path, count: int) -> None:
    held = open_ring(path, TAGS, ROWS, 1.0)
    for number in range(1, count + 1):
        held.ring.append(make_row(number))
    held.close()


def test_new_then_resumed(tmp_path: Path) -> None:
    path = tmp_path / "state" / "line.ring"
    held = open_ring(path, TAGS, ROWS, 1.0)
    assert held.opened == "new"
    assert path.stat().st_size == HEADER_BYTES + ROWS * row_dtype(len(TAGS)).itemsize
    held.ring.append(make_row(1))
    held.flush()
    held.close()
    held.close()
    assert held.ring.seq == 1  # still readable after the file was given up
    again = open_ring(path, TAGS, ROWS, 1.0)
    assert again.opened == "resumed"
    assert "row 1 with 1 of 50" in again.message
    assert again.ring.last(1)[0][0].tolist() == [1.0] * 5
    again.close()


CHILD = """
import itertools, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import importlib.util
spec = importlib.util.spec_from_file_location("t", sys.argv[3])
t = importlib.util.module_from_spec(spec)
spec.loader.exec_module(t)
held = t.open_ring(Path(sys.argv[1]), t.TAGS, t.ROWS, 1.0)
for number in itertools.count(held.ring.seq + 1):
    held.ring.append(t.make_row(number))
    if number % 500 == 0:
        print(number, flush=True)
"""


def test_rows_survive_kill_9_in_the_middle_of_writing(tmp_path: Path) -> None:
    path = tmp_path / "line.ring"
    root = str(Path(__file__).parents[2])
    reached = 0
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), root, __file__], stdout=subprocess.PIPE,
            text=True,
        ) as child:  # fmt: skip
            assert child.stdout is not None
            reported = [int(line) for line in itertools.islice(child.stdout, 4)]
            child.send_signal(signal.SIGKILL)
            child.wait()
        held = open_ring(path, TAGS, ROWS, 1.0)
        assert held.opened == "resumed"
        assert held.ring.dropped <= 1  # at most the row in hand
        assert held.ring.seq >= reported[-1] > reached
        reached = held.ring.seq
        values, quality = held.ring.last(ROWS - 1)
        good = quality[:, 0] == Quality.GOOD
        assert np.count_nonzero(~good) <= 1
        expected = np.arange(reached - ROWS + 2, reached + 1, dtype=np.float32)
        assert (values[good] == expected[good, None]).all()
        assert held.ring.append(make_row(reached + 1)) == reached + 1
        held.close()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def damage_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(20)
        file.write(b"\xff")


def not_a_ring(path: Path) -> None:
    path.write_bytes(b"hello")


@pytest.mark.parametrize(
    ("harm", "tags", "rows", "words"),
    [
        (truncate, TAGS, ROWS, "truncated"),
        (damage_header, TAGS, ROWS, "header damaged"),
        (not_a_ring, TAGS, ROWS, "not a ring file"),
        (None, TAGS[:4], ROWS, "5 tags x 50 rows of 1 s, the configuration asks for 4 x 50"),
        (None, TAGS, 60, "asks for 5 x 60"),
        (None, TAGS[::-1], ROWS, "another tag list"),
    ],
)
def test_a_file_that_does_not_fit_is_set_aside(
    tmp_path: Path,
    harm: Callable[[Path], None] | None,
    tags: tuple[tuple[str, str], ...],
    rows: int,
    words: str,
) -> None:
    path = tmp_path / "line.ring"
    fill(path, 10)
    if harm:
        harm(path)
    before = path.read_bytes()
    held = open_ring(path, tags, rows, 1.0)
    assert held.opened == "replaced"
    assert words in held.message
    assert "line.ring.bad-1" in held.message
    assert (tmp_path / "line.ring.bad-1").read_bytes() == before
    assert held.ring.seq == 0
    held.ring.append(Row(1.0, np.ones(len(tags), np.float32), *2 * [np.zeros(len(tags), np.uint8)],
                         0.0, 0.0))  # fmt: skip
    held.close()
    assert open_ring(path, tags, rows, 1.0).ring.seq == 1


def test_files_set_aside_do_not_fill_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "line.ring"
    for _ in range(KEEP_BAD + 2):
        not_a_ring(path)
        open_ring(path, TAGS, ROWS, 1.0).close()
    kept = sorted(other.name for other in tmp_path.glob("*.bad-*"))
    assert kept == ["line.ring.bad-3", "line.ring.bad-4", "line.ring.bad-5"]


def test_two_processes_never_share_a_ring(tmp_path: Path) -> None:
    path = tmp_path / "line.ring"
    held = open_ring(path, TAGS, ROWS, 1.0)
    with pytest.raises(RingBusy, match="in use by another process"):
        open_ring(path, TAGS, ROWS, 1.0)
    held.close()
    open_ring(path, TAGS, ROWS, 1.0).close()


def use_memory(path: Path) -> RingFile:
    held = open_ring(path, TAGS, ROWS, 1.0)
    assert held.opened == "memory"
    assert held.path is None
    assert held.ring.append(make_row(1)) == 1
    held.flush()
    held.close()
    return held


def test_no_room_falls_back_to_memory_and_leaves_nothing_behind(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        held = use_memory(tmp_path / "line.ring")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in held.message
    assert "memory only" in held.message
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_used_falls_back_to_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "memory only" in use_memory(tmp_path / "file" / "line.ring").message


def test_a_ring_in_memory_moves_into_its_file_later(tmp_path: Path) -> None:
    path = tmp_path / "line.ring"
    fill(path, 7)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    held = RingFile(Ring.in_memory(ROWS, len(TAGS)), "memory", "no room", None)
    for number in range(1, 61):
        held.ring.append(make_row(number))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            open_empty(path, TAGS, ROWS, 1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [found.name for found in tmp_path.iterdir()] == ["line.ring"]
    fresh = open_empty(path, TAGS, ROWS, 1.0)
    fresh.ring.take_over(held.ring)
    assert fresh.path == path
    assert fresh.ring.seq == 60
    fresh.close()
    again = open_ring(path, TAGS, ROWS, 1.0)
    assert (again.opened, again.ring.seq, again.ring.count) == ("resumed", 60, 50)
    assert again.ring.last(2)[0][:, 0].tolist() == [59.0, 60.0]
    again.close()
    older = open_ring(path.with_name("line.ring.bad-1"), TAGS, ROWS, 1.0)
    assert older.ring.seq == 7  # the rows that were there before are kept
    older.close()
    with pytest.raises(ValueError, match="cannot move into one of 60 x 5"):
        Ring.in_memory(60, 5).take_over(held.ring)
