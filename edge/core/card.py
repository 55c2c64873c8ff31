"""ModelCard: what a bundle was made for, and the list of what does not match this site."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from edge.core.features import FEATURES

FORMAT = 2


class CardError(ValueError):
    """card.json is not a model card; the text lists every fault, one per line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateTensor:
    """One state tensor of the graph: `name` in, `name + "_next"` out, zeros at a cold start."""

    name: str
    shape: tuple[int, ...]
    """Without the leading line axis B."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """card.json of a bundle."""

    format: int
    name: str
    serial: int
    """Monotone number of the model, 1..65535; shown as MODEL_SERIAL."""
    notice: str
    """E.g. "trained on simulated data, not for production"."""
    simulated: bool
    tags: tuple[tuple[str, str], ...]
    """(name, unit) in model order."""
    features: tuple[str, ...]
    row_s: float
    step_rows: int
    """Rows of the ring per model step (60: one minute at 1 Hz)."""
    slot_steps: int
    """Model steps of batch time per row of the reference table; 0 for a continuous process."""
    states: tuple[StateTensor, ...]
    kinds: tuple[str, ...]
    """Component codes the classifier tells apart; one "" if its training data named none."""
    threshold: float
    """Defect probability at the calibrated false-alarm budget."""
    clear_threshold: float
    severity_thresholds: tuple[float, float, float]
    """Cumulative probability above which severity 1, 2, 3 is reported."""
    drift_limit: float
    """Drift score that raises the condition."""
    files: dict[str, str]
    """File name -> SHA-256."""
    metrics: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    """Seeds, configuration and data hashes, versions."""

    def slot(self, batch_step: int, slots: int) -> int:
        """Row of a reference table of `slots` rows for model step `batch_step` of the batch."""
        if self.slot_steps == 0:
            return 0
        return min(max(batch_step, 0) // self.slot_steps, slots - 1)


def mismatches(card: ModelCard, tags: Sequence[tuple[str, str]], row_s: float) -> list[str]:
    """Everything about this line that the model was not made for; empty if it fits.

    Args:
        card: the bundle's card.
        tags: (name, unit) of the line's tags, in the order of tags.toml.
        row_s: seconds per row of the line's ring.
    """
    found = []
    if card.features != FEATURES:
        found.append(
            f"features: the bundle was made with {list(card.features)}, "
            f"this program computes {list(FEATURES)}; export the bundle again"
        )
    if abs(card.row_s - row_s) > 1e-9:
        found.append(f"row_s: the bundle expects {card.row_s:g} s per row, the line has {row_s:g}")
    if len(card.tags) != len(tags):
        found.append(f"tags: the bundle expects {len(card.tags)} tags, the line has {len(tags)}")
    have, want = [name for name, _ in tags], [name for name, _ in card.tags]
    found += [f'tags: "{name}" is missing from the line' for name in want if name not in have]
    found += [f'tags: "{name}" is not known to the bundle' for name in have if name not in want]
    if sorted(have) == sorted(want) and have != want:
        place = next(i for i, (a, b) in enumerate(zip(have, want)) if a != b)
        found.append(
            f'tags: the order differs from position {place + 1} on: the bundle has "{want[place]}",'
            f' the line has "{have[place]}"; tags.toml must list the tags in the bundle\'s order'
        )
    units = dict(tags)
    for name, unit in card.tags:
        if name in units and units[name] != unit:
            found.append(
                f'tags: "{name}" is in "{units[name]}" on this line, the bundle expects "{unit}"'
            )
    return found


def to_dict(card: ModelCard) -> dict[str, Any]:
    """The card as JSON-ready values; `from_dict` is its inverse."""
    return {
        "format": card.format,
        "name": card.name,
        "serial": card.serial,
        "notice": card.notice,
        "simulated": card.simulated,
        "tags": [list(tag) for tag in card.tags],
        "features": list(card.features),
        "row_s": card.row_s,
        "step_rows": card.step_rows,
        "slot_steps": card.slot_steps,
        "states": [{"name": state.name, "shape": list(state.shape)} for state in card.states],
        "kinds": list(card.kinds),
        "threshold": card.threshold,
        "clear_threshold": card.clear_threshold,
        "severity_thresholds": list(card.severity_thresholds),
        "drift_limit": card.drift_limit,
        "files": dict(card.files),
        "metrics": dict(card.metrics),
        "provenance": dict(card.provenance),
    }


def from_dict(raw: object) -> ModelCard:
    """Parse card.json. Raises CardError naming every field that is missing or wrong."""
    if not isinstance(raw, dict):
        raise CardError("card.json: expected a JSON object")
    read = _Reader(raw)
    card_format = read.whole("format", 1, 65535)
    if card_format is not None and card_format != FORMAT:
        raise CardError(
            f"card.json: format {card_format} is not supported, this program reads {FORMAT}; "
            "install a bundle exported for this release"
        )
    tags = read.items("tags", _tag)
    states = read.items("states", _state)
    names = [tag[0] for tag in tags]
    if len(set(names)) != len(names):
        read.fault("tags", "a tag name occurs twice", "unique names")
    levels = read.items("severity_thresholds", _probability)
    if len(levels) != 3:
        read.fault("severity_thresholds", levels, "three probabilities")
    values: dict[str, Any] = {
        "name": read.text("name"),
        "serial": read.whole("serial", 1, 65535),
        "notice": read.text("notice"),
        "simulated": read.flag("simulated"),
        "features": tuple(read.items("features", _word)),
        "kinds": tuple(read.items("kinds", _word)),
        "row_s": read.number("row_s", 1e-3, 3600.0),
        "step_rows": read.whole("step_rows", 1, 86_400),
        "slot_steps": read.whole("slot_steps", 0, 1_000_000),
        "threshold": read.number("threshold", 0.0, 1.0),
        "clear_threshold": read.number("clear_threshold", 0.0, 1.0),
        "drift_limit": read.number("drift_limit", 0.0, 1e9),
        "files": read.table("files"),
        "metrics": read.table("metrics"),
        "provenance": read.table("provenance"),
    }
    for name, digest in values["files"].items():
        if not isinstance(digest, str) or len(digest) != 64:
            read.fault(f"files.{name}", digest, "a SHA-256 of 64 hexadecimal digits")
    if read.faults:
        raise CardError("\n".join(read.faults))
    return ModelCard(
        format=FORMAT,
        tags=tuple(tags),
        states=tuple(states),
        severity_thresholds=(levels[0], levels[1], levels[2]),
        **values,
    )


def _tag(item: object) -> tuple[str, str] | None:
    if isinstance(item, (list, tuple)) and len(item) == 2 and all(isinstance(s, str) for s in item):
        return str(item[0]), str(item[1])
    return None


def _state(item: object) -> StateTensor | None:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        return None
    shape = item.get("shape")
    if not isinstance(shape, list) or not all(isinstance(n, int) and n > 0 for n in shape):
        return None
    return StateTensor(name=item["name"], shape=tuple(shape))


def _word(item: object) -> str | None:
    return item if isinstance(item, str) else None


def _probability(item: object) -> float | None:
    if isinstance(item, bool) or not isinstance(item, (int, float)) or not 0.0 <= item <= 1.0:
        return None
    return float(item)


class _Reader:
    """Takes fields out of a JSON object and collects every fault instead of stopping at one."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self._raw = raw
        self.faults: list[str] = []

    def fault(self, key: str, value: object, permitted: str) -> None:
        self.faults.append(f"card.json: {key} = {value!r}: permitted is {permitted}")

    def _get(self, key: str, permitted: str) -> Any:
        if key not in self._raw:
            self.faults.append(f"card.json: {key} is missing: permitted is {permitted}")
            return None
        return self._raw[key]

    def text(self, key: str) -> str:
        value = self._get(key, "a text")
        if value is not None and not isinstance(value, str):
            self.fault(key, value, "a text")
        return str(value)

    def flag(self, key: str) -> bool:
        value = self._get(key, "true or false")
        if value is not None and not isinstance(value, bool):
            self.fault(key, value, "true or false")
        return bool(value)

    def whole(self, key: str, low: int, high: int) -> int | None:
        permitted = f"a whole number {low}..{high}"
        value = self._get(key, permitted)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fault(key, value, permitted)
            return None
        return value

    def number(self, key: str, low: float, high: float) -> float | None:
        permitted = f"a number {low:g}..{high:g}"
        value = self._get(key, permitted)
        if value is None:
            return None
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not low <= value <= high:
            self.fault(key, value, permitted)
            return None
        return float(value)

    def table(self, key: str) -> dict[str, Any]:
        value = self._get(key, "a table")
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.fault(key, value, "a table")
            return {}
        return value

    def items(self, key: str, parse: Any) -> list[Any]:
        value = self._get(key, "a list")
        if value is None:
            return []
        if not isinstance(value, list):
            self.fault(key, value, "a list")
            return []
        out = []
        for place, item in enumerate(value):
            parsed = parse(item)
            if parsed is None:
                self.fault(f"{key}[{place}]", item, f"an entry of {key}")
            else:
                out.append(parsed)
        return out
