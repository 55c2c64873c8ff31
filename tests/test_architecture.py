"""Borders that the import contracts cannot see: what a process really loads, and what it opens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def _python(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_appliance_loads_neither_the_workshop_nor_an_unused_protocol() -> None:
    heavy = ("torch", "onnx", "pandas", "export", "pymodbus", "asyncua", "edge.twin")
    done = _python(f"import sys, edge.app; print([m for m in {heavy!r} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("package", ["edge", "export"])
def test_telemetry_is_off_before_the_runtime_can_be_loaded(package: str) -> None:
    done = _python(f"import {package}, os; print(os.environ['ORT_DISABLE_TELEMETRY'])")
    assert done.stdout.strip() == "1"


def test_an_inference_session_opens_no_connection_and_leaves_no_file(tmp_path: Path) -> None:
    code = """
import sys
opened = []
sys.addaudithook(lambda name, args: opened.append(args) if name.startswith("socket.") else None)
from pathlib import Path
from edge.runtime.bundle import load_bundle
from edge.runtime.infer import Engine
bundle = load_bundle(Path("firmware_config/models/ncm-1"))
engine = Engine(bundle, "auto")
loc, scale = bundle.reference(range(1))
import numpy as np
valid = np.ones((1, 1, loc.shape[1]), np.float32)
engine.run(engine.initial_state(), loc[None], valid, loc[None], scale[None])
print(engine.provider, opened)
"""
    done = _python(code, HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(maxsplit=1)[1].strip() == "[]"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
