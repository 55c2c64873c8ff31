"""Inventory and bill of materials: what they say is so, and a validator of CycloneDX agrees."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from email.message import Message
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path
from typing import Any

import pytest

from edge.__main__ import main
from edge.config.load import load
from edge.service import inventory, sbom
from edge.service.distributions import closure, installed, normal
from export.deliver import wheelhouse

ROOT = Path(__file__).parents[2]
needs_systemd = pytest.mark.skipif(
    not all(shutil.which(name) for name in ("systemctl", "systemd-sysusers")),
    reason="systemd is not installed",
)


@functools.cache
def bill() -> dict[str, Any]:
    """To be read only."""
    return sbom.document(closure(installed()), wheelhouse.models(), wall_s=1.78e9)


def test_the_bill_is_cyclonedx(tmp_path: Path) -> None:
    schema = pytest.importorskip("cyclonedx.schema", reason="cyclonedx-python-lib is not installed")
    validation = pytest.importorskip("cyclonedx.validation.json")
    judge = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
    assert judge.validate_str(json.dumps(bill())) is None
    wrong = copy.deepcopy(bill())
    wrong["components"][0]["type"] = "thing"
    assert judge.validate_str(json.dumps(wrong)) is not None
    assert wheelhouse.main(["--sbom", str(tmp_path / "sbom.cdx.json")]) == 0
    written = json.loads((tmp_path / "sbom.cdx.json").read_text(encoding="utf-8"))
    assert written["components"] == bill()["components"]


def test_the_bill_names_what_the_appliance_runs_and_nothing_of_the_workshop() -> None:
    found = bill()
    names = {part["name"] for part in found["components"]}
    assert {"numpy", "pymodbus", "asyncua", "tuf", "cryptography", "ncm-1"} <= names
    assert not names & {"torch", "pytest", "onnx", "ruff", "ncm-edge"}
    model = next(part for part in found["components"] if part["type"] == "machine-learning-model")
    files = {part["name"]: part["hashes"][0]["content"] for part in model["components"]}
    onnx = (ROOT / "firmware_config/models/ncm-1/model.onnx").read_bytes()
    assert files["model.onnx"] == hashlib.sha256(onnx).hexdigest()
    refs = {part["bom-ref"] for part in found["components"]} | {
        found["metadata"]["component"]["bom-ref"]
    }
    assert {one["ref"] for one in found["dependencies"]} == refs
    assert all(set(one.get("dependsOn", ())) <= refs for one in found["dependencies"])


def test_the_serial_number_follows_from_the_parts() -> None:
    parts = closure(installed())
    again = sbom.document(parts, wheelhouse.models(), wall_s=1.79e9)
    assert again["serialNumber"] == bill()["serialNumber"]
    newer = [replace(one, version="99") if one.name == "numpy" else one for one in parts]
    other = sbom.document(newer, wheelhouse.models(), wall_s=1.78e9)
    assert other["serialNumber"] != bill()["serialNumber"]


class Made(Distribution):
    """A package that is nothing but its metadata."""

    def __init__(self, name: str, *requires: str) -> None:
        self._text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n" + "".join(
            f"Requires-Dist: {one}\n" for one in requires
        )

    def read_text(self, filename: str) -> str | None:
        return self._text if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Any:
        return Path(path)


@pytest.mark.parametrize(
    ("known", "names"),
    [
        ({"ncm-edge": ("a>=1", "b ; extra == 'cpu'", "c ; extra == 'test'")}, "a b"),
        ({"ncm-edge": ("a[x]",), "a": ("b ; extra == 'x'", "c ; extra == 'y'")}, "a b"),
        ({"ncm-edge": ("A_B.c",), "a-b-c": ("ncm-edge", "a-b-c")}, "a-b-c"),
        ({"ncm-edge": ("a", "b"), "b": ("a[x]",), "a": ("c ; extra == 'x'",)}, "a b c"),
        ({"ncm-edge": ('a ; python_version < "3" and extra == "gpu"', "b (>=2)")}, "a b"),
        ({"ncm-edge": ("not-there",)}, ""),
    ],
)
def test_which_packages_belong_to_the_program(
    known: dict[str, tuple[str, ...]], names: str
) -> None:
    made = {name: Made(name) for name in ("a", "b", "c", "a-b-c")}
    made |= {name: Made(name, *requires) for name, requires in known.items()}
    found = closure({normal(name): one for name, one in made.items()})
    assert [one.name for one in found if one.name != "ncm-edge"] == names.split()


def test_the_packages_of_this_environment_are_all_found() -> None:
    own = installed()["ncm-edge"]
    assert isinstance(own, PathDistribution)
    assert isinstance(own.metadata, Message)
    wanted = {normal(text.split(">")[0].split("[")[0].split("<")[0].split("=")[0])
              for text in own.requires or [] if ";" not in text}  # fmt: skip
    assert wanted <= {one.name for one in closure(installed())}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "config"
    shutil.copytree(ROOT / "firmware_config", folder)
    path = folder / "appliance.toml"
    text = path.read_text(encoding="utf-8").replace("/var/lib/ncm-edge", f"{tmp_path}/state")
    path.write_text(text.replace("/run/ncm-edge", f"{tmp_path}/run"), encoding="utf-8")
    (tmp_path / "state").mkdir()
    (tmp_path / "run").mkdir()
    return folder


def test_the_inventory_of_an_appliance(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state" / "ring").write_bytes(b"x" * 10_000)
    assert main(["inventory", "--json", "--config", str(config)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["configuration"]["sha256"] == load(config).config_sha256
    (line,) = found["lines"]
    digest = hashlib.sha256((config / "models/ncm-1/model.onnx").read_bytes()).hexdigest()
    assert line["bundles"]["configured"]["model.onnx"] == digest
    assert "plc: 127.0.0.1:5020" in line["links"]
    assert found["runtime"]["telemetry"] == "off"
    assert found["state"]["bytes"]["ring"] >= 10_000
    assert found["listening"] == {"known": False, "why": "the daemon does not run"}
    assert found["machine"]["kernel"] == os.uname().release
    assert main(["inventory", "--config", str(config)]) == 0
    assert "none" not in capsys.readouterr().err


@needs_systemd
def test_an_altered_unit_and_a_stale_filter_are_findings(config: Path, tmp_path: Path) -> None:
    root = tmp_path / "image"
    root.mkdir()
    appliance = load(config)
    assert inventory.installation(appliance, root) == {"installed": False}
    assert main(["install", "--root", str(root)]) == 0
    found = inventory.installation(appliance, root)
    assert set(found["files"].values()) == {"as installed"}
    assert found["address_filter"] == "current"
    units = root / "etc/systemd/system"
    (units / "ncm-edge.service").write_text("mine", encoding="utf-8")
    (units / "ncm-edge-update.service").unlink()
    (units / "ncm-edge.service.d" / "override.conf").write_text("[Service]\n", encoding="utf-8")
    (units / "ncm-edge.service.d" / "10-network.conf").write_text("[Service]\n", encoding="utf-8")
    found = inventory.installation(appliance, root)
    states = {name.rpartition("/")[2]: state for name, state in found["files"].items()}
    assert states["ncm-edge.service"] == "altered"
    assert states["ncm-edge-update.service"] == "missing"
    assert [Path(path).name for path in found["drop_ins_of_the_plant"]] == ["override.conf"]
    assert "install --network" in found["address_filter"]


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_the_daemon_listens_on_is_found(kind: int, tmp_path: Path) -> None:
    status = json.dumps({"pid": os.getpid()})
    (tmp_path / "status.json").write_text(status, encoding="utf-8")
    with contextlib.closing(socket.socket(socket.AF_INET, kind)) as ear:
        ear.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            ear.listen()
        name = f"{'tcp' if kind == socket.SOCK_STREAM else 'udp'} {ear.getsockname()[1]}"
        assert name in inventory.listening(tmp_path)["ports"]
    assert name not in inventory.listening(tmp_path)["ports"]


def test_it_answers_without_the_runtime() -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from edge.service.inventory import runtime; print(runtime()['fault'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert "not installed" in done.stdout
