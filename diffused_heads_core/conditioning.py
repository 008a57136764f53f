"""From pictures, poses and features to the inputs of the network: one way for training and for sampling."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from . import pose as head
from .config import ModelConfig

GRAY = (0.299, 0.587, 0.114)
COARSE = 4  # pixels a grid step at which the smooth warp is computed


@dataclass
class HeadState:
    """Pose and face of one frame a row: pose (B, 5) as in ``pose.POSE``, face (B, 6) as in ``pose.FACE``."""

    pose: Tensor
    face: Tensor

    @classmethod
    def neutral(cls, batch: int, device: torch.device | str = "cpu") -> HeadState:
        """The identity frame's own state: no turn, eyes open, looking ahead."""
        return cls(torch.zeros(batch, len(head.POSE), device=device), torch.zeros(batch, len(head.FACE), device=device))


def to_gray(frames: Tensor) -> Tensor:
    """RGB (B, 3, S, S) -> luma (B, 1, S, S) (BT.601 weights)."""
    return (frames * frames.new_tensor(GRAY)[None, :, None, None]).sum(1, keepdim=True)


def spatial_inputs(
    config: ModelConfig,
    identity: Tensor,
    motion: list[Tensor],
    target: HeadState | None = None,
    identity_pose: Tensor | None = None,
    motion_poses: list[Tensor] | None = None,
) -> dict[str, Tensor]:
    """The network's named spatial inputs.

    identity: (B, 3, S, S), [-1, 1]; motion: the previous frames, oldest first, each (B, 3, S, S).
    For a model with ``head_motion``, ``target`` is the frame's head state and the poses (B, 5) are those of the
    identity and motion frames; all of them are then warped to the target's pose.
    """
    still = identity
    if config.head_motion:
        assert target is not None and identity_pose is not None and motion_poses is not None
        size = identity.shape[-1]
        points = head.head_coordinates(target.pose, size // COARSE if size % COARSE == 0 else size, config.geometry)

        def turned(picture: Tensor, pose: Tensor) -> Tensor:
            return head.warp(picture, head.warp_offsets(points, pose, target.pose, config.geometry))

        identity = turned(identity, identity_pose)
        motion = [turned(m, p) for m, p in zip(motion, motion_poses, strict=True)]
        if config.motion_region == "mouth":
            region = head.mouth_region(points, size, config.geometry)
            motion = [torch.lerp(identity, m, region) for m in motion]
    motion = [to_gray(m) for m in motion] if config.motion_gray else motion
    named = {"identity": identity}
    if motion:
        named["motion"] = torch.cat(motion, 1)
    if config.head_motion:
        named["still"] = still
        named["face"] = head.face_maps(points, target.face, size, config.geometry)
    return named


def feature_window(features: Tensor, frame: int, neighbours: int) -> Tensor:
    """Features of frames n - a .. n + a, clamped at the ends: (..., N, C) -> (..., 2 a + 1, C)."""
    index = torch.arange(frame - neighbours, frame + neighbours + 1, device=features.device).clamp(
        0, features.shape[-2] - 1
    )
    return features.index_select(-2, index)
