"""The scripts of the flow, run by node: what they believe is what the PLC's own reader believes."""

from __future__ import annotations

import json
import random
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edge.cli.hmi import flow_text, scripts
from edge.cli.node_red.flow import PanelLine, contract, script
from edge.core import registers as reg
from edge.core.outputs import (
    BlockError,
    Decision,
    PlcState,
    decode_block_w,
    encode_block_r,
    encode_block_w,
)
from edge.core.registers import ADVISOR_TIMEOUT_S, Alarm, Control, Status, TrimReason, TrimState
from tests.hmi.node_red import HERE, NODE

LINE = PanelLine(name="l1", components={3: "C03 NaOH feed line"}, act_on_simulation=False)
TICK = {"topic": "tick"}
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")
OFFER = Decision(
    status=Status.OUTPUT_VALID | Status.TRIM_OFFERED, probability=0.9, severity=2, batch_id=7,
    components=((3, 0.7), (99, 0.2)), trim_seq=5, trim_kg_h=-2.6, trim_base_kg_h=206.7,
    trim_lo_kg_h=-20.0, trim_hi_kg_h=20.0, trim_ttl_s=600, trim_state=TrimState.OFFERED,
    trim_reason=TrimReason.PH_LOW, alarms=Alarm.DEFECT_WARNING,
)  # fmt: skip


def node(text: str, messages: list[Any], faceplate: Any = None, line: PanelLine = LINE) -> Any:
    told = json.dumps(
        {"script": script(line, text), "messages": messages, "faceplate": faceplate}
    )
    out = subprocess.run([str(NODE), str(HERE / "harness.js")], input=told, text=True,
                         capture_output=True, check=True)  # fmt: skip
    return json.loads(out.stdout)


def views(messages: list[Any], line: PanelLine = LINE) -> list[dict[str, Any]]:
    return [out and out["payload"] for out in node(scripts().faceplate, messages, line=line)]


def keys(faceplate: Any, *presses: Any, line: PanelLine = LINE) -> Any:
    return node(scripts().keys, [{"payload": p} for p in presses], faceplate, line)


def block_w(decision: Decision, seq: int) -> dict[str, Any]:
    return {"topic": "W", "payload": list(encode_block_w(decision, seq))}


def block_r(beat: int, **rest: Any) -> dict[str, Any]:
    return {"topic": "R", "payload": list(encode_block_r(PlcState(heartbeat=beat, **rest)))}


def alive(decision: Decision = OFFER, line: PanelLine = LINE, **plc: Any) -> dict[str, Any]:
    """What is shown once both heartbeats were seen to move."""
    plc = {"batch_id": decision.batch_id, **plc}
    told = [block_r(1, **plc), block_r(2, **plc), block_w(decision, 8), block_w(decision, 9)]
    return views(told, line)[-1]


@needs_node
def test_a_block_is_shown_as_the_plc_reads_it() -> None:
    seen = alive(trim_applied_kg_h=-1.4)
    assert seen["alive"]
    assert (seen["severity"], seen["probability"]) == (2, 0.9)
    assert seen["suspects"] == [
        {"name": "C03 NaOH feed line", "score": 0.7}, {"name": "component 99", "score": 0.2},
    ]  # fmt: skip
    assert seen["offer"] == {
        "seq": 5, "base": 206.7, "delta": -2.6, "to": 204.1, "lo": -20, "hi": 20, "ttl": 600,
    }  # fmt: skip
    assert seen["applied_kg_h"] == -1.4
    assert seen["answerable"]
    assert [alarm["priority"] for alarm in seen["alarms"]] == ["medium"]
    assert seen["reason"] == "ph low"


@needs_node
def test_a_block_that_never_moved_is_not_shown() -> None:
    standing = [block_w(OFFER, 8), TICK] * 20
    assert not any(view["alive"] or view["offer"] for view in views(standing))


@needs_node
def test_silence_masks_in_time_and_a_new_block_unmasks() -> None:
    told = [block_w(OFFER, 8), block_w(OFFER, 9)]
    told += [TICK, block_w(OFFER, 9)] * ADVISOR_TIMEOUT_S + [block_w(OFFER, 10)]
    shown = [view["alive"] for view in views(told)]
    assert shown[:2] == [False, True]
    assert shown[-1]
    last = len(shown) - 3  # the tick that makes it five seconds
    assert all(shown[1:last])
    assert not any(shown[last:-1])
    dead = views([block_w(OFFER, 8), block_w(OFFER, 9), *[TICK] * ADVISOR_TIMEOUT_S])[-1]
    assert dead["fault"] == "no answer from the PLC"
    assert dead["offer"] is None


@needs_node
def test_what_the_plc_does_not_believe_the_panel_does_not_show() -> None:
    draw = random.Random(11)
    words = list(encode_block_w(OFFER, 9))
    spoilt = []
    for _ in range(300):
        copy = list(words)
        for _ in range(draw.randint(0, 2)):
            copy[draw.randrange(len(copy))] ^= 1 << draw.randrange(16)
        if draw.random() < 0.3:
            copy = copy[draw.randrange(3) :]
        if draw.random() < 0.3 and len(copy) == 64:
            copy[62] = reg.crc16(copy[:62])
            copy[63] = copy[0]
        spoilt.append(copy)
    alive_first = [block_w(OFFER, 7), block_w(OFFER, 8)]
    told = [m for copy in spoilt for m in (*alive_first, {"topic": "W", "payload": copy})]
    believed = 0
    for copy, view in zip(spoilt, views(told)[2::3]):
        try:
            decode_block_w(copy)
        except BlockError:
            assert not view["alive"], copy
            assert view["fault"]
            assert not view["offer"]
            assert not view["alarms"]
            assert not view["suspects"]
        else:
            believed += 1
            assert view["alive"], (copy, view["fault"])
    assert 20 < believed < 280


@needs_node
@pytest.mark.parametrize("junk", [None, 0, "", {}, [], [None] * 64, ["1"] * 64, [-1] * 64])
def test_an_answer_that_is_no_block_hides_everything(junk: Any) -> None:
    told = [block_w(OFFER, 8), block_w(OFFER, 9), {"topic": "W", "payload": junk}]
    assert not views(told)[-1]["alive"]
    views([{"topic": "R", "payload": junk}, {"topic": "other", "payload": junk}])


@needs_node
def test_outputs_about_another_batch_are_hidden() -> None:
    seen = alive(batch_id=8)
    assert seen["alive"]
    assert seen["other_batch"]
    assert not seen["valid"]
    assert seen["offer"] is None
    assert not seen["suspects"]


@needs_node
def test_keys_write_what_the_map_says_and_nothing_else() -> None:
    seen = alive()
    accepted, shelved, repaired = keys(
        seen, {"key": "accept", "seq": 5}, {"key": "shelve", "minutes": 60},
        {"key": "repair", "component": 3, "kind": 1},
    )  # fmt: skip
    for written in (accepted, shelved, repaired):
        assert written[0]["payload"]["fc"] == 16
        assert written[0]["payload"]["address"] == 1100 + reg.BLOCK_R_WORDS
        assert written[0]["payload"]["quantity"] == reg.BLOCK_R_WORDS
    words = accepted[0]["payload"]["value"]
    assert words[reg.r("CONTROL").offset] == Control.ACCEPT
    assert words[reg.r("TRIM_SEQ_ACK").offset] == 5
    assert sum(words) == Control.ACCEPT + 5
    assert sum(shelved[0]["payload"]["value"]) == Control.SHELVE + 60
    assert repaired[0]["payload"]["value"][9:12] == [1, 3, 1]


@needs_node
@pytest.mark.parametrize(
    "press",
    [
        {"key": "accept", "seq": 4}, {"key": "accept", "seq": "5"}, {"key": "accept"}, {}, None,
        {"key": "shelve", "minutes": 481}, {"key": "shelve", "minutes": -1}, {"key": "toString"},
        {"key": "repair", "component": 4, "kind": 1}, {"key": "repair", "component": 3, "kind": 9},
        {"key": "repair", "component": "toString", "kind": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_key_is_refused_with_its_reason(press: Any) -> None:
    ((written, note),) = keys(alive(), press)
    assert written is None
    assert note["payload"].startswith("refused: ")


@needs_node
def test_no_key_works_where_none_may() -> None:
    accept = {"key": "accept", "seq": 5}
    simulated = alive(
        Decision(**{**_fields(OFFER), "status": OFFER.status | Status.SIMULATION})
    )
    assert simulated["simulated"]
    stopped = views([block_r(1, batch_id=7), block_w(OFFER, 8), block_w(OFFER, 9)])[-1]
    gone = views([block_r(1), block_r(2), block_w(OFFER, 9)])[-1]
    without = PanelLine(name="l1", r_address=None)
    for seen, line in (
        (simulated, LINE), (stopped, LINE), (gone, LINE), (None, LINE), (alive(), without),
    ):  # fmt: skip
        ((written, _),) = keys(seen, accept, line=line)
        assert written is None
    ((written, _),) = keys(alive(), accept)
    assert written is not None


def _fields(decision: Decision) -> dict[str, Any]:
    return {name: getattr(decision, name) for name in Decision.__dataclass_fields__}


def test_the_flow_is_whole() -> None:
    nodes = json.loads(flow_text([LINE, PanelLine(name="l2", r_address=None)]))
    ids = [node["id"] for node in nodes]
    assert len(set(ids)) == len(ids)
    for one in nodes:
        for targets in one.get("wires", []):
            assert set(targets) <= set(ids)
        for key in ("z", "server", "group", "page", "ui", "theme"):
            assert not one.get(key) or one[key] in ids, (one["type"], key)
    reads = [n for n in nodes if n["type"] == "modbus-read"]
    assert [(n["adr"], n["quantity"]) for n in reads] == [
        ("1000", "64"), ("1100", "16"), ("1000", "64"),
    ]  # fmt: skip


def test_every_word_the_scripts_ask_for_is_in_the_register_table() -> None:
    known = contract(LINE)
    text = scripts().faceplate + scripts().keys
    for table, name in re.findall(r"\bT\.(w|r|status|control)\.([A-Z0-9_]+)", text):
        assert name in known[table], (table, name)
    asked = re.findall(r'get\("([A-Z0-9_]+)"\)', text)
    assert len(asked) > 12
    assert set(asked) <= set(known["w"])
    assert set(re.findall(r"\bT\.([a-z_0-9]+)", text)) <= set(known)


def test_the_lock_file_names_no_host() -> None:
    lock = json.loads((HERE / "package-lock.json").read_text(encoding="utf-8"))
    for name, package in lock["packages"].items():
        assert "resolved" not in package, name
        assert not name or package.get("integrity") or package.get("inBundle"), name
    wanted = json.loads((HERE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    assert lock["packages"][""]["dependencies"] == wanted
    assert all(re.fullmatch(r"[\d.]+", version) for version in wanted.values())
    assert Path(HERE / "settings.js").is_file()
