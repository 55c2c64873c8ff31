"""The command line: help, exit codes, and errors that name their remedy."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from edge.__main__ import main
from edge.cli import status

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "firmware_config"
COMMANDS = ("run", "demo", "check", "tags", "replay", "twin", "status")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_of_every_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    assert "ncm-edge" in capsys.readouterr().out


def test_check_of_the_shipped_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(CONFIG)]) == 0
    assert "51 tags" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["check"], ["run"], ["tags"], ["demo"]])
def test_a_misspelt_key_is_named_with_line_and_remedy_by_every_command(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "config"
    shutil.copytree(CONFIG, broken)
    file = broken / "lines" / "ncm-1" / "line.toml"
    lines = file.read_text(encoding="utf-8").splitlines()
    number = next(i for i, line in enumerate(lines, 1) if line.startswith("persist_steps"))
    file.write_text("\n".join(lines).replace("persist_steps", "persist_step"), encoding="utf-8")
    try:
        code = main([*command, "--config", str(broken)])
    except SystemExit as ended:
        code = int(str(ended.code))
    assert code == 2
    said = capsys.readouterr().err
    assert f"lines/ncm-1/line.toml:{number}:" in said
    assert "did you mean 'persist_steps'" in said


def test_status_without_a_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--runtime", str(tmp_path)]) == 1
    assert "Is ncm-edge running" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ne107", "code"), [([0], 0), ([0, 4], 4), ([3, 4], 3), ([2, 3], 2), ([2, 1], 1)]
)
def test_the_exit_code_is_the_most_urgent_ne107_number(
    ne107: list[int], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(tmp_path, ne107)
    assert status.run(tmp_path, as_json=False, now_s=105.0) == code
    assert "2 of 51 tags bad" in capsys.readouterr().out


def test_a_stale_status_file_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(tmp_path, [0])
    assert status.run(tmp_path, as_json=False, now_s=200.0) == 1
    assert "STALE: written 100 s ago" in capsys.readouterr().out


def test_replay_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "no.csv"
    assert main(["replay", str(missing), "--line", "skab", "--config", str(CONFIG)]) == 2
    assert str(missing) in capsys.readouterr().err


def test_every_command_is_in_the_readme_or_the_docs() -> None:
    text = "".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    )
    for command in COMMANDS:
        assert re.search(rf"ncm-edge {command}\b|make {command}\b", text), command


def _write(directory: Path, ne107: list[int]) -> None:
    line: dict[str, Any] = {
        "name": "ncm-1", "provider": "cpu", "provider_reason": "", "model": "m", "batch": "1",
        "verdict": {"text": "normal", "suspects": []}, "trim": {"text": "held: no batch"},
        "data_text": "2 of 51 tags bad now", "links": [], "conditions": [],
    }  # fmt: skip
    document = {
        "name": "edge-1", "version": "0", "uptime_s": 5, "written_s": 100.0,
        "lines": [{**line, "ne107": number} for number in ne107],
    }  # fmt: skip
    (directory / "status.json").write_text(json.dumps(document), encoding="utf-8")
