"""Training in float32, in bfloat16 and with channels last: time of a step and the loss it reaches.

    python bench/precision.py [--device cpu] [--steps 60]

Each network learns the same invented samples from the same weights in turn; time is the median of a
step, as a ratio to float32 of the same network in the same run, and so is the mean loss of the last
quarter. Channels last orders pictures of four dimensions: those of our trunk (minutes x tags) and
of the benchmark's ResNet-50 and EfficientNet-B0 (extra `benchmark`). 3-D tensors, as those of a GRU
or LSTM, have no such order: there is nothing to measure.

No command trains with channels last. torch 2.13 on the CPU leaves part of the weight gradient of a
dilated bfloat16 convolution unwritten if input or weight is in that order; the training stops at
the first gradient that is not finite, and the row says so.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from export.data.ondisk import Shelf
from export.learn import engine
from export.learn.crops import Crop, draw_crops, pools_of
from export.learn.device import autocast, choose, repeatable
from export.learn.recipe import load_recipe
from export.learn.train import _loss
from export.methods.baselines import Lstm, Picture
from export.model.evidence import QUANTITIES
from export.model.network import Network, NetworkConfig

WAYS = {
    "fp32": ("fp32", torch.contiguous_format),
    "bf16": ("bf16", torch.contiguous_format),
    "fp32, channels last": ("fp32", torch.channels_last),
    "bf16, channels last": ("bf16", torch.channels_last),
}
PICTURES = ("ours", "ResNet-50", "EfficientNet-B0")
"""Networks with tensors of four dimensions."""
TAGS, COLUMNS, BATCH = 51, 72, 16

Job = tuple[nn.Module, engine.Loss]


def ours(precision: str, device: torch.device, shelf: Shelf) -> Job:
    """The shipped sizes and mini-batch, on invented evidence."""
    recipe = load_recipe("ours")
    training = dataclasses.replace(recipe.training, precision=precision)
    recipe = dataclasses.replace(recipe, training=training)
    draw, crops = np.random.default_rng(2), []
    for number in range(64):
        shape = (training.crop_steps, TAGS, len(QUANTITIES))
        x = np.maximum(draw.normal(0, 1, shape) - 1.0, 0.0)
        bad = number % 2
        x[:, :3] += 0.4 * bad
        severity = torch.full((len(x),), bad, dtype=torch.int8)
        parts = (x, np.ones(shape[:2]))
        put = [shelf.put(part.astype(np.float16)) for part in parts]
        crops.append(Crop(put[0], put[1], severity, 1, number % 4 > 1))
    pools = pools_of(crops)
    net = Network(NetworkConfig(tags=TAGS, kinds=5, **dataclasses.asdict(recipe.network)))
    net = net.to(device).train()
    return net, lambda step, part: _loss(net, draw_crops(pools, recipe, step), recipe, step, part)


def baseline(make: Callable[[], nn.Module], precision: str, device: torch.device) -> Job:
    """A network of the benchmark on invented pictures."""
    net = make().to(device).train()

    def loss(step: int, part: slice) -> Tensor:
        draw = torch.Generator().manual_seed(step)
        y = torch.arange(BATCH) % 2
        x = torch.randn(BATCH, COLUMNS, TAGS, generator=draw) + 0.3 * y[:, None, None]
        with autocast(precision, device):
            logit = net(x[part].to(device))[:, 0]
        return nn.functional.binary_cross_entropy_with_logits(
            logit.float(), y[part].float().to(device)
        )

    return net, loss


def measure(job: Job, order: torch.memory_format, steps: int) -> tuple[float, float]:
    """(median seconds of a step, mean loss of the last quarter)."""
    net, loss = job
    net.to(memory_format=order)  # type: ignore[call-overload]
    stamps: list[float] = []

    def timed(step: int, part: slice) -> Tensor:
        stamps.append(time.perf_counter())
        return loss(step, part)

    schedule = engine.Schedule(
        iterations=steps, batch=BATCH, learning_rate=1e-3, weight_decay=0.01, seed=1
    )
    history = engine.fit(net, timed, schedule, quiet=True)
    # On a GPU the loss is read in every step, so a step ends when its numbers are there.
    return float(np.median(np.diff(stamps)[2:])), float(np.mean(history[-max(1, steps // 4) :]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--only", nargs="+", help="names of networks")
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = choose(args.device)
    repeatable(device)
    jobs: dict[str, Callable[[str, Shelf], Job]] = {
        "ours": lambda p, shelf: ours(p, device, shelf),
        "LSTM": lambda p, _: baseline(lambda: Lstm(TAGS), p, device),
    }
    if importlib.util.find_spec("monai") is not None:
        jobs["ResNet-50"] = lambda p, _: baseline(lambda: Picture("resnet50"), p, device)
        jobs["EfficientNet-B0"] = lambda p, _: baseline(
            lambda: Picture("efficientnet-b0"), p, device
        )
    print(f"{device}, torch {torch.__version__}, {args.steps} steps, 1 thread")
    print(f"{'network':<17}{'way':<21}{'ms a step':>10}{'time':>7}{'loss':>9}{'loss ratio':>12}")
    for name, job in jobs.items():
        if args.only and name not in args.only:
            continue
        first: tuple[float, float] | None = None
        for way, (precision, order) in WAYS.items():
            if order is torch.channels_last and name not in PICTURES:
                continue
            with Shelf() as shelf:
                torch.manual_seed(1)
                try:
                    took, loss = measure(job(precision, shelf), order, args.steps)
                except engine.EngineError as error:
                    print(f"{name:<17}{way:<21}{error}", flush=True)
                    continue
            first = first or (took, loss)
            print(f"{name:<17}{way:<21}{1e3 * took:>10.1f}{took / first[0]:>7.2f}{loss:>9.5f}"
                  f"{loss / first[1]:>12.5f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
