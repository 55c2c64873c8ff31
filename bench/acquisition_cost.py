"""What a Modbus poll costs in CPU, as a ratio to libmodbus (C) measured in the same run.

    python bench/acquisition_cost.py                 # 51 and 10,000 float32 tags, about a minute

A libmodbus server in a process of its own answers everybody; only the client's CPU time counts.
The clients take turns in short rounds, so that a busy machine hits all of them; the table gives
medians. A round counts only if every value is exactly right. Needs libmodbus (apt-get install
libmodbus5); uvloop is measured where it is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import ctypes.util
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from pymodbus.client import AsyncModbusTcpClient

from edge.config.types import ModbusLink, ModbusSource, TagRow
from edge.core.codec import Encoding
from edge.core.tags import Tag
from edge.drivers.modbus import ModbusDriver
from edge.runtime.loop import loop_factory

TAGS_PER_READ = 62
REGISTERS = 20_000
FLOAT32 = AsyncModbusTcpClient.DATATYPE.FLOAT32
GOALS = {51: {"ours": 18.0, "ours, uvloop": 8.0}, 10_000: {"ours, uvloop": 8.0}}
"""Largest permitted ratio to libmodbus."""


def values(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What the device shows: a different float in every tag."""
    return (np.arange(count, dtype=np.float32) * np.float32(1.25)) + np.float32(0.5)


def reads(count: int) -> list[tuple[int, int]]:
    """(first register, number of registers) of one poll."""
    return [
        (2 * at, 2 * min(TAGS_PER_READ, count - at)) for at in range(0, count, TAGS_PER_READ)
    ]


def library() -> ctypes.CDLL:
    """libmodbus. Raises OSError where it is not installed."""
    lib = ctypes.CDLL(ctypes.util.find_library("modbus") or "libmodbus.so.5")
    lib.modbus_new_tcp.restype = ctypes.c_void_p
    lib.modbus_mapping_new.restype = ctypes.c_void_p
    return lib


def serve(port: Any) -> None:
    """A libmodbus server for one client after the other; sends its port when it listens."""
    import select
    import socket

    lib = library()
    words = values(REGISTERS // 2).astype(">f4").view(">u2").astype(np.uint16)
    mapping = ctypes.c_void_p(lib.modbus_mapping_new(0, 0, REGISTERS, 0))
    # struct modbus_mapping_t: eight ints, then the tables' pointers; tab_registers is the last.
    address = ctypes.cast(mapping, ctypes.POINTER(ctypes.c_void_p))[7]
    ctypes.memmove(address, words.ctypes.data, words.nbytes)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    context = ctypes.c_void_p(lib.modbus_new_tcp(b"127.0.0.1", free))
    listening = lib.modbus_tcp_listen(context, 8)
    port.send(free)
    clients: list[int] = []
    query = (ctypes.c_uint8 * 260)()
    while True:
        for fd in select.select([listening, *clients], [], [])[0]:
            if fd == listening:
                number = ctypes.c_int(listening)
                clients.append(lib.modbus_tcp_accept(context, ctypes.byref(number)))
                continue
            lib.modbus_set_socket(context, fd)
            size = lib.modbus_receive(context, query)
            if size > 0:
                lib.modbus_reply(context, query, size, mapping)
            elif size < 0:
                clients.remove(fd)


class Bench(Protocol):
    """One client: `poll` reads every tag once."""

    def poll(self, times: int) -> np.ndarray[Any, Any]: ...

    def close(self) -> None: ...


class Libmodbus:
    """The floor: the C library, one numpy view per block."""

    def __init__(self, port: int, count: int) -> None:
        self._lib = library()
        self._context = ctypes.c_void_p(self._lib.modbus_new_tcp(b"127.0.0.1", port))
        assert self._lib.modbus_connect(self._context) == 0
        self._words = np.empty(2 * count, np.uint16)
        at = self._words.ctypes.data
        self._reads = [(first, n, ctypes.c_void_p(at + 2 * first)) for first, n in reads(count)]

    def poll(self, times: int) -> np.ndarray[Any, Any]:
        read, context = self._lib.modbus_read_registers, self._context
        for _ in range(times):
            for first, n, target in self._reads:
                assert read(context, first, n, target) == n
            found = self._words.reshape(-1, 2)[:, ::-1].copy().view(np.float32)[:, 0]
        return found

    def close(self) -> None:
        self._lib.modbus_close(self._context)


class Ours:
    """The guarded driver."""

    def __init__(self, port: int, count: int, factory: Any = None) -> None:
        self._runner = asyncio.Runner(loop_factory=factory)
        link = ModbusLink(
            name="plc", host="127.0.0.1", port=port, max_registers=2 * TAGS_PER_READ,
            timeout_ms=5000,
        )  # fmt: skip
        rows = [_row(i) for i in range(count)]
        self._runner.run(self._start(link, rows))

    async def _start(self, link: ModbusLink, rows: list[TagRow]) -> None:
        self._driver = ModbusDriver(link, rows, {})
        self._owner = asyncio.create_task(self._driver.run())
        while not self._driver.counters.connected:
            await asyncio.sleep(0.01)
            await self._driver.read()

    def poll(self, times: int) -> np.ndarray[Any, Any]:
        async def main() -> np.ndarray[Any, Any]:
            for _ in range(times):
                sample = await self._driver.read()
            return sample.values

        return self._runner.run(main())

    def close(self) -> None:
        self._owner.cancel()
        self._runner.close()


class Pymodbus:
    """The usual idiom: read, then convert. `per_tag`: slice and convert every tag on its own."""

    def __init__(self, port: int, count: int, *, per_tag: bool) -> None:
        self._runner = asyncio.Runner()
        self._reads, self._per_tag = reads(count), per_tag
        self._runner.run(self._start(port))

    async def _start(self, port: int) -> None:
        self._client = AsyncModbusTcpClient("127.0.0.1", port=port)
        assert await self._client.connect()

    def poll(self, times: int) -> np.ndarray[Any, Any]:
        convert = self._client.convert_from_registers

        async def main() -> list[Any]:
            for _ in range(times):
                found: list[Any] = []
                for first, n in self._reads:
                    answer = await self._client.read_holding_registers(first, count=n)
                    if answer.isError():
                        raise RuntimeError(str(answer))
                    if self._per_tag:
                        found += [
                            convert(answer.registers[i : i + 2], FLOAT32) for i in range(0, n, 2)
                        ]
                    else:
                        block = convert(answer.registers, FLOAT32)
                        found += block if isinstance(block, list) else [block]
            return found

        return np.array(self._runner.run(main()), np.float32)

    def close(self) -> None:
        self._client.close()
        self._runner.close()


def _row(i: int) -> TagRow:
    name = f"T{i}"
    return TagRow(
        tag=Tag(name=name, text=name, unit="", low=0, high=1e6, component="", part=""),
        source=ModbusSource(
            link="plc", unit_id=255, table="holding", address=2 * i,
            encoding=Encoding(type="float32"),
        ),
    )  # fmt: skip


def clients(port: int, count: int) -> dict[str, Bench]:
    """Every client that can run here, connected."""
    found: dict[str, Bench] = {
        "libmodbus, C": Libmodbus(port, count),
        "ours": Ours(port, count),
    }
    factory: Callable[[], asyncio.AbstractEventLoop] | None = loop_factory()
    if factory is not None:
        found["ours, uvloop"] = Ours(port, count, factory)
    found["pymodbus, convert per block"] = Pymodbus(port, count, per_tag=False)
    found["pymodbus, convert per tag"] = Pymodbus(port, count, per_tag=True)
    return found


def measure(port: int, count: int, rounds: int, polls: int) -> dict[str, tuple[float, float]]:
    """Client -> (CPU, elapsed) in microseconds per poll, medians over the rounds."""
    expected = values(count)
    taken: dict[str, list[tuple[float, float]]] = {}
    running = clients(port, count)
    for number in range(rounds + 1):  # the first one warms up
        for name, client in running.items():
            cpu_s, wall_s = time.process_time(), time.perf_counter()
            found = client.poll(polls)
            cost = (time.process_time() - cpu_s, time.perf_counter() - wall_s)
            if not np.array_equal(np.asarray(found, np.float32), expected):
                raise SystemExit(f"{name}: a value is wrong; nothing here counts")
            if number:
                taken.setdefault(name, []).append((cost[0] / polls, cost[1] / polls))
    for client in running.values():
        client.close()
    return {
        name: (
            statistics.median(c for c, _ in costs) * 1e6,
            statistics.median(w for _, w in costs) * 1e6,
        )
        for name, costs in taken.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    try:
        library()
    except OSError as error:
        print(f"libmodbus is not here ({error}); apt-get install libmodbus5", file=sys.stderr)
        return 1
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    missed = 0
    print("| client | tags | CPU/poll | elapsed/poll | CPU, ratio to C | goal |")
    print("|---|---|---|---|---|---|")
    try:
        port = ours.recv()
        for count, polls in ((51, 300), (10_000, 3)):
            found = measure(port, count, options.rounds, polls)
            floor_us = found["libmodbus, C"][0]
            for name, (cpu_us, wall_us) in found.items():
                goal = GOALS[count].get(name)
                ratio = cpu_us / floor_us
                missed += goal is not None and ratio > goal
                print(
                    f"| {name} | {count} | {cpu_us:.0f} µs | {wall_us:.0f} µs | {ratio:.1f} | "
                    f"{'' if goal is None else f'at most {goal:g}'} |"
                )
    finally:
        server.terminate()
        server.join()
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
