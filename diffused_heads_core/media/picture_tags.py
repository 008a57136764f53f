"""Text inside pictures: tEXt chunks of PNG, EXIF of WebP, the comment of GIF. No pixel is touched."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from ..errors import DiffusedHeadsError

_IHDR_END = 33  # signature and header chunk
_MODEL, _SOFTWARE = 0x0110, 0x0131
_ASCII = 2
_EXIF_FLAG, _ALPHA_FLAG = 0x08, 0x10


def tag_png(data: bytes, tags: Mapping[str, str]) -> bytes:
    """A PNG with a tEXt chunk a tag, before its pixels; characters beyond Latin-1 are refused."""
    chunks = (_png_chunk(b"tEXt", key.encode("latin-1") + b"\0" + _latin(key, text)) for key, text in tags.items())
    return data[:_IHDR_END] + b"".join(chunks) + data[_IHDR_END:]


def _png_chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def _latin(key: str, text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise DiffusedHeadsError(f"tag {key}: expected characters of Latin-1, found {text[error.start]!r}") from None


def tag_gif(data: bytes, comment: str) -> bytes:
    """A GIF with a comment before its end."""
    text = comment.encode("ascii", "replace")
    blocks = (text[i : i + 255] for i in range(0, len(text), 255))
    extension = b"\x21\xfe" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
    return data[:-1] + extension + data[-1:]


def tag_webp(data: bytes, tags: Mapping[str, str], size: tuple[int, int], alpha: bool) -> bytes:
    """A WebP of ``size`` (width, height) with the tags in its EXIF as "name:text" strings.

    The places are those that ComfyUI's page reads: ``prompt`` in the tag Model, others in those below it;
    ``comment`` in Software.
    """
    body = data[12:]
    if body[:4] != b"VP8X":
        flags = _ALPHA_FLAG if alpha else 0
        dimensions = b"".join((n - 1).to_bytes(3, "little") for n in size)
        body = _riff_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + dimensions) + body
    body = body[:8] + bytes([body[8] | _EXIF_FLAG]) + body[9:] + _riff_chunk(b"EXIF", _exif(tags))
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _riff_chunk(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2)


def _exif(tags: Mapping[str, str]) -> bytes:
    """One directory of strings, little endian."""
    others = iter(range(_MODEL - 1, 0, -1))
    places = {key: {"prompt": _MODEL, "comment": _SOFTWARE}.get(key) or next(others) for key in tags}
    texts = {places[key]: f"{key}:{text}".encode() + b"\0" for key, text in tags.items()}
    at = 8 + 2 + 12 * len(texts) + 4
    entries, values = b"", b""
    for tag in sorted(texts):
        entries += struct.pack("<HHII", tag, _ASCII, len(texts[tag]), at + len(values))
        values += texts[tag] + b"\0" * (len(texts[tag]) % 2)
    return b"II*\0" + struct.pack("<IH", 8, len(texts)) + entries + struct.pack("<I", 0) + values
