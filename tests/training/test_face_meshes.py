"""Face meshes of rendered frames, with a finder that stands for the networks."""

from __future__ import annotations

import numpy as np
import pytest

from diffused_heads.diffused_heads_core.face.finder import Face
from diffused_heads.training.synthesis import corpus, face_meshes


class BrightnessFinder:
    """Sees a face in frames that are not black, at a place that the brightness tells."""

    def __init__(self) -> None:
        self.searched = 0

    def find(self, picture: np.ndarray) -> list[Face]:
        self.searched += 1
        face = self.track(picture, None)
        return [face] if face else []

    def track(self, picture: np.ndarray, previous: Face | None) -> Face | None:
        points = np.full((468, 3), float(picture.max()))
        return Face((0, 0, 1, 1), 1.0, points[:6, :2], points, 1.0) if picture.any() else None


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> BrightnessFinder:
    found = BrightnessFinder()
    monkeypatch.setattr(face_meshes, "_finder", lambda: found)
    return found


def test_faces_are_followed_and_frames_without_one_are_nan(finder: BrightnessFinder) -> None:
    levels = [5, 6, 0, 7, 8]
    frames = np.repeat(np.array(levels, np.uint8), 8 * 8 * 3).reshape(5, 8, 8, 3)
    meshes = face_meshes.face_meshes(frames)
    assert meshes.shape == (5, 468, 3) and meshes.dtype == np.float16
    np.testing.assert_array_equal(meshes[:, 0, 0], [5, 6, np.nan, 7, 8])
    assert finder.searched == 3  # at first, in the black frame, and after it


def test_a_corpus_has_meshes_on_request_alone(finder: BrightnessFinder, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, meshed = (corpus.Job(1, 32, 0.4, False, None, mesh) for mesh in (False, True))
    assert "mesh" not in plain.described() and meshed.described() == {**plain.described(), "mesh": True}
    speech = corpus.pause(0.4)
    monkeypatch.setattr(corpus, "utterance", lambda job, index: (speech, {}))
    clips = [corpus.make_clip(job, 0) for job in (plain, meshed)]
    assert clips[1].annotations.keys() - clips[0].annotations.keys() == {"mesh"}
    assert clips[1].annotations["mesh"].shape == (10, 468, 3)
    np.testing.assert_array_equal(clips[0].frames, clips[1].frames)
