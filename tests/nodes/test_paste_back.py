"""Clips back into their pictures: which identity, memory, masks, and that nothing else changes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.config import ModelConfig, UNetConfig
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.placing import Placing
from diffused_heads.nodes.convert import image_to_uint8, uint8_to_image
from diffused_heads.nodes.sockets import Identity


@pytest.fixture
def identity(host: SimpleNamespace) -> Identity:
    """Two smooth pictures of 200 x 240 with a box in each."""
    y, x = np.mgrid[:240, :200]
    pictures = np.stack(
        [np.stack([x % 256, y % 256, (x + y) // 2], -1), np.stack([y % 256, (x + y) // 2, x % 256], -1)]
    ).astype(np.uint8)
    placing = Placing("box", x=0.5, y=0.4, size=0.6)
    config = ModelConfig(unet=UNetConfig(image_size=32))
    take_identity = host.node("identity", "take_identity")
    return take_identity(uint8_to_image(pictures), config, placing, lambda: pytest.fail("a face was looked for"))[0]


@pytest.fixture
def node(host: SimpleNamespace):
    return host.node("paste_back", "PasteBack")


def test_the_crop_itself_changes_nothing_outside_and_next_to_nothing_inside(node, identity: Identity) -> None:
    clips = [uint8_to_image(np.stack([picture] * 3)) for picture in identity.pictures]
    (pasted,) = node.execute(clips, [identity], [25.0]).args
    assert len(pasted) == 2
    for row, clip in enumerate(pasted):
        assert clip.shape == (3, 240, 200, 3)
        difference = (clip - identity.source[row]).abs() * 255
        inside = identity.masks[row] > 0
        assert inside.any() and float(difference[:, ~inside].max()) == 0 and float(difference[:, inside].mean()) < 2


def test_each_clip_goes_into_its_own_picture_and_several_into_the_only_one(
    node, host: SimpleNamespace, identity: Identity
) -> None:
    rows_of = host.node("paste_back", "rows_of")
    dark = [torch.zeros(1, 64, 64, 3)] * 2
    (pasted,) = node.execute(dark, [identity], [25.0], match_colour=[False], detail=[0.0]).args
    for row, clip in enumerate(pasted):
        outside = identity.masks[row] == 0
        assert torch.equal(clip[0][outside], identity.source[row][outside])
        assert float(clip[0][identity.masks[row] == 1].max()) == 0
    assert rows_of(3, 1) == [0, 0, 0] and rows_of(2, 2) == [0, 1]
    with pytest.raises(DiffusedHeadsError, match="found 2 for 3"):
        rows_of(3, 2)


def test_a_given_mask_and_a_smaller_picture(node, host: SimpleNamespace, identity: Identity) -> None:
    nothing = torch.zeros(1, 60, 50)
    (pasted,) = node.execute([torch.zeros(1, 32, 32, 3)] * 2, [identity], [25.0], mask=[nothing], max_side=[120]).args
    assert pasted[0].shape == (1, 120, 100, 3)
    picture, placement, mask = host.node("paste_back", "canvas")(identity, 0, 120)
    assert image_to_uint8(pasted[0][0]).tolist() == image_to_uint8(picture).tolist()
    assert placement.side == pytest.approx(identity.placements[0].side / 2) and mask.shape == (120, 100)


def test_what_cannot_be_pasted(node, host: SimpleNamespace, identity: Identity) -> None:
    with pytest.raises(DiffusedHeadsError, match="square frames"):
        node.execute([torch.zeros(1, 32, 30, 3)] * 2, [identity], [25.0])
    with pytest.raises(DiffusedHeadsError, match="expected 1 or 2 masks, found 3"):
        node.execute([torch.zeros(1, 32, 32, 3)] * 2, [identity], [25.0], mask=[torch.zeros(3, 8, 8)])
    host.free_memory = 8 * 2**30
    with pytest.raises(
        DiffusedHeadsError, match=r"750 frames of 4000x3000 take 100\.6 GB, 8\.0 GB are free; .*max_side"
    ):
        host.node("paste_back", "check_memory")(750, torch.empty(3000, 4000, 3, device="meta"))


def test_interruption_and_progress(node, host: SimpleNamespace, identity: Identity) -> None:
    host.stop_at = 2
    with pytest.raises(host.Stop):
        node.execute([torch.zeros(4, 32, 32, 3)] * 2, [identity], [25.0])
    assert [value for value, *_ in host.progress] == [1, 2]
