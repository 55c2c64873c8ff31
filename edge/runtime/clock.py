"""Wall time as a parameter: the shell asks a Clock, never the operating system."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

DAY_S = 86_400.0


class Clock(Protocol):
    """Source of wall time. Monotonic time is always the event loop's."""

    def wall_s(self) -> float:
        """Epoch seconds UTC. May step backwards and forwards, as a plant's clock does."""


class SystemClock:
    """The clock of the operating system."""

    def wall_s(self) -> float:
        """Epoch seconds UTC."""
        return time.time()


class LoopClock:
    """Wall time that runs with the event loop: accelerated when the loop is."""

    def __init__(self, epoch_s: float) -> None:
        self._epoch_s = epoch_s
        self._start_s = asyncio.get_running_loop().time()

    def wall_s(self) -> float:
        """`epoch_s` plus the loop seconds since construction."""
        return self._epoch_s + asyncio.get_running_loop().time() - self._start_s

    def step(self, seconds: float) -> None:
        """Step the clock, as a bad time server or an operator does."""
        self._epoch_s += seconds
