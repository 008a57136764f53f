"""Choosing, measuring and finding faces. What needs the networks is skipped where they are not at hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face import networks as face_models
from diffused_heads.diffused_heads_core.face.crops import Square
from diffused_heads.diffused_heads_core.face.detector import Candidate
from diffused_heads.diffused_heads_core.face.finder import Face, FaceFinder, choose_face, has_landmarks, stable_points
from diffused_heads.diffused_heads_core.face.fitting import Fit
from diffused_heads.diffused_heads_core.face.mesh import (
    eye_centres,
    eye_distance,
    eye_opening,
    lip_box,
    mouth_opening,
    stable_landmarks,
)
from diffused_heads.diffused_heads_core.face.search import Sighting, last_resorts, sides, tiles
from diffused_heads.diffused_heads_core.media.pictures import load_picture

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
MODELS = SHARED / "face_models"
PICTURES = SHARED / "real_inputs" / "images"
PORTRAITS = sorted((ROOT / "diffused_heads_core" / "assets").glob("portrait-*.png"))
real_pictures = pytest.mark.skipif(not PICTURES.is_dir(), reason=f"the real pictures are not in {PICTURES}")


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    if not (MODELS / face_models.DETECTOR.name).is_file():
        pytest.skip(f"the face networks are not in {MODELS}")
    return FaceFinder(face_models.load_face_models(MODELS, download=False))


# Choosing and measuring, without the networks


def box_face(x0: float, y0: float, side: float) -> Face:
    return Face((x0, y0, x0 + side, y0 + side), 0.9, np.zeros((6, 2)))


THREE = [box_face(100, 50, 30), box_face(10, 60, 20), box_face(300, 0, 25)]


def test_choose_by_rule_and_index() -> None:
    assert choose_face(THREE) is THREE[0]
    assert choose_face(THREE, "largest", 2) is THREE[1]
    assert [choose_face(THREE, "left to right", index) for index in range(3)] == [THREE[1], THREE[0], THREE[2]]
    assert choose_face(THREE, "nearest", point=(310, 10)) is THREE[2]
    assert choose_face(THREE, "nearest", 2, (310, 10)) is THREE[1]


@pytest.mark.parametrize(
    ("faces", "options", "message"),
    [
        ([], {}, "face index=0, expected 0 to 0, found no face in the picture"),
        (THREE[:1], {"index": 1}, "face index=1, expected 0 to 0, found one face"),
        (THREE, {"index": -1}, "face index=-1, expected 0 to 2, found 3 faces"),
        (THREE, {"rule": "best"}, "rule='best', expected one of largest, left to right, nearest"),
        (THREE, {"rule": "nearest"}, "rule='nearest', expected a point"),
    ],
)
def test_what_cannot_be_chosen_is_named(faces: list[Face], options: dict, message: str) -> None:
    with pytest.raises(DiffusedHeadsError) as caught:
        choose_face(faces, **options)
    assert message in str(caught.value)


KEYPOINTS = np.array([[100, 100], [200, 100], [150, 150], [150, 200], [60, 110], [240, 110]], float)


def landmarks_with_eyes(left: tuple[float, float], right: tuple[float, float]) -> np.ndarray:
    points = np.full((468, 3), 155.0)
    points[[33, 133], :2], points[[362, 263], :2] = left, right
    return points


def test_stable_points_without_landmarks_are_the_keypoints() -> None:
    assert (stable_points(Face((0, 0, 9, 9), 0.9, KEYPOINTS)) == KEYPOINTS[:3]).all()


def test_stable_points_follow_landmarks_that_agree() -> None:
    face = Face((0, 0, 9, 9), 0.9, KEYPOINTS, landmarks_with_eyes((104, 98), (196, 98)), 0.9)
    assert stable_points(face) == pytest.approx(np.array([[104, 98], [196, 98], [155, 155]]))


@pytest.mark.parametrize(("eyes", "presence"), [(((104, 98), (196, 98)), 0.2), (((20, 98), (80, 98)), 0.9)])
def test_stable_points_do_not_follow_poor_landmarks(eyes: tuple, presence: float) -> None:
    face = Face((0, 0, 9, 9), 0.9, KEYPOINTS, landmarks_with_eyes(*eyes), presence)
    assert stable_points(face)[:2] == pytest.approx(KEYPOINTS[:2])


@pytest.mark.parametrize(
    "picture",
    [
        None,
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.float32),
    ],
)
def test_other_pictures_are_named(picture: object) -> None:
    with pytest.raises(DiffusedHeadsError, match=r"picture: expected uint8 \(H, W, 3\), found"):
        FaceFinder.search(object.__new__(FaceFinder), picture)


def sighting(scores: list[float], presence: float, spread: float = 0.0, again: float = 0.0) -> Sighting:
    fit = Fit(np.zeros((468, 3)), presence, Square(0, 0, 1), spread)
    return Sighting(Candidate(np.zeros(4), np.zeros((6, 2)), max(scores)), dict(enumerate(scores)), fit, again)


def test_evidence() -> None:
    assert sighting([0.4], 25).is_face  # the landmark network is sure
    assert sighting([0.4], 12, again=0.6).is_face and not sighting([0.4], 12).is_face  # it is less sure
    assert sighting([0.8, 0.85, 0.9, 0.2], 1).is_face  # three looks agree
    assert not sighting([0.9], 1).is_face and not sighting([0.8, 0.85, 0.9], -9).is_face
    assert sighting([0.4], 6, again=0.8).is_face  # a second look is sure
    assert not sighting([0.4], 25, spread=0.5).is_face and not sighting([0.4], 25, spread=np.inf).is_face


@pytest.mark.parametrize(("height", "width"), [(600, 600), (1200, 500), (10, 4000), (1, 1)])
def test_tiles_cover_the_picture_and_overlap(height: int, width: int) -> None:
    squares = tiles(height, width, 0.6 * max(height, width))
    assert len(squares) <= 4
    for x, y in [(0, 0), (width, 0), (width / 2, height / 2), (width, height)]:
        assert any(
            abs(x - each.x) <= each.side / 2 + 1e-6 and abs(y - each.y) <= each.side / 2 + 1e-6 for each in squares
        )


def test_an_ordinary_picture_is_not_searched_in_parts() -> None:
    assert sides(1000, 58) == [] and sides(300, 20) == []
    plan = list(last_resorts(900, 1280, [], 18))
    assert all(len(squares) in (1, 4) for stage in plan for squares in stage.passes)


@pytest.mark.parametrize("longer", [1500, 6000, 8000])
@pytest.mark.parametrize("face", [18, 58])
def test_parts_show_faces_of_every_size(longer: float, face: float) -> None:
    """A face that is too small for one round's squares, 16 of 256 pixels, is at most a sixth of the next round's."""
    found = sides(longer, face)
    assert found[-1] == pytest.approx(face * 256 / 16)
    for larger, smaller in zip([longer, *found], found):
        assert larger * 16 / 256 <= 0.2 * smaller and smaller < larger


# With the networks


@pytest.mark.parametrize("path", PORTRAITS, ids=lambda path: path.stem)
def test_drawn_portraits_are_found_where_they_are(finder: FaceFinder, path: Path) -> None:
    picture = load_picture(path)
    (face,) = finder.find(picture)
    size = len(picture)
    assert face.landmarks.shape == (468, 3) and face.presence > 0.99
    assert stable_points(face)[:2] / size == pytest.approx(np.array([[0.375, 0.45], [0.625, 0.45]]), abs=0.035)
    x0, y0, x1, y1 = lip_box(face.landmarks)
    assert ((x0 + x1) / 2 / size, (y0 + y1) / 2 / size) == pytest.approx((0.5, 0.69), abs=0.04)
    assert face.keypoints[0, 0] < face.keypoints[1, 0] and mouth_opening(face.landmarks) < 0.1


FACES = {
    "i069_s10.jpg": 1,
    "i092_s9.jpg": 1,
    "i194_yongen.jpeg": 1,
    "i203_art_0.png": 1,
    "i226_full_body_1.png": 1,
    "i230_people_0.png": 1,
    "i266_giraffe.jpg": 0,
    "i269_2007_007763.jpg": 7,
}


@real_pictures
@pytest.mark.parametrize(("name", "count"), FACES.items())
def test_real_pictures(finder: FaceFinder, name: str, count: int) -> None:
    search = finder.search(load_picture(PICTURES / name))
    assert len(search.faces) == count
    assert [face.area for face in search.faces] == sorted((face.area for face in search.faces), reverse=True)
    if not count:
        assert len(search.tried) >= 4 and 0 < search.best_score < 0.8


def turned(picture: np.ndarray, degrees: float) -> np.ndarray:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 0.8)
    return cv2.warpAffine(picture, matrix, (width, height))


def compressed(picture: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], cv2.IMREAD_COLOR)


VARIANTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "96 px": lambda picture: cv2.resize(picture, (96, 96), interpolation=cv2.INTER_AREA),
    "3500 px": lambda picture: cv2.resize(picture, (3500, 3500)),
    "tilted left": lambda picture: turned(picture, 20),
    "tilted right": lambda picture: turned(picture, -40),
    "on its side": lambda picture: np.ascontiguousarray(np.rot90(picture)),
    "grey": lambda picture: np.repeat(picture.mean(2, keepdims=True), 3, 2).astype(np.uint8),
    "JPEG 20": compressed,
    "dark": lambda picture: picture // 4,
    "fills the frame": lambda picture: np.ascontiguousarray(picture[75:290, 120:340]),
    "small in the frame": lambda picture: cv2.copyMakeBorder(
        picture, 800, 600, 500, 900, cv2.BORDER_CONSTANT, value=(90, 99, 80)
    ),
}


@real_pictures
@pytest.mark.parametrize("variant", VARIANTS)
def test_one_photograph_in_many_states(finder: FaceFinder, variant: str) -> None:
    faces = finder.find(VARIANTS[variant](load_picture(PICTURES / "i230_people_0.png")))
    assert len(faces) == 1 and faces[0].presence > 0.99


@real_pictures
def test_a_mirrored_picture_has_mirrored_landmarks(finder: FaceFinder) -> None:
    picture = load_picture(PICTURES / "i230_people_0.png")
    (face,), (mirrored,) = finder.find(picture), finder.find(np.ascontiguousarray(picture[:, ::-1]))
    width, distance = picture.shape[1], eye_distance(face.landmarks)
    back = stable_points(mirrored)[[1, 0, 2]] * (-1, 1) + (width, 0)
    assert np.abs(back - stable_points(face)).max() < 0.05 * distance
    assert eye_opening(mirrored.landmarks)[::-1] == pytest.approx(eye_opening(face.landmarks), abs=0.08)


@real_pictures
def test_landmarks_move_with_the_picture(finder: FaceFinder) -> None:
    picture = load_picture(PICTURES / "i230_people_0.png")
    (face,) = finder.find(picture)
    larger = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    (again,) = finder.find(np.ascontiguousarray(np.pad(larger, ((30, 0), (50, 0), (0, 0)), mode="edge")))
    moved = 2 * face.landmarks[:, :2] + (50, 30)
    assert np.linalg.norm(again.landmarks[:, :2] - moved, axis=1).mean() < 0.03 * eye_distance(again.landmarks)


@real_pictures
def test_a_face_that_is_painted_over_is_not_found(finder: FaceFinder) -> None:
    picture = load_picture(PICTURES / "i230_people_0.png")
    picture[60:290, 120:340] = (120, 110, 100)
    assert finder.find(picture) == []


def checks() -> np.ndarray:
    return np.kron(np.indices((16, 16)).sum(0) % 2, np.ones((20, 20)))[..., None].repeat(3, 2).astype(np.uint8) * 255


def clutter() -> np.ndarray:
    random = np.random.default_rng(3)
    picture = np.full((480, 640, 3), 128, np.uint8)
    for _ in range(120):
        x, y, a, b = (int(value) for value in random.integers(0, 640, 4))
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        cv2.ellipse(picture, (x, y), (a // 8 + 2, b // 8 + 2), 0, 0, 360, colour, -1)
    return picture


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((50, 50, 3), np.uint8),
        np.full((1, 1, 3), 9, np.uint8),
        np.full((3, 2000, 3), 200, np.uint8),
        np.random.default_rng(0).integers(0, 256, (400, 300, 3), np.uint8),
        checks(),
        clutter(),
    ],
    ids=["black", "one pixel", "a line", "noise", "checks", "clutter"],
)
def test_no_faces_where_there_are_none(finder: FaceFinder, picture: np.ndarray) -> None:
    search = finder.search(picture)
    assert search.faces == [] and search.tried[0] == "the whole picture"


def test_landmarks_can_be_left_out(finder: FaceFinder) -> None:
    (face,) = finder.find(load_picture(PORTRAITS[0]), landmarks=False)
    assert face.landmarks is None and stable_points(face).shape == (3, 2)
    with pytest.raises(DiffusedHeadsError, match="track: expected a face with landmarks"):
        finder.track(load_picture(PORTRAITS[0]), face)


@real_pictures
def test_tracking_follows_a_moving_face_without_drift(finder: FaceFinder) -> None:
    picture = load_picture(PICTURES / "i203_art_0.png")
    (face,) = finder.find(picture)
    first, distance = eye_centres(face.landmarks), eye_distance(face.landmarks)
    for frame in range(1, 31):
        shift = np.array([60 * np.sin(frame / 5), 30 * np.sin(frame / 3)])
        matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
        moved = cv2.warpAffine(picture, matrix, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
        face = finder.track(moved, face)
        assert face is not None and np.abs(eye_centres(face.landmarks) - first - shift).max() < 0.06 * distance


@real_pictures
def test_tracking_gives_up_when_the_face_is_gone(finder: FaceFinder) -> None:
    picture = load_picture(PICTURES / "i203_art_0.png")
    (face,) = finder.find(picture)
    assert finder.track(np.full_like(picture, 90), face) is None
    assert finder.track(load_picture(PICTURES / "i266_giraffe.jpg"), face) is None


@real_pictures
def test_a_picture_of_1280_pixels_takes_little_time(finder: FaceFinder) -> None:
    picture = load_picture(PICTURES / "i092_s9.jpg")
    (face,) = finder.find(picture)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        find = min(_seconds(lambda: finder.find(picture)) for _ in range(5))
        track = min(_seconds(lambda: finder.track(picture, face)) for _ in range(5))
    finally:
        cv2.setNumThreads(threads)
    assert find < 0.060 and track < 0.010


def _seconds(action: Callable[[], object]) -> float:
    """Processor time of this process: other processes do not count."""
    begun = time.process_time()
    action()
    return time.process_time() - begun


# The bundle's networks, from the same files that it holds


@pytest.fixture(scope="module")
def bundled() -> FaceFinder:
    files = [MODELS / "face_detection_short_range.tflite", MODELS / face_models.IRISES.name]
    if not all(file.is_file() for file in files):
        pytest.skip(f"the bundle's networks are not in {MODELS}")
    return FaceFinder(face_models.FaceModels(*(file.read_bytes() for file in files), MODELS, bundled=True))


@pytest.mark.parametrize("path", PORTRAITS, ids=lambda path: path.stem)
def test_the_bundles_networks_find_what_the_older_ones_find(
    finder: FaceFinder, bundled: FaceFinder, path: Path
) -> None:
    picture = load_picture(path)
    (face,), (older,) = bundled.find(picture), finder.find(picture)
    assert face.landmarks is not None and older.landmarks is not None and has_landmarks(face)
    apart = np.linalg.norm(face.landmarks[:, :2] - older.landmarks[:, :2], axis=1) / eye_distance(older.landmarks)
    assert apart.mean() < 0.07
    points = np.linalg.norm(
        stable_landmarks(face.landmarks) - stable_landmarks(older.landmarks), axis=1
    ) / eye_distance(older.landmarks)
    assert points.max() < 0.08
    moved = np.roll(picture, 6, 1)
    again = bundled.track(moved, face)
    assert again is not None and again.landmarks is not None
    np.testing.assert_allclose(np.median(again.landmarks[:, 0] - face.landmarks[:, 0]), 6, atol=1.5)


def test_the_bundles_networks_find_small_faces_and_no_face_in_noise(bundled: FaceFinder) -> None:
    picture = np.full((900, 1400, 3), (120, 140, 150), np.uint8)
    small = cv2.resize(load_picture(PORTRAITS[0]), (160, 160), interpolation=cv2.INTER_AREA)
    picture[600:760, 1000:1160] = small
    (face,) = bundled.find(picture)
    assert 1000 < face.centre[0] < 1160 and 600 < face.centre[1] < 760
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3)).astype(np.uint8)
    assert not bundled.find(noise)


@pytest.mark.parametrize("near", [False, True])
def test_a_glance_sees_a_clear_face_and_none_in_noise(finder: FaceFinder, bundled: FaceFinder, near: bool) -> None:
    looks = bundled if near else finder
    picture = np.full((720, 1280, 3), (120, 140, 150), np.uint8)
    head = cv2.resize(load_picture(PORTRAITS[0]), (300, 300), interpolation=cv2.INTER_AREA)
    picture[200:500, 900:1200] = head
    (face,) = looks.glance(picture)
    assert 900 < face.centre[0] < 1200 and 200 < face.centre[1] < 500 and has_landmarks(face)
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3)).astype(np.uint8)
    assert not looks.glance(noise)


def test_older_files_go_with_the_bundles_landmarks_for_lips() -> None:
    if not all((MODELS / file.name).is_file() for file in (*face_models.FILES, face_models.IRISES)):
        pytest.skip(f"the networks are not in {MODELS}")
    models = face_models.load_lip_models(MODELS)
    assert models.irises and not models.bundled and len(models.landmarks) == face_models.IRISES.size
    (face,) = FaceFinder(models).glance(load_picture(PORTRAITS[0]))
    assert has_landmarks(face)
