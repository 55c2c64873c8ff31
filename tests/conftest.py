"""Shared fixtures: virtual time, free ports, and a check that no test leaves a task running."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import hypothesis
import pytest

from edge.runtime import virtual_time
from tests.browser import browser, chromium

__all__ = ["browser", "chromium"]

# How long one example takes depends on what else the machine does.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

_left: list[str] = []
_cancel_all_tasks = asyncio.runners._cancel_all_tasks  # type: ignore[attr-defined]


def _note_and_cancel(loop: asyncio.AbstractEventLoop) -> None:
    # Every Runner (asyncio.run, pytest-asyncio, virtual_time.run) ends here, after the fixtures.
    _left.extend(repr(task) for task in asyncio.all_tasks(loop))
    _cancel_all_tasks(loop)


asyncio.runners._cancel_all_tasks = _note_and_cancel  # type: ignore[attr-defined]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a test that leaves asyncio tasks running: the daemon must stop without a remainder."""
    try:
        yield
    finally:
        left, _left[:] = _left[:], []
    if left and getattr(item, "passed_call", False):
        pytest.fail(f"{len(left)} task(s) left running:\n" + "\n".join(left), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether the body passed: tasks left by a failed test are not news."""
    report = yield
    if report.when == "call":
        item.passed_call = report.passed  # type: ignore[attr-defined]
    return report


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that returns a TCP port of 127.0.0.1 nobody listens on, never the same twice."""
    given: set[int] = set()

    def pick() -> int:
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
            if port not in given:
                given.add(port)
                return port

    return pick


@pytest.fixture
def virtual() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine to its end in virtual time: `virtual(main())`."""
    return virtual_time.run
