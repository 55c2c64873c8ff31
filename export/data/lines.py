"""A line's configuration -> what the model must know about it."""

from __future__ import annotations

from pathlib import Path

from edge.config.load import load
from edge.config.types import Line
from export.data.dataset import LineSpec


def load_line(config: Path, name: str) -> Line:
    """The configured line. Raises ConfigError with every fault of the configuration."""
    return load(config, lines=[name]).lines[0]


def line_spec(line: Line, step_rows: int) -> LineSpec:
    """Tags in model order, spans, components, and the schedule in model steps."""
    steps: tuple[int, ...] = ()
    if line.schedule is not None:
        minutes_per_step = step_rows * line.row_s / 60.0
        count = round(line.schedule.end_min / minutes_per_step)
        steps = tuple(line.schedule.at((k + 0.5) * minutes_per_step).step for k in range(count))
    tags = [row.tag for row in line.tags]
    return LineSpec(
        name=line.name,
        tags=tuple((tag.name, tag.unit) for tag in tags),
        components=tuple(tag.component for tag in tags),
        spans=tuple(float(tag.high - tag.low) for tag in tags),
        row_s=line.row_s,
        step_rows=step_rows,
        schedule_steps=steps,
    )
