"""What the [deviation] table of line.toml may not say, given schedule and tags of its line."""

from __future__ import annotations

from edge.config import cross
from edge.config.document import Document

UNITS = {
    "core_kg_h": "kg/h", "shell_kg_h": "kg/h", "naoh_kg_h": "kg/h", "nh4oh_kg_h": "kg/h",
    "ph_sp": "pH", "temp_sp_c": "°C", "rpm_sp": "rpm",
}  # fmt: skip
"""Schedule column -> unit its tag must have."""


def check_deviation(line: Document, tags: Document | None) -> None:
    """A schedule to compare with; tags exist once, in the column's unit; keys fit together."""
    table = line.values.get("deviation")
    if table is None:
        return
    if "schedule" not in line.values and line.whole:
        line.fault(
            ("deviation",), "there is no schedule to deviate from; add the key 'schedule' or "
            "remove this table", "[deviation]", "schedule",
        )  # fmt: skip
    seen: set[str] = set()
    for index, rule in enumerate(table.get("rule", ())):
        path = ("deviation", "rule", index)
        name = rule.get("tag")
        subject = f'deviation rule "{name}"'
        for key, rows in (("tag", "tag"), ("set_point", "context")):
            if tags is not None and rule.get(key):
                known = cross.named_rows(tags, rows, "name")
                cross.check_references(
                    line,
                    f"{key}:",
                    (*path, key),
                    subject,
                    rule[key],
                    known,
                    f"tags.toml [[{rows}]]",
                )
                unit = known.get(rule[key], {}).get("unit")
                wanted = UNITS.get(rule.get("column", ""))
                if unit is not None and wanted is not None and unit != wanted:
                    line.fault(
                        (*path, key),
                        f"{key}: '{rule[key]}' is in {unit}; permitted: a tag in {wanted}",
                        subject,
                    )
        if not rule.get("set_point") and (rule.get("set_point_share") or rule.get("throughput")):
            line.fault(
                path, "set_point_share and throughput speak of a set-point, but set_point is "
                "missing; add it or remove them", subject, "set_point",
            )  # fmt: skip
        if name in seen:
            line.fault((*path, "tag"), f"tag '{name}' has a rule already; remove one", subject)
        seen.add(name or "")
