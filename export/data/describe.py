"""A plant's TOML file -> what the reader must know. All faults at once, nothing guessed.

name = "rig-7"                            # default: the file's own name
files = ["days/*.csv.gz", "old.parquet"]  # or file = "one.csv"; CSV, CSV.gz, Parquet, rows.ring
join_files = false                        # true: daily files of one continuous recording
delimiter = ","                           # and decimal = "."
time = "timestamp"                        # column; without it rows are row_s apart
time_format = "iso"                       # "ms" "s" "min" "h" "d" (numbers) or strptime's
timezone = "Asia/Seoul"                   # of local times; without it times are taken as UTC
row_s = 1.0
step_rows = 60                            # rows of a model step
gaps = "insert"                           # missing time slots become gaps; "ignore": row by row
split_gap_h = 24.0                        # a longer gap ends the stretch

config = "../../firmware_config"          # tags from a line's configuration ...
line = "ncm-1"
columns = { "PI-1.PV" = "Pressure" }      # tag -> column, where they differ
auto_tags = ["sensor_*"]                  # ... or all columns of these patterns ...
tag = [                                   # ... or listed
  { name = "PI-1", unit = "bar", low = 0, high = 10, component = "C01", frozen_s = 60 },
]

file_pattern = "case(?P<case>\\d)_.*"      # its groups are words for the templates below
group = "{stem} {run}"                    # unit of the split; or the name of a column
domain = "set{set}"                       # what shares one normal; default: the group
fault = "case{case}"                      # words: {stem}, {date}, file_pattern's, any column
episode_rest_steps = 96                   # cut a stretch between faults this far apart

label = "anomaly"                         # column, > 0 where defective; or the table
label = { column = "stage", kind = "rank" }      # 0 normal, 1.. stages, scaled to 1..3
label = { column = "status", kind = "class", normal = ["NORMAL"], unused = ["RECOVERING"] }
label = { column = "min_to_failure", kind = "countdown", unit = "min", between = "normal" }
label = { log = "maintenance.csv", between = "unused", normal_h = 72 }
normal_rows = 400                         # the first rows of each stretch are normal
skip = ["trial-*"]                        # groups left out
labelled = ["run-1"]                      # groups whose labels `train --recording` may use
simulated = false
tolerate = ["units"]                      # faults of this kind become warnings

[faults.case1]                            # or a pattern: [faults."case*"]
component = "AIR"
expected = ["FT305"]
"""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from string import Formatter
from typing import Any

from edge.config.faults import suggestion
from edge.config.types import Line
from export.data.dataset import DatasetError
from export.data.findings import KINDS
from export.data.lines import load_line
from export.data.plantspec import (
    LABEL_KINDS,
    TIME_UNITS_S,
    FaultRow,
    LabelRule,
    PlantSpec,
    TagRow,
)

_LABEL_KEYS = set(LabelRule.__dataclass_fields__)
_TAG_KEYS = {"name", "column", "unit", "low", "high", "component", "frozen_s"}
_LABEL_TYPES: dict[str, type] = {
    "column": str, "log": str, "normal": list, "unused": list, "level": int,
}  # fmt: skip
_DEFAULTS: dict[str, Any] = {
    "name": "", "file": "", "files": [], "join_files": False, "delimiter": ",", "decimal": ".",
    "time": "", "time_format": "iso", "timezone": "", "row_s": 0.0, "step_rows": 0,
    "gaps": "insert", "split_gap_h": 24.0, "config": "", "line": "", "columns": {},
    "auto_tags": [], "tag": [], "file_pattern": "", "group": "", "domain": "", "fault": "",
    "episode_rest_steps": 0, "label": "", "normal_rows": 0, "skip": [], "labelled": [],
    "simulated": False, "tolerate": [], "faults": {}, "components": {},
}  # fmt: skip
_EITHER = {"label": (str, dict)}


def load_description(path: Path) -> PlantSpec:
    """Read and check the file.

    Raises:
        DatasetError: every fault of the file, one per line.
        ConfigError: the line's configuration is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not valid TOML: {error}") from None
    faults: list[str] = []
    given = _typed(raw, faults)
    label = _label(path, given["label"], faults)
    line = None
    if given["config"] and given["line"]:
        line = load_line(path.parent / given["config"], given["line"])
    tags = _tags(given, line, faults)
    _cross(given, raw, tags, label, faults)
    rows = {name: _fault_row(name, row, faults) for name, row in given["faults"].items()}
    if faults:
        raise DatasetError("\n".join(f"{_place(path, text, f)}: {f}" for f in faults))
    return PlantSpec(
        path=path,
        sha256_text=text.encode(),
        name=given["name"] or path.stem,
        files=tuple(given["files"]) or (given["file"],),
        row_s=float(given["row_s"] or (line.row_s if line else 1.0)),
        tags=tags,
        auto_tags=tuple(given["auto_tags"]),
        line=line,
        label=label,
        faults=rows,
        skip=tuple(given["skip"]),
        labelled=tuple(given["labelled"]),
        tolerate=tuple(given["tolerate"]),
        split_gap_h=float(given["split_gap_h"]),
        **{
            key: given[key]
            for key in (
                "join_files", "delimiter", "decimal", "time", "time_format", "timezone",
                "step_rows", "gaps", "file_pattern", "group", "domain", "fault",
                "episode_rest_steps", "normal_rows", "simulated", "components",
            )
        },
    )  # fmt: skip


def _typed(raw: dict[str, Any], faults: list[str]) -> dict[str, Any]:
    given = dict(_DEFAULTS)
    for key, value in raw.items():
        if key not in _DEFAULTS:
            faults.append(f"unknown key '{key}'; {suggestion(key, _DEFAULTS)}")
            continue
        kind: Any = _EITHER.get(key, type(_DEFAULTS[key]))
        if kind is float:
            kind = (int, float)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            want = type(_DEFAULTS[key]).__name__
            faults.append(f"{key} = {value!r}: permitted is a value of kind {want}")
            continue
        if isinstance(value, list) and key != "tag" and not all(isinstance(v, str) for v in value):
            faults.append(f"{key} = {value!r}: permitted is a list of texts")
            continue
        given[key] = value
    return given


def _label(path: Path, raw: str | dict[str, Any], faults: list[str]) -> LabelRule:
    if isinstance(raw, str):
        return LabelRule(kind="binary" if raw else "", column=raw)
    raw = dict(raw)
    for key in sorted(set(raw) - _LABEL_KEYS):
        faults.append(f"label: unknown key '{key}'; {suggestion(key, _LABEL_KEYS)}")
        raw.pop(key)
    kind = raw.setdefault("kind", "log" if "log" in raw else "binary")
    if kind not in LABEL_KINDS:
        faults.append(f"label: kind = {kind!r}: permitted are {', '.join(LABEL_KINDS)}")
    if kind != "log" and "column" not in raw:
        faults.append(f"label: kind '{kind}' needs the key 'column'")
    if kind == "log" and "log" not in raw:
        faults.append("label: kind 'log' needs the key 'log', a CSV of events")
    for key in [k for k, want in _LABEL_TYPES.items() if not isinstance(raw.get(k, want()), want)]:
        faults.append(f"label: {key} = {raw[key]!r}: permitted is {_LABEL_TYPES[key].__name__}")
        raw.pop(key)
    for key in [k for k in ("normal_h", "share") if not _is_number(raw.get(k, 1.0))]:
        faults.append(f"label: {key} = {raw[key]!r}: permitted is a number above 0")
        raw.pop(key)
    if raw.get("level", 3) not in (1, 2, 3):
        faults.append(f"label: level = {raw['level']!r}: permitted are 1, 2, 3")
    if raw.get("between", "unused") not in ("unused", "normal"):
        faults.append(f"label: between = {raw['between']!r}: permitted are 'unused', 'normal'")
    if raw.get("stages", "scale") not in ("scale", "clip"):
        faults.append(f"label: stages = {raw['stages']!r}: permitted are 'scale', 'clip'")
    if raw.get("unit", "min") not in TIME_UNITS_S:
        faults.append(f"label: unit = {raw['unit']!r}: permitted are {', '.join(TIME_UNITS_S)}")
    for key in ("normal", "unused"):
        if key in raw:
            raw[key] = tuple(str(word) for word in raw[key])
    if "log" in raw:
        raw["log"] = path.parent / raw["log"]
    return LabelRule(**raw)


def _tags(given: dict[str, Any], line: Line | None, faults: list[str]) -> tuple[TagRow, ...]:
    names = given["columns"]
    if line is not None:
        return tuple(
            TagRow(
                name=row.tag.name,
                column=str(names.get(row.tag.name, row.tag.name)),
                unit=row.tag.unit,
                low=row.tag.low,
                high=row.tag.high,
                component=row.tag.component,
                frozen_s=row.tag.frozen_s,
            )
            for row in line.tags
        )
    out = []
    for number, row in enumerate(given["tag"], start=1):
        if not isinstance(row, dict):
            faults.append(f"tag {number}: {row!r}: write it like {{ name = {row!r} }}")
            continue
        unknown = sorted(set(row) - _TAG_KEYS)
        faults += [f"tag {number}: unknown key '{k}'; {suggestion(k, _TAG_KEYS)}" for k in unknown]
        if "name" not in row:
            faults.append(f"tag {number}: key 'name' is missing")
            continue
        name = str(row["name"])
        wrong = [k for k in ("low", "high", "frozen_s") if not _is_number(row.get(k, 1.0), True)]
        faults += [f"tag '{name}': {k} = {row[k]!r}: permitted is a number" for k in wrong]
        if wrong:
            continue
        low, high = float(row.get("low", "nan")), float(row.get("high", "nan"))
        if ("low" in row) != ("high" in row) or low >= high:
            faults.append(f"tag '{name}': range {low}..{high}: give both, low below high")
        out.append(
            TagRow(
                name=name,
                column=str(row.get("column", names.get(name, name))),
                unit=row.get("unit", ""),
                low=low,
                high=high,
                component=row.get("component", name),
                frozen_s=float(row.get("frozen_s", 0.0)),
            )
        )
    seen: set[str] = set()
    for tag in out:
        if tag.name in seen:
            faults.append(f"tag '{tag.name}' is listed twice; remove one")
        seen.add(tag.name)
    return tuple(out)


def _is_number(value: Any, negative: bool = False) -> bool:
    """Whether it is a finite number, above 0 unless `negative`."""
    real = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return real and (negative or value > 0)


def _fault_row(name: str, row: Any, faults: list[str]) -> FaultRow:
    if not isinstance(row, dict) or set(row) - {"component", "expected", "text"}:
        faults.append(f"faults.{name}: permitted keys are component, expected, text")
        return FaultRow()
    return FaultRow(
        component=row.get("component", ""),
        expected=tuple(row.get("expected", ())),
        text=row.get("text", ""),
    )


def _cross(
    given: dict[str, Any],
    raw: dict[str, Any],
    tags: tuple[TagRow, ...],
    label: LabelRule,
    faults: list[str],
) -> None:
    if bool(given["file"]) == bool(given["files"]):
        faults.append("give the key 'file' or the key 'files'")
    if bool(given["config"]) != bool(given["line"]):
        faults.append("key 'config' and key 'line' go together")
    if not tags and not given["auto_tags"] and "line" not in raw:
        faults.append("no tags: give config and line, or tag = [...], or auto_tags = [...]")
    if given["step_rows"] < 1:
        missing = "key 'step_rows' is missing: " if "step_rows" not in raw else ""
        faults.append(
            f"{missing}step_rows = {given['step_rows']}: permitted is a whole number >= 1"
        )
    if not _is_number(given["row_s"]) and not (given["line"] and given["row_s"] == 0):
        faults.append(f"row_s = {given['row_s']}: give the seconds from one row to the next")
    if given["normal_rows"] < 0 or 0 < given["normal_rows"] < 10 * given["step_rows"]:
        faults.append(
            f"normal_rows = {given['normal_rows']}: permitted is at least ten model steps, "
            f"{10 * given['step_rows']} rows"
        )
    if not _is_number(given["split_gap_h"]):
        faults.append(f"split_gap_h = {given['split_gap_h']}: permitted is a number above 0")
    faults += [
        f"{key} = {given[key]!r}: permitted is one character"
        for key in ("delimiter", "decimal")
        if len(given[key]) != 1
    ]
    for key in ("group", "domain", "fault"):
        try:
            words = [word for _, word, _, _ in Formatter().parse(given[key]) if word is not None]
        except ValueError as error:
            faults.append(f"{key} = {given[key]!r}: {error}")
            continue
        if any(not word or not word.strip() or word.isdigit() for word in words):
            faults.append(f"{key} = {given[key]!r}: name a column or a word in the braces")
    if given["gaps"] not in ("insert", "ignore"):
        faults.append(f"gaps = {given['gaps']!r}: permitted are 'insert', 'ignore'")
    if label.kind == "log" and not given["time"]:
        faults.append("label.log needs the key 'time': events are found by time")
    faults += [
        f"tolerate: unknown kind '{kind}'; {suggestion(kind, KINDS)}"
        for kind in given["tolerate"]
        if kind not in KINDS
    ]
    if given["file_pattern"]:
        try:
            re.compile(given["file_pattern"])
        except re.error as error:
            faults.append(f"file_pattern = {given['file_pattern']!r}: {error}")
    if given["timezone"]:
        from zoneinfo import ZoneInfo

        try:
            ZoneInfo(given["timezone"])
        except (KeyError, ValueError, OSError):
            faults.append(
                f"timezone = {given['timezone']!r}: not known; write it like 'Europe/Berlin'"
            )
    known = {tag.name for tag in tags}
    for name, row in given["faults"].items():
        expected = row.get("expected", ()) if isinstance(row, dict) and known else ()
        faults += [
            f"faults.{name}: no tag '{tag}'; {suggestion(tag, known)}"
            for tag in expected
            if tag not in known
        ]


def _place(path: Path, text: str, fault: str) -> str:
    """File and, where the key can be found in the text, its line."""
    key = re.search(r"'([\w.*-]+)'|^([\w.]+)(?: =|:)", fault)
    word = (key.group(1) or key.group(2)) if key else ""
    for number, line in enumerate(text.splitlines(), start=1):
        if word and re.match(rf"\s*\[*{re.escape(word)}\b", line):
            return f"{path}:{number}"
    return str(path)
