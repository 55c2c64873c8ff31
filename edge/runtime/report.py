"""The status document: what the daemon tells people, as plain JSON values.

One function a section. Everything `ncm-edge status` shows is in here and nothing else; the words
are the same as on the HMI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from edge.config.types import Appliance
from edge.core.line import LineCore
from edge.core.tags import Quality, Reason
from edge.core.trim import Expired, Held, Offered
from edge.core.verdict import Verdict
from edge.runtime import diagnostics
from edge.runtime.line import LineRunner

SEVERITY = ("normal", "severity 1 (D-3)", "severity 2 (D-2)", "severity 3 (D-1)")


def head(
    appliance: Appliance,
    *,
    version: str,
    uptime_s: float,
    written_s: float,
    history: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The status document but for its lines; `written_s` is epoch seconds, `history` the store's
    section."""
    return {
        "name": appliance.name,
        "version": version,
        "uptime_s": uptime_s,
        "written_s": written_s,
        "config_sha256": appliance.config_sha256,
        "history": dict(history or {}),
    }


def headline(lines: Sequence[LineRunner]) -> str:
    """One line for the service manager."""
    return "; ".join(
        f"{line.line.name}: {_words(line.ne107.name)}, {verdict_text(line.core.finding.verdict)}"
        for line in lines
    )


def line_section(line: LineRunner) -> dict[str, Any]:
    """One line of the status document."""
    core, engine = line.core, line.engine
    card = None if engine is None else engine.bundle.card
    batch = core.batch
    return {
        "name": line.line.name,
        "title": line.line.title,
        "ne107": int(line.ne107),
        "ne107_text": _words(line.ne107.name),
        "provider": "none" if engine is None else engine.provider,
        "provider_reason": line.refused_reason if engine is None else engine.reason,
        "update": line.update_text,
        "model": "none" if card is None else f"{card.name}, serial {card.serial}: {card.notice}",
        "batch": f"{batch.batch_id} {batch.state}, minute {batch.minutes:.0f}, step {batch.phase}"
        if core.setup.has_batches
        else "continuous process",
        "verdict": _verdict(core),
        "trim": _trim(core),
        "conditions": [
            {
                "condition": str(text.condition),
                "ne107": int(text.ne107),
                "text": f"{text.cause} {text.action}",
                "since_s": text.since_s,
            }
            for text in core.texts
        ],
        "data_text": f"{core.data_quality:.1%} of the tag-seconds of the last step good, "
        f"{sum(core.bad)} of {len(core.bad)} tags bad now, ring {line.ring.ring.fill:.1%} full "
        f"({line.ring.opened})",
        "data_quality": core.data_quality,
        "tags": _tags(line),
        "acquisition": diagnostics.acquisition(line.poller),
        "publication": {**asdict(line.publisher.counters), "read_error": line.publisher.read_error},
        "links": [
            diagnostics.link(driver.name, driver.counters) for driver in line.drivers.values()
        ],
        "cycles": line.cycles,
    }


def verdict_text(found: Verdict) -> str:
    """The verdict in the operator's words."""
    if not found.valid or found.probability is None:
        kept = f"; last: {SEVERITY[found.severity]}" if found.flag else ""
        return f"no verdict: {found.why or 'stale'}{kept}"
    return f"{SEVERITY[found.severity]}, defect probability {found.probability:.1%}"


def trim_text(core: LineCore) -> str:
    """The trim suggestion in the operator's words."""
    advice = core.desk.advice
    match advice.outcome:
        case Offered() as offer:
            return (
                f"{_words(advice.state.name)} #{offer.seq}: {offer.trim_kg_h:+.1f} kg/h on "
                f"{offer.base_kg_h:.1f} kg/h, predicted pH {offer.predicted_ph:.2f}"
            )
        case Held(reason):
            return f"held: {_words(reason.name)}"
        case Expired(seq, reason):
            return f"#{seq} {_words(advice.state.name)}: {_words(reason.name)}"


def _words(name: str) -> str:
    return name.lower().replace("_", " ")


def _verdict(core: LineCore) -> dict[str, Any]:
    found = core.finding.verdict
    names = {component.code: component.name for component in core.setup.topology.components}
    return {
        "text": verdict_text(found),
        "valid": found.valid,
        "probability": found.probability,
        "severity": found.severity,
        "since_s": found.since_s,
        "suspects": [
            {
                "component": suspect.component,
                "name": names[suspect.component],
                "part": suspect.part,
                "score": suspect.score,
                "tags": list(suspect.tags),
            }
            for suspect in core.finding.suspects
        ],
        "drift": core.finding.drift.score,
    }


def _trim(core: LineCore) -> dict[str, Any]:
    advice = core.desk.advice
    return {
        "text": trim_text(core),
        "state": advice.state.name,
        "reason": advice.reason.name,
        "demand": advice.demand,
        "demand_reference": advice.reference,
    }


def _tags(line: LineRunner) -> list[dict[str, Any]]:
    row = line.last_row
    if row is None:
        return []
    ages_s = line.poller.ages_s
    return [
        {
            "name": item.tag.name,
            "unit": item.tag.unit,
            "value": float(row.values[i]),
            "quality": Quality(int(row.quality[i])).name.lower(),
            "reason": _words(Reason(int(row.reason[i])).name),
            "age_s": float(ages_s[i]),
        }
        for i, item in enumerate(line.line.tags)
    ]
