"""Heat balance of vessel and jacket, and the loop that holds the temperature.

    m cp dT/dt = agitation + dilution + precipitation - cold feeds - losses - UA (T - Tj)

UA is about 6.8 kW/K in a full vessel, the net load about 38 kW, the jacket near 42 °C; without
cooling the vessel warms by about 3 K/h (process note section 1.4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.twin.course import STEP_S
from edge.twin.params import Array
from edge.twin.reactor import TOP_M3
from edge.twin.shifts import Plant

CP_KJ = 3.55
UA_KW_K = 6.8
JACKET_KJ_K = 3344.0
COOLANT_KW_K = 4.76
"""Heat taken by the coolant per K of jacket above coolant, valve fully open."""
LOSS_KW_K = 0.07
DILUTION_KJ_MOL = 22.5
PRECIPITATION_KJ_MOL = 22.0
NAOH_FEED_C = 40.0
VALVE_GAIN = 0.30
"""Share of the valve's travel per K."""
VALVE_TI_S = 3600.0
START_JACKET_C, START_VALVE = 41.0, 0.45


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatLoad:
    """What heats and cools the vessel in one step, [L] each (line_kg_h [4, L])."""

    agitation_kw: Array
    naoh_mol_s: Array
    metals_mol_s: Array
    premix_kg_h: Array
    line_kg_h: Array
    premix_c: Array
    ambient_c: Array
    volume_m3: Array
    mass_kg: Array


class Jacket:
    """Jacket, coolant valve and its PI controller, L lanes."""

    def __init__(self, plant: Plant, lanes: tuple[int, ...]) -> None:
        self._plant = plant
        self.jacket_c: Array = np.full(lanes, START_JACKET_C)
        self.stem: Array = np.full(lanes, START_VALVE)
        """[L] true valve position, 0..1."""
        self.removed_kw: Array = np.zeros(lanes)
        """[L] heat that went from the vessel into the jacket in the last step."""
        self._integral: Array = np.full(lanes, START_VALVE)

    def step(
        self, temp_c: Array, load: HeatLoad, set_point_c: float, *, ua_loss: Array, stiction: Array
    ) -> Array:
        """Vessel temperature [L] after one step."""
        plant = self._plant
        reaction = DILUTION_KJ_MOL * load.naoh_mol_s + PRECIPITATION_KJ_MOL * load.metals_mol_s
        cold = load.premix_kg_h * (temp_c - load.premix_c)
        cold = cold + load.line_kg_h[2] * (temp_c - NAOH_FEED_C)
        cold = cold + load.line_kg_h[3] * (temp_c - load.ambient_c)
        ua = UA_KW_K * plant.ua * (1.0 - ua_loss) * (load.volume_m3 / TOP_M3) ** 0.25
        self.removed_kw = ua * (temp_c - self.jacket_c)
        loss = LOSS_KW_K * (temp_c - load.ambient_c)
        heat = load.agitation_kw + reaction - cold * (CP_KJ / 3600.0) - loss - self.removed_kw
        after: Array = temp_c + heat * (STEP_S / CP_KJ) / load.mass_kg
        coolant_c = plant.coolant_c + 0.3 * (load.ambient_c - 20.0)
        taken = COOLANT_KW_K * self.stem * (self.jacket_c - coolant_c)
        self.jacket_c = self.jacket_c + (self.removed_kw - taken) * (STEP_S / JACKET_KJ_K)
        error = after + plant.temp_offset - set_point_c
        self._integral = np.clip(
            self._integral + VALVE_GAIN * error * (STEP_S / VALVE_TI_S), 0.0, 1.0
        )
        wanted = np.clip(self._integral + VALVE_GAIN * error, 0.02, 1.0)
        # A sticking stem moves only when the controller pulls harder than the stiction.
        self.stem = np.where(np.abs(wanted - self.stem) < stiction, self.stem, wanted)
        return after
