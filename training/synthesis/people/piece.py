"""The meshes that a scene is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .head import Head, all_normals, follow

FLIP = np.array([1, -1, 1], np.float32)  # from the face model's axes (y up) to head coordinates (y down)
STRIP = 0.06  # height of the strips in which triangles are drawn, in head coordinates
CASTING = 0.022  # size of the cells in which vertices that cast shadows are merged, in head coordinates


@dataclass(eq=False)
class Piece:
    """A mesh to be drawn: rows (n,) of the head's vertices if it moves with the face, else points in head coordinates.

    material: one of ``shaders.MATERIALS``; anchor: vertices (n,) of the head with which the points move, for hair that
    grows from the face; normals: of the rest position; follow: (n,) how far it follows the head, 0..1; soft: whether
    the normals follow the face; eye: number of the eyeball with which it turns, or -1; blend: "solid", "cover" (present
    where the paint's alpha is high) or "mix" (transparent); group: number of triangles per strand of hair; strand:
    (f,) number of each triangle's strand; transfer: of ``light.bake``.
    """

    material: str
    triangles: np.ndarray
    uv: np.ndarray
    extra: np.ndarray
    textures: dict[str, np.ndarray] = field(default_factory=dict)
    uniforms: dict[str, Any] = field(default_factory=dict)
    rows: np.ndarray | None = None
    anchor: np.ndarray | None = None
    points: np.ndarray | None = None
    normals: np.ndarray | None = None
    follow: np.ndarray | None = None
    casts: bool = True
    soft: bool = True
    eye: int = -1
    two_sided: bool = False
    blend: str = "solid"
    group: int = 1
    strand: np.ndarray | None = None
    transfer: np.ndarray | None = None

    def reduced(self, seen: np.ndarray, ahead: np.ndarray) -> Piece:
        """The piece with only the triangles ``seen`` (f,) and their vertices, in an order that is fast to draw: strands
        of hair from front to back along the direction ``ahead`` (3,), other meshes in strips of neighbours.
        """
        triangles = self.triangles[seen]
        middle = self.points[triangles].mean(1)
        if self.group > 1:
            self.strand = np.flatnonzero(seen) // self.group
            depth = np.bincount(self.strand, middle @ ahead) / np.maximum(np.bincount(self.strand), 1)
            order = np.argsort(-depth[self.strand], kind="stable")
            self.strand = self.strand[order]
        else:
            order = np.lexsort((middle[:, 0], np.floor(middle[:, 1] / STRIP)))
        used, first, inverse = np.unique(triangles[order], return_index=True, return_inverse=True)
        place = np.argsort(first)
        used, number = used[place], np.empty_like(place)
        number[place] = np.arange(len(place))
        self.triangles = number[inverse.ravel()].reshape(-1, 3).astype(np.int32)
        for name in ("uv", "extra", "rows", "anchor", "points", "normals", "follow", "transfer"):
            if getattr(self, name) is not None:
                setattr(self, name, getattr(self, name)[used])
        return self

    def casting(self, places: list[np.ndarray]) -> np.ndarray:
        """Fewer triangles (k, 3) that cast about the same shadow: every other strand of hair, or the mesh with vertices
        merged that are close to each other in all of the places (n, 3).
        """
        if not self.casts:
            return np.empty((0, 3), np.int32)
        if self.strand is not None:
            return self.triangles[self.strand % 2 == 0]
        return merged(np.concatenate(places, 1), self.triangles, CASTING) if self.rows is not None else self.triangles


def merged(points: np.ndarray, triangles: np.ndarray, cell: float) -> np.ndarray:
    """Triangles (k, 3) of a mesh in which one vertex of each cell stands for all of them, without degenerate ones.

    points: (n, d), of any dimension; cell: size of the cubic cells.
    """
    cells = np.ascontiguousarray(np.floor(points / cell).astype(np.int16))
    _, first, inverse = np.unique(cells.view(f"V{2 * cells.shape[1]}").ravel(), return_index=True, return_inverse=True)
    out = first[inverse.ravel()][triangles]
    return out[(out[:, 0] != out[:, 1]) & (out[:, 1] != out[:, 2]) & (out[:, 2] != out[:, 0])]


def plain_piece(
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
    """A piece of the material "plain" from points (n, 3) in cm of the face model, whose triangles face outwards there.

    image: RGB or RGBA uint8; gloss, sharp: strength and sharpness of highlights; ease: how far it follows the head,
    by default as the skin does at the same height.
    """
    if image.shape[2] == 3:
        image = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    ease = follow(points) if ease is None else np.broadcast_to(np.float32(ease), len(points))
    return Piece(
        "plain",
        triangles.astype(np.int32),
        uv.astype(np.float32),
        np.zeros((len(points), 3), np.float32),
        {"paint": image},
        {"gloss": gloss, "sharp": sharp, "alpha": alpha, "screened": float(blend == "cover")},
        points=head.placed(points).astype(np.float32),
        normals=(all_normals(points, triangles) * FLIP).astype(np.float32),
        follow=np.asarray(ease, np.float32),
        casts=casts,
        two_sided=True,
        blend=blend,
    )


def superellipse(angles: np.ndarray, rx: float, rz: float, power: float = 2.0) -> np.ndarray:
    """Points (n, 2), x and z, of a superellipse at angles (n,) from the front."""
    s, c = np.sin(angles), np.cos(angles)
    scale = (np.abs(s / rx) ** power + np.abs(c / rz) ** power) ** (-1 / power)
    return np.stack([s * scale, c * scale], 1)
