"""Backup and restore: the floor never falls, nothing is lost, no link leads anybody astray."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edge.__main__ import main
from edge.cli.backup import DONE, FAILED, NO_BACKUP, REFUSED, RUNNING
from edge.config.load import load
from edge.runtime.chain import Head
from edge.runtime.store.reader import History
from edge.runtime.store.records import Event
from edge.runtime.store.schema import FILE_NAME, open_for_writing
from edge.runtime.store.writer import append
from edge.service import backup as writing
from edge.service import restore as reading
from edge.service.account import Owner
from edge.service.restore_update import put_updates
from edge.update import trust
from edge.update.audit import lines, verify
from edge.update.disk import Disk
from edge.update.manifest import Floor
from edge.update.refusals import Code
from tests.update.site import Appliance, Supplier

ROOT = Path(__file__).parents[2]
Put = Callable[[bytes], Path]


@pytest.fixture
def config(supplier: Supplier, tmp_path: Path) -> Path:
    """The shipped configuration with the supplier's root of trust."""
    folder = tmp_path / "etc" / "ncm-edge"
    shutil.copytree(ROOT / "firmware_config", folder, ignore=shutil.ignore_patterns("*.onnx"))
    (folder / "trust").mkdir()
    shutil.copy(supplier.folder / "root.json", folder / "trust")
    return folder


def site(config: Path, state: Path) -> Appliance:
    state.mkdir(parents=True, exist_ok=True)
    return Appliance(state=state, pinned=config / "trust" / "root.json")


@pytest.fixture
def old(config: Path, tmp_path: Path) -> Appliance:
    return site(config, tmp_path / "old")


@pytest.fixture
def new(config: Path, tmp_path: Path) -> Appliance:
    """Another PC with an empty state."""
    return site(config, tmp_path / "new")


@pytest.fixture
def backup(config: Path, old: Appliance, tmp_path: Path) -> Callable[..., Path]:
    def make(*words: str, name: str = "edge-1.backup") -> Path:
        file = tmp_path / name
        place = ["--config", str(config), "--state", str(old.state)]
        assert main(["backup", str(file), *place, *words]) == DONE
        return file

    return make


def restore(file: Path, config: Path, appliance: Appliance, *words: str) -> int:
    return main(
        ["restore", str(file), "--config", str(config), "--state", str(appliance.state), *words]
    )


def log(state: Path, count: int) -> Head:
    """A history with so many more events; returns its head."""
    found = open_for_writing(state / "history" / FILE_NAME).connection
    with contextlib.closing(found):
        head = Head()
        for number in range(count):
            found.execute("BEGIN IMMEDIATE")
            note = Event(t_s=1.8e9 + number, line="", kind="note", body={"n": number})
            head = append(found, note)
            found.execute("COMMIT")
    return head


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_new_pc_becomes_the_old_appliance(
    config: Path, old: Appliance, new: Appliance, supplier: Supplier, stick: Put,
    backup: Callable[..., Path],
) -> None:  # fmt: skip
    for seq in (1, 2):
        old.apply(stick(supplier.release(seq)))
    head = log(old.state, 3)
    file = backup()
    assert file.stat().st_mode & 0o777 == 0o600
    assert restore(file, config, new) == DONE
    assert new.active == 2
    assert new.store.record().floor == old.store.record().floor
    assert new.store.record().previous == old.store.record().previous
    assert new.verdict(stick(supplier.release(1))) is Code.ROLLBACK
    assert new.verdict(stick(supplier.release(3))) is None
    with History(new.state / "history" / FILE_NAME) as found:
        assert found.verify() == head
    assert verify(new.state / "update" / "audit")[1] == []
    assert [e["event"] for e in lines(new.state / "update" / "audit")][:3] == [
        "apply", "apply", "restore",
    ]  # fmt: skip
    assert not (new.state / "restore.incoming").exists()


def test_a_revocation_survives(
    config: Path, old: Appliance, new: Appliance, supplier: Supplier, stick: Put,
    backup: Callable[..., Path],
) -> None:  # fmt: skip
    stolen = supplier.release(2)
    old.apply(stick(supplier.release(1)))
    supplier.revoke("release-1")
    old.apply(stick(supplier.release(3, "release-2")))
    assert restore(backup(), config, new) == DONE
    assert new.verdict(stick(stolen)) in (Code.SIGNATURE, Code.KEY_REVOKED, Code.ROLLBACK)
    assert new.store.chain().newest.version == supplier.chain.newest.version
    # The slot before was signed with the key that is revoked: it does not come back by a backup.
    assert new.store.record().previous is None
    assert new.active == 3


def test_the_floor_never_falls(
    config: Path, old: Appliance, supplier: Supplier, stick: Put, backup: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    old.apply(stick(supplier.release(1)))
    file = backup()
    old.apply(stick(supplier.release(5)))
    assert restore(file, config, old) == DONE
    assert "line ncm-1: unchanged" in capsys.readouterr().out
    assert old.active == 5
    assert old.verdict(stick(supplier.release(4))) is Code.ROLLBACK


@pytest.mark.parametrize("lost", ["record.*.json", "slots"])
def test_lost_state_comes_back_and_what_still_verifies_raises_the_floor(
    lost: str, config: Path, old: Appliance, supplier: Supplier, stick: Put,
    backup: Callable[..., Path],
) -> None:  # fmt: skip
    old.apply(stick(supplier.release(1)))
    file = backup()
    old.apply(stick(supplier.release(5)))
    for path in old.store.line.glob(lost):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert restore(file, config, old) == DONE
    assert old.store.record().floor == Floor(1, 5)
    assert old.verdict(stick(supplier.release(4))) is Code.ROLLBACK


def test_without_slots_the_floor_stays_and_the_stick_is_asked_for(
    config: Path, old: Appliance, new: Appliance, supplier: Supplier, stick: Put,
    backup: Callable[..., Path], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    old.apply(stick(supplier.release(2)))
    assert restore(backup("--without", "slots"), config, new) == DONE
    assert "insert its stick again" in capsys.readouterr().out
    assert new.active is None
    assert new.verdict(stick(supplier.release(1))) is Code.ROLLBACK
    assert new.verdict(stick(supplier.release(2))) is None
    assert new.active == 2


def test_a_slot_nobody_signed_is_left_out(
    config: Path, old: Appliance, new: Appliance, supplier: Supplier, stick: Put,
    backup: Callable[..., Path],
) -> None:  # fmt: skip
    old.apply(stick(supplier.release(2)))
    (old.store.bundle(str(old.store.record().active)) / "model.onnx").write_bytes(b"evil")
    assert restore(backup(), config, new) == DONE
    assert new.active is None
    assert new.store.record().floor == Floor(1, 2)


def test_a_foreign_root_of_trust_is_refused(
    config: Path, old: Appliance, new: Appliance, supplier: Supplier, stick: Put, tmp_path: Path,
    backup: Callable[..., Path], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    old.apply(stick(supplier.release(2)))
    file = backup()
    other = Supplier(tmp_path / "others")
    (config / "trust" / "root.json").write_bytes((other.folder / "root.json").read_bytes())
    before = tree(config)
    assert restore(file, config, new) == REFUSED
    assert "another root of trust" in capsys.readouterr().err
    assert restore(file, config, new, "--without", "configuration") == REFUSED
    assert tree(config) == before
    assert not new.store.slots.exists()


def test_the_configuration_is_exchanged_as_a_whole_and_the_old_one_kept(
    config: Path, new: Appliance, backup: Callable[..., Path]
) -> None:
    (config / "pki").mkdir()
    (config / "pki" / "client.key").write_text("secret", encoding="utf-8")
    (config / "pki" / "client.key").chmod(0o600)
    saved = tree(config)
    file = backup()
    (config / "appliance.toml").write_text("name = 'wrong'\n", encoding="utf-8")
    (config / "mine.txt").write_text("keep me", encoding="utf-8")
    assert restore(file, config, new) == DONE
    assert tree(config) == saved
    assert (config / "pki" / "client.key").stat().st_mode & 0o007 == 0
    assert tree(config.with_name("ncm-edge.before-restore-1"))["mine.txt"] == b"keep me"
    # Again: nothing to do, nothing piled up.
    assert restore(file, config, new) == DONE
    assert len(list(config.parent.iterdir())) == 2


def test_a_root_of_trust_that_the_backup_lacks_stays(
    config: Path, new: Appliance, backup: Callable[..., Path], supplier: Supplier
) -> None:
    pinned = (config / "trust" / "root.json").read_bytes()
    shutil.rmtree(config / "trust")
    file = backup()
    (config / "trust").mkdir()
    (config / "trust" / "root.json").write_bytes(pinned)
    assert restore(file, config, new) == DONE
    assert (config / "trust" / "root.json").read_bytes() == pinned


def test_a_state_behind_a_link_and_a_relative_path(
    config: Path, old: Appliance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(old.state, 1)
    (tmp_path / "link").symlink_to(old.state)
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path)
    for state in ("link", "old"):
        words = ["--config", str(config), "--state", state]
        assert main(["backup", f"{state}.backup", *words]) == DONE
        words = ["--config", str(config), "--state", "new"]
        assert main(["restore", f"{state}.backup", *words]) == DONE
        with History(tmp_path / "new" / "history" / FILE_NAME) as found:
            assert isinstance(found.verify(), Head)


def test_a_dry_run_changes_nothing(
    config: Path, old: Appliance, new: Appliance, supplier: Supplier, stick: Put,
    backup: Callable[..., Path], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    old.apply(stick(supplier.release(2)))
    log(old.state, 1)
    file = backup()
    (config / "appliance.toml").write_text("name = 'other'\n", encoding="utf-8")
    before = tree(config.parent), tree(new.state)
    assert restore(file, config, new, "--dry-run") == DONE
    assert (tree(config.parent), tree(new.state)) == before
    assert "floor 1.2" in capsys.readouterr().out


def test_a_running_daemon_is_left_alone(
    config: Path, old: Appliance, new: Appliance, backup: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = backup()
    ring = new.state / "ncm-1" / "rows.ring"
    ring.parent.mkdir()
    with ring.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        before = tree(new.state)
        assert restore(file, config, new) == RUNNING
        assert tree(new.state) == before
    assert "systemctl stop ncm-edge" in capsys.readouterr().err
    # Its status names a process that is an ncm-edge: this one is, by its arguments.
    status = {"pid": os.getpid(), "written_s": 0}
    (new.state / "status.json").write_text(json.dumps(status), encoding="utf-8")
    runs = "edge" in Path("/proc/self/cmdline").read_text(encoding="utf-8")
    assert restore(file, config, new) == (RUNNING if runs else DONE)


def test_a_present_history_is_set_aside_or_already_longer(
    config: Path, old: Appliance, new: Appliance, backup: Callable[..., Path]
) -> None:
    log(old.state, 3)
    file = backup()
    longer = log(old.state, 2)
    assert restore(file, config, old) == DONE
    with History(old.state / "history" / FILE_NAME) as found:
        assert found.verify() == longer
    # The same first event: a shorter log does not go on from the backup's.
    log(new.state, 1)
    assert restore(file, config, new) == DONE
    with History(new.state / "history" / FILE_NAME) as found:
        assert isinstance(head := found.verify(), Head)
        assert head.number == 3
    with History(new.state / "history" / f"{FILE_NAME}.before-restore-1") as found:
        assert isinstance(head := found.verify(), Head)
        assert head.number == 1


@pytest.mark.parametrize("name", ["evil", "sqlitexstat1"])
def test_a_history_with_a_trigger_of_somebody_else_is_not_opened_by_the_daemon(
    name: str, config: Path, old: Appliance, new: Appliance, backup: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    log(old.state, 1)
    with contextlib.closing(sqlite3.connect(old.state / "history" / FILE_NAME)) as found:
        found.execute(f"CREATE TRIGGER {name} AFTER INSERT ON steps BEGIN DELETE FROM minutes; END")
    assert restore(backup(), config, new) == DONE
    assert "NOT restored" in capsys.readouterr().out
    assert not (new.state / "history" / FILE_NAME).exists()


def test_a_backup_of_a_history_that_is_being_written_is_whole(
    config: Path, old: Appliance, tmp_path: Path, new: Appliance
) -> None:
    log(old.state, 1)
    stop, began = threading.Event(), threading.Event()

    def write() -> None:
        opened = open_for_writing(old.state / "history" / FILE_NAME).connection
        with contextlib.closing(opened):
            while not stop.is_set():
                opened.execute("BEGIN IMMEDIATE")
                append(opened, Event(t_s=1.8e9, line="", kind="note", body={"text": "x" * 2000}))
                opened.execute("COMMIT")
                began.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert began.wait(30)
        appliance = load(config, state_dir=old.state)
        for number in range(3):
            writing.backup(
                appliance, config, tmp_path / f"{number}.backup", without=frozenset(), wall_s=1.8e9
            )
    finally:
        stop.set()
        writer.join()
    for number in range(3):
        assert restore(tmp_path / f"{number}.backup", config, new) == DONE
        with History(new.state / "history" / FILE_NAME) as found:
            assert isinstance(found.verify(found.noted_head()), Head)
            assert found.damage() == ""


def test_links_and_devices_are_not_followed_but_named(
    config: Path, old: Appliance, supplier: Supplier, stick: Put, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    old.apply(stick(supplier.release(1)))
    secret = tmp_path / "shadow"
    secret.write_text("root:secret", encoding="utf-8")
    (old.state / "update" / "audit" / "log.1.jsonl").symlink_to(secret)
    (old.state / "update" / "trust").mkdir(exist_ok=True)
    os.mkfifo(old.state / "update" / "trust" / "7.root.json")
    (config / "more").symlink_to(tmp_path)
    file = tmp_path / "edge-1.backup"
    words = ["backup", str(file), "--config", str(config), "--state", str(old.state)]
    assert main(words) == FAILED
    told = capsys.readouterr().err
    assert all(name in told for name in ("log.1.jsonl", "7.root.json", "more"))
    assert b"root:secret" not in file.read_bytes()


@pytest.mark.parametrize("where", ["taken", "folder", "missing"])
def test_a_place_that_cannot_be_written_is_named(
    where: str, config: Path, old: Appliance, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"taken": "taken", "folder": ".", "missing": "no/x"}
    file = tmp_path / places[where]
    if where == "taken":
        file.write_text("mine", encoding="utf-8")
    words = ["backup", str(file), "--config", str(config), "--state", str(old.state)]
    assert main(words) == FAILED
    assert str(file) in capsys.readouterr().err
    if where == "taken":
        assert file.read_text(encoding="utf-8") == "mine"


def test_an_update_under_way_is_waited_for_by_the_person(
    config: Path, old: Appliance, supplier: Supplier, stick: Put, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    old.apply(stick(supplier.release(1)))
    with (old.state / "update" / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        file = tmp_path / "edge-1.backup"
        words = ["backup", str(file), "--config", str(config), "--state", str(old.state)]
        assert main(words) == FAILED
    assert "an update is being installed" in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if "edge-1.backup" in path.name]


def test_root_restores_what_the_account_of_the_state_can_use(
    config: Path, old: Appliance, new: Appliance, supplier: Supplier, stick: Put,
    backup: Callable[..., Path],
) -> None:  # fmt: skip
    if os.geteuid() != 0:
        pytest.skip("only root can act as another account")
    old.apply(stick(supplier.release(1)))
    log(old.state, 1)
    file = backup()
    for path in (new.state, *new.state.parents):
        if path.stat().st_uid == 0 and not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o011)
    os.chown(new.state, 65534, 65534)
    assert restore(file, config, new) == DONE
    owners = {path.stat().st_uid for path in new.state.rglob("*")}
    assert owners == {65534}
    assert new.active == 1


def test_a_file_cut_anywhere_is_refused(
    config: Path, new: Appliance, backup: Callable[..., Path]
) -> None:
    file = backup("--without", "history")
    data = file.read_bytes()
    before = tree(new.state)
    for length in (0, 1, 511, 512, 1024, len(data) // 2, len(data) - 1536, len(data) - 1):
        file.write_bytes(data[:length])
        assert restore(file, config, new) == NO_BACKUP, length
    assert tree(new.state) == before


def test_a_file_that_is_not_there_is_named(config: Path, new: Appliance, tmp_path: Path) -> None:
    assert restore(tmp_path / "none.backup", config, new) == FAILED
    with pytest.raises(reading.RestoreError, match=r"none\.backup"):
        reading.restore(
            tmp_path / "none.backup", config, state=new.state, without=frozenset(), dry_run=True,
            wall_s=0,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seq", "7"), ("seq", -1), ("epoch", True), ("seq", 2**60), ("generation", 1.5),
        ("active", ["x"]), ("sha256", None),
    ],
)  # fmt: skip
def test_a_record_that_no_appliance_wrote_is_refused(
    field: str, value: object, config: Path, old: Appliance, new: Appliance, supplier: Supplier,
    stick: Put, backup: Callable[..., Path],
) -> None:  # fmt: skip
    old.apply(stick(supplier.release(1)))
    for path in old.store.line.glob("record.*.json"):
        body = json.loads(path.read_bytes()) | {field: value}
        del body["check"]
        data = trust.canonical(body | {"check": trust.digest(trust.canonical(body))})
        path.write_bytes(data)
    try:
        file = backup()
    except TypeError:
        pytest.skip("the program itself cannot read such a record")
    assert restore(file, config, new) == REFUSED
    assert not new.store.line.exists()


def test_a_record_that_names_a_folder_elsewhere_activates_nothing(
    config: Path, old: Appliance, new: Appliance, supplier: Supplier, stick: Put,
    backup: Callable[..., Path],
) -> None:  # fmt: skip
    old.apply(stick(supplier.release(1)))
    record = replace(old.store.record(), active="../../../../etc", previous="..")
    old.store.commit(record)
    assert restore(backup(), config, new) == DONE
    assert (new.store.record().active, new.store.record().previous) == (None, None)


class CutError(BaseException):
    """The power goes."""


@pytest.mark.parametrize("present", [0, 1])
def test_a_cut_before_any_write_leaves_old_or_new_and_again_completes(
    present: int, config: Path, old: Appliance, supplier: Supplier, stick: Put, tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    """`present`: release on the appliance that is restored to; 0 is an empty one."""
    old.apply(stick(supplier.release(1)))
    begin = tmp_path / "begin"
    if present:
        shutil.copytree(old.state, begin)
    begin.mkdir(exist_ok=True)
    supplier.revoke("release-2")
    for seq in (2, 3):
        old.apply(stick(supplier.release(seq)))
    pinned = (config / "trust" / "root.json").read_bytes()
    # In memory where there is some: thousands of flushes, and no disk is being tested.
    shared = Path("/dev/shm")
    made = tempfile.mkdtemp(dir=shared if os.access(shared, os.W_OK) else tmp_path)
    request.addfinalizer(lambda: shutil.rmtree(made))
    memory = Path(made)

    def restored(state: Path, disk: Disk) -> None:
        staged = memory / "staged"
        shutil.rmtree(staged, ignore_errors=True)
        shutil.copytree(old.state, staged)
        put_updates(
            staged, state, pinned, sha256="ab", dry_run=False, wall_s=1.8e9, disk=disk
        )  # fmt: skip

    cuts, count = 0, 0
    while True:
        state = memory / "cut"
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(begin, state)
        left = [cuts]

        def watch(*_: object, left: list[int] = left) -> None:
            if not left[0]:
                raise CutError
            left[0] -= 1

        try:
            restored(state, Disk(watch))
        except CutError:
            count += 1
        else:
            break
        box = site(config, state)
        floor = box.store.record().floor
        assert floor in (Floor(0, 0), Floor(1, 1), Floor(1, 3)), cuts
        assert floor >= Floor(min(present, 1), present), cuts
        assert box.active in (None, 3) if not present else box.active in (1, 3), cuts
        restored(state, Disk())
        assert box.active == 3, cuts
        assert box.store.record().floor == Floor(1, 3)
        assert verify(state / "update" / "audit")[1] == [], cuts
        cuts += 1
    assert count > 15


def test_a_history_that_was_analysed_is_one_of_ours(
    config: Path, old: Appliance, new: Appliance, backup: Callable[..., Path]
) -> None:
    log(old.state, 1)
    with contextlib.closing(sqlite3.connect(old.state / "history" / FILE_NAME)) as found:
        found.execute("ANALYZE")
    assert restore(backup(), config, new) == DONE
    assert (new.state / "history" / FILE_NAME).exists()


def test_acting_as_the_account_is_without_roots_groups(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can act as another account")
    before = os.getgroups()
    with Owner(65534, 65533).acting():
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (65534, 65533, [65533])
    assert (os.geteuid(), os.getgroups()) == (0, before)


def test_a_name_the_account_chose_neither_stops_a_backup_nor_paints_the_terminal(
    config: Path, old: Appliance, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (old.state / "update").mkdir(exist_ok=True)
    Path(os.fsdecode(os.fsencode(old.state / "update") + b"/\x1b[2J\xff")).symlink_to("/etc")
    target = tmp_path / "edge-1.backup"
    assert main(["backup", str(target), "--config", str(config), "--state", str(old.state)]) == (
        FAILED
    )
    assert target.exists()
    said = capsys.readouterr().err
    assert "\\x1b[2J" in said
    assert "\x1b" not in said
