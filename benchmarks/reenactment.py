"""A model on real people: each clip's first frame speaks the clip's own sound, and is measured against the clip.

    python benchmarks/reenactment.py FOLDER_OF_CLIPS
    python benchmarks/reenactment.py FOLDER_OF_CLIPS --model runs/mine/model.safetensors --seconds 3 --out output/mine

Needs clips with one talking face and sound, and the face networks (downloaded on first use). Heads are aligned and
pasted back as in ``diffused-heads generate``; landmarks are read from whole pictures, the clip's and the made one's, by
the same network. Writes results.json, contact sheets (clip above, made below) and one video a clip.

r, lag: mouth opening against the clip; shuffled: against the other clips; lmd: mouth landmarks, px of 128; identity:
cosine to the first frame, and to the nearest first frame of another clip; sharp: Laplacian variance of the face,
brought to the model's size, in the made picture over that in the first frame; sharp_model: of the model's own frame;
background: MSE of the frame's upper corners to the first frame's, 0..1; blinks a second; found: share of frames in
which a face is seen.
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

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.evaluation.metrics import faces, features
from diffused_heads.diffused_heads_core.evaluation.metrics.motion import luminance
from diffused_heads.diffused_heads_core.evaluation.metrics.pictures import laplacian_variance
from diffused_heads.diffused_heads_core.evaluation.readers import FaceReader, eye_openings
from diffused_heads.diffused_heads_core.face.alignment import Placement, crop
from diffused_heads.diffused_heads_core.face.compositing import paste_back
from diffused_heads.diffused_heads_core.face.finder import FaceFinder, to_68
from diffused_heads.diffused_heads_core.face.placing import Placing, place
from diffused_heads.diffused_heads_core.media.audio import Audio, check_speech
from diffused_heads.diffused_heads_core.media.pictures import save_picture
from diffused_heads.diffused_heads_core.media.video import read_video, write_video
from diffused_heads.diffused_heads_core.talking_head import TalkingHead, load_model

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = {".mp4", ".mpg", ".mov", ".mkv", ".webm", ".avi"}
FACE = (slice(24, 112), slice(28, 100))  # of a frame of 128 px: rows and columns of the face
CORNER = 12  # of 128 px
SHOWN = 8  # frames of a clip in the contact sheet


@dataclass(frozen=True, eq=False)
class Case:
    """A clip's frames (T, H, W, 3) at the model's rate, its sound, and where its first frame's head is."""

    name: str
    frames: np.ndarray
    audio: Audio
    placement: Placement


def at_rate(frames: Iterable[np.ndarray], fps: float, wanted: float, count: int) -> np.ndarray:
    """``count`` frames at ``wanted`` frames/s: the nearest of those given at ``fps``."""
    given = list(islice(frames, int(count * fps / wanted) + 2))
    picked = [
        min(round(n * fps / wanted), len(given) - 1) for n in range(count) if round(n * fps / wanted) < len(given)
    ]
    return np.stack([given[i] for i in picked])


def read_case(path: Path, model: TalkingHead, seconds: float, finder: FaceFinder) -> Case:
    """Raises DiffusedHeadsError for a clip without sound, speech or a face in its first frame."""
    video, fps = read_video(path), model.config.fps
    if video.audio is None:
        raise DiffusedHeadsError(f"{path.name}: no sound")
    audio = replace(video.audio, samples=video.audio.samples[:, : round(seconds * video.audio.sample_rate)])
    check_speech(audio)
    frames = at_rate(video.frames, float(video.fps), fps, int(min(seconds, audio.duration) * fps))
    placement = place(
        frames[0], Placing("largest"), model.config.unet.image_size, model.config.geometry, lambda: finder, path.name
    )
    return Case(path.stem, frames, audio, placement)


def speak(model: TalkingHead, case: Case, seed: int, asked: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, S, S, 3) of the model, and the whole pictures (T, H, W, 3)."""
    options = model.options(seed=seed, **asked)
    speech = model.encode_audio(case.audio)[: len(case.frames)]
    identity = crop(case.frames[0], case.placement, model.config.unet.image_size)
    made = np.stack(list(model.generate(identity, speech, options)))
    return made, np.stack(
        list(paste_back(made, case.frames[0], case.placement, geometry=model.config.geometry, fps=model.config.fps))
    )


@dataclass(frozen=True, eq=False)
class Seen:
    """What the face networks see in a clip: landmarks (T, 68, 2) px and eye openings (T,), NaN where no face is seen."""

    marks: np.ndarray
    eyes: np.ndarray


def seen(frames: np.ndarray, finder: FaceFinder) -> Seen:
    """A clip's frames (T, H, W, 3) read one after the other."""
    reader, nothing = FaceReader(finder, to_68), np.full((68, 2), np.nan)
    readings = [reader.read(frame) for frame in frames]
    return Seen(np.stack([nothing if r.landmarks is None else r.landmarks for r in readings]), eye_openings(readings))


def face_of(picture: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Feature vector of the face in a picture with landmarks (68, 2)."""
    return features.person(features.face_of(picture, faces.face_boxes(marks[None])[0]))


def figures(case: Case, made: np.ndarray, whole: np.ndarray, true: Seen, found: Seen, fps: float) -> dict[str, float]:
    """Figures of one clip that need no other clip; made, whole: of ``speak``; true, found: what is seen in the clip and
    in ``whole``.
    """
    r, lag = faces.mouth_agreement(faces.mouth_opening(found.marks), faces.mouth_opening(true.marks), fps)
    first = crop(case.frames[0], case.placement, made.shape[1])
    unit = made.shape[1] / 128
    area = tuple(slice(round(s.start * unit), round(s.stop * unit)) for s in FACE)
    side = round(CORNER * unit)
    corners = [np.concatenate([p[..., :side, :side, :], p[..., :side, -side:, :]], -2) / 255.0 for p in (made, first)]
    heads = (crop(picture, case.placement, made.shape[1]) for picture in whole)
    sharp, own = (
        np.mean([laplacian_variance(luminance(f)[area]) for f in shown]) / laplacian_variance(luminance(first)[area])
        for shown in (heads, made)
    )
    return {
        "r": r,
        "lag": lag,
        "lmd": faces.landmark_distance(found.marks, true.marks, min(case.frames.shape[1:3])),
        "sharp": float(sharp),
        "sharp_model": float(own),
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
    """Add to each row what compares it with the other clips."""
    opening = [faces.mouth_opening(t) for t in true]
    for i, row in enumerate(rows):
        mine = faces.mouth_opening(found[i])
        others = [
            faces.correlation(mine[:n], o[:n])
            for j, o in enumerate(opening)
            if j != i
            for n in [min(len(mine), len(o))]
        ]
        row["shuffled"] = float(np.nanmean(others)) if others else float("nan")
        own = [features.similarity(face, firsts[i]) for face in made[i]]
        row["identity"] = float(np.mean(own)) if own else float("nan")
        row["nearest_other"] = max(
            (
                float(np.mean([features.similarity(face, f) for face in made[i]]))
                for j, f in enumerate(firsts)
                if j != i and made[i]
            ),
            default=float("nan"),
        )


def measure(
    model: TalkingHead, cases: list[Case], out: Path, finder: FaceFinder, seed: int, asked: dict[str, Any]
) -> list[dict[str, Any]]:
    """Make and measure every clip, the first from ``seed``, the next from the next; one row of figures each."""
    rows, true, found, firsts, faces_made, sheet = [], [], [], [], [], []
    for number, case in enumerate(tqdm(cases, unit="clip")):
        made, whole = speak(model, case, seed + number, asked)
        real, copy = seen(case.frames, finder), seen(whole, finder)
        true.append(real.marks)
        found.append(copy.marks)
        rows.append({"clip": case.name, **figures(case, made, whole, real, copy, model.config.fps)})
        firsts.append(face_of(case.frames[0], true[-1][0]))
        faces_made.append([face_of(p, m) for p, m in zip(whole[::5], found[-1][::5]) if np.isfinite(m).all()])
        write_video(out / f"{case.name}.mp4", iter(whole), model.config.fps, case.audio)
        sheet += [_strip(case.frames, case.placement), _strip(whole, case.placement)]
    cross_figures(rows, true, found, firsts, faces_made)
    save_picture(out / "contact.jpg", np.concatenate(sheet))
    return rows


def _strip(frames: np.ndarray, placement: Placement) -> np.ndarray:
    return np.concatenate(
        [crop(frames[i], placement, 192) for i in np.linspace(0, len(frames) - 1, SHOWN).round().astype(int)], 1
    )


def table(rows: list[dict[str, Any]]) -> str:
    """A line a clip and the mean."""
    names = [name for name in rows[0] if name != "clip"]
    mean = {"clip": "mean", **{name: float(np.nanmean([row[name] for row in rows])) for name in names}}
    lines = [f"{'clip':32s}" + "".join(f"{name:>14s}" for name in names)]
    return "\n".join(
        lines + [f"{row['clip']:32s}" + "".join(f"{row[name]:14.4f}" for name in names) for row in [*rows, mean]]
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--model", default="human")
    parser.add_argument("--seconds", type=float, default=5.0, help="at most this much of each clip")
    parser.add_argument("--steps", type=int)
    parser.add_argument(
        "--motion-anchor", type=float, help="the first frame's share in the motion frames (default: the model's own)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the first clip; each has the next, and so a head motion of its own"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "output" / "reenactment")
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
    rows = measure(model, cases, asked.out, finder, asked.seed, options)
    (asked.out / "results.json").write_text(
        json.dumps({"model": str(asked.model), "options": options, "clips": rows}, indent=2), encoding="utf-8"
    )
    print(table(rows))


if __name__ == "__main__":
    main()
