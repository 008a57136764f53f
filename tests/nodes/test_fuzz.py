"""Tensors, recordings and settings at the edges of what can be, through the nodes: a right result, or a
DiffusedHeadsError of one line.

DIFFUSED_HEADS_FUZZ multiplies the number of examples.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from node_calls import Calls

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.media.export import formats_here
from diffused_heads.diffused_heads_core.media.video import read_video
from diffused_heads.diffused_heads_core.talking_head import TalkingHead, load_model
from diffused_heads.nodes.sockets import Sampling

MORE = int(os.environ.get("DIFFUSED_HEADS_FUZZ", "1"))
SIDES = st.sampled_from([1, 1, 2, 3, 15, 16, 17, 31, 32, 33, 64, 97])
KINDS = st.sampled_from(
    [torch.float32] * 4 + [torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.int64, torch.bool]
)
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
VALUES = st.sampled_from([None] * 5 + [math.nan, math.inf, -math.inf, -3.0, 1e4])
NUMBERS = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 5e-324, 1e300, -1.0]), st.floats(-0.5, 3)
)


def fuzz(examples: int) -> Any:
    """Settings of every test here: the same examples each time, in no hurry on a busy machine."""
    return settings(
        max_examples=examples * MORE,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def head(make_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> TalkingHead:
    return load_model(make_model(tmp_path_factory.mktemp("model") / "tiny.safetensors"), "cpu")


@pytest.fixture
def calls(host: SimpleNamespace, head: TalkingHead) -> Iterator[Calls]:
    yield Calls(host, head)


def outcome(calls: Calls, node: str, **changes: Any) -> tuple[Any, ...] | None:
    """The node's outputs, or None if it refused in one line and left nothing. Any other exception fails the test."""
    try:
        return calls.run(node, **changes)
    except DiffusedHeadsError as error:
        assert str(error) and "\n" not in str(error) and not calls.left(), error
        return None


@st.composite
def images(draw: st.DrawFn, square: bool = False) -> Tensor:
    """Pictures of any size, kind and layout, also such as are none."""
    height, width = draw(SIDES), draw(SIDES)
    width = height if square and draw(st.integers(0, 9)) else width
    shape = [
        draw(st.sampled_from([0, 1, 1, 2, 3])),
        height,
        width,
        draw(st.sampled_from([0, 1, 2, 3, 3, 3, 3, 4, 4, 5])),
    ]
    image = torch.rand(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 9))))
    kind, value, layout = (
        draw(KINDS),
        draw(VALUES),
        draw(st.sampled_from(["plain", "channels first", "strided", "spread", "no batch"])),
    )
    if value is not None and image.numel():
        image.view(-1)[draw(st.integers(0, image.numel() - 1))] = value
    image = (image.nan_to_num(0, 0, 0) * 255 if kind not in FLOATS else image).to(kind)
    if layout == "channels first":
        return image.movedim(-1, 1).contiguous().movedim(1, -1)
    if layout == "strided":
        return image.repeat_interleave(2, 2)[:, :, ::2]
    return (
        image[:1].expand(shape)
        if layout == "spread" and shape[0]
        else image[0]
        if layout == "no batch" and shape[0]
        else image
    )


def is_image(image: Tensor, channels: tuple[int, ...] = (1, 3, 4)) -> bool:
    right = image.ndim == 4 and image.numel() > 0 and image.shape[-1] in channels and image.is_floating_point()
    return right and bool(torch.isfinite(image.float()).all())


@fuzz(70)
@given(images(), st.sampled_from(["whole", "box", "auto"]), NUMBERS, NUMBERS, NUMBERS)
def test_load_identity(calls: Calls, image: Tensor, face: str, x: float, y: float, size: float) -> None:
    place = {"face": face, **({} if face == "whole" else {"x": x, "y": y, "size": size})}
    if face == "auto" and not 0 < size <= 1:
        place = {"face": "whole"}
    found = outcome(calls, "LoadIdentity", image=image, **place)
    if found is None:
        assert place["face"] != "whole" or not is_image(image)
        return
    identity, crop, mask = found
    batch, height, width, _ = image.shape
    assert is_image(image) and identity.pictures.shape == (batch, 32, 32, 3) and identity.pictures.dtype == np.uint8
    assert crop.ndim == 4 and crop.shape[0] == batch and crop.shape[1] == crop.shape[2] and crop.dtype == torch.float32
    assert mask.shape == (batch, height, width) and mask.dtype == torch.float32
    for tensor in (crop, mask):
        assert float(tensor.min()) >= 0 and float(tensor.max()) <= 1
    assert len(identity.placements) == batch and identity.source.shape[:3] == image.shape[:3]


@st.composite
def recordings(draw: st.DrawFn) -> tuple[Any, float | None]:
    """An AUDIO or something like it, and its length in seconds if it is valid."""
    rate = draw(
        st.sampled_from([16000, 16000, 44100, 48000.0, 8000, 1, 0, -8000, 384000, math.nan, "16000", None, 2**40])
    )
    shape = draw(st.sampled_from([(1, 1), (1, 2), (1, 4), (2, 1), (1, 0), (1, 9), (1,), (), (1, 1, 1)]))
    count, kind, value = draw(st.sampled_from([0, 1, 700, 3200, 9001])), draw(KINDS), draw(VALUES)
    wave = torch.sin(torch.arange(count) / 9) * draw(st.sampled_from([0.0, 1e-6, 0.01, 0.5, 1.0, 300.0])) + draw(
        st.sampled_from([0.0, 0.4])
    )
    wave = wave.expand(*shape, count).clone()
    if value is not None and wave.numel():
        wave.view(-1)[draw(st.integers(0, wave.numel() - 1))] = value
    wave = wave.nan_to_num().to(kind) if kind not in FLOATS else wave.to(kind)
    audio: Any = {"waveform": wave, "sample_rate": rate, **({"more": 1} if draw(st.booleans()) else {})}
    good = (
        kind in FLOATS and value is None and shape in ((1, 1), (1, 2), (1, 4)) and rate in (8000, 16000, 44100, 48000)
    )
    good = good and count > 1 and bool(wave.amax() - wave.amin() > 2e-3)
    broken = draw(st.sampled_from([None] * 6 + ["waveform", "sample_rate", "all", "list"]))
    if broken:
        audio = (
            None
            if broken == "all"
            else [audio]
            if broken == "list"
            else {key: part for key, part in audio.items() if key != broken}
        )
    return audio, count / rate if good and not broken else None


@fuzz(100)
@given(recordings(), st.one_of(st.just(0.0), NUMBERS), st.one_of(st.just(0.0), NUMBERS))
def test_encode_audio(calls: Calls, recording: tuple[Any, float | None], start: float, duration: float) -> None:
    audio, seconds = recording
    found = outcome(calls, "EncodeAudio", audio=audio, start=start, duration=duration)
    if found is None:
        ordered = seconds is not None and 0 <= start < math.inf and 0 <= duration < math.inf
        assert not ordered or min(seconds - start, duration or seconds) < 0.2 + 1e-3
        return
    embedding, part = found
    length = part["waveform"].shape[2] / part["sample_rate"]
    assert seconds is None or abs(length - min(seconds - start, duration or seconds)) <= 2 / part["sample_rate"]
    assert embedding.frames.shape == (math.ceil(round(length * 25, 6)), 8) and embedding.frames.dtype == torch.float32
    assert torch.isfinite(embedding.frames).all() and part["waveform"].is_floating_point()
    assert part["waveform"].shape[:2] == (1, audio["waveform"].shape[-2])


SEEDS = st.integers(-1, 2**64)
SAMPLING = {
    "steps": st.integers(-1, 3),
    "sampler": st.sampled_from(["ancestral", "ddim", "dpm++2m", "none"]),
    "guidance": NUMBERS,
    "eta": NUMBERS,
    "colour_lock": NUMBERS,
    "motion_anchor": NUMBERS,
}


@fuzz(40)
@given(SEEDS, st.fixed_dictionaries({}, optional=SAMPLING))
def test_sampler(calls: Calls, seed: int, chosen: dict[str, Any]) -> None:
    calls.host.progress.clear()
    found = outcome(calls, "DiffusedHeadsSampler", seed=seed, options=Sampling({"steps": 1, **chosen}))
    limits = {"guidance": (0, 10), "steps": (1, 1000)}
    fits = all(
        limits.get(name, (0, 1))[0] <= value <= limits.get(name, (0, 1))[1] if name != "sampler" else value != "none"
        for name, value in chosen.items()
    )
    assert (found is not None) == (fits and 0 <= seed < 2**64)
    if found is not None:
        (clip,), fps = found
        assert clip.shape == (6, 32, 32, 3) and clip.dtype == torch.float32 and fps == 25
        assert float(clip.min()) >= 0 and float(clip.max()) <= 1


@st.composite
def masks(draw: st.DrawFn) -> Tensor | None:
    if draw(st.booleans()):
        return None
    shape = draw(st.sampled_from([(1,), (2,), (0,), (), (1, 1)])) + (draw(SIDES), draw(st.sampled_from([0, 1, 16, 60])))
    mask = torch.rand(shape)
    if mask.numel():
        mask.view(-1)[0] = draw(st.sampled_from([0.5, math.nan, -2.0, 9.0]))
    return mask.to(draw(st.sampled_from([torch.float32, torch.float16, torch.bool])))


@fuzz(50)
@given(
    images(),
    st.sampled_from([None, 0.3, 0.9]),
    images(square=True),
    masks(),
    NUMBERS,
    NUMBERS,
    st.booleans(),
    st.sampled_from([0, 0, 1, 8, 40, 5000]),
)
def test_paste_back(
    calls: Calls,
    picture: Tensor,
    box: float | None,
    frames: Tensor,
    mask: Tensor | None,
    fps: float,
    detail: float,
    match: bool,
    max_side: int,
) -> None:
    if not is_image(picture):
        picture = calls.picture
    try:
        identity = calls.identity_of(picture[:1], **({"rule": "box", "size": box} if box else {}))
    except DiffusedHeadsError:
        return  # a box of less than 16 pixels
    fps *= 20
    found = outcome(
        calls,
        "PasteBack",
        images=[frames],
        identity=[identity],
        fps=[fps],
        detail=[detail],
        mask=[mask],
        match_colour=[match],
        max_side=[max_side],
    )
    fits = is_image(frames, (3,)) and frames.shape[1] == frames.shape[2] and 0 <= detail <= 1 and 1 <= fps <= 240
    whole = mask is None or (
        mask.numel()
        and bool(torch.isfinite(mask.float()).all())
        and (mask.ndim == 2 or (mask.ndim == 3 and len(mask) == 1))
    )
    assert (found is not None) == bool(fits and whole)
    if found is not None:
        (clip,), source = found[0], identity.source[0]
        channels = source.shape[-1]
        assert (
            clip.shape[0] == len(frames)
            and clip.shape[3] == channels
            and clip.dtype == torch.float32
            and torch.isfinite(clip).all()
        )
        assert tuple(clip.shape[1:3]) == tuple(source.shape[:2]) or max(clip.shape[1:3]) <= max(max_side, 1)


@fuzz(40)
@given(
    images(),
    st.sampled_from([*formats_here(), "avi"]),
    st.integers(-1, 101),
    NUMBERS,
    recordings(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["a", "", " ", "a/b/c", "%width%", "é 肖/x", ".", "x" * 260, "a\0"]),
)
def test_video_combine(
    calls: Calls,
    frames: Tensor,
    format: str,
    quality: int,
    fps: float,
    recording: tuple[Any, float | None],
    sound: bool,
    pingpong: bool,
    prefix: str,
) -> None:
    audio = recording[0] if sound else None
    rate = fps * 20
    chosen = {
        "format": format,
        "quality": quality,
        "fps": rate,
        "pingpong": pingpong,
        "filename_prefix": prefix,
        "loop_count": 1,
    }
    found = outcome(calls, "VideoCombine", images=frames, audio=audio, **chosen)
    left = calls.left()
    shutil.rmtree(calls.host.output)
    calls.host.output.mkdir()
    fits = (
        is_image(frames)
        and format != "avi"
        and 0 <= quality <= 100
        and 1 <= rate <= 240
        and not sound
        and len(prefix) < 200
        and "\0" not in prefix
    )
    small = format.startswith("mp4-h265") and frames.ndim == 4 and min(frames.shape[1:3]) < 63
    assert found is not None or not fits or small
    if found is None:
        return
    count = len(frames) + max(0, len(frames) - 2) * pingpong
    assert not any((path.name.startswith(".") and path.suffix == ".tmp") or ".tmp" in path.name for path in left)
    assert len([path for path in left if path.suffix]) == (
        count if format.startswith("png") else 1 + (format.startswith(("gif", "mkv")))
    )


def test_video_lengths_and_sizes(calls: Calls) -> None:
    for format in (name for name, kind in formats_here().items() if kind.codec):
        for count, height, width in ((1, 64, 65), (3, 77, 64)):
            calls.run(
                "VideoCombine",
                images=torch.rand(count, height, width, 3),
                format=format,
                audio=calls.speech,
                filename_prefix=f"{format}-{count}",
            )
    for path in (path for path in calls.left() if path.suffix != ".png"):
        video = read_video(path)
        count = int(path.stem.split("-")[-1].split("_")[0])
        even = (64, 66) if count == 1 else (78, 64)
        exact = (64, 65) if count == 1 else (77, 64)
        assert (
            len(list(video.frames)) == count
            and video.size == (exact if "ffv1" in path.name else even)
            and abs(video.audio.duration - count / 25) < 0.09
        )


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_give_nearly_the_same(calls: Calls, kind: torch.dtype) -> None:
    wanted = calls.identity.pictures.astype(int)
    assert np.abs(calls.run("LoadIdentity", image=calls.picture.to(kind))[0].pictures - wanted).max() <= (
        2 if kind == torch.bfloat16 else 1
    )
    embedding = calls.run("EncodeAudio", audio={**calls.speech, "waveform": calls.speech["waveform"].to(kind)})[0]
    assert float((embedding.frames - calls.embedding.frames).abs().max()) < 0.1
    frames = torch.rand(2, 40, 40, 3)
    pasted, exact = (calls.run("PasteBack", images=[f])[0][0] for f in (frames.to(kind), frames))
    assert float((pasted - exact).abs().mean()) < 0.01


def test_values_beyond_the_range_are_held_to_it(calls: Calls) -> None:
    beyond = (calls.picture - 0.5) * 5
    identity, crop, _ = calls.run("LoadIdentity", image=beyond)
    held = calls.run("LoadIdentity", image=beyond.clamp(0, 1))
    assert np.array_equal(identity.pictures, held[0].pictures) and torch.equal(crop, held[1])


def test_long_and_flat_pictures(calls: Calls) -> None:
    for height, width in ((1, 5000), (5000, 1), (1, 1), (3, 700)):
        identity, crop, mask = calls.run("LoadIdentity", image=torch.rand(1, height, width, 3))
        clip = calls.run("PasteBack", identity=[identity])[0][0]
        assert (
            mask.shape == (1, height, width)
            and clip.shape == (2, height, width, 3)
            and torch.isfinite(clip).all()
            and crop.shape[1] == min(height, width)
        )


def test_one_picture_as_opencv_sees_it(calls: Calls) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8)
    found = calls.run("LoadIdentity", image=torch.from_numpy(image).float()[None] / 255)[0].pictures[0]
    assert np.array_equal(found, cv2.resize(image[2:42], (32, 32), interpolation=cv2.INTER_AREA))
