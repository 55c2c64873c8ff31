"""ncm-export quantize: make the int8 variant and report its gates."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.cli.common import Commands, add_data, command, label, load_data


def add(sub: Commands) -> None:
    """The command and its options."""
    p = command(
        sub,
        "quantize",
        run,
        "make the int8 variant and report its gates",
        "ncm-export quantize build/ncm --data build/twin",
    )
    p.add_argument("trained", type=Path)
    add_data(p)


def run(args: argparse.Namespace) -> None:
    """Do it."""
    from export.deliver.gate import judge_variant
    from export.deliver.pack import INT8, make_graph
    from export.deliver.quantize import quantize
    from export.judge.folder import streams_of

    dataset = load_data(args)
    graph, streams = make_graph(args.trained), streams_of(args.trained, dataset)
    quantize(graph, args.trained / INT8, streams)
    gates = judge_variant(graph, args.trained / INT8, streams)
    print(label(dataset.simulated) + f"{len(streams)} held-out stretches")
    print(gates["table"])
    print(f"active: {gates['active']}")
