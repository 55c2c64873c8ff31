"""The browser of the tests: what it is asked for and what it complains of is really seen."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.browser import Browser

PAGE = b"""<!doctype html><html><head><title>t</title></head><body>
<p style="color:#eee;background:#fff">hardly to be read</p><img src="/x.png">
<script src="http://elsewhere.example/x.js"></script></body></html>"""


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/" else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE if self.path == "/" else b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()
        thread.join()


def test_what_a_page_does_wrong_is_seen(server: str, browser: Browser) -> None:
    browser.open(server)
    assert browser.text("p") == "hardly to be read"
    assert browser.elsewhere() == ["http://elsewhere.example/x.js"]
    assert any("x.png" in said for said in browser.complaints())
    found = browser.accessibility()
    assert any("color-contrast" in said for said in found), found
    assert any("image-alt" in said for said in found), found
    assert browser.run("return [innerWidth, innerHeight]") == [1280, 800]
