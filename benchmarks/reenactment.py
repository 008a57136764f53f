"""A model on real people: each clip's first frame speaks the clip's own sound, and is measured against the clip.

    python benchmarks/reenactment.py FOLDER_OF_CLIPS
    python benchmarks/reenactment.py FOLDER_OF_CLIPS --model runs/mine/model.safetensors --seconds 3 --out output/mine

Needs clips with one talking face and sound, and the face networks (downloaded on first use). Heads are aligned and
pasted back as in ``diffused-heads generate``; landmarks are read from whole pictures, the clip's and the generated
ones, by the same network. Writes results.json, contact sheets (clip above, generated below) and a video per clip.

r, lag: mouth opening against the clip; shuffled: against the other clips; lmd: mouth landmarks, px of 128;
face_similarity: cosine of HOG and colour features with the first frame's; nearest_other: with the most similar first
frame of another clip; sharp: Laplacian variance of the face, at the model's size, in the finished picture over that in
the first frame; sharp_model: the same of the model's own frame; background: MSE of the frame's upper corners to the
first frame's, 0..1; blinks: per second; found: share of frames in which a face is found.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from diffused_heads import load_model
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.evaluation.metrics import faces, features
from diffused_heads.diffused_heads_core.evaluation.metrics.pictures import laplacian_variance, luminance
from diffused_heads.diffused_heads_core.evaluation.readers import FaceReader, eye_openings
from diffused_heads.diffused_heads_core.face.alignment import Placement, crop
from diffused_heads.diffused_heads_core.face.compositing import paste_back
from diffused_heads.diffused_heads_core.face.finder import FaceFinder
from diffused_heads.diffused_heads_core.face.placing import Placing
from diffused_heads.diffused_heads_core.media.pictures import save_picture
from diffused_heads.diffused_heads_core.media.video import read_video, write_video
from diffused_heads.diffused_heads_core.pipeline import Animation, embed_speech, place_portrait
from diffused_heads.diffused_heads_core.talking_head import TalkingHead

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = {".mp4", ".mpg", ".mov", ".mkv", ".webm", ".avi"}
FACE = (slice(24, 112), slice(28, 100))  # of a frame of 128 px: rows and columns of the face
CORNER = 12  # of 128 px
SHOWN = 8  # frames of a clip in the contact sheet


@dataclass(frozen=True, eq=False)
class Case:
    """A clip's frames (T, H, W, 3) at the model's rate, and its first frame that speaks its sound."""

    name: str
    frames: np.ndarray
    animation: Animation

    @property
    def placement(self) -> Placement:
        """Where the first frame's head is."""
        return self.animation.portrait.placement


def at_rate(frames: Iterable[np.ndarray], fps: float, wanted: float, count: int) -> np.ndarray:
    """``count`` frames at ``wanted`` frames/s: the nearest of those given at ``fps``."""
    given = list(islice(frames, int(count * fps / wanted) + 2))
    picked = [
        min(round(n * fps / wanted), len(given) - 1) for n in range(count) if round(n * fps / wanted) < len(given)
    ]
    return np.stack([given[i] for i in picked])


def read_case(path: Path, model: TalkingHead, seconds: float, finder: FaceFinder) -> Case:
    """Raises DiffusedHeadsError for a clip without sound, speech or a face in its first frame."""
    video, config = read_video(path), model.config
    if video.audio is None:
        raise DiffusedHeadsError(f"{path.name}: no sound")
    audio = replace(video.audio, samples=video.audio.samples[:, : round(seconds * video.audio.sample_rate)])
    speech = embed_speech(model, audio)
    frames = at_rate(video.frames, float(video.fps), config.fps, int(min(seconds, audio.duration) * config.fps))
    portrait = place_portrait(frames[0], config, Placing("largest"), lambda: finder, path.name)
    heads = Animation(model, portrait, audio, speech[: len(frames)], model.options(), whole_picture=False)
    return Case(path.stem, frames, heads)


def speak(case: Case, seed: int, asked: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, S, S, 3) of the model, and the whole pictures (T, H, W, 3)."""
    model, portrait = case.animation.model, case.animation.portrait
    made = np.stack(list(replace(case.animation, options=model.options(seed=seed, **asked)).frames()))
    config, placed = model.config, (portrait.picture, portrait.placement)
    return made, np.stack(list(paste_back(made, *placed, geometry=config.geometry, fps=config.fps)))


@dataclass(frozen=True, eq=False)
class Seen:
    """What the face networks find in a clip: landmarks (T, 68, 2) px and eye openings (T,), NaN without a face."""

    marks: np.ndarray
    eyes: np.ndarray


def seen(frames: np.ndarray, finder: FaceFinder) -> Seen:
    """A clip's frames (T, H, W, 3) read one after the other."""
    reader, nothing = FaceReader(finder), np.full((68, 2), np.nan)
    readings = [reader.read(frame) for frame in frames]
    return Seen(np.stack([nothing if r.landmarks is None else r.landmarks for r in readings]), eye_openings(readings))


def face_of(picture: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Features of the face in a picture with landmarks (68, 2)."""
    return features.face_features(features.face_crop(picture, faces.face_boxes(marks[None])[0]))


def figures(case: Case, made: np.ndarray, whole: np.ndarray, true: Seen, found: Seen, fps: float) -> dict[str, float]:
    """Figures of one clip that need no other clip.

    made, whole: from ``speak``. true, found: what the face networks find in the clip and in ``whole``.
    """
    r, lag = faces.mouth_agreement(faces.mouth_opening(found.marks), faces.mouth_opening(true.marks), fps)
    first = case.animation.portrait.frame
    unit = made.shape[1] / 128
    area = tuple(slice(round(s.start * unit), round(s.stop * unit)) for s in FACE)
    side = round(CORNER * unit)
    corners = [np.concatenate([p[..., :side, :side, :], p[..., :side, -side:, :]], -2) / 255.0 for p in (made, first)]
    heads = (crop(picture, case.placement, made.shape[1]) for picture in whole)
    rest, *sharp = (
        float(np.mean([laplacian_variance(luminance(frame)[area]) for frame in shown]))
        for shown in ([first], heads, made)
    )
    return {
        "r": r,
        "lag": lag,
        "lmd": faces.landmark_distance(found.marks, true.marks, min(case.frames.shape[1:3])),
        "sharp": sharp[0] / rest,
        "sharp_model": sharp[1] / rest,
        "background": float(np.square(corners[0] - corners[1]).mean()),
        "blinks": faces.blink_figures(found.eyes, fps)[0],
        "true_blinks": faces.blink_figures(true.eyes, fps)[0],
        "found": float(np.isfinite(found.marks[:, 0, 0]).mean()),
    }


def cross_figures(
    rows: list[dict[str, Any]],
    true: list[np.ndarray],
    found: list[np.ndarray],
    firsts: list[np.ndarray],
    made: list[list[np.ndarray]],
) -> None:
    """Add to each row the figures that compare it with the other clips.

    true, found: landmarks (T, 68, 2). firsts: face features of the first frames. made: those of generated frames.
    """
    opening = [faces.mouth_opening(t) for t in true]
    for i, row in enumerate(rows):
        mine = faces.mouth_opening(found[i])
        pairs = ((other, min(len(mine), len(other))) for j, other in enumerate(opening) if j != i)
        others = [faces.correlation(mine[:n], other[:n]) for other, n in pairs]
        row["shuffled"] = float(np.nanmean(others)) if others else float("nan")
        alike = [mean([features.cosine(face, first) for face in made[i]]) for first in firsts]
        row["face_similarity"] = alike.pop(i)
        row["nearest_other"] = max(alike, default=float("nan"))


def mean(values: list[float]) -> float:
    """Mean, NaN of no values."""
    return float(np.mean(values)) if values else float("nan")


def measure(cases: list[Case], out: Path, finder: FaceFinder, seed: int, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Make and measure every clip, the first with ``seed``, the others with the next seeds; a row of figures each."""
    rows, true, found, firsts, faces_made, sheet = [], [], [], [], [], []
    for number, case in enumerate(tqdm(cases, unit="clip")):
        fps = case.animation.model.config.fps
        made, whole = speak(case, seed + number, asked)
        real, copy = seen(case.frames, finder), seen(whole, finder)
        true.append(real.marks)
        found.append(copy.marks)
        rows.append({"clip": case.name, **figures(case, made, whole, real, copy, fps)})
        firsts.append(face_of(case.frames[0], true[-1][0]))
        faces_made.append([face_of(p, m) for p, m in zip(whole[::5], found[-1][::5]) if np.isfinite(m).all()])
        write_video(out / f"{case.name}.mp4", iter(whole), fps, case.animation.audio)
        sheet += [_strip(case.frames, case.placement), _strip(whole, case.placement)]
    cross_figures(rows, true, found, firsts, faces_made)
    save_picture(out / "contact.jpg", np.concatenate(sheet))
    return rows


def _strip(frames: np.ndarray, placement: Placement) -> np.ndarray:
    shown = np.linspace(0, len(frames) - 1, SHOWN).round().astype(int)
    return np.concatenate([crop(frames[i], placement, 192) for i in shown], 1)


def table(rows: list[dict[str, Any]]) -> str:
    """A line per clip, and the mean."""
    names = [name for name in rows[0] if name != "clip"]
    means = {"clip": "mean", **{name: float(np.nanmean([row[name] for row in rows])) for name in names}}
    lines = [f"{'clip':32s}" + "".join(f"{name:>16s}" for name in names)]
    lines += [f"{row['clip']:32s}" + "".join(f"{row[name]:16.4f}" for name in names) for row in [*rows, means]]
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("clips", type=Path)
    add("--model", default="human")
    add("--seconds", type=float, default=5.0, help="at most this much of each clip")
    add("--steps", type=int)
    add("--motion-anchor", type=float, help="the first frame's share in the motion frames (default: the model's own)")
    add("--seed", type=int, default=0, help="of the first clip; the others have the next seeds, and other head motions")
    add("--out", type=Path, default=ROOT / "output" / "reenactment")
    asked = parser.parse_args()
    model, finder, cases = load_model(asked.model), FaceFinder(), []
    for path in sorted(p for p in asked.clips.iterdir() if p.suffix.lower() in SUFFIXES):
        try:
            cases.append(read_case(path, model, asked.seconds, finder))
        except DiffusedHeadsError as error:
            print(f"left out: {error}")
    if not cases:
        parser.error(f"{asked.clips}: no clip with a face and speech")
    asked.out.mkdir(parents=True, exist_ok=True)
    options = {name: getattr(asked, name) for name in ("steps", "motion_anchor") if getattr(asked, name) is not None}
    rows = measure(cases, asked.out, finder, asked.seed, options)
    results = {"model": str(asked.model), "options": options, "clips": rows}
    (asked.out / "results.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
