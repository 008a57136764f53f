"""Light: a sky of soft lobes as spherical harmonics, a lamp and a rim light, and how the sky reaches each vertex."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from . import gl

DIRECTIONS = 32  # from which ``bake`` tests whether the sky reaches a vertex
REACH = 0.72  # half the side of the square that shadow maps cover, in head coordinates
CENTRE = np.array([0.0, 0.05, -0.05])  # of that square
Lobe = tuple[tuple[float, float, float], float, tuple[float, float, float]]  # direction, sharpness, colour


def spread(count: int) -> np.ndarray:
    """Directions (count, 3) spread evenly over the sphere."""
    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))
    y = 1 - 2 * (np.arange(count) + 0.5) / count
    ring = np.sqrt(1 - y * y)
    return np.stack([ring * np.cos(turn), y, ring * np.sin(turn)], 1)


def harmonics(d: np.ndarray) -> np.ndarray:
    """The first nine real spherical harmonics (n, 9) at directions (n, 3)."""
    x, y, z = d.T
    return np.stack(
        [
            np.full(len(d), 0.282095),
            0.488603 * y,
            0.488603 * z,
            0.488603 * x,
            1.092548 * x * y,
            1.092548 * y * z,
            0.315392 * (3 * z * z - 1),
            1.092548 * x * z,
            0.546274 * (x * x - y * y),
        ],
        1,
    )


@dataclass(frozen=True)
class Lighting:
    """ground: colour of the whole sky; lobes: light that is added to it; lamp, rim: directions towards two lamps;
    softness: of the lamp's shadow, as a fraction of the shadow map; exposure: a factor.

    Colours are linear. Directions: x right, y down, z towards the viewer.
    """

    ground: tuple[float, float, float]
    lobes: tuple[Lobe, ...]
    lamp: tuple[float, float, float]
    lamp_colour: tuple[float, float, float]
    rim: tuple[float, float, float]
    rim_colour: tuple[float, float, float]
    softness: float
    exposure: float


def _light_colour(rng: np.random.Generator, middle: float = 0.0, width: float = 0.085) -> np.ndarray:
    """A colour of mean 1, from warm (positive) to cool, with a touch of green or magenta."""
    warm, tint = rng.normal(middle, width), rng.normal(0, 0.012)
    colour = np.exp(np.array([1.0, 0.05, -1.25]) * warm + np.array([0, tint, 0]))
    return colour / colour.mean()


def _towards(azimuth: float, height: float) -> np.ndarray:
    """Direction with an azimuth, from the viewer to image right, and a height above the horizon, in radians."""
    return np.array([np.sin(azimuth) * np.cos(height), -np.sin(height), np.cos(azimuth) * np.cos(height)])


def _lobe(
    rng: np.random.Generator,
    direction: np.ndarray,
    sharp: tuple[float, float],
    power: tuple[float, float],
    warmth: float,
) -> Lobe:
    """A lobe of random sharpness and power within these ranges."""
    return tuple(direction), float(rng.uniform(*sharp)), tuple(rng.uniform(*power) * _light_colour(rng, warmth))


def sample_lighting(rng: np.random.Generator) -> Lighting:
    """Random light, as in a room, at a window, in a studio or outdoors."""
    warmth = rng.normal(0.02, 0.07)
    side = rng.choice([-1.0, 1.0])
    flat = rng.random() < 0.35  # as under clouds or with a ring light: the lamp is weak
    lamp = _towards(side * abs(rng.normal(0.65, 0.45)), rng.uniform(0.1, 1.05))
    contrast = rng.uniform(0.05, 0.35) if flat else rng.uniform(0.6, 2.3)
    lobes = []
    for _ in range(int(rng.integers(2, 5))):
        direction = _towards(rng.normal(0, 1.3), rng.normal(0.45, 0.45))
        lobes.append(_lobe(rng, direction, (0.8, 5.0), (0.3, 1.6), warmth - 0.03))
    if flat:
        lobes.append(_lobe(rng, lamp, (1.5, 4), (0.7, 1.8), warmth))
    ground = rng.uniform(0.12, 0.5) * _light_colour(rng, warmth + 0.03)
    rim_power = rng.uniform(0.2, 1.3) if rng.random() < 0.3 else 0.0
    rim = _towards(-side * rng.uniform(1.9, 2.6), rng.uniform(0.0, 0.7))
    light = Lighting(
        tuple(ground),
        tuple(lobes),
        tuple(lamp),
        tuple(contrast * _light_colour(rng, warmth + 0.04)),
        tuple(rim),
        tuple(rim_power * _light_colour(rng, warmth, 0.2)),
        float(rng.uniform(0.004, 0.03)),
        1.0,
    )
    target = 1.42 * 2 ** float(np.clip(rng.normal(0, 0.28), -0.6, 0.55))
    return Lighting(**{**light.__dict__, "exposure": float(target / _face_light(light))})


def radiance(light: Lighting, d: np.ndarray) -> np.ndarray:
    """Linear colour (n, 3) of the sky in directions (n, 3)."""
    total = np.tile(np.asarray(light.ground), (len(d), 1))
    for direction, sharpness, colour in light.lobes:
        total += np.exp(sharpness * (d @ np.asarray(direction) - 1))[:, None] * np.asarray(colour)
    return total * np.where(d[:, 1:2] > 0.25, 0.75, 1.0)


def _face_light(light: Lighting) -> float:
    """Mean light on the front of a face."""
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
    """Directions (256, 3), and the sky's colour there times the solid angle of each."""
    d = spread(256)
    return d, radiance(light, d) * (4 * np.pi / len(d))


def sky_coefficients(light: Lighting, turn: np.ndarray | None = None) -> np.ndarray:
    """Coefficients (9, 3) of the sky as seen from a head with the rotation ``turn`` (3, 3)."""
    d, sent = _sky(light)
    return harmonics(d if turn is None else d @ turn).T @ sent


def towards_light(direction: np.ndarray) -> np.ndarray:
    """Matrix (4, 4) from head coordinates to the unit cube of a light's depth map; depth grows away from the light."""
    z = np.asarray(direction, float) / np.linalg.norm(direction)
    x = np.cross((0.0, 1.0, 0.0) if abs(z[1]) < 0.95 else (1.0, 0.0, 0.0), z)
    x /= np.linalg.norm(x)
    axes = np.stack([x, np.cross(z, x), -z])
    matrix = np.eye(4)
    matrix[:3, :3] = axes / (2 * REACH)
    matrix[:3, 3] = 0.5 - matrix[:3, :3] @ CENTRE
    return matrix


def smoothed(values: np.ndarray, triangles: np.ndarray, times: int) -> np.ndarray:
    """Vertex values (n, k), averaged ``times`` times with those of their neighbours."""
    flat = triangles.ravel()
    order = np.argsort(flat, kind="stable")
    rows, starts = np.unique(flat[order], return_index=True)
    corners, share = order // 3, np.diff(np.append(starts, len(flat)))[:, None]
    for _ in range(times):
        mean = values[triangles].mean(1)
        values = values.copy()
        values[rows] = np.add.reduceat(mean[corners], starts) / share
    return values


def bake(
    cast: Callable[[np.ndarray], None], points: np.ndarray, normals: np.ndarray, offset: float = 0.012, size: int = 112
) -> np.ndarray:
    """How the sky reaches each vertex: transfer (n, 9) such that light = transfer @ sky_coefficients.

    cast: draws everything that casts shadows, given the matrix of ``towards_light``; points, normals: (n, 3) in head
    coordinates.
    """
    context, depth = gl.context(), gl.DepthMap(size)
    lifted = points + offset * normals
    ways, reached = [], []
    try:
        for d in spread(DIRECTIONS):
            if d[2] < -0.55:  # behind the head, where the viewer sees nothing
                continue
            facing = np.maximum(normals @ d, 0).astype(np.float32)
            matrix = towards_light(d)
            depth.buffer.use()
            context.clear(depth=1.0)
            cast(matrix)
            nearest = depth.depths()
            place = lifted @ matrix[:3, :3].T.astype(np.float32) + matrix[:3, 3].astype(np.float32)
            cell = np.clip((place[:, :2] * size).astype(np.int32), 0, size - 1)
            lit = place[:, 2] <= nearest[cell[:, 1], cell[:, 0]] + 0.004
            ways.append(d)
            reached.append(facing * lit)
    finally:
        depth.release()
    return np.stack(reached, 1) @ (harmonics(np.array(ways)) * (4 / DIRECTIONS)).astype(np.float32)
