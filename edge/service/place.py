"""Whether the service can run from where the program lies; every obstacle, with its remedy."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path, PurePath, PurePosixPath

import edge
from edge import __version__
from edge.service.shipped import PROGRAM

HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")
"""What the walls of the units (ProtectHome, PrivateTmp) hide from the service."""
BOOTED = Path("/run/systemd/system")
_PLAIN = re.compile(r"/[A-Za-z0-9._+/-]+")


def own_program(known: str | None) -> PurePosixPath:
    """The program that is running, by the name the units should use.

    `known`: the program of the installation before. A link to the running version (such as
    /opt/ncm-edge/bin) is preferred to the version behind it.
    """
    own = Path(sys.prefix) / "bin" / "ncm-edge"
    for name in (known, str(PROGRAM)):
        if name and Path(name).exists() and own.exists() and Path(name).samefile(own):
            return PurePosixPath(name)
    return PurePosixPath(own)


def machine_faults(*, offline: bool) -> list[str]:
    """What keeps this machine from being installed on; `offline`: its systemd need not run."""
    faults = []
    if os.geteuid() != 0:
        faults.append("only root may install: sudo ncm-edge install (--dry-run shows all of it)")
    if not offline and not BOOTED.is_dir():
        faults.append(
            f"systemd does not run here ({BOOTED} is missing); --offline where this is an image "
            "being built, --root DIR to install into the file system of one"
        )
    return faults


def program_faults(program: PurePosixPath, root: Path) -> list[str]:
    """What keeps the service from running `program`."""
    if not _PLAIN.fullmatch(str(program)):
        return [f"{program}: expected an absolute path of plain characters; make the venv there"]
    path = root / program.relative_to("/")
    if not path.exists():
        if root != Path("/"):
            return []  # it comes into the image later
        return [f"{program} is not there; install the wheel there, or name it with --program"]
    if root != Path("/"):
        return _hidden(program, program)
    code = Path(edge.__file__)
    faults = []
    for need in dict.fromkeys((path, _interpreter(path), code, Path(os.__file__))):
        faults += _hidden(program, need) or _unreadable(need)
    return list(dict.fromkeys(faults)) or _version_fault(program)


def _hidden(program: PurePosixPath, need: PurePath) -> list[str]:
    for place in dict.fromkeys((str(need), os.path.realpath(need))):
        for folder in HIDDEN:
            if place.startswith(folder + "/"):
                return [
                    f"{program} needs {place}, which the service does not see ({folder} is hidden "
                    "from it); make the venv below /opt with the Python of the system"
                ]
    return []


def _unreadable(need: Path) -> list[str]:
    real = Path(os.path.realpath(need))
    for part in (real, *real.parents):
        mode = part.stat().st_mode
        wanted = stat.S_IXOTH if part.is_dir() else stat.S_IROTH
        if not mode & wanted:
            return [
                f"{part} has mode {stat.S_IMODE(mode):04o}: the service's account cannot get to "
                f"{need}; chmod o+{'x' if part.is_dir() else 'r'} {part}"
            ]
    return []


def _interpreter(program: Path) -> Path:
    """What the first line of a script names; the program itself if it is no script."""
    with program.open("rb") as stream:
        first = stream.readline(300)
    words = first[2:].split() if first.startswith(b"#!") else []
    return Path(os.fsdecode(words[0])) if words else program


def _version_fault(program: PurePosixPath) -> list[str]:
    try:
        done = subprocess.run(
            [str(program), "--version"], capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [f"{program} does not run: {error}"]
    found = done.stdout.strip().removeprefix("ncm-edge ")
    if done.returncode or found != __version__:
        said = found or done.stderr.strip()[-200:]
        return [
            f"{program} is another version ({said}), this is {__version__}: install with "
            f"{program} install"
        ]
    return []
