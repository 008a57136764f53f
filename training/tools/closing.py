"""Make ``assets/closing.npz`` of datasets with face meshes: how open a mouth is, told from one picture of it.

``python -m diffused_heads.training.tools.closing FILE DATA [DATA ...] [--weights W ...]``
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...diffused_heads_core.data.shards import Dataset
from ...diffused_heads_core.files import atomic_path
from ...diffused_heads_core.mouth.face_mesh import FaceMesh, face_mesh
from ..mouth.lip_shapes import person_coefficients, ridge
from .face_mesh import people_of

# Points of lips, nose and chin on the left side and in the middle; their mirror images count too.
LIPS = [0, 13, 14, 17, 61, 78, 152, 2, 164, 200, 18, 57, 80, 81, 82, 88, 178, 87, 191, 95, 37, 84, 40, 91, 97, 172, 136]
STRENGTH = 0.3  # of the ridge regression


def fit(
    datasets: Sequence[Sequence[Sequence[np.ndarray]]], shares: Sequence[float], fps: float, face: FaceMesh
) -> dict[str, np.ndarray]:
    """The arrays of ``closing.npz``, as ``FaceMesh`` describes them.

    datasets: of each, its people's clips (T, 468, 3). shares: the datasets' weights; in each, people count alike. The
    mean of a person's coefficients is taken to be that of all real people, those of the first dataset: how far somebody
    opens the mouth in speech can hardly be told from one picture.
    """
    components, lips = len(face.basis), np.unique(np.concatenate([LIPS, face.pairs[LIPS]]))
    inputs, targets, weights, means = [], [], [], []
    for people, share in zip(datasets, shares, strict=True):
        for clips in people:
            found = np.concatenate(person_coefficients(clips, face, components, fps))
            inputs.append(seen(np.concatenate(clips), face, lips))
            targets.append(found - found.mean(0))
            weights.append(share / (len(people) * len(found)))
            if people is datasets[0]:
                means.append(found.mean(0))
    weight, bias = ridge(inputs, targets, weights, STRENGTH)
    half = weight.reshape(components, len(lips), 3) / 2  # of a face and its mirror image the mean is seen
    place = {int(point): number for number, point in enumerate(lips)}
    mirrored = half[:, [place[int(face.pairs[point])] for point in lips]] * (-1, 1, 1)
    return {
        "lips": lips.astype(np.int16),
        "opens": (half + mirrored).astype(np.float32),
        "usual": (bias + np.mean(means, 0)).astype(np.float32),
    }


def seen(meshes: np.ndarray, face: FaceMesh, lips: np.ndarray) -> np.ndarray:
    """Where lips (L,) of meshes (T, 468, 3) are in the place of the mean face, relative to it: (T, 3 L), symmetric."""
    own = np.stack([face.pose(mesh).inverse(mesh) for mesh in meshes]) - face.mean
    own = (own + own[:, face.pairs] * (-1, 1, 1)) / 2
    return own[:, lips].reshape(len(own), -1)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="where closing.npz is written")
    parser.add_argument("data", type=Path, nargs="+", help="datasets with face meshes, real people first")
    parser.add_argument("--weights", type=float, nargs="+", help="of the datasets (default: equal)")
    options = parser.parse_args()
    datasets = [Dataset(path) for path in options.data]
    people = [people_of([dataset]) for dataset in datasets]
    buffer = io.BytesIO()
    arrays = fit(people, options.weights or [1.0] * len(people), datasets[0].fps, face_mesh())
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    with atomic_path(options.file) as part:
        part.write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main()
