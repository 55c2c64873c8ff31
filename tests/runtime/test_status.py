"""The status file: whole or absent for every reader, and a disk that refuses it stops nobody."""

from __future__ import annotations

import asyncio
import json
import math
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.runtime import status
from edge.runtime.status import StatusFile

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip


def put(file: StatusFile, document: Mapping[str, Any]) -> str:
    """Write a whole document at once."""
    head = {key: value for key, value in document.items() if key != "lines"}
    # In a thread of its own: callers may have a loop that runs.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, file.write(head, document.get("lines", ()))).result()


@given(head=st.dictionaries(st.text(), VALUES), lines=st.lists(st.dictionaries(st.text(), VALUES)))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, head: dict[str, Any], lines: list[dict[str, Any]]
) -> None:
    document = {**head, "lines": lines}
    directory = tmp_path_factory.mktemp("run")
    assert put(StatusFile(directory), document) == ""
    assert status.read(directory) == document


def test_a_number_that_is_none_is_null(tmp_path: Path) -> None:
    put(StatusFile(tmp_path), {"a": math.nan, "b": (1.0, -math.inf), "c": {"d": math.inf}})
    text = (tmp_path / "status.json").read_text(encoding="utf-8")
    assert text == '{"a": null, "b": [1.0, null], "c": {"d": null}, "lines": []}'


def test_text_that_no_encoding_knows(tmp_path: Path) -> None:
    assert put(StatusFile(tmp_path), {"a": "펌프", "b": "\udcff"}) == ""
    raw = (tmp_path / "status.json").read_bytes()
    assert json.loads(raw.decode("utf-8")) == {"a": "펌프", "b": "\udcff", "lines": []}
    assert "펌프".encode() in raw  # readable with `cat`, too


async def test_others_are_served_between_two_lines(tmp_path: Path) -> None:
    seen: list[str] = []

    def lines() -> Iterator[dict[str, Any]]:
        for name in ("a", "b", "c"):
            seen.append(name)
            yield {"name": name}

    asyncio.get_running_loop().call_soon(seen.append, "row")
    assert await StatusFile(tmp_path).write({}, lines()) == ""
    assert seen == ["a", "row", "b", "c"]
    assert [line["name"] for line in status.read(tmp_path)["lines"]] == ["a", "b", "c"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    file, stop = StatusFile(tmp_path), threading.Event()
    put(file, {"seq": 0, "bulk": ""})

    def write() -> None:
        seq = 0
        while not stop.is_set():
            seq += 1
            put(file, {"seq": seq, "bulk": "x" * (seq * 997 % 100_000)})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = [status.read(tmp_path) for _ in range(300)]
    finally:
        stop.set()
        writer.join()
    assert all(len(d["bulk"]) == d["seq"] * 997 % 100_000 for d in seen)
    assert [d["seq"] for d in seen] == sorted(d["seq"] for d in seen)


def test_a_directory_that_goes_and_comes_back(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    file = StatusFile(directory)
    fault = put(file, {})
    assert str(directory / "status.json") in fault
    assert "No such file" in fault
    file.remove()
    directory.mkdir()
    assert put(file, {}) == ""
    file.remove()
    assert os.listdir(directory) == []  # noqa: PTH208 - nothing at all, hidden files included


def test_a_full_disk_is_a_reason_and_the_old_file_stays(tmp_path: Path) -> None:
    file = StatusFile(tmp_path)
    assert put(file, {"seq": 1}) == ""
    (tmp_path / "status.json.new").unlink(missing_ok=True)
    (tmp_path / "status.json.new").symlink_to("/dev/full")
    assert "No space left" in put(file, {"seq": 2})
    assert status.read(tmp_path)["seq"] == 1


def test_something_in_the_way_does_not_keep_the_daemon_from_stopping(tmp_path: Path) -> None:
    file = StatusFile(tmp_path)
    (tmp_path / "status.json").mkdir()
    assert "status.json" in put(file, {})
    file.remove()


@pytest.mark.parametrize("text", ["[]", "1", '"x"', "null"])
def test_only_an_object_is_a_status(text: str, tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="expected a JSON object"):
        status.read(tmp_path)
