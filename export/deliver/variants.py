"""The variants of the graph beside fp32: how each is made, and the processor it is meant for.

Every variant is written and judged (gate.py); the last of the table that its gate lets through
becomes the active graph. What a variant is not measured on, it is not chosen for: without a GPU on
the machine that packs, fp16 is delivered, compared on the CPU and refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.deliver.gate import judge_variant
from export.deliver.half import to_half
from export.deliver.quantize import Stream, quantize
from export.deliver.runtime import Provider, why_no_cuda


@dataclass(frozen=True, slots=True)
class Variant:
    """One row."""

    name: str
    make: Callable[[Path, Path, Sequence[Stream]], None]
    """(fp32 graph, file to write, streams)."""
    provider: Provider
    """Where it is meant to be faster."""

    @property
    def file(self) -> str:
        """Its name in a bundle."""
        return f"model.{self.name}.onnx"


VARIANTS = (
    Variant("int8", quantize, "cpu"),
    Variant("fp16", lambda model, target, _streams: to_half(model, target), "cuda"),
)


def make_variants(graph: Path, folder: Path, streams: Sequence[Stream]) -> dict[str, Any]:
    """Write every variant of `graph` into `folder`; name -> figures of its gates.

    Raises RuntimeUnfitError without an onnxruntime we know.
    """
    found = {}
    for variant in VARIANTS:
        target = folder / variant.file
        variant.make(graph, target, streams)
        provider, refused = variant.provider, ""
        if provider == "cuda" and (why := why_no_cuda(target)):
            provider, refused = "cpu", f"{variant.name} is for a GPU: {why}"
        found[variant.name] = judge_variant(graph, target, streams, provider, refused)
    return found


def active(gates: dict[str, Any]) -> tuple[str, str]:
    """(name of the graph to use, why) after the gates of `make_variants`."""
    why = "; ".join(judged["why"] for judged in gates.values())
    chosen = [judged["active"] for judged in gates.values() if judged["active"] != "fp32"]
    return (chosen[-1] if chosen else "fp32"), why
