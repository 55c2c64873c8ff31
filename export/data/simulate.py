"""Twin batches -> a dataset of step features. Everything made here is simulated.

Seeds decide everything: batch n of a plan gets seed `first_seed + n`, and the splits use separate
ranges of seeds, so no batch, failure or noise sequence is on two sides.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from edge.core.features import batch_features
from edge.core.schedule import Schedule
from edge.twin.confounders import CONFOUNDERS
from edge.twin.faults import FAULTS
from edge.twin.scenario import Domain, Scenario
from edge.twin.simulate import Batch as TwinBatch
from edge.twin.simulate import batches as twin_batches
from export.data.dataset import (
    Batch,
    Dataset,
    DatasetError,
    LineSpec,
    Split,
    batch_file,
    save_batch,
    save_index,
)

CHUNK = 16
"""Batches computed together by one process; a stopped run loses at most these."""
PLAN = "plan.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many batches of which kind."""

    seed: int = 1
    source_normal: int = 24
    source_defective: int = 72
    target_normal: int = 60
    target_defective: int = 36
    held_normal: int = 60
    held_defective: int = 36
    test_normal: int = 40
    test_defective: int = 54
    domain: Domain = "target"
    """The other plant: see `edge.twin.shifts.DOMAINS`."""
    domain_seed: int = 0
    faults: tuple[str, ...] = ()
    """Empty: every fault the twin knows."""
    confounder_share: float = 0.5


def scenarios(plan: Plan) -> list[tuple[Scenario, Split]]:
    """The plan as scenarios: faults and severities in turn, confounders alike in both classes."""
    faults = plan.faults or tuple(FAULTS)
    codes = [code for code, confounder in CONFOUNDERS.items() if confounder.common]
    blocks: list[tuple[Domain, Split, int, int]] = [
        ("source", "train", plan.source_normal, plan.source_defective),
        (plan.domain, "train", plan.target_normal, plan.target_defective),
        (plan.domain, "calibrate", plan.held_normal, plan.held_defective),
        (plan.domain, "test", plan.test_normal, plan.test_defective),
    ]
    out: list[tuple[Scenario, Split]] = []
    for block, (domain, split, normal, defective) in enumerate(blocks):
        first_seed = plan.seed * 100_000 + block * 10_000
        draw = np.random.default_rng([plan.seed, block])
        for n in range(normal + defective):
            number = n - normal
            some: tuple[str, ...] = ()
            if codes and draw.random() < plan.confounder_share:
                some = tuple(sorted(str(c) for c in draw.choice(codes, size=1)))
            # A fault that needs a confounder must not be known by it: healthy batches get it too.
            needed = FAULTS[faults[n % len(faults)]].needs
            if needed and number < 0:
                some = tuple(sorted({*some, needed}))
            # Test batches begin healthy, so that the minute of detection means something.
            start = float(draw.uniform(0.0, 0.3)) if number % 2 else 0.0
            out.append(
                (
                    Scenario(
                        seed=first_seed + n,
                        fault=None if number < 0 else faults[number % len(faults)],
                        severity=_severity(number, len(faults)),
                        domain=domain,
                        confounders=some,
                        start_fraction=0.0 if number < 0 else start,
                        domain_seed=plan.domain_seed,
                    ),
                    split,
                )
            )
    return out


def _severity(number: int, faults: int) -> int:
    """0 for a normal batch, else 3, 2, 1 in turn, another level in each round of the faults."""
    return 0 if number < 0 else 3 - (number % faults + number // faults) % 3


def simulate_dataset(
    plan: Plan, line: LineSpec, schedule: Schedule, quiet: bool = False
) -> Dataset:
    """Run the twin and keep step features.

    Raises ValueError if the line is not the twin's (other tags), or a fault is unknown.
    """
    wanted = scenarios(plan)
    batches: list[Batch] = []
    made = twin_batches([scenario for scenario, _ in wanted], schedule)
    for (scenario, split), twin in tqdm(
        zip(wanted, made), desc="simulating", unit="batch", total=len(wanted), disable=quiet or None
    ):
        _fits(twin, line)
        batches.append(_batch(scenario, split, twin, line))
    return Dataset(
        line=line,
        batches=tuple(batches),
        simulated=True,
        source=_source(plan, len(batches)),
        sha256=_hash(plan, line, [s for s, _ in wanted]),
    )


Place = tuple[int, Scenario, Split]
"""Number of a batch in the dataset, and what it is."""


def simulate_into(
    directory: Path,
    plan: Plan,
    line: LineSpec,
    schedule: Schedule,
    jobs: int = 0,
    quiet: bool = False,
) -> int:
    """Run the twin in `jobs` processes (0: one per core) and store a dataset; the batches in it.

    Batches are written as they come and the index last. A run that was stopped is taken up again
    where it ended; its batches are the same whatever the number of processes.

    Raises:
        DatasetError: the directory holds another plan, or the line is not the twin's.
    """
    wanted = scenarios(plan)
    sha256 = _hash(plan, line, [scenario for scenario, _ in wanted])
    _claim(directory, sha256)
    todo = [
        (number, scenario, split)
        for number, (scenario, split) in enumerate(wanted)
        if not (directory / batch_file(number)).is_file()
    ]
    chunks = [todo[k : k + CHUNK] for k in range(0, len(todo), CHUNK)]
    context = multiprocessing.get_context("spawn")
    workers = min(jobs or os.cpu_count() or 1, max(1, len(chunks)))
    with (
        tqdm(total=len(wanted), initial=len(wanted) - len(todo), desc="simulating", unit="batch",
             disable=quiet or None) as bar,
        ProcessPoolExecutor(workers, mp_context=context) as pool,
    ):  # fmt: skip
        pending = [pool.submit(_write, directory, chunk, line, schedule) for chunk in chunks]
        try:
            for done in as_completed(pending):
                bar.update(done.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    save_index(
        directory,
        [_row(number, scenario, split) for number, (scenario, split) in enumerate(wanted)],
        line=line,
        simulated=True,
        source=_source(plan, len(wanted)),
        sha256=sha256,
    )
    return len(wanted)


def _claim(directory: Path, sha256: str) -> None:
    """Batches of two plans must never meet in one directory."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / PLAN
    if file.is_file() and json.loads(file.read_text(encoding="utf-8")) != {"sha256": sha256}:
        raise DatasetError(
            f"{directory}: holds batches of another plan; choose another folder or remove this one"
        )
    if not file.is_file() and any(directory.glob("batch-*.npz")):
        raise DatasetError(f"{directory}: holds other batches; choose another folder")
    file.write_text(json.dumps({"sha256": sha256}) + "\n")


def _write(directory: Path, chunk: Sequence[Place], line: LineSpec, schedule: Schedule) -> int:
    """Compute and store one chunk, in a process of its own."""
    made = twin_batches([scenario for _, scenario, _ in chunk], schedule)
    for (number, scenario, split), twin in zip(chunk, made):
        _fits(twin, line)
        save_batch(directory, number, _batch(scenario, split, twin, line))
    return len(chunk)


def _fits(twin: TwinBatch, line: LineSpec) -> None:
    if twin.values.shape[1] != len(line.tags):
        raise DatasetError(
            f"the twin has {twin.values.shape[1]} tags, line '{line.name}' has {len(line.tags)}"
        )


def _source(plan: Plan, count: int) -> str:
    return f"digital twin, plan seed {plan.seed}, {count} batches (simulated)"


def _row(number: int, scenario: Scenario, split: Split) -> dict[str, Any]:
    """A row of the index, from the scenario alone."""
    return {
        "file": batch_file(number),
        **_labels(scenario, split),
        "first_step": 0,
        "expected": (),
    }


def _labels(scenario: Scenario, split: Split) -> dict[str, Any]:
    return {
        "domain": scenario.domain,
        "split": split,
        "group": f"seed {scenario.seed}",
        "fault": scenario.active_fault or "",
        "component": scenario.component or "",
        "notes": {"seed": scenario.seed, "confounders": list(scenario.confounders)},
    }


def _batch(scenario: Scenario, split: Split, twin: TwinBatch, line: LineSpec) -> Batch:
    values = twin.values
    steps = len(values) // line.step_rows
    cut = values[: steps * line.step_rows].reshape(steps, line.step_rows, -1)
    features, valid = batch_features(cut)
    severity = np.full(steps, scenario.severity, np.int8)
    severity[: int(np.ceil(scenario.start_fraction * steps))] = 0
    return Batch(features=features, valid=valid, severity=severity, **_labels(scenario, split))


def _hash(plan: Plan, line: LineSpec, every: Sequence[Scenario]) -> str:
    text = json.dumps(
        [asdict(plan), line.sha256(), [asdict(s) for s in every]], sort_keys=True, default=str
    )
    return hashlib.sha256(text.encode()).hexdigest()
