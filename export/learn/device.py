"""Where a training runs: the one place that asks torch for a GPU.

    auto     CUDA if torch sees a GPU, else the CPU
    cpu      the CPU
    cuda     the GPU of this process: the first, under torchrun that of its local rank
    cuda:N   GPU number N

Networks go there with `.to(device)`, data follows the network (`Network.device`); everything that
leaves a training is on the CPU again. A GPU rounds differently from a CPU and may sum in another
order, so the same seed gives the same numbers on one kind of device, not across them.
"""

from __future__ import annotations

import os
import re

import torch

from export.faults import ExportError


class DeviceError(ExportError):
    """The device asked for is not there; the text says what is."""


def choose(name: str = "auto") -> torch.device:
    """The device of that name, set to repeat itself: no TF32, no choice of algorithm by timing.

    Raises:
        DeviceError: no such name, or no such GPU.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise DeviceError(f"--device {name}: permitted are auto, cpu, cuda and cuda:N")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not found):
        return torch.device("cpu")
    if not found:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without it"
        raise DeviceError(
            f"--device {name}: torch {torch.__version__} ({built}) sees no GPU; install a CUDA "
            "build of torch and a driver, or use --device cpu"
        )
    _, _, number = name.partition(":")
    index = int(number or os.environ.get("LOCAL_RANK", "0"))
    if index >= found:
        raise DeviceError(
            f"--device cuda:{index}: this machine has {found} GPU(s), cuda:0 to cuda:{found - 1}; "
            "choose one of them or start fewer processes"
        )
    # Read by cuBLAS at its first call; without it a matrix product may differ from run to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


def repeatable(device: torch.device) -> None:
    """Deterministic algorithms: an error where there is none on the CPU, a warning on a GPU."""
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Around the trunk of the network: bfloat16 where the recipe's training.precision says so.

    float64 is never cast. bfloat16 has the range of float32, so no loss needs to be scaled.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
