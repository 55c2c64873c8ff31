"""What was found wrong or odd in a recording: file, row, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from export.data.dataset import DatasetError

KINDS = (
    "tags", "empty", "range", "frozen", "constant", "units", "clock", "gaps", "short", "duplicate",
    "labels", "log",
)  # fmt: skip
"""For `tolerate` in a plant's file: a fault of this kind becomes a warning."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing a user should know."""

    file: str
    line: int
    """1-based line of the file, the header being line 1; 0: the whole file is meant."""
    kind: str
    text: str
    """Subject, value and remedy."""
    fault: bool = False
    """True: nothing is made of the recording until it is put right."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.text}"


class PlantError(DatasetError):
    """A recording has faults; `str` gives one line per fault."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(str(finding) for finding in self.findings))


def refuse_faults(findings: Iterable[Finding], tolerate: Sequence[str] = ()) -> None:
    """Raise PlantError naming every fault that is not tolerated."""
    faults = sorted(f for f in findings if f.fault and f.kind not in tolerate)
    if faults:
        raise PlantError(faults)
