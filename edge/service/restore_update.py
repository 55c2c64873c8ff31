"""Keys, floor, slots and audit of a backup onto those of this appliance: upwards only.

For each line the newer of the two floors decides whose record and slots stand afterwards; the
floor itself never falls. A slot of the backup counts only if the keys of today sign it and it is
not below what they permit: a backup is a file like one on a stick. The order is the installer's:
keys, slots, record; a cut leaves the old record or the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edge.update import trust
from edge.update.audit import HEAD, LOG, OLD, Audit
from edge.update.disk import Disk
from edge.update.manifest import Floor, Manifest, read
from edge.update.refusals import Refused
from edge.update.store import BUNDLE, MANIFEST, Record, Store, roots_in
from edge.update.trust import Chain


class Refusal(Exception):  # noqa: N818 - the appliance says no; nothing is broken
    """Restoring it would weaken what this appliance believes; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of a line. `record` of None: it stays as it is."""

    line: str
    text: str
    record: Record | None = None
    slots: tuple[str, ...] = ()
    """To be taken from the backup."""


def put_updates(
    staged: Path, state: Path, pinned: bytes | None, *, sha256: str, dry_run: bool, wall_s: float,
    disk: Disk | None = None,
) -> list[str]:  # fmt: skip
    """Merge `staged`/update into `state`/update; returns what was done, in words.

    `pinned` is the root of trust that counts; `sha256` of the backup, for the audit.
    Raises Refusal, OSError.
    """
    lines = sorted(path.name for path in (staged / "update" / "lines").glob("*"))
    told: list[str] = []
    decisions: list[Decision] = []
    if pinned is None and lines:
        raise Refusal(
            "the backup holds installed releases, but there is no root of trust (trust/root.json) "
            "to verify them with, neither in it nor here"
        )
    root = staged / "pinned.json"
    disk = disk or Disk()
    with _locked(state, dry_run=dry_run):
        if pinned is not None:
            root.write_bytes(pinned)
            chain = _chain(staged, state, root)
            decisions = [
                decide(Store(state, line, root), Store(staged, line, root), chain, line)
                for line in lines
            ]
            told += [decision.text for decision in decisions]
            if dry_run:
                return told
            Store(state, "", root, disk).keep(chain.roots[1:])
            for decision in decisions:
                store = Store(state, decision.line, root, disk)
                _apply(decision, store, Store(staged, decision.line, root), chain)
        elif dry_run:
            return told
        told += _audit(staged / "update" / "audit", state / "update" / "audit", disk, sha256)
        facts = {d.line: str(d.record.floor) if d.record else "kept" for d in decisions}
        audit = Audit(state / "update" / "audit", partial(float, wall_s), disk)
        fault = audit.append("restore", "done", backup=sha256, floors=facts)
        if fault:
            told.append(fault)
    return told


def _chain(staged: Path, state: Path, pinned: Path) -> Chain:
    """Every key document accepted here or in the backup."""
    try:
        chain = trust.pin(pinned.read_bytes())
        present = roots_in(state / "update" / "trust")
        here = chain.extend(present)
        both = here.extend(roots_in(staged / "update" / "trust"))
    except (Refused, OSError) as refused:
        raise Refusal(f"the keys do not follow from the root of trust: {refused}") from None
    for root in both.roots[: len(here.roots)]:
        path = staged / "update" / "trust" / f"{root.version}.root.json"
        if path.is_file() and path.read_bytes() != root.data:
            raise Refusal(f"root {root.version} of the backup is not the one known here")
    return both


def decide(present: Store, archived: Store, chain: Chain, line: str) -> Decision:
    """Whose record a line goes on with. Reads both, writes nothing."""
    try:
        old = archived.record()
    except Refused as refused:
        return Decision(line=line, text=f"line {line}: unchanged; in the backup: {refused.name}")
    _sane(old, line)
    evidence = present.sound(chain)
    newest = max(evidence, key=lambda manifest: manifest.place, default=None)
    try:
        now: Record | None = present.record()
    except Refused:
        now = None
    least = max([Floor(0, 0), *([now.floor] if now else []), *(m.place for m in evidence)])
    # A slot of this very floor without a record of it is what a cut of a restore leaves behind.
    if now is not None and now.generation and (now.floor >= old.floor or least > old.floor):
        return Decision(
            line=line,
            text=f"line {line}: unchanged; here the floor is {least}, in the backup {old.floor}",
        )
    believed = {manifest.slot for manifest in archived.sound(chain)
                if _counts(archived, manifest, chain)}  # fmt: skip
    here = {manifest.slot for manifest in evidence}
    active = old.active if old.active in believed | here else None
    previous = old.previous if old.previous in believed | here else None
    record = replace(
        old, active=active, previous=previous,
        unproven=old.unproven if active is not None and old.unproven == active else None,
        starts=0, generation=max(old.generation, now.generation if now else 0),
        root_version=max(chain.newest.version, now.root_version if now else 0),
    )  # fmt: skip
    if newest is not None and newest.place > record.floor:
        record = replace(record, epoch=newest.place.epoch, seq=newest.place.seq,
                         sha256=newest.sha256)  # fmt: skip
    if now is not None and now.floor > record.floor:
        record = replace(record, epoch=now.epoch, seq=now.seq, sha256=now.sha256)
    text = f"line {line}: floor {record.floor}, active {active or 'the configured bundle'}"
    lost = [slot for slot in (old.active, old.previous)
            if slot is not None and slot not in (active, previous)]  # fmt: skip
    if lost:
        text += f"; not restored: {', '.join(lost)} (insert its stick again)"
    wanted = tuple(slot for slot in (active, previous) if slot in believed - here and slot)
    return Decision(line=line, text=text, record=record, slots=wanted)


def _sane(record: Record, line: str) -> None:
    """Raise Refusal for a record that no appliance wrote: its check sum is no signature."""
    numbers = (record.generation, record.epoch, record.seq, record.root_version, record.starts)
    names = (record.active, record.previous, record.unproven)
    whole = all(type(n) is int and 0 <= n <= trust.MAX_NUMBER for n in numbers)
    if not whole or not all(name is None or isinstance(name, str) for name in names):
        raise Refusal(f"line {line}: the record in the backup is none an appliance writes")
    if not isinstance(record.sha256, str):
        raise Refusal(f"line {line}: the record in the backup is none an appliance writes")


def _counts(store: Store, found: Manifest, chain: Chain) -> bool:
    """Whether the keys of today sign a slot, and it is not below what they permit."""
    root = chain.newest
    try:
        targets, _ = chain.manifest((store.slots / found.slot / MANIFEST).read_bytes())
        read(targets, (store.slots / found.slot / MANIFEST).read_bytes())
    except (Refused, OSError):
        return False
    return found.place.epoch == root.epoch and found.place >= Floor(root.epoch, root.min_seq)


def _apply(decision: Decision, store: Store, archived: Store, chain: Chain) -> None:
    if decision.record is None:
        return
    disk = store.disk
    with contextlib.suppress(Refused):
        # Before the first slot: from now on a missing record is a loss.
        if not store.record().generation:
            store.commit(Record())
    for slot in decision.slots:
        source = archived.slots / slot
        for path in source.glob("*.root.json"):
            path.unlink()
        for root in chain.roots:
            disk.write(source / f"{root.version}.root.json", iter((root.data,)))
        disk.flush(source / BUNDLE)
        disk.flush(source)
        disk.mkdir(store.slots)
        disk.remove(store.slots / slot)  # a damaged one of this name
        disk.rename(source, store.slots / slot)
    # What was committed above counts as well: the newer copy of the record is the one that holds.
    with contextlib.suppress(Refused):
        generation = max(decision.record.generation, store.record().generation)
        decision = replace(decision, record=replace(decision.record, generation=generation))
    assert decision.record is not None
    store.reserve()
    store.clean(store.commit(decision.record))


def _audit(source: Path, target: Path, disk: Disk, sha256: str) -> list[str]:
    """The backup's audit: as it was where there is none, else beside the present one."""
    # The log last: with it the rest is there too, and a cut before it begins anew.
    files = {name: (source / name).read_bytes() for name in (OLD, HEAD, LOG)
             if (source / name).is_file()}  # fmt: skip
    if LOG not in files:
        return []
    disk.mkdir(target)
    if not (target / LOG).exists():
        for name, data in files.items():
            disk.replace(target / name, data)
        return ["audit: as in the backup"]
    present = b"".join((target / n).read_bytes() for n in (OLD, LOG) if (target / n).exists())
    if files[LOG].rstrip(b"\n").rpartition(b"\n")[2] in present:
        return ["audit: the present one goes on from the one in the backup"]
    beside = target / f"restored-{sha256[:12]}.jsonl"
    disk.replace(beside, files.get(OLD, b"") + files[LOG])
    return [f"audit: the present one goes on; the backup's is {beside}"]


@contextlib.contextmanager
def _locked(state: Path, *, dry_run: bool) -> Iterator[None]:
    """No importer meanwhile."""
    if dry_run:
        yield
        return
    Disk().mkdir(state / "update")
    with (state / "update" / "lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refusal("an update is being installed; try again in a minute") from None
        yield
