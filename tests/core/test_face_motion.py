"""The motion of a head that is measured in a video, against motions that are known."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import diffused_heads
from diffused_heads.diffused_heads_core.assets import PORTRAITS, RECORDINGS, bundled_file
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face import networks
from diffused_heads.diffused_heads_core.face.alignment import align
from diffused_heads.diffused_heads_core.face.expressions import LEFT_IRIS, POINTS, READ, RIGHT_IRIS
from diffused_heads.diffused_heads_core.face.mesh import (
    LEFT_BROW,
    LEFT_EYE_LOWER,
    LEFT_EYE_UPPER,
    RIGHT_BROW,
    RIGHT_EYE_LOWER,
    RIGHT_EYE_UPPER,
    stable_landmarks,
)
from diffused_heads.diffused_heads_core.face.motion import GAZE, MeasuredMotion, angles, measure_motion, measure_video
from diffused_heads.diffused_heads_core.motion import MotionClip
from diffused_heads.diffused_heads_core.motion.track import COLUMNS
from diffused_heads.diffused_heads_core.mouth.face_mesh import face_mesh
from diffused_heads.diffused_heads_core.pose import HeadGeometry, rotation_matrix

MODELS = Path(os.environ.get(networks.ENVIRONMENT) or networks.cache_folder())
SIZE, FRAMES = 200, 60
GEOMETRY = HeadGeometry()


def number(name: str) -> int:
    return COLUMNS.index(name)


def known_motion() -> np.ndarray:
    """Every column moves; lids blink at two moments."""
    time = np.arange(FRAMES) / 25
    values = np.zeros((FRAMES, len(COLUMNS)))
    for name, (height, rate) in {
        "yaw": (0.3, 0.5), "pitch": (0.2, 0.8), "roll": (0.2, 0.6), "tx": (0.05, 0.9), "ty": (0.04, 0.7),
        "size": (0.1, 0.5), "gaze_x": (0.5, 0.5), "gaze_y": (0.4, 0.6), "brow_left": (0.4, 0.5),
        "brow_right": (0.3, 0.9), "smile": (0.3, 0.4), "furrow": (0.3, 0.5),
    }.items():  # fmt: skip
        values[:, number(name)] = height * np.sin(2 * np.pi * rate * time)
    for start in (10, 40):
        values[start : start + 4, number("blink_left")] = (0.4, 1, 1, 0.4)
        values[start : start + 4, number("blink_right")] = (0.4, 1, 1, 0.4)
    return values


def moved_face(row: np.ndarray) -> np.ndarray:
    """Landmarks (478, 3) in a picture of SIZE px of the mean face that has moved as a row (16,) says."""
    face = np.zeros((POINTS, 3))
    face[:468] = face_mesh().mean
    for iris, upper in ((LEFT_IRIS, LEFT_EYE_UPPER), (RIGHT_IRIS, RIGHT_EYE_UPPER)):
        corners = face[upper[[0, -1]]]
        width = np.linalg.norm((corners[1] - corners[0])[:2])
        face[iris] = corners.mean(0) + width * np.array([GAZE[0] * row[8], GAZE[1] * row[9], 0])
    for upper, lower, shut in ((LEFT_EYE_UPPER, LEFT_EYE_LOWER, row[6]), (RIGHT_EYE_UPPER, RIGHT_EYE_LOWER, row[7])):
        face[upper[1:-1]] += shut * (face[lower[1:-1]] - face[upper[1:-1]])
    face[LEFT_BROW, 1] -= 0.1 * row[10]
    face[RIGHT_BROW, 1] -= 0.1 * row[11]
    rest = 50 * face + (SIZE / 2, SIZE / 2, 0)
    square = align(stable_landmarks(50 * face_mesh().mean + (SIZE / 2, SIZE / 2, 0)), GEOMETRY)
    eye = (np.array(GEOMETRY.left_eye) - GEOMETRY.centre) / GEOMETRY.radii
    behind = square.side * (
        GEOMETRY.depth * np.sqrt(1 - eye @ eye) - GEOMETRY.pivot[2]
    )  # the eyes are on the ellipsoid
    place = square.to_picture(np.add(GEOMETRY.centre, GEOMETRY.pivot[:2]))
    pivot = np.array([*place, rest[[33, 133, 362, 263], 2].mean() + behind])
    turned = (1 + row[5]) * ((rest - pivot) * (1, 1, -1)) @ rotation_matrix(*row[:3]).T * (1, 1, -1) + pivot
    return turned + (square.side * row[3], square.side * row[4], 0)


class Networks:
    """Stand-ins for the finder and the networks: a picture's first pixel is the number of its row."""

    def __init__(self, values: np.ndarray, hidden: tuple[int, ...] = ()):
        self.values, self.hidden = values, hidden

    def pictures(self) -> Iterator[np.ndarray]:
        for row in range(len(self.values)):
            yield np.full((SIZE, SIZE, 3), row, np.uint8)

    def find(self, picture: object, where: object = None) -> object:
        levels = getattr(picture, "_levels", None)
        row = int(picture[0, 0, 0] if levels is None else levels[0][0, 0, 0])  # type: ignore[index]
        marks = moved_face(self.values[row])
        if levels is not None:  # as the networks
            self.row = row
            return marks, -20.0 if row in self.hidden else 20.0
        return [] if row in self.hidden else [SimpleNamespace(landmarks=marks[:468], centre=(100.0, 100.0))]

    def expressions(self, landmarks: np.ndarray) -> np.ndarray:
        found = np.full(52, 0.4)
        row = self.values[self.row]
        found[[44, 45]] += row[number("smile")]
        found[[1, 2]] += row[number("furrow")]
        return found


def measured(stub: Networks, **how: object) -> MeasuredMotion:
    return measure_motion(stub.pictures(), 25, finder=stub, networks=stub, **how)  # type: ignore[arg-type]


def test_angles_are_those_of_a_rotation() -> None:
    wanted = np.random.default_rng(0).uniform(-0.7, 0.7, (50, 3))
    np.testing.assert_allclose(angles(rotation_matrix(*wanted.T)), wanted, atol=1e-9)


def test_every_column_of_a_known_motion_is_found() -> None:
    values = known_motion()
    found = measured(Networks(values), smoothing=0.0)
    track = found.clip.track.values
    assert found.clip.fps == 25 and not found.missing and not found.cuts
    np.testing.assert_allclose(track[:, :6], values[:, :6], atol=2e-3)
    for name in ("gaze_x", "gaze_y", "brow_left", "brow_right", "smile", "furrow"):
        wanted, got = values[:, number(name)], track[:, number(name)]
        assert np.corrcoef(wanted, got)[0, 1] > 0.98, name
        assert np.ptp(got) == pytest.approx(np.ptp(wanted), rel=0.1), name
    for name in ("blink_left", "blink_right"):
        assert np.array_equal(track[:, number(name)] > 0.5, values[:, number(name)] > 0.5)
    assert not track[:, number("frown")].any()


def test_the_usual_position_can_be_0() -> None:
    values = known_motion()
    values[:, :5] += (0.1, 0.05, 0.05, 0.03, 0.02)
    first, usual = measured(Networks(values)), measured(Networks(values), zero="usual")
    assert np.abs(first.clip.track.pose[0]).max() < 0.03
    np.testing.assert_allclose(np.median(usual.clip.track.pose, 0), 0, atol=0.01)


def test_frames_without_a_face_are_filled_in_and_counted() -> None:
    values = known_motion()
    hidden = (0, 20, 21, 22, 59)
    found = measured(Networks(values, hidden), smoothing=0.0)
    assert found.missing >= len(hidden) and "without a face" in found.summary() and len(found.clip) == FRAMES
    yaw = found.clip.track.values[:, 0]
    assert np.abs(np.diff(yaw, 2)).max() < 0.05 and np.isfinite(found.clip.track.values).all()


def test_memory_does_not_hold_pictures_and_cuts_begin_anew() -> None:
    values = np.zeros((40, len(COLUMNS)))
    values[20:, 0] = 0.4

    class Cut(Networks):
        def pictures(self) -> Iterator[np.ndarray]:
            for row, picture in enumerate(super().pictures()):
                picture[1:] = 20 if row < 20 else 220
                yield picture

    found = measured(Cut(values))
    assert found.cuts == [20] and "1 cut at 0.80 s" in found.summary()
    assert np.abs(found.clip.track.pose).max() < 1e-3


def test_a_video_without_a_face_is_refused() -> None:
    with pytest.raises(DiffusedHeadsError, match="expected a face in some frame, found none in 60 frames"):
        measured(Networks(known_motion(), tuple(range(FRAMES))))
    with pytest.raises(DiffusedHeadsError, match="first, usual"):
        measured(Networks(known_motion()), zero="last")


def test_the_expressions_are_read_from_146_landmarks_in_order() -> None:
    assert len(READ) == 146 and (np.diff(READ) > 0).all() and READ[-1] == POINTS - 1


@pytest.mark.skipif(not (MODELS / networks.IRISES.name).is_file(), reason=f"no networks in {MODELS}")
def test_the_motion_of_a_video_that_was_made_with_a_known_one(tmp_path: Path) -> None:
    frames = 40
    time = np.arange(frames) / 20
    values = np.zeros((frames, len(COLUMNS)))
    values[:, 0] = 0.2 * np.sin(2 * np.pi * time * 0.8)
    values[:, 1] = 0.12 * np.sin(2 * np.pi * time * 1.1)
    values[:, 2] = 0.12 * np.sin(2 * np.pi * time * 0.6)
    portrait, speech = bundled_file(PORTRAITS), bundled_file(RECORDINGS)
    clip = MotionClip.of_values(values, Fraction(20))
    made = diffused_heads.animate(portrait, speech, duration=2, fps=20, track=clip, max_side=384, engine="pytorch")
    made.write(tmp_path / "a.mp4")
    found = measure_video(tmp_path / "a.mp4").clip
    assert found.fps == 20 and len(found) == frames
    for column in range(3):
        assert np.corrcoef(values[:, column], found.track.values[:, column])[0, 1] >= 0.9, COLUMNS[column]
    assert np.abs(found.track.face[:, 2:4]).max() < 0.5
