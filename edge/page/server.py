"""The page as an ASGI application: routes, headers, refusals in words. GET and HEAD only."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.page import html
from edge.page.access import REALM, Door, foreign, host_permitted, token_shown
from edge.page.desk import Answer, Desk
from edge.page.feed import MOST_LISTENERS, Feed, Topic

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", "": "text/plain",
}  # fmt: skip
SEND_S = 15.0
"""A browser that does not take a message for so long is let go."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
NO_STORE = {"Cache-Control": "no-store"}


class Page:
    """Everything a request may reach."""

    def __init__(self, site: Mapping[str, Any], door: Door, feed: Feed, desk: Desk) -> None:
        self.site, self.door, self.feed, self.desk = site, door, feed, desk
        self.send_s = SEND_S
        self._read = ""
        """Configuration of the daemon when the site was read last."""
        self._static = _static()

    def app(self) -> ASGIApp:
        """The application with its guards."""
        line = "/line/{line}"
        routes = [
            Route("/", self.overview),
            Route("/stream", self.stream),
            Route(line, self.now),
            Route(line + "/tags", self.tags),
            Route(line + "/commissioning", self.commissioning),
            Route(line + "/batch/{batch}", self.batch_page),
            Route(line + "/stream", self.stream),
            Route(line + "/site.json", self.site_json),
            Route(line + "/batches.json", self.batches),
            Route(line + "/batch.json", self.batch),
            Route(line + "/series.bin", self.series),
            Route(line + "/envelope.json", self.envelope),
            Route(line + "/model.json", self.model),
            Route("/static/{path:path}", self.static),
        ]
        handlers: dict[Any, Any] = {HTTPException: _refusal, Exception: _fault}
        return Guard(Starlette(routes=routes, exception_handlers=handlers), self.door)

    # Screens.

    async def overview(self, request: Request) -> Response:
        """All lines; with one line alone, that one."""
        await self._fresh_site()
        lines = self.site["lines"]
        if len(lines) == 1:
            return RedirectResponse(f"/line/{lines[0]['name']}", 307)
        return _html(html.overview(self.site))

    async def now(self, request: Request) -> Response:
        """The screen of a line."""
        line, batch = await self._screen(request)
        return _html(html.now(line, len(self.site["lines"]), batch))

    async def batch_page(self, request: Request) -> Response:
        """The same of a batch that is over."""
        line = await self._line(request)
        batch = str(_whole(request.path_params["batch"], "batch", 0, 2**32 - 1))
        await self._known(line, batch)
        return _html(html.now(line, len(self.site["lines"]), batch))

    async def tags(self, request: Request) -> Response:
        """Every tag of a line."""
        line, batch = await self._screen(request)
        return _html(html.tags(line, len(self.site["lines"]), batch))

    async def commissioning(self, request: Request) -> Response:
        """Tag table, raw words, blocks."""
        line = await self._line(request)
        return _html(html.commissioning(line, len(self.site["lines"])))

    async def _screen(self, request: Request) -> tuple[Mapping[str, Any], str]:
        line = await self._line(request)
        batch = _batch(request)
        if batch is not None:
            await self._known(line, str(batch))
        return line, "" if batch is None else str(batch)

    async def _known(self, line: Mapping[str, Any], batch: str) -> None:
        """A batch that is not there is 404; a history that cannot be read now, the screen says."""
        answer = await self.desk.ask("batch", {"line": line["name"], "batch": int(batch)})
        if answer.status == 404:
            raise HTTPException(404, answer.body.decode())

    # Data.

    async def site_json(self, request: Request) -> Response:
        """Tags and components of a line."""
        line = await self._line(request)
        told = {key: value for key, value in line.items() if key != "drawing"}
        return Response(json.dumps(told), media_type="application/json", headers=NO_STORE)

    async def batches(self, request: Request) -> Response:
        """The batches of a line."""
        line = await self._line(request)
        return _json(await self.desk.ask("batches", {"line": line["name"]}))

    async def batch(self, request: Request) -> Response:
        """Verdicts, activation map and events of a batch."""
        line = await self._line(request)
        return _json(await self.desk.ask("batch", _given(line, request)))

    async def series(self, request: Request) -> Response:
        """Rows of a batch, reduced to pixels."""
        line, query = await self._line(request), request.query_params
        given = _given(line, request)
        given["pixels"] = _whole(query.get("pixels", "600"), "pixels", 20, 4000)
        for name in ("first_s", "last_s"):
            if name in query:
                given[name] = _number(query[name], name)
        given["component"] = query.get("component", "")
        answer = await self.desk.ask("series", given)
        kind = "application/octet-stream" if answer.status == 200 else "text/plain"
        return Response(answer.body, answer.status, media_type=kind, headers=NO_STORE)

    async def envelope(self, request: Request) -> Response:
        """Where good batches were."""
        line, query = await self._line(request), request.query_params
        given = _given(line, request) | {
            "component": query.get("component", ""),
            "directory": self.feed.bundle_of(line["name"]),
        }
        return _json(await self.desk.ask("envelope", given))

    async def model(self, request: Request) -> Response:
        """The model that decides."""
        line = await self._line(request)
        bundle = self.feed.bundle_of(line["name"])
        return _json(await self.desk.ask("model", {"line": line["name"], "directory": bundle}))

    async def stream(self, request: Request) -> Response:
        """What changes, as server-sent events."""
        topic: Topic = ("overview", "")
        if "line" in request.path_params:
            line = await self._line(request)
            part = request.query_params.get("part", "line")
            if part not in ("line", "wires"):
                raise HTTPException(400, f"part {part!r}: permitted are line and wires")
            topic = (part, line["name"])
        if self.feed.listeners >= MOST_LISTENERS:
            raise HTTPException(503, f"{MOST_LISTENERS} pages are open already; close one")
        return Events(self.feed, topic, self.send_s)

    async def static(self, request: Request) -> Response:
        """A file of ours."""
        found = self._static.get(request.path_params["path"])
        if found is None:
            raise HTTPException(404, "no such file")
        body, kind, tag = found
        headers = {"Cache-Control": "no-cache", "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=kind, headers=headers)

    async def _line(self, request: Request) -> Mapping[str, Any]:
        await self._fresh_site()
        name = request.path_params["line"]
        for line in self.site["lines"]:
            if line["name"] == name:
                found: Mapping[str, Any] = line
                return found
        names = ", ".join(line["name"] for line in self.site["lines"])
        raise HTTPException(404, f"line {name!r}: not one of this appliance; it serves {names}")

    async def _fresh_site(self) -> None:
        """Read the configuration again when the daemon has taken another one."""
        running = self.feed.config_sha256
        if running in ("", self._read, self.site["config_sha256"]):
            return
        self._read = running
        await self.desk.restart()
        answer = await self.desk.ask("site")
        if answer.status == 200:
            self.site = json.loads(answer.body)


class Guard:
    """In front of every request: method, host, token; behind every answer: the headers."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return
        names: dict[str, str] = {}
        for key, value in scope["headers"]:
            names.setdefault(key.decode("latin-1"), value.decode("latin-1"))

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        refused = self._refused(scope["method"], names)
        await (refused or self._app)(scope, receive, sealed)

    def _refused(self, method: str, headers: Mapping[str, str]) -> Response | None:
        if method not in ("GET", "HEAD"):
            text = f"{method[:20]}: this page is read-only; permitted are GET and HEAD"
            return Response(text, 405, {"Allow": "GET, HEAD"}, "text/plain")
        if not host_permitted(self._door, headers.get("host", "")):
            return Response("this page answers on this machine only: ask for it as localhost "
                            "(docs/page.md)", 421, media_type="text/plain")  # fmt: skip
        if foreign(headers):
            return Response("not for a page from elsewhere", 403, media_type="text/plain")
        if not token_shown(self._door, headers.get("authorization", "")):
            return Response("this page needs its token", 401, {"WWW-Authenticate": REALM},
                            "text/plain")  # fmt: skip
        return None


class Events(Response):
    """Server-sent events of a topic, until the browser goes, stalls, or the page ends."""

    def __init__(self, feed: Feed, topic: Topic, send_s: float) -> None:
        super().__init__(None, 200, {**NO_STORE, "X-Accel-Buffering": "no"}, "text/event-stream")
        self._feed, self._topic, self._send_s = feed, topic, send_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        headers = [(k, v) for k, v in self.raw_headers if k != b"content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        ends = [asyncio.create_task(_gone(receive)), asyncio.create_task(self._feed.closed.wait())]
        try:
            with self._feed.listen(self._topic) as listener:
                first = b"retry: 2000\n"
                while (message := await _first(listener.get(), ends)) is not None:
                    async with asyncio.timeout(self._send_s):
                        body = first + b"data: " + message + b"\n\n"
                        await send({"type": "http.response.body", "body": body, "more_body": True})
                    first = b""
            await send({"type": "http.response.body", "body": b""})
        except (TimeoutError, OSError):
            return  # it has stalled: the server closes a response that was left unfinished
        finally:
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _first(
    wanted: Awaitable[bytes], ends: list[asyncio.Task[Any]]
) -> bytes | None:
    """What is wanted, or None if an end comes first."""
    task = asyncio.ensure_future(wanted)
    try:
        await asyncio.wait({task, *ends}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() and not any(end.done() for end in ends) else None
    finally:
        if not task.done():
            task.cancel()


def _static() -> dict[str, tuple[bytes, str, str]]:
    """Path -> (bytes, type, ETag) of every file the page is made of."""
    found = {}
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            body = path.read_bytes()
            tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
            kind = TYPES.get(path.suffix, "text/plain")
            found[str(path.relative_to(STATIC))] = body, kind, tag
    return found


def _batch(request: Request) -> int | None:
    """The batch asked for; None: the newest. Raises HTTPException 400."""
    text = request.query_params.get("batch", "")
    return None if text == "" else _whole(text, "batch", 0, 2**32 - 1)


def _given(line: Mapping[str, Any], request: Request) -> dict[str, Any]:
    return {"line": line["name"], "batch": _batch(request)}


def _whole(text: str, name: str, low: int, high: int) -> int:
    # Only plain digits: int() also takes spaces, signs, underscores and digits of other scripts.
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and low <= int(text) <= high):
        raise HTTPException(
            400, f"{name} {text[:40]!r}: permitted is a whole number {low} to {high}"
        )
    return int(text)


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or abs(value) > 1e12:
        raise HTTPException(400, f"{name} {text[:40]!r}: permitted is a time in epoch seconds")
    return value


def _html(text: str) -> Response:
    return Response(text, media_type="text/html", headers=NO_STORE)


def _json(answer: Answer) -> Response:
    kind = "application/json" if answer.status == 200 else "text/plain"
    return Response(answer.body, answer.status, media_type=kind, headers=NO_STORE)


Handler = Callable[[Request, Exception], Awaitable[Response]]


async def _refusal(request: Request, error: HTTPException) -> Response:
    """A page for people, plain text for scripts."""
    text = str(error.detail)
    if error.status_code == 404 and text == "Not Found":
        text = "there is no such page here"
    if "text/html" in request.headers.get("accept", ""):
        return Response(html.said(error.status_code, text), error.status_code,
                        media_type="text/html", headers=NO_STORE)  # fmt: skip
    return Response(text, error.status_code, media_type="text/plain", headers=NO_STORE)


async def _fault(_request: Request, _error: Exception) -> Response:
    return Response("a fault of the page itself; the journal has it (journalctl -u ncm-edge-page)",
                    500, media_type="text/plain", headers=NO_STORE)  # fmt: skip
