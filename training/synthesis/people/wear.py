"""What people wear: clothes, head coverings, glasses, ear-rings."""

from __future__ import annotations

import cv2
import numpy as np

from . import paint
from .head import Head, all_normals, follow
from .painted_hair import CENTRE, line_height
from .person import Person
from .scene import Piece
from .skull import Skull, directions

FLIP = np.array([1, -1, 1], np.float32)


def _plain(
    head: Head,
    points: np.ndarray,
    triangles: np.ndarray,
    uv: np.ndarray,
    image: np.ndarray,
    gloss: float = 0.0,
    sharp: float = 20.0,
    ease: np.ndarray | float | None = None,
    blend: str = "solid",
    casts: bool = True,
    alpha: float = 1.0,
) -> Piece:
    """A piece from points (n, 3) in cm of the face model with outward winding there; image: RGB(A) uint8."""
    if image.shape[2] == 3:
        image = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    around = all_normals(points, triangles) * FLIP
    ease = follow(points) if ease is None else np.broadcast_to(np.float32(ease), len(points))
    return Piece(
        "plain",
        triangles.astype(np.int32),
        uv.astype(np.float32),
        np.zeros((len(points), 3), np.float32),
        {"paint": image},
        {"gloss": gloss, "sharp": sharp, "alpha": alpha, "screened": float(blend == "cover")},
        points=head.placed(points).astype(np.float32),
        normals=around.astype(np.float32),
        follow=np.asarray(ease, np.float32),
        casts=casts,
        two_sided=True,
        blend=blend,
    )


def cloth_texture(rng: np.random.Generator, colour: np.ndarray, second: np.ndarray, size: int = 256) -> np.ndarray:
    """Woven, striped, checked or printed cloth (size, size, 3) uint8."""
    image = np.tile(np.asarray(colour, np.float32), (size, size, 1))
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    kind = rng.random()
    if kind < 0.16:
        stripe = (np.sin(2 * np.pi * y * rng.uniform(8, 40)) > rng.uniform(-0.3, 0.7)).astype(np.float32)
        paint.blend(image, second, stripe)
    elif kind < 0.26:
        check = 0.5 * (np.sin(2 * np.pi * x * 24) > 0.2) + 0.5 * (np.sin(2 * np.pi * y * 18) > 0.2)
        paint.blend(image, second, 0.8 * check.astype(np.float32))
    elif kind < 0.36:
        paint.blend(image, second, (paint.layered(rng, size, (24, 10)) > 0.7).astype(np.float32))
    image *= 1 + 0.05 * paint.noise(rng, size, 1.3)[..., None] + 0.07 * paint.layered(rng, size, (40, 14))[..., None]
    return (np.clip(image, 0.01, 1) * 255).astype(np.uint8)


def _ring(angles: np.ndarray, rx: float, rz: float, power: float = 2.0) -> np.ndarray:
    """Superellipse (n, 2) of x and z over angles from the front."""
    s, c = np.sin(angles), np.cos(angles)
    scale = (np.abs(s / rx) ** power + np.abs(c / rz) ** power) ** (-1 / power)
    return np.stack([s * scale, c * scale], 1)


# Neckline: height of the collar's edge at the sides, in front and behind (cm of the face model), how far it stands off,
# wall height.
NECKS = {
    "crew": (-11.2, -13.2, -10.0, 0.35, 0.0),
    "vneck": (-11.3, -17.0, -10.0, 0.35, 0.0),
    "shirt": (-9.6, -13.2, -8.6, 0.7, 1.6),
    "turtleneck": (-8.6, -9.8, -8.0, 0.45, 2.5),
    "hoodie": (-9.8, -13.6, -8.5, 1.3, 1.5),
    "blazer": (-10.2, -18.5, -9.2, 0.5, 0.6),
    "scoop": (-13.0, -16.2, -11.3, 0.3, 0.0),
}


def _edge(neck: tuple, angle: np.ndarray) -> np.ndarray:
    """Height of a collar's edge over angles from the front."""
    side, front, back = neck[:3]
    return side + (np.where(np.abs(angle) < np.pi / 2, front, back) - side) * np.cos(angle) ** 2


def _drop(person: Person) -> float:
    return 0.8 * (1 - person.shoulder)


def covered(head: Head, person: Person) -> np.ndarray:
    """Which of the head's vertices (n,) lie well under the clothes."""
    x, y, z = head.neutral.T
    names = [person.neckline] + (["crew"] if person.neckline == "blazer" else [])
    edge = np.max([_edge(NECKS[name], np.arctan2(x, z + 1.0)) for name in names], 0)
    return y < edge - _drop(person) - 1.5


def _body(
    head: Head, skull: Skull, person: Person, neck: tuple, drop: float, grow: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A loft from the collar over the shoulders: points, uv, triangles."""
    off, wall = neck[3:]
    around, down = 64, 14
    angle = np.linspace(-np.pi, np.pi, around + 1)
    high = _edge(neck, angle) - drop
    rows = []
    ready = _neck(head)
    for k in range(down + 1):
        t = k / down
        low = -24.0 - 6 * t
        fall = t**1.35
        y = high * (1 - fall) + low * fall
        wide = _ring(angle, 7.0 + 17 * t**0.85, 7.0 + 6.5 * t, 2 + 0.6 * t)
        wide[:, 1] -= 1.8
        slope = (
            -10.6
            - 3.2 * (1 - person.shoulder)
            - 0.42 * np.maximum(np.hypot(wide[:, 0], 0.6 * wide[:, 1]) - 6.5, 0)
            - 0.03 * np.hypot(*wide.T) ** 1.4
        )
        y = np.minimum(y, np.where(t > 0.2, np.maximum(slope, y - 30), y)) if t > 0.25 else y
        tight = ready(angle, y) + off + grow + 0.8 * min(1, 4 * t) + 0.5 * wall * max(0, 1 - 5 * t) * 0.3
        distance = np.maximum(np.hypot(*wide.T) * min(1.0, t * 2.2), tight)
        rows.append(np.stack([np.sin(angle) * distance, y, np.cos(angle) * distance - 1.0], 1))
    points = np.stack(rows).reshape(-1, 3)
    u, v = np.meshgrid(np.linspace(0, 3, around + 1), np.linspace(0, 1, down + 1))
    row = np.arange(down)[:, None] * (around + 1) + np.arange(around)
    corners = np.stack([row, row + around + 1, row + 1, row + 1, row + around + 1, row + around + 2], -1).reshape(-1, 3)
    return points, np.stack([u, v], -1).reshape(-1, 2), corners


def _neck(head: Head):
    """Distance of the skin from the axis (x 0, z -1) by angle and height, for heights below the chin."""
    rows = np.unique(np.concatenate([head.topology.triangles[part].ravel() for part in ("face", "head")]))
    p = head.neutral[rows]
    p = p[p[:, 1] < -6.5]
    angle, radius = np.arctan2(p[:, 0], p[:, 2] + 1.0), np.hypot(p[:, 0], p[:, 2] + 1.0)
    grid = np.zeros((16, 48), np.float32)
    row = np.clip(((-6.5 - p[:, 1]) / 0.8).astype(int), 0, 15)
    np.maximum.at(grid, (row, ((angle / (2 * np.pi) + 0.5) * 48).astype(int) % 48), radius)
    for _ in range(24):
        empty = grid == 0
        grid[empty] = np.max([np.roll(grid, 1, 1), np.roll(grid, -1, 1), np.vstack([grid[:1], grid[:-1]])], 0)[empty]
    grid = cv2.GaussianBlur(np.hstack([grid[:, -4:], grid, grid[:, :4]]), (0, 0), 0.8)[:, 4:-4]

    def at(angles: np.ndarray, heights: np.ndarray) -> np.ndarray:
        y = np.clip((-6.5 - heights) / 0.8 - 0.5, 0, 14.99)
        x = (angles / (2 * np.pi) + 0.5) * 48 - 0.5
        i, j = y.astype(int), np.floor(x).astype(int)
        fy, fx = y - i, x - j
        a, b = j % 48, (j + 1) % 48
        return (grid[i, a] * (1 - fx) + grid[i, b] * fx) * (1 - fy) + (
            grid[i + 1, a] * (1 - fx) + grid[i + 1, b] * fx
        ) * fy

    return at


def cloth_pieces(head: Head, skull: Skull, person: Person) -> list[Piece]:
    """The upper garment, and what shows under it."""
    rng, pieces = person.stream("cloth"), []
    layers = [(person.neckline, person.cloth, 0.0)]
    if person.neckline == "blazer":
        layers.insert(0, ("shirt" if rng.random() < 0.6 else "crew", person.cloth_second, -0.15))
    for name, colour, grow in layers:
        second = np.asarray(person.cloth_second) if name == person.neckline else np.asarray(colour) * 0.9
        points, uv, triangles = _body(head, skull, person, NECKS[name], _drop(person), grow)
        image = cloth_texture(rng, np.asarray(colour), second)
        image[:10] = (image[:10] * 0.72).astype(np.uint8)  # the collar's hem
        ease = 0.45 * follow(points) * (points[:, 1] > -15)
        pieces.append(_plain(head, points, triangles, uv, image, 0.02, 8.0, ease))
    return pieces


def _shell(
    head: Head,
    skull: Skull,
    over: np.ndarray,
    lowest: float,
    image: np.ndarray,
    gloss: float,
    across: int = 72,
    down: int = 40,
    ears: np.ndarray | None = None,
) -> Piece:
    """Cloth over the skull; over: clearance in cm as an image over azimuth and height; image: RGBA alike; ears: 0..1,
    how far the ears lift it.
    """
    d, uv, triangles = directions(across, down, lowest)
    rows = np.clip((uv[:, 1] * (over.shape[0] - 1)).round().astype(int), 0, over.shape[0] - 1)
    columns = np.clip((uv[:, 0] * (over.shape[1] - 1)).round().astype(int), 0, over.shape[1] - 1)
    radius = skull.radius(d)
    if ears is not None:
        radius = radius + ears[rows, columns] * (skull.radius(d, True) - radius)
    points = CENTRE + d * (radius + over[rows, columns])[:, None]
    return _plain(head, points, triangles[:, ::-1], uv, image, gloss, 10.0, follow(points), "cover")


def _dome_fields(lowest: float, size: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Azimuth from the front, signed (radians), and height (radians) of each pixel of a shell's image."""
    v, u = (np.mgrid[:size, :size].astype(np.float32) + 0.5) / size
    return (u - 0.5) * 2 * np.pi, np.pi / 2 - v * (np.pi / 2 - lowest)


def _beanie(head: Head, skull: Skull, person: Person, rng: np.random.Generator) -> list[Piece]:
    lowest = -0.35
    azimuth, height = _dome_fields(lowest)
    rim = (
        0.60
        + 0.06 * line_height(person)
        - 0.55 * np.clip((np.abs(azimuth) - 0.5) / 1.3, 0, 1)
        - 0.15 * np.clip((np.abs(azimuth) - 1.6) / 1.2, 0, 1)
    )
    inside = np.clip((height - rim) / 0.02, 0, 1)
    ribs = 0.5 + 0.5 * np.sin(azimuth * 46)
    brim = np.clip(1 - np.abs(height - rim - 0.16) / 0.17, 0, 1) ** 0.3
    over = 0.65 + 0.35 * brim + 0.9 * np.clip((height - 0.9) / 0.6, 0, 1) + 0.06 * ribs
    colour = np.asarray(person.cover_colour, np.float32) * (0.78 + 0.3 * ribs * (0.7 + 0.3 * brim))[..., None]
    colour *= 1 + 0.06 * paint.noise(rng, 256, 2)[..., None]
    image = np.dstack([np.clip(colour, 0.01, 1), inside])
    return [_shell(head, skull, over, lowest, (image * 255).astype(np.uint8), 0.0)]


def _scarf(head: Head, skull: Skull, person: Person, rng: np.random.Generator) -> list[Piece]:
    lowest = -1.35
    azimuth, height = _dome_fields(lowest)
    # An opening for the face: an oval around the direction of the nose.
    x, y = np.sin(azimuth) * np.cos(height), np.sin(height)
    z = np.cos(azimuth) * np.cos(height)
    opening = np.sqrt(
        (x / 0.66) ** 2 + ((y + 0.21) / np.where(y > -0.21, 0.80 + 0.05 * line_height(person), 0.66)) ** 2
    ) + 4 * (z < 0)
    inside = np.clip((opening - 1) / 0.03, 0, 1)
    folds = paint.layered(rng, 256, (26, 12)) + np.sin(azimuth * 9 + 3 * height + 2 * paint.noise(rng, 256, 60))
    rolled = np.exp(-(((opening - 1.06) / 0.07) ** 2))
    over = (
        0.22
        + 0.22 * rolled
        + 0.16 * folds * np.clip((opening - 1.1) * 3, 0, 1)
        + 1.6 * np.clip((-height - 0.5) / 0.5, 0, 1)
    )
    colour = np.tile(np.asarray(person.cover_colour, np.float32), (256, 256, 1))
    if rng.random() < 0.3:
        paint.blend(
            colour, np.asarray(person.cloth_second), 0.6 * (paint.layered(rng, 256, (18, 8)) > 0.8).astype(np.float32)
        )
    colour *= (1 + 0.07 * folds + 0.03 * paint.noise(rng, 256, 1.5))[..., None]
    image = np.dstack([np.clip(colour, 0.01, 1), inside])
    image = (np.clip(image, 0, 1) * 255).astype(np.uint8)
    return [
        _shell(
            head, skull, over.astype(np.float32), lowest, image, 0.015, 96, 72, np.clip((opening - 1.03) / 0.3, 0, 1)
        )
    ]


def _brim(head: Head, skull: Skull, person: Person, front: float, back: float, line: float, tilt: float) -> Piece:
    """A stiff brim around the crown of a cap or hat; front, back: its depth in cm."""
    around, across = 72, 5
    angle = np.linspace(-np.pi, np.pi, around + 1)
    ahead = np.clip(np.cos(angle), 0, 1) ** (0.6 if back <= 0 else 1)
    depth = back + (front - back) * ahead if back > 0 else front * np.clip(np.cos(angle * 0.95) * 1.2, 0, 1) ** 0.7
    d = np.stack([np.sin(angle) * np.cos(line), np.full_like(angle, np.sin(line)), np.cos(angle) * np.cos(line)], 1)
    inner = CENTRE + d * (skull.radius(d) + 0.7)[:, None]
    flat = np.stack([np.sin(angle), np.zeros_like(angle), np.cos(angle)], 1)
    sag = (tilt + 0.0015 * inner[:, 0] ** 2) * depth
    rows = [
        inner + t * (flat * depth[:, None] - np.array([0, 1, 0]) * sag[:, None]) for t in np.linspace(0, 1, across + 1)
    ]
    points = np.stack(rows).reshape(-1, 3)
    u, v = np.meshgrid(np.linspace(0, 1, around + 1), np.linspace(0, 1, across + 1))
    row = np.arange(across)[:, None] * (around + 1) + np.arange(around)
    corners = np.stack([row, row + around + 1, row + 1, row + 1, row + around + 1, row + around + 2], -1).reshape(-1, 3)
    colour = (np.clip(np.tile(np.asarray(person.cover_colour) * 0.8, (8, 8, 1)), 0.01, 0.6) * 255).astype(np.uint8)
    return _plain(head, points, corners, np.stack([u, v], -1).reshape(-1, 2), colour, 0.02, 10.0, 1.0)


def _cap_or_hat(head: Head, skull: Skull, person: Person, rng: np.random.Generator) -> list[Piece]:
    lowest, hat = -0.1, person.hair_style == "hat"
    azimuth, height = _dome_fields(lowest)
    line = 0.50 + 0.05 * line_height(person)
    rim = line - 0.42 * np.clip((np.abs(azimuth) - 0.7) / 1.2, 0, 1) if not hat else np.full_like(azimuth, line)
    inside = np.clip((height - rim) / 0.02, 0, 1)
    top = np.clip((height - line) / (np.pi / 2 - line), 0, 1)
    over = 0.7 + (3.2 * top**0.5 if hat else 1.4 * top**0.7)
    seams = np.clip(1 - np.abs(np.sin(azimuth * 3)) * 30 * np.cos(height), 0, 1) if not hat else 0 * azimuth
    band = np.clip(1 - np.abs(height - line - 0.12) / 0.1, 0, 1) > 0.05 if hat else 0 * azimuth > 1
    colour = np.tile(np.asarray(person.cover_colour, np.float32), (256, 256, 1))
    paint.blend(colour, np.asarray(person.cloth_second) * 0.6, band.astype(np.float32))
    colour *= (1 - 0.25 * seams + 0.04 * paint.noise(rng, 256, 2))[..., None]
    image = (np.clip(np.dstack([colour, inside]), 0, 1) * 255).astype(np.uint8)
    brim = (
        _brim(head, skull, person, 6.5, 5.5, line, 0.12)
        if hat
        else _brim(head, skull, person, 6.0, 0.0, line + 0.02, 0.22)
    )
    return [_shell(head, skull, over.astype(np.float32), lowest, image, 0.01), brim]


def cover_pieces(head: Head, skull: Skull, person: Person) -> list[Piece]:
    """Head scarf, beanie, cap or hat."""
    make = {"beanie": _beanie, "scarf": _scarf, "cap": _cap_or_hat, "hat": _cap_or_hat}.get(person.hair_style)
    return make(head, skull, person, person.stream("cover")) if make else []


def _tube(line: np.ndarray, radius: float, closed: bool, sides: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """A tube (n, 3) around a line (k, 3), and its triangles."""
    along = np.roll(line, -1, 0) - np.roll(line, 1, 0) if closed else np.gradient(line, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    up = np.where(np.abs(along[:, 1:2]) > 0.9, np.array([[0.0, 0, 1]]), np.array([[0.0, 1, 0]]))
    a = np.cross(along, up)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b = np.cross(along, a)
    turn = np.arange(sides) * 2 * np.pi / sides
    points = line[:, None] + radius * (np.cos(turn)[:, None] * a[:, None] + np.sin(turn)[:, None] * b[:, None])
    k = len(line)
    i = np.arange(k if closed else k - 1)[:, None]
    j, n = np.arange(sides), (i + 1) % k
    m = (j + 1) % sides
    corners = np.stack(
        np.broadcast_arrays(i * sides + j, i * sides + m, n * sides + j, i * sides + m, n * sides + m, n * sides + j),
        -1,
    )
    return points.reshape(-1, 3), corners.reshape(-1, 3)


_LENSES = {"round": (2.35, 2.2, 2.0), "square": (2.75, 1.9, 4.5), "oval": (2.65, 1.75, 2.2), "wire": (2.5, 2.1, 2.4)}


def glasses_pieces(head: Head, person: Person) -> list[Piece]:
    """Frames around both eyes, bridge, temples to the ears, and panes that catch the light."""
    if person.glasses == "none":
        return []
    marks = head.neutral[head.marks]
    rx, ry, power = _LENSES[person.glasses]
    radius = 0.07 if person.glasses == "wire" else 0.10 + 0.09 * person.glasses_width
    bridge = marks[27]
    front = max(float(marks[36:48, 2].max()) + 1.35, float(bridge[2]) + 0.35)
    turn, lines, panes = np.linspace(0, 2 * np.pi, 33)[:-1], [], []
    half = float(np.abs(marks[[36, 39, 42, 45], 0]).mean()) + 0.15
    high = float(marks[36:48, 1].mean()) - 0.15
    for side in (-1, 1):
        ring = _ring(turn, rx, ry, power)
        x = side * half + ring[:, 0]
        line = np.stack([x, high + ring[:, 1], front - 0.035 * (x**2) * 0.9], 1)
        lines.append((line, True))
        panes.append(line)
        hinge = np.array([side * (half + rx), high + 0.45 * ry, front - 0.035 * (half + rx) ** 2 * 0.9])
        ear = np.array([np.sign(side) * (float(np.abs(marks[[0, 16], 0]).mean()) + 0.55), high + 0.2, 0.5])
        lines.append(
            (
                np.stack([
                    hinge, hinge + (side * 0.35, 0, -0.6), 0.5 * (hinge + ear) + (side * 0.5, 0.1, 0), ear,
                    ear + (0, -1.2, -1.5),
                ]),
                False,
            )
        )  # fmt: skip
    inner = half - rx
    arch = [(-inner, 0.35, 0.0), (-0.4 * inner, 0.65, 0.15), (0.4 * inner, 0.65, 0.15), (inner, 0.35, 0.0)]
    lines.append((np.array(arch) + (0, high, front), False))
    meshes, count, parts = [], 0, []
    for line, closed in lines:
        points, triangles = _tube(line, radius, closed)
        meshes.append(points)
        parts.append(triangles + count)
        count += len(points)
    colour = np.full((4, 4, 3), 255, np.uint8) * np.asarray(person.glasses_colour)
    points = np.concatenate(meshes)
    frame = _plain(
        head, points, np.concatenate(parts), np.zeros((len(points), 2)), colour.astype(np.uint8), 0.8, 60.0, 1.0
    )
    glass = np.concatenate([np.concatenate([line, line.mean(0, keepdims=True) + (0, 0, 0.12)]) for line in panes])
    fan = np.stack([np.arange(32), (np.arange(32) + 1) % 32, np.full(32, 32)], 1)
    tint = np.full((4, 4, 4), (215, 225, 235, 255), np.uint8)
    pane = _plain(
        head, glass, np.concatenate([fan, fan + 33]), np.zeros((66, 2)), tint, 1.6, 120.0, 1.0, "mix", False, 0.055
    )
    return [frame, pane]


def earring_pieces(head: Head, person: Person) -> list[Piece]:
    """Studs, hoops or drops at both lobes."""
    if person.earrings == "none" or person.hair_style == "scarf":
        return []
    meshes, parts, count = [], [], 0
    points = head.neutral[np.unique(head.topology.triangles["face"])]
    for side in (-1, 1):
        ear = points[(points[:, 0] * side > 0.9 * (points[:, 0] * side).max())]
        lobe = np.array([ear[:, 0].mean() - side * 0.2, ear[:, 1].min() - 0.6, ear[:, 2].mean() + 0.7])
        turn = np.linspace(0, 2 * np.pi, 25)[:-1]
        if person.earrings == "hoop":
            line = lobe + np.stack([0 * turn, 1.3 * np.sin(turn) - 1.3, 1.3 * np.cos(turn)], 1)
            one, triangles = _tube(line, 0.09, True)
        else:
            size = 0.26 if person.earrings == "stud" else 0.32
            line = (
                lobe
                + np.array([0, -1.2 if person.earrings == "drop" else 0, 0])
                + np.stack([0 * turn, 0.5 * size * np.sin(turn), 0.5 * size * np.cos(turn)], 1)
            )
            one, triangles = _tube(line, size * 0.55, True)
        meshes.append(one)
        parts.append(triangles + count)
        count += len(one)
    points = np.concatenate(meshes)
    colour = (np.full((4, 4, 3), 255) * np.asarray(person.jewel)).astype(np.uint8)
    return [_plain(head, points, np.concatenate(parts), np.zeros((len(points), 2)), colour, 1.4, 50.0, 1.0)]
