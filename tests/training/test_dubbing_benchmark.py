"""The benchmark of dubbing sees a change outside the mouth, and prints means."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import dubbing as benchmark
from reenactment_clips import Clip

from diffused_heads.diffused_heads_core.dubbing.movement import FaceInFrame
from diffused_heads.diffused_heads_core.media.audio import Audio
from diffused_heads.diffused_heads_core.mouth.face_mesh import usual_mesh
from diffused_heads.diffused_heads_core.pose import HeadGeometry


@pytest.mark.parametrize("row, column, seen", [(20, 128, 7), (180, 128, 0), (180, 20, 7)])
def test_a_change_outside_the_lower_face_is_seen(row: int, column: int, seen: int) -> None:
    frames = np.full((2, 256, 256, 3), 100, np.uint8)
    made = frames.copy()
    made[1, row, column] += 7
    mesh = usual_mesh(HeadGeometry(), 256)
    face = FaceInFrame(mesh, np.zeros(12), mesh, 1.0)
    dubbing = SimpleNamespace(
        movement=[face, face], model=SimpleNamespace(config=SimpleNamespace(geometry=HeadGeometry()))
    )
    clip = Clip(Path("a.mp4"), "a", frames, Fraction(25), Audio(np.zeros((1, 1600), np.float32), 16000))
    assert benchmark.outside(clip, dubbing, made) == seen


def test_a_frame_without_a_face_may_not_change_at_all() -> None:
    frames = np.full((1, 64, 64, 3), 100, np.uint8)
    clip = Clip(Path("a.mp4"), "a", frames, Fraction(25), Audio(np.zeros((1, 1600), np.float32), 16000))
    assert benchmark.outside(clip, SimpleNamespace(movement=[None]), frames + 1) == 1


def test_the_table_ends_in_means() -> None:
    rows = [{"clip": "a", "says": "b", "r": 0.5, "gain": 1.0}, {"clip": "b", "says": "a", "r": 0.7, "gain": 2.0}]
    lines = benchmark.table(rows).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == ["clip", "r", "gain"]
    assert [cell.strip() for cell in lines[-1].split("|")[1:-1]] == ["mean", "0.60", "1.50"]
