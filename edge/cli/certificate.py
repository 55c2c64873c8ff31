"""`ncm-edge certificate`: our own certificate, those we trust, and the days they have left.

Files live in `pki/` of the configuration directory: client.der, client.key, trusted/. Nothing is
trusted by being seen: `trust` without --yes only shows the fingerprint to be compared.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from edge.cli.quiet import quiet
from edge.drivers import opcua_make as make
from edge.drivers.opcua_identity import CERTIFICATES, load_certificate
from edge.drivers.opcua_trust import (
    EXPIRES_DAYS,
    Refused,
    application_uris,
    days_left,
    fingerprint,
    hosts,
    subject,
    thumbprint,
)
from edge.runtime.clock import Clock

FINE, NOT_FINE, USER_MISTAKE = 0, 1, 2
FOLDER = "pki"
TRUSTED = "trusted"
CONNECT_S = 5.0
OLDEST_S = 1_767_225_600.0
"""1 January 2026: a clock before it is wrong, and a certificate made by it would be, too."""

STEPS = """
Next, on the server or PLC (its manual calls it "trusted clients", "partner certificates"):
  1. Take {certificate} there, or let the appliance try once and look
     for a rejected certificate of application {uri}.
  2. Compare the fingerprint with the one above, then trust it.
  3. Enable the security policy of the link and, best, disable policy None.
And here:
  4. ncm-edge certificate trust opc.tcp://SERVER:4840
     shows the server's certificate; compare its fingerprint at the server, then add --yes.
  5. In the [[link]] of line.toml:
       security_policy = "basic256sha256"
       client_certificate = "{folder}/client.der"
       client_key = "{folder}/client.key"
       trust_dir = "{folder}/trusted"
  6. ncm-edge check; ncm-edge tags
"""


def create(
    config: Path, clock: Clock, *, uri: str | None, names: Sequence[str], years: int, force: bool
) -> int:
    """Make certificate and key in `config`/pki. Returns an exit code."""
    folder = config / FOLDER
    where, secret = folder / "client.der", folder / "client.key"
    there = [path for path in (where, secret) if path.exists()]
    if there and not force:
        return _mistake(
            f"{there[0]} is already there; servers trust it. --force makes a new one, which every "
            "server has to be told"
        )
    now_s = clock.wall_s()
    if now_s < OLDEST_S:
        return _mistake("the clock of this machine is before 2026; set it first (timedatectl)")
    host = socket.gethostname()
    uri = uri or f"urn:{host}:ncm-edge"
    try:
        key = make.new_key()
        certificate = make.self_signed(
            key, uri=uri, hosts=list(names) or [host], years=years, now_s=now_s
        )
        (folder / TRUSTED).mkdir(parents=True, exist_ok=True)
        make.save(certificate, key, where, secret)
    except ValueError as error:
        return _mistake(f"URI {uri} or host {', '.join(names) or host}: {error}; use ASCII")
    except OSError as error:
        print(f"{error.filename or folder}: {error.strerror}", file=sys.stderr)
        return NOT_FINE
    print(f"made {where} and its key {secret} (mode 0600)")
    print("\n".join(_describe(certificate, now_s)))
    print(STEPS.format(certificate=where, uri=uri, folder=FOLDER), end="")
    return FINE


def show(config: Path, clock: Clock) -> int:
    """List every certificate of `config`/pki. Returns 1 when one ends within 30 days."""
    now_s = clock.wall_s()
    folder = config / FOLDER
    files = [
        path
        for path in (*sorted(folder.glob("*")), *sorted((folder / TRUSTED).glob("*")))
        if path.suffix.lower() in CERTIFICATES
    ]
    if not files:
        return _mistake(f"{folder}: no certificate there; `ncm-edge certificate` makes one")
    worst = FINE
    for path in files:
        print(path)
        try:
            certificate = load_certificate(path)
        except Refused as error:
            print(f"  {error}")
            worst = NOT_FINE
            continue
        print("\n".join(_describe(certificate, now_s)))
        if days_left(certificate, now_s) <= EXPIRES_DAYS:
            worst = NOT_FINE
    return worst


def trust(config: Path, clock: Clock, what: str, *, yes: bool) -> int:
    """Show the certificate of a file or a server; with `yes`, put it into the trust list."""
    try:
        found = _shown(what) if what.startswith("opc.tcp://") else [load_certificate(Path(what))]
    except Refused as error:
        return _mistake(str(error))
    except (OSError, ValueError, TimeoutError) as error:
        print(f"{what}: {error or 'no answer'}", file=sys.stderr)
        return NOT_FINE
    if not found:
        print(f"{what}: the server shows no certificate; enable a security policy there")
        return NOT_FINE
    for certificate in found:
        print(f"certificate of {what}")
        print("\n".join(_describe(certificate, clock.wall_s())))
        path = config / FOLDER / TRUSTED / f"{thumbprint(certificate)}.der"
        if path.exists():
            print(f"already trusted: {path}")
        elif yes:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                make.save_trusted(certificate, path)
            except OSError as error:
                print(f"{error.filename or path}: {error.strerror}", file=sys.stderr)
                return NOT_FINE
            print(f"trusted: {path}")
        else:
            print("NOT trusted yet. Compare the fingerprint at the server itself; then add --yes")
            return NOT_FINE
    return FINE


def _shown(url: str) -> list[x509.Certificate]:
    from edge.drivers.opcua_session import shown_certificates

    if not urlsplit(url).hostname:
        raise Refused(f"{url} is no address; permitted: text such as opc.tcp://192.168.10.30:4840")
    with quiet("asyncua"):
        return asyncio.run(shown_certificates(url, CONNECT_S))


def _describe(certificate: x509.Certificate, now_s: float) -> list[str]:
    days = days_left(certificate, now_s)
    left = f"{days:.0f} days left" if days >= 0 else f"EXPIRED {-days:.0f} days ago"
    begin, end = certificate.not_valid_before_utc.date(), certificate.not_valid_after_utc.date()
    return [
        f"  holder       {subject(certificate)}",
        f"  application  {', '.join(application_uris(certificate)) or 'none'}",
        f"  hosts        {', '.join(hosts(certificate)) or 'none'}",
        f"  valid        {begin} to {end}, {left}",
        f"  SHA-256      {fingerprint(certificate)}",
        f"  SHA-1        {thumbprint(certificate)}",
    ]


def _mistake(text: str) -> int:
    print(text, file=sys.stderr)
    return USER_MISTAKE
