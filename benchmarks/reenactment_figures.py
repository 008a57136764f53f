"""The figures of generated clips of real people against the true ones; the landmarks and pictures are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import two_sample
from reenactment_clips import Seen

from diffused_heads.diffused_heads_core.evaluation.metrics import faces, features, lips
from diffused_heads.diffused_heads_core.evaluation.metrics.mouths import (
    LowerFaces,
    colour_difference,
    flicker,
    lip_colour,
    lip_sharpness,
    lower_faces,
    mouth_colour,
)
from diffused_heads.diffused_heads_core.evaluation.metrics.pictures import laplacian_variance, luminance
from diffused_heads.diffused_heads_core.face.alignment import Placement, crop

OPEN = 0.08  # eye distances of mouth opening from which the colour between the lips is compared
FACE = (slice(24, 112), slice(28, 100))  # of a square of 128 px around the head: rows and columns of the face
MOUTH = (slice(32, 96), slice(16, 112))  # of a crop of the lower face: what the two-sample test sees
SIMILARITY_STEP = 5  # every which frame is compared with the portrait
NAN = float("nan")


@dataclass(frozen=True, eq=False)
class Pair:
    """A true clip and the generated one: what was found in them, and crops of their lower faces.

    first, made: face features of the portrait and of generated frames.
    """

    person: str
    name: str
    fps: Fraction
    true: Seen
    found: Seen
    true_faces: LowerFaces
    made_faces: LowerFaces
    first: np.ndarray
    made: list[np.ndarray]
    row: dict[str, float] = field(default_factory=dict)


def pair_of(
    person: str, name: str, fps: Fraction, frames: np.ndarray, made: np.ndarray, true: Seen, found: Seen
) -> Pair:
    """Gather what the figures need of true and generated frames (T, H, W, 3)."""
    similar = [
        face_of(made[n], found.marks[n])
        for n in range(0, len(made), SIMILARITY_STEP)
        if np.isfinite(found.marks[n]).all()
    ]
    crops = lower_faces(frames, true.marks), lower_faces(made, found.marks)
    return Pair(person, name, fps, true, found, *crops, face_of(frames[0], true.marks[0]), similar)


def face_of(picture: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Features of the face in a picture with landmarks (68, 2), of the face's usual place if they are NaN."""
    return features.face_features(features.face_crop(picture, faces.face_boxes(marks[None])[0]))


def movement(true: Seen, found: Seen, size: int, fps: Fraction) -> dict[str, float]:
    """Figures of movement, the opening's best lag taken out of all tracks. size: the pictures' shorter side, px."""
    opening, truth = faces.mouth_opening(found.marks), faces.mouth_opening(true.marks)
    lag = lips.best_lag(opening, truth)

    def r(track: np.ndarray, reference: np.ndarray) -> float:
        return faces.correlation(lips.without_lag(track, lag), reference)

    return {
        "r": r(opening, truth),
        "lag": lag,
        "r at lag 0": faces.correlation(opening, truth),
        "width r": r(lips.mouth_width(found.points), lips.mouth_width(true.points)),
        "jaw r": r(lips.jaw_drop(found.points), lips.jaw_drop(true.points)),
        "gain": lips.gain(opening, truth),
        "lmd": faces.landmark_distance(found.marks, true.marks, size),
        "blinks": faces.blink_figures(found.eyes, float(fps))[0],
        "true blinks": faces.blink_figures(true.eyes, float(fps))[0],
        "found": float(np.isfinite(found.marks[:, 0, 0]).mean()),
    }


def closing(true: Seen, found: Seen, spoken: Sequence[lips.Span] | None) -> dict[str, float]:
    """Shares of closures that close. spoken: frames of /p b m/, None if they are not known."""
    opening, truth = faces.mouth_opening(found.marks), faces.mouth_opening(true.marks)
    moved, level = lips.without_lag(opening, lips.best_lag(opening, truth)), lips.levels(truth)[0]
    result = {"closed": lips.share_closed(moved, lips.closures(truth), level)}
    if spoken is not None:
        result["pbm"] = lips.share_closed(moved, spoken, level)
        result["true pbm"] = lips.share_closed(truth, spoken, level)
    return result


def looks(pair: Pair) -> dict[str, float]:
    """Figures of the mouth's picture against the true one's."""
    true, made = pair.true_faces, pair.made_faces
    openings = (faces.mouth_opening(seen.marks) for seen in (pair.true, pair.found))
    both = [n for n, least in enumerate(np.minimum(*openings)) if least >= OPEN]
    return {
        "mouth sharp": lip_sharpness(made) / lip_sharpness(true),
        "flicker": flicker(made) / flicker(true),
        "lip dE": colour_difference(lip_colour(made), lip_colour(true)),
        "inside dE": colour_difference(mouth_colour(made, both), mouth_colour(true, both)),
    }


def face_sharpness(frames: Sequence[np.ndarray], placement: Placement) -> float:
    """Mean variance of the face's Laplacian in whole pictures, over that of the first one, the portrait."""
    found = [laplacian_variance(luminance(crop(frame, placement, 128))[FACE]) for frame in frames]
    return float(np.mean(found)) / found[0] if found[0] > 0 else NAN


def compare_clips(pairs: Sequence[Pair]) -> None:
    """Add to each row what compares the clip with the other clips."""
    true = [faces.mouth_opening(pair.true.marks) for pair in pairs]
    for pair in pairs:
        moved = lips.without_lag(faces.mouth_opening(pair.found.marks), int(pair.row["lag"]))
        mine = faces.mouth_opening(pair.true.marks)
        cut = [(min(len(moved), len(other)), other) for other, whose in zip(true, pairs) if whose is not pair]
        pair.row["shuffled"] = _mean([faces.correlation(moved[:n], other[:n]) for n, other in cut])
        pair.row["true shuffled"] = _mean([faces.correlation(mine[:n], other[:n]) for n, other in cut])
        pair.row["identity"] = similarity(pair.made, pair.first)
        others = [similarity(pair.made, other.first) for other in pairs if other.person != pair.person]
        pair.row["other identity"] = max(others, default=NAN)


def similarity(made: Sequence[np.ndarray], first: np.ndarray) -> float:
    """Mean cosine of face features of generated frames with those of a portrait."""
    return _mean([features.cosine(face, first) for face in made])


def tell_apart(pairs: Sequence[Pair], seed: int = 0) -> None:
    """Add to each row the two-sample accuracy on that person's mouths."""
    true, made = ({pair.person: [] for pair in pairs} for _ in range(2))
    for pair in pairs:
        true[pair.person].append(mouths_of(pair.true_faces))
        made[pair.person].append(mouths_of(pair.made_faces))
    joined = ({person: np.concatenate(parts) for person, parts in each.items()} for each in (true, made))
    found = two_sample.accuracies(*joined, seed=seed)
    for pair in pairs:
        pair.row["two-sample"] = found.get(pair.person, NAN)


def mouths_of(lower: LowerFaces) -> np.ndarray:
    """Pictures (n, 32, 48, 3) of the mouth in the frames with a face.

    They have half the crops' size: at full size the two-sample test also tells a picture from its copy moved by half a
    pixel, which nobody sees (accuracy 0.83 on four people of the GRID corpus; at half size 0.51).
    """
    shown = lower.crops[lower.known()][:, MOUTH[0], MOUTH[1]].astype(np.float32)
    n, height, width, channels = shown.shape
    return shown.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4)).round().astype(np.uint8)


def _mean(values: Sequence[float]) -> float:
    """Mean of the known values, NaN of none."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else NAN
