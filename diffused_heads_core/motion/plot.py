"""A picture of a motion's curves, and its figures in words."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..pose import FACE
from .clip import MotionClip
from .columns import ANGLES, as_written
from .track import COLUMNS, EXPRESSION, SIZE

PANELS = (
    ("turn, degrees", ANGLES, 5.0),
    ("place and size", ("tx", "ty", SIZE), 0.02),
    ("lids, 1 is shut", FACE[:2], 1.0),
    ("gaze, right and down", FACE[2:4], 0.5),
    ("brows, up", FACE[4:], 0.5),
    ("expression", EXPRESSION, 0.5),
)  # title, columns, and the value that the panel reaches at least
COLOURS = ("#1f6fb4", "#d9622b", "#2f8f4e", "#8a5fb0")
INK, PALE = "#333840", "#dde1e6"
WIDTH, PANEL, MARGIN, GAP = 1000, 128, 52, 40  # pixels
FINER = 2  # lines are drawn that many times larger
SHUT = 0.5  # lids from which an eye counts as shut


def plot(clip: MotionClip, width: int = WIDTH) -> np.ndarray:
    """The curves of a motion over its seconds, uint8 (H, W, 3)."""
    values, width = as_written(clip.track.values), max(width, 320)
    height = len(PANELS) * (PANEL + GAP) + GAP
    picture = Image.new("RGB", (FINER * width, FINER * height), "white")
    draw = ImageDraw.Draw(picture)
    for row, (title, names, least) in enumerate(PANELS):
        top = GAP + row * (PANEL + GAP)
        columns = {name: values[:, COLUMNS.index(name)] for name in names}
        _panel(draw, clip.seconds, title, columns, least, (MARGIN, top, width - 12, top + PANEL))
    return np.array(picture.resize((width, height), Image.Resampling.BOX))


def _panel(
    draw: Any, seconds: float, title: str, columns: dict[str, np.ndarray], least: float, box: tuple[int, int, int, int]
) -> None:
    """One panel: its frame, the line at 0, ticks of seconds, and a curve for each column."""
    left, top, right, bottom = (float(FINER * at) for at in box)
    low = min(0.0 if "lids" in title else -least, *(float(column.min()) for column in columns.values()))
    high = max(least, *(float(column.max()) for column in columns.values()))
    font = ImageFont.load_default()

    def down(value: np.ndarray | float) -> Any:
        return bottom - (value - low) / (high - low) * (bottom - top)

    draw.rectangle((left, top, right, bottom), outline=PALE, width=FINER)
    for second in np.arange(0, seconds, _step(seconds)):
        across = left + second / seconds * (right - left)
        draw.line((across, top, across, bottom), fill=PALE, width=FINER)
        _text(draw, (across + 4, bottom + 2), f"{second:g} s", font, INK)
    draw.line((left, down(0.0), right, down(0.0)), fill="#aab0b8", width=FINER)
    for value in (low, high):
        _text(draw, (FINER * 6, down(value) - (0 if value == high else 24)), f"{value:.3g}", font, INK)
    at = left + 8
    at = _text(draw, (at, top - 26), title, font, INK) + 24
    for colour, (name, column) in zip(COLOURS, columns.items()):
        at = _text(draw, (at, top - 26), name, font, colour) + 16
        times = (np.arange(len(column)) + 0.5) / len(column)
        points = np.stack([left + times * (right - left), down(column)], 1)
        draw.line([tuple(point) for point in points] * (2 if len(points) == 1 else 1), fill=colour, width=2 * FINER)


def _text(draw: Any, at: tuple[float, float], text: str, font: Any, colour: str) -> float:
    """Write text twice as large as the font has it; returns where it ends."""
    right, bottom = font.getbbox(text)[2:]
    mask = Image.new("L", (int(right) + 1, int(bottom) + 2), 0)
    ImageDraw.Draw(mask).text((0, 0), text, font=font, fill=255)
    mask = mask.resize((mask.width * FINER, mask.height * FINER), Image.Resampling.BICUBIC)
    draw.bitmap((int(at[0]), int(at[1])), mask, fill=colour)
    return at[0] + mask.width


def _step(seconds: float) -> float:
    """Seconds between two ticks."""
    return next((step for step in (0.5, 1, 2, 5, 10, 30, 60, 300, 600) if seconds / step <= 14), 3600.0)


def blink_count(clip: MotionClip) -> int:
    """How often the lids shut."""
    shut = clip.track.face[:, :2].max(1) > SHUT
    return int((np.diff(shut.astype(int), prepend=0) == 1).sum())


def summary(clip: MotionClip) -> list[str]:
    """The figures of a motion, a line for each column that is not 0."""
    values = as_written(clip.track.values)
    lines = [f"{len(clip)} frames at {float(clip.fps):g} frames/s, {clip.seconds:.2f} s, {blink_count(clip)} blinks"]
    lines.append(f"{'column':<12} {'least':>8} {'mean':>8} {'most':>8} {'deviation':>10}")
    for name, column in zip(COLUMNS, values.T):
        if column.any():
            unit = " degrees" if name in ANGLES else ""
            low, mean, high, spread = (round(float(f(column)), 3) + 0.0 for f in (np.min, np.mean, np.max, np.std))
            lines.append(f"{name:<12} {low:8.3f} {mean:8.3f} {high:8.3f} {spread:10.3f}{unit}")
    if not values.any():
        lines.append("all columns are 0: the portrait as it is")
    return lines
