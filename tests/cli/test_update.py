"""`ncm-edge update` and `ncm-edge audit` as a technician uses them; exit code: the refusal."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.__main__ import main
from edge.config.load import load
from edge.update.audit import Audit
from edge.update.disk import Stick
from edge.update.install import Installer
from edge.update.manifest import Site, tag_schema
from edge.update.refusals import Code, Refused
from edge.update.store import Store
from tests.line import CONFIG
from tests.update.site import Supplier

Capture = pytest.CaptureFixture[str]
Run = Callable[..., int]


@pytest.fixture
def supplier(tmp_path: Path) -> Supplier:
    return Supplier(tmp_path / "keys")


@pytest.fixture
def config(tmp_path: Path, supplier: Supplier) -> Path:
    """The shipped configuration with a root of trust."""
    folder = tmp_path / "config"
    shutil.copytree(CONFIG, folder, ignore=shutil.ignore_patterns("models"))
    (folder / "trust").mkdir(exist_ok=True)
    shutil.copy(supplier.folder / "root.json", folder / "trust" / "root.json")
    return folder


@pytest.fixture
def run(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("edge.update.selftest.ChildTest.__call__", lambda *_: "cpu")

    def call(*words: str) -> int:
        return main([*words, "--config", str(config), "--state", str(tmp_path / "state")])

    return call


@pytest.fixture
def stick(config: Path, supplier: Supplier, tmp_path: Path) -> Callable[[int], Path]:
    """A stick with one release for the line ncm-1."""
    line = load(config).lines[0]
    schema = tag_schema([(row.tag.name, row.tag.unit) for row in line.tags], line.row_s)
    folder = tmp_path / "stick"
    folder.mkdir()

    def put(seq: int) -> Path:
        (folder / "x.ncm").write_bytes(supplier.release(seq, schema=schema))
        return folder

    return put


def test_from_the_stick_and_back(run: Run, stick: Callable[[int], Path], capsys: Capture) -> None:
    assert run("update", "inspect", str(stick(7))) == 0
    said = capsys.readouterr().out
    for words in ("may be installed on ncm-1", "release     1.7", "signed by   release-1"):
        assert words in said
    assert run("update", "apply", str(stick(7))) == 0
    assert "release 1.7 is installed; a running daemon" in capsys.readouterr().out
    assert run("update", "apply", str(stick(7))) == Code.ALREADY_ACTIVE
    assert run("update", "apply", str(stick(6))) == Code.ROLLBACK
    said = capsys.readouterr().err
    assert "REFUSED rollback 40: The update is older" in said
    assert "release 1.6, the least permitted is 1.7" in said
    assert run("update", "apply", str(stick(8))) == 0
    capsys.readouterr()
    # No daemon has run either of them: the configured bundle is still what is known to work.
    assert run("update", "status", "--json") == 0
    (line,) = json.loads(capsys.readouterr().out)["lines"]
    assert (line["runs"], line["floor"], line["root"]) == ("configured bundle", "1.8", 1)
    assert line["unproven"] == line["active"]
    assert run("update", "rollback") == 0
    capsys.readouterr()
    assert run("update", "status", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    (line,) = told["lines"]
    assert (line["active"], line["unproven"]) == (None, None)
    assert [entry["event"] for entry in told["history"]] == ["apply"] * 4 + ["rollback"]
    assert run("update", "status") == 0
    assert "line ncm-1: runs configured bundle" in capsys.readouterr().out
    assert run("audit") == 0
    assert "5 lines, whole" in capsys.readouterr().out


def terminate() -> None:
    """What systemd does to the importer when the stick is pulled."""
    os.kill(os.getpid(), signal.SIGTERM)


def in_mid_copy(patch: pytest.MonkeyPatch) -> None:
    read = Stick.read

    def reads(self: Stick, count: int) -> bytes:
        if count > 1000:  # of a model, not of a signature
            terminate()
        return read(self, count)

    patch.setattr(Stick, "read", reads)


def in_the_self_test(patch: pytest.MonkeyPatch) -> None:
    def ended(*_: object) -> str:
        terminate()
        raise Refused(Code.SELF_TEST, "the test process ended with -15")

    patch.setattr("edge.update.selftest.ChildTest.__call__", ended)


@pytest.mark.parametrize("pulled", [in_mid_copy, in_the_self_test])
def test_told_to_end_when_the_stick_is_pulled(
    pulled: Callable[[pytest.MonkeyPatch], None],
    run: Run, stick: Callable[[int], Path], tmp_path: Path, capsys: Capture,
) -> None:  # fmt: skip
    assert run("update", "apply", str(stick(7))) == 0
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        pulled(patch)
        assert run("update", "apply", str(stick(8))) == Code.UNREADABLE
    assert signal.getsignal(signal.SIGTERM) is before
    assert "was pulled while it was read" in capsys.readouterr().err
    assert run("update", "status", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["lines"][0]["active"].startswith("1-7-")
    assert told["history"][-1]["code"] == Code.UNREADABLE
    assert "told to end" in told["history"][-1]["detail"]
    assert run("update", "apply", str(stick(8))) == 0


def test_told_to_end_when_the_stick_is_no_longer_needed(
    run: Run, stick: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.update.selftest.ChildTest.__call__", lambda *_: terminate() or "cpu")
    assert run("update", "apply", str(stick(7))) == 0
    assert run("update", "apply", str(stick(7))) == Code.ALREADY_ACTIVE


def test_a_release_that_did_worse_is_told_until_the_next_update(
    run: Run, stick: Callable[[int], Path], tmp_path: Path, config: Path, capsys: Capture
) -> None:
    assert run("update", "apply", str(stick(7))) == 0
    (line,) = load(config, lines=("ncm-1",)).lines
    tags = tuple((row.tag.name, row.tag.unit) for row in line.tags)
    store = Store(tmp_path / "state", "ncm-1", config / "trust" / "root.json")
    installer = Installer(
        store, Site(line="ncm-1", tags=tags, row_s=line.row_s, app_version="0.1.0"),
        lambda _: "cpu", Audit(tmp_path / "state" / "update" / "audit", lambda: 0.0),
    )  # fmt: skip
    slot = store.record().active
    installer.take_over(slot)
    capsys.readouterr()
    assert run("update", "status") == 0
    said = capsys.readouterr().out
    assert "runs release 1.7" in said
    assert "stage     on probation" in said
    installer.give_up(slot, Code.PROBATION, "step 12: inference takes 900 ms, before 5 ms")
    assert run("update", "status") == Code.PROBATION
    said = capsys.readouterr().out
    assert "runs configured bundle" in said
    assert "probation 64: " in said
    assert "inference takes 900 ms" in said
    assert run("update", "apply", str(stick(8))) == 0
    assert run("update", "status") == 0


def test_lost_state_and_its_repair(
    run: Run, stick: Callable[[int], Path], tmp_path: Path, config: Path, capsys: Capture
) -> None:
    assert run("update", "apply", str(stick(7))) == 0
    store = Store(tmp_path / "state", "ncm-1", config / "trust" / "root.json")
    for path in store.line.glob("record.*"):
        path.write_bytes(b"")
    capsys.readouterr()
    assert run("update", "status") == Code.STATE_LOST
    assert "runs release 1.7" in capsys.readouterr().out
    assert run("update", "apply", str(stick(8))) == Code.STATE_LOST
    assert "`ncm-edge update repair`" in capsys.readouterr().err
    assert run("update", "repair", "--floor", "soon") == 2
    assert "expected EPOCH.NUMBER" in capsys.readouterr().err
    assert run("update", "repair") == 0
    assert run("update", "apply", str(stick(8))) == 0


def test_a_tampered_audit_is_said(
    run: Run, stick: Callable[[int], Path], tmp_path: Path, capsys: Capture
) -> None:
    assert run("update", "apply", str(stick(7))) == 0
    log = tmp_path / "state" / "update" / "audit" / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b"1.7", b"1.9"))
    assert run("audit") == 1
    assert "line 1 was changed" in capsys.readouterr().err
    assert run("audit", "--json") == 1
    assert json.loads(capsys.readouterr().out)["release"] == "1.9"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("apply",), 2, "want the path"),
        (("rollback", "x"), 2, "want none"),
        (("rollback",), Code.NO_PREVIOUS, "no earlier model"),
        (("apply", "/nowhere/x.ncm"), Code.NO_BUNDLE, "/nowhere/x.ncm"),
    ],
)
def test_mistakes(words: tuple[str, ...], code: int, said: str, run: Run, capsys: Capture) -> None:
    assert run("update", *words) == code
    assert said in capsys.readouterr().err


def test_the_codes_are_printed_for_the_manual(run: Run, capsys: Capture) -> None:
    assert run("update", "codes") == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) == len(Code)
    assert " 40  rollback " in said


def test_without_a_root_of_trust(
    run: Run, stick: Callable[[int], Path], config: Path, capsys: Capture
) -> None:
    (config / "trust" / "root.json").unlink()
    assert run("update", "apply", str(stick(7))) == Code.NOT_PROVISIONED
    assert "trust/ of the configuration directory" in capsys.readouterr().err


def test_two_lines_want_a_name(config: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["update", "rollback", "--config", str(config), "--state", str(tmp_path / "s")]
    assert main([*words, "--line", "ncm-1", "--line", "skab"]) == 2
    assert "--line with one of: ncm-1, skab" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["apply", "rollback", "repair"])
def test_another_account_is_told_how_before_it_writes(
    action: str, run: Run, stick: Callable[[int], Path], tmp_path: Path, capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "state").mkdir()
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    words = [str(stick(7))] if action == "apply" else []
    assert run("update", action, *words) == 2
    user = pwd.getpwuid(os.getuid()).pw_name
    assert f"sudo -u {user} ncm-edge update {action}" in capsys.readouterr().err
    assert not any((tmp_path / "state").iterdir())
    assert run("update", "status") == 0  # reading is for everybody
