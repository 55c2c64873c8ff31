"""Twin batches -> a dataset of step features. Everything made here is simulated.

Seeds decide everything: batch n of a plan gets seed `first_seed + n`, and the splits use separate
ranges of seeds, so no batch, failure or noise sequence is on two sides.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from edge.twin.simulate import simulate
from tqdm import tqdm

from edge.core.features import batch_features
from edge.core.schedule import Schedule
from edge.twin.confounders import CONFOUNDERS
from edge.twin.faults import FAULTS
from edge.twin.scenario import Scenario
from export.dataset import Batch, Dataset, LineSpec, Split

LANES = 8
"""Batches simulated together: 8 x 64,800 x 51 float32 are 106 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many batches of which kind."""

    seed: int = 1
    source_normal: int = 16
    source_defective: int = 24
    target_normal: int = 32
    target_defective: int = 18
    held_normal: int = 16
    held_defective: int = 12
    test_normal: int = 20
    test_defective: int = 30
    domain_seed: int = 0
    faults: tuple[str, ...] = ()
    """Empty: every fault the twin knows."""
    confounder_share: float = 0.5


def scenarios(plan: Plan) -> list[tuple[Scenario, Split]]:
    """The plan as scenarios: faults and severities in turn, confounders alike in both classes."""
    faults = plan.faults or tuple(FAULTS)
    codes = [code for code, confounder in CONFOUNDERS.items() if confounder.common]
    blocks: list[tuple[str, Split, int, int]] = [
        ("source", "train", plan.source_normal, plan.source_defective),
        ("target", "train", plan.target_normal, plan.target_defective),
        ("target", "calibrate", plan.held_normal, plan.held_defective),
        ("target", "test", plan.test_normal, plan.test_defective),
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
            # Test batches begin healthy, so that the minute of detection means something.
            start = float(draw.uniform(0.0, 0.3)) if number % 2 else 0.0
            out.append(
                (
                    Scenario(
                        seed=first_seed + n,
                        fault=None if number < 0 else faults[number % len(faults)],
                        severity=0 if number < 0 else 1 + (2 - number // len(faults)) % 3,
                        domain="source" if domain == "source" else "target",
                        confounders=some,
                        start_fraction=0.0 if number < 0 else start,
                        domain_seed=plan.domain_seed,
                    ),
                    split,
                )
            )
    return out


def simulate_dataset(
    plan: Plan, line: LineSpec, schedule: Schedule, quiet: bool = False
) -> Dataset:
    """Run the twin and keep step features.

    Raises ValueError if the line is not the twin's (other tags), or a fault is unknown.
    """
    wanted = scenarios(plan)
    batches: list[Batch] = []
    with tqdm(total=len(wanted), desc="simulating", unit="batch", disable=quiet) as bar:
        for first in range(0, len(wanted), LANES):
            part = wanted[first : first + LANES]
            rows = simulate([scenario for scenario, _ in part], schedule)
            if rows.shape[2] != len(line.tags):
                raise ValueError(
                    f"the twin has {rows.shape[2]} tags, line '{line.name}' has {len(line.tags)}"
                )
            for (scenario, split), values in zip(part, rows):
                batches.append(_batch(scenario, split, values, line))
                bar.update()
    return Dataset(
        line=line,
        batches=tuple(batches),
        simulated=True,
        source=f"digital twin, plan seed {plan.seed}, {len(batches)} batches (simulated)",
        sha256=_hash(plan, line, [s for s, _ in wanted]),
    )


def _batch(scenario: Scenario, split: Split, values: np.ndarray, line: LineSpec) -> Batch:
    steps = len(values) // line.step_rows
    cut = values[: steps * line.step_rows].reshape(steps, line.step_rows, -1)
    features, valid = batch_features(cut)
    severity = np.full(steps, scenario.severity, np.int8)
    severity[: int(np.ceil(scenario.start_fraction * steps))] = 0
    notes: dict[str, Any] = {"seed": scenario.seed, "confounders": list(scenario.confounders)}
    return Batch(
        features=features,
        valid=valid,
        severity=severity,
        domain=scenario.domain,
        split=split,
        group=f"seed {scenario.seed}",
        fault=scenario.active_fault or "",
        component=scenario.component or "",
        notes=notes,
    )


def _hash(plan: Plan, line: LineSpec, every: Sequence[Scenario]) -> str:
    text = json.dumps(
        [asdict(plan), line.sha256(), [asdict(s) for s in every]], sort_keys=True, default=str
    )
    return hashlib.sha256(text.encode()).hexdigest()
