"""Keys of a poll group: tags that are read at a rate of their own.

Spliced into line.toml by `edge.config.tables`.
"""

from __future__ import annotations

from edge.config.keys import Key, Section

POLL_GROUP = Section(
    subject="poll_group",
    label="name",
    keys=(
        Key(name="name", kind="text", pattern=r"[A-Za-z0-9][A-Za-z0-9_-]*", example="agitator",
            remedy="use letters, digits, '-' and '_' only",
            doc="Name by which tags refer to the group."),
        Key(name="poll_s", kind="real", unit="s", low=0.02, high=3600,
            doc="Seconds between two polls: the row ([ring] row_s) divided or multiplied by a "
            "whole number. Slower than the row, the value is held, with its age, until the next "
            "poll."),
        Key(name="reduce", kind="choice", choices=("last", "mean", "min", "max"), default="last",
            doc="Faster than the row: how the samples since the row before become its value. "
            "Mean, min and max need half of the samples, last the newest."),
    ),
)  # fmt: skip
