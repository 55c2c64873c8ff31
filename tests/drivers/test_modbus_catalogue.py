"""The fault catalogue: our driver through every entry, bare pymodbus beside it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.drivers.catalogue_modbus import BLOCKS, TIMEOUT_S, Bare, Ours, Played, matches, play
from tests.drivers.faults_modbus import FAULTS
from tests.drivers.plc import Virtual

BOUND_S = TIMEOUT_S * 2 + 0.01
"""One poll of ours: at most one time-out for each of the two units."""
BARE_BOUND_S = 4 * TIMEOUT_S * len(BLOCKS) + 0.01
"""What the settings of bare pymodbus promise: four tries for every request."""
BY_NAME = {fault.name: fault for fault in FAULTS}


@pytest.mark.parametrize("name", BY_NAME)
def test_our_driver(name: str, virtual: Virtual, free_port: Callable[[], int]) -> None:
    fault = BY_NAME[name]
    done: Played = virtual(play(fault, Ours(), free_port()))
    assert not done.failures(BOUND_S), done
    assert matches(fault, done), done
    assert not done.hit_spared, done
    assert done.back_s is not None
    assert done.back_s <= fault.back_s, done


def test_bare_pymodbus_fails_at_least_five(virtual: Virtual, free_port: Callable[[], int]) -> None:
    """The guard is needed. When an upgrade makes this fail, look which of it can go."""
    found = {f.name: virtual(play(f, Bare(), free_port())).failures(BARE_BOUND_S) for f in FAULTS}
    failed = {name: why for name, why in found.items() if why}
    assert len(failed) >= 5, failed
    assert sum("WRONG" in w or "success" in w for why in failed.values() for w in why) >= 3, failed
