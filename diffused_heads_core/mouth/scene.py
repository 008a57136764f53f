"""The portrait's frame as the mouth moves in it: what the network sees of it, and the finished frame around its mouth.

The head stays where the portrait has it while the mouth is painted, so that what the network sees is always as large
and as straight. The finished frame is turned to the head track's pose afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..conditioning import COARSE, HeadState
from ..config import ModelConfig
from ..errors import DiffusedHeadsError
from ..pose import head_coordinates, warp, warp_offsets
from .face_mesh import LOWER_LIP, UPPER_LIP, Similarity, check_mesh, face_mesh
from .lip_shape import at_rate
from .warp import lip_maps, mouth_mask, warp_map, warped
from .window import closed_mesh, teeth_maps, window_at

LOWER_FACE = (0.22, 0.43, 0.78, 1.0)  # of the frame, left, top, right, bottom: what the mouth's movement reaches
FADE = 6  # pixels over which the painted window passes into the warped portrait
EYE_MARGIN = 0.06  # around an eye's and its brow's points, frame fractions
LEAST_CHANGE = 0.02  # of lids and brows, below which the eyes are left as they are
LID_CLOSED = 0.96  # how far the upper lid comes down to the lower one
CREASE = 0.35  # of the lid's way that the fold above it goes
BROW_RAISE = 0.10  # eye distances at 1
EYES = (
    {"upper": [246, 161, 160, 159, 158, 157, 173], "lower": [7, 163, 144, 145, 153, 154, 155]},
    {"upper": [398, 384, 385, 386, 387, 388, 466], "lower": [382, 381, 380, 374, 373, 390, 249]},
)
CREASES = ([247, 30, 29, 27, 28, 56, 190], [414, 286, 258, 257, 259, 260, 467])
BROWS = ([70, 63, 105, 66, 107, 46, 53, 52, 65, 55], [336, 296, 334, 293, 300, 285, 295, 282, 283, 276])


class _Head:
    """One portrait: its frame (F, F, 3) float32 in [-1, 1], its mesh (468, 3) px, and the mesh with a closed mouth.

    closed: the latter, if it is known better than the mesh alone tells.
    """

    def __init__(self, frame: np.ndarray, mesh: np.ndarray, components: int, closed: np.ndarray | None = None):
        self.frame, self.mesh = frame, check_mesh(mesh)
        self.pose: Similarity = face_mesh().pose(self.mesh)
        self.closed = closed_mesh(self.mesh, self.pose, components) if closed is None else closed

    def moved(self, coefficients: np.ndarray, state: np.ndarray | None) -> np.ndarray:
        """The mesh with the mouth of ``coefficients`` (K,), and the lids and brows of a head state's face (6,)."""
        mesh = self.closed + self.pose.directions(face_mesh().shape(coefficients))
        own = self.pose.inverse(mesh)
        crossed = np.maximum(own[UPPER_LIP, 1] - own[LOWER_LIP, 1], 0) / 2
        own[UPPER_LIP, 1] -= crossed
        own[LOWER_LIP, 1] += crossed
        if state is not None:
            for side in (0, 1):
                _move_eye(own, side, float(state[side]), float(state[4 + side]))
        return self.pose(own)

    def eye_boxes(self) -> list[tuple[int, int, int, int]]:
        """Left, top, right, bottom px around each eye and its brow, inside the frame."""
        size, boxes = len(self.frame), []
        for eye, crease, brow in zip(EYES, CREASES, BROWS):
            points = self.mesh[[*eye["upper"], *eye["lower"], *crease, *brow], :2]
            low, high = points.min(0) - EYE_MARGIN * size, points.max(0) + EYE_MARGIN * size
            left, top, right, bottom = (int(v) for v in np.clip([*np.floor(low), *np.ceil(high)], 0, size))
            boxes.append((left, top, right, bottom))
        return boxes


def _move_eye(mesh: np.ndarray, side: int, closure: float, brow: float) -> None:
    """Close an eye of a mesh in the mean face's place by ``closure`` (0..1), and raise its brow by ``brow`` (-1..1)."""
    upper, lower = EYES[side]["upper"], EYES[side]["lower"]
    way = LID_CLOSED * closure * (mesh[lower] - mesh[upper])
    mesh[upper] += way
    mesh[CREASES[side]] += CREASE * way
    mesh[BROWS[side], 1] -= BROW_RAISE * brow


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

    identity: (B, 3, F, F), [-1, 1]; meshes: (B, 468, 3), pixels of it. coefficients: (frames, K). states: the head
    track, one row per frame, or None for a head that stays still. closed: (B, 468, 3), the meshes with closed mouths,
    by default as far as ``meshes`` tell.
    """

    def __init__(
        self,
        config: ModelConfig,
        identity: Tensor,
        meshes: np.ndarray,
        coefficients: np.ndarray,
        states: HeadState | None,
        closed: np.ndarray | None = None,
    ):
        assert config.mouth is not None
        self.config, self.identity, self.states = config, identity, states
        self.coefficients = coefficients
        size = identity.shape[-1]
        self.width, self.height = config.mouth.window[2:]
        left, top, right, bottom = (round(at * size) for at in LOWER_FACE)
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
        face = None if self.states is None else self.states.face[frame].cpu().numpy()
        meshes = [head.moved(self.coefficients[frame], face) for head in self.heads]
        pictures = [self._warp(head, mesh, face) for head, mesh in zip(self.heads, meshes)]
        maps = [lip_maps(mesh - (*window[:2], 0), *window[2:]) for mesh, window in zip(meshes, self.windows)]
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

    def _warp(self, head: _Head, mesh: np.ndarray, face: np.ndarray | None) -> np.ndarray:
        """The portrait warped to a frame's mesh, (F, F, 3)."""
        picture = head.frame.copy()
        boxes = [self.box]
        if face is not None and np.abs(face[[0, 1, 4, 5]]).max() > LEAST_CHANGE:
            boxes += head.eye_boxes()
        for box in boxes:
            left, top, right, bottom = box
            picture[top:bottom, left:right] = warped(head.frame, warp_map(head.mesh, mesh, box))
        return picture

    def _within(self, window: Tensor, painted: Tensor) -> Tensor:
        """What was painted inside the mouth, and the warped portrait elsewhere: lips and skin keep their detail."""
        return torch.lerp(window, painted, self._fade * self._mask)

    @cached_property
    def _fade(self) -> Tensor:
        return border_fade(self.height, self.width).to(self.identity.device)

    def finished(self, frame: int, painted: Tensor) -> Tensor:
        """The whole frame, (B, 3, F, F), with what the network painted in it, (B, 3, height, width)."""
        whole = self._warped.clone()
        painted = self._within(self._window(whole), painted)
        for each, part, (left, top, width, height) in zip(whole, painted, self.windows):
            each[:, top : top + height, left : left + width] = part
        return whole if self.states is None else self._turned(whole, self.states.pose[frame])

    def _turned(self, frames: Tensor, pose: Tensor) -> Tensor:
        """Frames whose heads have the portrait's pose, turned to another pose (5,)."""
        pose = pose.expand(len(frames), -1)
        points = head_coordinates(pose, frames.shape[-1] // COARSE, self.config.geometry)
        offsets = warp_offsets(points, torch.zeros_like(pose), pose, self.config.geometry)
        return warp(frames, offsets).clamp(-1, 1)


@dataclass(frozen=True, eq=False)
class Mouths:
    """What a model that paints the mouth alone needs of a clip.

    meshes: (B, 468, 3), the identity frames' face meshes in pixels. shapes: (N, K), coefficients of the lips' shape at
    the model's rate.
    """

    meshes: np.ndarray
    shapes: Tensor


def lower_face(
    config: ModelConfig, identity: Tensor, states: HeadState | None, mouths: Mouths | None, frames: int, rate: Fraction
) -> LowerFace:
    """The scene of a clip of ``frames`` frames at ``rate``.

    Raises DiffusedHeadsError if there is not one mesh for each row of ``identity``.
    """
    found = 0 if mouths is None else len(mouths.meshes)
    if mouths is None or found != len(identity):
        raise DiffusedHeadsError(f"face meshes: expected one for each of {len(identity)} portraits, found {found}")
    shapes = at_rate(mouths.shapes.cpu(), frames, rate, config.fps).numpy()
    return LowerFace(config, identity, mouths.meshes, shapes, states)
