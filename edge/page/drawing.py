"""The plant as inline SVG, generated from components.toml. Text in, text out.

Every component is a group with id `component-CODE` that can be reached by keyboard; what is known
of it at the moment (suspect, bad tags) is put on by the page's script through classes and the texts
`.mark` and `.note`. No style attribute: the page's policy permits none.
"""

from __future__ import annotations

from html import escape

from edge.core.topology import Component, Topology
from edge.page.layout import Layout, Place, arrange

BOX, GAP, ROW = 190, 30, 45
"""Width of a component, room for lines beside it, height of a row."""
TALLEST = 2.2
"""Rows of a component that gives its feeds no straight way in."""
PAD = 5.0
BELOW = 26
ONE_LINE = 23
"""Characters of code and name that fit on one line."""
LETTERS = {
    "drive": "M", "motor": "M", "meter": "F", "instrument": "I", "gearbox": "G", "bearing": "B",
    "winding": "W",
}  # fmt: skip


def svg(topology: Topology, title: str) -> str:
    """The drawing of a line."""
    layout = arrange(topology)
    hubs = _hubs(topology, layout)
    boxes = {c.code: _box(layout.places[c.code], c.code in hubs) for c in topology.components}
    width = layout.columns * BOX + (layout.columns - 1) * GAP + (24 if layout.back else 4)
    height = layout.rows * ROW + (BELOW if layout.back else 4)
    out = [
        f'<svg id="plant" viewBox="0 0 {width} {height:g}" role="group" '
        f'aria-label="{escape(title)}: components and what feeds what" '
        'preserveAspectRatio="xMidYMid meet">',
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>',
    ]
    out += _lines(topology, layout, boxes, height)
    out += [_component(c, boxes[c.code]) for c in topology.components]
    return "".join(out) + "</svg>"


Box = tuple[float, float, float, float]
"""x, y, width, height."""


def _hubs(topology: Topology, layout: Layout) -> set[str]:
    """Components whose feeds run straight in: as high as all of them."""
    count: dict[str, int] = {}
    for edge in topology.edges:
        if edge not in layout.back:
            count[edge[1]] = count.get(edge[1], 0) + 1
    return {code for code, feeds in count.items() if feeds > 1}


def _box(place: Place, hub: bool) -> Box:
    rows = place.bottom - place.top
    if not hub:
        rows = min(rows, TALLEST)
    x = 2 + place.column * (BOX + GAP)
    return x, (place.middle - rows / 2) * ROW + PAD, BOX, rows * ROW - 2 * PAD


def _lines(
    topology: Topology, layout: Layout, boxes: dict[str, Box], height: float
) -> list[str]:
    out, below = [], 0
    for a, b in topology.edges:
        ax, ay, aw, ah = boxes[a]
        bx, by, bw, bh = boxes[b]
        if (a, b) in layout.back:
            # Out to the right, round below everything, and up into what it feeds.
            y, side = height - 6 - 6 * (below % 3), ax + aw + 8 + 6 * (below % 3)
            below += 1
            path = f"M{ax + aw:g} {ay + ah * 0.7:g}H{side:g}V{y:g}H{bx + bw / 2:g}V{by + bh:g}"
        else:
            middle = ay + ah / 2
            if by + 4 <= middle <= by + bh - 4:
                path = f"M{ax + aw:g} {middle:g}H{bx:g}"
            elif ay + 4 <= by + bh / 2 <= ay + ah - 4:
                path = f"M{ax + aw:g} {by + bh / 2:g}H{bx:g}"
            else:
                turn = bx - GAP / 2
                path = f"M{ax + aw:g} {middle:g}H{turn:g}V{by + bh / 2:g}H{bx:g}"
        out.append(f'<path class="flow" d="{path}" marker-end="url(#arrow)"/>')
    return out


def _component(component: Component, box: Box) -> str:
    x, y, w, h = box
    code, name = escape(component.code), escape(component.name)
    middle = y + h / 2
    shape = "context" if not component.reportable else "component"
    return (
        f'<g id="component-{code}" class="{shape}" data-code="{code}" data-name="{name}" '
        f'role="button" tabindex="0" aria-pressed="false">'
        f'<rect class="halo" x="{x - 1:g}" y="{y - 1:g}" width="{w + 2:g}" height="{h + 2:g}"/>'
        f'<rect class="body" x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="{_round(h)}"/>'
        f"{_title(component, x + 8, middle)}"
        f"{_parts(component, x + 8 + _second_width(component), middle)}"
        f'<text class="note" x="{x + w - 8:g}" y="{y + h - 6:g}" text-anchor="end"></text>'
        f'<g class="flag" data-x="{x + w + 2:g}" data-y="{y + h - 17:g}"><path/>'
        f'<text class="mark" x="{x + w - 4:g}" y="{y + h - 3:g}" text-anchor="end"></text></g></g>'
    )


def _title(component: Component, x: float, middle: float) -> str:
    """Code and name, on two lines where one is too short."""
    first, second = _split(component)
    out = (
        f'<text class="code" x="{x:g}" y="{middle - 3:g}">{escape(component.code)}'
        f'<tspan class="name"> {escape(first)}</tspan></text>'
    )
    if second:
        out += f'<text class="name" x="{x:g}" y="{middle + 11:g}">{escape(second)}</text>'
    return out


def _split(component: Component) -> tuple[str, str]:
    """The name's first and second line."""
    name, room = component.name, ONE_LINE - len(component.code)
    if len(name) <= room:
        return name, ""
    cut = name.rfind(" ", 0, room + 1)
    cut = room if cut <= 0 else cut
    return name[:cut], name[cut:].strip()[:ONE_LINE]


def _second_width(component: Component) -> float:
    second = _split(component)[1]
    return 7.0 * len(second) + 8 if second else 0.0


def _round(height: float) -> int:
    return 3 if height < 2 * ROW else 16


def _parts(component: Component, x: float, y: float) -> str:
    """A small symbol for each part, in the order of components.toml."""
    out = []
    for i, part in enumerate(component.parts):
        left = x + i * 20
        out.append(
            f'<g class="part" data-part="{escape(part)}" aria-hidden="true">'
            f"{_symbol(part, left, y)}</g>"
        )
    return "".join(out)


def _symbol(part: str, x: float, y: float) -> str:
    circle = f'<circle cx="{x + 8:g}" cy="{y + 8:g}" r="7"/>'
    if part == "tank":
        return f'<path d="M{x + 2:g} {y + 1:g}h11v9a5.5 4 0 0 1-11 0z"/>'
    if part == "pump":
        return f'{circle}<path d="M{x + 4:g} {y + 3:g}l11 5l-11 5"/>'
    if part in ("pipe", "hose"):
        return f'<path d="M{x + 1:g} {y + 5:g}h14M{x + 1:g} {y + 11:g}h14"/>'
    if part == "valve":
        return f'<path d="M{x + 1:g} {y + 3:g}v10l14-10v10z"/>'
    if part == "impeller":
        return f'<path d="M{x + 8:g} {y + 1:g}v14M{x + 2:g} {y + 12:g}h12l-12 3h12z"/>'
    letter = LETTERS.get(part, part[:1].upper() or "?")
    at = f'x="{x + 8:g}" y="{y + 11.5:g}"'
    return f'{circle}<text {at} text-anchor="middle">{escape(letter)}</text>'
