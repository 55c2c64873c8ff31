"""ncm-export simulate: run the digital twin and store labelled step features."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from edge.twin.shifts import DOMAINS
from export.cli.common import Commands, command


def add(sub: Commands) -> None:
    """The command and its options."""
    p = command(
        sub,
        "simulate",
        run,
        "run the digital twin and store labelled step features",
        "ncm-export simulate --out build/twin --seed 1 --batches 0.5",
    )
    p.add_argument("--out", type=Path, required=True, help="dataset directory to write")
    p.add_argument("--config", type=Path, default=Path("firmware_config"))
    p.add_argument("--line", default="ncm-1")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--batches", type=float, default=1.0, help="factor on the number of batches")
    p.add_argument("--faults", default="", help="comma-separated codes; default: all of the twin")
    p.add_argument("--jobs", type=int, default=0, help="processes; default: one per core")
    p.add_argument(
        "--domain",
        choices=[name for name in DOMAINS if name != "source"],
        default="target",
        help="the plant beside the one as built: after a repair, another reactor, or both at once",
    )
    p.add_argument("--domain-seed", type=int, default=0, help="which of these plants")


def run(args: argparse.Namespace) -> None:
    """Do it."""
    from export.data.dataset import DatasetError
    from export.data.lines import line_spec, load_line
    from export.data.simulate import Plan, simulate_into

    line = load_line(args.config, args.line)
    if line.schedule is None:
        raise DatasetError(f"line '{args.line}' has no schedule; the twin simulates batches")
    plan = Plan(seed=args.seed, domain=args.domain, domain_seed=args.domain_seed)
    counts = {
        f.name: max(2, round(getattr(plan, f.name) * args.batches))
        for f in dataclasses.fields(plan)
        if f.name.endswith(("_normal", "_defective"))
    }
    faults = tuple(code for code in args.faults.split(",") if code)
    plan = dataclasses.replace(plan, faults=faults, **counts)
    try:
        count = simulate_into(args.out, plan, line_spec(line, 60), line.schedule, args.jobs)
    except ValueError as error:
        raise DatasetError(f"simulate: {error}") from error
    print(f"{count} simulated batches in {args.out}")
