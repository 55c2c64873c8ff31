"""The figures of the status document: every key explained, every metric well formed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.cli import status as status_command
from edge.core.histogram import BOUNDS_S, Histogram
from edge.core.tags import Quality
from edge.drivers.base import LinkCounters, RequestCounters
from edge.runtime import diagnostics, metrics
from edge.runtime.status import StatusFile
from tests.cli.test_status import WRITTEN_S, line
from tests.runtime.test_group import FAST, GroupBench, Virtual, grouped
from tests.runtime.test_status import put

DOCS = (Path(__file__).parents[2] / "docs" / "status.md").read_text(encoding="utf-8")
SAMPLE = re.compile(r'(ncm_edge_[a-z0-9_]+)(?:\{((?:[a-z0-9_]+="(?:[^"\\\n]|\\.)*",?)*)\})? (\S+)')


def document(**more: Any) -> dict[str, Any]:
    return {
        "name": "edge-1", "version": "0.1", "config_sha256": "00", "uptime_s": 5.0,
        "written_s": WRITTEN_S, "lines": [line("ncm-1"), line("ncm-2")], **more,
    }  # fmt: skip


def counted(*durations: float) -> Histogram:
    made = Histogram()
    for duration in durations:
        made.add(duration)
    return made


def samples(text: str) -> Iterator[tuple[str, str, float]]:
    for row in text.splitlines():
        if not row.startswith("#"):
            found = SAMPLE.fullmatch(row)
            assert found, row
            yield found[1], found[2] or "", float(found[3])


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from keys(item)


def test_every_key_of_the_diagnostics_is_explained(virtual: Virtual) -> None:
    link = diagnostics.link("plc", LinkCounters(units={1: RequestCounters()}))

    async def main() -> dict[str, Any]:
        bench = GroupBench(grouped(FAST, A0="fast"))
        await bench.rows(3)
        return diagnostics.acquisition(bench.poller)

    for key in {*keys(link), *keys(virtual(main()))}:
        assert f"`{key}`" in DOCS, f"docs/status.md does not explain {key}"


def test_the_acquisition_of_a_line_with_a_group(virtual: Virtual) -> None:
    async def main() -> None:
        bench = GroupBench(grouped(FAST, A0="fast"))
        await bench.rows(3)
        found = diagnostics.acquisition(bench.poller)
        assert (found["rows"], found["gap_rows"], found["late"]["count"]) == (3, 0, 3)
        (group,) = found["groups"]
        assert (group["name"], group["link"], group["polls"]) == ("fast", "a", 17)
        json.dumps(found)

    virtual(main())


def test_every_metric_is_named_as_prometheus_wants() -> None:
    names = [metric.name for metric in metrics.METRICS]
    assert len(set(names)) == len(names)
    for metric in metrics.METRICS:
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", metric.name)
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert not re.search(r"_(ms|minutes|percent|count|sum|bucket)$", metric.name)
        assert metric.kind != "histogram" or metric.name.endswith("_seconds")
        assert re.fullmatch(r"[A-Z0-9][^\n\\]*\.", metric.help)


def test_the_text_is_well_formed_and_each_sample_stands_once() -> None:
    text = metrics.render(document())
    found = list(samples(text))
    assert len({(name, labels) for name, labels, _ in found}) == len(found)
    assert text.endswith("\n")
    typed = re.findall(r"# TYPE ncm_edge_(\S+) (\S+)", text)
    assert typed == [("info", "gauge"), *((m.name, m.kind) for m in metrics.METRICS)]
    values = {f"{name}{{{labels}}}": value for name, labels, value in found}
    place = 'line="ncm-2",link="plc"'
    assert values[f'ncm_edge_requests_total{{{place},unit="9",outcome="timeout"}}'] == 7
    assert values[f"ncm_edge_link_connected{{{place}}}"] == 0
    assert values['ncm_edge_tag_age_seconds{line="ncm-1",tag="WI-103.PV"}'] == 12.0
    assert 'tag="PI-103.PV"' not in text.partition("tag_age")[2], "no value, no sample"
    assert values['ncm_edge_line_tags{line="ncm-1",quality="bad"}'] == 2


def test_buckets_grow_to_the_count() -> None:
    text = metrics.render(document())
    rows = [
        (labels, value) for name, labels, value in samples(text)
        if name == "ncm_edge_row_late_seconds_bucket" and 'line="ncm-1"' in labels
    ]  # fmt: skip
    assert len(rows) == len(BOUNDS_S) + 1
    assert [value for _, value in rows][:4] == [1, 1, 3, 3]
    assert 'le="+Inf"' in rows[-1][0]
    assert 'ncm_edge_row_late_seconds_count{line="ncm-1"} 3' in text


def test_a_link_without_units_counts_its_requests_itself() -> None:
    counters = LinkCounters(ok=3, lost=2, rtt=counted(0.001, 0.002, 0.003))
    text = metrics.render(document(lines=[line(links=[diagnostics.link("dcs", counters)])]))
    place = 'line="ncm-1",link="dcs"'
    assert f'ncm_edge_requests_total{{{place},unit="",outcome="ok"}} 3' in text
    assert f"ncm_edge_link_losses_total{{{place}}} 2" in text
    assert 'outcome="lost"' not in text
    assert f'ncm_edge_round_trip_seconds_count{{{place},unit=""}} 3' in text


def test_a_label_holds_any_name() -> None:
    text = metrics.render(document(lines=[line('a"b\\c\nd')]))
    assert 'line="a\\"b\\\\c\\nd"' in text
    assert list(samples(text))


def test_the_words_for_qualities_are_those_of_the_rows() -> None:
    assert tuple(q.name.lower() for q in Quality) == metrics.QUALITIES


def test_the_file_for_the_collector(tmp_path: Path) -> None:
    path = tmp_path / "ncm-edge.prom"
    writer = StatusFile(tmp_path, path)
    assert put(writer, document()) == ""
    assert path.read_text(encoding="utf-8") == metrics.render(document())
    writer.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_said_and_the_status_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "ncm-edge.prom"
    writer = StatusFile(tmp_path, path)
    assert put(writer, document()) == f"{path}: No such file or directory"
    assert writer.path.exists()
    writer.remove()


def test_the_command_prints_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(StatusFile(tmp_path), document())
    assert status_command.run(tmp_path, as_json=False, as_metrics=True, now_s=WRITTEN_S) == 0
    assert capsys.readouterr().out == metrics.render(document())
