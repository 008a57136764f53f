"""What is said about a portrait, with made-up landmarks, painted lips and real faces."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffused_heads.diffused_heads_core.assets import ASSETS, PORTRAITS
from diffused_heads.diffused_heads_core.config import ModelConfig
from diffused_heads.diffused_heads_core.face import mesh
from diffused_heads.diffused_heads_core.face.alignment import align, square_placement
from diffused_heads.diffused_heads_core.face.finder import Face, FaceFinder, Search, stable_points
from diffused_heads.diffused_heads_core.face.networks import DETECTOR, load_face_models
from diffused_heads.diffused_heads_core.face.portrait import place_portrait
from diffused_heads.diffused_heads_core.face.remarks import lip_contrast, remarks, yaw
from diffused_heads.diffused_heads_core.media.pictures import load_picture

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
MODELS, PICTURES = SHARED / "face_models", SHARED / "real_inputs" / "images"
SKIN, LIPS = (220, 180, 160), (170, 70, 80)


def made_up(degrees: float = 0.0) -> np.ndarray:
    """Landmarks (468, 3) of a face with its eyes 100 px apart around (200, 150), turned aside by degrees."""
    points = np.zeros((468, 3))
    points[:, :2] = (200, 190)
    points[[33, 133], :2], points[[362, 263], :2] = (150, 150), (250, 150)
    points[0, :2], points[mesh.NOSE_TIP, :2], points[152, :2] = (200, 90), (200, 200), (200, 290)
    turn = math.radians(degrees)
    points[mesh.LEFT_EAR] = (200 - 80 * math.cos(turn), 170, -80 * math.sin(turn))
    points[mesh.RIGHT_EAR] = (200 + 80 * math.cos(turn), 170, 80 * math.sin(turn))
    angles = np.linspace(math.pi, 3 * math.pi, len(mesh.OUTER_LIPS), endpoint=False)
    outline = np.stack([200 + 40 * np.cos(angles), 240 + 18 * np.sin(angles)], 1)
    points[mesh.OUTER_LIPS, :2] = outline
    points[mesh.INNER_LIPS, :2] = (200, 240)
    return points


def painted(lips: tuple[int, int, int]) -> np.ndarray:
    picture = np.full((400, 400, 3), SKIN, np.uint8)
    return cv2.fillPoly(picture, [np.int32(made_up()[mesh.OUTER_LIPS, :2])], lips)


def face(landmarks: np.ndarray | None, presence: float = 1.0, spread: float = 0.03) -> Face:
    points = np.array([(150, 150), (250, 150), (200, 200), (200, 240), (120, 170), (280, 170)], float)
    return Face((110, 90, 290, 290), 0.9, points, landmarks, presence, spread)


LARGE = square_placement(0, 0, 400)
SEEN = face(made_up())


def test_a_good_portrait_needs_no_remark() -> None:
    assert remarks(painted(LIPS), SEEN, LARGE, 128) == [] and remarks(painted(LIPS), None, LARGE, 128) == []


@pytest.mark.parametrize(
    ("lips", "found", "side", "word"),
    [
        (LIPS, SEEN, 100, "the head's square has 100 of the model's 128 pixels per side"),
        (LIPS, None, 60, "the head's square has 60 of the model's 128 pixels"),
        (LIPS, face(made_up(40)), 400, "turned aside by 40 degrees"),
        (LIPS, face(made_up(-35)), 400, "turned aside by 35 degrees"),
        (SKIN, SEEN, 400, "the lips cannot be told from what is around them"),
        (LIPS, face(made_up(), spread=0.2), 400, "the face's landmarks do not agree"),
        (LIPS, face(made_up(), spread=math.inf), 400, "the face's landmarks do not agree"),
        (LIPS, face(made_up(), presence=0.2), 400, "the face's landmarks cannot be trusted"),
        (LIPS, face(None), 400, "the face's landmarks cannot be trusted"),
        (LIPS, face(made_up() * 0.1), 400, "the eyes are 10 pixels apart"),
    ],
)
def test_each_reason_has_one_line(lips: tuple, found: Face | None, side: float, word: str) -> None:
    (line,) = remarks(painted(lips), found, square_placement(0, 0, side), 128)
    assert word in line and "\n" not in line


@pytest.mark.parametrize("degrees", [0, 15, -60])
def test_yaw_of_a_face_in_any_tilt(degrees: float) -> None:
    landmarks = made_up(degrees)
    assert yaw(landmarks) == pytest.approx(degrees)
    turn = math.radians(50)
    landmarks[:, :2] = landmarks[:, :2] @ np.array(
        [[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]]
    )
    assert yaw(landmarks) == pytest.approx(degrees)


def test_the_lips_colour_is_measured_in_lab() -> None:
    colours = np.array([[LIPS, SKIN]], np.uint8)
    lips, skin = cv2.cvtColor(colours, cv2.COLOR_RGB2LAB)[0].astype(float)
    assert lip_contrast(painted(LIPS), made_up()) == pytest.approx(np.linalg.norm(lips - skin), abs=1.5)


class OneFace:
    """Stands for face analysis: one face, turned aside."""

    def search(self, picture: np.ndarray) -> Search:
        return Search([face(made_up(40))], ("the whole picture",), 0.9)


def test_remarks_are_logged_with_the_pictures_name(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        place_portrait(painted(LIPS), ModelConfig(), finder=OneFace, name="ada.png")
    assert [record.getMessage().split(": ")[0] for record in caplog.records] == ["ada.png"]
    assert "turned aside by 40 degrees" in caplog.text


# With the networks


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    if not (MODELS / DETECTOR.name).is_file():
        pytest.skip(f"the face networks are not in {MODELS}")
    return FaceFinder(load_face_models(MODELS, download=False))


def seen(finder: FaceFinder, picture: np.ndarray) -> list[str]:
    found = finder.search(picture).faces[0]
    return remarks(picture, found, align(stable_points(found)), 128)


PORTRAIT_FILES = sorted(ASSETS.glob(PORTRAITS))


@pytest.mark.parametrize("path", PORTRAIT_FILES, ids=lambda path: path.stem)
def test_bundled_portraits_are_good_until_the_mouth_is_covered(finder: FaceFinder, path: Path) -> None:
    picture = load_picture(path)
    assert seen(finder, picture) == []
    landmarks = finder.find(picture)[0].landmarks
    middle = tuple(int(value) for value in landmarks[mesh.OUTER_LIPS, :2].mean(0))
    for colour in ((25, 25, 28), (150, 205, 225)):
        covered = cv2.circle(picture.copy(), middle, int(0.75 * mesh.eye_distance(landmarks)), colour, -1)
        assert any("lips" in line or "agree" in line for line in seen(finder, covered))


@pytest.mark.skipif(not PICTURES.is_dir(), reason=f"the real pictures are not in {PICTURES}")
@pytest.mark.parametrize(
    ("name", "word"),
    [("i203_art_0.png", ""), ("i230_people_0.png", ""), ("i092_s9.jpg", ""), ("i069_s10.jpg", "turned aside")],
)
def test_real_portraits(finder: FaceFinder, name: str, word: str) -> None:
    lines = seen(finder, load_picture(PICTURES / name))
    assert len(lines) == bool(word) and all(word in line for line in lines)


def test_a_small_face_is_told(finder: FaceFinder) -> None:
    picture = cv2.resize(load_picture(PORTRAIT_FILES[0]), (100, 100), interpolation=cv2.INTER_AREA)
    found = finder.search(picture).faces[0]
    assert "of the model's 128 pixels" in " ".join(remarks(picture, found, align(stable_points(found)), 128))
    assert replace(found, spread=0.0).presence > 0.99
