"""Class activation map and deviation -> tags -> ranked components through the plant's topology.

The CAM explains the *decision* (which tags moved the logit), the deviation from the reference finds
the *component* (which tags left their normal course), and the classifier says which kind of defect
it takes it for: it knows that a cracked core pipe shows first in the premixer behind it. Each alone
misleads somewhere, so all three are turned into shares of evidence and mixed. A fault disturbs what
lies downstream of it, so whoever has evidence of its own takes a modest credit for what lies
downstream. The sub-component is chosen by physical discriminators (process note section 3.3): they
refine a finding, never overrule it.

Axes: P tags.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from edge.core.tags import Tag
from edge.core.topology import Topology

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """One component under suspicion."""

    component: str
    """Code, e.g. ``C03``."""
    number: int
    """The id written to the PLC."""
    part: str
    """Sub-component, e.g. ``pipe``; "" if nothing speaks for one."""
    score: float
    """Share of the evidence, 0..1; the scores of all components add up to 1."""
    tags: tuple[str, ...]
    """The component's tags that speak most, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankSettings:
    """Weights of the ranking."""

    deviation_weight: float = 0.2
    kind_weight: float = 0.4
    """Weights of the deviation and of the classifier's own answer; the CAM has the rest. Chosen on
    the twin's calibration batches; a defect the classifier never saw is left to the other two."""
    dead_band: float = 1.0
    """Deviations below this (in units of the reference scale) are no evidence."""
    best_tags: int = 3
    """A component's deviation is the mean of its largest `best_tags` tags, so that a component with
    many tags has no advantage."""
    downstream: float = 0.15
    """Credit for evidence directly downstream, as a share of it."""
    together: float = 0.3
    """Redundant instruments that all deviate the same way, the median by this share of the largest,
    show the process and not themselves."""
    count: int = 3


DEFAULT = RankSettings()


def rank(
    cam: Floats,
    deviation: Floats,
    tags: Sequence[Tag],
    topology: Topology,
    *,
    kinds: Mapping[str, float] = MappingProxyType({}),
    valid: Floats | None = None,
    redundant: Sequence[str] = (),
    settings: RankSettings = DEFAULT,
) -> tuple[Suspect, ...]:
    """The most suspect reportable components, best first; empty if there is no evidence at all.

    Args:
        cam: float[P], contribution of each tag to the logit; only what speaks for a defect counts.
        deviation: float[P], signed normalised deviation of each tag from its reference.
        tags: the line's P tags, in model order.
        topology: components and flow edges; components that are not reportable are left out.
        kinds: component code -> probability that the defect is there, as the classifier says.
        valid: float[P], good share of each tag; a tag without a good row is no evidence.
        redundant: tags that measure one and the same, e.g. the pH probes: a faulty one leaves the
            others; where all go the same way they are no evidence against their component.

    Raises ValueError if the arrays are not of shape [P].
    """
    if cam.shape != (len(tags),) or deviation.shape != (len(tags),):
        raise ValueError(
            f"cam {cam.shape} and deviation {deviation.shape} must both be ({len(tags)},), "
            "one value for each tag of the line"
        )
    seen = np.ones(len(tags), bool) if valid is None else np.asarray(valid) > 0.0
    decision = np.where(seen, np.maximum(np.nan_to_num(cam.astype(np.float64)), 0.0), 0.0)
    signed = np.where(seen, np.nan_to_num(deviation.astype(np.float64)), 0.0)
    group = np.array([i for i, tag in enumerate(tags) if tag.name in redundant and seen[i]], int)
    common = _together(signed[group], settings.together)
    if common:
        decision[group] = signed[group] = 0.0
    cleared = {tags[i].component for i in group} if common else set()
    size = np.maximum(np.abs(signed) - settings.dead_band, 0.0)
    rows = {
        component.code: np.array(
            [i for i, t in enumerate(tags) if t.component == component.code], int
        )
        for component in topology.components
        if component.reportable
    }
    by_cam = {code: float(decision[i].sum()) if len(i) else 0.0 for code, i in rows.items()}
    by_size = {
        code: float(np.sort(size[i])[-settings.best_tags :].mean()) if len(i) else 0.0
        for code, i in rows.items()
    }
    by_kind = {
        code: float(np.nan_to_num(kinds.get(code, 0.0)))
        if seen[i].any() and code not in cleared
        else 0.0
        for code, i in rows.items()
    }
    weights = (settings.deviation_weight, settings.kind_weight)
    evidence = _mix(
        (_shares(by_size), weights[0]),
        (_shares(by_kind), weights[1]),
        (_shares(by_cam), 1.0 - sum(weights)),
    )
    credited = {
        code: own * (1.0 + settings.downstream * sum(
            evidence.get(lower, 0.0) for upper, lower in topology.edges if upper == code
        ))
        for code, own in evidence.items()
    }  # fmt: skip
    scores = _shares(credited)
    weight = _shares_of(decision) + _shares_of(size)
    best = sorted(scores, key=lambda code: (-scores[code], topology.by_code(code).number))
    return tuple(
        Suspect(
            component=code,
            number=topology.by_code(code).number,
            part=_part(rows[code], signed, weight, tags, topology.by_code(code).parts),
            score=scores[code],
            tags=tuple(
                tags[i].name for i in rows[code][np.argsort(-weight[rows[code]], kind="stable")]
                if weight[i] > 0.0
            )[: settings.best_tags],
        )
        for code in best[: settings.count]
        if scores[code] > 0.0
    )  # fmt: skip


def _together(signed: npt.NDArray[np.float64], share: float) -> bool:
    """Do at least three redundant instruments all deviate the same way?"""
    if len(signed) < 3 or abs(int(np.sign(signed).sum())) < len(signed):
        return False
    size = np.abs(signed)
    return bool(np.median(size) >= share * size.max())


def _shares(by_code: Mapping[str, float]) -> dict[str, float]:
    total = sum(by_code.values())
    return {code: value / total if total > 0.0 else 0.0 for code, value in by_code.items()}


def _shares_of(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    total = float(values.sum())
    return values / total if total > 0.0 else np.zeros_like(values)


def _mix(*parts: tuple[dict[str, float], float]) -> dict[str, float]:
    """Weighted shares; who has nothing to say leaves his weight to the others."""
    speaking = [(shares, weight) for shares, weight in parts if any(shares.values())]
    total = sum(weight for _, weight in speaking)
    if not total:
        return dict.fromkeys(parts[0][0], 0.0)
    return {
        code: sum(weight * shares[code] for shares, weight in speaking) / total
        for code in parts[0][0]
    }


# The discriminators. d maps a part to the signed deviation of its strongest tag, 0 where it has
# none. First match decides; `_CLEAR` is the deviation (in reference scales) that counts as a shift.

_CLEAR = 2.0
Signs = Mapping[str, float]
_RULES: tuple[tuple[str, str, Callable[[Signs], bool]], ...] = (
    (
        "a hose pump turns faster for its flow than usual: displacement is lost in the hose",
        "hose",
        lambda d: d["pump"] - d["meter"] > 2.0 * _CLEAR,
    ),
    (
        "line pressure low while the meter sees no loss: the liquid leaves after the meter",
        "pipe",
        lambda d: d["pipe"] < -_CLEAR and d["meter"] > -_CLEAR,
    ),
    (
        "line pressure, pump and current high at the same flow: the line is blocked or freezing",
        "pipe",
        lambda d: d["pipe"] > _CLEAR and d["pump"] > _CLEAR and d["meter"] < _CLEAR,
    ),
    (
        "flow short although the pump does not turn slower: valves or diaphragm of the pump",
        "pump",
        lambda d: d["meter"] < -_CLEAR and d["pump"] > -_CLEAR and d["drive"] > -_CLEAR,
    ),
    (
        "pump turns for more or less flow than usual with the pressure unmoved: the meter is off",
        "meter",
        lambda d: abs(d["pump"]) > _CLEAR and d["drive"] * d["pump"] > 0.0
        and abs(d["pipe"]) < _CLEAR and abs(d["meter"]) < _CLEAR,
    ),
    (
        "speed and frequency part: the drive slips",
        "drive",
        lambda d: abs(d["drive"]) > _CLEAR and d["drive"] * d["pump"] < 0.0,
    ),
    (
        "only the tank weight moves: its own instrument",
        "tank",
        lambda d: abs(d["tank"]) > _CLEAR
        and all(abs(d[part]) < _CLEAR for part in ("pipe", "meter", "pump", "drive")),
    ),
)  # fmt: skip


def _part(
    rows: npt.NDArray[np.int_],
    signed: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    tags: Sequence[Tag],
    parts: tuple[str, ...],
) -> str:
    strongest = dict.fromkeys(("pipe", "meter", "pump", "drive", "tank"), 0.0)
    evidence: dict[str, float] = {}
    for i in rows:
        part = tags[i].part
        evidence[part] = max(evidence.get(part, 0.0), float(weight[i]))
        if abs(signed[i]) > abs(strongest.get(part, 0.0)):
            strongest[part] = float(signed[i])
    for _, part, holds in _RULES:
        if part in parts and part in evidence and holds(MappingProxyType(strongest)):
            return part
    spoken = max(evidence, key=lambda part: evidence[part], default="")
    return spoken if evidence.get(spoken, 0.0) > 0.0 else ""
