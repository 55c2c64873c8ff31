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
from tqdm import tqdm

from edge.core.features import batch_features
from edge.core.schedule import Schedule
from edge.twin.confounders import CONFOUNDERS
from edge.twin.faults import FAULTS
from edge.twin.scenario import Scenario
from edge.twin.simulate import Batch as TwinBatch
from edge.twin.simulate import batches as twin_batches
from export.data.dataset import Batch, Dataset, LineSpec, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many batches of which kind."""

    seed: int = 1
    source_normal: int = 24
    source_defective: int = 68
    target_normal: int = 60
    target_defective: int = 34
    held_normal: int = 60
    held_defective: int = 34
    test_normal: int = 40
    test_defective: int = 51
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
                        severity=_severity(number, len(faults)),
                        domain="source" if domain == "source" else "target",
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
        if twin.values.shape[1] != len(line.tags):
            raise ValueError(
                f"the twin has {twin.values.shape[1]} tags, line '{line.name}' has {len(line.tags)}"
            )
        batches.append(_batch(scenario, split, twin, line))
    return Dataset(
        line=line,
        batches=tuple(batches),
        simulated=True,
        source=f"digital twin, plan seed {plan.seed}, {len(batches)} batches (simulated)",
        sha256=_hash(plan, line, [s for s, _ in wanted]),
    )


def _batch(scenario: Scenario, split: Split, twin: TwinBatch, line: LineSpec) -> Batch:
    values = twin.values
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
