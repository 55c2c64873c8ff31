"""Events of the log as sentences: the same at the prompt, in the report and on the page."""

from __future__ import annotations

from typing import Any

from edge.core.trim_words import text_of
from edge.core.verdict import SEVERITY
from edge.runtime.store.reader import StoredEvent


def event_words(event: StoredEvent) -> str:
    """An event as a sentence."""
    body = event.body
    match event.kind:
        case "condition":
            state = "raised" if body["raised"] else "cleared"
            return f"{body['condition']} {state}{': ' + body['text'] if body.get('text') else ''}"
        case "verdict" if not body["valid"]:
            return f"no verdict: {body['why']}"
        case "verdict":
            names = ", ".join(f"{c} {part}".strip() for c, part, _ in body["suspects"][:1])
            return f"{SEVERITY[body['severity']]}{', ' + names if names else ''}"
        case "suggestion" | "answer":
            return _trim_words(body)
        case "batch":
            return f"{body['batch_id']} {body['state']} at minute {body['minutes']:.0f}"
        case "maintenance":
            return f"{body['component'] or body['number']} {body['kind']}"
        case "label":
            return f"the operator calls it: {body['label']}"
    return ", ".join(f"{key} {value}" for key, value in body.items() if key != "models")


def _trim_words(body: dict[str, Any]) -> str:
    if "trim_kg_h" not in body:
        return f"withheld: {text_of(body['held'])}"
    return (
        f"#{body['seq']} {body['state'].replace('_', ' ')}: {body['trim_kg_h']:+.1f} kg/h on "
        f"{body['base_kg_h']:.1f} kg/h, {text_of(body['reason'])}"
    )
