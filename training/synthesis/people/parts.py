"""The parts of the face model as pieces of a scene: skin, eyeballs, mouth, lashes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .face_model import FaceModel
from .head import Head, topology, unwrapped
from .piece import Piece, merged

COARSE = 0.15  # cm, size of the cells in which vertices of teeth and gums are merged


def skin_pieces(
    head: Head,
    face: np.ndarray,
    face_finish: np.ndarray,
    scalp: np.ndarray,
    scalp_finish: np.ndarray,
    oil: float,
    bump: float,
) -> list[Piece]:
    """Face and back of the head. face, scalp: RGBA uint8, square root of the albedo, and height; face_finish,
    scalp_finish: sheen, roughness and softness; oil: strength of the shine; bump: of the relief.
    """
    pieces = []
    for part, paint, finish in (("face", face, face_finish), ("head", scalp, scalp_finish)):
        rows, uv, triangles = unwrapped(head.model, part)
        textures = {"paint": np.ascontiguousarray(paint[::-1]), "finish": np.ascontiguousarray(finish[::-1])}
        pieces.append(
            Piece("skin", triangles, uv, np.zeros((len(rows), 3)), textures, {"oil": oil, "bump": bump}, rows)
        )
    return pieces


def eye_pieces(head: Head, irises: tuple[np.ndarray, np.ndarray], wet: float) -> list[Piece]:
    """Both eyeballs; irises: RGB uint8, the front of each eyeball, with the pupil in the middle."""
    chosen, pieces = head.topology.triangles["eyes"], []
    for (rows, centre, radius), paint in zip(head.eyes, irises):
        triangles = chosen[np.isin(chosen[:, 0], rows)]
        vertices, inverse = np.unique(triangles, return_inverse=True)
        local = (head.neutral[vertices] - centre) / radius
        front = local[:, 2] > -0.1
        uv = local[:, :2] / np.maximum(np.linalg.norm(local, axis=1, keepdims=True), 1e-6)
        visible = front[inverse.reshape(-1, 3)].all(1)
        pieces.append(
            Piece(
                "eye",
                inverse.reshape(-1, 3)[visible].astype(np.int32),
                uv,
                np.zeros((len(vertices), 3)),
                {"paint": np.ascontiguousarray(paint[::-1])},
                {"wet": wet},
                vertices,
                casts=False,
                soft=False,
                eye=len(pieces),
            )
        )
    return pieces


def _mouth_extra(
    head: Head, rows: np.ndarray, colour: tuple[float, float, float], front: float, reach: float, gloss: float
) -> tuple[np.ndarray, np.ndarray]:
    """Depth and gloss (n, 2), and colour (n, 3) of mouth vertices. Shade begins at z = front and is full ``reach`` cm
    behind it.
    """
    depth = np.clip((front - head.neutral[rows, 2]) / reach, 0, 1)
    return np.stack([depth, np.full(len(rows), gloss)], 1), np.tile(colour, (len(rows), 1))


@lru_cache(maxsize=4)
def _coarse(model: FaceModel, part: str) -> np.ndarray:
    """Fewer triangles of teeth or gums; vertices are only merged if they are close with the mouth closed and open."""
    topo = topology(model)
    shut = model.neutral[topo.used]
    wide = shut + model.expression[model.shape("jawOpen")][topo.used]
    return merged(np.concatenate([shut, wide], 1), topo.triangles[part], COARSE)


def mouth_pieces(
    head: Head, flesh: tuple[float, float, float], teeth: tuple[float, float, float], lit: float
) -> list[Piece]:
    """Lining, gums, tongue and teeth. flesh, teeth: square root of the albedo; lit: how much light reaches in, 0..1."""
    front, pieces = float(head.neutral[head.marks[[62, 66]], 2].mean()), []
    tongue = head.topology.tongue
    for part, colour, lead, reach, gloss in (
        ("socket", flesh, 0.3, 3.5, 0.15),
        ("gums", flesh, 0.0, 5.0, 0.5),
        ("teeth", teeth, -0.1, 4.0, 0.7),
    ):
        triangles = head.topology.triangles[part] if part == "socket" else _coarse(head.model, part)
        rows, inverse = np.unique(triangles, return_inverse=True)
        uv, extra = _mouth_extra(head, rows, colour, front + lead, reach, gloss)
        if part == "gums":
            is_tongue = tongue[rows] > 0
            extra[is_tongue] = np.asarray(flesh) * (1.12, 1.0, 1.02)
        if part == "teeth":
            extra = _tooth_shades(head, rows, extra)
        pieces.append(
            Piece(
                "mouth",
                inverse.reshape(-1, 3).astype(np.int32),
                uv,
                extra,
                {},
                {"light_in": lit},
                rows,
                casts=False,
                soft=part == "socket",
                two_sided=part == "socket",
            )
        )
    return pieces


def _tooth_shades(head: Head, rows: np.ndarray, extra: np.ndarray) -> np.ndarray:
    """Colours of the teeth (n, 3), more yellow towards the gums."""
    y = head.neutral[rows, 1]
    upper = y > np.median(y)
    root = np.where(upper, (y - y.min()) / max(np.ptp(y), 1e-6) - 0.55, 0.4 - (y - y.min()) / max(np.ptp(y), 1e-6))
    amount = np.clip(root * 3, 0, 1)[:, None]
    return extra * (1 - amount * (0.04, 0.10, 0.24))


def lash_piece(head: Head, paint: np.ndarray) -> Piece:
    """Eyelashes; paint: RGBA uint8, as from ``paint_lashes``."""
    rows, uv, triangles = unwrapped(head.model, "lashes")
    return Piece(
        "plain",
        triangles,
        uv,
        np.zeros((len(rows), 3)),
        {"paint": np.ascontiguousarray(paint[::-1])},
        {"gloss": 0.0, "sharp": 10.0, "alpha": 1.0, "screened": 1.0},
        rows,
        casts=False,
        soft=False,
        two_sided=True,
        blend="cover",
    )
