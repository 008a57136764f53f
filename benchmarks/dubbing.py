"""Dubbing of real people: clips say other people's recordings, and are measured against those people's clips.

    python benchmarks/dubbing.py FOLDER --clips 10 --seconds 3         # a sub-folder of clips per person
    python benchmarks/dubbing.py FOLDER --portrait                     # also the first frame alone, as a portrait

Clip n says the sound of the clip n + 1, of another person. Needs clips with one talking face and sound, and the face
networks. Prints for each clip:

    outside      largest change of a level (0-255) outside the lower face's box, before encoding
    r, width r   correlation of the mouth's opening and width with those of the clip whose sound it says
    portrait r   the same of portrait mode: the clip's first frame says that sound (with --portrait)
    own r        correlation of the opening with the clip's own before dubbing: what is left of the old mouth
    gain         deviation of the opening over the true clip's
    sharp        sharpness of the mouth, over that of the clip before dubbing
    face sharp   the same of the whole face
    identity     face similarity with the clip before dubbing (cosine)
    pose         mean movement of points of the upper face by dubbing, % of the distance between the eyes

Writes to --out: results.json, the dubbed videos, and a sheet of mouths at 3x per clip: as it was, and dubbed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import mouth_sheets
import numpy as np
import sections
from reenactment_clips import Clip, Seen, find_clips, read_clip, see, speak
from reenactment_figures import face_of
from tqdm import tqdm

from diffused_heads import dub, load_model
from diffused_heads.diffused_heads_core.dubbing.dubbing import Dubbing
from diffused_heads.diffused_heads_core.dubbing.source import Pictures
from diffused_heads.diffused_heads_core.dubbing.timeline import Extent
from diffused_heads.diffused_heads_core.evaluation.metrics import faces, features, lips
from diffused_heads.diffused_heads_core.evaluation.metrics.mouths import lip_sharpness, lower_faces
from diffused_heads.diffused_heads_core.evaluation.metrics.pictures import laplacian_variance, luminance
from diffused_heads.diffused_heads_core.face.alignment import align
from diffused_heads.diffused_heads_core.face.finder import FaceFinder
from diffused_heads.diffused_heads_core.face.mesh import stable_landmarks
from diffused_heads.diffused_heads_core.files import atomic_path
from diffused_heads.diffused_heads_core.media.pictures import save_picture
from diffused_heads.diffused_heads_core.media.video import write_video
from diffused_heads.diffused_heads_core.mouth.scene import LOWER_FACE
from diffused_heads.diffused_heads_core.talking_head import TalkingHead

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = """## Dubbing

`python benchmarks/dubbing.py FOLDER --portrait`: {count} clips of real people, of {seconds:g} s, each of which says the
sound of another person's clip. *outside* is the largest change outside the lower face, in levels of 255 before
encoding; *r* the correlation of the mouth's opening with that of the person whose sound it says, *portrait r* the same
if the first frame alone is animated, *own r* that with the mouth before; *sharp* and *face sharp* compare mouth and
face with the clip before.

{table}
"""
UPPER = slice(17, 36)  # of 68 landmarks: brows and nose
FIGURES = ("outside", "r", "width r", "portrait r", "own r", "gain", "sharp", "face sharp", "identity", "pose")


def dubbed(clip: Clip, speech: Clip, model: TalkingHead) -> tuple[Dubbing, np.ndarray]:
    """The clip saying another one's sound, (T, H, W, 3), as long as the shorter of them."""
    source = Pictures(clip.frames.__getitem__, len(clip.frames), clip.fps, clip.name)
    dubbing = dub(source, speech.audio, model, extent=Extent("shorter"))
    return dubbing, np.stack(list(dubbing.frames()))


def outside(clip: Clip, dubbing: Dubbing, made: np.ndarray) -> float:
    """Largest change outside the lower face's box, with a margin of two pixels."""
    left, top, right, bottom = LOWER_FACE
    largest = 0.0
    for number, (before, after) in enumerate(zip(clip.frames, made)):
        face, kept = dubbing.movement[number], np.ones(before.shape[:2], np.uint8)
        if face is not None:
            place = align(stable_landmarks(face.mesh), dubbing.model.config.geometry)
            corners = place.to_picture(np.array([(left, top), (right, top), (right, bottom), (left, bottom)]))
            cv2.fillConvexPoly(kept, np.rint(corners).astype(np.int32), 0)
            kept = cv2.erode(kept, np.ones((5, 5), np.uint8))
        largest = max(largest, float((np.abs(before.astype(int) - after).max(-1) * kept).max()))
    return largest


def looks(clip: Clip, made: np.ndarray, before: Seen, after: Seen) -> dict[str, float]:
    """How the dubbed frames look against those of the clip before."""
    crops = [lower_faces(frames, seen.marks) for frames, seen in ((clip.frames[: len(made)], before), (made, after))]
    sharp = [np.mean([laplacian_variance(luminance(face)) for face in each.crops[each.known()]]) for each in crops]
    similar = [
        features.cosine(face_of(a, one), face_of(b, two))
        for a, b, one, two in zip(clip.frames[::5], made[::5], before.marks[::5], after.marks[::5])
        if np.isfinite(one).all() and np.isfinite(two).all()
    ]
    moved = np.linalg.norm(before.marks[:, UPPER] - after.marks[:, UPPER], axis=-1).mean(1)
    eyes = np.linalg.norm(before.marks[:, 36:42].mean(1) - before.marks[:, 42:48].mean(1), axis=-1)
    return {
        "sharp": lip_sharpness(crops[1]) / lip_sharpness(crops[0]),
        "face sharp": float(sharp[1] / sharp[0]),
        "identity": float(np.mean(similar)),
        "pose": float(np.nanmean(100 * moved / eyes)),
    }


def follows(found: Seen, spoken: Seen) -> dict[str, float]:
    """How the mouth follows that of the clip whose sound is said, without the best lag."""
    opening, truth = faces.mouth_opening(found.marks), faces.mouth_opening(spoken.marks)
    lag = lips.best_lag(opening, truth)
    widths = lips.mouth_width(found.points), lips.mouth_width(spoken.points)
    return {
        "r": faces.correlation(lips.without_lag(opening, lag), truth),
        "width r": faces.correlation(lips.without_lag(widths[0], lag), widths[1]),
        "gain": lips.gain(opening, truth),
    }


def _first(seen: Seen, count: int) -> Seen:
    return Seen(seen.points[:count], seen.eyes[:count])


def measure(clips: list[Clip], model: TalkingHead, portrait: bool, out: Path) -> list[dict[str, float | str]]:
    """A row of figures per clip; writes videos and sheets."""
    finder, rows = FaceFinder(), []
    seen = [see(clip.frames, finder) for clip in clips]
    for number, clip in enumerate(tqdm(clips, unit="clip")):
        other = (number + 1) % len(clips)
        dubbing, made = dubbed(clip, clips[other], model)
        count = min(len(made), len(clips[other].frames))
        found, before, spoken = see(made[:count], finder), _first(seen[number], count), _first(seen[other], count)
        row: dict[str, float | str] = {"clip": clip.name, "says": clips[other].name}
        row |= {"outside": outside(clip, dubbing, made), **follows(found, spoken)}
        row["own r"] = faces.correlation(faces.mouth_opening(found.marks), faces.mouth_opening(before.marks))
        row |= looks(clip, made[:count], before, found)
        if portrait:
            still = Clip(clip.path, clip.person, clip.frames[:1].repeat(count, 0), clip.fps, clips[other].audio)
            row["portrait r"] = follows(see(speak(still, model, number, {})[1], finder), spoken)["r"]
        rows.append(row)
        write_video(out / f"{clip.name}.mp4", iter(made), clip.fps, clips[other].audio)
        mouths = mouth_sheets.mouth_rows([(clip.frames[:count], before.marks), (made[:count], found.marks)])
        save_picture(out / f"mouths-{clip.name}.png", mouths)
    return rows


def table(rows: list[dict[str, float | str]]) -> str:
    """A Markdown table of the figures by clip, and their means."""
    shown = [name for name in FIGURES if name in rows[0]]
    means: dict[str, float | str] = {name: float(np.mean([float(row[name]) for row in rows])) for name in shown}
    lines = [[str(row["clip"]), *(f"{float(row[n]):.2f}" for n in shown)] for row in (*rows, {"clip": "mean", **means})]
    return sections.table(["clip", *shown], lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("folder", type=Path)
    add("--clips", type=int, default=10, metavar="N", help="one of each person, at most N")
    add("--seconds", type=float, default=3.0)
    add("--model", default="portrait")
    add("--portrait", action="store_true", help="also measure portrait mode")
    add("--out", type=Path, default=ROOT / "output" / "dubbing")
    add("--write", action="store_true", help="also write the part of RESULTS.md")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    found = find_clips(asked.folder, 1)[: asked.clips]
    clips = [read_clip(path, person, asked.seconds) for person, path in found]
    rows = measure(clips, load_model(asked.model), asked.portrait, asked.out)
    with atomic_path(asked.out / "results.json") as part:
        part.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    text = table(rows)
    print(text)
    if asked.write:
        sections.write("dubbing", DOCUMENT.format(count=len(rows), seconds=asked.seconds, table=text))


if __name__ == "__main__":
    main()
