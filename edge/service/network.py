"""The drop-in that lets the daemon talk to the configured devices and broker, and to nobody else.

Generated from the endpoints of the configuration: addresses into text. The kernel enforces it
(IPAddressAllow), so a name cannot be allowed: its address would be looked up once, and be wrong one
day. With a name among the hosts there is no filter, and the file says so.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import PurePosixPath

from edge.config.endpoints import endpoints
from edge.config.types import Appliance
from edge.service.shipped import SERVICE, UNITS

PLACE = UNITS / f"{SERVICE}.d" / "10-network.conf"
_HEAD = """\
# Written by `ncm-edge install` from the configuration; a change here is lost with the
# next run. After a change of the configuration: ncm-edge install --network
"""


@dataclass(frozen=True, slots=True)
class Peers:
    """Whom the configuration names."""

    addresses: tuple[str, ...]
    """IP addresses, sorted; ``localhost`` stands for both loopback addresses."""
    names: tuple[str, ...]
    """``line NAME, link NAME: host``, ``mqtt: host``: where a name stands instead of an address."""


def peers(appliance: Appliance) -> Peers:
    """The devices of all lines and the broker, if there is one."""
    found, names = set(), []
    for peer in endpoints(appliance):
        if peer.host.lower() == "localhost":
            found.add("localhost")
            continue
        try:
            address = ipaddress.ip_address(peer.host.partition("%")[0])
        except ValueError:
            names.append(f"{peer.use}: {peer.host}")
            continue
        found.add(str(address))
        # ::ffff:10.0.0.1 is an IPv6 socket, but what the kernel filters is IPv4.
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            found.add(str(address.ipv4_mapped))
    return Peers(tuple(sorted(found)), tuple(dict.fromkeys(names)))


def drop_in(known: Peers) -> str:
    """Text of 10-network.conf."""
    lines = [_HEAD + "[Service]"]
    if known.names:
        lines += [
            "# No filter: these hosts are names, and a filter needs addresses.",
            *(f"#   {name}" for name in known.names),
        ]
    else:
        lines += [
            "IPAddressDeny=any",
            *(f"IPAddressAllow={address}" for address in known.addresses),
        ]
    if any(":" in address for address in known.addresses):
        lines.append("RestrictAddressFamilies=AF_INET6")
    return "\n".join(lines) + "\n"


def fault(appliance: Appliance, text: str | None) -> str:
    """What is wrong with the installed drop-in (None: there is none); "" if it is current."""
    wanted = drop_in(peers(appliance))
    if text == wanted:
        return ""
    where = PurePosixPath(PLACE)
    if text is None:
        return f"{where} is missing: nothing but the daemon's own rules keeps it to its devices"
    return (
        f"{where} does not match the configuration: sudo ncm-edge install --network, "
        "then restart ncm-edge"
    )
