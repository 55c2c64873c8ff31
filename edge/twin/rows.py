"""From clean readings every 10 s to noisy rows every second: the instruments of one lane.

Interpolation, short events, pulsation, noise (white and AR(1)), resolution, update periods, dead
bands, clock jitter and gaps, in that order. Streams of random numbers are used row by row, so that
a batch made in one go and a plant that runs second by second show the same values; and they do not
depend on the fault, so that a tag outside a fault's signature is the same number with and without.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge.twin.course import DIP, FLAKE, HUNT, POWER, SPIKE, STEP_S, Course
from edge.twin.readings import COLUMNS, FEED_NOISE, OFF, RIPPLE, STUCK
from edge.twin.shifts import Plant
from edge.twin.tag_table import INDEX, TAG_COUNT, TAGS

Rows = npt.NDArray[np.float32]

_AR_S = 30.0
_PHI = float(np.exp(-1.0 / _AR_S))
_POWERS = (_PHI ** np.arange(1, STEP_S + 1)).astype(np.float32)
_LAG = np.arange(STEP_S)[:, None] - np.arange(STEP_S)[None, :]
_FILTER = np.where(_LAG >= 0, _PHI ** np.maximum(_LAG, 0), 0.0).astype(np.float32) * np.float32(
    np.sqrt(1.0 - _PHI**2)
)
_FRACTION = (np.arange(1, STEP_S + 1) / STEP_S).astype(np.float32)[:, None]
_SIGMA = np.array([tag.sigma for tag in TAGS], np.float32)
_RELATIVE = np.array([tag.relative for tag in TAGS])
_QUANTUM = np.array([tag.quantum for tag in TAGS], np.float64)
_POSITIVE = np.array([tag.unit not in ("°C",) for tag in TAGS])
_PRESSURES = [INDEX[f"PI-10{i}.PV"] for i in (1, 2, 3, 4)]
_FLOWS = [INDEX[f"FIC-10{i}.PV"] for i in (1, 2, 3, 4)]
_SPEEDS = [INDEX[f"SIC-10{i}.PV"] for i in (1, 2, 3, 4)]
_CURRENTS = [INDEX[f"II-10{i}.PV"] for i in (1, 2, 3, 4)]
_SCALES = [INDEX[f"WI-10{i}.PV"] for i in (1, 2, 3, 4)]
_PROBES = [INDEX[f"AIT-106{c}.PV"] for c in "ABCD"]
_RETURN = {
    what: INDEX[name]
    for what, name in (
        ("rpm", "SIC-107.PV"), ("hz", "SC-107.OUT"), ("flow", "FI-107.PV"),
        ("current", "II-107.PV"), ("bar", "PI-107.PV"),
    )
}  # fmt: skip
_DRIVES = [i for i, tag in enumerate(TAGS) if tag.name.startswith(("SIC", "SC-"))]
_FLAKE_BAR = 2.5
"""Pressure rise in front of a flake that blocks all of the flow, bar."""
_SHOES = 2


class Instruments:
    """Everything between the plant and the transmitted values of one lane."""

    def __init__(self, seed: int, course: Course, plant: Plant) -> None:
        """The instruments of `plant` (one lane, not stacked); `seed` is that of the batch."""
        self._course = course
        self._white = np.random.default_rng([seed, 11])
        self._drift = np.random.default_rng([seed, 12])
        self._phase = float(np.random.default_rng([seed, 13]).uniform(0.0, 2.0 * np.pi))
        self._ar = np.random.default_rng([seed, 14]).standard_normal(TAG_COUNT, np.float32)
        self._before: Rows | None = None
        self._held = np.zeros(TAG_COUNT, np.float32)
        self._second = 0
        self._update_s = plant.update_s.astype(int)
        self._update_phase = plant.update_phase.astype(int)
        self._sigma = _SIGMA * plant.noise.astype(np.float32)
        self._slow = self._update_s > 1
        self._quantum = _QUANTUM * plant.quantum
        self._deadband = plant.deadband.astype(np.float32)
        self._late = np.random.default_rng([seed, 15])
        self._jitter = float(plant.jitter)
        self._sent: Rows | None = None

    def rows(self, clean: npt.NDArray[np.floating], first_step: int | None = None) -> Rows:
        """float32[10 K, 51] for clean readings [K, COLUMNS] of the next K steps.

        `first_step` moves the clock without making the rows in between.
        """
        if first_step is not None:
            self._second = first_step * STEP_S
        steps = len(clean)
        seconds = steps * STEP_S
        fine = clean.astype(np.float32)
        if self._before is None:
            self._before = fine[0]
            first = np.rint(fine[0, :TAG_COUNT] / self._quantum) * self._quantum
            self._held = first.astype(np.float32)
        start = np.concatenate((self._before[None], fine[:-1]))
        self._before = fine[-1]
        wide = start[:, None] + (fine - start)[:, None] * _FRACTION
        wide = wide.reshape(seconds, COLUMNS)
        values = wide[:, :TAG_COUNT]
        self._events(values)
        self._pulsate(values, wide[:, RIPPLE])
        values += self._noise(values, wide[:, FEED_NOISE], steps)
        values = self._transmit(values, wide[:, STUCK] > 0.5)
        for feed_probe, column in zip(_PROBES, range(OFF.start, OFF.stop), strict=True):
            out = wide[:, column] > 0.5
            if out.any():
                values[out, feed_probe] = np.nan
        self._gaps(values)
        self._second += seconds
        return values

    def _events(self, values: Rows) -> None:
        course, t0 = self._course, self._second
        for (kind, feed), track in course.fast.items():
            now = track[t0 : t0 + len(values)]
            if not now.any():
                continue
            now = np.pad(now, (0, len(values) - len(now)))
            if kind == FLAKE:
                values[:, _FLOWS[feed]] *= 1.0 - now
                values[:, _PRESSURES[feed]] += _FLAKE_BAR * now
                values[:, _CURRENTS[feed]] *= 1.0 + 0.5 * now
            elif kind == DIP:
                values[:, _SPEEDS[feed]] *= 1.0 - now
                values[:, _FLOWS[feed]] *= 1.0 - now
                values[:, _PRESSURES[feed]] *= 1.0 - 0.5 * now
                values[:, _CURRENTS[feed]] *= 1.0 + 0.5 * now
            elif kind == HUNT:
                values[:, [_RETURN["rpm"], _RETURN["hz"]]] *= 1.0 + now[:, None]
                values[:, _RETURN["flow"]] *= 1.0 + 0.6 * now
                values[:, _RETURN["current"]] *= 1.0 + 0.8 * np.abs(now)
            elif kind == SPIKE:
                values[:, _RETURN["current"]] *= 1.0 + 1.5 * now
            elif kind == POWER:
                values[:, _DRIVES] *= 1.0 - now[:, None]
                values[:, [*_FLOWS, _RETURN["flow"]]] *= 1.0 - 0.7 * now[:, None]
                values[:, [*_CURRENTS, _RETURN["current"]]] *= 1.0 + 0.6 * now[:, None]

    def _pulsate(self, values: Rows, ripple: Rows) -> None:
        """A 2-shoe hose pump pulses twice a turn; at 1 Hz the reading beats slowly."""
        turns = values[:, _RETURN["rpm"]].astype(np.float64) * (_SHOES / 60.0)
        phase = self._phase + 2.0 * np.pi * np.cumsum(turns)
        self._phase = float(phase[-1] % (2.0 * np.pi))
        values[:, _RETURN["bar"]] += (ripple * np.sin(phase)).astype(np.float32)

    def _noise(self, values: Rows, feed_noise: Rows, steps: int) -> Rows:
        white = self._white.standard_normal((len(values), TAG_COUNT), np.float32)
        drift = self._drift.standard_normal((steps, STEP_S, TAG_COUNT), np.float32)
        drift = np.matmul(_FILTER, drift)
        carried = np.empty((steps, TAG_COUNT), np.float32)
        state, ends, decay = self._ar, drift[:, -1], _POWERS[-1]
        for k in range(steps):
            carried[k] = state
            state = decay * state + ends[k]
        self._ar = state
        drift += _POWERS[:, None] * carried[:, None]
        white += drift.reshape(len(values), TAG_COUNT)
        white *= np.where(_RELATIVE, np.abs(values) * self._sigma, self._sigma)
        white[:, _PRESSURES] *= feed_noise
        white[:, _FLOWS] *= np.sqrt(feed_noise)
        return white

    def _transmit(self, values: Rows, stuck: npt.NDArray[np.bool_]) -> Rows:
        """Resolution, then the last value is held until the instrument sends a new one."""
        # 64-bit on purpose: a weight of 9000.0 kg in steps of 0.1 does not fit 32-bit arithmetic.
        exact = np.rint(values / self._quantum) * self._quantum
        np.maximum(exact, 0.0, out=exact, where=_POSITIVE)
        sent = exact.astype(np.float32)
        t = self._second + np.arange(len(sent))
        columns = np.flatnonzero(self._slow | np.isin(np.arange(TAG_COUNT), _SCALES))
        fresh = (t[:, None] - self._update_phase[columns]) % self._update_s[columns] == 0
        if stuck.any():
            where = np.searchsorted(columns, _SCALES)
            fresh[:, where] &= ~stuck
        order = np.where(fresh, np.arange(1, len(sent) + 1)[:, None], 0)
        np.maximum.accumulate(order, axis=0, out=order)
        known = np.concatenate((self._held[None, columns], sent[:, columns]))
        sent[:, columns] = np.take_along_axis(known, order, axis=0)
        self._report_by_exception(sent)
        self._held = sent[-1].copy()
        return self._jittered(sent)

    def _report_by_exception(self, sent: Rows) -> None:
        """Hold a value until it has moved by the dead band from the one sent last."""
        columns = np.flatnonzero(self._deadband)
        if not len(columns):
            return
        band, held = self._deadband[columns], self._held[columns].copy()
        some = sent[:, columns]
        for row in some:
            np.copyto(held, row, where=np.abs(row - held) >= band)
            row[:] = held
        sent[:, columns] = some

    def _jittered(self, sent: Rows) -> Rows:
        """The PLC's clock against ours: now and then a row shows the second before once more."""
        if not self._jitter:
            return sent
        before = self._sent if self._sent is not None else sent[:1]
        self._sent = sent[-1:].copy()
        late = self._late.random(len(sent)) < self._jitter
        rows: Rows = np.concatenate((before, sent))[np.arange(1, len(sent) + 1) - late]
        return rows

    def _gaps(self, values: Rows) -> None:
        for first, last, tags in self._course.gaps:
            low, high = first - self._second, last - self._second
            if high > 0 and low < len(values):
                values[max(low, 0) : high, list(tags)] = np.nan
