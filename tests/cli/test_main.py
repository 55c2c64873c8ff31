"""The command line: help, wrong arguments, exit codes, and errors that name their remedy."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edge import __version__
from edge.__main__ import main
from edge.core.conditions import TABLE

ROOT = Path(__file__).parents[2]
CONFIG = ["--config", str(ROOT / "firmware_config")]
COMMANDS = (
    "run", "reload", "demo", "check", "tags", "replay", "twin", "status", "certificate", "history",
    "archive", "report", "hmi", "update", "audit", "page",
    "install", "backup", "restore", "inventory",
)  # fmt: skip
Capture = pytest.CaptureFixture[str]


def code_of(arguments: list[str]) -> int | str | None:
    """The exit code, whether returned or raised."""
    try:
        return main(arguments)
    except SystemExit as ended:
        return ended.code


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_of_every_command(command: str, capsys: Capture) -> None:
    assert code_of([*command.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert f"usage: ncm-edge {command}".strip() in said
    if not command:
        for other in COMMANDS:
            assert re.search(rf"^    {other}\s+\S", said, re.MULTILINE), other


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "arguments are required: COMMAND"),
        (["rum"], "invalid choice: 'rum'"),
        (["check", "--confg", "x"], "unrecognized arguments: --confg"),
        (["replay"], "arguments are required: recording"),
        (["replay", "x.csv", "--speed", "0"], "'0': expected a number above 0"),
        (["twin", "--speed", "nan"], "'nan': expected a number above 0"),
        (["twin", "--speed", "inf"], "'inf': expected a number above 0"),
        (["demo", "--speed", "-5"], "'-5': expected a number above 0"),
        (["demo", "--speed", "fast"], "'fast': expected a number above 0"),
        (["demo", "--seed", "x"], "invalid int value: 'x'"),
        (["demo", "--severity", "4"], "invalid choice: 4"),
        (["demo", "--line", "skab"], "unrecognized arguments: --line"),
    ],
)
def test_wrong_arguments_are_a_users_mistake(
    arguments: list[str], said: str, capsys: Capture
) -> None:
    assert code_of(arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["demo", "twin"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fault", "F99"], "fault 'F99': permitted are F01"),
        (["--seed", "-1"], "seed -1"),
    ],
)
def test_a_scenario_that_does_not_exist(
    command: str, arguments: list[str], said: str, capsys: Capture
) -> None:
    assert code_of([command, *CONFIG, *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_twin_of_a_line_without_batches(capsys: Capture) -> None:
    assert code_of(["twin", *CONFIG, "--line", "skab"]) == 2
    assert "use ncm-edge replay" in capsys.readouterr().err


def test_one_line_at_a_time(capsys: Capture) -> None:
    both = ["--line", "ncm-1", "--line", "skab"]
    assert code_of(["twin", *CONFIG, *both]) == 2
    assert "add --line NAME; configured are ncm-1, skab" in capsys.readouterr().err


def test_replay_of_nothing(tmp_path: Path, capsys: Capture) -> None:
    missing = tmp_path / "no.csv"
    assert code_of(["replay", str(missing), "--line", "skab", *CONFIG]) == 2
    assert str(missing) in capsys.readouterr().err


def test_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge", "--version"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"ncm-edge {__version__}\n")


@pytest.mark.parametrize("command", ["check", "tags"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_is_no_fault(command: str, unbuffered: str) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "edge", command],
        cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": unbuffered}, stdout=write,
        stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def _documents() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_command_is_in_the_readme_or_the_docs() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in _documents())
    for command in COMMANDS:
        assert re.search(rf"ncm-edge {command}\b|make {command}\b", text), command


def _advised() -> list[str]:
    """Every `ncm-edge ...` that documents and HMI texts tell people to type."""
    texts = [row.cause + row.action for row in TABLE.values()]
    found = [m for text in texts for m in re.findall(r"`(ncm-edge [^`]+)`", text)]
    for path in (*_documents(), *sorted((ROOT / "systemd").glob("*.service"))):
        text = path.read_text(encoding="utf-8")
        found += re.findall(r"`(?:\.venv/bin/)?(ncm-edge [^`\n]+)`", text)
        # A command at the start of a line of a code block; a comment or `&` ends it.
        lines = re.findall(r"^(?:ExecStart=| *)(?:\S*/bin/)?(ncm-edge [a-z][^#&|\n]*)", text, re.M)
        found += [line.replace("\\", "") for line in lines]
    return sorted(set(found))


def test_what_people_are_told_to_type_is_understood(capsys: Capture) -> None:
    advised = _advised()
    assert len(advised) >= 10
    for command in advised:
        words = [word for word in shlex.split(command)[1:] if word not in ("...", "…")]
        if words[0] not in COMMANDS:
            assert words[0].startswith("-"), command
            continue
        # --help last: options are checked before it, values and files are not opened.
        known = _options(words[0], capsys)
        for word in words[1:]:
            assert not word.startswith("--") or word.rstrip(",.") in known, f"{command}: {word}"


def _options(command: str, capsys: Capture) -> set[str]:
    code_of([command, "--help"])
    return set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
