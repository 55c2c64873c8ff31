"""The audit: whole, bounded, and a tampered line is named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.update.audit import HEAD, LOG, OLD, Audit, lines, news, verify
from edge.update.disk import Disk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    audit = Audit(tmp_path / "audit", lambda: 1.8e9)
    for number in range(6):
        assert audit.append("apply", "done", release=f"1.{number}") == ""
    return tmp_path / "audit"


def test_it_is_whole_and_tells_the_story(folder: Path) -> None:
    assert verify(folder) == (6, [])
    told = list(lines(folder))
    assert [line["n"] for line in told] == [1, 2, 3, 4, 5, 6]
    assert told[2]["release"] == "1.2"
    assert {"wall_s", "boot", "uptime", "prev"} <= set(told[0])


def rewrite(change: Callable[[list[bytes]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        found = (folder / LOG).read_bytes().splitlines()
        change(found)
        (folder / LOG).write_bytes(b"".join(line + b"\n" for line in found))

    return spoil


def edit(place: int) -> Callable[[list[bytes]], None]:
    def change(found: list[bytes]) -> None:
        found[place] = found[place].replace(b"done", b"gone")

    return change


TAMPERED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a line edited": (rewrite(edit(2)), "log.jsonl:4: the line before it was changed"),
    "the last line edited": (rewrite(edit(5)), "line 6 was changed"),
    "a line removed": (rewrite(lambda found: found.pop(3)), "number 5 follows 3"),
    "lines exchanged": (rewrite(lambda found: found.insert(1, found.pop(3))), "number 4 follows 1"),
    "the end removed": (rewrite(lambda found: found.pop()), "ends at number 5, written were 6"),
    "a line that is none": (rewrite(lambda found: found.insert(2, b"hello")), "is no line"),
    "everything removed but the head": (lambda f: (f / LOG).unlink(), "ends at number 0"),
    "the head removed": (lambda f: (f / HEAD).unlink(), "is missing or damaged"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampering_is_named(name: str, folder: Path) -> None:
    spoil, text = TAMPERED[name]
    spoil(folder)
    _, faults = verify(folder)
    assert any(text in fault for fault in faults), faults
    # And it stays in the record when life goes on.
    audit = Audit(folder, lambda: 1.8e9)
    assert audit.append("apply", "done") == ""
    *_, last = lines(folder)
    assert last["n"] >= 6
    if name == "the end removed":
        assert last["after_loss_of"] == 1
    if name == "the head removed":
        assert last["head"] == "was lost"


def test_it_is_bounded(tmp_path: Path) -> None:
    audit = Audit(tmp_path, lambda: 0.0, max_bytes=2000)
    for _ in range(60):
        audit.append("apply", "done")
    count, faults = verify(tmp_path)
    assert faults == []
    assert 5 < count < 30
    assert (tmp_path / LOG).stat().st_size <= 2000
    assert (tmp_path / OLD).stat().st_size <= 2000


def test_a_full_disk_is_said_and_leaves_the_chain_whole(folder: Path) -> None:
    def full(operation: str, path: Path, _: Path | None) -> None:
        if operation == "write":
            raise OSError(28, os.strerror(28), str(path))

    audit = Audit(folder, lambda: 1.8e9, Disk(full))
    assert "No space left" in audit.append("apply", "done")
    assert verify(folder) == (6, [])
    audit = Audit(folder, lambda: 1.8e9)
    assert audit.append("apply", "done") == ""
    assert verify(folder) == (7, [])


def test_a_clock_that_jumps_does_not_disturb_the_order(tmp_path: Path) -> None:
    for wall_s in (1.8e9, 0.0, 2.2e9, 1.0e9):
        Audit(tmp_path, lambda wall_s=wall_s: wall_s).append("apply", "done")  # type: ignore[misc]
    assert verify(tmp_path) == (4, [])
    assert [json.loads(line)["wall_s"] for line in (tmp_path / LOG).read_text().splitlines()] == [
        1_800_000_000, 0, 2_200_000_000, 1_000_000_000,
    ]  # fmt: skip


def test_news_are_told_once(folder: Path) -> None:
    assert news(folder, None) == ([], 6)
    told, heard = news(folder, 4)
    assert ([line["n"] for line in told], heard) == ([5, 6], 6)
    assert news(folder, heard) == ([], 6)
    assert news(folder / "nothing yet", None) == ([], 0)


@pytest.mark.parametrize("damage", [lambda f: f.unlink(), lambda f: f.write_bytes(b"")])
def test_a_lost_head_does_not_make_old_news(folder: Path, damage: Callable[[Path], None]) -> None:
    damage(folder / HEAD)
    with pytest.raises((OSError, ValueError)):
        news(folder, 6)


@pytest.mark.parametrize("line", [b"[]", b"7", b"{}", b'{"n":"x","event":"a","verdict":"b"}'])
def test_what_is_no_line_of_an_audit_is_passed_over(folder: Path, line: bytes) -> None:
    log = folder / LOG
    log.write_bytes(line + b"\n" + log.read_bytes())
    assert [entry["n"] for entry in news(folder, 4)[0]] == [5, 6]
