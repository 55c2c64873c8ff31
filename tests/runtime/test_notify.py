"""sd_notify against real datagram sockets: what is said, and that nothing can stop the caller."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.runtime.notify import Notifier

PLANT_LANGUAGE = "라인 1: 정상, NaOH 펌프 · 値 µ ✓"


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[socket.socket]:
    """The manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


def heard(ear: socket.socket) -> list[str]:
    """Everything said so far."""
    found: list[str] = []
    while True:
        try:
            found.append(ear.recv(65536).decode("utf-8"))
        except BlockingIOError:
            return found


def test_the_life_of_a_service(ear: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": ear.getsockname(), "WATCHDOG_USEC": "30000000"})
    assert notifier.watchdog_s == 30.0
    notifier.ready("two\nlines")
    notifier.watchdog()
    notifier.stopping()
    assert heard(ear) == ["READY=1", "STATUS=two lines", "WATCHDOG=1", "STOPPING=1"]


def test_the_plants_language_costs_no_ping(ear: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": ear.getsockname(), "WATCHDOG_USEC": "1000000"})
    notifier.watchdog()
    notifier.status(PLANT_LANGUAGE)
    notifier.status("undecodable \udcff")
    notifier.watchdog()
    assert heard(ear) == [
        "WATCHDOG=1", f"STATUS={PLANT_LANGUAGE}", "STATUS=undecodable ?", "WATCHDOG=1",
    ]  # fmt: skip


def test_an_abstract_socket() -> None:
    name = f"ncm-edge-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        sock.setblocking(False)
        Notifier({"NOTIFY_SOCKET": "@" + name}).ready("well")
        assert heard(sock) == ["READY=1", "STATUS=well"]


@pytest.mark.parametrize(
    ("environ", "limit_s"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": ""}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid() + 1)}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "-1"}, 0.0),
        ({"WATCHDOG_USEC": "0"}, 0.0),
    ],
)
def test_only_a_watched_process_feeds_the_watchdog(
    environ: dict[str, str], limit_s: float, ear: socket.socket
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": ear.getsockname(), **environ})
    assert notifier.watchdog_s == limit_s
    notifier.watchdog()
    assert heard(ear) == (["WATCHDOG=1"] if limit_s else [])


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "/x" * 200, "@" + "x" * 200])
def test_a_manager_that_is_not_there(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    notifier.ready("well")
    notifier.watchdog()
    notifier.stopping()


def test_a_manager_that_does_not_listen_blocks_nobody(ear: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": ear.getsockname(), "WATCHDOG_USEC": "1000000"})
    for _ in range(10_000):  # far more than a datagram queue holds
        notifier.watchdog()
    queued = heard(ear)
    assert 0 < len(queued) < 10_000
    notifier.watchdog()
    assert heard(ear) == ["WATCHDOG=1"]


def test_no_file_descriptor_left(ear: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": ear.getsockname()})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        notifier.ready("well")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert heard(ear) == []
    notifier.ready("well")
    assert heard(ear) == ["READY=1", "STATUS=well"]
