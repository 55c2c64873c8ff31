"""What an installation or its removal does to a machine, in order, as a list to show or perform.

Nothing is decided while it is done: the list is made from what is on the machine, shown by
--dry-run, and performed as it stands. Configuration and state are never written over or removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from edge import __version__
from edge.config.types import Appliance, ModbusLink
from edge.service import network, record, shipped
from edge.service.actions import Action, Note, Remove, RemoveFolder, Run, State, Write, sha256
from edge.service.record import Record


def install(
    root: Path,
    appliance: Appliance,
    *,
    program: PurePosixPath,
    source: Path | None,
    before: Record | None,
    live: bool,
    start: bool = False,
) -> list[Action]:
    """The actions of `ncm-edge install`.

    Args:
        root: file system to install into.
        appliance: the configuration that is, or will be, in /etc/ncm-edge.
        source: where that configuration is copied from; None where one is there.
        before: record of the installation before.
        live: the systemd of `root` runs; else it is an image.
    """
    known = before.files if before else {}
    files = shipped.units(program) | shipped.documents()
    files[network.PLACE] = network.drop_in(network.peers(appliance)).encode()
    accounts = [place for place in (shipped.SYSUSERS, shipped.TMPFILES) if place in files]
    first = before is None

    plan: list[Action] = [_write(root, place, files[place], known) for place in accounts]
    at = () if live else (f"--root={root}",)
    plan.append(Run(("systemd-sysusers", *at, shipped.SYSUSERS.name)))
    if live:
        plan.append(Run(("systemd-tmpfiles", "--create", shipped.TMPFILES.name)))
    plan += _configuration(root, source)
    rest = [_write(root, place, data, known) for place, data in files.items()
            if place not in accounts]  # fmt: skip
    plan += rest
    gone = [PurePosixPath(name) for name in known if PurePosixPath(name) not in files]
    plan += _removals(root, gone, known)
    if live:
        plan += _reload(udev=True)
    if first:
        plan.append(Run(("systemctl", *at, "enable", shipped.SERVICE)))
    text = Record(
        version=__version__, program=str(program),
        files={str(place): sha256(data) for place, data in sorted(files.items())},
    ).text()  # fmt: skip
    plan.append(_write(root, record.PLACE, text.encode(), {}, ours=True))
    if start:
        plan.append(Run(("systemctl", "restart", shipped.SERVICE)))
    return plan + [Note(text) for text in _hints(appliance, rest, live=live, start=start)]


def network_only(
    root: Path, appliance: Appliance, before: Record, *, live: bool
) -> list[Action]:
    """The actions of `ncm-edge install --network`: the address filter, nothing else."""
    data = network.drop_in(network.peers(appliance)).encode()
    action = _write(root, network.PLACE, data, before.files)
    files = {**before.files, str(network.PLACE): sha256(data)}
    text = Record(version=before.version, program=before.program, files=files).text()
    plan: list[Action] = [action, _write(root, record.PLACE, text.encode(), {}, ours=True)]
    if live and action.state != "same":
        plan += [
            *_reload(udev=False), Note("takes effect with: systemctl restart ncm-edge"),
        ]  # fmt: skip
    return plan + [Note(text) for text in _names(appliance)]


def uninstall(
    root: Path, before: Record | None, kept: list[PurePosixPath], *, live: bool
) -> list[Action]:
    """The actions of `ncm-edge install --uninstall`; `kept`: what stays, to be named."""
    known = before.files if before else {}
    places = {PurePosixPath(name) for name in known} or {
        *shipped.units(), *shipped.documents(), network.PLACE,
    }  # fmt: skip
    plan: list[Action] = []
    if live:
        plan += [
            Run(("systemctl", "disable", "--now", shipped.SERVICE), optional=True),
            Run(("systemctl", "stop", shipped.IMPORTER, shipped.STICK), optional=True),
        ]
    else:
        plan.append(Run(("systemctl", f"--root={root}", "disable", shipped.SERVICE), optional=True))
    plan += _removals(root, sorted(places), known)
    if (root / record.PLACE.relative_to("/")).exists():
        plan.append(Remove(record.PLACE))
    folders = {network.PLACE.parent, record.PLACE.parent, shipped.DOCUMENTS / "docs"}
    plan += [RemoveFolder(folder) for folder in (*sorted(folders), shipped.DOCUMENTS)]
    if live:
        plan += _reload(udev=True)
    there = [place for place in kept if (root / place.relative_to("/")).exists()]
    plan += [Note(f"kept     {place}") for place in there]
    if before is not None:
        plan.append(Note(f"kept     {before.program} and the account ncm-edge"))
    if there:
        plan.append(Note("to remove these as well: rm -r " + " ".join(map(str, there))))
    return plan


def _write(
    root: Path, place: PurePosixPath, data: bytes, known: object, *, ours: bool = False
) -> Write:
    return Write(place, data, "changed" if ours and _found(root, place) not in (None, data)
                 else _state(root, place, data, known))  # fmt: skip


def _state(root: Path, place: PurePosixPath, data: bytes, known: object) -> State:
    found = _found(root, place)
    if found is None:
        return "new"
    if found == data:
        return "same"
    written = known.get(str(place)) if isinstance(known, dict) else None
    return "changed" if written == sha256(found) else "altered"


def _found(root: Path, place: PurePosixPath) -> bytes | None:
    try:
        return (root / place.relative_to("/")).read_bytes()
    except OSError:
        return None


def _removals(root: Path, places: list[PurePosixPath], known: object) -> list[Action]:
    plan: list[Action] = []
    for place in places:
        found = _found(root, place)
        if found is not None:
            written = known.get(str(place)) if isinstance(known, dict) else None
            plan.append(Remove(place, altered=written not in (None, sha256(found))))
    return plan


def _configuration(root: Path, source: Path | None) -> Iterator[Action]:
    """Copies of what is not there yet; the file that makes it a configuration comes last."""
    if source is None:
        yield Note(f"keep     {shipped.CONFIGURATION} (a configuration is there; no other is used)")
        return
    paths = sorted(path for path in source.rglob("*") if path.is_file())
    for path in sorted(paths, key=lambda path: path.name == "appliance.toml"):
        place = shipped.CONFIGURATION / path.relative_to(source).as_posix()
        if _found(root, place) is not None:
            yield Note(f"keep     {place}")
        else:
            # What is not for everybody (a key, a password) is for root and the service.
            secret = not path.stat().st_mode & 0o004
            yield Write(
                place, path.read_bytes(), "new", 0o640 if secret else 0o644,
                "ncm-edge" if secret else None,
            )  # fmt: skip


def _reload(*, udev: bool) -> list[Action]:
    plan: list[Action] = [Run(("systemctl", "daemon-reload"))]
    if udev:
        plan.append(Run(("udevadm", "control", "--reload"), optional=True))
    return plan


def _names(appliance: Appliance) -> list[str]:
    names = network.peers(appliance).names
    if not names:
        return []
    return [
        f"no address filter: {'; '.join(names)} is a name; write its address into line.toml and "
        "run ncm-edge install --network"
    ]


def _hints(appliance: Appliance, rest: list[Write], *, live: bool, start: bool) -> Iterator[str]:
    yield from _names(appliance)
    for line in appliance.lines:
        for link in line.links:
            if isinstance(link, ModbusLink) and link.protocol == "modbus-rtu":
                yield (
                    f"link {link.name} is a serial port: open {link.device} for the service as "
                    "ncm-edge.service says at DeviceAllow (systemctl edit ncm-edge)"
                )
    if live and not start:
        changed = any(action.state in ("changed", "altered") for action in rest)
        yield (
            "running services keep the old units until: systemctl restart ncm-edge" if changed
            else "start it with: systemctl start ncm-edge"
        )  # fmt: skip
