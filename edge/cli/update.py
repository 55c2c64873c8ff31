"""`ncm-edge update` and `ncm-edge audit`: what a technician types, or the importer for them.

Exit code 0 when it is done, 2 for a mistake in the command or the configuration, else the number of
the refusal (edge/update/refusals.py). All of it works while the daemon is down.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge import __version__
from edge.config.types import Appliance, Line
from edge.runtime.clock import SystemClock
from edge.update.audit import Audit, lines, verify
from edge.update.install import Installer
from edge.update.manifest import Floor, Manifest, Site
from edge.update.refusals import TABLE, Refused
from edge.update.selftest import ChildTest
from edge.update.source import source
from edge.update.store import Record, Store

USER_MISTAKE = 2
TAKE_UP = "a running daemon takes it up by itself, a newer release after its time in shadow"
_SHOWN = 10


def inspect(appliance: Appliance, path: Path, *, as_json: bool = False) -> int:
    """What is on the stick, and whether it would be installed."""
    line = one_line(appliance)
    if line is None:
        return USER_MISTAKE

    def work(installer: Installer) -> None:
        found = installer.inspect(path)
        if as_json:
            print(json.dumps({"path": str(found.path), **_plain(found.manifest)}, indent=2))
            return
        print(f"{found.path}: may be installed on {line.name}")
        print("\n".join(_about(found.manifest)))
        print(f"  signed by   {', '.join(found.signers)}")
        if found.new_roots:
            print(f"  brings keys {', '.join(f'root {n}' for n in found.new_roots)}")

    return _with(appliance, line, work)


def apply(appliance: Appliance, path: Path) -> int:
    """Install the release on the stick."""
    line = one_line(appliance)
    if line is None or _not_the_owner(appliance, "apply"):
        return USER_MISTAKE

    def work(installer: Installer) -> None:
        found = installer.apply(path)
        print(f"line {line.name}: release {found.place} is installed; {TAKE_UP}")

    # systemd ends the importer when the stick is pulled; the audit shall be told all the same.
    told = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: told.set())
    try:
        return _with(appliance, line, work, told.is_set)
    finally:
        signal.signal(signal.SIGTERM, before)


def rollback(appliance: Appliance) -> int:
    """Back to the previous slot."""
    line = one_line(appliance)
    if line is None or _not_the_owner(appliance, "rollback"):
        return USER_MISTAKE
    return _with(
        appliance,
        line,
        lambda installer: print(f"line {line.name}: back to {installer.rollback()}; {TAKE_UP}"),
    )


def repair(appliance: Appliance, floor: str | None) -> int:
    """Record and keys from what still verifies."""
    line = one_line(appliance)
    if line is None or _not_the_owner(appliance, "repair"):
        return USER_MISTAKE
    least = None
    if floor is not None:
        parts = floor.split(".")
        if len(parts) != 2 or not all(part.isdecimal() for part in parts):
            print(f'--floor "{floor}": expected EPOCH.NUMBER, e.g. 1.7', file=sys.stderr)
            return USER_MISTAKE
        least = Floor(int(parts[0]), int(parts[1]))

    def work(installer: Installer) -> None:
        record = installer.repair(least)
        active = record.active or "configured bundle"
        print(f"line {line.name}: active {active}, releases from {record.floor} on; {TAKE_UP}")

    return _with(appliance, line, work)


def status(appliance: Appliance, *, as_json: bool = False) -> int:
    """What is installed on every line. Returns 0, or the number of the first fault's refusal.

    A release that was gone back from by itself counts as one until the next update.
    """
    code, documents = 0, []
    for line in appliance.lines:
        store = _store(appliance, line)
        runs = source(appliance.state_dir, line.name, appliance.trust_root, line.model.bundle)
        document: dict[str, Any] = {
            "line": line.name,
            "runs": runs.release,
            "bundle": str(runs.bundle),
            "fault": runs.fault,
        }
        try:
            record = store.record()
            document |= {
                "active": record.active,
                "previous": record.previous,
                "unproven": record.active if record.unproven_active else None,
                "stage": _stage(record),
                "floor": str(record.floor),
                "returned": record.why,
            }
            code = code or record.code
            document["root"] = store.chain(record.root_version).newest.version
        except Refused as refused:
            code = code or int(refused.code)
            document["fault"] = document["fault"] or str(refused)
        documents.append(document)
    history = [entry for entry in lines(_audit(appliance).folder)][-_SHOWN:]  # noqa: C416
    if as_json:
        print(json.dumps({"lines": documents, "history": history}, indent=2, ensure_ascii=False))
        return code
    for document in documents:
        print(f"line {document['line']}: runs {document['runs']} ({document['bundle']})")
        for key in ("active", "previous", "stage", "floor", "root"):
            if document.get(key) is not None:
                print(f"  {key:9s} {document[key]}")
        for text in filter(None, (document["fault"], document.get("returned"))):
            print(f"  ! {text}")
    for entry in history:
        release = f" release {entry['release']}" if "release" in entry else ""
        print(f"  #{entry['n']} {entry['event']}{release}: {entry['verdict']}")
    return code


def audit(appliance: Appliance, *, as_json: bool = False) -> int:
    """Verify the chain of the audit; 0 if it is whole, 1 if not."""
    folder = _audit(appliance).folder
    try:
        count, faults = verify(folder)
    except OSError as error:
        print(f"{folder}: cannot be read: {error.strerror}", file=sys.stderr)
        return 1
    if as_json:
        for entry in lines(folder):
            print(json.dumps(entry, ensure_ascii=False))
    for fault in faults:
        print(fault, file=sys.stderr)
    if not as_json:
        print(f"{folder}: {count} lines, {'NOT whole' if faults else 'whole'}")
    return int(bool(faults))


def codes() -> int:
    """The table of refusals, for the HMI and the manual."""
    for code, row in TABLE.items():
        print(f"{int(code):3d}  {Refused(code).name:16s} {row.text} {row.remedy}")
    return 0


def one_line(appliance: Appliance) -> Line | None:
    """The line meant, or None after saying how to name it."""
    if len(appliance.lines) == 1:
        return appliance.lines[0]
    names = ", ".join(line.name for line in appliance.lines)
    print(f"which line? Give --line with one of: {names}", file=sys.stderr)
    return None


def _not_the_owner(appliance: Appliance, action: str) -> bool:
    """Say so and return True if what `action` writes would lock the daemon out of its own state."""
    try:
        owner = appliance.state_dir.stat().st_uid
    except OSError:
        return False  # not there yet, or what is wrong will be said by who opens it
    if owner == os.geteuid():
        return False
    try:
        user = pwd.getpwuid(owner).pw_name
    except KeyError:
        user = f"'#{owner}'"
    print(
        f"{appliance.state_dir} belongs to {user}; what another account writes there the daemon "
        f"cannot use. Run it as that account: sudo -u {user} ncm-edge update {action} …",
        file=sys.stderr,
    )  # fmt: skip
    return True


def _with(
    appliance: Appliance,
    line: Line,
    work: Callable[[Installer], None],
    ended: Callable[[], bool] = lambda: False,
) -> int:
    tags = tuple((row.tag.name, row.tag.unit) for row in line.tags)
    trail = _audit(appliance)
    installer = Installer(
        _store(appliance, line),
        Site(line=line.name, tags=tags, row_s=line.row_s, app_version=__version__),
        ChildTest(tags=tags, row_s=line.row_s, provider=appliance.provider),
        trail,
        ended,
    )
    try:
        work(installer)
    except Refused as refused:
        print(f"REFUSED {refused}", file=sys.stderr)
        return int(refused.code)
    finally:
        if trail.fault:
            print(trail.fault, file=sys.stderr)
    return 0


def _stage(record: Record) -> str | None:
    """Where the active release stands on its way; None for the bundle of the configuration."""
    if record.active is None:
        return None
    if not record.unproven_active:
        return "proven"
    return "on probation" if record.on_probation else "in shadow, or waits for it"


def _store(appliance: Appliance, line: Line) -> Store:
    return Store(appliance.state_dir, line.name, appliance.trust_root)


def _audit(appliance: Appliance) -> Audit:
    return Audit(appliance.state_dir / "update" / "audit", SystemClock().wall_s)


def _about(manifest: Manifest) -> list[str]:
    return [
        f"  release     {manifest.place}, issued {manifest.issued}",
        f"  model       {manifest.model_version}",
        f"  made for    {', '.join(manifest.compatible)}, ncm-edge {manifest.app_min} or newer"
        + (f", up to {manifest.app_max}" if manifest.app_max else ""),
        f"  files       {len(manifest.files)}, {sum(f.size for f in manifest.files) / 1e6:.2f} MB",
    ]


def _plain(manifest: Manifest) -> dict[str, Any]:
    return {**asdict(manifest), "place": str(manifest.place)}
