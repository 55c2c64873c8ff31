"""Fault and ConfigError: everything wrong with a configuration, at once, each with its remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing the user has to change."""

    file: str
    """Path relative to the configuration directory, e.g. ``lines/ncm-1/tags.toml``."""
    line: int
    """1-based line number; 0 when the whole file is meant (it is missing, say)."""
    key: str
    """The TOML key at fault; empty when the fault has none."""
    message: str
    """Subject, value, permitted range and remedy."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}"


class ConfigError(Exception):
    """The configuration has faults; nothing of it may be used. `str` gives one line per fault."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


def did_you_mean(word: str, permitted: Iterable[str]) -> str | None:
    """The permitted word closest to `word`, or None if nothing is close."""
    names = list(permitted)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return close[0]
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(word.casefold(), list(folded), n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def suggestion(word: str, permitted: Iterable[str]) -> str:
    """Remedy for an unknown word: the closest one, or the whole list (or that there is none)."""
    names = list(permitted)
    close = did_you_mean(word, names)
    if close is not None:
        return f"did you mean '{close}'?"
    return f"permitted: {', '.join(names)}" if names else "there is none to refer to"
