"""Which head of a picture is meant: every rule, with faces that are known, and what is said when there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.assets import ASSETS
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.alignment import align, whole_placement
from diffused_heads.diffused_heads_core.face.finder import Face, Search, stable_points
from diffused_heads.diffused_heads_core.face.placing import PORTRAITS, RULES, Placing, bundled_name, is_framed, place
from diffused_heads.diffused_heads_core.media.pictures import load_picture
from diffused_heads.diffused_heads_core.pose import HeadGeometry

PICTURE = np.full((300, 400, 3), 90, np.uint8)


def face(x: float, y: float, half: float) -> Face:
    """A face whose eyes are ``half`` left and right of (x, y) and whose nose is ``half`` below."""
    points = np.array([(x - half, y), (x + half, y), (x, y + half), (x, y + 2 * half), (x, y), (x, y)], float)
    return Face((x - 2 * half, y - half, x + 2 * half, y + 3 * half), 0.9, points)


FACES = {"middle, large": face(200, 100, 30), "left": face(60, 150, 10), "right": face(340, 60, 12)}


class Finder:
    """Stands for face analysis: finds FACES, or nothing."""

    def __init__(self, faces: list[Face], likeliest: np.ndarray | None = None):
        self.faces, self.likeliest = sorted(faces, key=lambda f: -f.area), likeliest

    def search(self, picture: np.ndarray) -> Search:
        return Search(self.faces, ("the whole picture",), 0.31, self.likeliest)


def found(**settings) -> np.ndarray:
    return place(PICTURE, Placing(**settings), 128, HeadGeometry(), lambda: Finder(list(FACES.values()))).matrix


@pytest.mark.parametrize(
    "settings, want",
    [
        ({}, "middle, large"),
        ({"rule": "largest"}, "middle, large"),
        ({"rule": "largest", "index": 2}, "left"),
        ({"rule": "left to right"}, "left"),
        ({"rule": "left to right", "index": 2}, "right"),
        ({"rule": "nearest", "x": 1.0, "y": 0.0}, "right"),
        ({"rule": "nearest", "x": 0.0, "y": 1.0}, "left"),
    ],
)
def test_faces(settings: dict, want: str) -> None:
    points = stable_points(FACES[want])
    np.testing.assert_allclose(found(**settings), align(points).matrix)


def test_margin_and_level_reach_the_alignment() -> None:
    points = stable_points(FACES["middle, large"])
    np.testing.assert_allclose(found(margin=0.5, level=False), align(points, margin=0.5, level=False).matrix)


@pytest.mark.parametrize(
    "x, y, size, corner, side",
    [(0.5, 0.5, 0.5, (125, 75), 150), (1.0, 0.0, 0.4, (280, 0), 120), (0.0, 1.0, 1.0, (0, 0), 300)],
)
@pytest.mark.parametrize("rule", ["auto", "box"])
def test_boxes_stay_inside_the_picture(rule: str, x: float, y: float, size: float, corner: tuple, side: int) -> None:
    placement = place(
        PICTURE, Placing(rule, x=x, y=y, size=size), 128, HeadGeometry(), lambda: pytest.fail("a face was looked for")
    )
    assert placement.corners[0] == pytest.approx(corner) and placement.side == pytest.approx(side)


def test_what_is_known_to_be_framed_needs_no_face_analysis() -> None:
    nobody = lambda: pytest.fail("a face was looked for")  # noqa: E731
    for path in sorted(ASSETS.glob(PORTRAITS)):
        picture = load_picture(path)
        assert is_framed(picture, 128) and not is_framed(picture[:, ::-1], 128)
        assert bundled_name(picture) == path.stem and bundled_name(picture[:100]) is None
        assert np.array_equal(
            place(picture, Placing(), 128, HeadGeometry(), nobody).matrix, whole_placement(512, 512).matrix
        )
    own_size = np.zeros((128, 128, 3), np.uint8)
    assert np.array_equal(
        place(own_size, Placing(), 128, HeadGeometry(), nobody).matrix, whole_placement(128, 128).matrix
    )
    assert np.array_equal(
        place(PICTURE, Placing("whole"), 128, HeadGeometry(), nobody).matrix, whole_placement(300, 400).matrix
    )


def test_no_face_says_what_was_tried_and_what_to_do() -> None:
    with pytest.raises(DiffusedHeadsError, match=r"cat\.png: no face.*the whole picture.*0\.31.*box"):
        place(PICTURE, Placing(), 128, HeadGeometry(), lambda: Finder([]), "cat.png")
    with pytest.raises(DiffusedHeadsError, match=r"--box 0\.50 0\.40 0\.60.*--face whole"):
        place(PICTURE, Placing(), 128, HeadGeometry(), lambda: Finder([]))
    likeliest = np.array([100.0, 60.0, 160.0, 120.0])  # of a picture of 400x300
    with pytest.raises(DiffusedHeadsError, match=r"--box 0\.33 0\.30 0\.40"):
        place(PICTURE, Placing(), 128, HeadGeometry(), lambda: Finder([], likeliest))
    with pytest.raises(DiffusedHeadsError, match="index=3.*3 faces"):
        found(rule="left to right", index=3)


def test_missing_networks_leave_a_way() -> None:
    def absent() -> Finder:
        raise DiffusedHeadsError("networks are missing")

    with pytest.raises(DiffusedHeadsError, match="networks are missing; or .*box.*whole"):
        place(PICTURE, Placing(), 128, HeadGeometry(), absent)


@pytest.mark.parametrize(
    "change, word",
    [
        ({"rule": "smallest"}, "rule='smallest'"),
        ({"index": -1}, "index=-1"),
        ({"x": -0.1}, "x=-0.1"),
        ({"y": 1.1}, "y=1.1"),
        ({"size": math.nan}, "size=nan"),
        ({"rule": "box"}, "size=0"),
        ({"margin": 9.0}, "margin=9"),
    ],
)
def test_settings_are_checked(change: dict, word: str) -> None:
    with pytest.raises(DiffusedHeadsError) as caught:
        Placing(**change)
    assert word in str(caught.value)


def test_a_box_of_few_pixels_is_refused_and_all_rules_are_known() -> None:
    with pytest.raises(DiffusedHeadsError, match="box of 15 pixels"):
        place(PICTURE, Placing("box", size=0.05), 128, HeadGeometry(), lambda: pytest.fail("a face was looked for"))
    assert RULES == ("auto", "largest", "left to right", "nearest", "box", "whole")
