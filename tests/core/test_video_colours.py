"""Colours of videos: every matrix, range and tag against the pictures that went in, HDR against its SDR original."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from diffused_heads.diffused_heads_core.media.colour import PRIMARIES
from diffused_heads.diffused_heads_core.media.video import read_video

LUMA = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
UNTAGGED, LIMITED, FULL = 2, 1, 2
PQ, HLG = 16, 18


def picture(height: int = 64, width: int = 64) -> np.ndarray:
    """Patches of skin, lips, gray, and saturated colours, float64 R'G'B' 0..1."""
    colours = np.array(
        [(0.85, 0.65, 0.52), (0.70, 0.33, 0.32), (0.5, 0.5, 0.5), (0.1, 0.3, 0.75), (0.2, 0.6, 0.3), (0.95, 0.93, 0.9)]
    )
    rows = np.arange(height) * 3 // height
    columns = np.arange(width) * 2 // width
    return colours[rows[:, None] * 2 + columns]


def to_yuv(rgb: np.ndarray, matrix: int, full: bool, bits: int = 8) -> list[np.ndarray]:
    """Planes Y, Cb, Cr of R'G'B' by the matrix's definition, whole codes."""
    red, blue = LUMA[matrix]
    y = rgb @ (red, 1 - red - blue, blue)
    cb, cr = (rgb[..., 2] - y) / (2 * (1 - blue)), (rgb[..., 0] - y) / (2 * (1 - red))
    unit, top = 1 << (bits - 8), (1 << bits) - 1
    if full:
        planes = [y * top, cb * top + (128 * unit), cr * top + (128 * unit)]
    else:
        planes = [(219 * y + 16) * unit, (224 * cb + 128) * unit, (224 * cr + 128) * unit]
    return [np.clip(np.rint(plane), 0, top).astype(np.uint8 if bits == 8 else np.uint16) for plane in planes]


def write(path: Path, planes: Sequence[np.ndarray], bits: int = 8, interlaced: bool = False, **tags: int) -> Path:
    """Five lossless frames of these planes at 25 frames/s, tagged as said."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = planes[0].shape
        stream.pix_fmt = "yuv444p" if bits == 8 else "yuv444p10le"
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for number in range(5):
            frame = av.VideoFrame(stream.width, stream.height, stream.pix_fmt)
            for plane, values in zip(frame.planes, planes):
                rows = np.zeros((stream.height, plane.line_size), np.uint8)
                rows[:, : values.shape[1] * values.itemsize] = values.view(np.uint8)
                plane.update(rows.tobytes())
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read(path: Path) -> np.ndarray:
    return next(iter(read_video(path).frames)).astype(np.float64)


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", sorted(LUMA))
def test_every_matrix_and_range_gives_the_picture_back(matrix: int, full: bool, tmp_path: Path) -> None:
    rgb, tags = picture(), {"colorspace": matrix, "color_range": FULL if full else LIMITED}
    path = write(tmp_path / "a.mkv", to_yuv(rgb, matrix, full), **tags)
    assert np.abs(read(path) - 255 * rgb).mean() < 1


@pytest.mark.parametrize(("height", "matrix"), [(480, 6), (718, 6), (720, 1), (1080, 1)])
def test_untagged_video_is_bt709_from_720_lines_on(height: int, matrix: int, tmp_path: Path) -> None:
    rgb = picture(height)
    assert np.abs(read(write(tmp_path / "a.mkv", to_yuv(rgb, matrix, False))) - 255 * rgb).mean() < 1


def to_xyz(primaries: int) -> np.ndarray:
    """Linear RGB to XYZ, white being D65."""
    xy = np.reshape(PRIMARIES[primaries], (3, 2))
    columns = np.stack([xy[:, 0] / xy[:, 1], np.ones(3), (1 - xy[:, 0] - xy[:, 1]) / xy[:, 1]])
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    return columns * np.linalg.solve(columns, white)


def with_primaries(rgb: np.ndarray, primaries: int, gamma: float = 2.4) -> np.ndarray:
    """R'G'B' of BT.709 as those that mean the same colours with other primaries."""
    linear = rgb**gamma @ (np.linalg.inv(to_xyz(primaries)) @ to_xyz(1)).T
    return np.clip(linear, 0, 1) ** (1 / gamma)


@pytest.mark.parametrize("primaries", [5, 6, 9, 12])
def test_primaries_count(primaries: int, tmp_path: Path) -> None:
    rgb = picture() * 0.8 + 0.1  # within every gamut
    planes = to_yuv(with_primaries(rgb, primaries), 1, False)
    path = write(tmp_path / "a.mkv", planes, colorspace=1, color_range=LIMITED, color_primaries=primaries, color_trc=1)
    assert np.abs(read(path) - 255 * rgb).mean() < 2


@pytest.mark.parametrize(("transfer", "gamma"), [(8, 1.0), (5, 2.8), (4, 2.2)])
def test_other_transfers_count(transfer: int, gamma: float, tmp_path: Path) -> None:
    """The light that a display of that gamma shows, as sRGB."""
    rgb = picture() * 0.8 + 0.1
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    path = write(
        tmp_path / "a.mkv",
        to_yuv(linear ** (1 / gamma), 1, False, 10),
        10,
        colorspace=1,
        color_range=LIMITED,
        color_trc=transfer,
    )
    assert np.abs(read(path) - 255 * rgb).mean() < 2


def pq(nits: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084, inverse EOTF."""
    y = (nits / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def hlg(nits: np.ndarray) -> np.ndarray:
    """BT.2100: inverse OOTF of a display of 1,000 nits, then the OETF."""
    display = nits / 1000
    luminance = np.maximum(display @ (0.2627, 0.6780, 0.0593), 1e-9)[..., None]
    scene = display * luminance ** ((1 - 1.2) / 1.2)
    upper = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), upper)


@pytest.mark.parametrize(("transfer", "code"), [(PQ, pq), (HLG, hlg)], ids=["PQ", "HLG"])
@pytest.mark.parametrize("tagged", [True, False], ids=["tagged", "matrix and primaries untagged"])
def test_hdr_gives_the_sdr_picture_that_it_was_made_from(transfer: int, code, tagged: bool, tmp_path: Path) -> None:
    """White at 203 nits (BT.2408). Luminance within a twentieth, colours within a few levels."""
    rgb = picture() * 0.85
    linear = (rgb**2.4) @ (np.linalg.inv(to_xyz(9)) @ to_xyz(1)).T
    planes = to_yuv(code(203 * np.maximum(linear, 0)), 9, False, 10)
    tags = {"colorspace": 9, "color_primaries": 9} if tagged else {}
    found = read(write(tmp_path / "a.mkv", planes, 10, color_range=LIMITED, color_trc=transfer, **tags))
    weights = (0.2126, 0.7152, 0.0722)
    assert (found @ weights).mean() == pytest.approx((255 * rgb @ weights).mean(), rel=0.05)
    assert np.abs(found - 255 * rgb).mean() < 4


def test_highlights_beyond_white_are_compressed_and_keep_their_order(tmp_path: Path) -> None:
    ramp = np.geomspace(20, 4000, 64)[None, :, None] * np.ones((64, 1, 3))
    planes = to_yuv(pq(ramp), 9, False, 10)
    path = write(tmp_path / "a.mkv", planes, 10, colorspace=9, color_primaries=9, color_range=LIMITED, color_trc=PQ)
    levels = read(path)[0, :, 1]
    assert (np.diff(levels) >= 0).all() and levels[-1] >= 252 and levels[np.searchsorted(ramp[0, :, 0], 203)] > 235
