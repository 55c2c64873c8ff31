"""The schedule as a picture: four flows over time, and Ni/Co/Mn over the radius of the particle.

The radius follows from the rows alone: metal precipitates as it is fed (quasi-equilibrium), every
particle grows from the first minute, so that what was fed until t fills the share (r/R)^3.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from edge.core.schedule import Schedule
from export.faults import ExportError

Array = npt.NDArray[np.float64]
FEEDS = (
    ("core", "core solution", "#0072B2"),
    ("shell", "shell solution", "#D55E00"),
    ("naoh", "NaOH", "#009E73"),
    ("nh4oh", "NH$_4$OH", "#CC79A7"),
)
METALS = (("Ni", "ni_frac", "#0072B2"), ("Co", "co_frac", "#D55E00"), ("Mn", "mn_frac", "#009E73"))
"""Told apart by colour-blind readers (Okabe and Ito)."""


def gradient(schedule: Schedule) -> tuple[Array, Array]:
    """(radius [steps + 1] as a share of the final one, fractions [steps, 3] between them)."""
    feeds = schedule.feeds
    metal = np.array(
        [
            (s.core_kg_h * sum(feeds.core_mol_kg) + s.shell_kg_h * sum(feeds.shell_mol_kg))
            * (s.end_min - s.start_min)
            for s in schedule.steps
        ]
    )
    filled = np.concatenate([[0.0], np.cumsum(metal) / metal.sum()])
    return np.cbrt(filled), np.array([[s.ni_frac, s.co_frac, s.mn_frac] for s in schedule.steps])


def draw(schedule: Schedule) -> Figure:
    """Three panels: flows, small flow, gradient."""
    figure, (flows, radius) = plt.subplots(1, 2, figsize=(10.0, 4.0), layout="constrained")
    edges = np.array([0.0, *(s.end_min for s in schedule.steps)]) / 60.0
    small = flows.twinx()
    for feed, text, colour in FEEDS:
        axis = small if feed == "nh4oh" else flows
        values = [getattr(s, f"{feed}_kg_h") for s in schedule.steps]
        axis.stairs(values, edges, label=text, color=colour, baseline=None, linewidth=1.6)
    flows.set(xlabel="time, h", ylabel="core, shell, NaOH, kg/h", xlim=(0.0, edges[-1]))
    flows.set_ylim(bottom=0.0)
    small.set_ylabel("NH$_4$OH, kg/h")
    small.set_ylim(bottom=0.0)
    lines = [*flows.get_legend_handles_labels()[0], *small.get_legend_handles_labels()[0]]
    flows.legend(lines, [text for _, text, _ in FEEDS], fontsize=8)
    flows.set_title(f"schedule {schedule.name}: flows", fontsize=9)
    at, shares = gradient(schedule)
    for (metal, _, colour), share in zip(METALS, 100.0 * shares.T):
        radius.stairs(share, at, label=metal, color=colour, baseline=None, linewidth=1.6)
    radius.set(
        xlabel="radius in the particle, share of R", ylabel="share of the metal, %",
        xlim=(0.0, 1.0), ylim=(0.0, 100.0),
    )  # fmt: skip
    radius.legend(fontsize=8)
    radius.set_title("composition from core to surface (computed)", fontsize=9)
    return figure


def save(schedule: Schedule, path: Path) -> None:
    """Write the picture; the ending chooses the format. The same schedule gives the same bytes.

    Raises ExportError when the ending is none matplotlib knows, or the file cannot be written.
    """
    figure = draw(schedule)
    known = figure.canvas.get_supported_filetypes()
    try:
        if path.suffix.lstrip(".") not in known:
            raise ExportError(f"--picture {path}: permitted endings: {', '.join(sorted(known))}")
        path.parent.mkdir(parents=True, exist_ok=True)
        dated = {"Date": None} if path.suffix == ".svg" else {}
        with mpl.rc_context({"svg.hashsalt": "ncm-edge", "svg.fonttype": "none"}):
            figure.savefig(path, metadata=dated)
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        plt.close(figure)
