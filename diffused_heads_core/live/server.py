"""The web server of ``diffused-heads live``: a page, its portraits, and WebRTC connections.

Every address begins with a random token, so that only who was given the page's address can use it. Requests that name
another host (DNS rebinding) or come from another site's page are refused.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

from ..errors import DiffusedHeadsError
from ..generator import SamplingOptions
from ..motion import MotionOptions
from ..streaming.head import TalkingStream
from ..talking_head import TalkingHead
from .connection import Connection, offer_loopback
from .portraits import Portraits
from .session import CHANNELS, RATE, Session, Talking

PAGE = Path(__file__).parent / "page"
FILES = {"": "index.html", "live.js": "live.js", "live.css": "live.css"}
LARGEST_UPLOAD = 32 << 20  # bytes
LARGEST_OFFER = 1 << 16
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob: mediastream:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
WARM_UP = 3  # frames that are made to see how long one takes
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiveOptions:
    """How heads are served. viewers: how many pages may be connected at once. max_side: of pictures, pixels."""

    host: str = "127.0.0.1"
    port: int = 0
    viewers: int = 4
    max_side: int = 640

    @property
    def local(self) -> bool:
        """Whether only this machine may connect."""
        return self.host == "localhost" or (_is_address(self.host) and ipaddress.ip_address(self.host).is_loopback)


class LiveServer:
    """Serves one model to a few pages. ``make``: what a ``Session`` talks with, for the name of a portrait."""

    def __init__(
        self,
        model: TalkingHead,
        portraits: Sequence[Path] = (),
        options: LiveOptions = LiveOptions(),
        sampling: SamplingOptions | None = None,
        motion: MotionOptions = MotionOptions(),
        make: Callable[[str], Talking] | None = None,
    ):
        self.options, self.token = options, secrets.token_urlsafe(16)
        self.portraits = Portraits(model, portraits, options.max_side)
        self._make = make or (
            lambda name: TalkingStream(model, self.portraits.placed(name), RATE, CHANNELS, sampling, motion)
        )
        self._painter = ThreadPoolExecutor(1, "painter")
        self._connections: dict[str, Connection] = {}
        self._painting: dict[str, float] = {}
        self._runner: web.AppRunner | None = None
        self.port = options.port

    @property
    def address(self) -> str:
        """The page's address, with its token."""
        host = self.options.host
        host = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}/{self.token}/"

    async def start(self) -> None:
        """Begin to serve. Raises DiffusedHeadsError if the port cannot be had."""
        offer_loopback()
        logging.getLogger("aioice").setLevel(logging.WARNING)
        app = web.Application(middlewares=[self._guarded], client_max_size=LARGEST_UPLOAD)
        base = f"/{self.token}/"
        for name in FILES:
            app.router.add_get(base + name, self._file)
        app.router.add_get(base + "portraits", self._list)
        app.router.add_post(base + "portraits", self._upload)
        app.router.add_get(base + "portraits/{name}", self._thumbnail)
        app.router.add_post(base + "connect", self._connect)
        app.router.add_get(base + "status/{id}", self._status)
        app.router.add_post(base + "close/{id}", self._close)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.options.host, self.options.port)
        try:
            await site.start()
        except OSError as error:
            where = f"{self.options.host}:{self.options.port}"
            raise DiffusedHeadsError(f"{where}: cannot be served ({error.strerror or error})") from error
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close all connections and the server."""
        for connection in list(self._connections.values()):
            await connection.close()
        if self._runner is not None:
            await self._runner.cleanup()
        self._painter.shutdown(wait=False, cancel_futures=True)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Refuse other hosts' names and other sites' pages; errors become a line of text."""
        try:
            self._check(request)
            response = await handler(request)
        except DiffusedHeadsError as error:
            response = web.Response(status=400, text=" ".join(str(error).split()))
        except web.HTTPException as error:
            response = web.Response(status=error.status, text=error.text)
        response.headers.update(HEADERS)
        return response

    def _check(self, request: web.Request) -> None:
        host = request.headers.get("Host", "")
        if not self._is_own(host):
            raise web.HTTPForbidden(text="another host's name")
        origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", "none")
        if origin not in (None, f"http://{host}") or site not in ("none", "same-origin"):
            raise web.HTTPForbidden(text="another site's page")

    def _is_own(self, host: str) -> bool:
        """Whether a Host header names this server: by address, so that no other site's name leads here."""
        name, _, port = host.rpartition(":")
        name = name.strip("[]")
        if port != str(self.port):
            return False
        if self.options.local:
            return name in ("127.0.0.1", "localhost", "::1", self.options.host)
        return name in ("localhost", self.options.host) or _is_address(name)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(PAGE / FILES[request.path.rpartition("/")[2]])

    async def _list(self, request: web.Request) -> web.Response:
        named = [{"name": name, "label": label} for name, label in self.portraits.labels.items()]
        return web.json_response({"portraits": named, "viewers": self.options.viewers})

    async def _thumbnail(self, request: web.Request) -> web.Response:
        found = self.portraits.thumbnail(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        return web.Response(body=found, content_type="image/jpeg")

    async def _upload(self, request: web.Request) -> web.Response:
        label = Path(request.query.get("label", "upload")).stem[:40] or "upload"
        data = await request.read()
        name = await self._in_painter(lambda: self.portraits.add(data, label))
        return web.json_response({"name": name, "label": label})

    async def _in_painter(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._painter, work)

    async def _connect(self, request: web.Request) -> web.Response:
        if len(self._connections) >= self.options.viewers:
            limit = self.options.viewers
            raise DiffusedHeadsError(f"already {limit} pages are connected, which is the limit (--viewers)")
        if (request.content_length or 0) > LARGEST_OFFER:
            raise web.HTTPRequestEntityTooLarge(LARGEST_OFFER, request.content_length or 0)
        try:
            offer = await request.json()
            sdp, name = str(offer["sdp"]), str(offer["portrait"])
        except (ValueError, KeyError, TypeError):
            raise DiffusedHeadsError("expected JSON with sdp and portrait") from None
        session = await self._in_painter(lambda: self._session(name))
        number = secrets.token_urlsafe(8)
        connection = Connection(session, self._painter, self.options.local, lambda: self._forget(number))
        self._connections[number] = connection
        try:
            answer = await connection.answer(sdp)
        except Exception as error:
            await connection.close()
            raise DiffusedHeadsError(f"the page's offer cannot be answered ({error})") from error
        return web.json_response({"sdp": answer, "id": number})

    def _forget(self, number: str) -> None:
        self._connections.pop(number, None)

    def _session(self, name: str) -> Session:
        """A new session; the first one of a portrait makes some frames, to know how long they take."""
        if name not in self._painting:
            self._painting[name] = _time_painting(self._make(name))
        return Session(self._make(name), time.monotonic, self._painting[name])

    async def _status(self, request: web.Request) -> web.Response:
        connection = self._connections.get(request.match_info["id"])
        if connection is None:
            raise web.HTTPNotFound(text="not connected")
        limits = {"connected": len(self._connections), "viewers": self.options.viewers}
        return web.json_response({**connection.session.status(), **limits})

    async def _close(self, request: web.Request) -> web.Response:
        connection = self._connections.get(request.match_info["id"])
        if connection is not None:
            await connection.close()
        return web.Response(status=204)


def _time_painting(talking: Talking) -> float:
    """The median time that a frame takes, seconds."""
    spent = []
    talking.take(np.zeros((CHANNELS, RATE), np.int16))
    for number in range(WARM_UP):
        began = time.perf_counter()
        talking.frame(number)
        spent.append(time.perf_counter() - began)
    return float(np.median(spent))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
