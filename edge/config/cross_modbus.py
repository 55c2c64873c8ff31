"""What only serial lines, TLS and single units of a Modbus link can get wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge.config.document import Document
from edge.config.locate import Path
from edge.config.types import SERIAL_BITS

_REQUEST_BYTES = 8
_ANSWER_BYTES = 5
"""Of a read: everything but the registers."""


def check_link(line: Document, index: int, subject: str, link: Mapping[str, Any]) -> None:
    """Units named once; a serial time-out that leaves time for the longest frame."""
    seen: set[int] = set()
    for number, unit in enumerate(link.get("unit", ())):
        if unit.get("unit_id") in seen:
            line.fault(
                ("link", index, "unit", number, "unit_id"),
                f"unit_id = {unit['unit_id']} stands twice; remove one",
                subject,
            )
        seen.add(unit.get("unit_id", -1))
    baud, timeout_ms = link.get("baud"), link.get("timeout_ms")
    most = link.get("max_registers")
    if baud is None or timeout_ms is None or most is None:
        return
    octets = _REQUEST_BYTES + _ANSWER_BYTES + 2 * most
    needed_ms = 1000 * octets * SERIAL_BITS / baud
    if timeout_ms <= needed_ms:
        line.fault(
            ("link", index, "timeout_ms"),
            f"timeout_ms = {timeout_ms} is over before {most} registers (max_registers) have "
            f"passed at {baud} bit/s; permitted: above {needed_ms:.0f} ms, or fewer registers",
            subject,
            "timeout_ms",
        )


def check_unit_id(
    document: Document,
    path: Path,
    subject: str,
    row: Mapping[str, Any],
    links: Mapping[str, Mapping[str, Any]] | None,
) -> None:
    """On a serial line unit 0 is everybody, and nobody answers; 248..255 are reserved."""
    protocol = (links or {}).get(row.get("link", ""), {}).get("protocol", "")
    unit_id = row.get("unit_id", 1)
    if protocol.startswith("modbus-rtu") and not 1 <= unit_id <= 247:
        document.fault(
            (*path, "unit_id"),
            f"unit_id = {unit_id} does not exist on a serial line; permitted: 1..247",
            subject,
            "unit_id",
        )


def max_registers(link: Mapping[str, Any], unit_id: int | None) -> int | None:
    """Most registers this unit gives in one request; None if it cannot be told."""
    for unit in link.get("unit", ()):
        if unit.get("unit_id") == unit_id and "max_registers" in unit:
            return int(unit["max_registers"])
    most = link.get("max_registers")
    return None if most is None else int(most)
