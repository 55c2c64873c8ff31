"""Records of a made-up line, and a clock: what the tests of the history start with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge.runtime.store.records import BatchAt, Event, Minute, Step
from edge.runtime.store.store import Store

EPOCH_S = 1_780_000_000.0
TAGS = (("FIC-103.PV", "kg/h"), ("AIT-106A.PV", "pH"), ("PI-103.PV", "bar g"))
SIMULATED = "the line is a simulation or a replay"


class FixedClock:
    """Wall time that stands still until it is moved."""

    def __init__(self, now_s: float = EPOCH_S) -> None:
        self.now_s = now_s

    def wall_s(self) -> float:
        return self.now_s


def at(batch_id: int, minutes: float, state: str = "running") -> BatchAt:
    return BatchAt(batch_id=batch_id, minutes=minutes, state=state, simulation=SIMULATED,
                   model="ncm, serial 3, SHA-256 00", config_sha256="ab" * 32)  # fmt: skip


def minute(n: int, batch: BatchAt | None, *, line: str = "ncm-1", rows: int = 60) -> Minute:
    """Minute `n` after the epoch."""
    rng = np.random.default_rng(n)
    shape = (rows, len(TAGS))
    return Minute(
        line=line, batch=batch, tags=TAGS, times=EPOCH_S + 60.0 * n + np.arange(float(rows)),
        values=np.round(rng.normal(200, 1, shape), 2).astype(np.float32),
        quality=np.zeros(shape, np.uint8), reason=np.zeros(shape, np.uint8),
    )  # fmt: skip


def step(n: int, batch: BatchAt | None, severity: int | None = 0, *, line: str = "ncm-1") -> Step:
    """The verdict on minute `n`."""
    return Step(
        line=line, batch=batch, t_s=EPOCH_S + 60.0 * (n + 1), phase=1 + n // 51,
        probability=None if severity is None else 0.1 + 0.3 * severity, severity=severity,
        why="" if severity is not None else "warming up", drift=0.4, data_quality=1.0,
        demand=0.001 * n, cam=np.array([2.0, 0.5, -1.0], np.float32),
        deviation=np.array([3.0, 0.1, 0.0], np.float32),
        suspects=(("C03", "pipe", 0.8),) if severity else (),
    )  # fmt: skip


def event(n: int, kind: str = "condition", line: str = "ncm-1", /, **body: object) -> Event:
    return Event(t_s=EPOCH_S + 60.0 * n, line=line, kind=kind, body=body)


def store(
    directory: Path, clock: FixedClock | None = None, *, max_mb: float = 100.0, days: float = 400.0
) -> Store:
    return Store(directory, clock or FixedClock(), max_bytes=int(max_mb * 1e6),
                 max_age_s=days * 86_400.0)  # fmt: skip


def write_batch(
    put: Callable[[Minute | Step | Event], None], batch_id: int, first: int, minutes: int,
    *, severity: int = 0,
) -> None:  # fmt: skip
    """A batch of `minutes` that begins in minute `first`; `severity` from its middle on."""
    for n in range(minutes):
        here = at(batch_id, float(n))
        put(minute(first + n, here))
        put(step(first + n, here, severity if n >= minutes // 2 else 0))
    put(step(first + minutes, at(batch_id, float(minutes), "complete"), None))


async def kept(history: Store, about: dict[str, Any] | None = None) -> None:
    """Run the store until everything that waits is on disk."""
    task = asyncio.create_task(history.run(about))
    await history.opened.wait()
    await asyncio.sleep(1.0)  # virtual time waits for the worker
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    history.close()
