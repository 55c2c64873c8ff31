"""What is told, as JSON: rows, events, sections of the status document. Pure.

Who reads them drops duplicates by (line, seq, t_s): a message that may have been sent before, or
that is sent later than it was made because nobody could be reached, says ``"resent": true``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.core.ring import Slots
from edge.core.tags import Quality, Reason
from edge.runtime.chain import plain

ROW, LOG, CONNECTION = "row", "log", "connection"
"""Last level of a topic, beside those of `SECTIONS`."""
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "status": (
        "title", "ne107", "ne107_text", "provider", "provider_reason", "model", "batch",
        "data_quality",
    ),
    "verdict": ("verdict",),
    "trim": ("trim",),
    "conditions": ("conditions",),
}  # fmt: skip
"""Last level of a topic -> keys of a line in the status document."""
_LOOP_TIME = "since_s"
"""Seconds of the daemon's own clock, which mean nothing elsewhere."""


@dataclass(frozen=True, slots=True)
class Message:
    """One PUBLISH."""

    topic: str
    payload: bytes
    retain: bool
    resent: bool


def encode(body: Mapping[str, Any]) -> bytes:
    """Compact JSON; NaN becomes null, a lone surrogate its escape."""
    text = json.dumps(plain(dict(body)), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", errors="backslashreplace")


def is_gap(slots: Slots, i: int) -> bool:
    """Whether nobody polled slot `i`."""
    return bool(((slots.quality[i] == Quality.BAD) & (slots.reason[i] == Reason.MISSED)).all())


def row(names: Sequence[str], slots: Slots, i: int) -> dict[str, Any]:
    """Slot `i`: values by tag, null where bad; quality and reason of all that are not good."""
    values = {
        # The shortest text that gives the float32 again: 11.2 and not 11.199999809.
        name: float(str(value)) if np.isfinite(value) else None
        for name, value in zip(names, slots.values[i], strict=True)
    }
    poor = np.flatnonzero(slots.quality[i] != Quality.GOOD)
    quality = {
        names[k]: f"{Quality(int(slots.quality[i, k])).name.lower()}: "
        f"{Reason(int(slots.reason[i, k])).name.lower().replace('_', ' ')}"
        for k in poor
    }
    return {"t_s": float(slots.times[i]), "values": values, "quality": quality}


def section(document_line: Mapping[str, Any], leaf: str) -> dict[str, Any]:
    """A line's words for one topic."""
    keys = SECTIONS[leaf]
    found = {key: _without_loop_time(document_line[key]) for key in keys}
    one = found[keys[0]]
    return dict(one) if len(keys) == 1 and isinstance(one, dict) else found


def _without_loop_time(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_loop_time(v) for k, v in value.items() if k != _LOOP_TIME}
    if isinstance(value, (list, tuple)):
        return [_without_loop_time(item) for item in value]
    return value
