"""The daemon takes uvloop where it is installed and asyncio's loop where it is not."""

from __future__ import annotations

import asyncio
import sys

import pytest

from edge.runtime.loop import loop_factory


def test_asyncio_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory() is None


def test_uvloop_where_it_is_installed() -> None:
    uvloop = pytest.importorskip("uvloop", reason="the extra uvloop is not installed")
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        assert isinstance(runner.get_loop(), uvloop.Loop)
