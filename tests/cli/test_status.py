"""`ncm-edge status`: silence, old news and foreign files are failures; all else is NE 107."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edge.__main__ import main
from edge.cli import status
from edge.core.histogram import Histogram
from edge.core.registers import Ne107
from edge.runtime import diagnostics

Capture = pytest.CaptureFixture[str]
WRITTEN_S = 1000.0
COUNTS = {"ok": 5, "timeouts": 0, "lost": 0, "bad_answers": 0, "exceptions": 0}
NOTHING = {**diagnostics.histogram(Histogram()), "p50_ms": None, "p99_ms": None}
HISTOGRAM = {**NOTHING, "count": 3, "p50_ms": 0.9, "p99_ms": 20.0}
HISTOGRAM["buckets"] = [1, 0, 2, *[0] * 16]


def line(name: str = "ncm-1", ne107: int = 0, **more: Any) -> dict[str, Any]:
    """One line of a status document, as `edge.runtime.report` makes it."""
    return {
        "name": name, "ne107": ne107, "provider": "cpu", "provider_reason": "configured",
        "model": "ncm-1, serial 3: simulated", "batch": "7 running, minute 12, step 2",
        "verdict": {"text": "severity 2 (D-2), defect probability 97.0%", "valid": True,
                    "probability": 0.97, "severity": 2, "suspects": [
            {"component": "C07", "name": "NaOH 배관", "part": "hose", "score": 0.91, "tags": []},
        ]},
        "trim": {"text": "held: leak suspected"},
        "data_text": "99.0% of the tag-seconds of the last step good, 2 of 51 tags bad now",
        "links": [{
            "name": "plc", "connected": False, "ok": 5, "timeouts": 1, "lost": 0,
            "bad_answers": 0, "exceptions": 0, "last_error": "10.0.0.5:502: refused",
            "connects": 2, "bad_addresses": ["holding 7"], "rtt": HISTOGRAM, "units": [
                {"unit_id": 1, **COUNTS, "rtt": HISTOGRAM},
                {"unit_id": 9, **COUNTS, "timeouts": 7, "rtt": NOTHING},
            ],
        }],
        "cycles": 60, "data_quality": 0.99, "publication": {"verified": 59, "mismatches": 1},
        "tags": [
            {"name": "FIC-103.PV", "quality": "good", "age_s": 0.25},
            {"name": "WI-103.PV", "quality": "bad", "age_s": 12.0},
            {"name": "PI-103.PV", "quality": "bad", "age_s": None},
        ],
        "acquisition": {
            "rows": 60, "gap_rows": 2, "overruns": 3, "late": HISTOGRAM, "skew": NOTHING,
            "groups": [{
                "name": "agitator", "link": "plc", "poll_s": 0.125, "reduce": "mean", "polls": 480,
                "missed": 4, "overruns": 1, "late": HISTOGRAM, "skew": HISTOGRAM,
            }],
        },
        "conditions": [{"text": "The drive is full. Free some room."}],
        **more,
    }  # fmt: skip


def write(directory: Path, *lines: dict[str, Any], **more: Any) -> Path:
    document = {
        "name": "edge-1", "version": "0.1", "uptime_s": 5.0, "written_s": WRITTEN_S,
        "lines": list(lines), **more,
    }  # fmt: skip
    path = directory / "status.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_everything_the_daemon_said_is_shown(tmp_path: Path, capsys: Capture) -> None:
    write(tmp_path, line(ne107=1))
    assert status.run(tmp_path, as_json=False, now_s=WRITTEN_S + 1.0) == 1
    assert capsys.readouterr().out.splitlines() == [
        "edge-1  ncm-edge 0.1  up 5 s",
        "line ncm-1: NE 107 FAILURE",
        "  inference  cpu, configured",
        "  model      ncm-1, serial 3: simulated",
        "  batch      7 running, minute 12, step 2",
        "  verdict    severity 2 (D-2), defect probability 97.0%",
        "             C07 NaOH 배관 (hose)  score 0.91",
        "  NaOH trim  held: leak suspected",
        "  data       99.0% of the tag-seconds of the last step good, 2 of 51 tags bad now",
        "  rows       60, 2 gaps, 3 overruns; late p99 20 ms, skew p50 - p99 -",
        "  rows       oldest value WI-103.PV, 12.0 s; 1 tags never read",
        "  rows       group agitator on plc: every 0.125 s, 480 polls, 4 missed, 1 overruns; "
        "late p99 20 ms, skew p99 20 ms",
        "  link plc: NOT CONNECTED  ok 5  timeouts 1  lost 0  bad answers 0  exceptions 0  "
        "10.0.0.5:502: refused",
        "    round trip p50 0.9 ms p99 20 ms",
        "    unit 1: ok 5  timeouts 0  lost 0  bad answers 0  exceptions 0  "
        "round trip p50 0.9 ms p99 20 ms",
        "    unit 9: ok 5  timeouts 7  lost 0  bad answers 0  exceptions 0  "
        "round trip p50 - p99 -",
        "  ! The drive is full. Free some room.",
    ]


@pytest.mark.parametrize("number", Ne107)
def test_the_exit_code_of_one_line_is_its_ne107_number(number: Ne107, tmp_path: Path) -> None:
    write(tmp_path, line(ne107=number))
    assert status.run(tmp_path, as_json=False, now_s=WRITTEN_S) == number


@pytest.mark.parametrize(
    ("numbers", "code"), [([0, 4], 4), ([3, 4], 3), ([2, 3], 2), ([2, 1], 1), ([4, 0, 2, 3], 2)]
)
def test_of_several_lines_the_most_urgent_counts(
    numbers: list[int], code: int, tmp_path: Path
) -> None:
    write(tmp_path, *(line(f"l{i}", number) for i, number in enumerate(numbers)))
    assert status.run(tmp_path, as_json=False, now_s=WRITTEN_S) == code


def test_one_line_can_be_asked_for(tmp_path: Path, capsys: Capture) -> None:
    write(tmp_path, line("a", 1), line("b", 4))
    assert status.run(tmp_path, as_json=False, only=("b",), now_s=WRITTEN_S) == 4
    assert "line a" not in capsys.readouterr().out
    assert status.run(tmp_path, as_json=False, only=("c",), now_s=WRITTEN_S) == 1
    assert "line c: not run by this daemon; it runs a, b" in capsys.readouterr().out


def test_json_is_json_even_when_it_is_stale(tmp_path: Path, capsys: Capture) -> None:
    write(tmp_path, line())
    assert status.run(tmp_path, as_json=True, now_s=WRITTEN_S) == 0
    assert json.loads(capsys.readouterr().out)["lines"][0]["name"] == "ncm-1"
    assert status.run(tmp_path, as_json=True, now_s=WRITTEN_S + 60.0) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["lines"]
    assert "STALE" in said.err


def test_without_a_daemon_the_remedy_is_named(tmp_path: Path, capsys: Capture) -> None:
    assert main(["status", "--runtime", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert str(tmp_path / "status.json") in said
    assert "Is ncm-edge running" in said
    assert "--runtime DIR" in said


@pytest.mark.parametrize(
    ("now_s", "said"),
    [(WRITTEN_S + 100.0, "100 s ago"), (WRITTEN_S - 3600.0, "3600 s in the future")],
    ids=["old", "clock set back"],
)
def test_a_stale_file_is_a_failure_and_its_words_are_not_repeated(
    now_s: float, said: str, tmp_path: Path, capsys: Capture
) -> None:
    write(tmp_path, line())
    assert status.run(tmp_path, as_json=False, now_s=now_s) == 1
    assert capsys.readouterr().out == f"STALE: written {said}; the daemon has stopped or hangs\n"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"written_s": null, "lines": []}',
        '{"written_s": 1000, "lines": [{"name": "a", "ne107": 9}]}',
        '{"written_s": 1000, "lines": "no"}',
        '{"name": "e", "version": "0", "uptime_s": 1, "written_s": 1000, "lines": []}',
        "\x00\x01\x02",
    ],
)
def test_a_file_that_is_no_status_is_a_failure_with_a_message(
    content: str, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "status.json").write_text(content, encoding="utf-8")
    assert status.run(tmp_path, as_json=False, now_s=WRITTEN_S) == 1
    said = capsys.readouterr().out
    assert said.startswith((str(tmp_path / "status.json"), "e  ncm-edge 0"))


def test_a_status_file_of_another_encoding(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "status.json").write_bytes(b"\xff\xfe\x00")
    assert status.run(tmp_path, as_json=False) == 1
    assert "cannot be read" in capsys.readouterr().out


def test_a_broker_is_shown(tmp_path: Path, capsys: Capture) -> None:
    told = {"broker": "10.0.0.9:8883", "connected": False, "connects": 1, "sent": 60, "resent": 5,
            "waiting": 9, "dropped": 0, "last_error": "refused: Not authorized"}  # fmt: skip
    write(tmp_path, line(), mqtt=told)
    assert status.run(tmp_path, as_json=False, now_s=WRITTEN_S) == 0, "no affair of the line"
    shown = capsys.readouterr().out
    assert "mqtt: NOT CONNECTED to 10.0.0.9:8883  sent 60  resent 5  waiting 9  dropped 0" in shown
    assert "! refused: Not authorized" in shown


@pytest.mark.parametrize("number", [Ne107.NORMAL, Ne107.OFF_SPEC])
def test_a_watch_goes_on_and_ends_with_the_ne107_number(number: Ne107, tmp_path: Path) -> None:
    write(tmp_path, line(ne107=int(number)), written_s=time.time() + 5.0)
    command = [sys.executable, "-m", "edge", "status", "--runtime", str(tmp_path), "--watch"]
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        documents = [json.loads(watch.stdout.readline()) for _ in range(2)]
        watch.send_signal(signal.SIGINT)
        assert watch.wait(20.0) == int(number)
    assert documents[0] == documents[1]
    assert documents[0]["lines"][0]["ne107"] == int(number)
