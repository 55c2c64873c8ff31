"""The self-test in its own process: a real bundle passes, whatever is wrong is named."""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.runtime.bundle import LoadedBundle, load_bundle
from edge.update.refusals import Code, Refused
from edge.update.selftest import ChildTest
from tests.update.site import TAGS
from tests.update.tiny import tiny_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "bundle", TAGS)


def child(bundle: Path) -> ChildTest:
    loaded = load_bundle(bundle)
    assert isinstance(loaded, LoadedBundle)
    return ChildTest(tags=loaded.card.tags, row_s=loaded.card.row_s, provider="cpu")


def relist(bundle: Path, name: str) -> None:
    card = json.loads((bundle / "card.json").read_text())
    card["files"][name] = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
    (bundle / "card.json").write_text(json.dumps(card))


def other_golden(bundle: Path) -> None:
    with np.load(bundle / "golden.npz") as archive:
        arrays = dict(archive)
    arrays["logit"] = arrays["logit"] + 0.5
    np.savez(bundle / "golden.npz", **arrays)
    relist(bundle, "golden.npz")


def half_a_golden(bundle: Path) -> None:
    with np.load(bundle / "golden.npz") as archive:
        arrays = dict(archive)
    del arrays["cam"]
    np.savez(bundle / "golden.npz", **arrays)
    relist(bundle, "golden.npz")


def another_drift(bundle: Path) -> None:
    np.savez(bundle / "drift.npz", mean=np.zeros(5), whitening=np.eye(5))
    relist(bundle, "drift.npz")


def narrow_cam(bundle: Path) -> None:
    """One value for all tags: right on golden vectors of the same shape."""
    import onnx

    model = onnx.load(bundle / "model.onnx")
    (node,) = (node for node in model.graph.node if "cam" in node.output)
    node.input[0] = "column"
    (column,) = (node for node in model.graph.node if "column" in node.output)
    model.graph.node.remove(node)
    model.graph.node.insert(list(model.graph.node).index(column) + 1, node)
    (bundle / "model.onnx").write_bytes(model.SerializeToString())
    relist(bundle, "model.onnx")
    with np.load(bundle / "golden.npz") as archive:
        arrays = dict(archive)
    arrays["cam"] = np.ones_like(arrays["cam"][..., :1])
    np.savez(bundle / "golden.npz", **arrays)
    relist(bundle, "golden.npz")


def custom_operator(bundle: Path) -> None:
    import onnx

    model = onnx.load(bundle / "model.onnx")
    model.graph.node[0].domain = "com.example"
    (bundle / "model.onnx").write_bytes(model.SerializeToString())
    relist(bundle, "model.onnx")


def changed(bundle: Path, change: Callable[[Any], bytes]) -> None:
    import onnx

    path = bundle / "model.onnx"
    path.write_bytes(change(onnx.load(path)))
    relist(bundle, "model.onnx")


def foreign_weights(location: str) -> Callable[[Path], None]:
    def change(model: Any) -> bytes:
        tensor = model.graph.initializer[0]
        tensor.data_location = 1
        tensor.external_data.add(key="location", value=location)
        return bytes(model.SerializeToString())

    return lambda bundle: changed(bundle, change)


def hidden_graph(bundle: Path) -> None:
    """More of the graph under a field number of which the runtime keeps the lower 32 bits."""

    def change(model: Any) -> bytes:
        hidden = bytes([0x0A, 4, 0x22, 2]) + b"If"  # a node, its operator
        return bytes(model.SerializeToString()) + b"\xba\x80\x80\x80\x10" + bytes(
            [len(hidden)]
        ) + hidden

    changed(bundle, change)


def bomb(bundle: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f4", "fortran_order": False, "shape": (1 << 27,)}
    )
    with zipfile.ZipFile(bundle / "reference.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("loc.npy", stream.getvalue() + bytes(1 << 29))
    relist(bundle, "reference.npz")


def damaged(bundle: Path) -> None:
    data = bytearray((bundle / "reference.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "reference.npz").write_bytes(data)


WRONG: dict[str, tuple[Code, Callable[[Path], None], str]] = {
    "golden vectors not reproduced": (Code.SELF_TEST, other_golden, "differs by 0.5"),
    "golden vectors of only some outputs": (
        Code.SELF_TEST, half_a_golden, 'no expected output "cam"'
    ),
    "a drift reference of another width": (
        Code.SELF_TEST, another_drift, 'output "pooled" has shape [1, 4, 2]; there are 5 features'
    ),
    "an output narrower than the tags": (
        Code.SELF_TEST, narrow_cam, 'output "cam" has shape [1, 4, 1]; there are 2 tags'
    ),
    "a custom operator": (Code.GRAPH, custom_operator, "com.example"),
    "weights above the folder": (Code.GRAPH, foreign_weights("../x"), "another file"),
    "weights at an absolute path": (Code.GRAPH, foreign_weights("/etc/passwd"), "another file"),
    "a graph where only the runtime sees it": (Code.GRAPH, hidden_graph, "field number"),
    "an archive that unpacks without end": (Code.MODEL, bomb, "unpacks to 536871"),
    "a damaged file": (Code.MODEL, damaged, "reference.npz"),
}


def test_a_sound_model_says_what_it_ran_on(bundle: Path) -> None:
    assert child(bundle)(bundle).startswith("cpu, ")


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str, bundle: Path) -> None:
    code, spoil, text = WRONG[name]
    test = child(bundle)
    spoil(bundle)
    with pytest.raises(Refused, match=re.escape(text)) as refused:
        test(bundle)
    assert refused.value.code is code


def test_the_child_leaves_no_trace_of_telemetry(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With telemetry on, a session leaves a device id and an event data base in the cache.
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    child(bundle)(bundle)
    assert not list(home.rglob("*"))


def test_other_units_than_the_lines(bundle: Path) -> None:
    right = child(bundle)
    tags = [(name, "K") for name, _ in right.tags]
    with pytest.raises(Refused) as refused:
        ChildTest(tags=tags, row_s=right.row_s, provider="cpu")(bundle)
    assert refused.value.code is Code.MODEL


CHILDREN = {
    "dies": ("import os; os._exit(11)", "ended with 11"),
    "is killed": ("import os; os.kill(os.getpid(), 9)", "ended with -9"),
    "says nonsense": ("print('hello')", "ended with 0"),
    "hangs": ("import signal; signal.pause()", "no answer within 0.5 s"),
}


@pytest.mark.parametrize("name", CHILDREN)
def test_a_child_that(name: str, tmp_path: Path) -> None:
    code, text = CHILDREN[name]
    command = (sys.executable, "-c", code)
    test = ChildTest(
        tags=(), row_s=1.0, provider="cpu", command=command,
        limit_s=0.5 if name == "hangs" else 60.0,
    )  # fmt: skip
    with pytest.raises(Refused, match=re.escape(text)) as refused:
        test(tmp_path)
    assert refused.value.code is Code.SELF_TEST
