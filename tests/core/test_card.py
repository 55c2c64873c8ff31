"""The model card: round trip, every fault named, every mismatch with a line named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edge.core.card import CardError, ModelCard, StateTensor, from_dict, mismatches, to_dict
from edge.core.features import FEATURES

TAGS = (("A", "bar"), ("B", "kg/h"), ("C", "pH"))


def card(**changes: Any) -> ModelCard:
    values: dict[str, Any] = {
        "format": 2,
        "name": "test",
        "serial": 3,
        "notice": "trained on simulated data, not for production",
        "simulated": True,
        "tags": TAGS,
        "features": FEATURES,
        "row_s": 1.0,
        "step_rows": 60,
        "slot_steps": 3,
        "states": (StateTensor(name="gru", shape=(4,)),),
        "kinds": ("C01", "C03"),
        "threshold": 0.8,
        "clear_threshold": 0.6,
        "severity_thresholds": (0.5, 0.5, 0.5),
        "drift_limit": 2.0,
        "files": {"model.onnx": "0" * 64},
        "metrics": {"auc": 0.9},
        "provenance": {"seed": 1},
    }
    return ModelCard(**{**values, **changes})


def test_round_trip_through_json() -> None:
    assert from_dict(json.loads(json.dumps(to_dict(card())))) == card()


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("serial", 0, "1..65535"),
        ("serial", True, "1..65535"),
        ("threshold", 1.5, "0..1"),
        ("threshold", "high", "0..1"),
        ("tags", [["A"]], "tags[0]"),
        ("tags", [["A", "bar"], ["A", "bar"]], "occurs twice"),
        ("severity_thresholds", [0.5, 0.5], "three probabilities"),
        ("states", [{"name": "gru", "shape": [0]}], "states[0]"),
        ("files", {"model.onnx": "abc"}, "SHA-256"),
        ("row_s", float("nan"), "row_s"),
        ("simulated", "yes", "true or false"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_permitted(key: str, value: Any, says: str) -> None:
    raw = to_dict(card())
    raw[key] = value
    with pytest.raises(CardError) as caught:
        from_dict(raw)
    assert key in str(caught.value)
    assert says in str(caught.value)


def test_all_missing_fields_are_listed_at_once() -> None:
    with pytest.raises(CardError) as caught:
        from_dict({"format": 2})
    text = str(caught.value)
    assert all(key in text for key in ("name", "tags", "threshold", "files", "row_s"))


@pytest.mark.parametrize("raw", [None, [], "card", 3])
def test_what_is_not_an_object_is_refused(raw: object) -> None:
    with pytest.raises(CardError):
        from_dict(raw)


def test_another_format_is_not_read_further() -> None:
    with pytest.raises(CardError, match="format 3 is not supported"):
        from_dict({**to_dict(card()), "format": 3})


def test_a_line_that_fits_has_no_mismatch() -> None:
    assert mismatches(card(), TAGS, 1.0) == []


@pytest.mark.parametrize(
    ("tags", "row_s", "says"),
    [
        (TAGS[:2], 1.0, '"C" is missing'),
        ((*TAGS, ("D", "")), 1.0, '"D" is not known'),
        ((TAGS[1], TAGS[0], TAGS[2]), 1.0, "order differs from position 1"),
        ((("A", "mbar"), *TAGS[1:]), 1.0, '"A" is in "mbar"'),
        (TAGS, 2.0, "row_s"),
    ],
)
def test_each_kind_of_mismatch_is_named(
    tags: tuple[tuple[str, str], ...], row_s: float, says: str
) -> None:
    assert any(says in text for text in mismatches(card(), tags, row_s))


def test_other_features_are_a_mismatch() -> None:
    assert "features" in mismatches(card(features=("mean",)), TAGS, 1.0)[0]


def test_slots_stop_at_the_end_of_the_table_and_a_continuous_line_has_one() -> None:
    assert [card().slot(n, 4) for n in (-5, 0, 2, 3, 11, 999)] == [0, 0, 0, 1, 3, 3]
    assert card(slot_steps=0).slot(500, 1) == 0
