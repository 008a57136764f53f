"""The page's server: who may ask it what, and the page in Chromium."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("aiortc")
pytest.importorskip("aiohttp")

from live_page import PLAYOUT, chromium, offsets, served, watched, write_microphone

from diffused_heads.diffused_heads_core.assets import PORTRAITS, RECORDINGS, bundled_file
from diffused_heads.diffused_heads_core.live import connection
from diffused_heads.diffused_heads_core.live.server import LiveOptions, LiveServer
from diffused_heads.diffused_heads_core.talking_head import load_model

BUSY = hasattr(os, "getloadavg") and os.getloadavg()[0] > 6 * (os.cpu_count() or 1)
SPEAK = "document.getElementById('video').currentTime > 1.5"


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with served() as server:
        yield server


def ask(
    server: LiveServer, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Status, body and headers of an answer; path: after the token, or from the root if it begins with a slash."""
    asked = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    asked.request(method, path if path.startswith("/") else f"/{server.token}/{path}", body, named)
    answer = asked.getresponse()
    return answer.status, answer.read(), answer.headers


def test_the_page_and_its_portraits_are_served(server: LiveServer) -> None:
    status, page, headers = ask(server, "")
    assert status == 200 and b"live.js" in page and "default-src 'self'" in headers["Content-Security-Policy"]
    assert b"//" not in page.replace(b"<!doctype", b"")  # nothing from elsewhere
    assert all(ask(server, name)[0] == 200 for name in ("live.js", "live.css"))
    listed = json.loads(ask(server, "portraits")[1])["portraits"]
    assert listed[0]["label"] == bundled_file(PORTRAITS).stem.removeprefix("portrait-") and len(listed) > 3
    status, picture, headers = ask(server, f"portraits/{listed[0]['name']}")
    assert status == 200 and picture[:3] == b"\xff\xd8\xff" and headers["Content-Type"] == "image/jpeg"
    assert ask(server, "portraits/none")[0] == 404


def test_nobody_without_the_token_gets_anything(server: LiveServer) -> None:
    for path in ("/", "/portraits", "/live.js", f"/{server.token[:-1]}/", "/favicon.ico"):
        assert ask(server, path)[0] == 404
    assert len(server.token) >= 20 and server.token in server.address


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1:1", "127.0.0.1.evil.example:{port}"]
)
def test_other_hosts_names_are_refused(server: LiveServer, host: str) -> None:
    """A name of another site that leads to this machine (DNS rebinding)."""
    assert ask(server, "", Host=host.format(port=server.port))[0] == 403
    assert ask(server, "", Host=f"localhost:{server.port}")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Origin": "http://localhost"},
    ],
)
def test_other_sites_pages_are_refused(server: LiveServer, headers: dict[str, str]) -> None:
    assert ask(server, "portraits", **headers)[0] == 403
    assert ask(server, "connect", "POST", b"{}", **headers)[0] == 403
    assert ask(server, "portraits", Origin=f"http://127.0.0.1:{server.port}", Sec_Fetch_Site="same-origin")[0] == 200


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'{"sdp": "x"}', b"\xff"])
def test_an_offer_that_is_none_is_refused_in_a_line(server: LiveServer, body: bytes) -> None:
    status, text, _ = ask(server, "connect", "POST", body)
    assert status == 400 and b"\n" not in text and b"sdp" in text


def test_an_offer_that_cannot_be_answered_takes_no_place(server: LiveServer) -> None:
    for _ in range(server.options.viewers + 1):
        status, text, _ = ask(server, "connect", "POST", b'{"sdp": "v=0", "portrait": "0-portrait-noah"}')
        assert status == 400 and b"cannot be answered" in text
    assert not server._connections


def test_an_upload_that_is_no_picture_is_refused_in_a_line(server: LiveServer) -> None:
    status, text, _ = ask(server, "portraits?label=me.png", "POST", b"no picture")
    assert status == 400 and b"me" in text and b"\n" not in text and b"/tmp" not in text


def test_a_port_that_is_taken_is_an_error(server: LiveServer) -> None:
    with pytest.raises(Exception, match="cannot be served"), served(LiveOptions(port=server.port)):
        pass


def test_it_listens_on_this_machine_alone(server: LiveServer) -> None:
    """Not at the address that this machine has in its network."""
    for address in connection.own_addresses() - {"127.0.0.1", "::1"}:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as asked:
            asked.settimeout(2)
            assert asked.connect_ex((address, server.port)) != 0


def test_what_comes_from_other_machines_is_dropped() -> None:
    heard: list[bytes] = []

    class Protocol:
        def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
            heard.append(data)

    protocol = Protocol()
    connection._filter(protocol, {"127.0.0.1", "fe80::1"})
    for address in ("127.0.0.1", "10.1.2.3", "fe80::1%eth0", "fe80::2"):
        protocol.datagram_received(address.encode(), (address, 1))
    assert heard == [b"127.0.0.1", b"fe80::1%eth0"]


@pytest.fixture
def microphone(tmp_path: Path) -> Path:
    pytest.importorskip("playwright.sync_api")
    if shutil.which("chromium") is None:
        pytest.skip("needs Chromium")
    return write_microphone(tmp_path / "microphone.wav", 30)


@pytest.mark.skipif(BUSY, reason="a machine this busy keeps no time")
def test_sound_and_picture_come_together_in_chromium(microphone: Path, tmp_path: Path) -> None:
    """The browser's own reckoning, and where light and loudness are; one page more than the limit is refused."""
    with served(LiveOptions(viewers=1)) as server, chromium(tmp_path, microphone) as page:
        page.goto(server.address)
        page.click("#speak")
        page.wait_for_function(SPEAK, timeout=60_000)
        loud, light = watched(page, 8)
        apart = offsets(loud, light)
        assert len(apart) >= 4 and abs(np.median(apart)) < 120
        assert abs(np.median([page.evaluate(PLAYOUT) for _ in range(9) if page.wait_for_timeout(300) is None])) < 45
        page.wait_for_function("document.getElementById('pages').textContent === '1 of at most 1'", timeout=10_000)
        other = page.context.new_page()
        other.goto(server.address)
        other.click("#speak")
        other.wait_for_function("document.getElementById('message').textContent.includes('limit')", timeout=20_000)
        page.click("#stop")
        page.wait_for_function("document.getElementById('video').srcObject === null", timeout=10_000)
        assert not server._connections


def test_a_portrait_says_a_dropped_recording_in_chromium(microphone: Path, tmp_path: Path) -> None:
    with served(model=load_model()) as server, chromium(tmp_path, microphone) as page:
        page.goto(server.address)
        page.wait_for_function("document.querySelectorAll('#portraits button').length > 3", timeout=20_000)
        page.set_input_files("#recording", str(bundled_file(RECORDINGS)))
        page.wait_for_function(SPEAK, timeout=60_000)
        session = next(iter(server._connections.values())).session
        assert session.shown > 1 and page.inner_text("#message") == ""
