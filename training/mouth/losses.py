"""Losses of a painted mouth, and the critic that says whether mouths look real."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...diffused_heads_core.mouth.window import TEETH

AROUND, AT_LIPS = 0.3, 2.0  # weights of the gradient loss everywhere, and in addition around the lips
SEEN = (4, 8)  # px of the window, down and across, that the critic does not see at its borders
MOST = 2.0  # of the balancing weight
SLOPE = 0.2  # of the leaky rectifiers


def painting_losses(painted: Tensor, target: Tensor, around: Tensor) -> dict[str, Tensor]:
    """Losses per sample, (B,), of painted windows (B, 3, H, W) in [-1, 1]; around: (B, 1, H, W), 1 around the lips.

    simple, lip: mean absolute error of the window and around the lips; gradient: of the differences between neighbours.
    """
    error = (painted - target).abs().mean(1, keepdim=True)
    gradients = zip(_differences(painted), _differences(target))
    edges = sum((ours - theirs).abs().mean(1, keepdim=True) for ours, theirs in gradients)
    weight = AROUND + AT_LIPS * around[..., 1:, 1:]
    return {
        "simple": error.flatten(1).mean(1),
        "lip": (error * around).flatten(1).sum(1) / around.flatten(1).sum(1).clamp(min=1),
        "gradient": (edges * weight).flatten(1).mean(1),
    }


def _differences(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Of each pixel to the one below and to the one at its right, (B, C, H - 1, W - 1) each."""
    corner = pictures[..., :-1, :-1]
    return pictures[..., 1:, :-1] - corner, pictures[..., :-1, 1:] - corner


class Critic(nn.Module):
    """Says of patches of a mouth how real they look, given the warped identity frame, the lips' and the teeth's maps.

    A patch discriminator (Isola et al. 2017). Its layers are not normalised: mouths differ by little, and a critic of
    Lipschitz constant 1 could not tell them apart. Only what is painted counts (``inside``): elsewhere true and painted
    mouths are the same.
    """

    def __init__(self, channels: int):
        super().__init__()
        widths = (8 + TEETH, channels, 2 * channels, 4 * channels, 4 * channels)
        shapes = [(4, 2, 1), (4, 2, 1), (3, 1, 1), (3, 1, 1)]  # kernel, stride, padding: patches of 26 px
        self.layers = nn.ModuleList(nn.Conv2d(a, b, *shape) for (a, b), shape in zip(pairwise(widths), shapes))
        self.out = nn.Conv2d(widths[-1], 1, 3, 1, 1)

    def forward(self, mouths: Tensor, *given: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Mouths (B, 3, H, W) -> verdicts (B, 1, h, w), above 0 for real, and all features.

        given: the identity frame (B, 3, H, W), lips (B, 2, H, W) and teeth (B, 7, H, W).
        """
        down, across = SEEN
        seen, features = torch.cat([mouths, *given], 1)[..., down:-down, across:-across], []
        for layer in self.layers:
            seen = F.leaky_relu(layer(seen), SLOPE)
            features.append(seen)
        return self.out(seen), features


def inside(values: Tensor, around: Tensor) -> Tensor:
    """Mean per sample, (B,), of a critic's values (B, C, h, w) where its patches are painted: around (B, 1, H, W)."""
    down, across = SEEN
    weight = F.adaptive_avg_pool2d(around[..., down:-down, across:-across], values.shape[-2:])
    return (values * weight).flatten(1).sum(1) / (values.shape[1] * weight.flatten(1).sum(1)).clamp(min=1e-6)


def critic_loss(real: Tensor, painted: Tensor, around: Tensor) -> Tensor:
    """Hinge loss () of the critic's verdicts (B, 1, h, w) on real and painted mouths (Lim & Ye 2017)."""
    return (inside(F.relu(1 - real), around) + inside(F.relu(1 + painted), around)).mean()


def balance(losses: Tensor, adversarial: Tensor, painted: Tensor) -> float:
    """The weight at which two losses () have gradients of the same norm in what was painted (Esser et al. 2021)."""
    wanted, found = (torch.autograd.grad(loss, painted, retain_graph=True)[0].norm() for loss in (losses, adversarial))
    return float((wanted / (found + 1e-8)).clamp(max=MOST))


def matching_loss(real: list[Tensor], painted: list[Tensor], around: Tensor) -> Tensor:
    """Mean absolute error of the critic's features, summed over layers, per sample (B,) (Wang et al. 2018)."""
    return torch.stack([inside((theirs - ours).abs(), around) for theirs, ours in zip(real, painted)]).sum(0)
