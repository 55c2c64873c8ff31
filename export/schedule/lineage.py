"""What a schedule's header says about where it comes from, and whether it was touched since."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from edge.core.schedule import Schedule, format_csv, header, parse_csv
from export.faults import ExportError
from export.schedule.design import Design, DesignError
from export.schedule.inputs import Inputs, Metals

HASH = "sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """What the next batch's schedule needs to know of this one."""

    c_alk: float
    eta: Metals = (1.0, 1.0, 1.0)
    """Metal in the cake per metal fed, smoothed over the batches."""
    feed_target: Metals
    """Composition the feeds aim at: target / eta."""
    parent: str = "none"
    """Hash of the schedule this one was refined from."""
    batch: str = "none"
    samples: tuple[str, ...] = ()
    signed_off: str = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A schedule read back with its lineage."""

    schedule: Schedule
    lineage: Lineage
    sha256: str


def digest(text: str) -> str:
    """SHA-256 over every line but the one that states it."""
    lines = [line for line in text.splitlines() if not line.startswith(f"# {HASH}:")]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def document(made: Design, inputs: Inputs, target: Metals, lineage: Lineage, source: str) -> str:
    """The CSV of `made`: header block, hash and rows. `source` names the inputs and their hash."""
    totals = {
        feed: sum(
            getattr(s, f"{feed}_kg_h") * (s.end_min - s.start_min) / 60.0
            for s in made.schedule.steps
        )
        for feed in ("core", "shell", "naoh", "nh4oh")
    }
    lines = (
        "made_by: ncm-export schedule 1; computed from a chemical model, not a proven recipe",
        f"inputs: {source}",
        f"target: {_metals(target)}",
        f"feed_target: {_metals(lineage.feed_target)}",
        f"estimated: {_metals(made.estimated)}",
        "totals_kg: " + " ".join(f"{feed} {kg:.1f}" for feed, kg in totals.items()),
        f"core_to_shell: {made.rho:.6f}",
        f"naoh_ratio: {inputs.naoh_ratio:.6g}",
        f"c_alk: {lineage.c_alk:.6g}",
        f"eta: {_metals(lineage.eta)}",
        f"parent: {lineage.parent}",
        f"batch: {lineage.batch}",
        f"lab_samples: {' '.join(lineage.samples) or 'none'}",
        f"signed_off: {lineage.signed_off}",
    )
    text = format_csv(made.schedule, header=lines)
    first, _, rest = text.partition("\n")
    return f"{first}\n# {HASH}: {digest(text)}\n{rest}"


def load_parent(path: Path) -> Parent:
    """A schedule that `document` wrote.

    Raises ExportError: unreadable, no schedule, without lineage, or edited since it was made.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{path}: cannot be read: {error}") from error
    try:
        schedule = parse_csv(text)
    except ValueError as error:
        raise ExportError(
            "\n".join(f"{path}: {line}" for line in str(error).splitlines())
        ) from None
    said = header(text)
    try:
        lineage = Lineage(
            c_alk=float(said["c_alk"]),
            eta=_read(said["eta"]),
            feed_target=_read(said["feed_target"]),
            parent=said["parent"],
        )
        stated = said[HASH]
    except (KeyError, ValueError) as error:
        raise ExportError(
            f"{path}: no lineage in its header ({error}); permitted as a parent: a schedule that "
            "`ncm-export schedule` wrote"
        ) from None
    if digest(text) != stated:
        raise ExportError(
            f"{path}: {HASH} = {stated[:12]} does not fit its rows: edited since it was made; take "
            "the schedule as it was written"
        )
    return Parent(schedule=schedule, lineage=lineage, sha256=stated)


def write(path: Path, text: str) -> None:
    """Write the CSV whole or not at all. Raises DesignError when that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise DesignError(f"{path}: cannot be written: {error.strerror or error}") from error


def _metals(values: Metals) -> str:
    return " ".join(f"{x:.6f}" for x in values)


def _read(text: str) -> Metals:
    ni, co, mn = (float(word) for word in text.split())
    return ni, co, mn
