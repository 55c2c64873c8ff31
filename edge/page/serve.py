"""`ncm-edge page` at work: settings, socket, server, until a signal asks to stop."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from edge.page.access import Door, refusal
from edge.page.desk import Desk
from edge.page.feed import Feed
from edge.page.server import SEND_S, Page
from edge.runtime.clock import SystemClock
from edge.runtime.notify import Notifier

log = logging.getLogger("ncm-edge")

MOST_CONNECTIONS = 128
SEND_BYTES = 65536
"""What the kernel may hold back for one browser: a stalled one shows soon."""
HEAD_S = 10.0
"""Longest wait for a request; idle connections must not keep everybody else out."""
FEED_S = 5.0
"""How often the service watchdog is fed."""


class CannotStart(Exception):  # noqa: N818 - a refusal
    """The page must not, or cannot, start; the message says why and what to do."""


async def run(
    arguments: Sequence[str], overrides: Mapping[str, Any], *, notifier: Notifier | None = None
) -> None:
    """Serve until SIGTERM or SIGINT.

    `arguments` are those of the reader process, `overrides` replace keys of [page]. Raises
    CannotStart.
    """
    desk = Desk(arguments)
    try:
        answer = await desk.ask("site")
        if answer.status != 200:
            raise CannotStart("")  # the reader process has printed every fault
        site = json.loads(answer.body)
        door = door_of({**site["page"], **overrides})
        listening = listen(door)
        feed = Feed(Path(site["runtime_dir"]), SystemClock())
        page = Page(site, door, feed, desk)
        told = notifier or Notifier()
        server = Server(page, door, told)
        tasks = [
            asyncio.create_task(feed.run(), name="feed"),
            asyncio.create_task(_alive(told, feed), name="watchdog"),
        ]
        try:
            await server.serve(sockets=[listening])
        finally:
            told.stopping()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            listening.close()
    finally:
        await desk.close()


async def _alive(notifier: Notifier, feed: Feed) -> None:
    while True:
        notifier.watchdog()
        notifier.status(f"{feed.listeners} pages open")
        await asyncio.sleep(FEED_S)


def door_of(settings: Mapping[str, Any]) -> Door:
    """The door of these settings ([page]). Raises CannotStart."""
    token = None
    if settings["token_file"]:
        try:
            token = Path(settings["token_file"]).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise CannotStart(
                f"[page] token_file: {settings['token_file']}: {error}; make it with `openssl rand "
                "-hex 24`, readable for the group ncm-edge"
            ) from None
    why = refusal(settings, token)
    if why:
        raise CannotStart(why)
    door = Door(
        listen=settings["listen"], port=settings["port"], token=token,
        certificate=settings["certificate_file"], key=settings["key_file"],
        client_ca=settings["client_ca_file"],
    )  # fmt: skip
    if door.certificate:
        _try_tls(door)
    return door


def _try_tls(door: Door) -> None:
    """The files are sound, before anybody is told that the page is there. Raises CannotStart."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(str(door.certificate), door.key, password=lambda: b"")
        if door.client_ca:
            context.load_verify_locations(door.client_ca)
    except (OSError, ValueError) as error:
        files = ", ".join(filter(None, (door.certificate, door.key, door.client_ca)))
        raise CannotStart(
            f"[page] {files}: {error}; PEM files are needed that belong together, the key without "
            "a password"
        ) from None


def listen(door: Door) -> socket.socket:
    """The socket of the page; whoever stalls on it is dropped by the kernel. Raises CannotStart."""
    family = socket.AF_INET6 if ":" in door.listen else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # Data that nobody acknowledges, or a window that stays shut, for longer: it is over.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(SEND_S * 1000))
        sock.bind((door.listen, door.port))
    except OSError as error:
        sock.close()
        raise CannotStart(
            f"{door.listen}:{door.port}: {error.strerror or error}; another program may hold the "
            "port (ss -ltnp): choose one with `port` of [page] or --port, and an address of this "
            "machine"
        ) from None
    return sock


class Patient(H11Protocol):
    """Hangs up on a connection that for `HEAD_S` has not brought a whole request.

    The library's own timer runs only after an answer, and any byte stops it.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request is due."""
        super().connection_made(transport)
        self._expect()

    def on_response_complete(self) -> None:
        """The next one is."""
        super().on_response_complete()
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is due any more."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _expect(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(HEAD_S, self._late)

    def _late(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


class Server(uvicorn.Server):
    """Uvicorn with our limits; it says when it listens, and a signal first ends the streams."""

    def __init__(self, page: Page, door: Door, notifier: Notifier) -> None:
        self._feed, self._door, self._notifier = page.feed, door, notifier
        self._loop = asyncio.get_running_loop()
        super().__init__(uvicorn.Config(
            page.app(), loop="asyncio", http=Patient, ws="none", lifespan="off", log_config=None,
            access_log=False, server_header=False, proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS, timeout_keep_alive=5, timeout_graceful_shutdown=2,
            ssl_certfile=door.certificate, ssl_keyfile=door.key, ssl_ca_certs=door.client_ca,
            ssl_cert_reqs=ssl.CERT_REQUIRED if door.client_ca else ssl.CERT_NONE,
        ))  # fmt: skip
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        # Ours until uvicorn puts its own in their place, and when it raises the signal again at the
        # end: a stop in order ends with 0.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        sys.stderr.write(f"the page: {self._door.url}\n")
        sys.stderr.flush()
        self._notifier.ready(f"page on {self._door.url}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal asks to stop; a second SIGINT does not wait for anybody."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._feed.closed.set)
        super().handle_exit(sig, frame)
