"""What comes with the program and where on a machine it belongs: units, rules, documents.

`systemd/`, `firmware_config/` and `docs/` of the repository are the only source; an installed wheel
carries the same files as its data (pyproject.toml, data-files).
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path, PurePosixPath

import edge

PROGRAM = PurePosixPath("/opt/ncm-edge/bin/ncm-edge")
"""The program the shipped units name."""
CONFIGURATION = PurePosixPath("/etc/ncm-edge")
STATE = PurePosixPath("/var/lib/ncm-edge")
SERVICE = "ncm-edge.service"
IMPORTER = "ncm-edge-update.service"
STICK = "run-ncm\\x2dedge\\x2dstick.mount"
UNITS = PurePosixPath("/etc/systemd/system")
RULES = PurePosixPath("/etc/udev/rules.d")
DOCUMENTS = PurePosixPath("/usr/share/doc/ncm-edge")
SYSUSERS = PurePosixPath("/etc/sysusers.d/ncm-edge.conf")
TMPFILES = PurePosixPath("/etc/tmpfiles.d/ncm-edge.conf")
_BY_NAME = {"sysusers.conf": SYSUSERS, "tmpfiles.conf": TMPFILES}
_BY_SUFFIX = {
    ".service": UNITS, ".mount": UNITS, ".socket": UNITS, ".target": UNITS, ".timer": UNITS,
    ".path": UNITS, ".rules": RULES,
}  # fmt: skip


class NotShippedError(Exception):
    """The program was installed without its units; the message says what to do."""


def root() -> Path:
    """Folder that holds `systemd/`, `firmware_config/` and `docs/`. Raises NotShippedError."""
    beside = Path(edge.__file__).resolve().parents[1]
    if _holds(beside):
        return beside
    try:
        files = metadata.distribution("ncm-edge").files or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == SERVICE:
            found = Path(str(file.locate())).resolve().parents[1]
            if _holds(found):
                return found
    raise NotShippedError(
        f"the units do not lie beside the program ({beside}); install the wheel of ncm-edge, or "
        "run from a checkout"
    )


def _holds(folder: Path) -> bool:
    return (folder / "systemd" / SERVICE).is_file()


def destination(name: str) -> PurePosixPath | None:
    """Where a file of `systemd/` belongs; None for one that belongs nowhere."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    folder = _BY_SUFFIX.get(PurePosixPath(name).suffix)
    return None if folder is None else folder / name


def units(program: PurePosixPath = PROGRAM) -> dict[PurePosixPath, bytes]:
    """Content of every unit, rule and account file by its place, naming `program`."""
    found = {}
    for path in sorted((root() / "systemd").iterdir()):
        place = destination(path.name)
        if place is not None:
            text = path.read_bytes()
            found[place] = text.replace(str(PROGRAM).encode(), str(program).encode())
    return found


def documents() -> dict[PurePosixPath, bytes]:
    """The documents by their place: what `Documentation=` of the units points at."""
    source = root()
    names = ["README.md", *(f"docs/{path.name}" for path in sorted((source / "docs").glob("*.md")))]
    return {
        DOCUMENTS / name: (source / name).read_bytes()
        for name in names if (source / name).is_file()
    }  # fmt: skip


def example() -> Path:
    """The configuration that ships as an example."""
    return root() / "firmware_config"
