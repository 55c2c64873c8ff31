"""`ncm-edge certificate`: made once, shown with its days, trusted only on purpose."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from edge.__main__ import main
from edge.cli import certificate
from edge.config.types import OpcUaSecurity
from edge.drivers.opcua_identity import load_identity
from edge.drivers.opcua_trust import fingerprint
from tests.drivers.pki import DAY_S, EPOCH_S, pair, secured_server, serving


class At:
    """A clock that stands still."""

    def __init__(self, days: float) -> None:
        self._wall_s = EPOCH_S + days * DAY_S

    def wall_s(self) -> float:
        return self._wall_s


def run(config: Path, *arguments: str) -> int:
    return main(["certificate", "--config", str(config), *arguments])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = tmp_path_factory.mktemp("config")
    assert run(config, "--uri", "urn:edge-1:ncm", "--host", "edge-1", "--host", "10.0.0.3") == 0
    return config


def test_the_certificate_fits_the_links_it_is_made_for(made: Path) -> None:
    key = made / "pki/client.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    identity = load_identity(
        OpcUaSecurity(
            policy="basic256sha256",
            client_certificate=made / "pki/client.der",
            client_key=key,
            trust_dir=made / "pki/trusted",
        )
    )
    assert identity is not None
    assert identity.uri == "urn:edge-1:ncm"
    names = identity.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["edge-1"]
    assert [str(a) for a in names.value.get_values_for_type(x509.IPAddress)] == ["10.0.0.3"]
    years = identity.certificate.not_valid_after_utc - identity.certificate.not_valid_before_utc
    assert years.days // 365 == 10
    identity.certificate.verify_directly_issued_by(identity.certificate)


def test_it_is_not_replaced_by_accident(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (made / "pki/client.der").read_bytes()
    assert run(made) == 2
    assert "--force makes a new one" in capsys.readouterr().err
    assert (made / "pki/client.der").read_bytes() == before


def test_force_makes_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 0
    first = (tmp_path / "pki/client.der").read_bytes()
    assert run(tmp_path, "--force", "--years", "2") == 0
    assert (tmp_path / "pki/client.der").read_bytes() != first
    said = capsys.readouterr().out
    for word in ("mode 0600", "SHA-256", "SHA-1", 'trust_dir = "pki/trusted"', "--yes"):
        assert word in said


def test_a_clock_from_before_this_software_makes_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = certificate.create(tmp_path, At(-19000), uri=None, names=(), years=10, force=False)
    assert made == 2
    assert "set it first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("end_days", "code", "says"),
    [(100.0, 0, "100 days left"), (29.0, 1, "29 days left"), (-3.0, 1, "EXPIRED 3 days ago")],
)
def test_show_counts_the_days(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], end_days: float, code: int, says: str
) -> None:
    (tmp_path / "pki/trusted").mkdir(parents=True)
    (tmp_path / "pki/trusted/plc.der").write_bytes(pair(end_days=end_days).der)
    (tmp_path / "pki/trusted/notes.txt").write_text("no certificate")
    assert certificate.show(tmp_path, At(0)) == code
    said = capsys.readouterr().out
    assert says in said
    assert "notes" not in said


def test_show_names_a_broken_file_and_an_empty_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert certificate.show(tmp_path, At(0)) == 2
    assert "no certificate there" in capsys.readouterr().err
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki/client.der").write_bytes(b"?")
    assert certificate.show(tmp_path, At(0)) == 1
    assert "client.der is no certificate" in capsys.readouterr().out


def test_seeing_is_not_trusting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plc = pair()
    (tmp_path / "plc.der").write_bytes(plc.der)
    assert run(tmp_path, "trust", str(tmp_path / "plc.der")) == 1
    said = capsys.readouterr().out
    assert fingerprint(plc.certificate) in said
    assert "NOT trusted" in said
    assert not (tmp_path / "pki").exists()
    assert run(tmp_path, "trust", str(tmp_path / "plc.der"), "--yes") == 0
    (kept,) = (tmp_path / "pki/trusted").iterdir()
    assert kept.read_bytes() == plc.der
    assert run(tmp_path, "trust", str(tmp_path / "plc.der")) == 0
    assert "already trusted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("what", "code", "says"),
    [
        ("gone.der", 2, "cannot be read"),
        ("opc.tcp://", 2, "is no address"),
        ("opc.tcp://127.0.0.1:9", 1, "127.0.0.1"),
    ],
)
def test_nothing_to_trust_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, code: int, says: str
) -> None:
    assert run(tmp_path, "trust", what, "--yes") == code
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("secured", [True, False])
def test_the_certificate_of_a_server_is_fetched(
    tmp_path: Path, free_port: Callable[[], int], capsys: pytest.CaptureFixture[str], secured: bool
) -> None:
    plc = pair()

    async def main() -> int:
        port = free_port()
        async with serving(await secured_server(port, plc if secured else None, {"A": 1.0})):
            url = f"opc.tcp://127.0.0.1:{port}"
            # The command runs a loop of its own.
            return await asyncio.to_thread(certificate.trust, tmp_path, At(0), url, yes=True)

    assert asyncio.run(main()) == (0 if secured else 1)
    said = capsys.readouterr().out
    if secured:
        assert fingerprint(plc.certificate) in said
        (kept,) = (tmp_path / "pki/trusted").iterdir()
        assert kept.read_bytes() == plc.der
    else:
        assert "shows no certificate" in said
