"""`ncm-edge reload`: asks with SIGHUP, believes only an answer to its own question, and tells."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.cli import reload

Capture = pytest.CaptureFixture[str]
NOW_S = 1000.0


def write(directory: Path, **more: Any) -> None:
    document = {"pid": os.getpid(), "written_s": NOW_S, "lines": [], **more}
    (directory / "status.json").write_text(json.dumps(document), encoding="utf-8")


class Daemon:
    """This process in the role of the daemon: what it answers to SIGHUP, one word a question."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.asked, self.now_s = directory, 0, NOW_S
        self.answers: list[dict[str, Any]] = []

    def hup(self, _signum: int, _frame: object) -> None:
        self.asked += 1

    def pause(self, seconds: float) -> None:
        self.now_s += seconds
        if self.asked and self.answers:
            write(self.directory, reload=self.answers.pop(0))

    def ask(self) -> int:
        return reload.run(self.directory, now_s=lambda: self.now_s, pause=self.pause)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    found = Daemon(tmp_path)
    old = signal.signal(signal.SIGHUP, found.hup)
    yield found
    signal.signal(signal.SIGHUP, old)


def test_the_outcome_is_told(daemon: Daemon, capsys: Capture) -> None:
    write(daemon.directory)
    daemon.answers = [{"outcome": "accepted", "text": "line a: tags changed", "started_s": NOW_S}]
    assert daemon.ask() == 0
    assert daemon.asked == 1
    assert capsys.readouterr().out == "reloaded: line a: tags changed\n"


def test_a_refusal_is_told_with_every_fault(daemon: Daemon, capsys: Capture) -> None:
    write(daemon.directory)
    text = "lines/a/tags.toml:3: one\nlines/a/tags.toml:9: two"
    daemon.answers = [{"outcome": "refused", "text": text, "started_s": NOW_S + 0.1}]
    assert daemon.ask() == 2
    assert capsys.readouterr().err == f"{text}\nrefused: the old configuration goes on\n"


def test_an_answer_to_an_earlier_question_is_not_ours(daemon: Daemon, capsys: Capture) -> None:
    old = {"outcome": "accepted", "text": "old news", "started_s": NOW_S - 0.5}
    write(daemon.directory, reload=old)
    daemon.answers = [old, {"outcome": "refused", "text": "new", "started_s": NOW_S + 2}]
    assert daemon.ask() == 2
    assert "old news" not in capsys.readouterr().out


def test_no_answer(daemon: Daemon, capsys: Capture) -> None:
    write(daemon.directory, reload={"outcome": "none", "text": ""})
    assert daemon.ask() == 1
    assert daemon.now_s - NOW_S == pytest.approx(reload.PATIENCE_S, abs=1)
    assert "no answer within 60 s; see ncm-edge status" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "not there; is ncm-edge running"),
        ("{", "no status (JSONDecodeError"),
        ("{}", "no status (KeyError('pid'))"),
        ('{"pid": 1, "written_s": 5}', "written 995 s ago; the daemon does not run"),
    ],
)
def test_nobody_to_ask(text: str | None, said: str, daemon: Daemon, capsys: Capture) -> None:
    if text is not None:
        (daemon.directory / "status.json").write_text(text, encoding="utf-8")
    assert daemon.ask() == 1
    assert said in capsys.readouterr().err
    assert daemon.asked == 0


def test_a_process_that_is_gone(daemon: Daemon, capsys: Capture) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    write(daemon.directory, pid=ended.pid)
    assert daemon.ask() == 1
    assert f"process {ended.pid} is gone; start it" in capsys.readouterr().err
