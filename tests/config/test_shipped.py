"""The shipped configuration: loads clean and says what the process note says."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.config.check import FINE, check
from edge.config.load import load
from edge.config.traffic import request_count
from edge.config.types import Appliance, ModbusSource, OpcUaSource
from edge.core.codec import WORDS

CONFIG = Path(__file__).parents[2] / "firmware_config"


@pytest.fixture(scope="module")
def ncm() -> Appliance:
    return load(CONFIG)


@pytest.fixture(scope="module")
def skab() -> Appliance:
    return load(CONFIG, lines=("skab",))


@pytest.mark.parametrize("name", sorted(path.name for path in (CONFIG / "lines").iterdir()))
def test_every_shipped_line_is_without_faults(name: str) -> None:
    code, text = check(CONFIG, lines=(name,))
    assert code == FINE, text


def test_the_demo_line_has_the_51_tags_of_the_process_note(ncm: Appliance) -> None:
    (line,) = ncm.lines
    assert (line.name, line.title) == ("ncm-1", "NCM precursor line 1")
    assert len(line.tags) == 51
    names = [row.tag.name for row in line.tags]
    assert [names[i] for i in (0, 15, 27, 28, 34, 38, 43, 50)] == [
        "SIC-101.PV", "PI-103.PV", "LI-105.PV", "SIC-106.PV", "SIC-107.PV", "FI-107.PV",
        "TI-001.PV", "LI-106.PV",
    ]  # fmt: skip
    assert line.ring_rows * line.row_s == 18 * 3600
    assert line.schedule is not None
    assert line.schedule.end_min == 18 * 60


def test_modbus_tags_are_packed_in_table_order(ncm: Appliance) -> None:
    (line,) = ncm.lines
    next_address = 0
    for number, row in enumerate(line.tags, start=1):
        if number <= 28 or 35 <= number <= 39:
            assert isinstance(row.source, ModbusSource)
            assert (row.source.link, row.source.unit_id) == ("plc", 1)
            assert (row.source.table, row.source.address) == ("input", next_address)
            next_address += WORDS[row.source.encoding.type]
        else:
            assert row.source == OpcUaSource(link="dcs", node=f"s={row.tag.name}")
    assert next_address == 50


def test_context_rows_are_the_set_points(ncm: Appliance) -> None:
    (line,) = ncm.lines
    where = {
        row.tag.name: row.source.address
        if isinstance(row.source, ModbusSource)
        else row.source.node
        for row in line.context
    }
    assert where == {
        "FIC-101.SP": 50, "FIC-102.SP": 52, "FIC-103.SP": 54, "FIC-104.SP": 56,
        "TIC-106.SP": "s=TIC-106.SP", "AIC-106.SP": "s=AIC-106.SP",
    }  # fmt: skip


def test_a_poll_of_the_demo_line_costs_one_request_a_link(ncm: Appliance) -> None:
    (line,) = ncm.lines
    rows = (*line.tags, *line.context)
    costs = {
        link.name: request_count(link, [row for row in rows if row.source.link == link.name])
        for link in line.links
    }
    assert costs == {"plc": 1, "dcs": 1}


def test_components_carry_the_numbers_of_their_codes(ncm: Appliance) -> None:
    components = ncm.lines[0].topology.components
    assert [(c.code, c.number) for c in components] == [(f"C{n:02}", n) for n in range(1, 13)]
    assert [c.code for c in components if not c.reportable] == ["C12"]


@pytest.mark.parametrize("source", [f"C{n:02}" for n in range(1, 6)])
def test_every_feed_reaches_the_probes(ncm: Appliance, source: str) -> None:
    reached, edges = {source}, ncm.lines[0].topology.edges
    while more := {after for before, after in edges if before in reached} - reached:
        reached |= more
    assert "C09" in reached


# Normal ranges of the process note, section 2: the instrument must see well beyond them.
NORMAL = {
    "SIC-101.PV": (37, 366), "PI-101.PV": (1.5, 2.6), "FIC-101.PV": (93, 916),
    "WI-101.PV": (1840, 9000), "PI-103.PV": (2.2, 3.2 * 1.8), "FIC-103.PV": (184, 276),
    "WI-104.PV": (173, 750), "FI-105.PV": (708, 1063), "II-106.PV": (60, 74),
    "VI-106.PV": (1.6, 2.8 * 3), "TI-106B.PV": (48, 62 + 18), "SIC-107.PV": (28, 36 * 1.4),
    "FI-107.PV": (0, 7), "AIT-106A.PV": (10.5, 12), "AIT-106E.PV": (0, 1.5),
    "LI-106.PV": (26, 95),
}  # fmt: skip


@pytest.mark.parametrize("name", NORMAL)
def test_instrument_ranges_hold_the_faults_of_the_library(ncm: Appliance, name: str) -> None:
    tag = next(row.tag for row in ncm.lines[0].tags if row.tag.name == name)
    low, high = NORMAL[name]
    margin = 0.02 * (high - low)
    assert tag.low <= low - (margin if low > 0 else 0)
    assert tag.high >= high + margin


def test_the_trim_keeps_within_the_process_note(ncm: Appliance) -> None:
    trim = ncm.lines[0].trim
    assert trim is not None
    assert trim.authority_fraction <= 0.15
    assert trim.max_change_kg_h <= 20
    assert (trim.ph_low, trim.ph_high) == (10.95, 11.45)
    assert set(trim.hold_components) >= {"C03", "C09"}


def test_the_rig_is_read_in_one_request(skab: Appliance) -> None:
    (line,) = skab.lines
    assert [row.tag.name for row in line.tags] == [
        "Accelerometer1RMS", "Accelerometer2RMS", "Current", "Pressure", "Temperature",
        "Thermocouple", "Voltage", "FlowRateRMS",
    ]  # fmt: skip
    assert [row.source.address for row in line.tags if isinstance(row.source, ModbusSource)] == [
        0, 2, 4, 6, 8, 10, 12, 14,
    ]  # fmt: skip
    assert request_count(line.links[0], line.tags) == 1
    assert (line.schedule, line.trim, line.ring_rows) == (None, None, 3600)


def test_the_rig_shares_the_register_contract_with_the_demo_line(
    ncm: Appliance, skab: Appliance
) -> None:
    for one, other in zip(
        (ncm.lines[0].outputs.block_w, ncm.lines[0].outputs.block_r),
        (skab.lines[0].outputs.block_w, skab.lines[0].outputs.block_r),
        strict=True,
    ):
        assert one is not None
        assert other is not None
        assert (one.address, one.count) == (other.address, other.count)
