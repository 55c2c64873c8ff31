"""Where the components of a plant stand on its drawing. Pure: a topology in, places out.

1. An edge that closes a loop goes back; the others give each component its column, as far to the
   right as what it feeds permits.
2. What feeds nothing begins at the top; whatever feeds a component stands beside it. A component is
   as high as everything that feeds it, so that its feeds run straight into it.
3. Components of a column that would lie upon each other share the room.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.core.topology import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A component's room: column, and the rows from `top` to `bottom`."""

    column: int
    top: float
    bottom: float

    @property
    def middle(self) -> float:
        """The row of its middle."""
        return (self.top + self.bottom) / 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Places by component code, and the edges that go against the flow."""

    places: dict[str, Place]
    back: frozenset[tuple[str, str]]
    columns: int
    rows: float


def arrange(topology: Topology) -> Layout:
    """Places of all components; a plant without edges is one column."""
    codes = [component.code for component in topology.components]
    forward, back = _forward(codes, topology.edges)
    feeds = {code: [b for a, b in forward if a == code] for code in codes}
    fed = {code: [a for a, b in forward if b == code] for code in codes}
    column = _columns(codes, feeds, fed)
    rows: dict[str, tuple[float, float]] = {}
    count = 0
    for code in _sources(codes, feeds, fed):
        rows[code] = (count, count + 1.0)
        count += 1
    for number in range(max(column.values(), default=0) + 1):
        here = [code for code in codes if column[code] == number]
        for code in here:
            if code not in rows:
                spans = [rows[a] for a in fed[code]]
                rows[code] = (min(s[0] for s in spans), max(s[1] for s in spans))
        _share(here, rows)
    return Layout(
        places={c: Place(column=column[c], top=rows[c][0], bottom=rows[c][1]) for c in codes},
        back=back,
        columns=max(column.values(), default=0) + 1,
        rows=max(float(count), 1.0),
    )


Edges = list[tuple[str, str]]


def _forward(
    codes: list[str], edges: tuple[tuple[str, str], ...]
) -> tuple[Edges, frozenset[tuple[str, str]]]:
    """Edges in order, without those that would close a loop; and those."""
    kept: Edges = []
    back = set()
    for a, b in edges:
        reached, front = {b}, [b]
        while front:
            code = front.pop()
            new = [y for x, y in kept if x == code and y not in reached]
            reached.update(new)
            front += new
        if a in reached:
            back.add((a, b))
        else:
            kept.append((a, b))
    return kept, frozenset(back)


def _columns(
    codes: list[str], feeds: dict[str, list[str]], fed: dict[str, list[str]]
) -> dict[str, int]:
    column = dict.fromkeys(codes, 0)
    for _ in codes:  # at most as many rounds as the longest way
        for code in codes:
            column[code] = max([column[code], *(column[a] + 1 for a in fed[code])])
    for _ in codes:
        for code in codes:
            if feeds[code]:
                column[code] = max(column[code], min(column[b] for b in feeds[code]) - 1)
    return column


def _sources(
    codes: list[str], feeds: dict[str, list[str]], fed: dict[str, list[str]]
) -> list[str]:
    """What nothing feeds, in an order that keeps the feeds of a component together."""
    out: list[str] = []
    seen: set[str] = set()

    def visit(code: str) -> None:
        if code in seen:
            return
        seen.add(code)
        if not fed[code]:
            out.append(code)
        for before in fed[code]:
            visit(before)

    for code in codes:
        if not feeds[code]:
            visit(code)
    return out


def _share(here: list[str], rows: dict[str, tuple[float, float]]) -> None:
    """Divide the room where components of one column overlap."""
    groups: list[list[str]] = []
    for code in sorted(here, key=lambda c: (rows[c], here.index(c))):
        if groups and rows[code][0] < max(rows[c][1] for c in groups[-1]):
            groups[-1].append(code)
        else:
            groups.append([code])
    for group in groups:
        if len(group) == 1:
            continue
        top, bottom = min(rows[c][0] for c in group), max(rows[c][1] for c in group)
        step = (bottom - top) / len(group)
        for i, code in enumerate(group):
            rows[code] = (top + i * step, top + (i + 1) * step)
