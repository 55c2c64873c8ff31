"""What an appliance consists of, as one document: for the plant's register of assets (IEC 62443-4-2
CR 7.8), for a comparison after a repair, for whoever asks what runs there.

Read-only, and nothing is asked of the network. What cannot be known (another account's process, no
runtime installed) says so instead of being left out.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import stat
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from edge import __version__
from edge.config.types import Appliance, Line
from edge.runtime import status
from edge.service import network, record
from edge.service.actions import sha256
from edge.service.distributions import closure, installed
from edge.update.refusals import Refused
from edge.update.source import source
from edge.update.store import BUNDLE, Store

VERSION = 1
_PROC = Path("/proc")
_LISTEN, _UDP_OPEN = "0A", "07"


def document(appliance: Appliance, config: Path, root: Path = Path("/")) -> dict[str, Any]:
    """The inventory; `root` holds the installed units."""
    return {
        "inventory": VERSION,
        "appliance": appliance.name,
        "program": {"version": __version__, "folder": str(Path(__file__).parents[1])},
        "python": {"version": platform.python_version(), "program": sys.executable},
        "machine": machine(),
        "runtime": runtime(),
        "packages": [
            {"name": one.name, "version": one.version, "license": one.license}
            for one in closure(installed())
        ],
        "configuration": {"folder": str(config), "sha256": appliance.config_sha256},
        "lines": [_line(appliance, line) for line in appliance.lines],
        "installation": installation(appliance, root),
        "listening": listening(appliance.runtime_dir),
        "state": {
            "folder": str(appliance.state_dir),
            "bytes": sizes(appliance.state_dir),
            "history_bytes": sum(sizes(appliance.history.directory).values()),
        },
    }


def machine() -> dict[str, Any]:
    """Operating system, kernel, processor, memory."""
    system = _release()
    return {
        "host": platform.node(),
        "system": system.get("PRETTY_NAME", platform.system()),
        "kernel": platform.release(),
        "processor": _first(_PROC / "cpuinfo", "model name") or platform.machine(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "memory": _first(_PROC / "meminfo", "MemTotal"),
    }


def runtime() -> dict[str, Any]:
    """ONNX Runtime and what it can run on."""
    try:
        import onnxruntime
    except ImportError as error:
        return {"version": "", "fault": f"not installed: {error}"}
    return {
        "version": str(onnxruntime.__version__),
        "providers": list(onnxruntime.get_available_providers()),
        "telemetry": "off" if os.environ.get("ORT_DISABLE_TELEMETRY") == "1" else "ON",
    }


def _release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _first(path: Path, key: str) -> str:
    for line in _text(path).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def models(appliance: Appliance) -> dict[str, dict[str, str]]:
    """Every bundle on this appliance: "line: slot or configured" -> file -> SHA-256."""
    return {
        f"{line.name}: {name}": files
        for line in appliance.lines for name, files in _bundles(appliance, line).items()
    }  # fmt: skip


def _bundles(appliance: Appliance, line: Line) -> dict[str, dict[str, str]]:
    slots = Store(appliance.state_dir, line.name, appliance.trust_root).slots
    found = {"configured": _hashes(line.model.bundle)}
    found |= {folder.name: _hashes(folder / BUNDLE) for folder in _folders(slots)}
    return {name: files for name, files in found.items() if files}


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(child for child in path.iterdir() if child.is_dir())
    except OSError:
        return []


def _hashes(folder: Path) -> dict[str, str]:
    found = {}
    try:
        for path in sorted(folder.iterdir()):
            with path.open("rb") as stream:
                found[path.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        pass
    return found


def _line(appliance: Appliance, line: Line) -> dict[str, Any]:
    runs = source(appliance.state_dir, line.name, appliance.trust_root, line.model.bundle)
    try:
        store = Store(appliance.state_dir, line.name, appliance.trust_root)
        floor = str(store.record().floor)
    except Refused as refused:
        floor = refused.name
    return {
        "line": line.name, "tags": len(line.tags), "release": runs.release, "fault": runs.fault,
        "floor": floor, "bundles": _bundles(appliance, line),
        "links": [f"{link.name}: {getattr(link, 'url', None) or getattr(link, 'at', '')}"
                  for link in line.links],
    }  # fmt: skip


def installation(appliance: Appliance, root: Path) -> dict[str, Any]:
    """Version and program of the service, and each of its files: as installed, altered, missing."""
    try:
        known = record.read(root)
    except ValueError as error:
        return {"installed": False, "fault": str(error)}
    if known is None:
        return {"installed": False}
    files = {}
    for name, written in known.files.items():
        try:
            same = sha256((root / PurePosixPath(name).relative_to("/")).read_bytes()) == written
            files[name] = "as installed" if same else "altered"
        except OSError:
            files[name] = "missing"
    place = root / network.PLACE.relative_to("/")
    others = [
        str(path) for unit in sorted(place.parent.parent.glob("ncm-edge*.d"))
        for path in sorted(unit.iterdir()) if f"/{path.relative_to(root)}" not in known.files
    ]  # fmt: skip
    return {
        "installed": True, "version": known.version, "program": known.program, "files": files,
        "drop_ins_of_the_plant": others,
        "address_filter": network.fault(appliance, _text(place) or None) or "current",
    }  # fmt: skip


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of each entry of a folder, with all that is in it; no link is followed."""
    found = {}
    try:
        for path in sorted(folder.iterdir()):
            found[path.name] = sum(_lengths(path))
    except OSError:
        pass
    return found


def _lengths(path: Path) -> Iterator[int]:
    try:
        about = path.lstat()
    except OSError:
        return
    if stat.S_ISREG(about.st_mode):
        yield about.st_blocks * 512
    elif stat.S_ISDIR(about.st_mode):
        for folder, _, names in os.walk(path):
            for name in names:
                with_name = Path(folder) / name
                try:
                    yield with_name.lstat().st_blocks * 512
                except OSError:
                    continue


def listening(runtime_dir: Path, proc: Path = _PROC) -> dict[str, Any]:
    """Ports the daemon listens on; none are expected."""
    try:
        pid = int(status.read(runtime_dir)["pid"])
        fds = list((proc / str(pid) / "fd").iterdir())
    except PermissionError:
        return {"known": False, "why": "the daemon is another account's; run it as root"}
    except (OSError, ValueError, KeyError, TypeError):
        return {"known": False, "why": "the daemon does not run"}
    own = set()
    for fd in fds:
        with contextlib.suppress(OSError):  # one may be closed by now
            link = str(fd.readlink())
            if link.startswith("socket:["):
                own.add(link[len("socket:[") : -1])
    return {"known": True, "ports": sorted(_ports(proc / str(pid) / "net", own))}


def _ports(net: Path, own: set[str]) -> Iterator[str]:
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        wanted = _LISTEN if kind.startswith("tcp") else _UDP_OPEN
        for line in _text(net / kind).splitlines()[1:]:
            words = line.split()
            if len(words) > 9 and words[3] == wanted and words[9] in own:
                yield f"{kind} {int(words[1].rpartition(':')[2], 16)}"
