"""Peak memory and time of a training, streamed from the disk against held in memory.

    python bench/train_memory.py --batches 60 120 240
    python bench/train_memory.py --batches 60 120 --other ../before    # and another checkout

Batches of 18 h with the 51 tags of the shipped line, invented, in the shares of `simulate`; many
names for few files, so that a thousand batches need no disk. Each training runs in a process of its
own. The last column is the line through the last two sizes, carried on to 3,000 batches.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
SHARES = (
    ("source", "train", 24, 68),
    ("target", "train", 60, 34),
    ("target", "calibrate", 60, 34),
    ("target", "test", 40, 51),
)
"""Domain, split, normal and defective batches of `simulate`."""
WHOLE = 3000
CHILD = """
import dataclasses, hashlib, resource, sys, time
from pathlib import Path
import torch
from export.data.dataset import load_dataset
from export.learn.recipe import load_recipe
from export.learn.train import train
torch.set_num_threads(1)
recipe = load_recipe("ours")
recipe = dataclasses.replace(
    recipe, training=dataclasses.replace(recipe.training, iterations=int(sys.argv[2])))
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start, cpu = time.perf_counter(), time.process_time()
done = train(load_dataset(Path(sys.argv[1]) {keep}), recipe, quiet=True)
weights = hashlib.sha256()
for value in done.network.state_dict().values():
    weights.update(value.numpy().tobytes())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, base / 1024,
      time.perf_counter() - start, time.process_time() - cpu, weights.hexdigest()[:12])
"""


def make(folder: Path, count: int) -> None:
    """A dataset of `count` batches out of twelve files."""
    from export.data.dataset import INDEX, Batch, batch_file, save_batch, save_index
    from export.data.lines import line_spec, load_line

    line = line_spec(load_line(ROOT / "firmware_config", "ncm-1"), 60)
    steps, tags, draw = len(line.schedule_steps), len(line.tags), np.random.default_rng(1)
    files: dict[int, list[str]] = {0: [], 1: []}
    for number in range(12):
        level = number % 2
        path = draw.normal(0, 0.02, (steps, tags)).cumsum(0) + draw.normal(0, 0.3, tags)
        x = path[:, :, None] + draw.normal(0, 0.1, (steps, tags, 6))
        x[:, :3] += level
        some = Batch(
            features=x.astype(np.float32), valid=np.ones((steps, tags), np.float32),
            severity=np.full(steps, level, np.int8), domain="", split="train", group="",
        )  # fmt: skip
        save_batch(folder, number, some)
        (folder / batch_file(number)).rename(folder / f"kind-{number}.npz")
        files[level].append(f"kind-{number}.npz")
    rows, total = [], sum(a + b for _, _, a, b in SHARES)
    for domain, split, *classes in SHARES:
        for level, share in enumerate(classes):
            for k in range(max(2, round(count * share / total))):
                name = batch_file(len(rows))
                os.link(folder / files[level][k % 6], folder / name)
                rows.append({
                    "file": name, "domain": domain, "split": split, "group": name, "notes": {},
                    "fault": "x" if level else "", "first_step": 0, "expected": (),
                    "component": line.components[0] if level else "",
                })  # fmt: skip
    save_index(folder, rows, line=line, simulated=True, source="invented", sha256="0" * 64)
    assert (folder / INDEX).is_file()


def measure(data: Path, root: Path, keep: bool, iterations: int) -> tuple[list[float], str]:
    """([peak MB, MB before, seconds, processor seconds], hash of the weights)."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD.replace("{keep}", ", keep=True" if keep else ""),
         str(data), str(iterations)],
        cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    *figures, weights = done.stdout.split()
    return [float(v) for v in figures], weights


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[60, 120, 240])
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--other", type=Path, help="root of another checkout, as a third column")
    parser.add_argument("--ways", nargs="+", help="only these: streamed, memory, other")
    args = parser.parse_args()
    ways = {"streamed": (ROOT, False), "memory": (ROOT, True)}
    if args.other is not None:
        ways["other"] = (args.other.resolve(), False)
    ways = {way: where for way, where in ways.items() if way in (args.ways or ways)}
    peaks: dict[str, list[float]] = {way: [] for way in ways}
    print(f"{'batches':>8} {'way':<10} {'peak MB':>8} {'beside torch MB':>16} {'s':>7} {'cpu s':>7}"
          "  weights")  # fmt: skip
    for count in args.batches:
        with tempfile.TemporaryDirectory() as name:
            make(Path(name), count)
            for way, (root, keep) in ways.items():
                (peak, base, wall, cpu), weights = measure(Path(name), root, keep, args.iterations)
                peaks[way].append(peak)
                print(f"{count:>8} {way:<10} {peak:>8.0f} {peak - base:>16.0f} {wall:>7.1f}"
                      f" {cpu:>7.1f}  {weights}", flush=True)  # fmt: skip
    if len(args.batches) > 1:
        (a, b) = args.batches[-2:]
        for way, (*_, low, high) in peaks.items():
            slope = (high - low) / (b - a)
            print(f"{way}: {slope:.2f} MB for each further batch, {high + slope * (WHOLE - b):.0f} "
                  f"MB at {WHOLE}")  # fmt: skip


if __name__ == "__main__":
    main()
