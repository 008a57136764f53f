"""A head moved in its picture, at the picture's own resolution: one backward warp per frame, and the painted mouth.

From the finished picture back: the head's turn (``head_field``), then the mouth's, jaw's and cheeks' movement, brows,
and lids and irises give the place in the portrait that a pixel shows. Frames do not depend on each other, and
``PictureHead.draw`` keeps nothing between calls, so several threads may draw.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import cv2
import numpy as np

from ..config import HeadGeometry
from ..motion import MotionTrack
from ..pose import rotation_matrix, smooth
from .expression import BrowFields
from .eyes import EyeWarp
from .head_field import HeadField
from .warp import sampled, warped

_log = logging.getLogger(__name__)
GAIN = 1.2  # of wide turns of a head that looks ahead: within a still outline they look smaller than they are
WIDE = np.radians(12.0)  # from which all of it holds
FREE, MOST = np.radians(30.0), np.radians(37.0)  # of a turn: up to FREE as it should be, never more than MOST
TURNED = np.radians(25.0)  # of a portrait that is turned itself, which the log mentions
EDGE = 1.2  # pixels of the picture over which a lid's edge passes into the eye
LASH_WIDTH = 0.045  # of an eye's length: half the width of the lashes' line on a shut lid
FADE = 8.0  # px of the model's frame over which the mouth's and jaw's movement ends


@dataclass(frozen=True, eq=False)
class Move:
    """How a head is in one frame: one row of a ``motion.MotionTrack``."""

    pose: np.ndarray = field(default_factory=lambda: np.zeros(5))
    size: float = 0.0
    face: np.ndarray = field(default_factory=lambda: np.zeros(6))
    expression: np.ndarray = field(default_factory=lambda: np.zeros(4))

    @classmethod
    def of(cls, track: MotionTrack, frame: int) -> Move:
        """A row of a track."""
        return cls(track.pose[frame], float(track.size[frame]), track.face[frame], track.expression[frame])


@dataclass(frozen=True, eq=False)
class PaintedMouth:
    """The mouth of one frame, in pixels of the model's frame and in the portrait's pose.

    places: (h, w, 2), ``warp.warp_map`` of the ``box`` left, top, right, bottom. window: left, top of what is painted:
    ``painted`` and ``warped``, the same window of the warped portrait, (k, l, 3) in [-1, 1]; ``mask``, where the
    painting counts, and ``inside`` of the lips, (k, l), 0..1.
    """

    places: np.ndarray
    box: tuple[int, int, int, int]
    window: tuple[int, int]
    painted: np.ndarray
    warped: np.ndarray
    mask: np.ndarray
    inside: np.ndarray


@dataclass(frozen=True, eq=False)
class HeadFrame:
    """All that one head does in a frame."""

    move: Move = field(default_factory=Move)
    mouth: PaintedMouth | None = None


class PictureHead:
    """One head of a picture.

    frame: the model's frame (F, F, 3), uint8, or float in [-1, 1]. matrix: (2, 3), from pixels of the picture, of
    ``shape`` (height, width), to frame fractions. mesh: (468, 3) px of the frame. weights: as of ``HeadField``.
    ``region`` is the part of the picture that can change, a pair of slices. Logs one line for a head that is turned so
    far that it cannot turn much farther.
    """

    def __init__(
        self,
        frame: np.ndarray,
        mesh: np.ndarray,
        matrix: np.ndarray,
        shape: tuple[int, int],
        geometry: HeadGeometry,
        weights: np.ndarray | None = None,
        name: str = "portrait",
    ):
        size = len(frame)
        self.field = HeadField(mesh, matrix, size, *shape, geometry, weights)
        left, top, right, bottom = self.field.region
        self.region = slice(top, bottom), slice(left, right)
        self.eyes = [EyeWarp(frame, mesh, side) for side in (0, 1)]
        self.brows = BrowFields(mesh, self.field.pose, self.field.flat, size)
        ahead = self.field.pose.turn @ (0.0, 0.0, -1.0)
        self.own = np.array([np.arctan2(ahead[0], -ahead[2]), np.arcsin(np.clip(ahead[1], -1, 1))])
        if abs(self.own[0]) > TURNED:
            _log.warning(
                "%s: the head is turned by %.0f degrees: it turns back freely, but hardly farther",
                name,
                np.degrees(abs(self.own[0])),
            )
        # From array indices of the region to pixels of the frame, the centre of the top-left one at (0.5, 0.5), and
        # back for vectors.
        start = matrix[:, :2] @ (left + 0.5, top + 0.5) + matrix[:, 2]
        self._to_frame = (size * np.column_stack([matrix[:, :2], start])).astype(np.float32)
        self._back = (np.linalg.inv(matrix[:, :2]) / size).astype(np.float32)

    def limited(self, pose: np.ndarray) -> np.ndarray:
        """A pose (5,) within reach: neither the turn nor where it ends is far."""
        pose = np.array(pose, np.float64)
        gain = (GAIN - 1) * max(0.0, 1 - (self.own[0] / TURNED) ** 2)
        for axis in (0, 1):
            asked = soft_limit(pose[axis] * (1 + gain * float(smooth(abs(pose[axis]) / WIDE))))
            if np.sign(asked) == np.sign(self.own[axis]):
                asked = np.sign(asked) * max(
                    0.0, abs(soft_limit(self.own[axis] + asked)) - abs(soft_limit(self.own[axis]))
                )
            pose[axis] = asked
        return pose

    def draw(self, canvas: np.ndarray, frame: HeadFrame) -> None:
        """Move the head in a picture (H, W, C), in place.

        uint8, of which all channels are moved and the first three are colours, or float32 in [-1, 1].
        """
        source, move, mouth = canvas[self.region], frame.move, frame.mouth
        if not source.size:
            return
        places, coarse = self._turned(move)
        window = None if mouth is None else self._window(places, coarse, mouth)
        if mouth is not None:
            _add(places, *self._part(coarse, mouth.box), _faded(mouth, self._back), self._index(mouth.box))
        brows = self.brows.displacement(np.array([*move.face[4:6], move.expression[2]], np.float32))
        if brows is not None:
            _add(places, *self._part(coarse, self.brows.box), brows @ self._back.T, self._index(self.brows.box))
        drawn = warped(source, places)
        for side, eye in enumerate(self.eyes):
            layers = eye.layers(float(move.face[side]), move.face[2:4], float(move.expression[3]))
            if layers is not None:
                self._draw_eye(drawn, source, places, self._part(coarse, eye.box), eye, layers)
        if mouth is not None and window is not None:
            _paint(drawn[window[0]], mouth, window[1])
        canvas[self.region] = drawn

    def _draw_eye(
        self,
        drawn: np.ndarray,
        source: np.ndarray,
        places: np.ndarray,
        part: tuple[slice, slice],
        eye: EyeWarp,
        layers: np.ndarray,
    ) -> None:
        """Draw an eye's layers one over the other, in place."""
        places = places[part]
        if not places.size:
            return
        seen = sampled(layers, _moved(places, self._composed(eye.frame)))
        lid, below, ball = (
            warped(source, places + seen[..., k : k + 2] @ self._back.T).astype(np.float32) for k in (0, 2, 4)
        )
        sharpness = 1 / (np.linalg.norm(self._to_frame[:, 0]) * EDGE)
        over, under = (np.clip(0.5 - sharpness * seen[..., k], 0, 1)[..., None] for k in (6, 7))
        colours = ball + under * (below - ball)
        colours += over * (lid - colours)
        dark = seen[..., 8] * np.exp(-((seen[..., 6] / (LASH_WIDTH * eye.length)) ** 2))
        lash = 255 * eye.lash_colour if drawn.dtype == np.uint8 else 2 * eye.lash_colour - 1
        colours[..., :3] -= dark[..., None] * (colours[..., :3] - lash)
        drawn[part] = np.rint(np.clip(colours, 0, 255)) if drawn.dtype == np.uint8 else colours

    def _turned(self, move: Move) -> tuple[np.ndarray, np.ndarray]:
        """Where each pixel of the region lies before the turn, array indices of the region, float32 (h, w, 2).

        And for each node of the field the same in pixels of the frame.
        """
        pose = self.limited(move.pose)
        turn = rotation_matrix(*pose[:3])
        moved = self.field.inverse(self.field.displacement(turn, 1 + float(move.size), pose[3:]))
        rows, columns = (part.stop - part.start for part in self.region)
        places = np.asarray(cv2.resize(moved, (columns, rows), interpolation=cv2.INTER_LINEAR), np.float32)
        places[..., 0] += np.arange(columns, dtype=np.float32)
        places[..., 1] += np.arange(rows, dtype=np.float32)[:, None]
        at = moved + self.field.centres
        return places, at @ self._to_frame[:, :2].T + self._to_frame[:, 2]

    def _part(self, coarse: np.ndarray, box: tuple[float, float, float, float]) -> tuple[slice, slice]:
        """Rows and columns of the region in which a box of the frame may be seen."""
        x, y = coarse[..., 0], coarse[..., 1]
        inside = (x >= box[0] - 3) & (x <= box[2] + 3) & (y >= box[1] - 3) & (y <= box[3] + 3)
        spans = []
        for axis, length, step in ((1, self.region[0], self.field.step[1]), (0, self.region[1], self.field.step[0])):
            found = np.flatnonzero(inside.any(axis))
            most = length.stop - length.start
            if not len(found):
                return slice(0, 0), slice(0, 0)
            spans.append(slice(max(0, int((found[0] - 1) * step)), min(most, int((found[-1] + 2) * step) + 1)))
        return spans[0], spans[1]

    def _index(self, box: tuple[int, int, int, int]) -> np.ndarray:
        """Matrix (2, 3): array indices of the region -> those of a box of the frame."""
        matrix = self._to_frame.copy()
        matrix[:, 2] -= np.array(box[:2], np.float32) + 0.5
        return matrix

    def _composed(self, matrix: np.ndarray) -> np.ndarray:
        """``matrix`` (2, 3), which takes array indices of the frame, for those of the region."""
        inner = self._to_frame.copy()
        inner[:, 2] -= 0.5
        return np.column_stack([matrix[:, :2] @ inner[:, :2], matrix[:, :2] @ inner[:, 2] + matrix[:, 2]]).astype(
            np.float32
        )

    def _window(
        self, places: np.ndarray, coarse: np.ndarray, mouth: PaintedMouth
    ) -> tuple[tuple[slice, slice], np.ndarray]:
        """The part of the region in which the painted window is seen, and where in that, array indices."""
        height, width = mouth.mask.shape
        left, top = mouth.window
        part = self._part(coarse, (left, top, left + width, top + height))
        return part, _moved(places[part], self._index((left, top, 0, 0)))


def soft_limit(angle: float) -> float:
    """An angle as it is up to FREE, and never beyond MOST."""
    beyond = abs(angle) - FREE
    return angle if beyond <= 0 else float(np.sign(angle) * (FREE + (MOST - FREE) * np.tanh(beyond / (MOST - FREE))))


def _moved(places: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Places (h, w, 2) under a matrix (2, 3), float32."""
    return np.asarray(cv2.transform(places, matrix), np.float32)


def _add(places: np.ndarray, rows: slice, columns: slice, change: np.ndarray, matrix: np.ndarray) -> None:
    """Add to a part of ``places`` the change that is there; matrix (2, 3) takes places to indices of ``change``."""
    part = places[rows, columns]
    if part.size:
        at = _moved(part, matrix)
        part += sampled(np.ascontiguousarray(change), at)


def _faded(mouth: PaintedMouth, back: np.ndarray) -> np.ndarray:
    """The mouth's and jaw's movement in the picture's pixels, (h, w, 2), ending smoothly at the box's border."""
    left, top, right, bottom = mouth.box
    x, y = np.arange(left, right, dtype=np.float32), np.arange(top, bottom, dtype=np.float32)
    change = mouth.places - np.stack(np.meshgrid(x, y), -1)
    fades = [smooth((np.minimum(np.arange(n), np.arange(n)[::-1]) + 0.5) / FADE) for n in change.shape[:2]]
    weight = (fades[0][:, None] * fades[1]).astype(np.float32)
    return (change * weight[..., None]) @ back.T


def _paint(below: np.ndarray, mouth: PaintedMouth, at: np.ndarray) -> None:
    """Lay the painted mouth over a part of a picture, in place; at: where its pixels lie in the window.

    Inside the lips the painting is shown; on their edge what it changes is added to the picture, whose detail stays.
    """
    if not below.size:
        return
    inside = np.minimum(mouth.inside, mouth.mask)[..., None]
    change = (mouth.painted - mouth.warped) * (mouth.mask[..., None] - inside)
    layers = np.concatenate([mouth.painted * inside, inside, change], -1).astype(np.float32)
    if below.dtype == np.uint8:
        layers = layers * 127.5
        layers[..., :3] += layers[..., 3:4]
        layers[..., 3] /= 127.5
    over = sampled(layers, at)
    colours = below[..., :3] * (1 - over[..., 3:4]) + over[..., :3] + over[..., 4:]
    below[..., :3] = np.rint(np.clip(colours, 0, 255)) if below.dtype == np.uint8 else colours
