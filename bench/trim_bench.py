"""Closed loop of the NaOH trim on the digital twin: 16 disturbances, 10 controllers. Simulated.

    python -m bench.trim_bench [--seeds 4] [--nominal 100] [--leaks 12] [--as-built]
                               [--only {table,leaks}] [--groups]
                               [--controllers TEXT ...] [--disturbances TEXT ...]

Release gate of process note section 4, evaluated at the end; exit code 1 when it is missed. *worst*
leaves out trip, heel and set-point cases, in which any controller misses reagent or time.

Two controllers are yardsticks of what can be had at all. *schedule with ratio station* moves the
NaOH with the metal flow and nothing else: its flow variation is in every other. Until the first
acceptance at 10 min no advisor, however good, is any better than it: its excursion in the first
10 min is the least *worst excursion* of whatever is accepted every 10 min.

Every plant has the ordinary spread of the twin (meters 0.4 %, solutions 0.3-0.4 %, probes 0.025 pH,
throughput 1 %), which the figures of the process note did not have; --as-built leaves it out.
The operator acknowledges an NaOH demand anomaly after 15 min (trim_lanes.ACKNOWLEDGE_MIN): without
it the suggestion stays withheld by design, and a leaking lane leaves the band.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.trim_lanes import (
    FULL_KG_PER_PH,
    Controller,
    Lane,
    Ours,
    Outcome,
    PlainPi,
    RatioStation,
    lane,
    ours,
    row,
    run,
)
from edge.config.load import load
from edge.core.schedule import Schedule
from edge.core.trim import TrimSettings
from edge.twin.model import sample

CONFIG = Path(__file__).parents[1] / "firmware_config"
BAND, NARROW = 0.25, 0.10
LEAK_FROM_MIN = 400
LEAKS = (0.02, 0.03, 0.06)
DETECT_MIN = 30
BLIND_MIN = 10
"""Minutes of a batch before anything can have been accepted; the PLC's ramp, the pipe (15 s) and
the mixing (20 s) come on top."""
FIXED, RATIO = "fixed schedule", "schedule with ratio station"
DETUNED, DETUNED_FULL = "plain PI detuned, every 10 min", "PI detuned for the full reactor"
US = "ours, every 10 min"


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One row of the list in process note section 4."""

    name: str
    apply: Callable[[Lane], None]
    counts: bool = True
    """Part of *worst*."""


def _at(name: str, feed: int, value: float, first: float = 0.0, last: float = 1e9):  # type: ignore[no-untyped-def]
    return lambda one: one.course.add(row(name, feed), value, first, last)


def _ramp(name: str, feed: int, value: float, first: float, last: float):  # type: ignore[no-untyped-def]
    def apply(one: Lane) -> None:
        minute = np.arange(one.course.steps) / 6.0
        rise = np.clip((minute - first) / (last - first), 0.0, 1.0)
        one.course.add(row(name, feed), value * rise)

    return apply


def _all(*parts: Callable[[Lane], None]) -> Callable[[Lane], None]:
    def apply(one: Lane) -> None:
        for part in parts:
            part(one)

    return apply


def _plant(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Lane], None]:
    return lambda one: setattr(one.plant, name, change(getattr(one.plant, name)))


def _warm(one: Lane) -> None:
    one.temp_c = (51.0, 400.0, 520.0)


_WEAK = _at("strength", 2, -0.02)
_STRONG = _all(_at("strength", 0, 0.02), _at("strength", 1, 0.02))
_DRIFT = _ramp("meter", 2, 0.015, 100.0, 600.0)
_METAL_METER = _all(_at("meter", 0, -0.015), _at("meter", 1, -0.015))
DISTURBANCES = (
    Disturbance("nominal", lambda one: None),
    Disturbance("NaOH assay -2 %", _WEAK),
    Disturbance("metal +2 %", _STRONG),
    Disturbance("NaOH meter drift 1.5 %", _DRIFT),
    Disturbance("core dip -20 % 15 min", _at("rate", 0, -0.20, 300.0, 315.0)),
    Disturbance("metal meter -1.5 %", _METAL_METER),
    Disturbance("NH4OH +20 %", _at("rate", 3, 0.20, 200.0)),
    Disturbance("+3 K for 2 h", _warm),
    Disturbance("NaOH trip 3 min", _at("slip", 2, 0.95, 300.0, 303.0), counts=False),
    Disturbance("one probe drifts -0.3", _ramp("probe_offset", 0, -0.3, 100.0, 700.0)),
    Disturbance(
        "two slow probes -0.1",
        _all(*(_at(n, i, v, 200.0) for i in (0, 1) for n, v in (("probe_lag", 60.0),
             ("probe_offset", -0.1)))),
    ),
    Disturbance("mixing x3", _plant("mixing", lambda v: v * 3.0)),
    Disturbance("heel pH 10.9", _plant("heel_ph", lambda v: v - 0.3), counts=False),
    Disturbance("set-point +0.15", _at("ph_shift", 0, 0.15, 400.0), counts=False),
    Disturbance("stack of four", _all(_WEAK, _STRONG, _DRIFT, _METAL_METER)),
    Disturbance("NaOH leak 6 %", _at("leak", 2, 0.06, LEAK_FROM_MIN)),
)  # fmt: skip


def controllers(settings: TrimSettings, schedule: Schedule) -> dict[str, Callable[[], Controller]]:
    """Name in the table -> one controller per lane."""
    made: dict[str, Callable[[], Controller]] = {
        FIXED: Controller,
        RATIO: RatioStation,
        "plain PI, every min": lambda: PlainPi(110.0),
        "plain PI for 1 min, every 10 min": lambda: PlainPi(110.0, 10),
        DETUNED: lambda: PlainPi(600.0, 10),
        DETUNED_FULL: lambda: PlainPi(600.0, 10, FULL_KG_PER_PH),
    }
    for accept_min in (1, 10, 15, 30):
        made[f"ours, every {accept_min} min"] = lambda n=accept_min: ours(settings, schedule, n)
    return made


@dataclass(frozen=True, slots=True)
class Score:
    """One line of the table."""

    groups: np.ndarray
    """[disturbances] mean share of time in +-0.25."""
    narrow: float
    worst: float
    variation: float
    nominal_variation: float
    where: str
    """Disturbance and minute of *worst*."""
    blind: np.ndarray
    """[disturbances, seeds] worst of the first `BLIND_MIN` minutes; 0 where it does not count."""
    reached: np.ndarray
    """[disturbances, seeds] worst of the batch; 0 where it does not count."""


def score(
    outcome: Outcome, columns: np.ndarray, chosen: Sequence[Disturbance] = DISTURBANCES
) -> Score:
    """Of the lanes `columns` [disturbances, seeds]."""
    away = np.abs(outcome.ph_error[:, columns])
    away[:, [not d.counts for d in chosen]] = 0.0
    minute, which, _ = np.unravel_index(int(away.argmax()), away.shape)
    variation = outcome.variation()
    return Score(
        groups=outcome.share_within(BAND)[columns].mean(axis=1),
        narrow=float(outcome.share_within(NARROW)[columns].mean()),
        worst=float(away.max()),
        variation=float(variation[columns].mean()),
        nominal_variation=float(variation[columns[0]].mean()),
        where=f"{chosen[which].name}, minute {minute + 1}",
        blind=away[:BLIND_MIN].max(axis=0),
        reached=away.max(axis=0),
    )


def gate(scores: dict[str, Score]) -> list[tuple[str, bool]]:
    """(requirement with what was found, met) of process note section 4."""
    us, detuned, fixed = scores[US], scores[DETUNED], scores[FIXED].groups
    trip = np.array([0.02 if "trip" in d.name else 0.005 for d in DISTURBANCES])
    no_worse = us.groups >= fixed - trip
    better = (us.groups > fixed) | (fixed >= 0.98)
    worse = [d.name for d, ok in zip(DISTURBANCES, no_worse & better) if not ok]
    low = DISTURBANCES[int(us.groups.argmin())].name
    return [
        (f"mean in ±0.25 at 10 min ≥ 99.5 %: {us.groups.mean():.2%}", us.groups.mean() >= 0.995),
        (f"every group ≥ 97 %: {us.groups.min():.2%} ({low})", us.groups.min() >= 0.97),
        (f"worst excursion ≤ 0.25: {us.worst:.3f} ({us.where})", us.worst <= 0.25),
        (f"flow variation ≤ 12 kg/h per h: {us.variation:.1f}", us.variation <= 12.0),
        (
            f"≤ half of the detuned PI: {us.variation:.1f} of {detuned.variation:.1f}",
            us.variation <= detuned.variation / 2.0,
        ),
        (f"not worse than the fixed schedule: {', '.join(worse) or 'nowhere'}", not worse),
    ]


def possible(scores: dict[str, Score]) -> list[str]:
    """What any advisor accepted every 10 min could reach at best, beside what ours reaches."""
    us, ratio, full = scores[US], scores[RATIO], scores[DETUNED_FULL]
    blind = ratio.blind > BAND
    return [
        f"lanes already outside ±{BAND} before the first acceptance (minute {BLIND_MIN}): "
        f"{int(blind.sum())} of {blind.size}, worst {ratio.blind.max():.3f}",
        f"ours in these lanes: {us.reached[blind].max(initial=0.0):.3f}; "
        f"in all others: {us.reached[~blind].max(initial=0.0):.3f}",
        f"flow variation of the ratio station alone, which every controller has: "
        f"{ratio.variation:.1f} kg/h per h; ours moves {us.variation - ratio.variation:.1f} more, "
        f"the detuned PI {scores[DETUNED].variation - ratio.variation:.1f} more",
        f"beside a PI tuned for the full reactor: {us.variation:.1f} of {full.variation:.1f}, "
        f"beyond the ratio station {us.variation - ratio.variation:.1f} of "
        f"{full.variation - ratio.variation:.1f}",
    ]


def detection(
    settings: TrimSettings, schedule: Schedule, per_leak: int, nominal: int, seed: int,
    progress: Callable[[float], None],
) -> tuple[list[str], list[tuple[str, bool]]]:  # fmt: skip
    """Leaks of 2, 3 and 6 % at 10 min acceptance, and healthy lanes: (lines, gate)."""
    steps = sample(schedule).steps
    cases = [("healthy", 0.0, nominal), *((f"leak {x:.0%}", x, per_leak) for x in LEAKS)]
    lanes, spans, at = [], [], 0
    for _, share, count in cases:
        leak = _at("leak", 2, share, LEAK_FROM_MIN)
        lanes += [
            lane(seed + at + i, steps, ours(settings, schedule, 10), leak) for i in range(count)
        ]
        spans.append(slice(at, at + count))
        at += count
    run(lanes, schedule, int(schedule.end_min), seed, progress)
    watched = [one.controller.anomaly_min for one in lanes if isinstance(one.controller, Ours)]
    lines, met = [], []
    for (name, share, count), span in zip(cases, spans):
        if not share:
            false = sum(bool(minutes) for minutes in watched[span])
            lines.append(f"  {name}: {false} of {count} lanes raised something")
            met.append((f"no false alarm in {count} nominal lanes: {false}", false == 0))
            continue
        early = sum(any(m <= LEAK_FROM_MIN for m in minutes) for minutes in watched[span])
        times = [
            next((m - LEAK_FROM_MIN for m in minutes if m > LEAK_FROM_MIN), None)
            for minutes in watched[span]
        ]
        known = [t for t in times if t is not None]
        within = sum(t <= DETECT_MIN for t in known)
        median = f"{np.median(known):.0f} min" if known else "never"
        slowest = f"{max(known)} min" if len(known) == count else "not all"
        lines.append(
            f"  {name}: raised in {len(known)} of {count}, within {DETECT_MIN} min in {within}, "
            f"median {median}, slowest {slowest}, before it began {early}"
        )
        met.append((f"{name} raised in ≤ {DETECT_MIN} min: {within} of {count}", within == count))
    return lines, met


def show(share: float) -> None:
    """Progress on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{share:5.1%}", end="" if share < 1.0 else "\n", file=sys.stderr)


def main() -> None:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=4, help="plants per disturbance")
    parser.add_argument("--nominal", type=int, default=100, help="healthy lanes")
    parser.add_argument("--leaks", type=int, default=12, help="lanes per leak")
    parser.add_argument("--seed", type=int, default=9000, help="first seed")
    parser.add_argument("--groups", action="store_true", help="every disturbance by itself, too")
    parser.add_argument("--only", choices=("table", "leaks"), help="half of the bench")
    parser.add_argument(
        "--controllers", nargs="+", default=[""], metavar="TEXT",
        help="only those whose name holds one of these; the gate needs all it compares",
    )  # fmt: skip
    parser.add_argument(
        "--disturbances", nargs="+", default=[""], metavar="TEXT",
        help="only those whose name holds one of these; the gate needs all",
    )  # fmt: skip
    parser.add_argument("--as-built", action="store_true", help="plants without ordinary spread")
    args = parser.parse_args()
    line = next(line for line in load(CONFIG).lines if line.trim is not None)
    settings, schedule = line.trim, line.schedule
    assert settings is not None
    assert schedule is not None
    began = time.perf_counter()
    met: list[tuple[str, bool]] = []
    if args.only != "leaks":
        met += table(settings, schedule, args)
    if args.only != "table":
        lines, more = detection(settings, schedule, args.leaks, args.nominal, args.seed + 500, show)
        print("leaks in the NaOH line after the meter, ours at 10 min", *lines, sep="\n")
        met += more
    for text, ok in met:
        print(f"{'met   ' if ok else 'MISSED'} {text}")
    print(f"{time.perf_counter() - began:.0f} s")
    raise SystemExit(0 if all(ok for _, ok in met) else 1)


def table(
    settings: TrimSettings, schedule: Schedule, args: argparse.Namespace
) -> list[tuple[str, bool]]:
    """Run every controller under every disturbance and print; the gate."""
    made = {
        name: make
        for name, make in controllers(settings, schedule).items()
        if any(text in name for text in args.controllers)
    }
    chosen = [d for d in DISTURBANCES if any(text in d.name for text in args.disturbances)]
    if not made or not chosen:
        raise SystemExit("nothing is left of the controllers or disturbances that were named")
    steps = sample(schedule).steps
    lanes = [
        lane(args.seed + s, steps, make(), d.apply, spread=not args.as_built)
        for make in made.values()
        for d in chosen
        for s in range(args.seeds)
    ]
    outcome = run(lanes, schedule, int(schedule.end_min), args.seed, show)
    columns = np.arange(len(lanes)).reshape(len(made), len(chosen), args.seeds)
    scores = {name: score(outcome, columns[i], chosen) for i, name in enumerate(made)}
    print(f"simulated, {len(lanes)} batches of 18 h: {len(chosen)} disturbances x {args.seeds}")
    print(f"{'controller':34} {'±0.25':>8} {'worst group':>12} {'±0.10':>8} {'worst pH':>9} "
          f"{'kg/h per h (nominal)':>22}")  # fmt: skip
    for name, s in scores.items():
        print(f"{name:34} {s.groups.mean():8.2%} {s.groups.min():12.1%} {s.narrow:8.1%} "
              f"{s.worst:9.2f} {s.variation:13.1f} ({s.nominal_variation:.1f})")  # fmt: skip
    if args.groups:
        for i, d in enumerate(chosen):
            print(f"  {d.name:26}" + "".join(f" {s.groups[i]:8.2%}" for s in scores.values()))
    if not {FIXED, RATIO, DETUNED, DETUNED_FULL, US} <= set(scores) or len(chosen) < len(
        DISTURBANCES
    ):
        return []
    print(*possible(scores), sep="\n")
    return gate(scores)


if __name__ == "__main__":
    main()
