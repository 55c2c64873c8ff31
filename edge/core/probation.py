"""Does a new model do its work as well as the one before it? Figures of model steps, compared.

A model that has taken over is on probation for so many steps. What counts are steps of a running
batch with good input, for both models: a plant that stands still or an instrument that fails says
nothing about a model. The new one is worse when

    fault       a step without a number (the run failed, hung, or left the known range)
                more often than before in as many steps
    CPU         it runs on the processor although the graphics card is wanted, and before it did not
    time        its median inference takes `SLOWER` times as long as before, and more than
                `TIME_SHARE` of a model step
    input       its median drift is over the limit and `FURTHER` times the one before: the input,
                good for the other model, is none this one was made for
    flips       its severity changes more often than `FLIPS` times, and `OFTENER` times as before

That it sees a defect where the other saw none decides nothing; people read it. Without figures of
a model before (its memory was lost), only faults count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from edge.core.line import StepResult
from edge.core.verdict import NoScore, Verdict

SLOWER = 3.0
TIME_SHARE = 0.01
"""Of a model step; below it nobody waits, however much slower."""
MEDIAN_STEPS = 5
"""Steps before a median is looked at: one odd minute is no reason."""
FURTHER = 1.5
FLIPS = 4
"""A defect that comes raises the severity three times, and may go again once."""
OFTENER = 3.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one model step."""

    fault: bool = False
    cpu: bool = False
    """The processor stood in for the graphics card."""
    flip: bool = False
    """The severity changed with it."""
    infer_ms: float = 0.0
    drift: float = 0.0
    """As a share of its limit; 0 without one."""


@dataclass(frozen=True, slots=True)
class Service:
    """Figures of the model at work and of the one before it, oldest step first."""

    now: tuple[Figures, ...] = ()
    before: tuple[Figures, ...] = ()

    def with_step(self, figures: Figures | None, keep: int) -> Service:
        """One step later; the newest `keep` steps are kept. None: a step that does not count."""
        if figures is None:
            return self
        return Service((*self.now, figures)[-keep:], self.before)

    def handed_over(self) -> Service:
        """Another model begins its work."""
        return Service((), self.now)


def figures(
    result: StepResult | NoScore,
    before: Verdict,
    after: Verdict,
    *,
    drift: float | None,
    cpu: bool,
) -> Figures | None:
    """Of a step that moved the verdict from `before` to `after`; None if it does not count."""
    if result is NoScore.INFERENCE_FAILED or after.why is NoScore.NOT_A_NUMBER:
        return Figures(fault=True, cpu=cpu)
    if isinstance(result, NoScore) or not after.valid:
        return None
    return Figures(
        cpu=cpu, flip=after.severity != before.severity, infer_ms=round(result.infer_ms, 3),
        drift=round(drift or 0.0, 4),
    )  # fmt: skip


def worse(service: Service, step_s: float) -> tuple[str, ...]:
    """In what the model at work is worse than the one before it, in words; () if in nothing."""
    now, before = service.now, service.before
    found = [_faults(now, before)]
    if before and now:
        found += [_cpu(now, before), _flips(now, before)]
        if len(now) >= MEDIAN_STEPS:
            found += [_slow(now, before, step_s), _drifted(now, before)]
    return tuple(text for text in found if text)


def _faults(now: Sequence[Figures], before: Sequence[Figures]) -> str:
    had, has = sum(step.fault for step in before), sum(step.fault for step in now)
    if has <= math.ceil(_share(had, before) * len(now)):
        return ""
    return f"{has} of {len(now)} model steps without a number, before {had} of {len(before)}"


def _cpu(now: Sequence[Figures], before: Sequence[Figures]) -> str:
    if any(step.cpu for step in before) or not any(step.cpu for step in now):
        return ""
    return "runs on the processor, before on the graphics card"


def _flips(now: Sequence[Figures], before: Sequence[Figures]) -> str:
    had, has = sum(step.flip for step in before), sum(step.flip for step in now)
    if has <= FLIPS + OFTENER * _share(had, before) * len(now):
        return ""
    return (
        f"severity changed {has} times in {len(now)} model steps, before {had} times in "
        f"{len(before)}"
    )


def _slow(now: Sequence[Figures], before: Sequence[Figures], step_s: float) -> str:
    was, takes = (float(np.median([step.infer_ms for step in x])) for x in (before, now))
    if takes <= max(SLOWER * was, TIME_SHARE * step_s * 1000.0):
        return ""
    return f"inference takes {takes:.0f} ms, before {was:.0f} ms"


def _drifted(now: Sequence[Figures], before: Sequence[Figures]) -> str:
    was, drift = (float(np.median([step.drift for step in x])) for x in (before, now))
    if drift <= max(1.0, FURTHER * was):
        return ""
    return f"input drift {drift:.2f} of its limit, before {was:.2f}"


def _share(count: int, steps: Sequence[Figures]) -> float:
    return count / len(steps) if steps else 0.0


def to_plain(service: Service) -> dict[str, Any]:
    """For a checkpoint, as JSON values."""
    return {
        "now": [list(astuple(step)) for step in service.now],
        "before": [list(astuple(step)) for step in service.before],
    }


def from_plain(plain: Mapping[str, Any]) -> Service:
    """Of a checkpoint. Raises KeyError, TypeError or ValueError if `plain` is not of `to_plain`."""
    return Service(_steps(plain["now"]), _steps(plain["before"]))


def _steps(rows: Iterable[Sequence[Any]]) -> tuple[Figures, ...]:
    return tuple(
        Figures(bool(fault), bool(cpu), bool(flip), float(infer_ms), float(drift))
        for fault, cpu, flip, infer_ms, drift in rows
    )
