"""The status file: one JSON document, replaced atomically every second, read by `ncm-edge status`.

The file is the border between the daemon and everything people look at: readers never touch the
daemon, so a slow reader can never delay the control loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edge.runtime.metrics import render

FILE_NAME = "status.json"
STALE_S = 10.0


class StatusFile:
    """Writer side. A write that fails is reported to the caller, never raised."""

    def __init__(self, directory: Path, metrics: Path | None = None) -> None:
        """`metrics`: where the same figures go as Prometheus text; None: nowhere."""
        self.path = directory / FILE_NAME
        self._temporary = directory / (FILE_NAME + ".new")
        self._metrics = metrics

    async def write(self, head: Mapping[str, Any], lines: Iterable[dict[str, Any]]) -> str:
        """Replace the files; returns "" or the reasons why one could not be replaced.

        Args:
            head: the document but for its key `lines`.
            lines: the sections of the lines. Each is made and encoded by itself, and the event
                loop served in between: a hundred lines in one piece would keep rows waiting.
        """
        sections: list[Any] = []
        texts: list[str] = []
        for section in lines:
            sections.append(_plain(section))
            texts.append(_json(sections[-1]))
            await asyncio.sleep(0.0)
        plain = _plain(head)
        keys = [f"{_json(key)}: {_json(value)}" for key, value in plain.items()]
        text = ", ".join([*keys, f'"lines": [{", ".join(texts)}]'])
        faults = [_replace(self.path, self._temporary, f"{{{text}}}")]
        if self._metrics is not None:
            # The collector reads *.prom only, so it never sees the file in the making.
            made = self._metrics.with_suffix(".new")
            figures = await asyncio.to_thread(render, {**plain, "lines": sections})
            faults.append(_replace(self._metrics, made, figures))
        return "; ".join(filter(None, faults))

    def remove(self) -> None:
        """Take the file away at a clean stop, so that nobody reads a dead daemon's words.

        Where that is impossible (the directory is gone, or was never one) the stop goes on.
        """
        for path in filter(None, (self.path, self._temporary, self._metrics)):
            with contextlib.suppress(OSError):
                path.unlink()


def read(directory: Path) -> dict[str, Any]:
    """The last status document. Raises FileNotFoundError, ValueError (not JSON)."""
    document = json.loads((directory / FILE_NAME).read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise ValueError(f"{directory / FILE_NAME}: expected a JSON object")
    return document


def _replace(path: Path, temporary: Path, text: str) -> str:
    try:
        # A lone surrogate (a server's undecodable text) becomes its JSON escape.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        os.replace(temporary, path)  # noqa: PTH105 - the atomic call, by its name
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    return ""


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """JSON has no NaN: a missing number is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
