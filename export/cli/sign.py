"""ncm-export sign: a bundle folder, signed, as one file for the stick."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.cli.common import Commands, command


def add(sub: Commands) -> None:
    """The command and its options."""
    p = command(
        sub,
        "sign",
        run,
        "sign a bundle for the stick: one file",
        "ncm-export sign firmware_config/models/ncm-1 --keys keys --key /media/r/release-1.pem "
        "--line ncm-1 --out /media/stick/ncm-1.ncm",
        "ncm-export sign build/bundle --key release-1.pem --line ncm-1 --seq 12 --out x.ncm",
    )
    p.add_argument("folder", type=Path, help="bundle folder, as `ncm-export bundle` writes it")
    p.add_argument("--out", type=Path, required=True, help="update file, NAME.ncm")
    p.add_argument(
        "--key", type=Path, action="append", required=True, metavar="FILE", help="release key"
    )
    add_terms(p)


def add_terms(p: argparse.ArgumentParser) -> None:
    """The options of `sign` that `bundle --sign` has as well."""
    p.add_argument(
        "--keys", type=Path, default=Path("keys"), metavar="DIR",
        help="key folder with the chain of root documents (default: %(default)s)",
    )  # fmt: skip
    p.add_argument(
        "--line", action="append", metavar="NAME",
        help="production line it is for; may be repeated",
    )  # fmt: skip
    p.add_argument(
        "--seq", type=int, metavar="N",
        help="number of the release, larger than any before (default: the model's serial)",
    )  # fmt: skip
    p.add_argument("--issued", default="", help="date for people (default: today)")
    p.add_argument("--app-min", metavar="X.Y.Z", help="least ncm-edge (default: this one)")
    p.add_argument("--app-max", metavar="X.Y.Z", default="", help="newest ncm-edge it is for")


def run(args: argparse.Namespace) -> None:
    """Do it."""
    sign(args, args.folder, args.out, args.key)


def sign(args: argparse.Namespace, folder: Path, out: Path, key_files: list[Path]) -> None:
    """Sign `folder` by the terms in `args`. Raises ExportError."""
    import datetime

    import edge
    from export.cli.keys import load_keys
    from export.deliver.keys import chain_of
    from export.deliver.release import ReleaseError, Terms, make_release, read_card

    card = read_card(folder)
    if not args.line:
        raise ReleaseError(f"{folder}: for which production line? Give --line NAME")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    terms = Terms(
        lines=tuple(args.line),
        seq=card.serial if args.seq is None else args.seq,
        model_version=f"{card.name}, serial {card.serial}",
        issued=args.issued or today,
        app_min=args.app_min or edge.__version__,
        app_max=args.app_max,
    )
    found = make_release(
        folder, out, chain_of(args.keys), load_keys(key_files), terms,
        progress=lambda text: print(f"  {text}"),
    )  # fmt: skip
    print(
        f"{out}: release {found.place} for {', '.join(found.compatible)}, "
        f"{out.stat().st_size / 1e6:.2f} MB, {card.notice}"
    )
