"""`ncm-edge install` into the file system of an image: what it writes, keeps and removes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from edge import __version__
from edge.__main__ import main
from edge.config.load import load
from edge.config.types import Appliance, ModbusLink, MqttSettings, OpcUaLink
from edge.service import network, place, record, shipped
from edge.service.account import SELF, Owner

ROOT = Path(__file__).parents[2]
UNITS = Path("etc/systemd/system")
FILTER = UNITS / "ncm-edge.service.d" / "10-network.conf"
needs_systemd = pytest.mark.skipif(
    not all(shutil.which(name) for name in ("systemctl", "systemd-sysusers", "systemd-analyze")),
    reason="systemd is not installed",
)
pytestmark = needs_systemd
ACCOUNTS = ("passwd", "group", "shadow", "gshadow", ".pwd.lock", "passwd-", "group-", "shadow-",
            "gshadow-")  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "image"
    folder.mkdir()
    return folder


def install(root: Path, *words: str) -> int:
    return main(["install", "--root", str(root), *words])


def move(line: Path) -> None:
    """The devices of a line get another address."""
    text = line.read_text(encoding="utf-8")
    line.write_text(text.replace("127.0.0.1", "10.0.0.5"), encoding="utf-8")


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink() and path.name not in ACCOUNTS
    }


def test_everything_is_where_systemd_looks_for_it(root: Path) -> None:
    assert install(root) == 0
    found = tree(root)
    for path in (ROOT / "systemd").iterdir():
        target = shipped.destination(path.name)
        assert target is not None, f"{path.name} belongs nowhere"
        assert found[str(target.relative_to("/"))] == path.read_bytes()
    example = (ROOT / "firmware_config/appliance.toml").read_bytes()
    assert found["etc/ncm-edge/appliance.toml"] == example
    assert "IPAddressDeny=any\nIPAddressAllow=127.0.0.1\n" in found[str(FILTER)].decode()
    assert "ncm-edge:x:" in (root / "etc/passwd").read_text(encoding="utf-8")
    wanted = root / UNITS / "multi-user.target.wants" / "ncm-edge.service"
    assert wanted.is_symlink()
    for unit in (root / UNITS).glob("*.service"):
        for documented in re.findall(r"Documentation=file:(\S+)", unit.read_text(encoding="utf-8")):
            assert documented.lstrip("/") in found
    done = record.read(root)
    assert done is not None
    assert done.version == __version__
    # Readable for the service whatever the umask of who installs.
    assert all(path.stat().st_mode & 0o005 == 0o005 for path in (root / "etc").rglob("*")
               if path.is_dir())  # fmt: skip


def test_again_changes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert install(root) == 0
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    (root / UNITS / "multi-user.target.wants" / "ncm-edge.service").unlink()
    capsys.readouterr()
    assert install(root) == 0
    told = capsys.readouterr().out
    assert not re.search(r"^ +(write|replace|remove)", told, re.MULTILINE)
    after = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert {path: time for path, time in after.items() if path.name not in ACCOUNTS} == {
        path: time for path, time in before.items()
        if path.name not in ACCOUNTS and path.parent.name != "multi-user.target.wants"
    }  # fmt: skip
    # What the plant disabled stays disabled.
    assert not (root / UNITS / "multi-user.target.wants" / "ncm-edge.service").exists()


def test_a_dry_run_names_every_file_and_writes_none(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install(root, "--dry-run") == 0
    told = capsys.readouterr().out
    assert not list(root.iterdir())
    assert install(root) == 0
    for name in tree(root):
        assert f"write    /{name}\n" in told
    assert "run      systemctl" in told
    assert "systemd-sysusers" in told


def test_a_configuration_that_is_there_is_never_touched(root: Path) -> None:
    shutil.copytree(ROOT / "firmware_config", root / "etc/ncm-edge")
    own = root / "etc/ncm-edge/lines/ncm-1/line.toml"
    move(own)
    shutil.rmtree(root / "etc/ncm-edge/lines/skab")
    before = tree(root)
    assert install(root) == 0
    after = tree(root)
    assert {name: after[name] for name in after if name.startswith("etc/ncm-edge/")} == before
    assert "IPAddressAllow=10.0.0.5\n" in after[str(FILTER)].decode()


def test_an_interrupted_copy_of_the_configuration_is_completed(root: Path) -> None:
    (root / "etc/ncm-edge/lines/ncm-1").mkdir(parents=True)
    own = root / "etc/ncm-edge/lines/ncm-1/tags.toml"
    own.write_bytes(b"# mine\n" + (ROOT / "firmware_config/lines/ncm-1/tags.toml").read_bytes())
    assert install(root) == 0
    assert own.read_text(encoding="utf-8").startswith("# mine\n")
    assert (root / "etc/ncm-edge/appliance.toml").is_file()


def test_what_was_there_and_what_was_added_must_go_together(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "etc/ncm-edge/lines/ncm-1").mkdir(parents=True)
    (root / "etc/ncm-edge/lines/ncm-1/tags.toml").write_text("# none\n", encoding="utf-8")
    assert install(root) == 1
    assert "correct these" in capsys.readouterr().err


def test_the_plants_configuration_with_a_key_for_the_service_alone(
    root: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    shutil.copytree(ROOT / "firmware_config", site)
    (site / "pki").mkdir()
    (site / "pki" / "client.key").write_text("secret", encoding="utf-8")
    (site / "pki" / "client.key").chmod(0o600)
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another group")
    assert install(root, "--site", str(site)) == 0
    about = (root / "etc/ncm-edge/pki/client.key").stat()
    group = re.search(r"ncm-edge:x:(\d+)", (root / "etc/group").read_text(encoding="utf-8"))
    assert group is not None
    assert (about.st_mode & 0o777, about.st_gid) == (0o640, int(group[1]))


def test_a_unit_altered_on_the_machine_is_kept_beside_the_new_one(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install(root) == 0
    unit = root / UNITS / "ncm-edge.service"
    unit.write_text("[Service]\nExecStart=/bin/mine\n", encoding="utf-8")
    assert install(root) == 0
    assert "altered on this machine" in capsys.readouterr().out
    assert unit.read_bytes() == (ROOT / "systemd/ncm-edge.service").read_bytes()
    assert "/bin/mine" in unit.with_name("ncm-edge.service.altered").read_text(encoding="utf-8")


def test_a_new_version_replaces_and_takes_away_what_it_no_longer_has(root: Path) -> None:
    assert install(root) == 0
    place_ = root / record.PLACE.relative_to("/")
    gone = root / UNITS / "ncm-edge-gone.service"
    gone.write_text("old", encoding="utf-8")
    changed = root / UNITS / "ncm-edge-update.service"
    changed.write_text("old", encoding="utf-8")
    document = json.loads(place_.read_text(encoding="utf-8"))
    document["version"] = "0.0.9"
    digest = "cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"  # of "old"
    for path in (gone, changed):
        document["files"][f"/{path.relative_to(root)}"] = digest
    place_.write_text(json.dumps(document), encoding="utf-8")
    assert install(root) == 0
    assert not gone.exists()
    assert not list((root / UNITS).glob("*.altered"))
    assert changed.read_bytes() == (ROOT / "systemd/ncm-edge-update.service").read_bytes()


@pytest.mark.parametrize(
    ("version", "words", "code"),
    [("0.0.1", (), 0), ("99.0", (), 2), ("99.0", ("--downgrade",), 0), ("0.10.0", (), 2)],
)
def test_an_older_program_over_a_newer_one_is_asked_about(
    version: str, words: tuple[str, ...], code: int, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = root / record.PLACE.relative_to("/")
    kept.parent.mkdir(parents=True)
    kept.write_text(record.Record(version=version, program="/x").text(), encoding="utf-8")
    assert install(root, *words) == code
    if code:
        assert "--downgrade" in capsys.readouterr().err
        assert list(tree(root)) == [str(kept.relative_to(root))]


def spoil_configuration(root: Path) -> None:
    shutil.copytree(ROOT / "firmware_config", root / "etc/ncm-edge")
    (root / "etc/ncm-edge/appliance.toml").write_text("nmae = 1\n", encoding="utf-8")


def spoil_record(root: Path) -> None:
    kept = root / record.PLACE.relative_to("/")
    kept.parent.mkdir(parents=True)
    kept.write_text("{", encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "words", "says"),
    [
        (spoil_configuration, (), "did you mean 'name'"),
        (spoil_record, (), "record of the installation"),
        (None, ("--program", "relative/ncm-edge"), "absolute path"),
        (None, ("--program", "/opt/a b/ncm-edge"), "plain characters"),
        (None, ("--start",), "nothing runs in an image"),
        (None, ("--network",), "nothing is installed yet"),
        (None, ("--site", "/nowhere"), "no appliance.toml"),
    ],
)
def test_a_mistake_changes_nothing(
    spoil: object, words: tuple[str, ...], says: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if callable(spoil):
        spoil(root)
    before = tree(root)
    assert install(root, *words) == 2
    assert says in capsys.readouterr().err
    assert tree(root) == before


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert install(tmp_path / "no") == 2
    assert "is no folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("link", "target", "says"),
    [
        ("etc/systemd", "../../outside", "leads out of"),
        ("etc/systemd/system/ncm-edge.service", "/dev/null", "is masked"),
        ("etc/udev/rules.d/70-ncm-edge-stick.rules", "/etc/passwd", "is a link to"),
    ],
)
def test_a_link_is_not_written_through(
    link: str, target: str, says: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    path = root / link
    path.parent.mkdir(parents=True)
    path.symlink_to(target)
    for words in (("--dry-run",), ()):
        assert install(root, *words) == 2
        assert says in capsys.readouterr().err
    assert not list(outside.rglob("*"))
    assert not (root / "etc/ncm-edge").exists()


def test_uninstalled_is_all_but_the_data(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert install(root) == 0
    (root / "var/lib/ncm-edge").mkdir(parents=True)
    (root / "var/lib/ncm-edge/ring").write_bytes(b"18 h")
    (root / UNITS / "ncm-edge.service.d/override.conf").write_text("[Service]\n", encoding="utf-8")
    (root / UNITS / "ncm-edge.service").write_text("mine", encoding="utf-8")
    assert install(root, "--uninstall", "--dry-run") == 0
    assert (root / UNITS / "ncm-edge-update.service").exists()
    capsys.readouterr()
    assert install(root, "--uninstall") == 0
    told = capsys.readouterr().out
    assert "kept     /etc/ncm-edge\n" in told
    assert "kept     /var/lib/ncm-edge\n" in told
    left = {name for name in tree(root) if not name.startswith("etc/ncm-edge/")}
    assert left == {
        "var/lib/ncm-edge/ring", "etc/systemd/system/ncm-edge.service.d/override.conf",
        "etc/systemd/system/ncm-edge.service.altered",
    }  # fmt: skip
    assert (root / "etc/ncm-edge/appliance.toml").is_file()
    assert not (root / UNITS / "multi-user.target.wants/ncm-edge.service").exists()
    assert install(root, "--uninstall") == 0


def test_the_program_of_the_units(root: Path) -> None:
    assert install(root, "--program", "/srv/edge/bin/ncm-edge") == 0
    units = [(root / UNITS / name).read_text(encoding="utf-8")
             for name in ("ncm-edge.service", "ncm-edge-update.service")]  # fmt: skip
    assert all("=/srv/edge/bin/ncm-edge " in unit and "/opt/" not in unit for unit in units)


@pytest.mark.parametrize(
    "program", ["/home/me/bin/ncm-edge", "/root/v/bin/ncm-edge", "/tmp/v/bin/ncm-edge"]
)
def test_a_program_the_service_cannot_see(
    program: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / program.lstrip("/")).parent.mkdir(parents=True)
    (root / program.lstrip("/")).write_text("#!/usr/bin/python3\n", encoding="utf-8")
    assert install(root, "--program", program) == 2
    assert "is hidden" in capsys.readouterr().err


def test_a_program_the_account_cannot_get_to(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o001:
            break
    else:
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o700)
    path = tmp_path / "locked" / "file"
    path.parent.mkdir(exist_ok=True)
    path.write_text("x", encoding="utf-8")
    (fault,) = place._unreadable(path)
    assert "chmod o+x" in fault
    assert place._unreadable(Path("/usr/bin/env")) == []


def test_on_a_machine_only_root_may() -> None:
    nobody = Owner(65534, 65534) if os.geteuid() == 0 else SELF
    with nobody.acting():
        faults = place.machine_faults(offline=True)
    assert len(faults) == 1
    assert "sudo ncm-edge install" in faults[0]


def test_without_systemd_the_remedy_is_named() -> None:
    if place.BOOTED.is_dir():
        pytest.skip("systemd runs here")
    assert any("--offline" in fault and "--root" in fault
               for fault in place.machine_faults(offline=False))  # fmt: skip


# The address filter.


def with_hosts(*hosts: str) -> Appliance:
    """The shipped configuration with these Modbus hosts and OPC UA URLs."""
    appliance = load(ROOT / "firmware_config")
    links = [
        OpcUaLink(name=f"l{n}", url=host, namespace="urn:x") if "//" in host
        else ModbusLink(name=f"l{n}", host=host)
        for n, host in enumerate(hosts)
    ]  # fmt: skip
    return replace(appliance, lines=(replace(appliance.lines[0], links=tuple(links)),))


@pytest.mark.parametrize(
    ("hosts", "addresses", "named"),
    [
        (("10.0.0.5", "opc.tcp://10.0.0.6:4840/x", "10.0.0.5"), ("10.0.0.5", "10.0.0.6"), 0),
        (("localhost", "opc.tcp://[fd00::1]:4840"), ("fd00::1", "localhost"), 0),
        (("[fd00::2]", "fe80::1%eth0"), ("fd00::2", "fe80::1"), 0),
        (("plc-1", "10.0.0.5"), ("10.0.0.5",), 1),
        (("::ffff:10.0.0.7",), ("10.0.0.7", "::ffff:a00:7"), 0),
    ],
)
def test_the_peers_of_a_configuration(
    hosts: tuple[str, ...], addresses: tuple[str, ...], named: int
) -> None:
    found = network.peers(with_hosts(*hosts))
    assert found.addresses == addresses
    assert len(found.names) == named
    text = network.drop_in(found)
    assert ("IPAddressDeny=any" in text) is not named
    assert ("AF_INET6" in text) is any(":" in address for address in addresses)


@pytest.mark.parametrize("host", ["192.168.10.40", "broker.plant"])
def test_the_broker_is_a_peer(host: str) -> None:
    appliance = with_hosts("10.0.0.5")
    told = replace(appliance, mqtt=MqttSettings(host=host, topic="plant/{line}"))
    before, found = network.peers(appliance), network.peers(told)
    if host[0].isdigit():
        assert set(found.addresses) - set(before.addresses) == {host}
        assert f"IPAddressAllow={host}\n" in network.drop_in(found)
    else:
        assert found.addresses == before.addresses
        assert found.names == ("mqtt: broker.plant",)
    assert "install --network" in network.fault(told, network.drop_in(before))
    assert network.fault(told, network.drop_in(found)) == ""


def test_a_serial_line_needs_no_address() -> None:
    appliance = with_hosts("10.0.0.5")
    line = appliance.lines[0]
    serial = ModbusLink(name="rtu", protocol="modbus-rtu", device="/dev/ttyUSB0")
    only = replace(appliance, lines=(replace(line, links=(serial,)),))
    assert network.drop_in(network.peers(only)).endswith("[Service]\nIPAddressDeny=any\n")


def test_a_stale_filter_is_told_and_made_anew(root: Path) -> None:
    assert install(root) == 0
    config = root / "etc/ncm-edge"
    move(config / "lines/ncm-1/line.toml")
    text = (root / FILTER).read_text(encoding="utf-8")
    assert "install --network" in network.fault(load(config), text)
    assert "is missing" in network.fault(load(config), None)
    before = tree(root)
    assert install(root, "--network") == 0
    after = tree(root)
    kept = str(record.PLACE.relative_to("/"))
    assert {name for name in after if after[name] != before.get(name)} == {str(FILTER), kept}
    assert network.fault(load(config), (root / FILTER).read_text(encoding="utf-8")) == ""
    assert install(root) == 0
    assert tree(root) == after


@pytest.mark.parametrize("good", [True, False])
def test_systemd_understands_the_filter(good: bool, root: Path) -> None:
    assert install(root) == 0
    unit = root / UNITS / "ncm-edge.service"
    shown = unit.read_text(encoding="utf-8").replace(str(shipped.PROGRAM), "/bin/true")
    unit.write_text(shown, encoding="utf-8")
    text = network.drop_in(network.peers(with_hosts("10.0.0.5", "opc.tcp://[fd00::1]:4840")))
    if not good:
        text = text.replace("10.0.0.5", "10.0.0.555")
    (root / FILTER).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [str(shutil.which("systemd-analyze")), "verify", "--recursive-errors=no", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = [line for line in done.stderr.splitlines() if "10-network.conf" in line]
    assert bool(told) is not good, done.stderr


def test_the_places_the_units_name_are_ours() -> None:
    assert str(shipped.PROGRAM) in (ROOT / "systemd/ncm-edge.service").read_text(encoding="utf-8")
    assert (ROOT / "systemd" / shipped.IMPORTER).is_file()
    assert (ROOT / "systemd" / shipped.STICK).is_file()
    assert load(ROOT / "firmware_config").state_dir == Path(shipped.STATE)
    assert PurePosixPath("/etc/ncm-edge") == shipped.CONFIGURATION


def test_check_and_reload_say_that_the_filter_of_this_machine_is_stale(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ["--config", str(root / "etc/ncm-edge")]
    assert install(root) == 0
    # The machine is the image from here on.
    monkeypatch.setattr(shipped, "CONFIGURATION", PurePosixPath(root / "etc/ncm-edge"))
    monkeypatch.setattr(record, "PLACE", PurePosixPath(root / record.PLACE.relative_to("/")))
    monkeypatch.setattr(network, "PLACE", PurePosixPath(root / FILTER))
    capsys.readouterr()
    assert main(["check", *config]) == 0
    assert "10-network.conf" not in capsys.readouterr().out
    move(root / "etc/ncm-edge/lines/ncm-1/line.toml")
    assert main(["check", *config]) == 0
    assert "ncm-edge install --network" in capsys.readouterr().out
    assert main(["reload", *config]) == 1  # nobody to reload, but it is said
    assert "ncm-edge install --network" in capsys.readouterr().err
    # Another configuration is not this machine's.
    assert main(["check", "--config", str(ROOT / "firmware_config")]) == 0
    assert "10-network.conf" not in capsys.readouterr().out
