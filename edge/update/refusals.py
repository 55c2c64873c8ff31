"""Why an update is refused: one table. Number, name, a sentence for the technician, the remedy.

The number is the exit code of `ncm-edge update`, the name stands in the log and in the audit, the
sentence and the remedy on everything people read. Numbers are a contract: never reused, never
renumbered. A refusal never changes what runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType


class Code(IntEnum):
    """Number and name of a refusal."""

    # 1x: the file on the stick.
    NO_BUNDLE = 10
    TWO_BUNDLES = 11
    NOT_A_FILE = 12
    UNREADABLE = 13
    TOO_LARGE = 14
    NOT_A_BUNDLE = 15
    TRUNCATED = 16
    TRAILING_DATA = 17
    BAD_DOCUMENT = 18
    BAD_MANIFEST = 19
    BAD_NAME = 20
    HASH = 21
    # 3x: who signed it.
    SIGNATURE = 30
    KEY_REVOKED = 31
    ROOT_SIGNATURE = 32
    ROOT_GAP = 33
    ROOT_RULES = 34
    NOT_PROVISIONED = 35
    ROOT_MIX = 36
    # 4x: its place in the order of releases.
    ROLLBACK = 40
    SAME_NUMBER = 41
    EPOCH = 42
    ALREADY_ACTIVE = 43
    # 5x: what it was made for.
    WRONG_LINE = 50
    TAG_SCHEMA = 51
    APP_TOO_OLD = 52
    APP_TOO_NEW = 53
    FORMAT = 54
    # 6x: the model itself.
    GRAPH = 60
    MODEL = 61
    SELF_TEST = 62
    TRIAL = 63
    PROBATION = 64
    # 7x: this appliance.
    STATE_LOST = 70
    TRUST_LOST = 71
    DISK_FULL = 72
    READ_ONLY = 73
    BUSY = 74
    NO_PREVIOUS = 75
    SLOT_DAMAGED = 76
    STORAGE = 77


@dataclass(frozen=True, slots=True)
class Row:
    """What people read about a refusal."""

    text: str
    remedy: str


_MADE_AGAIN = "Copy the file to the stick again; if it is refused again, ask for a new one."
_SUPPLIER = "Do not use this stick; send it back to the supplier and say this name."
_REPAIR = "Run `ncm-edge update repair` at the console; until then the installed model runs on."

TABLE: Mapping[Code, Row] = MappingProxyType({
    Code.NO_BUNDLE: Row(
        "There is no update file on the stick.",
        "Copy exactly one *.ncm file into the top folder of the stick.",
    ),
    Code.TWO_BUNDLES: Row(
        "There is more than one update file on the stick.",
        "Leave exactly one *.ncm file in the top folder of the stick.",
    ),
    Code.NOT_A_FILE: Row(
        "The update is no plain file: a link, a pipe, a device or a folder.",
        "Copy the *.ncm file itself to a freshly formatted FAT stick.",
    ),
    Code.UNREADABLE: Row(
        "The stick cannot be read, or was pulled while it was read.",
        "Insert it again and leave it until the result is shown; else use another stick.",
    ),
    Code.TOO_LARGE: Row("The update is larger than any model is.", _SUPPLIER),
    Code.NOT_A_BUNDLE: Row(
        "The file is no update of this appliance.", "Check that the right file was copied."
    ),
    Code.TRUNCATED: Row("The update file is incomplete.", _MADE_AGAIN),
    Code.TRAILING_DATA: Row("There is something behind the end of the update.", _MADE_AGAIN),
    Code.BAD_DOCUMENT: Row("A signed document of the update is damaged.", _MADE_AGAIN),
    Code.BAD_MANIFEST: Row("The manifest of the update breaks its own rules.", _SUPPLIER),
    Code.BAD_NAME: Row("The manifest names a file it must not name.", _SUPPLIER),
    Code.HASH: Row("A file of the update is not the one that was signed.", _MADE_AGAIN),
    Code.SIGNATURE: Row(
        "The update is not signed by a release key that this appliance trusts.", _SUPPLIER
    ),
    Code.KEY_REVOKED: Row(
        "The update is signed by a release key that has been revoked since.",
        "Ask the supplier for the same model signed with the present key.",
    ),
    Code.ROOT_SIGNATURE: Row(
        "The update brings new keys that not enough key holders have signed.", _SUPPLIER
    ),
    Code.ROOT_GAP: Row(
        "The update brings new keys, but a link of the chain to them is missing.",
        "Ask the supplier for a file with the complete chain of keys.",
    ),
    Code.ROOT_RULES: Row("The update brings a key document that breaks the rules.", _SUPPLIER),
    Code.NOT_PROVISIONED: Row(
        "This appliance has no readable root of trust, so it can trust no update.",
        "Put the supplier's root.json into trust/ of the configuration directory.",
    ),
    Code.ROOT_MIX: Row(
        "The update mixes key documents and manifest of different releases.", _SUPPLIER
    ),
    Code.ROLLBACK: Row(
        "The update is older than what was installed here before.",
        "For an older model use `ncm-edge update rollback`, or ask for it signed as a new release.",
    ),
    Code.SAME_NUMBER: Row(
        "The update carries the number of another release.",
        "Ask the supplier for a file with a number of its own.",
    ),
    Code.EPOCH: Row(
        "The update belongs to another epoch than the keys of this appliance.",
        "Ask the supplier for a file signed after the last change of keys.",
    ),
    Code.ALREADY_ACTIVE: Row("This update is installed and active.", "Nothing to do."),
    Code.WRONG_LINE: Row(
        "The update was made for another production line.",
        "Use the file made for this line, or give --line with the name of the right one.",
    ),
    Code.TAG_SCHEMA: Row(
        "The model was made for other tags or units than this line has.",
        "Compare tags.toml with the model's tags; ask for a model of this line.",
    ),
    Code.APP_TOO_OLD: Row(
        "The update needs a newer ncm-edge than this one.", "Update the program first."
    ),
    Code.APP_TOO_NEW: Row(
        "The update was made for an older ncm-edge than this one.",
        "Ask for a model exported for this version of the program.",
    ),
    Code.FORMAT: Row(
        "The update is of a kind or format this program does not know.",
        "Update the program first, or ask for a file of this format.",
    ),
    Code.GRAPH: Row("The model holds something that no model of ours holds.", _SUPPLIER),
    Code.MODEL: Row(
        "The model does not fit together or does not fit this line.",
        "Ask the supplier for a model exported for this line.",
    ),
    Code.SELF_TEST: Row(
        "The model does not compute on this machine what it computed at the supplier's.",
        "Read the detail; check driver and runtime, or ask for a model tested on this hardware.",
    ),
    Code.TRIAL: Row(
        "The model failed beside the live one; that one goes on.",
        "Read the detail and send it to the supplier; the same stick again is another try.",
    ),
    Code.PROBATION: Row(
        "The model did worse at work than the one before it, which has come back.",
        "Read the detail and send it to the supplier; the same stick again is another try.",
    ),
    Code.STATE_LOST: Row("The memory of installed releases is damaged.", _REPAIR),
    Code.TRUST_LOST: Row("The key documents accepted here before are gone or damaged.", _REPAIR),
    Code.DISK_FULL: Row(
        "The disk of the appliance is full.", "Free space in the state directory, then try again."
    ),
    Code.READ_ONLY: Row(
        "The state directory cannot be written.",
        "Check its owner and whether its disk is mounted read-only.",
    ),
    Code.BUSY: Row("Another update is in progress.", "Wait until it has ended, then try again."),
    Code.NO_PREVIOUS: Row(
        "There is no earlier model to go back to.", "Insert a stick with the wanted model."
    ),
    Code.SLOT_DAMAGED: Row(
        "The stored model is damaged; it was not activated.",
        "Insert a stick with a newer release of the model.",
    ),
    Code.STORAGE: Row(
        "The disk of the appliance reports an error.", "Check the disk; replace it if need be."
    ),
})  # fmt: skip


class Refused(Exception):  # noqa: N818 - named for the outcome
    """An update is refused; `code` says why, `detail` names file and value."""

    def __init__(self, code: Code, detail: str = "") -> None:
        self.code, self.detail = code, detail
        super().__init__(code, detail)

    def __str__(self) -> str:
        row = TABLE[self.code]
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.name} {int(self.code)}: {row.text}{detail} {row.remedy}"

    @property
    def name(self) -> str:
        """The name as people and logs see it."""
        return self.code.name.lower().replace("_", "-")
