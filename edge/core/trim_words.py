"""What word TRIM_REASON says to people: one text a code, the same on panel, page, log and history.

The words are those of the plant: what is wrong or awaited and, if anything, what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edge.core.registers import TrimReason

TEXTS: Mapping[TrimReason, str] = MappingProxyType({
    TrimReason.NONE: "nothing to say",
    TrimReason.PH_LOW: "pH below its set-point",
    TrimReason.PH_HIGH: "pH above its set-point",
    TrimReason.NICKEL_UNPRECIPITATED: "pH below the permitted band: nickel stays dissolved",
    TrimReason.LOCAL_SUPERSATURATION: "pH above the permitted band: particles grow too fast",
    TrimReason.SCHEDULE_DEVIATION: "NaOH follows the metal flow and what this batch has needed",
    TrimReason.ON_TARGET: "on target: no move is worth making",
    TrimReason.NO_LIMITS: "no limits entered by the plant's engineer (trim.toml)",
    TrimReason.ADVICE_DISABLED: "advice switched off at the panel",
    TrimReason.NO_BATCH: "no batch running",
    TrimReason.FEEDS_HELD: "feeds held",
    TrimReason.PLC_SILENT: "PLC silent: its heartbeat stands still",
    TrimReason.STALE_INPUT: "process values too old",
    TrimReason.PH_PROBES_FEW: "fewer than two pH probes agree",
    TrimReason.PH_PROBES_SPREAD: "pH probes too far apart: clean or calibrate",
    TrimReason.NAOH_DEVICE_FAULT: "NaOH or pH instrument reports a failure or function check",
    TrimReason.NAOH_FLOW_OFF_SP: "NaOH flow off its set-point: inspect the pump",
    TrimReason.NAOH_WEIGHT_MISMATCH: "NaOH tank weight and flow meter disagree",
    TrimReason.TEMPERATURE_OUT: "reactor temperature out of its band",
    TrimReason.NAOH_DEMAND_ANOMALY: "NaOH demand anomaly: inspect line, flow meter, pH probes",
    TrimReason.DEFECT_SUSPECTED: "defect suspected in the NaOH feed or the pH probes",
    TrimReason.PREDICTED_PH_HIGH: "more NaOH would lift the pH too far above its set-point",
    TrimReason.NO_FEEDFORWARD: "metal or NaOH flow is not known",
    TrimReason.DRIFT: "input drift: the verdict behind the suggestion is unsure",
    TrimReason.WARMING_UP: "too little of this batch has been seen",
    TrimReason.NO_VERDICT: "no verdict guards the suggestion",
    TrimReason.OUTSIDE_AUTHORITY: "NaOH flow is at or beyond the limit entered for the advice",
    TrimReason.AWAITING_EFFECT: "the effect of the last answer is awaited",
    TrimReason.TTL_ELAPSED: "nobody answered in time",
    TrimReason.BASE_MOVED: "the recipe's NaOH set-point has moved",
    TrimReason.HEARTBEAT_LOST: "PLC silent",
    TrimReason.REJECTED_BY_OPERATOR: "rejected by the operator",
    TrimReason.SUPERSEDED: "replaced by a newer suggestion",
})  # fmt: skip
"""At most 60 characters, so that a panel can show it on one line."""


def text_of(name: str) -> str:
    """The text of a reason by its name, as records keep it; the name where no code has it."""
    try:
        return TEXTS[TrimReason[name.upper()]]
    except KeyError:
        return name.replace("_", " ")
