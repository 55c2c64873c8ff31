"""Borders that the import contracts cannot see: what a process really loads, and what it opens."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge.core.conditions import TABLE, Condition

ROOT = Path(__file__).parent.parent
WORKSHOP = ("torch", "onnx", "onnxscript", "pandas", "export")
PROTOCOLS = ("pymodbus", "asyncua")


def _python(code: str, *prefix: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, sys.executable, "-c", code],
        cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _loaded(code: str, names: tuple[str, ...]) -> str:
    """Which of `names` a fresh interpreter has loaded after `code`."""
    done = _python(f"{code}\nimport sys; print([m for m in {names!r} if m in sys.modules])")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_appliance_loads_neither_the_workshop_nor_an_unused_protocol() -> None:
    assert _loaded("import edge.app", (*WORKSHOP, *PROTOCOLS, "edge.twin")) == "[]"


@pytest.mark.parametrize(
    ("line", "protocols"), [("ncm-1", "['pymodbus', 'asyncua']"), ("skab", "['pymodbus']")]
)
def test_a_protocol_is_loaded_when_the_configuration_names_it(line: str, protocols: str) -> None:
    code = f"""
import asyncio
from pathlib import Path
from edge.config.load import load
from edge.drivers import build_all
async def main():
    build_all(load(Path("firmware_config"), lines=({line!r},)).lines[0])
asyncio.run(main())
"""
    assert _loaded(code, PROTOCOLS) == protocols


def test_check_answers_on_a_machine_without_any_runtime() -> None:
    code = "from edge.__main__ import main; assert main(['check']) == 0"
    names = (*WORKSHOP, *PROTOCOLS, "onnxruntime", "edge.app", "edge.twin")
    assert _loaded(code, names).splitlines()[-1] == "[]"


def _sources(folder: str) -> list[Path]:
    found = (ROOT / folder).rglob("*.py")
    return sorted(path for path in found if "node_modules" not in path.parts)


@pytest.mark.parametrize("path", _sources("edge/core"), ids=lambda path: path.stem)
def test_the_core_neither_waits_nor_reads_a_clock_nor_opens_a_file(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    allowed = {"numpy", "edge"} | {
        "__future__", "collections", "contextlib", "dataclasses", "enum", "functools", "itertools",
        "math", "operator", "re", "struct", "types", "typing", "zlib",
    }  # fmt: skip
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            assert name.partition(".")[0] in allowed, f"{path.name}:{node.lineno}: import {name}"
            if name.startswith("edge"):
                assert name.startswith("edge.core"), f"{path.name}:{node.lineno}: import {name}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("open", "print", "input"), f"{path.name}:{node.lineno}"


CLOCK_READERS = {
    "edge/runtime/clock.py": "the clock itself",
    "edge/runtime/virtual_time.py": "the pace of virtual time",
    "edge/cli/status.py": "the age of the status file",
    "edge/runtime/notify.py": "the kernel clock the service manager compares with",
}
"""Everything else gets its time from an injected clock or from the event loop."""


def _calls(path: Path, names: tuple[str, ...]) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = (ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(name in names for name in called)


def test_only_the_clock_reads_the_clock() -> None:
    clocks = (
        "time.clock_gettime_ns",
        "time.time",
        "time.time_ns",
        "time.monotonic",
        "datetime.now",
        "datetime.utcnow",
    )
    readers = {str(p.relative_to(ROOT)) for p in _sources("edge") if _calls(p, clocks)}
    assert readers == set(CLOCK_READERS)


def test_no_test_sleeps() -> None:
    sleepers = [path.name for path in _sources("tests") if _calls(path, ("time.sleep", "sleep"))]
    assert not sleepers


def test_every_condition_tells_the_operator_what_and_what_to_do() -> None:
    assert set(TABLE) == set(Condition)
    for condition, row in TABLE.items():
        for text in (row.cause, row.action):
            assert re.fullmatch(r"[A-Z`].*\.", text, re.DOTALL), f"{condition}: {text!r}"
        assert row.cause != row.action


@pytest.mark.parametrize("name", ["edge/app.py", "edge/__main__.py"])
def test_the_composition_root_stays_on_a_few_screens(name: str) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) < 300


@pytest.mark.parametrize("package", ["edge", "export"])
def test_telemetry_is_off_before_the_runtime_can_be_loaded(package: str) -> None:
    done = _python(f"import {package}, os; print(os.environ['ORT_DISABLE_TELEMETRY'])")
    assert done.stdout.strip() == "1"


def test_nobody_loads_the_runtime_before_its_telemetry_is_off() -> None:
    # Inside the two packages their __init__ comes first; elsewhere a sorted import would not.
    early = [
        str(path.relative_to(ROOT))
        for folder in ("tests", "bench")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        and any(
            name.split(".")[0] == "onnxruntime"
            for name in (getattr(node, "module", None) or "", *(a.name for a in node.names))
        )
    ]
    assert not early


SESSION = """
import sys
heard = []
hook = lambda name, args: heard.append((name, args)) if name.startswith("socket.") else None
sys.addaudithook(hook)
from pathlib import Path
import numpy as np
from edge.runtime.bundle import load_bundle
from edge.runtime.infer import Engine
bundle = load_bundle(Path("firmware_config/models/ncm-1"))
engine = Engine(bundle, "auto")
loc, scale = bundle.reference(range(1))
valid = np.ones((1, 1, loc.shape[1]), np.float32)
engine.run(engine.initial_state(), loc[None], valid, loc[None], scale[None])
print(heard)
"""


def test_an_inference_session_opens_no_connection_and_leaves_no_file(tmp_path: Path) -> None:
    # The files are the witness for the native code of the runtime, which no audit hook sees: with
    # telemetry on, a session leaves a device id and an event data base in the cache directory.
    done = _python(SESSION, HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_an_inference_session_makes_no_network_system_call(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    prefix = ("strace", "-f", "-qq", "-e", "trace=%network", "-o", str(trace))
    done = _python(SESSION, *prefix, HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path))
    if not trace.exists() or "PTRACE" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    calls = trace.read_text(encoding="utf-8").splitlines()
    # Python asks the C library about pipes and terminals of its own; nothing that leaves the box.
    assert not [call for call in calls if re.search(r"AF_INET|AF_NETLINK|sin6?_addr", call)]
