"""Ranking of components from CAM and deviation on a small plant shaped like the real one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge.core.cam import RankSettings, rank
from edge.core.tags import Tag
from edge.core.topology import Component, Topology

PARTS = ("tank", "pump", "drive", "meter", "pipe")
PLANT = Topology(
    components=(
        Component(code="C01", number=1, name="core feed", parts=PARTS),
        Component(code="C03", number=3, name="NaOH feed line", parts=PARTS),
        Component(code="C05", number=5, name="premixer", parts=("tank", "meter")),
        Component(code="C12", number=12, name="ambient", parts=("instrument",), reportable=False),
        Component(code="C99", number=99, name="no tags", parts=()),
    ),
    edges=(("C01", "C05"),),
)


def tag(name: str, component: str, part: str) -> Tag:
    return Tag(name=name, text="", unit="", low=0, high=1, component=component, part=part)


TAGS = (
    tag("SIC-101.PV", "C01", "pump"), tag("PI-101.PV", "C01", "pipe"),
    tag("FIC-101.PV", "C01", "meter"),
    tag("SIC-103.PV", "C03", "pump"), tag("SC-103.OUT", "C03", "drive"),
    tag("PI-103.PV", "C03", "pipe"), tag("FIC-103.PV", "C03", "meter"),
    tag("WI-103.PV", "C03", "tank"),
    tag("FI-105.PV", "C05", "meter"), tag("TI-001.PV", "C12", "instrument"),
)  # fmt: skip
INDEX = {t.name: i for i, t in enumerate(TAGS)}
P = len(TAGS)


def vector(**values: float) -> np.ndarray:
    out = np.zeros(P, np.float32)
    for name, value in values.items():
        kind, number = name.split("_")
        out[next(i for n, i in INDEX.items() if n.startswith(f"{kind}-{number}"))] = value
    return out


def test_cam_and_deviation_together_find_the_component() -> None:
    suspects = rank(vector(PI_103=2.0, FI_105=1.0), vector(PI_103=-6.0, FI_105=2.0), TAGS, PLANT)
    assert [s.component for s in suspects] == ["C03", "C05"]
    assert suspects[0].number == 3
    assert suspects[0].tags[0] == "PI-103.PV"
    assert suspects[0].score > 0.6


def test_either_alone_is_enough() -> None:
    assert rank(vector(PI_103=2.0), vector(), TAGS, PLANT)[0].component == "C03"
    assert rank(vector(PI_103=-2.0), vector(FI_105=4.0), TAGS, PLANT)[0].component == "C05"
    assert rank(vector(PI_103=-1.0), vector(FI_105=0.9), TAGS, PLANT) == ()


def test_the_classifier_s_answer_decides_between_neighbours() -> None:
    """A cracked core pipe shows most in the premixer behind it; the classifier has learnt that."""
    cam, deviation = vector(FI_105=2.0, PI_101=0.5), vector(FI_105=6.0, PI_101=-1.5)
    assert rank(cam, deviation, TAGS, PLANT)[0].component == "C05"
    named = rank(cam, deviation, TAGS, PLANT, kinds={"C01": 0.95, "C05": 0.05},
                 settings=RankSettings(deviation_weight=0.2, kind_weight=0.5))  # fmt: skip
    assert [s.component for s in named[:2]] == ["C01", "C05"]
    assert sum(s.score for s in named) == pytest.approx(1.0)


def test_probes_that_go_together_show_the_process_and_not_themselves() -> None:
    """A leaking NaOH line pulls the pH away: four probes see it, and none of them is at fault."""
    probes = tuple(tag(f"AIT-106{x}.PV", "C05", "instrument") for x in "ABCD")
    tags, names = (*TAGS, *probes), tuple(t.name for t in probes)
    cam = np.append(vector(PI_103=0.5), [2.0, 1.0, 4.0, 1.0]).astype(np.float32)
    kinds = {"C05": 0.9, "C03": 0.1}
    for moved, first in (
        ([-1.5, -1.4, -3.2, -1.3], "C03"),  # the process
        ([0.7, 0.8, -5.0, 0.9], "C05"),  # one probe leaves the others
        ([-0.2, -0.3, -5.0, -0.2], "C05"),  # the same, the others a little with it
    ):
        deviation = np.append(vector(PI_103=-3.0), moved).astype(np.float32)
        found = rank(cam, deviation, tags, PLANT, kinds=kinds, redundant=names)
        assert found[0].component == first, moved
        assert rank(cam, deviation, tags, PLANT, kinds=kinds)[0].component == "C05"


def test_the_classifier_names_nobody_it_cannot_see() -> None:
    valid = np.array([0.0 if t.component == "C03" else 1.0 for t in TAGS])
    kinds = {"C03": 0.9, "C12": 0.05, "": 0.05}
    assert rank(vector(), vector(), TAGS, PLANT, kinds=kinds, valid=valid) == ()
    assert rank(vector(), vector(), TAGS, PLANT, kinds=kinds)[0].component == "C03"


def test_downstream_disturbance_speaks_for_the_component_above_it() -> None:
    # Core leak: premixer flow short by as much as the pressure in the core pipe; nearly a tie.
    cam, deviation = vector(), vector(PI_101=-5.0, FI_105=-5.0)
    alone = rank(cam, deviation, TAGS, PLANT, settings=RankSettings(best_tags=1, downstream=0.0))
    with_flow = rank(cam, deviation, TAGS, PLANT, settings=RankSettings(best_tags=1))
    assert alone[0].score == pytest.approx(0.5)
    assert with_flow[0].component == "C01"
    assert 0.5 < with_flow[0].score < 0.55


def test_context_and_unseen_tags_are_never_suspects() -> None:
    cam, deviation = vector(TI_001=9.0, PI_103=0.1), vector(TI_001=50.0)
    assert [s.component for s in rank(cam, deviation, TAGS, PLANT)] == ["C03"]
    valid = np.ones(P)
    valid[INDEX["PI-103.PV"]] = 0.0
    assert rank(cam, deviation, TAGS, PLANT, valid=valid) == ()


@pytest.mark.parametrize(
    ("deviation", "part"),
    [
        (vector(PI_103=-4.0, FIC_103=3.0, SIC_103=9.0, SC_103=9.0), "pipe"),  # leak, fed back
        (vector(PI_103=4.0, SIC_103=4.0, SC_103=4.0), "pipe"),  # freezing
        (vector(SIC_103=-3.0, SC_103=-3.0), "meter"),  # meter reads high
        (vector(SIC_103=-3.0, SC_103=2.5), "drive"),  # slip
        (vector(FIC_103=-4.0, SIC_103=3.0, SC_103=3.0), "pump"),  # cannot deliver
        (vector(WI_103=8.0), "tank"),
        (vector(SIC_103=5.0, FIC_103=5.0), "pump"),  # no rule: the strongest tag
    ],
)
def test_part_follows_the_physical_discriminators(deviation: np.ndarray, part: str) -> None:
    assert rank(vector(), deviation, TAGS, PLANT)[0].part == part


def test_a_hose_that_slips_is_named() -> None:
    loop = Topology(
        components=(Component(code="C07", number=7, name="return loop", parts=("hose", *PARTS)),),
        edges=(),
    )
    tags = (tag("SIC-107.PV", "C07", "pump"), tag("PI-107.PV", "C07", "hose"),
            tag("FI-107.PV", "C07", "meter"))  # fmt: skip
    deviation = np.array([6.0, -3.0, 0.0], np.float32)
    assert rank(np.zeros(3, np.float32), deviation, tags, loop)[0].part == "hose"


@given(
    arrays(np.float32, P, elements=st.floats(width=32)),
    arrays(np.float32, P, elements=st.floats(width=32)),
)
def test_scores_are_shares_in_order(cam: np.ndarray, deviation: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        suspects = rank(cam, deviation, TAGS, PLANT)
    scores = [s.score for s in suspects]
    assert scores == sorted(scores, reverse=True)
    assert all(0.0 < score <= 1.0 for score in scores)
    assert sum(scores) <= 1.0 + 1e-9
    assert len(suspects) <= 3
    assert "C12" not in [s.component for s in suspects]


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(10,\)"):
        rank(np.zeros(3, np.float32), np.zeros(P, np.float32), TAGS, PLANT)
