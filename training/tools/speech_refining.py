"""Refining of an audio encoder for human voices: more voices, rooms and vocal tracts, with compatible embeddings.

    python -m diffused_heads.training.tools.speech_refining avatar runs/refined.safetensors

Utterances of espeak-ng, and of Flite if the system has it, are synthesised with the mouth shapes of people. The encoder
learns to give these shapes through the linear readout that fits its old embeddings best. On clean espeak-ng speech it
also learns to keep its old embeddings, changed no more than the shapes require, so that the network that uses them
still works and adapts in further training (``train --audio-encoder``). For a comparison on clips of real people see
docs/MODEL_CARD.md.
"""

from __future__ import annotations

import argparse
import copy
import logging
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ...diffused_heads_core import checkpoints
from ...diffused_heads_core.audio_encoder import COLUMNS_PER_FRAME, SAMPLE_RATE, AudioEncoder, log_mel
from ...diffused_heads_core.checkpoints import load_tensors
from ...diffused_heads_core.errors import DiffusedHeadsError
from ...diffused_heads_core.files import atomic_path
from ...diffused_heads_core.media.mixdown import normalise_level, resample
from ...diffused_heads_core.processes import WorkerPool
from ..speech_augmentation import augment_speech
from ..synthesis import flite
from ..synthesis.corpus import PEOPLE
from ..synthesis.speech import Speech, pause, recite, speak
from ..synthesis.text import script
from ..synthesis.visemes import MEASURED, mouth_track
from ..synthesis.voices import sample_voice
from .speech_pretraining import masked

SECONDS, FPS = 3.2, 25  # of an utterance
VARIANTS = 3  # of its sound, of which the first is clean
CROP = 44  # frames of a training sample
KEEP = 0.3  # weight of the loss that keeps the old embeddings
TRACT = 0.15  # share by which a vocal tract may be longer or shorter
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Utterances:
    """mels: (n, VARIANTS, mels, columns) float16; mouths: (n, frames, 5) mouth channels; espeak: (n,) whether espeak-ng
    spoke them.
    """

    mels: np.ndarray
    mouths: np.ndarray
    espeak: np.ndarray


def _paced(speech: Speech, speed: float) -> Speech:
    """The speech at 16 kHz, played ``speed`` times as fast: higher, shorter, and as from a shorter vocal tract."""
    samples = resample(speech.samples[None], round(speech.sample_rate * speed), SAMPLE_RATE)[0]
    return Speech(samples, SAMPLE_RATE, tuple((name, a / speed, b / speed) for name, a, b in speech.phonemes))


def utterance(seed: int, index: int, with_flite: bool) -> Speech:
    """Random sentences in a random voice at a random speed, SECONDS long, at 16 kHz."""
    rng = np.random.default_rng([seed, index])
    speed = float(rng.uniform(0.84, 1.24)) if rng.random() < 0.6 else 1.0
    if with_flite:
        voice = flite.VOICES[rng.integers(len(flite.VOICES))]
        engine = partial(flite.speak, voice=voice, stretch=float(rng.uniform(0.75, 1.25)))
    else:
        engine = partial(speak, voice=sample_voice(rng))
    return recite(script(rng), lambda text: _paced(engine(text), speed), lambda s: _paced(pause(s), 1.0), SECONDS)[0]


def _prepared(seed: int, mels: int, index: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """One utterance: columns, mouth channels, whether espeak-ng spoke it. Every other one is by Flite, if installed."""
    with_flite = index % 2 == 1 and flite.available()
    speech, frames = utterance(seed, index, with_flite), round(SECONDS * FPS)
    streams = [np.random.default_rng([seed, index, variant]) for variant in range(1, VARIANTS)]
    sounds = [speech.samples, *(augment_speech(speech.samples, rng) for rng in streams)]
    columns = np.stack([log_mel(normalise_level(sound), frames, FPS, mels).numpy() for sound in sounds])
    return columns.astype(np.float16), mouth_track(speech.phonemes, frames, FPS, MEASURED), not with_flite


def utterances(count: int, seed: int, mels: int, workers: int) -> Utterances:
    """``count`` utterances, each of which depends on (seed, index) only."""
    job = partial(_prepared, seed, mels)
    with WorkerPool(workers) as pool:
        made = list(tqdm(pool.map(job, range(count), chunksize=16), total=count, desc="speaking", unit="utterance"))
    return Utterances(*(np.stack(column) for column in zip(*made)))


def stored_utterances(folder: Path, count: int, seed: int, mels: int, workers: int) -> Utterances:
    """The same as ``utterances``, stored in a folder so that they are made only once."""
    engine = "both" if flite.available() else "espeak"
    path = folder / f"utterances-{seed}-{count}-{mels}-{engine}-{PEOPLE}.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        made = utterances(count, seed, mels, workers)
        with atomic_path(path) as part, part.open("wb") as stream:
            np.savez(stream, **vars(made))
    with np.load(path) as arrays:
        return Utterances(**arrays)


def varied(columns: Tensor, rng: np.random.Generator) -> Tensor:
    """Columns (B, mels, T) as from other vocal tracts (Jaitly & Hinton 2013), with another balance of treble and bass,
    and with other voices in the background.
    """
    out, rows = columns.clone(), torch.linspace(-1, 1, columns.shape[1])[:, None]
    axis = np.arange(columns.shape[1])
    for row in range(len(out)):
        if rng.random() < 0.6:
            place = np.clip(axis * rng.uniform(1 - TRACT, 1 + TRACT) + rng.uniform(-1, 1), 0, axis[-1])
            low = place.astype(int)
            share = torch.from_numpy((place - low).astype(np.float32))[:, None]
            out[row] = columns[row, low].lerp(columns[row, np.minimum(low + 1, axis[-1])], share)
        if rng.random() < 0.3:
            out[row] = torch.maximum(out[row], columns[int(rng.integers(len(out)))] - float(rng.uniform(0.35, 0.9)))
        if rng.random() < 0.5:
            out[row] += rows * float(rng.normal(0, 0.12))
    return masked(out, rng)


@torch.no_grad()
def fit_readout(encoder: AudioEncoder, data: Utterances) -> Tensor:
    """Linear readout (C + 1, 5) of mouth channels from embeddings of clean espeak-ng speech, by ridge regression."""
    rows = np.flatnonzero(data.espeak)[:600]
    embeddings = torch.cat([encoder(torch.from_numpy(data.mels[r, :1].astype(np.float32)))[0] for r in rows])
    design = torch.cat([embeddings, torch.ones(len(embeddings), 1)], 1).double()
    shapes = torch.from_numpy(data.mouths[rows]).flatten(0, 1).double()
    return torch.linalg.solve(design.T @ design + 1e-2 * torch.eye(design.shape[1]), design.T @ shapes).float()


def refine(old: AudioEncoder, data: Utterances, steps: int, batch: int = 32, seed: int = 0) -> AudioEncoder:
    """A refined copy of the encoder ``old``."""
    encoder, readout = copy.deepcopy(old).train().requires_grad_(True), fit_readout(old, data)
    weight, bias = readout[:-1], readout[-1]
    inverse = torch.linalg.pinv(weight)
    optimizer = torch.optim.AdamW(encoder.parameters(), 8e-4, weight_decay=1e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-4, total_steps=steps, pct_start=0.1)
    rng, inner = np.random.default_rng(seed), slice(old.reach, -old.reach)
    bar = tqdm(range(steps), desc="refining", unit="step")
    for _ in bar:
        rows, first = rng.integers(len(data.mels), size=batch), int(rng.integers(data.mouths.shape[1] - CROP))
        part = slice(first * COLUMNS_PER_FRAME, (first + CROP) * COLUMNS_PER_FRAME)
        clean = torch.from_numpy(data.mels[rows, 0][..., part].astype(np.float32))
        sounds = torch.from_numpy(data.mels[rows, rng.integers(VARIANTS, size=batch)][..., part].astype(np.float32))
        mouths = torch.from_numpy(data.mouths[rows, first : first + CROP])
        with torch.no_grad():  # the old embeddings, with the least change that gives the mouth shapes
            target = old(clean)
            target += (mouths - target @ weight - bias) @ inverse
        with torch.autocast("cpu", torch.bfloat16):
            found = encoder(varied(sounds, rng)).float()
        espeak = torch.from_numpy(data.espeak[rows]).float()[:, None, None]
        drift = ((found - target) * espeak)[:, inner].square().mean() / target.square().mean()
        shapes = (found + 0.03 * torch.randn(found.shape)) @ weight + bias
        loss = (shapes - mouths)[:, inner].square().mean() + KEEP * drift
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plan.step()
        bar.set_postfix(loss=f"{loss.item():.4f}", drift=f"{drift.item():.3f}", refresh=False)
    return encoder.eval()


def main(argv: list[str] | None = None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a bundled model's name, or a checkpoint that contains its audio encoder")
    parser.add_argument("target", type=Path, help="the checkpoint to write: the model with the refined encoder")
    parser.add_argument("--utterances", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes for speech synthesis")
    options = parser.parse_args(argv)
    path = checkpoints.find_model(options.model)
    source = checkpoints.load(path)
    audio = source.config.audio
    if audio.kind != "mel-conv":
        raise DiffusedHeadsError(f"{options.model}: expected a model with its own encoder, found {audio.describe()}")
    old = AudioEncoder(audio).eval()
    load_tensors(old, source.tensors, "audio_encoder.", path)
    if not flite.available():
        log.warning(
            "Flite is not installed: espeak-ng speaks all utterances (Debian and Ubuntu: apt install libflite1)"
        )
    torch.manual_seed(options.seed)
    data = stored_utterances(options.target.parent, options.utterances, options.seed, audio.mels, options.workers)
    encoder = refine(old, data, options.steps, seed=options.seed)
    tensors = {**source.tensors, **{f"audio_encoder.{name}": value for name, value in encoder.state_dict().items()}}
    checkpoints.save(options.target, replace(source, tensors=tensors))


if __name__ == "__main__":
    main()
