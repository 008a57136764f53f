"""Heads moved in their picture, against pictures whose answer is known."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from diffused_heads.diffused_heads_core.face.alignment import whole_placement
from diffused_heads.diffused_heads_core.face.moving_heads import drawn, made_ahead, source_picture, with_alpha
from diffused_heads.diffused_heads_core.motion import MotionTrack
from diffused_heads.diffused_heads_core.mouth.expression import mouth_expression
from diffused_heads.diffused_heads_core.mouth.eyes import LOWER, UPPER
from diffused_heads.diffused_heads_core.mouth.face_mesh import face_mesh, usual_mesh
from diffused_heads.diffused_heads_core.mouth.head_field import unfolded
from diffused_heads.diffused_heads_core.mouth.renderer import FREE, GAIN, MOST, HeadFrame, Move, PictureHead, soft_limit
from diffused_heads.diffused_heads_core.pose import HeadGeometry, rotation_matrix

SIZE = 256
HEIGHT, WIDTH, LEFT, TOP, SIDE = 620, 700, 150.0, 110.0, 400.0  # a picture with room around the model's frame
MATRIX = np.array([[1 / SIDE, 0, -LEFT / SIDE], [0, 1 / SIDE, -TOP / SIDE]])
MESH = usual_mesh(HeadGeometry(), SIZE)
TURNS = [(25, 0, 0), (-25, 0, 0), (0, 15, 0), (0, -15, 0), (0, 0, 15), (0, 0, -15), (18, 10, 10)]


def head(frame: np.ndarray | None = None, mesh: np.ndarray = MESH) -> PictureHead:
    frame = np.full((SIZE, SIZE, 3), 128, np.uint8) if frame is None else frame
    return PictureHead(frame, mesh, MATRIX, (HEIGHT, WIDTH), HeadGeometry())


def state(pose: tuple[float, ...] = (0, 0, 0, 0, 0), size: float = 0, **named: float) -> HeadFrame:
    """Angles in degrees; other columns by their names."""
    track = MotionTrack.still(1)
    track.pose[0], track.size[0] = [*np.radians(pose[:3]), *pose[3:]], size
    for name, value in named.items():
        part, column = {"blink": ("face", [0, 1]), "gaze_x": ("face", [2]), "gaze_y": ("face", [3]),
                        "brows": ("face", [4, 5]), "squint": ("expression", [3])}[name]  # fmt: skip
        getattr(track, part)[0, column] = value
    return HeadFrame(Move.of(track, 0))


def coordinates() -> np.ndarray:
    """A picture float32 whose colours are x, y and 0."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    return np.stack([x, y, 0 * x], -1)


def sources(frame: HeadFrame, mesh: np.ndarray = MESH) -> np.ndarray:
    """Where each pixel of the drawn picture comes from, (H, W, 2)."""
    canvas = coordinates()
    head(mesh=mesh).draw(canvas, frame)
    return canvas[..., :2]


def in_picture(points: np.ndarray) -> np.ndarray:
    return points[..., :2] / SIZE * SIDE + (LEFT, TOP)


def test_a_head_at_rest_leaves_the_picture_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    canvas = picture.copy()
    head().draw(canvas, state())
    np.testing.assert_array_equal(canvas, picture)


@pytest.mark.parametrize("angles", TURNS)
def test_a_turn_moves_the_face_as_a_rotation_does(angles: tuple[int, int, int]):
    found = sources(state((*angles, 0, 0)))
    turn = rotation_matrix(*np.radians(angles) * (GAIN, GAIN, 1))
    unit = SIDE / 4  # eye distance, px
    pivot = in_picture(np.array([0.5, 0.75]) * SIZE)
    inner = np.array([33, 133, 362, 263, 168, 6, 107, 336, 1, 98, 327, 61, 291, 50, 280])
    points = np.column_stack([in_picture(MESH[inner]), -MESH[inner, 2] / SIZE * SIDE])
    points[:, 2] += 1.35 * unit  # in front of the pivot
    turned = np.column_stack([points[:, :2] - pivot, points[:, 2]]) @ turn.T
    moved = turned[:, :2] + pivot
    made = np.array([found_at(found, point) for point in points[:, :2]])
    assert np.linalg.norm(made - moved, axis=1).max() < 0.12 * unit
    asked, got = moved - points[:, :2], made - points[:, :2]
    assert float((asked * got).sum() / (asked**2).sum()) == pytest.approx(1, abs=0.1)


def found_at(found: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The pixel (x, y) at which a point of the source is seen."""
    apart = np.linalg.norm(found - source, axis=-1)
    return np.array(np.unravel_index(apart.argmin(), apart.shape))[::-1]


@pytest.mark.parametrize("angles", TURNS)
def test_a_striped_background_has_no_double_edges_and_no_tears(angles: tuple[int, int, int]):
    stripes = np.where(np.sin(np.arange(WIDTH) / 3) > 0, 1.0, -1.0).astype(np.float32)
    canvas = np.ascontiguousarray(np.broadcast_to(stripes[None, :, None], (HEIGHT, WIDTH, 3)))
    head().draw(canvas, state((*angles, 0, 0)))
    edges = [np.count_nonzero(np.diff(row > 0)) for row in canvas[..., 0]]
    if not angles[2]:
        assert set(edges) == {np.count_nonzero(np.diff(stripes))}  # a stripe is neither doubled nor lost
    found = sources(state((*angles, 0, 0)))
    for axis, plane in ((1, 0), (0, 1)):
        steps = np.diff(found[..., plane], axis=axis)
        assert steps.min() > -1e-3, "the picture folds"
        assert steps.max() < 9, "the picture tears"


@pytest.mark.parametrize("angles", TURNS)
def test_hair_and_ears_keep_their_size(angles: tuple[int, int, int]):
    found = sources(state((*angles, 0, 0)))
    unit = SIDE / 4
    for x, y in ((-1.35, 0.3), (1.35, 0.3), (-1.2, -1.2), (1.2, -1.2), (0, -1.7)):  # ears, hair at the sides and above
        column, row = (in_picture(np.array([0.5, 0.45]) * SIZE) + (x * unit, y * unit)).astype(int)
        part = found[row - 20 : row + 20, column - 20 : column + 20]
        across, down = np.diff(part, axis=1).mean((0, 1)), np.diff(part, axis=0).mean((0, 1))
        area = abs(across[0] * down[1] - across[1] * down[0])
        assert 0.4 < area < 2.6


def test_what_is_far_from_the_head_stays():
    found = sources(state((25, 15, 15, 0.05, 0.02), 0.2))
    still = coordinates()[..., :2]
    for part in (np.s_[:, :30], np.s_[:, -30:], np.s_[-1:, :]):
        np.testing.assert_allclose(found[part], still[part], atol=0.51)


def test_shift_and_size_move_the_whole_head():
    found = sources(state((0, 0, 0, 0.03, -0.02)))
    x, y = in_picture(MESH[1]).astype(int)
    np.testing.assert_allclose((x, y) - found[y, x], (0.03 * SIDE, -0.02 * SIDE), rtol=0.04)
    larger = sources(state(size=0.2))
    left, right = (in_picture(MESH[mark]).astype(int) for mark in (33, 263))
    spread = larger[right[1], right[0], 0] - larger[left[1], left[0], 0]
    assert (right[0] - left[0]) / spread == pytest.approx(1.2, abs=0.02)


def eyes_picture(iris: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Skin with white eyes that have dark irises, float32, and a mask of the eyes (H, W)."""
    picture = np.full((HEIGHT, WIDTH, 3), 0.5, np.float32)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    face = face_mesh()
    for side in (0, 1):
        marks = [33, *UPPER, 133, *LOWER[::-1]]
        marks = marks if side == 0 else [int(face.pairs[m]) for m in marks]
        outline = in_picture(MESH[marks]).round().astype(np.int32)
        cv2.fillPoly(mask, [outline], 1)
        cv2.fillPoly(picture, [outline], (1.0, 1.0, 1.0))
        middle = outline.mean(0).round().astype(int)
        cv2.circle(picture, tuple(int(v) for v in middle), iris, (-1.0, -1.0, -1.0), -1)
    return picture, mask > 0


def shut_share(picture: np.ndarray, mask: np.ndarray) -> float:
    """Share of the eyes' area that has the colour of white or iris, which neither skin nor lashes have."""
    colours = picture[..., 0][mask]
    return float(((colours > 0.75) | (colours < -0.6)).mean())


def test_in_a_blink_no_eye_shines_through_the_lid():
    picture, mask = eyes_picture()
    frame = picture[int(TOP) : int(TOP + SIDE), int(LEFT) : int(LEFT + SIDE)]
    portrait = head(cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_AREA))
    shares = []
    for closure in (0.0, 0.5, 1.0):
        canvas = picture.copy()
        portrait.draw(canvas, state(blink=closure))
        shares.append(shut_share(canvas, mask))
    assert shares[0] > 0.9 and shares[2] < 0.15
    assert 0.25 < shares[1] < 0.75
    canvas = picture.copy()
    portrait.draw(canvas, state(blink=1.0))
    np.testing.assert_allclose(canvas[: int(TOP + 0.3 * SIDE)], picture[: int(TOP + 0.3 * SIDE)], atol=1e-5)


@pytest.mark.parametrize("gaze", [(1.0, 0.0), (-1.0, 0.0), (0.0, -1.0)])
def test_irises_go_where_the_eyes_look_and_lids_stay(gaze: tuple[float, float]):
    picture, mask = eyes_picture(8 if gaze[0] else 3)
    frame = picture[int(TOP) : int(TOP + SIDE), int(LEFT) : int(LEFT + SIDE)]
    canvas = picture.copy()
    head(cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_AREA)).draw(
        canvas, state(gaze_x=gaze[0], gaze_y=gaze[1])
    )
    middles = []
    for each in (picture, canvas):
        dark = (each[..., 0] < 0) & mask
        middles.append(np.argwhere(dark).mean(0)[::-1])
    moved = middles[1] - middles[0]
    axis = int(gaze[0] == 0)
    assert moved[axis] * gaze[axis] > 1 and abs(moved[1 - axis]) < 1
    assert np.abs(canvas - picture)[~mask & ~_near(mask)].max() < 1e-5


def _near(mask: np.ndarray) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0


def test_raised_brows_go_up():
    found = sources(state(brows=1.0))
    for mark in (105, 334):
        x, y = in_picture(MESH[mark]).astype(int)
        assert 2 < found[y, x, 1] - y < 0.14 * SIDE / 4 * 1.2


def test_a_smile_lifts_the_corners_and_a_frown_lowers_them():
    smile, frown = mouth_expression(1, 0), mouth_expression(0, 1)
    assert smile[61, 1] < -0.05 and smile[61, 0] < 0 < smile[291, 0] and frown[61, 1] > 0.05
    pairs = face_mesh().pairs
    for moved in (smile, frown):
        np.testing.assert_allclose(moved[pairs] * (-1, 1, 1), moved, atol=0.01)
        assert np.abs(moved[[33, 133, 10]]).max() < 0.01


def test_all_channels_move_alike_and_alpha_of_a_matte_needs_no_white():
    ramp = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
    picture = np.dstack([ramp] * 4)
    (found,) = drawn(picture, [head()], [[state((20, 0, 5, 0, 0))]])
    assert found.shape == (HEIGHT, WIDTH, 4) and (found != picture).any()
    np.testing.assert_array_equal(found[..., 0], found[..., 3])
    (same,) = with_alpha([found.copy()], given=False)
    np.testing.assert_array_equal(same, found)
    half = np.full((4, 4, 4), 128, np.uint8)
    half[..., :3] = 191  # 128 at half alpha on white
    (colours,) = with_alpha([half], given=True)
    assert abs(int(colours[0, 0, 0]) - 128) <= 1


def test_frames_come_in_their_order_from_several_threads_alike():
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    states = [[state((3 * n, n, -n, 0, 0), blink=n / 9, gaze_x=n / 9)] for n in range(8)]
    portrait = head()
    alone = list(drawn(picture, [portrait], states))

    def draw(one: list[HeadFrame]) -> np.ndarray:
        canvas = picture.copy()
        portrait.draw(canvas, one[0])
        return canvas

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(draw, states))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_made_ahead_is_bounded_and_errors_come_through():
    made, asked = [], []

    def items():
        for number in range(20):
            asked.append(number)
            yield number

    def make(number: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        if number == 15:
            raise ValueError("no")
        made.append(number)
        return number

    found = made_ahead(make, items(), 2)
    assert next(found) == 0 and len(asked) == 3
    with pytest.raises(ValueError, match="no"):
        list(found)
    assert made[:15] == list(range(15))


def test_detail_is_the_share_of_the_pictures_own():
    size = (SIZE, SIZE, 3)
    picture = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    frame, placement = np.full(size, 100, np.uint8), whole_placement(SIZE, SIZE)
    assert source_picture(picture, frame, placement, HeadGeometry(), 1.0) is picture
    none = source_picture(picture, frame, placement, HeadGeometry(), 0.0)
    assert (none[100:150, 100:150] == 100).all()
    half = source_picture(picture, frame, placement, HeadGeometry(), 0.5)
    np.testing.assert_allclose(half[120, 120], (picture[120, 120] + 100.0) / 2, atol=0.51)


def test_angles_are_limited_softly_and_a_turned_head_says_so(caplog):
    assert soft_limit(FREE) == pytest.approx(FREE) and MOST - 0.03 < soft_limit(0.8) < MOST
    turn = rotation_matrix(*np.radians([32.0, 0, 0])) * np.outer((1, 1, -1), (1, 1, -1))
    turned = (MESH - MESH.mean(0)) @ turn.T + MESH.mean(0)
    with caplog.at_level(logging.WARNING):
        portrait = head(mesh=turned)
    assert "turned by 32 degrees" in caplog.text and caplog.text.count("\n") == 1
    farther = portrait.limited(np.radians([25, 0, 0, 0, 0]))
    back = portrait.limited(np.radians([-25, 0, 0, 0, 0]))
    assert farther[0] < np.radians(8) and back[0] == pytest.approx(-np.radians(25))


def test_a_field_that_does_not_fold_is_left_alone():
    rng = np.random.default_rng(0)
    gentle = np.cumsum(rng.uniform(-0.4, 0.4, (20, 30, 2)), 1).astype(np.float32) * (1, 0)
    np.testing.assert_allclose(unfolded(gentle.astype(np.float32)), gentle, atol=1e-4)
    folded = np.zeros((3, 30, 2), np.float32)
    folded[:, 15:, 0] = -6
    assert (np.diff(unfolded(folded)[..., 0], axis=1) + 1).min() > 0.1
