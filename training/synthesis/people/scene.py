"""The scene of one person on the GPU: its meshes are made once per clip, and moved and drawn for every frame."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....diffused_heads_core.pose import rotation_matrix
from . import gl, light
from .head import GEOMETRY, SURFACE, Face, Head, all_normals, follow
from .piece import FLIP, Piece

SHADOW = 256  # pixels per side of the lamp's shadow map
SURVEY = 192  # pixels per side of the pictures that show which triangles are ever visible
WIDER = 1.15  # by which those pictures show more than the frame
CHANNEL = {"hair": 1, "plain": 3}  # of the paint: says where a material is opaque
RINGS = 2  # rings of triangles that are kept around visible ones
ORDER = ("hair", "plain", "skin", "eye", "mouth")


class Scene:
    """Draws a head with faces and head poses.

    frame: similarity (2, 3) from frame fractions of the camera's picture to those of the finished one; distance: of the
    camera, in frames; extremes: poses (5,) and faces; triangles that none of them shows are left out.
    """

    def __init__(
        self,
        head: Head,
        pieces: list[Piece],
        lighting: light.Lighting,
        backdrop: np.ndarray,
        distance: float,
        frame: np.ndarray,
        extremes: list[tuple[np.ndarray, Face]],
    ) -> None:
        self.frame = np.asarray(frame, float)
        self.head, self.pieces, self.lighting, self.distance = head, pieces, lighting, distance
        self._shadow = gl.DepthMap(SHADOW)
        self._backdrop = gl.texture(np.ascontiguousarray(backdrop))
        quad = gl.context().buffer(np.array([0, 0, 1, 0, 0, 1, 1, 1], np.float32).tobytes())
        self._quad = gl.context().vertex_array(gl.program("back"), [(quad, "2f", "in_place")])
        self._quad_buffer = quad
        rest = head.rest()
        self._rest = head.placed(rest.points)
        for piece in pieces:
            self._settle(piece, rest)
        self._meshes = [self._upload(piece, np.empty((0, 3))) for piece in pieces]
        self._prune(extremes)
        self._bake()

    def _settle(self, piece: Piece, rest: Face) -> None:
        """Set a piece's points, normals and follow at rest."""
        if piece.rows is not None:
            piece.points = self.head.placed(rest.points[piece.rows])
            soft = rest.normals[piece.rows] * FLIP
            piece.normals = soft if piece.soft else -all_normals(piece.points, piece.triangles)
        if piece.follow is None:
            fixed = piece.rows is None
            piece.follow = follow(self.head.unplaced(piece.points)) if fixed else self.head.follow[piece.rows]

    def _upload(self, piece: Piece, casting: np.ndarray) -> gl.Mesh:
        mesh = gl.Mesh(piece.material, piece.triangles, casting, piece.uv, piece.follow, piece.extra)
        for name, image in piece.textures.items():
            mesh.textures[name] = gl.texture(image, repeat=piece.material == "hair")
        mesh.uniforms = dict(piece.uniforms)
        mesh.move(piece.points, piece.normals)
        if piece.transfer is not None:
            mesh.light(piece.transfer)
        return mesh

    def _move(self, face: Face) -> None:
        points, normals = self.head.placed(face.points), face.normals * FLIP
        for piece, mesh in zip(self.pieces, self._meshes):
            if piece.anchor is not None:
                mesh.move(piece.points + points[piece.anchor] - self._rest[piece.anchor], piece.normals)
            if piece.rows is None:
                continue
            around = piece.normals
            if piece.soft:
                around = normals[piece.rows]
            elif piece.eye >= 0:
                around = piece.normals @ (face.turn * FLIP * FLIP[:, None]).T
            mesh.move(points[piece.rows], around)

    def _bake(self) -> None:
        where = np.concatenate([piece.points for piece in self.pieces])
        facing = np.concatenate([piece.normals for piece in self.pieces])
        total = light.bake(lambda matrix: self._cast(matrix, np.eye(3), np.zeros(2)), where, facing)
        start = 0
        for piece, mesh in zip(self.pieces, self._meshes):
            piece.transfer = total[start : start + len(piece.points)]
            start += len(piece.points)
            if piece.rows is not None:
                piece.transfer = light.smoothed(piece.transfer, piece.triangles, 3)
            if piece.material == "hair":
                piece.transfer = 0.5 * piece.transfer + 0.5 * np.array([0.19] + 8 * [0.0], np.float32)
            mesh.light(piece.transfer)

    def _prune(self, extremes: list[tuple[np.ndarray, Face]]) -> None:
        """Leave out the triangles that are not visible in any extreme, nor next to visible ones."""
        counts = np.cumsum([0] + [len(piece.triangles) for piece in self.pieces])
        seen, canvas = np.zeros(counts[-1] + 1, bool), gl.Canvas(SURVEY)
        for pose, face in extremes:
            self._identify(canvas, face, pose, counts)
            ids = canvas.picture().reshape(-1, 3).astype(np.int64) @ (1, 256, 65536)
            seen[ids] = True
        canvas.release()
        pieces, meshes = [], []
        for piece, mesh, first, stop in zip(self.pieces, self._meshes, counts, counts[1:]):
            visible = _with_rings(piece, seen[first + 1 : stop + 1])
            if visible.any():
                textures, mesh.textures = mesh.textures, {}
                piece.textures = {}
                pieces.append(piece.reduced(visible, rotation_matrix(*extremes[0][0][:3])[2]))
                # The mouth is open in the first extreme: lips that touch at rest must not be merged.
                opened = self.head.placed(extremes[0][1].points)
                places = [] if piece.rows is None else [piece.points, opened[piece.rows]]
                meshes.append(self._upload(piece, piece.casting(places)))
                meshes[-1].textures = textures
            mesh.release()
        self.pieces, self._meshes = pieces, meshes

    def _identify(self, canvas: gl.Canvas, face: Face, pose: np.ndarray, counts: np.ndarray) -> None:
        context = gl.context()
        self._move(face)
        canvas.buffer.use()
        context.clear(0, 0, 0, 0, depth=1.0)
        turn, shift = rotation_matrix(*np.asarray(pose[:3], float)), np.asarray(pose[3:], float)
        gl.put(gl.program("identify"), **self._view(turn, shift, WIDER))
        for piece, mesh, first in zip(self.pieces, self._meshes, counts):
            if piece.blend != "mix":
                self._state(piece)
                mesh.identify(int(first), CHANNEL.get(piece.material, -1))

    def _cast(self, matrix: np.ndarray, turn: np.ndarray, shift: np.ndarray) -> None:
        context = gl.context()
        context.enable_only(context.DEPTH_TEST)
        gl.put(gl.program("shadow"), turn=turn.T, pivot=tuple(GEOMETRY.pivot), shift=tuple(shift), to_light=matrix.T)
        for piece, mesh in zip(self.pieces, self._meshes):
            if piece.casts:
                mesh.cast()

    def _view(self, turn: np.ndarray, shift: np.ndarray, wider: float = 1.0) -> dict[str, Any]:
        frame = self.frame[:, :2] / wider
        middle = (2 * self.frame.sum(1) - self.frame[:, :2].sum(1) - 1) / wider
        return {
            "frame": frame.T,
            "middle": tuple(middle),
            "turn": turn.T,
            "pivot": tuple(GEOMETRY.pivot),
            "shift": tuple(shift),
            "lens": (self.distance, SURFACE),
            "origin": (GEOMETRY.centre[0] - 0.5, GEOMETRY.centre[1] - 0.5),
            "range": self._range(),
        }

    def _shared(self, turn: np.ndarray, shift: np.ndarray, matrix: np.ndarray) -> dict[str, Any]:
        lamp, rim = (np.asarray(d) / np.linalg.norm(d) for d in (self.lighting.lamp, self.lighting.rim))
        window, _, glow = max(self.lighting.lobes, key=lambda lobe: lobe[0][2] * sum(lobe[2]))
        return self._view(turn, shift) | {
            "window": tuple(window),
            "window_colour": tuple(0.45 * np.asarray(glow)),
            "to_light": matrix.T,
            "sky": light.sky_coefficients(self.lighting),
            "sky_head": light.sky_coefficients(self.lighting, turn),
            "lamp": tuple(lamp),
            "lamp_colour": tuple(self.lighting.lamp_colour),
            "rim": tuple(rim),
            "rim_colour": tuple(self.lighting.rim_colour),
            "exposure": self.lighting.exposure,
            "softness": self.lighting.softness,
            "shadow": 0,
        }

    def _range(self) -> tuple[float, float]:
        """Factors of the affine function of w that gives the depth in the clip volume."""
        near, far = ((self.distance - z) / (self.distance - SURFACE) for z in (min(0.9, self.distance - 0.3), -1.6))
        return (far + near) / (far - near), -2 * far * near / (far - near)

    def draw(self, canvas: gl.Canvas, face: Face, pose: np.ndarray) -> np.ndarray:
        """The picture (size, size, 3) uint8 of a face with a pose (5,)."""
        context = gl.context()
        turn, shift = rotation_matrix(*np.asarray(pose[:3], float)), np.asarray(pose[3:], float)
        self._move(face)
        matrix = light.towards_light(np.asarray(self.lighting.lamp))
        self._shadow.buffer.use()
        context.clear(depth=1.0)
        self._cast(matrix, turn, shift)
        canvas.buffer.use()
        context.clear(0.5, 0.5, 0.5, 1.0, depth=1.0)
        shared = self._shared(turn, shift, matrix) | {"pixels": canvas.size * float(np.linalg.norm(self.frame[:, 0]))}
        for name in {piece.material for piece in self.pieces}:
            gl.put(gl.program(name), **shared)
        self._shadow.texture.use(0)
        # From front to back, since hidden fragments cost little: hair, skin, backdrop; transparent pieces last.
        order = sorted(
            range(len(self.pieces)),
            key=lambda n: (
                self.pieces[n].blend == "mix",
                ORDER.index(self.pieces[n].material),
                self.pieces[n].strand is None,
            ),
        )
        solid = sum(piece.blend != "mix" for piece in self.pieces)
        for n in order[:solid]:
            self._paint(n)
        self._behind()
        for n in order[solid:]:
            self._paint(n)
        context.enable_only(context.NOTHING)
        return canvas.picture()

    def _paint(self, number: int) -> None:
        self._state(self.pieces[number])
        self._meshes[number].draw()

    def _behind(self) -> None:
        context = gl.context()
        context.enable_only(context.DEPTH_TEST)
        self._backdrop.use(1)
        gl.put(gl.program("back"), paint=1)
        self._quad.render(0x0005)

    @staticmethod
    def _state(piece: Piece) -> None:
        context = gl.context()
        culling, blending = 0 if piece.two_sided else context.CULL_FACE, context.BLEND if piece.blend == "mix" else 0
        context.enable_only(context.DEPTH_TEST | culling | blending)
        context.front_face, context.cull_face = "cw", "back"

    def release(self) -> None:
        """Free the memory of the GPU."""
        for part in (*self._meshes, self._shadow, self._backdrop, self._quad, self._quad_buffer):
            part.release()


def _with_rings(piece: Piece, seen: np.ndarray) -> np.ndarray:
    """Which triangles (f,) to keep: the visible ones and RINGS around them; all of a transparent piece."""
    if not seen.any() and piece.blend != "mix":
        return seen
    if piece.blend == "mix":
        return np.ones_like(seen)
    for _ in range(RINGS if piece.material != "mouth" else 2 * RINGS):
        touched = np.zeros(len(piece.uv), bool)
        touched[piece.triangles[seen].ravel()] = True
        seen = touched[piece.triangles].any(1)
    return seen


def on_screen(points: np.ndarray, pose: np.ndarray, distance: float, ease: np.ndarray | float = 1.0) -> np.ndarray:
    """Frame fractions (n, 2) of head coordinates (n, 3) with a pose, as the vertex shader computes them.

    ease: how far each point follows the head, 0..1.
    """
    points, pose = np.asarray(points, float), np.asarray(pose, float)
    pivot = np.asarray(GEOMETRY.pivot)
    moved = (points - pivot) @ rotation_matrix(*pose[:3]).T + pivot
    moved[:, :2] += pose[3:]
    moved = points + (moved - points) * np.reshape(ease, (-1, 1))
    w = (distance - moved[:, 2]) / (distance - SURFACE)
    return 0.5 + (moved[:, :2] + np.asarray(GEOMETRY.centre) - 0.5) / w[:, None]
