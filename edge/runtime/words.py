"""The words file: what stands on the wire, for people at commissioning and the operator page.

`words.json` in `runtime_dir` holds, for each line, block W and block R as the PLC was last read,
the registers behind each tag, and which bundle decides. It is apart from the status document
because most readers of that need none of it, and it is written by a worker thread: the event loop
only gathers the numbers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.config.types import Line
from edge.drivers.base import Driver
from edge.runtime.clock import Clock
from edge.runtime.line import LineRunner

log = logging.getLogger("ncm-edge")

FILE_NAME = "words.json"
PERIOD_S = 2.0

Sections = dict[str, dict[str, Any]]
Wires = Mapping[str, tuple[Line, Mapping[str, Driver]]]


class WordsFile:
    """Writer side. What cannot be written is left out: the status file tells of the disk."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.path = directory / FILE_NAME
        self._temporary = directory / (FILE_NAME + ".new")
        self._clock = clock

    async def run(self, lines: Callable[[], Sequence[LineRunner]]) -> None:
        """Write every `PERIOD_S`, of the lines there are then, until cancelled."""
        now_s = asyncio.get_running_loop().time
        said = ""
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                sections = {line.line.name: section(line, now_s()) for line in lines()}
                wires = {line.line.name: (line.line, line.drivers) for line in lines()}
                await asyncio.to_thread(self._write, sections, wires, self._clock.wall_s())
            except Exception as error:
                # Ours; the lines go on without this file. Once a kind, not every two seconds.
                if repr(error) != said:
                    log.exception("words file: a fault of this program")
                said = repr(error)

    def remove(self) -> None:
        """Take the file away at a clean stop."""
        for path in (self.path, self._temporary):
            with contextlib.suppress(OSError):
                path.unlink()

    def _write(self, sections: Sections, wires: Wires, written_s: float) -> None:
        for name, (line, drivers) in wires.items():
            sections[name]["raw"] = raw(line, drivers)
        document = {"written_s": written_s, "lines": sections}
        with contextlib.suppress(OSError):
            self._temporary.write_text(json.dumps(document), encoding="utf-8")
            os.replace(self._temporary, self.path)  # noqa: PTH105 - the atomic call, by its name


def section(line: LineRunner, now_s: float) -> dict[str, Any]:
    """Blocks and bundle of one line; `now_s` is the loop's time."""
    engine = line.engine
    return {
        "blocks": {
            block: {"age_s": round(now_s - read_s, 3), "words": words}
            for block, (read_s, words) in line.publisher.seen.items()
        },
        "model": None
        if engine is None
        else {
            "directory": str(engine.bundle.directory.absolute()),
            "sha256": engine.bundle.model_sha256,
        },
    }


def raw(line: Line, drivers: Mapping[str, Driver]) -> dict[str, tuple[int, ...]]:
    """Registers of the last good read of every tag that has any. For any thread."""
    # A driver numbers its own rows.
    counts = dict.fromkeys(drivers, 0)
    found = {}
    for row in (*line.tags, *line.context):
        link = row.source.link
        words = drivers[link].raw_words(counts[link])
        counts[link] += 1
        if words:
            found[row.tag.name] = words
    return found
