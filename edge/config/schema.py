"""JSON Schemas for editors and docs/configuration.md, generated from `edge.config.tables`.

``python -m edge.config.schema`` writes both into the repository it runs in; a test compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from edge.config.keys import (
    KIND_NAMES,
    MODBUS,
    PROTOCOL_NAMES,
    PROTOCOLS,
    FileSpec,
    Key,
    Need,
    Protocol,
    Section,
    plain,
)
from edge.config.tables import FILES

DIALECT = "http://json-schema.org/draft-07/schema#"
"""The newest dialect the TOML plug-ins of common editors understand."""

COMMAND = "python -m edge.config.schema"


def json_schemas() -> dict[str, str]:
    """File name below firmware_config/schema -> text, one schema per configuration file."""
    return {
        spec.name.replace(".toml", ".json"): json.dumps(
            {"$schema": DIALECT, "title": spec.name, "description": spec.doc}
            | _section(spec.section),
            indent=2,
            ensure_ascii=False,
        )
        + "\n"
        for spec in FILES
    }


def _section(section: Section) -> dict[str, Any]:
    if not section.by_protocol:
        return _object(section)
    # Protocols whose rows have the same keys share one object; a row that names its protocol has
    # one each.
    found: dict[tuple[str, ...], list[Protocol]] = {}
    for protocol in PROTOCOLS:
        own = (protocol,) if section.key("protocol") else tuple(section.names(protocol))
        found.setdefault(own, []).append(protocol)
    return {"anyOf": [_object(section, *protocols) for protocols in found.values()]}


def _object(section: Section, *protocols: Protocol) -> dict[str, Any]:
    protocol = protocols[0] if protocols else None
    keys = [key for key in section.keys if key.spoken(protocol)]
    properties: dict[str, Any] = {}
    for key in keys:
        properties[key.name] = _key(key)
        if key.name == "protocol" and protocol is not None:
            properties[key.name] = {"const": protocol, "description": key.doc}
    result: dict[str, Any] = {"type": "object"}
    if protocol is not None:
        result["title"] = "Modbus" if protocols == MODBUS else PROTOCOL_NAMES[protocol]
    result["properties"] = properties
    result["required"] = [key.name for key in keys if key.required]
    result["additionalProperties"] = False
    return result


def _key(key: Key) -> dict[str, Any]:
    unit = f" Unit: {key.unit}." if key.unit else ""
    schema: dict[str, Any] = {"description": key.doc + unit}
    match key.kind:
        case "text" | "choice":
            schema["type"] = "string"
            if key.choices:
                schema["enum"] = list(key.choices)
            if key.pattern:
                schema["pattern"] = f"^(?:{key.pattern})$"
            if key.example:
                schema["examples"] = [key.example]
        case "whole" | "real":
            schema |= {"type": "integer" if key.kind == "whole" else "number"} | _range(key)
        case "flag":
            schema["type"] = "boolean"
        case "table":
            schema |= _section(_contents(key))
        case "rows":
            schema |= {"type": "array", "items": _section(_contents(key))}
        case "texts":
            schema |= {"type": "array", "items": {"type": "string", "minLength": 1}}
            schema["uniqueItems"] = True
        case "wholes":
            schema |= {"type": "array", "items": {"type": "integer"} | _range(key)}
            schema["uniqueItems"] = True
        case "pairs":
            pair = {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}
            schema |= {"type": "array", "items": pair, "uniqueItems": True}
    if key.min_items:
        schema["minItems"] = key.min_items
    if key.max_items is not None:
        schema["maxItems"] = key.max_items
    if not isinstance(key.default, Need) and key.default not in ("", ()):
        schema["default"] = key.default
    return schema


def _range(key: Key) -> dict[str, Any]:
    bounds: dict[str, Any] = {}
    if key.low is not None:
        bounds["exclusiveMinimum" if key.above else "minimum"] = key.low
    if key.high is not None:
        bounds["maximum"] = key.high
    return bounds


def _contents(key: Key) -> Section:
    if key.section is None:
        raise ValueError(f"key table: '{key.name}' is a {key.kind} without a section")
    return key.section


INTRODUCTION = f"""# Configuration, key by key

Generated from `edge/config/tables.py` by `{COMMAND}`; do not edit.

```
firmware_config/
  appliance.toml            which lines this appliance serves
  lines/<line>/line.toml    connections, ring, model
  lines/<line>/tags.toml    process values and context, one row each
  lines/<line>/components.toml
  lines/<line>/outputs.toml the write list
  lines/<line>/trim.toml    limits of the trim suggestion (optional)
  schedules/*.csv           batch schedules
  models/<bundle>/          bundles
  schema/*.json             schemas for editors
```

`ncm-edge check` reports every fault of every file at once, each with file, line, value, permitted
range and remedy, and ends with exit code 2. Paths of bundles and schedules are relative to the
configuration directory. Modbus addresses are 0-based, as on the wire. Editors with a TOML plug-in
check while you type: the first line of each file names its schema.

**A new line**: copy the folder of a line below `lines/`, change it, add its name to `lines` of
appliance.toml. Before that, `ncm-edge check --line NAME` and every other command with `--line NAME`
serve it without touching appliance.toml; `--line skab` is the shipped example. A line for a
continuous process leaves out `schedule` and trim.toml.

**What is written**: block W of outputs.toml and nothing else. No file has a key for another write,
and no tag may share an address with block W or block R.

**What is a warning, not a fault**: a bundle that is not there, a link nobody uses, a line without
block R. The appliance then starts and says on every output what is missing.
"""


def configuration_markdown() -> str:
    """docs/configuration.md."""
    return INTRODUCTION + "".join(_file(spec) for spec in FILES)


def _file(spec: FileSpec) -> str:
    return f"\n## {spec.name}\n\n{spec.doc}\n{_tables(spec.section, '')}"


def _tables(section: Section, heading: str) -> str:
    lines = [f"\n### {heading}\n" if heading else ""]
    lines += ["| key | type | permitted | default | meaning |", "|---|---|---|---|---|"]
    lines += [_row(key) for key in section.keys]
    text = "\n".join(lines) + "\n"
    for key in section.keys:
        if key.section is not None:
            name = f"[{key.name}]" if key.kind == "table" else f"{key.name} rows"
            text += _tables(key.section, name)
    return text


def _row(key: Key) -> str:
    permitted = "" if key.permitted == KIND_NAMES[key.kind] else key.permitted
    if not permitted and key.example:
        permitted = f'e.g. "{key.example}"'
    if key.default is Need.REQUIRED:
        default = "**required**"
    elif key.default is Need.OPTIONAL or key.default in ("", ()):
        default = "none"
    else:
        default = f"`{_default(key.default)}`"
    doc = f"{key.speakers}: {key.doc}" if key.speakers else key.doc
    cells = (f"`{key.name}`", KIND_NAMES[key.kind], permitted, default, doc)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return plain(value) if isinstance(value, int | float) else str(value)


def write_schema(directory: Path) -> None:
    """Write schema/*.json below the configuration directory."""
    folder = directory / "schema"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in json_schemas().items():
        (folder / name).write_text(text, encoding="utf-8")


def write_docs(directory: Path) -> None:
    """Write configuration.md below the documentation directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "configuration.md").write_text(configuration_markdown(), encoding="utf-8")


if __name__ == "__main__":
    here = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
    write_schema(here / "firmware_config")
    write_docs(here / "docs")
