"""How well heads are aligned in random pictures: any size, place and turn of the head, any size of the picture.

    python benchmarks/faces.py [--pictures 200] [--seed 0] [--photographs FOLDER] [--jpeg]

A head of known alignment is scaled, turned and set into a varied background. The truth is the alignment of the large
upright original, carried through the known similarity. The bars: 98 % of the heads within 4 degrees and 4 % of the
distance between the eyes, and none outside these bars without an error or a warning. Prints the shares, the worst
heads, and the seconds per picture.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from diffused_heads.diffused_heads_core.assets import ASSETS, PORTRAITS
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.alignment import Placement, align, crop
from diffused_heads.diffused_heads_core.face.finder import FaceFinder, choose_face, stable_points
from diffused_heads.diffused_heads_core.face.remarks import remarks
from diffused_heads.diffused_heads_core.media.pictures import load_picture
from diffused_heads.diffused_heads_core.pose import HeadGeometry

HEADS = ("i092_s9.jpg", "i203_art_0.png", "i230_people_0.png", "i226_full_body_1.png")  # photographs with one face
EMPTY = ("i266_giraffe.jpg",)  # photographs without a face
PHOTOGRAPHS = Path(__file__).resolve().parents[2] / "shared" / "real_inputs" / "images"
FACE, SIDE = (20.0, 2000.0), (200.0, 8000.0)  # px: height of the face, sides of the picture
BANDS = (20.0, 25.0, 36.0, 60.0, 200.0)  # px: sizes of faces whose shares are printed apart
ROOM = 0.9  # the most of the picture's shorter side that a face takes
DEGREES, SHIFT, SHARE = 4.0, 0.04, 0.98  # the bars
GEOMETRY = HeadGeometry()
EYES = math.dist(GEOMETRY.left_eye, GEOMETRY.right_eye)  # frame fractions
FRAME = 128  # px of the bundled models
CUT = 1.5  # side of the piece that is cut out around a head, in sides of the model's frame


@dataclass(frozen=True)
class Head:
    """A picture (H, W, 3), the head's alignment in it, and the height of the face from brow to chin, px."""

    name: str
    picture: np.ndarray
    placement: Placement
    face: float


@dataclass(frozen=True)
class Scene:
    """A picture (H, W, 3) with one head, its true alignment, what it is made of, and the height of the face, px."""

    picture: np.ndarray
    truth: Placement
    words: str
    face: float


@dataclass(frozen=True)
class Outcome:
    """Errors of an alignment, degrees and eye distances (NaN if it was refused), and what was said about it.

    face: height of the face, px.
    """

    words: str
    face: float
    degrees: float
    shift: float
    said: str
    seconds: float

    @property
    def good(self) -> bool:
        """Whether the alignment is within the bars."""
        return self.degrees <= DEGREES and self.shift <= SHIFT


def heads(finder: FaceFinder, photographs: Path) -> list[Head]:
    """The bundled portraits, and photographs of one person if they are there."""
    paths = [*sorted(ASSETS.glob(PORTRAITS)), *(photographs / name for name in HEADS)]
    found = []
    for path in (path for path in paths if path.is_file()):
        picture = load_picture(path)
        face = finder.find(picture)[0]
        placement = align(stable_points(face), GEOMETRY)
        found.append(Head(path.stem, picture, placement, face.box[3] - face.box[1]))
    return found


def background(random: np.random.Generator, height: int, width: int, photographs: list[np.ndarray]) -> np.ndarray:
    """One of: one colour, soft patches of colour, fine noise, ellipses and lines, a photograph without faces."""
    kind = int(random.integers(0, 5 if photographs else 4))
    if kind == 0:
        return np.full((height, width, 3), random.integers(0, 256, 3), np.uint8)
    if kind == 1:
        coarse = random.integers(0, 256, (*random.integers(2, 12, 2), 3)).astype(np.uint8)
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    if kind == 2:
        tile = random.normal(128, random.uniform(5, 50), (256, 256, 3)).clip(0, 255).astype(np.uint8)
        return np.tile(tile, (height // 256 + 1, width // 256 + 1, 1))[:height, :width].copy()
    if kind == 3:
        return _clutter(random, height, width)
    photograph = photographs[int(random.integers(len(photographs)))]
    return cv2.resize(photograph, (width, height), interpolation=cv2.INTER_LINEAR)


def _clutter(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    picture = np.full((height, width, 3), random.integers(0, 256, 3), np.uint8)
    longest = max(height, width)
    for _ in range(60):
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        place = (int(random.integers(width)), int(random.integers(height)))
        radii = tuple(int(value) + 2 for value in random.uniform(0, longest / 8, 2))
        cv2.ellipse(picture, place, radii, float(random.uniform(0, 180)), 0, 360, colour, -1)
        end = (int(random.integers(width)), int(random.integers(height)))
        cv2.line(picture, place, end, colour, max(1, longest // 300))
    return picture


def scene(random: np.random.Generator, people: list[Head], photographs: list[np.ndarray], jpeg: bool = False) -> Scene:
    """A head of random size and turn at a random place of a picture of random size; sizes are log-uniform."""
    head = people[int(random.integers(len(people)))]
    height, width = (int(math.exp(random.uniform(*np.log(SIDE)))) for _ in range(2))
    size = min(math.exp(random.uniform(*np.log(FACE))), ROOM * min(height, width))
    turn = math.radians(random.uniform(-180, 180))
    middle = [size / 2 + random.uniform(0, 1) * (length - size) for length in (width, height)]
    picture = background(random, height, width, photographs)
    side = head.placement.side * size / head.face
    truth = frame_at(side, turn, *middle)
    soft = bool(random.integers(2))
    paste(picture, head, truth, soft)
    if jpeg:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(60, 96))]
        coded = cv2.imencode(".jpg", picture[..., ::-1], quality)[1]
        picture = cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1].copy()
    words = f"{head.name}, face {size:.0f} px, turned {math.degrees(turn):.0f}, in {width}x{height}, "
    return Scene(picture, truth, words + ("soft" if soft else "square"), size)


def frame_at(side: float, turn: float, x: float, y: float) -> Placement:
    """The frame of that side, turned clockwise by radians, whose face's middle lies at (x, y)."""
    a = complex(math.cos(turn), -math.sin(turn)) / side
    b = complex(GEOMETRY.centre[0], GEOMETRY.centre[1]) - a * complex(x, y)
    return Placement(np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]]))


def paste(picture: np.ndarray, head: Head, truth: Placement, soft: bool) -> None:
    """Set the head into the picture, in place: a square piece, or an ellipse with a soft edge."""
    side = CUT * truth.side
    finer = 4 if side < 400 else 1  # small heads are drawn larger and averaged, as a camera does
    size = max(8, math.ceil(min(finer * side, CUT * head.placement.side)))
    larger = np.array([[1 / CUT, 0, 0.5 - 0.5 / CUT], [0, 1 / CUT, 0.5 - 0.5 / CUT]])
    piece = crop(head.picture, _then(head.placement, larger), size)
    mask = np.zeros((size, size), np.float32)
    if soft:
        radii = (round(0.4 * size), round(0.46 * size))
        cv2.ellipse(mask, (size // 2, size // 2), radii, 0, 0, 360, 1.0, -1)
        mask = cv2.GaussianBlur(mask, (0, 0), max(0.02 * size, 0.5))
    else:
        inside = np.ones(head.picture.shape[:2], np.uint8)[..., None].repeat(3, 2)
        mask[:] = crop(inside * 255, _then(head.placement, larger), size)[..., 0] > 0
        mask[[0, -1]] = mask[:, [0, -1]] = 0
    placed = _then(truth, larger)
    left, top, right, bottom = placed.box(*picture.shape[:2])
    matrix = placed.pixels(size, left, top)
    matrix = np.column_stack(
        [matrix[:, :2] / finer, matrix[:, 2] + matrix[:, :2] @ (0.5 / finer - 0.5, 0.5 / finer - 0.5)]
    )
    large, shape = (finer * (right - left), finer * (bottom - top)), (right - left, bottom - top)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(piece, matrix, large, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    share = cv2.warpAffine(mask, matrix, large, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    warped, share = (cv2.resize(each, shape, interpolation=cv2.INTER_AREA) for each in (warped, share[..., None]))
    share = share.reshape(*shape[::-1], 1)
    part = picture[top:bottom, left:right]
    part[:] = np.rint(part + share * (warped.astype(np.float32) - part)).clip(0, 255).astype(np.uint8)


def _then(placement: Placement, change: np.ndarray) -> Placement:
    """A placement followed by a change (2, 3) of frame fractions."""
    return Placement(
        np.column_stack(
            [change[:, :2] @ placement.matrix[:, :2], placement.to_frame((0, 0)) @ change[:, :2].T + change[:, 2]]
        )
    )


def errors(found: Placement, truth: Placement) -> tuple[float, float]:
    """Degrees by which two alignments differ, and the largest distance of eyes and nose in them, eye distances."""
    turn = math.degrees((found.angle - truth.angle + math.pi) % (2 * math.pi) - math.pi)
    points = np.array([GEOMETRY.left_eye, GEOMETRY.right_eye, GEOMETRY.nose])
    apart = np.linalg.norm(found.to_picture(points) - truth.to_picture(points), axis=1).max()
    return abs(turn), float(apart / (EYES * truth.side))


def outcome(finder: FaceFinder, made: Scene) -> Outcome:
    """Align the largest face of a scene and compare."""
    begun = time.perf_counter()
    try:
        face = choose_face(finder.search(made.picture).faces)
    except DiffusedHeadsError:
        return Outcome(made.words, made.face, math.nan, math.nan, "no face found", time.perf_counter() - begun)
    placement = align(stable_points(face), GEOMETRY)
    seconds = time.perf_counter() - begun
    said = "; ".join(remarks(made.picture, face, placement, FRAME))
    return Outcome(made.words, made.face, *errors(placement, made.truth), said, seconds)


def outcomes(finder: FaceFinder, pictures: int, seed: int, photographs: Path, jpeg: bool = False) -> Iterator[Outcome]:
    """The outcomes of random scenes, one by one; each scene depends on seed and number alone."""
    people = heads(finder, photographs)
    empty = [load_picture(photographs / name) for name in EMPTY if (photographs / name).is_file()]
    for number in range(pictures):
        yield outcome(finder, scene(np.random.default_rng([seed, number]), people, empty, jpeg))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--photographs", type=Path, default=PHOTOGRAPHS)
    parser.add_argument("--jpeg", action="store_true", help="store each picture as JPEG of quality 60 to 95 first")
    parser.add_argument("--worst", type=int, default=10)
    asked = parser.parse_args()
    made = list(outcomes(FaceFinder(), asked.pictures, asked.seed, asked.photographs, asked.jpeg))
    good, silent = [each for each in made if each.good], [each for each in made if not each.good and not each.said]
    refused = [each for each in made if math.isnan(each.degrees)]
    doubted = [each for each in good if each.said]
    times = np.array([each.seconds for each in made])
    print(
        f"within {DEGREES:g} degrees and {SHIFT:.0%} of the eye distance: {len(good) / len(made):.1%} (bar {SHARE:.0%})"
    )
    for least, most in zip(BANDS, [*BANDS[1:], math.inf]):
        if band := [each.good for each in made if least <= each.face < most]:
            print(f"  faces of {least:.0f} to {most:.0f} px: {np.mean(band):.1%} of {len(band)}")
    print(
        f"refused: {len(refused)}; wrong without a word: {len(silent)} (bar 0); right but warned about: {len(doubted)}"
    )
    print(f"seconds: median {np.median(times):.2f}, 90 % {np.quantile(times, 0.9):.2f}, most {times.max():.2f}")
    for each in sorted(made, key=lambda each: -math.inf if math.isnan(each.shift) else -each.shift)[: asked.worst]:
        print(f"{each.degrees:6.1f} degrees {each.shift:7.3f}  {each.seconds:5.2f} s  {each.words}  {each.said}")


if __name__ == "__main__":
    main()
