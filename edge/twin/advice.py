"""The twin's own NaOH trim: an operator who follows the law of process note section 4.

Training batches need the plant as it is run, with pH held by small moves every ten minutes; a leak
then shows as a rising NaOH demand and not as a pH excursion. This is the law in its barest form,
over all lanes; the appliance's own trim (core/trim.py), with its holds and limits, is another.
"""

from __future__ import annotations

import numpy as np

from edge.core import chemistry
from edge.core.chemistry import NAOH_G_MOL
from edge.twin.course import STEP_S
from edge.twin.params import Array
from edge.twin.reactor import Reactor
from edge.twin.shifts import Plant

ACCEPT_S = 600
TAU_S = 300.0
DEAD_S = 110.0
BIAS_TI_S = 4.0 * (TAU_S + DEAD_S)
DEAD_ZONE_KG = 1.0
AUTHORITY = 0.15
RATE_KG_H = 20.0
AMMONIA_SHARE = 0.85
"""The law works with 15 % less ammonia than estimated: too much of it makes the loop nervous."""
_MINUTE_STEPS = 60 // STEP_S
_ACCEPT_STEPS = ACCEPT_S // STEP_S
_KG_PER_MOL = NAOH_G_MOL / 1000.0 / 0.48


class InnerAdvice:
    """Trim ratio and bias of L lanes."""

    def __init__(self, plant: Plant, reactor: Reactor, operators: Array) -> None:
        self.ratio = np.zeros_like(operators)
        """[L] accepted trim, share of the base."""
        self.bias = np.zeros_like(operators)
        """[L] slow part of the NaOH demand: rises with a leak."""
        self._operators = operators
        self._reactor = reactor
        self._ammonia_mol = reactor.mol[1].copy()
        self._nh3_mol_kg = 14.68
        self._sum = np.zeros_like(operators)
        self._applied = np.zeros_like(operators)
        self._seen = 0
        self._removed = reactor.removed_m3.copy()

    def observe(
        self,
        k: int,
        probe: Array,
        off: Array,
        ph_sp: Array,
        base: Array,
        meter_flow: Array,
        temp_c: Array,
        run: Array,
    ) -> None:
        """See one step: probes [4, L] (off[4, L] = 1 where out of the vessel), flows kg/h [4, L].

        Every minute the bias follows what was applied; every ten minutes a suggestion is accepted.
        """
        self._ammonia_mol += meter_flow[3] * (self._nh3_mol_kg * STEP_S / 3600.0)
        self._sum += _median(probe, off)
        self._applied += np.where(
            base > 1.0, meter_flow[2] / np.maximum(base, 1.0) - 1.0, self.bias
        )
        self._seen += 1
        if (k + 1) % _MINUTE_STEPS:
            return
        measured, applied = self._sum / self._seen, self._applied / self._seen
        self._sum, self._applied = np.zeros_like(run), np.zeros_like(run)
        self._seen = 0
        volume = self._reactor.volume_m3
        left = (self._reactor.removed_m3 - self._removed) / volume
        self._removed = self._reactor.removed_m3.copy()
        self._ammonia_mol *= 1.0 - left
        running = run > 0.99
        gone = 1.0 - np.exp(-60.0 / BIAS_TI_S)
        self.bias = np.where(running, self.bias + gone * (applied - self.bias), self.bias)
        if (k + 1) % _ACCEPT_STEPS:
            return
        ammonia = AMMONIA_SHARE * self._ammonia_mol / (1000.0 * volume)
        demand = chemistry.e_star(np.stack((ph_sp, measured)), ammonia, temp_c)
        z = (demand[0] - demand[1]) * volume * (1000.0 * _KG_PER_MOL)
        z = np.where(np.abs(z) < DEAD_ZONE_KG, 0.0, z)
        wanted = self.bias + 3600.0 * z / (TAU_S + DEAD_S) / np.maximum(base, 1.0)
        most = 10.0 * RATE_KG_H / np.maximum(base, 1.0)
        wanted = self.ratio + np.clip(wanted - self.ratio, -most, most)
        wanted = np.clip(wanted, -AUTHORITY, AUTHORITY)
        self.ratio = np.where(running & (self._operators > 0.0), wanted, self.ratio)


def _median(probe: Array, off: Array) -> Array:
    """[L] mean of the two middle probes; a probe out of the vessel is replaced by the others."""
    out = off > 0.5
    if out.any():
        good = np.maximum((~out).sum(0), 1)
        probe = np.where(out, np.where(out, 0.0, probe).sum(0) / good, probe)
    ordered = np.sort(probe, axis=0)
    middle: Array = 0.5 * (ordered[1] + ordered[2])
    return middle
