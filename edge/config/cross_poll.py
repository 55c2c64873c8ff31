"""Poll groups against the row, the links and the tags that are read with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge.config.cross import check_references, check_unique, named_rows
from edge.config.document import Document, row_subject
from edge.config.locate import Path
from edge.config.tables import CONTEXT, TAG
from edge.config.tables_poll import POLL_GROUP

Rows = Mapping[str, Mapping[str, Any]]
_SAME = 1e-9
"""Relative difference below which two times are equal: 0.1 is no binary fraction."""


def check_groups(line: Document) -> None:
    """Names once; a period that fits the grid of the rows; nothing to reduce in a slow group."""
    check_unique(line, (("poll_group", "poll_group"),), "name", "give every group its own name")
    row_s = line.values.get("ring", {}).get("row_s")
    for index, group in enumerate(line.values.get("poll_group", ())):
        poll_s, subject = group.get("poll_s"), row_subject(POLL_GROUP, group, index)
        if row_s is None or poll_s is None:
            continue
        path: Path = ("poll_group", index)
        fault = _misfit(poll_s, row_s)
        if fault:
            line.fault((*path, "poll_s"), f"poll_s = {poll_s:g} {fault}", subject, "poll_s")
        elif poll_s > row_s and group.get("reduce", "last") != "last":
            line.fault(
                (*path, "reduce"),
                f"reduce = '{group['reduce']}' has nothing to reduce: the group is slower than "
                f"the row ([ring] row_s = {row_s:g} s); remove it",
                subject,
                "reduce",
            )


def _misfit(poll_s: float, row_s: float) -> str:
    """Why a period does not fit the rows; "" if it does."""
    ratio = row_s / poll_s if poll_s < row_s else poll_s / row_s
    whole = round(ratio)
    if abs(poll_s - row_s) <= _SAME * row_s:
        return (
            "is the row itself ([ring] row_s); remove the group and 'poll_group' from its tags, "
            "which are then read once a row"
        )
    if abs(ratio - whole) <= _SAME * ratio:
        return ""
    lower, upper = int(ratio), int(ratio) + 1
    near = sorted((row_s / n if poll_s < row_s else row_s * n) for n in (lower, upper) if n > 1)
    return (
        f"neither divides the row ([ring] row_s = {row_s:g} s) nor is a multiple of it; nearest "
        f"permitted: {' or '.join(f'{n:.6g}' for n in near)}"
    )


def check_tags(tags: Document, line: Document, links: Rows | None) -> None:
    """Tags name groups that exist, on links that poll, with limits longer than the period."""
    groups = named_rows(line, "poll_group", "name")
    row_s = line.values.get("ring", {}).get("row_s")
    for name, section in (("tag", TAG), ("context", CONTEXT)):
        for index, row in enumerate(tags.values.get(name, ())):
            given = row.get("poll_group")
            if not given:
                continue
            path: Path = (name, index)
            subject = row_subject(section, row, index)
            place = "line.toml ([[poll_group]])"
            check_references(
                tags, "poll_group", (*path, "poll_group"), subject, given, groups, place
            )
            group = groups.get(given)
            if group is None:
                continue
            for key, fault in _tag_faults(row, group, (links or {}).get(row.get("link", ""), {})):
                tags.fault((*path, key), fault, subject, key)
            if row_s is not None and group.get("poll_s", 0.0) > row_s:
                for key, fault in _hold_faults(row, group):
                    tags.fault((*path, key), fault, subject, key)


def _tag_faults(
    row: Mapping[str, Any], group: Mapping[str, Any], link: Mapping[str, Any]
) -> list[tuple[str, str]]:
    found = []
    if link.get("mode") == "subscription":
        found.append((
            "poll_group",
            f"poll_group '{group['name']}' on link \"{row['link']}\", which reports changes by "
            "itself (mode = 'subscription'); remove poll_group, or read the link (mode = 'read')",
        ))  # fmt: skip
    yes_or_no = row.get("type") == "bit" or row.get("table") in ("coil", "discrete")
    if yes_or_no and group.get("reduce") == "mean":
        found.append((
            "poll_group",
            f"poll_group '{group['name']}' takes the mean, and this tag is a bit; permitted: a "
            "group that reduces by last, min or max",
        ))  # fmt: skip
    return found


def _hold_faults(row: Mapping[str, Any], group: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Limits that a value held until the next poll would break although all is well."""
    poll_s = group["poll_s"]
    limits = (("max_age_s", "stale"), ("frozen_s", "frozen"))
    return [
        (
            key,
            f"{key} = {row[key]:g} would call a value {word} that poll_group '{group['name']}' "
            f"holds for poll_s = {poll_s:g} s; permitted: above {poll_s:g}",
        )
        for key, word in limits
        if 0 < row.get(key, 0.0) <= poll_s
    ]
