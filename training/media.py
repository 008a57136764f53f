"""Pictures and sound of one clip as bytes: H.264 in MP4, PCM in WAV."""
from __future__ import annotations

import io
import wave
from fractions import Fraction

import av
import numpy as np

from ..diffused_heads_core.errors import DiffusedHeadsError

CRF = 12
GOP = 12


def encode_video(frames: np.ndarray, fps: float, crf: int = CRF) -> bytes:
    """Frames (T, H, W, 3) uint8 RGB as an MP4 of H.264 yuv444p. One thread: the same frames give the same bytes."""
    buffer = io.BytesIO()
    # Without mbtree: x264 plans it from memory that it has not set, and the bytes differ from run to run.
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
    """Frames (T, H, W, 3) uint8 RGB of an MP4; DiffusedHeadsError when it cannot be decoded."""
    try:
        with av.open(io.BytesIO(data)) as container:
            container.streams.video[0].thread_count = 1
            images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except (av.FFmpegError, IndexError) as error:
        raise DiffusedHeadsError(f"video of {len(data)} bytes: expected H.264 in MP4, decoding failed: {error}") from None
    if not images:
        raise DiffusedHeadsError(f"video of {len(data)} bytes: expected frames, found none")
    return np.stack(images)


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
    """Sound (n,) float32 in [-1, 1] and its rate; DiffusedHeadsError for anything but a 16-bit mono WAV."""
    try:
        with wave.open(io.BytesIO(data)) as file:
            layout = (file.getnchannels(), file.getsampwidth())
            rate, raw = file.getframerate(), file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise DiffusedHeadsError(f"sound of {len(data)} bytes: expected a WAV file, found: {error}") from None
    if layout != (1, 2):
        raise DiffusedHeadsError(f"sound: expected 16-bit mono, found {layout[0]} channels of {8 * layout[1]} bits")
    return np.frombuffer(raw, "<i2").astype(np.float32) / 32767, rate
