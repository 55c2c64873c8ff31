"""[mqtt] of appliance.toml: what is refused, what it becomes, and every address that is dialled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge.config import topic
from edge.config.check import check
from edge.config.endpoints import Endpoint, endpoints
from edge.config.load import ConfigError, load

BASIC = """
[mqtt]
host = "10.0.0.9"
topic = "{site}/{line}/ncm-edge"
site = "acme"
tls = false
"""


def site_with(broken: Callable[..., Path], text: str) -> Path:
    directory = broken()
    with (directory / "appliance.toml").open("a", encoding="utf-8") as file:
        file.write(text)
    return directory


def faults(broken: Callable[..., Path], text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load(site_with(broken, text))
    return [str(fault) for fault in error.value.faults]


def test_off_unless_configured(site: Path) -> None:
    assert load(site).mqtt is None


def test_what_it_becomes(broken: Callable[..., Path]) -> None:
    directory = site_with(broken, BASIC)
    mqtt = load(directory).mqtt
    assert mqtt is not None
    assert (mqtt.client_id, mqtt.port, mqtt.rows, mqtt.version) == ("ncm-edge-box", 8883, True, "5")
    code, text = check(directory)
    assert code == 0
    assert "mqtt 10.0.0.9:8883: version 5, in the clear, no user" in text
    assert "topics     acme/a/ncm-edge/..." in text
    assert "topics     acme/box/ncm-edge/..." in text
    assert "warning: mqtt: without TLS" in text


def test_every_address_that_is_dialled(broken: Callable[..., Path]) -> None:
    assert endpoints(load(site_with(broken, BASIC))) == (
        Endpoint("10.0.0.5", 502, "line a, link plc"),
        Endpoint("10.0.0.6", 4840, "line a, link dcs"),
        Endpoint("10.0.0.9", 8883, "mqtt"),
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{site}/{line}", "{site}", "{line} is missing"),
        ("{site}/{line}", "{area}/{line}", "'{area}' needs the key 'area'"),
        ("{site}/{line}", "{sit}/{line}", "'{sit}' stands for nothing; permitted: {site}"),
        ("{site}/{line}", "{line}//x", "an empty level"),
        ("{site}/{line}", "/{line}", "an empty level"),
        ("{site}/{line}", "+/{line}/#", "are for those who subscribe"),
        ("{site}/{line}", "$SYS/{line}", "the broker's own"),
        ("{site}/{line}", "{line}/{", "a brace without its partner"),
        ('"acme"', '"ac/me"', 'site = "ac/me" is not permitted'),
        ("tls = false", "", "missing key 'ca_file'"),
        ("tls = false", 'ca_file = "nowhere.pem"', "nowhere.pem cannot be read"),
        ("tls = false", 'tls = false\nuser = "me"', "user needs password_file"),
        ("tls = false", 'tls = false\nuser = "me"', "could be read by everybody on the network"),
        ("tls = false", 'tls = false\nkey_file = "x"', "key_file needs certificate_file"),
        ("tls = false", 'tls = false\nport = 0', "port = 0 is not permitted"),
        ("tls = false", "tsl = false", "did you mean 'tls'?"),
        ('host = "10.0.0.9"', "", "missing key 'host'"),
    ],
)  # fmt: skip
def test_what_is_refused(broken: Callable[..., Path], old: str, new: str, said: str) -> None:
    assert any(said in fault for fault in faults(broken, BASIC.replace(old, new)))


def test_a_line_called_as_the_appliance(broken: Callable[..., Path]) -> None:
    directory = site_with(broken, BASIC)
    text = (directory / "appliance.toml").read_text(encoding="utf-8")
    (directory / "appliance.toml").write_text(text.replace('name = "box"', 'name = "a"'))
    with pytest.raises(ConfigError, match="line and appliance are both called"):
        load(directory)


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("secret\n", 0o644, "chmod 600"), ("\nsecret", 0o600, "its first line is empty"),
    ],
)  # fmt: skip
def test_a_password_file(
    broken: Callable[..., Path], tmp_path: Path, content: str, mode: int, said: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(content)
    secret.chmod(mode)
    text = BASIC.replace("tls = false", f'user = "me"\npassword_file = "{secret}"')
    assert any(said in fault for fault in faults(broken, text))


def test_the_template_is_filled() -> None:
    filled = topic.fill("{site}/{area}/{line}/x/{appliance}", site="s", area="a", line="{site}",
                        appliance="e")  # fmt: skip
    assert filled == "s/a/{site}/x/e", "a value is not a template"
