"""The plant as a directed graph of components: which tag belongs to what, what feeds what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One plant component."""

    code: str
    """As in the plant's documents, e.g. ``C03``."""
    number: int
    """The id written to the PLC, 1..65534."""
    name: str
    """Operator's words, e.g. ``NaOH feed line``."""
    parts: tuple[str, ...]
    """Sub-components: tank, pump, drive, meter, pipe, instrument."""
    reportable: bool = True
    """False for context such as ambient temperature: never reported as faulty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Components and the directed flow edges between their codes."""

    components: tuple[Component, ...]
    edges: tuple[tuple[str, str], ...]

    def by_code(self, code: str) -> Component:
        """The component with this code; KeyError if the topology has none."""
        for component in self.components:
            if component.code == code:
                return component
        raise KeyError(code)
