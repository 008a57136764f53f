"""From audio embeddings to the shape of the mouth."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn

from ..config import ModelConfig


class LipShape(nn.Module):
    """Audio embeddings (B, N, C) -> coefficients (B, N, K) of ``face_mesh.FaceMesh.basis``, one row per video frame.

    They say how the mouth differs from the same person's closed mouth. A linear map of the embeddings of a few frames
    around does best on people whom it has not seen. As the mean of all mouths that fit the sound it never closes the
    lips: ``closure`` gives the log odds that they are closed, and they close as far as that is probable. The opening
    is ``reading`` @ coefficients, and changes along ``direction``. A row depends on ``neighbours`` later embeddings
    (0.08 s for 2 at 25 per second) and on no state.
    """

    reading: Tensor
    direction: Tensor

    def __init__(self, embedding: int, components: int, neighbours: int):
        super().__init__()
        self.neighbours = neighbours
        self.linear = nn.Linear(embedding * (2 * neighbours + 1), components)
        self.closure = nn.Linear(embedding * (2 * neighbours + 1), 1)
        self.register_buffer("reading", torch.zeros(components))
        self.register_buffer("direction", torch.zeros(components))

    def forward(self, audio: Tensor) -> Tensor:
        seen = windows(audio, self.neighbours)
        coefficients = self.linear(seen)
        opening = (coefficients @ self.reading)[..., None]
        return coefficients - torch.sigmoid(self.closure(seen)) * opening * self.direction


def new_lip_shape(config: ModelConfig) -> LipShape:
    """An untrained one for a model with ``config.mouth``."""
    assert config.mouth is not None
    return LipShape(config.audio.embedding, config.mouth.components, config.mouth.neighbours)


def windows(audio: Tensor, neighbours: int) -> Tensor:
    """Embeddings (B, N, C) -> those of each frame and its neighbours, (B, N, (2 n + 1) C), the ends repeated."""
    frames = audio.shape[1]
    around = torch.arange(frames)[:, None] + torch.arange(-neighbours, neighbours + 1)
    return audio[:, around.clamp(0, frames - 1)].flatten(2)


def row_times(frames: int, fps: Fraction, model_fps: int) -> Tensor:
    """The middle of each of ``frames`` frames at ``fps``, as a place among rows at ``model_fps``: (frames,) float64."""
    times = [float((n + Fraction(1, 2)) * model_fps / fps - Fraction(1, 2)) for n in range(frames)]
    return torch.tensor(times, dtype=torch.float64)


def at_rate(rows: Tensor, frames: int, fps: Fraction, model_fps: int) -> Tensor:
    """Rows (N, K), ``model_fps`` per second, for ``frames`` frames at ``fps``: linear between rows, the ends held."""
    return rows_at(rows, row_times(frames, fps, model_fps))


def rows_at(rows: Tensor, places: Tensor) -> Tensor:
    """Rows (N, K) at places (frames,) among them, as of ``row_times``: linear between rows, the ends held."""
    at = places.clamp(0, len(rows) - 1)
    low = at.floor().long()
    part = (at - low)[:, None].to(rows)
    return torch.lerp(rows[low], rows[(low + 1).clamp(max=len(rows) - 1)], part)
