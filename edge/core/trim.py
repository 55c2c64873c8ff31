"""NaOH trim suggestion: Offered | Held(reason) | Expired. Advisory, bounded, rate-limited, expiring."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimSettings:
    """trim.toml: every limit is entered by the plant's engineer, none has a default.

    Law and figures: process.md section 4.
    """

    # Limits of authority.
    authority_fraction: float
    """Largest |u/u_ff - 1| ever suggested, 0..0.15."""
    max_change_kg_h: float
    """Largest change of the suggestion per minute, kg/h."""
    min_change_kg_h: float
    """Smallest suggestion worth showing, kg/h."""
    ttl_s: int
    """Seconds a suggestion stays valid, 120..900."""
    accept_time_s: float
    """Mean time the operator takes to accept; sets tau_c = max(110 s, accept_time/2)."""
    ph_low: float
    ph_high: float
    # The plant, for the reagent-demand curve.
    naoh_mass_fraction: float
    nh4oh_mass_fraction: float
    metal_mol_l: float
    metal_density_kg_m3: float
    heel_m3: float
    heel_ammonia_mol_l: float
    max_volume_m3: float
    ph_reference: str
    """"process" or "25C": the temperature the pH transmitters report at."""
    # Tag roles: names of tags (or context rows) of this line.
    ph_tags: tuple[str, ...]
    naoh_flow: str
    naoh_flow_sp: str
    naoh_weight: str
    core_flow: str
    shell_flow: str
    nh4oh_flow: str
    temperature: str
    hold_components: tuple[str, ...]
    """Component codes whose suspected defect holds the suggestion (NaOH path, pH probes)."""
