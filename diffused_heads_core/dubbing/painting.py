"""A frame of the video with another mouth: its own pixels are warped at its own resolution, the inside is painted.

With a and b the frame's square as the model sees it, warped to the new mouth, before and after the network painted the
mouth's inside, and W the same warp at the picture's resolution, the result is

    W(picture) + up(b - a) - up(inside) (W(picture) - up(a)),

which is the picture itself where nothing moves, the warped picture with its own detail on skin and lips, and the
enlarged painting inside the mouth, where the warped picture's detail would be that of another mouth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ..conditioning import to_model
from ..config import ModelConfig
from ..engines.engine import Network
from ..errors import DiffusedHeadsError
from ..face.alignment import Placement, align, check_overlap, crop
from ..face.mesh import stable_landmarks
from ..face.portrait_mesh import in_frame
from ..generator import SamplingOptions
from ..mouth.face_mesh import MIDDLE, face_mesh
from ..mouth.painting import MouthPainter
from ..mouth.scene import LowerFace
from ..mouth.warp import OUTER_LIPS, lip_maps, mouth_mask
from ..pose import smooth
from .movement import LIP_RINGS, FaceInFrame

TRIM = 0.2  # of the lips' thickness
TRIMMED = 0.03, 0.10  # gaps between the lips from which open lips are trimmed, and trimmed most; eye distances
SEEN = 0.028, 0.055  # the same, from which the mouth's inside is seen, and seen for sure; closed lips have up to 0.03
SIDES = 0.05  # of the lower face's box: over which the warp fades out towards its sides
LEVELS = 127.5  # of 255 per unit of the model's frames
CONTEXT = 4  # pixels around the part that changes, which cubic interpolation sees
_NO_MAP: Any = None  # of OpenCV, which takes x and y together; an empty array can be read as if it were there


@dataclass(frozen=True, eq=False)
class Task:
    """One frame to be dubbed: its picture, uint8 (H, W, 3), its face, the new lip shape (K,), and the audio embeddings
    that the network sees for it, (2 n + 1, C).
    """

    picture: np.ndarray
    face: FaceInFrame
    shape: np.ndarray
    audio: Tensor


@dataclass(frozen=True, eq=False)
class Painted:
    """What the model made of a frame's square of F px.

    box: left, top, right, bottom px of the part in which anything changes; the rest has its size. shift: (h, w, 2), how
    far from each pixel the warp looks, px. before, after: float32 (h, w, 3), 0..255, warped, without and with what the
    network painted. inside: (h, w), 0..1, where the mouth's inside is. needed: 0..1, how far that is seen at all: lips
    that were closed and stay closed are sharper as they are.
    """

    size: int
    box: tuple[int, int, int, int]
    shift: np.ndarray
    before: np.ndarray
    after: np.ndarray
    inside: np.ndarray
    needed: float = 1.0


class Painter:
    """Paints new mouths into frames, many at a time: they do not depend on each other.

    Raises DiffusedHeadsError for a model that paints whole frames.
    """

    def __init__(self, network: Network, config: ModelConfig, options: SamplingOptions, device: torch.device):
        if config.mouth is None or config.motion_frames:
            raise DiffusedHeadsError("dubbing: expected a model that paints the mouth alone, such as portrait")
        self._network, self._config, self._device = network, config, device
        self._painter = MouthPainter(config, replace(options, eta=0.0))

    def paint(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """The finished pictures, new uint8 (H, W, 3)."""
        if not tasks:
            return []
        places = [align(stable_landmarks(task.face.mesh), self._config.geometry) for task in tasks]
        scenes, heads = [], []
        for task, place in zip(tasks, places):
            check_overlap(place, *task.picture.shape[:2])
            scene, mesh = self._scene(task, place)
            scenes.append(scene)
            heads.append(mesh)
        seen = [scene.spatial(0, []) for scene in scenes]
        warped = [_levels(scene.finished(0, inputs["identity"])) for scene, inputs in zip(scenes, seen)]
        spatial = {name: torch.cat([inputs[name] for inputs in seen]) for name in seen[0]}
        audio = torch.stack([task.audio for task in tasks]).to(self._device)
        painted = self._painter.paint(self._network, spatial, audio)
        after = [_levels(scene.finished(0, each[None])) for scene, each in zip(scenes, painted)]
        made = [self._painted(*each) for each in zip(scenes, heads, warped, after)]
        rows = zip(tasks, places, made)
        return [blend(task.picture, place, each, task.face.strength * each.needed) for task, place, each in rows]

    def _scene(self, task: Task, place: Placement) -> tuple[LowerFace, np.ndarray]:
        """The frame's square with the new mouth, and the mesh that it has before it is warped."""
        config = self._config
        assert config.mouth is not None
        size, own = config.frame_size, task.face.own
        mesh = in_frame(task.face.mesh, place, size)
        as_it_is = mesh - face_mesh().pose(mesh).directions(face_mesh().shape(own))
        closed = as_it_is + task.face.strength * (in_frame(task.face.closed, place, size) - as_it_is)
        coefficients = own + task.face.strength * (task.shape - own)
        identity = to_model(crop(task.picture, place, size), size).to(self._device)
        source = thinner_lips(mesh)
        return LowerFace(config, identity, source[None], coefficients[None], None, closed[None]), source

    def _painted(self, scene: LowerFace, mesh: np.ndarray, before: np.ndarray, after: np.ndarray) -> Painted:
        (left, top, right, bottom), size = scene.box, len(before)
        target = scene.heads[0].moved(scene.coefficients[0])
        y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
        shift = scene.heads[0].places - np.stack([x, y], -1)
        maps = lip_maps(target, size, size)
        # Where open lips close, the warp squeezes what was between them into the lips' edges.
        inside = np.maximum(maps[1], _ramp(_gap(mesh), *TRIMMED) * mouth_mask(maps))
        part = slice(top, bottom), slice(left, right)
        fade = _fade(bottom - top, right - left)[..., None]
        needed = _ramp(max(_gap(mesh), _gap(target)), *SEEN)
        return Painted(size, scene.box, shift * fade, before[part], after[part], inside[part], needed)


def thinner_lips(mesh: np.ndarray) -> np.ndarray:
    """The mesh with the inner edge of open lips moved into them, by up to ``TRIM``.

    The landmark network finds that edge to a pixel or two. Where another mouth is less open, teeth beyond it would be
    left on the lips.
    """
    trimmed, outer = mesh.copy(), mesh[OUTER_LIPS]
    trim = TRIM * _ramp(_gap(mesh), *TRIMMED)
    for ring in LIP_RINGS:
        trimmed[ring] += trim * (outer - mesh[ring])
    return trimmed


def _gap(mesh: np.ndarray) -> float:
    """Between the lips, eye distances."""
    return float(face_mesh().gaps(face_mesh().pose(mesh).inverse(mesh))[MIDDLE].mean())


def _ramp(value: float, low: float, high: float) -> float:
    """0 up to ``low``, 1 from ``high`` on, smooth between."""
    return float(smooth(np.asarray((value - low) / (high - low))))


def _levels(frames: Tensor) -> np.ndarray:
    """The first of a model's frames (B, 3, F, F) as float32 (F, F, 3), 0..255."""
    return np.asarray(((frames[0].permute(1, 2, 0) + 1) * LEVELS).cpu().numpy(), np.float32)


def _fade(height: int, width: int) -> np.ndarray:
    """1 inside a box, 0 at its border, float32 (height, width)."""
    ramps = []
    for length in (height, width):
        at = np.arange(length) / (length - 1)
        ramps.append(smooth(np.minimum(at, 1 - at) / SIDES))
    return np.minimum(ramps[0][:, None], ramps[1]).astype(np.float32)


def blend(picture: np.ndarray, placement: Placement, painted: Painted, strength: float = 1.0) -> np.ndarray:
    """The picture, uint8 (H, W, 3), with what the model made of its square at ``placement``: a new one.

    strength: 0..1, how far what was painted inside the mouth is taken. Outside the box no pixel changes.
    """
    result = picture.copy()
    region = _region(picture, placement, painted, painted.box)
    if region is None:
        return result
    shift = _enlarged(painted.shift, placement, painted, region)
    to_picture = (placement.inverse[:, :2] / painted.size).astype(np.float32)
    left, top, right, bottom = region
    y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
    at = np.stack([x, y], -1) + shift @ to_picture.T
    columns, rows = _reached(at, picture)
    at -= np.array([columns.start, rows.start], np.float32)
    part = np.ascontiguousarray(picture[rows, columns])
    result[top:bottom, left:right] = cv2.remap(part, at, _NO_MAP, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    mouth = _mouth(painted)
    region = None if mouth is None else _region(picture, placement, painted, mouth)
    if region is None:
        return result
    left, top, right, bottom = region
    carried = result[top:bottom, left:right].astype(np.float32)
    inside = strength * _enlarged(painted.inside, placement, painted, region)[..., None]
    new = strength * _enlarged(painted.after - painted.before, placement, painted, region, cv2.INTER_CUBIC)
    before = _enlarged(painted.before, placement, painted, region, cv2.INTER_CUBIC)
    mixed = carried + new - inside * (carried - before)
    result[top:bottom, left:right] = np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)
    return result


def _mouth(painted: Painted) -> tuple[int, int, int, int] | None:
    """left, top, right, bottom px of the square's part that was painted, with what interpolation reaches."""
    changed = (np.abs(painted.after - painted.before).max(-1) > 0) | (painted.inside > 0)
    if not changed.any():
        return None
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    left, top, right, bottom = painted.box
    return (
        max(left, left + int(columns[0]) - CONTEXT),
        max(top, top + int(rows[0]) - CONTEXT),
        min(right, left + int(columns[-1]) + 1 + CONTEXT),
        min(bottom, top + int(rows[-1]) + 1 + CONTEXT),
    )


def _enlarged(
    layer: np.ndarray,
    placement: Placement,
    painted: Painted,
    region: tuple[int, int, int, int],
    flags: int = cv2.INTER_LINEAR,
) -> np.ndarray:
    """A layer of what was painted, (h, w) or (h, w, n), resampled at the pixels of a region of the picture."""
    left, top, right, bottom = region
    matrix = placement.pixels(painted.size, left, top) - [[0, 0, painted.box[0]], [0, 0, painted.box[1]]]
    size, turned = (right - left, bottom - top), flags | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(layer, matrix, size, flags=turned, borderMode=cv2.BORDER_CONSTANT)


def _region(
    picture: np.ndarray, placement: Placement, painted: Painted, box: tuple[int, int, int, int]
) -> tuple[int, int, int, int] | None:
    """left, top, right, bottom, in the picture, of a box of the square; None if it lies outside."""
    left, top, right, bottom = box
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)]) / painted.size
    height, width = picture.shape[:2]
    points = placement.to_picture(corners)
    low = np.clip(np.floor(points.min(0)), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(points.max(0)), 0, (width, height)).astype(int)
    return None if (high <= low).any() else (int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def _reached(at: np.ndarray, picture: np.ndarray) -> tuple[slice, slice]:
    """Columns and rows of the picture that are sampled at array indices ``at`` (h, w, 2)."""
    height, width = picture.shape[:2]
    low = np.clip(np.floor(at.min((0, 1))) - CONTEXT, 0, (width - 1, height - 1)).astype(int)
    high = np.clip(np.ceil(at.max((0, 1))) + CONTEXT + 1, 1, (width, height)).astype(int)
    return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))
