"""Every method of the benchmark: ours, the paper's, the rivals and the trivial ones.

A method is a row of METHODS: a name and where its factory is. The module is imported when the
method is asked for, so that a missing library takes away one row and not the table, and so that
`--help` waits for no library.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from export.faults import ExportError
from export.judge.task import Method


class NotApplicable(ExportError):  # noqa: N818, said of a method, it is no fault
    """The task lacks what the method needs, or a library is missing; the text says which."""


@dataclass(frozen=True, slots=True)
class Lazy:
    """A factory that is imported when it is called."""

    module: str
    """Module of export.methods."""
    factory: str
    """Name of a class or function in it; called with `options`, it returns a Method."""
    options: tuple[tuple[str, object], ...] = ()
    family: str = "rival"
    """"ours", "paper", "baseline", "rival" or "trivial": as the method says of itself."""
    seeds: int = 3
    """At most so many seeds: fewer where a fit is long, or where nothing is drawn."""

    def __call__(self) -> Method:
        """Import and make it. Raises NotApplicable when a library is missing."""
        try:
            module = importlib.import_module(f"export.methods.{self.module}")
        except ModuleNotFoundError as error:
            if error.name is not None and error.name.startswith("export."):
                raise NotApplicable(f"{error.name} is not part of this release") from None
            raise NotApplicable(
                f"library '{error.name}' is missing: pip install ncm-edge[benchmark]"
            ) from None
        made: Method = getattr(module, self.factory)(**dict(self.options))
        return made


# Forty steps of 24 pictures: what a processor does in a minute.
_RESNET = (("kind", "resnet50"), ("iterations", 40), ("batch", 24))
_EFFICIENTNET = (("kind", "efficientnet-b0"), ("iterations", 40), ("batch", 24))

METHODS: dict[str, Callable[[], Method]] = {
    "ours": Lazy("ours", "Ours", family="ours"),
    "deviation": Lazy(
        "ours",
        "Ours",
        (("name", "deviation head alone"), ("labels", "none"), ("heads", "deviation")),
        "ours",
        1,
    ),
    "source-only": Lazy(
        "ours",
        "Ours",
        (("name", "source-only"), ("labels", "source"), ("heads", "classifier")),
        "ours",
    ),
    "target-only": Lazy(
        "ours",
        "Ours",
        (("name", "target-only"), ("labels", "target"), ("heads", "classifier")),
        "ours",
    ),
    "pooled": Lazy(
        "ours",
        "Ours",
        (("name", "pooled"), ("heads", "classifier")),
        "ours",
    ),
    **{
        f"pooled+{align}": Lazy(
            "ours",
            "Ours",
            (("name", f"pooled+{align}"), ("heads", "classifier"), ("align", align)),
            "ours",
        )
        for align in ("mmd", "class-mmd", "coral", "dann", "cdan")
    },
    "paper": Lazy("paper", "Paper", family="paper"),
    "paper-mse": Lazy("paper", "Paper", (("recipe", "paper-mse"),), "paper"),
    "lstm": Lazy("baselines", "Baseline", family="baseline"),
    "resnet50": Lazy("baselines", "Baseline", _RESNET, "baseline", 1),
    "efficientnet-b0": Lazy("baselines", "Baseline", _EFFICIENTNET, "baseline", 1),
    "ensemble": Lazy(
        "baselines",
        "Ensemble",
        (("options", (("lstm", 100, 256), ("resnet50", 40, 24), ("efficientnet-b0", 40, 24))),),
        "baseline",
        1,
    ),
    "age": Lazy("trivial", "Age", family="trivial", seeds=1),
    "one-tag": Lazy("trivial", "OneTag", family="trivial"),
    "distance": Lazy("trivial", "Distance", family="trivial", seeds=1),
    "pca": Lazy("pca", "Pca", seeds=1),
    "gbm-source-global": Lazy("gbm", "Gbm", (("use", "source"), ("scaling", "global"))),
    "gbm-source": Lazy("gbm", "Gbm", (("use", "source"),)),
    "gbm-target": Lazy("gbm", "Gbm", (("use", "target"),)),
    "gbm-pooled": Lazy("gbm", "Gbm", (("use", "pooled"),)),
    "gbm-tuned": Lazy("gbm", "Gbm", (("use", "tuned"),)),
    "minirocket": Lazy("kernels", "Kernels"),
    "skada-coral": Lazy("skada_da", "Skada", (("how", "coral"),)),
    "skada-subspace": Lazy("skada_da", "Skada", (("how", "subspace"),)),
    "skada-ot": Lazy("skada_da", "Skada", (("how", "ot"),)),
}
"""One line per method: `"gbm-source": Lazy("gbm", "Gbm", (("use", "source"),)),`.

Order is the order of the table.
"""

QUICK = ("age", "one-tag", "distance", "pca", "gbm-source", "gbm-pooled")
"""Of `--quick` and of the smoke test: a second each."""

REHEARSALS: dict[str, Callable[[], Method]] = {
    "shift": Lazy("rehearse", "Shift", family="trivial"),
    **{
        f"fail-{way}": Lazy("rehearse", "Failing", (("way", way),), family="trivial")
        for way in ("crash", "leave", "loop", "hog", "unfit", "fault", "nan")
    },
}
"""Known by name and in no table: what the benchmark is tested with."""


def row(name: str) -> Callable[[], Method]:
    """The row of that name. Raises ExportError with the known names."""
    found = METHODS.get(name) or REHEARSALS.get(name)
    if found is None:
        raise ExportError(f"method '{name}': unknown; known are {', '.join(METHODS)}")
    return found


def method(name: str) -> Method:
    """The method of that name. Raises ExportError with the known names, NotApplicable."""
    return row(name)()
