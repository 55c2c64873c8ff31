"""A plant authority and its certificates, made for one test."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

MODBUS_ROLE = x509.ObjectIdentifier("1.3.6.1.4.1.50316.802.1")
"""Extension of a client certificate that names its role (Modbus/TCP Security)."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; files go into `folder`."""

    def __init__(self, folder: Path, name: str = "plant") -> None:
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _name(f"{name} CA")
        made = _builder(self._subject, self._subject, self._key, days=(-1, 365))
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self._certificate = made.sign(self._key, hashes.SHA256())
        self.file = folder / f"{name}-ca.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        name: str,
        *names: str,
        days: tuple[int, int] = (-1, 30),
        role: str = "",
        password: bytes = b"",
    ) -> Pair:
        """A certificate for `names` (DNS names or addresses), valid from .. to days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _builder(_name(name), self._subject, key, days=days)
        if names:
            made = made.add_extension(
                x509.SubjectAlternativeName([_alternative(n) for n in names]), critical=False
            )
        if role:
            text = role.encode()
            value = bytes([12, len(text)]) + text  # UTF8String
            made = made.add_extension(x509.UnrecognizedExtension(MODBUS_ROLE, value), False)
        signed = made.sign(self._key, hashes.SHA256())
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        pair.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        guard = (
            serialization.BestAvailableEncryption(password)
            if password
            else serialization.NoEncryption()
        )
        pair.key.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, guard)
        )
        pair.key.chmod(0o600)
        return pair

    def server(self, pair: Pair) -> ssl.SSLContext:
        """What a device uses that asks for a client certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        context.load_verify_locations(cafile=self.file)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: tuple[int, int]
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=days[0]))
        .not_valid_after(now + dt.timedelta(days=days[1]))
    )
