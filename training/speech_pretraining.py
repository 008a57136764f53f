"""Pretraining of the audio encoder: from synthetic speech alone to the mouth shapes that it should say.

Cheap (no pictures are drawn) and worth it: the network then learns from embeddings that already follow speech.
"""
from __future__ import annotations

import logging
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..diffused_heads_core.audio_encoder import AudioEncoder, log_mel
from ..diffused_heads_core.config import AudioConfig
from ..diffused_heads_core.loudness import normalise_level
from .augment import augment_speech
from .media import resample
from .synthesis.corpus import FPS, SAMPLE_RATE, Job, performance, utterance
from .synthesis.expression import MOUTH

log = logging.getLogger(__name__)
SEED_OFFSET = 1_000_003


def utterance_pair(job: Job, mels: int, variants: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-mel columns (variants, mels, 4 T) float16, the first clean, and mouth channels (T, 5) of one utterance."""
    speech, _ = utterance(job, index)
    mouth = performance(job, index, speech)[0][:, : len(MOUTH)]
    mono = resample(speech.samples, speech.sample_rate, SAMPLE_RATE).astype(np.float32)
    sounds = [mono] + [augment_speech(mono, np.random.default_rng([job.seed, index, v])) for v in range(1, variants)]
    columns = [log_mel(normalise_level(s), job.frames, round(FPS), mels).numpy() for s in sounds]
    return np.stack(columns).astype(np.float16), mouth.astype(np.float32)


def make_pairs(count: int, config: AudioConfig, seed: int, held_out: bool, workers: int, variants: int = 3) -> tuple[Tensor, Tensor]:
    """Many utterances of 3 s: (count * variants, mels, columns), (count * variants, T, 5)."""
    job = Job(seed + SEED_OFFSET, 128, 3.0, held_out)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        made = pool.map(partial(utterance_pair, job, config.mels, variants), range(count), chunksize=16)
        pairs = list(tqdm(made, total=count, desc="speaking", unit="clip"))
    mels = torch.from_numpy(np.concatenate([m for m, _ in pairs]))
    return mels, torch.from_numpy(np.repeat(np.stack([y for _, y in pairs]), variants, 0))


def pretrain(config: AudioConfig, utterances: int = 2500, steps: int = 2500, batch: int = 48, seed: int = 0, workers: int = 2) -> tuple[AudioEncoder, dict[str, float]]:
    """An encoder whose embeddings read off mouth shapes linearly, and its correlations on held-out voices."""
    mels, targets = make_pairs(utterances, config, seed, False, workers)
    torch.manual_seed(seed)
    encoder, head = AudioEncoder(config), nn.Linear(config.embedding, len(MOUTH))
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, 2e-3, weight_decay=1e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    random = torch.Generator().manual_seed(seed)
    for step in tqdm(range(steps), desc="pretraining", unit="step"):
        rows = torch.randint(len(mels), (batch,), generator=random)
        columns = mask_columns(mels[rows].float(), random)
        embedding = encoder(columns)
        embedding = embedding + 0.05 * torch.randn(embedding.shape, generator=random)
        loss = (head(embedding) - targets[rows]).square().mean() + 1e-3 * embedding.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plan.step()
    return encoder.eval(), score(encoder, head, config, seed, workers)


def mask_columns(mels: Tensor, random: torch.Generator) -> Tensor:
    """A band of up to 12 mel channels set to the mean in half of the rows (Park et al. 2019), and a small gain."""
    out = mels + 0.15 * torch.randn(len(mels), 1, 1, generator=random)
    for row in range(0, len(mels), 2):
        low = int(torch.randint(mels.shape[1] - 12, (1,), generator=random))
        width = int(torch.randint(1, 13, (1,), generator=random))
        out[row, low : low + width] = out[row].mean()
    return out


@torch.no_grad()
def score(encoder: AudioEncoder, head: nn.Linear, config: AudioConfig, seed: int, workers: int) -> dict[str, float]:
    """Pearson r of each mouth channel on 60 utterances of held-out voices: clean, and as recorded (augmented)."""
    encoder.eval()
    mels, targets = make_pairs(60, config, seed, True, workers)
    found = head(encoder(mels.float()))
    result = {}
    for offset, kind in ((0, "clean"), (1, "augmented")):
        for channel, name in enumerate(MOUTH):
            a, b = found[offset::3, :, channel].flatten(), targets[offset::3, :, channel].flatten()
            result[f"{name}_{kind}"] = round(float(torch.corrcoef(torch.stack([a, b]))[0, 1]), 3)
    return result
