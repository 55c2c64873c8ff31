"""The chain of a log: every change of any record shows, and so does a log that was cut short."""

from __future__ import annotations

import pytest

from edge.runtime import chain
from edge.runtime.chain import Broken, Head

TEXTS = ["start", "raised", "cleared", "stop"]


def chained(texts: list[str]) -> list[tuple[int, str, bytes]]:
    out, link = [], chain.SEED
    for number, text in enumerate(texts, start=1):
        link = chain.link(link, text)
        out.append((number, text, link))
    return out


def test_a_sound_chain_gives_its_head_and_runs_through_every_noted_one() -> None:
    records = chained(TEXTS)
    head = chain.verify(records)
    assert head == Head(4, records[-1][2])
    for number, _, link in records:
        assert chain.verify(records, Head(number, link)) == head
    assert chain.verify([]) == Head()


@pytest.mark.parametrize(
    ("spoil", "number", "why"),
    [
        (lambda r: [*r[:1], (2, "lowered", r[1][2]), *r[2:]], 2, "altered"),
        (lambda r: [*r[:1], *r[2:]], 2, "missing"),
        (lambda r: [r[0], r[2], r[1], r[3]], 2, "missing"),
        (lambda r: r[:3], 4, "cut off"),
        (lambda r: chained(["another", *TEXTS[1:]]), 4, "noted"),
    ],
    ids=["altered", "removed", "swapped", "cut short", "written anew"],
)
def test_a_chain_that_was_tampered_with(spoil, number: int, why: str) -> None:  # type: ignore[no-untyped-def]
    records = chained(TEXTS)
    found = chain.verify(spoil(records), Head(4, records[-1][2]))
    assert isinstance(found, Broken)
    assert found.number == number
    assert why in found.why


def test_a_head_as_text_and_back() -> None:
    head = Head(7, bytes(range(32)))
    assert Head.parse(str(head)) == head
    for text in ("", "7", "7:abc", f"x:{'0' * 64}"):
        with pytest.raises(ValueError):
            Head.parse(text)


def test_equal_values_have_one_text() -> None:
    assert chain.canonical({"b": 1.5, "a": float("nan")}) == '{"a":null,"b":1.5}'
    assert chain.link(chain.SEED, "\ud800") != chain.link(chain.SEED, "?")


def test_text_no_disk_takes_is_spelled_out() -> None:
    text = chain.canonical({"a\udcff": ["b\udce4r"]})
    assert text.encode("utf-8") == rb'{"a\\udcff":["b\\udce4r"]}'
