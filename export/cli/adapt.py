"""ncm-export adapt: a trained model for a repaired or new line, with few labels or none."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.cli.common import (
    Commands,
    add_config,
    add_data,
    add_device,
    command,
    config_of,
    label,
    load_data,
)


def add(sub: Commands) -> None:
    """The command and its options."""
    p = command(
        sub,
        "adapt",
        run,
        "adapt a trained model to a repaired or new line",
        "ncm-export adapt build/ncm --data build/after-repair --domain target --out build/ncm-b",
        "ncm-export adapt build/ncm --recording line-b.toml --domain line-b --labels few --out …",
    )
    p.add_argument("trained", type=Path, help="folder written by train, of the source")
    add_data(p)
    p.add_argument("--domain", help="domain of the data to adapt to; default: its only one")
    p.add_argument(
        "--labels",
        choices=("none", "few", "all"),
        default="none",
        help="labelled batches of the line that may be trained on (default: none)",
    )
    add_config(p)
    add_device(p)
    p.add_argument("--out", type=Path, required=True, help="folder to write")


def run(args: argparse.Namespace) -> None:
    """Adapt, then compare before and after on the test batches."""
    import torch

    from export.deliver.onnx_graph import load_weights
    from export.deliver.pack import check_line, load_trained, references_of, save_trained
    from export.judge.folder import compare_folders
    from export.learn.adapt import AdaptError, adapt
    from export.learn.device import choose
    from export.learn.recipe import recipe_of

    torch.set_num_threads(1)
    device = choose(args.device)
    dataset = load_data(args)
    document, arrays = load_trained(args.trained)
    check_line(document, dataset.line, args.trained)
    domains = sorted({b.domain for b in dataset.batches})
    if args.domain is None and len(domains) > 1:
        raise AdaptError(f"the data has the domains {domains}; choose one with --domain")
    domain = args.domain or domains[0]
    adapted = adapt(
        load_weights(args.trained / "weights.pt"),
        references_of(arrays),
        recipe_of(document["recipe"]),
        document["notes"].get("kinds", [""]),
        dataset,
        domain,
        args.labels,
        device=device,
    )
    save_trained(adapted, dataset, args.out, source=args.trained)
    for line in adapted.notes["adapted"]:
        print(line)
    print(label(dataset.simulated) + f'test batches of "{domain}"')
    print(compare_folders(args.trained, args.out, dataset, config_of(args), domain, device))
