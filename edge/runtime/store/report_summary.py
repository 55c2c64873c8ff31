"""What a batch comes to, in sentences: what was flagged, when, where, and what stands against it.

For whoever reads nothing else of the report. Values in, text out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from edge.core.verdict import SEVERITY
from edge.runtime.store.reader import StoredBatch, StoredEvent, StoredRows, StoredStep, good_share

DAYS_LEFT = {1: "about three days", 2: "about two days", 3: "about one day"}
FEW_GOOD = 0.95
"""Below this good share of the tag-seconds a verdict is said to rest on little."""


def summary(
    batch: StoredBatch,
    steps: Sequence[StoredStep],
    rows: StoredRows,
    events: Sequence[StoredEvent],
    names: Mapping[str, str],
) -> list[str]:
    """Sentences, the most important first. `names`: component code -> name."""
    valid = [s for s in steps if s.severity is not None]
    out = [_verdict(batch, valid), *_where(valid, names), *_done(events)]
    if len(valid) < len(steps):
        out.append(f"{len(steps) - len(valid)} of {len(steps)} model steps gave no valid verdict.")
    if rows.quality.size and good_share(rows) < FEW_GOOD:
        out.append(
            f"Only {good_share(rows):.0%} of the tag-seconds were good: verdicts rest on little."
        )
    return [sentence for sentence in out if sentence]


def _verdict(batch: StoredBatch, valid: Sequence[StoredStep]) -> str:
    if not valid:
        return "The appliance gave no valid verdict on this batch."
    flagged = [s for s in valid if s.severity]
    if not flagged:
        return "No defect was flagged in this batch."
    first, last = flagged[0], flagged[-1]
    worst = max(s.severity or 0 for s in flagged)
    at = "" if first.minute is None else f" from batch minute {first.minute:.0f}"
    until = "to the end" if last is valid[-1] else "with an end before the batch's"
    return (
        f"A defect was flagged{at}, in {len(flagged)} of {len(valid)} model steps, {until}; worst "
        f"{SEVERITY[worst]}: such a pattern has come {DAYS_LEFT[worst]} before a failure."
    )


def _where(valid: Sequence[StoredStep], names: Mapping[str, str]) -> list[str]:
    """What was named first while the flag stood, and how steadily."""
    flagged = [s.suspects[0][:2] for s in valid if s.severity and s.suspects]
    if not flagged:
        return []
    found = Counter(flagged).most_common(3)
    (code, part), count = found[0]
    text = (
        f"Look first at {_called(code, part, names)}: named first in {count} of {len(flagged)} "
        "flagged steps."
    )
    rest = [_called(*place, names) for place, _ in found[1:]]
    return [text + (f" Also named first: {'; '.join(rest)}." if rest else "")]


def _called(code: str, part: str, names: Mapping[str, str]) -> str:
    name = names.get(code, "")
    return ", ".join(filter(None, (f"{code} {name}".strip(), part)))


def _done(events: Sequence[StoredEvent]) -> list[str]:
    """What people keyed in."""
    out = []
    for event in events:
        if event.kind == "maintenance":
            what = event.body.get("component") or event.body.get("number", "")
            out.append(f"Keyed in at the panel: {what} {event.body.get('kind', '')}.")
        elif event.kind == "label":
            out.append(f"The operator calls it: {event.body.get('label', '')}.")
    return list(dict.fromkeys(out))
