"""What the page answers to whom, over real HTTP: people, scripts, and those who mean no good."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psutil
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge.page.serve import MOST_CONNECTIONS
from tests.drivers.pki import Pair, pair
from tests.line import ROOT
from tests.page.conftest import Running, page_of

LINE = "/line/ncm-1"
SHARED = ("site.json", "batches.json", "batch.json", "series.bin", "envelope.json", "model.json")


def test_every_answer_carries_the_policy(page: Running) -> None:
    for path in ("/", LINE, f"{LINE}/batch.json", "/static/page.css", "/nothing", "/static/../x"):
        headers = page.ask(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_it_is_read_only(method: str, page: Running) -> None:
    reply = page.ask(LINE, method)
    assert reply.status == 405
    assert reply.headers["allow"] == "GET, HEAD"
    assert "read-only" in reply.text


@pytest.mark.parametrize("path", [LINE, "/static/page.css", f"{LINE}/batch.json", f"{LINE}/stream"])
def test_head_is_get_without_a_body(path: str, page: Running) -> None:
    reply = page.ask(path, "HEAD")
    assert reply.status == 200
    assert reply.body == b""


@pytest.mark.parametrize("name", SHARED)
def test_the_data_of_a_line(name: str, page: Running) -> None:
    more = "?component=C03" if name == "envelope.json" else ""
    reply = page.ask(f"{LINE}/{name}{more}")
    assert reply.status == 200, reply.text
    assert reply.headers["cache-control"] == "no-store"


def test_a_batch_as_the_browser_gets_it(page: Running) -> None:
    found = page.ask(f"{LINE}/batch.json").json()
    assert found["batch"]["batch_id"] == 1
    assert found["batch"]["simulation"]
    steps = found["steps"]
    assert len(steps["t_s"]) == len(steps["probability"]) >= 4
    assert found["cam"]["columns"] == len(found["cam"]["times"]) - 1
    cells = base64.b64decode(found["cam"]["cells"])
    assert len(cells) == 51 * found["cam"]["columns"]
    assert max(cells) == 255
    assert {e["kind"] for e in found["events"]} >= {"verdict", "condition", "batch"}
    envelope = page.ask(f"{LINE}/envelope.json?component=C09").json()
    assert "AIT-106A.PV" in envelope["tags"]
    low, high = envelope["tags"]["AIT-106A.PV"]
    assert len(low) == len(envelope["times"])
    assert all(5 < a < b < 14 for a, b in zip(low, high))
    assert "serial 3, simulated" in envelope["source"]
    model = page.ask(f"{LINE}/model.json").json()
    assert model["threshold"] == 0.9292608326114719  # of the card: the page's own configuration
    assert model["hits"][3].startswith("Validated (simulated): of 229 batches called severity 3")


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        (f"{LINE}/batch/999", 404, "batch 999: not in the history of line ncm-1; the nearest"),
        (f"{LINE}/tags?batch=999", 404, "batch 999"),
        (f"{LINE}/batch.json?batch=999", 404, "batch 999"),
        ("/line/ncm-9", 404, "it serves ncm-1"),
        ("/line/%3Cscript%3Ealert(1)%3C", 404, "not one of this appliance"),
        ("/line/ncm-1%00", 404, "not one of this appliance"),
        ("/line/..%2f..%2fetc%2fpasswd", 404, "no such page"),
        ("/static/../../../pyproject.toml", 404, "no such"),
        ("/static/%2e%2e/%2e%2e/html.py", 404, "no such"),
        ("/static//etc/passwd", 404, "no such"),
        ("/nothing", 404, "there is no such page here"),
        (f"{LINE}/batch/abc", 400, "permitted is a whole number"),
        (f"{LINE}/batch/-1", 400, "permitted"),
        (f"{LINE}/batch/%D9%A1", 400, "permitted"),
        (f"{LINE}/batch.json?batch=1e3", 400, "permitted"),
        (f"{LINE}/batch.json?batch=4294967296", 400, "permitted"),
        (f"{LINE}/batch.json?batch={'9' * 5000}", 400, "permitted"),
        (f"{LINE}/batch.json?batch=1;DROP%20TABLE%20batches", 400, "permitted"),
        (f"{LINE}/series.bin?pixels=0", 400, "pixels '0'"),
        (f"{LINE}/series.bin?pixels=99999999", 400, "permitted is a whole number 20 to 4000"),
        (f"{LINE}/series.bin?first_s=nan", 400, "first_s 'nan'"),
        (f"{LINE}/series.bin?last_s=1e400", 400, "last_s"),
        (f"{LINE}/series.bin?first_s=9&last_s=1", 400, "ends before it begins"),
        (f"{LINE}/series.bin?component=C99", 404, "line ncm-1 has C01"),
        (f"{LINE}/envelope.json?component=%27%20OR%201=1", 404, "line ncm-1 has"),
        (f"{LINE}/stream?part=secrets", 400, "permitted are line and wires"),
    ],
)
def test_hostile_and_mistaken_paths(path: str, status: int, said: str, page: Running) -> None:
    reply = page.ask(path)
    assert (reply.status, said in reply.text) == (status, True), reply.text
    assert "Traceback" not in reply.text


def test_what_is_shown_of_a_mistake_is_no_markup(page: Running) -> None:
    reply = page.ask("/line/%3Cimg%20src=x%3E", headers={"Accept": "text/html"})
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert "<img" not in reply.text
    assert "&lt;img" in reply.text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.1.1.1", ""])
def test_a_page_from_elsewhere_cannot_read_it_through_the_browser(host: str, page: Running) -> None:
    reply = page.ask(LINE, headers={"Host": host})
    assert reply.status == 421
    assert "localhost" in reply.text


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nContent-Length: 1\r\n"
        b"Content-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"\r\n\r\n\r\n\x00\xff",
        "GET /line/\u00e9 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
    ],
)
def test_hostile_bytes_are_refused_and_the_page_goes_on(sent: bytes, page: Running) -> None:
    with socket.create_connection(("127.0.0.1", page.port), timeout=20) as link:
        answer = b""
        # The server may hang up at any byte of it.
        with contextlib.suppress(OSError):
            link.sendall(sent)
            link.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while part := link.recv(65536):
                answer += part
    assert not answer or answer.split()[1][:1] in (b"4", b"3"), answer[:200]
    assert page.ask(LINE).status == 200


def test_a_page_of_another_site_gets_nothing_but_a_link_works(page: Running) -> None:
    asked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert page.ask(f"{LINE}/stream", headers=asked).status == 403
    assert page.ask(LINE, headers=asked | {"Sec-Fetch-Mode": "navigate"}).status == 200
    assert page.ask(LINE, headers=asked | {"Sec-Fetch-Site": "same-origin"}).status == 200


def test_idle_connections_do_not_keep_others_out(page: Running) -> None:
    """Silent ones, and one that sends a byte now and then."""
    with contextlib.ExitStack() as held:
        links = [
            held.enter_context(socket.create_connection(("127.0.0.1", page.port), timeout=20))
            for _ in range(MOST_CONNECTIONS)
        ]
        links[0].sendall(b"GET / HTTP/1.1\r\nHost: local")
        for link in links:
            assert link.recv(1) == b"", "hung up"
        assert page.ask(LINE).status == 200


def test_the_process_stays_small(page: Running) -> None:
    for _ in range(60):
        for path in (LINE, f"{LINE}/batch.json", f"{LINE}/series.bin", "/static/page.css"):
            assert page.ask(path).status == 200
    found = psutil.Process(page.process.pid)
    assert found.memory_info().rss <= 40e6, "the budget of the page's process"
    (reader,) = found.children()
    assert "edge.page.reader" in " ".join(reader.cmdline())


def test_a_reader_process_that_dies_is_made_anew(page: Running) -> None:
    page.ask(f"{LINE}/batches.json")
    (reader,) = psutil.Process(page.process.pid).children()
    reader.kill()
    reader.wait(10)
    assert page.ask(f"{LINE}/series.bin?pixels=77").status == 200


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge", "page", *arguments], cwd=ROOT, timeout=60,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_port_that_is_taken(page: Running) -> None:
    done = command("--port", str(page.port))
    assert done.returncode == 2
    assert f"127.0.0.1:{page.port}: Address already in use" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--port", "99999"), "expected a TCP port"),
        (("--listen", "0.0.0.0"), "in the clear"),
        (("--listen", "plant"), "not an IP address"),
        (("--config", "/nowhere"), "appliance.toml: file is missing"),
        (("--line", "ncm-7"), "ncm-7"),
    ],
)
def test_mistakes_at_the_prompt(arguments: tuple[str, ...], said: str) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The shipped configuration, to be changed."""
    target = tmp_path / "config"
    subprocess.run(["cp", "-r", str(ROOT / "firmware_config"), str(target)], check=True)
    return target


def settings(site: Path, **keys: object) -> None:
    text = "".join(f'{k} = "{v}"\n' for k, v in keys.items())
    with (site / "appliance.toml").open("a", encoding="utf-8") as file:
        file.write(f"\n[page]\n{text}")


def pem(folder: Path, name: str, made: Pair) -> Path:
    """`name`.pem and `name`.key in `folder`; the certificate's path."""
    certificate = folder / f"{name}.pem"
    certificate.write_bytes(made.certificate.public_bytes(Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return certificate


def over_tls(port: int, context: ssl.SSLContext, headers: dict[str, str] | None = None) -> Any:
    request = Request(f"https://127.0.0.1:{port}{LINE}", headers=headers or {})
    try:
        with urlopen(request, context=context, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except (URLError, ssl.SSLError, ConnectionError) as error:
        return 0, str(error)


YEARS_S = 10_000.0
TOKEN = "f00dfeedf00dfeedf00dfeedf00d"


def test_with_tls_and_a_token(site: Path, recorded: Path) -> None:
    served = pem(site, "page", pair("page", end_days=YEARS_S))
    (site / "token").write_text(TOKEN + "\n", encoding="utf-8")
    settings(site, listen="0.0.0.0", certificate_file="page.pem", key_file="page.key",
             token_file="token")  # fmt: skip
    context = ssl.create_default_context(cafile=str(served))
    basic = base64.b64encode(f"operator:{TOKEN}".encode()).decode()
    arguments = ("--config", str(site), "--runtime", str(recorded), "--state", str(recorded))
    with page_of(*arguments) as page:
        status, text = over_tls(page.port, context)
        assert (status, text) == (401, "this page needs its token")
        assert over_tls(page.port, context, {"Authorization": "Bearer wrong"})[0] == 401
        for header in (f"Basic {basic}", f"Bearer {TOKEN}"):
            status, text = over_tls(page.port, context, {"Authorization": header})
            assert status == 200
            assert "NCM precursor line 1" in text


def test_with_a_client_certificate(site: Path, recorded: Path) -> None:
    authority = pair("plant CA", uri=None, ca=True, use=None, end_days=YEARS_S)
    stranger = pair("another CA", uri=None, ca=True, use=None, end_days=YEARS_S)
    served = pem(site, "page", pair("page", end_days=YEARS_S))
    pem(site, "ca", authority)
    for name, issuer in (("known", authority), ("unknown", stranger)):
        pem(site, name, pair(name, issuer=issuer, use=ExtendedKeyUsageOID.CLIENT_AUTH,
                             end_days=YEARS_S))  # fmt: skip
    settings(site, listen="0.0.0.0", certificate_file="page.pem", key_file="page.key",
             client_ca_file="ca.pem")  # fmt: skip
    arguments = ("--config", str(site), "--runtime", str(recorded), "--state", str(recorded))
    with page_of(*arguments) as page:
        for name, wanted in (("known", 200), ("unknown", 0), ("", 0)):
            context = ssl.create_default_context(cafile=str(served))
            if name:
                context.load_cert_chain(str(site / f"{name}.pem"), str(site / f"{name}.key"))
            assert over_tls(page.port, context)[0] == wanted, name


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"token_file": "nothing"}, "No such file"),
        ({"listen": "0.0.0.0", "certificate_file": "lines/ncm-1/line.toml",
          "key_file": "lines/ncm-1/line.toml", "token_file": "token"}, "PEM files are needed"),
    ],
)  # fmt: skip
def test_files_that_are_not_what_they_should_be(
    keys: dict[str, object], said: str, site: Path
) -> None:
    (site / "token").write_text(TOKEN, encoding="utf-8")
    settings(site, **keys)
    done = command("--config", str(site))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
