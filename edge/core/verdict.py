"""Model outputs -> probability, severity 0..3 and the defect flag, with persistence and hysteresis.

One pure fold: the verdict before and the score of one model step give the verdict after.

A step votes twice. Its *up* level is 0 below `threshold`, else the severity the model sees, at
least 1. Its *down* level is the same with `clear_threshold`. Then

    up   = the least of the last `persist_steps` up levels      (0 until there are that many)
    down = the largest of the last `clear_steps` down levels    (3 until there are that many)
    severity after = severity before, moved into [up, down]

so a level is raised only by `persist_steps` steps in a row that agree, lowered only by
`clear_steps` in a row, and never oscillates between the two thresholds. The flag is severity >= 1.

A step without a valid score changes neither level nor flag and casts no vote; the verdict then says
that it is invalid and why, and its probability and severity must not be shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from edge.core.card import ModelCard

SEVERITY = ("normal", "D-3", "D-2", "D-1")
"""Severity 0..3 as the documents write it."""


class NoScore(StrEnum):
    """Why a model step has no valid score."""

    NO_MODEL = "no model"
    INFERENCE_FAILED = "inference failed"
    INPUT_BAD = "too few good process values"
    WARMING_UP = "warming up"
    NO_BATCH = "no batch running"
    NOT_A_NUMBER = "model output is not a number"


@dataclass(frozen=True, slots=True)
class StepScore:
    """What the model says about one model step of one line."""

    logit: float
    """Calibrated, fused; probability = sigmoid."""
    severity: tuple[float, float, float]
    """P(severity >= 1), P(>= 2), P(>= 3), 0..1."""
    valid_fraction: float
    """Good share of the tag-seconds of the step, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictSettings:
    """Thresholds from the model card, persistence from the line's configuration."""

    threshold: float
    clear_threshold: float
    severity_thresholds: tuple[float, float, float]
    persist_steps: int
    clear_steps: int
    min_valid: float

    @classmethod
    def of(
        cls,
        card: ModelCard,
        *,
        warn_probability: float | None,
        persist_steps: int,
        clear_steps: int,
        min_valid: float,
    ) -> VerdictSettings:
        """The card's calibrated thresholds unless the plant sets `warn_probability`.

        A plant's own threshold keeps the card's width of hysteresis in logits.
        """
        threshold = card.threshold if warn_probability is None else warn_probability
        clear = min(card.clear_threshold, card.threshold)
        if warn_probability is not None:
            clear = sigmoid(_logit(threshold) - (_logit(card.threshold) - _logit(clear)))
        return cls(
            threshold=threshold,
            clear_threshold=min(clear, threshold),
            severity_thresholds=card.severity_thresholds,
            persist_steps=max(persist_steps, 1),
            clear_steps=max(clear_steps, 1),
            min_valid=min_valid,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The verdict of one line after one model step; also the state of the fold."""

    valid: bool = False
    why: NoScore | None = NoScore.WARMING_UP
    """Why it is not valid; None when it is."""
    probability: float | None = None
    """Defect probability of the newest step, 0..1; None when not valid."""
    severity: int = 0
    """0..3 after persistence; only to be shown when valid."""
    since_s: float | None = None
    """When the flag was raised, epoch seconds; None while it is not."""
    ups: tuple[int, ...] = ()
    """Up levels of the newest valid steps, at most `persist_steps`."""
    downs: tuple[int, ...] = ()
    """Down levels of the newest valid steps, at most `clear_steps`."""

    @property
    def flag(self) -> bool:
        """The defect flag; kept while the input is bad."""
        return self.severity > 0


def sigmoid(x: float) -> float:
    """1 / (1 + e^-x), without overflow."""
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)
    return e / (1.0 + e)


def level(severity: tuple[float, float, float], thresholds: tuple[float, float, float]) -> int:
    """The highest level 0..3 whose own and every lower threshold is reached: monotone by form."""
    reached = 0
    for probability, threshold in zip(severity, thresholds):
        if not probability >= threshold:
            break
        reached += 1
    return reached


def fold(
    verdict: Verdict, score: StepScore | NoScore, t_s: float, settings: VerdictSettings
) -> Verdict:
    """The verdict after one model step that ended at `t_s` (epoch seconds)."""
    if isinstance(score, NoScore):
        return replace(verdict, valid=False, why=score, probability=None)
    if math.isnan(score.logit) or any(math.isnan(p) for p in score.severity):
        return replace(verdict, valid=False, why=NoScore.NOT_A_NUMBER, probability=None)
    if not score.valid_fraction >= settings.min_valid:
        return replace(verdict, valid=False, why=NoScore.INPUT_BAD, probability=None)
    probability = sigmoid(score.logit)
    seen = max(level(score.severity, settings.severity_thresholds), 1)
    up_now = seen if probability >= settings.threshold else 0
    down_now = seen if probability >= settings.clear_threshold else 0
    ups = (*verdict.ups, up_now)[-settings.persist_steps :]
    downs = (*verdict.downs, down_now)[-settings.clear_steps :]
    up = min(ups) if len(ups) == settings.persist_steps else 0
    down = max(downs) if len(downs) == settings.clear_steps else 3
    severity = min(max(verdict.severity, up), down)
    since_s = None
    if severity:
        since_s = verdict.since_s if verdict.flag else t_s
    return Verdict(
        valid=True,
        why=None,
        probability=probability,
        severity=severity,
        since_s=since_s,
        ups=ups,
        downs=downs,
    )


def _logit(p: float) -> float:
    p = min(max(p, 1e-9), 1.0 - 1e-9)
    return math.log(p / (1.0 - p))
