"""What every batch has, healthy or not: loose scale, air bubbles, pumps that wander or hunt.

Without it a single flake would give a corroding line away at D-3. How often it happens differs much
from batch to batch (log-normal), so that counting events does not separate D-3 from normal either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge.twin import params
from edge.twin.course import DIP, FLAKE, SPIKE, Course

if TYPE_CHECKING:
    from edge.twin.scenario import Scenario

_PER_HOUR = (
    # kind, feed, median per hour
    (FLAKE, 2, 1.0),
    (SPIKE, 0, 0.6),
    (DIP, 0, 0.25),
    (DIP, 1, 0.25),
    (DIP, 2, 0.15),
    (DIP, 3, 0.25),
)
_SPREAD = 1.0
"""Standard deviation of the logarithm of a rate, from batch to batch."""
_HUNTS_PER_HOUR = 0.35
_HUNT_SIZE = 0.007
_WANDER_MIN = 12.0
"""Minutes over which a pump's delivery per revolution wanders."""
_WANDER = (0.003, 0.003, 0.003, 0.004, 0.006)
"""Standard deviation of that wander: four feeds, return pump."""


def apply(scenario: Scenario, course: Course) -> None:
    """Add the ordinary events of this batch to `course`."""
    rng = np.random.default_rng([scenario.seed, 8])
    hours = course.seconds / 3600.0
    for kind, feed, median in _PER_HOUR:
        rate = median * np.exp(rng.normal(0.0, _SPREAD))
        for at in rng.integers(course.seconds, size=int(rng.poisson(rate * hours))):
            course.pulse(kind, feed, int(at), rng)
    rate = _HUNTS_PER_HOUR * np.exp(rng.normal(0.0, _SPREAD))
    size = _HUNT_SIZE * np.exp(rng.normal(0.0, 0.4))
    for at in rng.integers(course.seconds, size=int(rng.poisson(rate * hours))):
        course.hunt(int(at), float(size), rng)
    minutes = course.seconds / 60.0
    knots = np.arange(0.0, minutes + _WANDER_MIN, _WANDER_MIN)
    step_min = np.arange(course.steps) * (minutes / course.steps)
    for pump, median in enumerate(_WANDER):
        size = median * float(np.exp(rng.normal(0.0, _SPREAD)))
        wander = np.interp(step_min, knots, rng.normal(0.0, size, len(knots)))
        course.tracks.append((params.row("kg_rev", pump), wander))
