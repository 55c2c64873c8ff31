"""The ONNX Runtime of this machine: is it one we know, and does its CUDA provider really start.

A session that was asked for CUDA and cannot have it runs on the CPU without a word that a program
could see, so only what the session itself reports counts.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from export.faults import ExportError

Provider = Literal["cpu", "cuda"]

OLDEST, BEFORE = (1, 23), (2, 0)
"""Versions of onnxruntime that quantise and run our graphs as tested; as in pyproject.toml."""

_CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
"""As the edge has them: TF32 would not give the numbers of the CPU."""


class RuntimeUnfitError(ExportError):
    """No onnxruntime, or one we do not know; the text says which to install."""


def check_version(version: str) -> None:
    """Raise RuntimeUnfitError unless `version` is one we know."""
    wanted = f"onnxruntime>={OLDEST[0]}.{OLDEST[1]},<{BEFORE[0]}"
    remedy = f"install '{wanted}' (extra cpu) or the same of onnxruntime-gpu (extra gpu)"
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        raise RuntimeUnfitError(f"onnxruntime {version!r}: a version nobody can place; {remedy}")
    place = int(found[1]), int(found[2])
    if place < OLDEST:
        raise RuntimeUnfitError(f"onnxruntime {version}: too old for opset and quantiser; {remedy}")
    if place >= BEFORE:
        raise RuntimeUnfitError(f"onnxruntime {version}: newer than any we have tried; {remedy}")


def runtime() -> Any:
    """The onnxruntime module. Raises RuntimeUnfitError."""
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeUnfitError(f"no onnxruntime ({error}); pip install 'ncm-edge[cpu]'") from error
    # Both packages installed over one another leave a module without a version.
    check_version(str(getattr(onnxruntime, "__version__", "")))
    return onnxruntime


def session(model: Path, provider: Provider = "cpu") -> Any:
    """A one-thread session, on the GPU if `provider` is "cuda" and CUDA starts (`why_no_cuda`)."""
    ort = runtime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    providers: list[Any] = ["CPUExecutionProvider"]
    if provider == "cuda":
        providers.insert(0, ("CUDAExecutionProvider", _CUDA_OPTIONS))
    return ort.InferenceSession(model.read_bytes(), options, providers=providers)


def why_no_cuda(model: Path) -> str:
    """Why `model` cannot run on a GPU here; empty if it can."""
    ort = runtime()
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return f"onnxruntime {ort.__version__} here is the CPU package (extra gpu has CUDA)"
    first = session(model, "cuda").get_providers()[0]
    if first != "CUDAExecutionProvider":
        return f"the CUDA provider of onnxruntime {ort.__version__} does not start (GPU, driver?)"
    return ""
