"""A real Node-RED, its dashboard and the generated flow, as a process beside the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
RED = HERE / "node_modules" / "node-red" / "red.js"
NODE = shutil.which("node")
START_S = 90.0
missing = (
    "node is not installed" if NODE is None
    else "" if RED.exists()
    else "Node-RED is not installed: run `make test`, or `npm ci` in tests/hmi"
)  # fmt: skip


class NodeRed:
    """One running Node-RED; what it says is kept."""

    def __init__(self, folder: Path, flow: str, port: int) -> None:
        self.port = port
        self.said: list[str] = []
        (folder / "flow.json").write_text(flow, encoding="utf-8")
        self._started = threading.Event()
        self._process = subprocess.Popen(
            [str(NODE), str(RED), "-s", str(HERE / "settings.js"), "-u", str(folder)],
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "HMI_PORT": str(port)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def url(self, line: str) -> str:
        """The page of a line."""
        return f"http://127.0.0.1:{self.port}/dashboard/{line}"

    def wait(self) -> None:
        """Return once the flow runs."""
        assert self._started.wait(START_S), "Node-RED does not start:\n" + "".join(self.said)
        assert self._process.poll() is None, "Node-RED ended:\n" + "".join(self.said)

    def complaints(self) -> list[str]:
        """Errors of the flow and of Node-RED itself."""
        return [line for line in self.said if "[error]" in line]

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(20.0)
        self._reader.join(5.0)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(line)
            if "Started flows" in line:
                self._started.set()
        self._started.set()


@contextmanager
def node_red(folder: Path, flow: str, port: int) -> Iterator[NodeRed]:
    """A Node-RED that runs `flow`; ended afterwards, with what it said if that was not good."""
    running = NodeRed(folder, flow, port)
    try:
        yield running
    finally:
        running.stop()
