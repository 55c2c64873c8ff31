"""export/benchmarks/*.toml: which recording, how it is cut, which tasks, what is a fair threshold.

    title = "..."                 # heading of the table
    plant = "tep_multimode"       # export/plants/NAME.toml, or a path relative to this file;
                                  # or: data = "build/twin", a dataset directory of `simulate`
    about = "..."                 # a sentence under the heading; optional
    judge = "windows"             # "windows"; "rows": rates in rows; "run": run to failure
    false_alarms = 0.05           # budget of the threshold, share of normal samples
    threshold = "domain"          # fixed per target "domain", or "pooled" over the targets
    persist = 1                   # samples in a row above the threshold (judge = "run")
    pool_steps = 1                # so many model steps are made one, see pool.py
    hard = ["IDV3"]               # faults reported apart
    [cut]                         # see plan.Cut
    [every]                       # defaults of every task, see plan.TaskPlan
    [[task]]                      # sources, targets; or each = true: each domain as the target

A user's own plant needs no such file: `spec_of_plant` makes one of the plant's domains.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatch
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np

from export.data.dataset import Dataset
from export.faults import ExportError
from export.judge.plan import Cut, TaskPlan
from export.judge.pool import pooled

FOLDER = Path(__file__).parents[1] / "benchmarks"
PLANTS = Path(__file__).parents[1] / "plants"
JUDGES = ("windows", "rows", "run")
AUTO_STEPS = 60
"""Model steps of a sample of a continuous plant that does not say more; fewer if it is short."""
AUTO_LEAST = 3
AUTO_SAMPLES = 3000
"""About so many samples, so that a fit stays a matter of seconds; normal ones are cut finer where
they are few."""
ALIKE = 0.8
NORMAL_BATCHES = 6
"""Stretches alike to this share of the longest are batches, each one sample, if every domain has
so many normal ones."""


class SpecError(ExportError):
    """A benchmark description is wrong; the text names file, key, value and what is permitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One data set of the benchmark."""

    name: str
    title: str
    plant: Path | None = None
    data: Path | None = None
    file: Path | None = None
    about: str = ""
    judge: str = "windows"
    false_alarms: float = 0.05
    threshold: str = "domain"
    persist: int = 1
    pool_steps: int = 1
    hard: tuple[str, ...] = ()
    cut: Cut = dataclasses.field(default_factory=Cut)
    tasks: tuple[TaskPlan, ...] = ()
    each: tuple[dict[str, Any], ...] = ()
    """Tasks that are made once the domains are known."""

    def plans(self, dataset: Dataset) -> tuple[TaskPlan, ...]:
        """All tasks, those of `each` filled in from the domains of the dataset."""
        out = list(self.tasks)
        for values in self.each:
            out += _each(values, dataset)
        return tuple(out)


def shipped() -> list[str]:
    """Names of the shipped benchmarks."""
    return sorted(p.stem for p in FOLDER.glob("*.toml") if p.stem not in ("findings", "goals"))


def load_spec(name: str) -> Spec:
    """A shipped benchmark by name, or a TOML file by path. Raises SpecError."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(f"benchmark '{name}': no {path}; shipped are: {shipped()}") from None
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path}: not valid TOML: {error}") from None
    every = raw.pop("every", {})
    tasks = [{**every, **task} for task in raw.pop("task", [])]
    if not tasks:
        raise SpecError(f"{path}: no [[task]]; name at least one, e.g. each = true")
    if ("plant" in raw) == ("data" in raw):
        raise SpecError(f"{path}: exactly one of 'plant' and 'data' is needed")
    raw["cut"] = _fill(path, "cut", Cut, raw.pop("cut", {}))
    if "plant" in raw:
        raw["plant"] = _plant(path, str(raw["plant"]))
    if "data" in raw:
        raw["data"] = Path(str(raw["data"]))
    raw["tasks"] = tuple(
        _fill(path, "task", TaskPlan, {k: v for k, v in t.items() if k != "each"})
        for t in tasks
        if not t.get("each")
    )
    raw["each"] = tuple({k: v for k, v in t.items() if k != "each"} for t in tasks if t.get("each"))
    for values in raw["each"]:
        _fill(path, "task", TaskPlan, {"name": "", "sources": [], "targets": [], **values})
    spec: Spec = _fill(path, "", Spec, {"name": path.stem, "title": path.stem, **raw})
    for key, permitted in (("judge", JUDGES), ("threshold", ("domain", "pooled"))):
        if getattr(spec, key) not in permitted:
            raise SpecError(f"{path}: {key} = {getattr(spec, key)!r}: permitted are {permitted}")
    if not 0.0 <= spec.false_alarms < 1.0:
        raise SpecError(f"{path}: false_alarms = {spec.false_alarms}: permitted is 0 to below 1")
    return spec


def spec_of_plant(plant: Path, dataset: Dataset, file: Path | None = None) -> Spec:
    """A fair benchmark of a plant nobody has seen.

    Each domain is the target once and the others teach; with one domain only, each stretch that
    has a defect is left out once. The target shows its first normals and the labels of one
    defective stretch where it has at least two.
    """
    domains = sorted({b.domain for b in dataset.batches})
    cut = Cut(steps=0) if _are_batches(dataset) else _cut_for(dataset)
    run = any("to_failure_s" in b.notes for b in dataset.batches)
    how: dict[str, Any] = {"few_groups": 0 if run else 1}
    if len(domains) == 1:
        how["domain"] = "group"
    return Spec(
        name=plant.stem,
        title=f"{plant.stem}: each domain as the target",
        plant=plant,
        file=file,
        judge="run" if run else "windows",
        false_alarms=0.0 if run else 0.05,
        persist=3 if run else 1,
        threshold="domain",
        cut=cut,
        each=(how,),
    )


def _are_batches(dataset: Dataset) -> bool:
    """Stretches of about one length, enough normal ones in every domain to split by batch."""
    lengths = [len(b.severity) for b in dataset.batches]
    normal = Counter(b.domain for b in dataset.batches if b.level == 0)
    return min(lengths) >= ALIKE * max(lengths) and all(
        normal[d] >= NORMAL_BATCHES for d in {b.domain for b in dataset.batches}
    )


def _cut_for(dataset: Dataset) -> Cut:
    """Windows short enough that the healthy beginning of a stretch holds several."""
    lengths = [len(b.severity) for b in dataset.batches]
    healthy = [int(np.argmax(b.severity > 0)) for b in dataset.batches if b.severity[0] == 0]
    healthy = [h for h in healthy if h] or lengths
    steps = int(min(AUTO_STEPS, np.median(lengths) // 10, np.quantile(healthy, 0.25) // 6))
    steps = max(AUTO_LEAST, steps)
    stride = max(1, steps // 3, round(sum(lengths) / AUTO_SAMPLES))
    normals = sum(int((b.severity == 0).sum()) for b in dataset.batches)
    fine = max(1, min(stride, steps // 6), round(normals / AUTO_SAMPLES))
    return Cut(steps=steps, stride=max(stride, fine), stride_normal=fine)


def load_data(spec: Spec) -> Dataset:
    """The dataset of a benchmark. Raises DatasetError, ConfigError."""
    if spec.data is not None:
        from export.data.dataset import load_dataset

        return pooled(load_dataset(spec.data, keep=True), spec.pool_steps)
    from export.data.plant import load_plant

    assert spec.plant is not None, "load_spec makes sure"
    return pooled(load_plant(spec.plant, spec.file), spec.pool_steps)


def _each(values: dict[str, Any], dataset: Dataset) -> list[TaskPlan]:
    kind = values.get("domain", "domain")
    skip = values.get("skip", ())
    has: dict[str, bool] = {}
    for b in dataset.batches:
        if any(fnmatch(b.group, p) or fnmatch(b.fault, p) for p in skip):
            continue
        name = (
            b.domain
            if kind == "domain"
            else b.group
            if kind == "group"
            else b.notes.get(kind, b.domain)
        )
        has[str(name)] = has.get(str(name), False) or b.level > 0
    wanted = [d for d, defective in sorted(has.items()) if defective]
    out = []
    for target in wanted:
        others = tuple(d for d in sorted(has) if d != target)
        start = f"{'+'.join(others)}" if len(others) <= 4 else f"{len(others)} others"
        out.append(
            TaskPlan(
                **{
                    **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()},
                    "name": f"{start} -> {target}",
                    # They are patterns; a name is taken as it is.
                    "sources": tuple(escape(d) for d in others),
                    "targets": (escape(target),),
                }
            )
        )
    return out


def _plant(path: Path, value: str) -> Path:
    return path.parent / value if value.endswith(".toml") else PLANTS / f"{value}.toml"


def _fill(path: Path, table: str, kind: Any, values: dict[str, Any]) -> Any:
    known = {f.name: f for f in dataclasses.fields(kind)}
    where = f"{table}." if table else ""
    for key in values:
        if key not in known:
            raise SpecError(f"{path}: unknown key '{where}{key}'; permitted are {sorted(known)}")
    for key, f in known.items():
        if (
            key not in values
            and f.default is dataclasses.MISSING
            and f.default_factory is dataclasses.MISSING
        ):
            raise SpecError(f"{path}: key '{where}{key}' is missing")
    for key, value in values.items():
        default = known[key].default
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if isinstance(default, (int, float)) and not isinstance(default, bool) and not number:
            raise SpecError(f"{path}: {where}{key} = {value!r}: permitted is a number")
        if isinstance(default, str) and not isinstance(value, str):
            raise SpecError(f"{path}: {where}{key} = {value!r}: permitted is a text")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
