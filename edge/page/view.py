"""What the page says at the moment, made once a second from the status and the words document.

Pure: documents in, plain values out. Every judgement has a `level` (ok, note, bad) and a sentence:
colour alone never carries a meaning. Readers of `document` must survive any document: a daemon of
another release, a file cut short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge.core.registers import Ne107, Status, TrimState
from edge.page import blocks

Doc = Mapping[str, Any]
OLD_S = 10.0
"""A document older than this is no news any more: the page turns grey."""
NE107_SAYS = {
    Ne107.NORMAL: "The appliance works as it should.",
    Ne107.FAILURE: "Do not use the outputs.",
    Ne107.CHECK_FUNCTION: "Somebody works on it, or the input is not the plant.",
    Ne107.OFF_SPEC: "Outputs are outside of what they were validated for.",
    Ne107.MAINTENANCE_REQUIRED: "Outputs hold; something wants attention.",
}
MEANS = (
    "no flag is raised",
    "a failure in about three days",
    "a failure in about two days",
    "a failure within about a day",
)


OPEN = (TrimState.OFFERED, TrimState.ACCEPTED, TrimState.APPLIED_WITH_CLAMP)


def age(document: Doc | None, age_s: float | None) -> dict[str, Any]:
    """How old the news is: `state` is waiting (nothing yet), live, old, gone."""
    if document is None:
        return {"state": "waiting", "age_s": None}
    if age_s is None:
        return {"state": "gone", "age_s": None}
    return {"state": "old" if age_s > OLD_S else "live", "age_s": round(age_s, 1)}


def overview(document: Doc | None) -> list[dict[str, Any]]:
    """One tile a line."""
    return [
        {
            "name": line["name"],
            "title": line["title"],
            "ne107": _ne107(line),
            "verdict": line["verdict"]["text"],
            "severity": line["verdict"]["severity"] if line["verdict"]["valid"] else None,
            "suspects": [_suspect(s) for s in line["verdict"]["suspects"]],
            "batch": line["batch"],
            "trim": line["trim"]["text"],
            "conditions": len(line["conditions"]),
        }
        for line in ([] if document is None else document["lines"])
    ]


def line(section: Doc, wire: Doc | None, uptime_s: float) -> dict[str, Any]:
    """One line of the status document; `wire` is its section of the words document."""
    words = _block(wire, "W")
    verdict = section["verdict"]
    return {
        "ne107": _ne107(section),
        "simulated": _simulated(section, words),
        "batch": section["batch"],
        "trust": _trust(section, words),
        "conditions": [{"text": c["text"], "condition": c["condition"], "ne107": c["ne107"]}
                       for c in section["conditions"]],
        "verdict": {
            "valid": verdict["valid"],
            "probability": verdict["probability"],
            "severity": verdict["severity"],
            "text": verdict["text"],
            "means": MEANS[verdict["severity"]] if verdict["valid"] else "",
            "since_s": verdict["since_s"],
        },
        "suspects": [_suspect(s) for s in verdict["suspects"]],
        "advice": _advice(section, wire, words),
        # By name: the configuration on the disk may be newer than the one the daemon runs.
        "tags": {t["name"]: [t["value"], t["quality"], t["reason"], t["age_s"]]
                 for t in section["tags"]},
        "uptime_s": uptime_s,
    }  # fmt: skip


def wires(section: Doc, wire: Doc | None) -> dict[str, Any]:
    """What commissioning looks at: blocks, registers, links."""
    out: dict[str, Any] = {"links": [_link(link) for link in section["links"]], "blocks": {}}
    publication = section["publication"]
    out["publication"] = (
        f"{publication['verified']} blocks W written and read back, {publication['mismatches']} "
        f"read back differently, {publication['link_errors']} not written, "
        f"{publication['suppressed']} withheld"
        + (f"; block R: {publication['read_error']}" if publication["read_error"] else "")
    )
    for block in blocks.TABLES:
        words = _block(wire, block)
        entries = blocks.entries(block, words)
        out["blocks"][block] = {
            "age_s": None if wire is None or not words else wire["blocks"][block]["age_s"],
            "fault": blocks.sound(words) if block == "W" and words else "",
            "rows": [[e.offset, e.name, e.raw, e.value] for e in entries],
        }
    out["raw"] = {} if wire is None else wire.get("raw", {})
    return out


def _block(wire: Doc | None, block: str) -> Sequence[int]:
    found = None if wire is None else wire["blocks"].get(block)
    return [] if found is None else found["words"]


def _ne107(section: Doc) -> dict[str, Any]:
    number = section["ne107"]
    known = number in set(Ne107)
    return {
        "number": number,
        "word": section["ne107_text"],
        "says": NE107_SAYS[Ne107(number)] if known else "",
    }


def _simulated(section: Doc, words: Sequence[int]) -> bool:
    told = any(c["condition"] == "simulation or replay" for c in section["conditions"])
    return told or bool(not blocks.sound(words) and words[3] & Status.SIMULATION)


def _suspect(suspect: Doc) -> dict[str, Any]:
    return {key: suspect[key] for key in ("component", "name", "part", "score", "tags")}


def _item(label: str, text: str, level: str = "ok") -> dict[str, str]:
    return {"label": label, "text": text, "level": level}


def _trust(section: Doc, words: Sequence[int]) -> list[dict[str, str]]:
    sound = not blocks.sound(words)
    age_s = blocks.number(words, "INFER_AGE") if sound else None
    drift = blocks.number(words, "DRIFT_SCORE") if sound else None
    provider, reason = section["provider"], section["provider_reason"]
    if provider == "none":
        runs = _item("model runs", f"nowhere: {reason}", "bad")
    else:
        last = "no inference yet, " if age_s is None else f"last inference {age_s:.0f} s ago "
        last = last if sound else ""
        wanted = provider != "cpu" or "chosen" in reason
        why = f": {reason}" if reason else ""
        where = "GPU" if provider == "cuda" else provider.upper()
        runs = _item("model runs", f"{last}on {where}{why}", "ok" if wanted else "note")
    quality = section["data_quality"]
    bad = [t["name"] for t in section["tags"] if t["quality"] == "bad"]
    data = f"{quality:.1%} good in the last model step"
    if bad:
        more = f" and {len(bad) - 3} more" if bad[3:] else ""
        data += f"; bad now: {', '.join(bad[:3])}{more}"
    down = [link["name"] for link in section["links"] if not link["connected"]]
    up = ", ".join(link["name"] for link in section["links"])
    return [
        runs,
        _item("data", data, "bad" if quality < 0.6 else "note" if bad or quality < 0.95 else "ok"),
        _item("model", section["model"], "ok"),
        _item("drift", "not known yet" if drift is None else
              f"{drift:.0%} of the limit: " + ("input as in training" if drift < 1.0 else
                                               "input unlike that in training"),
              "ok" if drift is None or drift < 1.0 else "bad"),
        _item("links", f"down: {', '.join(down)}" if down else f"{up} up", "bad" if down else "ok"),
    ]  # fmt: skip


def _advice(section: Doc, wire: Doc | None, words: Sequence[int]) -> dict[str, Any]:
    text = section["trim"]["text"]
    held = text.removeprefix("held: ")
    out: dict[str, Any] = {
        "text": text if held == text else f"No suggestion: {held}",
        "state": section["trim"]["state"], "demand": section["trim"]["demand"], "rows": [],
    }  # fmt: skip
    if wire is None or blocks.sound(words):
        return out
    base, ttl = blocks.number(words, "TRIM_BASE"), blocks.number(words, "TRIM_TTL") or 0.0
    state = blocks.number(words, "TRIM_STATE") or 0.0
    if base is None or state == TrimState.NONE:
        return out
    trim, low, high = (
        blocks.number(words, name) or 0.0 for name in ("TRIM_NAOH", "TRIM_LO", "TRIM_HI")
    )
    left_s = ttl - wire["blocks"]["W"]["age_s"]
    if state in OPEN:
        out["rows"] = [
            ["NaOH", f"{base:.1f} → {base + trim:.1f} kg/h ({trim:+.1f})"],
            ["limits", f"{low:+.1f} to {high:+.1f} kg/h on {base:.1f}"],
        ]
    if state == TrimState.OFFERED:
        text = f"in {left_s:.0f} s unless accepted at the panel" if left_s > 0 else "now"
        out["rows"].append(["expires", text])
    panel = _block(wire, "R")
    for entry in blocks.entries("R", panel):
        if entry.name == "TRIM_APPLIED" and state != TrimState.OFFERED:
            out["rows"].append(["in force", f"{entry.value}, says the PLC"])
    return out


def _link(link: Doc) -> dict[str, Any]:
    return {
        "name": link["name"],
        "connected": link["connected"],
        "text": f"{link['ok']} answered, {link['timeouts']} timeouts, {link['bad_answers']} bad "
        f"answers, {link['exceptions']} exceptions, {link['lost']} connections lost",
        "last_error": link["last_error"],
    }
