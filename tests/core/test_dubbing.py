"""Dubbing: which frame is shown when, following a face, the mouth's own shape, and what of a frame may change."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

import diffused_heads
from diffused_heads.diffused_heads_core.assets import ASSETS
from diffused_heads.diffused_heads_core.dubbing import source as sources
from diffused_heads.diffused_heads_core.dubbing.dubbing import Dubbing, dub
from diffused_heads.diffused_heads_core.dubbing.movement import Movement
from diffused_heads.diffused_heads_core.dubbing.painting import TRIM, Painted, blend, thinner_lips
from diffused_heads.diffused_heads_core.dubbing.source import Pictures, VideoFile, played, steady
from diffused_heads.diffused_heads_core.dubbing.timeline import Extent, timeline
from diffused_heads.diffused_heads_core.dubbing.tracking import LOOK, Run, Tracks, track
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.alignment import align, whole_placement
from diffused_heads.diffused_heads_core.face.finder import Face
from diffused_heads.diffused_heads_core.face.mesh import eye_centres, stable_landmarks
from diffused_heads.diffused_heads_core.face.placing import Placing
from diffused_heads.diffused_heads_core.face.portrait_mesh import bundled_mesh
from diffused_heads.diffused_heads_core.media.audio import load_audio
from diffused_heads.diffused_heads_core.media.pictures import load_picture
from diffused_heads.diffused_heads_core.media.video import read_video, write_video
from diffused_heads.diffused_heads_core.mouth.face_mesh import face_mesh
from diffused_heads.diffused_heads_core.mouth.scene import LOWER_FACE
from diffused_heads.diffused_heads_core.pose import HeadGeometry, rotation_matrix
from diffused_heads.diffused_heads_core.talking_head import TalkingHead

RATE = Fraction(25)
SPEECH = ASSETS / "speech-weather.wav"
PORTRAIT = load_picture(ASSETS / "portrait-noah.png")
MESH = bundled_mesh(PORTRAIT)


def shown(starts: list[Fraction], end: Fraction, seconds: Fraction, how: str) -> list[tuple[int, Fraction]]:
    return [(each.number, each.start) for each in timeline(starts, end, seconds, how)]


def test_a_short_video_goes_on_as_asked() -> None:
    starts = [Fraction(n, 10) for n in range(4)]

    def numbers(how: str, seconds: Fraction = Fraction(1)) -> list[int]:
        return [number for number, _ in shown(starts, Fraction(4, 10), seconds, how)]

    assert numbers("loop") == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert numbers("ping-pong") == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]
    assert numbers("hold") == [0, 1, 2, 3, 3, 3, 3, 3, 3, 3]
    assert numbers("loop", Fraction(21, 100)) == [0, 1, 2]


def test_uneven_frames_keep_their_durations_backwards_too() -> None:
    starts, end = [Fraction(0), Fraction(1), Fraction(4)], Fraction(6)  # for 1, 3 and 2 seconds
    assert shown(starts, end, Fraction(10), "ping-pong") == [(0, 0), (1, 1), (2, 4), (1, 6), (0, 9)]
    assert shown(starts, end, Fraction(7), "loop") == [(0, 0), (1, 1), (2, 4), (0, 6)]


@pytest.mark.parametrize("length, seconds", [("audio", 3), ("video", 5), ("shorter", 3)])
def test_the_length_is_that_of_recording_or_video(length: str, seconds: int) -> None:
    assert Extent(length).seconds(Fraction(3), Fraction(5)) == seconds
    with pytest.raises(DiffusedHeadsError, match="when_short='never'.*ping-pong, loop, hold"):
        Extent(length, "never")


def levels(count: int) -> Iterator[np.ndarray]:
    """Frames whose grey says their number."""
    return (np.full((32, 48, 3), 10 * number, np.uint8) for number in range(count))


def number_of(picture: np.ndarray) -> int:
    return round(float(picture.mean()) / 10)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_frames_are_played_in_any_order(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"numbers{suffix}"
    write_video(path, levels(24), 25)
    monkeypatch.setattr(sources, "BLOCK", 5 * 32 * 48 * 3)
    video = VideoFile(path)
    times = [begin for begin, _ in video.frames()]
    assert steady(times, video.rate) and video.rate == 25
    wanted = [*range(24), *range(22, 0, -1), *range(24), 23, 23, *range(24), 4, 17]
    assert [number_of(picture) for picture in played(video, wanted)] == wanted
    assert next(video.frames(13))[0] == pytest.approx(13 / 25, abs=2e-3)


def test_uneven_times_survive_in_a_file(tmp_path: Path) -> None:
    path, starts = tmp_path / "uneven.mp4", [Fraction(n, 100) for n in (0, 3, 11, 12, 30, 34)]
    audio = load_audio(SPEECH, 0.0, 0.5)
    assert write_video(path, levels(6), 25, audio, starts=iter(starts)) == 6
    found = list(VideoFile(path).frames())
    np.testing.assert_allclose([begin for begin, _ in found], [float(at) for at in starts], atol=1e-4)
    assert [number_of(picture) for _, picture in found] == [0, 1, 2, 3, 4, 5]
    assert not steady([begin for begin, _ in found], RATE)
    with av.open(str(path)) as container:
        sound = container.streams.audio[0]
        assert float(sound.duration * sound.time_base) == pytest.approx(0.34 + 1 / 25, abs=0.001)


class ScriptedFinder:
    """Finds the face that ``faces`` has for the number in a frame's corner; None: there is none."""

    def __init__(self, faces: dict[int, np.ndarray | None]):
        self.faces, self.searches = faces, 0

    def _at(self, picture: np.ndarray) -> list[Face]:
        mesh = self.faces.get(round(float(picture[:16, :16].mean()) / 4))
        if mesh is None:
            return []
        low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
        keypoints = np.concatenate([eye_centres(mesh), np.zeros((4, 2))])
        return [Face((*low, *high), 1.0, keypoints, mesh, 1.0)]

    def glance(self, picture: np.ndarray) -> list[Face]:
        self.searches += 1
        return self._at(picture)

    def track(self, picture: np.ndarray, previous: Face) -> Face | None:
        return next(iter(self._at(picture)), None)


def numbered(number: int, picture: np.ndarray = PORTRAIT) -> np.ndarray:
    """The picture with a number in its corner."""
    marked = picture.copy()
    marked[:16, :16] = 4 * number
    return marked


def followed(frames: list[np.ndarray], faces: dict[int, np.ndarray | None]) -> tuple[Tracks, ScriptedFinder]:
    finder = ScriptedFinder(faces)
    return track(iter(frames), Placing(), lambda: finder), finder


def test_a_face_is_followed_within_shots_and_back_to_where_it_appeared() -> None:
    assert MESH is not None
    dark = np.zeros_like(PORTRAIT)
    faces = {n: MESH + (n, 0, 0) for n in (*range(6), *range(13, 20), *range(24, 30))}
    frames = [numbered(n, dark if 20 <= n < 24 else PORTRAIT) for n in range(30)]
    tracks, finder = followed(frames, faces)
    # Lost at 6, seen again from 13 on, though the search may only have come later; cuts at 20 and 24.
    assert tracks.runs == [Run(0, 6, True, False), Run(13, 20, False, True), Run(24, 30, True, True)]
    assert (tracks.frames, tracks.shots) == (30, 3) and finder.searches <= 3 + 7 // LOOK + 2
    for run in tracks.runs:
        found = tracks.meshes.read(run, run.first, run.stop)
        np.testing.assert_allclose(found, [faces[n] for n in range(run.first, run.stop)], atol=1e-3)


def test_a_face_that_jumps_is_another_one() -> None:
    assert MESH is not None
    faces = {n: MESH + (300 * (n >= 4), 0, 0) for n in range(8)}
    tracks, _ = followed([numbered(n) for n in range(8)], faces)
    assert [(run.first, run.stop) for run in tracks.runs] == [(0, 4), (4, 8)]


def test_a_square_is_not_followed() -> None:
    with pytest.raises(DiffusedHeadsError, match="expected largest, left to right or nearest"):
        track(iter([PORTRAIT]), Placing("box", size=0.5), lambda: ScriptedFinder({}))


def movement_of(meshes: list[np.ndarray], run: Run | None = None) -> Movement:
    tracks = Tracks(frames=len(meshes), shots=1)
    tracks.runs.append(run or Run(0, len(meshes)))
    tracks.meshes.append(0, meshes)
    return Movement(tracks, 12, RATE)


def test_the_mouths_own_shape_is_measured_against_the_closed_mouth() -> None:
    face = face_mesh()
    closed = face.mean - face.shape(face.closing(face.mean, 12))
    opens = 1.5 * face.deviations[0] * np.sign(face.gaps(face.basis[0]).mean())
    coefficients = np.zeros((60, 12))
    coefficients[20:50, 0] = opens
    coefficients[20:50, 1] = 0.5 * face.deviations[1]
    turn = rotation_matrix(*np.array([0.2, -0.1, 0.1]))
    meshes = [60 * (closed + face.shape(each)) @ turn.T + (200 + n, 150, 0) for n, each in enumerate(coefficients)]
    movement = movement_of(meshes)
    for number in (5, 30, 45):
        found = movement[number]
        assert found is not None and found.strength == pytest.approx(1)
        np.testing.assert_allclose(found.own, coefficients[number], atol=0.01)
        np.testing.assert_allclose(found.mesh, meshes[number], atol=0.5)


def test_noise_of_meshes_is_lessened_and_steady_movement_kept() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (40, 468, 3))
    clean = [60 * face_mesh().mean + (200 + 3 * n, 150 + 0.1 * n * n, 0) for n in range(40)]
    movement = movement_of([mesh + part for mesh, part in zip(clean, noise)])
    found = np.stack([movement[n].mesh - clean[n] for n in range(5, 35)])
    assert np.abs(found.mean(1)).max() < 0.2 and found.std() < 0.75


def test_profiles_and_lost_faces_fade_out() -> None:
    turns = np.concatenate([np.zeros(30), np.linspace(0, 1.3, 30), np.full(20, 1.3)])
    meshes = [60 * face_mesh().mean @ rotation_matrix(turn, 0, 0).T + (200, 150, 0) for turn in turns]
    movement = movement_of(meshes, Run(0, 80, False, True))
    strengths = np.array([0 if (face := movement[n]) is None else face.strength for n in range(80)])
    assert 0 < strengths[0] < 0.5 and strengths[15] == pytest.approx(1) and not strengths[60:].any()
    assert np.abs(np.diff(strengths)).max() < 0.4
    counts = movement.counts(90)
    assert counts["no face"] == 10 and counts["dubbed"] + counts["turned aside"] == 80 and counts["turned aside"] > 20


def layers(size: int = 256, **changes: np.ndarray | tuple[int, int, int, int]) -> Painted:
    box = tuple(round(at * size) for at in LOWER_FACE)
    shape = box[3] - box[1], box[2] - box[0]
    plain = np.zeros((*shape, 3), np.float32)
    usual = {"box": box, "shift": np.zeros((*shape, 2), np.float32), "before": plain, "after": plain}
    return Painted(**{"size": size, "inside": np.zeros(shape, np.float32), **usual, **changes})


@pytest.mark.parametrize("turned", [0.0, 0.3])
def test_where_nothing_moves_the_picture_is_itself(turned: float) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    points = np.array([(150.0, 120.0), (220.0, 120.0 + 70 * turned), (185.0, 160.0)])
    placement = align(points)
    np.testing.assert_array_equal(blend(picture, placement, layers()), picture)


def test_a_shift_in_the_frame_moves_the_pictures_own_pixels() -> None:
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (512, 512, 3)).astype(np.uint8), (0, 0), 2)
    plain = layers()
    moved = layers(shift=np.full_like(plain.shift, 2.0))  # of 256 px: 4 px of the picture
    found = blend(picture, whole_placement(512, 512), moved)
    left, top, right, bottom = (2 * at for at in plain.box)
    inner = slice(top + 8, bottom - 12), slice(left + 8, right - 12)
    wanted = np.roll(picture, (-4, -4), (0, 1))
    np.testing.assert_array_equal(found[inner], wanted[inner])
    outside = np.ones((512, 512), bool)
    outside[top - 1 : bottom + 1, left - 1 : right + 1] = False
    np.testing.assert_array_equal(found[outside], picture[outside])


def test_inside_the_mouth_the_painting_is_taken_without_the_pictures_detail() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (512, 512, 3)).astype(np.uint8)
    plain = layers()
    grey = np.full_like(plain.before, 100)
    whole = layers(before=grey, after=grey + 20, inside=np.ones_like(plain.inside))
    found = blend(picture, whole_placement(512, 512), whole)
    left, top, right, bottom = (2 * at for at in plain.box)
    inner = found[top + 8 : bottom - 8, left + 8 : right - 8]
    assert np.abs(inner.astype(int) - 120).max() <= 1
    half = blend(picture, whole_placement(512, 512), whole, 0.5)[top + 8 : bottom - 8, left + 8 : right - 8]
    middle = (picture[top + 8 : bottom - 8, left + 8 : right - 8].astype(float) + inner) / 2
    assert np.abs(half - middle).max() <= 1


def test_open_lips_lose_their_inner_edge_and_closed_ones_nothing() -> None:
    face = face_mesh()
    closed = face.mean - face.shape(face.closing(face.mean, 12))
    np.testing.assert_array_equal(thinner_lips(100 * closed), 100 * closed)
    opened = closed.copy()
    opened[[13, 14, 82, 87, 312, 317], 1] += np.array([-0.06, 0.06, -0.06, 0.06, -0.06, 0.06])
    trimmed = thinner_lips(100 * opened)
    for inner, outer in ((13, 0), (14, 17)):
        np.testing.assert_allclose(trimmed[inner], 100 * (opened[inner] + TRIM * (opened[outer] - opened[inner])))
    changed = np.abs(trimmed - 100 * opened).max(1) > 0
    assert not changed[[0, 17, 1, 152, 33]].any() and changed.sum() <= 60


def moving_portrait(count: int) -> tuple[list[np.ndarray], dict[int, np.ndarray | None]]:
    """A portrait that moves to the right, and its meshes; the third and fourth frame have none."""
    assert MESH is not None
    frames, faces = [], {}
    for number in range(count):
        shift = np.float32([[1, 0, 3 * number], [0, 1, 0]])
        moved = cv2.warpAffine(PORTRAIT, shift, PORTRAIT.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
        frames.append(numbered(number, moved))
        faces[number] = None if number in (2, 3) else MESH + (3 * number, 0, 0)
    return frames, faces


@pytest.fixture(scope="module")
def model() -> TalkingHead:
    return diffused_heads.load_model("portrait", "cpu", engine="pytorch")


def dubbed(
    model: TalkingHead | str, frames: list[np.ndarray], faces: dict[int, np.ndarray | None], **changes: object
) -> Dubbing:
    source = Pictures(frames.__getitem__, len(frames), RATE)
    audio = load_audio(SPEECH, 0.4, 0.8)
    return dub(source, audio, model, finder=lambda: ScriptedFinder(faces), **changes)


def test_only_the_lower_face_changes_and_frames_without_a_face_do_not(model: TalkingHead) -> None:
    frames, faces = moving_portrait(10)
    clip = dubbed(model, frames, faces, extent=Extent("video"))
    made = list(clip.frames())
    assert len(made) == len(clip) == 10 and clip.starts() is None and "2 without a face" in clip.summary()
    for number in (2, 3):
        np.testing.assert_array_equal(made[number], frames[number])
    for number, mesh in faces.items():
        if mesh is None:
            continue
        corners = align(stable_landmarks(mesh), HeadGeometry()).to_picture(
            np.array([LOWER_FACE[:2], (LOWER_FACE[2], LOWER_FACE[1]), LOWER_FACE[2:], (LOWER_FACE[0], LOWER_FACE[3])])
        )
        outside = np.ones(PORTRAIT.shape[:2], np.uint8)
        cv2.fillConvexPoly(outside, np.rint(corners).astype(np.int32), 0)
        change = np.abs(made[number].astype(int) - frames[number]).max(-1)
        assert change[cv2.erode(outside, np.ones((5, 5))) > 0].max() == 0
    mouths = [np.abs(made[n].astype(int) - frames[n]).max() for n in (6, 8)]
    assert min(mouths) > 20


def test_frames_do_not_depend_on_those_beside_them(model: TalkingHead) -> None:
    frames, faces = moving_portrait(4)
    faces = {n: MESH + (3 * n, 0, 0) for n in range(4)}
    clip = dubbed(model, frames, faces, extent=Extent("audio", "ping-pong"))
    made = list(clip.frames())
    assert len(made) == 20
    alone = list(islice(dubbed(model, frames, faces, extent=Extent("shorter")).frames(), 4))
    for a, b in zip(made, alone):
        assert np.abs(a.astype(int) - b).max() <= 1


def test_the_same_mouth_gives_the_same_picture(model: TalkingHead) -> None:
    """Closed lips that stay closed are not even painted."""
    frames, faces = moving_portrait(2)
    clip = dubbed(model, frames, faces, extent=Extent("video"))
    own = clip.movement[0].own
    clip.model.lip_shape.forward = lambda audio: torch.from_numpy(own).float().expand(1, audio.shape[1], -1)
    try:
        made = next(clip.frames())
    finally:
        del clip.model.lip_shape.forward
    assert np.abs(made.astype(int) - frames[0]).max() <= 1


def test_what_cannot_be_dubbed_is_said_in_one_line(model: TalkingHead) -> None:
    frames, _ = moving_portrait(3)
    with pytest.raises(DiffusedHeadsError, match="images: expected a video of a face.*3 without a face"):
        dubbed(model, frames, {})
    with pytest.raises(DiffusedHeadsError, match="a model that paints the mouth alone, such as portrait"):
        dubbed("avatar", frames, {})


def test_an_uneven_video_keeps_its_times_in_the_file(model: TalkingHead, tmp_path: Path) -> None:
    assert MESH is not None
    starts = [Fraction(n, 100) for n in (0, 3, 11, 12, 30, 34)]
    path, out = tmp_path / "uneven.mp4", tmp_path / "dubbed.mp4"
    write_video(path, [numbered(n) for n in range(6)], 25, starts=iter(starts))
    finder = ScriptedFinder(dict.fromkeys(range(6), MESH))
    clip = dub(path, load_audio(SPEECH, 0.4, 0.8), model, finder=lambda: finder, extent=Extent("video"))
    assert clip.write(out) == 6
    np.testing.assert_allclose([b for b, _ in VideoFile(out).frames()], [float(at) for at in starts], atol=1e-4)
    video = read_video(out)
    assert video.audio is not None and video.audio.duration == pytest.approx(0.34 + float(1 / clip.rate), abs=0.03)
    steady_frames = list(clip.steady_frames())
    assert len(steady_frames) == -(-clip.seconds * clip.rate // 1)
