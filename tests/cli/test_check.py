"""`ncm-edge check` as a user types it; the faults themselves are tests/config's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge.__main__ import main

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "firmware_config"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def broken(tmp_path: Path) -> tuple[Path, int]:
    """A copy of the shipped configuration with one misspelt key, and the key's line number."""
    target = tmp_path / "config"
    shutil.copytree(CONFIG, target)
    file = target / "lines" / "ncm-1" / "line.toml"
    text = file.read_text(encoding="utf-8")
    number = next(i for i, x in enumerate(text.splitlines(), 1) if x.startswith("persist_steps"))
    file.write_text(text.replace("persist_steps", "persist_step"), encoding="utf-8")
    return target, number


def test_the_shipped_configuration_is_sound(capsys: Capture) -> None:
    assert main(["check", "--config", str(CONFIG)]) == 0
    said = capsys.readouterr()
    assert "51 tags" in said.out
    assert not said.err


@pytest.mark.parametrize("name", ["ncm-1", "skab"])
def test_every_shipped_line_is_sound(name: str, capsys: Capture) -> None:
    assert main(["check", "--config", str(CONFIG), "--line", name]) == 0
    assert f"line {name}" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["check"], ["run"], ["tags"], ["demo"], ["twin"], ["status"]])
def test_every_command_names_a_misspelt_key_with_line_and_remedy(
    command: list[str], broken: tuple[Path, int], capsys: Capture
) -> None:
    directory, number = broken
    try:
        code: int | str | None = main([*command, "--config", str(directory)])
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    said = capsys.readouterr()
    assert f"lines/ncm-1/line.toml:{number}:" in said.err
    assert "did you mean 'persist_steps'" in said.err
    assert not said.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "/nowhere"], "is /nowhere the configuration directory?"),
        (["--config", str(CONFIG), "--line", "nope"], "permitted: ncm-1, skab"),
    ],
)
def test_a_directory_or_line_that_is_not_there(
    arguments: list[str], said: str, capsys: Capture
) -> None:
    assert main(["check", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_as_a_process(broken: tuple[Path, int]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge", "check", "--config", str(broken[0])],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "1 fault in" in done.stderr
    assert not done.stdout
