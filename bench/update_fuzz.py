"""A million spoilt update files, none accepted, none that ends in anything but a refusal.

    python bench/update_fuzz.py [--count N] [--seed S] [--jobs J] [--findings DIR]

Each goes through the whole reading side of the installer (`ncm-edge update inspect`): container,
keys, manifest, order, site and the hashes of the files. Kinds of mutation: tests/update/fuzz.py.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from edge.update import trust
from tests.update.fuzz import BY_A_HOLDER, KINDS, Material, spoilt, tried
from tests.update.site import Appliance

SHARED = Path("/dev/shm")
BATCH = 2000


@dataclass
class Tally:
    """What became of a stretch of the sequence."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: list[tuple[str, bytes]] = field(default_factory=list)
    """What was found, and the file that shows it."""
    slowest_s: float = 0.0
    slowest: int = 0

    def add(self, other: Tally) -> None:
        """Put another stretch to this one."""
        self.outcomes += other.outcomes
        self.findings += other.findings
        if other.slowest_s > self.slowest_s:
            self.slowest_s, self.slowest = other.slowest_s, other.slowest


class Bench:
    """An appliance in front of which the files are put; one for each process."""

    def __init__(self, material: Material, folder: Path, seed: int) -> None:
        self.material, self.seed = material, seed
        self.appliance = Appliance(state=folder / "state", pinned=material.pinned)
        self.stick = folder / "x.ncm"
        # The pinned root is the appliance's own and never spoilt: one look at it is half the time.
        trust.pin = functools.cache(trust.pin)
        for good in material.valid:  # that the good ones are taken, and all stands ready
            if tried(self.appliance, self.stick, good) != "accepted":
                raise SystemExit("the untouched update file is refused: nothing is tested")

    def stretch(self, first: int, count: int) -> Tally:
        """Put `count` files in front of it."""
        tally = Tally()
        for number in range(first, first + count):
            one = spoilt(self.material, self.seed, number)
            started = time.perf_counter()
            try:
                outcome = tried(self.appliance, self.stick, one.data)
            except Exception:
                outcome = "crash"
                told = f"number {number}, {one.kind}:\n{traceback.format_exc()}"
                tally.findings.append((told, one.data))
            took = time.perf_counter() - started
            if took > tally.slowest_s:
                tally.slowest_s, tally.slowest = took, number
            if outcome == "accepted" and one.kind not in BY_A_HOLDER:
                tally.findings.append((f"number {number}, {one.kind}: accepted", one.data))
            tally.outcomes[one.kind, outcome] += 1
        return tally


_bench: list[Bench] = []


def _start(keys: Path, seed: int) -> None:
    folder = Path(tempfile.mkdtemp(dir=keys.parent))
    _bench.append(Bench(_material[0], folder, seed))


def _work(first_count: tuple[int, int]) -> Tally:
    return _bench[0].stretch(*first_count)


_material: list[Material] = []


def report(tally: Tally) -> None:
    """Print the table."""
    for kind in KINDS:
        found = {name: n for (k, name), n in tally.outcomes.items() if k == kind}
        most = sorted(found.items(), key=lambda item: -item[1])
        names = ", ".join(f"{name} {n}" for name, n in most)
        print(f"  {kind:30s} {sum(found.values()):8d}  {names}")


def keep(folder: Path, place: int, told: str, data: bytes) -> None:
    """Write down at once what was found: the run may be long."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{place}.ncm").write_bytes(data)
    shutil.copy(_material[0].pinned, folder / "root.json")
    print(f"\n{folder / str(place)}.ncm: {told}", file=sys.stderr)


def main() -> int:
    """Run and print; exit code 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--findings", type=Path, default=Path("build/update_fuzz"),
                        help="where the files that were not refused are kept")  # fmt: skip
    args = parser.parse_args()
    shared = SHARED if SHARED.is_dir() else None
    with tempfile.TemporaryDirectory(dir=shared) as name:
        _material.append(Material(Path(name)))
        tasks = [(n, min(BATCH, args.count - n)) for n in range(0, args.count, BATCH)]
        total, done, started = Tally(), 0, time.monotonic()
        # fork: the material, keys included, is the same in every process.
        with multiprocessing.get_context("fork").Pool(
            args.jobs, _start, (Path(name) / "keys", args.seed)
        ) as pool:
            for tally in pool.imap_unordered(_work, tasks):
                for told, data in tally.findings:
                    keep(args.findings, len(total.findings), told, data)
                total.add(tally)
                done += sum(tally.outcomes.values())
                found = f"{len(total.findings)} findings"
                print(f"\r{done} of {args.count}, {found}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        took = time.monotonic() - started
    wrong = sum(n for (kind, name), n in total.outcomes.items()
                if name == "accepted" and kind not in BY_A_HOLDER)  # fmt: skip
    crashes = sum(n for (_, name), n in total.outcomes.items() if name == "crash")
    print(f"{done} files, seed {args.seed}: {wrong} accepted, {crashes} crashes; {took:.0f} s, "
          f"slowest {total.slowest_s * 1e3:.0f} ms (number {total.slowest})")  # fmt: skip
    report(total)
    return int(bool(total.findings))


if __name__ == "__main__":
    raise SystemExit(main())
