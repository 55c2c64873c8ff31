"""What the [deviation] table may not say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge.config.faults import ConfigError
from edge.config.load import load

CONFIG = Path(__file__).parents[2] / "firmware_config"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('tag = "FIC-101.PV"', 'tag = "FIC-101.PX"', "tag: 'FIC-101.PX' is not in tags.toml"),
        ('tag = "FIC-101.PV"', 'tag = "PI-101.PV"', "is in bar g; permitted: a tag in kg/h"),
        ('tag = "FIC-102.PV"', 'tag = "FIC-101.PV"', "'FIC-101.PV' has a rule already"),
        ('set_point = "FIC-101.SP"', 'set_point = "TIC-106.SP"', "is in °C; permitted: a tag in"),
        ('set_point = "FIC-101.SP"\n', "", "speak of a set-point, but set_point is missing"),
        ('schedule = "schedules/ncm838.csv"\n', "", "there is no schedule to deviate from"),
        ("persist_min = 5", "persist_min = 0", "persist_min = 0 is not permitted; permitted: 1"),
        ('column = "core_kg_h"', 'column = "core"', 'did you mean "core_kg_h"?'),
    ],
)  # fmt: skip
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    site = tmp_path / "site"
    shutil.copytree(CONFIG, site, ignore=shutil.ignore_patterns("models"))
    line = site / "lines" / "ncm-1" / "line.toml"
    text = line.read_text(encoding="utf-8")
    assert old in text
    line.write_text(text.replace(old, new, 1), encoding="utf-8")
    if "schedule =" in old:
        (line.parent / "trim.toml").unlink()
    with pytest.raises(ConfigError) as caught:
        load(site)
    assert message in str(caught.value)
    assert "line.toml:" in str(caught.value)
