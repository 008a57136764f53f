"""Hair of the head: a cap over the scalp, and ribbons of hair that grow from it and are combed by style."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .head import Head, follow
from .person import COVERED, Person
from .piece import FLIP, Piece
from .skull import CENTRE, Skull, hairline, scalp_mask

STEPS, LONG_STEPS = 9, 14  # in which short and long strands grow
PLAIN = 0.6  # cm; long ribbons of less curl need few segments


@dataclass(frozen=True)
class Style:
    """length: in cm, shortest and longest; ribbons: how many; width: of a ribbon in cm; sides, top: distance from the
    skin in cm; stiff: 0..1, how little the hair falls; comb: directions sideways from the parting, up and forward;
    curl: in cm; fringe: whether hair covers the forehead; face: degrees from the nose that long hair leaves free.
    """

    length: tuple[float, float]
    ribbons: int
    width: float
    sides: float
    top: float
    stiff: float
    comb: tuple[float, float, float]
    curl: float = 0.0
    fringe: bool = False
    face: float = 62.0


STYLES: dict[str, Style] = {
    "buzz": Style((0.4, 0.8), 0, 0.5, 0.15, 0.2, 0.9, (0.0, 0.2, 0.5)),
    "crop": Style((1.6, 3.0), 620, 0.8, 0.30, 0.9, 0.7, (0.1, 0.1, 0.9)),
    "side_part": Style((3.5, 6.5), 640, 0.9, 0.35, 1.5, 0.6, (1.0, 0.25, 0.25)),
    "swept_back": Style((4.5, 8.0), 640, 0.9, 0.35, 1.5, 0.7, (0.15, 0.35, -1.0)),
    "messy": Style((2.8, 5.5), 720, 0.7, 0.5, 1.7, 0.7, (0.3, 0.5, 0.5), 0.9),
    "curly": Style((3.0, 6.0), 900, 0.9, 1.3, 2.6, 0.6, (0.3, 0.5, 0.2), 2.0),
    "afro": Style((4.0, 7.0), 1100, 1.2, 3.0, 4.2, 0.95, (0.0, 0.0, 0.0), 2.4),
    "long_straight": Style((22, 32), 620, 1.2, 0.8, 0.9, 0.05, (1.0, 0.05, 0.1), 0.0),
    "long_wavy": Style((20, 32), 620, 1.3, 1.2, 1.2, 0.10, (1.0, 0.15, 0.1), 1.1),
    "long_parted": Style((22, 32), 620, 1.2, 0.7, 0.8, 0.05, (1.0, 0.0, -0.25), 0.3, face=70),
    "bob": Style((13, 17), 640, 1.2, 1.1, 1.1, 0.06, (1.0, 0.1, 0.1), 0.2, face=60),
    "bangs": Style((18, 28), 640, 1.2, 0.9, 0.9, 0.05, (0.8, 0.0, 0.3), 0.1, True),
    "long_curly": Style((16, 26), 760, 1.3, 2.2, 2.2, 0.15, (1.0, 0.3, 0.1), 2.2),
    "bun": Style((7, 12), 620, 1.0, 0.3, 0.5, 0.85, (0.1, 0.5, -1.0)),
    "ponytail": Style((8, 13), 620, 1.0, 0.3, 0.5, 0.85, (0.1, 0.15, -1.0)),
    "receding": Style((1.2, 2.4), 460, 0.7, 0.3, 0.4, 0.7, (0.1, 0.0, 0.6)),
    "bald": Style((0.4, 0.8), 0, 0.5, 0.12, 0.1, 0.9, (0.0, 0.0, 0.5)),
    "scarf": Style((0.4, 0.8), 0, 0.5, 0.05, 0.1, 0.9, (0.0, 0.0, 0.5)),
    "beanie": Style((2.0, 26), 420, 0.9, 0.3, 0.2, 0.1, (0.6, -0.6, 0.0), 0.3, face=70),
    "cap": Style((2.0, 26), 420, 0.9, 0.3, 0.2, 0.1, (0.6, -0.6, 0.0), 0.3, face=70),
    "hat": Style((2.0, 26), 420, 0.9, 0.3, 0.2, 0.1, (0.6, -0.6, 0.0), 0.5, face=70),
}


def strand_texture(rng: np.random.Generator, curl: float, grey: float, thick: float, size: int = 256) -> np.ndarray:
    """Texture (size, size, 3) uint8 of strands, with their roots in the first row: lightness, coverage, gloss.

    curl: in cm; grey: 0..1; thick: the larger, the fewer gaps.
    """
    u = np.arange(size)

    def across(cell: float) -> np.ndarray:
        grid = rng.standard_normal(int(size / cell))
        return np.interp(u, np.arange(len(grid) + 1) * cell, np.append(grid, grid[0]))

    lightness = 0.45 + 0.17 * across(2) + 0.15 * across(7) + 0.12 * across(24)
    lightness += 0.35 * grey * (rng.random(size) < 0.5 * grey)
    sheet = np.tile(lightness, (size, 1))
    v = (np.arange(size) / (size - 1))[:, None]
    ends = 0.80 + 0.10 * across(2) + 0.11 * across(9)
    gap = np.clip(across(3) + 0.6 * across(9) + thick - 2.1 * v, -1, 1)
    cover = np.clip((ends - v) * 14, 0, 1) * np.clip(0.5 + 1.6 * gap, 0, 1)
    edge = np.clip(np.minimum(u, size - 1 - u) / (0.04 * size), 0, 1)
    gloss = np.tile(0.5 + 0.25 * across(5), (size, 1))
    out = np.stack([sheet * (0.78 + 0.3 * v), cover * edge, gloss], -1).astype(np.float32)
    if curl > 1.5:
        cells = cv2.resize(rng.random((40, 40)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
        out[..., 0] *= 0.55 + 0.8 * cells
        out[..., 1] *= np.clip((cells - 0.18) * 6, 0, 1)
    return (np.clip(out, 0, 1) * 255).astype(np.uint8)


def areas(head: Head, triangles: np.ndarray) -> np.ndarray:
    """Areas (f,) in square cm of triangles (f, 3) of the head at rest."""
    corner = head.neutral[triangles]
    return 0.5 * np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)


def spread(
    head: Head, triangles: np.ndarray, weight: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Roots of strands: points and normals (count, 3) on triangles (f, 3) chosen by weight (f,), and the nearest
    vertices (count,).
    """
    chosen = triangles[rng.choice(len(triangles), count, p=weight / weight.sum())]
    shares = rng.dirichlet((1, 1, 1), count)
    points, facing = (
        np.einsum("nk,nkc->nc", shares, values[chosen])
        for values in (head.neutral, head.topology.soft.normals(head.neutral))
    )
    return points, unit(facing), chosen[np.arange(count), shares.argmax(1)]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) scaled to length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _combed(points: np.ndarray, root: np.ndarray, style: Style, part: float, side: int) -> np.ndarray:
    """Direction (n, 3) in which hair is combed at points (n, 3), for strands with these roots (n, 3)."""
    away = np.tanh((root[:, 0] - part) / 1.2)
    if style.comb[0] > 0 and not style.fringe and style.stiff > 0.3:
        away = np.where(np.abs(root[:, 0]) < 6, side * np.abs(away), away)
    out = np.stack([style.comb[0] * away, np.full(len(points), style.comb[1]), np.full(len(points), style.comb[2])], 1)
    if style.fringe:
        front = np.clip((root[:, 2] - CENTRE[2] - 3.5) / 2, 0, 1) * (np.abs(root[:, 0]) < 5.8)
        out = out * (1 - front[:, None]) + front[:, None] * np.array([0, 0.0, 1.2])
    return out


def _grown(head: Head, skull: Skull, person: Person, style: Style, rng: np.random.Generator) -> np.ndarray:
    """Strands (n, k, 3) in cm."""
    mask = scalp_mask(head.model.neutral[head.topology.used], person)
    if person.hair_style in COVERED:
        y = head.model.neutral[head.topology.used][:, 1]
        mask = mask * (y < 6.0)
    triangles = np.concatenate([head.topology.triangles[part] for part in ("face", "head")])
    root, facing, _ = spread(
        head, triangles, areas(head, triangles) * (mask * (mask > 0.45))[triangles].min(1), style.ribbons, rng
    )
    length = style.length[0] + (style.length[1] - style.length[0]) * person.hair_length
    if person.hair_style in COVERED and person.masculine:
        length = 2.0
    steps = LONG_STEPS if length > 9 else STEPS
    high = np.clip((root[:, 1] - 3) / 6, 0, 1)
    fade = 1.0 if length > 9 else 0.35 + 0.65 * high
    step = length * fade * rng.uniform(0.75, 1.05, len(root)) / steps
    if style.fringe:
        front = (root[:, 2] > CENTRE[2] + 4.2) & (np.abs(root[:, 0]) < 5.8)
        step = np.where(
            front, np.clip((root[:, 1] - 6.2) * 1.25 + 1.0, 3.0, 9.0) / steps * rng.uniform(0.9, 1.06, len(root)), step
        )
    layer = rng.random(len(root))
    volume = 0.6 + 0.8 * person.hair_volume
    part, wave = person.hair_side * rng.uniform(0.3, 2.8), rng.uniform(0, 2 * np.pi, len(root))
    strands = [root]
    way = unit((0.4 + 0.9 * style.stiff) * facing + 0.5 * _combed(root, root, style, part, person.hair_side))
    for k in range(steps):
        p, t = strands[-1], (k + 1) / steps
        out = unit(p - CENTRE)
        drop = np.array([0, -1.0, 0]) * (1 - style.stiff) * (0.6 + 1.6 * t) * min(length / 5, 1.5)
        combing = 1.1 if style.stiff > 0.3 else max(0.0, 1 - 1.6 * t)
        pull = _combed(p, root, style, part, person.hair_side) * combing + drop + 0.25 * style.stiff * out * (1 - t)
        turning = np.stack([np.sin(wave + 5 * t), np.cos(1.3 * wave + 4 * t), np.cos(wave + 5 * t)], 1)
        curl = style.curl * (0.4 + 0.6 * person.curl) * 0.35 * turning
        way = unit(0.55 * way + 0.6 * pull + curl + rng.normal(0, 0.05, p.shape))
        flat = unit(out * (1, 0, 1) + np.maximum(out, 0) * (0, 1, 0))  # hair hangs down below the ears
        lifting = np.maximum((way * flat).sum(1), 0)[:, None]
        near = np.clip(1.6 - style.stiff * 2.2, 0, 0.95) if length > 9 else np.clip(0.9 - style.stiff, 0, 1)
        way = unit(way - near * lifting * flat)
        p = p + way * step[:, None]
        lift = (style.sides + (style.top - style.sides) * np.clip((p[:, 1] - 6) / 6, 0, 1)) * volume
        p = skull.pushed(p, lift * (0.35 + 0.65 * layer) * min(1.0, 0.45 + 1.2 * t))
        strands.append(_beside(p, root, style, length) if length > 9 else p)
    grown = np.stack(strands, 1)
    return _waved(grown, style, person, length, rng) if length > 9 and style.curl else grown


def _waved(strands: np.ndarray, style: Style, person: Person, length: float, rng: np.random.Generator) -> np.ndarray:
    """Long strands (n, k, 3) with waves, in phase with those beside them."""
    tangent = unit(np.gradient(strands, axis=1))
    away = unit(strands - CENTRE)
    across = unit(np.cross(tangent, away))
    along = np.linspace(0, length, strands.shape[1])
    phase = 2.5 * np.arctan2(strands[:, :1, 0], strands[:, :1, 2]) + rng.normal(0, 0.5, (len(strands), 1))
    phase = phase + 6.28 * rng.random()
    pitch = 7.5 - 2.0 * person.curl
    size = 0.45 * style.curl * (0.4 + 0.6 * person.curl) * np.clip(along / 6 - 0.5, 0, 1)
    turn = along * 2 * np.pi / pitch + phase
    return strands + (size * np.sin(turn))[..., None] * across + (0.8 * size * (1 + np.cos(turn)))[..., None] * away


def _beside(points: np.ndarray, root: np.ndarray, style: Style, length: float) -> np.ndarray:
    """Points (n, 3) of long hair, turned around the skull's axis until they lie beside the face."""
    away = points - CENTRE
    around = np.degrees(np.arctan2(np.abs(away[:, 0]), away[:, 2]))
    low = np.clip(0.2 - hairline(away, 0.0) / 1.5, 0, 1)
    if style.fringe:
        low = np.where((root[:, 2] > CENTRE[2] + 4.2) & (np.abs(root[:, 0]) < 5.8), 0, low)
    wanted = np.radians(np.maximum(around, style.face * low))
    flat = np.hypot(away[:, 0], away[:, 2])
    sign = np.where(away[:, 0] == 0, np.sign(root[:, 0]), np.sign(away[:, 0]))
    return CENTRE + np.stack([sign * np.sin(wanted) * flat, away[:, 1], np.cos(wanted) * flat], 1)


def _fewer(strands: np.ndarray, style: Style) -> np.ndarray:
    """Strands (n, k, 3) with no more points than their bends need."""
    grown = strands.shape[1] - 1
    half = grown == STEPS or style.curl < PLAIN
    count = grown // 2 + 1 if half else grown
    return strands[:, np.linspace(0, grown, count + 1).round().astype(int)]


def ribbons(strands: np.ndarray, width: float, rng: np.random.Generator, share: float = 0.42) -> tuple[np.ndarray, ...]:
    """Flat ribbons along strands (n, k, 3): points, normals, tangents (m, 3), uv (m, 2), triangles, and the number of
    triangles per ribbon.

    width: in cm; share: of the texture's width that a ribbon shows.
    """
    count, steps = strands.shape[:2]
    tangent = unit(np.gradient(strands, axis=1))
    out = unit(strands - CENTRE)
    out = unit(out - (out * tangent).sum(-1, keepdims=True) * tangent)
    across = np.cross(tangent, out)
    tilt = rng.normal(0, 0.35, (count, 1, 1))
    across = across * np.cos(tilt) + out * np.sin(tilt)
    taper = np.interp(np.linspace(0, 1, steps), [0, 0.15, 0.7, 1], [0.7, 1, 1, 0.55])[None, :, None]
    half = 0.5 * width * rng.uniform(0.7, 1.4, (count, 1, 1)) * taper
    points = np.stack([strands - half * across, strands + half * across], 2)
    start = rng.random((count, 1, 1))
    u = np.broadcast_to(start + np.array([0.0, share]), (count, steps, 2))
    v = np.broadcast_to(np.linspace(0.02, 0.985, steps)[None, :, None], (count, steps, 2))
    base = (np.arange(count)[:, None] * steps + np.arange(steps - 1)) * 2
    triangles = np.stack([base, base + 1, base + 2, base + 1, base + 3, base + 2], -1).reshape(-1, 3)
    normals = unit(out + 0.5 * np.stack([-across, across], 2).mean(2))
    twice = [np.repeat(a[:, :, None], 2, 2).reshape(-1, 3) for a in (normals, tangent)]
    uv = np.stack([u, v], -1).reshape(-1, 2)
    return points.reshape(-1, 3), *twice, uv, triangles.astype(np.int32), 2 * (steps - 1)


def _cap(head: Head, person: Person, style: Style) -> tuple[np.ndarray, ...]:
    """The hair next to the scalp, as ``ribbons`` gives it: a surface that ends raggedly at the hairline."""
    topo, mean = head.topology, head.model.neutral[head.topology.used]
    mask = scalp_mask(mean, person, 2.2)
    triangles = np.concatenate([topo.triangles[part] for part in ("face", "head")])
    triangles = triangles[(mask[triangles] > 0.02).any(1)]
    rows, inverse = np.unique(triangles, return_inverse=True)
    facing, m = topo.soft.normals(head.neutral)[rows], mask[rows]
    high = np.clip((head.neutral[rows, 1] - 5) / 6, 0, 1)
    thick = 0.5 * (style.sides + (style.top - style.sides) * high) * (0.6 + 0.8 * person.hair_volume)
    points = head.neutral[rows] + facing * (thick * np.clip(1.3 * m - 0.3, 0, 1) + 0.04)[:, None]
    away = head.neutral[rows] - CENTRE
    u = np.arctan2(away[:, 0], away[:, 2]) / (2 * np.pi) * 20
    v = 0.995 - 0.60 * np.clip((m - 0.02) * 1.1, 0, 1) ** 1.2
    down = unit(np.cross(np.cross(facing, np.array([0.0, 0.2, -0.4]) + away * (0, 1, 0)), facing) + 1e-6)
    return points, facing, down, np.stack([u, v], 1), inverse.reshape(-1, 3).astype(np.int32), 1


def hair_pieces(head: Head, skull: Skull, person: Person) -> list[Piece]:
    """Cap and ribbons of a person's hair; nothing under a scarf."""
    if person.hair_style == "scarf":
        return []
    rng, style = person.stream("hair"), STYLES[person.hair_style]
    sets = []
    if person.hair_style != "bald" and person.hair_style not in COVERED:
        sets.append(_cap(head, person, style))
    if style.ribbons:
        strands = _grown(head, skull, person, style, rng)
        sets.append(ribbons(_fewer(strands, style), style.width, rng))
    if person.hair_style == "bun":
        sets.append(_bun(head, person, rng))
    texture = strand_texture(
        rng, style.curl * (0.5 + 0.5 * person.curl), person.grey, 2.7 if style.length[1] > 9 else 1.9
    )
    return [piece(head, one, texture, person) for one in sets]


def _bun(head: Head, person: Person, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """A knot of hair on the crown, as ``ribbons`` gives it: strands wound around its middle."""
    t = np.linspace(0, 1, STEPS + 1)
    count, size = 120, 2.2 + 1.2 * person.hair_volume
    top = head.neutral[:, 1].max()
    centre = np.array([0, top + 0.55 * size - 1.0 - 3.0 * person.hair_length, -3.5 - 4.5 * person.hair_length])
    lat, start = rng.uniform(-1.35, 1.35, (count, 1)), rng.uniform(0, 2 * np.pi, (count, 1))
    angle = start + t * rng.uniform(1.5, 3.2, (count, 1))
    lat = lat + 0.5 * np.sin(angle + start)
    radius = size * rng.uniform(0.85, 1.05, (count, 1))
    strands = centre + radius[..., None] * np.stack(
        [np.cos(angle) * np.cos(lat), 0.8 * np.sin(lat), np.sin(angle) * np.cos(lat)], -1
    )
    points, _, tangent, uv, triangles, group = ribbons(strands, 1.3, rng)
    return points, unit(points - centre), tangent, uv * (1, 0.6), triangles, group


def piece(head: Head, made: tuple[np.ndarray, ...], texture: np.ndarray, person: Person) -> Piece:
    """A mesh from ``ribbons`` in the colour of the person's hair; texture: of ``strand_texture``."""
    points, facing, tangent, uv, triangles, group = made
    return Piece(
        "hair",
        triangles,
        uv.astype(np.float32),
        (tangent * FLIP).astype(np.float32),
        {"paint": texture},
        {"tint": tuple(person.hair), "gloss": 0.9 - 0.5 * person.grey, "cover": 1.0},
        points=head.placed(points).astype(np.float32),
        normals=(facing * FLIP).astype(np.float32),
        follow=follow(points),
        two_sided=True,
        blend="cover",
        group=group,
    )
