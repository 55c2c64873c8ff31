"""How well does the best single tag tell a defective twin batch from a healthy one? Simulated data.

    python bench/twin_gates.py [--pairs 128] [--severity 1] [--seed 200000] [--faults F01 F02 ...]

Gate of the fault library: at severity 1 no single-tag feature (mean, standard deviation or slope
per minute, averaged over the batch) reaches an AUC of 0.75. Healthy and defective batches have the
same seeds. A range of seeds that once served to choose a spread proves nothing: take a fresh one.
The error is the bootstrap standard deviation over pairs of the feature that came out worst.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt

from edge.twin.faults import FAULTS
from edge.twin.scenario import Domain, Scenario
from edge.twin.simulate import batches
from edge.twin.tag_table import TAGS

Array = npt.NDArray[np.float32]
NAMES = ("mean", "std", "slope")
_T = (np.arange(60) - 29.5).astype(np.float32)


def features(values: Array) -> Array:
    """[51, 3] of one batch [rows, 51]."""
    minutes = values.reshape(-1, 60, len(TAGS))
    mean = minutes.mean(axis=1)
    slope = np.einsum("mrp,r->mp", minutes - mean[:, None], _T)
    return np.stack([mean.mean(0), minutes.std(axis=1).mean(0), slope.mean(0)], axis=1)


def auc(low: Array, high: Array) -> float:
    """Probability that two batches are told apart by their order, 0.5..1."""
    wins = (high[:, None] > low[None]).mean() + 0.5 * (high[:, None] == low[None]).mean()
    return float(max(wins, 1.0 - wins))


def table(seeds: range, fault: str | None, severity: int, domain: Domain) -> Array:
    """[pairs, 51, 3] features of one class."""
    scenarios = [Scenario(s, fault, severity, domain) for s in seeds]
    return np.stack([features(batch.values) for batch in batches(scenarios)])


def main() -> None:
    """Print the worst three features of every fault."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=128)
    parser.add_argument("--severity", type=int, default=1)
    parser.add_argument("--seed", type=int, default=200_000)
    parser.add_argument("--domain", choices=("source", "target"), default="source")
    parser.add_argument("--faults", nargs="+", default=list(FAULTS))
    args = parser.parse_args()
    seeds = range(args.seed, args.seed + args.pairs)
    healthy = table(seeds, None, 0, args.domain)
    rng = np.random.default_rng(0)
    print(f"simulated, {args.pairs} pairs, severity {args.severity}, {args.domain} domain")
    for code in args.faults:
        bad = table(seeds, code, args.severity, args.domain)
        score = {
            (i, f): auc(healthy[:, i, f], bad[:, i, f])
            for i in range(len(TAGS))
            for f in range(len(NAMES))
        }
        best = sorted(score, key=lambda key: -score[key])[:3]
        i, f = best[0]
        draws = []
        for _ in range(100):
            pick = rng.integers(args.pairs, size=args.pairs)
            draws.append(auc(healthy[pick, i, f], bad[pick, i, f]))
        shown = "  ".join(f"{TAGS[i].name} {NAMES[f]} {score[i, f]:.3f}" for i, f in best)
        print(f"{code} +-{np.std(draws):.3f}  {shown}", flush=True)


if __name__ == "__main__":
    main()
