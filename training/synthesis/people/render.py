"""The renderer of people: frames of one person with expressions and head poses, with exact landmarks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from ....diffused_heads_core.face.alignment import Placement, align
from ..expression import EXPRESSION, index
from ..motion import POSE_LIMIT
from ..truth import Truth, stacked
from . import gl
from .backdrop import paint_backdrop
from .beard import beard_pieces
from .blend_shapes import blend_weights, micro_track, mood_track, without_side
from .camera import Camera, sample_camera
from .clothes import cloth_pieces, covered
from .eyes import paint_eye, paint_lashes
from .face_model import FaceModel, load_face_model
from .hair import hair_pieces
from .head import Face, Head, sexed_identity, unwrapped
from .light import Lighting
from .parts import eye_pieces, lash_piece, mouth_pieces, skin_pieces
from .person import Person, sample_person, tone_of
from .piece import Piece
from .scene import Scene, on_screen
from .skin import Layout, paint_face, paint_scalp
from .skull import Skull
from .wear import earring_pieces, glasses_pieces, headwear_pieces

LIP_GAP = 0.05  # cm between the landmarks of the inner lips of a closed mouth
CHUNK = 16  # frames whose blend shapes are summed together
# Expressions that together show everything that may become visible.
_EXTREMES = (
    {"open": 1.0, "wide": 0.6, "teeth": 1.0},
    {"blink_left": 1.0, "blink_right": 1.0, "press": 1.0},
    {"wide": -1.0, "open": 0.4},
    {"smile": 1.0, "wide": 1.0, "teeth": 1.0, "brow_left": 1.0, "brow_right": 1.0},
    {"open": 1.0, "tongue": 1.0, "gaze_x": 1.0, "gaze_y": 1.0},
)


def drawn_size(size: int) -> int:
    """Pixels per side at which a picture of ``size`` is drawn before it is averaged down."""
    return 2 * size if size <= 192 else size + size // 2 if size <= 640 else size


@lru_cache(maxsize=2)
def _lip_rows(model: FaceModel) -> np.ndarray:
    """Used vertices of the red of the lips."""
    rows, uv, _ = unwrapped(model, "face")
    where = Layout(model, 512)
    outline = where.lips().astype(np.float32)
    places = np.stack([uv[:, 0], 1 - uv[:, 1]], 1) * 512
    inside = np.array([cv2.pointPolygonTest(outline, (float(x), float(y)), False) >= 0 for x, y in places])
    return np.unique(rows[inside])


def _habits(person: Person, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """How strongly the speaker uses each blend shape, and its weights in the face at rest: (57,) each."""
    rng = person.stream("habits")
    both = {without_side(name): float(np.exp(rng.normal(0, person.habits))) for name in names}
    factor = np.array([both[without_side(name)] * np.exp(rng.normal(0, 0.4 * person.habits)) for name in names])
    rest = np.zeros(len(names))
    calm = {
        "browDown": 0.22, "browInnerUp": 0.18, "eyeSquint": 0.25, "cheekSquint": 0.12, "mouthFrown": 0.14,
        "mouthSmile": 0.10, "noseSneer": 0.10, "mouthPress": 0.10, "mouthShrugLower": 0.10, "browOuterUp": 0.12,
    }  # fmt: skip
    for name, most in calm.items():
        amount = most * max(rng.normal(0.1, 0.6), 0.0) * person.rest
        for side in ("_L", "_R"):
            if name + side in names:
                rest[names.index(name + side)] = amount * rng.uniform(0.7, 1.3)
    return factor.clip(0.6, 1.6), rest


def _metered(person: Person) -> Lighting:
    """The person's light with the exposure that a camera would choose: dark skin is exposed longer than fair skin."""
    factor = (0.36 / tone_of(np.asarray(person.skin)) ** 2) ** 0.28
    return replace(person.lighting, exposure=person.lighting.exposure * factor)


class Portrait:
    """One person, ready to be drawn at ``size`` pixels. Use it as a context manager, or call ``release``."""

    def __init__(self, person: Person, model: FaceModel, size: int) -> None:
        self.person, self.model, self.size = person, model, size
        self.head = Head(model, sexed_identity(model, np.asarray(person.identity), person.masculine))
        self._canvas = gl.Canvas(drawn_size(size))
        self._habits, self._rest = _habits(person, model.names)
        self._close_lips()
        self._frame = self._framed()
        self._scene = Scene(
            self.head,
            self._pieces(),
            _metered(person),
            paint_backdrop(person),
            person.distance,
            self._frame.matrix,
            self._extremes(),
        )
        self._camera = Camera(sample_camera(person.stream("camera")), size, person.seed)
        lips = _lip_rows(model)
        moving = [rows for piece in self._scene.pieces for rows in (piece.rows, piece.anchor) if rows is not None]
        self.head.focus(np.concatenate([*moving, self.head.marks, lips]))
        rest = self.head.placed(self._face(np.zeros(len(EXPRESSION))).points)[self.head.marks]
        self._closed = float(np.linalg.norm(rest[66] - rest[62]))
        self._span = float(np.linalg.norm(rest[42:48].mean(0) - rest[36:42].mean(0)))

    def _pieces(self) -> list[Piece]:
        person, head = self.person, self.head
        skull = Skull(head)
        flesh = tuple(np.array([0.66, 0.34, 0.33]) * (1 - 0.25 * person.dark))
        mouth = person.stream("teeth")
        stain, lit = mouth.uniform(0, 1), mouth.uniform(0.4, 1.0)
        teeth = (0.93 - 0.05 * stain, 0.90 - 0.09 * stain, 0.85 - 0.19 * stain)
        eyes = tuple(paint_eye(person, left) for left in (True, False))
        pieces = skin_pieces(head, *paint_face(self.model, person), *paint_scalp(self.model, person), person.oil, 0.006)
        hidden = covered(head, person)
        for piece in pieces:
            piece.triangles = piece.triangles[~hidden[piece.rows[piece.triangles]].all(1)]
        pieces += cloth_pieces(head, person)
        pieces += eye_pieces(head, eyes, 1.0)
        pieces += mouth_pieces(head, flesh, teeth, lit)
        pieces += headwear_pieces(head, skull, person) + hair_pieces(head, skull, person) + beard_pieces(head, person)
        pieces.append(lash_piece(head, paint_lashes(person)))
        return pieces + earring_pieces(head, person) + glasses_pieces(head, person)

    def _close_lips(self) -> None:
        """Make the lips of the face at rest meet, whatever the shape of the identity."""
        upper, lower = self.head.marks[[62, 66]]
        shut = np.zeros((2, len(self.model.names)), np.float32)
        shut[0] = self._weights(np.zeros(len(EXPRESSION)))
        shut[1, self.model.shape("mouthClose")] = 0.1
        rest, moved = (self.head.posed(offset).points for offset in self.head.offsets(shut))
        gap = float(rest[upper, 1] - rest[lower, 1])
        closing = 10 * float((self.head.neutral - moved)[[upper, lower], 1] @ (1, -1))
        if gap > LIP_GAP and closing > 0.2:
            self._rest[self.model.shape("mouthClose")] = min((gap - LIP_GAP) / closing, 0.15)

    def _extremes(self) -> list[tuple[np.ndarray, Face]]:
        """Poses and faces that together show everything that any frame of a clip may show."""
        faces = [self._face(np.array([one.get(name, 0.0) for name in EXPRESSION])) for one in _EXTREMES]
        turn, nod = POSE_LIMIT["yaw"] * 1.15, POSE_LIMIT["pitch"] * 1.15
        yaw, pitch = self.person.stance
        poses = [(0, 0), (0, 0), (turn, nod), (-turn, nod), (turn, -nod), (-turn, -nod), (0, 0)]
        return [(np.array([yaw + x, pitch + y, 0, 0, 0]), faces[n % len(faces)]) for n, (x, y) in enumerate(poses)]

    def _face(self, expression: np.ndarray, offsets: np.ndarray | None = None) -> Face:
        if offsets is None:
            offsets = self.head.offsets(self._weights(expression)[None])[0]
        gaze = (float(expression[index("gaze_x")]), float(expression[index("gaze_y")]))
        return self.head.posed(offsets, gaze, float(expression[index("tongue")]))

    def _weights(self, expression: np.ndarray, extra: np.ndarray | None = None) -> np.ndarray:
        weights = blend_weights(expression, self.model.names, self.person.jaw, self._habits, self._rest)
        for side in ("L", "R"):
            lid = self.model.shape(f"eyeBlink_{side}")
            weights[lid] = self.person.lids + (1 - self.person.lids) * weights[lid]
        return weights if extra is None else np.clip(weights + extra, 0, 1.2)

    def render(self, expression: np.ndarray, pose: np.ndarray, number: int = 0) -> tuple[np.ndarray, Truth]:
        """One frame (size, size, 3) uint8 RGB and its Truth.

        expression: (12,) in the order of EXPRESSION; pose: (5,) as in ``pose.POSE``; number: of the frame, which
        decides on the camera's noise.
        """
        return self._shot(self._face(expression), pose, number)

    def clip(self, expressions: np.ndarray, poses: np.ndarray, extra: np.ndarray) -> Iterator[tuple[np.ndarray, Truth]]:
        """Frames as from ``render`` for expressions (T, 12) and poses (T, 5); extra: (T, 57) weights of blend shapes
        that are added to those of the expressions.
        """
        for first in range(0, len(expressions), CHUNK):
            some = slice(first, first + CHUNK)
            weights = np.stack([self._weights(e, x) for e, x in zip(expressions[some], extra[some])])
            for number, offsets in enumerate(self.head.offsets(weights), first):
                yield self._shot(self._face(expressions[number], offsets), poses[number], number)

    def _framed(self) -> Placement:
        """The crop of the camera's picture that brings eyes and nose nearest to where the head geometry has them."""
        marks = self.head.marks
        points = self.head.placed(self._face(np.zeros(len(EXPRESSION))).points)[marks]
        flat = on_screen(points, self._posed(np.zeros(5)), self.person.distance, self.head.follow[marks])
        return align(np.stack([flat[36:42].mean(0), flat[42:48].mean(0), flat[30:36].mean(0)]))

    def _posed(self, pose: np.ndarray) -> np.ndarray:
        return np.asarray(pose, np.float64) + (*self.person.stance, 0, 0, 0)

    def _shot(self, face: Face, pose: np.ndarray, number: int) -> tuple[np.ndarray, Truth]:
        pose = self._posed(pose)
        picture = self._scene.draw(self._canvas, face, pose)
        if picture.shape[0] != self.size:
            picture = cv2.resize(picture, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return self._camera.photograph(picture, number), self._truth(face.points, pose)

    def _truth(self, points: np.ndarray, pose: np.ndarray) -> Truth:
        placed = self.head.placed(points)
        follow, marks = self.head.follow, self.head.marks
        rows = np.concatenate([marks, _lip_rows(self.model)])
        seen = self._seen(placed[rows], pose, follow[rows])
        flat, lip = seen[: len(marks)], seen[len(marks) :]
        solid = placed[marks]
        gap = max(float(np.linalg.norm(solid[66] - solid[62])) - self._closed, 0.0)
        wide = float(np.linalg.norm(solid[54] - solid[48]))
        return Truth(flat, np.concatenate([lip.min(0), lip.max(0)]), gap / self._span, wide / self._span)

    def _seen(self, points: np.ndarray, pose: np.ndarray, ease: np.ndarray) -> np.ndarray:
        """Pixels (n, 2) in the finished picture of head coordinates (n, 3)."""
        flat = on_screen(points, pose, self.person.distance, ease)
        return (flat @ self._frame.matrix[:, :2].T + self._frame.matrix[:, 2]) * self.size

    def release(self) -> None:
        """Free the memory of the GPU."""
        self._scene.release()
        self._canvas.release()

    def __enter__(self) -> Portrait:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def portrait(person: Person, face_model: Path, size: int) -> Portrait:
    """A person, ready to be drawn, from the path of the packed face model. Raises DiffusedHeadsError if OpenGL or the
    model is missing.
    """
    return Portrait(person, load_face_model(Path(face_model)), size)


def render_clip(
    face_model: Path,
    appearance: np.random.Generator,
    movements: np.random.Generator,
    expression: np.ndarray,
    pose: np.ndarray,
    size: int,
    fps: float,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Frames (T, size, size, 3) uint8 of a random person, and their truth, for expressions (T, 12) and poses (T, 5).

    appearance, movements: the random numbers for the person, and for movements that no channel describes.
    """
    model, person = load_face_model(Path(face_model)), sample_person(appearance)
    extra = micro_track(movements, model.names, len(expression), fps)
    extra += mood_track(movements, model.names, expression[:, index("press")], fps)
    with Portrait(person, model, size) as shown:
        images, truths = zip(*shown.clip(expression, pose, extra))
    return np.stack(images), stacked(truths)
