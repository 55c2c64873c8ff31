"""Poll groups in the configuration: what is accepted, what each fault says, what is warned of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge.config import traffic
from edge.config.check import check
from edge.config.load import ConfigError, load
from edge.config.types import PollGroup

LINE, TAGS = "lines/a/line.toml", "lines/a/tags.toml"
LINK = '[[link]]\nname = "plc"'
SPEED = 'name = "SIC-103.PV"'
ON = 'name = "XS-103.ON"'
PH = 'name = "AIT-106B.PV"'

Broken = Callable[..., Path]


def group(poll_s: str, more: str = "", name: str = "g") -> tuple[str, str, str]:
    table = f'[[poll_group]]\nname = "{name}"\npoll_s = {poll_s}\n{more}\n'
    return (LINE, LINK, table + LINK)


def tag(name: str, more: str = "") -> tuple[str, str, str]:
    return (TAGS, name, f'{name}, poll_group = "g"{more}')


def faults(directory: Path) -> list[str]:
    try:
        load(directory)
    except ConfigError as error:
        return [str(fault) for fault in error.faults]
    return []


@pytest.mark.parametrize("poll_s", ["0.125", "0.1", "0.2", "5", "60.0"])
def test_a_group_and_a_tag_of_it(broken: Broken, poll_s: str) -> None:
    line = load(broken(group(poll_s), tag(SPEED))).lines[0]
    assert line.groups == (PollGroup(name="g", poll_s=float(poll_s)),)
    assert [row.tag.name for row in line.tags if row.group == "g"] == ["SIC-103.PV"]


def test_without_groups_every_tag_is_read_with_the_row(site: Path) -> None:
    line = load(site).lines[0]
    assert line.groups == ()
    assert {row.group for row in (*line.tags, *line.context)} == {""}


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ([group("0.3")], "poll_s = 0.3 neither divides the row ([ring] row_s = 1 s) nor is a "
         "multiple of it; nearest permitted: 0.25 or 0.333333"),
        ([group("2.5")], "nearest permitted: 2 or 3"),
        ([group("0.7")], "nearest permitted: 0.5"),
        ([group("1.0")], "poll_s = 1 is the row itself"),
        ([group("0")], "poll_s"),
        ([group("5", 'reduce = "mean"')], "reduce = 'mean' has nothing to reduce"),
        ([group("0.5", 'reduce = "median"')], "permitted: last, mean, min, max"),
        ([group("0.5"), (TAGS, SPEED, SPEED + ', poll_group = "G1"')],
         "poll_group 'G1' is not in line.toml ([[poll_group]]); did you mean 'g'?"),
        ([tag(SPEED)], "poll_group 'g' is not in line.toml ([[poll_group]]); there is none"),
        ([group("0.5", 'reduce = "mean"'), tag(ON)], "this tag is a bit; permitted: a group that "
         "reduces by last, min or max"),
        ([group("30"), tag(PH)], "max_age_s = 20 would call a value stale that poll_group 'g' "
         "holds for poll_s = 30 s; permitted: above 30"),
        ([group("30"), tag(SPEED, ", frozen_s = 30")], "frozen_s = 30 would call a value frozen"),
        ([(LINE, 'protocol = "opc-ua"', 'protocol = "opc-ua"\nmode = "subscription"'),
          group("0.5"), tag(PH)], "reports changes by itself (mode = 'subscription')"),
    ],
)  # fmt: skip
def test_faults(broken: Broken, edits: list[tuple[str, str, str]], said: str) -> None:
    (fault,) = faults(broken(*edits))
    assert said in fault
    assert fault.startswith((f"{LINE}:", f"{TAGS}:"))


def test_two_groups_of_one_name(broken: Broken) -> None:
    first = group("5")
    (fault,) = faults(broken((LINE, LINK, first[2].replace(LINK, group("0.5")[2]))))
    assert "give every group its own name" in fault


def test_check_says_what_is_read_how_often(broken: Broken) -> None:
    code, text = check(broken(group("0.125"), tag(SPEED)))
    assert code == 0
    assert "7 values in 4 requests a row, 1 values in 1 request every 0.125 s (g)" in text
    assert "timeout_ms = 500, but poll_group g has 112.5 ms for a poll (poll_s = 0.125)" in text
    assert "costs about 4 of its slots" in text


def test_a_serial_line_that_is_asked_for_too_much(broken: Broken) -> None:
    serial = (
        LINE, 'protocol = "modbus-tcp"\nhost = "10.0.0.5"',
        'protocol = "modbus-rtu"\ndevice = "/dev/ttyUSB0"\nbaud = 9600\nmax_registers = 80',
    )  # fmt: skip
    _, text = check(broken(serial, group("0.05", 'reduce = "max"'), tag(SPEED)))
    assert "requests a second keep it busy for" in text
    assert "recommended: at most 70%" in text


def test_the_shipped_line_leaves_room(site: Path) -> None:
    line = load(site).lines[0]
    for link in line.links:
        found = traffic.estimate(line, link)
        assert 0 < found.requests_s < 10
        assert found.busy < traffic.FULL
    assert not traffic.warnings(line)


@pytest.mark.parametrize("path", ["metrics.prom", "/var/lib/metrics.txt"])
def test_a_metrics_file_no_collector_would_read(broken: Broken, path: str) -> None:
    edit = ("appliance.toml", "name = ", f'metrics_file = "{path}"\nname = ')
    (fault,) = faults(broken(edit))
    assert "ends with .prom" in fault
