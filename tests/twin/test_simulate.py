"""Batches: shape, ranges, noise, reproducibility, and the confounders."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge.core.schedule import reference_schedule
from edge.twin.confounders import CONFOUNDERS
from edge.twin.faults import FAULTS
from edge.twin.rows import Instruments
from edge.twin.scenario import Domain, Scenario, draw_scenarios
from edge.twin.shifts import DOMAINS, as_built, draw
from edge.twin.simulate import Batch, batches, clean, course_of, simulate
from edge.twin.tag_table import INDEX, NAMES, OPC_UA_TAGS, TAGS

HEALTHY = Scenario(7, None, 0)


@pytest.fixture(scope="module")
def nominal() -> list[Batch]:
    """Six whole healthy batches."""
    return list(batches([Scenario(seed, None, 0) for seed in range(20, 26)]))


def test_a_batch_has_the_paper_s_shape(nominal: list[Batch]) -> None:
    batch = nominal[0]
    assert batch.values.shape == (64_800, 51)
    assert batch.values.dtype == np.float32
    assert len(batch.severity) == len(batch.ph_true) == len(batch.bias) == 1080
    assert np.isfinite(batch.values).all()
    assert not batch.severity.any()


def test_the_table_has_the_51_tags_of_the_note() -> None:
    assert len(set(NAMES)) == len(TAGS) == 51
    assert (NAMES[0], NAMES[15], NAMES[28], NAMES[37]) == (
        "SIC-101.PV", "PI-103.PV", "SIC-106.PV", "PI-107.PV",
    )  # fmt: skip
    assert NAMES[43:] == (
        "TI-001.PV", "AIT-106A.PV", "AIT-106B.PV", "AIT-106C.PV", "AIT-106D.PV", "AIT-106E.PV",
        "FI-108.PV", "LI-106.PV",
    )  # fmt: skip
    assert [i + 1 for i in OPC_UA_TAGS] == [*range(29, 35), *range(40, 52)]


def test_healthy_batches_stay_near_the_normal_ranges(nominal: list[Batch]) -> None:
    values = np.concatenate([b.values[::60] for b in nominal])
    for i, tag in enumerate(TAGS):
        margin = 0.2 * (tag.high - tag.low) + 2.0 * tag.sigma
        inside = (values[:, i] > tag.low - margin) & (values[:, i] < tag.high + margin)
        assert inside.mean() > 0.90, f"{tag.name}: {inside.mean():.3f} of the values"


def test_trimmed_batches_hold_ph_and_temperature(nominal: list[Batch]) -> None:
    for batch in nominal:
        assert float(np.abs(batch.ph_true - 11.2).max()) < 0.25
        temperature = batch.values[:, INDEX["TIC-106.PV"]]
        assert 47.3 < float(temperature.min()) <= float(temperature.max()) < 48.7


def test_slow_instruments_hold_their_value(nominal: list[Batch]) -> None:
    values = nominal[0].values
    for i, tag in enumerate(TAGS):
        moved = np.flatnonzero(np.diff(values[:, i]) != 0.0)
        period = np.diff(moved)
        if tag.update == "F":
            assert period.min() == 1, tag.name
        elif tag.update == "M":
            assert 2 <= period.min() <= 5, tag.name
        else:
            assert period.min() >= 10, tag.name


def test_values_are_multiples_of_the_resolution(nominal: list[Batch]) -> None:
    values = nominal[0].values[::97].astype(np.float64)
    for i, tag in enumerate(TAGS):
        steps = values[:, i] / tag.quantum
        assert float(np.abs(steps - np.rint(steps)).max()) < 0.01, tag.name


def test_the_hose_pump_beats_slowly_at_one_hertz(nominal: list[Batch]) -> None:
    """A pulse at about 1.07 Hz sampled at 1 Hz shows as a beat of 10 to 30 s."""
    pressure = nominal[0].values[20_000:24_096, INDEX["PI-107.PV"]].astype(np.float64)
    power = np.abs(np.fft.rfft(pressure - pressure.mean())) ** 2
    period_s = 4096 / (np.argmax(power[40:]) + 40)
    rpm = float(nominal[0].values[20_000:24_096, INDEX["SIC-107.PV"]].mean())
    assert period_s == pytest.approx(1.0 / abs(rpm / 30.0 - 1.0), rel=0.15)


def test_the_same_scenario_gives_the_same_batch() -> None:
    scenario = Scenario(3, "F03", 2, confounders=("N04", "N11"))
    first, second = (simulate([scenario], rows=1200) for _ in range(2))
    assert np.array_equal(first, second, equal_nan=True)


def test_a_lane_does_not_depend_on_its_neighbours() -> None:
    scenarios = [Scenario(s, "F01", 3) for s in (1, 2, 3)]
    together = simulate(scenarios, rows=1800)
    for lane, scenario in enumerate(scenarios):
        alone = simulate([scenario], rows=1800)[0]
        assert np.array_equal(together[lane], alone)


def test_rows_ends_a_batch_early() -> None:
    assert simulate([HEALTHY], rows=125).shape == (1, 125, 51)
    assert np.array_equal(simulate([HEALTHY], rows=125)[0], simulate([HEALTHY], rows=600)[0, :125])


def test_another_schedule_gives_another_batch() -> None:
    schedule = reference_schedule()
    short = replace(schedule, steps=schedule.steps[:1])
    (batch,) = batches([HEALTHY], short)
    assert batch.values.shape == (3600, 51)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_healthy_batch_of_every_domain_holds_ph(domain: Domain) -> None:
    for batch in batches([Scenario(s, None, 0, domain, domain_seed=s) for s in (1, 2)]):
        assert float(np.quantile(np.abs(batch.ph_true - 11.2), 0.99)) < 0.25
        assert np.isfinite(batch.values).all()


def test_a_domain_is_one_plant_and_every_seed_of_it_another() -> None:
    first, again, other = (
        draw(Scenario(seed, None, 0, "repaired", domain_seed=domain_seed))
        for seed, domain_seed in ((1, 4), (1, 4), (1, 5))
    )
    assert np.array_equal(first.kg_rev, again.kg_rev)
    assert not np.array_equal(first.kg_rev, other.kg_rev)
    built = as_built()
    assert np.array_equal(first.deadband, built.deadband)  # the same PLC after a repair
    assert draw(Scenario(1, None, 0, "reactor_b")).deadband.any()


def test_another_historian_sends_by_exception_late_and_coarse() -> None:
    scenario = Scenario(3, None, 0, "reactor_b", domain_seed=2)
    plant = draw(scenario)
    steady = replace(plant, jitter=np.array(0.0))  # a late row may hide a move, or join two
    shown = clean([scenario])[0]
    instruments = Instruments(scenario.seed, course_of(scenario, len(shown)), steady)
    values = instruments.rows(shown[:360]).astype(np.float64)
    assert 0.05 <= float(plant.jitter) <= 0.25
    for i, tag in enumerate(TAGS):
        counts = values[:, i] / (tag.quantum * plant.quantum[i])
        assert float(np.abs(counts - np.rint(counts)).max()) < 0.01, tag.name
        moved = np.abs(np.diff(values[:, i]))
        assert not ((moved > 0.0) & (moved < 0.99 * plant.deadband[i])).any(), tag.name


@pytest.fixture(scope="module")
def disturbed_batches() -> dict[str, Batch]:
    """The same healthy batch undisturbed ("") and with each confounder."""
    scenarios = [HEALTHY, *(replace(HEALTHY, confounders=(code,)) for code in CONFOUNDERS)]
    return dict(zip(("", *CONFOUNDERS), batches(scenarios)))


@pytest.mark.parametrize("code", CONFOUNDERS)
def test_a_confounder_shows_and_is_not_a_defect(
    code: str, disturbed_batches: dict[str, Batch]
) -> None:
    plain, disturbed = disturbed_batches[""], disturbed_batches[code]
    assert not disturbed.severity.any()
    same = np.array_equal(plain.values, disturbed.values, equal_nan=True)
    assert same == (code == "N13")  # N13 is in every batch
    assert float(np.abs(disturbed.ph_true - 11.2).max()) < 0.45


def test_a_hold_stops_every_feed_and_keeps_ph(disturbed_batches: dict[str, Batch]) -> None:
    batch = disturbed_batches["N02"]
    flows = batch.values[:, [INDEX[f"FIC-10{i}.PV"] for i in (1, 2, 3, 4)]]
    stopped = (flows < 2.0).all(axis=1)
    assert 540 < int(stopped.sum()) < 2460
    assert float(np.abs(batch.ph_true - 11.2).max()) < 0.3


def test_a_gap_is_nan_and_takes_whole_links(disturbed_batches: dict[str, Batch]) -> None:
    batch = disturbed_batches["N11"]
    missing = np.isnan(batch.values)
    assert missing.any()
    plc = [i for i in range(51) if i not in OPC_UA_TAGS]
    for link in (plc, list(OPC_UA_TAGS)):
        some = missing[:, link]
        assert (some.any(axis=1) == some.all(axis=1)).all()


def test_a_cleaned_probe_is_the_only_one_missing(disturbed_batches: dict[str, Batch]) -> None:
    batch = disturbed_batches["N04"]
    missing = np.isnan(batch.values).any(axis=0)
    assert {NAMES[i] for i in np.flatnonzero(missing)} <= {f"AIT-106{c}.PV" for c in "ABCD"}
    assert missing.any()


def test_domains_differ_and_a_domain_is_one_plant() -> None:
    def means(seeds: range, domain_seed: int) -> np.ndarray:
        scenarios = [Scenario(s, None, 0, "target", domain_seed=domain_seed) for s in seeds]
        return simulate(scenarios, rows=3600).mean(axis=(0, 1))

    a, again, b = means(range(8), 1), means(range(50, 58), 1), means(range(8), 2)
    within = np.abs(a - again) / np.abs(a)
    between = np.abs(a - b) / np.abs(a)
    shifted = INDEX["SIC-101.PV"], INDEX["SC-101.OUT"], INDEX["SIC-107.PV"], INDEX["SIC-104.PV"]
    assert max(between[i] for i in shifted) > 2.0 * max(within[i] for i in shifted)


def test_scenarios_are_balanced() -> None:
    scenarios = draw_scenarios(400, seed=1, faults=tuple(FAULTS))
    defective = [s for s in scenarios if s.severity]
    assert len(defective) == 200
    assert {s.fault for s in defective} == set(FAULTS)
    assert {s.severity for s in defective} == {1, 2, 3}
    share = [
        np.mean([bool(s.confounders) for s in scenarios if bool(s.severity) == bad])
        for bad in (False, True)
    ]
    assert share == pytest.approx([0.5, 0.5], abs=0.1)
    assert len({s.seed for s in scenarios}) == 400


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fault": "F99"}, "fault 'F99': permitted are F01"),
        ({"severity": 4}, "severity 4: permitted are 0, 1, 2, 3"),
        ({"domain": "moon"}, "domain 'moon'"),
        ({"confounders": ("N99",)}, "confounder 'N99'"),
        ({"start_fraction": 1.0}, "start_fraction"),
        ({"seed": -1}, "permitted from 0"),
    ],
)
def test_a_wrong_scenario_is_refused_with_the_permitted_values(
    wrong: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Scenario(**{"seed": 1, **wrong})  # type: ignore[arg-type]
