"""ncm-export bundle: pack a trained folder into a bundle."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.cli.common import Commands, add_config, add_data, command, config_of, load_data
from export.cli.sign import add_terms, sign


def add(sub: Commands) -> None:
    """The command and its options."""
    p = command(
        sub,
        "bundle",
        run,
        "pack a trained folder into a bundle",
        "ncm-export bundle build/ncm --data build/twin --out firmware_config/models/ncm-1",
        "ncm-export bundle build/ncm --out build/bundle --serial 7 --sign release-1.pem "
        "--keys keys --line ncm-1     # and build/bundle.ncm for the stick",
    )
    p.add_argument("trained", type=Path)
    add_data(p, required=False)
    add_config(p)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--serial", type=int, default=1, help="monotone model number, 1..65535")
    p.add_argument("--name")
    p.add_argument("--domain", help="whose reference goes in; default: the recipe's target")
    p.add_argument(
        "--sign", type=Path, action="append", metavar="FILE",
        help="release key: also write OUT.ncm, signed for the stick",
    )  # fmt: skip
    add_terms(p)


def run(args: argparse.Namespace) -> None:
    """Do it."""
    from export.deliver.pack import make_bundle
    from export.judge.folder import evaluate_folder, streams_of

    metrics: dict[str, Any] = {}
    streams: Sequence[Any] = ()
    if args.data is not None or args.recording is not None:
        dataset = load_data(args)
        if dataset.select("test"):
            _, metrics = evaluate_folder(args.trained, dataset, config_of(args))
        else:
            print("no batch was kept to judge by: the card has no figures (`labelled` in "
                  f"{args.recording or args.data} says which ones training may use)")  # fmt: skip
        streams = streams_of(args.trained, dataset)
    card = make_bundle(
        args.trained,
        args.out,
        serial=args.serial,
        name=args.name,
        domain=args.domain,
        streams=streams,
        metrics=metrics,
    )
    size = sum(file.stat().st_size for file in args.out.iterdir() if file.is_file())
    print(f"{args.out}: bundle '{card.name}', {size / 1e6:.2f} MB, {card.notice}")
    if args.sign:
        sign(args, args.out, args.out.with_name(args.out.name + ".ncm"), args.sign)
