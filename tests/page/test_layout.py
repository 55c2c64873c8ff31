"""The drawing of the plant: whatever topology, every component has a place of its own."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.config.load import load
from edge.core.topology import Component, Topology
from edge.page.drawing import svg
from edge.page.layout import arrange
from tests.line import CONFIG


def plant(edges: list[tuple[int, int]], count: int) -> Topology:
    return Topology(
        components=tuple(
            Component(code=f"C{n}", number=n + 1, name=f"<part> & {'long ' * n}{n}",
                      parts=("tank", "pump", "valve", "impeller", "odd one"))
            for n in range(count)
        ),
        edges=tuple((f"C{a}", f"C{b}") for a, b in edges),
    )  # fmt: skip


graphs = st.integers(1, 9).flatmap(
    lambda count: st.tuples(
        st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=14),
        st.just(count),
    )
)


@settings(max_examples=150, deadline=None)
@given(graphs)
def test_nothing_lies_upon_anything_else(graph: tuple[list[tuple[int, int]], int]) -> None:
    topology = plant(*graph)
    layout = arrange(topology)
    assert set(layout.places) == {c.code for c in topology.components}
    for a, b in combinations(layout.places.values(), 2):
        if a.column == b.column:
            assert a.bottom <= b.top + 1e-9 or b.bottom <= a.top + 1e-9
    for place in layout.places.values():
        assert 0 <= place.top < place.bottom <= layout.rows + 1e-9
    for a, b in set(topology.edges) - layout.back:
        assert layout.places[a].column < layout.places[b].column
    ET.fromstring(svg(topology, 'a "line" <1>'))


@pytest.mark.parametrize("name", ["ncm-1", "skab"])
def test_the_shipped_lines(name: str) -> None:
    line = load(Path(CONFIG), lines=(name,)).lines[0]
    root = ET.fromstring(svg(line.topology, line.title))
    ids = {e.get("id") for e in root.iter() if e.get("role") == "button"}
    assert ids == {f"component-{c.code}" for c in line.topology.components}
    assert not [e for e in root.iter() if e.get("style") or e.tag == "style"]
    said = "".join(root.itertext())
    assert all(word in said for c in line.topology.components for word in c.name.split())


def test_the_reactor_is_as_high_as_its_feeds() -> None:
    places = arrange(load(CONFIG, lines=("ncm-1",)).lines[0].topology).places
    reactor = places["C11"]
    for feed in ("C03", "C04", "C05", "C06", "C08", "C10"):
        assert places[feed].column == reactor.column - 1
        assert reactor.top <= places[feed].middle <= reactor.bottom
    assert places["C05"].bottom == places["C02"].bottom
