"""What trim.toml may not say, given the tags, the components and the outputs of its line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge.config import cross
from edge.config.document import Document
from edge.config.keys import Key
from edge.config.locate import Path
from edge.config.tables import TRIM


def check_trim(
    trim: Document,
    line: Document | None,
    tags: Document | None,
    components: Mapping[str, Mapping[str, Any]] | None,
    outputs: Document | None,
) -> None:
    """Roles exist and have the right unit; limits do not contradict each other."""
    _check_limits(trim)
    if tags is not None:
        _check_roles(trim, tags)
    _check_hold(trim, tags, components)
    if line is not None and "schedule" not in line.values and line.whole:
        trim.fault(
            (), f"a trim needs the batch schedule's NaOH flow, but {line.file} names no schedule; "
            "add it or remove trim.toml", key="schedule",
        )  # fmt: skip
    if outputs is not None and "block_r" not in outputs.values and outputs.whole:
        trim.fault(
            (), f"a trim needs the operator's answer, but {outputs.file} has no [block_r]; add it "
            "or remove trim.toml", key="block_r",
        )  # fmt: skip


_ORDERED = (
    ("limits", "min_change_kg_h", "limits", "max_change_kg_h",
     "the smallest suggestion must be below the largest change"),
    ("limits", "ph_low", "limits", "ph_high", "exchange or correct them"),
    ("limits", "accept_time_s", "limits", "ttl_s",
     "a suggestion must outlive the time the operator takes to accept it"),
    ("plant", "heel_m3", "plant", "max_volume_m3", "the heel must leave room for the batch"),
)  # fmt: skip
"""(table, key) that must be below (table, key), and why."""


def _check_limits(trim: Document) -> None:
    for table, key, other_table, other, why in _ORDERED:
        low = trim.values.get(table, {}).get(key)
        high = trim.values.get(other_table, {}).get(other)
        if low is not None and high is not None and low >= high:
            trim.fault(
                (table, key), f"{key} = {low:g} is not below {other} = {high:g}; {why}",
                f"[{table}]",
            )  # fmt: skip


def _role_keys() -> tuple[Key, ...]:
    roles = TRIM.key("tags")
    return roles.section.keys if roles is not None and roles.section is not None else ()


def _check_roles(trim: Document, tags: Document) -> None:
    known = {**cross.named_rows(tags, "context", "name"), **cross.named_rows(tags, "tag", "name")}
    roles = trim.values.get("tags", {})
    taken: dict[str, str] = {}
    for key in _role_keys():
        if key.refers != "tag":
            continue
        value = roles.get(key.name, ())
        for name in value if isinstance(value, tuple) else (value,):
            path: Path = ("tags", key.name)
            cross.check_references(
                trim, f"{key.name}: tag", path, "[tags]", name, known, "tags.toml"
            )
            unit = known.get(name, {}).get("unit")
            if unit is not None and unit != key.refers_unit:
                trim.fault(
                    path,
                    f"{key.name}: tag '{name}' is in {unit}; permitted: a tag in {key.refers_unit}",
                    "[tags]",
                )
            if name in taken:
                trim.fault(
                    path,
                    f"{key.name}: tag '{name}' already serves as {taken[name]}; every role needs "
                    "its own tag",
                    "[tags]",
                )
            taken.setdefault(name, key.name)


def _check_hold(
    trim: Document,
    tags: Document | None,
    components: Mapping[str, Mapping[str, Any]] | None,
) -> None:
    """A suspected leak or probe defect must hold the suggestion: feedback would hide it."""
    roles = trim.values.get("tags", {})
    hold = roles.get("hold_components")
    if hold is None:
        return
    path: Path = ("tags", "hold_components")
    for code in hold:
        cross.check_references(
            trim, "hold_components: component", path, "[tags]", code, components, "components.toml"
        )
        if (components or {}).get(code, {}).get("reportable") is False:
            trim.fault(
                path,
                f"hold_components: component '{code}' is never reported as faulty "
                "(reportable = false); remove it",
                "[tags]",
            )
    rows = cross.named_rows(tags, "tag", "name") if tags is not None else {}
    for name in (roles.get("naoh_flow"), *roles.get("ph_tags", ())):
        code = rows.get(name or "", {}).get("component")
        if code is not None and code not in hold:
            trim.fault(
                path,
                f"hold_components lacks {code}, the component of '{name}'; a trim would hide its "
                "defect; add it",
                "[tags]",
            )
            hold = (*hold, code)
