"""What a configuration without faults becomes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.config import tables
from edge.config.load import ConfigError, load
from edge.config.types import (
    ModbusLink,
    ModbusSource,
    ModelSettings,
    OpcUaLink,
    OpcUaSource,
    WordBlock,
)
from edge.core.codec import Encoding
from edge.core.tags import Tag
from edge.core.trim import TrimSettings


def test_every_key_arrives(site: Path) -> None:
    appliance = load(site)
    assert (appliance.name, appliance.provider) == ("box", "auto")
    assert appliance.state_dir == Path("/var/lib/ncm-edge")
    assert appliance.runtime_dir == Path("/run/ncm-edge")
    (line,) = appliance.lines
    assert (line.name, line.title, line.row_s, line.ring_rows) == ("a", "Line A", 1.0, 7200)
    assert line.model == ModelSettings(
        bundle=site / "models/a", warn_probability=None, persist_steps=3, clear_steps=5,
        min_valid=0.6,
    )  # fmt: skip
    assert line.schedule is not None
    assert line.schedule.end_min == 120


def test_links_keep_their_protocol_and_defaults(site: Path) -> None:
    plc, dcs = load(site).lines[0].links
    assert plc == ModbusLink(
        name="plc", host="10.0.0.5", port=502, forbidden=(("holding", 9000, 9099),)
    )
    assert dcs == OpcUaLink(name="dcs", url="opc.tcp://10.0.0.6:4840", namespace="urn:plant")


def test_tags_keep_the_order_of_the_file_and_both_protocols(site: Path) -> None:
    line = load(site).lines[0]
    assert [row.tag.name for row in line.tags[:3]] == ["FIC-103.PV", "WI-103.PV", "SIC-103.PV"]
    weight = line.tags[1]
    assert weight.tag == Tag(
        name="WI-103.PV", text="NaOH weight", unit="kg", low=0, high=6000, component="C03",
        part="tank",
    )  # fmt: skip
    assert weight.source == ModbusSource(
        link="plc", unit_id=1, table="input", address=2,
        encoding=Encoding(type="int32", scale=0.1),
    )  # fmt: skip
    assert line.tags[9].tag.max_age_s == 20
    assert line.tags[9].source == OpcUaSource(link="dcs", node="s=B106")


def test_a_context_row_needs_no_component(site: Path) -> None:
    (set_point,) = load(site).lines[0].context
    assert (set_point.tag.component, set_point.tag.part) == ("", "")


def test_blocks_are_as_long_as_the_contract_says(site: Path) -> None:
    outputs = load(site).lines[0].outputs
    assert outputs.block_w == WordBlock(link="plc", count=64, unit_id=1, address=1000)
    assert outputs.block_r == WordBlock(link="plc", count=16, unit_id=1, address=1100)


def test_other_lines_can_be_served_than_those_of_the_file(site: Path) -> None:
    appliance = load(site, lines=("b", "a"))
    assert [line.name for line in appliance.lines] == ["b", "a"]
    line = appliance.lines[0]
    assert (line.schedule, line.trim, line.outputs.block_r) == (None, None, None)


def test_an_unknown_line_on_the_command_line_is_a_fault(site: Path) -> None:
    with pytest.raises(ConfigError, match="line 'aa' has no folder lines/aa; did you mean 'a'"):
        load(site, lines=("aa",))


def test_directories_can_be_replaced(site: Path, tmp_path: Path) -> None:
    appliance = load(site, state_dir=tmp_path / "s", runtime_dir=tmp_path / "r")
    assert (appliance.state_dir, appliance.runtime_dir) == (tmp_path / "s", tmp_path / "r")


def test_one_register_may_serve_two_bits_but_not_one_bit_twice(
    broken: Callable[..., Path],
) -> None:
    bit = (
        '{{ name = "X{0}", text = "x", unit = "1", low = 0, high = 1, component = "C03", '
        'part = "pump", link = "plc", table = "holding", address = 50, type = "bit", bit = {1} }},'
        "\n"
    )
    place = "]\ncontext = ["
    shared = broken(("lines/a/tags.toml", place, bit.format(1, 3) + bit.format(2, 4) + place))
    assert len(load(shared).lines[0].tags) == 12
    path = shared / "lines/a/tags.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("bit = 4", "bit = 3"), "utf-8")
    with pytest.raises(ConfigError, match=r'"X2": holding 50 bit 3 is already used by tag "X1"'):
        load(shared)


def test_the_write_list_may_be_a_node(broken: Callable[..., Path]) -> None:
    directory = broken(
        ("lines/a/outputs.toml", '[block_w]\nlink = "plc"\naddress = 1000', '[block_w]\n'
         'link = "dcs"\nnode = "s=Edge.W"'),
    )  # fmt: skip
    assert load(directory).lines[0].outputs.block_w == WordBlock(
        link="dcs", count=64, node="s=Edge.W"
    )


def test_without_trim_toml_there_is_no_trim(broken: Callable[..., Path]) -> None:
    directory = broken()
    (directory / "lines/a/trim.toml").unlink()
    assert load(directory).lines[0].trim is None


def test_the_hash_moves_with_every_file_and_with_nothing_else(broken: Callable[..., Path]) -> None:
    directory = broken()
    before = load(directory).config_sha256
    assert before == load(directory).config_sha256
    (directory / "note.txt").write_text("not configuration")
    assert before == load(directory).config_sha256
    seen = {before}
    for name in ("appliance.toml", "lines/a/trim.toml", "lines/a/tags.toml"):
        path = directory / name
        path.write_text(path.read_text(encoding="utf-8") + "\n# a comment\n", encoding="utf-8")
        seen.add(load(directory).config_sha256)
    path = directory / "schedules/short.csv"
    path.write_text(path.read_text().replace("276.2", "276.3"))
    seen.add(load(directory).config_sha256)
    assert len(seen) == 5


def test_trim_keys_and_trim_settings_are_the_same_list() -> None:
    keys = [
        key.name
        for table in tables.TRIM.keys
        if table.section is not None
        for key in table.section.keys
    ]
    assert sorted(keys) == sorted(field.name for field in dataclasses.fields(TrimSettings))


def test_no_limit_of_the_trim_has_a_default() -> None:
    for table in tables.TRIM.keys:
        assert table.section is not None
        assert [k.name for k in table.section.keys if not k.required and k.name != "ph_sp"] == []
