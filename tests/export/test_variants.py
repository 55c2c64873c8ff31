"""The variants beside fp32: made for one kind of processor, judged there, refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.__main__ import main
from export.data.dataset import Dataset, save_dataset
from export.deliver import runtime
from export.deliver.half import HalfError, to_half, trunk
from export.deliver.pack import make_bundle, stream_of
from export.deliver.quantize import Stream, run_stream
from export.deliver.runtime import RuntimeUnfitError, check_version, session, why_no_cuda
from export.deliver.variants import VARIANTS, active, make_variants
from export.learn.train import Trained


@pytest.fixture(scope="module")
def streams(toy: Dataset, trained: Trained) -> list[Stream]:
    return [
        stream_of(b, trained.references[b.domain], trained.recipe)
        for b in toy.select("calibrate")[:4]
    ]


@pytest.fixture(scope="module")
def half(bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("half") / "model.fp16.onnx"
    to_half(bundle_dir / "model.onnx", path)
    return path


def test_only_the_trunk_is_half_precise(
    bundle_dir: Path, half: Path, streams: list[Stream]
) -> None:
    whole = onnx.load(bundle_dir / "model.onnx")
    names = trunk(whole)
    kinds = [n.op_type for n in whole.graph.node if n.name in names]
    assert (kinds.count("Conv"), kinds.count("GRU"), kinds.count("MatMul")) == (2, 1, 3)
    a, b = (run_stream(session(p), streams[1]) for p in (bundle_dir / "model.onnx", half))
    for name in ("deviation", "deviation_score"):
        assert np.array_equal(a[name], b[name]), name
    assert 0.0 < np.abs(a["logit"] - b["logit"]).max() < 0.05
    graph = onnx.load(half).graph
    outer = {item.type.tensor_type.elem_type for item in (*graph.input, *graph.output)}
    assert outer == {onnx.TensorProto.FLOAT}
    assert {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}


def test_the_states_of_a_half_graph_carry_any_split(half: Path, streams: list[Stream]) -> None:
    """Minute by minute as in one block: the running states do not pass through fp16."""
    one, stream = session(half), streams[1]
    names = [item.name for item in one.get_outputs()]
    zero = {i.name: np.zeros([1, *i.shape[1:]], np.float32) for i in one.get_inputs()[4:]}
    data = {k: getattr(stream, k)[None, :20] for k in ("features", "valid", "loc", "scale")}
    whole = dict(zip(names, one.run(None, data | zero)))
    state = zero
    for n in range(20):
        step = {k: v[:, n : n + 1] for k, v in data.items()}
        out = dict(zip(names, one.run(None, step | state)))
        state = {name: out[f"{name}_next"] for name in zero}
    assert np.abs(out["logit"][0, -1] - whole["logit"][0, -1]) < 1e-3
    for name in ("slow", "anchor", "smooth"):
        assert np.allclose(state[name], whole[f"{name}_next"], atol=1e-5), name


def test_a_graph_without_a_trunk_is_named(bundle_dir: Path, tmp_path: Path) -> None:
    model = onnx.load(bundle_dir / "model.onnx")
    for node in model.graph.node:
        node.op_type = {"Conv": "X", "GRU": "X", "MatMul": "X"}.get(node.op_type, node.op_type)
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(HalfError, match=r"m\.onnx: no trained trunk"):
        to_half(tmp_path / "m.onnx", tmp_path / "h.onnx")


def test_a_bundle_holds_every_variant_and_says_why_it_is_used_or_not(
    folder: Path, streams: list[Stream], tmp_path: Path
) -> None:
    make_bundle(folder, tmp_path / "b", streams=streams)
    card = json.loads((tmp_path / "b" / "card.json").read_text())
    assert {v.file for v in VARIANTS} <= set(card["files"])
    for variant in VARIANTS:
        judged = card["metrics"][f"{variant.name}_gates"]
        assert judged["why"] in card["metrics"]["active"]["why"]
    if why_no_cuda(tmp_path / "b" / "model.fp16.onnx"):
        judged = card["metrics"]["fp16_gates"]
        assert (judged["active"], judged["measured_on"]) == ("fp32", "cpu")
        assert judged["why"].startswith("fp16 is for a GPU: ")


def test_the_command_shows_every_gate(
    folder: Path, toy: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_dataset(toy, tmp_path)
    assert main(["quantize", str(folder), "--data", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.count("max probability change") == len(VARIANTS)
    assert "int8, measured on the cpu" in said
    assert "\nactive: " in said


def test_the_last_variant_that_passes_becomes_active() -> None:
    refused, int8, fp16 = (
        {"active": name, "why": f"w {name}"} for name in ("fp32", "int8", "fp16")
    )
    assert active({"int8": refused, "fp16": refused})[0] == "fp32"
    assert active({"int8": int8, "fp16": refused}) == ("int8", "w int8; w fp32")
    assert active({"int8": int8, "fp16": fp16})[0] == "fp16"


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("1.22.1", "too old"),
        ("0.9.0", "too old"),
        ("2.0.0", "newer than any we have tried"),
        ("", "nobody can place"),
        ("nightly", "nobody can place"),
    ],
)
def test_another_onnxruntime_is_named_with_the_remedy(version: str, says: str) -> None:
    with pytest.raises(RuntimeUnfitError, match=rf"{says}.*install 'onnxruntime>=1\.23,<2'"):
        check_version(version)


@pytest.mark.parametrize("version", ["1.23.0", "1.31.1", "1.40.0.dev20260101"])
def test_a_known_onnxruntime_is_taken(version: str) -> None:
    check_version(version)


def test_the_versions_are_those_of_the_project_file() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    (oldest, minor), (before, _) = runtime.OLDEST, runtime.BEFORE
    assert f'cpu = ["onnxruntime>={oldest}.{minor},<{before}"]' in text


@pytest.mark.gpu
def test_fp16_is_measured_on_the_gpu(
    bundle_dir: Path, half: Path, streams: list[Stream], tmp_path: Path
) -> None:
    if why := why_no_cuda(half):
        pytest.skip(why)
    judged = make_variants(bundle_dir / "model.onnx", tmp_path, streams)["fp16"]
    assert judged["measured_on"] == "cuda"
    assert judged["passed"], judged["table"]
