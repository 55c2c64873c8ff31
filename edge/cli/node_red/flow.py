"""The faceplate as a Node-RED flow, generated from the register table. Pure: returns JSON text.

One tab and one dashboard page a line. An integrator imports the file, sets the address of the PLC
and has a faceplate that obeys docs/hmi/faceplate.md. The scripts (block W believed or not, keys,
page) are texts that come in; every offset, bit, code and word in them comes from here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any

from edge.core import registers as reg
from edge.core.hmi import ALARMS, HEALTH, SEVERITY, SHELVE_MAX_MIN

POLL_S = 1
NOTE_S = 20
"""Seconds the answer to a key stays on the faceplate."""
_GREY = "#d4d4d4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripts:
    """The texts of `edge/cli/node_red`."""

    faceplate: str
    keys: str
    page: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelLine:
    """One line as its HMI reaches it. Addresses are 0-based holding registers."""

    name: str
    title: str = ""
    host: str = "127.0.0.1"
    port: int = 502
    unit_id: int = 1
    w_address: int = 1000
    r_address: int | None = 1100
    """None: the line has no block R, so the faceplate shows and no key works."""
    keys_address: int | None = None
    """Where the keys are written; None: the words behind block R."""
    components: Mapping[int, str] | None = None
    """Name by component id; None: a suspect is shown by its number."""
    act_on_simulation: bool = False
    """Keys work although SIMULATION is set. Only for a PLC that is simulated as well."""


def flow(lines: Sequence[PanelLine], scripts: Scripts) -> str:
    """docs/hmi/node-red-flow.json: the nodes of every line, to be imported as they are."""
    nodes: list[dict[str, Any]] = [_base(), _theme()]
    for order, line in enumerate(lines, start=1):
        nodes += _line(line, order, scripts)
    return json.dumps(nodes, indent=1, ensure_ascii=False) + "\n"


def contract(line: PanelLine) -> dict[str, Any]:
    """What the scripts know as T: the register table, the words people read, the addresses."""
    r_address = 0 if line.r_address is None else line.r_address
    keys = r_address + reg.BLOCK_R_WORDS if line.keys_address is None else line.keys_address
    return {
        "title": line.title or line.name,
        "timeout_s": reg.ADVISOR_TIMEOUT_S,
        "note_s": NOTE_S,
        "major": reg.MAP_VERSION >> 8,
        "invalid": reg.INVALID,
        "words_w": reg.BLOCK_W_WORDS,
        "words_r": reg.BLOCK_R_WORDS,
        "w": _words(reg.BLOCK_W),
        "r": _words(reg.BLOCK_R),
        "status": _bits(reg.Status),
        "control": _bits(reg.Control),
        "ne107": [
            {"code": int(code), "word": _text(code.name), "letter": HEALTH[code].letter,
             "shape": HEALTH[code].shape}
            for code in reg.Ne107
        ],
        "severity": list(SEVERITY),
        "states": [{"bit": int(bit), "text": _text(bit.name or "")} for bit in _SHOWN],
        "alarms": [
            {"bit": int(alarm), "text": row.text, "priority": row.priority,
             "consequence": row.consequence, "action": row.action}
            for alarm, row in ALARMS.items()
        ],
        "offered": int(reg.TrimState.OFFERED),
        "trim_state": _texts(reg.TrimState),
        "trim_reason": _texts(reg.TrimReason),
        "kinds": {str(int(k)): _text(k.name) for k in reg.MaintKind if k},
        "components": {str(i): name for i, name in sorted((line.components or {}).items())},
        "has_r": line.r_address is not None,
        "act_on_simulation": line.act_on_simulation,
        "unit_id": line.unit_id,
        "keys_address": keys,
        "shelve_max_min": SHELVE_MAX_MIN,
    }  # fmt: skip


_SHOWN = (
    reg.Status.WARMING_UP, reg.Status.INPUT_BAD, reg.Status.CPU_FALLBACK, reg.Status.DRIFT,
    reg.Status.SHADOW_MODE, reg.Status.UPDATE_STAGED, reg.Status.UPDATE_FAILED,
    reg.Status.TRIM_CLAMPED, reg.Status.FUNCTION_CHECK, reg.Status.CLOCK_NOT_SYNCHRONISED,
    reg.Status.STORAGE_FAULT,
)  # fmt: skip
"""STATUS bits with a line of their own on the faceplate; the others are seen in a field."""


def script(line: PanelLine, text: str) -> str:
    """The text of a function node: the contract, then the script."""
    table = json.dumps(contract(line), ensure_ascii=False, separators=(",", ":"))
    return f"const T = {table};\n{text}"


def _words(block: Iterable[reg.Word]) -> dict[str, dict[str, Any]]:
    return {
        word.name: {
            "offset": word.offset, "kind": word.kind, "scale": word.scale, "invalid": word.invalid,
        }
        for word in block
    }  # fmt: skip


def _bits(flags: type[IntFlag]) -> dict[str, int]:
    return {flag.name: int(flag) for flag in flags if flag and flag.name}


def _texts(codes: type[IntEnum]) -> dict[str, str]:
    return {str(int(code)): _text(code.name) for code in codes}


def _text(name: str) -> str:
    return name.lower().replace("_", " ").replace("cpu", "CPU").replace("naoh", "NaOH")


def _id(*parts: str) -> str:
    # Readable names as hexadecimal: ids become part of element names in the browser.
    return "/".join(("ncm", *parts)).encode().hex()


def _base() -> dict[str, Any]:
    return {
        "id": _id("base"), "type": "ui-base", "name": "NCM Edge", "path": "/dashboard",
        "appIcon": "", "includeClientData": True,
        "acceptsClientConfig": ["ui-notification", "ui-control"], "showPathInSidebar": False,
        "headerContent": "page", "navigationStyle": "default", "titleBarStyle": "default",
        "showReconnectNotification": True, "notificationDisplayTime": 1,
        "showDisconnectNotification": True, "allowInstall": False,
    }  # fmt: skip


def _theme() -> dict[str, Any]:
    return {
        "id": _id("theme"), "type": "ui-theme", "name": "grey (ISA-101)",
        "colors": {"surface": "#8f8f8f", "primary": "#4a4a4a", "bgPage": _GREY,
                   "groupBg": "#e2e2e2", "groupOutline": "#b5b5b5"},
        "sizes": {"density": "compact", "pagePadding": "8px", "groupGap": "8px",
                  "groupBorderRadius": "2px", "widgetGap": "8px"},
    }  # fmt: skip


def _line(line: PanelLine, order: int, scripts: Scripts) -> list[dict[str, Any]]:
    name = line.name

    def node(role: str, kind: str, **rest: Any) -> dict[str, Any]:
        return {"id": _id(name, role), "type": kind, **rest}

    def placed(role: str, kind: str, x: int, y: int, **rest: Any) -> dict[str, Any]:
        return node(role, kind, z=_id(name, "tab"), x=x, y=y, **rest)

    def read(role: str, title: str, y: int, address: int, count: int) -> dict[str, Any]:
        return placed(
            role, "modbus-read", 170, y, name=title, topic=role, showStatusActivities=True,
            logIOActivities=False, showErrors=False, showWarnings=False, unitid=str(line.unit_id),
            dataType="HoldingRegister", adr=str(address), quantity=str(count), rate=str(POLL_S),
            rateUnit="s", delayOnStart=False, startDelayTime="", server=_id(name, "plc"),
            useIOFile=False, ioFile="", useIOForPayload=False, emptyMsgOnFail=False,
            wires=[[_id(name, "faceplate")], []],
        )  # fmt: skip

    def function(role: str, title: str, x: int, y: int, text: str, wires: Any) -> dict[str, Any]:
        return placed(
            role, "function", x, y, name=title, func=script(line, text), outputs=len(wires),
            timeout=0, noerr=0, initialize="", finalize="", libs=[], wires=wires,
        )  # fmt: skip

    nodes = [
        node("tab", "tab", label=f"NCM Edge {name}", disabled=False, info=_info(line)),
        node("page", "ui-page", name=f"NCM Edge {name}", ui=_id("base"), path=f"/{name}",
             icon="shield-check", layout="grid", theme=_id("theme"),
             breakpoints=[{"name": "Default", "px": "0", "cols": "12"}], order=order,
             className="", visible="true", disabled="false"),
        node("group", "ui-group", name="faceplate", page=_id(name, "page"), width="12",
             height="1", order=1, showTitle=False, className="", visible="true",
             disabled="false", groupType="default"),
        node("plc", "modbus-client", name=f"PLC of {name}", clienttype="tcp",
             bufferCommands=True, stateLogEnabled=False, queueLogEnabled=False,
             failureLogEnabled=False, tcpHost=line.host, tcpPort=line.port, tcpType="DEFAULT",
             serialPort="/dev/ttyUSB", serialType="RTU-BUFFERD", serialBaudrate="9600",
             serialDatabits="8", serialStopbits="1", serialParity="none",
             serialConnectionDelay="100", serialAsciiResponseStartDelimiter="0x3A",
             unit_id=line.unit_id, commandDelay="1", clientTimeout="1000",
             reconnectOnTimeout=True, reconnectTimeout="2000", parallelUnitIdsAllowed=False,
             showErrors=False, showWarnings=False, showLogs=False),
        read("W", "block W, one request", 80, line.w_address, reg.BLOCK_W_WORDS),
        placed("tick", "inject", 170, 200, name="tick", topic="tick",
               props=[{"p": "topic", "vt": "str"}], repeat=str(POLL_S), crontab="", once=True,
               onceDelay=0.1, wires=[[_id(name, "faceplate")]]),
        function("faceplate", "faceplate", 420, 140, scripts.faceplate, [[_id(name, "panel")]]),
        placed("panel", "ui-template", 620, 140, group=_id(name, "group"), page="", ui="",
               name="panel", order=1, width=0, height=0, head="", format=scripts.page,
               storeOutMessages=False, passthru=False, resendOnRefresh=True,
               templateScope="local", className="", wires=[[_id(name, "keys")]]),
        function("keys", "keys", 800, 140, scripts.keys,
                 [[_id(name, "write")], [_id(name, "faceplate")]]),
        placed("write", "modbus-flex-write", 980, 140, name="key words, one request",
               showStatusActivities=True, showErrors=False, showWarnings=False,
               server=_id(name, "plc"), emptyMsgOnFail=False, keepMsgProperties=False,
               delayOnStart=False, startDelayTime="", wires=[[], []]),
        placed("failed", "catch", 790, 220, name="not written", scope=[_id(name, "write")],
               uncaught=False, wires=[[_id(name, "why")]]),
        placed("why", "change", 980, 220, name="say so",
               rules=[{"t": "set", "p": "topic", "pt": "msg", "to": "note", "tot": "str"},
                      {"t": "set", "p": "payload", "pt": "msg",
                       "to": "the key did not reach the PLC: press it again", "tot": "str"}],
               wires=[[_id(name, "faceplate")]]),
    ]  # fmt: skip
    if line.r_address is not None:
        nodes.insert(5, read("R", "block R", 140, line.r_address, reg.BLOCK_R_WORDS))
    return nodes


def _info(line: PanelLine) -> str:
    keys = contract(line)["keys_address"]
    return (
        f"Generated by `ncm-edge hmi` for line {line.name}; the scripts and this text are not to "
        "be edited. To be set: address and port of the PLC in its connection node. Reads block W "
        f"at holding register {line.w_address} (0-based). "
        + (
            "The line has no block R: no key works."
            if line.r_address is None
            else f"Reads block R at {line.r_address} and writes keys to {keys} up, "
            f"{reg.BLOCK_R_WORDS} words laid out as block R, which the PLC's program takes and "
            "clears. No set-point is ever written."
        )
    )
