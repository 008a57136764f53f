"""Photographs that speak a recording: sheets to look at, and the figures that need no true clip.

opening, moves: mean and standard deviation of the mouth's opening, in eye distances; mouth sharp: Laplacian variance
in the lips' box over the photograph's; flicker: grey levels by which still skin changes from frame to frame; lip dE:
CIELAB difference of the lips' mean colour from the photograph's; identity: cosine of face features with the
photograph; found: share of frames in which a face is found.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mouth_sheets
import numpy as np
import reenactment_figures
import sections
from reenactment_clips import LONGEST_SIDE, see
from tqdm import tqdm

from diffused_heads import animate
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.evaluation.metrics import faces, mouths
from diffused_heads.diffused_heads_core.face.finder import FaceFinder
from diffused_heads.diffused_heads_core.media.pictures import save_picture
from diffused_heads.diffused_heads_core.media.video import write_video
from diffused_heads.diffused_heads_core.pipeline import Animation
from diffused_heads.diffused_heads_core.talking_head import TalkingHead

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic"}


def measure(
    folder: Path, speech: Path, model: TalkingHead, seconds: float, seed: int, options: dict[str, Any], out: Path
) -> list[dict[str, Any]]:
    """A row of figures per photograph; writes a video and two sheets of each (``sheets``).

    Raises DiffusedHeadsError if no photograph of the folder can speak.
    """
    finder, rows = FaceFinder(), []
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    for number, path in enumerate(tqdm(paths, unit="photograph")):
        asked = {"duration": seconds, "max_side": LONGEST_SIDE, "seed": seed + number, **options}
        try:
            animation = animate(path, speech, model, **asked)
        except DiffusedHeadsError as error:
            tqdm.write(f"left out: {error}")
            continue
        made = np.stack(list(animation.frames()))
        write_video(out / f"{path.stem}.mp4", iter(made), animation.rate, animation.audio)
        shown = np.concatenate([animation.portrait.picture[None], made])
        marks = see(shown, finder).marks
        sheets(animation, shown, marks, out / path.stem)
        rows.append({"photograph": path.stem, **figures(shown, marks)})
    if not rows:
        raise DiffusedHeadsError(f"{folder}: expected photographs with a face, found none")
    return rows


def figures(shown: np.ndarray, marks: np.ndarray) -> dict[str, float]:
    """Figures of the photograph and the generated frames after it (1 + T, H, W, 3), and of their landmarks."""
    photograph, made = mouths.lower_faces(shown[:1], marks[:1]), mouths.lower_faces(shown[1:], marks[1:])
    opening = faces.mouth_opening(marks[1:])
    known = opening[np.isfinite(opening)]
    alike = [
        reenactment_figures.face_of(shown[n], marks[n]) for n in range(1, len(shown), 5) if np.isfinite(opening[n - 1])
    ]
    return {
        "opening": float(known.mean()) if len(known) else float("nan"),
        "moves": float(known.std()) if len(known) else float("nan"),
        "mouth sharp": mouths.lip_sharpness(made) / mouths.lip_sharpness(photograph),
        "flicker": mouths.flicker(made),
        "lip dE": mouths.colour_difference(mouths.lip_colour(made), mouths.lip_colour(photograph)),
        "identity": reenactment_figures.similarity(alike, reenactment_figures.face_of(shown[0], marks[0])),
        "found": float(np.isfinite(opening).mean()),
    }


def sheets(animation: Animation, shown: np.ndarray, marks: np.ndarray, stem: Path) -> None:
    """Write STEM-heads.png at the pictures' pixels and STEM-mouths.png at three times these, the photograph first."""
    placement = animation.portrait.placement
    save_picture(stem.with_name(f"{stem.name}-heads.png"), mouth_sheets.heads(shown, placement, round(placement.side)))
    save_picture(stem.with_name(f"{stem.name}-mouths.png"), mouth_sheets.mouth_rows([(shown, marks)]))


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table with a row per photograph, and the mean."""
    names = [name for name in rows[0] if name != "photograph"]
    mean = {"photograph": "mean", **{name: float(np.nanmean([row[name] for row in rows])) for name in names}}
    cells = [[row["photograph"], *(f"{row[name]:.3f}" for name in names)] for row in [*rows, mean]]
    return sections.table(["photograph", *names], cells)
