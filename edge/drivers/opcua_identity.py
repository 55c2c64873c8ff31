"""Certificates, keys and passwords of one link, read from their files at each connect.

Read anew each time, so that a certificate put into the trust directory, or a renewed one of our
own, heals the link without a restart. Nothing here waits or connects.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_pem_private_key,
)

from edge.config.secrets import private_fault
from edge.config.types import OpcUaSecurity
from edge.core.conditions import Condition
from edge.drivers.opcua_trust import Refused, Trust, application_uris

CERTIFICATES = (".der", ".pem", ".crt", ".cer")
REVOCATIONS = (".crl",)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are on a link with security, and whom we trust there."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey
    uri: str
    trust: Trust
    password: str = ""
    user_certificate: x509.Certificate | None = None
    user_key: rsa.RSAPrivateKey | None = None


def load_identity(security: OpcUaSecurity) -> Identity | None:
    """Read the files of a link; None without security. Raises Refused, naming file and remedy."""
    if security.policy == "none":
        return None
    certificate = load_certificate(_given(security.client_certificate, "client_certificate"))
    user_certificate = None
    if security.user_certificate is not None:
        user_certificate = load_certificate(security.user_certificate)
    return Identity(
        certificate=certificate,
        key=_key_of(certificate, security.client_key, "client_key"),
        uri=_uri(certificate, security),
        trust=load_trust(security.trust_dir, security.server_certificate),
        password=_password(security),
        user_certificate=user_certificate,
        user_key=None
        if user_certificate is None
        else _key_of(user_certificate, security.user_key, "user_key"),
    )


def load_certificate(path: Path) -> x509.Certificate:
    """A certificate, PEM or DER whatever its name. Raises Refused."""
    raw = _bytes(path)
    try:
        if b"-----BEGIN" in raw:
            return x509.load_pem_x509_certificate(raw)
        return x509.load_der_x509_certificate(raw)
    except ValueError as exc:
        raise Refused(f"{path} is no certificate ({exc}); give a DER or PEM file") from exc


def load_trust(directory: Path | None, pinned: Path | None = None) -> Trust:
    """The trust list of a link. Raises Refused when a file in it cannot be used.

    One bad file refuses the link: a revocation list that is left out would quietly trust again.
    """
    if directory is None:
        files: list[Path] = []
    else:
        try:
            files = sorted(directory.iterdir())
        except OSError as exc:
            raise Refused(f"trust directory {directory} cannot be read ({exc.strerror})") from exc
    certificates = tuple(load_certificate(f) for f in files if f.suffix.lower() in CERTIFICATES)
    return Trust(
        certificates=certificates,
        revocations=tuple(
            _revocations(f, certificates) for f in files if f.suffix.lower() in REVOCATIONS
        ),
        pinned=None if pinned is None else load_certificate(pinned),
        place=str(directory) if directory is not None else "a trust directory",
    )


def _revocations(
    path: Path, certificates: tuple[x509.Certificate, ...]
) -> x509.CertificateRevocationList:
    raw = _bytes(path)
    try:
        pem = b"-----BEGIN" in raw
        found = x509.load_pem_x509_crl(raw) if pem else x509.load_der_x509_crl(raw)
    except ValueError as exc:
        raise Refused(f"{path} is no revocation list ({exc}); replace it") from exc
    for issuer in certificates:
        key = issuer.public_key()
        named = issuer.subject == found.issuer and isinstance(key, rsa.RSAPublicKey)
        if named and found.is_signature_valid(cast(rsa.RSAPublicKey, key)):
            return found
    raise Refused(
        f"{path} is not signed by an authority in {path.parent}; put the certificate of "
        f"{found.issuer.rfc4514_string()} beside it, or remove the list"
    )


def load_key(path: Path) -> rsa.RSAPrivateKey:
    """An RSA private key without a passphrase, PEM or DER. Raises Refused."""
    fault = private_fault(path)
    if fault:
        raise Refused(fault)
    raw = _bytes(path)
    load = load_pem_private_key if b"-----BEGIN" in raw else load_der_private_key
    try:
        key = load(raw, password=None)
    except (ValueError, TypeError) as exc:
        raise Refused(f"{path} is no usable key ({exc}); it must have no passphrase") from exc
    if not isinstance(key, rsa.RSAPrivateKey):
        raise Refused(f"{path} is no RSA key; OPC UA needs one of 2048 bits or more")
    return key


def _key_of(certificate: x509.Certificate, path: Path | None, name: str) -> rsa.RSAPrivateKey:
    key = load_key(_given(path, name))
    public = cast(rsa.RSAPublicKey, certificate.public_key())
    if key.public_key() != public:
        raise Refused(f"{path} is not the key of its certificate; give two that belong together")
    return key


def _uri(certificate: x509.Certificate, security: OpcUaSecurity) -> str:
    uris = application_uris(certificate)
    uri = security.application_uri or (uris[0] if uris else "")
    if uri not in uris:
        raise Refused(
            f"{security.client_certificate} is for {', '.join(uris) or 'no application'}, not for "
            f'application_uri "{uri}"; make one with `ncm-edge certificate --uri URI`'
        )
    return uri


def _password(security: OpcUaSecurity) -> str:
    if not security.user:
        return ""
    path = _given(security.password_file, "password_file", Condition.LOGIN_REFUSED)
    fault = private_fault(path)
    if fault:
        raise Refused(fault, Condition.LOGIN_REFUSED)
    try:
        first = _bytes(path).decode("utf-8-sig").splitlines()[:1]
    except UnicodeDecodeError as exc:
        raise Refused(f"{path} is not UTF-8", Condition.LOGIN_REFUSED) from exc
    if not first or not first[0]:
        raise Refused(f"{path} has an empty first line; put the password there",
                      Condition.LOGIN_REFUSED)  # fmt: skip
    return first[0]


def _given(path: Path | None, name: str, condition: Condition | None = None) -> Path:
    if path is None:
        raise Refused(f"no {name} is configured; add it to the link",
                      condition or Condition.CERTIFICATE_REFUSED)  # fmt: skip
    return path


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise Refused(f"{path} cannot be read ({exc.strerror or exc})") from exc
