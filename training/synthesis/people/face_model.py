"""The ICT Face Model Light as one array file: reading it, and packing it from a download of ICT-FaceKit.

The model is (c) USC Institute for Creative Technologies, MIT licence. The user downloads it; it is not a part of this
project. ``python -m diffused_heads.training.synthesis.people.face_model FACEXMODEL face.npz`` packs the folder of its
OBJ files.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from ....diffused_heads_core.errors import DiffusedHeadsError
from ....diffused_heads_core.files import atomic_path

PARTS = ("face", "head", "socket", "gums", "teeth", "eyes", "lacrimal", "occlusion", "lashes")
# Of the full mesh: range of the polygons of each part; vertices of the 68 landmarks; ranges of the vertices of both
# eyeballs' outer layers, image left first.
_POLYGONS = np.array([
    (0, 9230), (9230, 11144), (11144, 13226), (14034, 17006), (17006, 21496), (21496, 24692), (24692, 25018),
    (25048, 25304), (25304, 26384),
])  # fmt: skip
_LANDMARKS = np.array([
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443, 268, 493,
    1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360, 1507, 1542,
    1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461,
    5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
])  # fmt: skip
_EYEBALLS = np.array([(23021, 23791), (21451, 22221)])
_ARRAYS = ("neutral", "tri", "tri_uv", "uv", "poly", "identity", "expression", "expression_names")
_DEFAULTS = {"parts": _POLYGONS, "landmarks": _LANDMARKS, "eyeballs": _EYEBALLS}  # a file may contain others


@dataclass(frozen=True, eq=False)
class FaceModel:
    """neutral: (V, 3) vertices in cm, x to image right, y up, z towards the viewer; triangles: (F, 3) vertices;
    triangle_uv: (F, 3) rows of uv; uv: (U, 2) texture coordinates, one unit per tile; polygon: (F,) number of the
    polygon; identity (100, V, 3), expression (57, V, 3): offsets, float16; names: of the expressions; digest: of the
    file; parts: (9, 2) polygon ranges in the order of PARTS; landmarks: (68,) vertices in iBUG order; eyeballs: (2, 2)
    vertex ranges.
    """

    neutral: np.ndarray
    triangles: np.ndarray
    triangle_uv: np.ndarray
    uv: np.ndarray
    polygon: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    names: tuple[str, ...]
    digest: str
    parts: np.ndarray
    landmarks: np.ndarray
    eyeballs: np.ndarray

    def part(self, name: str) -> np.ndarray:
        """Rows of ``triangles`` that belong to a part of PARTS."""
        low, high = self.parts[PARTS.index(name)]
        return np.flatnonzero((self.polygon >= low) & (self.polygon < high))

    def shape(self, name: str) -> int:
        """Index of a blend shape; raises DiffusedHeadsError if the model has no such shape."""
        if name not in self.names:
            raise DiffusedHeadsError(f"face model: expected the blend shape {name!r}, found {', '.join(self.names)}")
        return self.names.index(name)


@lru_cache(maxsize=2)
def load_face_model(path: Path) -> FaceModel:
    """The face model in an array file that ``pack`` wrote.

    Raises DiffusedHeadsError if the file is missing, damaged or of another kind.
    """
    path = Path(path)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in _ARRAYS if name not in file.files]
            arrays = {} if missing else {name: file[name] for name in _ARRAYS}
            layout = {name: file[name] if name in file.files else default for name, default in _DEFAULTS.items()}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise DiffusedHeadsError(
            f"{path}: expected the packed face model (an npz file), reading failed: {error}"
        ) from None
    if missing:
        raise DiffusedHeadsError(f"{path}: expected the packed face model, missing {', '.join(missing)}")
    return checked(
        FaceModel(
            arrays["neutral"],
            arrays["tri"],
            arrays["tri_uv"],
            arrays["uv"],
            arrays["poly"],
            arrays["identity"],
            arrays["expression"],
            tuple(str(name) for name in arrays["expression_names"]),
            digest,
            **layout,
        ),
        str(path),
    )


def checked(model: FaceModel, name: str) -> FaceModel:
    """The same model; raises DiffusedHeadsError that lists all arrays that do not fit the others."""
    vertices = len(model.neutral)
    wrong = [
        f"{what} has shape {array.shape}"
        for what, array in (("identity", model.identity), ("expression", model.expression))
        if array.shape[1:] != (vertices, 3)
    ]
    if len(model.names) != len(model.expression):
        wrong.append(f"{len(model.names)} names for {len(model.expression)} blend shapes")
    if vertices <= max(model.landmarks.max(), model.eyeballs.max() - 1) or model.triangles.max(initial=0) >= vertices:
        wrong.append(f"{vertices} vertices do not cover triangles and landmarks")
    wrong += [f"no triangles of the {part}" for part in PARTS if len(model.part(part)) == 0]
    if wrong:
        raise DiffusedHeadsError(f"{name}: expected the ICT Face Model Light, found: {'; '.join(wrong)}")
    return model


def _read_obj(path: Path, faces: bool) -> tuple[np.ndarray, np.ndarray, list[list[tuple[int, int]]]]:
    """Vertices (V, 3) of an OBJ file and, with ``faces``, texture coordinates (U, 2) and polygons of (vertex, uv)."""
    vertices, textures, polygons = [], [], []
    with open(path, encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("v "):
                vertices.append(line.split()[1:4])
            elif faces and line.startswith("vt "):
                textures.append(line.split()[1:3])
            elif faces and line.startswith("f "):
                polygons.append([tuple(int(i) - 1 for i in corner.split("/")[:2]) for corner in line.split()[1:]])
    return np.array(vertices, np.float64).reshape(-1, 3), np.array(textures, np.float32).reshape(-1, 2), polygons


def _fans(polygons: list[list[tuple[int, int]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    corners = [(p, (poly[0], poly[i], poly[i + 1])) for p, poly in enumerate(polygons) for i in range(1, len(poly) - 1)]
    pairs = np.array([triple for _, triple in corners], np.int32)
    return pairs[..., 0], pairs[..., 1], np.array([p for p, _ in corners], np.int32)


def pack(folder: Path, out: Path) -> FaceModel:
    """Pack ICT-FaceKit's folder of OBJ files (``FaceXModel``) into the array file ``out`` and load it.

    Raises DiffusedHeadsError if files are missing or do not fit each other.
    """
    folder, out = Path(folder), Path(out)
    base = folder / "generic_neutral_mesh.obj"
    shapes = sorted(p for p in folder.glob("*.obj") if p != base)
    identities = [p for p in shapes if p.stem.startswith("identity")]
    expressions = [p for p in shapes if p not in identities]
    if not base.is_file() or not identities or not expressions:
        raise DiffusedHeadsError(
            f"{folder}: expected ICT-FaceKit's FaceXModel with {base.name}, identity*.obj and expressions, "
            f"found {len(shapes)} other OBJ files"
        )
    neutral, uv, polygons = _read_obj(base, True)

    def offsets(paths: list[Path]) -> np.ndarray:
        found = [(_read_obj(path, False)[0], path) for path in paths]
        wrong = [path.name for vertices, path in found if vertices.shape != neutral.shape]
        if wrong:
            raise DiffusedHeadsError(
                f"{folder}: expected {len(neutral)} vertices in every OBJ file, found others in {', '.join(wrong)}"
            )
        return np.stack([vertices - neutral for vertices, _ in found]).astype(np.float16)

    tri, tri_uv, poly = _fans(polygons)
    arrays = {
        "neutral": neutral.astype(np.float32),
        "tri": tri,
        "tri_uv": tri_uv,
        "uv": uv,
        "poly": poly,
        "identity": offsets(identities),
        "expression": offsets(expressions),
        "expression_names": np.array([p.stem for p in expressions]),
    }
    with atomic_path(out) as part, open(part, "wb") as file:
        np.savez_compressed(file, **arrays)
    return load_face_model(out)


if __name__ == "__main__":
    packed = pack(Path(sys.argv[1]), Path(sys.argv[2]))
    counts = f"{len(packed.identity)} identity components, {len(packed.names)} expressions"
    print(f"{sys.argv[2]}: {len(packed.neutral)} vertices, {counts}")
