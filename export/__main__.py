"""ncm-export: simulate | train | evaluate | quantize | bundle.

The workshop beside the appliance. Each command calls one function and ends with exit code 0, or
with 2 and a message for a user's mistake.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EPILOG = """examples:
  ncm-export simulate --out build/twin                     # simulated batches, about 2 min
  ncm-export train --data build/twin --out build/ncm       # our recipe, about 3 min
  ncm-export evaluate build/ncm --data build/twin
  ncm-export bundle build/ncm --data build/twin --out firmware_config/models/ncm-1
  ncm-export train --data build/twin --recipe paper --out build/paper   # published baseline
  ncm-export train --recording export/plants/skab.toml --out build/skab # a real recording
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = _parser().parse_args(argv)
    # Imported late: --help must not wait seconds for torch.
    from edge.config.faults import ConfigError
    from export.dataset import DatasetError
    from export.onnx_graph import GraphError
    from export.pack import PackError
    from export.recipe import RecipeError
    from export.train import TrainingError

    user_errors = (
        ConfigError, DatasetError, GraphError, PackError, RecipeError, TrainingError,
    )  # fmt: skip
    try:
        args.call(args)
    except user_errors as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ncm-export",
        description="Make a model bundle for ncm-edge: simulate, train, evaluate, quantise, pack.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    p = _command(
        sub, "simulate", _simulate, "run the digital twin and store labelled step features",
        "ncm-export simulate --out build/twin --seed 1 --batches 0.5",
    )  # fmt: skip
    p.add_argument("--out", type=Path, required=True, help="dataset directory to write")
    p.add_argument("--config", type=Path, default=Path("firmware_config"))
    p.add_argument("--line", default="ncm-1")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--batches", type=float, default=1.0, help="factor on the number of batches")
    p.add_argument("--faults", default="", help="comma-separated codes; default: all of the twin")
    p.add_argument("--domain-seed", type=int, default=0, help="which target domain")

    p = _command(
        sub, "train", _train, "train on a dataset or on a recording",
        "ncm-export train --data build/twin --recipe ours --out build/ncm",
    )  # fmt: skip
    _data(p)
    p.add_argument("--recipe", help="shipped recipe or TOML file (ours, paper, continuous)")
    p.add_argument("--out", type=Path, required=True, help="folder to write")
    p.add_argument("--seed", type=int, help="replaces the seed of the recipe")
    p.add_argument("--iterations", type=int, help="replaces training.iterations")
    p.add_argument("--threads", type=int, default=1)

    p = _command(
        sub, "evaluate", _evaluate, "judge a trained folder on test batches",
        "ncm-export evaluate build/ncm --data build/twin",
    )  # fmt: skip
    p.add_argument("trained", type=Path, help="folder written by train")
    _data(p)
    p.add_argument("--config", type=Path, default=Path("firmware_config"))
    p.add_argument("--json", type=Path, help="also write the figures here")

    p = _command(
        sub, "quantize", _quantize, "make the int8 variant and report its gates",
        "ncm-export quantize build/ncm --data build/twin",
    )  # fmt: skip
    p.add_argument("trained", type=Path)
    _data(p)

    p = _command(
        sub, "bundle", _bundle, "pack a trained folder into a bundle",
        "ncm-export bundle build/ncm --data build/twin --out firmware_config/models/ncm-1",
    )  # fmt: skip
    p.add_argument("trained", type=Path)
    _data(p, required=False)
    p.add_argument("--config", type=Path, default=Path("firmware_config"))
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--serial", type=int, default=1, help="monotone model number, 1..65535")
    p.add_argument("--name")
    p.add_argument("--domain", help="whose reference goes in; default: the recipe's target")
    return parser


def _command(sub: Any, name: str, call: Any, text: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = sub.add_parser(
        name, help=text, description=text, epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(call=call)
    return parser


def _data(parser: argparse.ArgumentParser, required: bool = True) -> None:
    group = parser.add_mutually_exclusive_group(required=required)
    group.add_argument("--data", type=Path, help="dataset directory written by simulate")
    group.add_argument("--recording", type=Path, help="TOML description of a recording")
    parser.add_argument("--file", type=Path, help="replaces the file named in the description")


def _load(args: argparse.Namespace) -> Any:
    from export.dataset import load_dataset
    from export.recording import load_recording

    if args.recording is not None:
        return load_recording(args.recording, args.file)
    return load_dataset(args.data)


def _simulate(args: argparse.Namespace) -> None:
    from export.dataset import DatasetError, save_dataset
    from export.lines import line_spec, load_line
    from export.simulate import Plan, simulate_dataset

    line = load_line(args.config, args.line)
    if line.schedule is None:
        raise DatasetError(f"line '{args.line}' has no schedule; the twin simulates batches")
    plan = Plan(seed=args.seed, domain_seed=args.domain_seed)
    counts = {
        f.name: max(2, round(getattr(plan, f.name) * args.batches))
        for f in dataclasses.fields(plan)
        if f.name.endswith(("_normal", "_defective"))
    }
    faults = tuple(code for code in args.faults.split(",") if code)
    plan = dataclasses.replace(plan, faults=faults, **counts)
    try:
        dataset = simulate_dataset(plan, line_spec(line, 60), line.schedule)
    except ValueError as error:
        raise DatasetError(f"simulate: {error}") from error
    save_dataset(dataset, args.out)
    print(f"{len(dataset.batches)} simulated batches in {args.out}")


def _train(args: argparse.Namespace) -> None:
    import torch

    from export import paper
    from export.pack import save_trained
    from export.recipe import load_recipe
    from export.train import train

    torch.set_num_threads(args.threads)
    dataset = _load(args)
    recipe = load_recipe(args.recipe or ("continuous" if args.recording else "ours"))
    if args.seed is not None:
        recipe = dataclasses.replace(recipe, seed=args.seed)
    if args.iterations is not None:
        recipe = dataclasses.replace(
            recipe, training=dataclasses.replace(recipe.training, iterations=args.iterations)
        )
    if recipe.kind == "paper":
        result = paper.train(dataset, recipe)
        args.out.mkdir(parents=True, exist_ok=True)
        torch.save(result.weights, args.out / "paper.pt")
        text = json.dumps(result.figures, indent=1)
        (args.out / "paper.json").write_text(text + "\n")
        print(_label(dataset.simulated) + text)
        return
    domains = list(dict.fromkeys(batch.domain for batch in dataset.batches))
    if recipe.target_domain not in domains:
        # A recording: every stretch has its own reference; `bundle --domain` chooses.
        recipe = dataclasses.replace(recipe, target_domain=domains[0])
    trained = train(dataset, recipe)
    save_trained(trained, dataset, args.out)
    print(f"{args.out}: {json.dumps(trained.notes, ensure_ascii=False)}")


def _evaluate(args: argparse.Namespace) -> None:
    from export.judge import evaluate_folder

    dataset = _load(args)
    text, figures = evaluate_folder(args.trained, dataset, args.config)
    print(text)
    if args.json is not None:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


def _quantize(args: argparse.Namespace) -> None:
    from export.judge import streams_of
    from export.pack import INT8, make_graph
    from export.quantize import quantize

    dataset = _load(args)
    graph = make_graph(args.trained)
    gates = quantize(graph, args.trained / INT8, streams_of(args.trained, dataset))
    print(_label(dataset.simulated) + json.dumps(gates))
    print("fp32 stays the active graph; the int8 variant is delivered beside it")


def _bundle(args: argparse.Namespace) -> None:
    from export.judge import evaluate_folder, streams_of
    from export.pack import make_bundle

    metrics: dict[str, Any] = {}
    streams: Sequence[Any] = ()
    if args.data is not None or args.recording is not None:
        dataset = _load(args)
        _, metrics = evaluate_folder(args.trained, dataset, args.config)
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


def _label(simulated: bool) -> str:
    return "simulated data: " if simulated else "recorded data: "


if __name__ == "__main__":
    sys.exit(main())
