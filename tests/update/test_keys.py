"""The ceremony: what `ncm-export keys` and `ncm-export sign` do, and what they say to a mistake."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import numpy as np
import pytest

from edge.core.card import FORMAT
from edge.update import trust
from export.__main__ import main
from export.deliver.keys import chain_of
from tests.update.site import TAGS, Appliance

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def keys(tmp_path: Path, capsys: Capture) -> Path:
    folder = tmp_path / "keys"
    assert main(["keys", "init", str(folder)]) == 0
    capsys.readouterr()
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder with a card and a graph of one node: enough to be signed."""
    from onnx import TensorProto, helper

    folder = tmp_path / "bundle"
    folder.mkdir()
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])], "g",
        [tensor("x", TensorProto.FLOAT, [1])], [tensor("y", TensorProto.FLOAT, [1])],
    )  # fmt: skip
    (folder / "model.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    np.savez(folder / "golden.npz", features=np.zeros(1))
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    card = {
        "format": FORMAT, "name": "toy", "serial": 3, "notice": "for tests", "simulated": True,
        "tags": [list(tag) for tag in TAGS], "features": ["mean"], "row_s": 1.0, "step_rows": 60,
        "slot_steps": 1, "states": [], "kinds": [""], "threshold": 0.5, "clear_threshold": 0.4,
        "severity_thresholds": [0.5, 0.6, 0.7], "drift_limit": 1.0, "files": files,
        "metrics": {}, "provenance": {},
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def sign(bundle: Path, keys: Path, out: Path, *more: str, key: str = "release-1") -> int:
    return main([
        "sign", str(bundle), "--keys", str(keys), "--key", str(keys / "private" / f"{key}.pem"),
        "--line", "ncm-1", "--out", str(out), *more,
    ])  # fmt: skip


def test_private_keys_are_private(keys: Path) -> None:
    held = sorted((keys / "private").iterdir())
    assert [path.stem for path in held] == ["release-1", "release-2", "root-a", "root-b", "root-c"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in held} == {0o600}
    assert stat.S_IMODE((keys / "private").stat().st_mode) == 0o700
    assert b"PRIVATE" not in (keys / "root.json").read_bytes()


def test_a_release_from_the_ceremony_is_installed(
    keys: Path, bundle: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "stick" / "x.ncm"
    assert sign(bundle, keys, out) == 0
    said = capsys.readouterr().out
    for word in ("release 1.3 for ncm-1", "for tests", "card.json", "permitted operators"):
        assert word in said
    appliance = Appliance(state=tmp_path / "state", pinned=keys / "root.json")
    installed = appliance.apply(out.parent)
    assert (installed.place.seq, installed.model_version) == (3, "toy, serial 3")
    slot = appliance.store.bundle(installed.slot)
    for path in bundle.iterdir():
        assert (slot / path.name).read_bytes() == path.read_bytes()


def test_rotation_travels_with_the_next_release(
    keys: Path, bundle: Path, tmp_path: Path, capsys: Capture
) -> None:
    appliance = Appliance(state=tmp_path / "state", pinned=keys / "root.json")
    assert main(["keys", "rotate", str(keys), "root-c"]) == 0
    assert main(["keys", "rotate", str(keys), "release-1"]) == 0
    assert main(["keys", "revoke", str(keys), "release-2", "--min-seq", "2"]) == 0
    shown = capsys.readouterr().out
    assert "release: 1 of 1 must sign: release-v3-1" in shown
    assert "root: 2 of 3 must sign: root-a, root-b, root-v2-1" in shown
    out = tmp_path / "x.ncm"
    assert sign(bundle, keys, out) == 2
    assert "an appliance would refuse this" in capsys.readouterr().err
    assert not out.exists()
    assert sign(bundle, keys, out, key="release-v3-1") == 0
    appliance.apply(out)
    assert appliance.store.chain().newest.version == 4


def test_one_root_key_is_not_enough(keys: Path, capsys: Capture) -> None:
    key = str(keys / "private" / "root-a.pem")
    before = sorted(keys.rglob("*"))
    assert main(["keys", "rotate", str(keys), "release-1", "--key", key]) == 2
    said = capsys.readouterr().err
    assert "1 of 2 signatures" in said
    assert "--key FILE --key FILE" in said
    assert sorted(keys.rglob("*")) == before


def test_a_passphrase_protects_the_keys(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "keys"
    monkeypatch.setenv("NCM_EXPORT_PASSPHRASE", "short")
    assert main(["keys", "init", str(folder), "--passphrase"]) == 2
    monkeypatch.setenv("NCM_EXPORT_PASSPHRASE", "correct horse")
    assert main(["keys", "init", str(folder), "--passphrase"]) == 0
    assert b"ENCRYPTED" in (folder / "private" / "root-a.pem").read_bytes()
    monkeypatch.setenv("NCM_EXPORT_PASSPHRASE", "wrong horse")
    assert main(["keys", "revoke", str(folder), "release-2"]) == 2
    assert "another passphrase" in capsys.readouterr().err
    monkeypatch.setenv("NCM_EXPORT_PASSPHRASE", "correct horse")
    assert main(["keys", "revoke", str(folder), "release-2"]) == 0


MISTAKES = {
    "a second ceremony": (["keys", "init", "{keys}"], "holds keys already"),
    "no folder": (["keys", "show", "{keys}/none"], "ncm-export keys init"),
    "an unknown key": (["keys", "revoke", "{keys}", "bob"], 'no key "bob" counts now'),
    "too few left": (["keys", "revoke", "{keys}", "root-a", "--min-seq", "-1"], "min_seq = -1"),
    "no bundle": (
        ["sign", "{keys}", "--key", "{keys}/private/release-1.pem", "--line", "a", "--out", "x"],
        "no bundle",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_said_with_their_remedy(name: str, keys: Path, capsys: Capture) -> None:
    words, said = MISTAKES[name]
    assert main([word.format(keys=keys) for word in words]) == 2
    assert said in capsys.readouterr().err


def test_a_key_others_may_read_is_not_used(
    keys: Path, bundle: Path, tmp_path: Path, capsys: Capture
) -> None:
    (keys / "private" / "release-1.pem").chmod(0o644)
    assert sign(bundle, keys, tmp_path / "x.ncm") == 2
    assert "chmod 600" in capsys.readouterr().err


def test_a_tampered_chain_is_not_shown_as_good(keys: Path, capsys: Capture) -> None:
    path = keys / "1.root.json"
    path.write_bytes(path.read_bytes().replace(b'"epoch":1', b'"epoch":2'))
    assert main(["keys", "show", str(keys)]) == 2
    assert "root-signature" in capsys.readouterr().err


def test_only_two_root_keys_may_publish(keys: Path) -> None:
    assert chain_of(keys).newest.root.roles["root"].threshold == trust.ROOT_THRESHOLD == 2
