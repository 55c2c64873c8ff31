"""The trim in closed loop through daemon, registers and PLC, beside the vectorised loop. Simulated.

A small part of bench/trim_daemon.py: what the figures of bench/trim_bench.py leave out must not
change what happens to the pH.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.trim_bench import DISTURBANCES
from bench.trim_daemon import line_of, through_the_daemon, vectorised

pytestmark = pytest.mark.system
Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
MINUTES = 14


def test_the_daemon_keeps_the_ph_as_the_vectorised_loop_does(
    tmp_path: Path, virtual: Virtual
) -> None:
    (stack,) = (d for d in DISTURBANCES if d.name == "stack of four")
    appliance = line_of(tmp_path)
    fast = vectorised(appliance, stack, 9000, MINUTES)
    real = virtual(through_the_daemon(appliance, stack, 9000, MINUTES))
    assert real.accepted == fast.accepted == 1
    # The same plant: what happens before the first acceptance is the same, whoever watches.
    ours, theirs = real.outcome.ph_error[:, 0], fast.outcome.ph_error[:, 0]
    assert ours[:10] == pytest.approx(theirs[:10], abs=0.002)
    assert np.abs(ours[9]) > 0.2
    # And the same correction, up to the noise of the instruments: NaOH rises alike.
    moved = [run.outcome.naoh_kg_h[-1, 0] - run.outcome.naoh_kg_h[9, 0] for run in (real, fast)]
    assert moved[0] > 10.0
    assert moved[0] == pytest.approx(moved[1], rel=0.25)
    assert ours == pytest.approx(theirs, abs=0.04)
