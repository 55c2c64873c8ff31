"""Inputs of the schedule optimiser: one TOML file -> `Inputs`, or every fault at once.

The table of keys is read by the same checker as the appliance's configuration, so that a mistake is
said in the same words: file, line, key, value, permitted range, remedy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.config.document import Document
from edge.config.faults import ConfigError, Fault
from edge.config.keys import FileSpec, Key, Need, Section
from edge.config.read import parse
from edge.core.chemistry import NAOH_G_MOL
from edge.core.schedule import Feeds
from edge.core.trim_plant import NH3_G_MOL

SHIPPED = Path(__file__).parents[1] / "schedules"
METALS = ("ni", "co", "mn")
FLOWS = ("core", "shell", "naoh", "nh4oh")
Metals = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Everything a schedule follows from. Ni, Co, Mn in this order."""

    name: str
    target: Metals
    """Mole fractions."""
    metal_kmol: float
    core_to_shell: float
    """rho, kg per kg over the batch."""
    core_mol_kg: Metals
    shell_mol_kg: Metals | None
    """None: no assay, the composition is computed and as strong as the core."""
    naoh_mass_fraction: float
    naoh_ratio: float
    c_alk: float
    nh4oh_mass_fraction: float
    nh4oh_kg_h: tuple[float, float]
    """First step, last step."""
    heel_m3: float
    heel_ammonia_mol_l: float
    max_volume_m3: float
    liquor_removal: bool
    metal_kg_m3: float
    """Mean density of the two metal solutions."""
    ph: float
    temp_c: float
    rpm: float
    limits: dict[str, tuple[float, float]]
    """kg/h by feed."""
    turndown: float

    @property
    def naoh_mol_kg(self) -> float:
        """Strength of the NaOH solution."""
        return self.naoh_mass_fraction * 1000.0 / NAOH_G_MOL

    @property
    def nh4oh_mol_kg(self) -> float:
        """Strength of the ammonia water, as NH3."""
        return self.nh4oh_mass_fraction * 1000.0 / NH3_G_MOL

    def feeds(self, shell_mol_kg: Metals) -> Feeds:
        """The four tanks, as the schedule's header carries them."""
        return Feeds(
            core_mol_kg=self.core_mol_kg,
            shell_mol_kg=shell_mol_kg,
            naoh_mol_kg=(self.naoh_mol_kg,),
            nh4oh_mol_kg=(self.nh4oh_mol_kg,),
        )


def _real(name: str, doc: str, unit: str, low: float, high: float, **more: Any) -> Key:
    return Key(name=name, kind="real", doc=doc, unit=unit, low=low, high=high, **more)


_TARGET = Section(
    subject="[target]",
    keys=(
        *(_real(m, f"Mole fraction of {m.title()}.", "", 0, 1) for m in METALS),
        _real("metal_kmol", "Metal fed in one batch.", "kmol", 0, 1000, above=True),
        _real("core_to_shell", "Core solution per shell solution.", "kg/kg", 0.1, 10),
    ),
)
_TANK_KEYS = (
    *(_real(f"{m}_mol_l", f"Assay of {m.title()}.", "mol/L", 0, 4) for m in METALS),
    _real("density_kg_m3", "Density of the solution.", "kg/m3", 1000, 1600),
)
_REAGENTS = Section(
    subject="[reagents]",
    keys=(
        _real("naoh_mass_fraction", "Strength of the NaOH solution.", "kg/kg", 0.05, 0.55),
        _real("naoh_ratio", "Predefined NaOH per metal.", "mol/mol", 1, 3),
        _real("c_alk", "Learnt credit on top of it.", "mol/mol", -1, 1),
        _real("nh4oh_mass_fraction", "Strength of the ammonia water.", "kg/kg", 0.01, 0.35),
        _real("nh4oh_first_kg_h", "Ammonia water in the first step.", "kg/h", 0, 1000),
        _real("nh4oh_last_kg_h", "Ammonia water in the last step.", "kg/h", 0, 1000),
    ),
)
_REACTOR = Section(
    subject="[reactor]",
    keys=(
        _real("heel_m3", "Volume at the start.", "m3", 0, 1000, above=True),
        _real("heel_ammonia_mol_l", "Ammonia at the start.", "mol/L", 0, 5, above=True),
        _real("max_volume_m3", "Volume above which liquor leaves.", "m3", 0, 1000, above=True),
        Key(name="liquor_removal", kind="flag", doc="Clear liquor leaves during the batch."),
    ),
)
_SET_POINTS = Section(
    subject="[set_points]",
    keys=(
        _real("ph", "pH at process temperature.", "pH", 9, 13),
        _real("temp_c", "Reactor temperature.", "°C", 20, 80),
        _real("rpm", "Agitator speed.", "rpm", 0, 3000, above=True),
    ),
)
_LIMITS = Section(
    subject="[limits]",
    keys=(
        *(
            _real(f"{feed}_{end}_kg_h", f"Pump range of the {feed} feed.", "kg/h", 0, 10_000)
            for feed in FLOWS
            for end in ("min", "max")
        ),
        _real("turndown", "Largest over smallest flow of one pump.", "", 1, 100),
    ),
)


def _table(name: str, section: Section, **more: Any) -> Key:
    return Key(name=name, kind="table", section=section, doc=section.subject, **more)


SPEC = FileSpec(
    name="schedule inputs",
    doc="What a schedule follows from.",
    section=Section(
        subject="",
        keys=(
            Key(name="name", kind="text", pattern=r"[A-Za-z0-9][A-Za-z0-9_.-]*", example="ncm838",
                doc="Name of the schedule."),
            _table("target", _TARGET),
            _table("core", Section(subject="[core]", keys=_TANK_KEYS)),
            _table("shell", Section(subject="[shell]", keys=_TANK_KEYS), default=Need.OPTIONAL),
            _table("reagents", _REAGENTS),
            _table("reactor", _REACTOR),
            _table("set_points", _SET_POINTS),
            _table("limits", _LIMITS),
        ),
    ),
)  # fmt: skip


def checked(spec: FileSpec, path: Path) -> Document:
    """The TOML file `path` against its table of keys, faults collected in the document.

    Raises ConfigError when it cannot be read, is no TOML, or has any fault at all.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError([Fault(str(path), 0, "", f"cannot be read: {reason}")]) from error
    faults: list[Fault] = []
    document = parse(spec, str(path), raw, faults)
    if document is None or faults:
        raise ConfigError(faults)
    return document


def load_inputs(name: Path) -> Inputs:
    """The inputs in the TOML file `name`, or those shipped under that name.

    Raises ConfigError with every fault: file, line, key, value, permitted range, remedy.
    """
    shipped = SHIPPED / f"{name}.toml"
    path = shipped if not name.exists() and shipped.exists() else name
    document = checked(SPEC, path)
    v = document.values
    _relations(document)
    if not document.whole:
        raise ConfigError(document.faults)
    tanks = {
        tank: tuple(v[tank][f"{m}_mol_l"] * 1000.0 / v[tank]["density_kg_m3"] for m in METALS)
        for tank in ("core", "shell")
        if tank in v
    }
    density = [v[tank]["density_kg_m3"] for tank in tanks]
    r, limits = v["reagents"], v["limits"]
    return Inputs(
        name=v["name"],
        target=_metals(v["target"][m] for m in METALS),
        metal_kmol=v["target"]["metal_kmol"],
        core_to_shell=v["target"]["core_to_shell"],
        core_mol_kg=_metals(tanks["core"]),
        shell_mol_kg=_metals(tanks["shell"]) if "shell" in tanks else None,
        naoh_mass_fraction=r["naoh_mass_fraction"],
        naoh_ratio=r["naoh_ratio"],
        c_alk=r["c_alk"],
        nh4oh_mass_fraction=r["nh4oh_mass_fraction"],
        nh4oh_kg_h=(r["nh4oh_first_kg_h"], r["nh4oh_last_kg_h"]),
        metal_kg_m3=sum(density) / len(density),
        **v["reactor"],
        **v["set_points"],
        limits={f: (limits[f"{f}_min_kg_h"], limits[f"{f}_max_kg_h"]) for f in FLOWS},
        turndown=limits["turndown"],
    )


def _metals(values: Any) -> Metals:
    ni, co, mn = values
    return ni, co, mn


def _relations(document: Document) -> None:
    """What no single key can tell: sums, and which must be below which."""
    v = document.values
    total = sum(v["target"][m] for m in METALS)
    if abs(total - 1.0) > 1e-6:
        document.fault(
            ("target", "ni"), f"ni + co + mn = {total:g}; permitted: 1; correct the fractions",
            "[target]",
        )  # fmt: skip
    for tank in ("core", "shell"):
        if tank in v and sum(v[tank][f"{m}_mol_l"] for m in METALS) <= 0.0:
            document.fault(
                (tank, "ni_mol_l"), "every assay is 0; enter the laboratory's values", f"[{tank}]"
            )
    ordered = [("limits", f"{feed}_min_kg_h", f"{feed}_max_kg_h") for feed in FLOWS]
    for table, low, high in (*ordered, ("reactor", "heel_m3", "max_volume_m3")):
        if v[table][low] >= v[table][high]:
            document.fault(
                (table, low),
                f"{low} = {v[table][low]:g} is not below {high} = {v[table][high]:g}; exchange or "
                "correct them",
                f"[{table}]",
            )
