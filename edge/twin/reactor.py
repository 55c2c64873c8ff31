"""The vessel: semi-batch balances and chemistry, all lanes at once (process note section 1.4).

Totals per lane: excess base, ammonia, Ni, Co, Mn in mol, volume and mass. Solids stay; above the
top level clear liquor leaves with what is dissolved in it. Precipitation is fast, so the bulk is in
equilibrium; the dissolved metal follows it with 20 s. No temperature balance in here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge.core import chemistry
from edge.core.chemistry import Array, Speciation

TOP_M3 = 9.8
"""Level at which liquor removal starts (85 % of 11.5 m3)."""
RELAXATION_S = 20.0
"""Time constant of the dissolved metal, s."""
LIQUOR_KG_M3 = 1173.0
"""Follows from the feeds: their mass less the solids over their volume less the solids."""
SOLID_KG_M3 = 3900.0
HEEL_KG_M3 = 1070.0
HEEL_SOLIDS_MOL_L = 0.01
"""Seed crystals of the heel, as metal."""

_CONSTANTS_STEPS = 6
"""Steps between two updates of the temperature-dependent constants."""

BASE, AMMONIA = 0, 1
METALS = slice(2, 5)


class Reactor:
    """State of the vessels of L lanes."""

    def __init__(
        self,
        heel_m3: Array,
        ph: Array,
        ammonia_mol_l: Array,
        temp_c: Array,
        *,
        top_m3: npt.ArrayLike = TOP_M3,
        liquor_removal: bool = True,
    ) -> None:
        """A heel of `heel_m3` at `ph` with a trace of seed crystals; every argument [L]."""
        lanes = heel_m3.shape
        liters = 1000.0 * heel_m3
        self.mol = np.empty((5, *lanes))
        self.mol[BASE] = chemistry.e_star(ph, ammonia_mol_l, temp_c) * liters
        self.mol[AMMONIA] = ammonia_mol_l * liters
        self.mol[METALS] = HEEL_SOLIDS_MOL_L * np.asarray(chemistry.NCM838)[:, None] * liters
        self.volume_m3 = heel_m3.astype(np.float64)
        self.mass_kg = heel_m3 * HEEL_KG_M3
        self.removed_m3 = np.zeros(lanes)
        """Liquor drawn off so far."""
        self._top_m3 = np.broadcast_to(np.asarray(top_m3, np.float64), lanes).copy()
        self._removal = liquor_removal
        self._constants = chemistry.constants(temp_c)
        self._steps = 0
        per_liter = self.mol / liters
        self._speciation: Speciation = chemistry.solve(
            per_liter[BASE], per_liter[AMMONIA], per_liter[METALS], temp_c
        )
        self.dissolved = self._speciation.dissolved.copy()
        """[3, L] mol/L after the relaxation."""

    @property
    def ph(self) -> Array:
        """[L] equilibrium pH of the bulk at process temperature."""
        return self._speciation.ph

    @property
    def ammonia_mol_l(self) -> Array:
        """[L] total ammonia."""
        per_liter: Array = self.mol[AMMONIA] / (1000.0 * self.volume_m3)
        return per_liter

    @property
    def solids_kg(self) -> Array:
        """[L] hydroxide in the vessel."""
        metal = self.mol[METALS] - self.dissolved * (1000.0 * self.volume_m3)
        grams: Array = (np.maximum(metal, 0.0) * chemistry.HYDROXIDE_G_MOL[:, None]).sum(0)
        return grams / 1000.0

    @property
    def density_kg_m3(self) -> Array:
        """[L] density of the slurry."""
        density: Array = self.mass_kg / self.volume_m3
        return density

    def step(
        self,
        dt_s: float,
        inflow_mol_s: Array,
        inflow_m3_s: Array,
        inflow_kg_s: Array,
        temp_c: Array,
        top_rise_m3: Array | float = 0.0,
    ) -> None:
        """Advance by `dt_s` seconds.

        inflow_mol_s is [5, L] (excess base, ammonia, Ni, Co, Mn), the others [L]; `top_rise_m3`
        raises the level at which liquor leaves (blinded thickener).
        """
        self.mol += inflow_mol_s * dt_s
        self.volume_m3 = self.volume_m3 + inflow_m3_s * dt_s
        self.mass_kg = self.mass_kg + inflow_kg_s * dt_s
        if self._removal:
            surplus = self.volume_m3 - (self._top_m3 + top_rise_m3)
            out = np.maximum(surplus, 0.0)
            if surplus.max() > 0.0:
                share = out / self.volume_m3
                self.mol[:2] -= self.mol[:2] * share
                self.mol[METALS] -= self.dissolved * (1000.0 * out)
                self.volume_m3 = self.volume_m3 - out
                self.mass_kg = self.mass_kg - out * LIQUOR_KG_M3
                self.removed_m3 = self.removed_m3 + out
        # The temperature moves by less than 0.1 K, 0.003 pH, in a minute.
        self._steps += 1
        if self._steps % _CONSTANTS_STEPS == 0:
            self._constants = chemistry.constants(temp_c)
        per_liter = self.mol / (1000.0 * self.volume_m3)
        self._speciation = chemistry.step(
            self._speciation,
            per_liter[BASE],
            per_liter[AMMONIA],
            per_liter[METALS],
            self._constants,
        )
        gone = 1.0 - np.exp(-dt_s / RELAXATION_S)
        self.dissolved += gone * (self._speciation.dissolved - self.dissolved)
