"""The page beside a real daemon on a real twin: before it, with it, after it; and its history."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.runtime.store.reader import History
from tests.browser import Browser
from tests.cli.test_daemon import Panel, command, process
from tests.line import ROOT
from tests.page.conftest import Running, page_of

pytestmark = pytest.mark.system
LINE = "/line/ncm-1"
STATE = "return document.body.className === arguments[0]"
SAYS = "return document.getElementById(arguments[0]).textContent.includes(arguments[1])"


@pytest.fixture
def config(tmp_path: Path, free_port: Callable[[], int]) -> Path:
    target = tmp_path / "config"
    subprocess.run(["cp", "-r", str(ROOT / "firmware_config"), str(target)], check=True)
    line = target / "lines" / "ncm-1" / "line.toml"
    text = line.read_text(encoding="utf-8").replace("port = 5020", f"port = {free_port()}")
    line.write_text(text.replace(":4840/", f":{free_port()}/"), encoding="utf-8")
    return target


def test_before_with_and_after_the_daemon(
    config: Path, tmp_path: Path, browser: Browser
) -> None:
    places = ("--state", str(tmp_path / "state"), "--runtime", str(tmp_path / "run"))
    with page_of("--config", str(config), *places) as page:
        browser.open(page.url + LINE)
        browser.until(STATE, "stale")
        assert "ncm-edge has not said anything yet" in browser.text("#stale")
        with (
            process(command("twin", config)) as twin,
            process(command("run", config, *places)) as daemon,
        ):
            Panel(twin).wait("check function")
            browser.until(STATE, "live", limit_s=60)
            browser.click("#component-C03")
            browser.until("return document.querySelector('[data-tag=\"FIC-103.PV\"] output')"
                          ".textContent.endsWith('kg/h')")  # fmt: skip
            first = browser.until("return document.querySelector('#health-word').textContent")
            assert first == "check function"

            # A hang says nothing for longer and longer; the page must not show it as fresh.
            daemon.send_signal(signal.SIGSTOP)
            try:
                browser.until(STATE, "stale", limit_s=30)
                assert "ncm-edge says nothing any more" in browser.text("#stale")
            finally:
                daemon.send_signal(signal.SIGCONT)
            browser.until(STATE, "live", limit_s=30)

            daemon.terminate()
            browser.until(STATE, "stale", limit_s=30)
            browser.until("return document.getElementById('stale').textContent.includes('stopped')")
            assert daemon.wait(30) == 0
        # And the page's own server.
        page.process.terminate()
        assert page.process.wait(30) == 0
        browser.until("return document.getElementById('stale').textContent.startsWith("
                      "'No contact with the page')", limit_s=30)  # fmt: skip
        assert browser.elsewhere() == []


@pytest.fixture
def beside(recorded: Path, tmp_path: Path) -> Path:
    """A copy of the recorded state that may be damaged."""
    target = tmp_path / "state"
    subprocess.run(["cp", "-r", str(recorded), str(target)], check=True)
    return target


def ask(page: Running, name: str = "batch.json") -> tuple[int, str]:
    reply = page.ask(f"{LINE}/{name}")
    return reply.status, reply.text


def test_a_history_that_is_not_there_locked_or_damaged(beside: Path, browser: Browser) -> None:
    file = beside / "history" / "history.sqlite"
    arguments = ("--runtime", str(beside), "--state", str(beside))
    with page_of(*arguments, runtime=beside) as page:
        assert ask(page)[0] == 200

        moved = file.rename(file.with_name("elsewhere"))
        status, text = ask(page, "batches.json")
        assert status == 503
        assert "no such history" in text
        moved.rename(file)

        held = sqlite3.connect(file, isolation_level=None)
        held.execute("PRAGMA locking_mode = EXCLUSIVE")
        held.execute("PRAGMA journal_mode = DELETE")
        held.execute("BEGIN EXCLUSIVE")
        status, text = ask(page, "series.bin?pixels=61")
        assert status == 503
        assert "locked" in text
        assert "another program holds it" in text
        held.close()

        content = bytearray(file.read_bytes())
        content[100:] = os.urandom(len(content) - 100)
        file.write_bytes(content)
        for leftover in ("-wal", "-shm"):
            file.with_name(file.name + leftover).unlink(missing_ok=True)
        status, text = ask(page, "series.bin?pixels=62")
        assert status == 503
        assert str(file) in text
        # The screen says so, and goes on with what the status file tells.
        page.pulse()
        browser.open(page.url + LINE)
        browser.until(STATE, "live")
        browser.until(SAYS, "map-says", file.name)
        assert "last inference" in browser.text("#trust")
        file.write_bytes(b"")
        assert ask(page, "series.bin?pixels=63")[0] == 503


def test_a_line_without_a_batch_yet_and_no_reference(beside: Path, browser: Browser) -> None:
    file = beside / "history" / "history.sqlite"
    with sqlite3.connect(file) as made:
        made.execute("DELETE FROM batches")
    made.close()
    (beside / "words.json").unlink()
    with page_of("--runtime", str(beside), "--state", str(beside), runtime=beside) as page:
        assert ask(page) == (404, "line ncm-1: the history holds no batch yet")
        assert "does not say which bundle decides" in ask(page, "model.json")[1]
        page.pulse()
        browser.open(page.url + LINE)
        browser.until(STATE, "live")
        browser.until(SAYS, "map-says", "no batch yet")
        browser.open(f"{page.url}{LINE}/commissioning")
        browser.until(SAYS, "block-W-says", "Not read yet.")


def test_several_lines_begin_with_an_overview(beside: Path, browser: Browser) -> None:
    path = beside / "status.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    other = json.loads(json.dumps(document["lines"][0]))
    other |= {"name": "skab", "title": "rig <b>&", "ne107": 1, "ne107_text": "failure"}
    document["lines"].append(other)
    path.write_text(json.dumps(document), encoding="utf-8")
    arguments = ("--line", "ncm-1", "--line", "skab", "--runtime", str(beside), "--state")
    with page_of(*arguments, str(beside), runtime=beside) as page:
        browser.open(page.url)
        browser.until("return document.querySelectorAll('#tiles li').length === 2")
        assert browser.text("#health-word") == "worst: failure"
        assert "rig <b>&" in browser.text("#tiles")
        assert "Severity" not in browser.text("#tiles li .word")
        assert browser.accessibility(("moderate", "serious", "critical")) == []
        assert browser.complaints() == []
        browser.press("TAB", "TAB", "ENTER")
        browser.until("return location.pathname === arguments[0]", LINE)
        assert "Overview" in browser.text("nav")
        # The drawing is that of the configuration; a value stands at its own name or nowhere.
        page.pulse()
        browser.open(f"{page.url}/line/skab")
        browser.until("return document.querySelectorAll('#plant [role=button]').length === 5")
        value = "document.querySelector('#why-tags output')?.textContent"
        browser.until(f"return {value} === 'no value'")


def test_help_names_the_port_and_the_way_from_elsewhere() -> None:
    done = subprocess.run([sys.executable, "-m", "edge", "page", "--help"], cwd=ROOT, check=True,
                          capture_output=True, text=True)  # fmt: skip
    assert "http://127.0.0.1:8480/" in done.stdout
    assert "ssh -L" in done.stdout


def test_the_group_reads_the_history_while_the_daemon_runs_and_after(recorded: Path) -> None:
    """As under the unit: another account, a directory that nothing can be written to."""
    with tempfile.TemporaryDirectory(prefix="ncm-edge-") as scratch:
        directory = Path(scratch)
        file = directory / "history.sqlite"
        shutil.copy(recorded / "history" / "history.sqlite", file)
        writer = sqlite3.connect(file, isolation_level=None)
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("UPDATE batches SET minutes = minutes")
        try:
            for running in (True, False):
                if not running:
                    writer.close()
                for path in directory.iterdir():
                    path.chmod(0o444)
                directory.chmod(0o555)
                with other_account(), History(file) as history:
                    assert [b.batch_id for b in history.batches()] == [1]
        finally:
            directory.chmod(0o755)
            writer.close()


@contextmanager
def other_account() -> Iterator[None]:
    if os.geteuid():
        yield  # whoever is not root may not write there either
        return
    os.seteuid(12345)
    try:
        yield
    finally:
        os.seteuid(0)
