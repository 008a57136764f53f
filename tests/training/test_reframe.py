"""Another framing of a sample: pictures and the lips' box move together, everything else stays."""

from __future__ import annotations

import torch

from diffused_heads.training.config import TrainConfig
from diffused_heads.training.draws import draw_batch
from diffused_heads.training.frame_augmentation import Batch, augmented

SIZE = 64


def batch(rows: int) -> Batch:
    """Dark pictures with a soft bright spot in the lips' box, at another place in each row."""
    place = torch.rand(rows, 2, generator=torch.Generator().manual_seed(5)) * 24 + 20
    axis = torch.arange(SIZE) + 0.5
    spot = torch.exp(
        -((axis[None, None, :] - place[:, 0, None, None]) ** 2 + (axis[None, :, None] - place[:, 1, None, None]) ** 2)
        / 18
    )
    pictures = (2 * spot - 1)[:, None].expand(-1, 3, -1, -1)
    box = torch.cat([place - torch.tensor([6.0, 3.0]), place + torch.tensor([6.0, 3.0])], -1)
    frames = pictures[:, None].expand(-1, 4, -1, -1, -1).clone()
    return Batch(frames, pictures.clone(), torch.zeros(rows, 1), torch.zeros(rows, 2, 5, dtype=torch.long), box)


def reframe(given: Batch, probability: float, seed: int = 0) -> Batch:
    """That share of the samples in another framing."""
    config = TrainConfig(reframe=probability, mirror=False, seed=seed)
    return augmented(given, draw_batch(config, range(len(given.identity)), SIZE, 1000))


def centre(pictures: torch.Tensor) -> torch.Tensor:
    """Centroid (B, 2) of brightness."""
    weight, axis = pictures.mean(1) + 1, torch.arange(SIZE) + 0.5
    total = weight.sum((1, 2))
    return torch.stack([(weight.sum(1) * axis).sum(1) / total, (weight.sum(2) * axis).sum(1) / total], -1)


def test_the_box_stays_on_what_it_showed() -> None:
    moved = reframe(batch(64), 1.0)
    middle = (moved.lip_box[:, :2] + moved.lip_box[:, 2:]) / 2
    for frame in (*moved.frames.unbind(1), moved.identity):
        assert (centre(frame) - middle).abs().max() < 0.4
    shift = (middle - (batch(64).lip_box[:, :2] + batch(64).lip_box[:, 2:]) / 2).norm(dim=1)
    assert 0.8 < shift.mean() < 4 and torch.equal(moved.frames[:, 0], moved.identity)


def test_scale_is_seen_in_the_box() -> None:
    """Log of the width: normal with deviation 0.05, a little more for the turn."""
    moved = reframe(batch(400), 1.0, seed=1)
    grown = ((moved.lip_box[:, 2] - moved.lip_box[:, 0]) / 12).log()
    assert 0.035 < grown.std() < 0.07


def test_what_is_not_chosen_is_left_alone() -> None:
    plain, same, some = (batch(64), reframe(batch(64), 0.0), reframe(batch(64), 0.5))
    assert (
        torch.equal(same.frames, plain.frames)
        and torch.equal(same.identity, plain.identity)
        and torch.equal(same.lip_box, plain.lip_box)
    )
    untouched = (some.frames == plain.frames).flatten(1).all(1)
    assert 15 < untouched.sum() < 49 and torch.equal(some.lip_box[untouched], plain.lip_box[untouched])
    assert (some.lip_box[~untouched] != plain.lip_box[~untouched]).any(1).all()
