"""ncm-export data: what a plant's recording holds, before anything is learnt from it."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.cli.common import Commands, command


def add(sub: Commands) -> None:
    """The command and its options."""
    p = command(
        sub,
        "data",
        run,
        "read a plant's recording and say what was found: labels, gaps, quality, faults",
        "ncm-export data export/plants/skab.toml",
        "ncm-export data my.toml --file days/ --picture overview.png",
        "ncm-export data my.toml --cache build/cache --out build/my   # for train --data",
    )
    p.add_argument("plant", type=Path, help="TOML of the plant (keys: export/data/describe.py)")
    p.add_argument("--file", type=Path, help="file or folder instead of the description's files")
    p.add_argument("--picture", type=Path, help="PNG to write: tags x time, good rows and labels")
    p.add_argument("--out", type=Path, help="dataset directory to write, for `train --data`")
    p.add_argument("--cache", type=Path, help="keep features of each file here, and go on from it")
    p.add_argument("--all", action="store_true", help="list every stretch, tag and warning")


def run(args: argparse.Namespace) -> None:
    """Print the report; faults end with 2."""
    from export.data.dataset import DatasetError, save_dataset
    from export.data.findings import refuse_faults
    from export.data.overview import picture
    from export.data.plant import read_plant
    from export.data.recording import cut_recording
    from export.data.report import report

    loaded = read_plant(args.plant, args.file, cache=args.cache, quiet=False)
    print(report(loaded, args.all), flush=True)
    if args.picture is not None:
        try:
            picture(loaded.dataset, args.picture)
        except (OSError, ValueError) as error:
            raise DatasetError(f"{args.picture}: cannot be written: {error}") from None
        print(f"\n{args.picture}: written")
    refuse_faults(loaded.findings)
    if args.out is not None:
        try:
            save_dataset(cut_recording(loaded.dataset), args.out)
        except OSError as error:
            raise DatasetError(f"{args.out}: cannot be written: {error}") from None
        print(f"\n{args.out}: written")
