"""The training loop: resumable, the same by seed, on one processor or several.

A step is a function of its number: what is drawn, what is hidden and what is dropped out follow
from the recipe's seed and the step. So a training that was killed goes on from its last checkpoint
to the very losses and weights it would have had, and a second process only has to take its share of
the same mini-batch.

    torchrun --nproc-per-node 2 -m export train …      two processes (gloo; nccl with CUDA)

A checkpoint is written whole or not at all, every `every` steps and when the training is stopped.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from export.faults import ExportError

Loss = Callable[[int, slice], Tensor]
"""(step, share of its mini-batch) -> mean loss over that share."""


class EngineError(ExportError):
    """The training cannot go on; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Numbers of one training."""

    iterations: int
    batch: int
    """Samples of a mini-batch: shares are taken out of so many."""
    learning_rate: float
    weight_decay: float
    seed: int
    every: int = 200
    """Steps between two checkpoints."""


def fit(
    network: nn.Module,
    loss: Loss,
    schedule: Schedule,
    *,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    quiet: bool = False,
) -> list[float]:
    """Train; the loss of every step. AdamW, one learning-rate cycle, gradients clipped at 1.

    Args:
        network: trained in place.
        loss: mean loss of a share of the mini-batch of a step; must depend on nothing else.
        schedule: iterations, rates, seed.
        checkpoint: file to resume from if it is there, written meanwhile, removed at the end.
        fingerprint: recipe and data; a checkpoint of another is refused.
        quiet: no progress bar.

    Raises:
        EngineError: foreign checkpoint, too little memory even for a single sample, or a loss or
            gradient that is not finite.
    """
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    steps = max(2, schedule.iterations)
    plan = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, schedule.learning_rate, total_steps=steps,
        # A rise that ends with the very first step is divided by its length, zero.
        pct_start=0.15 if steps == 10 else 0.1,
    )  # fmt: skip
    parts: dict[str, Any] = {"network": network, "optimiser": optimiser, "plan": plan}
    history = _resume(checkpoint, parts, fingerprint)
    rank, _ = _place()
    bar = tqdm(
        range(len(history), schedule.iterations), initial=len(history),
        total=schedule.iterations, desc="training", unit="step",
        disable=True if quiet or rank else None,
    )  # fmt: skip
    shares = 1
    with _stoppable():
        try:
            for step in bar:
                value, shares = _step(network, optimiser, loss, schedule, step, shares)
                plan.step()
                history.append(value)
                if step % 20 == 0:
                    bar.set_postfix(loss=f"{np.mean(history[-20:]):.3f}")
                if checkpoint and rank == 0 and (step + 1) % schedule.every == 0:
                    _save(checkpoint, parts, history, fingerprint)
        except KeyboardInterrupt:
            # A step that was under way is lost and done again; the history tells how far it went.
            if checkpoint and rank == 0 and plan.last_epoch == len(history):
                _save(checkpoint, parts, history, fingerprint)
            raise
    if checkpoint and rank == 0:
        checkpoint.unlink(missing_ok=True)
    return history


def _step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    loss: Loss,
    schedule: Schedule,
    step: int,
    shares: int,
) -> tuple[float, int]:
    """One optimiser step over the whole mini-batch; (mean loss, shares it took in this process)."""
    rank, world = _place()
    while True:
        try:
            optimiser.zero_grad()
            total = torch.zeros((), device=next(network.parameters()).device)
            for k in range(shares):
                torch.manual_seed((schedule.seed * 1_000_003 + step) * 1024 + rank * shares + k)
                part = slice(rank * shares + k, None, world * shares)
                value = loss(step, part) / shares
                value.backward()  # type: ignore[no-untyped-call]
                total = total + value.detach()
            break
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            if 2 * shares * world > schedule.batch:
                raise EngineError(
                    "training: out of memory even with one sample at a time; lower "
                    "training.crop_steps or network.channels in the recipe"
                ) from error
            shares *= 2
            tqdm.write(f"out of memory: the mini-batch now goes in {shares} shares")
    if world > 1:
        for parameter in network.parameters():
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= world
        dist.all_reduce(total)
        total = total / world
    norm = nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    if not bool(torch.isfinite(norm) & torch.isfinite(total)):
        # One such step would make every weight not a number, and the loss shows it a step late.
        raise EngineError(
            f"training: step {step}: loss {float(total):.3g}, gradient {float(norm):.3g}: not "
            "finite; lower training.learning_rate, or use --precision fp32 if it was another"
        )
    optimiser.step()
    return float(total), shares


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()


def _place() -> tuple[int, int]:
    """(rank, processes)."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


@contextlib.contextmanager
def processes(device: torch.device | str = "cpu") -> Iterator[bool]:
    """Join the other processes that torchrun started, if any; True in the one that writes."""
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield True
        return
    dist.init_process_group("nccl" if torch.device(device).type == "cuda" else "gloo")
    try:
        yield dist.get_rank() == 0
        dist.barrier()
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM stops like Ctrl-C: with a checkpoint."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: whoever owns it decides
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _save(path: Path, parts: dict[str, Any], history: list[float], fingerprint: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(
            {
                "fingerprint": fingerprint,
                "history": history,
                **{name: part.state_dict() for name, part in parts.items()},
            },
            file,
        )
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _resume(path: Path | None, parts: dict[str, Any], fingerprint: str) -> list[float]:
    """Losses so far; nothing without a checkpoint."""
    if path is None or not path.is_file():
        return []
    try:
        # Onto the CPU: the machine that goes on may have no GPU, or another number of them.
        saved = torch.load(path, weights_only=True, map_location="cpu")
        found = saved["fingerprint"]
        history = [float(v) for v in saved["history"]]
    except Exception as error:
        raise EngineError(f"{path}: not a checkpoint ({error}); remove it to start anew") from error
    if found != fingerprint:
        raise EngineError(
            f"{path}: a checkpoint of another recipe or other data; remove it to start anew, or "
            "choose another --out"
        )
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    return history
