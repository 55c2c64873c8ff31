"""`ncm-edge backup` and `restore`: what they did, in words; the exit code says how it ended."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from edge.config.load import ConfigError, load
from edge.config.types import Appliance
from edge.runtime.clock import Clock
from edge.service import backup as writing
from edge.service import restore as reading
from edge.service.account import AccountError
from edge.service.archive import ArchiveError, Manifest
from edge.service.restore_update import Refusal

DONE, FAILED, MISTAKE, NO_BACKUP, RUNNING, REFUSED = range(6)


def backup(
    appliance: Appliance, config: Path, target: Path, *, without: frozenset[str], clock: Clock
) -> int:
    """Write the backup. Returns 0; 1 if it could not be written, or not with everything."""
    try:
        manifest = writing.backup(
            appliance, config.resolve(), target, without=without, wall_s=round(clock.wall_s())
        )
    except writing.BackupError as error:
        print(error, file=sys.stderr)
        return FAILED
    print(f"{target}: {_about(manifest)}; written and read back")
    print("it holds private keys and passwords of this appliance: keep it locked up")
    for text in manifest.left_out:
        print(f"LEFT OUT: {text}", file=sys.stderr)
    return FAILED if manifest.left_out else DONE


def restore(
    file: Path, config: Path, *, state: Path | None, without: frozenset[str], dry_run: bool,
    clock: Clock,
) -> int:  # fmt: skip
    """Restore it. Returns the exit code of the command's help."""
    try:
        manifest, told = reading.restore(
            file, config.absolute(), state=state, without=without, dry_run=dry_run,
            wall_s=round(clock.wall_s()),
        )  # fmt: skip
    except ArchiveError as error:
        print(f"{file}: {error}; nothing was restored", file=sys.stderr)
        return NO_BACKUP
    except reading.RunningError as error:
        print(error, file=sys.stderr)
        return RUNNING
    except Refusal as error:
        print(f"refused: {error}", file=sys.stderr)
        return REFUSED
    except AccountError as error:
        print(error, file=sys.stderr)
        return MISTAKE
    except reading.RestoreError as error:
        print(error, file=sys.stderr)
        return FAILED
    print(f"{file}: {_about(manifest)}")
    for text in told:
        print(f"  {'would be: ' if dry_run else ''}{text}")
    for text in manifest.left_out:
        print(f"  was left out of the backup: {text}")
    if dry_run:
        return DONE
    return _faults(config)


def _faults(config: Path) -> int:
    try:
        load(config)
    except ConfigError as error:
        print(f"{error}\nrestored; {config} has these faults on this machine", file=sys.stderr)
        return FAILED
    return DONE


def _about(manifest: Manifest) -> str:
    made = datetime.fromtimestamp(manifest.made_s, UTC).strftime("%Y-%m-%d %H:%M")
    floors = ", ".join(f"{line} from {floor} on" for line, floor in manifest.floors.items())
    size = sum(entry.size for entry in manifest.files.values()) / 1e6
    return (
        f"appliance {manifest.appliance}, ncm-edge {manifest.program}, {made} UTC, "
        f"{len(manifest.files)} files, {size:.1f} MB, releases {floors or 'none'}"
    )
