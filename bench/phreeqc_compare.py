"""Our speciation beside PHREEQC (USGS) over the grid of process note section 1.2, 48 °C.

    python bench/phreeqc_compare.py      # needs phreeqpython: the extra `benchmark`

Both are given the same excess base, ammonia and solids, and asked for pH and dissolved nickel.

  same     PHREEQC's solver and balances with our constants, activity factors folded into them: a
           check of the solver. PHREEQC lowers the activity of water by 0.017 per mol/kg dissolved,
           we do not; that is what remains.
  Davies   our constants, but PHREEQC's own activity coefficients in 1 mol/kg Na2SO4 (ionic strength
           3, where Davies is outside its range): how much the two factors gamma1 and gamma2 matter,
           and why they have to come from a titration of the real slurry.
"""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path

import numpy as np

from edge.core import chemistry

PH = (10.5, 10.95, 11.2, 11.45)
AMMONIA = (0.3, 0.5, 0.6, 0.8, 1.0)
TEMP_C = 48.0
METAL_MOL = 2.0 * np.asarray(chemistry.NCM838)
NI_MG = 58_693.0
SULFATE = 1.0
UNIT = "-gamma 1e9 0"
"""An ion so large that its Debye-Hueckel activity coefficient is 1."""


def database(own_activity: bool) -> str:
    """A PHREEQC database of our constants at 48 °C; activities by Davies if `own_activity`."""
    gamma = "" if own_activity else UNIT
    factor1 = 0.0 if own_activity else math.log10(chemistry.GAMMA1)
    factor2 = 0.0 if own_activity else math.log10(chemistry.GAMMA2)
    k = chemistry.constants(TEMP_C)
    kw, ka = float(chemistry.pkw(TEMP_C)), float(chemistry.pka_ammonium(TEMP_C))
    species = [
        "H+ = H+", "log_k 0", gamma, "e- = e-", "log_k 0", "H2O = H2O", "log_k 0",
        f"H2O = OH- + H+\nlog_k {-kw - factor1}", gamma,
        "2 H2O = O2 + 4 H+ + 4 e-\nlog_k -86", "2 H+ + 2 e- = H2\nlog_k -3",
        "Na+ = Na+\nlog_k 0", gamma, "Cl- = Cl-\nlog_k 0", gamma, "SO4-2 = SO4-2\nlog_k 0", gamma,
        "Amm = Amm\nlog_k 0", "-gamma 1e9 0",
        f"Amm + H+ = AmmH+\nlog_k {ka - factor1}", gamma,
    ]  # fmt: skip
    phases = []
    for i, metal in enumerate(chemistry.METALS):
        species += [f"{metal}+2 = {metal}+2\nlog_k 0", gamma]
        shift = math.log10(float(k.scale[i, 0]))
        for n, log_beta in enumerate(chemistry._LOG_BETA[i], start=1):
            if np.isfinite(log_beta):
                species += [f"{metal}+2 + {n} Amm = {metal}(Amm){n}+2"]
                species += [f"log_k {log_beta + n * shift}", gamma]
        for n, log_k in enumerate(chemistry._LOG_K_OH[i], start=1):
            if np.isfinite(log_k):
                charge = {1: "+", 2: "", 3: "-"}[n]
                species += [f"{metal}+2 + {n} H2O = {metal}(OH){n}{charge} + {n} H+"]
                species += [f"log_k {log_k - n * kw}", gamma]
        log_ksp = math.log10(float(k.saturation[i, 0]) * chemistry.GAMMA2)
        phases += [f"{metal}hydroxide", f"{metal}(OH)2 + 2 H+ = {metal}+2 + 2 H2O"]
        phases += [f"log_k {log_ksp - factor2 + 2.0 * kw}"]
    masters = "\n".join(f"{m} {m}+2 0 {m} 58.7" for m in chemistry.METALS)
    return "\n".join(
        [
            "SOLUTION_MASTER_SPECIES",
            "H H+ -1 H 1.008\nH(0) H2 0 H\nH(1) H+ -1 0\nE e- 0 0 0\nO H2O 0 O 16",
            "O(0) O2 0 O\nO(-2) H2O 0 0\nNa Na+ 0 Na 23\nCl Cl- 0 Cl 35.45",
            f"S SO4-2 0 SO4 32.06\nAmm Amm 1 Amm 17.03\n{masters}",
            "SOLUTION_SPECIES", *filter(None, species), "PHASES", *phases, "END",
        ]
    )  # fmt: skip


class Peer:
    """PHREEQC with one database."""

    def __init__(self, folder: Path, own_activity: bool) -> None:
        from phreeqpython import PhreeqPython

        name = "davies.dat" if own_activity else "same.dat"
        (folder / name).write_text(database(own_activity), encoding="utf-8")
        self._sulfate = SULFATE if own_activity else 0.0
        self._engine = PhreeqPython(database=name, database_directory=folder).ip

    def state(self, e: float, ammonia: float) -> tuple[float, float]:
        """(pH, dissolved Ni mg/L) at excess base `e` and total `ammonia`, mol per kg of water."""
        sodium, chloride = 2.0 * self._sulfate + max(e, 0.0), max(-e, 0.0)
        solids = "\n".join(
            f"{m}hydroxide 0 {amount:.9g}" for m, amount in zip(chemistry.METALS, METAL_MOL)
        )
        self._engine.run_string(
            f"""SOLUTION 1
            temp 25
            units mol/kgw
            pH 11 charge
            Amm {ammonia}
            Na {sodium + 1e-12:.15g}
            Cl {chloride + 1e-12:.15g}
            {f"S {self._sulfate}" if self._sulfate else ""}
            EQUILIBRIUM_PHASES 1
            {solids}
            SELECTED_OUTPUT
            -reset false
            -high_precision true
            -pH true
            -totals Ni
            END"""
        )
        rows = self._engine.get_selected_output_array()
        last = dict(zip(rows[0], rows[-1]))
        nickel = next(v for k, v in last.items() if k.startswith("Ni"))
        return float(last["pH"]), float(nickel) * NI_MG


def compare() -> list[tuple[float, ...]]:
    """(pH, N, our Ni, pH and Ni of `same`, pH and Ni of `Davies`) over the grid, Ni in mg/L."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        peers = [Peer(Path(name), own) for own in (False, True)]
        for ph in PH:
            for n in AMMONIA:
                e = float(chemistry.e_star(ph, n, TEMP_C))
                ours = float(chemistry.solve(e, n, METAL_MOL, TEMP_C).dissolved[0, 0]) * NI_MG
                both = [value for peer in peers for value in peer.state(e, n)]
                rows.append((ph, n, ours, *both))
    return rows


def main() -> None:
    """Print the table."""
    try:
        rows = compare()
    except ImportError as error:
        print(f"skipped: phreeqpython is not installed ({error})", file=sys.stderr)
        raise SystemExit(2) from None
    print(
        "   pH     N      Ni, mg/L | PHREEQC, same:  pH        Ni | PHREEQC, Davies: pH        Ni"
    )
    for ph, n, ni, ph_same, ni_same, ph_own, ni_own in rows:
        print(
            f"{ph:6.2f} {n:5.2f} {ni:12.2f} | {ph_same:18.4f} {ni_same:9.2f} | "
            f"{ph_own:19.3f} {ni_own:9.1f}"
        )
    same = max(abs(row[3] - row[0]) for row in rows)
    nickel = max(abs(row[4] / row[2] - 1.0) for row in rows)
    print(f"largest difference with the same constants: pH {same:.4f}, nickel {nickel:.2%}")


if __name__ == "__main__":
    main()
