"""The template of `[mqtt] topic`: what may stand in it, and what it becomes.

    {site}/{area}/{line}/ncm-edge  ->  acme-north/cathode/ncm-1/ncm-edge

A published topic is this and one level more, e.g. ``.../ncm-edge/verdict``. Pure.
"""

from __future__ import annotations

import re

FIELDS = ("site", "area", "line", "appliance")
_FIELD = re.compile(r"\{([^{}]*)\}")


def faults(template: str, given: dict[str, str]) -> list[str]:
    """What is wrong with a template, each with its remedy; `given`: site and area, where named."""
    found = []
    names = _FIELD.findall(template)
    for name in dict.fromkeys(names):
        if name not in FIELDS:
            known = ", ".join(f"{{{field}}}" for field in FIELDS)
            found.append(f"'{{{name}}}' stands for nothing; permitted: {known}")
        elif name in ("site", "area") and name not in given:
            found.append(f"'{{{name}}}' needs the key '{name}'; add it")
    plain = _FIELD.sub("x", template)
    if re.search(r"[{}]", plain):
        found.append("a brace without its partner; write fields as {line}")
    if "line" not in names:
        found.append("{line} is missing, so that lines could not be told apart; add a level {line}")
    if any(not level for level in plain.split("/")):
        found.append("an empty level; write levels with one '/' between them, none at the ends")
    if re.search(r"[+#\x00-\x1f]", plain):
        found.append("'+', '#' and control characters are for those who subscribe; remove them")
    if plain.startswith("$"):
        found.append("topics that begin with '$' are the broker's own; begin with another level")
    return found


def fill(template: str, *, site: str, area: str, line: str, appliance: str) -> str:
    """The topic of a line, without the last level. The template is free of faults."""
    values = {"site": site, "area": area, "line": line, "appliance": appliance}
    return _FIELD.sub(lambda match: values[match[1]], template)
