"""Pretraining of the audio encoder, ``diffused-heads pretrain-audio``: it learns the mouth shapes of a corpus from its
sound alone.

This is cheap, and the network is then trained with embeddings that already follow speech.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ...diffused_heads_core.audio_encoder import COLUMNS_PER_FRAME, AudioEncoder
from ...diffused_heads_core.checkpoints import Checkpoint, save
from ...diffused_heads_core.config import AudioConfig
from ...diffused_heads_core.data.shards import Dataset
from ...diffused_heads_core.errors import DiffusedHeadsError
from ..cache import FrameStore, open_store
from ..presets import PRESETS, preset
from ..provenance import code, data
from ..synthesis.expression import MOUTH

CROP = 40  # frames of a training sample


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``pretrain-audio``."""
    add = parser.add_argument
    add("data", type=Path, help="dataset folder with mouth shapes, as `diffused-heads synthesize` writes it")
    add("output", type=Path, help="checkpoint to write (audio encoder only)")
    add("--validation", type=Path, help="dataset of held-out voices for the evaluation")
    add(
        "--preset", choices=sorted(PRESETS), default="avatar", help="for its audio configuration (default: %(default)s)"
    )
    add("--steps", type=int, default=2500, help="optimiser steps (default: %(default)s)")
    add("--workers", type=int, default=2, help="processes that decode the dataset (default: %(default)s)")


def run(options: argparse.Namespace) -> None:
    """Pretrain an audio encoder and write it as a checkpoint without a network."""
    config = preset(options.preset).model
    folders = [folder for folder in (options.data, options.validation) if folder]
    check_mouths([Dataset(folder) for folder in folders])
    store, *held_out = [open_store(folder, config.audio, options.workers) for folder in folders]
    encoder, head = pretrain(store, config.audio, options.steps)
    figures = correlations(held_out[0], encoder, head) if held_out else {}
    tensors = {f"audio_encoder.{name}": value for name, value in encoder.state_dict().items()}
    origin = {"kind": "audio encoder", **data(Dataset(options.data)), **code()}
    summary = {**origin, "steps": options.steps, "correlation": figures}
    save(options.output, Checkpoint(config, tensors, "Apache-2.0", summary))
    print(f"held-out voices, Pearson r: {figures}" if figures else f"written: {options.output}")


def check_mouths(datasets: Iterable[Dataset]) -> None:
    """Raise DiffusedHeadsError if a dataset lacks mouth channels, as one of prepared videos does."""
    for dataset in datasets:
        present = MOUTH if "expression" in dataset.header["annotations"] else ()
        missing = [name for name in MOUTH if name not in dataset.header["info"].get("measured", present)]
        if missing:
            raise DiffusedHeadsError(
                f"{dataset.path}: expected the mouth shapes {', '.join(MOUTH)} of every frame, as "
                f"`diffused-heads synthesize` writes them, found none of {', '.join(missing)}; "
                "pretrain on drawn avatars, then train on this"
            )


def pairs(store: FrameStore, rows: np.ndarray, variants: np.ndarray, frames: int) -> tuple[Tensor, Tensor]:
    """Log-mel columns (B, mels, 4 frames) and mouth channels (B, frames, 5) of the stretches that begin at the store's
    ``rows`` (B,), with the ``variants`` (B,) of their sound.
    """
    columns = [
        store.mels[v, :, r * COLUMNS_PER_FRAME : (r + frames) * COLUMNS_PER_FRAME] for r, v in zip(rows, variants)
    ]
    mouths = [store.annotations["expression"][r : r + frames, : len(MOUTH)] for r in rows]
    return torch.from_numpy(np.stack(columns).astype(np.float32)), torch.from_numpy(np.stack(mouths))


def pretrain(
    store: FrameStore, config: AudioConfig, steps: int = 2500, batch: int = 32, seed: int = 0
) -> tuple[AudioEncoder, nn.Linear]:
    """Train an encoder and a linear layer that gives the mouth channels from its embeddings; returns both."""
    torch.manual_seed(seed)
    encoder, head = AudioEncoder(config), nn.Linear(config.embedding, len(MOUTH))
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], 2e-3, weight_decay=1e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    random = np.random.default_rng(seed)
    inner = slice(AudioEncoder.reach, -AudioEncoder.reach)
    for _ in tqdm(range(steps), desc="pretraining", unit="step"):
        clips = random.integers(len(store.lengths), size=batch)
        rows = store.starts[clips] + random.integers(np.maximum(store.lengths[clips] - CROP, 0) + 1)
        columns, mouths = pairs(store, rows, random.integers(len(store.mels), size=batch), CROP)
        with torch.autocast("cpu", torch.bfloat16):
            embedding = encoder(masked(columns, random)).float()
        embedding = embedding + 0.05 * torch.randn(embedding.shape)
        loss = (head(embedding) - mouths)[:, inner].square().mean() + 1e-3 * embedding.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plan.step()
    return encoder.eval(), head


def masked(columns: Tensor, random: np.random.Generator) -> Tensor:
    """Columns (B, mels, T) with a small random gain, and in half of the rows a band of up to 12 mel channels replaced
    by the row's mean (Park et al. 2019).
    """
    out = columns + 0.15 * torch.from_numpy(random.normal(size=(len(columns), 1, 1)).astype(np.float32))
    for row in range(0, len(columns), 2):
        low, width = int(random.integers(columns.shape[1] - 12)), int(random.integers(1, 13))
        out[row, low : low + width] = out[row].mean()
    return out


@torch.no_grad()
def correlations(store: FrameStore, encoder: AudioEncoder, head: nn.Linear) -> dict[str, float]:
    """Pearson r of each mouth channel over a dataset, for clean and for augmented sound."""
    result = {}
    for variant, kind in ((0, "clean"), (1, "augmented")):
        found, truth = [], []
        for start, length in zip(store.starts, store.lengths):
            columns, mouth = pairs(store, np.array([start]), np.array([variant]), int(length))
            found.append(head(encoder(columns))[0])
            truth.append(mouth[0])
        for name, a, b in zip(MOUTH, torch.cat(found).T, torch.cat(truth).T):
            result[f"{name}_{kind}"] = round(float(torch.corrcoef(torch.stack([a, b]))[0, 1]), 3)
    return result
