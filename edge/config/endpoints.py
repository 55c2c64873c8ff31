"""Every address the appliance dials: what the address filter of the service lets through."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from edge.config.types import Appliance, Link, ModbusLink

OPC_UA_PORT = 4840


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One TCP address outside this process."""

    host: str
    """IP address or name, as configured, without brackets."""
    port: int
    use: str
    """Who asks there: ``line ncm-1, link plc``, or ``mqtt``."""


def endpoints(appliance: Appliance) -> tuple[Endpoint, ...]:
    """All of them, lines first, in the order of the configuration. Serial links have none."""
    found = [
        Endpoint(*address, f"line {line.name}, link {link.name}")
        for line in appliance.lines
        for link in line.links
        if (address := _address(link)) is not None
    ]
    if appliance.mqtt is not None:
        found.append(Endpoint(appliance.mqtt.host, appliance.mqtt.port, "mqtt"))
    return tuple(found)


def _address(link: Link) -> tuple[str, int] | None:
    if isinstance(link, ModbusLink):
        return None if link.protocol == "modbus-rtu" else (link.host.strip("[]"), link.port)
    parts = urlsplit(link.url)
    return parts.hostname or "", parts.port or OPC_UA_PORT  # 4840 is the registered default
