"""What people wear on the head: head coverings, glasses and earrings."""

from __future__ import annotations

import numpy as np

from . import paint
from .head import Head, follow, grid_triangles
from .person import Person
from .piece import Piece, plain_piece, superellipse
from .skull import CENTRE, Skull, directions, line_height


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
    """Cloth over the skull, down to the height ``lowest`` in radians.

    over: its distance from the skin in cm, an image over azimuth and height; image: RGBA; ears: image of 0..1, how far
    the ears push it outwards.
    """
    d, uv, triangles = directions(across, down, lowest)
    rows = np.clip((uv[:, 1] * (over.shape[0] - 1)).round().astype(int), 0, over.shape[0] - 1)
    columns = np.clip((uv[:, 0] * (over.shape[1] - 1)).round().astype(int), 0, over.shape[1] - 1)
    radius = skull.radius(d)
    if ears is not None:
        radius = radius + ears[rows, columns] * (skull.radius(d, True) - radius)
    points = CENTRE + d * (radius + over[rows, columns])[:, None]
    return plain_piece(head, points, triangles, uv, image, gloss, 10.0, follow(points), "cover")


def _dome_fields(lowest: float, size: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Azimuth from the front and height, in radians, of each pixel of a shell's image."""
    v, u = (np.mgrid[:size, :size].astype(np.float32) + 0.5) / size
    return (u - 0.5) * 2 * np.pi, np.pi / 2 - v * (np.pi / 2 - lowest)


def _beanie(head: Head, skull: Skull, person: Person, rng: np.random.Generator) -> list[Piece]:
    lowest = -0.35
    azimuth, height = _dome_fields(lowest)
    rim = 0.60 + 0.06 * line_height(person) - 0.55 * np.clip((np.abs(azimuth) - 0.5) / 1.3, 0, 1)
    rim -= 0.15 * np.clip((np.abs(azimuth) - 1.6) / 1.2, 0, 1)
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
    x, y, z = np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)
    # The opening for the face is an oval around the direction of the nose.
    tall = np.where(y > -0.21, 0.80 + 0.05 * line_height(person), 0.66)
    opening = np.sqrt((x / 0.66) ** 2 + ((y + 0.21) / tall) ** 2) + 4 * (z < 0)
    inside = np.clip((opening - 1) / 0.03, 0, 1)
    folds = paint.layered(rng, 256, (26, 12)) + np.sin(azimuth * 9 + 3 * height + 2 * paint.noise(rng, 256, 60))
    rolled = np.exp(-(((opening - 1.06) / 0.07) ** 2))
    over = 0.22 + 0.22 * rolled + 0.16 * folds * np.clip((opening - 1.1) * 3, 0, 1)
    over = over + 1.6 * np.clip((-height - 0.5) / 0.5, 0, 1)
    colour = np.tile(np.asarray(person.cover_colour, np.float32), (256, 256, 1))
    if rng.random() < 0.3:
        print_ = (paint.layered(rng, 256, (18, 8)) > 0.8).astype(np.float32)
        paint.blend(colour, np.asarray(person.cloth_second), 0.6 * print_)
    colour *= (1 + 0.07 * folds + 0.03 * paint.noise(rng, 256, 1.5))[..., None]
    image = np.dstack([np.clip(colour, 0.01, 1), inside])
    image = (np.clip(image, 0, 1) * 255).astype(np.uint8)
    ears = np.clip((opening - 1.03) / 0.3, 0, 1)
    return [_shell(head, skull, over.astype(np.float32), lowest, image, 0.015, 96, 72, ears)]


def _brim(head: Head, skull: Skull, person: Person, front: float, back: float, line: float, tilt: float) -> Piece:
    """The brim of a cap or hat; front, back: its depth in cm; line: its height in radians; tilt: how far it slopes."""
    around, across = 72, 5
    angle = np.linspace(-np.pi, np.pi, around + 1)
    ahead = np.clip(np.cos(angle), 0, 1) ** (0.6 if back <= 0 else 1)
    in_front = front * np.clip(np.cos(angle * 0.95) * 1.2, 0, 1) ** 0.7
    depth = back + (front - back) * ahead if back > 0 else in_front
    d = np.stack([np.sin(angle) * np.cos(line), np.full_like(angle, np.sin(line)), np.cos(angle) * np.cos(line)], 1)
    inner = CENTRE + d * (skull.radius(d) + 0.7)[:, None]
    flat = np.stack([np.sin(angle), np.zeros_like(angle), np.cos(angle)], 1)
    sag = (tilt + 0.0015 * inner[:, 0] ** 2) * depth
    outwards = flat * depth[:, None] - np.array([0, 1, 0]) * sag[:, None]
    points = np.stack([inner + t * outwards for t in np.linspace(0, 1, across + 1)]).reshape(-1, 3)
    u, v = np.meshgrid(np.linspace(0, 1, around + 1), np.linspace(0, 1, across + 1))
    uv, triangles = np.stack([u, v], -1).reshape(-1, 2), grid_triangles(across, around)
    colour = (np.clip(np.tile(np.asarray(person.cover_colour) * 0.8, (8, 8, 1)), 0.01, 0.6) * 255).astype(np.uint8)
    return plain_piece(head, points, triangles, uv, colour, 0.02, 10.0, 1.0)


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
    shape = (6.5, 5.5, line, 0.12) if hat else (6.0, 0.0, line + 0.02, 0.22)
    brim = _brim(head, skull, person, *shape)
    return [_shell(head, skull, over.astype(np.float32), lowest, image, 0.01), brim]


def headwear_pieces(head: Head, skull: Skull, person: Person) -> list[Piece]:
    """Head scarf, beanie, cap or hat; empty without."""
    make = {"beanie": _beanie, "scarf": _scarf, "cap": _cap_or_hat, "hat": _cap_or_hat}.get(person.hair_style)
    return make(head, skull, person, person.stream("cover")) if make else []


def _tube(line: np.ndarray, radius: float, closed: bool, sides: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) and triangles of a tube around a line (k, 3)."""
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
    a, b, c, d = i * sides + j, i * sides + m, n * sides + j, n * sides + m
    return points.reshape(-1, 3), np.stack(np.broadcast_arrays(a, b, c, b, d, c), -1).reshape(-1, 3)


# Half width and half height of a lens in cm, and the exponent of the superellipse that it is.
_LENSES = {"round": (2.35, 2.2, 2.0), "square": (2.75, 1.9, 4.5), "oval": (2.65, 1.75, 2.2), "wire": (2.5, 2.1, 2.4)}


def glasses_pieces(head: Head, person: Person) -> list[Piece]:
    """Frame around both eyes, bridge, temples to the ears, and reflecting lenses; empty without glasses."""
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
        ring = superellipse(turn, rx, ry, power)
        x = side * half + ring[:, 0]
        line = np.stack([x, high + ring[:, 1], front - 0.035 * (x**2) * 0.9], 1)
        lines.append((line, True))
        panes.append(line)
        hinge = np.array([side * (half + rx), high + 0.45 * ry, front - 0.035 * (half + rx) ** 2 * 0.9])
        ear = np.array([np.sign(side) * (float(np.abs(marks[[0, 16], 0]).mean()) + 0.55), high + 0.2, 0.5])
        behind, down = 0.5 * (hinge + ear) + (side * 0.5, 0.1, 0), ear + (0, -1.2, -1.5)
        lines.append((np.stack([hinge, hinge + (side * 0.35, 0, -0.6), behind, ear, down]), False))
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
    frame = plain_piece(
        head, points, np.concatenate(parts), np.zeros((len(points), 2)), colour.astype(np.uint8), 0.8, 60.0, 1.0
    )
    glass = np.concatenate([np.concatenate([line, line.mean(0, keepdims=True) + (0, 0, 0.12)]) for line in panes])
    fan = np.stack([np.arange(32), (np.arange(32) + 1) % 32, np.full(32, 32)], 1)
    tint = np.full((4, 4, 4), (215, 225, 235, 255), np.uint8)
    pane = plain_piece(
        head, glass, np.concatenate([fan, fan + 33]), np.zeros((66, 2)), tint, 1.6, 120.0, 1.0, "mix", False, 0.055
    )
    return [frame, pane]


def earring_pieces(head: Head, person: Person) -> list[Piece]:
    """Studs, hoops or drops at both ear lobes; empty without earrings."""
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
            centre = lobe + np.array([0, -1.2 if person.earrings == "drop" else 0, 0])
            line = centre + np.stack([0 * turn, 0.5 * size * np.sin(turn), 0.5 * size * np.cos(turn)], 1)
            one, triangles = _tube(line, size * 0.55, True)
        meshes.append(one)
        parts.append(triangles + count)
        count += len(one)
    points = np.concatenate(meshes)
    colour = (np.full((4, 4, 3), 255) * np.asarray(person.jewel)).astype(np.uint8)
    return [plain_piece(head, points, np.concatenate(parts), np.zeros((len(points), 2)), colour, 1.4, 50.0, 1.0)]
