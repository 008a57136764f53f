"""A made-up face model: an egg with a neck, named parts and blend shapes, so that the code of the real one runs without
it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

SIDED = (
    "PupilDilate", "browDown", "browInnerUp", "browOuterUp", "cheekPuff", "cheekRaiser", "cheekSquint", "eyeBlink",
    "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeSquint", "eyeWide", "mouthDimple", "mouthFrown",
    "mouthLowerDown", "mouthPress", "mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer",
)  # fmt: skip
MIDDLE = (
    "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthFunnel", "mouthLeft", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
)  # fmt: skip
NAMES = tuple(sorted([f"{name}_{side}" for side in "LR" for name in SIDED] + list(MIDDLE)))
# Roughly where the 68 landmarks lie on a head: x and y in centimetres.
_SIDE = [(-7.3, 3.7), (-7.2, 1.5), (-6.9, -0.5), (-6.5, -2.4), (-5.7, -4.4), (-4.3, -5.4), (-3, -6), (-1.5, -6.3)]
_HALF_BROW = [(-5.8, 5.2), (-4.9, 6), (-3.8, 6.3), (-2.4, 6.2), (-1.2, 5.9)]
_EYE = [(-4.5, 3.4), (-3.9, 3.9), (-2.8, 3.9), (-1.8, 3.3), (-2.7, 3), (-3.9, 3)]
_NOSE = [(0, 3.7), (0, 2.6), (0, 1.6), (0, 0.4), (-1.2, -1.1), (-0.6, -1.1), (0, -1.2), (0.6, -1.1), (1.2, -1.1)]
_LIPS = [
    (-2.5, -3.5), (-1.7, -2.8), (-0.7, -2.4), (0, -2.5), (0.7, -2.4), (1.7, -2.8), (2.5, -3.5), (1.8, -4.2),
    (1, -4.5), (0, -4.6), (-1, -4.5), (-1.8, -4.2), (-2.2, -3.4), (-1, -3.2), (0, -3.2), (1, -3.2), (2.2, -3.4),
    (1, -3.7), (0, -3.7), (-1, -3.7),
]  # fmt: skip


def _mirrored(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(-x, y) for x, y in points[::-1]]


_OTHER_EYE = [(-_EYE[i][0], _EYE[i][1]) for i in (3, 2, 1, 0, 5, 4)]
MARKS = np.array(
    _SIDE + [(0, -6.4)] + _mirrored(_SIDE) + _HALF_BROW + _mirrored(_HALF_BROW) + _NOSE + _EYE + _OTHER_EYE + _LIPS
)


def _sheet(across: np.ndarray, down: np.ndarray, place: object, tile: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, texture coordinates and outward triangles of a grid of angles or lengths."""
    u, v = np.meshgrid(across, down)
    points = place(u, v).reshape(-1, 3)
    uv = np.stack(
        [tile + 0.01 + 0.98 * (u - u.min()) / np.ptp(u), 0.01 + 0.98 * (v - v.min()) / np.ptp(v)], -1
    ).reshape(-1, 2)
    row = np.arange(len(down) - 1)[:, None] * len(across) + np.arange(len(across) - 1)
    first = np.stack([row, row + 1, row + len(across)], -1)
    second = np.stack([row + 1, row + len(across) + 1, row + len(across)], -1)
    return points, uv, np.concatenate([first, second], 2).reshape(-1, 3)


def _egg(centre: tuple, radii: tuple) -> object:
    def place(azimuth: np.ndarray, height: np.ndarray) -> np.ndarray:
        a, h = np.radians(azimuth), np.radians(height)
        return np.array(centre) + np.array(radii) * np.stack(
            [np.sin(a) * np.cos(h), np.sin(h), np.cos(a) * np.cos(h)], -1
        )

    return place


def _parts() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    skull = _egg((0, 3.6, 0.4), (7.6, 10.8, 10.2))
    flat = lambda z: lambda x, y: np.stack([x, y, np.full_like(x, z)], -1)  # noqa: E731
    line = lambda a, b, n: np.linspace(a, b, n)  # noqa: E731
    eyes = [_sheet(line(-80, 80, 12), line(-80, 80, 12), _egg((x, 3.5, 8.2), (1.5,) * 3), 0) for x in (-3.1, 3.1)]
    lashes = [_sheet(line(a, b, 6), line(3.6, 4.4, 2), flat(11.0), 6) for a, b in ((-4.5, -1.8), (1.8, 4.5))]
    back = _sheet(line(95, 265, 24), line(-75, 89, 30), skull, 1)
    neck = _sheet(
        line(-180, 180, 24),
        line(-19, -5.5, 12),
        lambda a, y: np.stack([6 * np.sin(np.radians(a)), y, 6 * np.cos(np.radians(a)) - 1], -1),
        1,
    )
    mouth = [
        _sheet(line(-2.5, 2.5, 8), line(-4.5, -2.5, 6), flat(z), tile) for z, tile in ((6.0, 1), (8.0, 2), (9.0, 3))
    ]
    thin = _sheet(line(-1, 1, 3), line(3, 4, 3), flat(7.0), 4)
    return [
        [_sheet(line(-95, 95, 84), line(-75, 89, 96), skull, 0)], [back, neck], [mouth[0]], [mouth[1]], [mouth[2]],
        eyes, [thin], [thin], lashes,
    ]  # fmt: skip


def _bump(points: np.ndarray, x: float, y: float, reach: float, way: tuple[float, float, float]) -> np.ndarray:
    near = np.exp(-((points[:, 0] - x) ** 2 + (points[:, 1] - y) ** 2) / (2 * reach**2)) * (points[:, 2] > 0)
    return near[:, None] * np.array(way)


def _shape(name: str, points: np.ndarray) -> np.ndarray:
    side = {"L": 1, "R": -1}.get(name[-1], 0) if "_" in name else 0
    if name == "jawOpen":
        below = np.clip((-3.45 - points[:, 1]) * 4, 0, 1) * (points[:, 1] > -8) * (points[:, 2] > 2)
        return below[:, None] * np.array([0, -3.0, -1.0])
    if name == "mouthClose":
        below = np.clip((-3.45 - points[:, 1]) * 4, 0, 1) * np.exp(-((points[:, 0] / 3) ** 2)) * (points[:, 1] > -5)
        return below[:, None] * np.array([0, 3.0, 1.0]) * (points[:, 2:] > 2)
    if name == "mouthPucker":
        return _bump(points, 0, -3.5, 2.0, (1, 0, 0)) * -0.25 * points[:, :1] + _bump(points, 0, -3.5, 1.5, (0, 0, 0.6))
    if name.startswith(("mouthStretch", "mouthSmile")):
        return _bump(points, 2.5 * side, -3.5, 1.0, (0.7 * side, 0.3, 0))
    if name.startswith("eyeBlink"):
        return _bump(points, 3.1 * side, 4.0, 0.4, (0, -0.9, 0.1))
    if name.startswith("brow"):
        return _bump(points, 3.5 * side, 6, 1.0, (0, -0.5 if "Down" in name else 0.5, 0))
    return np.zeros_like(points)


def write_stub(path: Path) -> Path:
    """Write the made-up model as an array file that ``load_face_model`` reads."""
    points, uv, triangles, triangle_uv, bounds, eyeballs = [], [], [], [], [], []
    count = corner = faces = 0
    for number, part in enumerate(_parts()):
        start = faces
        for own, own_uv, own_triangles in part:
            if number == 5:
                eyeballs.append((count, count + len(own)))
            points.append(own)
            uv.append(own_uv)
            triangles.append(own_triangles + count)
            triangle_uv.append(own_triangles + corner)
            count, corner, faces = count + len(own), corner + len(own_uv), faces + len(own_triangles)
        bounds.append((start, faces))
    neutral = np.concatenate(points).astype(np.float32)
    face = np.arange(len(points[0]))
    front = face[neutral[face, 2] > 0]
    marks = [int(front[np.argmin(((neutral[front, :2] - mark) ** 2).sum(1))]) for mark in MARKS]
    rng = np.random.default_rng(0)
    identity = np.stack([neutral * rng.normal(0, 0.02, 3) * (neutral[:, 2:] > -20) for _ in range(5)]).astype(
        np.float16
    )
    expression = np.stack([_shape(name, neutral) for name in NAMES]).astype(np.float16)
    np.savez(
        path,
        neutral=neutral,
        tri=np.concatenate(triangles).astype(np.int32),
        tri_uv=np.concatenate(triangle_uv).astype(np.int32),
        uv=np.concatenate(uv).astype(np.float32),
        poly=np.arange(faces, dtype=np.int32),
        identity=identity,
        expression=expression,
        expression_names=np.array(NAMES),
        parts=np.array(bounds),
        landmarks=np.array(marks),
        eyeballs=np.array(eyeballs),
    )
    return path
