"""What was installed here: version, program, and the hash of every file as it was written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

PLACE = PurePosixPath("/usr/local/lib/ncm-edge/installed.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The record of the last installation."""

    version: str
    program: str
    files: Mapping[str, str] = field(default_factory=dict)
    """Place -> SHA-256 of what was written there."""

    def text(self) -> str:
        """As it is kept."""
        document = {"version": self.version, "program": self.program, "files": dict(self.files)}
        return json.dumps(document, indent=1, sort_keys=True) + "\n"


def read(root: Path) -> Record | None:
    """The record below `root`; None if nothing was installed there. Raises ValueError."""
    path = root / PLACE.relative_to("/")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Record(
            version=str(document["version"]), program=str(document["program"]),
            files={str(name): str(value) for name, value in document["files"].items()},
        )  # fmt: skip
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: the record of the installation cannot be read ({error}); remove it, and the "
            "installation is made anew"
        ) from None


def newer(version: str, other: str) -> bool:
    """Whether `version` is a later one than `other`; by numbers, 0.10 is later than 0.9."""
    return _numbers(version) > _numbers(other)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("+")[0].split(".") if part.isdecimal())
