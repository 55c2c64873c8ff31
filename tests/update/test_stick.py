"""The stick: found, opened and read once; what its errors are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge.update.disk import Stick, find
from edge.update.refusals import Code, Refused


def code_of(path: Path) -> Code:
    with pytest.raises(Refused) as refused, Stick(find(path)) as stick:
        stick.read(10)
    return refused.value.code


def test_a_read_error_is_the_sticks(tmp_path: Path) -> None:
    # A plain file whose first byte answers EIO, as a pulled stick does.
    assert code_of(Path("/proc/self/mem")) is Code.UNREADABLE


def test_litter_does_not_count(tmp_path: Path) -> None:
    for name in ("._model.ncm", ".DS_Store", "System Volume Information", "read me.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "MODEL.NCM").write_bytes(b"y")
    assert find(tmp_path).name == "MODEL.NCM"


def test_a_folder_of_that_name_is_no_update(tmp_path: Path) -> None:
    (tmp_path / "model.ncm").mkdir()
    assert code_of(tmp_path) is Code.NOT_A_FILE


def test_a_link_to_a_stick_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "stick").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "stick")
    assert code_of(tmp_path / "link") is Code.NOT_A_FILE


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "x.ncm").write_bytes(b"x")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counts, not paths
    for _ in range(3):
        with Stick(tmp_path / "x.ncm") as stick:
            assert stick.read(10) == b"x"
        code_of(Path("/dev/zero"))
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
