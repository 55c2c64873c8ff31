"""Writes speciation.csv: the grid of process note section 1.2 to 15 digits, by another way.

    python tests/golden/speciation.py        # needs mpmath, which torch brings along

Nothing of edge.core is used: constants typed in again from the note, 40 digits, ammonia balance by
root search, dE/dpH by numerical differentiation of the whole inverse. Solids of all metals present.
"""

from __future__ import annotations

from pathlib import Path

from mpmath import diff, findroot, ln, mp, mpf

mp.dps = 40
FILE = Path(__file__).with_suffix(".csv")
PH = ("10.5", "10.95", "11.2", "11.45")
AMMONIA = ("0.3", "0.5", "0.6", "0.8", "1.0")
TEMPERATURES = ("45", "48", "51")

LOG_BETA = (
    ("2.81", "5.08", "6.85", "8.12", "8.93", "9.08"),
    ("2.10", "3.67", "4.78", "5.53", "5.75", "5.14"),
    ("1.00", "1.54", "1.70", "1.30"),
)
LOG_K = (
    {1: "4.10", 2: "9.00", 3: "12.0"},
    {1: "4.30", 2: "9.20", 3: "10.5"},
    {1: "3.40", 3: "7.2"},
)
PKSP, DH_NH3, DH_SOLID = ("15.22", "14.89", "12.70"), (-14700, -13000, -8000), (15700, 18000, 14600)
GAMMA1, GAMMA2, R = mpf("0.70"), mpf("0.20"), mpf("8.314462618")


def state(ph: mpf, ammonia: mpf, temp_c: mpf) -> tuple[mpf, mpf]:
    """(E, dissolved Ni), mol/L."""
    kelvin = temp_c + mpf("273.15")
    hoff = (1 / mpf("298.15") - 1 / kelvin) / (R * ln(10))
    kw = 10 ** -(mpf("4470.99") / kelvin - mpf("6.0875") + mpf("0.01706") * kelvin)
    ka = 10 ** -(mpf("0.09018") + mpf("2729.92") / kelvin)
    a = 10**ph * kw
    free = [
        10 ** (-mpf(p) + dh * hoff) / (GAMMA2 * a**2) for p, dh in zip(PKSP, DH_SOLID, strict=True)
    ]

    def ammines(x: mpf) -> list[list[mpf]]:
        return [
            [10 ** (mpf(b) + n * dh * hoff) * x**n for n, b in enumerate(row, start=1)]
            for row, dh in zip(LOG_BETA, DH_NH3, strict=True)
        ]

    def nh4(x: mpf) -> mpf:
        return x * kw / (ka * a * GAMMA1)

    def surplus(lx: mpf) -> mpf:
        x = mp.exp(lx)
        bound = sum(
            f * sum(n * b for n, b in enumerate(row, start=1))
            for f, row in zip(free, ammines(x), strict=True)
        )
        return ln((x + nh4(x) + bound) / ammonia)

    x = mp.exp(findroot(surplus, ln(ammonia) - 1))
    charge, nickel = mpf(0), mpf(0)
    for i, (f, row) in enumerate(zip(free, ammines(x), strict=True)):
        hydroxo = {k: 10 ** mpf(v) * a**k for k, v in LOG_K[i].items()}
        charge += f * (2 * (1 + sum(row)) + sum((2 - k) * h for k, h in hydroxo.items()))
        if i == 0:
            nickel = f * (1 + sum(row) + sum(hydroxo.values()))
    return a / GAMMA1 - nh4(x) - kw / (a * GAMMA1) - charge, nickel


def main() -> None:
    """Write the file."""
    lines = ["ph,ammonia_mol_l,temp_c,e_mol_l,buffer_mol_l,nickel_mol_l"]
    for t in TEMPERATURES:
        for p in PH:
            for n in AMMONIA:
                e, nickel = state(mpf(p), mpf(n), mpf(t))
                slope = diff(lambda x, n=n, t=t: state(x, mpf(n), mpf(t))[0], mpf(p))
                numbers = ",".join(mp.nstr(v, 15) for v in (e, slope, nickel))
                lines.append(f"{p},{n},{t},{numbers}")
    FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
