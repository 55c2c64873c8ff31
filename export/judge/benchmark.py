"""Tasks x methods x seeds -> one row each, appended to a JSON-lines file as they end.

A row is known by (set, task, method, seed, hash of its data, hash of its code): `resume` skips
what is there, so a run that was stopped, or that gained a method, costs only what is new.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from export.data.dataset import Dataset
from export.faults import ExportError
from export.judge import metrics as m
from export.judge.folds import make_fold
from export.judge.plan import TaskPlan
from export.judge.provenance import code_hash, fold_hash, versions
from export.judge.runner import Job, Limits, run_jobs
from export.judge.spec import Spec, load_data
from export.judge.task import Fold
from export.judge.worker import Outcome, Terms
from export.methods import METHODS, Lazy
from export.methods import row as method_row

RESULTS = "results.jsonl"
SEEDS = (1, 2, 3)
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a run is done; nothing here changes a figure, except `seeds` and `thin`."""

    out: Path
    methods: tuple[str, ...] = ()
    """Empty: all."""
    tasks: str = ""
    """Only tasks whose name contains this."""
    seeds: tuple[int, ...] = SEEDS
    jobs: int = 1
    resume: bool = True
    limits: Limits = field(default_factory=Limits)
    thin: int = 1
    """Keep each n-th sample of training and test: a smoke run, not a result."""
    quiet: bool = False


def run_benchmark(specs: Sequence[tuple[Spec, Dataset | None]], options: Options) -> list[Row]:
    """Run what is missing; returns every row of these sets that the file now holds.

    A dataset that cannot be read, or a task it does not allow, is a row with the reason.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / RESULTS
    known = {row_key(r): r for r in read_rows(path)} if options.resume else {}
    if not options.resume:
        path.unlink(missing_ok=True)
    _append(path, _run_row(options))
    wanted: list[tuple[Any, ...]] = []
    for spec, given in specs:
        try:
            dataset = given if given is not None else load_data(spec)
            plans = [p for p in spec.plans(dataset) if options.tasks in p.name]
        except ExportError as error:
            _skip(path, {"set": spec.name, "title": spec.title}, str(error))
            continue
        _append(path, _set_row(spec, dataset))
        jobs = _Jobs(spec, dataset, plans, options, known, path, wanted)
        with tqdm(
            total=jobs.total, desc=spec.name, unit="fit", disable=options.quiet or None
        ) as bar:
            for job, outcome in run_jobs(jobs, options.jobs, options.limits):
                row = _row(spec, job, outcome)
                known[row_key(row)] = row
                _append(path, row)
                _save_scores(options.out, job, outcome)
                bar.set_postfix_str(f"{row['task'][:24]} {job.method}", refresh=False)
                bar.update()
    return [known[key] for key in wanted if key in known]


class _Jobs:
    """The jobs of one set that are not done yet; folds are made when they are reached."""

    def __init__(
        self,
        spec: Spec,
        dataset: Dataset,
        plans: Sequence[TaskPlan],
        options: Options,
        known: dict[tuple[Any, ...], Row],
        path: Path,
        wanted: list[tuple[Any, ...]],
    ) -> None:
        self._spec, self._dataset, self._plans = spec, dataset, plans
        self._options, self._known, self._path = options, known, path
        self._wanted = wanted
        self._names = list(options.methods) or list(METHODS)
        self.total = sum(len(_seeds(n, options.seeds)) for n in self._names) * len(plans)

    def __iter__(self) -> Iterator[Job]:
        terms = Terms(
            judge=self._spec.judge,
            false_alarms=self._spec.false_alarms,
            threshold=self._spec.threshold,
            persist=self._spec.persist,
            hard=self._spec.hard,
        )
        for plan in self._plans:
            for seed in self._options.seeds:
                make = self._maker(plan, seed)
                try:
                    data = fold_hash(make())
                except ExportError as error:
                    where = {"set": self._spec.name, "task": plan.name, "seed": seed}
                    _skip(self._path, where, str(error))
                    continue
                for name in self._names:
                    if seed not in _seeds(name, self._options.seeds):
                        continue
                    key = (self._spec.name, plan.name, name, seed, data, _code(name))
                    self._wanted.append(key)
                    if key not in self._known or self._known[key]["status"] == "failed":
                        yield Job(key=key, make_fold=make, method=name, seed=seed, terms=terms)

    def _maker(self, plan: TaskPlan, seed: int) -> Callable[[], Fold]:
        @lru_cache(maxsize=1)
        def make() -> Fold:
            fold = make_fold(self._dataset, self._spec.cut, plan, seed)
            return thinned(fold, self._options.thin)

        return make


def thinned(fold: Fold, every: int) -> Fold:
    """Each n-th training and test sample of a label, for a smoke run."""
    if every <= 1:
        return fold
    import dataclasses

    def thin(samples: Sequence[Any]) -> tuple[Any, ...]:
        good = [b for b in samples if b.level == 0]
        bad = [b for b in samples if b.level > 0]
        return (*good[::every], *bad[::every])

    task = dataclasses.replace(fold.task, train=thin(fold.task.train))
    return Fold(task=task, test=thin(fold.test))


def row_key(row: Row) -> tuple[Any, ...]:
    """What makes two rows the same result."""
    return tuple(row.get(k) for k in ("set", "task", "method", "seed", "data", "code"))


def read_rows(path: Path, kind: str = "result") -> list[Row]:
    """Rows of a kind; a half-written last line (the run was killed) is left out."""
    out = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if row.get("kind") == kind:
            out.append(row)
    return out


def _row(spec: Spec, job: Job, outcome: Outcome) -> Row:
    set_name, task, name, seed, data, code = job.key
    fold = job.make_fold()
    return {
        "kind": "result",
        "set": set_name,
        "task": task,
        "method": name,
        "family": outcome.notes.get("family", _family(name)),
        "seed": seed,
        "status": outcome.status,
        "reason": outcome.reason,
        "simulated": fold.task.simulated,
        "figures": {k: _short(v) for k, v in outcome.figures.items()},
        "by_domain": {k: _short(v) for k, v in outcome.by_domain.items()},
        "samples": {
            "train": len(fold.task.train),
            "train_defective": sum(b.level > 0 for b in fold.task.train),
            "target_defective": sum(
                b.level > 0 and b.domain in fold.task.targets for b in fold.task.train
            ),
            "calibrate": len(fold.task.calibrate),
            "test": len(fold.test),
            "test_defective": int(m.labels(fold.test).sum()),
        },
        "data": data,
        "code": code,
    }


def _save_scores(out: Path, job: Job, outcome: Outcome) -> None:
    """Per-sample scores beside the table, for pictures and paired comparisons."""
    if outcome.status != "ok":
        return
    test = job.make_fold().test
    path = scores_path(out, job.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        **outcome.arrays,
        level=np.array([b.level for b in test], np.int8),
        stage=m.stages(test).astype(np.float32),
        fault=np.array([b.fault for b in test]),
        group=np.array([b.group for b in test]),
        domain=np.array([b.domain for b in test]),
        first_step=np.array([b.first_step for b in test]),
        history=np.array(json.dumps(outcome.notes.get("history", []))),
    )


def scores_path(out: Path, key: Sequence[Any]) -> Path:
    """Where the per-sample scores of a row are."""
    set_name, task, name, seed, data, code = key
    plain = "".join(c if c.isalnum() else "-" for c in f"{task}-{name}")
    return out / "scores" / str(set_name) / f"{plain}-{seed}-{data}-{code}.npz"


def _seeds(name: str, seeds: tuple[int, ...]) -> tuple[int, ...]:
    row = method_row(name)
    most = row.seeds if isinstance(row, Lazy) else len(seeds)
    return seeds[:most]


def _family(name: str) -> str:
    row = method_row(name)
    return row.family if isinstance(row, Lazy) else str(getattr(row, "family", "rival"))


def _code(name: str) -> str:
    row = method_row(name)
    if not isinstance(row, Lazy):
        return "-"
    return code_hash(f"export.methods.{row.module}", repr((row.factory, row.options)))


def _run_row(options: Options) -> Row:
    command = " ".join(["ncm-export", *sys.argv[1:]]) if sys.argv[0].endswith("ncm-export") else ""
    return {
        "kind": "run",
        "versions": versions(),
        "cores": os.cpu_count(),
        "jobs": options.jobs,
        "seeds": list(options.seeds),
        "thin": options.thin,
        "command": command,
    }


def _set_row(spec: Spec, dataset: Dataset) -> Row:
    return {
        "kind": "set",
        "set": spec.name,
        "title": spec.title,
        "about": spec.about,
        "simulated": dataset.simulated,
        "source": dataset.source,
        "sha256": dataset.sha256,
        "tags": len(dataset.line.tags),
        "step_s": dataset.line.row_s * dataset.line.step_rows,
        "cut": [spec.cut.steps, spec.cut.stride],
        "judge": spec.judge,
        "false_alarms": spec.false_alarms,
        "hard": list(spec.hard),
    }


def _skip(path: Path, where: Row, reason: str) -> None:
    task = f", {where['task']}" if "task" in where else ""
    tqdm.write(f"{where['set']}{task}: skipped: {reason}", file=sys.stderr)
    _append(path, {"kind": "skipped", **where, "reason": reason})


def _append(path: Path, row: Row) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
