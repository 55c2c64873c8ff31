"""The configuration of a backup in the place of the present one, which is kept beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from edge.service.actions import flush


def put_configuration(staged: Path | None, config: Path) -> str:
    """Exchange the configuration; returns what was done. None: what would be. Raises OSError."""
    if staged is None:
        return f"configuration: {config} is replaced, the present one kept beside it"
    trust = config / "trust" / "root.json"
    if trust.is_file() and not (staged / "trust" / "root.json").exists():
        (staged / "trust").mkdir(exist_ok=True)
        shutil.copyfile(trust, staged / "trust" / "root.json")
    text = f"configuration: {config}"
    if _tree(staged) == _tree(config):
        shutil.rmtree(staged)
        return f"configuration: unchanged, {config} is as in the backup"
    if config.exists():
        kept = _free_name(config)
        config.rename(kept)
        text += f" (the one before is {kept})"
    staged.rename(config)
    flush(config.parent)
    return text


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*") if path.is_file()
    }  # fmt: skip


def _free_name(path: Path) -> Path:
    number = 1
    while (kept := path.with_name(f"{path.name}.before-restore-{number}")).exists():
        number += 1
    return kept
