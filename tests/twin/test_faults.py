"""Acceptance of the fault library (process note section 3.1): no painted tags, no easy D-3."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge.twin import params
from edge.twin.faults import FAULTS, severity_course
from edge.twin.params import Array
from edge.twin.readings import FEED_NOISE, RIPPLE
from edge.twin.scenario import Scenario
from edge.twin.shifts import draw
from edge.twin.simulate import Batch, batches, clean, simulate
from edge.twin.tag_table import INDEX, TAGS

UNTOUCHED = {
    # Components no physical path leads to: their tags must be the same numbers, bit for bit.
    "F01": ("C01", "C02", "C04", "C05", "C10", "C12"),
    "F02": ("C02", "C04", "C10", "C12"),
    "F03": ("C01", "C02", "C04", "C05", "C10", "C12"),
    "F04": ("C01", "C02", "C03", "C04", "C05", "C07", "C08", "C09", "C10", "C11", "C12"),
    "F05": ("C01", "C02", "C04", "C05", "C10", "C12"),
    "F06": ("C01", "C02", "C05", "C10", "C12"),
    "F07": ("C01", "C02", "C04", "C05", "C10", "C12"),
    "F14": ("C01", "C02", "C04", "C05", "C12"),
}
COUPLED = {
    # Components the process itself connects; the rest of the line may only move within its noise.
    "F01": ("C07", "C09", "C03"),
    "F02": ("C01", "C05", "C03", "C09", "C11", "C06", "C08"),
    "F03": ("C03", "C09"),
    "F05": ("C06", "C09", "C03", "C08"),
    "F06": ("C04", "C09", "C03", "C11"),
    "F07": ("C09", "C03"),
    "F14": ("C10", "C03", "C09"),
}


@pytest.fixture(scope="module")
def starts() -> dict[str, Array]:
    """The first two hours of one batch, healthy ("") and with each fault at severity 3."""
    codes = ("", *UNTOUCHED)
    scenarios = [Scenario(31, code or None, 3 if code else 0) for code in codes]
    return dict(zip(codes, simulate(scenarios, rows=7200)))


@pytest.mark.parametrize("code", UNTOUCHED)
def test_tags_without_a_physical_path_are_the_same_numbers(
    code: str, starts: dict[str, Array]
) -> None:
    healthy_start, values = starts[""], starts[code]
    assert not np.array_equal(values, healthy_start)
    for i, tag in enumerate(TAGS):
        if tag.component in UNTOUCHED[code]:
            assert np.array_equal(values[:, i], healthy_start[:, i]), tag.name


@pytest.mark.parametrize("code", COUPLED)
def test_tags_outside_the_signature_move_within_their_noise(
    code: str, starts: dict[str, Array]
) -> None:
    healthy_start, values = starts[""], starts[code]
    for i, tag in enumerate(TAGS):
        if tag.component not in COUPLED[code]:
            sigma = tag.sigma * (abs(float(healthy_start[:, i].mean())) if tag.relative else 1.0)
            moved = abs(float((values[:, i] - healthy_start[:, i]).mean()))
            assert moved < max(sigma, 0.01 * (tag.high - tag.low)), f"{tag.name}: {moved}"


@pytest.fixture(scope="module")
def pairs() -> dict[str, tuple[Batch, Batch]]:
    """Four hours of one batch with each fault at severity 3, and without."""
    bad = [Scenario(5, code, 3) for code in FAULTS]
    made = list(batches([*bad, replace(bad[0], severity=0)], rows=14_400))
    return {code: (batch, made[-1]) for code, batch in zip(FAULTS, made)}


@pytest.mark.parametrize("code", FAULTS)
def test_every_fault_acts_on_known_parameters_and_shows(
    code: str, pairs: dict[str, tuple[Batch, Batch]]
) -> None:
    fault = FAULTS[code]
    for effect in fault.effects:
        assert 0 <= params.row(effect.param, max(effect.at, 0)) < params.TOTAL
        assert np.all(np.diff(np.abs(effect.values)) > 0.0)
    scenario = Scenario(5, code, 3)
    assert (scenario.component, scenario.part) == (fault.place(5).component, fault.part)
    bad, good = pairs[code]
    own = [i for i, tag in enumerate(TAGS) if tag.component == scenario.component]
    assert not np.array_equal(bad.values[:, own], good.values[:, own])
    assert float(bad.severity[-1]) > 2.0
    assert not good.severity.any()


def test_severity_grows_to_its_level_from_the_start_onwards() -> None:
    smooth, rough = severity_course(Scenario(9, "F03", 2, start_fraction=0.4), 6480)
    assert not smooth[: int(0.4 * 6480)].any()
    assert not rough[: int(0.4 * 6480)].any()
    after = smooth[int(0.4 * 6480) + 1 :]
    assert np.all(np.diff(after) >= 0.0)
    assert 1.4 < after[0] < after[-1] == pytest.approx(2.0, abs=1e-3)
    assert rough.max() <= 3.0


def test_caustic_freezes_only_in_frost() -> None:
    """F16: crystals raise the line's pressure in proportion to how cold it is."""
    p = np.zeros((params.TOTAL, 4))
    p[params.row("freeze")] = 0.8
    rise = params.frozen(p, np.array([20.0, 12.0, 8.0, -5.0]))
    assert rise == pytest.approx([0.0, 0.0, 0.4, 0.8])
    assert Scenario(1, "F16", 3).circumstances == ("N14",)
    assert Scenario(1, "F16", 0).circumstances == ()


def test_a_healthy_scenario_has_no_component() -> None:
    scenario = Scenario(1, "F03", 0)
    assert (scenario.active_fault, scenario.component, scenario.part) == (None, None, None)


def test_a_trimmed_leak_shows_as_demand_and_not_as_ph() -> None:
    for batch in batches([Scenario(s, "F03", 3) for s in (40, 41)]):
        assert float((np.abs(batch.ph_true - 11.2) < 0.25).mean()) > 0.97
        assert 0.05 < float(batch.bias[-60:].mean()) < 0.12


def test_a_leak_without_an_operator_leaves_the_band() -> None:
    (batch,) = batches([Scenario(40, "F03", 3, operator=False)], rows=7200)
    assert float(batch.ph_true[-1]) < 10.8


def test_core_leak_pulls_the_bias_down_in_proportion_to_the_core_share() -> None:
    bad, good = batches([Scenario(42, "F02", 3), Scenario(42, None, 0)])
    change = bad.bias - good.bias
    assert -0.11 < float(change[40:60].mean()) < -0.04
    assert -0.04 < float(change[-60:].mean()) < -0.004


# Whole-batch features: healthy and defective batches with the same seeds.

CASES = {"F01": "C07", "F02": "C01", "F03": "C03"}
# Not used to choose any spread: the gate must hold out of sample. 64 pairs, because with 32 the
# estimate of an AUC of 0.70 passes 0.75 by chance now and then; bench/twin_gates.py takes more.
_SEEDS = range(90_000, 90_064)
_T = np.arange(60) - 29.5


def features(values: Array) -> Array:
    """[51, 3] mean over the batch of each minute's mean, standard deviation and slope."""
    minutes = values.reshape(-1, 60, len(TAGS))
    mean = minutes.mean(axis=1)
    slope = np.einsum("mrp,r->mp", minutes - mean[:, None], _T.astype(np.float32))
    return np.stack([mean.mean(0), minutes.std(axis=1).mean(0), slope.mean(0)], axis=1)


def auc(low: Array, high: Array) -> float:
    """Probability that the two are told apart by their order, 0.5..1."""
    wins = (high[:, None] > low[None]).mean() + 0.5 * (high[:, None] == low[None]).mean()
    return float(max(wins, 1.0 - wins))


@pytest.fixture(scope="module")
def healthy_features() -> Array:
    return np.stack([features(b.values) for b in batches([Scenario(s, None) for s in _SEEDS])])


@pytest.mark.parametrize("code", CASES)
def test_no_single_tag_gives_severity_1_away(code: str, healthy_features: Array) -> None:
    bad = np.stack([features(b.values) for b in batches([Scenario(s, code, 1) for s in _SEEDS])])
    worst = {
        (tag.name, name): auc(healthy_features[:, i, f], bad[:, i, f])
        for i, tag in enumerate(TAGS)
        for f, name in enumerate(("mean", "std", "slope"))
    }
    assert max(worst.values()) < 0.75, sorted(worst.items(), key=lambda kv: -kv[1])[:5]


@pytest.mark.parametrize("code", CASES)
def test_severity_3_separates_at_the_true_component(code: str, healthy_features: Array) -> None:
    seeds = list(_SEEDS)[:8]
    bad = np.stack([features(b.values) for b in batches([Scenario(s, code, 3) for s in seeds])])
    own = [i for i, tag in enumerate(TAGS) if tag.component == CASES[code]]
    best = [auc(healthy_features[:, i, f], bad[:, i, f]) for i in own for f in range(3)]
    assert max(best) >= 0.99


# The gate for the whole library. Without noise a tag's mean separates at least as well as with it,
# so what passes here passes at full rate too (bench/twin_gates.py adds slopes and deviations).

_LANES = range(91_000, 91_048)
_NOISES = {f"PI-10{i + 1}.PV": FEED_NOISE.start + i for i in range(4)} | {"PI-107.PV": RIPPLE}


def clean_features(code: str | None, severity: int) -> Array:
    """[lanes, 51 + 5] mean over the batch of every tag, then of what scales pressure noise.

    Healthy batches get what the fault needs (frost), or the weather would give it away.
    """
    needs = FAULTS[code].needs if code else None
    scenarios = [
        Scenario(seed, code, severity, confounders=(needs,) if needs else ()) for seed in _LANES
    ]
    shown = clean(scenarios)
    own = np.stack([draw(s).noise for s in scenarios])
    noises = [shown[:, :, column].mean(1) for column in _NOISES.values()]
    scale = [own[:, INDEX[name]] if name != "PI-107.PV" else 1.0 for name in _NOISES]
    return np.column_stack(
        [shown[:, :, : len(TAGS)].mean(1), *(n * s for n, s in zip(noises, scale, strict=True))]
    )


@pytest.fixture(scope="module")
def calm() -> Array:
    return clean_features(None, 0)


@pytest.mark.parametrize("code", FAULTS)
def test_no_mean_gives_severity_1_of_any_fault_away(code: str, calm: Array) -> None:
    good = clean_features(code, 0) if FAULTS[code].needs else calm
    bad = clean_features(code, 1)
    names = [*(tag.name for tag in TAGS), *(f"noise of {name}" for name in _NOISES)]
    score = {name: auc(good[:, i], bad[:, i]) for i, name in enumerate(names)}
    assert max(score.values()) < 0.75, sorted(score.items(), key=lambda kv: -kv[1])[:5]


def test_the_paper_s_irregular_pump_speed_is_where_it_saw_it() -> None:
    """Fig. 3D/E: irregular between rows 30,000 and 40,000 just before a failure."""
    (batch,) = batches([Scenario(3, "F01", 3)])
    speed = batch.values[:, INDEX["SIC-107.PV"]].astype(np.float64)
    rough = speed.reshape(-1, 60).std(axis=1)
    inside = rough[500:667]
    outside = np.concatenate([rough[60:480], rough[700:]])
    assert np.quantile(inside, 0.9) > 2.0 * np.quantile(outside, 0.9)
