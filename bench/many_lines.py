"""A hundred lines on one core: does every row arrive, how late, and what does it cost?

N lines x 51 float tags at 1 Hz, each with a Modbus device of its own. The devices are N plain
servers in another process; the appliance is pinned to one core and runs three times: the
acquisition alone (drivers and pollers), the whole daemon without a model (ring files, decisions,
block W written and read back, status file), and the whole daemon for the first of the lines while
the shipped model infers without a pause, as it does when it takes up a ring of 18 h. Beside each,
on the same core, a C loop on absolute `clock_nanosleep` deadlines shows how late the machine itself
is; without a C compiler that column is left out and the reason is printed.

    python bench/many_lines.py --lines 100 --seconds 60

Exit code 1 when a slot was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import logging
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np

from edge.app import App
from edge.config.load import load
from edge.config.types import Line, ModbusLink, ModbusSource, TagRow, WordBlock
from edge.core.codec import Encoding
from edge.core.histogram import Histogram
from edge.drivers import build_all
from edge.runtime import assemble
from edge.runtime.bundle import LoadedBundle, load_bundle
from edge.runtime.clock import SystemClock
from edge.runtime.infer import BLOCK_STEPS, Engine
from edge.runtime.notify import Notifier
from edge.runtime.poll import Poller

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "firmware_config" / "models" / "ncm-1"
WARM_UP_S = 6.0
"""Connecting and first rows: not the load."""
C_LOOP = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int main(int argc, char **argv) {
    long period = 10000000L, count = atol(argv[1]) * 100;
    struct timespec due, now;
    clock_gettime(CLOCK_MONOTONIC, &due);
    for (long i = 0; i < count; i++) {
        due.tv_nsec += period;
        if (due.tv_nsec >= 1000000000L) { due.tv_nsec -= 1000000000L; due.tv_sec++; }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
        clock_gettime(CLOCK_MONOTONIC, &now);
        printf("%ld\n", (now.tv_sec - due.tv_sec) * 1000000000L + now.tv_nsec - due.tv_nsec);
    }
    return argc < 2;
}
"""


class Exact(Histogram):
    """Keeps every duration: a bench may afford what the daemon may not."""

    def __init__(self) -> None:
        super().__init__()
        self.all_s: list[float] = []

    def add(self, seconds: float) -> None:
        self.all_s.append(seconds)


# --- the devices, in their own process ---


class Device(asyncio.Protocol):
    """Answers reads with what was written, or with floats; takes writes. No checks: all is well."""

    def __init__(self) -> None:
        self.words = bytearray(struct.pack(">f", 20.0) * 2000)
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.rest += data
        while len(self.rest) >= 12 and len(self.rest) >= 6 + (size := self._size()):
            frame, self.rest = self.rest[: 6 + size], self.rest[6 + size :]
            function, address, count = struct.unpack_from(">BHH", frame, 7)
            if function == 16:
                self.words[2 * address : 2 * (address + count)] = frame[13:]
                body = frame[8:12]
            else:
                found = self.words[2 * address : 2 * (address + count)]
                body = bytes([2 * count]) + bytes(found)
            head = frame[:2] + struct.pack(">HHBB", 0, len(body) + 2, frame[6], function)
            self.transport.write(head + body)

    def _size(self) -> int:
        return int.from_bytes(self.rest[4:6], "big")


async def serve(ports: Sequence[int]) -> None:
    """Every device until the parent closes our standard input."""
    loop = asyncio.get_running_loop()
    for port in ports:
        await loop.create_server(Device, "127.0.0.1", port)
    print("serving", flush=True)
    await asyncio.to_thread(sys.stdin.read)


# --- the appliance ---


def lines_of(count: int, ports: Sequence[int], directory: Path) -> tuple[Line, ...]:
    """The shipped line as `count` Modbus lines: all 51 tags as floats of one block."""
    shipped = load(ROOT / "firmware_config", lines=("ncm-1",)).lines[0]
    encoding = Encoding(type="float32")

    def moved(rows: Sequence[TagRow], first: int) -> tuple[TagRow, ...]:
        return tuple(
            dataclasses.replace(
                row,
                tag=dataclasses.replace(row.tag, low=0.0, high=100.0),
                source=ModbusSource(
                    link="plc", unit_id=1, table="holding", address=first + 2 * k, encoding=encoding
                ),
            )
            for k, row in enumerate(rows)
        )

    return tuple(
        dataclasses.replace(
            shipped,
            name=f"line-{n}",
            links=(ModbusLink(name="plc", host="127.0.0.1", port=ports[n]),),
            tags=moved(shipped.tags, 0),
            context=(),
            outputs=dataclasses.replace(
                shipped.outputs, block_w=WordBlock(link="plc", count=64, address=1000), block_r=None
            ),
            model=dataclasses.replace(shipped.model, bundle=directory / "none"),
            ring_rows=600,
            schedule=None,
            trim=None,
        )
        for n in range(count)
    )


async def acquisition(lines: Sequence[Line], _directory: Path, measure: Measure) -> None:
    """Drivers and pollers alone."""
    drivers = [build_all(line) for line in lines]
    pollers = [Poller(line, made, SystemClock()) for line, made in zip(lines, drivers, strict=True)]

    async def rows(poller: Poller) -> None:
        async with contextlib.aclosing(poller.rows()) as found:
            async for _ in found:
                pass

    async with asyncio.TaskGroup() as tasks:
        running = [
            *(tasks.create_task(d.run()) for made in drivers for d in made.values()),
            *(tasks.create_task(rows(poller)) for poller in pollers),
        ]
        await measure(pollers)
        for task in running:
            task.cancel()


async def inferring(lines: Sequence[Line], directory: Path, measure: Measure) -> None:
    """The whole daemon, and inference all the time, where the daemon infers: in a worker thread."""
    shipped = load_bundle(MODEL, assemble.tags_of(lines[0]), lines[0].row_s)
    assert isinstance(shipped, LoadedBundle), shipped
    engine, card = Engine(shipped, "cpu"), shipped.card
    steps, width = BLOCK_STEPS, len(card.tags)
    features = np.zeros((steps, width, len(card.features)), np.float32)

    async def infer() -> None:
        state = engine.initial_state()
        while True:
            _, state = await asyncio.to_thread(
                engine.run_blocks, state, features, np.ones((steps, width), np.float32), 0
            )

    busy = asyncio.create_task(infer())
    await daemon(lines, directory, measure)
    assert not busy.done(), busy
    busy.cancel()


async def daemon(lines: Sequence[Line], directory: Path, measure: Measure) -> None:
    """Everything but a model."""
    appliance = dataclasses.replace(
        load(ROOT / "firmware_config", lines=("ncm-1",)),
        state_dir=directory, runtime_dir=directory, lines=tuple(lines),
    )  # fmt: skip
    app = App(appliance, clock=SystemClock(), notifier=Notifier({}))
    running = asyncio.create_task(app.run())
    await measure([line.poller for line in app.lines])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


Measure = Callable[[Sequence[Poller]], Awaitable[None]]
MODES = {
    "acquisition alone": (acquisition, None),
    "whole daemon, no model": (daemon, None),
    "... one line, inferring": (inferring, 1),
}
"""What runs, and with how many of the lines; None: all."""


class Window:
    """What one run showed."""

    def __init__(self, seconds: float, c_loop: Path | None) -> None:
        self._seconds, self._c_loop = seconds, c_loop
        self.late_ms = np.zeros(0)
        self.c_late_ms = np.zeros(0)
        self.rows = self.missed = self.overruns = self.bad = 0
        self.cpu_ms_s = 0.0

    async def __call__(self, pollers: Sequence[Poller]) -> None:
        await asyncio.sleep(WARM_UP_S)
        before = [dataclasses.replace(poller.counters) for poller in pollers]
        late = [Exact() for _ in pollers]
        for poller, keep in zip(pollers, late, strict=True):
            poller.counters.late = keep
        c_loop = None
        if self._c_loop is not None:
            c_loop = await asyncio.create_subprocess_exec(
                str(self._c_loop), str(round(self._seconds)), stdout=subprocess.PIPE
            )
        loop = asyncio.get_running_loop()
        start_s, start_cpu_s = loop.time(), _cpu_s()
        if c_loop is not None:
            out, _ = await c_loop.communicate()
            self.c_late_ms = np.array(out.split(), float) / 1e6
        await asyncio.sleep(max(0.0, start_s + self._seconds - loop.time()))
        self.cpu_ms_s = (_cpu_s() - start_cpu_s) / (loop.time() - start_s) * 1e3
        self.late_ms = np.concatenate([keep.all_s for keep in late]) * 1e3
        for poller, then in zip(pollers, before, strict=True):
            self.rows += poller.counters.rows - then.rows
            self.missed += poller.counters.gap_rows - then.gap_rows
            self.overruns += poller.counters.overruns - then.overruns
            self.bad += int(np.isnan(poller.ages_s).sum())

    def text(self, name: str) -> str:
        late = " ".join(f"{x:6.2f}" for x in np.percentile(self.late_ms, (50, 99, 100)))
        c = "     -      -      -"
        if len(self.c_late_ms):
            c = " ".join(f"{x:6.2f}" for x in np.percentile(self.c_late_ms, (50, 99, 100)))
        return (
            f"{name:24}{self.rows:8}{self.missed:8}{self.overruns:9}{self.bad:7}   {late}   {c}"
            f"{self.cpu_ms_s:12.0f}"
        )


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _compiled(directory: Path) -> Path | None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        print("no C compiler (cc, gcc): the C loop is left out", file=sys.stderr)
        return None
    source, program = directory / "loop.c", directory / "loop"
    source.write_text(C_LOOP, encoding="utf-8")
    done = subprocess.run(
        [compiler, "-O2", "-o", program, source], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"{compiler}: {done.stderr.strip()}: the C loop is left out", file=sys.stderr)
        return None
    return program


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def main() -> int:
    """Print the table; 1 when a slot was missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lines", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each window")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--serve", type=int, nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
        return 0
    # A hundred lines without a model have a lot to say about it; here it is on purpose.
    logging.disable(logging.ERROR)
    cores = os.sched_getaffinity(0)
    ports = _free_ports(options.lines)
    others = sorted(cores - {options.core}) or sorted(cores)
    devices = subprocess.Popen(
        [sys.executable, __file__, "--serve", *map(str, ports)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    # Ring files in memory where there is such a place: a drive is not what is measured.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    missed = 0
    try:
        os.sched_setaffinity(devices.pid, others)
        assert devices.stdout is not None
        devices.stdout.readline()
        os.sched_setaffinity(0, {options.core})
        print(f"{options.lines} lines x 51 tags at 1 Hz, core {options.core} of {len(cores)}, "
              f"load {os.getloadavg()[0]:.1f}, {options.seconds:g} s each")  # fmt: skip
        print(f"{'':24}{'rows':>8}{'missed':>8}{'overruns':>9}{'no val':>7}   "
              f"{'late p50/p99/max':>20}"
              f"   {'C p50/p99/max, ms':>20}{'CPU ms/s':>12}")  # fmt: skip
        for name, (mode, first) in MODES.items():
            with tempfile.TemporaryDirectory(dir=memory) as scratch:
                directory = Path(scratch)
                window = Window(options.seconds, _compiled(directory))
                lines = lines_of(first or options.lines, ports, directory)
                asyncio.run(mode(lines, directory, window))
                print(window.text(name), flush=True)
                missed += window.missed
    finally:
        devices.terminate()
        devices.wait()
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
