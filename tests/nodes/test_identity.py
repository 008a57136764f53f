"""Which square of a picture becomes the identity, and where the head's mask lies in it."""
from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.pictures import square_crop_resize
from diffused_heads.diffused_heads_core.pose import HeadGeometry
from diffused_heads.diffused_heads_core.talking_head import TalkingHead
from diffused_heads.nodes.convert import image_to_uint8
from diffused_heads.nodes.portraits import Square, choose_square, head_mask, take_identity


@pytest.mark.parametrize("height, width, x, y, size, want", [
    (100, 100, 0.5, 0.5, 0, Square(0, 0, 100)), (180, 100, 0.5, 0.5, 0, Square(0, 20, 100)), (100, 300, 0.9, 0.9, 0, Square(100, 0, 100)),
    (100, 300, 0.5, 0.5, 0.5, Square(125, 25, 50)), (100, 300, 1.0, 0.0, 0.4, Square(260, 0, 40)), (100, 300, 0.0, 1.0, 1.0, Square(0, 0, 100)),
    (200, 100, 0.5, 0.25, 0.6, Square(20, 20, 60))])
def test_squares(height: int, width: int, x: float, y: float, size: float, want: Square) -> None:
    assert choose_square(height, width, x, y, size) == want


@pytest.mark.parametrize("change, word", [
    ({"x": -0.1}, "x=-0.1"), ({"y": 1.1}, "y=1.1"), ({"size": math.nan}, "size=nan"), ({"size": 0.1}, "10 pixels"), ({"height": 8}, "8 pixels")])
def test_squares_that_cannot_be(change: dict, word: str) -> None:
    with pytest.raises(DiffusedHeadsError) as caught:
        choose_square(**{"height": 100, "width": 100, **change})
    assert word in str(caught.value)


def test_the_mask_is_the_head_of_the_geometry() -> None:
    """Centre and area of the ellipse, in a square that is not the whole picture."""
    mask, geometry = head_mask(300, 500, Square(200, 50, 200), HeadGeometry()), HeadGeometry()
    assert mask.shape == (300, 500) and float(mask.min()) == 0 and float(mask.max()) == 1
    rows, columns = torch.meshgrid(torch.arange(300) + 0.5, torch.arange(500) + 0.5, indexing="ij")
    assert float((mask * columns).sum() / mask.sum()) == pytest.approx(200 + 200 * geometry.centre[0], abs=0.5)
    assert float((mask * rows).sum() / mask.sum()) == pytest.approx(50 + 200 * geometry.centre[1], abs=0.5)
    ellipse = math.pi * geometry.radii[0] * geometry.radii[1] * 200**2
    assert ellipse < float(mask.sum()) < 1.2**2 * ellipse
    assert mask[50 + 94, 200 + 100] == 1 and mask[50 + 94, 200 + 195] == 0
    assert ((mask > 0) & (mask < 1)).any()


def test_identities_crops_and_masks(portraits: torch.Tensor) -> None:
    identity, crop, mask = take_identity(portraits, 32, HeadGeometry())
    assert identity.pictures.shape == (2, 32, 32, 3) and crop.shape == (2, 60, 60, 3) and mask.shape == (2, 80, 60)
    assert torch.equal(crop, portraits[:, 5:65])
    for found, picture in zip(identity.pictures, image_to_uint8(portraits)):
        assert np.array_equal(found, square_crop_resize(picture, 32))
    chosen, crop, _ = take_identity(portraits, 32, HeadGeometry(), 0.5, 1.0, 0.5)
    assert torch.equal(crop, portraits[:, 50:80, 15:45]) and not np.array_equal(chosen.pictures, identity.pictures)
    crop.zero_()
    assert float(portraits[:, 50:80, 15:45].min()) >= 0 and portraits[:, 50:80, 15:45].any()


def test_the_node(host: SimpleNamespace, head: TalkingHead, portraits: torch.Tensor) -> None:
    node = host.node("identity", "LoadIdentity")
    identity, crop, mask = node.execute(torch.cat([portraits, portraits[..., :1]], -1), SimpleNamespace(head=head)).args
    assert identity.pictures.shape == (2, 32, 32, 3) and crop.shape == (2, 60, 60, 3) and mask.shape == (2, 80, 60)
