"""What the operator page costs: time to draw a whole batch, memory, disk, lateness of the daemon.

A whole simulated batch (51 tags x 64,800 rows) lies in a history as the daemon writes it; headless
Chromium opens the screen with all tags, from nothing to the last chart. Then the real daemon runs
on the real twin, alternating between nobody looking and ten pages open with an eleventh that has
stalled: how late its rows start, of each kind.

    python bench/page_cost.py --rounds 3
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from statistics import median
from urllib.error import HTTPError
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).parent.parent))

import psutil

from bench.history_cost import _records
from edge.runtime.store import writer
from edge.runtime.store.schema import FILE_NAME, open_for_writing
from edge.twin.scenario import Scenario
from edge.twin.simulate import simulate
from tests.browser import Browser, chromium_of
from tests.cli.test_daemon import command, process
from tests.line import ROOT
from tests.page.conftest import Running, free, page_of

PACKAGES = ("starlette", "uvicorn", "anyio", "h11", "click", "idna", "typing_extensions")
LINE = "/line/ncm-1"
PAGES = 10
DRAWN = ("return document.body.dataset.drawn && document.querySelectorAll('#grid canvas').length "
         "=== 51 && performance.now()")  # fmt: skip


def main() -> int:
    """Print the figures; 0."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each kind")
    parser.add_argument("--seconds", type=int, default=30, help="seconds of a round")
    options = parser.parse_args()
    disk()
    with tempfile.TemporaryDirectory() as scratch:
        drawing(Path(scratch))
    with tempfile.TemporaryDirectory() as scratch:
        lateness(Path(scratch), options.rounds, options.seconds)
    return 0


def disk() -> None:
    """Installed files of what the page needs beyond the base, and of the page itself."""
    size = sum(
        Path(str(file.locate())).stat().st_size
        for name in PACKAGES
        for file in metadata.files(name) or ()
        if Path(str(file.locate())).is_file() and file.suffix != ".pyc"
    )
    own = sum(p.stat().st_size for p in (ROOT / "edge" / "page").rglob("*")
              if p.is_file() and p.suffix != ".pyc")  # fmt: skip
    print(f"installed            {size / 1e6:.1f} MB of packages, {own / 1e6:.2f} MB of the page")


def drawing(scratch: Path) -> None:
    """A whole batch on the screen, and what the processes then hold."""
    (scratch / "history").mkdir()
    connection = open_for_writing(scratch / "history" / FILE_NAME).connection
    values = simulate([Scenario(seed=101, fault=None)])[0]
    writer.write(connection, [r for n in range(len(values) // 60) for r in _records(values, n)])
    connection.close()
    print(f"simulated batch      {values.shape[1]} tags x {values.shape[0]} rows")
    with (
        page_of("--state", str(scratch), "--runtime", str(scratch), runtime=scratch) as page,
        chromium_of(scratch / "profile") as driver,
    ):
        browser, cold, warm = Browser(driver), [], []
        for _ in range(5):
            end_reader(page)
            # The reader process runs, and knows nothing of the batch yet.
            urlopen(f"{page.url}{LINE}/batches.json").read()
            cold.append(drawn(page, browser))
            warm.append(drawn(page, browser))
        print(f"drawn, first look    {median(cold):.0f} ms from the click ({spread(cold)})")
        print(f"drawn, looked again  {median(warm):.0f} ms ({spread(warm)})")
        for _ in range(50):
            urlopen(f"{page.url}{LINE}").read()
            urlopen(f"{page.url}{LINE}/batch.json").read()
        found = psutil.Process(page.process.pid)
        (reader,) = found.children()
        own, more = (p.memory_info().rss / 1e6 for p in (found, reader))
        print(f"memory               {own:.1f} MB the page, {more:.1f} MB the reader process while "
              "somebody looks")  # fmt: skip


def drawn(page: Running, browser: Browser) -> float:
    """Milliseconds from the navigation to the last chart."""
    browser.open("about:blank")
    browser.open(f"{page.url}{LINE}/tags")
    browser.until(DRAWN)
    return float(browser.run("return performance.getEntriesByName('drawn')[0].startTime"))


def end_reader(page: Running) -> None:
    for child in psutil.Process(page.process.pid).children():
        child.kill()
        child.wait(10)


def spread(values: list[float]) -> str:
    return f"{min(values):.0f} to {max(values):.0f}"


def lateness(scratch: Path, rounds: int, seconds: int) -> None:
    """How late rows start, with nobody and with many looking."""
    config = scratch / "config"
    subprocess.run(["cp", "-r", str(ROOT / "firmware_config"), str(config)], check=True)
    line = config / "lines" / "ncm-1" / "line.toml"
    text = line.read_text(encoding="utf-8").replace("port = 5020", f"port = {free()}")
    line.write_text(text.replace(":4840/", f":{free()}/"), encoding="utf-8")
    places = ("--state", str(scratch / "state"), "--runtime", str(scratch / "run"))
    late: dict[str, list[float]] = {"nobody": [], "ten and a stalled one": []}
    with (
        process(command("twin", config)),
        process(command("run", config, *places)),
        page_of("--config", str(config), *places) as page,
    ):
        status = scratch / "run" / "status.json"
        while not status.exists() or not answers(f"{page.url}{LINE}/batch.json"):
            time.sleep(1.0)
        for _ in range(rounds):
            late["nobody"] += observe(status, seconds)
            with looking(page):
                late["ten and a stalled one"] += observe(status, seconds)
    for kind, found in late.items():
        found.sort()
        most = found[int(0.9 * len(found))]
        print(f"rows start late by   p50 {median(found):.2f} ms, p90 {most:.2f} ms, worst "
              f"{found[-1]:.1f} ms with {kind} looking ({len(found)} rows)")  # fmt: skip


def observe(status: Path, seconds: int) -> list[float]:
    """`late_ms` of the rows of some seconds."""
    found, ends_s, seen = [], time.monotonic() + seconds, 0
    while time.monotonic() < ends_s:
        time.sleep(0.3)
        acquisition = json.loads(status.read_bytes())["lines"][0]["acquisition"]
        if acquisition["rows"] != seen:
            seen = acquisition["rows"]
            found.append(float(acquisition["late_ms"]))
    return found


def answers(url: str) -> bool:
    """Whether there is an answer: before the first model step there is no batch."""
    try:
        with urlopen(url) as answer:
            return bool(answer.read())
    except HTTPError:
        return False


@contextmanager
def looking(page: Running) -> Iterator[None]:
    """Ten pages that read, ask for a batch now and then, and one that has stopped reading."""
    stop = threading.Event()
    request = f"GET {LINE}/stream HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    def read() -> None:
        with socket.create_connection(("127.0.0.1", page.port)) as link:
            link.settimeout(0.5)
            link.sendall(request)
            asked_s = 0.0
            while not stop.is_set():
                try:
                    link.recv(65536)
                except TimeoutError:
                    continue
                if time.monotonic() - asked_s > 20.0:
                    asked_s = time.monotonic()
                    for name in ("batch.json", "series.bin?component=C03"):
                        answers(f"{page.url}{LINE}/{name}")

    with ExitStack() as stack:
        stalled = stack.enter_context(socket.create_connection(("127.0.0.1", page.port)))
        stalled.sendall(request)
        readers = [threading.Thread(target=read) for _ in range(PAGES)]
        for reader in readers:
            reader.start()
        try:
            yield
        finally:
            stop.set()
            for reader in readers:
                reader.join()


if __name__ == "__main__":
    raise SystemExit(main())
