"""Which Python packages belong to the program: its requirements, and theirs, as installed.

Read from the metadata the packages carry; nothing is imported and nothing is asked of anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions

EXTRAS = ("cpu", "gpu", "gpu-cu12", "uvloop", "archive", "page")
"""Of ncm-edge on an appliance; the others are for the workshop and the tests."""
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One Python package."""

    name: str
    """Normalised: lower case, hyphens."""
    version: str
    license: str
    """In the package's own words; "" if it says nothing."""
    expression: str = ""
    """The license as an SPDX expression, where the package gives one."""
    author: str
    summary: str
    requires: tuple[str, ...] = ()
    """Names of other packages of the same list."""
    sha256: str = ""
    """Of the wheel, where there is one."""


def normal(name: str) -> str:
    """The one spelling of a package name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, Distribution]:
    """Every package of this environment by its name; of one found twice the first counts."""
    found: dict[str, Distribution] = {}
    for one in distributions():
        name = one.metadata["Name"]
        if name:
            found.setdefault(normal(name), one)
    return found


def closure(
    known: Mapping[str, Distribution], root: str = "ncm-edge", extras: Iterable[str] = EXTRAS
) -> list[Package]:
    """The package `root` and all that it needs and `known` holds, sorted by name.

    Markers other than extras are not judged: what is not installed is not listed anyway.
    """
    wanted: dict[str, set[str]] = {}
    needs: dict[str, set[str]] = {}
    queue = [(root, frozenset(extras))]
    while queue:
        name, asked = queue.pop()
        if name not in known or (name in needs and asked <= wanted[name]):
            continue
        wanted.setdefault(name, set()).update(asked)
        found = needs.setdefault(name, set())
        for text in known[name].requires or []:
            other, others = _parse(text, wanted[name])
            if other and other in known and other != name:
                found.add(other)
                queue.append((other, others))
    return [package(known[name], tuple(sorted(needs[name]))) for name in sorted(needs)]


def _parse(text: str, extras: set[str]) -> tuple[str, frozenset[str]]:
    """(package, its extras) of a requirement; ("", ...) if it belongs to an extra not asked for."""
    head, _, marker = text.partition(";")
    only = _EXTRA.findall(marker)
    match = _REQUIREMENT.match(head)
    if match is None or (only and not any(normal(one) in extras for one in only)):
        return "", frozenset()
    brackets = (match[2] or "").split(",")
    return normal(match[1]), frozenset(normal(one.strip()) for one in brackets if one.strip())


def package(one: Distribution, requires: tuple[str, ...] = (), sha256: str = "") -> Package:
    """What a package says of itself."""
    about = one.metadata

    def said(key: str) -> str:
        return str(about[key]) if key in about and about[key] != "UNKNOWN" else ""

    expression = said("License-Expression")
    license_ = expression or said("License").partition("\n")[0]
    if not license_:
        classes = [c for c in about.get_all("Classifier") or [] if c.startswith("License :: ")]
        license_ = ", ".join(c.rpartition(" :: ")[2] for c in classes)
    return Package(
        name=normal(said("Name")), version=said("Version"), license=license_,
        expression=expression, author=said("Author") or said("Author-email") or said("Maintainer"),
        summary=said("Summary"), requires=requires, sha256=sha256,
    )  # fmt: skip
