"""A small complete site to break: two lines, both protocols, every kind of file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

SITE = Path(__file__).parent / "site"

Edit = tuple[str, str, str]
"""(file, text to find exactly once, replacement)."""


@pytest.fixture
def broken(tmp_path: Path) -> Callable[..., Path]:
    """A copy of the site with edits; an edit that does not apply fails the test."""

    def make(*edits: Edit) -> Path:
        directory = tmp_path / "site"
        shutil.copytree(SITE, directory)
        for file, old, new in edits:
            path = directory / file
            text = path.read_text(encoding="utf-8")
            assert text.count(old) == 1, f"{file}: {old!r} occurs {text.count(old)} times"
            path.write_text(text.replace(old, new), encoding="utf-8")
        return directory

    return make


@pytest.fixture
def site() -> Path:
    """The site as it stands, without faults."""
    return SITE
