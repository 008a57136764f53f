"""From frames, poses and embeddings to the inputs of the network: one way for training and for sampling.

Both call ``spatial_inputs`` for what is image-like. ``window_frames`` says which audio embeddings a frame sees in
training; ``generator.AudioWindows`` gives the same at the model's frame rate, and what lies between at others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .config import ModelConfig
from .pose import FACE, POSE, face_maps, head_coordinates, mouth_region, warp, warp_offsets

LUMA = (0.299, 0.587, 0.114)  # BT.601
COARSE = 4  # pixels per grid step at which the smooth warp is computed


def to_model(pictures: np.ndarray, size: int) -> Tensor:
    """uint8 pictures (S, S, 3) or (B, S, S, 3) -> float32 (B, 3, S, S) in [-1, 1]."""
    batch = pictures if pictures.ndim == 4 else pictures[None]
    if batch.dtype != np.uint8 or batch.shape[1:] != (size, size, 3):
        raise ValueError(f"identity: expected uint8 (…, {size}, {size}, 3), found {batch.dtype} {pictures.shape}")
    return torch.from_numpy(np.ascontiguousarray(batch)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_uint8(frames: Tensor) -> np.ndarray:
    """Model frames (B, 3, S, S) in [-1, 1] -> uint8 (B, S, S, 3)."""
    return ((frames.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


@dataclass
class HeadState:
    """Pose and face, one row per frame or sample: pose (B, 5) as in ``pose.POSE``, face (B, 6) as in ``pose.FACE``."""

    pose: Tensor
    face: Tensor

    @classmethod
    def neutral(cls, batch: int, device: torch.device | str = "cpu") -> HeadState:
        """The state that an identity frame is taken to have: no turn, eyes open, looking ahead."""
        return cls(torch.zeros(batch, len(POSE), device=device), torch.zeros(batch, len(FACE), device=device))

    def repeated(self, row: int, batch: int) -> HeadState:
        """One row for every sample of a batch."""
        return HeadState(self.pose[row].expand(batch, -1), self.face[row].expand(batch, -1))


def to_gray(frames: Tensor) -> Tensor:
    """RGB (B, 3, S, S) -> luma (B, 1, S, S)."""
    return sum(weight * plane for weight, plane in zip(LUMA, frames.split(1, 1)))


def spatial_inputs(
    config: ModelConfig,
    identity: Tensor,
    motion_frames: list[Tensor],
    target: HeadState | None = None,
    identity_pose: Tensor | None = None,
    motion_poses: list[Tensor] | None = None,
) -> dict[str, Tensor]:
    """The network's spatial inputs by name.

    identity: (B, 3, S, S), [-1, 1]; motion_frames: the frames before, oldest first, each (B, 3, S, S). They are the
    paper's inputs ``identity`` and ``motion``. A model with ``head_motion`` also needs ``target``, the head state to be
    painted, and the poses (B, 5) of the identity and motion frames. It sees all of these frames warped to the target's
    pose, the identity frame also as it is (``still``, for the background), and maps of eyes, brows and head (``face``).
    """
    named = {"identity": identity}
    if config.head_motion:
        assert target is not None and identity_pose is not None and motion_poses is not None
        size = identity.shape[-1]
        points = head_coordinates(target.pose, size // COARSE if size % COARSE == 0 else size, config.geometry)

        def turned(frame: Tensor, pose: Tensor) -> Tensor:
            return warp(frame, warp_offsets(points, pose, target.pose, config.geometry))

        warped = turned(identity, identity_pose)
        motion_frames = [turned(frame, pose) for frame, pose in zip(motion_frames, motion_poses, strict=True)]
        if config.motion_region == "mouth":
            region = mouth_region(points, size, config.geometry)
            motion_frames = [torch.lerp(warped, frame, region) for frame in motion_frames]
        face = face_maps(points, target.face, size, config.geometry)
        named = {"identity": warped, "still": identity, "face": face}
    if motion_frames:
        named["motion"] = torch.cat([to_gray(f) if config.motion_gray else f for f in motion_frames], 1)
    return named


def window_frames(frame: int, neighbours: int, frames: int) -> list[int]:
    """Whose audio embeddings a frame sees: n - a .. n + a, the clip's first and last repeated at its ends (paper)."""
    return [min(max(n, 0), frames - 1) for n in range(frame - neighbours, frame + neighbours + 1)]


class WholeFrame:
    """Scene of a model that paints the whole frame.

    A scene says what the network sees for a frame (``spatial``), makes the finished frame of what the network painted
    (``finished``), and gives what stands for motion frames at a clip's start (``first``). It is asked for the frames in
    their order. identity: (B, 3, S, S), [-1, 1]; states: the head track, one row per frame, or None.
    """

    def __init__(self, config: ModelConfig, identity: Tensor, states: HeadState | None):
        self.config, self.first, self.states = config, identity, states
        self._neutral = HeadState.neutral(len(identity), identity.device)

    def _state(self, frame: int) -> HeadState:
        """The head's state in a frame, the portrait's before the first one."""
        batch = len(self.first)
        return self._neutral if self.states is None or frame < 0 else self.states.repeated(frame, batch)

    def spatial(self, frame: int, motion_frames: list[Tensor]) -> dict[str, Tensor]:
        """The network's inputs; motion_frames: what it painted before, oldest first, each (B, 3, S, S)."""
        count = len(motion_frames)
        poses = [self._state(frame - count + i).pose for i in range(count)]
        return spatial_inputs(self.config, self.first, motion_frames, self._state(frame), self._neutral.pose, poses)

    def finished(self, frame: int, painted: Tensor) -> Tensor:
        """What was painted, which is the whole frame already."""
        return painted
