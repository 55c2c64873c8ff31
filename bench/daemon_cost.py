"""What the daemon costs at its real load: one line, 51 tags, 1 Hz, everything on loopback.

Three processes on the ordinary clock, on ports of their own: `ncm-edge twin` (simulated plant on
real servers), `ncm-edge run`, and beside them an idle asyncio process as the floor. Prints CPU time
per second, resident memory, threads and start-up time, and the ratio to the floor, of one window.
CPU time is the scheduler's own count in nanoseconds: what wakes up once a second for some
milliseconds is mostly missed by the clock ticks that `ps` and `top` count.

    python bench/daemon_cost.py --seconds 120
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 60.0
FLOOR = """
import asyncio
async def main():
    while True:
        await asyncio.sleep(1.0)
asyncio.run(main())
"""


def main() -> int:
    """Print the table; 0, or 1 if something did not start or a row was missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the window")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        try:
            return _measure(Path(scratch), stack, options.seconds)
        except TimeoutError as error:
            print(error, file=sys.stderr)
            return 1


def _measure(scratch: Path, stack: contextlib.ExitStack, seconds: float) -> int:
    config = _config_on_free_ports(scratch / "config")
    edge = [sys.executable, "-m", "edge"]
    twin = _start(stack, [*edge, "twin", "--config", str(config)])
    _first_line(twin, b"link dcs: serving")
    floor = _start(stack, [sys.executable, "-c", FLOOR])

    ear = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    ear.bind(str(scratch / "notify"))
    begin_s = time.monotonic()
    run = ["run", "--config", str(config), "--state", str(scratch / "state")]
    run += ["--runtime", str(scratch / "run")]
    daemon = _start(stack, [*edge, *run], NOTIFY_SOCKET=str(scratch / "notify"))
    _heard(ear, b"READY=1")
    ready_s = time.monotonic() - begin_s
    # The first minute belongs to connecting and to the first inference, not to the load.
    while not _status(scratch)["verdict"]["valid"]:
        _heard(ear, b"STATUS=")

    rows = {"daemon": daemon, "twin (servers and plant)": twin, "idle asyncio process": floor}
    cycles, before = _status(scratch)["cycles"], {n: _cpu_s(p) for n, p in rows.items()}
    begin_s = time.monotonic()
    while time.monotonic() < begin_s + seconds:
        _heard(ear, b"STATUS=")
    passed_s = time.monotonic() - begin_s
    cpu_ms = {n: (_cpu_s(p) - before[n]) / passed_s * 1e3 for n, p in rows.items()}
    status = _status(scratch)

    print(f"simulated plant, 1 line, 51 tags, 1 Hz, window {passed_s:.0f} s")
    heads = f"{'CPU ms/s':>9}{'RSS MB':>8}{'CPU ratio':>11}{'RSS ratio':>11}{'threads':>9}"
    print(f"{'process':26}{heads}")
    floor_mb = psutil.Process(floor.pid).memory_info().rss / 1e6
    floor_ms = cpu_ms["idle asyncio process"]
    for name, process in rows.items():
        seen = psutil.Process(process.pid)
        rss_mb = seen.memory_info().rss / 1e6
        print(
            f"{name:26}{cpu_ms[name]:9.2f}{rss_mb:8.1f}{cpu_ms[name] / floor_ms:11.1f}"
            f"{rss_mb / floor_mb:11.1f}{seen.num_threads():9d}"
        )
    decided = status["cycles"] - cycles
    print(f"daemon ready {ready_s:.1f} s after its start; {decided} rows decided in the window")
    print(f"  {status['provider']}, {status['provider_reason']}; {status['data_text']}")
    return 0 if abs(decided - passed_s) <= 2 else 1


def _config_on_free_ports(target: Path) -> Path:
    shutil.copytree(ROOT / "firmware_config", target)
    line = target / "lines" / "ncm-1" / "line.toml"
    text = line.read_text(encoding="utf-8")
    for shipped in ("port = {}", "127.0.0.1:{}/"):
        number = {"port = {}": 5020, "127.0.0.1:{}/": 4840}[shipped]
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            text = text.replace(shipped.format(number), shipped.format(sock.getsockname()[1]))
    line.write_text(text, encoding="utf-8")
    return target


def _start(
    stack: contextlib.ExitStack, command: list[str], **environ: str
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1", **environ},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _first_line(process: subprocess.Popen[bytes], text: bytes) -> None:
    assert process.stdout is not None
    while select.select([process.stdout], [], [], PATIENCE_S)[0]:
        line = process.stdout.readline()
        if text in line:
            return
        if not line:
            break
    raise TimeoutError(f"{' '.join(map(str, process.args))}: did not say {text.decode()!r}")


def _heard(ear: socket.socket, prefix: bytes) -> None:
    end_s = time.monotonic() + 2 * PATIENCE_S
    while select.select([ear], [], [], max(end_s - time.monotonic(), 0.0))[0]:
        if ear.recv(65536).startswith(prefix):
            return
    raise TimeoutError(f"the daemon did not say {prefix.decode()!r}")


def _status(scratch: Path) -> dict[str, Any]:
    text = (scratch / "run" / "status.json").read_text(encoding="utf-8")
    line: dict[str, Any] = json.loads(text)["lines"][0]
    return line


def _cpu_s(process: subprocess.Popen[bytes]) -> float:
    """CPU seconds of all threads that live; a thread that ends takes its share with it."""
    tasks = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9


if __name__ == "__main__":
    raise SystemExit(main())
