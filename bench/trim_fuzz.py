"""A million random minutes through the trim: does any suggestion leave a clamp? And replay.

    python -m bench.trim_fuzz [--inputs 1000000] [--seed 1]

Nine of ten inputs are random figures for the law, one a random minute for the whole advisor, with
missing, absurd and not finite values among them. Counts suggestions outside authority, rate, zero,
predicted pH or their own stated limits; then replays a log and compares bit for bit.
"""

from __future__ import annotations

import argparse
import math
import random
from dataclasses import replace
from pathlib import Path

from edge.config.load import load
from edge.core.batch import Batch, BatchState
from edge.core.outputs import PlcState
from edge.core.registers import Control, TrimState
from edge.core.schedule import Schedule
from edge.core.trim import AUTHORITY_MAX, Figures, Held, TrimSettings, propose
from edge.core.trim_advisor import Advice, Guard, TrimAdvisor
from edge.core.trim_plant import Minute, feedforward
from edge.core.verdict import Verdict

CONFIG = Path(__file__).parents[1] / "firmware_config"
ODD = (math.nan, math.inf, -math.inf, 0.0, -1.0, 1e-300, 1e300)
SLACK = 1e-9
SOUND = Verdict(valid=True, why=None, probability=0.05)


def _odd(draw: random.Random, value: float, share: float) -> float:
    return draw.choice(ODD) if draw.random() < share else value


def figures(draw: random.Random) -> Figures:
    """Figures of the law: mostly plausible, one in fifty absurd."""
    flow = draw.uniform(1.0, 400.0)
    base = flow * draw.uniform(0.8, 1.2)
    values = (
        flow, draw.gauss(0.0, 0.05), draw.gauss(0.0, 5.0), draw.uniform(1.0, 60.0),
        draw.gauss(11.2, 0.3), draw.uniform(10.9, 11.5), base, base * draw.uniform(0.9, 1.1),
    )  # fmt: skip
    names = Figures.__dataclass_fields__
    return Figures(**{name: _odd(draw, value, 0.02) for name, value in zip(names, values)})


def law_breaks(f: Figures, settings: TrimSettings, tau_s: float) -> tuple[bool, bool]:
    """(offered something, outside a clamp)."""
    out = propose(f, settings, tau_s)
    if isinstance(out, Held):
        return False, False
    flow = f.base_kg_h + out.trim_kg_h
    slack = SLACK * (1.0 + abs(f.base_kg_h) + abs(f.in_force_kg_h) + f.feedforward_kg_h)
    authority = min(settings.authority_fraction, AUTHORITY_MAX)
    inside = (
        abs(flow - f.feedforward_kg_h) <= authority * f.feedforward_kg_h + slack
        and abs(flow - f.in_force_kg_h) <= settings.max_change_kg_h + slack
        and flow >= -slack
        and out.lo_kg_h - slack <= out.trim_kg_h <= out.hi_kg_h + slack
        and (flow <= f.in_force_kg_h + slack or out.predicted_ph <= f.ph_sp + 0.1 + 1e-6)
    )
    return True, not inside


def minute(draw: random.Random, number: int) -> Minute:
    """A minute: plausible instruments, some missing, some absurd."""

    def some(value: float) -> float | None:
        return None if draw.random() < 0.01 else _odd(draw, value, 0.005)

    ph = draw.gauss(11.2, 0.1)
    naoh = draw.uniform(180.0, 280.0)
    return Minute(
        ph=tuple(some(ph + draw.gauss(0.0, 0.02)) for _ in range(4)), ph_median=some(ph),
        naoh_kg_h=some(naoh), naoh_sp_kg_h=some(naoh), naoh_sp_last_kg_h=some(naoh),
        naoh_weight_kg=some(4000.0 - 3.5 * (number % 1080)), core_kg_h=some(draw.uniform(90, 900)),
        shell_kg_h=some(draw.uniform(100, 620)), nh4oh_kg_h=some(draw.uniform(20, 43)),
        temp_c=some(draw.gauss(48.0, 0.3)), age_s=0.0,
    )  # fmt: skip


class Batchwise:
    """The advisor fed with random minutes, PLC answers and restarts of the batch."""

    def __init__(self, settings: TrimSettings, schedule: Schedule) -> None:
        self.settings, self.schedule = settings, schedule
        self.advisor, self.advice = TrimAdvisor(settings, schedule), Advice()

    def step(self, draw: random.Random, number: int) -> tuple[bool, bool]:
        """(offered something new, outside a clamp)."""
        control = Control.ADVICE_ENABLED | Control.BATCH_ACTIVE
        if draw.random() < 0.2:
            control |= draw.choice((Control.ACCEPT, Control.REJECT, Control.HELD))
        plc = PlcState(
            control=control, batch_id=number // 1080, trim_seq_ack=self.advice.seq,
            trim_applied_kg_h=draw.uniform(-20.0, 20.0), maint_event=number // 97,
        )  # fmt: skip
        batch = Batch(
            state=BatchState.RUNNING, batch_id=number // 1080, minutes=float(number % 1080),
            known=True,
        )  # fmt: skip
        m, now_s, before = minute(draw, number), 60.0 * number, self.advice.seq
        guard = Guard(batch=batch, plc=plc, plc_alive=draw.random() > 0.01, verdict=SOUND)
        self.advice = self.advisor.minute(self.advice, m, guard, now_s)
        offer, new = self.advice.offer, self.advice.seq != before
        self.advice = self.advisor.second(self.advice, plc, True, m.naoh_sp_last_kg_h, now_s + 1.0)
        if not new or offer is None or m.naoh_sp_last_kg_h is None:
            return new, new
        flow = feedforward(self.schedule, batch.minutes, m)
        wanted = offer.base_kg_h + offer.trim_kg_h
        inside = (
            flow is not None
            and abs(wanted - flow) <= self.settings.authority_fraction * flow + 1e-6
            and abs(wanted - m.naoh_sp_last_kg_h) <= self.settings.max_change_kg_h + 1e-6
            and offer.lo_kg_h <= offer.trim_kg_h <= offer.hi_kg_h
            and math.isfinite(offer.predicted_ph)
        )
        return True, not inside


def fuzz(
    settings: TrimSettings, schedule: Schedule, inputs: int, seed: int
) -> tuple[int, int, int]:
    """(inputs, suggestions, suggestions outside a clamp)."""
    draw, offers, outside = random.Random(seed), 0, 0
    for _ in range(inputs - inputs // 10):
        own = replace(settings, authority_fraction=draw.uniform(0.0, 0.3))
        new, broke = law_breaks(figures(draw), own, draw.uniform(110.0, 1000.0))
        offers, outside = offers + new, outside + broke
    whole = Batchwise(settings, schedule)
    for number in range(inputs // 10):
        new, broke = whole.step(draw, number)
        offers, outside = offers + new, outside + broke
    return inputs, offers, outside


def replay(settings: TrimSettings, schedule: Schedule, minutes: int, seed: int) -> list[str]:
    """Every advice of a random log in words: two runs must give the same text."""
    draw, whole = random.Random(seed), Batchwise(settings, schedule)
    said = []
    for number in range(minutes):
        whole.step(draw, number)
        said.append(repr(whole.advice))
    assert any(TrimState.OFFERED.name in text for text in said)
    return said


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    line = next(line for line in load(CONFIG).lines if line.trim is not None)
    assert line.trim is not None
    assert line.schedule is not None
    inputs, offers, outside = fuzz(line.trim, line.schedule, args.inputs, args.seed)
    print(f"{inputs:,} inputs, {offers:,} suggestions, {outside} outside a clamp")
    same = replay(line.trim, line.schedule, 3000, 2) == replay(line.trim, line.schedule, 3000, 2)
    print(f"the same 3,000 minutes twice: {'the same' if same else 'DIFFERENT'} suggestions")
    raise SystemExit(1 if outside or not same else 0)


if __name__ == "__main__":
    main()
