"""A line that was really run for some minutes, and the page beside what that left."""

from __future__ import annotations

import http.client
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge.runtime import virtual_time
from edge.twin.operator import AcceptAfter
from tests.line import CONFIG, ROOT, Rig, appliance_of

PATIENCE_S = 60.0
MINUTES = 5


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Status, words and history of a line whose model flags anything, as the daemon left them."""
    directory = tmp_path_factory.mktemp("recorded")
    kept = tmp_path_factory.mktemp("kept")
    bundle = CONFIG / "models" / "ncm-1"
    appliance = appliance_of(directory, free, bundle=bundle, warn_probability=1e-6)

    async def main() -> None:
        async with Rig(appliance, operator=AcceptAfter(60.0)) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(60 * MINUTES)
            # At a clean stop the daemon takes both away.
            for name in ("status.json", "words.json"):
                shutil.copy(directory / name, kept / name)

    virtual_time.run(main())
    shutil.copytree(directory / "history", kept / "history")
    return kept


@dataclass
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class Running:
    """`ncm-edge page` as a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, runtime: Path) -> None:
        self.process, self.port, self.runtime = process, port, runtime
        self.url = f"http://127.0.0.1:{port}"

    def ask(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> Reply:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            link.putrequest(method, path, skip_host="Host" in (headers or {}))
            for key, value in (headers or {}).items():
                link.putheader(key, value)
            link.endheaders()
            answer = link.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()},
                         answer.read())  # fmt: skip
        finally:
            link.close()

    def pulse(self) -> None:
        """What the daemon does every second: the files are new."""
        for name in ("status.json", "words.json"):
            if (self.runtime / name).exists():
                os.utime(self.runtime / name)

    def status(self, **changes: Any) -> None:
        """Write a status with other values in its first line, or `None` to take it away."""
        path = self.runtime / "status.json"
        document = json.loads(path.read_text(encoding="utf-8"))
        document["lines"][0] |= changes
        new = path.with_suffix(".new")
        new.write_text(json.dumps(document), encoding="utf-8")
        new.replace(path)


@contextmanager
def page_of(*arguments: str, port: int = 0, runtime: Path = Path()) -> Iterator[Running]:
    """Start the page and wait until it says where it is."""
    port = port or free()
    started = subprocess.Popen(
        [sys.executable, "-m", "edge", "page", "--port", str(port), *arguments], cwd=ROOT,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert started.stderr is not None
    try:
        said, end_s = b"", time.monotonic() + PATIENCE_S
        while b"the page: " not in said:
            assert select.select([started.stderr], [], [], max(0.0, end_s - time.monotonic()))[0]
            part = os.read(started.stderr.fileno(), 65536)
            assert part, f"the page ended: {said.decode()}"
            said += part
        yield Running(started, port, runtime)
    finally:
        if started.poll() is None:
            started.terminate()
        started.communicate(timeout=PATIENCE_S)


@pytest.fixture(scope="session")
def runtime(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runtime directory the tests may change."""
    found = tmp_path_factory.mktemp("runtime")
    for name in ("status.json", "words.json"):
        shutil.copy(recorded / name, found / name)
    return found


@pytest.fixture(scope="session")
def running(recorded: Path, runtime: Path) -> Iterator[Running]:
    """One page for the session."""
    with page_of("--runtime", str(runtime), "--state", str(recorded), runtime=runtime) as found:
        yield found


@pytest.fixture
def page(running: Running, recorded: Path) -> Running:
    """The page, its files as recorded and new."""
    for name in ("status.json", "words.json"):
        shutil.copy(recorded / name, running.runtime / name)
    running.pulse()
    return running
