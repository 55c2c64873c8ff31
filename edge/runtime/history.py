"""From the ring back to model steps: what the worker replays after a start.

Pure arithmetic over a ring that the shell owns, kept beside its only caller.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.core.features import batch_features
from edge.core.ring import Ring
from edge.core.tags import FloatArray

MAX_STEPS = 1440
"""Most model steps replayed at a start: more history than this no longer moves any state."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Consecutive model steps. S steps, P tags, F features."""

    features: FloatArray
    """float32[S, P, F]."""
    valid: FloatArray
    """float32[S, P]."""


def steps_between(ring: Ring, first_seq: int, last_seq: int, step_rows: int) -> Steps:
    """Whole model steps of the rows after `first_seq` up to `last_seq`, newest `MAX_STEPS` at most.

    Rows the ring no longer holds come as gaps. A partial step at the old end is dropped, so that
    the newest step always ends at `last_seq`.
    """
    count = min(max(last_seq - first_seq, 0) // step_rows, MAX_STEPS)
    values, quality = ring.block(last_seq - count * step_rows + 1, count * step_rows)
    tags = ring.tag_count
    features, valid = batch_features(
        values.reshape(count, step_rows, tags), quality.reshape(count, step_rows, tags)
    )
    return Steps(features, valid)
