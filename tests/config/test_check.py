"""`ncm-edge check`: the exit code and what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge.config.check import FAULTY, FINE, check, warnings
from edge.config.load import load


def test_a_site_in_order_is_shown_on_one_screen(site: Path) -> None:
    code, text = check(site)
    assert code == FINE
    lines = text.splitlines()
    assert lines[0] == f"{site}: no faults"
    assert lines[3:11] == [
        'line a "Line A": 10 tags, 1 context, 3 components, a row every 1 s, ring 7200 rows (2 h)',
        "  link       plc: Modbus TCP 10.0.0.5:502, 8 values in 4 requests a row",
        "  link       dcs: OPC UA opc.tcp://10.0.0.6:4840, 3 values in 1 request a row",
        f"  schedule   {load(site).lines[0].schedule.name}: 2 steps, 120 min",  # type: ignore[union-attr]
        f"  model      {site / 'models/a'}",
        "  trim       at most 10% of the feed-forward flow, 20 kg/h per minute, from 0.5 kg/h up; "
        "expires after 900 s; pH 10.95..11.45; held by C03, C09",
        "  writes     plc unit 1: holding registers 1000..1063 (0-based, as on the wire) = "
        "1001..1064 (1-based); nothing else",
        "  reads      plc unit 1: holding registers 1100..1115 (0-based, as on the wire) = "
        "1101..1116 (1-based)",
    ]


def test_faults_give_exit_code_2_and_their_number(broken: Callable[..., Path]) -> None:
    directory = broken(
        ("lines/a/tags.toml", "address = 4,", "adress = 4,"),
        ("lines/a/trim.toml", "ttl_s = 900", "ttl_s = 60"),
    )
    assert check(directory) == (
        FAULTY,
        "lines/a/tags.toml:4: tag \"SIC-103.PV\": unknown key 'adress'; did you mean 'address'?\n"
        "lines/a/trim.toml:5: [limits]: ttl_s = 60 is not permitted; permitted: 120..900 s\n"
        f"2 faults in {directory}",
    )


def test_another_line_can_be_checked(site: Path) -> None:
    code, text = check(site, lines=("b",))
    assert code == FINE
    assert "trim       never suggested: no trim.toml" in text
    assert "schedule   none: a continuous process" in text


def test_a_missing_bundle_is_a_warning(site: Path) -> None:
    assert warnings(load(site)) == (
        f"line a: bundle {site / 'models/a'} is not there; the appliance will keep its ring and "
        "its heartbeat but give no verdict",
        "line a: link dcs is neither signed nor encrypted (security_policy); whoever is on its "
        "network can change what is read and written",
    )


def test_what_is_permitted_but_odd_is_a_warning(broken: Callable[..., Path]) -> None:
    directory = broken(
        ("lines/b/line.toml", "[[link]]", '[[link]]\nname = "spare"\nprotocol = "modbus-tcp"\n'
         'host = "10.0.0.9"\n\n[[link]]'),
    )  # fmt: skip
    (directory / "models/b").mkdir(parents=True)
    assert warnings(load(directory, lines=("b",))) == (
        "line b: link spare carries no tag and no block; remove it from line.toml",
        "line b: no block R, so neither the PLC's heartbeat nor answers are seen",
    )
