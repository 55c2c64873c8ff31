"""A million random slurries through the speciation: does any fail, and how exactly is it balanced?

    python bench/speciation.py [--states 1000000] [--seed 1]

E, ammonia and metals over decades (a metal is absent in a third of the states), 5..90 °C. A state
fails when the result is not finite or a balance is off by more than 1e-6 of its largest term.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import numpy.typing as npt

from edge.core import chemistry

Array = npt.NDArray[np.float64]
LIMIT = 1e-6
CHUNK = 20_000


def states(rng: np.random.Generator, count: int) -> tuple[Array, Array, Array, Array]:
    """Random (E, ammonia, metals [3, count], °C), mol/L."""
    n = 10.0 ** rng.uniform(-3.0, 0.6, count)
    metals = 10.0 ** rng.uniform(-6.0, 0.6, (3, count))
    metals *= rng.random((3, count)) > 0.33
    # From no base at all to a large surplus, and around the point where metals cross saturation.
    e = metals.sum(0) * rng.uniform(-2.0, 2.0, count) + rng.normal(0.0, 0.1, count)
    return e, n, metals, rng.uniform(5.0, 90.0, count)


def worst_balance(
    found: chemistry.Speciation, e: Array, n: Array, metals: Array, temp_c: Array
) -> float:
    """Largest residual of charge and ammonia as a share of the largest term; inf if not finite.

    Written out once more, term by term, so that an error of the solver's own sums would show.
    """
    k = chemistry.constants(temp_c)
    a, x = np.exp(found.ln_a), np.exp(found.ln_x)
    order = np.arange(1, 7)[:, None, None]
    beta = 10.0 ** chemistry._LOG_BETA.T[:, :, None] * (x * k.scale) ** order
    hydroxo = 10.0 ** chemistry._LOG_K_OH.T[:, :, None] * a ** np.arange(1, 4)[:, None, None]
    alpha = 1.0 + beta.sum(0) + hydroxo.sum(0)
    free = np.minimum(k.saturation / a**2, metals / alpha)
    nh4, h = x * k.ammonium / a, np.exp(k.ln_kw) / a / chemistry.GAMMA1
    carried = free * (2.0 * (1.0 + beta.sum(0)) + hydroxo[0] - hydroxo[2])
    charge = np.stack([e, nh4, h, carried.sum(0), -a / chemistry.GAMMA1])
    ammonia = np.stack([x, nh4, (free * (order * beta).sum(0)).sum(0), -n])
    shares = [np.abs(t.sum(0)) / np.abs(t).max(0) for t in (charge, ammonia)]
    worst = float(np.max(shares))
    return worst if np.isfinite(found.dissolved).all() and np.isfinite(worst) else np.inf


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--states", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    bisected, plain = [0], chemistry._bisect

    def counted(*given: Array) -> tuple[Array, Array]:
        bisected[0] += len(given[0])
        return plain(*given)  # type: ignore[arg-type]

    chemistry._bisect = counted  # type: ignore[assignment]
    worst, failed, began = 0.0, 0, time.perf_counter()
    for done in range(0, args.states, CHUNK):
        given = states(rng, min(CHUNK, args.states - done))
        off = worst_balance(chemistry.solve(*given), *given)
        worst, failed = max(worst, off), failed + (off > LIMIT)
    seconds = time.perf_counter() - began
    print(f"{args.states:,} random states in {seconds:.0f} s: {bisected[0]:,} by bisection")
    print(f"largest residual {worst:.1e} of the largest term; chunks over {LIMIT:g}: {failed}")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
