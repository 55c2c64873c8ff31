"""The schedule on the digital twin as built, nobody trimming: does the pH stay in its band?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge.core.schedule import Schedule
from edge.twin import params, shifts
from edge.twin.model import Model, field, sample

BAND_PH = 0.25


def worst_ph(schedule: Schedule, progress: Callable[[float], None] = lambda share: None) -> float:
    """Largest |pH - set-point| of the bulk over the batch. Simulated; about 4 s.

    `progress` hears the share that is done, once per simulated hour.
    """
    recipe = sample(schedule)
    model = Model(shifts.stack([shifts.as_built()]), recipe, np.zeros(1))
    p = params.DEFAULTS[:, None].copy()
    worst = 0.0
    for k in range(recipe.steps):
        ph = float(model.step(p)[field("ph")][0, 0])
        worst = max(worst, abs(ph - float(recipe.ph_sp[k])))
        if k % 360 == 359:
            progress((k + 1) / recipe.steps)
    return worst
