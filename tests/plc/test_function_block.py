"""FB_EdgeAdvisor: the generated Structured Text and the twin's PLC, side by side.

The text is parsed with a real IEC 61131-3 grammar and run by an evaluator of ours
(structured_text.py): that is no certified compiler, and none of a controller's supplier.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache

import pytest
from blark import transform as tree

from edge.core import registers as reg
from edge.core.outputs import Decision, encode_block_w, next_seq
from edge.core.registers import Control, PackML, Status, TrimState, crc16, w
from edge.core.structured_text import FAULTS, NOTES, function_block
from edge.twin.operator import Answer, Offer
from edge.twin.plc import Panel, PlcBlock, PlcSettings, Process
from tests.plc.structured_text import Block, Program, parse

FAULT_WORDS = ("", "never published", "torn", "damaged", "map version", "advisor gone")
NOTE_WORDS = (
    "", "accepted", "clamped", "by the operator", "SIMULATION bit", "no NaOH set-point",
    "has moved away", "advisor gone", "advice switched off", "limits missing",
)  # fmt: skip
KEYS = (Control.ACKNOWLEDGE, Control.SHELVE, Control.MAINTENANCE, Control.LABEL_DEFECT,
        Control.LABEL_FALSE_ALARM)  # fmt: skip
STATES = (PackML.HELD, PackML.COMPLETE, PackML.ABORTED, PackML.IDLE, PackML.STOPPED)
ODD_BASES = (math.nan, math.inf, -math.inf, 0.0, -5.0, 1e-9, 1e300, 6553.4, 7000.0)
ODD_LIMITS = (math.nan, math.inf, 0.0, -1.0, 1e9)


@cache
def text() -> tree.FunctionBlock:
    return parse(function_block())


@cache
def program(real: str = "LREAL") -> Program:
    return Program(text(), real)


@dataclass
class Keys:
    """The twin's operator: keys that were pressed in this second for a number."""

    accept: int | None = None
    reject: int | None = None

    def answer(self, offer: Offer) -> Answer | None:
        if self.reject == offer.seq:
            return Answer.REJECT
        return Answer.ACCEPT if self.accept == offer.seq else None


@dataclass(frozen=True)
class Second:
    """What both blocks are given in one second."""

    words: tuple[int, ...]
    process: Process
    enabled: bool
    accept: int | None
    reject: int | None
    keys: Control
    maintenance: tuple[int, int, int]


@dataclass
class Story:
    """Random seconds: an appliance that offers, falls silent, is torn or lies; keys; upsets."""

    draw: random.Random
    odd: float = 0.1
    """Share of seconds in which something is wrong."""
    seq: int = field(init=False)
    trim_seq: int = 0
    base: float = 200.0
    offer: Decision = field(default_factory=Decision)
    silent: int = 0
    off: int = 0
    state: PackML = PackML.EXECUTE
    state_s: int = 0
    maintenance: tuple[int, int, int] = (0, 0, 0)
    words: tuple[int, ...] = (0,) * reg.BLOCK_W_WORDS

    def __post_init__(self) -> None:
        self.seq = self.draw.choice((0, 1, 40_000, 65_500))

    def seconds(self, count: int) -> Iterator[Second]:
        for _ in range(count):
            yield self._second()

    def _chance(self, share: float) -> bool:
        return self.draw.random() < share

    def _second(self) -> Second:
        draw = self.draw
        self.base *= draw.choice((1.0, 1.0, 1.0, draw.uniform(0.99, 1.01)))
        base = self.base
        if self._chance(0.2 * self.odd):
            base = draw.choice(ODD_BASES)
        self.state_s = max(self.state_s - 1, 0)
        if self.state_s == 0:
            usual = not self._chance(0.1 * self.odd)
            self.state = PackML.EXECUTE if usual else draw.choice(STATES)
            self.state_s = 1 if usual else draw.randint(1, 20)
        self.off = draw.randint(1, 30) if self._chance(0.05 * self.odd) else max(self.off - 1, 0)
        if self._chance(0.02):
            self.maintenance = (self.maintenance[0] + 1, draw.randint(1, 12), draw.randint(1, 4))
        self._publish()
        shown = draw.choice((self.trim_seq, self.trim_seq, self.trim_seq, self.trim_seq - 1))
        keys = Control.NONE
        for key in KEYS:
            keys |= key if self._chance(0.1) else Control.NONE
        process = Process(
            base_kg_h=base, minute=draw.randrange(2000), phase=draw.randrange(22),
            state=self.state, batch_id=draw.choice((7, 70_001, 0xFFFFFFFF)),
        )  # fmt: skip
        return Second(
            words=self.words, process=process, enabled=self.off == 0,
            accept=max(shown, 0) if self._chance(0.12) else None,
            reject=max(shown, 0) if self._chance(0.03) else None,
            keys=keys, maintenance=self.maintenance,
        )  # fmt: skip

    def _publish(self) -> None:
        draw = self.draw
        if self.silent or self._chance(0.1 * self.odd):
            self.silent = self.silent - 1 if self.silent else draw.choice((1, 3, 4, 5, 6, 40))
            return
        if self._chance(0.1):
            self.trim_seq = draw.choice((next_seq(self.trim_seq), draw.randrange(65_536)))
            span = 60.0 if self._chance(0.3) else 12.0
            self.offer = Decision(
                status=Status.RUNNING | Status.OUTPUT_VALID
                | (Status.SIMULATION if self._chance(0.5) else Status.NONE),
                probability=draw.random(), severity=draw.randrange(4), trim_seq=self.trim_seq,
                trim_kg_h=draw.uniform(-span, span),
                trim_base_kg_h=min(self.base * draw.choice((1.0, 1.0, 1.0, 1.01, 0.9)), 6000.0),
                trim_lo_kg_h=-100.0, trim_hi_kg_h=100.0, trim_ttl_s=draw.choice((2.0, 30.0, 600.0)),
                trim_state=TrimState.OFFERED,
            )  # fmt: skip
        state = self.offer.trim_state
        if self._chance(0.03):
            state = draw.choice(tuple(TrimState))
        self.offer = replace(self.offer, trim_ttl_s=self.offer.trim_ttl_s - 1.0, trim_state=state)
        self.seq = next_seq(self.seq)
        whole = encode_block_w(self.offer, self.seq)
        self.words = self._spoilt(list(whole)) if self._chance(self.odd) else whole

    def _spoilt(self, words: list[int]) -> tuple[int, ...]:
        """A block as it comes from a torn read, a damaged line, or somebody who means harm."""
        draw, kind = self.draw, self.draw.randrange(6)
        if kind == 0:
            at = draw.randrange(1, 64)
            words = [*words[:at], *self.words[at:]]
        elif kind == 1:
            words[draw.randrange(64)] ^= 1 << draw.randrange(16)
        elif kind == 2:
            words = [draw.randrange(65_536) for _ in range(64)]
        elif kind == 3:
            words = [0] * 64
        else:
            # Whole by every check, and absurd: other version, extreme or random trim words.
            if kind == 4:
                words[w("MAP_VERSION").offset] = draw.choice((0x0000, 0x0200, 0xFFFF, 0x01FF))
            for name in ("TRIM_NAOH", "TRIM_BASE", "TRIM_TTL", "TRIM_SEQ", "TRIM_STATE", "STATUS"):
                if self._chance(0.5):
                    extreme = (0, 1, 0x7FFF, 0x8000, 0xFFFF, draw.randrange(65_536))
                    words[w(name).offset] = draw.choice(extreme)
            words[w("CRC").offset] = crc16(words[: w("CRC").offset])
        return tuple(words)


class Both:
    """The twin's PLC and the text, given the same seconds."""

    def __init__(self, settings: PlcSettings, real: str = "LREAL", calls: int = 1) -> None:
        self.keys = Keys()
        self.twin = PlcBlock(settings, self.keys)
        self.text = program(real).instance()
        self.calls = calls
        self.now_ms = 0
        self.maintenance = 0
        limits = {
            "lrAuthority": settings.authority, "lrRamp": settings.ramp_kg_h_min,
            "lrFallback": settings.fallback_kg_h_min, "lrBaseTolerance": settings.base_tolerance,
            "xActOnSimulation": settings.act_on_simulation,
        }  # fmt: skip
        self.text.call(0, **limits)

    def second(self, one: Second) -> tuple[tuple[int, ...], float]:
        """Words of block R and trim of the twin; the text has run as well."""
        self.twin.advice_enabled, self.twin.controls = one.enabled, one.keys
        self.keys.accept, self.keys.reject = one.accept, one.reject
        if one.maintenance[0] != self.maintenance:
            self.maintenance = one.maintenance[0]
            self.twin.enter_maintenance(one.maintenance[1], one.maintenance[2])
        given = {
            "aW": list(one.words), "lrBase": one.process.base_kg_h,
            "iState": int(one.process.state), "udBatch": one.process.batch_id,
            "uPhase": one.process.phase, "uMinutes": int(one.process.minute),
            "xAdviceEnabled": one.enabled, "uAcceptSeq": one.accept or 0,
            "uRejectSeq": one.reject or 0, "uMaintEvent": one.maintenance[0],
            "uMaintComponent": one.maintenance[1], "uMaintKind": one.maintenance[2],
            "xAcknowledge": Control.ACKNOWLEDGE in one.keys, "xShelve": Control.SHELVE in one.keys,
            "xMaintenance": Control.MAINTENANCE in one.keys,
            "xLabelDefect": Control.LABEL_DEFECT in one.keys,
            "xLabelFalseAlarm": Control.LABEL_FALSE_ALARM in one.keys,
        }  # fmt: skip
        # A key is pressed in the first call of the second and let go before the next second.
        self.text.call(self.now_ms, xAccept=False, xReject=False)
        for call in range(1, self.calls + 1):
            self.now_ms += 1000 // self.calls
            pressed = {"xAccept": one.accept is not None and call == 1,
                       "xReject": one.reject is not None and call == 1}  # fmt: skip
            self.text.call(self.now_ms, **pressed, **given)
        return self.twin.scan(one.words, one.process)


def _differs(panel: Panel, block: Block, words: tuple[int, ...]) -> list[str]:
    """What the faceplate shows otherwise in the text than in the twin."""
    offer = panel.offer
    alive = panel.decision is not None
    pairs = {
        "xAlive": panel.alive,
        "uAge": panel.age_s,
        "xOffer": offer is not None,
        "uOfferSeq": offer.seq if offer else 0,
        "lrOfferTrim": offer.trim_kg_h if offer else 0.0,
        "lrOfferBase": offer.base_kg_h if offer else 0.0,
        "uOfferTtl": offer.ttl_s if offer else 0,
        "uStatus": words[w("STATUS").offset] if alive else 0,
        "uDefectProb": words[w("DEFECT_PROB").offset] if alive else reg.INVALID,
        "uSeverity": words[w("SEVERITY").offset] if alive else reg.INVALID,
        "uNe107": words[w("NE107").offset] if alive else 1,
    }
    wrong = [f"{name} {block[name]} {value}" for name, value in pairs.items()
             if block[name] != value]  # fmt: skip
    if FAULT_WORDS[block["uFault"]] not in panel.fault or bool(panel.fault) != bool(
        block["uFault"]
    ):
        wrong.append(f"uFault {block['uFault']} {panel.fault}")
    if NOTE_WORDS[block["uNote"]] not in panel.note or bool(panel.note) != bool(block["uNote"]):
        wrong.append(f"uNote {block['uNote']} {panel.note}")
    return wrong


def _settings(draw: random.Random, odd: bool) -> PlcSettings:
    values = {
        "authority": draw.uniform(0.01, 0.15), "ramp_kg_h_min": draw.uniform(1.0, 60.0),
        "fallback_kg_h_min": draw.uniform(1.0, 20.0), "base_tolerance": draw.uniform(0.005, 0.05),
    }  # fmt: skip
    if odd:
        values[draw.choice(tuple(values))] = draw.choice(ODD_LIMITS)
    return PlcSettings(act_on_simulation=draw.random() < 0.5, **values)


@pytest.mark.parametrize("worker", range(4))
def test_the_text_does_in_every_second_what_the_twin_does(worker: int) -> None:
    faults: Counter[int] = Counter()
    notes: Counter[int] = Counter()
    scans = moving = 0
    for episode in range(11):
        draw = random.Random(1000 * worker + episode)
        both = Both(_settings(draw, odd=episode == 5), calls=draw.choice((1, 1, 4)))
        limit, last = both.twin.settings, 0.0
        for one in Story(draw, odd=draw.choice((0.02, 0.2, 0.6))).seconds(500):
            block_r, trim_kg_h = both.second(one)
            scans += 1
            assert tuple(both.text["aR"]) == block_r, scans
            assert both.text["lrTrim"] == trim_kg_h, scans
            assert _differs(both.twin.panel, both.text, one.words) == [], scans
            faults[both.text["uFault"]] += 1
            notes[both.text["uNote"]] += 1
            moving += trim_kg_h != last
            last = trim_kg_h
            if limit.possible and 1.0 < one.process.base_kg_h <= 6553.4:
                assert abs(trim_kg_h) <= limit.authority * one.process.base_kg_h * (1 + 1e-12)
    assert scans == 5_500
    assert set(faults) == set(range(len(FAULTS)))
    assert {*notes, 5} >= set(range(9))  # 5 has its own test below
    assert moving > 300


@pytest.mark.parametrize("base", ODD_BASES[:5])
def test_a_base_that_is_none_is_refused_and_carries_no_trim(base: float) -> None:
    both = Both(PlcSettings())
    one = _offer_second(7, 1, accept=7)
    block_r, trim_kg_h = both.second(replace(one, process=replace(one.process, base_kg_h=base)))
    assert (both.text["uNote"], both.text["lrTrim"], trim_kg_h) == (5, 0.0, 0.0)
    assert tuple(both.text["aR"]) == block_r
    assert block_r[1] & Control.REJECT


def test_a_limit_that_is_lowered_holds_for_the_trim_in_force() -> None:
    both = _accepted()
    base = _offer_second(9, 1).process.base_kg_h
    limit = abs(both.text["lrTrim"]) / base / 2.0
    assert limit > 0.0
    both.twin.settings = replace(both.twin.settings, authority=limit)
    both.text.values["lrAuthority"] = limit
    for second in range(1, 61):
        one = _offer_second(9, second)
        _, trim_kg_h = both.second(one)
        assert both.text["lrTrim"] == trim_kg_h
    assert abs(trim_kg_h) == pytest.approx(limit * base), "and it stays: nobody took it back"


def test_limits_that_vanish_take_the_trim_back() -> None:
    both = _accepted()
    for name in ("lrFallback", "lrAuthority"):
        both.text.values[name] = math.nan
    before = both.text["lrTrim"]
    both.second(_offer_second(9, 1))
    assert both.text["uNote"] == NOTES.index(
        "limits missing or impossible: trim goes back to the recipe"
    )
    # 4 kg/h per minute, whatever the entered rates say.
    assert both.text["lrTrim"] == pytest.approx(before - 4.0 / 60.0)


def test_without_limits_nothing_is_shown_and_nothing_acts() -> None:
    block = program().instance()
    block.call(0)
    for second in range(1, 40):
        given = _offer_second(7, second)
        block.call(
            1000 * second, aW=list(given.words), lrBase=200.0, iState=int(PackML.EXECUTE),
            xAdviceEnabled=True, xAccept=second % 2 == 0, uAcceptSeq=7,
        )  # fmt: skip
        assert block["xAlive"]
        assert not block["xOffer"]
        assert block["lrTrim"] == 0.0
        assert not block["aR"][1] & Control.ACCEPT


def test_a_key_held_down_answers_one_suggestion_and_a_late_key_none() -> None:
    both = Both(PlcSettings())
    both.second(_offer_second(7, 1))
    for second in range(2, 6):  # pressed for the number before, then held
        given = _offer_second(8, second)
        both.text.call(
            1000 * second, aW=list(given.words), lrBase=200.0, iState=int(PackML.EXECUTE),
            xAdviceEnabled=True, xAccept=True, uAcceptSeq=7 if second == 2 else 8,
        )  # fmt: skip
        assert both.text["xOffer"], "a stale number must answer nothing"
        assert both.text["uNote"] == 0


def test_a_cycle_slower_than_a_second_only_slows_it_down() -> None:
    block = _accepted().text
    block.call(10**9)
    block.call(10**9 + 3_700)
    assert block["lrTrim"] == block["lrTrim"]  # it runs: one second of work for 3.7 s of time
    assert abs(block["lrTrim"]) <= 0.15 * 200.0


def test_on_a_controller_without_lreal_the_words_differ_by_one_count_at_most() -> None:
    worst = 0
    for episode in range(4):
        draw = random.Random(77 + episode)
        both = Both(_settings(draw, odd=False), real="REAL")
        for one in Story(draw, odd=0.02).seconds(400):
            block_r, _ = both.second(one)
            text_r = both.text["aR"]
            at = reg.r("TRIM_APPLIED").offset
            signed = [v - 0x10000 if v & 0x8000 else v for v in (text_r[at], block_r[at])]
            worst = max(worst, abs(signed[0] - signed[1]))
            assert [*text_r[:at], *text_r[at + 1 :]] == [*block_r[:at], *block_r[at + 1 :]]
    assert worst <= 1


def _offer_second(trim_seq: int, seq: int, accept: int | None = None) -> Second:
    offer = Decision(
        status=Status.RUNNING, trim_seq=trim_seq, trim_kg_h=6.0, trim_base_kg_h=200.0,
        trim_lo_kg_h=-30.0, trim_hi_kg_h=30.0, trim_ttl_s=300.0, trim_state=TrimState.OFFERED,
    )  # fmt: skip
    return Second(
        words=encode_block_w(offer, seq), process=Process(base_kg_h=200.0, batch_id=1),
        enabled=True, accept=accept, reject=None, keys=Control.NONE, maintenance=(0, 0, 0),
    )  # fmt: skip


def _accepted() -> Both:
    """Both blocks with 6 kg/h in force."""
    both = Both(PlcSettings())
    for seq in range(1, 60):
        both.second(_offer_second(7, seq, accept=7 if seq == 2 else None))
    assert both.text["lrTrim"] == pytest.approx(6.0)
    assert both.text["uNote"] == 1
    return both


def test_the_text_stays_with_what_every_controller_knows() -> None:
    made = function_block()
    assert made.isascii()
    assert all(len(line) <= 100 for line in made.splitlines())
    for word in ("POINTER", "REFERENCE", "RETAIN :=", "WHILE", "REPEAT", "__"):
        assert word not in made
    names = {name for name in program()._names.kinds if name.startswith("c") and "_" in name}
    for name in names:
        assert made.count(name) > 1, f"{name} is declared and not used"
