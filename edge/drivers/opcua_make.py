"""The appliance's own certificate: self-signed, as OPC UA applications usually are.

OPC 10000-6 section 6.2.2 says what has to be in it: the application URI, the host names, and the
uses of an application instance certificate.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KEY_BITS = 2048
"""Both security policies take 2048 to 4096; every PLC takes 2048."""
BACKDATED = timedelta(days=1)
"""A PLC whose clock is some hours behind must not find our certificate in the future."""


def new_key() -> rsa.RSAPrivateKey:
    """A new RSA key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)


def self_signed(
    key: rsa.RSAPrivateKey, *, uri: str, hosts: Sequence[str], years: int, now_s: float
) -> x509.Certificate:
    """A certificate of an OPC UA client. `now_s`: epoch seconds; `hosts`: names or addresses."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ncm-edge")])
    now = datetime.fromtimestamp(now_s, UTC).replace(microsecond=0)
    # keyCertSign without CA: a self-signed certificate has to have signed itself, and nothing else.
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=True,
        data_encipherment=True, key_agreement=False, key_cert_sign=True, crl_sign=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False),
        (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri), *_names(hosts)]), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage, True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=round(365.25 * years)))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256())


def _names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for host in hosts:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            found.append(x509.DNSName(host))
    return found


def save(certificate: x509.Certificate, key: rsa.RSAPrivateKey, where: Path, secret: Path) -> None:
    """Write the certificate in DER and its key in PEM, mode 0600. Raises OSError."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(secret, pem, 0o600)
    _write(where, certificate.public_bytes(Encoding.DER), 0o644)


def save_trusted(certificate: x509.Certificate, where: Path) -> None:
    """Write a certificate somebody trusts, in DER. Raises OSError."""
    _write(where, certificate.public_bytes(Encoding.DER), 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, and never for a moment with another mode than `mode`."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)
