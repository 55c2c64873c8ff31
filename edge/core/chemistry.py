"""Speciation of the ammoniacal Ni/Co/Mn slurry and its inverse, E*(pH, N, T).

Everything is per litre of liquid, mol/L, and vectorised over lanes (batches computed side by side).
Unknowns: a, the hydroxide *activity*, and x = [NH3]. Totals: N (ammonia), M_i (metal i, dissolved
and solid) and E = [Na] - 2 [SO4], the excess base. Per metal the free ion is
f = min(Ksp / (gamma2 a^2), M / alpha), alpha = 1 + sum beta_n x^n + sum K_k a^k; then

    charge   E + [NH4] + [H] + sum f (2 (1 + sum beta_n x^n) + K1 a - K3 a^3) - a / gamma1 = 0
    ammonia  x + [NH4] + sum f sum n beta_n x^n = N

`solve` finds (a, x) from (E, N, M) by Newton on (ln a, ln x) with the analytic Jacobian; where
plain Newton does not settle (it can cycle while a metal just crosses saturation) it falls back to
nested bisection, which cannot fail because both inner functions are monotone. `e_star` is the
inverse with all solids present and needs no root search on pH.

Constants and golden values: process note sections 1.1 and 1.2. The two activity factors and a shift
of pKsp are the calibration knobs of a lab titration; +-1 unit in pKsp is the honest uncertainty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

METALS = ("Ni", "Co", "Mn")
METAL_G_MOL = np.array([58.693, 58.933, 54.938])
"""Molar mass of the metals, g/mol."""
HYDROXIDE_G_MOL = METAL_G_MOL + 34.015
"""Molar mass of M(OH)2, g/mol."""
NAOH_G_MOL = 39.997

GAMMA1 = 0.70
"""Activity factor of OH-, H+ and NH4+ at about 3 mol/L ionic strength."""
GAMMA2 = 0.20
"""Activity factor of M2+ inside Ksp."""
PH_PER_K = -0.030
"""Change of pH with temperature at constant composition, near 11.2 and 0.6 mol/L ammonia."""
TITRATION_C = 25.0
"""Temperature of a lab or temperature-compensated pH reading (`ph_reference = "25C"`)."""

_LOG_BETA = np.array(
    # M(NH3)n, n = 1..6; -inf: the complex does not exist
    [
        [2.81, 5.08, 6.85, 8.12, 8.93, 9.08],
        [2.10, 3.67, 4.78, 5.53, 5.75, 5.14],
        [1.00, 1.54, 1.70, 1.30, -np.inf, -np.inf],
    ]
)
_LOG_K_OH = np.array([[4.10, 9.00, 12.0], [4.30, 9.20, 10.5], [3.40, -np.inf, 7.2]])
_PKSP_25 = np.array([15.22, 14.89, 12.70])
_DH_NH3_J = np.array([-14_700.0, -13_000.0, -8_000.0])
_DH_DISSOLUTION_J = np.array([15_700.0, 18_000.0, 14_600.0])
_R_LN10 = 8.314462618 * np.log(10.0)
_LN10 = float(np.log(10.0))

_BETA = 10.0**_LOG_BETA
_ORDER = np.arange(1.0, 7.0)
# Horner coefficients of sum beta y^n, sum n beta y^n, sum n^2 beta y^n:
# [power, polynomial, metal, 1]
_POLY = np.stack([_BETA, _ORDER * _BETA, _ORDER**2 * _BETA]).transpose(2, 0, 1)[..., None].copy()
_K_OH = np.ascontiguousarray((10.0**_LOG_K_OH).T[..., None])  # [k, metal, 1]

_MAX_NEWTON = 30
_LN_STEP_MAX = 1.0
_SETTLED = 1e-6
_BISECTIONS = 60
_A_LOW, _A_HIGH = -34.0, 4.0  # ln a: pH -1.5 .. 15 at 48 °C
_TINY = 1e-300


class MetalFractions(NamedTuple):
    """Mole fractions of the metals in the solid; 0 means that this hydroxide is not present."""

    ni: float = 0.838
    co: float = 0.124
    mn: float = 0.038


NCM838 = MetalFractions()


def pkw(temp_c: npt.ArrayLike) -> Array:
    """-log10 of the ion product of water at `temp_c` °C (13.313 at 48 °C)."""
    kelvin = np.asarray(temp_c, np.float64) + 273.15
    return 4470.99 / kelvin - 6.0875 + 0.01706 * kelvin


def pka_ammonium(temp_c: npt.ArrayLike) -> Array:
    """-log10 of the acid constant of NH4+ at `temp_c` °C (8.591 at 48 °C)."""
    return 0.09018 + 2729.92 / (np.asarray(temp_c, np.float64) + 273.15)


def ph_process(ph_reading: npt.ArrayLike, temp_c: npt.ArrayLike, reference: str) -> Array:
    """pH at process temperature of a reading whose transmitter reports at `reference`.

    `reference` is "process" (the reading itself) or "25C": the same slurry reads about 0.7 higher
    at 25 °C than at 48 °C. Raises ValueError for another word.
    """
    reading = np.asarray(ph_reading, np.float64)
    if reference == "process":
        return reading
    if reference == "25C":
        return reading + PH_PER_K * (np.asarray(temp_c, np.float64) - TITRATION_C)
    raise ValueError(f'ph_reference "{reference}": permitted are "process" and "25C"')


@dataclass(frozen=True, slots=True)
class Constants:
    """Everything that depends on temperature, for one temperature per lane."""

    ln_kw: Array
    """[L]"""
    ammonium: Array
    """[L] Kw / (Ka gamma1): [NH4] = x * ammonium / a."""
    scale: Array
    """[3, L] factor on [NH3] that carries the temperature dependence of all beta of a metal."""
    saturation: Array
    """[3, L] Ksp / gamma2: free metal = saturation / a^2."""


def constants(temp_c: npt.ArrayLike, *, pksp_shift: float = 0.0) -> Constants:
    """Constants at `temp_c` °C (scalar or [L]); `pksp_shift` is the titration knob."""
    temp = np.atleast_1d(np.asarray(temp_c, np.float64))
    vant_hoff = (1.0 / 298.15 - 1.0 / (temp + 273.15)) / _R_LN10
    ln_kw = -_LN10 * pkw(temp)
    return Constants(
        ln_kw=ln_kw,
        ammonium=np.exp(ln_kw + _LN10 * pka_ammonium(temp)) / GAMMA1,
        scale=np.exp(_LN10 * _DH_NH3_J[:, None] * vant_hoff),
        saturation=np.exp(
            _LN10 * (_DH_DISSOLUTION_J[:, None] * vant_hoff - (_PKSP_25 + pksp_shift)[:, None])
        )
        / GAMMA2,
    )


def _ammines(y: Array) -> tuple[Array, Array, Array]:
    """(sum beta y^n, sum n beta y^n, sum n^2 beta y^n), each [3, L], for y[3, L]."""
    total = _POLY[5] * y
    for n in (4, 3, 2, 1, 0):
        total += _POLY[n]
        total *= y
    return total[0], total[1], total[2]


def _residuals(
    la: Array, lx: Array, e: Array, n: Array, metals: Array, k: Constants
) -> tuple[Array, Array, Array, Array, Array, Array, Array]:
    """Charge and ammonia residuals, their four derivatives, and the dissolved metal [3, L]."""
    a, x = np.exp(la), np.exp(lx)
    beta, n_beta, nn_beta = _ammines(x * k.scale)
    k1, k2, k3 = _K_OH[0] * a, _K_OH[1] * (a * a), _K_OH[2] * (a * a * a)
    alpha = beta + k1
    alpha += k2
    alpha += k3
    alpha += 1.0
    free = k.saturation / (a * a)
    all_dissolved = metals / alpha
    solid = free < all_dissolved
    free = np.where(solid, free, all_dissolved)
    slope_a = np.where(solid, -2.0, -(k1 + 2.0 * k2 + 3.0 * k3) / alpha)
    slope_x = np.where(solid, 0.0, -n_beta / alpha)
    ligand = free * n_beta
    charge = 2.0 * beta + 2.0 + k1 - k3
    nh4 = x * k.ammonium / a
    h = np.exp(k.ln_kw - la) / GAMMA1
    oh = a / GAMMA1
    f1 = e + nh4 + h + (free * charge).sum(0) - oh
    f2 = x + nh4 + ligand.sum(0) - n
    f1a = (free * (slope_a * charge + k1 - 3.0 * k3)).sum(0) - nh4 - h - oh
    f1x = (free * slope_x * charge + 2.0 * ligand).sum(0) + nh4
    f2a = (ligand * slope_a).sum(0) - nh4
    f2x = (ligand * slope_x + free * nn_beta).sum(0) + x + nh4
    return f1, f2, f1a, f1x, f2a, f2x, free * alpha


@dataclass(frozen=True, slots=True)
class Speciation:
    """Equilibrium of each lane."""

    ln_a: Array
    """[L] ln of the hydroxide activity."""
    ln_x: Array
    """[L] ln of [NH3]."""
    ph: Array
    """[L]"""
    dissolved: Array
    """[3, L] dissolved Ni, Co, Mn, mol/L."""


def _newton(
    la: Array, lx: Array, e: Array, n: Array, metals: Array, k: Constants
) -> tuple[Array, Array, Array, Array]:
    """One clipped Newton step: new (ln a, ln x), largest step per lane, dissolved metal before."""
    f1, f2, f1a, f1x, f2a, f2x, dissolved = _residuals(la, lx, e, n, metals, k)
    determinant = f1a * f2x - f1x * f2a
    step_a = (f1x * f2 - f2x * f1) / determinant
    step_x = (f2a * f1 - f1a * f2) / determinant
    size = np.maximum(np.abs(step_a), np.abs(step_x))
    shrink = _LN_STEP_MAX / np.maximum(size, _LN_STEP_MAX)
    return la + step_a * shrink, lx + step_x * shrink, size, dissolved


def step(
    guess: Speciation,
    e: Array,
    n: Array,
    metals: Array,
    k: Constants,
    *,
    tolerance: float = 0.02,
) -> Speciation:
    """Follow a slowly moving state: one Newton step from `guess`, more only if it was not small.

    With 10 s of plant time between calls one step leaves less than 1.4e-3 in ln a. Arguments as for
    `solve`, already arrays; `dissolved` is that of the last point visited.
    """
    la, lx, size, dissolved = _newton(guess.ln_a, guess.ln_x, e, n, metals, k)
    if not float(size.max()) <= tolerance:
        # Only the lanes that moved: a lane's numbers must not depend on its neighbours.
        lost = ~(size <= tolerance)
        some = _lanes(k, lost)
        settled = _settle(
            guess.ln_a[lost], guess.ln_x[lost], e[lost], n[lost], metals[:, lost], some
        )
        la[lost], lx[lost] = settled.ln_a, settled.ln_x
        dissolved[:, lost] = settled.dissolved
    return Speciation(la, lx, (la - k.ln_kw) / _LN10, dissolved)


def solve(
    e: npt.ArrayLike,
    n: npt.ArrayLike,
    metals: npt.ArrayLike,
    temp_c: npt.ArrayLike,
    *,
    guess: Speciation | None = None,
    pksp_shift: float = 0.0,
) -> Speciation:
    """Equilibrium of slurries of given composition.

    Args:
        e: excess base [Na] - 2 [SO4], mol/L, scalar or [L].
        n: total ammonia, mol/L, > 0, scalar or [L].
        metals: total Ni, Co, Mn (dissolved and solid), mol/L, >= 0, [3] or [3, L].
        temp_c: °C, scalar or [L].
        guess: warm start of the same lanes.
        pksp_shift: added to every pKsp.

    Raises:
        ValueError: a total is not finite, or negative where it must not be.
    """
    m = np.asarray(metals, np.float64)
    if m.ndim == 1:
        m = m[:, None]
    e_, n_, t_, _ = np.broadcast_arrays(
        np.asarray(e, np.float64), np.asarray(n, np.float64), np.asarray(temp_c, np.float64), m[0]
    )
    m = np.broadcast_to(m, (3, *e_.shape))
    finite = np.isfinite(e_).all() and np.isfinite(t_).all() and np.isfinite(m).all()
    if not finite or not (n_ > 0.0).all() or not np.isfinite(n_).all() or (m < 0.0).any():
        raise ValueError(
            "composition outside the model: e and temperature must be finite, ammonia above 0 "
            f"(least given {float(np.min(n_)):g} mol/L), metals at least 0 (least given "
            f"{float(np.min(m)):g} mol/L)"
        )
    k = constants(t_, pksp_shift=pksp_shift)
    if guess is None:
        la = np.full(e_.shape, -4.8)
        lx = np.log(n_)
    else:
        la, lx = guess.ln_a, guess.ln_x
    return _settle(la, lx, e_, n_, m, k)


def _settle(la: Array, lx: Array, e: Array, n: Array, metals: Array, k: Constants) -> Speciation:
    size = np.full(la.shape, np.inf)
    for _ in range(_MAX_NEWTON):
        with np.errstate(all="ignore"):  # a wild step is caught below, by bisection
            la_new, lx_new, size_new, _ = _newton(la, lx, e, n, metals, k)
        moving = ~(size <= 1e-13)  # a settled lane stays as it is, whatever its neighbours need
        la, lx = np.where(moving, la_new, la), np.where(moving, lx_new, lx)
        size = np.where(moving, size_new, size)
        size = np.where(np.abs(la) < 60.0, size, np.inf)
        if not moving.any():
            break
    lost = ~(size <= _SETTLED)
    if lost.any():
        some = _lanes(k, lost)
        la, lx = la.copy(), lx.copy()
        la[lost], lx[lost] = _bisect(e[lost], n[lost], metals[:, lost], some)
    dissolved = _residuals(la, lx, e, n, metals, k)[-1]
    return Speciation(la, lx, (la - k.ln_kw) / _LN10, dissolved)


def _lanes(k: Constants, which: npt.NDArray[np.bool_]) -> Constants:
    return Constants(k.ln_kw[which], k.ammonium[which], k.scale[:, which], k.saturation[:, which])


def _bisect(e: Array, n: Array, metals: Array, k: Constants) -> tuple[Array, Array]:
    """(ln a, ln x) by bisection on ln a around bisection on ln x; cannot fail, 100 times slower."""
    low, high = np.full(e.shape, _A_LOW), np.full(e.shape, _A_HIGH)
    lx = np.log(n)
    for _ in range(_BISECTIONS):
        la = 0.5 * (low + high)
        x_low, x_high = np.log(n) - 60.0, np.log(n)
        for _ in range(_BISECTIONS):
            lx = 0.5 * (x_low + x_high)
            surplus = _residuals(la, lx, e, n, metals, k)[1] > 0.0
            x_high = np.where(surplus, lx, x_high)
            x_low = np.where(surplus, x_low, lx)
        positive = _residuals(la, lx, e, n, metals, k)[0] > 0.0  # too few hydroxide ions
        low = np.where(positive, la, low)
        high = np.where(positive, high, la)
    return 0.5 * (low + high), lx


def _inverse(
    ph: npt.ArrayLike, ammonia_mol_l: npt.ArrayLike, temp_c: npt.ArrayLike, metal: MetalFractions
) -> tuple[Array, Array]:
    """(E, dE/dpH at constant N) of slurries with the solids in `metal` present."""
    p, n, t = np.broadcast_arrays(
        np.asarray(ph, np.float64),
        np.asarray(ammonia_mol_l, np.float64),
        np.asarray(temp_c, np.float64),
    )
    shape = p.shape
    k = constants(t.reshape(-1))
    la = p.reshape(-1) * _LN10 + k.ln_kw
    total = np.maximum(n.reshape(-1), _TINY)
    a = np.exp(la)
    present = (np.asarray(metal) > 0.0)[:, None]
    free = np.where(present, k.saturation / (a * a), 0.0)
    # N grows with x like x^1 .. x^6: Newton on ln N over ln x lands in a fixed number of steps.
    lx = np.log(total) - np.log1p(k.ammonium / a)
    for _ in range(_INVERSE_STEPS):
        x = np.exp(lx)
        _, n_beta, nn_beta = _ammines(x * k.scale)
        bound = x * (1.0 + k.ammonium / a)
        have = bound + (free * n_beta).sum(0)
        slope = bound + (free * nn_beta).sum(0)
        lx = lx - np.log(have / total) * have / slope
    x = np.exp(lx)
    beta, n_beta, nn_beta = _ammines(x * k.scale)
    k1, k3 = _K_OH[0] * a, _K_OH[2] * a**3
    nh4, h, oh = x * k.ammonium / a, np.exp(k.ln_kw - la) / GAMMA1, a / GAMMA1
    charge = 2.0 * beta + 2.0 + k1 - k3
    e = oh - nh4 - h - (free * charge).sum(0)
    e_a = oh + nh4 + h - (free * (-2.0 * charge + k1 - 3.0 * k3)).sum(0)
    e_x = -nh4 - (free * 2.0 * n_beta).sum(0)
    n_a = -nh4 - 2.0 * (free * n_beta).sum(0)
    n_x = x + nh4 + (free * nn_beta).sum(0)
    slope_ph = _LN10 * (e_a - e_x * n_a / n_x)
    return e.reshape(shape), slope_ph.reshape(shape)


_INVERSE_STEPS = 5
"""Three leave 3e-5 mol/L of E* at pH 10.5 and 1 mol/L ammonia; five are exact to rounding."""


def e_star(
    ph: npt.ArrayLike,
    ammonia_mol_l: npt.ArrayLike,
    temp_c: npt.ArrayLike,
    *,
    metal: MetalFractions = NCM838,
) -> Array:
    """Excess base E*, mol/L, that holds pH `ph` at total ammonia `ammonia_mol_l` and `temp_c` °C.

    All hydroxides with a share in `metal` are present as solids, so that their amounts do not
    matter. Five fixed iterations, no root search. Arguments broadcast; golden values in process
    note section 1.2 (6.59 mmol/L at pH 11.2, 0.6 mol/L, 48 °C).
    """
    return _inverse(ph, ammonia_mol_l, temp_c, metal)[0]


def buffer(ph: npt.ArrayLike, ammonia_mol_l: npt.ArrayLike, temp_c: npt.ArrayLike) -> Array:
    """Buffer capacity dE*/dpH at constant ammonia, mol/L per pH; arguments as for `e_star`."""
    return _inverse(ph, ammonia_mol_l, temp_c, NCM838)[1]
