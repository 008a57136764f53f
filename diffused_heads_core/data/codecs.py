"""Pictures, sound and annotations of one clip as bytes: H.264 in MP4, PCM in WAV, arrays in NPZ."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ..errors import DiffusedHeadsError

CRF = 12
GOP = 12


def encode_video(frames: np.ndarray, fps: float, crf: int = CRF) -> bytes:
    """Frames (T, H, W, 3) uint8 RGB as an MP4 of H.264 yuv444p. The same frames give the same bytes."""
    buffer = io.BytesIO()
    # One thread, and no mbtree, which x264 computes from uninitialised memory: else the bytes differ from run to run.
    options = {"crf": str(crf), "preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"}
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv444p"
        stream.codec_context.gop_size = GOP
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def decode_video(data: bytes) -> np.ndarray:
    """Frames (T, H, W, 3) uint8 RGB of an MP4. Raises DiffusedHeadsError if it cannot be decoded."""
    try:
        with av.open(io.BytesIO(data)) as container:
            container.streams.video[0].thread_count = 1
            rgb = VideoReformatter()  # one for all frames: a new one per frame costs more than decoding
            images = [rgb.reformat(frame, format="rgb24").to_ndarray() for frame in container.decode(video=0)]
    except (av.FFmpegError, IndexError) as error:
        raise DiffusedHeadsError(
            f"video of {len(data)} bytes: expected H.264 in MP4, decoding failed: {error}"
        ) from None
    if not images:
        raise DiffusedHeadsError(f"video of {len(data)} bytes: expected frames, found none")
    return np.stack(images)


def decode_frames(data: bytes, wanted: Sequence[int]) -> np.ndarray:
    """The ``wanted`` frames (n, H, W, 3) uint8 RGB of an MP4 of constant frame rate.

    Decoding begins at the key frames before them. Raises DiffusedHeadsError if that fails or frames are missing.
    """
    found: dict[int, np.ndarray] = {}
    try:
        with av.open(io.BytesIO(data)) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1
            rgb = VideoReformatter()
            for run in _runs(sorted(set(wanted))):
                for number, frame in _decode_run(container, stream, run):
                    found[number] = rgb.reformat(frame, format="rgb24").to_ndarray()
    except (av.FFmpegError, IndexError) as error:
        raise DiffusedHeadsError(
            f"video of {len(data)} bytes: expected H.264 in MP4, decoding failed: {error}"
        ) from None
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise DiffusedHeadsError(f"video of {len(data)} bytes: expected frames {missing}, found none")
    return np.stack([found[index] for index in wanted])


def _runs(frames: list[int]) -> Iterator[list[int]]:
    """Sorted frame numbers in groups, each of which is read with one seek."""
    start = 0
    for at in range(1, len(frames) + 1):
        if at == len(frames) or frames[at] - frames[at - 1] > GOP:
            yield frames[start:at]
            start = at


def _decode_run(
    container: av.container.InputContainer, stream: av.VideoStream, frames: list[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
    if not stream.time_base or not stream.average_rate:
        raise DiffusedHeadsError("video: expected a constant frame rate, found none")
    ticks = 1 / (Fraction(stream.time_base) * Fraction(stream.average_rate))
    offset = stream.start_time or 0
    container.seek(round(frames[0] * ticks) + offset, stream=stream, backward=True)
    for frame in container.decode(stream):
        number = round(((frame.pts or 0) - offset) / ticks)
        if number in frames:
            yield number, frame
        if number >= frames[-1]:
            return


def encode_wave(samples: np.ndarray, sample_rate: int) -> bytes:
    """Sound (n,) float in [-1, 1] as a 16-bit mono WAV; louder samples are clipped."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def decode_wave(data: bytes) -> tuple[np.ndarray, int]:
    """Sound (n,) float32 in [-1, 1] and its rate in Hz. Raises DiffusedHeadsError unless it is a 16-bit mono WAV."""
    try:
        with wave.open(io.BytesIO(data)) as file:
            layout = (file.getnchannels(), file.getsampwidth())
            rate, raw = file.getframerate(), file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise DiffusedHeadsError(f"sound of {len(data)} bytes: expected a WAV file, found: {error}") from None
    if layout != (1, 2):
        raise DiffusedHeadsError(f"sound: expected 16-bit mono, found {layout[0]} channels of {8 * layout[1]} bits")
    return np.frombuffer(raw, "<i2").astype(np.float32) / 32767, rate


def encode_arrays(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays by name as an NPZ without compression. The same arrays give the same bytes."""
    buffer = io.BytesIO()
    named: dict[str, Any] = {name: np.asarray(array) for name, array in sorted(arrays.items())}
    np.savez(buffer, **named)
    return buffer.getvalue()


def decode_arrays(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of an NPZ by name. Raises ValueError or another error of numpy for damaged data and pickles."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
