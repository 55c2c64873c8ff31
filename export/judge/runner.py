"""Jobs in processes of their own, with limits of time and memory; results in the order they end.

A job that crashes, runs out of time or out of memory becomes an Outcome with the reason; the
others go on.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from export.judge import worker
from export.judge.task import Fold
from export.judge.worker import Outcome, Terms

POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One fit."""

    key: tuple[Any, ...]
    make_fold: Callable[[], Fold]
    """Called when the job starts, so that only the folds of running jobs are in memory."""
    method: str
    seed: int
    terms: Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one job may use."""

    seconds: float = 240.0
    gib: float = 8.0


@dataclass(slots=True)
class _Running:
    job: Job
    process: Any
    pipe: Connection
    started: float


def run_jobs(
    jobs: Iterable[Job], count: int, limits: Limits, target: Any = worker.run
) -> Iterator[tuple[Job, Outcome]]:
    """Yield (job, outcome) as they end, `count` at a time. A closed iterator ends its processes."""
    context = _server()
    waiting = iter(jobs)
    running: list[_Running] = []
    exhausted = False
    try:
        while True:
            while not exhausted and len(running) < count:
                job = next(waiting, None)
                if job is None:
                    exhausted = True
                else:
                    running.append(_start(context, job, target))
            if not running:
                return
            ended = _ended(running, limits)
            for one, outcome in ended:
                running.remove(one)
                yield one.job, outcome
    finally:
        for one in running:
            _end(one)


def _server() -> Any:
    """Children are forked from a small process that has the libraries loaded and no threads."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["export.judge.preloaded"])
    return context


def _start(context: Any, job: Job, target: Any) -> _Running:
    fold = job.make_fold()
    receive, send = context.Pipe(duplex=False)
    process = context.Process(
        target=target, args=(send, fold, job.method, job.seed, job.terms), daemon=True
    )
    process.start()
    send.close()
    return _Running(job, process, receive, time.monotonic())


def _ended(running: list[_Running], limits: Limits) -> list[tuple[_Running, Outcome]]:
    ready = wait([one.pipe for one in running], timeout=POLL_S)
    out = []
    for one in running:
        if one.pipe in ready:
            out.append((one, _receive(one)))
        elif time.monotonic() - one.started > limits.seconds:
            _end(one)
            reason = f"took more than {limits.seconds:.0f} s; give more with --seconds"
            out.append((one, Outcome(status="failed", reason=reason)))
        elif _gib(one.process.pid) > limits.gib:
            _end(one)
            reason = f"took more than {limits.gib:g} GiB of memory; give more with --gib"
            out.append((one, Outcome(status="failed", reason=reason)))
    return out


def _receive(one: _Running) -> Outcome:
    try:
        outcome: Outcome = one.pipe.recv()
    except (EOFError, OSError):
        one.process.join(5.0)
        code = one.process.exitcode
        if code is not None and code < 0:
            why = f"ended by {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                why += " (the system was out of memory?)"
        else:
            why = f"ended with exit code {code}"
        outcome = Outcome(status="failed", reason=f"the process {why}")
    _end(one)
    return outcome


def _end(one: _Running) -> None:
    one.process.join(0.5)
    if one.process.is_alive():
        one.process.kill()
        one.process.join()
    one.pipe.close()
    one.process.close()


def _gib(pid: int | None) -> float:
    """Resident memory; 0 where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30
