"""ncm-export evaluate: judge a trained folder on test batches."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from export.cli.common import (
    Commands,
    add_config,
    add_data,
    add_device,
    command,
    config_of,
    load_data,
)


def add(sub: Commands) -> None:
    """The command and its options."""
    p = command(
        sub,
        "evaluate",
        run,
        "judge a trained folder on test batches",
        "ncm-export evaluate build/ncm --data build/twin",
        "ncm-export evaluate build/next --recording archive/plant.toml",
    )
    p.add_argument("trained", type=Path, help="folder written by train")
    add_data(p)
    add_config(p)
    add_device(p)
    p.add_argument("--json", type=Path, help="also write the figures here")


def run(args: argparse.Namespace) -> None:
    """Do it."""
    from export.judge.folder import evaluate_folder
    from export.learn.device import choose

    device = choose(args.device)
    dataset = load_data(args)
    text, figures = evaluate_folder(args.trained, dataset, config_of(args), device)
    print(text)
    if args.json is not None:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
