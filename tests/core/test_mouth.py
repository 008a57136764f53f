"""The mouth's shape and the warp of the portrait to it, against inputs whose answer is known."""

from __future__ import annotations

import logging
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.assets import ASSETS, PORTRAITS
from diffused_heads.diffused_heads_core.conditioning import HeadState
from diffused_heads.diffused_heads_core.config import (
    AudioConfig,
    FeatureGroup,
    ModelConfig,
    MouthConfig,
    SpatialInput,
    UNetConfig,
)
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.evaluation import readers
from diffused_heads.diffused_heads_core.evaluation.models import identity_mesh
from diffused_heads.diffused_heads_core.face.alignment import Placement
from diffused_heads.diffused_heads_core.face.finder import Face
from diffused_heads.diffused_heads_core.face.portrait import place_portrait
from diffused_heads.diffused_heads_core.face.portrait_mesh import mesh_in_frame
from diffused_heads.diffused_heads_core.media.pictures import load_picture
from diffused_heads.diffused_heads_core.mouth.face_mesh import (
    CLOSED,
    LIPS,
    MIDDLE,
    SLACK,
    check_mesh,
    face_mesh,
    fit_similarity,
    usual_mesh,
)
from diffused_heads.diffused_heads_core.mouth.lip_shape import LipShape, at_rate, windows
from diffused_heads.diffused_heads_core.mouth.scene import LowerFace, _Head
from diffused_heads.diffused_heads_core.mouth.warp import OUTER_LIPS, lip_maps, warp_map, warped
from diffused_heads.diffused_heads_core.pose import HeadGeometry, rotation_matrix
from diffused_heads.diffused_heads_core.talking_head import TalkingHead
from diffused_heads.diffused_heads_core.unet import UNet

SIZE = 256
AUDIO = AudioConfig(mels=8, channels=8, embedding=8)


def mouth_config(**changes: object) -> ModelConfig:
    """A tiny model that paints the mouth alone."""
    unet = UNetConfig(
        image_size=96,
        image_height=80,
        model_channels=8,
        channel_mult=(1, 1),
        res_blocks=1,
        head_channels=8,
        norm_groups=4,
        unshuffle=4,
        prediction="x0",
        learned_variance=False,
        skip=("identity",),
        spatial=tuple(SpatialInput(*s) for s in (("motion", 6), ("identity", 3), ("still", 3), ("lips", 2))),
        features=(FeatureGroup("audio", 8, 2),),
    )
    model = {"unet": unet, "audio": AUDIO, "head_motion": True, "sampler": "ddim", "steps": 1, "mouth": MouthConfig()}
    return ModelConfig(**{**model, **changes})


def usual() -> np.ndarray:
    return usual_mesh(HeadGeometry(), SIZE)


def picture(seed: int = 0) -> np.ndarray:
    """Smooth colours, float32 (256, 256, 3) in [-1, 1]."""
    x, y = np.meshgrid(np.linspace(0, 1, SIZE), np.linspace(0, 1, SIZE))
    return np.stack([np.sin(7 * x + seed), np.cos(5 * y), np.sin(6 * (x + y))], -1).astype(np.float32)


def test_a_similarity_is_recovered():
    turn = rotation_matrix(*np.array([0.3, -0.2, 0.1]))
    points = face_mesh().mean
    found = fit_similarity(points, 40 * points @ turn.T + (3, -5, 7))
    assert found.scale == pytest.approx(40)
    np.testing.assert_allclose(found.turn, turn, atol=1e-9)
    np.testing.assert_allclose(found.inverse(found(points)), points, atol=1e-9)


def test_the_mean_face_is_symmetric_and_its_mouth_is_closed():
    face = face_mesh()
    np.testing.assert_allclose(face.mean[face.pairs] * (-1, 1, 1), face.mean, atol=2e-3)
    assert abs(face.gaps(face.mean)[MIDDLE].mean()) < 0.06
    flat = face.basis.reshape(len(face.basis), -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-4)


@pytest.mark.parametrize("turned", [0.0, 0.5])
def test_an_open_portrait_is_closed_and_a_closed_one_stays_closed(turned: float):
    face, turn = face_mesh(), rotation_matrix(*np.array([turned, 0.1, 0.0]))
    for opening in (0.0, 0.7, 1.5):
        opened = face.mean + face.shape(np.array([opening * face.deviations[0], *np.zeros(11)]) * _opens(face))
        portrait = 64 * opened @ turn.T + (128, 115, 0)
        found = fit_similarity(opened, portrait).inverse(portrait) - face.shape(face.closing(portrait, 12))
        assert face.gaps(found)[MIDDLE].mean() < CLOSED + SLACK
    assert face.gaps(opened)[MIDDLE].mean() > 0.08


def test_a_mouth_known_to_be_closed_is_not_changed():
    face = face_mesh()
    closed = face.mean - face.shape(face.shutting(face.mean, 12))
    assert np.abs(face.gaps(closed)[MIDDLE] - CLOSED).max() < 0.01
    assert not face.shutting(closed, 12).any()


def test_closing_tells_how_far_a_mouth_is_opened():
    face = face_mesh()
    step = face.deviations[0] * _opens(face)
    amounts = [face.closing(face.mean + face.shape(c * step * np.eye(12)[0]), 12)[0] for c in range(3)]
    np.testing.assert_allclose(np.diff(amounts), step, rtol=0.35)


def _opens(face: object) -> float:
    return float(np.sign(face.gaps(face.basis[0])[MIDDLE].mean()))


def test_the_same_mesh_gives_the_same_picture():
    mesh, box = usual(), (56, 110, 200, 256)
    places = warp_map(mesh, mesh, box)
    y, x = np.mgrid[box[1] : box[3], box[0] : box[2]]
    np.testing.assert_allclose(places, np.stack([x, y], -1), atol=0.6)
    assert np.abs(places - np.stack([x, y], -1)).mean() < 0.02


def test_a_shifted_face_is_found_where_it_was_and_far_around_it_nothing_moves():
    mesh = usual()
    places = warp_map(mesh, mesh + (4, -3, 0), (0, 0, SIZE, SIZE))
    x, y = (int(v) for v in mesh[OUTER_LIPS, :2].mean(0) + (4, -3))
    np.testing.assert_allclose(places[y, x], (x - 4, y + 3), atol=1e-3)
    np.testing.assert_allclose(places[2, 2], (2, 2), atol=1e-6)
    moved = warped(picture(), places)
    np.testing.assert_allclose(moved[y, x], picture()[y + 3, x - 4], atol=1e-3)


def test_lip_maps_have_the_area_of_the_lips():
    mesh = usual() - (80, 137, 0)
    x, y = mesh[OUTER_LIPS, :2].T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    maps = lip_maps(mesh, 96, 80)
    outline = np.hypot(x - np.roll(x, 1), y - np.roll(y, 1)).sum()
    assert area <= maps[0].sum() <= area + outline  # OpenCV draws the outline's pixels too
    assert (maps[1] <= maps[0] + 0.5).all()


def planted_shape(odds: float) -> LipShape:
    """One whose opening is 0.5 whatever the sound, and whose lips are closed with these log odds."""
    shape = LipShape(4, 3, 1)
    with torch.no_grad():
        for layer in (shape.linear, shape.closure):
            layer.weight.zero_()
        shape.linear.bias.copy_(torch.tensor([0.25, 0.0, 0.0]))
        shape.closure.bias.fill_(odds)
        shape.reading.copy_(torch.tensor([2.0, 0.0, 0.0]))
        shape.direction.copy_(torch.tensor([0.5, 1.0, 0.0]))
    return shape.requires_grad_(False)


@pytest.mark.parametrize(("odds", "opening", "width"), [(-20.0, 0.5, 0.0), (0.0, 0.25, -0.25), (20.0, 0.0, -0.5)])
def test_lips_close_as_far_as_that_is_probable(odds: float, opening: float, width: float):
    shape = planted_shape(odds)
    found = shape(torch.zeros(1, 5, 4))[0, 2]
    assert float(found @ shape.reading) == pytest.approx(opening, abs=1e-6)
    assert float(found[1]) == pytest.approx(width, abs=1e-6)


def test_windows_repeat_the_ends_and_rates_are_interpolated():
    rows = torch.arange(4.0)[None, :, None]
    assert windows(rows, 1)[0].tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]
    twice = at_rate(rows[0], 8, Fraction(50), 25)[:, 0]
    torch.testing.assert_close(twice, torch.tensor([0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]))


def scene(states: HeadState | None = None, frames: int = 3) -> LowerFace:
    identity = torch.from_numpy(picture()).permute(2, 0, 1)[None]
    return LowerFace(mouth_config(), identity, usual()[None], np.zeros((frames, 12)), states)


def test_painting_changes_the_mouth_and_nothing_outside_the_lower_face():
    made, face = scene(), face_mesh()
    made.coefficients[0, 0] = face.deviations[0] * _opens(face)
    made.spatial(0, [made.first] * 2)
    frame = made.finished(0, torch.ones_like(made.first))[0].permute(1, 2, 0).numpy()
    x, y = made.heads[0].moved(made.coefficients[0], None)[LIPS, :2].mean(0).astype(int)
    np.testing.assert_allclose(frame[y, x], 1, atol=0.02)
    np.testing.assert_allclose(frame[:, :, 0][y - 20, x], picture()[y - 20, x, 0], atol=0.05)
    np.testing.assert_allclose(frame[:100], picture()[:100], atol=1e-6)
    np.testing.assert_allclose(frame[:, :50], picture()[:, :50], atol=1e-6)


def test_lips_never_cross():
    head, face = _Head(picture(), usual(), 12), face_mesh()
    closing = -5 * face.deviations[0] * _opens(face) * np.eye(12)[0]
    assert face.gaps(head.pose.inverse(head.moved(closing, None))).min() >= -1e-9


def model(config: ModelConfig | None = None) -> TalkingHead:
    torch.manual_seed(0)
    config = config or mouth_config()
    return TalkingHead(config, UNet(config.unet), None, lip_shape=LipShape(8, 12, 2).eval())


def test_a_model_of_the_mouth_gives_whole_frames():
    made = model()
    portrait = ((picture() + 1) * 127.5).astype(np.uint8)
    frames = list(made.generate(portrait, torch.zeros(4, 8)))
    assert len(frames) == 4 and frames[0].shape == (SIZE, SIZE, 3)
    both = np.stack([portrait, portrait[::-1].copy()])
    meshes = np.stack([usual(), usual() + (2, 0, 0)])
    batch = list(made.generate(both, torch.zeros(4, 8), mesh=meshes))
    alone = list(made.generate(both[1], torch.zeros(4, 8), mesh=meshes[1]))
    assert batch[3].shape == (2, SIZE, SIZE, 3)
    assert np.abs(batch[3][1].astype(int) - alone[3]).max() <= 1


def test_wrong_meshes_are_named():
    with pytest.raises(DiffusedHeadsError, match=r"face mesh: expected finite points \(468, 3\), found \(68, 2\)"):
        check_mesh(np.zeros((68, 2)))
    with pytest.raises(DiffusedHeadsError, match="window"):
        MouthConfig(window=(200, 137, 96, 80))
    with pytest.raises(DiffusedHeadsError, match="'lips'"):
        mouth_config(unet=UNetConfig(spatial=(SpatialInput("motion", 6), SpatialInput("identity", 3))))


class _Finder:
    def __init__(self, found: Face | None):
        self.found = found

    def track(self, frame: np.ndarray, previous: Face) -> Face | None:
        return self.found


def _face(landmarks: np.ndarray) -> Face:
    return Face((0, 0, 1, 1), 1.0, np.zeros((6, 2)), landmarks, 1.0)


def test_the_mesh_of_a_found_face_is_carried_into_the_frame():
    placement = Placement(np.array([[1 / 512, 0, 0], [0, 1 / 512, 0]]))
    frame = np.zeros((SIZE, SIZE, 3), np.uint8)
    found = mesh_in_frame(frame, _face(2 * usual()), placement, HeadGeometry(), lambda: _Finder(None))
    np.testing.assert_allclose(found, usual(), atol=1e-9)


def test_without_a_found_face_the_frame_is_looked_at_and_else_the_usual_place_taken(caplog):
    placement, frame = Placement(np.eye(2, 3) / SIZE), np.zeros((SIZE, SIZE, 3), np.uint8)

    def missing() -> _Finder:
        raise DiffusedHeadsError("no networks")

    near, far = usual() + (5, 0, 0), usual() + (90, 0, 0)
    seen = mesh_in_frame(frame, None, placement, HeadGeometry(), lambda: _Finder(_face(near)))
    np.testing.assert_allclose(seen, near)
    with caplog.at_level(logging.WARNING):
        for finder in (missing, lambda: _Finder(None), lambda: _Finder(_face(far))):
            found = mesh_in_frame(frame, None, placement, HeadGeometry(), finder)
            np.testing.assert_allclose(found, usual())
    assert [r.getMessage().count("usually has it") for r in caplog.records] == [1, 1, 1]


def test_meshes_of_an_evaluations_identity_frames_load_the_networks_once(monkeypatch):
    loaded = []
    monkeypatch.setattr(readers, "load_face_models", loaded.append)
    monkeypatch.setattr(readers, "FaceFinder", lambda models: _Finder(_face(usual() + (5, 0, 0))))
    readers.loaded_finder.cache_clear()
    head = SimpleNamespace(config=mouth_config())
    meshes = [identity_mesh(head, np.zeros((SIZE, SIZE, 3), np.uint8), name) for name in ("first", "second")]
    readers.loaded_finder.cache_clear()
    assert len(loaded) == 1
    for mesh in meshes:
        np.testing.assert_allclose(mesh, usual() + (5, 0, 0))


def test_bundled_portraits_bring_their_meshes_and_need_no_networks():
    def missing() -> _Finder:
        raise AssertionError("the networks were asked for")

    for path in ASSETS.glob(PORTRAITS):
        portrait = place_portrait(load_picture(path), mouth_config(), finder=missing)
        eyes = portrait.mesh[[33, 133, 362, 263], :2].mean(0) / SIZE
        np.testing.assert_allclose(eyes, (0.5, 0.45), atol=0.03)
