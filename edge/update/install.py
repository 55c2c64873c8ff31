"""The installer: inspect, apply, roll back, repair. Nothing that runs changes before the last step.

    keys of the stick      verified, persisted first and apart: a revocation holds even if the
                           release beside it is refused
    manifest               signature, order of releases, line, program
    copy                   once, hashed while it is copied, into a folder that counts for nothing
    model                  operators, shapes, golden self-test in a child process
    slot                   renamed to its name
    record                 floor and active slot in one file, written twice: this activates

Killed at any point, the old or the new release is active, and the same stick finishes the job.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from edge.update import container, manifest, trust
from edge.update.audit import Audit
from edge.update.disk import Stick, find, refusing
from edge.update.manifest import Floor, Manifest, Site
from edge.update.refusals import Code, Refused
from edge.update.store import BUNDLE, MANIFEST, Record, Store
from edge.update.trust import Chain

MARGIN_BYTES = 4 << 20
"""Left free on the disk beyond the update itself."""
MAX_WHY = 500
"""Characters of the record; the whole text is in the audit."""
SelfTest = Callable[[Path], str]
"""Bundle folder -> what it ran on, in words; raises Refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is on the stick: a release that may be installed."""

    path: Path
    manifest: Manifest
    signers: tuple[str, ...]
    new_roots: tuple[int, ...]
    """Versions of key documents that come with it and are not known here yet."""


class Installer:
    """Updates of one line. Every method raises Refused, and only that."""

    def __init__(
        self,
        store: Store,
        site: Site,
        self_test: SelfTest,
        audit: Audit,
        ended: Callable[[], bool] = lambda: False,
    ) -> None:
        """`ended`: whether `apply` was told to end: it refuses where that spoils copy or test."""
        self.store, self.site, self._ended = store, site, ended
        self._self_test, self._audit = self_test, audit

    def inspect(self, path: Path) -> Found:
        """Read the stick to its end and say what `apply` would do; writes nothing."""
        path = find(path)
        with refusing(), Stick(path) as stick:
            record = self.store.record()
            documents, chain, fresh = self._keys(stick, record)
            found, signers = self._release(stick, documents, chain, record)
            for file in found.files:
                for _ in _hashed(stick, file):
                    pass
            self._refuse_active(found, record, chain)
        return Found(path=path, manifest=found, signers=signers, new_roots=fresh)

    def apply(self, path: Path) -> Manifest:
        """Install and activate the release on the stick."""
        with self._told("apply", path=str(path)) as told, self._locked(), refusing():
            with Stick(find(path), self._ended) as stick:
                record = self.store.record()
                documents, chain, fresh = self._keys(stick, record)
                # Before the first slot and the first key: from now on a missing record is a loss.
                if not record.generation:
                    record = self.store.commit(record)
                if fresh or chain.newest.version > record.root_version:
                    self.store.keep(chain.roots[1:])
                    record = self.store.commit(replace(record, root_version=chain.newest.version))
                    told["roots"] = list(fresh)
                found, signers = self._release(stick, documents, chain, record)
                told |= {"release": str(found.place), "sha256": found.sha256, "signers": signers}
                try:
                    self._refuse_active(found, record, chain)
                except Refused:
                    self._clean(self.store.commit(record))  # what a cut may have left behind
                    raise
                self._stage(stick, found, documents[0], chain)
            told["self_test"] = self._proven(found)
            self._activate(found, record)
        return found

    def rollback(self) -> str:
        """Go back to the previous slot, or to the bundle of the configuration; returns its name.

        The floor stays where it is. What is gone back from may be gone back to, or come again from
        the same stick.
        """
        with self._told("rollback") as told, self._locked(), refusing():
            return self._go_back(replace(self.store.record(), code=0, why=""), told)

    def give_up(self, slot: str | None, code: Code, why: str) -> bool:
        """Go back from `slot`, which failed its trial or its probation.

        Returns False, and does nothing, if another is active by now. What was itself gone back from
        is nothing to go back to.
        """
        with self._locked(), refusing():
            record = self.store.record()
            if record.active != slot:
                return False
            if record.previous is not None and record.previous == record.unproven:
                raise Refused(Code.NO_PREVIOUS, f"{record.previous} was gone back from itself")
            with self._told("rollback") as told:
                why = f"gone back from {slot}: {Refused(code, why[:MAX_WHY])}"
                self._go_back(replace(record, code=int(code), why=why), told)
            return True

    def take_over(self, slot: str | None) -> None:
        """The daemon has run `slot` beside the model before; it decides, and is on probation."""
        with self._locked(), refusing():
            record = self.store.record()
            if slot is not None and record.active == record.unproven == slot:
                self.store.commit(replace(record, on_probation=True, starts=0))

    def prove(self, slot: str | None) -> None:
        """Trial and probation of `slot` are over: from now on it may be gone back to."""
        with self._locked(), refusing():
            record = self.store.record()
            if slot is not None and record.unproven == slot:
                self.store.commit(replace(record, unproven=None, on_probation=False, starts=0))

    def begin(self) -> int:
        """A daemon starts; returns how often one has, with the active slot still unproven."""
        with self._locked(), refusing():
            record = self.store.record()
            if not record.unproven_active:
                return 0
            return self.store.commit(replace(record, starts=record.starts + 1)).starts

    def repair(self, floor: Floor | None = None) -> Record:
        """Build keys and record anew from what still verifies; for a person at the console.

        Args:
            floor: least release to accept from now on, where no evidence is left.
        """
        with self._told("repair", floor=str(floor)) as told, self._locked(), refusing():
            store = self.store
            chain = self._rebuilt_chain()
            sound = store.sound(chain)
            newest = sound[-1] if sound else None
            names: list[str | None] = [found.slot for found in sound]
            try:
                record = store.record()
                kept = record.active is None or record.active in names
            except Refused:
                if newest is None and floor is None:
                    raise Refused(
                        Code.STATE_LOST, "no slot verifies; say --floor EPOCH.NUMBER of the newest "
                        "release that was ever installed here"
                    ) from None  # fmt: skip
                record, kept = Record(), False
            active = record.active if kept else (names or [None])[-1]
            others = [name for name in names if name != active]
            previous = record.previous if record.previous in others else (others or [None])[-1]
            record = replace(
                record, active=active, previous=previous, root_version=chain.newest.version,
                unproven=None, on_probation=False,
            )  # fmt: skip
            if newest is not None and newest.place > record.floor:
                record = _raised(record, newest)
            if floor is not None and floor > record.floor:
                record = replace(record, epoch=floor.epoch, seq=floor.seq, sha256="")
            record = store.commit(record)
            self._clean(record)
            told |= {"active": record.active, "release": str(record.floor)}
            return record

    # The steps.

    def _keys(self, stick: Stick, record: Record) -> tuple[list[bytes], Chain, tuple[int, ...]]:
        documents = container.read_documents(stick.read, stick.size)
        known = self.store.chain(record.root_version)
        chain = known.extend(documents[1:])
        fresh = tuple(root.version for root in chain.roots[len(known.roots) :])
        return documents, chain, fresh

    def _release(
        self, stick: Stick, documents: list[bytes], chain: Chain, record: Record
    ) -> tuple[Manifest, tuple[str, ...]]:
        targets, signers = chain.manifest(documents[0])
        found = manifest.read(targets, documents[0])
        manifest.check_roots(found, documents[1:])
        sizes = [file.size for file in found.files]
        container.check_size(stick.size, documents, sizes)
        manifest.check_site(found, self.site)
        floor, sha256 = record.floor, record.sha256
        # Slots are evidence: of a record that is a step behind them, or was made to forget.
        for slot in self.store.sound(chain):
            if slot.place > floor:
                floor, sha256 = slot.place, slot.sha256
        manifest.check_place(found, floor, sha256, chain.newest)
        return found, signers

    def _refuse_active(self, found: Manifest, record: Record, chain: Chain) -> None:
        """Nothing to do for the active release; a damaged one is healed from the stick."""
        if found.slot == record.active and self._whole(found, chain):
            raise Refused(Code.ALREADY_ACTIVE, f"release {found.place}, {found.model_version}")

    def _whole(self, found: Manifest, chain: Chain) -> bool:
        try:
            self.store.verify(found.slot, chain)
        except Refused:
            return False
        return True

    def _stage(self, stick: Stick, found: Manifest, data: bytes, chain: Chain) -> None:
        """Copy the release into the incoming folder, unless its slot stands there whole."""
        store = self.store
        store.disk.remove(store.incoming)
        if self._whole(found, chain):
            return
        store.disk.mkdir(store.slots)
        space = os.statvfs(store.line)
        needed = sum(file.size for file in found.files) + MARGIN_BYTES
        if space.f_bavail * space.f_frsize < needed:
            raise Refused(Code.DISK_FULL, f"{store.line}: {needed} bytes are needed")
        store.reserve()
        bundle = store.incoming / BUNDLE
        store.disk.mkdir(bundle)
        for file in found.files:
            store.disk.write(bundle / file.name, _hashed(stick, file))
        store.disk.flush(bundle)
        store.disk.write(store.incoming / MANIFEST, iter((data,)))
        for root in chain.roots:
            store.disk.write(store.incoming / f"{root.version}.root.json", iter((root.data,)))
        store.disk.flush(store.incoming)

    def _proven(self, found: Manifest) -> str:
        """Let the model prove itself where it lies; returns what it ran on."""
        store = self.store
        folder = store.incoming if store.incoming.is_dir() else store.slots / found.slot
        try:
            return self._self_test(folder / BUNDLE)
        except Refused as refused:
            if not self._ended():
                raise
            # The process of the test was ended as well: that is no fault of the model.
            why = f"told to end during the self-test: {refused.detail}"
            raise Refused(Code.UNREADABLE, why) from None

    def _activate(self, found: Manifest, record: Record) -> None:
        store = self.store
        if store.incoming.is_dir():
            store.disk.remove(store.slots / found.slot)  # a damaged one of this name
            store.disk.rename(store.incoming, store.slots / found.slot)
            store.disk.flush(store.line)
        if record.active != found.slot:
            # What nobody has seen at work is no model to go back to: the one before it is kept.
            known = record.previous if record.unproven_active else record.active
            record = replace(
                record, active=found.slot, previous=known, unproven=found.slot, starts=0,
                on_probation=False, code=0, why="",
            )  # fmt: skip
        self._clean(store.commit(_raised(record, found)))

    def _clean(self, record: Record) -> None:
        """What is left over costs space, no more: the update itself is done."""
        with contextlib.suppress(OSError):
            self.store.clean(record)

    def _rebuilt_chain(self) -> Chain:
        """The pinned root, extended by whatever key documents still verify, wherever they lie."""
        try:
            return self.store.chain()
        except Refused as refused:
            if refused.code is not Code.TRUST_LOST:
                raise
        chain = trust.pin(self.store.pinned.read_bytes())
        sources = [self.store.trust, *sorted(self.store.root.glob("lines/*/slots/*"))]
        for folder in sources:
            for path in sorted(folder.glob("*.root.json"), key=lambda p: int(p.name.split(".")[0])):
                with contextlib.suppress(Refused):
                    chain = chain.extend([path.read_bytes()])
        self.store.keep(chain.roots[1:])
        return self.store.chain()

    def _go_back(self, record: Record, told: dict[str, Any]) -> str:
        if record.active is None and record.previous is None:
            raise Refused(Code.NO_PREVIOUS)
        if record.previous is not None:
            self.store.verify(record.previous, self.store.chain())
        # Who goes back and forth again finds an unproven release as unproven as it was.
        self.store.commit(
            replace(
                record, active=record.previous, previous=record.active, on_probation=False, starts=0
            )
        )
        told["active"] = record.previous or "configured bundle"
        return str(told["active"])

    # Around every change.

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One update at a time, whoever asks."""
        with refusing():
            self.store.disk.mkdir(self.store.root)
            stream: TextIO = (self.store.root / "lock").open("a")
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Refused(Code.BUSY) from None
            yield

    @contextlib.contextmanager
    def _told(self, event: str, **facts: Any) -> Iterator[dict[str, Any]]:
        """Write into the audit how it ended; a full disk does not stop what is being done."""
        facts["line"] = self.site.line
        try:
            yield facts
        except Refused as refused:
            told = {"code": int(refused.code), "detail": refused.detail}
            self._audit.append(event, refused.name, **facts, **told)
            raise
        self._audit.append(event, "done", **facts)


def _raised(record: Record, found: Manifest) -> Record:
    place = found.place
    return replace(record, epoch=place.epoch, seq=place.seq, sha256=found.sha256)


def _hashed(stick: Stick, file: manifest.File) -> Iterator[bytes]:
    """A file's bytes from the stick; refused behind the last one if they were not the signed."""
    sha256 = hashlib.sha256()
    for chunk in stick.chunks(file.size):
        sha256.update(chunk)
        yield chunk
    if sha256.hexdigest() != file.sha256:
        raise Refused(Code.HASH, file.name)
