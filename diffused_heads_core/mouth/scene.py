"""The portrait's frame as the mouth moves in it: what the network sees of it, and the finished frame around its mouth.

The head stays where the portrait has it while the mouth is painted, so that what the network sees is always as large
and as straight. The finished frame, or the finished picture, is drawn afterwards (``renderer``).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..config import ModelConfig
from ..errors import DiffusedHeadsError
from ..motion import MotionTrack
from .expression import mouth_expression
from .face_mesh import LOWER_LIP, UPPER_LIP, Similarity, check_mesh, face_mesh
from .lip_shape import LipShape, at_rate
from .renderer import HeadFrame, Move, PaintedMouth, PictureHead
from .warp import lip_maps, mouth_mask, warp_map, warped
from .window import closed_mesh, teeth_maps, window_at

LOWER_FACE = (0.22, 0.43, 0.78, 1.0)  # of the frame, left, top, right, bottom: what the mouth's movement reaches
AROUND = (0.17, 0.43, 0.83, 1.14)  # the same for a head that is drawn in its picture, where nothing ends at the frame
FADE = 6  # pixels over which the painted window passes into the warped portrait
ROWS = 2048  # of lip shapes that are computed at once


class _Head:
    """One portrait: its frame (F, F, 3) float32 in [-1, 1], its mesh (468, 3) px, and the mesh with a closed mouth.

    closed: the latter, if it is known better than the mesh alone tells. places: ``warp_map`` of the last frame.
    """

    places: np.ndarray

    def __init__(self, frame: np.ndarray, mesh: np.ndarray, components: int, closed: np.ndarray | None = None):
        self.frame, self.mesh = frame, check_mesh(mesh)
        self.pose: Similarity = face_mesh().pose(self.mesh)
        self.closed = closed_mesh(self.mesh, self.pose, components) if closed is None else closed

    def moved(self, coefficients: np.ndarray, expression: np.ndarray | None = None) -> np.ndarray:
        """The mesh with the mouth of ``coefficients`` (K,), and smile and frown of a track's ``expression`` (4,)."""
        shape = face_mesh().shape(coefficients)
        if expression is not None:
            shape = shape + mouth_expression(float(expression[0]), float(expression[1]))
        own = self.pose.inverse(self.closed + self.pose.directions(shape))
        crossed = np.maximum(own[UPPER_LIP, 1] - own[LOWER_LIP, 1], 0) / 2
        own[UPPER_LIP, 1] -= crossed
        own[LOWER_LIP, 1] += crossed
        return self.pose(own)


def border_fade(height: int, width: int) -> Tensor:
    """1 inside a window, falling to 0 at its border, (height, width)."""
    ramps = []
    for length in (height, width):
        distance = torch.arange(length) + 0.5
        ramps.append((torch.minimum(distance, length - distance) / FADE).clamp(max=1))
    edge = torch.minimum(*torch.meshgrid(*ramps, indexing="ij"))
    return edge * edge * (3 - 2 * edge)


class LowerFace:
    """Scene of a model with ``config.mouth``; see ``conditioning.WholeFrame`` for what a scene does.

    identity: (B, 3, F, F), [-1, 1]; meshes: (B, 468, 3), pixels of it. coefficients: (frames, K). track: the head's
    motion, one row per frame, or None for a head that stays still and is only drawn in its frame. closed: (B, 468, 3),
    the meshes with closed mouths, by default as far as ``meshes`` tell.
    """

    def __init__(
        self,
        config: ModelConfig,
        identity: Tensor,
        meshes: np.ndarray,
        coefficients: np.ndarray,
        track: MotionTrack | None,
        closed: np.ndarray | None = None,
    ):
        assert config.mouth is not None
        self.config, self.identity, self.track = config, identity, track
        self.coefficients = coefficients
        size = identity.shape[-1]
        self.width, self.height = config.mouth.window[2:]
        left, top, right, bottom = (round(at * size) for at in (LOWER_FACE if track is None else AROUND))
        self.box = left, top, right, bottom
        frames = identity.permute(0, 2, 3, 1).cpu().numpy()
        count, shut = config.mouth.components, [None] * len(meshes) if closed is None else closed
        self.heads = [_Head(np.ascontiguousarray(f), m, count, c) for f, m, c in zip(frames, meshes, shut)]
        self.windows = [window_at(head.closed, config.mouth) for head in self.heads]
        self._teeth = any(each.name == "teeth" for each in config.unet.spatial)
        self.still = self._window(identity)
        self._warped, self._mask = identity, torch.ones_like(self.still[:, :1])

    def _window(self, frames: Tensor) -> Tensor:
        """Each portrait's window, (B, C, height, width)."""
        parts = [f[:, top : top + h, left : left + w] for f, (left, top, w, h) in zip(frames, self.windows)]
        return torch.stack(parts)

    @property
    def first(self) -> Tensor:
        """What stands for motion frames before the first frame, (B, 3, height, width)."""
        return self.still

    def spatial(self, frame: int, motion_frames: list[Tensor]) -> dict[str, Tensor]:
        """The network's inputs for a frame; motion_frames: what it painted before, oldest first."""
        expression = None if self.track is None else self.track.expression[frame]
        meshes = [head.moved(self.coefficients[frame], expression) for head in self.heads]
        pictures = [self._warp(head, mesh) for head, mesh in zip(self.heads, meshes)]
        self._maps = maps = [
            lip_maps(mesh - (*window[:2], 0), *window[2:]) for mesh, window in zip(meshes, self.windows)
        ]
        device = self.identity.device
        self._warped = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).to(device)
        self._mask = torch.from_numpy(np.stack([mouth_mask(each) for each in maps]))[:, None].to(device)
        identity = self._window(self._warped)
        shown = [self._within(identity, each) for each in motion_frames]
        return {
            **({"motion": torch.cat(shown, 1)} if shown else {}),
            "identity": identity,
            "still": self.still,
            "lips": torch.from_numpy(np.stack(maps)).to(device),
            **({"teeth": self._teeth_maps(meshes).to(device)} if self._teeth else {}),
        }

    def _teeth_maps(self, meshes: list[np.ndarray]) -> Tensor:
        rows = zip(self.heads, meshes, self.windows)
        return torch.from_numpy(np.stack([teeth_maps(head.closed, m, head.pose, window) for head, m, window in rows]))

    def _warp(self, head: _Head, mesh: np.ndarray) -> np.ndarray:
        """The portrait warped to a frame's mesh, (F, F, 3)."""
        picture, (left, top, right, bottom) = head.frame.copy(), self.box
        head.places = warp_map(head.mesh, mesh, self.box)
        bottom = min(bottom, len(picture))
        picture[top:bottom, left:right] = warped(head.frame, head.places[: bottom - top])
        return picture

    def _within(self, window: Tensor, painted: Tensor) -> Tensor:
        """What was painted inside the mouth, and the warped portrait elsewhere: lips and skin keep their detail."""
        return torch.lerp(window, painted, self._fade * self._mask)

    @cached_property
    def _fade(self) -> Tensor:
        return border_fade(self.height, self.width).to(self.identity.device)

    def finished(self, frame: int, painted: Tensor) -> Tensor:
        """The whole frame, (B, 3, F, F), with what the network painted in it, (B, 3, height, width)."""
        if self.track is None:
            whole = self._warped.clone()
            inside = self._within(self._window(whole), painted)
            for each, part, (left, top, width, height) in zip(whole, inside, self.windows):
                each[:, top : top + height, left : left + width] = part
            return whole
        drawn = []
        for head, picture, move in zip(self.heads, self._pictures, self.head_frames(frame, painted)):
            drawn.append(head.frame.copy())
            picture.draw(drawn[-1], move)
        return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).clamp(-1, 1).to(painted.device)

    def head_frames(self, frame: int, painted: Tensor) -> list[HeadFrame]:
        """What each head does in a frame, to be drawn in its picture; painted: (B, 3, height, width)."""
        move = Move() if self.track is None else Move.of(self.track, frame)
        colours, warped_window, masks = (
            each.permute(0, 2, 3, 1).float().cpu().numpy()
            for each in (painted, self._window(self._warped), self._fade * self._mask)
        )
        rows = zip(self.heads, self.windows, colours, warped_window, masks[..., 0], self._maps, strict=True)
        return [
            HeadFrame(move, PaintedMouth(head.places, self.box, window[:2], new, old, mask, maps[1]))
            for head, window, new, old, mask, maps in rows
        ]

    @cached_property
    def _pictures(self) -> list[PictureHead]:
        """The heads in the identity frames."""
        size = len(self.heads[0].frame)
        whole = np.eye(2, 3) / size
        return [PictureHead(head.frame, head.mesh, whole, (size, size), self.config.geometry) for head in self.heads]


@dataclass(frozen=True, eq=False)
class Mouths:
    """What a model that paints the mouth alone needs of a clip.

    meshes: (B, 468, 3), the identity frames' face meshes in pixels. shapes: (N, K), coefficients of the lips' shape at
    the model's rate.
    """

    meshes: np.ndarray
    shapes: Tensor


def mouths_of(meshes: np.ndarray, lip_shape: LipShape, audio: Tensor) -> Mouths:
    """The mouths of a clip with audio embeddings (N, C), computed ROWS at a time: memory stays small in an hour."""
    parts, around = [], lip_shape.neighbours
    for begin in range(0, len(audio), ROWS):
        low, high = max(0, begin - around), begin + ROWS + around
        parts.append(lip_shape(audio[None, low:high])[0, begin - low :][:ROWS])
    return Mouths(meshes, torch.cat(parts))


def lower_face(
    config: ModelConfig, identity: Tensor, track: MotionTrack | None, mouths: Mouths | None, frames: int, rate: Fraction
) -> LowerFace:
    """The scene of a clip of ``frames`` frames at ``rate``.

    Raises DiffusedHeadsError if there is not one mesh for each row of ``identity``.
    """
    found = 0 if mouths is None else len(mouths.meshes)
    if mouths is None or found != len(identity):
        raise DiffusedHeadsError(f"face meshes: expected one for each of {len(identity)} portraits, found {found}")
    shapes = at_rate(mouths.shapes.cpu(), frames, rate, config.fps).numpy()
    return LowerFace(config, identity, mouths.meshes, shapes, track)
