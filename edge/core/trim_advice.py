"""The state of the trim advisor, and how block W shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edge.core.batch import Batch
from edge.core.cam import Suspect
from edge.core.outputs import Decision, PlcState
from edge.core.registers import Status, TrimReason, TrimState
from edge.core.trim import Held, Offered, Outcome
from edge.core.trim_plant import Reactor
from edge.core.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What else the advisor must know in a minute."""

    batch: Batch
    plc: PlcState | None
    """Block R; None if it was not read."""
    plc_alive: bool
    """The PLC's heartbeat moves."""
    verdict: Verdict
    suspects: Sequence[Suspect] = ()
    drift: bool = False
    device_faults: frozenset[str] = frozenset()
    """Tags whose instrument reports NE 107 failure or function check."""
    ph_sp: float | None = None
    """pH set-point as read; None takes the schedule's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """State of the advisor and everything that is shown of it."""

    outcome: Outcome = field(default_factory=lambda: Held(TrimReason.WARMING_UP))
    state: TrimState = TrimState.NONE
    reason: TrimReason = TrimReason.WARMING_UP
    offer: Offered | None = None
    """The newest suggestion, whatever became of it."""
    seq: int = 0
    changed_s: float = 0.0
    """When `state` last changed."""
    quiet_until_s: float = 0.0
    waiting_since_s: float | None = None
    """Since when a suggestion has been waiting for an acceptance."""
    accept_s: float | None = None
    """Measured mean time between accepted suggestions; None takes the configured one."""
    applied: tuple[float, float] = (0.0, 0.0)
    """(trim the PLC applies, since when it has not moved)."""
    batch_id: int | None = None
    batch_minutes: float = 0.0
    """Batch time of the last minute."""
    reactor: Reactor | None = None
    minutes: int = 0
    """Good minutes in this batch."""
    demand: float | None = None
    """b, the share by which the real NaOH demand exceeds the feed-forward. Shown as a trend."""
    metal_share: float | None = None
    """Recent mean of the measured over the scheduled metal flow."""
    missing: float | None = None
    """Reagent error z of the minute before, in hours of the feed-forward; None after a hold."""
    lately: tuple[float, ...] = ()
    """Applied over feed-forward, less 1, of the minutes whose effect the pH shows now."""
    jumps: int = 0
    """Minutes in a row in which the pH jumped."""
    recent: tuple[float, ...] = ()
    """Need for NaOH beyond the feed-forward in the last 15 good, steady minutes."""
    reference: float | None = None
    """Its reference over hours."""
    learning: int = 0
    """Steady minutes since the reference was dropped."""
    anomaly: bool = False
    weights: tuple[tuple[float, float], ...] = ()
    """(tank weight kg, NaOH flow kg/h) of the last minutes."""
    ph_sp: float | None = None
    maint_event: int | None = None
    acknowledged: bool = False
    """The operator has acknowledged since the last minute."""


def ttl_s(advice: Advice, now_s: float) -> float:
    """Seconds the open suggestion stays valid; 0 if none is open."""
    if advice.offer is None or advice.state is not TrimState.OFFERED:
        return 0.0
    return max(advice.offer.expires_s - now_s, 0.0)


def shown(decision: Decision, advice: Advice, now_s: float) -> Decision:
    """`decision` with the trim words of block W filled in from `advice`."""
    offer = advice.offer
    status = decision.status & ~(Status.TRIM_OFFERED | Status.TRIM_CLAMPED)
    if advice.state is TrimState.OFFERED:
        status |= Status.TRIM_OFFERED
    if offer is None:
        return replace(
            decision, status=status, trim_seq=advice.seq, trim_state=advice.state,
            trim_reason=advice.reason,
        )  # fmt: skip
    if offer.clamped and advice.state is not TrimState.NONE:
        status |= Status.TRIM_CLAMPED
    return replace(
        decision,
        status=status,
        trim_seq=offer.seq,
        trim_kg_h=offer.trim_kg_h,
        trim_base_kg_h=offer.base_kg_h,
        trim_lo_kg_h=offer.lo_kg_h,
        trim_hi_kg_h=offer.hi_kg_h,
        trim_ttl_s=ttl_s(advice, now_s),
        trim_state=advice.state,
        trim_reason=advice.reason,
    )


_KEPT = (
    "seq", "accept_s", "batch_id", "batch_minutes", "minutes", "demand", "metal_share",
    "reference", "learning", "anomaly", "ph_sp", "maint_event",
)  # fmt: skip


def to_plain(advice: Advice) -> dict[str, Any]:
    """What has to survive a restart, as JSON values; `from_plain` is the way back."""
    plain: dict[str, Any] = {name: getattr(advice, name) for name in _KEPT}
    plain["recent"] = list(advice.recent)
    reactor = advice.reactor
    plain["reactor"] = None if reactor is None else [reactor.volume_m3, reactor.ammonia_mol]
    return plain


def from_plain(plain: Mapping[str, Any]) -> Advice:
    """The advice of a checkpoint, for a new process: books and demand go on, no offer is open.

    Raises ValueError if `plain` is not of `to_plain`; the caller then begins anew.
    """
    try:
        reactor = plain["reactor"]
        return Advice(
            **{name: plain[name] for name in _KEPT},
            recent=tuple(float(b) for b in plain["recent"]),
            reactor=None if reactor is None else Reactor(float(reactor[0]), float(reactor[1])),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"not a trim checkpoint: {error!r}") from error
