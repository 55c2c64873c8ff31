"""The state directory of updates: accepted keys, and for each line its record and its two slots.

    update/trust/N.root.json              keys accepted from sticks, beyond the pinned root
    update/lines/<line>/record.{0,1}.json the same record twice: floor, active and previous slot
    update/lines/<line>/slots/<release>/  manifest.json, N.root.json, bundle/
    update/lines/<line>/incoming/         what is being copied; worth nothing

A slot is named after its release and never written again after its rename: at most two are kept,
the active and the previous one. The record is the only thing whose change activates anything. It
exists from before the first slot on, so a record that is missing beside slots has been lost, and
lost memory refuses: falling back to "nothing was ever installed" would accept any old release.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edge.update import trust
from edge.update.disk import Disk
from edge.update.manifest import Floor, Manifest, read
from edge.update.refusals import Code, Refused
from edge.update.trust import Chain, TrustedRoot

BUNDLE = "bundle"
MANIFEST = "manifest.json"
RECORDS = ("record.0.json", "record.1.json")
RESERVE = "reserve"
RESERVE_BYTES = 16 << 10
"""Given up on a full disk, so that going back to the previous slot is always possible."""
_ROOT = re.compile(r"([1-9]\d{0,5})\.root\.json")
MAX_ROOT = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a line remembers. A slot of None is the bundle of the configuration."""

    generation: int = 0
    epoch: int = 0
    seq: int = 0
    sha256: str = ""
    """Of the manifest at the floor."""
    root_version: int = 0
    active: str | None = None
    previous: str | None = None
    unproven: str | None = None
    """The slot that has not yet been through trial and probation; active, or gone back from."""
    on_probation: bool = False
    """It has taken over; a daemon that starts runs it."""
    starts: int = 0
    """How often a daemon has started with it active, since it was installed or took over."""
    code: int = 0
    """Why the newest release was gone back from by itself, a number of the refusals; 0: it was
    not."""
    why: str = ""
    """The same for people."""

    @property
    def unproven_active(self) -> bool:
        """The active slot is not yet through trial and probation."""
        return self.active is not None and self.active == self.unproven

    @property
    def floor(self) -> Floor:
        """Nothing below it is installed."""
        return Floor(self.epoch, self.seq)


class Store:
    """One line's part of the state directory. Reading raises Refused, writing OSError."""

    def __init__(self, state_dir: Path, line: str, pinned: Path, disk: Disk | None = None) -> None:
        """`pinned`: the provisioned root document, trust/root.json of the configuration."""
        self.root = state_dir / "update"
        self.trust = self.root / "trust"
        self.line = self.root / "lines" / line
        self.slots = self.line / "slots"
        self.incoming = self.line / "incoming"
        self.pinned = pinned
        self.disk = disk or Disk()

    # Keys.

    def chain(self, least: int = 0) -> Chain:
        """Every key document accepted so far. Raises Refused, also if root `least` is missing."""
        try:
            chain = trust.pin(_small(self.pinned))
        except OSError as error:
            raise Refused(Code.NOT_PROVISIONED, f"{self.pinned}: {error.strerror}") from None
        try:
            chain = chain.extend(roots_in(self.trust))
        except (OSError, Refused) as error:
            raise Refused(Code.TRUST_LOST, f"{self.trust}: {error}") from None
        least = max([least, *(self._root_versions(self.slots.glob("*")))])
        if chain.newest.version < least:
            raise Refused(
                Code.TRUST_LOST, f"root {least} was known here, found is {chain.newest.version}"
            )
        return chain

    def keep(self, roots: Iterable[TrustedRoot]) -> None:
        """Persist accepted key documents, oldest first."""
        self.disk.mkdir(self.trust)
        for root in roots:
            path = self.trust / f"{root.version}.root.json"
            if not path.is_file() or path.read_bytes() != root.data:
                self.disk.replace(path, root.data)

    @staticmethod
    def _root_versions(folders: Iterable[Path]) -> list[int]:
        names = (path.name for folder in folders for path in folder.glob("*.root.json"))
        return [int(found[1]) for name in names if (found := _ROOT.fullmatch(name))]

    # The record.

    def record(self) -> Record:
        """The record, the newer of its two copies. Raises Refused(STATE_LOST)."""
        copies = [_record(self.line / name) for name in RECORDS]
        whole = [copy for copy in copies if isinstance(copy, Record)]
        if whole:
            return max(whole, key=lambda copy: copy.generation)
        faults = [copy for copy in copies if isinstance(copy, str)]
        if not faults and not any(self._entries()):
            return Record()
        raise Refused(Code.STATE_LOST, "; ".join(faults) or f"{self.line}: no record beside slots")

    def commit(self, record: Record) -> Record:
        """Write both copies; from the first one on the record holds."""
        record = replace(record, generation=record.generation + 1)
        body = asdict(record)
        data = trust.canonical(body | {"check": trust.digest(trust.canonical(body))})
        self.disk.mkdir(self.line)
        for name in RECORDS:
            try:
                self.disk.replace(self.line / name, data)
            except OSError:
                if not (self.line / RESERVE).exists():
                    raise
                self.disk.remove(self.line / RESERVE)
                self.disk.replace(self.line / name, data)
        return record

    def reserve(self) -> None:
        """Set the reserve of disk space aside, if it is not there."""
        if not (self.line / RESERVE).exists():
            self.disk.mkdir(self.line)
            self.disk.write(self.line / RESERVE, iter((bytes(RESERVE_BYTES),)))

    # Slots.

    def bundle(self, slot: str) -> Path:
        """Where the model files of a slot are."""
        return self.slots / slot / BUNDLE

    def verify(self, slot: str, chain: Chain) -> Manifest:
        """Check every byte of an installed slot against its signature. Raises Refused."""
        folder = self.slots / slot
        try:
            data = _small(folder / MANIFEST)
            manifest = read(chain.trusted_once(data), data)
            if manifest.slot != slot:
                raise Refused(Code.SLOT_DAMAGED, f"holds release {manifest.slot}")
            found = {path.name for path in (folder / BUNDLE).iterdir()}
            if found != {file.name for file in manifest.files}:
                raise Refused(Code.SLOT_DAMAGED, f"holds the files {', '.join(sorted(found))}")
            for file in manifest.files:
                path = folder / BUNDLE / file.name
                if path.is_symlink() or path.stat().st_size != file.size:
                    raise Refused(Code.SLOT_DAMAGED, f"{file.name} has another size")
                if trust.digest(path.read_bytes()) != file.sha256:
                    raise Refused(Code.SLOT_DAMAGED, f"{file.name} has another content")
        except (OSError, Refused) as error:
            text = error.detail or error.name if isinstance(error, Refused) else error
            raise Refused(Code.SLOT_DAMAGED, f"slot {slot}: {text}") from None
        return manifest

    def sound(self, chain: Chain) -> list[Manifest]:
        """Releases of the slots that verify, oldest first: the evidence beside the record."""
        found = []
        for slot in self._entries():
            try:
                found.append(self.verify(slot, chain))
            except Refused:
                continue
        return sorted(found, key=lambda manifest: manifest.place)

    def clean(self, record: Record) -> None:
        """Remove whatever is neither the active nor the previous slot."""
        self.disk.remove(self.incoming)
        for slot in self._entries():
            if slot not in (record.active, record.previous):
                self.disk.remove(self.slots / slot)

    def _entries(self) -> list[str]:
        try:
            return sorted(path.name for path in self.slots.iterdir())
        except OSError:
            return []


def roots_in(folder: Path) -> list[bytes]:
    """The key documents of a folder, oldest first. Raises OSError."""
    if not folder.is_dir():
        return []
    found = [
        (int(name[1]), path)
        for path in folder.iterdir()
        if (name := _ROOT.fullmatch(path.name)) is not None
    ]
    return [_small(path) for _, path in sorted(found)]


def _small(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(MAX_ROOT + 1)


def _record(path: Path) -> Record | str | None:
    """A copy of the record, None if there is none, else what is wrong with it."""
    try:
        document = json.loads(_small(path).decode())
        check = document.pop("check")
        if trust.digest(trust.canonical(document)) != check:
            return f"{path}: check sum is wrong"
        return Record(**document)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{path}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{path}: damaged"
