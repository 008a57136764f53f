"""Heads of any size, place and turn in pictures of any size: the benchmark's scenes, few of them, and groups."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffused_heads.diffused_heads_core.face.alignment import align
from diffused_heads.diffused_heads_core.face.finder import FaceFinder, choose_face, stable_points
from diffused_heads.diffused_heads_core.face.networks import DETECTOR, load_face_models
from diffused_heads.diffused_heads_core.media.pictures import load_picture

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import faces as benchmark  # noqa: E402

SHARED = ROOT.parent / "shared"
MODELS, CASE = SHARED / "face_models", SHARED / "cases" / "small_face_6000x4000.png"
NOWHERE = Path("no such folder")


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    if not (MODELS / DETECTOR.name).is_file():
        pytest.skip(f"the face networks are not in {MODELS}")
    return FaceFinder(load_face_models(MODELS, download=False))


@pytest.fixture(scope="module")
def people(finder: FaceFinder) -> list[benchmark.Head]:
    return benchmark.heads(finder, NOWHERE)


def test_twenty_random_pictures(finder: FaceFinder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "SIDE", (200.0, 2000.0))
    made = list(benchmark.outcomes(finder, 20, 5, NOWHERE))
    wrong = [each for each in made if not each.good]
    assert len(wrong) <= 1 and all(each.said for each in wrong), wrong


@pytest.mark.parametrize(
    ("width", "height", "degrees"),
    [
        *((2600, 2000, degrees) for degrees in (0, 45, 90, 135, 180, -60, -110)),
        *((4000, 300, degrees) for degrees in (0, 135, -110)),
        *((300, 4000, degrees) for degrees in (45, 180, -60)),
    ],
)
def test_a_small_face_is_upright_in_any_turn(
    finder: FaceFinder, people: list[benchmark.Head], width: int, height: int, degrees: float
) -> None:
    head, picture = people[2], np.full((height, width, 3), (120, 140, 150), np.uint8)
    truth = benchmark.frame_at(head.placement.side * 60 / head.face, math.radians(degrees), 0.7 * width, 0.4 * height)
    benchmark.paste(picture, head, truth, True)
    face = choose_face(finder.search(picture).faces)
    turn, shift = benchmark.errors(align(stable_points(face)), truth)
    assert turn < 3 and shift < 0.04


@pytest.mark.parametrize(("width", "height"), [(2400, 1600), (5000, 3400)])
def test_all_faces_of_a_group_count_once(
    finder: FaceFinder, people: list[benchmark.Head], width: int, height: int
) -> None:
    """Twelve faces, 26 to 130 px between the eyes, slightly tilted: each once, counted from the left."""
    random, picture = np.random.default_rng(1), np.full((height, width, 3), (90, 110, 100), np.uint8)
    truths = []
    for number in range(12):
        side = (26 if number % 3 else 130 - 6 * number) / benchmark.EYES
        x, y = (number + 0.5) * width / 12, random.uniform(0.2, 0.8) * height
        truths.append(benchmark.frame_at(min(side, width / 14), random.uniform(-0.4, 0.4), x, y))
        benchmark.paste(picture, people[number % len(people)], truths[-1], True)
    found = finder.find(picture)
    assert len(found) == 12
    for number, truth in enumerate(truths):
        face = choose_face(found, "left to right", number)
        turn, shift = benchmark.errors(align(stable_points(face)), truth)
        assert turn < 4 and shift < 0.06


def test_no_face_in_large_pictures_of_anything(finder: FaceFinder) -> None:
    for kind in range(4):
        random = np.random.default_rng([kind, 3])
        assert finder.search(benchmark.background(random, 900, 1500, [])).faces == []


@pytest.mark.skipif(not CASE.is_file(), reason=f"{CASE} is not there")
@pytest.mark.parametrize("shrink", [1, 2])  # the whole picture, and a quarter of its area
def test_a_face_of_60_pixels_in_24_megapixels(finder: FaceFinder, shrink: int) -> None:
    height, width = 4000 // shrink, 6000 // shrink
    top, left = min(700, 4000 - height), min(1500, 6000 - width)
    picture = np.ascontiguousarray(load_picture(CASE)[top : top + height, left : left + width])
    (face,) = finder.search(picture).faces
    assert abs(math.degrees(align(stable_points(face)).angle)) < 3


def test_a_large_picture_of_nothing_is_passed_over_quickly(finder: FaceFinder) -> None:
    begun = cv2.getTickCount()
    assert finder.search(np.full((5000, 8000, 3), 90, np.uint8)).faces == []
    assert (cv2.getTickCount() - begun) / cv2.getTickFrequency() < 10
