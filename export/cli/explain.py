"""ncm-export explain: where the model looks, and whether it names the right component."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.cli.common import Commands, add_data, command, label, load_data


def add(sub: Commands) -> None:
    """The command and its options."""
    p = command(
        sub,
        "explain",
        run,
        "localisation, CAM against integrated gradients, heat maps",
        "ncm-export explain build/ncm --data build/twin --out build/explain",
    )
    p.add_argument("trained", type=Path, help="folder written by train")
    add_data(p)
    p.add_argument("--config", type=Path, default=Path("firmware_config"))
    p.add_argument("--sample", type=int, default=12, help="batches for integrated gradients")
    p.add_argument("--limit", type=int, help="at most so many defective batches, evenly picked")
    p.add_argument("--pictures", type=int, default=3, help="heat maps to draw")
    p.add_argument("--out", type=Path, help="folder for heat maps; none are drawn without it")


def run(args: argparse.Namespace) -> None:
    """Print the tables, draw the pictures."""
    import numpy as np
    import torch
    from tqdm import tqdm

    from export.data.lines import load_line
    from export.deliver.onnx_graph import load_weights
    from export.deliver.pack import check_line, load_trained, references_of
    from export.judge.explain import agreement, heat_map, localisation_table, locate
    from export.learn.recipe import recipe_of

    torch.set_num_threads(1)
    dataset = load_data(args)
    document, arrays = load_trained(args.trained)
    check_line(document, dataset.line, args.trained)
    recipe, references = recipe_of(document["recipe"]), references_of(arrays)
    network = load_weights(args.trained / "weights.pt")
    line = load_line(args.config, dataset.line.name)
    batches = [b for b in dataset.select("test") if b.level and b.domain in references]
    if args.limit is not None and 0 < args.limit < len(batches):
        batches = [batches[k * len(batches) // args.limit] for k in range(args.limit)]
    threshold = document["thresholds"]["threshold"]
    kinds = document["notes"]["kinds"]
    pairs = []
    for batch in tqdm(batches, desc="locating", unit="batch", disable=None):
        found = locate(network, [batch], references, recipe, line, threshold, kinds)
        pairs += [(batch, one) for one in found]
    print(label(dataset.simulated) + f"{len(pairs)} of {len(batches)} defective batches flagged")
    print(localisation_table([one for _, one in pairs]))
    every = max(1, len(pairs) // max(1, args.sample))
    both = [
        agreement(network, batch, references, recipe, one.step)
        for batch, one in tqdm(pairs[::every][: args.sample], desc="gradients", disable=None)
    ]
    if both:
        rho, top = np.nanmean(np.array(both), axis=0)
        print(
            f"CAM against integrated gradients, {len(both)} batches: rank correlation over tags "
            f"{rho:.2f}, top three tags shared {top:.0%}"
        )
    if args.out is None:
        return
    args.out.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    for batch, one in pairs:
        if batch.fault in seen or len(seen) >= args.pictures:
            continue
        seen.add(batch.fault)
        kind = "simulated" if dataset.simulated else "recorded"
        title = f"{batch.fault} at severity {batch.level}, at fault {batch.component} ({kind})"
        file = args.out / f"cam-{batch.fault}.png"
        heat_map(one, line, title).savefig(file, dpi=90)
        print(file)
