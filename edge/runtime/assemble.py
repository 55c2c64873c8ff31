"""What a line runs on, made from its configuration: bundle, engine, setup, ring, drivers.

The same functions serve the start and a reload. They read files and build sessions, and connect
nothing.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from edge import __version__
from edge.config.types import Appliance, Line
from edge.core.conditions import Condition
from edge.core.line import LineCore, LineSetup
from edge.core.verdict import VerdictSettings
from edge.drivers import build_all
from edge.runtime.bundle import BundleRefused, LoadedBundle, RefusalKind, load_bundle
from edge.runtime.clock import Clock
from edge.runtime.infer import Engine, EngineRefused
from edge.runtime.line import RING, LineRunner
from edge.runtime.ringfile import RingFile, open_ring
from edge.runtime.store.recorder import Recorder, model_text
from edge.runtime.store.store import Store

log = logging.getLogger("ncm-edge")

REFUSED = {
    RefusalKind.MISSING: Condition.MODEL_MISSING,
    RefusalKind.CORRUPT: Condition.MODEL_CORRUPT,
    RefusalKind.MISMATCH: Condition.MODEL_MISMATCH,
}
DEFAULT_STEP_ROWS = 60
"""Rows per model step while there is no model to say so."""

Refusal = tuple[Condition, str]
"""Why there is no model: the condition and its detail."""


def tags_of(line: Line) -> tuple[tuple[str, str], ...]:
    """(name, unit) of the process values, in model order: what ring and bundle are made for."""
    return tuple((row.tag.name, row.tag.unit) for row in line.tags)


def bundle_of(line: Line, place: Path) -> LoadedBundle | BundleRefused:
    """The bundle at `place`, the configured one or a slot's, as it is on the disk now. Blocks."""
    return load_bundle(place, tags_of(line), line.row_s)


def build_engine(
    bundle: LoadedBundle | BundleRefused, provider: Literal["auto", "cpu", "cuda"]
) -> tuple[Engine | None, Refusal | None]:
    """The inference session of a bundle, or why there is none. Blocks for seconds."""
    if isinstance(bundle, BundleRefused):
        return None, (REFUSED[bundle.kind], bundle.reason)
    try:
        return Engine(bundle, provider), None
    except EngineRefused as error:
        return None, (Condition.MODEL_CORRUPT, str(error))


def ring_of(appliance: Appliance, line: Line) -> RingFile:
    """The ring of a line that has not run yet. Blocks. Raises RingBusy."""
    path = appliance.state_dir / line.name / RING
    ring = open_ring(path, tags_of(line), line.ring_rows, line.row_s)
    log.log(
        logging.INFO if ring.opened in ("new", "resumed") else logging.ERROR,
        "line %s: %s", line.name, ring.message,
    )  # fmt: skip
    return ring


def build_runner(
    appliance: Appliance,
    line: Line,
    ring: RingFile,
    engine: Engine | None,
    refused: Refusal | None,
    clock: Clock,
    store: Store,
) -> LineRunner:
    """A line that has not run yet; `store` keeps its history."""
    log_engine(line, engine, refused)
    directory = appliance.state_dir / line.name
    core = LineCore(setup_of(appliance, line, None if engine is None else engine.bundle))
    drivers = build_all(line, clock)
    recorder = Recorder(
        line, store, model=model_text(engine), config_sha256=appliance.config_sha256
    )
    return LineRunner(line, core, drivers, ring, engine, refused, clock, directory, recorder)


def log_engine(line: Line, engine: Engine | None, refused: Refusal | None) -> None:
    """Say which model runs, or why none does."""
    if refused is not None:
        log.error("line %s: %s: %s", line.name, *refused)
    if engine is not None:
        card = engine.bundle.card
        log.info(
            "line %s: model %s (serial %d) on %s: %s", line.name, card.name, card.serial,
            engine.provider, engine.reason,
        )  # fmt: skip


def setup_of(appliance: Appliance, line: Line, bundle: LoadedBundle | None) -> LineSetup:
    """What the decisions of a line rest on."""
    card = None if bundle is None else bundle.card
    reasons = ["the line is a simulation or a replay"] if line.simulation else []
    if card is not None and card.simulated:
        reasons.append(f"model {card.name}: {card.notice}")
    major, minor = (int(part) for part in __version__.split(".")[:2])
    return LineSetup(
        tags=tuple(row.tag for row in line.tags),
        topology=line.topology,
        row_s=line.row_s,
        step_rows=DEFAULT_STEP_ROWS if card is None else card.step_rows,
        has_batches=line.schedule is not None,
        simulation="; ".join(reasons),
        verdict=None
        if card is None
        else VerdictSettings.of(
            card,
            warn_probability=line.model.warn_probability,
            persist_steps=line.model.persist_steps,
            clear_steps=line.model.clear_steps,
            min_valid=line.model.min_valid,
        ),
        drift=None if bundle is None else bundle.drift,
        drift_limit=0.0 if card is None else card.drift_limit,
        kinds=() if card is None else card.kinds,
        model_serial=0 if card is None else card.serial,
        model_hash=0 if bundle is None else int(bundle.model_sha256[:8], 16),
        config_hash=int(appliance.config_sha256[:4], 16),
        sw_version=(major, minor),
        plc_timeout_s=line.outputs.plc_timeout_s,
        trim=line.trim,
        schedule=line.schedule,
        deviation=line.deviation,
    )
