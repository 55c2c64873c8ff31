"""Recipes: every number that decides how a model is made, read from export/recipes/*.toml."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.faults import ExportError
from export.model.align import ALIGNMENTS
from export.model.reference import ReferenceSettings

FOLDER = Path(__file__).parents[1] / "recipes"
PRECISIONS = ("fp32", "bf16")


class RecipeError(ExportError):
    """The recipe is wrong; the text names file, key, value and what is permitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSizes:
    """Sizes and time constants that do not depend on the line."""

    channels: int = 24
    dilations: tuple[int, ...] = (1, 2)
    gru_in: int = 16
    gru: int = 16
    pool_steps: float = 5.0
    slow_steps: float = 90.0
    quick_steps: float = 10.0
    swing_steps: float = 120.0
    anchor_first: int = 20
    anchor_last: int = 150
    reach: float = 20.0
    dead_zone: float = 2.5
    dropout: float = 0.2
    deviation_steps: float = 45.0
    fast_steps: float = 8.0
    clamp: float = 8.0
    top_k: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Gradient training of the classifier."""

    iterations: int = 2000
    """Optimiser steps; 0 leaves the classifier out."""
    batch: int = 32
    crop_steps: int = 40
    """Model steps of one training crop; evidence is computed over the whole batch before."""
    crops: int = 6
    """Crops taken from each batch."""
    crop_from: float = 0.0
    """Share of the batch before which no crop begins."""
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    target_share: float = 0.6
    """Share of each mini-batch drawn from the target domain."""
    mask_tag: float = 0.04
    """Probability that a tag is missing for a stretch of the crop."""
    gap: float = 0.1
    """Probability that every tag is missing for a while."""
    cam_sparsity: float = 2e-3
    align: str = "none"
    """Alignment of source and target features: one of model/align.py."""
    align_weight: float = 0.1
    precision: str = "fp32"
    """Of the convolutions and the GRU while training: "fp32" or "bf16". The graph is fp32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """The published four-phase recipe."""

    domain_loss: str = "mmd"
    """"mmd" or "mse": section 2.3 says one, section 4.6 the other."""
    iterations: int = 100
    """At most, per phase."""
    stop_loss: float = 0.15
    """Stop phases 3 and 4 when L_cls1 + L_cls2 + L_domain falls below."""
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    patience: int = 15
    pool: int = 15
    """Model steps averaged into one column of the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way to make a model."""

    name: str
    kind: str = "ours"
    """"ours" (streaming network, exported) or "paper" (baseline, evaluated only)."""
    seed: int = 1
    source_domain: str = "source"
    """Domain whose scale is a floor for the others; empty: the median of all domains."""
    target_domain: str = "target"
    """Domain whose reference goes into the bundle."""
    ridge: float = 0.3
    """Of the residual map behind the deviation head."""
    relation_ridge: float = 0.01
    firm_ridge: float = 0.1
    """Of the relations the classifier sees: precise ones and coarse ones."""
    ordinary_share: float = 0.6
    """Share of the normal batches, the least extreme ones, on which relations and spreads are
    learnt: grade changes and pump exchanges would blunt them."""
    persist_steps: int = 3
    false_alarms: float = 1 / 30
    """Budget: false alarms per normal batch."""
    margin: float = 0.5
    """Logits above the highest held-out normal peak."""
    hysteresis: float = 1.0
    """Logits between raising and clearing."""
    step_quantile: float = 0.0
    """Continuous process: threshold at this quantile of the normal steps, instead of by batch."""
    network: NetworkSizes = field(default_factory=NetworkSizes)
    reference: ReferenceSettings = field(default_factory=ReferenceSettings)
    training: Training = field(default_factory=Training)
    paper: Paper = field(default_factory=Paper)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for provenance."""
        return dataclasses.asdict(self)


def load_recipe(name: str) -> Recipe:
    """A shipped recipe by name, or a TOML file by path. Raises RecipeError."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml")))
        raise RecipeError(f"recipe '{name}': no {path}; shipped recipes are: {known}") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from None
    tables = {
        "network": NetworkSizes,
        "reference": ReferenceSettings,
        "training": Training,
        "paper": Paper,
    }
    values: dict[str, Any] = {"name": path.stem}
    for key, value in raw.items():
        if key in tables:
            values[key] = _fill(path, key, tables[key], value)
        else:
            values[key] = value
    recipe: Recipe = _fill(path, "", Recipe, values)
    if recipe.kind not in ("ours", "paper"):
        raise RecipeError(f"{path}: kind = {recipe.kind!r}: permitted are 'ours' and 'paper'")
    for key, value, permitted in (
        ("training.align", recipe.training.align, ALIGNMENTS),
        ("training.precision", recipe.training.precision, PRECISIONS),
        ("paper.domain_loss", recipe.paper.domain_loss, ("mmd", "mse")),
    ):
        if value not in permitted:
            names = ", ".join(map(repr, permitted))
            raise RecipeError(f"{path}: {key} = {value!r}: permitted are {names}")
    return recipe


def _fill(path: Path, table: str, kind: Any, values: dict[str, Any]) -> Any:
    known = {f.name: f for f in dataclasses.fields(kind)}
    where = f"{table}." if table else ""
    for key, value in values.items():
        if key not in known:
            raise RecipeError(f"{path}: unknown key '{where}{key}'; permitted are {sorted(known)}")
        default = known[key].default
        wanted = type(default) if default is not dataclasses.MISSING else None
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            continue
        if wanted is tuple and isinstance(value, list):
            continue
        if wanted is not None and wanted is not tuple and not isinstance(value, wanted):
            raise RecipeError(f"{path}: {where}{key} = {value!r}: permitted is a {wanted.__name__}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def recipe_of(document: dict[str, Any]) -> Recipe:
    """Inverse of `Recipe.to_dict`, for a recipe that was checked when it was first read."""
    values = dict(document)
    values["network"] = NetworkSizes(
        **{**values["network"], "dilations": tuple(values["network"]["dilations"])}
    )
    values["reference"] = ReferenceSettings(**values["reference"])
    values["training"] = Training(**values["training"])
    values["paper"] = Paper(**values["paper"])
    return Recipe(**values)
