"""Which head of a picture is meant, and where the model's square frame lies around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from ..assets import ASSETS, PORTRAITS
from ..errors import DiffusedHeadsError, raise_problems
from ..media.pictures import load_picture
from ..pose import HeadGeometry
from .alignment import Placement, align, square_placement, whole_placement
from .finder import Face, FaceFinder, Search, choose_face, stable_points

RULES = ("auto", "largest", "left to right", "nearest", "box", "whole")
SMALLEST_SIDE = 16  # pixels of a box
FIRST_BOX = (0.5, 0.4, 0.6)  # x, y, size of a box to begin with where nothing was seen
HEAD = 2.0  # side of a head's square, in sides of the detector's box


@dataclass(frozen=True)
class Placing:
    """Which head of a picture is meant, and how it is framed.

    rule: 'largest' face; face number ``index`` (from 0) 'left to right'; the face 'nearest' to (x, y); a 'box' around
    (x, y), inside the picture; the 'whole' picture's largest square; or 'auto': the box if ``size`` is above 0, the
    whole of a picture that is known to be framed (bundled portraits, pictures of the model's size), else the largest
    face. x, y: fractions of width and height; size: the box's side as a fraction of the shorter side. margin, level: as
    in ``alignment.align``. Raises DiffusedHeadsError for values out of range.
    """

    rule: str = "auto"
    index: int = 0
    x: float = 0.5
    y: float = 0.5
    size: float = 0.0
    margin: float = 0.0
    level: bool = True

    def __post_init__(self) -> None:
        fractions = {"x": self.x, "y": self.y, "size": self.size}
        wrong = {
            f"rule={self.rule!r}: expected one of {', '.join(RULES)}": self.rule not in RULES,
            f"index={self.index}: expected 0 or more": self.index < 0,
            **{f"{n}={v}: expected 0 to 1": not 0 <= v <= 1 for n, v in fractions.items()},
            "size=0: expected the side of the box": self.rule == "box" and not self.size,
            f"margin={self.margin}: expected -0.3 to 2": not -0.3 <= self.margin <= 2,
        }
        raise_problems("face", wrong)


class NoFaceError(DiffusedHeadsError):
    """No face was found in ``picture``, uint8 (H, W, 3). ``problem``: the message without a remedy; ``box``: x, y and
    size, as in ``Placing``, of a box to begin with.
    """

    __module__ = "builtins"  # as of DiffusedHeadsError

    def __init__(self, problem: str, picture: np.ndarray, box: tuple[float, float, float]):
        super().__init__(f"{problem}; {_by_hand(*box)}")
        self.problem, self.picture, self.box = problem, picture, box


def place(
    picture: np.ndarray,
    placing: Placing,
    frame_size: int,
    geometry: HeadGeometry,
    finder: Callable[[], FaceFinder],
    name: str = "picture",
) -> Placement:
    """The model's frame in a picture uint8 (H, W, 3); ``finder`` is called if a face must be looked for.

    Raises DiffusedHeadsError that names the picture if no face is found (with what was tried), if there are fewer faces
    than asked for, if the box has too few pixels, and if the face networks cannot be loaded.
    """
    return place_face(picture, placing, frame_size, geometry, finder, name)[0]


def place_face(
    picture: np.ndarray,
    placing: Placing,
    frame_size: int,
    geometry: HeadGeometry,
    finder: Callable[[], FaceFinder],
    name: str = "picture",
) -> tuple[Placement, Face | None]:
    """As ``place``, with the face that was found; None if none was looked for."""
    height, width = picture.shape[:2]
    if placing.rule == "box" or (placing.rule == "auto" and placing.size):
        return _box(height, width, placing, name), None
    if placing.rule == "whole" or (placing.rule == "auto" and is_framed(picture, frame_size)):
        return whole_placement(height, width), None
    rule = "largest" if placing.rule == "auto" else placing.rule
    face = choose_face(find_faces(picture, finder, name), rule, placing.index, (placing.x * width, placing.y * height))
    return align(stable_points(face), geometry, placing.margin, placing.level), face


def find_faces(picture: np.ndarray, finder: Callable[[], FaceFinder], name: str = "picture") -> list[Face]:
    """All faces of a picture uint8 (H, W, 3), at least one; errors of ``place``."""
    try:
        search = finder().search(picture)
    except DiffusedHeadsError as error:
        raise DiffusedHeadsError(f"{error}; or {_by_hand(*FIRST_BOX)}") from error
    if not search.faces:
        raise no_face(name, search, picture)
    return search.faces


def no_face(name: str, search: Search, picture: np.ndarray) -> NoFaceError:
    """The error for a picture called ``name`` in which ``search`` found nothing: what was tried and what helps."""
    box, seen, (height, width) = FIRST_BOX, search.likeliest, picture.shape[:2]
    if seen is not None:
        x, y = np.clip((seen[:2] + seen[2:]) / 2 / (width, height), 0, 1)
        box = float(x), float(y), min(HEAD * float(np.max(seen[2:] - seen[:2])) / min(height, width), 1.0)
    problem = f"{name}: no face found, tried {', '.join(search.tried)}; best score {search.best_score:.2f}"
    return NoFaceError(problem, picture, box)


def _by_hand(x: float, y: float, size: float) -> str:
    """The ways to place a head without a face that is found, with a box to begin with."""
    return (
        f"give the head's place by hand as a box (--box {x:.2f} {y:.2f} {size:.2f}: centre and side as fractions of "
        "the picture; x, y and box size of the node), or take the picture's middle square (--face whole, rule 'whole')"
    )


def is_framed(picture: np.ndarray, frame_size: int) -> bool:
    """Whether the head is known to fill the picture: a bundled portrait, or a picture of the model's size."""
    return picture.shape[:2] == (frame_size, frame_size) or bundled_name(picture) is not None


def bundled_name(picture: np.ndarray) -> str | None:
    """File stem of the bundled portrait that a picture is, None if it is none of them."""
    return next((name for name, known in _bundled().items() if np.array_equal(picture, known)), None)


@cache
def _bundled() -> dict[str, np.ndarray]:
    return {path.stem: load_picture(path) for path in ASSETS.glob(PORTRAITS)}


def _box(height: int, width: int, placing: Placing, name: str) -> Placement:
    side = round(placing.size * min(height, width))
    if side < SMALLEST_SIDE:
        raise DiffusedHeadsError(
            f"{name}: a box of {side} pixels in a picture of {width}x{height}, expected at least {SMALLEST_SIDE}"
        )
    left, top = round(placing.x * width - side / 2), round(placing.y * height - side / 2)
    return square_placement(min(max(left, 0), width - side), min(max(top, 0), height - side), side)
