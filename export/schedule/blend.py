"""Re-blending: what to add to which tank so that the two solutions reach the target again. Pure.

With core c1 and shell c2 (mol/kg) the batch feeds rho c1 + c2; it must be proportional to the
target x. Nothing can be taken out of a tank, so the metal that is in surplus fixes the scale and
the two others are made up: a = D (lambda x - rho c1) - h >= 0 for the shell tank, where h is the
metal in it and D its weight with what is added, lambda the least factor that leaves no a negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from export.schedule.inputs import METALS, Inputs, Metals

SALTS = {
    "ni": ("NiSO4·6H2O", 262.85),
    "co": ("CoSO4·7H2O", 281.10),
    "mn": ("MnSO4·H2O", 169.02),
}
"""Sulfate and g/mol by metal."""
SOLUBLE_MOL_KG = 1.75
"""Metal sulfate above which crystals may form in a cold tank (about 2.3 mol/L)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blend:
    """Additions to one tank."""

    tank: str
    add_kg: Metals
    """Sulfate crystals of Ni, Co, Mn per 1000 kg of solution in the tank."""
    mol_kg: Metals
    """What the tank then holds."""

    @property
    def total_kg(self) -> float:
        """All crystals together, per 1000 kg of solution."""
        return sum(self.add_kg)

    def text(self) -> str:
        """One line for the operator."""
        salts = ", ".join(
            f"{kg:.2f} kg {SALTS[m][0]}" for m, kg in zip(METALS, self.add_kg) if kg >= 0.005
        )
        strength = sum(self.mol_kg)
        water = ""
        if strength > SOLUBLE_MOL_KG:
            water = f"; that is {strength:.2f} mol/kg, dilute below {SOLUBLE_MOL_KG:g} mol/kg"
        return f"{self.tank} tank, per 1000 kg of solution: add {salts or 'nothing'}{water}"


def blends(inputs: Inputs, shell: Metals) -> tuple[Blend, Blend]:
    """The additions that alone would do, to the shell and to the core tank; the smaller first."""
    x, rho = np.array(inputs.target), inputs.core_to_shell
    core = np.array(inputs.core_mol_kg)
    both = (
        _blend("shell", x, np.array(shell), rho * core),
        _blend("core", x, np.array(inputs.core_mol_kg), np.array(shell) / rho),
    )
    return (both[0], both[1]) if both[0].total_kg <= both[1].total_kg else (both[1], both[0])


def _blend(tank: str, x: np.ndarray, have: np.ndarray, other: np.ndarray) -> Blend:
    """Additions to the tank holding `have` mol/kg so that `have + other` becomes proportional to x.

    A metal the target does not want (x = 0) cannot be removed; it is left as it is.
    """
    grams = np.array([SALTS[m][1] for m in METALS])
    wanted = x > 0.0
    weight, add = 1.0, np.zeros(3)
    for _ in range(60):  # what is added weighs something itself; converges like a geometric series
        scale = ((have / weight + other)[wanted] / x[wanted]).max()
        add = np.where(wanted, np.maximum(weight * (scale * x - other) - have, 0.0), 0.0)
        weight = 1.0 + float(add @ grams) / 1000.0
    after = (have + add) / weight
    kg = add * grams
    return Blend(
        tank=tank,
        add_kg=(float(kg[0]), float(kg[1]), float(kg[2])),
        mol_kg=(float(after[0]), float(after[1]), float(after[2])),
    )
