"""The heads of a picture, counted from 1: the faces that are found from left to right, or squares set by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..config import ModelConfig
from ..errors import DiffusedHeadsError
from ..face.alignment import Placement, align
from ..face.finder import Face, FaceFinder, stable_points
from ..face.placing import Placing, find_faces, place_face

Box = tuple[float, float, float]  # x, y, size as of ``Placing``
COLOUR, DARK = (255, 200, 40), (30, 30, 30)  # of the numbers, RGB


@dataclass(frozen=True, eq=False)
class Head:
    """A head in a picture: its number from 1, the model's square around it, and the face, None if set by hand."""

    number: int
    placement: Placement
    face: Face | None = None


def find_heads(
    picture: np.ndarray,
    config: ModelConfig,
    boxes: Sequence[Box] = (),
    finder: Callable[[], FaceFinder] = FaceFinder,
    name: str = "picture",
    margin: float = 0.0,
    level: bool = True,
) -> list[Head]:
    """The heads of a picture uint8 (H, W, 3), number 1 first: faces from left to right, or the given ``boxes``.

    margin, level: as of ``Placing``. Raises DiffusedHeadsError as ``placing.place``.
    """
    size, geometry = config.frame_size, config.geometry
    if boxes:
        placings = [Placing("box", x=x, y=y, size=side) for x, y, side in boxes]
        found = [place_face(picture, placing, size, geometry, finder, name) for placing in placings]
        return [Head(number, *each) for number, each in enumerate(found, 1)]
    Placing(margin=margin)
    faces = sorted(find_faces(picture, finder, name), key=lambda face: face.centre[0])
    return [
        Head(number, align(stable_points(face), geometry, margin, level), face) for number, face in enumerate(faces, 1)
    ]


def check_numbers(wanted: Sequence[int], heads: Sequence[Head], picture: np.ndarray, name: str) -> None:
    """Raise DiffusedHeadsError for numbers of heads that are not in the picture; it says which are, and where."""
    missing = sorted(set(wanted) - {head.number for head in heads})
    if missing:
        count = "one head" if len(heads) == 1 else f"{len(heads)} heads"
        there = ", ".join(f"{head.number} at {position(head, picture)}" for head in heads)
        raise DiffusedHeadsError(
            f"{name}: head {', '.join(map(str, missing))} is not in the picture: found {count} ({there}; fractions of "
            "width and height). For a head that is not found, set the squares of all by hand (--speaker-box X Y SIZE "
            "for each; squares of the node)"
        )


def position(head: Head, picture: np.ndarray) -> str:
    """Where the middle of a head's square is, as fractions of width and height: "0.25 0.40"."""
    x, y = head.placement.to_picture(np.array([0.5, 0.5])) / picture.shape[1::-1]
    return f"{x:.2f} {y:.2f}"


def numbered(picture: np.ndarray, heads: Sequence[Head]) -> np.ndarray:
    """A copy of the picture uint8 (H, W, 3) with the square of each head and its number drawn into it."""
    drawn = np.ascontiguousarray(picture).copy()
    for head in heads:
        side = head.placement.side
        thick = max(1, round(side / 120))
        corners = np.rint(head.placement.corners).astype(np.int32)
        for colour, width in ((DARK, thick + 2), (COLOUR, thick)):
            cv2.polylines(drawn, [corners], True, colour, width, cv2.LINE_AA)
        _draw_number(drawn, head)
    return drawn


def _draw_number(picture: np.ndarray, head: Head) -> None:
    """Draw the number on a disc at the top left of the head's square, inside the picture."""
    text, radius = str(head.number), max(9, round(head.placement.side / 11))
    height, width = picture.shape[:2]
    corner = head.placement.to_picture(np.array([0.12, 0.12]))
    at = [int(np.clip(value, radius, max(radius, end - radius))) for value, end in zip(corner, (width, height))]
    cv2.circle(picture, at, radius, COLOUR, cv2.FILLED, cv2.LINE_AA)
    scale, thick = radius / (18 + 8 * (len(text) - 1)), max(1, radius // 7)
    (across, down), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    origin = at[0] - across // 2, at[1] + down // 2
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, DARK, thick, cv2.LINE_AA)
