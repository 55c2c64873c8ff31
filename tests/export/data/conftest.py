"""A small invented plant on disk: three tags, a row a second, one TOML file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

ROWS = 400
START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
TOML = """
files = ["*.csv"]
time = "time"
row_s = 1.0
step_rows = 10
label = "bad"
tag = [
  { name = "Pressure", unit = "bar", low = 0, high = 10, component = "PUMP" },
  { name = "Flow", unit = "kg/h", component = "PIPE" },
  { name = "Temp", unit = "°C", low = -50, high = 500, component = "TANK", frozen_s = 60 },
]
"""


@dataclasses.dataclass
class Rows:
    """Rows of a CSV file, to be spoilt by a test."""

    time: list[str]
    columns: dict[str, list[str]]

    def write(self, path: Path) -> Path:
        lines = [",".join(["time", *self.columns])]
        lines += [",".join(row) for row in zip(self.time, *self.columns.values())]
        path.write_text("\n".join(lines) + "\n")
        return path


def rows(count: int = ROWS, seed: int = 0, bad_from: int = 300) -> Rows:
    """`count` rows; from `bad_from` on the pressure is low and the label set."""
    draw = np.random.default_rng(seed)
    bad = np.arange(count) >= bad_from
    numbers = {
        "Pressure": 4 - bad + draw.normal(0, 0.05, count),
        "Flow": 120 + draw.normal(0, 1, count),
        "Temp": 60 + draw.normal(0, 0.3, count),
    }
    columns = {name: [f"{v:.5f}" for v in values] for name, values in numbers.items()}
    columns["bad"] = [str(int(b)) for b in bad]
    stamps = [f"{START + timedelta(seconds=k):%Y-%m-%dT%H:%M:%S}" for k in range(count)]
    return Rows(stamps, columns)


@pytest.fixture
def plant(tmp_path: Path) -> Callable[..., Path]:
    """Write the description and its files; keys given replace or add lines of the TOML."""

    def make(recordings: dict[str, Rows] | None = None, **keys: str) -> Path:
        text = TOML
        for key, value in keys.items():
            kept = [line for line in text.splitlines() if not line.startswith(f"{key} =")]
            text = "\n".join([f"{key} = {value}" if value else "", *kept]) + "\n"
        for name, content in (recordings or {"run-1.csv": rows()}).items():
            content.write(tmp_path / name)
        path = tmp_path / "plant.toml"
        path.write_text(text)
        return path

    return make
