"""Where the page may listen, and whom it answers."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from edge.page.access import Door, host_permitted, refusal, token_shown

TOKEN = "0123456789abcdef0123456789"
PLAIN: dict[str, Any] = {
    "listen": "127.0.0.1", "port": 8480, "certificate_file": None, "key_file": None,
    "client_ca_file": None, "token_file": None,
}  # fmt: skip
TLS = {"certificate_file": "c.pem", "key_file": "k.pem"}


@pytest.mark.parametrize(
    ("changes", "token", "said"),
    [
        ({}, None, ""),
        ({"listen": "::1"}, None, ""),
        ({"listen": "127.0.0.53"}, None, ""),
        ({"listen": "0.0.0.0"}, None, "in the clear"),
        ({"listen": "::"}, TOKEN, "in the clear"),
        ({"listen": "10.0.0.5", **TLS}, None, "anybody on the network"),
        ({"listen": "10.0.0.5", **TLS}, TOKEN, ""),
        ({"listen": "10.0.0.5", **TLS, "client_ca_file": "ca.pem"}, None, ""),
        ({"listen": "10.0.0.5", **TLS}, "short", "at least 24"),
        ({"token_file": "t"}, "", "at least 24"),
        ({"certificate_file": "c.pem"}, None, "belong together"),
        ({"client_ca_file": "ca.pem"}, None, "needs TLS"),
        ({"listen": "edge-1"}, None, "not an IP address"),
        ({"listen": "127.0.0.1.example"}, None, "not an IP address"),
    ],
)
def test_where_it_may_start(changes: dict[str, Any], token: str | None, said: str) -> None:
    why = refusal(PLAIN | changes, token)
    assert said in why
    assert bool(said) == bool(why)


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("localhost", True), ("LOCALHOST:8480", True), ("127.0.0.1:1", True), ("[::1]:8480", True),
        ("127.0.0.2", True), ("", False), ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False), ("10.0.0.5", False), ("[::1", True),
        ("[fe80::1]", False),
        ("localhost evil", False), ("2130706433", False),
    ],
)  # fmt: skip
def test_which_host_is_answered_on_loopback(host: str, good: bool) -> None:
    assert host_permitted(Door(listen="127.0.0.1", port=8480), host) is good


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "good"),
    [
        (basic(f"anybody:{TOKEN}"), True), (basic(f":{TOKEN}"), True), (f"Bearer {TOKEN}", True),
        (f"bearer  {TOKEN}", True), (basic(TOKEN), False), (basic(f"x:{TOKEN}y"), False),
        ("", False), ("Basic !!!", False), ("Basic /////w==", False), (f"Digest {TOKEN}", False),
        ("Bearer \u00e9", False), (TOKEN, False),
    ],
)  # fmt: skip
def test_who_knows_the_token(header: str, good: bool) -> None:
    assert token_shown(Door(listen="10.0.0.5", port=1, token=TOKEN), header) is good
    assert token_shown(Door(listen="127.0.0.1", port=1), header)
