"""Poll groups and diagnostics in the whole daemon, on the twin's real servers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge.cli.status import render
from edge.config.types import Appliance, PollGroup
from edge.core.tags import Quality, Reason
from edge.runtime import metrics
from tests.line import ROOT, Rig

Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
FAST, SLOW = "SIC-106.PV", "WI-103.PV"
GROUPS = (PollGroup(name="agitator", poll_s=0.125, reduce="mean"), PollGroup(name="w", poll_s=5.0))
IN_GROUP = {FAST: "agitator", SLOW: "w"}
FREE_FORM = {"conditions", "verdict", "trim"}
"""Sections whose contents docs/status.md does not list key by key."""


def with_groups(appliance: Appliance, directory: Path) -> Appliance:
    line = appliance.lines[0]
    tags = tuple(replace(row, group=IN_GROUP.get(row.tag.name, "")) for row in line.tags)
    assert set(IN_GROUP) <= {row.tag.name for row in tags}
    model = replace(line.model, bundle=directory / "none")
    return replace(appliance, lines=(replace(line, tags=tags, groups=GROUPS, model=model),))


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from keys(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            if key not in FREE_FORM:
                yield from keys(item)


def test_fast_and_slow_tags_end_in_the_rows(
    appliance: Appliance, tmp_path: Path, virtual: Virtual
) -> None:
    async def main() -> None:
        metrics_file = tmp_path / "ncm-edge.prom"
        made = replace(with_groups(appliance, tmp_path), metrics_file=metrics_file)
        async with Rig(made) as rig:
            await rig.start_twins()
            rig.start_app()
            await rig.run(30)
            for name in IN_GROUP:
                _, quality, reason = rig.tag(name)
                assert (quality, reason) == (Quality.GOOD, Reason.NONE)
            document = rig.status()
            (line,) = document["lines"]
            groups = {group["name"]: group for group in line["acquisition"]["groups"]}
            assert groups["agitator"]["polls"] >= 8 * 28
            assert groups["w"]["polls"] in (6, 7)
            assert groups["agitator"]["missed"] == groups["agitator"]["overruns"] == 0
            ages = {tag["name"]: tag["age_s"] for tag in line["tags"]}
            assert all(0 <= age <= 6 for age in ages.values())
            assert "group agitator on dcs: every 0.125 s" in "\n".join(render(document))
            # The plant's tags without a group have not changed their ways.
            assert line["acquisition"]["gap_rows"] == 0
            docs = (ROOT / "docs" / "status.md").read_text(encoding="utf-8")
            for key in keys(document):
                assert f"`{key}`" in docs, f"docs/status.md does not explain {key}"
            assert metrics_file.read_text(encoding="utf-8") == metrics.render(document)
        assert not metrics_file.exists(), "a stopped daemon leaves no figures behind"

    virtual(main())
