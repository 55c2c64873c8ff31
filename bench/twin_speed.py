"""Cost of the digital twin, in CPU seconds and relative to plain numpy work timed in the same run.

    python bench/twin_speed.py [--lanes 1 16 64 256]

Three jobs: the chemistry alone (balances and speciation, 6480 steps of 10 s = one 18 h batch), the
whole line at 10 s, and 1 Hz rows of 51 tags. The baseline is the same number of steps doing nothing
but 100 additions of arrays of the same length: it stands for numpy on this machine, so that two
machines (or a busy and a quiet hour) can be compared by the ratio.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from edge.core.schedule import reference_schedule
from edge.twin import shifts
from edge.twin.model import NAOH_MOL_KG, NH3_MOL_KG, Model, sample
from edge.twin.plant import LivePlant
from edge.twin.reactor import Reactor
from edge.twin.scenario import Scenario
from edge.twin.simulate import batches, course_of, parameters

BASELINE_ADDITIONS = 100


def cpu_s(job: Callable[[], object]) -> float:
    """CPU seconds of this process spent in `job`."""
    start = time.process_time()
    job()
    return time.process_time() - start


def baseline(lanes: int, steps: int) -> None:
    """`steps` times 100 additions of float64[lanes]."""
    a, b = np.ones(lanes), np.ones(lanes)
    for _ in range(steps * BASELINE_ADDITIONS):
        np.add(a, b)


def chemistry(lanes: int, steps: int) -> None:
    """One batch of balances and speciation with the reference flows."""
    recipe = sample(reference_schedule())
    one = np.ones(lanes)
    reactor = Reactor(3.0 * one, 11.2 * one, 0.6 * one, 48.0 * one)
    fractions = np.array([0.838, 0.124, 0.038])[:, None]
    for k in range(steps):
        core, shell, naoh, nh4oh = recipe.flows[k] / 3600.0
        metals = (core + shell) * 2000.0 / 1285.0
        inflow = np.empty((5, lanes))
        inflow[0] = NAOH_MOL_KG * naoh - 2.0 * metals
        inflow[1] = NH3_MOL_KG * nh4oh
        inflow[2:] = metals * fractions
        volume = (core + shell) / 1285.0 + naoh / 1492.0 + nh4oh / 910.0
        reactor.step(10.0, inflow, volume * one, (core + shell + naoh + nh4oh) * one, 48.0 * one)


def line(lanes: int, steps: int) -> None:
    """The whole line at 10 s, closed loop, no rows."""
    recipe = sample(reference_schedule())
    scenarios = [Scenario(seed, severity=seed % 4) for seed in range(lanes)]
    model = Model(shifts.stack([shifts.draw(s) for s in scenarios]), recipe, np.ones(lanes))
    courses = [course_of(s, recipe.steps) for s in scenarios]
    for first in range(0, steps, 60):
        p = parameters(courses, first, min(first + 60, steps))
        for row in p:
            model.step(row)


def rows(count: int) -> None:
    """Whole batches at 1 Hz."""
    for _ in batches([Scenario(seed) for seed in range(count)]):
        pass


def live(seconds: int) -> None:
    """One live plant."""
    plant = LivePlant(Scenario(1), reference_schedule())
    for _ in range(seconds):
        plant.second(0.0, False)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 16, 64, 256])
    lanes_list = parser.parse_args().lanes
    steps = 6480
    print(f"{'job':32} {'lanes':>5} {'CPU s':>8} {'ms/batch':>9} {'x baseline':>10}")
    for lanes in lanes_list:
        base_s = cpu_s(lambda lanes=lanes: baseline(lanes, steps))  # type: ignore[misc]
        for name, job in (("chemistry 18 h at 10 s", chemistry), ("whole line 18 h at 10 s", line)):
            spent_s = cpu_s(lambda job=job, lanes=lanes: job(lanes, steps))  # type: ignore[misc]
            print(
                f"{name:32} {lanes:5d} {spent_s:8.2f} {1e3 * spent_s / lanes:9.1f} "
                f"{spent_s / base_s:10.2f}"
            )
    base_s = cpu_s(lambda: baseline(1, steps))
    spent_s = cpu_s(lambda: rows(8))
    print(
        f"{'batches of 64,800 x 51':32} {8:5d} {spent_s:8.2f} {1e3 * spent_s / 8:9.1f} "
        f"{spent_s / base_s:10.2f}"
    )
    spent_s = cpu_s(lambda: live(7200))
    print(f"live plant: {1e3 * spent_s / 7200:.3f} ms per plant second")


if __name__ == "__main__":
    main()
