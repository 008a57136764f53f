"""What the bytes of a picture file tell before they are decoded: which kind of file it is, and whether it is whole.

Decoders fill what is missing of a damaged picture with gray, or print a line of their own: both are found out first.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from ..errors import DiffusedHeadsError

_PNG = b"\x89PNG\r\n\x1a\n"
_READABLE = {
    _PNG: "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"GIF8": "GIF",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
}
_OTHERS = {
    b"%PDF": "a PDF document",
    b"8BPS": "a Photoshop document",
    b"gimp xcf": "a GIMP document",
    b"\0\0\1\0": "an icon",
    b"\xff\x0a": "a JPEG XL picture",
    b"\0\0\0\x0cJXL ": "a JPEG XL picture",
    b"DDS ": "a DDS texture",
    b"v/1\1": "an OpenEXR picture",
    b"PK\3\4": "a ZIP archive",
    b"ID3": "sound",
    b"fLaC": "sound",
    b"OggS": "sound or a video",
    b"\x1aE\xdf\xa3": "a video",
}
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1"), "a HEIC"),
    b"avif": "an AVIF",
    b"avis": "an AVIF",
}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG's colour type
_INTERLACED = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_SIDE, _PIXELS = 1_000_000, 1 << 30  # what OpenCV reads at most
_SLICE = 1 << 16


def kind_of(data: bytes) -> str:
    """What a file that could not be read as a picture is, as far as its first bytes tell."""
    for magic, kind in _OTHERS.items():
        if data.startswith(magic):
            return kind
    if data[:4] == b"RIFF":
        return {
            b"WEBP": "a WebP picture, damaged or not known to this OpenCV",
            b"WAVE": "sound",
            b"AVI ": "a video",
        }.get(data[8:12], "something else")
    if data[4:8] == b"ftyp":
        kind = _BRANDS.get(data[8:12])
        return (
            f"{kind} picture, damaged or not known to this OpenCV (save it as JPEG or PNG)"
            if kind
            else "a video or sound"
        )
    for magic, kind in _READABLE.items():
        if data.startswith(magic):
            return f"a {kind} picture, damaged or not known to this OpenCV"
    text = data[:400].lstrip()
    if text and all(byte in b"\t\n\f\r" or byte >= 32 for byte in text) and b"\x7f" not in text:
        return "an SVG drawing" if b"<svg" in text else "text"
    return "something else or a damaged file"


def refuse_damaged(file: Path, data: bytes) -> None:
    """Raise DiffusedHeadsError where a JPEG or WebP is cut short, or a PNG is cut short or damaged."""
    whole, problem = True, None
    if data[:2] == b"\xff\xd8":
        whole = data.find(b"\xff\xd9", _jpeg_scan(data)) >= 0
    elif data.startswith(_PNG):
        whole, problem = b"IEND" in data, _png_problem(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        whole = int.from_bytes(data[4:8], "little") <= len(data) - 8 + 1  # a missing padding byte is common
    if not whole:
        raise DiffusedHeadsError(f"{file}: the picture is cut short ({len(data)} bytes), expected a whole file")
    if problem:
        raise DiffusedHeadsError(
            f"{file}: expected a whole PNG picture of at most {_SIDE} pixels a side and {_PIXELS} in all, found {problem}"
        )


def _jpeg_scan(data: bytes) -> int:
    """Offset of the first scan: a thumbnail in the header has an end marker of its own."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xDA:
            return at
        at += 1 if data[at + 1] == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return min(at, len(data))


def _png_problem(data: bytes) -> str | None:
    """What is wrong with a PNG: its chunks' checksums, its size, or its compressed pixels, which must be all there."""
    at, pixels, missing = len(_PNG), zlib.decompressobj(), None
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body, at = data[at + 8 : at + 8 + length], at + 12 + length
        if at > len(data) or (
            not kind[0] & 0x20 and zlib.crc32(kind + body) != int.from_bytes(data[at - 4 : at], "big")
        ):
            return "damaged bytes"
        if missing is None:
            problem, missing = _png_header(kind, body)
            if problem:
                return problem
        elif kind == b"IDAT" and missing > 0:
            try:
                missing -= sum(len(pixels.decompress(body[i : i + _SLICE])) for i in range(0, length, _SLICE))
            except zlib.error:
                return "damaged pixels"
        elif kind == b"IEND":
            break
    return "too few pixels" if missing is None or missing > 0 else None


def _png_header(kind: bytes, body: bytes) -> tuple[str | None, int]:
    """What is wrong with a first chunk, and the number of bytes that the pixels take before compression."""
    if kind != b"IHDR" or len(body) != 13:
        return "no header", 0
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
    if colour not in _CHANNELS or not (0 < width <= _SIDE and 0 < height <= _SIDE and width * height <= _PIXELS):
        return f"{width} x {height} pixels", 0
    bits, size = depth * _CHANNELS[colour], 0
    for x, y, across, down in _INTERLACED if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // across), -(-(height - y) // down)
        size += rows * (1 + -(-columns * bits // 8)) if columns > 0 and rows > 0 else 0
    return None, size
