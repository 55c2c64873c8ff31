"""The security keys of OPC UA links against each other, and the files they name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.config.document import Document, row_subject, show
from edge.config.secrets import file_fault, private_fault
from edge.config.tables import LINK
from edge.config.tables_opcua import FILES, NEEDS_SECURITY, PAIRS, SECRETS

_WITHOUT = 'while security_policy = "none"; set security_policy = "basic256sha256", or remove it'


def check_security(line: Document, directory: Path) -> None:
    """Faults of the security keys of each OPC UA link. Opens the files, reads none."""
    for index, link in enumerate(line.values.get("link", ())):
        if link.get("protocol") == "opc-ua" and "security_policy" in link:
            subject = row_subject(LINK, link, index)
            for key, message in _faults(link, directory):
                place = ("link", index, key) if key in link else ("link", index)
                line.fault(place, message, subject, key)


def _faults(link: Mapping[str, Any], directory: Path) -> list[tuple[str, str]]:
    """(key, message) of everything wrong with one link."""
    if link["security_policy"] == "none":
        return [
            (key, f"{key} = {show(link[key])} {_why(key)} {_WITHOUT}")
            for key in NEEDS_SECURITY
            if key in link
        ]
    found = [
        (key, f"missing key '{key}'; add it, e.g. {key} = \"pki/client.{end}\" "
         "(`ncm-edge certificate` makes the file)")
        for key, end in (("client_certificate", "der"), ("client_key", "key"))
        if key not in link
    ]  # fmt: skip
    if "trust_dir" not in link and "server_certificate" not in link:
        found.append(("trust_dir", "nothing says which server may be trusted; add trust_dir (see "
                      "`ncm-edge certificate trust --help`) or server_certificate"))  # fmt: skip
    for one, other in PAIRS:
        for key, missing in ((one, other), (other, one)):
            if key in link and missing not in link:
                found.append((key, f"{key} needs {missing}; add it, or remove {key}"))
    if "user" in link and "user_certificate" in link:
        found.append(("user", "user and user_certificate: a session has one user; remove one"))
    for keys, check in ((FILES, file_fault), (SECRETS, private_fault)):
        for key in keys:
            fault = check(directory / link[key]) if key in link else ""
            if fault:
                found.append((key, f"{key} = {show(link[key])}: {fault}"))
    if "trust_dir" in link and not os.access(directory / link["trust_dir"], os.R_OK | os.X_OK):
        found.append(("trust_dir", f"trust_dir = {show(link['trust_dir'])} is no directory that "
                      f"can be read; create {directory / link['trust_dir']}"))  # fmt: skip
    return found


def _why(key: str) -> str:
    secret = key in ("user", "password_file")
    return "would send the password in the clear" if secret else "has no meaning"
