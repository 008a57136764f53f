"""Preparation with the face networks: drawn portraits that move, and real clips where they are at hand."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffused_heads.diffused_heads_core.assets import ASSETS
from diffused_heads.diffused_heads_core.data.shards import Dataset
from diffused_heads.diffused_heads_core.data.tracks import track_of
from diffused_heads.diffused_heads_core.face.alignment import align
from diffused_heads.diffused_heads_core.face.finder import stable_points
from diffused_heads.diffused_heads_core.face.networks import DETECTOR, IRISES
from diffused_heads.diffused_heads_core.media.pictures import load_picture
from diffused_heads.training.preparation.prepare import Networks, prepare
from diffused_heads.training.preparation.report import explain
from diffused_heads.training.preparation.settings import Settings
from diffused_heads.training.synthesis.avatars.avatar import sample_avatar
from diffused_heads.training.synthesis.avatars.render import render
from diffused_heads.training.synthesis.expression import index, neutral

sys.path.insert(0, str(Path(__file__).parent))
from prepare_stage import RATE, record

SHARED = Path(__file__).resolve().parents[3] / "shared"
MODELS, CLIPS = SHARED / "face_models", SHARED / "real_inputs" / "video"
pytestmark = pytest.mark.skipif(not (MODELS / DETECTOR.name).is_file(), reason=f"the face networks are not in {MODELS}")
real_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason=f"the real clips are not in {CLIPS}")
FRAMES = 45


def performance() -> tuple[np.ndarray, np.ndarray]:
    """Expressions (T, 12) and poses (T, 5) of a head that turns, blinks once and speaks."""
    time = np.arange(FRAMES) / 25
    expression, pose = neutral(FRAMES), np.zeros((FRAMES, 5))
    expression[:, index("open")] = np.clip(0.5 + 0.5 * np.sin(2 * np.pi * 2.2 * time), 0, 1)
    for name in ("blink_left", "blink_right"):
        expression[20:24, index(name)] = 0.5, 1, 1, 0.4
    pose[:, 0] = 0.22 * np.sin(2 * np.pi * 0.6 * time)
    pose[:, 2] = 0.10 * np.sin(2 * np.pi * 0.45 * time + 1)
    return expression, pose


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    """A folder with one clip of a speaking avatar in a wide picture, and its lip boxes in pixels of that picture."""
    folder, (expression, pose) = tmp_path_factory.mktemp("avatar"), performance()
    person = sample_avatar(np.random.default_rng(5))
    pictures, boxes = [], []
    for e, p in zip(expression, pose):
        head, truth = render(person, e, p, 240)
        picture = np.full((270, 400, 3), 150, np.uint8)
        picture[30:270, 90:330] = head
        pictures.append(picture)
        boxes.append(truth.lip_box + (90, 30, 90, 30))
    sound = np.repeat(expression[:, index("open")], RATE // 25) * np.sin(np.arange(FRAMES * RATE // 25) * 0.1) * 0.3
    record(folder / "avatar.mp4", pictures, np.arange(FRAMES) / 25, sound.astype(np.float32))
    return folder, boxes


def test_a_drawn_speaker_is_followed_posed_and_measured(avatar: tuple[Path, list[np.ndarray]], tmp_path: Path) -> None:
    folder, boxes = avatar
    expression, pose = performance()
    report = prepare(folder, tmp_path, Settings(size=128), workers=1, progress=False, make_finder=Networks(MODELS))
    assert report["clips"] == 1, explain(report["sources"][0])
    clip = Dataset(tmp_path / "train").clip(0)
    found, found_pose = clip.annotations["expression"], clip.annotations["pose"]
    assert len(clip.frames) == FRAMES
    assert (
        np.corrcoef(found_pose[:, 0], pose[:, 0])[0, 1] > 0.9 and np.corrcoef(found_pose[:, 2], pose[:, 2])[0, 1] > 0.9
    )
    assert np.corrcoef(clip.annotations["mouth_open"], expression[:, index("open")])[0, 1] > 0.8
    blink = found[:, index("blink_left")]
    assert blink[21:23].min() > 0.7 and np.delete(blink, range(18, 26)).max() < 0.3
    # One frame for the whole clip: lip boxes of picture and crop differ by one similarity.
    truth = np.array(boxes).reshape(-1, 2, 2).mean(1)
    mine = clip.annotations["lip_box"].reshape(-1, 2, 2).mean(1)
    change, *_ = np.linalg.lstsq(np.column_stack([truth, np.ones(FRAMES)]), mine, rcond=None)
    assert np.abs(np.column_stack([truth, np.ones(FRAMES)]) @ change - mine).max() < 4


def test_the_whole_motion_is_measured_if_asked(
    avatar: tuple[Path, list[np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (MODELS / IRISES.name).is_file():
        pytest.skip(f"the networks that measure motion are not in {MODELS}")
    monkeypatch.setenv("DIFFUSED_HEADS_FACE_MODELS", str(MODELS))
    settings = Settings(size=128, motion=True)
    report = prepare(avatar[0], tmp_path, settings, workers=1, progress=False, make_finder=Networks(MODELS))
    assert report["clips"] == 1, explain(report["sources"][0])
    data, (_, pose) = Dataset(tmp_path / "train"), performance()
    track = track_of(data.clip(0).annotations)
    assert track is not None and len(track) == FRAMES and "motion" in data.header["annotations"]
    for column in (0, 2):
        assert np.corrcoef(track.pose[:, column], pose[:, column])[0, 1] > 0.9
    assert settings.of_clips() != Settings(size=128).of_clips()


def test_the_crop_is_that_of_generation(tmp_path: Path) -> None:
    portrait = next(iter(sorted(ASSETS.glob("portrait-*.png"))))
    picture = np.full((300, 420, 3), 120, np.uint8)
    picture[40:296, 80:336] = cv2.resize(load_picture(portrait)[..., :3], (256, 256))
    moving = [cv2.convertScaleAbs(picture, alpha=1 + 0.02 * math.sin(n)) for n in range(30)]
    finder = Networks(MODELS)()
    single = align(stable_points(finder.find(picture)[0]))
    from diffused_heads.training.preparation.segments import place, trajectory
    from diffused_heads.training.preparation.video import analyse

    found = analyse(record(tmp_path / "a.mp4", moving, np.arange(30) / 25), Settings(), finder)
    corners = place(trajectory(found.tracks[0], Settings()), slice(None)).corners
    assert (
        len(found.tracks) == 1
        and len(found.tracks[0]) == 30
        and np.abs(corners - single.corners).max() < 0.03 * single.side
    )


@real_clips
def test_real_clips(tmp_path: Path) -> None:
    """Two that speak, one of them of 29.97 frames/s, one without sound, one damaged and silent."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("LipNet_lwbsza.mpg", "EAMM_happy.mp4", "EAMM_sad.mp4"):
        (folder / name).write_bytes((CLIPS / name).read_bytes())
    report = prepare(
        folder,
        tmp_path / "out",
        Settings(size=64, validation=0),
        workers=1,
        progress=False,
        make_finder=Networks(MODELS),
    )
    lines = {source["name"]: explain(source) for source in report["sources"]}
    assert lines["LipNet_lwbsza.mpg"] == "1 clips, 3.0 s" and "there is no sound" in lines["EAMM_happy.mp4"]
    assert "silent" in lines["EAMM_sad.mp4"] and "110 of 157 pictures decode" in lines["EAMM_sad.mp4"]
    clip = Dataset(tmp_path / "out" / "train").clip(0)
    eyes = clip.annotations["landmarks"][:, 36:48].reshape(-1, 2, 6, 2).mean(2)
    assert np.abs(np.median(eyes, 0) / 64 - [(0.375, 0.45), (0.625, 0.45)]).max() < 0.03
    steps = np.abs(np.diff(clip.annotations["pose"], axis=0)).mean(0)
    assert (steps[:3] < 0.02).all() and (steps[3:] < 0.005).all()
