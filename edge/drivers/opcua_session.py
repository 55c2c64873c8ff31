"""Channel and session of one OPC UA connection, made of asyncua's public calls.

Not `Client.connect()`: that starts a supervisor, a watchdog and a stale-subscription task, and a
link has one owner (`opcua_link.Connection.run`). With security, the certificate of the server is
judged twice: before the first signed message, so that no credential reaches a stranger, and again
by the one the session shows, together with the application URI from inside the channel.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClientState
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import x509_from_der
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaStatusCodeError
from cryptography import x509

from edge.config.types import OpcUaLink
from edge.core.conditions import Condition
from edge.drivers.opcua_answers import describe, read_request
from edge.drivers.opcua_identity import Identity, load_identity
from edge.drivers.opcua_trust import Refused, check_application, expiry_text, fingerprint, judge

_log = logging.getLogger(__name__)

# asyncua logs each failed request with its traceback; the driver reports failures itself, once per
# change of state. A debug session may lower the level again.
_asyncua_log = logging.getLogger("asyncua.client")
if _asyncua_log.level == logging.NOTSET:
    _asyncua_log.setLevel(logging.CRITICAL + 1)

SESSION_MS = 60_000
"""A server forgets our session this long after we are gone; polls keep it alive."""
CHANNEL_MS = 3_600_000
_RENEW_AT = 0.75  # of the channel's lifetime, OPC 10000-4 section 5.5.2
_OPEN_REQUESTS = 8
_MAX_NODES_PER_READ = ua.NodeId(ua.Int32(11705))

_POLICIES = {
    "basic256sha256": security_policies.SecurityPolicyBasic256Sha256,
    "aes256sha256rsapss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}
_MODES = {
    "sign": ua.MessageSecurityMode.Sign,
    "sign_and_encrypt": ua.MessageSecurityMode.SignAndEncrypt,
}
_OUR_CERTIFICATE = frozenset(
    code
    for name, code in vars(StatusCodes).items()
    if name.startswith("BadCertificate") or name == "BadSecurityChecksFailed"
)
"""Answers by which a server refuses our certificate."""
_OUR_USER = frozenset(
    {
        StatusCodes.BadUserAccessDenied,
        StatusCodes.BadIdentityTokenInvalid,
        StatusCodes.BadIdentityTokenRejected,
        StatusCodes.BadUserSignatureInvalid,
    }
)


@dataclass(frozen=True, slots=True)
class Session:
    """An open session."""

    namespace: int
    """Index of the link's namespace on this server, this time."""
    max_nodes: int
    """Most nodes the server reads at once."""
    certificates: tuple[tuple[str, x509.Certificate], ...]
    """Whose, and the certificate: those whose end has to be watched."""

    def expiring(self, now_s: float) -> str:
        """A sentence for each certificate about to end; "" for none."""
        return "; ".join(t for w, c in self.certificates if (t := expiry_text(w, c, now_s)))


def new_client(link: OpcUaLink) -> Client:
    """A client for one connection; nothing is opened yet."""
    client = Client(link.url, timeout=link.timeout_ms / 1000)
    client.session_timeout = SESSION_MS
    client.secure_channel_timeout = CHANNEL_MS
    client.name = client.description = "ncm-edge"
    return client


async def open_session(client: Client, link: OpcUaLink, now_s: float) -> Session:
    """Open channel and session; `now_s` is the wall clock, for the dates of certificates.

    Raises Refused when certificates or user are, LookupError when the server does not have the
    namespace, and whatever asyncua raises.
    """
    async with asyncio.timeout(_OPEN_REQUESTS * link.timeout_ms / 1000):
        identity = load_identity(link.security)
        certificates: list[tuple[str, x509.Certificate]] = []
        if identity is not None:
            server = await _secure(client, link, identity, now_s)
            certificates = [("our own", identity.certificate), ("the server's", server)]
        await client.connect_socket()
        await client.send_hello()
        await _open_channel(client, link, identity)
        await _log_in(client, link, identity)
        uris = await client.get_namespace_array()
        if link.namespace not in uris:
            known = ", ".join(f'"{uri}"' for uri in uris)
            raise LookupError(f'the server has no namespace "{link.namespace}"; it has {known}')
        (answer,) = await client.uaclient.read(read_request([_MAX_NODES_PER_READ]))
        limit = answer.Value.Value if answer.Value is not None else None
        if not isinstance(limit, int) or limit <= 0:
            limit = link.max_nodes_per_read  # the server states none
        return Session(uris.index(link.namespace), limit, tuple(certificates))


async def _secure(
    client: Client, link: OpcUaLink, identity: Identity, now_s: float
) -> x509.Certificate:
    """Judge the certificate of the server and set the security of the channel."""
    policy = _POLICIES[link.security.policy]
    mode = _MODES[link.security.mode]
    trust = identity.trust
    certificate = trust.pinned or await shown_certificate(link, policy.URI, mode)

    def check(shown: x509.Certificate) -> None:
        judge(
            shown,
            trust,
            host=client.server_url.hostname or "",
            now_s=now_s,
            floor_s=identity.certificate.not_valid_before_utc.timestamp(),
        )

    async def validate(shown: x509.Certificate, server: ua.ApplicationDescription) -> None:
        check(shown)
        check_application(shown, str(server.ApplicationUri))

    check(certificate)
    client.certificate_validator = validate
    client.application_uri = identity.uri
    # Not `set_security`: it would read the files again, and log what it thinks of our certificate.
    secured = policy(certificate, identity.certificate, identity.key, mode)  # type: ignore[no-untyped-call]
    client.security_policy = secured  # type: ignore[assignment]  # annotated too narrowly
    client.uaclient.set_security(secured)
    return certificate


async def shown_certificate(
    link: OpcUaLink, policy_uri: str, mode: ua.MessageSecurityMode
) -> x509.Certificate:
    """The certificate the server shows for this policy and mode; nobody vouches for it yet.

    Raises LookupError when the server offers no such endpoint.
    """
    endpoints = await new_client(link).connect_and_get_server_endpoints()
    for one in endpoints:
        if one.SecurityPolicyUri == policy_uri and one.SecurityMode == mode:
            shown: x509.Certificate = x509_from_der(one.ServerCertificate)  # type: ignore[no-untyped-call]
            return shown
    offers = {f"{_short(one.SecurityPolicyUri)} {one.SecurityMode.name}" for one in endpoints}
    raise LookupError(
        f"the server offers no {_short(policy_uri)} {mode.name}; it offers "
        f"{', '.join(sorted(offers))}; correct security_policy and security_mode"
    )


async def shown_certificates(url: str, timeout_s: float) -> list[x509.Certificate]:
    """The different certificates a server shows, usually one. Raises OSError or TimeoutError."""
    async with asyncio.timeout(timeout_s):
        try:
            endpoints = await Client(url, timeout_s).connect_and_get_server_endpoints()
        except OSError:
            raise
        except Exception as exc:  # asyncua raises anything, down to a bare AssertionError
            raise OSError(describe(exc)) from exc
    blobs = dict.fromkeys(one.ServerCertificate for one in endpoints if one.ServerCertificate)
    return [x509_from_der(blob) for blob in blobs]  # type: ignore[no-untyped-call]


async def _open_channel(client: Client, link: OpcUaLink, identity: Identity | None) -> None:
    try:
        await client.open_secure_channel()
    except Exception as exc:
        if identity is not None:
            if identity.trust.pinned is not None:
                await _check_swapped(link, client, identity.trust.pinned)
            if _is_refusal(exc):
                raise _not_trusted(identity, exc) from exc
        raise


async def _check_swapped(link: OpcUaLink, client: Client, pinned: x509.Certificate) -> None:
    """A server that lost the pinned certificate cannot read our message, so it cannot say why."""
    policy = client.security_policy
    try:
        shown = await shown_certificate(link, policy.URI, policy.Mode)
    except Exception as exc:
        _log.debug("what certificate is shown instead: %s", describe(exc))
        return
    if shown != pinned:
        raise Refused(
            f"the server shows certificate SHA-256 {fingerprint(shown)}, not the pinned one, "
            f"SHA-256 {fingerprint(pinned)}; if it was given a new certificate on purpose, put it "
            "in server_certificate"
        )


async def _log_in(client: Client, link: OpcUaLink, identity: Identity | None) -> None:
    """Create and activate the session as the user of the link."""
    if identity is None:
        await client.create_session()
        await client.activate_session()
        return
    user = link.security.user
    try:
        await client.create_session()
        if user:
            _check_password_hidden(client, link)
        client.user_private_key = identity.user_key
        await client.activate_session(user or None, identity.password, identity.user_certificate)
    except UaStatusCodeError as exc:
        if exc.code in _OUR_USER:
            who = f'user "{user}"' if user else "the user of the link"
            raise Refused(
                f"the server refused {who} ({describe(exc)})", Condition.LOGIN_REFUSED
            ) from exc
        if exc.code in _OUR_CERTIFICATE:
            raise _not_trusted(identity, exc) from exc
        raise


def _check_password_hidden(client: Client, link: OpcUaLink) -> None:
    """A server may ask for a password in the clear, and in mode sign everybody could read it."""
    asked = client.server_policy(ua.UserTokenType.UserName).SecurityPolicyUri
    if link.security.mode == "sign" and asked == security_policies.SecurityPolicyNone.URI:
        raise Refused(
            "the server wants the password in the clear and messages are only signed; set "
            'security_mode = "sign_and_encrypt"',
            Condition.LOGIN_REFUSED,
        )


def _is_refusal(exc: Exception) -> bool:
    """A channel that is not opened: asyncua has a status, an empty assertion or a closed socket."""
    if isinstance(exc, UaStatusCodeError):
        return exc.code in _OUR_CERTIFICATE
    return isinstance(exc, AssertionError | ConnectionError)


def _not_trusted(identity: Identity, exc: Exception) -> Refused:
    return Refused(
        f"the server does not accept our certificate, SHA-256 {fingerprint(identity.certificate)} "
        f"({describe(exc)}); trust it on the server, see `ncm-edge certificate --show`"
    )


def _short(policy_uri: str | None) -> str:
    return str(policy_uri).rpartition("#")[2]


def renew_after_s(client: Client) -> float:
    """Seconds after which the channel in force wants to be renewed."""
    return _RENEW_AT * client.secure_channel_timeout / 1000


async def renew_channel(client: Client) -> None:
    """Renew the secure channel; no other request may be under way."""
    await client.open_secure_channel(renew=True)
    client.uaclient.revolve_security_token()


async def close_session(client: Client, timeout_s: float) -> None:
    """End session, channel and socket; politely while the server plays along."""
    # asyncua leaves the publish task of a lost connection trying again every second.
    publishing = client.uaclient.session._publish_task
    if publishing is not None:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
    try:
        if client.state is UaClientState.CONNECTED:
            async with asyncio.timeout(timeout_s):
                await client.close_session()
                await client.close_secure_channel()
    except Exception as exc:
        _log.debug("close: %s", describe(exc))
    finally:
        client.disconnect_socket()
