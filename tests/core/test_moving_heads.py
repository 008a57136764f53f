"""The bundled model of the mouth, all the way to pictures: one head, transparent, and several heads in one picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.assets import PORTRAITS, RECORDINGS, bundled_file
from diffused_heads.diffused_heads_core.conversation.animation import animate_several
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.finder import FaceFinder
from diffused_heads.diffused_heads_core.media.audio import load_audio
from diffused_heads.diffused_heads_core.media.pictures import load_picture
from diffused_heads.diffused_heads_core.motion import MotionClip, MotionTrack
from diffused_heads.diffused_heads_core.pipeline import animate
from diffused_heads.diffused_heads_core.talking_head import TalkingHead, load_model


@pytest.fixture(scope="module")
def model() -> TalkingHead:
    return load_model("portrait", "cpu", engine="pytorch")


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return load_picture(bundled_file(PORTRAITS))


def turning(frames: int = 5) -> MotionClip:
    track = MotionTrack.still(frames)
    track.pose[:, 0] = np.linspace(0, 0.3, frames)
    return MotionClip(track, 25)


def made(model: TalkingHead, picture: np.ndarray, **changes: object) -> np.ndarray:
    speech = load_audio(bundled_file(RECORDINGS), 0.6, 0.2, None)
    return np.stack(list(animate(picture, speech, model, steps=1, **changes).frames()))


def test_the_head_turns_and_the_corners_of_the_picture_stay(model: TalkingHead, picture: np.ndarray):
    frames = made(model, picture, track=turning())
    assert frames.shape == (5, *picture.shape) and frames.dtype == np.uint8
    change = np.abs(frames.astype(int) - picture).max(-1)
    height, width = picture.shape[:2]
    middle = np.s_[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3]
    assert change[4][middle].mean() > 3 * change[0][middle].mean()
    assert change[:, -2:, :2].max() <= 1 and change[:, -2:, -2:].max() <= 1


def test_expression_and_size_are_followed(model: TalkingHead, picture: np.ndarray):
    track = MotionTrack.still(5)
    still = made(model, picture, track=MotionClip(track, 25))
    track.expression[:, 0] = 1
    smiling = made(model, picture, track=MotionClip(track, 25))
    track.size[:] = 0.2
    larger = made(model, picture, track=MotionClip(track, 25))
    assert np.abs(smiling.astype(int) - still).max() > 40
    assert np.abs(larger.astype(int) - smiling).mean() > 1


def test_less_detail_shows_more_of_the_models_frame(model: TalkingHead, picture: np.ndarray):
    still = MotionClip(MotionTrack.still(5), 25)
    full, none = (made(model, picture, track=still, detail=detail)[0] for detail in (1.0, 0.0))

    def sharpness(frame: np.ndarray) -> float:
        return float(np.abs(np.diff(frame.astype(int).sum(-1), axis=1)).mean())

    assert sharpness(none) < 0.95 * sharpness(full)


def test_alpha_turns_with_the_head(model: TalkingHead, picture: np.ndarray):
    matte = made(model, picture, track=turning(), transparent=True)
    assert matte.shape == (5, *picture.shape[:2], 4)
    assert matte[0, 0, 0, 3] < 30 and (matte[..., 3].max((1, 2)) == 255).all()
    alpha = np.where(np.arange(picture.shape[1]) < picture.shape[1] // 2, 255, 0).astype(np.uint8)
    speech = load_audio(bundled_file(RECORDINGS), 0.6, 0.2, None)
    animation = animate(picture, speech, model, steps=1, track=turning(), transparent=True)
    portrait = replace(animation.portrait, alpha=np.tile(alpha, (len(picture), 1)))
    frames = np.stack(list(replace(animation, portrait=portrait).frames()))
    assert (frames[4, ..., 3] != frames[0, ..., 3]).any()
    assert (frames[:, -1, :, 3] != alpha).mean() < 0.01  # the shoulders stay


def test_heads_beside_each_other_move_each_for_itself(model: TalkingHead, picture: np.ndarray):
    both = np.concatenate([picture, picture[:, ::-1]], 1)
    speech = load_audio(bundled_file(RECORDINGS), 0.6, 0.2, None)
    boxes = [(x, 0.5, 1.0) for x in (0.25, 0.75)]

    def missing() -> FaceFinder:
        raise DiffusedHeadsError("no networks")

    clip = animate_several(both, {1: speech}, model, others="still", boxes=boxes, finder=missing, steps=1)
    (first, *_, last) = frames = list(clip.frames())
    assert len(frames) == len(clip) == 5 and first.shape == both.shape
    middle = both.shape[1] // 2
    change = np.abs(last.astype(int) - both).max((0, 2))
    assert change[: middle - 60].max() > 20 and change[middle + 60 :].max() == 0
