"""One connection to a real broker: who is trusted, who is let in, what a refusal says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge.config.types import MqttSettings
from edge.runtime.mqtt import broker as outlet
from edge.runtime.mqtt.messages import Message
from tests.broker import OPEN, Broker, Consumer, needs_broker
from tests.drivers.pki import Pair, pair

pytestmark = needs_broker
WILL = Message("plant/connection", b'{"online":false}', True, False)
HELLO = Message("plant/row", b'{"seq":1}', False, False)
SETTINGS = """
password_file {place}/passwords
acl_file {place}/acl
cafile {place}/ca.pem
certfile {place}/server.pem
keyfile {place}/server.key
require_certificate {ask}
"""
ACL = "user ncm-edge\ntopic write plant/#\nuser historian\ntopic read #\n"


def store(place: Path, name: str, found: Pair) -> None:
    (place / f"{name}.pem").write_bytes(found.certificate.public_bytes(Encoding.PEM))
    key = found.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (place / f"{name}.key").write_bytes(key)
    (place / f"{name}.key").chmod(0o600)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plant's authority, certificates it gave out, a stranger's, and passwords."""
    place, now_s = tmp_path_factory.mktemp("pki"), time.time()
    ca = pair("plant-ca", ca=True, use=None, uri=None, hosts=(), epoch_s=now_s)
    store(place, "ca", ca)
    store(place, "server", pair("broker", issuer=ca, uri=None, epoch_s=now_s))
    store(place, "edge", pair("ncm-edge", issuer=ca, uri=None, epoch_s=now_s,
                              use=ExtendedKeyUsageOID.CLIENT_AUTH))  # fmt: skip
    store(place, "stranger", pair("stranger", ca=True, use=None, uri=None, hosts=(),
                                  epoch_s=now_s))  # fmt: skip
    (place / "acl").write_text(ACL)
    passwords = place / "passwords"
    for user, new in (("ncm-edge", "-c"), ("historian", "")):
        option = [new] if new else []
        command = ["mosquitto_passwd", *option, "-b", str(passwords), user, f"{user} secret"]
        subprocess.run(command, check=True, capture_output=True)
    for name, text in (("right", "ncm-edge secret\n"), ("wrong", "guess")):
        (place / name).write_text(text)
        (place / name).chmod(0o600)
    return place


@pytest.fixture
def broker(tmp_path: Path, free_port: Callable[[], int], files: Path) -> Iterator[Broker]:
    settings = SETTINGS.format(place=files, ask="false")
    with Broker(tmp_path / "broker", free_port(), settings) as found:
        yield found


def of(broker: Broker, files: Path) -> MqttSettings:
    return MqttSettings(
        host="127.0.0.1", port=broker.port, topic="plant/{line}", client_id="edge",
        ca_file=files / "ca.pem", user="ncm-edge", password_file=files / "right",
    )  # fmt: skip


async def say(settings: MqttSettings, *messages: Message) -> None:
    async with outlet.connected(settings, WILL) as open_:
        await open_.publish(messages)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_password_over_tls(broker: Broker, files: Path, version: str) -> None:
    def login(client: paho.Client) -> None:
        client.tls_set(str(files / "ca.pem"))
        client.username_pw_set("historian", "historian secret")

    with Consumer(broker.port, prepare=login) as consumer:
        settings = replace(of(broker, files), version=version)  # type: ignore[arg-type]
        await say(settings, HELLO)
        await asyncio.to_thread(consumer.wait, lambda heard: heard)
        assert consumer.on("plant/row") == [{"seq": 1}]
        assert not consumer.on("connection"), "no will after a proper end"


async def test_a_client_certificate_where_one_is_asked_for(broker: Broker, files: Path) -> None:
    broker.stop()
    broker.configure(SETTINGS.format(place=files, ask="true"))
    broker.start()
    settings = of(broker, files)
    with pytest.raises(outlet.BrokerError):
        await say(settings, HELLO)
    named = replace(
        settings, certificate_file=files / "edge.pem", key_file=files / "edge.key"
    )  # fmt: skip
    await say(named, HELLO)


async def test_a_wrong_password_is_a_refused_login(broker: Broker, files: Path) -> None:
    settings = replace(of(broker, files), password_file=files / "wrong")
    for version in ("5", "3.1.1"):
        with pytest.raises(outlet.BrokerError, match=r"(?i)refused.*not authori") as error:
            await say(replace(settings, version=version), HELLO)
        assert error.value.login


async def test_a_broker_nobody_vouches_for_gets_no_password(broker: Broker, files: Path) -> None:
    settings = replace(of(broker, files), ca_file=files / "stranger.pem")
    with pytest.raises(outlet.BrokerError, match="certificate verify failed") as error:
        await say(settings, HELLO)
    assert not error.value.login
    wrong_name = replace(of(broker, files), host="localhost")
    with pytest.raises(outlet.BrokerError, match="Hostname mismatch"):
        await say(wrong_name, HELLO)
    assert "as edge" not in broker.said()


async def test_tls_is_never_given_up(free_port: Callable[[], int], tmp_path: Path,
                                     files: Path) -> None:  # fmt: skip
    with Broker(tmp_path / "plain", free_port()) as plain:
        with pytest.raises(outlet.BrokerError):
            await say(of(plain, files), HELLO)
        assert "as edge" not in plain.said()


async def test_a_topic_the_broker_refuses_is_named(broker: Broker, files: Path) -> None:
    forbidden = Message("elsewhere/row", b"{}", False, False)
    with pytest.raises(outlet.BrokerError, match="refuses elsewhere/row: Not authorized"):
        await say(of(broker, files), forbidden)


async def test_a_file_that_went_away_is_named(broker: Broker, files: Path) -> None:
    settings = replace(of(broker, files), password_file=files / "gone")
    with pytest.raises(outlet.BrokerError, match="gone: No such file"):
        await say(settings, HELLO)


async def test_a_connection_that_ends_is_noticed_at_once(
    free_port: Callable[[], int], tmp_path: Path
) -> None:
    with Broker(tmp_path / "plain", free_port()) as plain:
        settings = MqttSettings(host="127.0.0.1", port=plain.port, topic="x", client_id="edge",
                                tls=False)  # fmt: skip
        with Consumer(plain.port) as consumer:
            began_s = time.monotonic()

            async def replaced() -> None:
                async with outlet.connected(settings, WILL) as older, outlet.connected(
                    settings, WILL
                ):  # fmt: skip
                    # Another with our name: the broker ends the older connection.
                    await asyncio.to_thread(consumer.wait, lambda heard: heard)
                    await older.publish([HELLO])

            with pytest.raises(outlet.BrokerError):
                await replaced()
            assert time.monotonic() - began_s < outlet.ANSWER_S
            assert consumer.on("plant/connection")[0] == {"online": False}


async def test_a_broker_that_takes_few_at_once_gets_few(
    free_port: Callable[[], int], tmp_path: Path
) -> None:
    few = f"{OPEN}max_inflight_messages 2\n"
    with Broker(tmp_path / "few", free_port(), few) as broker, Consumer(broker.port) as consumer:
        settings = MqttSettings(host="127.0.0.1", port=broker.port, topic="x", client_id="edge",
                                tls=False)  # fmt: skip
        said = [Message("plant/row", b'{"seq":%d}' % n, False, False) for n in range(25)]
        async with outlet.connected(settings, WILL) as open_:
            # What was cancelled is still on its way.
            first = asyncio.ensure_future(open_.publish(said[:3]))
            await asyncio.sleep(0)
            first.cancel()
            await open_.publish(said[3:])
        await asyncio.to_thread(consumer.wait, lambda heard: len(heard) >= 24)
        assert consumer.on("row") == [{"seq": n} for n in range(25) if n != 2]


WELCOME = b"\x20\x03\x00\x00\x00"
NONSENSE = [
    b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x20\x00", b"\x20\x02\x00", b"\xff" * 40,
    b"\x20\x7f" + b"\xff" * 127, WELCOME + b"\x40\x01\x00", WELCOME + b"\x40\x02\x00\x09\x00",
    WELCOME + b"\xe0\x02\xff\xff", WELCOME + b"\x32\x05\x00\xffabc", WELCOME + WELCOME,
    WELCOME + b"\x90\x01\x01",
]  # fmt: skip


@pytest.mark.parametrize("answer", NONSENSE, ids=lambda answer: answer.hex()[:20] or "nothing")
async def test_a_broker_that_talks_nonsense_is_left(
    free_port: Callable[[], int], answer: bytes
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(answer)
        await writer.drain()
        writer.close()

    port = free_port()
    async with await asyncio.start_server(talk, "127.0.0.1", port):
        settings = MqttSettings(host="127.0.0.1", port=port, topic="x", client_id="edge",
                                tls=False)  # fmt: skip
        with pytest.raises(outlet.BrokerError) as error:
            async with asyncio.timeout(outlet.ANSWER_S / 2):
                await say(settings, HELLO)
        assert not error.value.login


async def test_nothing_is_left_of_a_broker_that_is_mute(free_port: Callable[[], int]) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as mute:
        settings = MqttSettings(host="127.0.0.1", port=mute.getsockname()[1], topic="x",
                                client_id="edge", tls=False)  # fmt: skip
        connecting = asyncio.ensure_future(say(settings, HELLO))
        asked, _ = await asyncio.to_thread(mute.accept)
        with asked:
            assert asked.recv(1) == b"\x10", "a CONNECT"
            connecting.cancel()
            await asyncio.wait((connecting,))
            assert connecting.cancelled()
            rest = asked.recv(1000)
            assert len(rest) < 1000
            assert asked.recv(1000) == b"", "the connection was ended"


async def test_a_broker_that_pushes_fills_no_memory(free_port: Callable[[], int]) -> None:
    """A packet of 256 MB is left at its head; messages nobody asked for are not kept."""
    ended = asyncio.Event()

    async def huge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(WELCOME + b"\x30\xff\xff\xff\x7f" + bytes(1000))
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        ended.set()
        writer.close()

    port = free_port()
    settings = MqttSettings(host="127.0.0.1", port=port, topic="x", client_id="edge", tls=False)
    async with await asyncio.start_server(huge, "127.0.0.1", port):
        with pytest.raises(outlet.BrokerError, match="a packet of 268435455 bytes"):
            async with asyncio.timeout(outlet.ANSWER_S / 2):
                await say(settings, HELLO)
        await ended.wait()

    async def many(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(WELCOME)
        for mid in range(1, 500):
            # QoS 2: kept until the broker releases it.
            writer.write(b"\x34\x0a\x00\x01a" + mid.to_bytes(2) + b"\x00text")
        await reader.readuntil(HELLO.payload)
        writer.write(b"\x40\x02\x00\x01")
        await reader.read()
        writer.close()

    port = free_port()
    settings = replace(settings, port=port)
    async with (
        await asyncio.start_server(many, "127.0.0.1", port), asyncio.timeout(outlet.ANSWER_S),
        outlet.connected(settings, WILL) as open_,
    ):  # fmt: skip
        await open_.publish([HELLO])
        assert not open_._client._in_messages


async def test_a_broker_that_floods_leaves_others_their_turn(
    free_port: Callable[[], int], files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over TLS, records that end in the middle of a packet always leave something pending."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files / "server.pem", files / "server.key")
    port, flood = free_port(), b"\x00" + b"\xd0\x00" * 4000 + b"\xd0"

    def talk(listening: socket.socket) -> None:
        link, _ = listening.accept()
        with contextlib.suppress(OSError), context.wrap_socket(link, server_side=True) as secure:
            secure.recv(1000)
            secure.sendall(WELCOME + b"\xd0")
            for _ in range(100):
                secure.sendall(flood)
            secure.recv(1)

    steps, read = [0], paho.Client.loop_read

    def counted(client: paho.Client) -> object:
        steps[-1] += 1
        return read(client)

    monkeypatch.setattr(paho.Client, "loop_read", counted)
    with socket.create_server(("127.0.0.1", port)) as listening:
        talking = asyncio.create_task(asyncio.to_thread(talk, listening))
        settings = MqttSettings(host="127.0.0.1", port=port, topic="x", client_id="edge",
                                ca_file=files / "ca.pem")  # fmt: skip
        async with outlet.connected(settings, WILL):
            worst = 0
            while sum(steps) < 20_000:
                steps.append(0)
                await asyncio.sleep(0)
                worst = max(worst, steps[-1])
            assert worst <= 2 * outlet.STEPS
        await talking
