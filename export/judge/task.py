"""What a method may see, what the judge holds back, and what a method is.

A *sample* is a `Batch`: a whole batch of the line, or one window of a continuous recording. Its
label is `batch.level > 0`. The order of severity is `batch.level`; where a set has more stages
than three (Cranfield's valve positions), the stage itself is kept in `batch.notes["stage"]`.

A method is given a `Task` and nothing else: the test samples are in the `Fold`, which stays with
the judge, so that no method can look at them by accident.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from export.data.dataset import Batch, FloatArray, LineSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """All that a method may see. S model steps, P tags, F features in each sample."""

    name: str
    """Row label, e.g. "tep_multimode: modes 1+2+3 -> 4, few labels"."""
    line: LineSpec
    train: tuple[Batch, ...]
    """Labelled: the source domains and few labelled target samples."""
    reference: dict[str, tuple[Batch, ...]]
    """Per domain, targets too: normal samples after maintenance, for the domain's own normal."""
    calibrate: tuple[Batch, ...]
    """Further normal samples of the targets (threshold, false-alarm budget); may be empty."""
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    step_s: float
    """Seconds per model step."""
    simulated: bool
    unlabelled: tuple[Batch, ...] = ()
    """Target samples whose labels must not be used; a method that reads them must say so."""


@dataclass
class Fold:
    """A task and the samples it is judged on."""

    task: Task
    test: tuple[Batch, ...]


class Scorer(Protocol):
    """A fitted method.

    Looked up with getattr, where a method has them: `severity(samples) -> [n]` (0..3),
    `attribution(samples) -> float32[n, P]` (share of each tag in the decision) and
    `deviation(samples) -> float32[n, P]` (distance of each tag from its normal).
    """

    def score(self, samples: Sequence[Batch]) -> FloatArray:
        """[n], like a logit: higher means more defective."""
        ...


class Method(Protocol):
    """A way to make a scorer; one row of the table."""

    name: str
    """Row label in the table."""
    family: str
    """"ours", "paper", "baseline", "rival" or "trivial"."""

    def fit(self, task: Task, seed: int) -> Scorer:
        """Learn from the task. Raises NotApplicable when it lacks what the method needs."""
        ...
