"""A classifier two-sample test of mouths (Lopez-Paz & Oquab 2017): can true pictures be told from generated ones?

A small convolutional network learns to tell them apart on some people and is judged on the others. Accuracy 0.5 means
that it cannot, 1 that each picture gives itself away. The test sees single pictures, not motion. Few people teach it
little, so it gets sharper with more of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, pairwise

import numpy as np
import torch
from torch import Tensor, nn

FOLDS = 5  # at most; with fewer people one fold per person
STEPS, BATCH, RATE = 120, 32, 2e-3
DETAIL = 4  # by which fine detail is enlarged
NOISE = 3 / 255  # added to all pictures: hides that of cameras and compression, which generated ones lack
TINT = 0.15  # random change of each colour channel, as a fraction: people differ in colour


class MouthJudge(nn.Module):
    """Logit that a picture (B, 3, H, W), 0..1, is generated: (B,).

    It sees colours relative to the picture's mean and contrast, and the fine detail alone, enlarged: so that it learns
    what holds for people of any colour and in any light. Batch normalisation keeps how much detail there is.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (6, 16, 32, 64)
        layers = ([nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.SiLU()] for a, b in pairwise(widths))
        self.blocks = nn.Sequential(*chain.from_iterable(layers))
        self.head = nn.Linear(2 * widths[-1], 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Mean and deviation of the features over the picture decide."""
        contrast = pictures.std((1, 2, 3), keepdim=True) + 1e-3
        detail = pictures - nn.functional.avg_pool2d(nn.functional.pad(pictures, (2, 2, 2, 2), mode="replicate"), 5, 1)
        colours = pictures - pictures.mean((2, 3), keepdim=True)
        features = self.blocks(torch.cat([colours, DETAIL * detail], 1) / contrast).flatten(2)
        return self.head(torch.cat([features.mean(2), features.std(2)], 1))[:, 0]


def folds(people: list[str], seed: int = 0) -> Iterator[tuple[list[str], list[str]]]:
    """People to learn from and people to judge on; each person is judged once, by a network that has not seen them."""
    count = min(FOLDS, len(people))
    order = np.random.default_rng(seed).permutation(people).tolist()
    for n in range(count):
        yield [p for k, p in enumerate(order) if k % count != n], order[n::count]


def accuracies(
    true: Mapping[str, np.ndarray], made: Mapping[str, np.ndarray], seed: int = 0, steps: int = STEPS
) -> dict[str, float]:
    """Accuracy 0..1 on each person's pictures, of networks that have not seen that person.

    The half of a person's pictures with the higher scores is called generated (``halved_accuracy``): a network that
    finds all pictures of a new person strange neither gains nor loses by it.

    true, made: a person's name to pictures (n, H, W, 3) uint8. People without pictures of both kinds are left out. No
    result for fewer than two people.
    """
    people = sorted(p for p in true if len(true[p]) and len(made.get(p, ())))
    found: dict[str, float] = {}
    for learned, judged in folds(people, seed) if len(people) > 1 else ():
        judge = train([true[p] for p in learned], [made[p] for p in learned], seed, steps)
        for person in judged:
            found[person] = halved_accuracy(_logits(judge, true[person]), _logits(judge, made[person]))
    return found


def halved_accuracy(true: np.ndarray, made: np.ndarray) -> float:
    """Accuracy 0..1 of scores (n,) and (m,) if their higher half counts as generated, both kinds weighing the same.

    1 if every generated picture has a higher score than every true one; 0.5 for scores that say nothing.
    """
    scores = np.concatenate([true, made])
    order = np.argsort(scores, kind="stable")
    weights = np.concatenate([np.full(len(true), 0.5 / len(true)), np.full(len(made), 0.5 / len(made))])[order]
    around = np.searchsorted(np.cumsum(weights), [0.5 - 1e-9, 0.5 + 1e-9])
    middle = scores[order][around].mean()
    above = [(kind > middle).mean() + (kind == middle).mean() / 2 for kind in (true, made)]
    return float((above[1] + 1 - above[0]) / 2)


def train(true: list[np.ndarray], made: list[np.ndarray], seed: int, steps: int) -> MouthJudge:
    """A network that has learned from people's pictures, as many true as generated ones and evenly by person."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = MouthJudge()
    optimiser = torch.optim.AdamW(judge.parameters(), RATE, weight_decay=0.05)
    slope = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    labels = torch.arange(BATCH) % 2
    for _ in range(steps):
        sources = [(made if label else true)[rng.integers(len(true))] for label in labels.tolist()]
        batch = _tensor(np.stack([source[rng.integers(len(source))] for source in sources]))
        batch = torch.where(torch.from_numpy(rng.random(BATCH) < 0.5)[:, None, None, None], batch.flip(3), batch)
        tint = 1 + TINT * torch.from_numpy(rng.uniform(-1, 1, (BATCH, 3, 1, 1)).astype(np.float32))
        loss = nn.functional.binary_cross_entropy_with_logits(judge(_noisy(batch, rng) * tint), labels.float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        slope.step()
    return judge.eval()


def _tensor(pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def _noisy(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    return pictures + NOISE * torch.from_numpy(rng.standard_normal(pictures.shape, np.float32))


@torch.no_grad()
def _logits(judge: MouthJudge, pictures: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(len(pictures))
    parts = [judge(_noisy(_tensor(pictures[n : n + BATCH]), rng)) for n in range(0, len(pictures), BATCH)]
    return torch.cat(parts).numpy()
