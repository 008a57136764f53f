"""Pictures: any file that Pillow decodes, to upright sRGB, with its alpha where it has one."""

from __future__ import annotations

import io
import os
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps

from ..errors import DiffusedHeadsError
from ..files import atomic_path, readable_file

PNG_LEVEL = 1  # of compression: smaller files take twice the time and save a tenth
WRITABLE: dict[str, dict[str, Any]] = {  # suffixes and the settings of Pillow's writers
    ".png": {"compress_level": PNG_LEVEL},
    **{suffix: {"quality": 95} for suffix in (".jpg", ".jpeg", ".webp")},
    ".bmp": {},
    **{suffix: {"compression": "tiff_adobe_deflate"} for suffix in (".tif", ".tiff")},
}
LARGEST_SIDE, MOST_PIXELS = 1_000_000, 1 << 30

_EXPECTED = "a picture (PNG, JPEG, WebP, BMP or TIFF)"
# Not all of Pillow's: for EPS it starts Ghostscript.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "JPEG2000", "PPM", "AVIF")
_HEIC = rb"....ftyp(hei[cmxs]|hevc|mif1|msf1)"
_PICTURES = {  # by the first bytes
    rb"\x89PNG": "PNG",
    rb"\xff\xd8\xff": "JPEG",
    rb"RIFF....WEBP": "WebP",
    rb"BM....\0\0\0\0": "BMP",
    rb"II\*\0|MM\0\*": "TIFF",
    rb"GIF8": "GIF",
    rb"\0\0\0\x0cjP  ": "JPEG 2000",
    rb"....ftypavi[fs]": "AVIF",
}
_OTHERS = {
    _HEIC: "a HEIC picture; to read it, pip install pillow-heif, or save it as JPEG or PNG",
    rb"\xff\x0a|\0\0\0\x0cJXL ": "a JPEG XL picture",
    rb"\0\0\x01\0": "an icon",
    rb"DDS ": "a DDS texture",
    rb"v/1\x01": "an OpenEXR picture",
    rb"%PDF": "a PDF document",
    rb"8BPS": "a Photoshop document",
    rb"gimp xcf": "a GIMP document",
    rb"PK\x03\x04": "a ZIP archive",
    rb"RIFF....WAVE|ID3|fLaC": "sound",
    rb"OggS|....ftyp": "sound or a video",
    rb"RIFF....AVI |\x1aE\xdf\xa3": "a video",
    rb"\s*(<[?!].*)?<svg": "an SVG drawing",
    rb"[\t-\r -~\x80-\xff]+\Z": "text",
}
_COLOURS = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # modes of Pillow by the colour space of a profile
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # per pixel, by the colour type of a PNG
_BLOCK = 1 << 16  # bytes; a PNG's pixels may be a thousand times as large
_pillow_lock = threading.Lock()
_opencv_log = getattr(getattr(cv2, "utils", None), "logging", cv2)  # OpenCV 4 has these functions at its top


def load_picture(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a picture as uint8 (H, W, 3) sRGB, upright by its EXIF tag; what is transparent becomes white.

    An ICC profile in the file converts the colours. Raises DiffusedHeadsError that names the file if it is missing, a
    folder, empty, not a picture, damaged, cut short, or larger than LARGEST_SIDE or MOST_PIXELS.
    """
    rgb, alpha = load_picture_alpha(path)
    return rgb if alpha is None else on_white(rgb, alpha)


def on_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) with alpha (H, W) as it looks on white."""
    weight = alpha[..., None].astype(np.float32) / 255
    return np.rint(rgb * weight + 255 * (1 - weight)).astype(np.uint8)


def load_picture_alpha(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a picture as uint8 sRGB (H, W, 3), not composited, and uint8 alpha (H, W) or None if all is opaque.

    Raises what load_picture raises.
    """
    file = readable_file(path, _EXPECTED)
    try:
        with _strict_pillow(), file.open("rb") as stream:
            picture = _eight_bit(_decoded(file, stream))
            alpha = picture.convert("RGBA").getchannel("A") if _has_alpha(picture) else None
            rgb = _to_srgb(picture)
    except DiffusedHeadsError:
        raise
    except MemoryError as error:
        raise DiffusedHeadsError(f"{file}: the picture does not fit into memory; make it smaller first") from error
    except Exception as error:  # on damaged bytes, Pillow raises errors of all kinds
        floats = _float_tiff(file)
        if floats is None:
            raise DiffusedHeadsError(f"{file}: expected {_EXPECTED}, found {_kind_of(file)}") from error
        return floats, None
    if alpha is not None and alpha.getextrema()[0] == 255:
        alpha = None
    return np.array(rgb), None if alpha is None else np.array(alpha)


@contextmanager
def _strict_pillow() -> Iterator[None]:
    """Pillow that neither warns nor fills missing rows, without its limit of 179 megapixels: phones take 200."""
    with _pillow_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, False
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


def _decoded(file: Path, stream: io.BufferedReader) -> Image.Image:
    """The picture of an open file, upright and whole; raises DiffusedHeadsError if it is too large, or any error."""
    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]
    formats += ["HEIF"] if re.match(_HEIC, stream.peek(16), re.DOTALL) and _reads_heic() else []
    picture = Image.open(stream, formats=formats)
    width, height = picture.size
    if max(width, height) > LARGEST_SIDE or width * height > MOST_PIXELS:
        raise DiffusedHeadsError(
            f"{file}: expected a picture of at most {LARGEST_SIDE} pixels a side and {MOST_PIXELS} in all, "
            f"found {width} x {height}: make it smaller first"
        )
    if picture.format == "PNG":
        picture.verify()  # the checksums and the end, which decoding passes over
        _check_png_rows(file.read_bytes(), width, height)
        stream.seek(0)
        picture = Image.open(stream, formats=formats)
    picture.load()
    if picture.format != "TIFF":  # Pillow turns these itself, and some versions would again
        with suppress(Exception):  # EXIF that cannot be read is ignored
            return ImageOps.exif_transpose(picture)
    return picture


def _reads_heic() -> bool:
    """Make Pillow read HEIC, the usual format of iPhones, if the package pillow-heif is there."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _check_png_rows(data: bytes, width: int, height: int) -> None:
    """Raise ValueError if the pixels of a PNG are fewer than its size says: Pillow leaves missing rows black."""
    depth, colour, interlaced = data[24], data[25], data[28]
    bits, inflate, at = depth * _SAMPLES[colour], zlib.decompressobj(), 8
    # Each row begins with a byte for its filter. Interlaced rows are more and shorter: this is less than they take.
    missing = width * height * bits // 8 if interlaced else height * (1 + -(-width * bits // 8))
    while at < len(data) and missing > 0:
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            body = memoryview(data)[at + 8 : at + 8 + length]
            missing -= sum(len(inflate.decompress(body[i : i + _BLOCK])) for i in range(0, length, _BLOCK))
        at += 12 + length
    if missing > 0:
        raise ValueError("a PNG with too few rows")


def _eight_bit(picture: Image.Image) -> Image.Image:
    """The picture in 8 bits, if it is grey with 16 bits or in floats from 0 to 1; any other as it is."""
    if picture.mode != "F" and not picture.mode.startswith("I"):
        return picture
    levels = np.asarray(picture)
    levels = _from_floats(levels) if picture.mode == "F" else (levels.clip(0, 65535) >> 8).astype(np.uint8)
    grey = Image.fromarray(levels)
    grey.info = {"icc_profile": picture.info.get("icc_profile")}
    return grey


def _from_floats(image: np.ndarray) -> np.ndarray:
    return np.rint(np.nan_to_num(image).clip(0, 1) * 255).astype(np.uint8)


def _has_alpha(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in picture.info


def _to_srgb(picture: Image.Image) -> Image.Image:
    """The picture as RGB, converted by its ICC profile; a profile that is broken or of other colours is ignored."""
    profile = picture.info.get("icc_profile")
    if picture.mode != "CMYK":
        picture = picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB")
    if profile:
        with suppress(ImageCms.PyCMSError, OSError, KeyError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            mode = _COLOURS[source.profile.xcolor_space]
            if mode == picture.mode or (mode, picture.mode) == ("RGB", "L"):
                picture, srgb = picture.convert(mode), ImageCms.createProfile("sRGB")
                converted = ImageCms.profileToProfile(picture, source, srgb, outputMode="RGB")
                return converted or picture.convert("RGB")
    return picture.convert("RGB")


def _float_tiff(file: Path) -> np.ndarray | None:
    """RGB of a TIFF with three channels of floats from 0 to 1, which Pillow does not read; None for other files."""
    data = np.fromfile(file, np.uint8)
    if data[:2].tobytes() not in (b"II", b"MM"):
        return None
    level = _opencv_log.getLogLevel()
    _opencv_log.setLogLevel(0)  # OpenCV prints what it cannot decode
    try:
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    finally:
        _opencv_log.setLogLevel(level)
    if image is None or image.dtype.kind != "f" or image.ndim != 3 or image.shape[2] != 3:
        return None
    return np.ascontiguousarray(_from_floats(image)[..., ::-1])


def _kind_of(file: Path) -> str:
    """What a file that could not be read as a picture is, as far as its first bytes tell."""
    with file.open("rb") as stream:
        head = stream.read(400)
    for magic, name in _PICTURES.items():
        if re.match(magic, head, re.DOTALL):
            return f"a {name} picture that is damaged, cut short or unknown to Pillow {Image.__version__}"
    return next(
        (kind for magic, kind in _OTHERS.items() if re.match(magic, head, re.DOTALL)),
        "something else or a damaged file",
    )


def save_picture(path: str | os.PathLike[str], rgb: np.ndarray) -> None:
    """Write uint8 (H, W, 3) RGB, or (H, W, 4) with alpha, in the format that the suffix names; whole or not at all.

    Raises DiffusedHeadsError for another suffix or array, and for what the format cannot hold (alpha in a JPEG).
    """
    target = Path(path)
    settings = WRITABLE.get(target.suffix.lower())
    if settings is None:
        raise DiffusedHeadsError(
            f"{target}: expected a picture name ending in {', '.join(WRITABLE)}, found {target.suffix or 'no suffix'}"
        )
    if rgb.ndim != 3 or rgb.dtype != np.uint8 or rgb.shape[2] not in (3, 4) or not rgb.size:
        raise DiffusedHeadsError(f"{target}: expected uint8 (H, W, 3), found {rgb.dtype} {rgb.shape}")
    with atomic_path(target) as temporary:
        try:
            Image.fromarray(rgb).save(temporary, **settings)
        except (OSError, ValueError) as error:
            raise DiffusedHeadsError(f"{target}: cannot write {rgb.shape} so ({error})") from error


def shrink(rgb: np.ndarray, longest: int) -> np.ndarray:
    """uint8 (H, W, C), made smaller if its longer side has more than ``longest`` pixels.

    Raises DiffusedHeadsError if ``longest`` is below 1.
    """
    if longest < 1:
        raise DiffusedHeadsError(f"max_side={longest}, expected 1 or more")
    height, width = rgb.shape[:2]
    factor = longest / max(height, width)
    if factor >= 1:
        return rgb
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


def square_crop_resize(rgb: np.ndarray, size: int) -> np.ndarray:
    """The largest square of uint8 (H, W, C), scaled to (size, size, C).

    Centred across; of a tall picture the square lies a quarter of the way down, where portraits have the head.
    Raises DiffusedHeadsError if ``size`` is below 1.
    """
    if size < 1:
        raise DiffusedHeadsError(f"size={size}, expected 1 or more")
    height, width = rgb.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 4, (width - side) // 2
    square = np.ascontiguousarray(rgb[top : top + side, left : left + side])
    if side == size:
        return square
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if size < side else cv2.INTER_CUBIC)
