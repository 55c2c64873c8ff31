"""Which server certificate is trusted: values in, a verdict out. Nothing here opens or connects.

Rules, in order; the first that fails is the reason given:

1. Pinned: the link names one certificate, so every other one is refused, whoever signed it.
2. Trusted: the certificate lies in the trust directory, or a certificate authority that lies there
   signed it. A certificate that names an application vouches for itself only, even where it claims
   to be an authority (self-signed ones often do): one PLC must not be able to speak for another.
3. Revoked: no revocation list of its issuer names it. An old list still holds: what it revoked
   stays revoked.
4. Dates, with a clock nobody vouches for (a box without network time may start in 1970):
   - the time used is never earlier than the beginning of our own certificate, because we exist;
   - "expired" is final. A clock that runs ahead refuses a good certificate, which is a nuisance
     with a remedy; the reverse would be a hole;
   - "not yet valid" is refused only where an authority vouches. A certificate that somebody put
     into the trust directory, or pinned, existed then, so there it is our clock that is late;
   - a session that is up is never cut by a date: a clock that jumps must not stop a running line.
5. Use: keys of 2048 bits and more, meant for a server, as far as the certificate says.
6. Host: the address we dialled is named in the certificate, unless it is pinned (a pin says more).
7. Application: the server's application URI, taken from inside the secure channel, is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge.core.conditions import Condition
from edge.runtime.clock import DAY_S

EXPIRES_DAYS = 30.0
"""Days before its end from which a certificate is reported."""
EARLY_S = 86_400.0
"""A certificate may begin this much later than our time: PLCs take local time for UTC."""
MIN_KEY_BITS = 2048
"""Least of both security policies, OPC 10000-7."""

T = TypeVar("T", bound=x509.ExtensionType)


class Refused(Exception):  # noqa: N818 - a verdict, not a fault of the program
    """No connection may be made; the message gives cause and remedy. Retrying soon is no use."""

    def __init__(self, text: str, condition: Condition = Condition.CERTIFICATE_REFUSED) -> None:
        super().__init__(text)
        self.condition = condition


@dataclass(frozen=True, slots=True)
class Trust:
    """What the plant trusts on one link."""

    certificates: tuple[x509.Certificate, ...] = ()
    revocations: tuple[x509.CertificateRevocationList, ...] = ()
    pinned: x509.Certificate | None = None
    place: str = "the trust directory"
    """The trust directory, for the remedy."""


def judge(
    certificate: x509.Certificate, trust: Trust, *, host: str, now_s: float, floor_s: float
) -> None:
    """Rules 1 to 6. Raises Refused.

    `now_s` is our clock, epoch seconds; `floor_s` the earliest it can be (rule 4).
    """
    name = f"server certificate {subject(certificate)}, SHA-256 {fingerprint(certificate)},"
    _check_trusted(certificate, trust, name)
    _check_revoked(certificate, trust, name)
    issued = certificate != trust.pinned and certificate not in trust.certificates
    _check_dates(certificate, max(now_s, floor_s), name, issued)
    _check_use(certificate, name)
    if trust.pinned is None and not names_host(certificate, host):
        raise Refused(
            f"{name} does not name the address {host} of the link (it names "
            f"{', '.join(hosts(certificate)) or 'none'}); dial it by such a name, or pin the "
            "certificate with server_certificate"
        )


def check_application(certificate: x509.Certificate, uri: str) -> None:
    """Rule 7. Raises Refused."""
    if uri not in application_uris(certificate):
        raise Refused(
            f"the server calls itself {uri}, but its certificate is for "
            f"{', '.join(application_uris(certificate)) or 'no application'}; have the certificate "
            "of the server made anew"
        )


def _check_trusted(certificate: x509.Certificate, trust: Trust, name: str) -> None:
    if trust.pinned is not None:
        if certificate != trust.pinned:
            raise Refused(
                f"{name} is not the pinned one, SHA-256 {fingerprint(trust.pinned)}; if the server "
                "was given a new certificate on purpose, put it in server_certificate"
            )
    elif certificate not in trust.certificates and not _issuers(certificate, trust):
        raise Refused(
            f"{name} is not in {trust.place} and no authority there signed it; compare the "
            "fingerprint at the server, then `ncm-edge certificate trust URL --yes`"
        )


def _issuers(certificate: x509.Certificate, trust: Trust) -> list[x509.Certificate]:
    return [one for one in trust.certificates if _is_authority(one) and _signed(certificate, one)]


def _is_authority(certificate: x509.Certificate) -> bool:
    basic = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    return (
        basic is not None
        and basic.ca
        and (usage is None or usage.key_cert_sign)
        and not application_uris(certificate)
    )


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _check_revoked(certificate: x509.Certificate, trust: Trust, name: str) -> None:
    for revocation in trust.revocations:
        if revocation.issuer != certificate.issuer:
            continue
        if revocation.get_revoked_certificate_by_serial_number(certificate.serial_number):
            raise Refused(
                f"{name} was revoked by {certificate.issuer.rfc4514_string()}; have a new one made "
                "for the server"
            )


def _check_dates(certificate: x509.Certificate, now_s: float, name: str, issued: bool) -> None:
    ours = f"by our clock, {_date(now_s)}; check that clock first"
    if now_s > (end_s := certificate.not_valid_after_utc.timestamp()):
        raise Refused(f"{name} expired on {_date(end_s)} {ours}, then renew the certificate")
    begin_s = certificate.not_valid_before_utc.timestamp()
    if issued and now_s < begin_s - EARLY_S:
        raise Refused(f"{name} is valid only from {_date(begin_s)} on {ours}")


def _check_use(certificate: x509.Certificate, name: str) -> None:
    key = certificate.public_key()
    extended = _extension(certificate, x509.ExtendedKeyUsage)
    usage = _extension(certificate, x509.KeyUsage)
    fault = ""
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_KEY_BITS:
        fault = f"has no RSA key of {MIN_KEY_BITS} bits or more"
    elif extended is not None and ExtendedKeyUsageOID.SERVER_AUTH not in extended:
        fault = "is not meant for a server (extended key usage)"
    elif usage is not None and not (usage.digital_signature and usage.key_encipherment):
        fault = "is not meant for signing and key encipherment (key usage)"
    if fault:
        raise Refused(f"{name} {fault}; have the certificate of the server made anew")


def names_host(certificate: x509.Certificate, host: str) -> bool:
    """Whether the certificate names the host, a DNS name or an IP address."""
    return host.casefold() in (name.casefold() for name in hosts(certificate))


def hosts(certificate: x509.Certificate) -> list[str]:
    """Host names and IP addresses in the certificate."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    if names is None:
        return []
    addresses = names.get_values_for_type(x509.IPAddress)
    return [*names.get_values_for_type(x509.DNSName), *(str(address) for address in addresses)]


def application_uris(certificate: x509.Certificate) -> list[str]:
    """Application URIs the certificate was made for; one, where it keeps to the rules."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    return [] if names is None else names.get_values_for_type(x509.UniformResourceIdentifier)


def _extension(certificate: x509.Certificate, kind: type[T]) -> T | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except ValueError as exc:
        raise Refused(f"certificate {subject(certificate)} is malformed: {exc}") from exc


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 in colon-separated hex, as most engineering tools show it."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def thumbprint(certificate: x509.Certificate) -> str:
    """SHA-1 in hex: what OPC UA itself, and older engineering tools, call a certificate by."""
    return certificate.fingerprint(hashes.SHA1()).hex().upper()


def subject(certificate: x509.Certificate) -> str:
    """Name of the holder, in quotes."""
    return f'"{certificate.subject.rfc4514_string()}"'


def days_left(certificate: x509.Certificate, now_s: float) -> float:
    """Days until the certificate ends; negative when it has."""
    return (certificate.not_valid_after_utc.timestamp() - now_s) / DAY_S


def expiry_text(whose: str, certificate: x509.Certificate, now_s: float) -> str:
    """A sentence when it ends within EXPIRES_DAYS, or ""."""
    days = days_left(certificate, now_s)
    if days > EXPIRES_DAYS:
        return ""
    when = f"ends in {days:.0f} days" if days >= 0 else f"ended {-days:.0f} days ago"
    end = _date(certificate.not_valid_after_utc.timestamp())
    return f"{whose} certificate {subject(certificate)} {when} ({end})"


def _date(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).date().isoformat()
