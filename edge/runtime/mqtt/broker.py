"""One connection to the broker. It publishes; there is no way to subscribe.

A new client for every connection: what a client did not get acknowledged must not be sent again by
the library, unmarked; the cursors decide. The library connects in a thread, which cannot be called
back, for at most `CONNECT_S` a step (TCP, TLS); everything after that happens on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.config.cross_mqtt import password
from edge.config.types import MqttSettings
from edge.runtime.mqtt.messages import Message

CONNECT_S = 5.0
"""Longest wait for a TCP connection, and for the whole of a TLS handshake."""
ANSWER_S = 10.0
"""Longest wait for the broker's acknowledgement."""
CLOSE_S = 2.0
"""Longest wait for a connection to end well."""
KEEPALIVE_S = 20
HOUSEKEEPING_S = 1.0
"""How often the library looks whether it is time for a ping."""
QOS = 1
WINDOW = 10
"""Most messages on their way; a broker may ask for fewer."""
MOST_BYTES = 1 << 20
"""A packet from the broker is tens of bytes; one that says it is longer than this is not read."""
STEPS = 32
"""Packets read in one go before the event loop has its turn."""
_VERSIONS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}
_LOGIN = (134, 135, 138)
"""Answers to a connect that say: not with this user and password, or no longer."""
_LOST = "the connection was lost"


class BrokerError(Exception):
    """The broker cannot be reached, or has refused."""

    def __init__(self, text: str, *, login: bool = False) -> None:
        super().__init__(text)
        self.login = login
        """Trying again soon could lock an account."""


class Broker:
    """A connection, from `connected`. All of it happens on the event loop."""

    def __init__(self, client: paho.Client) -> None:
        self._client, self._loop = client, asyncio.get_running_loop()
        self._window = WINDOW
        self._on_way = dict[int, asyncio.Future[str]]()
        """Message identifier -> why the broker refused it, "" if it has taken it."""
        self._welcome = self._loop.create_future()
        self._over = asyncio.Event()
        self._more = False
        """Reading goes on at the next turn of the event loop."""
        self._fault: BrokerError | None = None
        self._housekeeping: asyncio.TimerHandle | None = None

    async def publish(self, messages: Sequence[Message]) -> None:
        """Returns when the broker has acknowledged all of them.

        Raises BrokerError if it has not, or refuses a topic.
        """
        for at in range(0, len(messages), self._window):
            if self._on_way:  # of a call that was cancelled
                await asyncio.wait(self._on_way.values(), timeout=ANSWER_S)
            await self._hand_over(messages[at : at + self._window])

    async def _hand_over(self, messages: Sequence[Message]) -> None:
        answers = [self._send(message) for message in messages]
        _, late = await asyncio.wait(answers, timeout=ANSWER_S)
        refused = {
            message.topic: answer.result()
            for message, answer in zip(messages, answers, strict=True)
            if answer.done() and answer.result()
        }
        if refused:  # said first: some brokers end the connection then
            why = "; ".join(f"{topic}: {text}" for topic, text in refused.items())
            raise BrokerError(f"the broker refuses {why}")
        if self._fault is not None:
            raise self._fault
        if late:
            raise BrokerError(f"no acknowledgement within {ANSWER_S:g} s")

    def _send(self, message: Message) -> asyncio.Future[str]:
        if self._fault is not None:
            raise self._fault
        info = self._client.publish(message.topic, message.payload, QOS, message.retain)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise BrokerError(paho.error_string(info.rc))
        answer = self._on_way[info.mid] = self._loop.create_future()
        return answer

    # Between the library and the event loop.

    async def greet(self) -> None:
        """Attend to a socket that has just been connected. Raises BrokerError if refused."""
        client, sock = self._client, self._client.socket()
        if sock is None:
            raise BrokerError(_LOST)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_publish = self._on_publish
        client.on_socket_register_write = self._on_full
        client.on_socket_unregister_write = self._on_written
        client.on_socket_close = self._on_close
        self._loop.add_reader(sock, self._guard, self._read)
        if client.want_write():
            self._on_full(client, None, sock)
        self._keep_house()
        self._guard(self._read)  # TLS may hold the answer already
        await asyncio.wait((self._welcome,), timeout=ANSWER_S)
        if self._fault is not None:
            raise self._fault
        if not self._welcome.done():
            raise BrokerError(f"no answer to the connect within {ANSWER_S:g} s")

    async def close(self) -> None:
        """End the connection, whatever state it is in; leaves no timer and no socket."""
        if self._fault is None and self._client.socket() is not None:
            self._guard(self._client.disconnect)
        if self._client.socket() is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), CLOSE_S)
        self._drop()

    def _drop(self) -> None:
        if self._housekeeping is not None:
            self._housekeeping.cancel()
        sock = self._client.socket()
        if sock is not None and sock.fileno() >= 0:  # the library keeps one that we have closed
            self._on_close(self._client, None, sock)
            self._client.on_socket_close = self._client.on_socket_unregister_write = None
            sock.close()
        self._end(BrokerError(_LOST))

    def _read(self) -> None:
        # What TLS has decrypted already makes no socket readable.
        for _ in range(STEPS):
            if (sock := self._client.socket()) is None:
                return
            self._client.loop_read()
            if not (isinstance(sock, ssl.SSLSocket) and self._client.socket() and sock.pending()):
                return
        if not self._more:  # one at a time, or a flood would queue more of them every turn
            self._more = True
            self._loop.call_soon(self._guard, self._read_on)

    def _read_on(self) -> None:
        self._more = False
        self._read()

    def _keep_house(self) -> None:
        self._guard(self._client.loop_misc)
        if not self._over.is_set():
            self._housekeeping = self._loop.call_later(HOUSEKEEPING_S, self._keep_house)

    def _guard(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as error:
            # A broker may send anything, and the library stumbles in as many ways.
            self._end(BrokerError(f"the broker sent what is not MQTT: {_text(error)}"))
            self._drop()

    def _end(self, fault: BrokerError) -> None:
        """Nothing more will come; the first reason counts."""
        if self._fault is None:
            self._fault = fault
        self._over.set()
        for answer in (self._welcome, *self._on_way.values()):
            if not answer.done():
                answer.set_result("")
        self._on_way.clear()

    def _on_full(self, client: paho.Client, _data: Any, sock: Any) -> None:
        self._loop.add_writer(sock, self._guard, client.loop_write)

    def _on_written(self, _client: paho.Client, _data: Any, sock: Any) -> None:
        self._loop.remove_writer(sock)

    def _on_close(self, _client: paho.Client, _data: Any, sock: Any) -> None:
        self._loop.remove_reader(sock)
        self._loop.remove_writer(sock)

    def _on_connect(
        self, _client: paho.Client, _data: Any, _flags: Any, code: ReasonCode,
        properties: Properties | None,
    ) -> None:  # fmt: skip
        if code.is_failure:
            self._end(BrokerError(f"refused: {code}", login=code.value in _LOGIN))
        elif not self._welcome.done():
            self._window = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))
            self._welcome.set_result("")

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, flags: Any, code: ReasonCode, _properties: Any
    ) -> None:
        said = flags.is_disconnect_packet_from_server
        self._end(BrokerError(f"the broker ended the connection: {code}" if said else _LOST))

    def _on_publish(
        self, _client: paho.Client, _data: Any, mid: int, code: ReasonCode, _properties: Any
    ) -> None:
        answer = self._on_way.pop(mid, None)
        if answer is not None and not answer.done():
            answer.set_result(str(code) if code.is_failure else "")


@contextlib.asynccontextmanager
async def connected(settings: MqttSettings, will: Message) -> AsyncIterator[Broker]:
    """Connect, and disconnect at the end. Raises BrokerError."""
    try:
        tls, secret = await asyncio.to_thread(_files, settings)
    except (OSError, ValueError) as error:  # they were there when the configuration was read
        raise BrokerError(_text(error)) from error
    client = _client(settings, will, tls, secret)
    broker = Broker(client)
    dialling = asyncio.ensure_future(
        asyncio.to_thread(client.connect, settings.host, settings.port, KEEPALIVE_S)
    )
    try:
        try:
            await asyncio.shield(dialling)
        except (OSError, ValueError) as error:
            raise BrokerError(_text(error)) from error
        await broker.greet()
        yield broker
    finally:
        # The thread that dials cannot be called back: until it is through, its socket is its own.
        await asyncio.wait((dialling,))
        if not dialling.cancelled():
            dialling.exception()  # known, or of interest to nobody any more
        await broker.close()


def _client(
    settings: MqttSettings, will: Message, tls: ssl.SSLContext | None, secret: str | None
) -> paho.Client:
    client = _Client(
        CallbackAPIVersion.VERSION2, settings.client_id, protocol=_VERSIONS[settings.version],
        reconnect_on_failure=False,
    )  # fmt: skip
    client.connect_timeout = CONNECT_S
    client.will_set(will.topic, will.payload, QOS, will.retain)
    if tls is not None:
        client.tls_set_context(tls)
    if settings.user:
        client.username_pw_set(settings.user, secret)
    return client


class _Client(paho.Client):
    """Takes nothing: what a broker pushes unasked must not fill the daemon's memory."""

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > MOST_BYTES:
            raise ValueError(f"a packet of {bufsize} bytes")
        return super()._sock_recv(bufsize)

    def _handle_publish(self) -> MQTTErrorCode:
        # Neither kept nor acknowledged; the library would keep those of QoS 2.
        return MQTTErrorCode.MQTT_ERR_SUCCESS


class _Socket(ssl.SSLSocket):
    """Closed at once after a failed handshake, not when somebody collects it."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _files(settings: MqttSettings) -> tuple[ssl.SSLContext | None, str | None]:
    """Read at every connect, so that a renewed certificate or password needs no restart."""
    secret = None if settings.password_file is None else password(settings.password_file)
    if not settings.tls:
        return None, secret
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = _Socket
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
