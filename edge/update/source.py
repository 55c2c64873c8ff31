"""Which bundle a line runs: its verified active slot, else what can still be trusted, and why.

Asked by the daemon at start and once a day. A slot that no longer is what was signed does not run:
the previous slot does, then the bundle of the configuration, and the condition says so. Nothing
here changes the state directory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge.core.conditions import Condition
from edge.update.audit import Audit
from edge.update.manifest import Floor
from edge.update.refusals import Code, Refused
from edge.update.store import Record, Store


@dataclass(frozen=True, slots=True)
class Source:
    """Where the model of a line comes from."""

    bundle: Path
    slot: str | None
    """None: the bundle of the configuration."""
    release: str
    """For people, e.g. "release 1.7"."""
    place: Floor | None
    """Its place in the order of releases; None for the bundle of the configuration."""
    fault: str
    """What is wrong with the installed releases; "" if nothing is."""


def source(state_dir: Path, line: str, pinned: Path, configured: Path) -> Source:
    """The bundle that line `line` runs. Never raises."""
    store = Store(state_dir, line, pinned)
    if not store.line.is_dir():
        return Source(configured, None, "configured bundle", None, "")
    faults: list[str] = []
    for slot in _candidates(store, faults):
        found = of_slot(state_dir, line, pinned, slot, configured)
        if not found.fault:
            return replace(found, fault="; ".join(faults))
        faults.append(found.fault)
    return Source(configured, None, "configured bundle", None, "; ".join(faults))


def of_slot(state_dir: Path, line: str, pinned: Path, slot: str | None, configured: Path) -> Source:
    """One slot, verified, or with its fault. Never raises."""
    if slot is None:
        return Source(configured, None, "configured bundle", None, "")
    store = Store(state_dir, line, pinned)
    try:
        place = store.verify(slot, store.chain()).place
    except Refused as refused:
        return Source(store.bundle(slot), slot, slot, None, str(refused))
    return Source(store.bundle(slot), slot, f"release {place}", place, "")


def recorded(state_dir: Path, line: str, pinned: Path) -> Record:
    """The record of a line. Raises Refused."""
    return Store(state_dir, line, pinned).record()


def recheck(
    state_dir: Path, line: str, pinned: Path, slot: str | None, audit: Audit
) -> dict[Condition, str]:
    """The daily look at every byte of the slot that runs, with a line in the audit. Never raises.

    Returns:
        The conditions to raise, with their details; empty if all is well.
    """
    seen: dict[Condition, str] = {}
    if slot is None:
        return seen
    store = Store(state_dir, line, pinned)
    verdict = "sound"
    try:
        store.verify(slot, store.chain())
    except Refused as refused:
        verdict, seen[Condition.UPDATE_FAILED] = refused.name, str(refused)
    fault = audit.append("recheck", verdict, line=line, active=slot)
    if fault:
        seen[Condition.STORAGE_FAULT] = fault
    return seen


def _candidates(store: Store, faults: list[str]) -> Sequence[str | None]:
    """Slots in the order in which they are tried."""
    try:
        record = store.record()
    except Refused as refused:
        faults.append(str(refused))
        if refused.code is not Code.STATE_LOST:
            return ()
        return _by_evidence(store, faults)
    return _slots(record)


def _slots(record: Record) -> Sequence[str | None]:
    if record.unproven_active and not record.on_probation:
        return (record.previous, record.active)  # it will have its trial beside the one before
    return (record.active, record.previous) if record.active else (None,)


def _by_evidence(store: Store, faults: list[str]) -> Sequence[str]:
    """Without a record: the newest release that verifies."""
    try:
        return [found.slot for found in reversed(store.sound(store.chain()))]
    except Refused as refused:
        faults.append(str(refused))
        return ()
