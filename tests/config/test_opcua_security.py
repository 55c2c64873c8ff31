"""The security keys of an OPC UA link: every mistake named, with file, line, value and remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge.config.load import ConfigError, load
from edge.config.types import OpcUaLink, OpcUaSecurity

LINE = "lines/a/line.toml"
URL = 'url = "opc.tcp://10.0.0.6:4840"'
SECURED = """
security_policy = "basic256sha256"
client_certificate = "pki/client.der"
client_key = "pki/client.key"
trust_dir = "pki/trusted"
"""


@pytest.fixture
def made(broken: Callable[..., Path]) -> Callable[[str], Path]:
    """A site whose OPC UA link has these keys as well, and files for them."""

    def make(keys: str) -> Path:
        directory = broken((LINE, URL, f"{URL}\n{keys}"))
        (directory / "pki/trusted").mkdir(parents=True)
        for name in ("client.der", "client.key", "password", "user.der", "user.key"):
            path = directory / "pki" / name
            path.write_bytes(b"x")
            path.chmod(0o640)
        return directory

    return make


def faults(directory: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(directory)
    return [str(fault) for fault in caught.value.faults]


def test_paths_are_relative_to_the_configuration_directory(made: Callable[[str], Path]) -> None:
    keys = 'security_mode = "sign"\nuser = "ncm"\npassword_file = "pki/password"\n'
    directory = made(f'{SECURED}{keys}mode = "subscription"\npublishing_ms = 250\n')
    (link,) = (one for one in load(directory).lines[0].links if isinstance(one, OpcUaLink))
    assert link.security == OpcUaSecurity(
        policy="basic256sha256",
        mode="sign",
        client_certificate=directory / "pki/client.der",
        client_key=directory / "pki/client.key",
        trust_dir=directory / "pki/trusted",
        user="ncm",
        password_file=directory / "pki/password",
    )
    assert (link.mode, link.publishing_ms) == ("subscription", 250)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ('user = "ncm"\npassword_file = "pki/password"', "would send the password in the clear"),
        ('security_mode = "sign"', 'has no meaning while security_policy = "none"'),
        ('security_policy = "basic256sha256"', "missing key 'client_certificate'; add it"),
        ('security_policy = "basic256sha256"', "nothing says which server may be trusted"),
        ('security_policy = "basic256"', "did you mean"),
        (f'{SECURED}user = "ncm"', "user needs password_file; add it, or remove user"),
        (f'{SECURED}user_key = "pki/user.key"', "user_key needs user_certificate"),
        (f'{SECURED}password = "secret"', "unknown key 'password'; did you mean 'password_file'?"),
        (f'{SECURED}server_certificate = "pki/gone.der"', "gone.der cannot be read (No such file"),
        (SECURED.replace("pki/trusted", "pki/client.der"), "is no directory that can be read"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(
    made: Callable[[str], Path], keys: str, says: str
) -> None:
    found = [fault for fault in faults(made(keys)) if says in fault]
    assert found, faults
    assert all(f"{LINE}:" in fault and 'link "dcs"' in fault for fault in found)


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o601])
def test_a_secret_that_everybody_may_use_is_refused(made: Callable[[str], Path], mode: int) -> None:
    directory = made(SECURED)
    (directory / "pki/client.key").chmod(mode)
    (fault,) = faults(directory)
    assert f"client.key has mode {mode:04o}" in fault
    assert "chmod 600" in fault
