"""Certificates of every kind for tests, and a secured asyncua server that shows one of them."""

from __future__ import annotations

import functools
import gc
import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.server.server import Server
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge.config.types import OpcUaSecurity

EPOCH_S = 1.7e9
NAMESPACE = "urn:test:plc"
SERVER_URI = "urn:test:server"
CLIENT_URI = "urn:box:ncm-edge"
DAY_S = 86_400.0
SECURED = (
    ua.SecurityPolicyType.Basic256Sha256_Sign,
    ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
)


@functools.cache
def key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """The key of this name: made once a test run, because making one takes a while."""
    assert name
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def key_der(self) -> bytes:
        return self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def pair(
    name: str = "plc",
    *,
    uri: str | None = SERVER_URI,
    hosts: Sequence[str] = ("127.0.0.1",),
    begin_days: float = -100.0,
    end_days: float = 1000.0,
    issuer: Pair | None = None,
    ca: bool = False,
    use: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.SERVER_AUTH,
    bits: int = 2048,
    epoch_s: float = EPOCH_S,
) -> Pair:
    """A certificate that is valid from `begin_days` to `end_days` after `epoch_s`."""
    own = key(name, bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.fromtimestamp(epoch_s, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begin_days))
        .not_valid_after(now + timedelta(days=end_days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    names: list[x509.GeneralName] = [] if uri is None else [x509.UniformResourceIdentifier(uri)]
    for host in hosts:
        numeric = host.replace(".", "").isdigit()
        names.append(x509.IPAddress(ipaddress.ip_address(host)) if numeric else x509.DNSName(host))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if use is not None and not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    signer = own if issuer is None else issuer.key
    return Pair(builder.sign(signer, hashes.SHA256()), own)


def authority(name: str = "plant CA", **changes: Any) -> Pair:
    return pair(name, uri=None, hosts=(), ca=True, **changes)


def revocations(issuer: Pair, *revoked: Pair) -> bytes:
    """A revocation list in DER."""
    now = datetime.fromtimestamp(EPOCH_S, UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now - timedelta(days=90))
        .next_update(now - timedelta(days=60))
    )
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number)
        builder = builder.add_revoked_certificate(
            entry.revocation_date(now - timedelta(days=91)).build()
        )
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.DER)


class Site:
    """The files of one appliance in a directory of its own."""

    def __init__(self, folder: Path, client: Pair | None = None) -> None:
        self.folder = folder
        self.trusted = folder / "trusted"
        self.trusted.mkdir(parents=True)
        self.client = client or pair(
            "box", uri=CLIENT_URI, hosts=("box",), use=ExtendedKeyUsageOID.CLIENT_AUTH
        )
        self.secret("client.key", self.client.key_der)
        (folder / "client.der").write_bytes(self.client.der)

    @classmethod
    def at(cls, folder: Path) -> Site:
        """The site another process made there."""
        site = cls.__new__(cls)
        site.folder, site.trusted = folder, folder / "trusted"
        return site

    def secret(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o600)
        return path

    def trust(self, one: Pair) -> Path:
        path = self.trusted / f"{one.certificate.serial_number:x}.der"
        path.write_bytes(one.der)
        return path

    def security(self, **changes: Any) -> OpcUaSecurity:
        settings: dict[str, Any] = {
            "policy": "basic256sha256",
            "client_certificate": self.folder / "client.der",
            "client_key": self.folder / "client.key",
            "trust_dir": self.trusted,
        }
        return OpcUaSecurity(**(settings | changes))


async def secured_server(
    port: int,
    shown: Pair | None,
    values: dict[str, Any],
    *,
    policies: Sequence[ua.SecurityPolicyType] = SECURED,
    user_manager: Any = None,
) -> Server:
    """A server, not started, that shows a certificate; None: without security."""
    server = Server(user_manager=user_manager)
    gc.disable()  # 15,000 new nodes of the standard address space, none of them garbage
    try:
        await server.init()
    finally:
        gc.enable()
    server.disable_clock()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/plc")
    await server.set_application_uri(SERVER_URI)
    if shown is None:
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    else:
        server.set_security_policy(list(policies))
        await server.load_certificate(shown.der)
        await server.load_private_key(shown.key_der)
    index = await server.register_namespace(NAMESPACE)
    await add_nodes(server, index, values)
    return server


async def add_nodes(server: Server, index: int, values: dict[str, Any]) -> None:
    """Nodes without source time stamps: the server's clock is not the test's."""
    for name, value in values.items():
        node = ua.NodeId.from_string(f"ns={index};s={name}")
        await server.nodes.objects.add_variable(node, name, value)
        await server.write_attribute_value(node, ua.DataValue(ua.Variant(value)))


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Server]:
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
