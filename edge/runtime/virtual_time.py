"""An event loop whose time jumps to the next timer as soon as nothing else is left to do.

Real servers and real clients that live in ONE process talk over loopback much faster than the wall
clock, and time-outs still fire in their right order. The rules, in the order they are applied when
the loop has no callback ready:

1. A socket is ready: serve it, time stands still. Linux delivers loopback data inside `send`, so a
   peer's answer is seen at once (no miss in 80,000 sends, processors overloaded or not); the
   selector is asked a second time all the same before time may move.
2. A worker thread is busy (`run_in_executor`, `asyncio.to_thread`, or `hold_time`): wait for it in
   real time, time stands still. A worker that is itself waiting for a timer would wait for ever, so
   after `PATIENCE_S` of silence the next timer fires all the same.
3. Otherwise time jumps to the next timer, paced by `max_rate` when one is given.

A peer in ANOTHER process, or on another machine, is not seen by these rules: its answer would race
with the time-out it should beat. Use the normal loop for those.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE_S = 30.0
"""Real seconds a busy worker may keep time standing still."""
CATCH_UP_S = 0.25
"""Real seconds by which a paced loop may lag before it stops trying to make them up."""

_Ready = list[tuple[selectors.SelectorKey, int]]


class _JumpSelector(selectors.BaseSelector):
    """The system's selector, which lets the loop's time pass instead of waiting."""

    def __init__(self, pass_time: Callable[[float], _Ready]) -> None:
        self.real = selectors.DefaultSelector()
        self._pass_time = pass_time

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self.real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self.real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self.real.modify(fileobj, events, data)

    def close(self) -> None:
        self.real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self.real.get_map()

    def select(self, timeout: float | None = None) -> _Ready:
        if timeout is None or timeout <= 0:
            return self.real.select(timeout)
        return self._pass_time(timeout)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """See the module. `time()` starts at 0 s; `max_rate` bounds virtual seconds per real second."""

    def __init__(self, *, max_rate: float | None = None) -> None:
        self._now = 0.0
        self._busy = 0
        self._max_rate = max_rate
        self._anchor = (time.monotonic(), 0.0)
        self._jump_selector = _JumpSelector(self._pass_time)
        super().__init__(self._jump_selector)

    def time(self) -> float:
        """Virtual seconds; they stand still while callbacks run."""
        return self._now

    def pace(self, max_rate: float | None) -> None:
        """From now on at most so many virtual seconds a real second; None: no limit."""
        self._max_rate = max_rate
        self._anchor = (time.monotonic(), self._now)

    @contextmanager
    def hold_time(self) -> Iterator[None]:
        """Time stands still inside: for a thread or child process the loop cannot see."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1

    def run_in_executor(  # type: ignore[override]  # typeshed spells the variadics differently
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """As asyncio's; time stands still until the result is in."""
        future = super().run_in_executor(executor, func, *args)
        self._busy += 1
        future.add_done_callback(self._worker_done)
        return future

    def _worker_done(self, _future: asyncio.Future[Any]) -> None:
        self._busy -= 1

    async def shutdown_default_executor(self, *args: Any) -> None:
        """As asyncio's; the time-out it has since Python 3.12 must not be jumped to."""
        with self.hold_time():
            await super().shutdown_default_executor(*args)

    def _pass_time(self, timeout: float) -> _Ready:
        real = self._jump_selector.real
        ready = real.select(0) or real.select(0)
        if not ready and self._busy:
            ready = real.select(PATIENCE_S)
        if not ready and self._max_rate is not None:
            return self._pass_paced(timeout, self._max_rate)
        if not ready:
            self._now += timeout
        return ready

    def _pass_paced(self, timeout: float, rate: float) -> _Ready:
        """Wait in real time until the jump is due; a socket that wakes early ends the wait."""
        target_s = self._now + timeout
        real_s, virtual_s = self._anchor
        due_s = real_s + (target_s - virtual_s) / rate
        ready: _Ready = []
        wait_s = due_s - time.monotonic()
        if wait_s > 0:
            ready = self._jump_selector.real.select(wait_s)
        elif wait_s < -CATCH_UP_S:
            self._anchor = (time.monotonic(), target_s)
        if ready:
            passed_s = virtual_s + (time.monotonic() - real_s) * rate
            self._now = min(max(self._now, passed_s), target_s)
        else:
            self._now = target_s
        return ready


def run(main: Coroutine[Any, Any, T], *, max_rate: float | None = None) -> T:
    """`asyncio.run` on a `VirtualTimeLoop`; `max_rate` paces it (600: ten minutes a second).

    Raises ValueError if `max_rate` is not above 0.
    """
    if max_rate is not None and not max_rate > 0:
        main.close()
        raise ValueError(f"max_rate {max_rate} is not above 0; use None for no limit")
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(max_rate=max_rate)) as runner:
        return runner.run(main)
