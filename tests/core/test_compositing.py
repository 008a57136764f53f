"""Compositing: what must stay stays, what moves takes the picture's detail along, and what is new is not haunted."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.alignment import (
    Placement,
    crop,
    head_mask,
    square_placement,
    whole_placement,
)
from diffused_heads.diffused_heads_core.face.compositing import Compositor, paste_back
from diffused_heads.diffused_heads_core.pose import HeadGeometry

BAR = 2.0  # of 255: the most that an identity may change within the mask, on average


def picture_of(height: int, width: int, seed: int = 0, grain: float = 8.0) -> np.ndarray:
    """Soft blots under fine grain, (height, width, 3) uint8, 30..225."""
    rng = np.random.default_rng(seed)
    rough = rng.integers(70, 186, (max(3, height // 24), max(3, width // 24), 3)).astype(np.float32)
    soft = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(soft + rng.normal(0, grain, soft.shape), 30, 225).astype(np.uint8)


def turned(side: float, angle: float, x: float, y: float) -> Placement:
    """A frame of that side, turned clockwise, whose middle is at (x, y)."""
    back = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]) / side
    return Placement(np.column_stack([back, 0.5 - back @ (x, y)]))


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(int) - other)


def within(mask: np.ndarray, image: np.ndarray) -> float:
    return float(image[mask > 0].mean())


@settings(max_examples=25, deadline=None)
@given(
    st.integers(96, 260),
    st.integers(96, 260),
    st.floats(48, 300),
    st.floats(-3.1, 3.1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from([16, 40, 128, 256]),
)
def test_the_crop_itself_changes_nothing(
    height: int, width: int, side: float, angle: float, x: float, y: float, size: int
) -> None:
    picture, placement = picture_of(height, width), turned(side, angle, x * width, y * height)
    mask = head_mask(placement, height, width)
    frame = crop(picture, placement, size)
    changed = difference(list(paste_back([frame, frame], picture, placement))[1], picture)
    assert changed[mask == 0].max(initial=0) == 0
    assert not (mask > 0).any() or within(mask, changed) <= BAR


@pytest.mark.parametrize("size", [64, 128, 512])
def test_the_crop_itself_changes_nothing_in_a_large_head(size: int) -> None:
    picture, placement = picture_of(1500, 1300), turned(1100, 0.2, 640, 700)
    changed = difference(next(paste_back([crop(picture, placement, size)], picture, placement)), picture)
    assert within(head_mask(placement, 1500, 1300), changed) <= BAR


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(-1, 1), st.sampled_from([0.0, 0.5, 1.0]), st.booleans())
def test_nothing_changes_outside_the_mask(seed: int, angle: float, detail: float, match_colour: bool) -> None:
    picture, placement = picture_of(150, 170, seed), turned(110, angle, 80, 70)
    frames = np.random.default_rng(seed).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    mask = head_mask(placement, 150, 170)
    for pasted in paste_back(frames, picture, placement, detail=detail, match_colour=match_colour):
        assert pasted.shape == picture.shape and pasted.dtype == np.uint8
        assert np.array_equal(pasted[mask == 0], picture[mask == 0])
        assert within(mask, difference(pasted, picture)) > 5


@pytest.mark.parametrize("centre", [(0, 100), (200, 100), (100, 0), (100, 200), (-40, -40), (230, 240)])
@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_frames_that_leave_the_picture(centre: tuple[float, float], angle: float) -> None:
    picture, placement = picture_of(200, 200), turned(150, angle, *centre)
    frame = crop(picture, placement, 64)
    assert (
        within(head_mask(placement, 200, 200), difference(next(paste_back([frame], picture, placement)), picture))
        <= BAR
    )


def test_a_frame_wholly_outside_is_refused() -> None:
    with pytest.raises(DiffusedHeadsError, match="outside the picture"):
        Compositor(picture_of(100, 100), square_placement(150, 0, 60))


@pytest.mark.parametrize("shift", [(10, 10, 10), (-12, 6, 9), (25, -20, 0)])
@pytest.mark.parametrize("placement", [square_placement(60, 40, 200), turned(180, 0.4, 150, 150)])
def test_a_constant_shift_of_colour_disappears(placement: Placement, shift: tuple[int, int, int]) -> None:
    picture = picture_of(300, 320)
    frame = (crop(picture, placement, 128).astype(int) + shift).astype(np.uint8)
    pasted = list(paste_back([frame] * 8, picture, placement))
    mask = head_mask(placement, 300, 320)
    for each in pasted:
        assert within(mask, difference(each, picture)) <= 1
        assert difference(each, picture).max() <= 4
    plain = next(paste_back([frame], picture, placement, match_colour=False))
    assert within(mask > 0.99, difference(plain, picture)) > 0.7 * np.abs(shift).mean()


def test_colours_that_flicker_are_steadied() -> None:
    picture, placement = picture_of(300, 320), square_placement(60, 40, 200)
    frame, rng = crop(picture, placement, 128).astype(float), np.random.default_rng(0)
    flickering = [np.clip(frame + rng.normal(0, 3, 3), 0, 255).astype(np.uint8) for _ in range(30)]
    still = head_mask(placement, 300, 320) > 0.9

    def flicker(pasted: Iterator[np.ndarray]) -> float:
        return float(np.stack([each[still].mean(0) for each in pasted]).std(0).mean())

    assert flicker(paste_back(flickering, picture, placement)) < 0.35 * flicker(
        paste_back(flickering, picture, placement, detail=0, match_colour=False)
    )


def test_noise_of_the_frames_does_not_reach_the_picture() -> None:
    picture, placement = picture_of(300, 320), square_placement(60, 40, 200)
    frame, rng = crop(picture, placement, 128).astype(float), np.random.default_rng(0)
    noisy = [np.clip(frame + rng.normal(0, 2, frame.shape), 0, 255).astype(np.uint8) for _ in range(12)]
    mask = head_mask(placement, 300, 320)
    changed = [
        within(mask > 0.9, np.stack([each for each in paste_back(noisy, picture, placement, detail=d)]).std(0))
        for d in (0, 1)
    ]
    assert changed[1] < 0.6 * changed[0]


def moved_head(picture: np.ndarray, placement: Placement, shift: tuple[float, float]) -> np.ndarray:
    """The picture with what is near the frame's middle moved by ``shift`` pixels, the more the nearer."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
    middle = placement.to_picture((0.5, 0.5))
    share = np.exp(-((x - middle[0]) ** 2 + (y - middle[1]) ** 2) / (2 * (0.16 * placement.side) ** 2)).astype(
        np.float32
    )
    return cv2.remap(
        picture,
        x - np.float32(shift[0]) * share,
        y - np.float32(shift[1]) * share,
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )


@pytest.mark.parametrize("size", [64, 128])
def test_detail_moves_with_the_head(size: int) -> None:
    picture, placement = picture_of(500, 500), turned(400, 0.2, 250, 250)
    truths = [moved_head(picture, placement, (0.03 * 400 * t, -0.02 * 400 * t)) for t in np.linspace(0, 1, 8)]
    frames = [crop(truth, placement, size) for truth in truths]
    inner = head_mask(placement, 500, 500) > 0.95
    errors = {}
    for detail in (0.0, 1.0):
        pasted = list(paste_back(frames, picture, placement, detail=detail))
        errors[detail] = np.mean([np.square(difference(a, b)[inner]).mean() for a, b in zip(pasted[2:], truths[2:])])
    assert errors[1.0] < 0.55 * errors[0.0]


def test_what_is_new_is_not_haunted_by_what_was_there() -> None:
    placement, size = square_placement(50, 50, 400), 128
    picture = picture_of(500, 500, grain=2.0)
    picture[300:330:4, 200:300] = 20  # closed lips, drawn sharply
    frame = crop(picture, placement, size)
    cv2.ellipse(frame, (64, 84), (15, 12), 0, 0, 360, (120, 30, 40), -1)  # an open mouth
    pasted = list(paste_back([crop(picture, placement, size), frame], picture, placement))[1]
    centre = placement.to_picture((64.5 / size, 84.5 / size)).astype(int)
    mouth = pasted[centre[1] - 20 : centre[1] + 20, centre[0] - 25 : centre[0] + 25].astype(float)
    assert np.abs(mouth.mean((0, 1)) - (120, 30, 40)).max() < 10
    assert mouth.std((0, 1)).max() < 6


def test_blurred_frames_take_the_pictures_sharpness() -> None:
    picture, placement = picture_of(400, 400, grain=14), square_placement(40, 40, 320)
    frame = cv2.GaussianBlur(crop(picture, placement, 128), (0, 0), 1.2)
    enlarged = cv2.resize(frame, (512, 512), interpolation=cv2.INTER_CUBIC)
    mask = head_mask(placement, 400, 400) > 0.9
    for each in (frame, enlarged):
        plain, full = (next(paste_back([each], picture, placement, detail=d)) for d in (0, 1))
        assert within(mask, difference(full, picture)) < 0.35 * within(mask, difference(plain, picture))


@pytest.mark.parametrize("alpha", [255, 120, 0])
def test_alpha_is_kept(alpha: int) -> None:
    picture = np.dstack([picture_of(160, 160), np.full((160, 160), alpha, np.uint8)])
    picture[:, :60, 3] = 0
    placement = turned(120, 0.1, 80, 80)
    frame = np.full((64, 64, 3), 30, np.uint8)
    pasted = next(paste_back([frame], picture, placement))
    assert np.array_equal(pasted[..., 3], picture[..., 3])
    assert np.array_equal(pasted[picture[..., 3] == 0], picture[picture[..., 3] == 0])
    assert (alpha == 0) == np.array_equal(pasted, picture)


def test_the_crop_of_a_transparent_picture_changes_nothing() -> None:
    picture = np.dstack(
        [
            picture_of(160, 160),
            cv2.resize(np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8), (160, 160)),
        ]
    )
    placement = turned(120, 0.1, 80, 80)
    cut = crop(picture, placement, 64).astype(float)
    frame = np.rint(cut[..., :3] * cut[..., 3:] / 255 + 255 - cut[..., 3:]).astype(np.uint8)
    seen = [
        each[..., :3] * (each[..., 3:] / 255.0) for each in (next(paste_back([frame], picture, placement)), picture)
    ]
    assert np.abs(seen[0] - seen[1]).mean() <= BAR


def test_an_own_mask_is_respected() -> None:
    picture, placement = picture_of(120, 140), square_placement(20, 10, 100)
    mask = np.zeros((120, 140), np.float32)
    mask[50:70, 60:90] = 1
    pasted = next(paste_back([np.zeros((32, 32, 3), np.uint8)], picture, placement, mask=mask, match_colour=False))
    assert np.array_equal(pasted[mask == 0], picture[mask == 0]) and pasted[mask == 1].max() == 0
    assert np.array_equal(
        next(paste_back([np.zeros((32, 32, 3), np.uint8)], picture, placement, mask=0 * mask)), picture
    )
    everywhere = next(paste_back([np.zeros((32, 32, 3), np.uint8)], picture, placement, mask=np.ones_like(mask)))
    assert np.array_equal(everywhere[:, :20], picture[:, :20])  # the frame begins at 20


def test_patch_and_region_are_what_paste_changes() -> None:
    picture, placement = picture_of(120, 140), turned(80, 0.3, 60, 50)
    frame = crop(picture, placement, 32) // 2
    patch, whole = Compositor(picture, placement), Compositor(picture, placement)
    pasted = whole.paste(frame)
    assert np.array_equal(patch.patch(frame), pasted[patch.region])
    pasted[patch.region] = picture[patch.region]
    assert np.array_equal(pasted, picture)


def test_a_clip_begins_like_a_shorter_one() -> None:
    picture, placement = picture_of(120, 140), turned(80, 0.3, 60, 50)
    frames = np.random.default_rng(1).integers(0, 256, (6, 48, 48, 3), dtype=np.uint8)
    long, short = list(paste_back(frames, picture, placement)), list(paste_back(frames[:3], picture, placement))
    assert all(np.array_equal(a, b) for a, b in zip(long, short))


def test_frames_are_taken_one_by_one_and_none_is_kept() -> None:
    picture, placement, taken = picture_of(400, 400), square_placement(40, 40, 300), []

    def frames() -> Iterator[np.ndarray]:
        for number in range(40):
            taken.append(number)
            yield np.full((64, 64, 3), number, np.uint8)

    clip = paste_back(frames(), picture, placement)
    assert taken == []
    next(clip)
    assert taken == [0]
    tracemalloc.start()
    for _ in clip:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 25 * picture.nbytes  # the clip would be 39


FRAME = np.zeros((32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    "frame",
    [FRAME[..., 0], FRAME[:20], FRAME.astype(np.float32), np.zeros((32, 32, 4), np.uint8), FRAME[:0, :0], np.uint8(3)],
)
def test_frames_of_other_kinds_are_refused(frame: np.ndarray) -> None:
    with pytest.raises(DiffusedHeadsError, match=r"frame 0: expected uint8 \(S, S, 3\)"):
        next(paste_back([frame], picture_of(100, 100), whole_placement(100, 100)))


def test_frames_keep_their_size_through_a_clip() -> None:
    with pytest.raises(
        DiffusedHeadsError, match=r"frame 1: expected uint8 \(32, 32, 3\) as before, found uint8 \(16, 16, 3\)"
    ):
        list(paste_back([FRAME, FRAME[:16, :16]], picture_of(100, 100), whole_placement(100, 100)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detail": 1.5}, "detail=1.5"),
        ({"detail": float("nan")}, "detail=nan"),
        ({"fps": 0}, "fps=0"),
        ({"fps": float("inf")}, "fps=inf"),
        ({"mask": np.ones((99, 100), np.float32)}, "mask: expected float"),
        ({"mask": np.ones((100, 100), np.uint8)}, "mask: expected float"),
        ({"mask": np.full((100, 100), np.nan)}, "mask: expected 0 to 1"),
        ({"mask": np.full((100, 100), 2.0)}, "mask: expected 0 to 1"),
        ({"picture": np.ones((100, 100, 3))}, "picture: expected uint8"),
        ({"picture": np.ones((100, 100), np.uint8)}, "picture: expected uint8"),
    ],
)
def test_bad_arguments_are_told_at_once(options: dict, message: str) -> None:
    arguments = {"picture": picture_of(100, 100), "placement": whole_placement(100, 100), **options}
    with pytest.raises(DiffusedHeadsError, match=message):
        paste_back([], **arguments)


@pytest.mark.parametrize("size", [1, 2, 5, 11, 15, 17, 33])
def test_frames_of_few_pixels(size: int) -> None:
    picture, placement = picture_of(96, 96), whole_placement(96, 96)
    frame = crop(picture, placement, size)
    assert (
        within(head_mask(placement, 96, 96), difference(next(paste_back([frame], picture, placement)), picture)) <= BAR
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([3, 4]), st.sampled_from([8, 64]))
def test_pictures_of_few_pixels(height: int, width: int, channels: int, size: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    for placement in (whole_placement(height, width), turned(30, 0.5, width / 2, height / 2)):
        pasted = list(paste_back(np.full((2, size, size, 3), 90, np.uint8), picture, placement))
        assert len(pasted) == 2 and pasted[0].shape == picture.shape


def test_another_geometry_has_another_mask() -> None:
    small = HeadGeometry(radii=(0.1, 0.1))
    regions = [
        Compositor(picture_of(200, 200), square_placement(20, 20, 160), geometry=g).region
        for g in (HeadGeometry(), small)
    ]
    widths = [region[1].stop - region[1].start for region in regions]
    assert widths[1] < 0.4 * widths[0]
