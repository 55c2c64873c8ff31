"""ncm-export benchmark: every method, every data set, one protocol; and the model card from it."""

from __future__ import annotations

import argparse
import dataclasses
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from export.cli.common import Commands, command

if TYPE_CHECKING:
    from export.data.dataset import Dataset
    from export.judge.spec import Spec

OUT = Path("build/benchmark")
CARD = Path("docs/model-card.md")
STORED = Path("docs/benchmark.jsonl")
QUICK_THIN = 4


def add(sub: Commands) -> None:
    """The command and its options."""
    p = command(
        sub,
        "benchmark",
        run,
        "compare every method on every data set, and write the model card",
        "ncm-export benchmark --jobs 2                       # all sets, resumes what is there",
        "ncm-export benchmark tep_multimode --only pca,gbm   # one set, methods that contain these",
        "ncm-export benchmark --plant my.toml                # a plant of your own",
        "ncm-export benchmark --plant my.toml --quick        # a minute, to see that it works",
        "ncm-export benchmark --card                         # docs/model-card.md from the results",
    )
    p.add_argument("sets", nargs="*", help="shipped benchmarks or TOML files; none: all shipped")
    p.add_argument("--plant", type=Path, help="TOML of a plant: a task per domain is made")
    p.add_argument("--file", type=Path, help="replaces the file named in the plant's TOML")
    p.add_argument("--data", type=Path, help="dataset directory, for a benchmark that names one")
    p.add_argument("--only", default="", help="methods that contain one of these, comma-separated")
    p.add_argument("--task", default="", help="tasks whose name contains this")
    p.add_argument("--seeds", type=int, default=3, help="seeds 1..N (default 3)")
    p.add_argument("--jobs", type=int, default=1, help="fits at a time, one core each")
    p.add_argument("--seconds", type=float, default=240.0, help="limit of one fit")
    p.add_argument("--gib", type=float, default=8.0, help="limit of memory of one fit")
    p.add_argument("--quick", action="store_true", help="one seed, fewer samples, quick methods")
    p.add_argument("--fresh", action="store_true", help="forget earlier results of --out")
    p.add_argument(
        "--resume", action="store_true", help="skip rows that are there (this is the default)"
    )
    p.add_argument("--out", type=Path, default=OUT, help=f"results and scores (default {OUT})")
    p.add_argument(
        "--card",
        action="store_true",
        help=f"run nothing; write {CARD} and {STORED} from the results of --out",
    )
    p.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> None:
    """Do it."""
    from export.faults import ExportError
    from export.judge.benchmark import RESULTS, Options, read_rows, run_benchmark
    from export.judge.runner import Limits
    from export.judge.table import text_table
    from export.methods import METHODS, QUICK

    if args.card:
        from export.judge.card import store, write_card
        from export.judge.pictures import draw_stored

        if (args.out / RESULTS).exists():
            store(args.out, STORED)
        draw_stored(args.out, CARD.parent / "figures")
        write_card(STORED, CARD)
        print(f"{CARD} written from {STORED}")
        return
    wanted = [w for w in args.only.split(",") if w]
    names = [n for n in METHODS if any(w in n for w in wanted)] if wanted else list(METHODS)
    if args.quick and not wanted:
        names = [n for n in QUICK if n in METHODS]
    if not names:
        raise ExportError(f"--only {args.only}: no such method; known are {', '.join(METHODS)}")
    if args.seeds < 1 or args.jobs < 1:
        raise ExportError("--seeds and --jobs: permitted is 1 or more")
    options = Options(
        out=args.out,
        methods=tuple(names),
        tasks=args.task,
        seeds=tuple(range(1, 2 if args.quick else args.seeds + 1)),
        jobs=args.jobs,
        resume=not args.fresh,
        limits=Limits(seconds=args.seconds, gib=args.gib),
        thin=QUICK_THIN if args.quick else 1,
        quiet=args.quiet,
    )
    # A polite stop from outside ends the fits too, like Ctrl-C; what is done stays in the file.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        rows = run_benchmark(_specs(args), options)
    finally:
        signal.signal(signal.SIGTERM, before)
    if not rows:
        raise ExportError("nothing was run: every set or task was skipped, with the reasons above")
    print(text_table(rows, read_rows(args.out / RESULTS, "set")))
    print(f"results: {args.out / RESULTS}")


def _specs(args: argparse.Namespace) -> list[tuple[Spec, Dataset | None]]:
    from export.judge.spec import load_spec, shipped, spec_of_plant

    specs: list[tuple[Spec, Dataset | None]] = []
    if args.plant is not None:
        from export.data.plant import load_plant

        dataset = load_plant(args.plant, args.file)
        specs.append((spec_of_plant(args.plant, dataset, args.file), dataset))
    for name in args.sets or ([] if args.plant is not None else shipped()):
        spec = load_spec(name)
        if args.data is not None and spec.data is not None:
            spec = dataclasses.replace(spec, data=args.data)
        if args.file is not None and args.plant is None:
            spec = dataclasses.replace(spec, file=args.file)
        specs.append((spec, None))
    return specs
