"""A model's ear made fit for people's voices: more voices, rooms and voice tracts, while its embeddings keep their
meaning.

    python -m diffused_heads.training.tools.speech_refining avatar runs/ear.safetensors

Utterances of espeak-ng, and of Flite where the system has it, are made on the spot with the mouth shapes that people
make for them. The encoder learns to give those shapes through the linear reading that fits its embeddings best, and on
clean espeak-ng speech to give the embeddings that it gave, moved as little as those shapes ask for: the network behind
it goes on working and adapts in further training (``train --audio-encoder``). Compared on eight clips of real people,
mouth opening read from the embeddings against landmarks: see docs/MODEL_CARD.md.
"""

from __future__ import annotations

import argparse
import copy
import logging
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ...diffused_heads_core import checkpoints
from ...diffused_heads_core.audio_encoder import COLUMNS_PER_FRAME, SAMPLE_RATE, AudioEncoder, log_mel
from ...diffused_heads_core.errors import DiffusedHeadsError
from ...diffused_heads_core.files import atomic_path
from ...diffused_heads_core.media.mixdown import normalise_level, resample
from ...diffused_heads_core.talking_head import load_tensors
from ..speech_augmentation import augment_speech
from ..synthesis import flite
from ..synthesis.corpus import PEOPLE
from ..synthesis.speech import Speech, pause, recite, speak
from ..synthesis.text import script
from ..synthesis.visemes import MEASURED, mouth_track
from ..synthesis.voices import sample_voice
from .speech_pretraining import masked

SECONDS, FPS, VARIANTS = 3.2, 25, 3
CROP = 44  # frames of a sample
KEEP = 0.3  # weight of the embeddings that clean speech had, moved to its mouth shapes
TRACT = 0.15  # by how much a voice tract may be longer or shorter
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Utterances:
    """mels: (n, VARIANTS, mels, columns) float16, the first of them clean; mouths: (n, frames, 5); espeak: (n,) whether
    espeak-ng's.
    """

    mels: np.ndarray
    mouths: np.ndarray
    espeak: np.ndarray


def _paced(said: Speech, speed: float) -> Speech:
    """The same recording played ``speed`` times faster at 16 kHz: higher, from a shorter tract, sooner over."""
    samples = resample(said.samples[None], round(said.sample_rate * speed), SAMPLE_RATE)[0]
    return Speech(samples, SAMPLE_RATE, tuple((name, a / speed, b / speed) for name, a, b in said.phonemes))


def utterance(seed: int, index: int, with_flite: bool) -> Speech:
    """Random sentences in a random voice at a random speed, SECONDS long, at 16 kHz."""
    rng = np.random.default_rng([seed, index])
    speed = float(rng.uniform(0.84, 1.24)) if rng.random() < 0.6 else 1.0
    if with_flite:
        say = partial(
            flite.speak, voice=flite.VOICES[rng.integers(len(flite.VOICES))], stretch=float(rng.uniform(0.75, 1.25))
        )
    else:
        say = partial(speak, voice=sample_voice(rng))
    return recite(
        script(rng), lambda text: _paced(say(text), speed), lambda seconds: _paced(pause(seconds), 1.0), SECONDS
    )[0]


def _heard(seed: int, mels: int, index: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """One utterance's columns, mouths and whether espeak-ng spoke it; every other one is Flite's where there is one."""
    with_flite = index % 2 == 1 and flite.available()
    said, frames = utterance(seed, index, with_flite), round(SECONDS * FPS)
    sounds = [
        said.samples,
        *(augment_speech(said.samples, np.random.default_rng([seed, index, v])) for v in range(1, VARIANTS)),
    ]
    columns = np.stack([log_mel(normalise_level(sound), frames, FPS, mels).numpy() for sound in sounds])
    return columns.astype(np.float16), mouth_track(said.phonemes, frames, FPS, MEASURED), not with_flite


def utterances(count: int, seed: int, mels: int, workers: int) -> Utterances:
    """``count`` utterances, each made of (seed, index) alone."""
    job = partial(_heard, seed, mels)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        made = list(tqdm(pool.map(job, range(count), chunksize=16), total=count, desc="speaking", unit="utterance"))
    return Utterances(*(np.stack(column) for column in zip(*made)))


def kept(folder: Path, count: int, seed: int, mels: int, workers: int) -> Utterances:
    """As ``utterances``, read from the folder where the same ones were made before."""
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
    """Columns (B, mels, T) of other voice tracts (Jaitly & Hinton 2013), other balance of treble and bass, and with
    others talking.
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
def reading(encoder: AudioEncoder, data: Utterances) -> Tensor:
    """The linear reading (C + 1, 5) of mouth shapes from embeddings of clean espeak-ng speech, by ridge regression."""
    rows = np.flatnonzero(data.espeak)[:600]
    heard = torch.cat([encoder(torch.from_numpy(data.mels[r, :1].astype(np.float32)))[0] for r in rows])
    design = torch.cat([heard, torch.ones(len(heard), 1)], 1).double()
    shapes = torch.from_numpy(data.mouths[rows]).flatten(0, 1).double()
    return torch.linalg.solve(design.T @ design + 1e-2 * torch.eye(design.shape[1]), design.T @ shapes).float()


def refine(old: AudioEncoder, data: Utterances, steps: int, batch: int = 32, seed: int = 0) -> AudioEncoder:
    """An encoder that starts as ``old``, with its embeddings' meaning."""
    encoder, read = copy.deepcopy(old).train().requires_grad_(True), reading(old, data)
    least = torch.linalg.pinv(read[:-1])
    optimizer = torch.optim.AdamW(encoder.parameters(), 8e-4, weight_decay=1e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-4, total_steps=steps, pct_start=0.1)
    rng, inner = np.random.default_rng(seed), slice(old.reach, -old.reach)
    bar = tqdm(range(steps), desc="refining", unit="step")
    for _ in bar:
        rows, first = rng.integers(len(data.mels), size=batch), int(rng.integers(data.mouths.shape[1] - CROP))
        part = slice(first * COLUMNS_PER_FRAME, (first + CROP) * COLUMNS_PER_FRAME)
        clean = torch.from_numpy(data.mels[rows, 0][..., part].astype(np.float32))
        heard = torch.from_numpy(data.mels[rows, rng.integers(VARIANTS, size=batch)][..., part].astype(np.float32))
        mouths = torch.from_numpy(data.mouths[rows, first : first + CROP])
        with torch.no_grad():
            before = old(clean)
            before += (mouths - before @ read[:-1] - read[-1]) @ least
        with torch.autocast("cpu", torch.bfloat16):
            found = encoder(varied(heard, rng)).float()
        own = torch.from_numpy(data.espeak[rows]).float()[:, None, None]
        drift = ((found - before) * own)[:, inner].square().mean() / before.square().mean()
        shapes = (found + 0.03 * torch.randn(found.shape)) @ read[:-1] + read[-1]
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
    parser.add_argument("model", help="a bundled model's name or a checkpoint with an encoder of its own")
    parser.add_argument("target", type=Path, help="the checkpoint to write: the model with the refined encoder")
    parser.add_argument("--utterances", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that speak")
    options = parser.parse_args(argv)
    path = checkpoints.find_model(options.model)
    source = checkpoints.load(path)
    audio = source.config.audio
    if audio.kind != "mel-conv":
        raise DiffusedHeadsError(
            f"{options.model}: expected a model with an encoder of its own, found {audio.describe()}"
        )
    old = AudioEncoder(audio).eval()
    load_tensors(old, source.tensors, "audio_encoder.", path)
    if not flite.available():
        log.warning("Flite is not here: all utterances are espeak-ng's (Debian and Ubuntu: apt install libflite1)")
    torch.manual_seed(options.seed)
    data = kept(options.target.parent, options.utterances, options.seed, audio.mels, options.workers)
    encoder = refine(old, data, options.steps, seed=options.seed)
    tensors = {**source.tensors, **{f"audio_encoder.{name}": value for name, value in encoder.state_dict().items()}}
    checkpoints.save(options.target, replace(source, tensors=tensors))


if __name__ == "__main__":
    main()
