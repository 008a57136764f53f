"""The joined networks give what the published files give, output by output."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from diffused_heads.diffused_heads_core.face import networks as face_models
from diffused_heads.diffused_heads_core.face.outputs import OUTPUT, join_outputs

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "face_models"
pytestmark = pytest.mark.skipif(
    not (FOLDER / face_models.DETECTOR.name).is_file(), reason=f"the face networks are not in {FOLDER}"
)


@pytest.mark.parametrize(
    ("name", "size", "outputs"),
    [
        (face_models.DETECTOR.name, 256, ("regressors", "classificators")),
        (face_models.LANDMARKS.name, 192, ("conv2d_20", "conv2d_30")),
    ],
)
def test_one_pass_gives_both_outputs(name: str, size: int, outputs: tuple[str, str]) -> None:
    model = (FOLDER / name).read_bytes()
    blob = np.random.default_rng(0).random((1, 3, size, size), np.float32)
    separate = cv2.dnn.readNetFromTFLite(np.frombuffer(model, np.uint8))
    expected = []
    for output in outputs:
        separate.setInput(blob)
        expected.append(separate.forward(output).copy())
    joined = cv2.dnn.readNetFromTFLite(np.frombuffer(join_outputs(model), np.uint8))
    assert list(joined.getUnconnectedOutLayersNames()) == [OUTPUT]
    joined.setInput(blob)
    channels = [each.shape[-1] if each.ndim == 3 else each.shape[1] for each in expected]
    rows = joined.forward().reshape(-1, sum(channels))
    for each, part in zip(expected, np.split(rows, [channels[0]], axis=1), strict=True):
        assert part.ravel() == pytest.approx(each.ravel(), rel=1e-5, abs=1e-4)


def test_the_published_bytes_follow_unchanged() -> None:
    model = (FOLDER / face_models.DETECTOR.name).read_bytes()
    joined = join_outputs(model)
    assert joined.endswith(model) and joined[4:8] == b"TFL3" and (len(joined) - len(model)) % 16 == 0
