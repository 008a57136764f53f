"""A viewer's WebRTC connection: sound comes in, sound and pictures go out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from fractions import Fraction
from typing import Any

import aioice.ice
import ifaddr
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, AudioResampler, VideoFrame

from .session import CHANNELS, RATE, Session

BLOCK = RATE // 50  # samples that are sent at once, 20 ms
WAITS = 0.004  # seconds between two looks for a frame
CLOCK = 90000  # Hz, of pictures
LOOPBACK = "127.0.0.1"
_log = logging.getLogger(__name__)


class Connection:
    """Connects one page with one session until either closes. painter: where frames are made, one after the other."""

    def __init__(self, session: Session, painter: Executor, local: bool, on_close: Callable[[], None]):
        self.session, self._painter, self._local, self._on_close = session, painter, local, on_close
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._peer.on("track", self._heard)
        self._peer.on("connectionstatechange", self._changed)

    async def answer(self, sdp: str) -> str:
        """Take the page's offer; returns the answer. Raises ValueError for an offer that cannot be read."""
        await self._peer.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        self._peer.addTrack(_Sound(self.session))
        self._peer.addTrack(_Picture(self.session))
        await self._peer.setLocalDescription(await self._peer.createAnswer())
        if self._local:
            refuse_others(self._peer)
        return self._peer.localDescription.sdp

    def _heard(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio":
            self._run(self._listen(track))

    def _run(self, task: Any) -> None:
        running = asyncio.ensure_future(task)
        self._tasks.add(running)
        running.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._closed:
            _log.error("a page's connection ends: %s", error, exc_info=error)
            self._run(self.close())

    async def _listen(self, track: MediaStreamTrack) -> None:
        resampler = AudioResampler(format="s16", layout="stereo", rate=RATE)
        with contextlib.suppress(MediaStreamError):
            while True:
                for frame in resampler.resample(await track.recv()):
                    self.session.hear(frame.to_ndarray().reshape(-1, CHANNELS))

    async def _changed(self) -> None:
        state = self._peer.connectionState
        if state == "connected":
            self.session.start()
            self._run(self._paint())
        elif state in ("failed", "closed", "disconnected"):
            await self.close()

    async def _paint(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._closed:
            self.session.fill()
            self.session.adapt()
            if not await loop.run_in_executor(self._painter, self.session.step):
                await asyncio.sleep(WAITS)

    async def close(self) -> None:
        """End the connection."""
        if self._closed:
            return
        self._closed = True
        self._on_close()
        await self._peer.close()
        for task in list(self._tasks):
            task.cancel()


class _Sound(MediaStreamTrack):
    """What was heard, ``Session.delay`` later."""

    kind = "audio"

    def __init__(self, session: Session):
        super().__init__()
        self._session, self._position = session, 0

    async def recv(self) -> AudioFrame:
        """The next 20 ms, when they are due."""
        await _until(self, self._session, self._position / RATE)
        block = np.ascontiguousarray(self._session.sound(BLOCK)).reshape(1, -1)
        frame = AudioFrame.from_ndarray(block, format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._position, Fraction(1, RATE)
        self._position += BLOCK
        return frame


class _Picture(MediaStreamTrack):
    """The frames, each when its sound is due."""

    kind = "video"

    def __init__(self, session: Session):
        super().__init__()
        self._session = session

    async def recv(self) -> VideoFrame:
        """The next frame that is in time, when it is due."""
        while (found := self._session.picture()) is None:
            _check(self)
            await asyncio.sleep(WAITS)
        number, picture = found
        seconds = Fraction(number, self._session.fps)
        await _until(self, self._session, float(seconds))
        frame = VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = round(seconds * CLOCK), Fraction(1, CLOCK)
        return frame


def _check(track: MediaStreamTrack) -> None:
    if track.readyState != "live":
        raise MediaStreamError


async def _until(track: MediaStreamTrack, session: Session, seconds: float) -> None:
    while session.began is None:
        _check(track)
        await asyncio.sleep(WAITS)
    while (left := session.due(seconds)) > 0:
        _check(track)
        await asyncio.sleep(min(left, 0.1))
    _check(track)


def own_addresses() -> set[str]:
    """The addresses of this machine."""
    found = {LOOPBACK, "::1"}
    for adapter in ifaddr.get_adapters():
        found |= {ip.ip if isinstance(ip.ip, str) else ip.ip[0] for ip in adapter.ips}
    return found


def refuse_others(peer: RTCPeerConnection) -> None:
    """Let the sockets of a connection drop whatever does not come from this machine.

    Browsers do not connect to 127.0.0.1 alone, so the sockets are on this machine's addresses in its networks, too.
    """
    own = own_addresses()
    for transceiver in peer.getTransceivers():
        ice = transceiver.sender.transport.transport
        for protocol in ice._connection._protocols:
            _filter(protocol, own)


def _filter(protocol: Any, own: set[str]) -> None:
    received = type(protocol).datagram_received

    def filtered(data: bytes, address: tuple[Any, ...]) -> None:
        if address[0].split("%")[0] in own:
            received(protocol, data, address)

    protocol.datagram_received = filtered


def offer_loopback() -> None:
    """Let connections of this process also be offered at 127.0.0.1, which works without any network."""
    given = aioice.ice.get_host_addresses

    def addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return [*given(use_ipv4, use_ipv6), *([LOOPBACK] if use_ipv4 else [])]

    if given.__name__ != addresses.__name__:
        aioice.ice.get_host_addresses = addresses
