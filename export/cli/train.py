"""ncm-export train: train on a dataset or on a recording."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from export.cli.common import Commands, add_data, add_device, command, label, load_data

if TYPE_CHECKING:
    from export.data.dataset import Dataset

CHECKPOINT = "training.ckpt"


def add(sub: Commands) -> None:
    """The command and its options."""
    p = command(
        sub,
        "train",
        run,
        "train on a dataset or on a recording",
        "ncm-export train --data build/twin --recipe ours --out build/ncm",
        "ncm-export train --data build/twin --out build/ncm     # again: goes on where it stopped",
        "torchrun --nproc-per-node 2 -m export train --data build/twin --out build/ncm",
    )
    add_data(p)
    p.add_argument(
        "--recipe",
        help="shipped recipe or TOML file (ours, paper, continuous); default: ours for batches of "
        "a schedule, continuous for any other recording",
    )
    p.add_argument("--out", type=Path, required=True, help="folder to write")
    p.add_argument("--seed", type=int, help="replaces the seed of the recipe")
    p.add_argument("--iterations", type=int, help="replaces training.iterations")
    p.add_argument("--threads", type=int, default=1)
    add_device(p)
    p.add_argument(
        "--precision",
        choices=("fp32", "bf16"),
        help="of convolutions and GRU while training; replaces training.precision",
    )
    p.add_argument("--fresh", action="store_true", help="forget the checkpoint of a stopped run")


def _usual(dataset: Dataset, *, recorded: bool) -> str:
    """The recipe for these data, said where it had to be chosen."""
    if not recorded:
        return "ours"
    if not dataset.line.schedule_steps:
        print("recipe continuous: a line without a schedule; labels are for judging alone")
        return "continuous"
    count = {split: len(dataset.select(split)) for split in ("train", "calibrate", "test")}
    defective = sum(b.level > 0 for b in dataset.batches)
    print(
        f"recipe ours: batches of a schedule, {defective} of {len(dataset.batches)} labelled "
        f"defective; {count['train']} to learn from, {count['calibrate']} held out for the "
        f"thresholds, {count['test']} kept to judge by"
    )
    return "ours"


def run(args: argparse.Namespace) -> None:
    """Do it."""
    import torch

    from export.deliver.pack import save_trained
    from export.learn import engine, paper
    from export.learn.device import choose
    from export.learn.recipe import RecipeError, load_recipe
    from export.learn.train import train

    torch.set_num_threads(args.threads)
    device = choose(args.device)
    dataset = load_data(args)
    recipe = load_recipe(args.recipe or _usual(dataset, recorded=args.recording is not None))
    if args.seed is not None:
        recipe = dataclasses.replace(recipe, seed=args.seed)
    asked = {"iterations": args.iterations, "precision": args.precision}
    changes = {key: value for key, value in asked.items() if value is not None}
    recipe = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, **changes))
    if recipe.kind == "paper" and recipe.training.precision != "fp32":
        raise RecipeError(
            f"--precision {recipe.training.precision}: the recipe '{recipe.name}' is trained as "
            "published, in fp32; leave the option out"
        )
    if recipe.kind == "paper":
        result = paper.train(dataset, recipe, device=device)
        args.out.mkdir(parents=True, exist_ok=True)
        torch.save(result.weights, args.out / "paper.pt")
        text = json.dumps(result.figures, indent=1)
        (args.out / "paper.json").write_text(text + "\n")
        print(label(dataset.simulated) + text)
        return
    domains = list(dict.fromkeys(batch.domain for batch in dataset.batches))
    if recipe.target_domain not in domains:
        # A recording: every stretch has its own reference; `bundle --domain` chooses.
        recipe = dataclasses.replace(recipe, target_domain=domains[0])
    checkpoint = args.out / CHECKPOINT
    if args.fresh:
        checkpoint.unlink(missing_ok=True)
    elif checkpoint.is_file():
        print(f"{checkpoint}: going on from there; --fresh starts anew")
    with engine.processes(device) as writes:
        if writes:
            print(f"training on {device}", flush=True)
        trained = train(dataset, recipe, quiet=not writes, checkpoint=checkpoint, device=device)
        if writes:
            save_trained(trained, dataset, args.out)
            notes = {k: v for k, v in trained.notes.items() if k != "loss_history"}
            print(f"{args.out}: {json.dumps(notes, ensure_ascii=False)}")
