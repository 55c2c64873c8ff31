"""The operator at the panel: policies that answer a trim suggestion shown on the faceplate.

Pure: time comes in as seconds, nothing waits. A policy sees only what the panel shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Answer(Enum):
    """What the operator keys in."""

    ACCEPT = "accept"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A trim suggestion as the faceplate shows it."""

    seq: int
    trim_kg_h: float
    """Suggested NaOH flow minus `base_kg_h`."""
    base_kg_h: float
    ttl_s: float
    shown_s: float
    """Seconds since the panel first showed this suggestion."""


class Operator(Protocol):
    """Decides about one suggestion at a time."""

    def answer(self, offer: Offer) -> Answer | None:
        """The key pressed in this second, or None. Asked once a second while the offer is open."""


@dataclass(frozen=True, slots=True)
class AcceptAfter:
    """Accepts every suggestion it has looked at for `seconds`; the paper's plant took minutes."""

    seconds: float = 30.0

    def answer(self, offer: Offer) -> Answer | None:
        """ACCEPT once the suggestion has been on the panel long enough."""
        return Answer.ACCEPT if offer.shown_s >= self.seconds else None


@dataclass(frozen=True, slots=True)
class RejectAll:
    """Rejects every suggestion after `seconds`."""

    seconds: float = 5.0

    def answer(self, offer: Offer) -> Answer | None:
        """REJECT once the suggestion has been on the panel long enough."""
        return Answer.REJECT if offer.shown_s >= self.seconds else None


@dataclass(frozen=True, slots=True)
class Ignore:
    """Never touches the panel: suggestions expire."""

    def answer(self, offer: Offer) -> Answer | None:
        """Always None."""
        return None


def operator(spec: str) -> Operator:
    """The policy named on a command line: `accept`, `accept:SECONDS`, `reject` or `ignore`.

    Raises ValueError with the permitted forms.
    """
    name, _, seconds = spec.partition(":")
    try:
        if name == "accept":
            return AcceptAfter(float(seconds)) if seconds else AcceptAfter()
        if name == "reject":
            return RejectAll(float(seconds)) if seconds else RejectAll()
        if name == "ignore" and not seconds:
            return Ignore()
    except ValueError:
        pass
    raise ValueError(
        f"operator {spec!r}: permitted are accept, accept:SECONDS, reject, reject:SECONDS, ignore"
    )
