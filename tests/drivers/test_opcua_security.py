"""Who is trusted, who trusts us, and what is said and done when somebody does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.server import Server
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge.cli.quiet import quiet
from edge.config.types import OpcUaLink, OpcUaSecurity, OpcUaSource, TagRow
from edge.core.conditions import Condition
from edge.core.tags import Quality, Reason, Tag
from edge.drivers.opcua import OpcUaDriver
from edge.drivers.opcua_trust import fingerprint
from edge.runtime.clock import LoopClock
from tests.drivers import pki
from tests.drivers.pki import EPOCH_S, Pair, Site, pair, secured_server, serving
from tests.drivers.relay import Relay

Virtual = Callable[[Coroutine[Any, Any, Any]], Any]
Port = Callable[[], int]
REFUSED = Condition.CERTIFICATE_REFUSED
ROW = TagRow(
    tag=Tag(name="A", text="A", unit="", low=0, high=1e3, component="C01", part="meter"),
    source=OpcUaSource(link="plc", node="s=A"),
)


async def settle(seconds: float) -> None:
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, done.set_result, None)
    await done


@asynccontextmanager
async def driving(
    port: int, security: OpcUaSecurity, *, wall_s: float = EPOCH_S, host: str = "127.0.0.1"
) -> AsyncIterator[OpcUaDriver]:
    link = OpcUaLink(
        name="plc", url=f"opc.tcp://{host}:{port}/plc", namespace=pki.NAMESPACE, security=security
    )
    driver = OpcUaDriver(link, (ROW,), {}, clock=LoopClock(wall_s), jitter=lambda: 0.0)
    owner = asyncio.create_task(driver.run())
    try:
        await settle(0.05)
        yield driver
    finally:
        owner.cancel()
        await asyncio.gather(owner, return_exceptions=True)


async def reads(driver: OpcUaDriver) -> float | None:
    sample = await driver.read()
    if sample.quality[0] == Quality.BAD:
        assert sample.reason[0] == Reason.NOT_CONNECTED
        return None
    return float(sample.values[0])


@pytest.fixture(autouse=True)
def _quiet_server() -> Iterator[None]:
    # The servers meet clients of every kind here, and would say so for pages.
    with quiet("asyncua.server"):
        yield


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "pki")


@pytest.fixture
def plc() -> Pair:
    return pair()


@pytest.mark.parametrize(
    ("policy", "mode"),
    [
        ("basic256sha256", "sign"),
        ("basic256sha256", "sign_and_encrypt"),
        ("aes256sha256rsapss", "sign_and_encrypt"),
    ],
)
@pytest.mark.parametrize("pinned", [False, True], ids=["trusted", "pinned"])
def test_a_trusted_server_is_read_over_a_secured_channel(
    virtual: Virtual, free_port: Port, site: Site, plc: Pair, policy: str, mode: str, pinned: bool
) -> None:
    where = site.trust(plc)
    pin: dict[str, Any] = {"server_certificate": where, "trust_dir": None} if pinned else {}

    async def main() -> None:
        port = free_port()
        async with (
            serving(await secured_server(port, plc, {"A": 42.0})) as server,
            driving(port, site.security(policy=policy, mode=mode, **pin)) as driver,
        ):
            assert await reads(driver) == 42.0, driver.counters
            assert driver.counters.conditions == {}
            assert server.iserver.isession is not None

    virtual(main())


def test_a_relay_sees_nothing_of_what_is_read_in_an_encrypted_channel(
    virtual: Virtual, free_port: Port, site: Site, plc: Pair
) -> None:
    site.trust(plc)
    seen = bytearray()

    def listen(data: bytes) -> bytes:
        seen.extend(data)
        return data

    async def main() -> None:
        port = free_port()
        text = "the secret of the recipe"
        async with (
            serving(await secured_server(port, plc, {"A": text})),
            Relay(free_port(), port) as relay,
        ):
            relay.change = listen
            async with driving(relay.port, site.security()) as driver:
                assert (await driver.read()).reason[0] == Reason.BAD_ANSWER  # text, but it came
        assert text.encode() not in seen
        assert pki.SERVER_URI.encode() in seen  # discovery is in the clear

    virtual(main())


@pytest.mark.parametrize(
    ("certificate", "says"),
    [
        (lambda: pair("stranger"), "is not in .* certificate trust"),
        (lambda: pair(end_days=-1), "expired on .* check that clock first"),
        (lambda: pair(hosts=("10.9.8.7", "other")), r"does not name the address 127.0.0.1"),
        (lambda: pair(uri="urn:somebody:else"), "calls itself urn:test:server"),
        (lambda: pair(uri=None), "for no application"),
        (lambda: pair(use=ExtendedKeyUsageOID.CLIENT_AUTH), "not meant for a server"),
        (lambda: pair("weak", bits=1024), "2048 bits"),
    ],
    ids=["untrusted", "expired", "host", "uri", "no uri", "use", "weak key"],
)
def test_a_server_that_cannot_be_trusted_is_not_connected_to(
    virtual: Virtual, free_port: Port, site: Site, certificate: Callable[[], Pair], says: str
) -> None:
    shown = certificate()
    if "certificate trust" not in says:
        site.trust(shown)

    async def main() -> None:
        port = free_port()
        async with (
            serving(await secured_server(port, shown, {"A": 42.0})),
            Relay(free_port(), port) as relay,
            driving(relay.port, site.security()) as driver,
        ):
            assert await reads(driver) is None
            assert list(driver.counters.conditions) == [REFUSED]
            with pytest.raises(AssertionError, match=says):
                raise AssertionError(driver.counters.conditions[REFUSED])
            before = relay.connections
            await settle(120.0)
            # Discovery, and with it the verdict, costs a connection or two an attempt.
            assert relay.connections - before <= 2 * (120 / 15 + 5)
            assert driver.counters.connects == 0

    virtual(main())


def test_a_certificate_put_into_the_trust_list_heals_the_link(
    virtual: Virtual, free_port: Port, site: Site, plc: Pair
) -> None:
    async def main() -> None:
        port = free_port()
        async with (
            serving(await secured_server(port, plc, {"A": 42.0})),
            driving(port, site.security()) as driver,
        ):
            assert await reads(driver) is None
            site.trust(plc)
            await settle(31.0)
            assert await reads(driver) == 42.0
            assert driver.counters.conditions == {}

    virtual(main())


@pytest.mark.parametrize("pinned", [False, True], ids=["trusted", "pinned"])
def test_a_swapped_certificate_is_not_followed(
    virtual: Virtual, free_port: Port, site: Site, plc: Pair, pinned: bool
) -> None:
    where = site.trust(plc)
    pin = {"server_certificate": where} if pinned else {}
    other = pair("stranger")

    async def main() -> None:
        port = free_port()
        first = await secured_server(port, plc, {"A": 42.0})
        second = await secured_server(port, other, {"A": 666.0})
        async with driving(port, site.security(**pin)) as driver:
            async with serving(first):
                await settle(2.1)
                assert await reads(driver) == 42.0
            async with serving(second):
                for _ in range(20):
                    await settle(1.0)
                    assert await reads(driver) is None
                text = driver.counters.conditions[REFUSED]
                assert fingerprint(other.certificate) in text
                assert ("pinned" in text) is pinned

    virtual(main())


def test_a_server_that_does_not_trust_us_is_told_from_one_that_is_down(
    virtual: Virtual, free_port: Port, site: Site, plc: Pair
) -> None:
    site.trust(plc)

    async def refuse(_certificate: Any, _application: Any) -> None:
        raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)

    async def main() -> None:
        port = free_port()
        server = await secured_server(port, plc, {"A": 42.0})
        server.set_certificate_validator(refuse)
        async with serving(server), driving(port, site.security()) as driver:
            assert await reads(driver) is None
            text = driver.counters.conditions[REFUSED]
            assert "does not accept our certificate" in text
            assert fingerprint(site.client.certificate) in text

    virtual(main())


class OneUser:
    """Lets in ncm-edge with its password, and counts."""

    def __init__(self) -> None:
        self.asked = 0

    def get_user(
        self, _server: Any, username: str | None = None, password: str | None = None,
        certificate: Any = None,
    ) -> User | None:  # fmt: skip
        self.asked += 1
        good = (username, password) == ("ncm-edge", "Grüße 7")
        return User(role=UserRole.User, name=username) if good else None


@pytest.mark.parametrize(("password", "good"), [("Grüße 7\n", True), ("guess\n", False)])
def test_the_password_comes_from_its_file_and_a_wrong_one_is_not_hammered(
    virtual: Virtual, free_port: Port, site: Site, plc: Pair, password: str, good: bool
) -> None:
    site.trust(plc)
    security = replace(
        site.security(), user="ncm-edge", password_file=site.secret("password", password.encode())
    )

    async def main() -> None:
        port, users = free_port(), OneUser()
        server = await secured_server(port, plc, {"A": 42.0}, user_manager=users)
        async with serving(server), driving(port, security) as driver:
            assert await reads(driver) == (42.0 if good else None)
            if not good:
                assert 'user "ncm-edge"' in driver.counters.conditions[Condition.LOGIN_REFUSED]
                await settle(3600.0)
                assert users.asked <= 20

    virtual(main())


class OneCertificate:
    """Lets in the holder of one certificate."""

    def __init__(self, known: Pair) -> None:
        self._known = known

    def get_user(
        self, _server: Any, username: str | None = None, password: str | None = None,
        certificate: Any = None,
    ) -> User | None:  # fmt: skip
        return User(role=UserRole.User) if certificate == self._known.der else None


@pytest.mark.parametrize("known", [True, False])
def test_a_user_may_have_a_certificate_instead_of_a_name(
    virtual: Virtual, free_port: Port, site: Site, plc: Pair, known: bool
) -> None:
    site.trust(plc)
    user = pair("user", uri=None, hosts=(), use=None)
    (site.folder / "user.der").write_bytes(user.der)
    security = replace(
        site.security(),
        user_certificate=site.folder / "user.der",
        user_key=site.secret("user.key", user.key_der),
    )

    async def main() -> None:
        port = free_port()
        users = OneCertificate(user if known else plc)
        server = await secured_server(port, plc, {"A": 42.0}, user_manager=users)
        async with serving(server), driving(port, security) as driver:
            assert await reads(driver) == (42.0 if known else None), driver.counters
            assert (Condition.LOGIN_REFUSED in driver.counters.conditions) is not known

    virtual(main())


@pytest.mark.parametrize("asks", ["", "http://opcfoundation.org/UA/SecurityPolicy#None"])
def test_a_password_is_not_sent_in_the_clear_whatever_the_server_asks(
    virtual: Virtual, free_port: Port, site: Site, plc: Pair, asks: str
) -> None:
    site.trust(plc)
    security = replace(
        site.security(mode="sign"), user="ncm-edge",
        password_file=site.secret("password", "Grüße 7".encode()),
    )  # fmt: skip

    async def main() -> None:
        port, users = free_port(), OneUser()
        server = await secured_server(port, plc, {"A": 42.0}, user_manager=users)
        async with serving(server):
            for endpoint in server.iserver.endpoints:
                for token in endpoint.UserIdentityTokens:
                    token.SecurityPolicyUri = asks
            async with driving(port, security) as driver:
                if asks:
                    assert await reads(driver) is None
                    assert "in the clear" in driver.counters.conditions[Condition.LOGIN_REFUSED]
                    assert users.asked == 0
                else:
                    assert await reads(driver) == 42.0, driver.counters

    virtual(main())


@pytest.mark.parametrize("name", ["client.key", "password"])
def test_a_secret_everybody_may_read_is_not_used(
    virtual: Virtual, free_port: Port, site: Site, plc: Pair, name: str
) -> None:
    site.trust(plc)
    security = replace(
        site.security(), user="ncm-edge", password_file=site.secret("password", b"x\n")
    )
    (site.folder / name).chmod(0o644)

    async def main() -> None:
        async with driving(free_port(), security) as driver:
            (text,) = driver.counters.conditions.values()
            assert f"{name} has mode 0644" in text
            assert "chmod 600" in text

    virtual(main())


@pytest.mark.parametrize("whose", ["server", "client"])
def test_the_end_of_a_certificate_is_told_thirty_days_ahead(
    virtual: Virtual, free_port: Port, tmp_path: Path, whose: str
) -> None:
    ending = {"end_days": 31.0}
    plc = pair(**(ending if whose == "server" else {}))
    client = pair("box", uri=pki.CLIENT_URI, hosts=(), use=None,
                  **(ending if whose == "client" else {}))  # fmt: skip
    site = Site(tmp_path / "pki", client)
    site.trust(plc)

    async def main() -> None:
        port = free_port()
        async with (
            serving(await secured_server(port, plc, {"A": 42.0})),
            driving(port, site.security()) as driver,
        ):
            assert driver.counters.conditions == {}
            for _ in range(25):
                await settle(3600.0)
                await driver.read()
            text = driver.counters.conditions[Condition.CERTIFICATE_EXPIRES]
            assert ("the server's" if whose == "server" else "our own") in text
            assert "30 days" in text
            assert await reads(driver) == 42.0
            assert driver.counters.connects == 1

    virtual(main())


def test_a_server_without_that_policy_says_what_it_has(
    virtual: Virtual, free_port: Port, site: Site, plc: Pair
) -> None:
    site.trust(plc)

    async def main() -> None:
        port = free_port()
        server: Server = await secured_server(
            port, plc, {"A": 1.0}, policies=[ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt]
        )
        async with (
            serving(server),
            driving(port, site.security(policy="aes256sha256rsapss")) as driver,
        ):
            assert await reads(driver) is None
            said = driver.counters.last_error
            assert "offers no Aes256_Sha256_RsaPss SignAndEncrypt; it offers Basic256Sha256" in said

    virtual(main())
