"""Layout conversion between pictures and model tensors; nowhere else."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_model(pictures: np.ndarray, size: int) -> Tensor:
    """uint8 pictures (S, S, 3) or (B, S, S, 3) -> float32 (B, 3, S, S) in [-1, 1]."""
    batch = pictures if pictures.ndim == 4 else pictures[None]
    if batch.dtype != np.uint8 or batch.shape[1:] != (size, size, 3):
        raise ValueError(f"identity: expected uint8 (…, {size}, {size}, 3), found {batch.dtype} {pictures.shape}")
    return torch.from_numpy(np.ascontiguousarray(batch)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_uint8(frames: Tensor) -> np.ndarray:
    """Model frames (B, 3, S, S) in [-1, 1] -> uint8 (B, S, S, 3)."""
    return ((frames.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
