"""Speciation against the golden table, the titration of the process note, and a second solver."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.speciation import states, worst_balance
from edge.core import chemistry
from edge.core.chemistry import MetalFractions

NCM = np.array([0.838, 0.124, 0.038])
GRID = Path(__file__).parents[1] / "golden" / "speciation.csv"

GOLDEN = {
    # pH: (E mmol/L, buffer mmol/L per pH, dissolved Ni mg/L) at N = 0.3, 0.5, 0.6, 0.8, 1.0 mol/L
    10.5: [(-4.90, 24.6, 58.5), (-21.80, 71.5, 469), (-37.17, 101.6, 886), (-79.09, 154, 2063),
           (-130.6, 194, 3534)],
    10.95: [(4.08, 19.8, 9.6), (0.21, 33.6, 87.4), (-4.17, 49.0, 199), (-21.2, 97.4, 669),
            (-50.3, 154, 1500)],
    11.2: [(9.91, 28.3, 5.0), (8.32, 33.8, 31.3), (6.59, 40.5, 72.0), (-0.93, 67.8, 274),
           (-16.75, 114.5, 721)],
    11.45: [(19.03, 46.7, 4.9), (18.34, 49.0, 13.4), (17.69, 51.5, 27.0), (14.82, 63.0, 99.8),
            (8.03, 88.5, 288)],
}  # fmt: skip
AMMONIA = np.array([0.3, 0.5, 0.6, 0.8, 1.0])

TITRATION = [
    # NaOH:M, pH, dissolved Ni mg/L, Ni precipitated
    (0.0, 9.99, 4919, 0.0), (0.5, 10.40, 4026, 0.18), (1.0, 10.66, 2754, 0.44),
    (1.5, 10.95, 1491, 0.70), (1.87, 11.23, 643, 0.87), (2.0, 11.36, 405, 0.92),
    (2.2, 11.59, 167, 0.97), (3.0, 12.16, 32, 0.993),
]  # fmt: skip


@pytest.mark.parametrize("ph", GOLDEN)
def test_golden_table(ph: float) -> None:
    e = chemistry.e_star(ph, AMMONIA, 48.0)
    b = chemistry.buffer(ph, AMMONIA, 48.0)
    ni = chemistry.solve(e, AMMONIA, 2.0 * NCM, 48.0).dissolved[0] * 58_693.0
    for i, (e_mmol, b_mmol, ni_mg) in enumerate(GOLDEN[ph]):
        assert 1e3 * e[i] == pytest.approx(e_mmol, abs=0.051)
        assert 1e3 * b[i] == pytest.approx(b_mmol, rel=0.005)
        assert ni[i] == pytest.approx(ni_mg, rel=0.011)


def test_golden_grid_to_nine_digits() -> None:
    """Against 40-digit arithmetic, written independently (tests/golden/speciation.py)."""
    ph, n, temp_c, e, slope, nickel = np.loadtxt(GRID, delimiter=",", skiprows=1).T
    assert len(ph) == 60
    assert chemistry.e_star(ph, n, temp_c) == pytest.approx(e, rel=1e-9, abs=1e-14)
    assert chemistry.buffer(ph, n, temp_c) == pytest.approx(slope, rel=1e-9)
    metals = np.repeat(2.0 * NCM[:, None], len(ph), axis=1)
    found = chemistry.solve(e, n, metals, temp_c)
    assert found.ph == pytest.approx(ph, rel=1e-9)
    assert found.dissolved[0] == pytest.approx(nickel, rel=1e-9)


def test_random_states_never_fail() -> None:
    """A sample of bench/speciation.py: E, ammonia, metals, temperature over decades."""
    rng = np.random.default_rng(20_251)
    count = 20_000
    e, n, metals, temp_c = states(rng, count)
    found = chemistry.solve(e, n, metals, temp_c)
    assert worst_balance(found, e, n, metals, temp_c) < 1e-6


@pytest.mark.parametrize(("ratio", "ph", "ni_mg_l", "precipitated"), TITRATION)
def test_titration(ratio: float, ph: float, ni_mg_l: float, precipitated: float) -> None:
    """0.1 M metals, 1.0 M ammonia, 48 °C: ammonia holds nickel, NaOH releases it (Fig. 2K/2L)."""
    metals = 0.1 * NCM
    found = chemistry.solve(0.1 * ratio - 0.2, 1.0, metals, 48.0)
    nickel = float(found.dissolved[0, 0])
    assert float(found.ph[0]) == pytest.approx(ph, abs=0.006)
    assert nickel * 58_693.0 == pytest.approx(ni_mg_l, rel=0.02)
    assert 1.0 - nickel / metals[0] == pytest.approx(precipitated, abs=0.006)


def test_constants_at_process_temperature() -> None:
    assert float(chemistry.pkw(25.0)) == pytest.approx(13.995, abs=5e-4)
    assert float(chemistry.pkw(48.0)) == pytest.approx(13.313, abs=5e-4)
    assert float(chemistry.pka_ammonium(25.0)) == pytest.approx(9.246, abs=5e-4)
    assert float(chemistry.pka_ammonium(48.0)) == pytest.approx(8.591, abs=5e-4)


def test_ph_falls_with_temperature() -> None:
    e = chemistry.e_star(11.2, 0.6, 48.0)
    ph = [float(chemistry.solve(e, 0.6, 2.0 * NCM, t).ph[0]) for t in (45.0, 51.0)]
    assert ph == pytest.approx([11.29, 11.11], abs=0.006)


def test_a_reading_at_25_degrees_is_taken_back_to_the_process() -> None:
    assert float(chemistry.ph_process(11.2, 48.0, "process")) == 11.2
    assert float(chemistry.ph_process(11.89, 48.0, "25C")) == pytest.approx(11.2)
    with pytest.raises(ValueError, match='"process" and "25C"'):
        chemistry.ph_process(11.2, 48.0, "20C")


def test_buffer_is_the_derivative_of_e_star() -> None:
    ph = np.linspace(10.4, 11.8, 15)
    h = 1e-4
    slope = (chemistry.e_star(ph + h, 0.6, 48.0) - chemistry.e_star(ph - h, 0.6, 48.0)) / (2 * h)
    assert chemistry.buffer(ph, 0.6, 48.0) == pytest.approx(slope, rel=1e-3)


def test_e_star_keeps_the_shape_of_its_arguments() -> None:
    assert chemistry.e_star(11.2, 0.6, 48.0).shape == ()
    ph = np.full((2, 3), 11.2)
    assert chemistry.e_star(ph, np.array([0.5, 0.6, 0.7]), 48.0).shape == (2, 3)


def test_a_metal_without_share_takes_no_part() -> None:
    none = chemistry.e_star(11.2, 0.6, 48.0, metal=MetalFractions(0.0, 0.0, 0.0))
    found = chemistry.solve(none, 0.6, np.zeros(3), 48.0)
    assert float(found.ph[0]) == pytest.approx(11.2, abs=1e-9)
    assert float(none) > float(chemistry.e_star(11.2, 0.6, 48.0))


@pytest.mark.parametrize(
    ("e", "n", "metals"),
    [(0.0, 0.0, [0.1, 0, 0]), (math.nan, 0.6, [0.1, 0, 0]), (0.0, 0.6, [-0.1, 0, 0])],
)
def test_a_composition_outside_the_model_is_refused(
    e: float, n: float, metals: list[float]
) -> None:
    with pytest.raises(ValueError, match="composition outside the model"):
        chemistry.solve(e, n, metals, 48.0)


def test_following_a_slow_state_needs_one_step() -> None:
    k = chemistry.constants(np.full(1, 48.0))
    metals, n = 2.0 * NCM[:, None], np.full(1, 0.6)
    state = chemistry.solve(0.0066, 0.6, 2.0 * NCM, 48.0)
    for e in np.linspace(0.0066, 0.0200, 200):
        state = chemistry.step(state, np.full(1, e), n, metals, k)
        exact = chemistry.solve(e, 0.6, 2.0 * NCM, 48.0)
        assert float(abs(state.ph - exact.ph)[0]) < 1e-3


# A second solver: plain scalar code, nested bisection, constants typed in again from the note.

_B = [
    [2.81, 5.08, 6.85, 8.12, 8.93, 9.08],
    [2.10, 3.67, 4.78, 5.53, 5.75, 5.14],
    [1.00, 1.54, 1.70, 1.30],
]
_K = [{1: 4.10, 2: 9.00, 3: 12.0}, {1: 4.30, 2: 9.20, 3: 10.5}, {1: 3.40, 3: 7.2}]
_PKSP, _DH, _DHS = [15.22, 14.89, 12.70], [-14.7, -13.0, -8.0], [15.7, 18.0, 14.6]


def _reference_ph(e: float, n: float, metals: list[float], temp_c: float) -> float:
    kelvin = temp_c + 273.15
    v = (1 / 298.15 - 1 / kelvin) / (2.302585092994046 * 8.314462618e-3)
    kw = 10.0 ** -(4470.99 / kelvin - 6.0875 + 0.01706 * kelvin)
    ka = 10.0 ** -(0.09018 + 2729.92 / kelvin)

    def metal(i: int, a: float, x: float) -> tuple[float, float]:
        """(charge, ammonia) carried by metal i."""
        beta = [10.0 ** (lb + (j + 1) * _DH[i] * v) * x ** (j + 1) for j, lb in enumerate(_B[i])]
        hydroxo = {k: 10.0**lk * a**k for k, lk in _K[i].items()}
        alpha = 1 + sum(beta) + sum(hydroxo.values())
        ksp = 10.0 ** (-_PKSP[i] + _DHS[i] * v)
        free = min(ksp / (0.20 * a * a), metals[i] / alpha)
        charge = 2 * (1 + sum(beta)) + sum((2 - k) * c for k, c in hydroxo.items())
        return free * charge, free * sum((j + 1) * b for j, b in enumerate(beta))

    def ammonia(a: float) -> float:
        low, high = math.log(n) - 60, math.log(n)
        for _ in range(70):
            x = math.exp(0.5 * (low + high))
            total = x + x * kw / (ka * a * 0.70) + sum(metal(i, a, x)[1] for i in range(3))
            low, high = (low, math.log(x)) if total > n else (math.log(x), high)
        return math.exp(0.5 * (low + high))

    low, high = -34.0, 4.0
    for _ in range(70):
        la = 0.5 * (low + high)
        a = math.exp(la)
        x = ammonia(a)
        charge = e + x * kw / (ka * a * 0.70) + kw / (a * 0.70) - a / 0.70
        charge += sum(metal(i, a, x)[0] for i in range(3))
        low, high = (la, high) if charge > 0 else (low, la)
    return (0.5 * (low + high) - math.log(kw)) / math.log(10.0)


@settings(max_examples=40, deadline=None)
@given(
    ratio=st.floats(0.0, 3.0),
    total=st.floats(0.001, 2.5),
    n=st.floats(0.05, 1.5),
    temp_c=st.floats(20.0, 60.0),
    nickel=st.floats(0.3, 0.98),
)
def test_newton_agrees_with_independent_bisection(
    ratio: float, total: float, n: float, temp_c: float, nickel: float
) -> None:
    metals = [total * nickel, total * (1 - nickel) * 0.7, total * (1 - nickel) * 0.3]
    e = total * (ratio - 2.0)
    found = float(chemistry.solve(e, n, np.array(metals), temp_c).ph[0])
    assert found == pytest.approx(_reference_ph(e, n, metals, temp_c), abs=1e-8)


def test_lanes_do_not_mix() -> None:
    """The same lane alone and among 40 others, some of which need the bisection."""
    rng = np.random.default_rng(4)
    total = rng.uniform(0.05, 2.0, 40)
    e = total * (rng.choice([0.0, 0.25, 1.9, 2.1], 40) - 2.0)
    metals = total * NCM[:, None]
    together = chemistry.solve(e, 0.6, metals, 48.0)
    for i in range(40):
        alone = chemistry.solve(e[i], 0.6, metals[:, i], 48.0)
        assert float(alone.ph[0]) == pytest.approx(float(together.ph[i]), abs=1e-10)
