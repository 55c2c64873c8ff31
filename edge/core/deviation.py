"""Does the batch run as scheduled? Flows, temperature and speed against the active schedule step.

Once a minute each rule compares two things:

    what the instrument shows   with   the set-point in force (or the schedule, if it has none)
    that set-point              with   the schedule at the batch's throughput

The first is a pump or valve that does not follow, the second a recipe that is not the one loaded
here. Throughput is the median of set-point over schedule among the rules marked for it: a batch
that runs 2 % slower in all feeds follows its schedule.

A rule that is out for `persist_min` minutes in a row is a deviation, and one that is back for as
long is none any more. What is not a deviation:

    held, stopped, feeds below half of the schedule   ->  every count starts anew
    the `settle_min` minutes after that (restart)     ->  not judged
    the minute of a change of step, before and after  ->  not judged, counts stand still
    a value that was bad for most of the minute       ->  this rule is not judged, its count stands
    another grade or throughput                       ->  inside `set_point_share`, or it is one
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.core.batch import Batch, BatchState
from edge.core.schedule import Schedule, ScheduleStep
from edge.core.tags import Quality, Row

FLOWING = 0.5
"""Throughput below this share of the schedule means that the feeds are held or starting."""
EDGE_MIN = 1.0
"""BATCH_MINUTES counts whole minutes and flows take seconds to settle: so far from a change of step
on both sides nothing is judged."""
MIN_GOOD = 0.5
MINUTE_S = 60.0

Context = Mapping[str, tuple[float, Quality]]
Means = Mapping[str, float]
"""Mean of each tag over a minute; a tag that was bad for most of it is not in here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviationRule:
    """One tag that has to follow the schedule. Keys of a [[deviation.rule]] table of line.toml."""

    column: str
    """Column of the schedule."""
    tag: str
    tolerance: float
    """Permitted deviation, in the tag's unit."""
    share: float = 0.0
    """Permitted beside it, as a share of what is expected."""
    set_point: str = ""
    """Context row with the set-point in force; "": the schedule itself is expected."""
    set_point_share: float = 0.0
    """Permitted |set-point / schedule - 1| at the batch's throughput; 0: not judged."""
    throughput: bool = False
    """The set-point tells the batch's throughput."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviationSettings:
    """The [deviation] table of line.toml."""

    persist_min: int
    settle_min: int
    rules: tuple[DeviationRule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """State of the watch."""

    counts: tuple[int, ...] = ()
    """Minutes in a row each rule has been out (positive) or in again (negative)."""
    raised: tuple[bool, ...] = ()
    settle: int = 0
    """Minutes that are still not judged."""
    texts: tuple[str, ...] = ()
    """What each raised rule last saw; "" for the others."""

    @property
    def detail(self) -> str:
        """Every raised rule in words; "" when the batch runs as scheduled."""
        return ", ".join(text for text in self.texts if text)


def follow(
    state: Deviation, settings: DeviationSettings, schedule: Schedule, batch: Batch, means: Means
) -> Deviation:
    """The watch one minute later; `means` over that minute, `batch` at its end."""
    rules = settings.rules
    if not state.counts:
        none = Deviation(
            counts=(0,) * len(rules), raised=(False,) * len(rules), texts=("",) * len(rules)
        )
        state = replace(none, settle=settings.settle_min)
    step = schedule.at(batch.minutes)
    throughput = _throughput(rules, step, means)
    if batch.state is not BatchState.RUNNING or (throughput is not None and throughput < FLOWING):
        return Deviation(settle=settings.settle_min)
    if state.settle > 0:
        return replace(state, settle=state.settle - 1)
    if _near_an_edge(schedule, batch.minutes):
        return state
    counts, raised, texts = list(state.counts), list(state.raised), list(state.texts)
    for i, rule in enumerate(rules):
        seen = _judge(rule, step, means, throughput)
        if seen is None:
            continue
        out, text = seen
        counts[i] = max(counts[i], 0) + 1 if out else min(counts[i], 0) - 1
        if abs(counts[i]) >= settings.persist_min:
            raised[i] = out
        texts[i] = (text if out else texts[i]) if raised[i] else ""
    return replace(state, counts=tuple(counts), raised=tuple(raised), texts=tuple(texts))


def _throughput(rules: Sequence[DeviationRule], step: ScheduleStep, means: Means) -> float | None:
    shares = [
        means[rule.set_point] / getattr(step, rule.column)
        for rule in rules
        if rule.throughput and rule.set_point in means and getattr(step, rule.column) > 0.0
    ]
    return float(np.median(shares)) if shares else None


def _near_an_edge(schedule: Schedule, minutes: float) -> bool:
    """The minute that ends at `minutes` (told in whole minutes) touches a change of step."""
    return any(
        minutes - 1.0 - EDGE_MIN <= step.end_min <= minutes + EDGE_MIN for step in schedule.steps
    )


def _judge(
    rule: DeviationRule, step: ScheduleStep, means: Means, throughput: float | None
) -> tuple[bool, str] | None:
    """(is out, in words); None if this minute says nothing about the rule."""
    value = means.get(rule.tag)
    scheduled = float(getattr(step, rule.column))
    if rule.set_point:
        expected = means.get(rule.set_point)
        if expected is None:
            return None
        wanted = scheduled * (1.0 if throughput is None else throughput)
        if rule.set_point_share and abs(expected - wanted) > rule.set_point_share * wanted:
            return True, (
                f"{rule.set_point} {expected:.5g} against {wanted:.5g} of schedule step {step.step}"
            )
        name = f"its set-point {expected:.5g}"
    else:
        expected, name = scheduled, f"{scheduled:.5g} of schedule step {step.step}"
    if value is None:
        return None
    out = abs(value - expected) > rule.tolerance + rule.share * abs(expected)
    return out, f"{rule.tag} {value:.5g} against {name}"


class DeviationWatch:
    """Gathers the rows of a minute and follows the schedule with their means."""

    def __init__(
        self,
        settings: DeviationSettings | None,
        schedule: Schedule | None,
        tag_names: Sequence[str],
        row_s: float,
    ) -> None:
        self.state = Deviation()
        self._settings, self._schedule = settings, schedule
        rules = () if settings is None else settings.rules
        watched = {rule.tag for rule in rules}
        self._tags = [(i, name) for i, name in enumerate(tag_names) if name in watched]
        self._context = tuple({rule.set_point for rule in rules if rule.set_point})
        self._row_s = row_s
        self._rows = 0
        self._sums: dict[str, tuple[float, int]] = {}

    def observe(self, row: Row, context: Context) -> None:
        """Take a row and its set-points."""
        self._rows += 1
        for i, name in self._tags:
            self._add(name, float(row.values[i]), int(row.quality[i]))
        for name in self._context:
            value, quality = context.get(name, (0.0, Quality.BAD))
            self._add(name, value, quality)

    def _add(self, name: str, value: float, quality: int) -> None:
        if quality == Quality.GOOD:
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value, count + 1)

    def second(self, batch: Batch) -> str:
        """Judge the minute if it is complete; every deviation in words, "" without any."""
        if self._settings is None or self._schedule is None:
            return ""
        if self._rows * self._row_s >= MINUTE_S:
            means = {
                name: total / count
                for name, (total, count) in self._sums.items()
                if count >= MIN_GOOD * self._rows
            }
            self._rows, self._sums = 0, {}
            self.state = follow(self.state, self._settings, self._schedule, batch, means)
        return self.state.detail
