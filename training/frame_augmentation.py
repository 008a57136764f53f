"""A training batch, and what is varied in its frames: mirror, light, framing, degraded motion frames.

All randomness comes from ``draws``; nothing here moves data between host and device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..diffused_heads_core.conditioning import HeadState, spatial_inputs
from ..diffused_heads_core.config import ModelConfig
from .draws import BatchDraws, Degradation, Recolouring, Reframing

MIRRORED_POSE = (-1, 1, -1, -1, 1)  # signs of ``pose.POSE`` in a mirror
MIRRORED_FACE = ((1, 1), (0, 1), (2, -1), (3, 1), (5, 1), (4, 1))  # of ``pose.FACE``: from which column, and its sign


@dataclass
class Batch:
    """A collated batch: frames (B, m + 2, 3, S, S) and identity in [-1, 1], the rest as in FrameSamples."""

    frames: Tensor
    identity: Tensor
    sound: Tensor
    windows: Tensor
    lip_box: Tensor
    poses: Tensor | None = None
    identity_pose: Tensor | None = None
    faces: Tensor | None = None

    @classmethod
    def of(cls, sample: dict[str, Tensor]) -> Batch:
        """A batch from what FrameSamples gives, collated."""
        scaled = {name: sample[name].float() / 127.5 - 1 for name in ("frames", "identity")}
        return cls(**{**sample, **scaled})

    def rows(self, rows: Tensor) -> Batch:
        """The samples at ``rows`` (n,)."""
        return Batch(*(None if value is None else value[rows] for value in vars(self).values()))

    def state(self, back: int) -> HeadState | None:
        """Head state of the frame ``back`` before the target."""
        return None if self.poses is None else HeadState(self.poses[:, -1 - back], self.faces[:, -1 - back])

    def spatial(self, config: ModelConfig, back: int = 0) -> dict[str, Tensor]:
        """Spatial inputs for predicting the frame ``back`` (0 or 1) before the target."""
        m, last = config.motion_frames, self.frames.shape[1] - 1 - back
        motion = list(self.frames[:, last - m : last].unbind(1))
        poses = None if self.poses is None else list(self.poses[:, last - m : last].unbind(1))
        return spatial_inputs(config, self.identity, motion, self.state(back), self.identity_pose, poses)


def augmented(batch: Batch, draws: BatchDraws) -> Batch:
    """The batch with all that ``draws`` asks for but the model's own predictions; the given one stays as it is."""
    batch = Batch(**vars(batch))
    if draws.flip is not None:
        batch = mirror(batch, draws.flip)
    if draws.recolouring is not None:
        batch = recolour(batch, draws.recolouring)
    if draws.reframing is not None:
        batch = reframe(batch, draws.reframing)
    if draws.degradation is not None:
        batch = degrade(batch, draws.degradation)
    return batch


def mirror(batch: Batch, flip: Tensor) -> Batch:
    """Samples of ``flip`` (B,) seen in a mirror: pictures, yaw, roll, tx, gaze, and left and right exchanged."""
    size = batch.frames.shape[-1]

    def chosen(mirrored: Tensor, plain: Tensor) -> Tensor:
        return torch.where(flip.view(-1, *[1] * (plain.dim() - 1)), mirrored, plain)

    left, top, right, bottom = batch.lip_box.unbind(-1)
    batch.frames = chosen(batch.frames.flip(-1), batch.frames)
    batch.identity = chosen(batch.identity.flip(-1), batch.identity)
    batch.lip_box = chosen(torch.stack([size - right, top, size - left, bottom], -1), batch.lip_box)
    if batch.poses is not None:
        faces = torch.stack([sign * batch.faces[..., column] for column, sign in MIRRORED_FACE], -1)
        batch.faces = chosen(faces, batch.faces)
        batch.poses = chosen(_mirrored_pose(batch.poses), batch.poses)
        batch.identity_pose = chosen(_mirrored_pose(batch.identity_pose), batch.identity_pose)
    return batch


def _mirrored_pose(pose: Tensor) -> Tensor:
    return torch.stack([sign * column for sign, column in zip(MIRRORED_POSE, pose.unbind(-1))], -1)


def recolour(batch: Batch, drawn: Recolouring) -> Batch:
    """Another light, the same for every frame of a sample."""
    batch.identity = (batch.identity * drawn.gain + drawn.shift).clamp(-1, 1)
    batch.frames = (batch.frames * drawn.gain[:, None] + drawn.shift[:, None]).clamp(-1, 1)
    return batch


def reframe(batch: Batch, drawn: Reframing) -> Batch:
    """Another framing, the same for every frame of a sample. Poses stay: they tell one frame from another."""
    size = batch.identity.shape[-1]
    grid = F.affine_grid(drawn.theta, list(batch.identity.shape), align_corners=False)
    pictures = torch.cat([batch.frames, batch.identity[:, None]], 1).flatten(1, 2)
    moved = F.grid_sample(pictures, grid, mode="bicubic", padding_mode="border", align_corners=False).clamp(-1, 1)
    moved = torch.where(drawn.chosen[:, None, None, None], moved, pictures).unflatten(1, (-1, 3))
    left, top, right, bottom = (batch.lip_box / size - 0.5).unbind(-1)
    corners = torch.stack(
        [torch.stack(at, -1) for at in ((left, top), (right, top), (right, bottom), (left, bottom))], 1
    )
    corners = (drawn.back[:, None] @ corners[..., None])[..., 0] + drawn.shift[:, None] + 0.5
    boxes = torch.cat([corners.amin(1), corners.amax(1)], -1) * size
    batch.frames, batch.identity = moved[:, :-1], moved[:, -1]
    batch.lip_box = torch.where(drawn.chosen[:, None], boxes, batch.lip_box)
    return batch


def degrade(batch: Batch, drawn: Degradation) -> Batch:
    """Motion frames with noise or a patch, or replaced by the identity frame; the target stays."""
    b, motion = len(batch.identity), batch.frames[:, :-1].clone()
    if len(drawn.noisy):
        motion.index_add_(0, drawn.noisy, drawn.noise)
    for patch in drawn.patches:
        y, x, h, w = patch.place
        part = motion[patch.row, :, :, y : y + h, x : x + w]
        over = drawn.colours[patch.row].expand_as(part)
        if patch.other is not None:
            top, left = patch.other
            over = motion[patch.row, :, :, top : top + h, left : left + w].clone()
        part.lerp_(over, patch.opacity)
    motion = torch.where(drawn.copies.view(b, 1, 1, 1, 1), batch.identity[:, None], motion)
    batch.frames = torch.cat([motion, batch.frames[:, -1:]], 1)
    if batch.poses is not None:
        poses = torch.where(drawn.copies.view(b, 1, 1), batch.identity_pose[:, None], batch.poses[:, :-1])
        batch.poses = torch.cat([poses, batch.poses[:, -1:]], 1)
    return batch
