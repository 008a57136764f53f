"""Faces in a picture: where they are, their 468 landmarks, which one is meant, and the error if there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DiffusedHeadsError
from .crops import Pyramid, Square
from .detector import NEAR, SIZE, Detector, merge, sigmoid
from .fitting import converge
from .mesh import (
    INNER_LIPS,
    IRIS_SIZE,
    LEFT_EAR,
    NOSE_TIP,
    RIGHT_EAR,
    SIZE as MESH_SIZE,
    LandmarkNetwork,
    eye_centres,
    square_of_keypoints,
    square_of_landmarks,
    stable_landmarks,
)
from .networks import FaceModels, load_face_models
from .search import FAIR, GROUP_FACE, LIKELY, SMALLEST_FACE, STRONG, SURE, FaceSearch, Sighting, tiles

RULES = ("largest", "left to right", "nearest")
LOST = 2.0  # presence logit below which a tracked face is gone: talking faces have 9 to 60
MOVED = 0.1  # change of the crop, in sides and radians, from which it is cut again in a video
MOST_PASSES = 4  # over one frame of a video
GLANCED = 6  # faces of a frame of a video, at most
TRUSTED, CERTAIN = 0.5, 0.9999  # presence from which landmarks are used: if keypoints agree, and in any case
APART = 0.4  # eye distances by which landmarks and keypoints may disagree


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a picture; positions in pixels, the centre of the top-left pixel at (0.5, 0.5).

    box: x0, y0, x1, y1. score: the detector's, 0..1. keypoints: (6, 2) left eye, right eye, nose tip, mouth, left ear,
    right ear, left and right in the image. landmarks: (468, 3), z smaller toward the viewer, or None if not asked for.
    presence: the landmark network's certainty that this is a face, 0..1; near 1 for photographs, paintings and
    realistic drawings, anything for drawings of few lines. spread: by how many eye distances the landmarks of other
    crops disagree, infinite if they do not settle, 0 if this was not looked at.
    """

    box: tuple[float, float, float, float]
    score: float
    keypoints: np.ndarray
    landmarks: np.ndarray | None = None
    presence: float = 0.0
    spread: float = 0.0

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box, px."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    @property
    def area(self) -> float:
        """Area of the box, square pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


@dataclass(frozen=True)
class Search:
    """The result of a search: faces, largest first; what was tried; the detector's best score, 0..1.

    likeliest: box (4,), px, of what looks most like a face if there is none.
    """

    faces: list[Face]
    tried: tuple[str, ...]
    best_score: float
    likeliest: np.ndarray | None = None


class FaceFinder:
    """Finds faces; it holds the networks, so build one per thread or process."""

    def __init__(self, models: FaceModels | None = None) -> None:
        """``models``: by default those of ``load_face_models()``, downloaded on first use."""
        models = models or load_face_models()
        self._detector = Detector(models.detector, NEAR if models.bundled else SIZE)
        self._mesh = LandmarkNetwork(models.landmarks, IRIS_SIZE if models.bundled or models.irises else MESH_SIZE)
        self._near = models.bundled

    def find(self, picture: np.ndarray, landmarks: bool = True) -> list[Face]:
        """All faces of a picture (H, W, 3) uint8 RGB, largest first; none is an empty list.

        Faces with fewer than about 25 pixels between the eyes are not looked for.
        """
        return self.search(picture, landmarks, GROUP_FACE).faces

    def glance(self, picture: np.ndarray) -> list[Face]:
        """As ``find``, in a tenth of its time: clear faces of a sixteenth of the picture's longer side and more.

        For the frames of a video, in which the next frame is another chance.
        """
        _check_picture(picture)
        pyramid, (height, width) = Pyramid(picture), picture.shape[:2]
        longer = max(height, width)
        squares = [Square(width / 2, height / 2, longer), *(tiles(height, width, longer / 2) if self._near else [])]
        seen, _ = self._detector.candidates(pyramid, squares, LIKELY)
        faces = []
        for each in sorted(merge(seen), key=lambda candidate: -candidate.score)[:GLANCED]:
            fit = converge(self._mesh, pyramid, square_of_keypoints(each.box, each.keypoints), MOVED, MOST_PASSES)
            if fit.presence >= (FAIR if each.score >= STRONG else SURE):
                presence = float(sigmoid(fit.presence))
                faces.append(Face(_box(fit.landmarks), each.score, each.keypoints, fit.landmarks, presence))
        return sorted(faces, key=lambda face: -face.area)

    def search(self, picture: np.ndarray, landmarks: bool = True, smallest: float = SMALLEST_FACE) -> Search:
        """As ``find``, with what was tried; a picture without larger faces is searched for those of ``smallest`` px.

        Raises DiffusedHeadsError for another kind of picture.
        """
        _check_picture(picture)
        search = FaceSearch(self._detector, self._mesh, Pyramid(picture), smallest)
        faces = [_face(each, landmarks) for each in search.run()]
        best = max(search.sightings, key=lambda sighting: sighting.best.score, default=None)
        likeliest = None if best is None else best.best.box
        return Search(sorted(faces, key=lambda face: -face.area), tuple(search.tried), search.best_score, likeliest)

    def track(self, picture: np.ndarray, previous: Face) -> Face | None:
        """The face of the previous frame in this one, from its landmarks alone; None if it is gone.

        The crop follows the landmarks, again if the head has moved much. Raises DiffusedHeadsError if ``previous`` has
        no landmarks.
        """
        _check_picture(picture)
        if previous.landmarks is None:
            raise DiffusedHeadsError("track: expected a face with landmarks, found one without")
        square = square_of_landmarks(previous.landmarks)
        fit = converge(self._mesh, Pyramid(picture), square, MOVED, MOST_PASSES)
        landmarks, presence = fit.landmarks, fit.presence
        if presence < LOST:
            return None
        return Face(_box(landmarks), previous.score, _keypoints(landmarks), landmarks, float(sigmoid(presence)))


def _check_picture(picture: np.ndarray) -> None:
    if not isinstance(picture, np.ndarray):
        raise DiffusedHeadsError(f"picture: expected uint8 (H, W, 3), found {type(picture).__name__}")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise DiffusedHeadsError(f"picture: expected uint8 (H, W, 3), found {picture.dtype} {picture.shape}")


def _face(sighting: Sighting, landmarks: bool) -> Face:
    x0, y0, x1, y1 = map(float, sighting.box)
    best, fit = sighting.best, sighting.fit
    marks = fit.landmarks if landmarks and fit is not None else None
    return Face(
        (x0, y0, x1, y1),
        best.score,
        best.keypoints,
        marks,
        float(sigmoid(sighting.presence)),
        fit.spread if fit else 0.0,
    )


def _box(landmarks: np.ndarray) -> tuple[float, float, float, float]:
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _keypoints(landmarks: np.ndarray) -> np.ndarray:
    points = landmarks[:, :2]
    mouth = points[INNER_LIPS].mean(0)
    return np.stack([*eye_centres(landmarks), points[NOSE_TIP], mouth, points[LEFT_EAR], points[RIGHT_EAR]])


def choose_face(
    faces: Sequence[Face], rule: str = "largest", index: int = 0, point: tuple[float, float] | None = None
) -> Face:
    """The face number ``index`` (from 0) of the faces in the order of ``rule``.

    largest: by area; left to right: by the middle of the box; nearest: by the distance from ``point``, px.
    Raises DiffusedHeadsError if there are no more than ``index`` faces, for another rule, and for a missing point.
    """
    if rule not in RULES:
        raise DiffusedHeadsError(f"rule={rule!r}, expected one of {', '.join(RULES)}")
    if rule == "nearest" and point is None:
        raise DiffusedHeadsError("rule='nearest', expected a point (x, y) in pixels, found none")
    x, y = point or (0.0, 0.0)
    if not 0 <= index < len(faces):
        found = "no face" if not faces else "one face" if len(faces) == 1 else f"{len(faces)} faces"
        raise DiffusedHeadsError(
            f"face index={index}, expected 0 to {max(len(faces) - 1, 0)}, found {found} in the picture"
        )
    keys: dict[str, Callable[[Face], float]] = {
        "largest": lambda face: -face.area,
        "left to right": lambda face: face.centre[0],
        "nearest": lambda face: float(np.hypot(face.centre[0] - x, face.centre[1] - y)),
    }
    return sorted(faces, key=keys[rule])[index]


def stable_points(face: Face) -> np.ndarray:
    """Points that speech does not move, (3, 2) px: left eye's centre, right eye's centre, end of the nose.

    From the landmarks (eye corners, nose tip and base), or from the detector's keypoints if there are no landmarks or
    they cannot be trusted, as in drawings of few lines.
    """
    if face.landmarks is not None and has_landmarks(face):
        return stable_landmarks(face.landmarks)
    return np.array(face.keypoints[:3], np.float64)


def has_landmarks(face: Face) -> bool:
    """Whether the face has landmarks that can be trusted."""
    if face.landmarks is None or face.presence < TRUSTED or face.presence >= CERTAIN:
        return face.landmarks is not None and face.presence >= CERTAIN
    eyes, points = eye_centres(face.landmarks), face.keypoints[:2]
    apart = np.linalg.norm(eyes - points, axis=1).max()
    return bool(apart <= APART * max(np.linalg.norm(eyes[1] - eyes[0]), np.linalg.norm(points[1] - points[0])))
