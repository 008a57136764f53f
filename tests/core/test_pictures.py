"""Pictures: right colours, right way up, alpha kept, and errors that say what is wrong."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.media.pictures import (
    load_picture,
    load_picture_alpha,
    save_picture,
    square_crop_resize,
)

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real_inputs"
RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (120, 130, 140)
CMYK_JPEG = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwADAgIDAgIDAwMDBAMDBAUIBQUEBAUKBwcGCAwKDAwLCgsLDQ4SEA0OEQ4LCxAWEBETFBUVFQwPFxgWFBgSFBUU"
    "/8AAFAgABQAIBEMRAE0RAFkRAEsRAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgMEBQYHCAkKC//EALUQAAIBAwMCBAMFBQQEAAABfQECAwAEEQUSITFB"
    "BhNRYQcicRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6g4SFhoeIiYqS"
    "k5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh4uPk5ebn6Onq8fLz9PX29/j5+v/aAA4EQwBNAFkASwAAPwDw3xL8cdd/"
    "4KO/Zv8AhZVpp2h/8Ibu/s//AIRWOS3837XjzfN895s4+yx7du3GWznIx4r/AMEvvjTrfwg/4WX/AGNa6fc/2j/Znm/bo3fb5f2vbt2uuPvnOc9qp/tB"
    "f8EtPhT8KP7B/sjxB4xuPt/2jzftt7aNjZ5eNu22X++c5z2r9U6//9k="
)  # 8 x 5: red and green over blue and grey


def quarters(height: int = 40, width: int = 64) -> np.ndarray:
    image = np.empty((height, width, 3), np.uint8)
    h, w = height // 2, width // 2
    image[:h, :w], image[:h, w:], image[h:, :w], image[h:, w:] = RED, GREEN, BLUE, GREY
    return image


def corners(image: np.ndarray) -> list[tuple[int, ...]]:
    h, w = image.shape[:2]
    return [tuple(int(v) for v in image[y, x]) for y in (h // 4, 3 * h // 4) for x in (w // 4, 3 * w // 4)]


def png(
    path: Path,
    kind: int,
    depth: int,
    rows: list[bytes],
    width: int,
    extra: dict[bytes, bytes] | None = None,
    interlaced: bool = False,
) -> Path:
    """A PNG of any colour type, written by hand."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, len(rows), depth, kind, 0, 0, interlaced)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *(extra or {}).items(), (b"IDAT", body), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".jpg", ".webp"])
def test_saved_pictures_come_back(tmp_path, suffix):
    save_picture(tmp_path / f"a{suffix}", quarters())
    tolerance = {".jpg": 4, ".webp": 6}.get(suffix, 0)
    assert (
        np.abs(np.array(corners(load_picture(tmp_path / f"a{suffix}"))) - [RED, GREEN, BLUE, GREY]).max() <= tolerance
    )


def test_names_of_any_language(tmp_path):
    save_picture(tmp_path / "портрет 肖像 é.png", quarters())
    assert np.array_equal(load_picture(tmp_path / "портрет 肖像 é.png"), quarters())


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_what_is_transparent_becomes_white_and_alpha_is_kept(tmp_path, suffix):
    alpha = np.full((40, 64), 255, np.uint8)
    alpha[:10], alpha[10:20] = 0, 128
    save_picture(tmp_path / f"a{suffix}", np.dstack([quarters(), alpha]))
    rgb, found = load_picture_alpha(tmp_path / f"a{suffix}")
    assert np.array_equal(found, alpha)
    assert np.abs(rgb.astype(int) - quarters())[10:].max() <= 1
    flat = load_picture(tmp_path / f"a{suffix}")
    assert (
        tuple(flat[0, 0]) == (255, 255, 255)
        and np.abs(flat[15, 0].astype(int) - (255, 127, 127)).max() <= 1
        and tuple(flat[-1, -1]) == GREY
    )


def test_an_opaque_alpha_is_none(tmp_path):
    save_picture(tmp_path / "a.png", np.dstack([quarters(), np.full((40, 64), 255, np.uint8)]))
    assert load_picture_alpha(tmp_path / "a.png")[1] is None


def test_palettes_and_grey(tmp_path):
    colours = {b"PLTE": bytes([*RED, *GREEN, *BLUE]), b"tRNS": bytes([255, 0])}
    palette = png(tmp_path / "p.png", 3, 8, [bytes([0, 1]), bytes([2, 1])], 2, colours)
    rgb, alpha = load_picture_alpha(palette)
    assert rgb[:, 0].tolist() == [list(RED), list(BLUE)] and alpha.tolist() == [[255, 0], [255, 0]]
    assert load_picture(palette)[0, 1].tolist() == [255, 255, 255]
    grey = png(tmp_path / "g.png", 0, 8, [bytes([7, 200])], 2)
    assert load_picture(grey)[0].tolist() == [[7] * 3, [200] * 3]
    grey_alpha = png(tmp_path / "ga.png", 4, 8, [bytes([7, 255, 200, 0])], 2)
    assert load_picture(grey_alpha)[0].tolist() == [[7] * 3, [255] * 3]
    one_bit = png(tmp_path / "o.png", 0, 1, [bytes([0b10000000])], 2)
    assert load_picture(one_bit)[0].tolist() == [[255] * 3, [0] * 3]
    keyed = png(tmp_path / "k.png", 0, 8, [bytes([7, 200])], 2, {b"tRNS": b"\0\7"})  # level 7 is transparent
    assert load_picture(keyed)[0].tolist() == [[255] * 3, [200] * 3]


def test_16_bits(tmp_path):
    colour = png(tmp_path / "c.png", 2, 16, [struct.pack(">3H", 65535, 32896, 0)], 1)
    assert np.abs(load_picture(colour)[0, 0].astype(int) - [255, 128, 0]).max() <= 1
    alpha = png(tmp_path / "a.png", 6, 16, [struct.pack(">4H", 65535, 257, 0, 32896)], 1)
    assert [a.tolist() for a in load_picture_alpha(alpha)] == [[[[255, 1, 0]]], [[128]]]
    levels = np.linspace(0, 65535, 300).astype(np.uint16).reshape(20, 15)
    png(tmp_path / "grey.png", 0, 16, [row.astype(">u2").tobytes() for row in levels], 15)
    Image.fromarray(levels).save(tmp_path / "grey.tiff")
    assert cv2.imwrite(str(tmp_path / "colour.tiff"), np.dstack([levels] * 3))
    for name in ("grey.png", "grey.tiff", "colour.tiff"):
        found = load_picture(tmp_path / name)
        assert found.shape == (20, 15, 3) and np.abs(found - levels[..., None] / 257).max() < 1


def test_float_tiff(tmp_path):
    assert cv2.imwrite(str(tmp_path / "f.tiff"), quarters()[..., ::-1].astype(np.float32) / 255)
    assert np.abs(load_picture(tmp_path / "f.tiff").astype(int) - quarters()).max() <= 1  # OpenCV 4.9 packs floats
    Image.fromarray(np.array([[0, 0.5, 1, 7, np.nan]], np.float32)).save(tmp_path / "grey.tiff")
    assert load_picture(tmp_path / "grey.tiff")[0, :, 1].tolist() == [0, 128, 255, 255, 0]


def exif(orientation: int) -> bytes:
    return b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation, 0, 0, 0]) + b"\0\0\0\0"


ORIENTED = {
    1: [RED, GREEN, BLUE, GREY],
    2: [GREEN, RED, GREY, BLUE],
    3: [GREY, BLUE, GREEN, RED],
    4: [BLUE, GREY, RED, GREEN],
    5: [RED, BLUE, GREEN, GREY],
    6: [BLUE, RED, GREY, GREEN],
    7: [GREY, GREEN, BLUE, RED],
    8: [GREEN, GREY, RED, BLUE],
}


@pytest.mark.parametrize("orientation", sorted(ORIENTED))
def test_a_phone_picture_is_upright(tmp_path, orientation):
    save_picture(tmp_path / "a.jpg", quarters())
    data, body = (tmp_path / "a.jpg").read_bytes(), b"Exif\0\0" + exif(orientation)
    (tmp_path / "a.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:])
    found = load_picture(tmp_path / "a.jpg")
    assert found.shape == ((64, 40, 3) if orientation > 4 else (40, 64, 3))
    assert np.abs(np.array(corners(found)) - ORIENTED[orientation]).max() <= 6


@pytest.mark.parametrize("orientation", sorted(ORIENTED))
def test_alpha_turns_with_its_colours(tmp_path, orientation):
    alpha = np.where(quarters()[..., 0] == 255, 90, 255).astype(np.uint8)
    image = np.dstack([quarters(), alpha])
    png(tmp_path / "a.png", 6, 8, [row.tobytes() for row in image], 64, {b"eXIf": exif(orientation)})
    for suffix, settings in ((".webp", {"lossless": True}), (".tiff", {})):
        Image.fromarray(image).save(tmp_path / f"a{suffix}", exif=exif(orientation), **settings)
    for path in tmp_path.iterdir():
        rgb, alpha = load_picture_alpha(path)
        assert corners(rgb) == ORIENTED[orientation], path.name
        assert np.array_equal(alpha == 90, (rgb == RED).all(-1)), path.name


def test_cmyk_jpeg(tmp_path):
    (tmp_path / "a.jpg").write_bytes(CMYK_JPEG)
    image = load_picture(tmp_path / "a.jpg")
    assert image.shape == (5, 8, 3)
    assert np.abs(image[[0, 0, 4, 4], [0, 7, 0, 7]].astype(int) - [RED, GREEN, BLUE, GREY]).max() < 16
    inks = np.dstack([255 - quarters(), np.zeros((40, 64), np.uint8)])
    Image.frombytes("CMYK", (64, 40), inks.tobytes()).save(tmp_path / "b.jpg", quality=95)
    assert np.abs(np.array(corners(load_picture(tmp_path / "b.jpg"))) - [RED, GREEN, BLUE, GREY]).max() <= 4


def test_what_is_no_picture_is_named(tmp_path):
    (tmp_path / "text.png").write_text("hello\n" * 50)
    (tmp_path / "empty.jpg").touch()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    names = ["text.png", "empty.jpg", "missing.png", "."]
    for suffix in (".png", ".jpg", ".webp", ".bmp", ".tiff"):
        save_picture(tmp_path / f"whole{suffix}", noise)
        data = (tmp_path / f"whole{suffix}").read_bytes()
        (tmp_path / f"cut{suffix}").write_bytes(data[: len(data) // 2])
        (tmp_path / f"head{suffix}").write_bytes(data[:20])
        names += [f"cut{suffix}", f"head{suffix}"]
    for name in names:
        with pytest.raises(DiffusedHeadsError) as caught:
            load_picture(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.filterwarnings("error")
def test_settings_of_the_host_for_pillow_are_neither_followed_nor_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    save_picture(tmp_path / "a.jpg", quarters())
    assert load_picture(tmp_path / "a.jpg").shape == (40, 64, 3)
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-200])
    with pytest.raises(DiffusedHeadsError, match="cut short"):
        load_picture(tmp_path / "a.jpg")
    assert Image.MAX_IMAGE_PIXELS == 100 and ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_an_interlaced_png_is_whole(tmp_path):
    small = png(tmp_path / "a.png", 2, 8, [bytes([*RED]), bytes([*BLUE])], 1, interlaced=True)  # two passes of a pixel
    assert load_picture(small).tolist() == [[list(RED)], [list(BLUE)]]


def test_a_jpeg_with_something_after_it_is_whole(tmp_path):
    save_picture(tmp_path / "a.jpg", quarters())
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes() + b"\xff\xda trailing video")
    assert load_picture(tmp_path / "a.jpg").shape == (40, 64, 3)


def test_a_failed_save_leaves_nothing(tmp_path):
    for name, image in [
        ("a.xyz", quarters()),
        ("a.png", quarters().astype(float)),
        ("a.png", quarters()[..., 0]),
        ("no/a.png", quarters()),
        ("a.png", np.zeros((0, 5, 3), np.uint8)),
        ("a.jpg", np.zeros((4, 5, 4), np.uint8)),
    ]:
        with pytest.raises(DiffusedHeadsError):
            save_picture(tmp_path / name, image)
    assert not list(tmp_path.iterdir())


def test_square_crops():
    wide = square_crop_resize(quarters(40, 80), 40)
    assert np.array_equal(wide, quarters(40, 40))
    tall = np.zeros((80, 40, 3), np.uint8)
    tall[10:50] = 200
    assert np.array_equal(square_crop_resize(tall, 40), np.full((40, 40, 3), 200))
    assert square_crop_resize(tall, 16).mean() == 200 and square_crop_resize(tall, 128).mean() == 200
    checks = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    assert np.abs(square_crop_resize(checks, 16).astype(int) - 127).max() <= 1  # averaged, not aliased
    with pytest.raises(DiffusedHeadsError):
        square_crop_resize(tall, 0)


def test_real_pictures():
    if not REAL.is_dir():
        pytest.skip("../shared/real_inputs is not beside this repository")
    for path in sorted((REAL / "images").iterdir()):
        image = load_picture(path)
        assert image.dtype == np.uint8 and image.shape[2] == 3 and min(image.shape[:2]) > 300 and image.std() > 10
