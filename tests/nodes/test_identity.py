"""From pictures to identities, crops and masks, and what travels along for pasting back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.config import ModelConfig, UNetConfig
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.alignment import crop, head_mask, whole_placement
from diffused_heads.diffused_heads_core.face.finder import Face, Search
from diffused_heads.diffused_heads_core.face.placing import Placing
from diffused_heads.diffused_heads_core.media.pictures import square_crop_resize
from diffused_heads.diffused_heads_core.talking_head import TalkingHead
from diffused_heads.nodes.convert import image_to_uint8

CONFIG = ModelConfig(unet=UNetConfig(image_size=32))


class Finder:
    """Finds one face, tilted; where depends on the picture's first pixel, so that rows of a batch differ."""

    def search(self, picture: np.ndarray) -> Search:
        x = 20 + picture[0, 0, 0] % 10
        points = np.array([(x - 6, 28), (x + 6, 31), (x, 37), (x, 42), (x, 30), (x, 30)], float)
        return Search([Face((x - 12.0, 15.0, x + 12.0, 50.0), 0.9, points)], ("all",), 0.9)


@pytest.fixture
def take_identity(host: SimpleNamespace) -> Callable[..., Any]:
    return host.node("identity", "take_identity")


def nobody() -> Finder:
    return pytest.fail("a face was looked for")


def test_squares_of_whole_pictures(take_identity: Any, portraits: torch.Tensor) -> None:
    identity, crops, mask = take_identity(portraits, CONFIG, Placing("whole"), nobody)
    assert identity.pictures.shape == (2, 32, 32, 3) and crops.shape == (2, 60, 60, 3) and mask.shape == (2, 80, 60)
    assert torch.equal(image_to_tensor(crops), image_to_tensor(portraits[:, 5:65]))
    for found, picture in zip(identity.pictures, image_to_uint8(portraits)):
        assert np.array_equal(found, square_crop_resize(picture, 32))
    assert np.array_equal(mask[0].numpy(), head_mask(whole_placement(80, 60), 80, 60))


def image_to_tensor(image: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(image_to_uint8(image))


def test_faces_have_a_placement_each_and_crops_one_size(take_identity: Any, portraits: torch.Tensor) -> None:
    identity, crops, masks = take_identity(portraits, CONFIG, Placing(), Finder)
    first, second = identity.placements
    assert not np.allclose(first.matrix, second.matrix)
    side = max(round(p.side) for p in identity.placements)
    assert crops.shape == (2, side, side, 3)
    for row, (placement, picture) in enumerate(zip(identity.placements, image_to_uint8(portraits))):
        assert np.array_equal(identity.pictures[row], crop(picture, placement, 32))
        assert np.array_equal(masks[row].numpy(), head_mask(placement, 80, 60))
    assert torch.equal(identity.source, portraits) and torch.equal(identity.masks, masks)


def test_alpha_travels_along_but_the_model_sees_white(take_identity: Any, portraits: torch.Tensor) -> None:
    clear = torch.cat([portraits, torch.zeros(2, 80, 60, 1)], -1)
    identity, _, _ = take_identity(clear, CONFIG, Placing("whole"), nobody)
    assert torch.equal(identity.source, clear) and (identity.pictures == 255).all()


def test_errors_name_the_picture_of_the_batch(take_identity: Any, portraits: torch.Tensor) -> None:
    finder = SimpleNamespace(search=lambda picture: Search([], ("all",), 0.1))
    with pytest.raises(DiffusedHeadsError, match="image 0: no face"):
        take_identity(portraits, CONFIG, Placing(), lambda: finder)
    with pytest.raises(DiffusedHeadsError, match="image: no face"):
        take_identity(portraits[:1], CONFIG, Placing(), lambda: finder)
    with pytest.raises(DiffusedHeadsError, match="found none"):
        take_identity(None, CONFIG, Placing(), nobody)


def test_the_node(host: SimpleNamespace, head: TalkingHead, portraits: torch.Tensor) -> None:
    node = host.node("identity", "LoadIdentity")
    identity, crops, mask = node.execute(
        torch.cat([portraits, portraits[..., :1]], -1), SimpleNamespace(head=head), face="whole"
    ).args
    assert identity.pictures.shape == (2, 32, 32, 3) and crops.shape == (2, 60, 60, 3) and mask.shape == (2, 80, 60)
    _, crops, _ = node.execute(portraits, SimpleNamespace(head=head), 0.5, 1.0, 0.5).args
    assert torch.equal(image_to_tensor(crops), image_to_tensor(portraits[:, 50:80, 15:45]))


def test_what_to_expect_of_a_portrait_is_shown_on_the_node(host: SimpleNamespace) -> None:
    """A head smaller than the model's frame: one line in the log and on the node that is executed."""
    small = torch.rand(1, 20, 16, 3)
    model = SimpleNamespace(head=SimpleNamespace(config=CONFIG))
    node = host.node("identity", "LoadIdentity")
    node.execute(image=small, model=model, face="whole")
    assert "16 of the model's 32 pixels" in host.shown.pop("7")
    node.execute(image=torch.rand(1, 80, 60, 3), model=model, face="whole")
    assert not host.shown
    host.executing = None  # as where a node is called from Python
    node.execute(image=small, model=model, face="whole")
    assert not host.shown


def test_a_picture_without_a_face_is_shown_with_a_box_to_begin_with(host: SimpleNamespace) -> None:
    """The error names the widgets and their values, and the preview shows that square in red."""
    node = host.node("identity", "LoadIdentity")
    finder = SimpleNamespace(search=lambda picture: Search([], ("all",), 0.4, np.array([100.0, 60.0, 160.0, 120.0])))
    vars(sys.modules[node.__module__])["face_finder"] = lambda: finder
    model = SimpleNamespace(head=SimpleNamespace(config=CONFIG))
    words = r"set face to box, x to 0\.33, y to 0\.30 and box size to 0\.40 \(the red square in the preview\)"
    with pytest.raises(DiffusedHeadsError, match=words) as caught:
        node.execute(image=torch.full((1, 300, 400, 3), 0.5), model=model)
    assert "--box" not in str(caught.value)
    ((event, head, _),) = host.messages  # the page's head editor begins with that square
    assert event == "diffused_heads.head"
    assert (head["x"], head["y"], head["size"]) == pytest.approx((0.325, 0.3, 0.4), abs=0.005)
    kind, shown, _ = host.progress[-1][2]
    red = np.argwhere((np.asarray(shown) == (255, 0, 0)).all(-1))
    assert kind == "JPEG" and shown.size == (400, 300)
    assert red.min(0) == pytest.approx([30, 70], abs=3) and red.max(0) == pytest.approx([150, 190], abs=3)


def test_a_download_is_announced_on_the_node(host: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    finder = host.node("runtime", "face_finder")
    runtime = sys.modules[finder.__module__]

    def load(host_folder: Any, progress: Any) -> None:
        for done in (1, 2):
            progress("face.tflite", done * 10**6, 2 * 10**6)

    monkeypatch.setattr(runtime, "load_face_models", load)
    monkeypatch.setattr(runtime, "FaceFinder", lambda models: models)
    finder()
    assert host.shown["7"].startswith("downloading face.tflite (2.0 MB) into ")
    assert [(done, total) for done, total, _ in host.progress] == [(10**6, 2 * 10**6), (2 * 10**6, 2 * 10**6)]
