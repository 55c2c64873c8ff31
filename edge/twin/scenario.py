"""Scenario: one simulated batch, fixed by a handful of values. Everything here is simulated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge.twin.confounders import CONFOUNDERS
from edge.twin.faults import FAULTS
from edge.twin.shifts import DOMAINS

Domain = Literal["source", "repaired", "reactor_b", "target"]
"""Which plant: as built, after years and a repair, another reactor, or all of that together."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One batch of the twin. Equal scenarios give equal batches, bit for bit.

    Raises ValueError naming every value that is not permitted.
    """

    seed: int
    """Batch: noise, weather, tank fillings, course of the fault."""
    fault: str | None = "F03"
    """Code in `faults.FAULTS`; acts only when `severity` is above 0."""
    severity: int = 0
    """0 healthy, 1 = D-3, 2 = D-2, 3 = D-1."""
    domain: Domain = "source"
    confounders: tuple[str, ...] = ()
    """Codes in `confounders.CONFOUNDERS`: events that are not defects."""
    start_fraction: float = 0.0
    """Share of the batch that passes before the fault begins, 0..1."""
    domain_seed: int = 0
    """Which target domain (reactor, repair, recalibration); the source domain is only one."""
    operator: bool = True
    """False: nobody accepts trims, the schedule alone decides (open loop)."""

    def __post_init__(self) -> None:
        faults = []
        if self.seed < 0 or self.domain_seed < 0:
            faults.append(f"seed {self.seed}, domain_seed {self.domain_seed}: permitted from 0")
        if self.fault is not None and self.fault not in FAULTS:
            faults.append(f"fault '{self.fault}': permitted are {', '.join(FAULTS)} or None")
        if self.severity not in (0, 1, 2, 3):
            faults.append(f"severity {self.severity}: permitted are 0, 1, 2, 3")
        if self.domain not in DOMAINS:
            faults.append(f"domain '{self.domain}': permitted are {', '.join(DOMAINS)}")
        faults.extend(
            f"confounder '{code}': permitted are {', '.join(CONFOUNDERS)}"
            for code in self.confounders
            if code not in CONFOUNDERS
        )
        if not 0.0 <= self.start_fraction < 1.0:
            faults.append(f"start_fraction {self.start_fraction}: permitted 0 up to below 1")
        if faults:
            raise ValueError("scenario: " + "; ".join(faults))

    @property
    def active_fault(self) -> str | None:
        """The fault that acts in this batch; None for a healthy one."""
        return self.fault if self.severity else None

    @property
    def circumstances(self) -> tuple[str, ...]:
        """The confounders, and the one without which the active fault could not come about."""
        code = self.active_fault
        needed = FAULTS[code].needs if code else None
        return tuple(sorted({*self.confounders, *((needed,) if needed else ())}))

    @property
    def component(self) -> str | None:
        """Code of the component that is truly defective; None for a healthy batch."""
        code = self.active_fault
        return FAULTS[code].place(self.seed).component if code else None

    @property
    def part(self) -> str | None:
        """Sub-component that is truly defective; None for a healthy batch."""
        code = self.active_fault
        return FAULTS[code].part if code else None


def draw_scenarios(
    count: int,
    *,
    seed: int,
    domain: Domain = "source",
    faults: tuple[str, ...] = ("F01", "F02", "F03"),
    healthy_share: float = 0.5,
    domain_seed: int = 0,
    confounder_share: float = 0.5,
) -> tuple[Scenario, ...]:
    """`count` different batches with seeds seed, seed + 1, ...: faults and severities in turn.

    Confounders are drawn with equal frequency for healthy and defective batches: with probability
    `confounder_share` a batch has one or two of them.
    """
    rng = np.random.default_rng([seed, 9])
    codes = tuple(code for code, c in CONFOUNDERS.items() if c.common)
    scenarios = []
    defective = 0
    for i in range(count):
        healthy = bool(int((i + 1) * healthy_share) > int(i * healthy_share))
        fault, severity = None, 0
        if not healthy and faults:
            fault = faults[defective % len(faults)]
            severity = 1 + defective // len(faults) % 3
            defective += 1
        some: tuple[str, ...] = ()
        if rng.random() < confounder_share:
            some = tuple(sorted(rng.choice(codes, size=int(rng.integers(1, 3)), replace=False)))
        scenarios.append(
            Scenario(
                seed=seed + i,
                fault=fault,
                severity=severity,
                domain=domain,
                confounders=tuple(str(code) for code in some),
                domain_seed=domain_seed,
            )
        )
    return tuple(scenarios)
