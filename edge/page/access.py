"""Who may see the page, and where it may listen. Pure.

Rules, each a refusal to start:
1. Loopback needs nothing: whoever is on the appliance already sees the files.
2. Any other address needs TLS (certificate and key), and a token or an authority for client
   certificates: a page that names what is wrong with a plant is not for everybody on its network.
3. Whatever is given is asked for: with a token and an authority, both.
4. A token has at least `TOKEN_CHARACTERS`, so that it cannot be guessed.
And for each request: on loopback the Host must be loopback too, or a page from elsewhere could
read this one through the browser (DNS rebinding); with a token, the request must carry it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TOKEN_CHARACTERS = 24
REALM = 'Basic realm="NCM Edge page: any name, the token as the password", charset="UTF-8"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where the page listens, and what a request must show."""

    listen: str
    port: int
    certificate: str | None = None
    key: str | None = None
    client_ca: str | None = None
    token: str | None = None

    @property
    def loopback(self) -> bool:
        """Only this machine reaches it."""
        return ipaddress.ip_address(self.listen).is_loopback

    @property
    def url(self) -> str:
        """As a browser is told it."""
        host = f"[{self.listen}]" if ":" in self.listen else self.listen
        return f"http{'s' if self.certificate else ''}://{host}:{self.port}/"


def refusal(settings: Mapping[str, Any], token: str | None) -> str:
    """Why the page must not start with these settings ([page]); "" if it may.

    `token` is what the token file holds; None without one.
    """
    listen = settings["listen"]
    try:
        address = ipaddress.ip_address(listen)
    except ValueError:
        return f"[page] listen = '{listen}' is not an IP address; give one, e.g. 127.0.0.1"
    certificate, key = settings["certificate_file"], settings["key_file"]
    if bool(certificate) != bool(key):
        return "[page] certificate_file and key_file belong together; give both or none"
    if settings["client_ca_file"] and not certificate:
        return "[page] client_ca_file needs TLS; give certificate_file and key_file too"
    if token is not None and len(token) < TOKEN_CHARACTERS:
        return (
            f"{settings['token_file']}: {len(token)} characters; at least {TOKEN_CHARACTERS} are "
            "needed, e.g. from `openssl rand -hex 24`"
        )
    if address.is_loopback:
        return ""
    if not certificate:
        return (
            f"[page] listen = '{listen}' is not loopback: the page would cross the network in the "
            "clear; give certificate_file and key_file, or listen on 127.0.0.1 and reach it "
            "through ssh (docs/page.md)"
        )
    if token is None and not settings["client_ca_file"]:
        return (
            f"[page] listen = '{listen}' is not loopback: anybody on the network would see the "
            "page; give token_file or client_ca_file, or listen on 127.0.0.1 (docs/page.md)"
        )
    return ""


def host_permitted(door: Door, host: str) -> bool:
    """Whether a request with this Host header may be answered."""
    if not door.loopback:
        return True
    name = host.strip().lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def foreign(headers: Mapping[str, str]) -> bool:
    """Whether another site's page asks, says the browser: it could hold every stream open.

    A link that somebody follows is none.
    """
    site, mode = headers.get("sec-fetch-site", ""), headers.get("sec-fetch-mode", "")
    return site in ("cross-site", "same-site") and mode != "navigate"


def token_shown(door: Door, authorization: str) -> bool:
    """Whether the Authorization header carries the token: as a password (Basic), or as Bearer."""
    if door.token is None:
        return True
    scheme, _, rest = authorization.partition(" ")
    shown = rest.strip()
    if scheme.lower() == "basic":
        try:
            shown = base64.b64decode(shown, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(shown.encode(), door.token.encode())
