"""int8 variant of the graph: the convolution trunk only. Whether it may be used: gate.py.

Only the convolutions gain from int8 on the CPU; a quantised GRU is stored small and computed in
float. Entropy calibration on whole streamed stretches: calibrating on single steps or stitched
windows moved the probability by up to 0.4 in trials.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.tags import FloatArray
from export.deliver.runtime import runtime, session

BLOCK = 60
MAX_PROBABILITY_CHANGE = 0.01
FLIP_BAND = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Inputs of one stretch, [N, ...] each, without the B axis."""

    features: FloatArray
    valid: FloatArray
    loc: FloatArray
    scale: FloatArray
    defective: bool = False


def quantize(model: Path, target: Path, streams: Sequence[Stream]) -> None:
    """Write the int8 QDQ graph beside the fp32 one, calibrated on the first half of `streams`.

    Raises RuntimeUnfitError.
    """
    runtime()
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    calibrating = streams[: max(1, len(streams) // 2)]
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "int8.onnx"
        quantize_static(
            str(model),
            str(raw),
            _Reader(model, calibrating),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            reduce_range=True,  # a processor without VNNI would otherwise saturate and differ
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Entropy,
            extra_options={"CalibMaxIntermediateOutputs": 200},
        )
        _clean(raw, target)


def run_stream(one: Any, stream: Stream) -> dict[str, FloatArray]:
    """All outputs of session `one` over one stretch, [N, ...], block by block with the state."""
    parts: list[dict[str, FloatArray]] = []
    for feed, out in _blocks(one, stream):
        del feed
        parts.append({k: v for k, v in out.items() if not k.endswith("_next")})
    return {name: np.concatenate([p[name] for p in parts], axis=1)[0] for name in parts[0]}


def _blocks(
    one: Any, stream: Stream
) -> Iterator[tuple[dict[str, FloatArray], dict[str, FloatArray]]]:
    names = [item.name for item in one.get_outputs()]
    state = {
        item.name: np.zeros([1, *item.shape[1:]], np.float32)
        for item in one.get_inputs()
        if item.name not in ("features", "valid", "loc", "scale")
    }
    for first in range(0, len(stream.features), BLOCK):
        part = slice(first, first + BLOCK)
        feed = {
            "features": stream.features[None, part],
            "valid": stream.valid[None, part],
            "loc": stream.loc[None, part],
            "scale": stream.scale[None, part],
            **state,
        }
        out = dict(zip(names, one.run(None, feed)))
        state = {name: out[f"{name}_next"] for name in state}
        yield feed, out


class _Reader:
    """Calibration data: the blocks of streamed stretches, states included."""

    def __init__(self, model: Path, streams: Sequence[Stream]) -> None:
        one = session(model)
        self._feeds = [feed for stream in streams for feed, _ in _blocks(one, stream)]
        # Blocks of one length, or the collector cannot stack them.
        whole = max(len(f["features"][0]) for f in self._feeds)
        self._feeds = [f for f in self._feeds if len(f["features"][0]) == whole]
        self._next = iter(self._feeds)

    def get_next(self) -> dict[str, FloatArray] | None:
        """The next feed, None at the end."""
        return next(self._next, None)

    def __len__(self) -> int:
        return len(self._feeds)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Restrict to a part, as the calibrator asks for it."""
        self._next = iter(self._feeds[start_index:end_index])


def _clean(raw: Path, target: Path) -> None:
    import onnx

    model = onnx.load(raw)
    del model.metadata_props[:]
    model.producer_name, model.producer_version = "ncm-export", ""
    del model.graph.value_info[:]
    target.write_bytes(model.SerializeToString(deterministic=True))
