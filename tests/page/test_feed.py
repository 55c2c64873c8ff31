"""The feed: ages by its own clock, the newest message only, and nobody who is waited for."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from edge.page import view
from edge.page.access import Door
from edge.page.desk import Desk
from edge.page.feed import Feed
from edge.page.serve import Server, listen
from edge.page.server import Page
from edge.runtime.notify import Notifier
from tests.page.conftest import free
from tests.runtime.store.records import FixedClock

LINE = ("line", "ncm-1")


def told(feed: Feed, topic: tuple[str, str], now_s: float) -> dict[str, Any]:
    return dict(json.loads(feed.message(topic, now_s)))


@pytest.fixture
def runtime(recorded: Path, tmp_path: Path) -> Path:
    for name in ("status.json", "words.json"):
        (tmp_path / name).write_bytes((recorded / name).read_bytes())
    return tmp_path


def stamp(path: Path, t_s: float) -> None:
    os.utime(path, (t_s, t_s))


def test_ages_follow_this_process_whatever_the_clocks_do(runtime: Path) -> None:
    status, clock = runtime / "status.json", FixedClock(1000.0)
    stamp(status, 970.0)
    feed = Feed(runtime, clock)
    feed.look(50.0)
    # What lay there before is as old as the file says; from then on our own clock counts.
    assert told(feed, LINE, 50.0)["age_s"] == 30.0
    assert told(feed, LINE, 50.0)["state"] == "old"
    stamp(status, 400.0)
    clock.now_s = 9e9
    feed.look(60.0)
    assert told(feed, LINE, 63.0)["age_s"] == 3.0
    assert told(feed, LINE, 63.0)["state"] == "live"
    assert told(feed, LINE, 60.0 + view.OLD_S + 0.1)["state"] == "old"


def test_before_during_and_after_the_daemon(runtime: Path, tmp_path: Path) -> None:
    empty = tmp_path / "later"
    feed = Feed(empty, FixedClock())
    feed.look(0.0)
    assert told(feed, LINE, 0.0) == {"state": "waiting", "age_s": None, "fault": ""}
    empty.mkdir()
    for name in ("status.json", "words.json"):
        (empty / name).write_bytes((runtime / name).read_bytes())
    feed.look(1.0)
    assert told(feed, LINE, 1.0)["line"]["batch"].startswith("1 running")
    (empty / "status.json").unlink()
    feed.look(2.0)
    last = told(feed, LINE, 2.0)
    assert last["state"] == "gone"
    assert last["line"]["batch"].startswith("1 running"), "the last it said"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b"[1]", "expected a JSON object"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"{}", "not a status of this release"),
        (b'{"lines": 3, "written_s": 1, "version": "", "config_sha256": "", "history": {}}',
         "not a status of this release"),
    ],
)  # fmt: skip
def test_a_status_that_is_none(content: bytes, said: str, runtime: Path) -> None:
    (runtime / "status.json").write_bytes(content)
    feed = Feed(runtime, FixedClock())
    feed.look(0.0)
    assert said in told(feed, LINE, 0.0)["fault"]


def test_no_missing_key_raises_and_none_shows_half_a_view(recorded: Path, tmp_path: Path) -> None:
    document = json.loads((recorded / "status.json").read_text(encoding="utf-8"))
    path = tmp_path / "status.json"
    tried = 0
    for key in document["lines"][0]:
        for wrong in ("gone", None, 7, "text"):
            broken = copy.deepcopy(document)
            if wrong == "gone":
                del broken["lines"][0][key]
            else:
                broken["lines"][0][key] = wrong
            path.write_text(json.dumps(broken), encoding="utf-8")
            feed = Feed(tmp_path, FixedClock())
            feed.look(0.0)
            for topic in (LINE, ("wires", "ncm-1"), ("overview", "")):
                said = told(feed, topic, 0.0)
                assert said["fault"] == "" or "restart ncm-edge and ncm-edge-page" in said["fault"]
                tried += 1
    assert tried > 100


def test_a_line_the_daemon_does_not_run(runtime: Path) -> None:
    feed = Feed(runtime, FixedClock())
    feed.look(0.0)
    assert told(feed, ("line", "skab"), 0.0)["absent"] == "the daemon does not run line skab"


async def test_a_slow_listener_gets_the_newest_and_a_gone_one_leaves_nothing(runtime: Path) -> None:
    feed = Feed(runtime, FixedClock())
    with feed.listen(LINE) as slow, feed.listen(("overview", "")) as other:
        assert feed.listeners == 2
        for second in range(5):
            feed.look(float(second))
        await other.get()
        newest = json.loads(await slow.get())
        assert newest["age_s"] is not None
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await slow.get()
    assert feed.listeners == 0


async def test_a_stalled_browser_is_let_go_and_costs_the_others_nothing(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that the buffers on the way are full after a few messages.
    status = json.loads((runtime / "status.json").read_text(encoding="utf-8"))
    status["lines"][0]["model"] = "m" * 400_000
    feed = Feed(runtime, FixedClock())
    door = Door(listen="127.0.0.1", port=free())
    page = Page({"lines": [{"name": "ncm-1"}], "config_sha256": ""}, door, feed, Desk([]))
    page.send_s = 0.5
    server = Server(page, door, Notifier({}))
    serving = asyncio.create_task(server.serve(sockets=[listen(door)]))
    loop = asyncio.get_running_loop()
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.01)
        request = b"GET /line/ncm-1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n"
        stalled = socket.create_connection((door.listen, door.port))
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.sendall(request)
        reader, writer = await asyncio.open_connection(door.listen, door.port, limit=2**22)
        writer.write(request)
        await reader.readuntil(b"\r\n\r\n")
        while feed.listeners < 2:  # noqa: ASYNC110 - the far end of a socket
            await asyncio.sleep(0.01)
        ends_s, heard = loop.time() + 20.0, 0
        while feed.listeners > 1:
            assert loop.time() < ends_s, "the stalled one is still there"
            status["uptime_s"] = loop.time()
            (runtime / "new").write_text(json.dumps(status), encoding="utf-8")
            (runtime / "new").replace(runtime / "status.json")
            feed.look(loop.time())
            async with asyncio.timeout(5.0):
                while not (await reader.readline()).startswith(b"data: "):
                    pass
            heard += 1
        assert heard >= 2
        assert feed.listeners == 1
    finally:
        stalled.close()
        writer.close()
        server.handle_exit(15, None)
        await serving
