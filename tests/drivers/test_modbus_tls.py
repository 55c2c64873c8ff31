"""Modbus over TLS: both sides with a certificate, and a refusal that says what to do."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.config.types import TlsFiles
from edge.core.tags import Reason
from tests.drivers.certificates import Authority, Pair
from tests.drivers.plc import EXPECTED, TIMEOUT_S, Virtual, recovers, running, settle
from tests.faultserver import half_an_answer, in_pieces


def files(authority: Authority, mine: Pair, **more: Any) -> TlsFiles:
    return TlsFiles(
        ca_file=authority.file, certificate_file=mine.certificate, key_file=mine.key, **more
    )


@pytest.fixture
def plant(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_values_come_through_tls(
    plant: Authority, virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        tls = files(plant, plant.issue("edge", role="Operator"))
        device = plant.server(plant.issue("plc", "127.0.0.1"))
        async with running(free_port(), protocol="modbus-tls", tls=tls, server_tls=device) as (
            server,
            driver,
        ):
            assert np.array_equal((await driver.read()).values, EXPECTED)
            await driver.write_words("W", range(8))
            server.always = in_pieces  # several TLS records for one answer
            assert np.array_equal((await driver.read()).values, EXPECTED)
            server.always = None
            server.script.append(half_an_answer)
            assert set((await driver.read()).reason) == {Reason.NOT_CONNECTED}
            await recovers(driver)

    virtual(main())


def test_another_name_can_be_expected(
    plant: Authority, virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        tls = files(plant, plant.issue("edge"), server_name="plc-1.plant")
        device = plant.server(plant.issue("plc", "plc-1.plant"))
        async with running(free_port(), protocol="modbus-tls", tls=tls, server_tls=device) as (
            _, driver,
        ):  # fmt: skip
            assert np.array_equal((await driver.read()).values, EXPECTED)

    virtual(main())


DEVICES: dict[str, tuple[Callable[[Authority, Path], Pair], str]] = {
    "unknown authority": (
        lambda plant, folder: Authority(folder, "stranger").issue("plc", "127.0.0.1"),
        "signed by an authority that is not in ca_file",
    ),
    "expired": (
        lambda plant, folder: plant.issue("plc", "127.0.0.1", days=(-30, -1)),
        "certificate has expired; renew it",
    ),
    "not yet valid": (
        lambda plant, folder: plant.issue("plc", "127.0.0.1", days=(1, 30)),
        "not valid yet; set the clocks",
    ),
    "another host": (
        lambda plant, folder: plant.issue("plc", "plc-2.plant"),
        "set server_name to a name it carries",
    ),
}


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_that_cannot_prove_who_it_is_gets_no_request(
    name: str, plant: Authority, tmp_path: Path, virtual: Virtual, free_port: Callable[[], int]
) -> None:
    make, why = DEVICES[name]

    async def main() -> None:
        tls = files(plant, plant.issue("edge"))
        device = plant.server(make(plant, tmp_path))
        async with running(free_port(), protocol="modbus-tls", tls=tls, server_tls=device) as (
            server, driver,
        ):  # fmt: skip
            await settle(5.0)
            assert set((await driver.read()).reason) == {Reason.NOT_CONNECTED}
            assert why in driver.counters.last_error, driver.counters.last_error
            assert "no TLS connection" in driver.counters.last_error
            assert server.requests == []

    virtual(main())


def test_a_device_that_does_not_know_us_is_named(
    plant: Authority, tmp_path: Path, virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        stranger = Authority(tmp_path, "stranger").issue("edge")
        device = plant.server(plant.issue("plc", "127.0.0.1"))
        async with running(
            free_port(), protocol="modbus-tls", tls=files(plant, stranger), server_tls=device
        ) as (server, driver):
            await settle(5.0)
            await driver.read()
            await settle(1.0)
            assert "does it trust our certificate_file?" in driver.counters.last_error
            assert server.requests == []

    virtual(main())


def test_old_tls_is_refused(
    plant: Authority, virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        device = plant.server(plant.issue("plc", "127.0.0.1"))
        device.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            device.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            device.maximum_version = ssl.TLSVersion.TLSv1_1
        tls = files(plant, plant.issue("edge"))
        async with running(free_port(), protocol="modbus-tls", tls=tls, server_tls=device) as (
            server, driver,
        ):  # fmt: skip
            await settle(2.0)
            assert "both sides need TLS 1.2 or newer" in driver.counters.last_error
            assert server.requests == []

    virtual(main())


def test_a_certificate_is_renewed_without_a_restart(
    plant: Authority, virtual: Virtual, free_port: Callable[[], int]
) -> None:
    async def main() -> None:
        mine = plant.issue("edge")
        good = mine.certificate.read_bytes()
        mine.certificate.write_text("not there yet")
        device = plant.server(plant.issue("plc", "127.0.0.1"))
        async with running(
            free_port(), protocol="modbus-tls", tls=files(plant, mine), server_tls=device
        ) as (_, driver):
            await settle(5.0)
            assert "certificate files cannot be used" in driver.counters.last_error
            mine.certificate.write_bytes(good)
            await settle(2.0 + TIMEOUT_S)
            assert np.array_equal((await driver.read()).values, EXPECTED)

    virtual(main())
