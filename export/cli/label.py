"""ncm-export label: what was repaired when -> the labels of the archived batches."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from export.cli.common import Commands, command

NAMES = {-1: "not used", 0: "normal", 1: "D-3", 2: "D-2", 3: "D-1"}


def add(sub: Commands) -> None:
    """The command and its options."""
    p = command(
        sub,
        "label",
        run,
        "turn maintenance events into the labels of an archive of `ncm-edge archive`",
        "ncm-export label archive                          # what was keyed in at the panel",
        "ncm-export label archive --log maintenance.csv --timezone Asia/Seoul",
        "ncm-export data archive/plant.toml                # what it comes to",
    )
    p.add_argument("archive", type=Path, help="folder written by `ncm-edge archive`")
    p.add_argument("--log", type=Path, help="the plant's log: time,event,end,component,group,text")
    p.add_argument("--timezone", default="", help="of the log's local times (default: UTC)")
    p.add_argument("--line", default="", help="only this line's batches and entries")
    p.add_argument(
        "--force",
        action="store_true",
        help="write labels.csv in spite of conflicts; the rows they touch stay unused",
    )


def run(args: argparse.Namespace) -> None:
    """Write labels.csv; conflicts end with 2 and write nothing."""
    from export.data.archive import LABELS, label_archive, log_text
    from export.data.dataset import DatasetError

    _check_timezone(args.timezone)
    found = label_archive(args.archive, args.log, timezone=args.timezone, line=args.line)
    for finding in found.findings:
        print(finding, file=sys.stderr)
    for stretch in found.stretches:
        parts = [f"{NAMES[k]} {n} min" for k, n in sorted(stretch.minutes.items())]
        print(f"{stretch.file}: {', '.join(parts)}")
    conflicts = sum(finding.fault for finding in found.findings)
    if conflicts and not args.force:
        raise DatasetError(
            f"{conflicts} fault{'s' * (conflicts > 1)} above; correct the log, or take --force: "
            "the rows they touch then stay unused. labels.csv was not written"
        )
    path = args.archive / LABELS
    try:
        unfinished = path.with_name(path.name + ".new")
        unfinished.write_text(log_text(found.events), encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written: {error.strerror or error}") from None
    print(f"{path}: {len(found.events)} events for {len(found.stretches)} batches")


def _check_timezone(name: str) -> None:
    from zoneinfo import ZoneInfo

    from export.data.dataset import DatasetError

    try:
        ZoneInfo(name) if name else None
    except (KeyError, ValueError, OSError):
        raise DatasetError(f"--timezone {name!r}: not known; write it like Europe/Berlin") from None
