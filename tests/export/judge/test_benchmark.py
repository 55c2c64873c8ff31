"""The benchmark keeps its promises: one broken fit is one row, what is there is not run again."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from edge.core.features import batch_features
from export.cli import benchmark
from export.data.dataset import Batch, Dataset, LineSpec
from export.data.plant import piece_of
from export.faults import ExportError
from export.judge.benchmark import RESULTS, Options, Row, read_rows, run_benchmark
from export.judge.card import card, store
from export.judge.folds import make_fold
from export.judge.plan import Cut
from export.judge.runner import Limits
from export.judge.spec import Spec, load_spec, shipped, spec_of_plant
from export.judge.table import gather, text_table
from export.methods import METHODS, QUICK

LINE = LineSpec(
    name="toy",
    tags=(("F", "kg/h"), ("P", "bar"), ("T", "C")),
    components=("C01", "C02", "C03"),
    spans=(100.0, 10.0, 100.0),
    row_s=60.0,
    step_rows=2,
)


def stretch(seed: int, domain: str, group: str, onset: int | None) -> Batch:
    draw = np.random.default_rng(seed)
    level = np.zeros(60, np.int8)
    if onset is not None:
        level[onset:48] = 2
    x = draw.normal([50.0, 5.0, 60.0], [1.0, 0.1, 0.5], (60, 2, 3))
    x[:, :, 1] += 1.0 * level[:, None]
    features, valid = batch_features(x.astype(np.float32))
    defective = onset is not None
    return Batch(
        features=features,
        valid=valid,
        severity=level,
        domain=domain,
        split="train",
        group=group,
        fault="leak" if defective else "",
        component="C02" if defective else "",
    )


DATASET = Dataset(
    line=LINE,
    batches=tuple(
        stretch(10 * k + n, d, f"{d}{n}", 36 if n < 3 else None)
        for k, d in enumerate("ab")
        for n in range(4)
    ),
    simulated=True,
    source="invented",
    sha256="0" * 64,
)
SPEC = Spec(
    name="toy",
    title="A toy (simulated)",
    cut=Cut(steps=6, stride=3),
    each=({"few_groups": 1},),
)


def run(out: Path, *methods: str, spec: Spec = SPEC, **having: object) -> list[Row]:
    values: dict[str, object] = {"seeds": (1,), "quiet": True, "jobs": 2}
    options = Options(out=out, methods=methods, **(values | having))  # type: ignore[arg-type]
    return run_benchmark([(spec, DATASET)], options)


def test_a_row_has_its_figures_and_its_hashes(tmp_path: Path) -> None:
    rows = run(tmp_path, "shift", tasks="-> b")
    assert [r["status"] for r in rows] == ["ok"]
    row = rows[0]
    assert row["figures"]["auc"] > 0.99
    assert row["figures"]["deviation_hit1"] == 1.0
    assert row["simulated"] is True
    assert len(row["data"]) == len(row["code"]) == 16
    assert row["samples"]["target_defective"] > 0
    assert read_rows(tmp_path / RESULTS) == rows
    with np.load(next((tmp_path / "scores" / "toy").glob("*.npz"))) as scores:
        assert len(scores["score"]) == len(scores["level"]) == row["samples"]["test"]


@pytest.mark.parametrize(
    ("way", "status", "reason"),
    [
        ("crash", "failed", "ended by SIGABRT"),
        ("leave", "failed", "exit code 3"),
        ("loop", "failed", "took more than 5 s; give more with --seconds"),
        ("hog", "failed", "took more than 1 GiB of memory"),
        ("unfit", "not applicable", "needs two suns"),
        ("fault", "failed", "ZeroDivisionError at rehearse.py"),
        ("nan", "failed", "scores are not finite"),
    ],
)
def test_what_breaks_is_one_row(tmp_path: Path, way: str, status: str, reason: str) -> None:
    seconds = 5.0 if way == "loop" else 60.0
    limits = Limits(seconds=seconds, gib=1.0)
    rows = run(tmp_path, f"fail-{way}", "shift", tasks="-> b", limits=limits)
    at = {r["method"]: r for r in rows}
    assert at["shift"]["status"] == "ok"
    assert at[f"fail-{way}"]["status"] == status
    assert reason in at[f"fail-{way}"]["reason"]


def test_what_is_there_is_not_run_again(tmp_path: Path) -> None:
    first = run(tmp_path, "shift")
    again = run(tmp_path, "shift", seeds=(1, 2))
    assert len(read_rows(tmp_path / RESULTS)) == len(again) == 2 * len(first)
    assert [r for r in again if r["seed"] == 1] == first


def test_a_half_written_line_is_run_again(tmp_path: Path) -> None:
    run(tmp_path, "shift", tasks="-> b")
    path = tmp_path / RESULTS
    path.write_text(path.read_text()[:-40])
    assert read_rows(path) == []
    rows = run(tmp_path, "shift", tasks="-> b")
    assert [r["status"] for r in rows] == ["ok"]


def test_other_data_is_another_row(tmp_path: Path) -> None:
    run(tmp_path, "shift", tasks="-> b")
    moved = dataclasses.replace(SPEC, cut=Cut(steps=6, stride=6))
    run(tmp_path, "shift", tasks="-> b", spec=moved)
    rows = read_rows(tmp_path / RESULTS)
    assert len(rows) == 2
    assert rows[0]["data"] != rows[1]["data"]


def test_a_set_that_cannot_be_read_leaves_the_others(tmp_path: Path) -> None:
    gone = Spec(name="gone", title="gone", data=tmp_path / "nowhere", each=({},))
    options = Options(out=tmp_path, methods=("shift",), seeds=(1,), quiet=True)
    rows = run_benchmark([(gone, None), (SPEC, DATASET)], options)
    assert {r["set"] for r in rows} == {"toy"}
    (skipped,) = read_rows(tmp_path / RESULTS, "skipped")
    assert "no such file" in skipped["reason"]


def test_an_unknown_method_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="method 'nonsense': unknown"):
        run(tmp_path, "nonsense")


def test_the_card_says_what_was_measured_and_what_was_not(tmp_path: Path) -> None:
    run(tmp_path, "shift", "fail-crash", "fail-unfit", seeds=(1, 2))
    stored = tmp_path / "benchmark.jsonl"
    store(tmp_path, stored)
    text = card(stored, tmp_path / "figures")
    assert "## A toy (simulated)" in text
    assert "not measured" in text
    assert "### Fits that failed" in text
    assert "SIGABRT" in text
    assert "needs two suns" in text
    assert str(tmp_path) not in text
    assert text == card(stored, tmp_path / "figures")


def test_the_table_shows_spread_over_seeds(tmp_path: Path) -> None:
    rows = run(tmp_path, "shift", seeds=(1, 2))
    text = text_table(rows, read_rows(tmp_path / RESULTS, "set"))
    assert "±" in text
    assert "[simulated]" in text
    (one, _) = gather(rows)
    assert one["seeds"] == [1, 2]


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_benchmark_can_be_read(name: str) -> None:
    spec = load_spec(name)
    assert spec.tasks or spec.each
    assert spec.plant is None or spec.plant.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plant = 'skab'", r"no \[\[task\]\]"),
        ("[[task]]\neach = true", "exactly one of 'plant' and 'data'"),
        ("plant = 'x'\n[[task]]\nname = 'n'\nsources = []", "key 'task.targets' is missing"),
        ("plant = 'x'\nthresh = 1\n[[task]]\neach = true", "unknown key 'thresh'"),
        ("plant = 'x'\njudge = 'me'\n[[task]]\neach = true", "judge = 'me': permitted are"),
        ("plant = 'x'\nfalse_alarms = 'few'\n[[task]]\neach = true", "permitted is a number"),
        ("plant = 'x'\n[cut]\nsteps = 'all'\n[[task]]\neach = true", "cut.steps = 'all'"),
        ("plant = [", "not valid TOML"),
    ],
)
def test_a_wrong_description_says_what_is_permitted(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ExportError, match=message):
        load_spec(str(path))


def test_a_plant_nobody_has_seen_gets_a_task_per_domain() -> None:
    spec = spec_of_plant(Path("mine.toml"), DATASET)
    assert [p.name for p in spec.plans(DATASET)] == ["b -> a", "a -> b"]
    one = dataclasses.replace(
        DATASET, batches=tuple(dataclasses.replace(b, domain="line") for b in DATASET.batches)
    )
    plans = spec_of_plant(Path("mine.toml"), one).plans(one)
    assert [p.targets for p in plans] == [("a0",), ("a1",), ("a2",), ("b0",), ("b1",), ("b2",)]
    assert all(p.targets[0] not in p.sources for p in plans)


PLANT = r"""
files = ["run*.csv"]
time = "t_s"
time_format = "s"
row_s = 60.0
step_rows = 2
label = "bad"
auto_tags = ["F", "P"]
group = "{stem}"
domain = "site{site}"
file_pattern = 'run(?P<run>\d+)_site(?P<site>\d+)'
"""


def write_plant(folder: Path) -> Path:
    """Six runs of two sites as CSV, and what describes them."""
    for n in range(6):
        draw = np.random.default_rng(n)
        bad = (np.arange(240) >= 150) & (np.arange(240) < 210) & (n % 3 < 2)
        x = draw.normal([50.0 + 10.0 * (n % 2), 5.0], [1.0, 0.1], (240, 2))
        x[:, 1] += 1.0 * bad
        lines = [f"{60 * k},{x[k, 0]:.4f},{x[k, 1]:.4f},{int(bad[k])}" for k in range(240)]
        file = folder / f"run{n}_site{n % 2}.csv"
        file.write_text("t_s,F,P,bad\n" + "\n".join(lines) + "\n")
    path = folder / "mine.toml"
    path.write_text(PLANT)
    return path


def command(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    benchmark.add(parser.add_subparsers())
    return parser.parse_args(["benchmark", *argv])


def test_a_plant_of_ones_own_needs_one_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant, out = str(write_plant(tmp_path)), str(tmp_path / "out")
    benchmark.run(command("--plant", plant, "--out", out, "--quick", "--quiet", "--jobs", "2"))
    text = capsys.readouterr().out
    assert "site1 -> site0" in text
    assert "site0 -> site1" in text
    rows = read_rows(tmp_path / "out" / RESULTS)
    assert {r["method"] for r in rows} == set(QUICK) & set(METHODS)
    assert len({r["method"] for r in rows if r["status"] == "ok"}) >= 3
    assert not [r for r in rows if r["status"] == "failed"]
    assert min(r["figures"]["auc"] for r in rows if r["method"] == "pca") > 0.9


def test_no_such_method_is_said_before_anything_is_read(tmp_path: Path) -> None:
    args = command("--plant", str(tmp_path / "none.toml"), "--only", "nonsense")
    with pytest.raises(ExportError, match="no such method"):
        benchmark.run(args)


def test_batches_are_split_by_batch() -> None:
    """Ten normal batches of a domain and five defective ones, a little unlike in length."""
    batches = tuple(
        dataclasses.replace(
            piece_of(stretch(100 * k + n, d, f"{d}{n}", 0 if n > 9 else None), 0, 60 - n % 3),
            split="test",
        )
        for k, d in enumerate("ab")
        for n in range(15)
    )
    dataset = dataclasses.replace(DATASET, batches=batches)
    spec = spec_of_plant(Path("mine.toml"), dataset)
    assert spec.cut.steps == 0
    fold = make_fold(dataset, spec.cut, spec.plans(dataset)[0], 1)
    assert {b.level > 0 for b in fold.test} == {True, False}
    assert {len(b.severity) for b in fold.test} == {58}
    assert len(fold.task.calibrate) == 3
    assert sum(b.level > 0 and b.domain == "a" for b in fold.task.train) == 1


def test_results_are_one_json_object_a_line(tmp_path: Path) -> None:
    run(tmp_path, "shift", tasks="-> b")
    kinds = [json.loads(x)["kind"] for x in (tmp_path / RESULTS).read_text().splitlines()]
    assert kinds == ["run", "set", "result"]
