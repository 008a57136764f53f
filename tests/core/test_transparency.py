"""Transparent video: what FFmpeg decodes again is the portrait's alpha, which moves with the head."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import diffused_heads
from diffused_heads import main
from diffused_heads.diffused_heads_core.assets import PORTRAITS, RECORDINGS, bundled_file
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.alignment import head_mask, square_placement, whole_placement
from diffused_heads.diffused_heads_core.face.placing import Placing
from diffused_heads.diffused_heads_core.face.transparency import MovingAlpha
from diffused_heads.diffused_heads_core.media.audio import Audio, load_audio
from diffused_heads.diffused_heads_core.media.pictures import load_picture, on_white, save_picture
from diffused_heads.diffused_heads_core.media.video import check_output, write_video
from diffused_heads.diffused_heads_core.pose import HeadGeometry

GEOMETRY = HeadGeometry()
LEVELS = (0, 60, 128, 255)
DECODERS = {".webm": "libvpx-vp9", ".mov": "prores"}


def stripes(height: int = 120, width: int = 160) -> np.ndarray:
    """Alpha in four vertical stripes of the LEVELS."""
    return np.repeat(np.array(LEVELS, np.uint8), width // 4)[None].repeat(height, 0)


def flat(alpha: np.ndarray, margin: int) -> np.ndarray:
    """Where alpha does not change within ``margin`` pixels."""
    kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    return cv2.erode(alpha, kernel) == cv2.dilate(alpha, kernel)


def decoded(path: Path) -> list[np.ndarray]:
    """Frames (H, W, 4) of a file, by the decoder of FFmpeg that knows alpha."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = av.CodecContext.create(DECODERS[path.suffix], "r")
        decoder.codec_tag = stream.codec_context.codec_tag
        packets = [packet for packet in container.demux(stream) if packet.size]
        frames = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]
        return [frame.to_ndarray(format="rgba") for frame in frames]


@pytest.mark.parametrize("suffix", [".webm", ".mov"])
def test_alpha_comes_back(tmp_path: Path, suffix: str) -> None:
    alpha = stripes()
    frames = [np.dstack([np.full((120, 160, 3), (200, 40 + 9 * n, 60), np.uint8), alpha]) for n in range(10)]
    tone = Audio(np.zeros((2, 20000), np.float32), 48000)
    assert write_video(tmp_path / f"a{suffix}", frames, 25, tone) == 10
    found = decoded(tmp_path / f"a{suffix}")
    assert len(found) == 10
    for got, want in zip(found, frames, strict=True):
        assert np.abs(got[..., 3].astype(int) - alpha)[flat(alpha, 6)].max() <= 2
        assert np.abs(got[..., :3].astype(int) - want[..., :3])[alpha == 255].max() <= 6
    with av.open(str(tmp_path / f"a{suffix}")) as container:
        stream = container.streams.video[0]
        assert (
            stream.metadata.get("alpha_mode") == "1" if suffix == ".webm" else stream.codec_context.codec_tag == "ap4h"
        )
        assert container.streams.audio


def test_files_without_alpha_are_refused(tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv"):
        with pytest.raises(DiffusedHeadsError, match="no transparency.*.webm, .mov"):
            check_output(tmp_path / f"a{suffix}", alpha=True)
        with pytest.raises(DiffusedHeadsError, match="no transparency"):
            write_video(tmp_path / f"a{suffix}", [np.zeros((32, 32, 4), np.uint8)], 25)
    assert not list(tmp_path.iterdir())


def painted(shift: tuple[int, int] = (0, 0)) -> np.ndarray:
    """A smooth random picture (128, 128, 3), moved by ``shift`` pixels right and down."""
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (160, 160, 3)).astype(np.float32), (0, 0), 2.5)
    picture = np.clip(128 + 60 * noise / noise.std(), 0, 255).astype(np.uint8)
    return picture[16 - shift[1] : 144 - shift[1], 16 - shift[0] : 144 - shift[0]]


def moving(picture: np.ndarray, frame: np.ndarray) -> MovingAlpha:
    return MovingAlpha(picture, frame, whole_placement(*picture.shape[:2]), GEOMETRY, 25.0)


def test_alpha_moves_with_the_head() -> None:
    """A frame that moved by (6, 3) of 128 pixels moves a disc of alpha by 12 and 6 of 256; what is flat stays flat."""
    down, across = np.mgrid[:256, :256]
    alpha = np.where(np.hypot(across - 128, down - 120) < 30, 200, 40).astype(np.uint8)
    moved = moving(np.dstack([cv2.resize(painted(), (256, 256)), alpha]), painted())
    assert np.abs(moved.at(painted()).astype(int) - alpha).max() <= 1
    found = moved.at(painted((6, 3)))
    weight = np.abs(found.astype(float) - 40)
    centre = (weight * across).sum() / weight.sum(), (weight * down).sum() / weight.sum()
    assert np.abs(np.subtract(centre, (128 + 12, 120 + 6))).max() < 1.5
    still = flat(alpha, 30)
    assert np.array_equal(found[still], alpha[still])


def test_colours_on_another_background_are_those_on_white() -> None:
    """Frames on white and their alpha: composited on white again, they are the frames."""
    rng = np.random.default_rng(0)
    alpha = rng.integers(0, 256, (64, 64), np.uint8)
    frame = on_white(rng.integers(0, 256, (64, 64, 3), np.uint8), alpha)
    (found,) = moving(np.dstack([frame, alpha]), frame).frames([frame], [frame])
    assert np.abs(on_white(found[..., :3], found[..., 3]).astype(int) - frame).max() <= 1


def test_an_opaque_picture_gets_the_heads_matte() -> None:
    placement = square_placement(40, 20, 100)
    picture, frame = np.zeros((160, 200, 3), np.uint8), np.zeros((128, 128, 3), np.uint8)
    (found,) = MovingAlpha(picture, frame, placement, GEOMETRY, 25.0).frames([picture], [frame])
    want = 255 * head_mask(placement, 160, 200, GEOMETRY)
    assert np.abs(found[..., 3] - want).max() <= 0.51 and want.max() == 255 and want[0, 0] == 0
    assert not found[..., :3].any()


@pytest.fixture
def cut_out(tmp_path: Path) -> Path:
    """A bundled portrait without its background: transparent outside a large disc, half transparent at the bottom."""
    picture = load_picture(bundled_file(PORTRAITS))
    height, width = picture.shape[:2]
    down, across = np.mgrid[:height, :width] / height
    alpha = np.where(np.hypot(across - 0.5, down - 0.5) < 0.49, 255, 0).astype(np.uint8)
    alpha[down > 0.9] = 128
    picture = np.where(alpha[..., None] > 0, picture, 0)
    save_picture(tmp_path / "cut.png", np.dstack([picture, alpha]).astype(np.uint8))
    return tmp_path / "cut.png"


@pytest.mark.parametrize("suffix", [".webm", ".mov"])
def test_a_cut_out_portrait_keeps_its_alpha(cut_out: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"talk{suffix}"
    arguments = ["--identity", cut_out, "--audio", bundled_file(RECORDINGS), "--output", output, "--face", "whole"]
    assert (
        main(["generate", *map(str, arguments), "--alpha", "--duration", "0.2", "--head-motion", "0", "--start", "0.5"])
        == 0
    )
    given = cv2.imread(str(cut_out), cv2.IMREAD_UNCHANGED)[..., 3]
    found = decoded(output)
    assert len(found) == 5
    for frame in found:
        assert np.abs(frame[..., 3].astype(int) - given)[flat(given, 8)].max() <= 2


def test_only_the_head_of_an_opaque_portrait_is_seen(tmp_path: Path) -> None:
    sound = load_audio(bundled_file(RECORDINGS), 0.5, 0.2)
    animation = diffused_heads.animate(
        bundled_file(PORTRAITS), sound, steps=1, transparent=True, placing=Placing("whole")
    )
    (first, *_) = animation.frames()
    mask = head_mask(animation.portrait.placement, *first.shape[:2], animation.model.config.geometry)
    assert np.abs(first[..., 3] - 255 * mask).mean() < 2 and (first[..., 3] == 0).mean() > 0.1


def test_alpha_into_an_mp4_is_refused_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--identity", bundled_file(PORTRAITS), "--audio", bundled_file(RECORDINGS)]
    assert main(["generate", *map(str, arguments), "--output", str(tmp_path / "a.mp4"), "--alpha"]) == 1
    assert "no transparency, expected a name ending in .webm, .mov" in capsys.readouterr().err
