"""Asks the reader process, one question after the other; what many ask at once is asked once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 15.0
"""A question that takes longer is given up, and the reader process with it."""
KEPT_S = 3.0
KEPT = 6
"""Answers kept for those who ask the same a moment later."""

ENDED = (
    b"the reader process ended; its reason is in the journal (journalctl -u ncm-edge-page); "
    b"`ncm-edge check` checks the configuration"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` as in HTTP: 200, 400, 404, 503; the body is an answer or a sentence."""

    status: int
    body: bytes


class Desk:
    """Starts the reader process when it is needed."""

    def __init__(self, arguments: Sequence[str], *, limit_s: float = LIMIT_S) -> None:
        """`arguments` are those of `edge.page.reader`."""
        self._arguments, self._limit_s = list(arguments), limit_s
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._kept: OrderedDict[str, tuple[float, asyncio.Task[Answer]]] = OrderedDict()

    async def ask(self, job: str, given: Mapping[str, Any] | None = None) -> Answer:
        """The answer to a job of `edge.page.answers`; never raises for anything it may hold."""
        question = json.dumps({"job": job, "given": dict(given or {})})
        now_s = asyncio.get_running_loop().time()
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if len(self._kept) < KEPT and now_s - oldest[0] < KEPT_S:
                break
            if not oldest[1].done():
                break
            self._kept.popitem(last=False)
        found = self._kept.get(question)
        if found is None or (found[1].done() and now_s - found[0] >= KEPT_S):
            found = now_s, asyncio.create_task(self._ask(question), name=f"ask {job}")
            self._kept[question] = found
        # One browser that goes away must not take the answer from the others.
        return await asyncio.shield(found[1])

    async def _ask(self, question: str) -> Answer:
        async with self._turn:
            # A process that ended while nobody asked is found out by asking: once more, anew.
            for _ in range(2):
                try:
                    async with asyncio.timeout(self._limit_s):
                        return await self._exchange(question)
                except TimeoutError:
                    await self._end()
                    text = (
                        f"no answer within {self._limit_s:g} s: the history is large or held by "
                        "another program; try again"
                    )
                    return Answer(503, text.encode())
                except (OSError, asyncio.IncompleteReadError, ValueError):
                    await self._end()
                except asyncio.CancelledError:
                    await self._end()
                    raise
        return Answer(503, ENDED)

    async def _exchange(self, question: str) -> Answer:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "edge.page.reader", *self._arguments,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
                     "OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(question.encode() + b"\n")
        await process.stdin.drain()
        head = json.loads(await process.stdout.readuntil(b"\n"))
        return Answer(int(head["status"]), await process.stdout.readexactly(int(head["length"])))

    async def restart(self) -> None:
        """Read the configuration anew at the next question."""
        async with self._turn:
            self._kept.clear()
            await self._end()

    async def close(self) -> None:
        """End the reader process, and whoever still waits for it."""
        waiting = [task for _, task in self._kept.values() if not task.done()]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await self._end()

    @property
    def pid(self) -> int | None:
        """Of the reader process, if there is one now."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()
