"""The certificate files of TLS links: there, readable, a pair, and the key kept from others."""

from __future__ import annotations

import ssl
from pathlib import Path

from edge.config.document import Document, row_subject, show
from edge.config.secrets import file_fault, private_fault
from edge.config.tables import LINK

_CHECKS = {"ca_file": file_fault, "certificate_file": file_fault, "key_file": private_fault}


def check_tls(line: Document, directory: Path) -> None:
    """Faults of every TLS link; paths are relative to the configuration directory."""
    for index, link in enumerate(line.values.get("link", ())):
        if link.get("protocol") != "modbus-tls":
            continue
        subject = row_subject(LINK, link, index)
        faults = {
            name: check(directory / link[name]) for name, check in _CHECKS.items() if name in link
        }
        if set(faults) == set(_CHECKS) and not any(faults.values()):
            ca, certificate, key = (directory / link[name] for name in _CHECKS)
            faults |= authority_faults(ca) or pair_faults(
                certificate, key, link["certificate_file"]
            )
        for name, problem in faults.items():
            if problem:
                message = f"{name} = {show(link[name])}: {problem}"
                line.fault(("link", index, name), message, subject, name)


def authority_faults(ca: Path) -> dict[str, str]:
    """What OpenSSL says about a readable ca_file; empty if it will do."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=ca)
    except ssl.SSLError:
        return {
            "ca_file": "it holds no certificate; export it as PEM (-----BEGIN CERTIFICATE-----)"
        }
    return {}


def pair_faults(certificate: Path, key: Path, name: str) -> dict[str, str]:
    """What OpenSSL says about a readable certificate_file (written as `name`) and key_file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
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
                "key_file": "it is protected by a password, and nobody is there to type it; store "
                "the key without one and keep the file from others"
            }
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            return {
                "key_file": f'it is not the key of certificate_file "{name}"'
            }
        return {
            "certificate_file": "it and key_file are not a PEM certificate and its key; export "
            "both as PEM"
        }
    return {}
