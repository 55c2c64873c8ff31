"""One connection to the broker. It publishes; there is no way to subscribe.

A new client for every connection: what a client did not get acknowledged must not be sent again by
the library, unmarked; the cursors decide. The library connects in a thread, which cannot be called
back, for at most `CONNECT_S` a step.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiomqtt

from edge.config.cross_mqtt import password
from edge.config.types import MqttSettings
from edge.runtime.mqtt.messages import Message

CONNECT_S = 5.0
"""Longest wait for a TCP connection, and for each answer of a TLS handshake."""
ANSWER_S = 10.0
"""Longest wait for the broker's acknowledgement."""
KEEPALIVE_S = 20
QOS = 1
WINDOW = 10
"""Messages sent before an acknowledgement is waited for."""
DIAL_S = 0.02
"""How often a stop looks whether the dialling has ended."""
CLOSE_S = 2.0
"""Longest wait for a connection to end well."""
_VERSIONS = {"5": aiomqtt.ProtocolVersion.V5, "3.1.1": aiomqtt.ProtocolVersion.V311}
_LOGIN = (4, 5, 134, 135)
"""Answers to a connect that say: not with this user and password (3.1.1 and 5)."""


_quiet = logging.getLogger("ncm-edge.mqtt")
_quiet.setLevel(logging.CRITICAL)  # what the library would say is said by BrokerError


class BrokerError(Exception):
    """The broker cannot be reached, or has refused."""

    def __init__(self, text: str, *, login: bool = False) -> None:
        super().__init__(text)
        self.login = login
        """Trying again soon could lock an account."""


class Broker:
    """A connection that stands."""

    def __init__(self, client: _Client) -> None:
        self._client = client

    async def publish(self, messages: Sequence[Message]) -> None:
        """Returns when the broker has acknowledged all of them; at most `WINDOW`.

        Raises BrokerError if it has not, or refuses a topic.
        """
        client = self._client
        sending = asyncio.gather(
            *(client.publish(m.topic, m.payload, qos=QOS, retain=m.retain) for m in messages),
            return_exceptions=True,
        )
        try:
            # A connection that ends would otherwise be noticed by the missing answer only.
            await asyncio.wait((sending, client.ended), return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise BrokerError("the connection was lost")
            failed = [x for x in sending.result() if isinstance(x, Exception)]
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending
        if failed:
            raise BrokerError(_text(failed[0])) from failed[0]
        if client.refused:
            topics = ", ".join(dict.fromkeys(m.topic for m in messages))
            raise BrokerError(f"the broker refuses {topics}: {client.refused}")


class _Client(aiomqtt.Client):
    refused = ""
    """Why the broker has not taken a message it acknowledged (MQTT 5)."""

    @property
    def ended(self) -> asyncio.Future[None]:
        """Done when the connection is."""
        return self._disconnected

    @property
    def dialled(self) -> bool:
        """Whether there is, or was, a connection to ask on."""
        return self._misc_task is not None

    def connects_within(self, seconds: float) -> None:
        self._client.connect_timeout = seconds

    def _on_publish(
        self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any
    ) -> None:
        if reason_code.is_failure:
            self.refused = str(reason_code)
        super()._on_publish(client, userdata, mid, reason_code, properties)

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:
        """Whatever a broker sends unasked is not even kept."""

    async def close(self, *, politely: bool) -> None:
        """End the connection, whatever state it is in; leaves no task and no socket."""
        if politely and not self.ended.done():
            self.timeout = CLOSE_S
            with contextlib.suppress(aiomqtt.MqttError):
                await self.__aexit__(None, None, None)
        left = self._client.socket()
        if isinstance(left, socket.socket):
            # The library closes a socket when it reads the end of it.
            with contextlib.suppress(OSError):
                left.shutdown(socket.SHUT_RDWR)
            self._client.loop_read()
        await asyncio.sleep(0)  # what the connecting thread left to the loop
        if self._misc_task is not None:
            self._misc_task.cancel()
            await asyncio.wait((self._misc_task,))
        if self.ended.done() and not self.ended.cancelled():
            self.ended.exception()


@contextlib.asynccontextmanager
async def connected(settings: MqttSettings, will: Message) -> AsyncIterator[Broker]:
    """Connect, and disconnect at the end. Raises BrokerError."""
    try:
        tls, secret = await asyncio.to_thread(_files, settings)
    except (OSError, ValueError) as error:  # they were there when the configuration was read
        raise BrokerError(_text(error)) from error
    client = _Client(
        settings.host, settings.port, username=settings.user or None, password=secret,
        identifier=settings.client_id, protocol=_VERSIONS[settings.version],
        will=aiomqtt.Will(will.topic, will.payload, QOS, will.retain),
        clean_session=None if settings.version == "5" else True,
        timeout=ANSWER_S, keepalive=KEEPALIVE_S, tls_context=tls, logger=_quiet,
    )  # fmt: skip
    client.connects_within(CONNECT_S)
    entering = asyncio.ensure_future(client.__aenter__())
    try:
        await asyncio.shield(entering)
    except asyncio.CancelledError:
        # The thread that dials cannot be called back; once it is through, nobody waits.
        while not entering.done() and not client.dialled:  # noqa: ASYNC110 - a thread, no event
            await asyncio.sleep(DIAL_S)
        entering.cancel()
        await asyncio.wait((entering,))
        stands = not entering.cancelled() and entering.exception() is None
        await client.close(politely=stands)
        raise
    except aiomqtt.MqttCodeError as error:
        await client.close(politely=False)
        code = getattr(error.rc, "value", error.rc)
        raise BrokerError(f"refused: {_text(error)}", login=code in _LOGIN) from error
    except Exception as error:
        await client.close(politely=False)
        raise BrokerError(_text(error)) from error
    try:
        yield Broker(client)
    finally:
        await client.close(politely=True)


def _files(settings: MqttSettings) -> tuple[ssl.SSLContext | None, str | None]:
    """Read at every connect, so that a renewed certificate or password needs no restart."""
    secret = None if settings.password_file is None else password(settings.password_file)
    if not settings.tls:
        return None, secret
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=settings.ca_file)
    if settings.certificate_file is not None:
        context.load_cert_chain(settings.certificate_file, settings.key_file, password="")
    return context, secret


def _text(error: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
