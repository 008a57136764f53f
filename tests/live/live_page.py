"""A live server whose head is light while its sound is loud, and Chromium with a made microphone in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from diffused_heads.diffused_heads_core.live.server import LiveOptions, LiveServer
from diffused_heads.diffused_heads_core.live.session import RATE

SIDE, FPS, LOUD = 128, 25, 0.02
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
]
# Looks every 5 ms at the sound, and at every frame when it is shown; the times are milliseconds.
WATCH = """async seconds => {
  const video = document.getElementById("video"), context = new AudioContext({latencyHint: "interactive"});
  const analyser = new AnalyserNode(context, {fftSize: 512});
  context.createMediaStreamSource(video.srcObject).connect(analyser);
  const canvas = new OffscreenCanvas(8, 8).getContext("2d", {willReadFrequently: true});
  const sound = [], picture = [], wave = new Float32Array(512), end = performance.now() + 1000 * seconds;
  const look = (now, shown) => {
    canvas.drawImage(video, 0, 0, 8, 8);
    picture.push([shown.expectedDisplayTime, canvas.getImageData(4, 4, 1, 1).data[0]]);
    if (performance.now() < end) video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
  while (performance.now() < end) {
    analyser.getFloatTimeDomainData(wave);
    sound.push([performance.now(), Math.max(...wave.map(Math.abs))]);
    await new Promise(done => setTimeout(done, 5));
  }
  return [sound, picture];
}"""
KEPT = """(() => {
  const Peer = RTCPeerConnection;
  window.RTCPeerConnection = class extends Peer { constructor(...given) { super(...given); window.peer = this; } };
})()"""
PLAYOUT = """async () => {
  const found = {};
  for (const report of (await window.peer.getStats()).values())
    if (report.type === "inbound-rtp") found[report.kind] = report.estimatedPlayoutTimestamp;
  return found.video - found.audio;
}"""


class Lamp:
    """Stands for a talking head: a frame is as light as its own sound is loud, which is known ``look_ahead`` later."""

    look_ahead, fps = 0.24, FPS

    def __init__(self) -> None:
        self._lights: list[float] = []  # of the frames whose sound has come
        self._rest = np.zeros(0, bool)  # loud samples of the next one

    def take(self, pcm: np.ndarray) -> None:
        loud, size = np.concatenate([self._rest, np.abs(pcm[0].astype(np.int32)) > LOUD * 2**15]), RATE // FPS
        whole = len(loud) // size
        self._lights += loud[: whole * size].reshape(-1, size).mean(1).tolist()
        self._rest = loud[whole * size :]

    @property
    def ready(self) -> int:
        known = len(self._lights) + len(self._rest) * FPS / RATE
        return max(0, int(known - self.look_ahead * FPS))

    def frame(self, number: int) -> np.ndarray:
        return np.full((SIDE, SIDE, 3), round(235 * self._lights[number] + 10), np.uint8)


@contextlib.contextmanager
def served(options: LiveOptions = LiveOptions(), model: Any = None, **more: Any) -> Iterator[LiveServer]:
    """A server in a thread of its own, whose heads are lamps unless a model is given."""
    loop, server = asyncio.new_event_loop(), None
    if model is None:
        more["make"] = lambda name: Lamp()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(task: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(task, loop).result(60)

    try:
        server = LiveServer(model or _NoModel(), options=options, **more)
        run(server.start())
        yield server
    finally:
        if server is not None:
            run(server.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _NoModel:
    """A model whose portraits are never placed."""

    config = None


def write_microphone(path: Path, seconds: float, seed: int = 0) -> Path:
    """Bursts of noise at irregular times, mono, 16 bit."""
    rng, sound, at = np.random.default_rng(seed), np.zeros(int(seconds * RATE), np.float32), 0.7
    while at < seconds - 0.5:
        length = rng.uniform(0.12, 0.3)
        part = sound[int(at * RATE) : int((at + length) * RATE)]
        part += rng.normal(0, 0.2, len(part)).astype(np.float32)
        at += length + rng.uniform(0.4, 0.9)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((sound.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return path


@contextlib.contextmanager
def chromium(folder: Path, microphone: Path) -> Iterator[Any]:
    """A page of Chromium that hears a file through its fake microphone; its own scripts keep off the page's policy."""
    from playwright.sync_api import sync_playwright

    flags = [*FLAGS, f"--use-file-for-fake-audio-capture={microphone}"]
    with sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            str(folder / "profile"), executable_path=shutil.which("chromium"), args=flags, bypass_csp=True
        )
        try:
            page = context.new_page()
            page.add_init_script(KEPT)
            yield page
        finally:
            context.close()


def watched(page: Any, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Whether the page plays sound, and how light its picture is, 0..1, at each millisecond."""
    sound, picture = (np.array(rows) for rows in page.evaluate(WATCH, seconds))
    at = np.arange(int(seconds * 1000)) + sound[0, 0]
    heard, seen = (np.searchsorted(rows[:, 0], at, "right") - 1 for rows in (sound, picture))
    return (sound[heard, 1] > LOUD).astype(float), (picture[seen.clip(0), 1] - 10) / 235


def offsets(loud: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Of each burst, how much later in ms the picture's middle comes than the sound's."""
    edges = np.flatnonzero(np.diff(np.convolve(loud, np.ones(60), "same") > 0.5))
    found = []
    for begin, end in zip(edges[::2], edges[1::2]):
        around = slice(max(0, begin - 150), end + 150)
        sound, picture, at = loud[around], light[around].clip(0), np.arange(end + 150 - max(0, begin - 150))
        at = at[: len(sound)]
        if sound.sum() > 60 and picture.sum() > 40 and begin > 150 and end + 150 < len(loud):
            found.append((picture @ at) / picture.sum() - (sound @ at) / sound.sum())
    return np.array(found)
