"""A decoded video frame as an sRGB picture: matrix, range, primaries and transfer as tagged, HDR tone-mapped.

Codes are those of ITU-T H.273. A frame without tags counts as BT.709 from 720 lines on and as BT.601 below, of limited
range unless its pixel format says otherwise, as players take it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

UNTAGGED, BT709, BT601, BT2020 = 2, 1, 6, 9  # matrix coefficients
SWSCALE = {BT709: 1, 4: 4, 5: 5, BT601: 5, 7: 7, BT2020: 9, 10: 9}  # what swscale calls a matrix
HD_LINES = 720
LIMITED, FULL = 1, 2  # as swscale calls a range
PQ, HLG = 16, 18  # transfer characteristics
SRGB = 13
GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}  # of displays for other transfers
BT1886 = 2.4  # the display gamma of all the rest, which is shown as it is
PRIMARIES = {  # x, y of red, green, blue
    1: (0.640, 0.330, 0.300, 0.600, 0.150, 0.060),
    4: (0.670, 0.330, 0.210, 0.710, 0.140, 0.080),
    5: (0.640, 0.330, 0.290, 0.600, 0.150, 0.060),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
WHITE = (0.3127, 0.3290)  # x, y of D65
REFERENCE_WHITE = 203.0  # nits of diffuse white in HDR (ITU-R BT.2408), which becomes white
LUMINANCE = (0.2627, 0.6780, 0.0593)  # of BT.2020's red, green and blue
HLG_PEAK, HLG_GAMMA = 1000.0, 1.2  # nits of the display that HLG is shown on, and its system gamma (BT.2100)
KNEE = 0.9  # of SDR's linear range: what is darker stays as it is, what is brighter is compressed
CURVE = 4096  # entries of a transfer's table
SHADES = 1 << 16  # steps of linear light in the table back to sRGB


def is_hdr(frame: av.VideoFrame) -> bool:
    """Whether a frame's transfer is PQ or HLG."""
    return _tag(frame, "color_trc") in (PQ, HLG)


def to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter, size: tuple[int, int] | None = None) -> np.ndarray:
    """uint8 (H, W, 3) sRGB of a frame, reduced to ``size`` (height, width) by area averaging if it is given.

    reformatter: one per thread and stream, which keeps its tables from frame to frame.
    """
    transfer, primaries = _tag(frame, "color_trc"), _tag(frame, "color_primaries")
    hdr = transfer in (PQ, HLG)
    primaries = BT2020 if hdr and primaries not in PRIMARIES else primaries
    plain = not hdr and transfer not in GAMMAS and primaries not in PRIMARIES.keys() - {BT709}
    settings: dict[str, Any] = {"format": "rgb24" if plain else "rgb48le", **_layout(frame, hdr)}
    if size is not None and size != (frame.height, frame.width):
        settings |= {"height": size[0], "width": size[1], "interpolation": "AREA"}
    picture = reformatter.reformat(frame, **settings).to_ndarray()
    return picture if plain else _displayed(picture, transfer, primaries)


def _tag(frame: av.VideoFrame, name: str) -> int:
    return int(getattr(frame, name, UNTAGGED))


def _layout(frame: av.VideoFrame, hdr: bool) -> dict[str, Any]:
    """Matrix and range for swscale, said explicitly: older PyAV ignores a frame's tags, and guesses differ."""
    if frame.format.is_rgb:
        return {}
    matrix = _tag(frame, "colorspace")
    if matrix not in SWSCALE:
        matrix = BT2020 if hdr else BT709 if frame.height >= HD_LINES else BT601
    full = int(frame.color_range) == FULL or frame.format.name.startswith("yuvj")
    # To RGB the destination's matrix has no meaning of its own.
    return {
        "src_colorspace": SWSCALE[matrix],
        "dst_colorspace": SWSCALE[BT601],
        "src_color_range": FULL if full else LIMITED,
        "dst_color_range": FULL,
    }


def _displayed(picture: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """uint16 R'G'B' (H, W, 3) of any transfer and primaries as uint8 sRGB."""
    linear = _linear_table(transfer)[picture >> 4]
    if transfer == HLG:  # the display's brightness follows the scene's luminance (BT.2100, OOTF)
        luminance = linear @ np.array(LUMINANCE, np.float32)
        linear = linear * (HLG_PEAK / REFERENCE_WHITE) * np.maximum(luminance, 1e-6)[..., None] ** (HLG_GAMMA - 1)
    if primaries in PRIMARIES and primaries != BT709:
        linear = linear @ _to_bt709(primaries).T
    if transfer in (PQ, HLG):
        linear = _tone_mapped(linear)
    shown = _display_table(transfer == SRGB or transfer in GAMMAS)
    return shown[np.clip(np.rint(linear * SHADES), 0, SHADES).astype(np.int32)]


@lru_cache
def _linear_table(transfer: int) -> np.ndarray:
    """Linear light for codes 0 .. 4095 of a signal, float32, 1 being SDR's white (of HLG: its scene light, 0 .. 1)."""
    signal = np.arange(CURVE) / (CURVE - 1)
    if transfer == PQ:  # SMPTE ST 2084
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = signal ** (1 / m2)
        nits = 10000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
        return (nits / REFERENCE_WHITE).astype(np.float32)
    if transfer == HLG:  # ARIB STD-B67
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12).astype(np.float32)
    if transfer == SRGB:
        return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4).astype(np.float32)
    return (signal ** GAMMAS.get(transfer, BT1886)).astype(np.float32)


@lru_cache
def _display_table(srgb: bool) -> np.ndarray:
    """Levels 0 .. 255 for linear light in steps of 1 / SHADES: sRGB's, or those of SDR video (BT.1886)."""
    linear = np.arange(SHADES + 1) / SHADES
    video = linear ** (1 / BT1886)
    signal = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * video - 0.055) if srgb else video
    return np.rint(255 * signal).astype(np.uint8)


@lru_cache
def _to_bt709(primaries: int) -> np.ndarray:
    """Linear RGB of these primaries to BT.709's, (3, 3) float32."""
    return (np.linalg.inv(_to_xyz(BT709)) @ _to_xyz(primaries)).astype(np.float32)


def _to_xyz(primaries: int) -> np.ndarray:
    xy = np.reshape(PRIMARIES[primaries], (3, 2))
    columns = np.stack([xy[:, 0] / xy[:, 1], np.ones(3), (1 - xy.sum(1)) / xy[:, 1]])
    white = np.array([WHITE[0] / WHITE[1], 1, (1 - sum(WHITE)) / WHITE[1]])
    return columns * np.linalg.solve(columns, white)


def _tone_mapped(linear: np.ndarray) -> np.ndarray:
    """Brighter than KNEE is compressed towards 1, by the colour's brightest channel, so that hues stay."""
    peak = np.maximum(linear.max(-1, keepdims=True), 1e-6)
    over = (peak - KNEE) / (1 - KNEE)
    shown = np.where(peak <= KNEE, peak, KNEE + (1 - KNEE) * over / (1 + over))
    return linear * (shown / peak)
