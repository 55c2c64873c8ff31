"""What one line puts on the network: bytes and frames a second of each link, both directions.

    python bench/network_traffic.py                  # ten minutes of the demo line, in virtual time
    python bench/network_traffic.py --seconds 3600

The shipped demo line (51 tags, 6 set-points, both blocks at 1 Hz) talks to its twin through relays
that count. Bytes are TCP payload; "on the wire" adds 58 bytes of Ethernet, IP and TCP headers to
each message and as much for an acknowledgement of each, which is the worst case. Connects and the
first ten seconds are shown on their own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import socket
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from edge.config.types import Link, ModbusLink
from edge.runtime import virtual_time
from tests.line import Rig, appliance_of

HEADERS = 58
"""Ethernet 18, IPv4 20, TCP 20."""
START_S = 10


@dataclass
class Count:
    """One direction of one link."""

    messages: int = 0
    payload: int = 0

    def since(self, other: Count, seconds: float) -> tuple[float, float, float]:
        """(messages, payload bytes, bytes on the wire) a second."""
        messages, payload = self.messages - other.messages, self.payload - other.payload
        wire = payload + 2 * HEADERS * messages
        return messages / seconds, payload / seconds, wire / seconds


class Relay:
    """Passes everything on and counts it."""

    def __init__(self, link: Link, port: int) -> None:
        self.name, self.port = link.name, port
        self.target = link.port if isinstance(link, ModbusLink) else _port_of(link.url)
        self.connections = 0
        self.out, self.back = Count(), Count()
        """To the device, and from it."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the appliance."""
        self.connections += 1
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.target)
        for source, target, count in (
            (reader, other_writer, self.out), (other_reader, writer, self.back),
        ):  # fmt: skip
            self._tasks.add(asyncio.create_task(_pass_on(source, target, count)))

    def stop(self) -> None:
        """Cut every connection."""
        for task in self._tasks:
            task.cancel()


async def _pass_on(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, count: Count
) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            count.messages += 1
            count.payload += len(data)
            target.write(data)
    target.close()


def _port_of(url: str) -> int:
    return int(url.split(":")[2].split("/")[0])


def _through(link: Link, port: int) -> Link:
    if isinstance(link, ModbusLink):
        return replace(link, port=port)
    return replace(link, url=link.url.replace(f":{_port_of(link.url)}/", f":{port}/"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def measure(seconds: int, directory: Path) -> None:
    """Run the line and print the table."""
    appliance = appliance_of(directory, _free_port)
    (line,) = appliance.lines
    relays = [Relay(link, _free_port()) for link in line.links]
    links = tuple(_through(link, relay.port) for link, relay in zip(line.links, relays))
    async with contextlib.AsyncExitStack() as stack:
        rig = await stack.enter_async_context(Rig(appliance))
        await rig.start_twins()
        for relay in relays:
            server = await asyncio.start_server(relay.client, "127.0.0.1", relay.port)
            stack.callback(server.close)
            stack.callback(relay.stop)
        rig.appliance = replace(appliance, lines=(replace(line, links=links),))
        rig.start_app()
        await rig.run(START_S)
        before = [(replace(relay.out), replace(relay.back)) for relay in relays]
        await rig.run(seconds)
        print("| link | direction | messages/s | payload B/s | on the wire, at most B/s |")
        print("|---|---|---|---|---|")
        for relay, (out, back) in zip(relays, before):
            for name, count, was in (
                ("to the device", relay.out, out), ("from it", relay.back, back),
            ):  # fmt: skip
                messages, payload, wire = count.since(was, seconds)
                print(f"| {relay.name} | {name} | {messages:.1f} | {payload:.0f} | {wire:.0f} |")
        for relay, (out, back) in zip(relays, before):
            print(
                f"{relay.name}: {relay.connections} connection(s); first {START_S} s: "
                f"{out.payload} B out, {back.payload} B in"
            )
        verified = rig.runner.publisher.counters.verified
        print(f"{seconds} s; block W written and read back {verified} times")
        await rig.stop_app()


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=600)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as scratch:
        virtual_time.run(measure(options.seconds, Path(scratch)))


if __name__ == "__main__":
    main()
