"""What the daemon costs at its real load: one line, 51 tags, 1 Hz, everything on loopback.

Three processes on the ordinary clock: `ncm-edge twin` (simulated plant on real servers), `ncm-edge
run`, and beside them an idle asyncio process as the floor. Prints CPU time per second, resident
memory and start-up time, and the ratio to the floor, all measured in the same window.

    python bench/daemon_cost.py --seconds 120
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
FLOOR = (
    "import asyncio\nasync def main():\n while True: await asyncio.sleep(1)\nasyncio.run(main())"
)


def main() -> int:
    """Print the table; 0, or 1 if the daemon did not become ready."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=120.0, help="length of the window")
    options = parser.parse_args()
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as scratch:
        ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ear.bind(f"{scratch}/notify")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}
        edge = [sys.executable, "-m", "edge"]
        try:
            processes.append(subprocess.Popen([*edge, "twin", "--line", "ncm-1"], **quiet))
            processes.append(subprocess.Popen([sys.executable, "-c", FLOOR], **quiet))
            begin = time.monotonic()
            run = [*edge, "run", "--state", f"{scratch}/state", "--runtime", f"{scratch}/run"]
            environ = {**os.environ, "NOTIFY_SOCKET": f"{scratch}/notify"}
            processes.append(subprocess.Popen(run, env=environ, **quiet))
            ready = False
            while not ready and select.select([ear], [], [], 60.0)[0]:
                ready = ear.recv(65536).startswith(b"READY=1")
            if not ready:
                print("the daemon did not become ready within 60 s", file=sys.stderr)
                return 1
            start_s = time.monotonic() - begin
            time.sleep(10.0)  # the first seconds belong to connecting, not to the load
            rows = [("daemon", processes[2]), ("twin (servers and plant)", processes[0])]
            rows.append(("idle asyncio process", processes[1]))
            before = [_cpu_s(process) for _, process in rows]
            time.sleep(options.seconds)
            spent = [(_cpu_s(p) - b) / options.seconds * 1e3 for (_, p), b in zip(rows, before)]
            print(f"simulated plant, 1 line, 51 tags, 1 Hz, window {options.seconds:.0f} s")
            print(f"{'process':26} {'CPU ms/s':>9} {'RSS MB':>8} {'RSS ratio':>10}")
            floor_mb = _rss_mb(processes[1])
            for (name, process), cpu_ms in zip(rows, spent):
                mb = _rss_mb(process)
                print(f"{name:26} {cpu_ms:9.2f} {mb:8.1f} {mb / floor_mb:10.1f}")
            print(f"daemon ready {start_s:.1f} s after its start")
        finally:
            for process in processes:
                process.kill()
                process.wait()
            ear.close()
    return 0


def _cpu_s(process: subprocess.Popen[bytes]) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return float(times.user + times.system)


def _rss_mb(process: subprocess.Popen[bytes]) -> float:
    return float(psutil.Process(process.pid).memory_info().rss) / 1e6


if __name__ == "__main__":
    raise SystemExit(main())
