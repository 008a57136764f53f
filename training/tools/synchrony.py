"""Fit the linear prediction of a mouth's opening from the sound, with which ``prepare`` measures offsets.

    python -m diffused_heads.training.tools.synchrony RAW_DIR OUT.npz

RAW_DIR: videos of one face each, in step with its sound, one folder per person. The weights in the package are of the
training people of the GRID audiovisual sentence corpus (CC BY 4.0). Prints how well offsets are found for each person
with weights that are fitted to the others, where the sound is moved by up to 0.3 s.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...diffused_heads_core.face.finder import FaceFinder
from ...diffused_heads_core.face.networks import load_face_models
from ..preparation import synchrony
from ..preparation.prepare import find_videos
from ..preparation.settings import Settings
from ..preparation.sound import SoundReader
from ..preparation.video import analyse

RIDGE = 1000.0
SHIFTS = (-0.3, -0.12, 0.0, 0.08, 0.2)  # seconds by which the sound is moved in the test


@dataclass(frozen=True, eq=False)
class Take:
    """The mouth of one video: opening (T,) at ``times`` (T,) in seconds, and the spectrum (n, C) from ``begins`` on."""

    person: str
    mouth: np.ndarray
    times: np.ndarray
    spectrum: np.ndarray
    begins: float


def read_takes(raw: Path) -> list[Take]:
    """The faces of all videos in a folder; videos without face or sound are left out."""
    finder, settings, takes = FaceFinder(load_face_models()), Settings(), []
    for video in tqdm(find_videos(raw), unit="video"):
        found = analyse(video.path, settings, finder)
        if not found.tracks or not found.facts.has_sound:
            continue
        track, begins = max(found.tracks, key=len), -synchrony.LARGEST
        sound = SoundReader(video.path, found.facts.begins).part(begins, found.pictures / settings.fps - begins)
        mouth, times = np.array(track.mouth)[:, 0], (np.arange(track.first, track.stop) + 0.5) / settings.fps
        takes.append(Take(video.path.parent.name, mouth, times, synchrony.spectrum_around(sound), begins))
    return takes


def fit(takes: Sequence[Take]) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression of the standardised openings on the spectrum: mean (C,) and weight (C,)."""
    moments = [np.round((take.times - take.begins) * synchrony.COLUMNS - 0.5).astype(int) for take in takes]
    inputs = np.concatenate([take.spectrum[at] for take, at in zip(takes, moments)]).astype(np.float64)
    targets = np.concatenate([(take.mouth - take.mouth.mean()) / max(take.mouth.std(), 1e-6) for take in takes])
    mean, deviation = inputs.mean(0), inputs.std(0) + 1e-3
    standard = (inputs - mean) / deviation
    weight = np.linalg.solve(standard.T @ standard + RIDGE * np.eye(len(mean)), standard.T @ targets)
    return mean.astype(np.float32), (weight / deviation).astype(np.float32)


def errors(takes: Sequence[Take], mean: np.ndarray, weight: np.ndarray, together: int) -> list[float | None]:
    """Errors in seconds of the offsets of ``together`` takes at a time, moved by SHIFTS; None if it cannot be told."""
    found: list[float | None] = []
    for first in range(0, len(takes) - together + 1, together):
        for shift in SHIFTS:
            tracks, values, begins = [], [], 0.0
            for take in takes[first : first + together]:
                values.append((take.spectrum - mean) @ weight)
                tracks.append((take.mouth, take.times - take.begins + begins + shift))
                begins += len(values[-1]) / synchrony.COLUMNS
            offset = synchrony.find_offset(tracks, synchrony.Opening(np.concatenate(values), 0.0))
            found.append(None if offset is None else offset.seconds + shift)
    return found


def main(argv: list[str] | None = None) -> None:
    """Perform the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path, metavar="RAW_DIR")
    parser.add_argument("out", type=Path, metavar="OUT.npz")
    options = parser.parse_args(argv)
    takes = read_takes(options.raw)
    people = sorted({take.person for take in takes})
    for together in (1, 4) if len(people) > 1 else ():
        found: list[float | None] = []
        for person in people:
            weights = fit([take for take in takes if take.person != person])
            found += errors([take for take in takes if take.person == person], *weights, together)
        told = np.abs([error for error in found if error is not None])
        print(
            f"{together} videos together: offset told in {len(told) / len(found):.0%} of {len(found)}, "
            f"of these within 40 ms {np.mean(told <= 0.0401):.1%}, within 80 ms {np.mean(told <= 0.0801):.1%}"
        )
    mean, weight = fit(takes)
    with options.out.open("wb") as file:
        np.savez(file, mean=mean, weight=weight)


if __name__ == "__main__":
    main()
