"""What the page says and marks: sentences from documents, no browser needed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.core.outputs import Decision, encode_block_w
from edge.core.registers import BLOCK_R_WORDS, Status, TrimReason, TrimState
from edge.page import blocks, view


@pytest.fixture
def section(recorded: Path) -> dict[str, Any]:
    document = json.loads((recorded / "status.json").read_text(encoding="utf-8"))
    return dict(document["lines"][0])


def wire(decision: Decision, age_s: float = 0.5, applied: int = 0) -> dict[str, Any]:
    panel = [0] * BLOCK_R_WORDS
    panel[3] = applied
    return {
        "blocks": {
            "W": {"age_s": age_s, "words": list(encode_block_w(decision, 7))},
            "R": {"age_s": age_s, "words": panel},
        },
        "raw": {},
    }


OFFER = Decision(
    status=Status.RUNNING | Status.OUTPUT_VALID | Status.TRIM_OFFERED, probability=0.1, severity=0,
    trim_seq=12, trim_kg_h=1.4, trim_base_kg_h=206.7, trim_lo_kg_h=-3.1, trim_hi_kg_h=3.1,
    trim_ttl_s=240.0, trim_state=TrimState.OFFERED, trim_reason=TrimReason.PH_LOW,
    infer_age_s=12.0, drift=0.4,
)  # fmt: skip


def said(found: dict[str, Any], label: str) -> dict[str, str]:
    (item,) = [item for item in found["trust"] if item["label"] == label]
    return dict(item)


def test_an_open_suggestion_shows_base_limits_and_expiry(section: dict[str, Any]) -> None:
    section["trim"] = {"text": "offered #12: +1.4 kg/h on 206.7 kg/h", "state": "OFFERED",
                       "reason": "PH_LOW", "demand": 0.01, "demand_reference": None}  # fmt: skip
    advice = view.line(section, wire(OFFER, age_s=2.0), 1.0)["advice"]
    assert dict(advice["rows"]) == {
        "NaOH": "206.7 → 208.1 kg/h (+1.4)",
        "limits": "-3.1 to +3.1 kg/h on 206.7",
        "expires": "in 238 s unless accepted at the panel",
    }


def test_what_the_plc_applies_is_what_the_plc_says(section: dict[str, Any]) -> None:
    taken = replace(OFFER, trim_state=TrimState.ACCEPTED, status=Status.RUNNING)
    rows = dict(view.line(section, wire(taken, applied=13), 1.0)["advice"]["rows"])
    assert rows["in force"] == "1.3 kg/h, says the PLC"
    assert "expires" not in rows


def test_a_torn_block_advises_nothing(section: dict[str, Any]) -> None:
    torn = wire(OFFER)
    torn["blocks"]["W"]["words"][63] += 1
    found = view.line(section, torn, 1.0)
    assert found["advice"]["rows"] == []
    assert "torn" in view.wires(section, torn)["blocks"]["W"]["fault"]
    torn["blocks"]["W"]["words"][63] -= 1
    torn["blocks"]["W"]["words"][18] += 1
    assert "CRC" in blocks.sound(torn["blocks"]["W"]["words"])


@pytest.mark.parametrize(
    ("changes", "text", "level"),
    [
        ({"provider": "cuda", "provider_reason": ""}, "last inference 12 s ago on GPU", "ok"),
        ({"provider": "cpu", "provider_reason": "CPU chosen in the configuration"},
         "last inference 12 s ago on CPU: CPU chosen in the configuration", "ok"),
        ({"provider": "cpu", "provider_reason": "CUDA: no device"},
         "last inference 12 s ago on CPU: CUDA: no device", "note"),
        ({"provider": "none", "provider_reason": "bundle is damaged"},
         "nowhere: bundle is damaged", "bad"),
    ],
)  # fmt: skip
def test_where_the_model_runs_and_why(
    changes: dict[str, Any], text: str, level: str, section: dict[str, Any]
) -> None:
    item = said(view.line(section | changes, wire(OFFER), 1.0), "model runs")
    assert (item["text"], item["level"]) == (text, level)


def test_without_the_words_nothing_is_made_up(section: dict[str, Any]) -> None:
    found = view.line(section, None, 1.0)
    assert said(found, "model runs")["text"].startswith("on CPU")
    assert said(found, "drift")["text"] == "not known yet"
    assert found["advice"]["rows"] == []


def test_drift_and_links_are_marked(section: dict[str, Any]) -> None:
    section["links"][0]["connected"] = False
    found = view.line(section, wire(replace(OFFER, drift=1.2)), 1.0)
    assert said(found, "drift") == {
        "label": "drift", "text": "120% of the limit: input unlike that in training",
        "level": "bad",
    }  # fmt: skip
    assert said(found, "links")["text"] == "down: plc"
    assert said(found, "links")["level"] == "bad"


def test_every_bit_and_code_has_a_word() -> None:
    words = list(encode_block_w(OFFER, 7))
    rows = {entry.name: entry for entry in blocks.entries("W", words)}
    assert rows["STATUS"].value == "running, output valid, trim offered"
    assert rows["TRIM_NAOH"].value == "1.4 kg/h"
    assert rows["TRIM_REASON"].value == "ph low"
    assert rows["DRIFT_SCORE"].value == "40.0%"
    assert rows["INFER_MS"].value == "no value"
    assert "RESERVED" not in rows
    words[23] = 777
    assert {e.name: e.value for e in blocks.entries("W", words)}["TRIM_REASON"] == "code 777"
    words[24] = 0b101
    assert {e.name: e.value for e in blocks.entries("W", words)}["TAGS_BAD"] == "tags 1, 3"
    assert blocks.entries("W", words[:60]) == []
