"""The release gate: may a variant of the graph stand in for fp32, and is it worth it?

A variant (int8, fp16) is another function. It becomes the active graph only if it decides the same
on held-out stretches and is clearly faster on the machine that packs the bundle; otherwise it is
delivered beside fp32 and the card says why. Both graphs are timed in turn, the median of many
rounds: a ratio measured in one run, never an absolute figure. Processor time of one thread on the
CPU; on a GPU, where the processor only waits, the time that passes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.tags import FloatArray
from export.deliver.quantize import FLIP_BAND, MAX_PROBABILITY_CHANGE, Stream, run_stream
from export.deliver.runtime import Provider, session

MAX_AUC_DROP = 0.002
WORTH_IT = 1.15
"""Smallest speed-up at one step and at sixty that is worth another function."""
ROUNDS = 30


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the gate."""

    what: str
    value: float
    limit: str
    passed: bool


def judge_variant(
    fp32: Path,
    variant: Path,
    streams: Sequence[Stream],
    provider: Provider = "cpu",
    refused: str = "",
) -> dict[str, Any]:
    """Every gate on `streams` (held out, normal and defective in turn), and which graph is active.

    `refused`: why the variant cannot be active here, whatever the gates say.

    Returns figures for the card: the gates, `passed`, `active` ("fp32" or the variant's name) and
    `why` in words. Measured times are not among them: they would change from one packing to the
    next; `table` shows them.
    """
    rows = gate_rows(fp32, variant, streams, provider)
    speed = speed_rows(fp32, variant, streams[0], provider)
    passed = all(row.passed for row in rows)
    faster = all(row.passed for row in speed)
    name = variant.name.removesuffix(".onnx").removeprefix("model.")
    if refused:
        active, why = "fp32", refused
    elif passed and faster:
        active, why = name, f"{name} passes every gate and is faster"
    elif passed:
        active, why = "fp32", f"{name} passes every gate but is not {WORTH_IT} times as fast"
    else:
        failed = ", ".join(row.what for row in rows if not row.passed)
        active, why = "fp32", f"{name} fails: {failed}"
    return {
        **{row.what.replace(" ", "_"): row.value for row in rows},
        "passed": passed,
        "active": active,
        "measured_on": provider,
        "why": why,
        "table": table([*rows, *speed], why),
    }


def gate_rows(
    fp32: Path, variant: Path, streams: Sequence[Stream], provider: Provider = "cpu"
) -> list[Row]:
    """The decisions of both graphs side by side; fp32 always on the CPU, where it was verified."""
    sessions = session(fp32), session(variant, provider)
    changes, flips, same, ends, labels = [], 0, [], [], []
    for stream in streams:
        a, b = (run_stream(s, stream) for s in sessions)
        p, q = _probability(a["logit"]), _probability(b["logit"])
        changes.append(np.abs(p - q))
        flips += int(((p > 0.5) != (q > 0.5))[np.abs(p - 0.5) > FLIP_BAND].sum())
        if p[-1] > 0.5:
            same.append(int(np.argmax(a["cam"][-1])) == int(np.argmax(b["cam"][-1])))
        ends.append((a["logit"][-1], b["logit"][-1]))
        labels.append(stream.defective)
    largest = float(np.concatenate(changes).max())
    drop = _auc_drop(np.array(labels), np.array(ends))
    agree = float(np.mean(same)) if same else 1.0
    limit = MAX_PROBABILITY_CHANGE
    return [
        Row("max probability change", round(largest, 5), f"<= {limit}", largest <= limit),
        Row("flips", flips, f"0 outside {FLIP_BAND} of the middle", flips == 0),
        Row("auc drop", round(drop, 4), f"<= {MAX_AUC_DROP}", drop <= MAX_AUC_DROP),
        Row("top tag the same", round(agree, 3), "all", agree == 1.0),
    ]


def speed_rows(fp32: Path, variant: Path, stream: Stream, provider: Provider = "cpu") -> list[Row]:
    """Time of fp32 over that of the variant, at one step and at sixty."""
    sessions = session(fp32, provider), session(variant, provider)
    clock = time.thread_time_ns if provider == "cpu" else time.perf_counter_ns
    rows = []
    for steps in (1, 60):
        short = Stream(
            features=stream.features[:steps],
            valid=stream.valid[:steps],
            loc=stream.loc[:steps],
            scale=stream.scale[:steps],
        )
        spent: list[list[int]] = [[], []]
        for turn in range(ROUNDS + 3):
            for k, one in enumerate(sessions):
                start = clock()
                run_stream(one, short)
                if turn >= 3:  # the first calls allocate
                    spent[k].append(clock() - start)
        ratio = float(np.median(spent[0]) / max(1.0, np.median(spent[1])))
        rows.append(
            Row(f"speed at n = {steps}", round(ratio, 2), f">= {WORTH_IT}", ratio >= WORTH_IT)
        )
    return rows


def table(rows: Sequence[Row], why: str) -> str:
    """The gate as text."""
    lines = [f"{'gate':<26}{'value':>10}  {'limit':<30}passed"]
    lines += [
        f"{r.what:<26}{r.value:>10}  {r.limit:<30}{'yes' if r.passed else 'NO'}" for r in rows
    ]
    return "\n".join([*lines, why])


def _probability(logit: FloatArray) -> FloatArray:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit.astype(np.float64), -60, 60))))


def _auc_drop(label: np.ndarray, ends: np.ndarray) -> float:
    """AUC lost at the ends of the stretches; 0 with one class only."""
    from export.judge.evaluate import auc

    if label.all() or not label.any():
        return 0.0
    return auc(label, ends[:, 0]) - auc(label, ends[:, 1])
