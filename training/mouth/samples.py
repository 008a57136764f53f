"""Samples of the mouth's training. A sample depends on (seed, position) alone, so a resumed run sees the same data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...diffused_heads_core.conditioning import window_frames
from ...diffused_heads_core.mouth.face_mesh import face_mesh
from ...diffused_heads_core.mouth.scene import border_fade
from ...diffused_heads_core.mouth.warp import lip_maps, mouth_mask
from ...diffused_heads_core.mouth.window import closed_mesh, teeth_maps, window_at
from .augmentation import drawn_framing, relit
from .clips import Corpus
from .movements import CLOSED_SHARE
from .presets import MouthTrainConfig
from .stabilising import placed_frames

STREAM = 5  # the random numbers of other trainings have streams of their own


def drawn_frame(openings: np.ndarray, ranks: tuple[float, float], share: float, rng: np.random.Generator) -> int:
    """A random frame of a clip (T,); in ``share`` of the cases its opening has a rank (0..1) between ``ranks``."""
    if rng.random() >= share:
        return int(rng.integers(len(openings)))
    low, high = (round(rank * len(openings)) for rank in ranks)
    return int(np.argsort(openings)[rng.integers(low, max(high, low + 1))])


class MouthSamples(Dataset[dict[str, Tensor]]):
    """One sample per position of the run; datasets in the ratio of ``weights``, in each all people equally often.

    position, index () int64; target, identity, still, noise (3, H, W), lips (2, H, W), teeth (7, H, W), around
    (1, H, W), float32: what the network sees in sampling, the identity frame warped to the target's mesh (identity)
    and as it is (still); the target is true around the lips (``around`` is 1), and elsewhere the warped identity frame.
    audio (2a + 1, C). noisy, keep_audio (): 1 or 0, whether the input is the noisy target at ``index``, and whether the
    audio is given.
    """

    def __init__(self, corpora: Sequence[Corpus], weights: Sequence[float], config: MouthTrainConfig):
        assert config.model.mouth is not None
        self.corpora, self.config, self.model = tuple(corpora), config, config.model
        self.shares = np.asarray(weights, float) / sum(weights)
        self.mouth = config.model.mouth
        self.shape = (3, *self.mouth.window[:1:-1])
        self.fade = border_fade(*self.shape[1:])

    def __len__(self) -> int:
        return sum(int(corpus.store.lengths[list(clips)].sum()) for corpus in self.corpora for clips in corpus.people)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self.config.seed, STREAM, position])
        corpus = self.corpora[int(rng.choice(len(self.corpora), p=self.shares))]
        clips = corpus.people[int(rng.integers(len(corpus.people)))]
        clip, other = (int(clips[rng.integers(len(clips))]) for _ in range(2))
        other = other if rng.random() < self.config.other_clip else clip
        sample = self.sample(corpus, clip, other, rng)
        return {"position": torch.tensor(position), **sample, **self._diffusion(rng)}

    def sample(self, corpus: Corpus, clip: int, other: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """A random frame of a clip and its inputs, the identity frame from the clip ``other`` of the same person."""
        store, model = corpus.store, self.model
        frame = drawn_frame(corpus.openings[clip], (0.5, 1), self.config.opened, rng)
        identity = drawn_frame(corpus.openings[other], (0, CLOSED_SHARE), self.config.closed, rng)
        centre = model.frame_size * np.asarray(model.geometry.mouth)
        framing = drawn_framing(rng, self.config.reframe, self.config.mirror, centre, model.frame_size)
        target, portrait = (
            placed_frames(store, number, [at], model)[0].then(framing)
            for number, at in ((clip, frame), (other, identity))
        )
        mesh, pose = target.placed_mesh, face_mesh().pose(portrait.placed_mesh)
        closed = closed_mesh(portrait.placed_mesh, pose, self.mouth.components)
        window = window_at(closed, self.mouth)
        windows = [target.window(window), portrait.window(window), portrait.warped_to(mesh, window)]
        pictures = relit(np.stack(windows) / np.float32(127.5) - 1, rng, self.config.colour)
        shown, still, warped = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))
        lips = lip_maps(mesh - (*window[:2], 0), *window[2:])
        around = self.fade * torch.from_numpy(mouth_mask(lips))
        embeddings = corpus.audio(clip)
        seen = window_frames(frame, model.unet.audio_neighbours, len(embeddings))
        return {
            "target": torch.lerp(warped, shown, around),
            "identity": warped,
            "still": still,
            "lips": torch.from_numpy(lips),
            "teeth": torch.from_numpy(teeth_maps(closed, mesh, pose, window)),
            "around": around[None],
            "audio": torch.from_numpy(embeddings[seen]),
        }

    def _diffusion(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Timestep, noise, and whether the audio is left out."""
        noisy, last = rng.random() < self.config.noised, self.model.timesteps - 1
        index = int(rng.integers(last + 1)) if noisy else last
        noise = rng.standard_normal(self.shape, np.float32) if noisy else np.zeros(self.shape, np.float32)
        return {
            "index": torch.tensor(index),
            "noisy": torch.tensor(float(noisy)),
            "noise": torch.from_numpy(noise),
            "keep_audio": torch.tensor(float(rng.random() >= self.config.audio_dropout)),
        }
