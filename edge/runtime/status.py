"""The status file: one JSON document, replaced atomically every second, read by `ncm-edge status`.

The file is the border between the daemon and everything people look at: readers never touch the
daemon, so a slow reader can never delay the control loop.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
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

    def write(self, document: dict[str, Any]) -> str:
        """Replace the files; returns "" or the reasons why one could not be replaced."""
        plain = _plain(document)
        faults = [_replace(self.path, self._temporary, json.dumps(plain, ensure_ascii=False))]
        if self._metrics is not None:
            # The collector reads *.prom only, so it never sees the file in the making.
            made = self._metrics.with_suffix(".new")
            faults.append(_replace(self._metrics, made, render(plain)))
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


def _plain(value: Any) -> Any:
    """JSON has no NaN: a missing number is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
