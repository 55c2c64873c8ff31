"""Two drawings as inline SVG: lines over hours, and tags x time in grey. Text in, text out.

Grey and black only: the pages are printed, and colour alone must never carry a meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Scale = Callable[[float], float]
WIDTH, LEFT, RIGHT, BOTTOM = 1000, 90, 10, 24
MOST_POINTS = 1100
"""More than the page has pixels is never drawn."""
MOST_COLUMNS = 270
_SHADES = 9


def lines(
    x: Floats,
    series: Sequence[tuple[str, Floats]],
    *,
    unit: str,
    low: float | None = None,
    high: float | None = None,
    steps: bool = False,
    labels: Mapping[int, str] | None = None,
    height: int = 170,
) -> str:
    """Lines over `x` hours; NaN interrupts a line. `labels` replaces the numbers of the y axis."""
    known = np.concatenate([y[np.isfinite(y)] for _, y in series])
    low = float(known.min()) if low is None else low
    high = float(known.max()) if high is None else high
    if high - low < 1e-9:
        low, high = low - 1.0, high + 1.0
    plot = height - BOTTOM - 8
    to_x = _scale(x)

    def to_y(value: float) -> float:
        return 8 + plot * (1.0 - (value - low) / (high - low))

    out = [_open(height, ", ".join(name for name, _ in series))]
    marks: Mapping[float, str] = (
        {float(v): text for v, text in labels.items()}
        if labels
        else {float(v): f"{v:.3g}{unit}" for v in np.linspace(low, high, 5)}
    )
    for value, text in marks.items():
        y = to_y(value)
        out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        out.append(_text(LEFT - 8, y + 4, text, "end"))
    out += _hours(x, height)
    for number, (_, values) in enumerate(series):
        dash = ("", "6 3", "2 3")[number % 3]
        path = _path(x, values, to_x, to_y, steps)
        out.append(
            f'<path d="{path}" fill="none" stroke="#111" stroke-width="1.6" '
            f'stroke-dasharray="{dash}"/>'
        )
    return "".join(out) + "</svg>"


def heat(x: Floats, cells: Floats, names: Sequence[str], groups: Sequence[str]) -> str:
    """`cells` [tags, time] in shades of grey, one row a tag, tags of a group together."""
    order = sorted(range(len(names)), key=lambda i: (groups[i], i))
    columns = min(cells.shape[1], MOST_COLUMNS)
    edges = np.linspace(0, cells.shape[1], columns + 1).astype(int)
    shrunk = np.stack([cells[:, a:b].max(axis=1) for a, b in pairwise(edges)], axis=1)
    top = float(shrunk.max()) or 1.0
    shades = np.ceil(np.clip(shrunk / top, 0.0, 1.0) * _SHADES).astype(int)
    row, height = 12, 8 + 12 * len(names) + BOTTOM
    wide = (WIDTH - LEFT - RIGHT - 40) / columns
    out = [_open(height, "activation of each tag over the batch")]
    before = None
    for line, tag in enumerate(order):
        y = 8 + row * line
        if groups[tag] != before:
            before = groups[tag]
            out.append(f'<path d="M0 {y}H{WIDTH}" stroke="#bbb"/>')
            out.append(_text(0, y + 10, groups[tag], "start"))
        out.append(_text(LEFT + 36, y + 10, names[tag], "end"))
        for first, last, shade in _runs(shades[tag]):
            grey = 235 - shade * 25
            out.append(
                f'<rect x="{LEFT + 40 + wide * first:.1f}" y="{y}" '
                f'width="{wide * (last - first):.1f}" height="{row - 1}" '
                f'fill="rgb({grey},{grey},{grey})"/>'
            )
    out += _hours(x, height, LEFT + 40)
    return "".join(out) + "</svg>"


def _runs(shades: npt.NDArray[np.int_]) -> list[tuple[int, int, int]]:
    """(first, last, shade) of neighbours that look the same; blank ones are left out."""
    ends = [*(np.flatnonzero(np.diff(shades)) + 1).tolist(), len(shades)]
    starts = [0, *ends[:-1]]
    return [(a, b, int(shades[a])) for a, b in zip(starts, ends) if shades[a] > 0]


def _path(x: Floats, values: Floats, to_x: Scale, to_y: Scale, steps: bool) -> str:
    every = max(1, len(x) // MOST_POINTS)
    out, pen, last = [], False, 0.0
    for at, value in zip(x[::every], values[::every]):
        if not np.isfinite(value):
            pen = False
            continue
        px, py = to_x(float(at)), to_y(float(value))
        if pen and steps and py != last:
            out.append(f"H{px:.1f}V{py:.1f}")
        else:
            out.append(f"{'L' if pen else 'M'}{px:.1f} {py:.1f}")
        pen, last = True, py
    return "".join(out)


def _scale(x: Floats, left: int = LEFT) -> Scale:
    first, last = float(x.min()), float(x.max())
    span = max(last - first, 1e-9)
    return lambda at: left + (WIDTH - left - RIGHT) * (at - first) / span


def _hours(x: Floats, height: int, left: int = LEFT) -> list[str]:
    to_x = _scale(x, left)
    first, last = float(x.min()), float(x.max())
    marks = np.linspace(first, last, 7)
    ends = ["middle"] * (len(marks) - 1) + ["end"]
    return [_text(to_x(at), height - 6, f"{at:.1f} h", end) for at, end in zip(marks, ends)]


def _open(height: int, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="system-ui,sans-serif" font-size="10"><title>{escape(title)}</title>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
