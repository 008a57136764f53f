"""PNG with texts: pictures of 8 or 16 bits per channel, and animated ones, which are written one frame at a time."""

from __future__ import annotations

import shutil
import tempfile
import zlib
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL.PngImagePlugin import PngInfo

from .pictures import PNG_LEVEL
from .provenance import PNG_KEYWORD, XMP

_HEADER = 33  # bytes of the signature and the first chunk; texts follow it


def save_png(path: Path, frame: np.ndarray, tags: Mapping[str, str]) -> None:
    """Write a frame, uint8 or uint16 (H, W, 3 or 4), with ``tags`` and the XMP that says that it is AI-generated."""
    code = cv2.COLOR_RGB2BGR if frame.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    written, data = cv2.imencode(".png", cv2.cvtColor(frame, code), [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
    if not written:
        raise OSError(f"no PNG takes {frame.dtype} {frame.shape}")
    content = data.tobytes()
    path.write_bytes(content[:_HEADER] + _texts(tags) + content[_HEADER:])


def write_apng(path: Path, frames: Iterable[np.ndarray], fps: Fraction, plays: int, tags: Mapping[str, str]) -> None:
    """Write uint8 (H, W, 3 or 4) frames as an animated PNG, lossless; ``plays`` 0 is for ever, ``tags`` as save_png."""
    delay = (1 / fps).limit_denominator(65535)  # 16 bits each
    options = {"plays": str(plays), "final_delay": f"{delay.numerator}/{delay.denominator}"}
    with tempfile.TemporaryFile() as made, path.open("wb") as file:
        with av.open(made, "w", format="apng", options=options) as container:
            stream = container.add_stream("apng", rate=fps)
            stream.codec_context.time_base = 1 / fps
            for i, frame in enumerate(frames):
                if not i:
                    stream.height, stream.width = frame.shape[:2]
                    stream.pix_fmt = "rgba" if frame.shape[2] == 4 else "rgb24"
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=stream.pix_fmt)
                picture.pts, picture.time_base = i, 1 / fps
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        made.seek(0)
        file.write(made.read(_HEADER) + _texts(tags))
        shutil.copyfileobj(made, file)


def _texts(tags: Mapping[str, str]) -> bytes:
    """The chunks of PNG that hold texts and the XMP."""
    texts = PngInfo()
    for key, text in tags.items():
        texts.add_text(key, text)
    texts.add_itxt(PNG_KEYWORD, XMP)
    return b"".join(_chunk(kind, data) for kind, data, *_ in texts.chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
