"""The status document: every outcome has words, and all of it can be written and shown."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.app import App
from edge.cli.status import render
from edge.core.cam import Suspect
from edge.core.conditions import TABLE, Condition, Text
from edge.core.registers import Ne107, TrimReason, TrimState
from edge.core.tags import Quality, Reason, Row
from edge.core.trim import Expired, Held, Offered
from edge.core.verdict import NoScore, Verdict
from edge.runtime import report
from edge.runtime.clock import LoopClock
from edge.runtime.notify import Notifier
from edge.runtime.status import StatusFile, read
from tests.line import EPOCH_S, appliance_of
from tests.runtime.test_status import put

OFFER = Offered(
    seq=7, trim_kg_h=-3.25, base_kg_h=80.0, lo_kg_h=-8.0, hi_kg_h=8.0, predicted_ph=11.2,
    reason=TrimReason.PH_HIGH, clamped=False, expires_s=300.0,
)  # fmt: skip
PIPE = Suspect(component="C03", number=3, part="pipe", score=0.8, tags=("PI-103.PV",))


@pytest.fixture
async def app(tmp_path: Path, free_port: Callable[[], int]) -> AsyncIterator[App]:
    """One line with the shipped bundle; nothing runs."""
    made = App(appliance_of(tmp_path, free_port), clock=LoopClock(EPOCH_S), notifier=Notifier({}))
    yield made
    for line in made.lines:
        line.ring.close()


def document(app: App) -> dict[str, Any]:
    """The document after its way through the file."""
    head = report.head(app.appliance, version="1", uptime_s=2.0, written_s=EPOCH_S)
    sections = [report.line_section(line) for line in app.lines]
    assert put(StatusFile(app.appliance.runtime_dir), {**head, "lines": sections}) == ""
    return read(app.appliance.runtime_dir)


def shown(app: App) -> str:
    return "\n".join(render(document(app)))


def test_before_the_first_row(app: App) -> None:
    found = document(app)
    (line,) = found["lines"]
    assert line["tags"] == []
    assert line["cycles"] == 0
    assert line["verdict"] == {
        "text": "no verdict: warming up", "valid": False, "probability": None, "severity": 0,
        "since_s": None, "suspects": [], "drift": line["verdict"]["drift"],
    }  # fmt: skip
    text = shown(app)
    assert "51 of 51 tags bad now" in text
    assert text.count("NOT CONNECTED") == 2


async def test_without_a_model(tmp_path: Path, free_port: Callable[[], int]) -> None:
    appliance = appliance_of(tmp_path, free_port, bundle=tmp_path / "nothing")
    app = App(appliance, clock=LoopClock(EPOCH_S), notifier=Notifier({}))
    text = shown(app)
    app.lines[0].ring.close()
    assert "inference  none, " in text
    assert str(tmp_path / "nothing") in text
    assert "model      none" in text
    assert "no verdict: no model" in text


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        (Verdict(valid=True, why=None, probability=0.021), "normal, defect probability 2.1%"),
        (
            Verdict(valid=True, why=None, probability=0.97, severity=3),
            "severity 3 (D-1), defect probability 97.0%",
        ),
        (
            Verdict(why=NoScore.INPUT_BAD, severity=2),
            "no verdict: too few good process values; last: severity 2 (D-2)",
        ),
        # A verdict that grew old keeps its number; `valid` says that it must not be shown.
        (Verdict(why=None, probability=0.5), "no verdict: stale"),
        *((Verdict(why=why), f"no verdict: {why}") for why in NoScore),
    ],
)
def test_every_verdict_has_words(verdict: Verdict, text: str) -> None:
    assert report.verdict_text(verdict) == text


def test_a_suggestion_is_shown_with_its_base(app: App) -> None:
    core = app.lines[0].core
    for state, words in [
        (TrimState.OFFERED, "offered"),
        (TrimState.ACCEPTED, "accepted"),
        (TrimState.APPLIED_WITH_CLAMP, "applied with clamp"),
    ]:
        core.desk.advice = replace(core.desk.advice, outcome=OFFER, state=state)
        wanted = f"{words} #7: -3.2 kg/h on 80.0 kg/h, predicted pH 11.20"
        assert report.trim_text(core) == wanted


def test_every_reason_to_withhold_or_withdraw_has_words(app: App) -> None:
    core = app.lines[0].core
    for reason in TrimReason:
        words = reason.name.lower().replace("_", " ")
        core.desk.advice = replace(core.desk.advice, outcome=Held(reason), reason=reason)
        assert report.trim_text(core) == f"held: {words}"
        gone = replace(core.desk.advice, outcome=Expired(7, reason), state=TrimState.EXPIRED)
        core.desk.advice = gone
        assert report.trim_text(core) == f"#7 expired: {words}"


def test_suspects_are_named_as_the_plant_names_them(app: App) -> None:
    core = app.lines[0].core
    core.finding.verdict = Verdict(valid=True, why=None, probability=0.97, severity=3, since_s=1.0)
    core.finding.suspects = (PIPE, replace(PIPE, component="C05", part="", score=0.2))
    names = {c.code: c.name for c in core.setup.topology.components}
    text = shown(app)
    assert f"  C03 {names['C03']} (pipe)  score 0.80" in text
    assert f"  C05 {names['C05']}  score 0.20" in text


def test_every_condition_reaches_the_screen(app: App) -> None:
    app.lines[0].core.texts = tuple(
        Text(condition=condition, ne107=row.ne107, cause=row.cause, action=row.action,
             since_s=5.0, latched=False)
        for condition, row in TABLE.items()
    )  # fmt: skip
    text = shown(app)
    assert len(TABLE) == len(Condition)
    for row in TABLE.values():
        assert f"  ! {row.cause} {row.action}" in text


def test_the_tags_of_the_newest_row_with_reasons_and_without_numbers_where_bad(app: App) -> None:
    line = app.lines[0]
    count = len(line.line.tags)
    row = Row(
        t_s=EPOCH_S,
        values=np.full(count, 1.5, np.float32),
        quality=np.full(count, Quality.GOOD, np.uint8),
        reason=np.zeros(count, np.uint8),
        start_s=0.0,
        end_s=0.1,
    )
    row.values[3], row.quality[3], row.reason[3] = np.nan, Quality.BAD, Reason.OUT_OF_RANGE
    line.last_row = row
    tags = document(app)["lines"][0]["tags"]
    assert [tag["name"] for tag in tags] == [item.tag.name for item in line.line.tags]
    assert tags[0]["value"] == 1.5
    assert (tags[3]["value"], tags[3]["quality"]) == (None, "bad")
    assert tags[3]["reason"] == "out of range"


async def test_the_headline_names_every_line(tmp_path: Path, free_port: Callable[[], int]) -> None:
    appliance = appliance_of(tmp_path, free_port, names=2)
    app = App(appliance, clock=LoopClock(EPOCH_S), notifier=Notifier({}))
    for line in app.lines:
        line.ring.close()
    headline = report.headline(app.lines)
    assert re.fullmatch(r"ncm-1: [a-z ]+, no verdict: [a-z ]+; ncm-2: [a-z ]+, .*", headline)
    assert "\n" not in headline


def test_a_continuous_line_has_no_batch(app: App) -> None:
    core = app.lines[0].core
    core.setup = replace(core.setup, has_batches=False)
    assert "batch      continuous process" in shown(app)


def test_everything_is_plain_json(app: App) -> None:
    made = report.line_section(app.lines[0])
    assert set(made) >= {"ne107", "verdict", "trim", "links", "conditions", "tags"}
    json.dumps(made)
    assert made["ne107"] in list(Ne107)
