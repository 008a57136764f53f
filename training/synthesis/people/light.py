"""Light: a sky of soft lobes as spherical harmonics, a lamp and a rim light, and how much of the sky each vertex sees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from . import gl

DIRECTIONS = 32  # of the sky sampled when baking what a vertex sees
REACH = 0.72  # half the side of what shadow maps cover, head coordinates
CENTRE = np.array([0.0, 0.05, -0.05])


def spread(count: int) -> np.ndarray:
    """Even directions (count, 3) over the sphere."""
    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))
    y = 1 - 2 * (np.arange(count) + 0.5) / count
    ring = np.sqrt(1 - y * y)
    return np.stack([ring * np.cos(turn), y, ring * np.sin(turn)], 1)


def harmonics(d: np.ndarray) -> np.ndarray:
    """Nine real spherical harmonics (n, 9) of directions (n, 3)."""
    x, y, z = d.T
    return np.stack(
        [
            np.full(len(d), 0.282095), 0.488603 * y, 0.488603 * z, 0.488603 * x, 1.092548 * x * y, 1.092548 * y * z,
            0.315392 * (3 * z * z - 1), 1.092548 * x * z, 0.546274 * (x * x - y * y),
        ],
        1,
    )  # fmt: skip


@dataclass(frozen=True)
class Lighting:
    """lobes: (direction (3), sharpness, colour (3)) of the sky, over an even ``ground`` colour; lamp and rim: direction
    towards them and linear colour; softness of the lamp's shadow, fraction of the shadow map. x right, y down, z to the
    viewer.
    """

    ground: tuple[float, float, float]
    lobes: tuple[tuple[tuple[float, float, float], float, tuple[float, float, float]], ...]
    lamp: tuple[float, float, float]
    lamp_colour: tuple[float, float, float]
    rim: tuple[float, float, float]
    rim_colour: tuple[float, float, float]
    softness: float
    exposure: float


def _kelvin(rng: np.random.Generator, middle: float = 0.0, width: float = 0.085) -> np.ndarray:
    """A light colour of mean one, from warm (positive) to cool, with a touch of green or magenta."""
    warm, tint = rng.normal(middle, width), rng.normal(0, 0.012)
    colour = np.exp(np.array([1.0, 0.05, -1.25]) * warm + np.array([0, tint, 0]))
    return colour / colour.mean()


def _towards(azimuth: float, height: float) -> np.ndarray:
    """Direction at an azimuth from the viewer to image right and a height above the horizon, radians."""
    return np.array([np.sin(azimuth) * np.cos(height), -np.sin(height), np.cos(azimuth) * np.cos(height)])


def sample_lighting(rng: np.random.Generator) -> Lighting:
    """Light of a room, a window, a studio or the open air."""
    mood = rng.normal(0.02, 0.07)
    side = rng.choice([-1.0, 1.0])
    flat = rng.random() < 0.35  # overcast or ring light: hardly a lamp
    lamp = _towards(side * abs(rng.normal(0.65, 0.45)), rng.uniform(0.1, 1.05))
    contrast = rng.uniform(0.05, 0.35) if flat else rng.uniform(0.6, 2.3)
    lobes = []
    for _ in range(int(rng.integers(2, 5))):
        direction = _towards(rng.normal(0, 1.3), rng.normal(0.45, 0.45))
        lobes.append(
            (tuple(direction), float(rng.uniform(0.8, 5.0)), tuple(rng.uniform(0.3, 1.6) * _kelvin(rng, mood - 0.03)))
        )
    if flat:
        lobes.append((tuple(lamp), float(rng.uniform(1.5, 4)), tuple(rng.uniform(0.7, 1.8) * _kelvin(rng, mood))))
    ground = rng.uniform(0.12, 0.5) * _kelvin(rng, mood + 0.03)
    rim_power = rng.uniform(0.2, 1.3) if rng.random() < 0.3 else 0.0
    rim = _towards(-side * rng.uniform(1.9, 2.6), rng.uniform(0.0, 0.7))
    light = Lighting(
        tuple(ground),
        tuple(lobes),
        tuple(lamp),
        tuple(contrast * _kelvin(rng, mood + 0.04)),
        tuple(rim),
        tuple(rim_power * _kelvin(rng, mood, 0.2)),
        float(rng.uniform(0.004, 0.03)),
        1.0,
    )
    target = 1.42 * 2 ** float(np.clip(rng.normal(0, 0.28), -0.6, 0.55))
    return Lighting(**{**light.__dict__, "exposure": float(target / _on_face(light))})


def radiance(light: Lighting, d: np.ndarray) -> np.ndarray:
    """Linear colour (n, 3) that the sky sends from directions (n, 3)."""
    total = np.tile(np.asarray(light.ground), (len(d), 1))
    for direction, sharpness, colour in light.lobes:
        total += np.exp(sharpness * (d @ np.asarray(direction) - 1))[:, None] * np.asarray(colour)
    return total * np.where(d[:, 1:2] > 0.25, 0.75, 1.0)


def _on_face(light: Lighting) -> float:
    """Mean light on a face's front that looks at the viewer and slightly up."""
    d, total = spread(256), 0.0
    sky = radiance(light, d)
    for normal in ((0.0, -0.15, 1.0), (0.45, -0.1, 0.9), (-0.45, -0.1, 0.9)):
        n = np.array(normal) / np.linalg.norm(normal)
        weight = np.maximum(d @ n, 0)
        total += 0.8 * (sky * weight[:, None]).sum(0).mean() / weight.sum()
        total += float(np.mean(light.lamp_colour)) * max(float(n @ np.asarray(light.lamp)), 0.0)
    return total / 3


@lru_cache(maxsize=4)
def _sky(light: Lighting) -> tuple[np.ndarray, np.ndarray]:
    """Directions (256, 3), and the sky's colours from there times the share of the sphere that each stands for."""
    d = spread(256)
    return d, radiance(light, d) * (4 * np.pi / len(d))


def sky_coefficients(light: Lighting, turn: np.ndarray | None = None) -> np.ndarray:
    """Coefficients (9, 3) of the sky, seen from a head turned by the rotation ``turn`` (3, 3)."""
    d, sent = _sky(light)
    return harmonics(d if turn is None else d @ turn).T @ sent


def towards_light(direction: np.ndarray) -> np.ndarray:
    """Matrix (4, 4) from head coordinates to the unit cube of a light's depth map, depth growing away from the light."""
    z = np.asarray(direction, float) / np.linalg.norm(direction)
    x = np.cross((0.0, 1.0, 0.0) if abs(z[1]) < 0.95 else (1.0, 0.0, 0.0), z)
    x /= np.linalg.norm(x)
    axes = np.stack([x, np.cross(z, x), -z])
    matrix = np.eye(4)
    matrix[:3, :3] = axes / (2 * REACH)
    matrix[:3, 3] = 0.5 - matrix[:3, :3] @ CENTRE
    return matrix


def smoothed(values: np.ndarray, triangles: np.ndarray, times: int) -> np.ndarray:
    """Vertex values (n, k) averaged with their neighbours'."""
    flat, count = triangles.ravel(), len(values)
    order = np.argsort(flat, kind="stable")
    rows, starts = np.unique(flat[order], return_index=True)
    corners, share = order // 3, np.diff(np.append(starts, len(flat)))[:, None]
    for _ in range(times):
        mean = values[triangles].mean(1)
        values = values.copy()
        values[rows] = np.add.reduceat(mean[corners], starts) / share
    return values


def bake(cast: object, points: np.ndarray, normals: np.ndarray, offset: float = 0.012, size: int = 112) -> np.ndarray:
    """How the sky reaches each vertex past the others: transfer (n, 9) so that light = transfer @ sky_coefficients.

    cast(matrix) draws everything that throws shade; points, normals: (n, 3) head coordinates.
    """
    context, depth = gl.context(), gl.DepthMap(size)
    lifted = points + offset * normals
    ways, reached = [], []
    try:
        for d in spread(DIRECTIONS):
            if d[2] < -0.55:  # behind what the viewer sees
                continue
            facing = np.maximum(normals @ d, 0).astype(np.float32)
            matrix = towards_light(d)
            depth.buffer.use()
            context.clear(depth=1.0)
            cast(matrix)
            map_ = depth.depths()
            place = lifted @ matrix[:3, :3].T.astype(np.float32) + matrix[:3, 3].astype(np.float32)
            cell = np.clip((place[:, :2] * size).astype(np.int32), 0, size - 1)
            seen = place[:, 2] <= map_[cell[:, 1], cell[:, 0]] + 0.004
            ways.append(d)
            reached.append(facing * seen)
    finally:
        depth.release()
    return np.stack(reached, 1) @ (harmonics(np.array(ways)) * (4 / DIRECTIONS)).astype(np.float32)
