"""The evaluator of Structured Text: the arithmetic of the standard, and what it refuses."""

from __future__ import annotations

import pytest

from tests.plc.structured_text import ControllerStopError, Program, TextError, parse

HEAD = """
FUNCTION_BLOCK FB_Try
VAR_INPUT uIn : UINT; lrIn : LREAL; END_VAR
VAR_OUTPUT u : UINT; n : INT; w : WORD; r : REAL; lr : LREAL; x : BOOL; END_VAR
VAR t : TON; a : ARRAY[0..3] OF UINT := [1, 2, 3, 4]; END_VAR
VAR CONSTANT c : UINT := 7; END_VAR
"""


def run(body: str, now_ms: int = 0, **inputs: float) -> dict[str, object]:
    block = Program(parse(f"{HEAD}{body}\nEND_FUNCTION_BLOCK\n")).instance()
    block.call(now_ms, **inputs)
    return block.values


def test_numbers_wrap_round_and_associate_as_in_the_standard() -> None:
    values = run(
        """
        u := uIn + 1;
        n := WORD_TO_INT(UINT_TO_WORD(a[3] - 5));
        w := SHR(w, 4) XOR (UINT_TO_WORD(c) OR 16#000F);
        lr := lrIn / 4.0 / 2.0 - 3.0 - 1.0 + lrIn * 3.0;
        r := 0.1;
        r := r + 0.2;
        x := uIn = 65535 AND NOT (c < 7 OR lrIn > 0.0);
        """,
        uIn=65_535,
        lrIn=64.0,
    )
    assert values["u"] == 0
    assert values["n"] == -1
    assert values["w"] == 0x000F
    assert values["lr"] == 64.0 / 4.0 / 2.0 - 3.0 - 1.0 + 64.0 * 3.0
    assert values["r"] == pytest.approx(0.3)
    assert values["r"] != 0.1 + 0.2
    assert values["x"] is False


def test_halves_are_rounded_to_even() -> None:
    values = run("n := LREAL_TO_INT(lrIn); u := LREAL_TO_UINT(lrIn + 1.0);", lrIn=2.5)
    assert (values["n"], values["u"]) == (2, 4)


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        ("u := a[UINT_TO_INT(uIn)];", {"uIn": 4}),
        ("n := LREAL_TO_INT(lrIn);", {"lrIn": 40_000.0}),
        ("n := LREAL_TO_INT(lrIn);", {"lrIn": float("nan")}),
        ("n := UINT_TO_INT(uIn);", {"uIn": 40_000}),
    ],
)
def test_what_stops_a_controller_stops_the_run(body: str, inputs: dict[str, float]) -> None:
    with pytest.raises(ControllerStopError):
        run(body, **inputs)


@pytest.mark.parametrize(
    "body",
    [
        "u := n;", "uIn := 3;", "c := 8;", "u := nowhere;", "x := u;", "u := 70000;",
        "w := w + w;", "lr := r;", "u := SQRT(u);", "x := u AND x;",
    ],
)  # fmt: skip
def test_what_a_strict_compiler_refuses_is_refused(body: str) -> None:
    with pytest.raises(TextError):
        run(body)


def test_a_text_that_is_none_is_refused() -> None:
    with pytest.raises(TextError):
        parse("FUNCTION_BLOCK FB_Try\nIF THEN u := ;\nEND_FUNCTION_BLOCK\n")


def test_the_timer_waits_for_its_time_without_a_break() -> None:
    block = Program(
        parse(f"{HEAD}t(IN := uIn = 1, PT := T#1S); x := t.Q;\nEND_FUNCTION_BLOCK\n")
    ).instance()
    seen = []
    for now_ms, on in ((0, 1), (900, 1), (950, 0), (1000, 1), (1999, 1), (2000, 1), (2001, 0)):
        block.call(now_ms, uIn=on)
        seen.append(block["x"])
    assert seen == [False, False, False, False, False, True, False]
