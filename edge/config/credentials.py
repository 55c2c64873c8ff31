"""The certificate files of TLS links: there, readable, a pair, and the key kept from others."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.config.document import Document, row_subject
from edge.config.tables import LINK

_KEYS = ("ca_file", "certificate_file", "key_file")


def check_credentials(line: Document, directory: Path) -> None:
    """Faults of every TLS link; paths are relative to the configuration directory."""
    for index, link in enumerate(line.values.get("link", ())):
        if link.get("protocol") != "modbus-tls":
            continue
        subject = row_subject(LINK, link, index)
        faults = {name: _file_fault(directory / link[name], name) for name in _KEYS if name in link}
        if set(faults) == set(_KEYS) and not any(faults.values()):
            faults |= _pair_faults(directory, link)
        for name, problem in faults.items():
            if problem:
                line.fault(("link", index, name), f'{name} = "{link[name]}" {problem}', subject)


def _file_fault(path: Path, name: str) -> str:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return "is not a file; name a PEM file"
        path.read_bytes()
    except OSError as error:
        why = error.strerror or str(error)
        return f"cannot be read: {why}; correct the path, or owner and permissions of the file"
    if name == "key_file" and mode & stat.S_IROTH:
        return (
            f"can be read by everyone on this machine (mode {stat.S_IMODE(mode):04o}); take that "
            f"away with: chmod o-rwx {path}"
        )
    return ""


def _pair_faults(directory: Path, link: Mapping[str, Any]) -> dict[str, str]:
    """What OpenSSL says about the contents."""
    ca, certificate, key = (directory / link[name] for name in _KEYS)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=ca)
    except ssl.SSLError:
        return {"ca_file": "holds no certificate; export it as PEM (-----BEGIN CERTIFICATE-----)"}
    asked = False

    def no_password() -> str:
        nonlocal asked
        asked = True
        return ""

    try:
        context.load_cert_chain(certificate, key, password=no_password)
    except (ssl.SSLError, ValueError) as error:
        if asked:
            return {
                "key_file": "is protected by a password, and nobody is there to type it; store "
                "the key without one and keep the file from others"
            }
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            return {"key_file": f'is not the key of certificate_file "{link["certificate_file"]}"'}
        return {
            "certificate_file": "and key_file are not a PEM certificate and its key; export both "
            "as PEM"
        }
    return {}
