"""ncm-export quantize: make the int8 and fp16 variants and report their gates."""

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
        "make the int8 and fp16 variants and report their gates",
        "ncm-export quantize build/ncm --data build/twin",
    )
    p.add_argument("trained", type=Path)
    add_data(p)


def run(args: argparse.Namespace) -> None:
    """Do it."""
    from export.deliver.pack import make_graph
    from export.deliver.variants import active, make_variants
    from export.judge.folder import streams_of

    dataset = load_data(args)
    graph, streams = make_graph(args.trained), streams_of(args.trained, dataset)
    gates = make_variants(graph, args.trained, streams)
    print(label(dataset.simulated) + f"{len(streams)} held-out stretches")
    for name, judged in gates.items():
        print(f"\n{name}, measured on the {judged['measured_on']}\n{judged['table']}")
    print(f"\nactive: {active(gates)[0]}")
