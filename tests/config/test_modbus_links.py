"""Serial lines, TLS and texts in the configuration: what is accepted, and what each fault says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge.config.check import check
from edge.config.load import ConfigError, load
from edge.config.types import ModbusLink, ModbusSource, UnitLimits
from tests.drivers.certificates import Authority

LINE, TAGS = "lines/a/line.toml", "lines/a/tags.toml"
HOST = 'protocol = "modbus-tcp"\nhost = "10.0.0.5"'
SERIAL = 'protocol = "modbus-rtu"\ndevice = "/dev/ttyUSB0"'
TLS = (
    'protocol = "modbus-tls"\nhost = "10.0.0.5"\nca_file = "tls/plant-ca.pem"\n'
    'certificate_file = "tls/edge.pem"\nkey_file = "tls/edge.key"'
)
SP = '{ name = "FIC-103.SP"'
LOT = (
    '{ name = "LOT", text = "lot", unit = "1", link = "plc", table = "holding", address = 300, '
    'type = "string", length = 8 },\n'
)

Broken = Callable[..., Path]


def faults(directory: Path) -> list[str]:
    try:
        load(directory)
    except ConfigError as error:
        return [str(fault) for fault in error.faults]
    return []


def plc(directory: Path) -> ModbusLink:
    (link,) = (k for k in load(directory).lines[0].links if isinstance(k, ModbusLink))
    return link


def test_a_serial_line(broken: Broken) -> None:
    site = broken((LINE, HOST, SERIAL + "\nbaud = 9600\nstop_bits = 2"))
    link = plc(site)
    assert link.at == "/dev/ttyUSB0 9600 8E2"
    assert link.rtu
    assert link.max_gap == 10, "a request on a serial line costs about ten registers"
    code, text = check(site)
    assert code == 0
    assert "Modbus RTU /dev/ttyUSB0 9600 8E2" in text


def test_a_serial_bridge(broken: Broken) -> None:
    link = plc(broken((LINE, HOST, HOST.replace("modbus-tcp", "modbus-rtu-over-tcp"))))
    assert (link.at, link.rtu, link.max_gap) == ("10.0.0.5:502", True, 10)


@pytest.mark.parametrize(
    ("new", "fault"),
    [
        (SERIAL + '\nhost = "10.0.0.5"',
         "'host' is a key of Modbus TCP, Modbus RTU over TCP and Modbus TLS links, but this link "
         "speaks Modbus RTU; remove it"),
        (HOST + "\nbaud = 9600",
         "'baud' is a key of Modbus RTU links, but this link speaks Modbus TCP; remove it"),
        ('protocol = "modbus-rtu"',
         "missing key 'device' (text, e.g. /dev/serial/by-id/usb-FTDI-if00-port0); add it"),
        (SERIAL + "\nbaud = 1200",
         "timeout_ms = 500 is over before 120 registers (max_registers) have passed at 1200 "
         "bit/s; permitted: above 2319 ms, or fewer registers"),
        (HOST + "\nunit = [{ unit_id = 3 }, { unit_id = 3 }]",
         "unit_id = 3 stands twice; remove one"),
    ],
)  # fmt: skip
def test_a_fault_of_a_link(new: str, fault: str, broken: Broken) -> None:
    (only,) = faults(broken((LINE, HOST, new)))
    assert only.endswith(fault), only


def test_a_unit_that_does_not_exist_on_a_serial_line(broken: Broken) -> None:
    (only,) = faults(
        broken((LINE, HOST, SERIAL), (TAGS, "address = 4,", "address = 4, unit_id = 0,"))
    )
    assert "unit_id = 0 does not exist on a serial line; permitted: 1..247" in only


def test_units_have_limits_of_their_own(broken: Broken) -> None:
    new = HOST + "\nunit = [{ unit_id = 3, max_registers = 16, pause_between_requests_ms = 20 }]"
    link = plc(broken((LINE, HOST, new)))
    wanted = UnitLimits(unit_id=3, max_registers=16, max_gap=120, pause_between_requests_ms=20)
    assert link.limits(3) == wanted
    assert link.limits(1).max_registers == 120


def test_a_block_must_fit_the_unit_that_carries_it(broken: Broken) -> None:
    new = HOST + "\nunit = [{ unit_id = 1, max_registers = 16 }]"
    found = faults(broken((LINE, HOST, new)))
    assert any("reads at most 16 registers at once" in fault for fault in found), found


# --- TLS ---


@pytest.fixture
def secure(broken: Broken) -> Path:
    """The site with a TLS link and good certificates."""
    site = broken((LINE, HOST, TLS))
    (site / "tls").mkdir()
    Authority(site / "tls").issue("edge")
    return site


def test_a_tls_link(secure: Path) -> None:
    link = plc(secure)
    assert link.port == 802
    assert link.tls is not None
    assert link.tls.key_file == secure / "tls/edge.key"


def test_the_key_is_kept_from_others(secure: Path) -> None:
    (secure / "tls/edge.key").chmod(0o644)
    (only,) = faults(secure)
    assert only.startswith(f'{LINE}:20: link "plc": key_file = "tls/edge.key": ')
    assert f"{secure / 'tls/edge.key'} has mode 0644: every user" in only
    assert only.endswith("chmod 600 it")


@pytest.mark.parametrize("name", ["plant-ca.pem", "edge.pem", "edge.key"])
def test_a_file_that_is_not_there(name: str, secure: Path) -> None:
    (secure / "tls" / name).unlink()
    (only,) = faults(secure)
    assert "cannot be read (No such file or directory); correct the path" in only
    assert f'"tls/{name}"' in only


def test_a_directory_is_no_certificate(secure: Path) -> None:
    (secure / "tls/plant-ca.pem").unlink()
    (secure / "tls/plant-ca.pem").mkdir()
    (only,) = faults(secure)
    assert 'ca_file = "tls/plant-ca.pem"' in only
    assert "cannot be read (Is a directory)" in only


def test_contents_that_are_no_certificate(secure: Path) -> None:
    (secure / "tls/plant-ca.pem").write_text("hello")
    assert "ca_file = \"tls/plant-ca.pem\": it holds no certificate; export it as PEM" in (
        faults(secure)[0]
    )
    Authority(secure / "tls")
    (secure / "tls/edge.pem").write_text("hello")
    assert "are not a PEM certificate and its key" in faults(secure)[0]


def test_a_key_of_another_certificate(secure: Path) -> None:
    Authority(secure / "tls", "other").issue("stranger")
    key = (secure / "tls/stranger.key").read_bytes()
    (secure / "tls/edge.key").write_bytes(key)
    assert 'is not the key of certificate_file "tls/edge.pem"' in faults(secure)[0]


def test_a_key_with_a_password(secure: Path) -> None:
    Authority(secure / "tls").issue("edge", password=b"secret")
    assert "is protected by a password, and nobody is there to type it" in faults(secure)[0]


# --- texts, BCD and orders ---


def test_a_text_is_context(broken: Broken) -> None:
    line = load(broken((TAGS, SP, LOT + SP))).lines[0]
    row = line.context[0]
    assert isinstance(row.source, ModbusSource)
    assert (row.source.encoding.type, row.source.encoding.length) == ("string", 8)


@pytest.mark.parametrize(
    ("edits", "fault"),
    [
        ([(TAGS, SP, LOT.replace(", length = 8", "") + SP)],
         "missing key 'length' (1..100 registers) of a string; add it"),
        ([(TAGS, SP, LOT.replace("length = 8", "length = 8, scale = 2") + SP)],
         "scale has no meaning for a string; remove it"),
        ([(TAGS, 'address = 4, type = "uint16", scale = 0.1',
           'address = 4, type = "uint16", length = 2, scale = 0.1')],
         'length = 2 has no meaning for type = "uint16"; remove it or set type = "string"'),
        ([(TAGS, 'address = 4, type = "uint16", scale = 0.1',
           'address = 4, type = "bcd16", scale = 0.01')],
         "high = 450 cannot be reached by bcd16 x 0.01; permitted: 0..99.99; correct the type, "
         "the scale or the range"),
        ([(TAGS, 'address = 0, type = "float32"',
           'address = 0, type = "float32", word_order = "big-swapped"')],
         'word_order = "big-swapped" is for the four registers of 64-bit types, not for '
         'type = "float32"; permitted: big, little'),
        ([(TAGS, 'unit = "kg/h", low = 0, high = 400, link', 'unit = "kg/h", high = 400, link')],
         "missing key 'low' (number); add it"),
    ],
)  # fmt: skip
def test_a_fault_of_a_row(edits: list[tuple[str, str, str]], fault: str, broken: Broken) -> None:
    (only,) = faults(broken(*edits))
    assert only.endswith(fault), only


def test_a_text_never_reaches_the_model(broken: Broken) -> None:
    first = '{ name = "FIC-103.PV"'
    lot = LOT.replace("link =", 'component = "C03", part = "tank", low = 0, high = 1, link =')
    found = faults(broken((TAGS, first, lot + first)))
    assert any("a text and never a number for the model; move the row to context" in f
               for f in found)  # fmt: skip
