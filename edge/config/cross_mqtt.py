"""The keys of [mqtt] against each other, the lines, and the files they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.config import topic
from edge.config.cross_tls import authority_faults, pair_faults
from edge.config.document import Document, show
from edge.config.secrets import file_fault, private_fault

_CHECKS = {
    "ca_file": file_fault, "certificate_file": file_fault, "key_file": private_fault,
    "password_file": private_fault,
}  # fmt: skip
_PAIRS = (("certificate_file", "key_file"), ("user", "password_file"))
_CLEAR = {
    "user": "its password could be read by everybody on the network",
    "password_file": "the password could be read by everybody on the network",
    "ca_file": "says who is trusted",
    "certificate_file": "says who we are",
    "key_file": "proves who we are",
}


def check_mqtt(appliance: Document, directory: Path, lines: Sequence[str]) -> None:
    """Faults of [mqtt]; nothing is connected. Blocks: opens the files."""
    mqtt = appliance.values.get("mqtt")
    if mqtt is None:
        return
    for key, message in (
        *_topic(mqtt, appliance.values.get("name"), lines), *_keys(mqtt), *_files(mqtt, directory)
    ):  # fmt: skip
        place = ("mqtt", key) if key in mqtt else ("mqtt",)
        appliance.fault(place, message, "[mqtt]", key)


def _topic(
    mqtt: Mapping[str, Any], name: str | None, lines: Sequence[str]
) -> list[tuple[str, str]]:
    template = mqtt.get("topic")
    if template is None:
        return []
    given = {key: mqtt[key] for key in ("site", "area") if key in mqtt}
    found = [
        ("topic", f"topic = {show(template)}: {fault}") for fault in topic.faults(template, given)
    ]
    if name in lines:
        found.append(("topic", f"line and appliance are both called {show(name)}, so their topics "
                      "would be the same; rename the appliance"))  # fmt: skip
    return found


def _keys(mqtt: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [
        (key, f"{key} needs {missing}; add it, or remove {key}")
        for pair in _PAIRS
        for key, missing in (pair, pair[::-1])
        if key in mqtt and missing not in mqtt
    ]
    if mqtt.get("tls") is False:
        return found + [
            (key, f"{key} = {show(mqtt[key])} while tls = false: {why}; set tls = true, or remove "
             "it")
            for key, why in _CLEAR.items() if key in mqtt
        ]  # fmt: skip
    if mqtt.get("tls") and "ca_file" not in mqtt:
        found.append(("ca_file", "missing key 'ca_file' (text, e.g. tls/plant-ca.pem): nothing "
                      "says which broker may be trusted; add it, or set tls = false"))  # fmt: skip
    return found


def _files(mqtt: Mapping[str, Any], directory: Path) -> list[tuple[str, str]]:
    named = {key: directory / mqtt[key] for key in _CHECKS if key in mqtt}
    faults = {key: _CHECKS[key](path) for key, path in named.items()}
    if faults.get("ca_file") == "":
        faults |= authority_faults(named["ca_file"])
    if faults.get("certificate_file") == faults.get("key_file") == "":
        faults |= pair_faults(
            named["certificate_file"], named["key_file"], mqtt["certificate_file"]
        )
    if faults.get("password_file") == "":
        faults["password_file"] = _password_fault(named["password_file"])
    return [(key, f"{key} = {show(mqtt[key])}: {text}") for key, text in faults.items() if text]


def password(path: Path) -> str:
    """The password in a file: its first line. Raises OSError, ValueError."""
    with path.open(encoding="utf-8") as file:
        return file.readline(4096).rstrip("\r\n")


def _password_fault(path: Path) -> str:
    try:
        return "" if password(path) else "its first line is empty; write the password there"
    except ValueError:
        return "it is not UTF-8 text; write the password into its first line"
