"""How far the mouth moves in sound without a voice, and how well it follows speech in noise; with and without the gate.

    python benchmarks/voice.py
    python benchmarks/voice.py --recordings FOLDER --clips FOLDER_OF_VIDEOS --seconds 10

Mouth opening is read linearly from the audio embeddings; the reading is fitted to the mouth meter's on frames of a
bundled portrait that speaks a bundled recording. Movement is the standard deviation of the opening over that of speech,
the mean of all recordings without the gate. r is Pearson's: of the opening in noise with that in the clean recording,
treated alike, and for clips with the real mouth's opening as the landmark network sees it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from mouth_meter import measure

from diffused_heads import load_model
from diffused_heads.diffused_heads_core.assets import ASSETS, PORTRAITS, RECORDINGS, bundled_file
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.evaluation.metrics.faces import correlation, mouth_opening
from diffused_heads.diffused_heads_core.evaluation.readers import FaceReader
from diffused_heads.diffused_heads_core.face.finder import FaceFinder
from diffused_heads.diffused_heads_core.face.placing import Placing
from diffused_heads.diffused_heads_core.face.portrait import place_portrait
from diffused_heads.diffused_heads_core.media.audio import Audio, load_audio, to_mono_16k
from diffused_heads.diffused_heads_core.media.mixdown import normalise_level
from diffused_heads.diffused_heads_core.media.pictures import load_picture
from diffused_heads.diffused_heads_core.media.video import read_video
from diffused_heads.diffused_heads_core.media.voice import find_voice
from diffused_heads.diffused_heads_core.motion import MotionOptions
from diffused_heads.diffused_heads_core.pipeline import embed_speech
from diffused_heads.diffused_heads_core.talking_head import TalkingHead

RATE = 16000
LEVEL = -20.0  # dBFS of every sound
SECONDS = 5.0  # of a sound
RIDGE = 10.0
NOISES = {"white": 0.0, "pink": 1.0}  # power falls with frequency to this power
RATIOS = (20, 10, 5)  # dB of speech to noise
CHORDS = ((57, 60, 64), (53, 57, 60), (60, 64, 67), (55, 59, 62))  # MIDI notes: Am F C G
HARMONICS = np.arange(1, 12)
TIMBRES = {
    "sine": (HARMONICS == 1) * 1.0,
    "organ": np.isin(HARMONICS, (1, 2, 3, 4, 6, 8)) / HARMONICS,
    "saw": 1 / HARMONICS,
    "square": (HARMONICS % 2) / HARMONICS,
    "piano": np.exp(-0.6 * (HARMONICS - 1)),
}


def clock(seconds: float) -> np.ndarray:
    """Times of the samples in seconds."""
    return np.arange(round(seconds * RATE)) / RATE


def sine(hertz: float | np.ndarray, seconds: float = SECONDS) -> np.ndarray:
    """A tone of a constant frequency, or of one per sample."""
    return np.sin(2 * np.pi * np.cumsum(np.broadcast_to(hertz, round(seconds * RATE))) / RATE)


def noise(power: float = 0.0, low: float = 20.0, high: float = 8000.0, seconds: float = SECONDS) -> np.ndarray:
    """Noise between two frequencies whose power density falls with frequency to ``power``."""
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=round(seconds * RATE)))
    hertz = np.fft.rfftfreq(round(seconds * RATE), 1 / RATE)
    inside = (hertz >= low) & (hertz <= high)
    return np.fft.irfft(np.where(inside, spectrum * np.maximum(hertz, low) ** (-power / 2), 0), round(seconds * RATE))


def at_level(sound: np.ndarray, decibel: float = LEVEL) -> np.ndarray:
    """Float32 samples with this root mean square in dBFS."""
    return (sound * 10 ** (decibel / 20) / np.sqrt(np.square(sound).mean())).astype(np.float32)


def note(midi: int, seconds: float, timbre: str) -> np.ndarray:
    """One note of an instrument."""
    hertz, time = 440 * 2 ** ((midi - 69) / 12), clock(seconds)
    strengths = TIMBRES[timbre] * (hertz * HARMONICS < 7000)
    fall = np.exp(-3 * time) if timbre == "piano" else np.clip((seconds - time) / 0.02, 0, 1)
    return strengths @ np.sin(2 * np.pi * hertz * HARMONICS[:, None] * time) * np.minimum(time / 0.005, 1) * fall


def mixed(parts: Iterator[tuple[float, np.ndarray]]) -> np.ndarray:
    """Sounds that begin at given seconds."""
    whole = np.zeros(round(SECONDS * RATE))
    for begin, part in parts:
        rest = whole[round(begin * RATE) :]
        rest[: len(part)] += part[: len(rest)]
    return whole


def chords(timbre: str) -> np.ndarray:
    """Four chords, one per second."""
    return mixed((beat, note(m, 1, timbre)) for beat in range(round(SECONDS)) for m in CHORDS[beat % 4])


def arpeggio(timbre: str, step: float = 0.15) -> np.ndarray:
    """Broken chords."""
    count = int(SECONDS / step)
    notes = (CHORDS[i // 8 % 4][i % 3] + 12 * (i // 3 % 2) for i in range(count))
    return mixed((i * step, note(m, 2 * step, timbre)) for i, m in enumerate(notes))


def melody(timbre: str) -> np.ndarray:
    """Notes of C major at random, one at a time."""
    rng = np.random.default_rng(0)

    def notes() -> Iterator[tuple[float, np.ndarray]]:
        at = 0.0
        while at < SECONDS:
            length = rng.choice([0.2, 0.3, 0.4, 0.6])
            yield at, note(rng.choice([60, 62, 64, 65, 67, 69, 71, 72]), length, timbre)
            at += length

    return mixed(notes())


def drums(tempo: float = 120) -> np.ndarray:
    """Kick, snare and hi-hat."""
    kick = sine(50 + 100 * np.exp(-30 * clock(0.25)), 0.25) * np.exp(-12 * clock(0.25))
    snare = (4 * noise(seconds=0.2) + sine(180, 0.2)) * np.exp(-18 * clock(0.2))
    hat = noise(low=5000, seconds=0.08) * np.exp(-50 * clock(0.08))
    eighth = 30 / tempo
    beats = range(int(SECONDS / eighth))
    pattern = {0: [kick, hat], 2: [snare, hat]}
    return mixed((i * eighth, part) for i in beats for part in pattern.get(i % 4, [hat]))


def bursts(sound: np.ndarray, rate: float, share: float) -> np.ndarray:
    """A sound that swells and falls ``rate`` times per second, for this share of the time."""
    phase = clock(len(sound) / RATE) * rate % 1 / share
    return sound * np.where(phase < 1, np.sin(np.pi * np.minimum(phase, 1)), 0)


def clicks() -> np.ndarray:
    """Keys of a keyboard, at random times."""
    rng = np.random.default_rng(0)
    click = noise(low=800, high=7000, seconds=0.04) * np.exp(-150 * clock(0.04))
    return mixed((at, click) for at in np.cumsum(rng.uniform(0.08, 0.35, round(SECONDS * 4))) if at < SECONDS)


def sounds() -> dict[str, np.ndarray]:
    """Sounds without a voice, float32 at 16 kHz."""
    time = clock(SECONDS)
    found = {f"tone {hertz} Hz": sine(hertz) for hertz in (100, 150, 220, 440, 1000, 3000)}
    found |= {"sweep": sine(100 * 40 ** (time / SECONDS)), "beeps": sine(1000) * (time % 0.6 < 0.3)}
    found |= {"siren": sine(700 + 300 * np.sin(np.pi * time)), "dial tone": sine(350) + sine(440)}
    for timbre in TIMBRES:
        music: tuple[Callable[[str], np.ndarray], ...] = (chords, arpeggio, melody)
        found |= {f"{play.__name__}, {timbre}": play(timbre) for play in music}
    found |= {"drums": drums(), "fast drums": drums(170)}
    found["band"] = at_level(drums()) + at_level(chords("saw"), -24) + at_level(arpeggio("piano"), -26)
    found |= {name: noise(power) for name, power in {**NOISES, "brown": 2.0}.items()}
    found |= {"noise, 4 swells/s": bursts(noise(1), 4, 1), "breathing": bursts(noise(0, 300, 4000), 0.8, 0.5)}
    found |= {"room hum": sum(sine(50 * h) / h for h in (1, 2, 3, 4, 6)) + noise(1), "keyboard": clicks()}
    return {name: at_level(sound) for name, sound in found.items()}


class Opening:
    """Mouth opening as a linear reading of a model's audio embeddings, fitted to made frames."""

    def __init__(self, model: TalkingHead):
        self.model = model
        audio = load_audio(bundled_file(RECORDINGS))
        portrait = place_portrait(load_picture(bundled_file(PORTRAITS)), model.config, Placing("whole"))
        embeddings, still = model.encode_audio(audio), MotionOptions(0, 0, 0, 0)
        seen = measure(np.stack(list(model.generate(portrait.frame, embeddings, model.options(), motion=still))))
        rows = self._rows(embeddings.cpu().numpy())
        self.weights = np.linalg.solve(rows.T @ rows + RIDGE * np.eye(rows.shape[1]), rows.T @ seen)

    @staticmethod
    def _rows(embeddings: np.ndarray) -> np.ndarray:
        return np.hstack([embeddings, np.ones((len(embeddings), 1))])

    def __call__(self, mono: np.ndarray, gate: bool) -> np.ndarray:
        """Opening per frame of float32 (n,) at 16 kHz."""
        sound = Audio(mono[None], RATE)
        embeddings = embed_speech(self.model, sound) if gate else self.model.encode_audio(sound)
        return self._rows(embeddings.cpu().numpy()) @ self.weights


def share_of_speech(mono: np.ndarray) -> float:
    """How much of a sound counts as speech. Raises DiffusedHeadsError without the detector."""
    voice = find_voice(normalise_level(mono))
    if voice is None:
        raise DiffusedHeadsError("the voice detector is missing")
    return voice.share


def in_noise(mono: np.ndarray, ratio: float, power: float) -> np.ndarray:
    """Speech with noise that is ``ratio`` dB weaker, float32."""
    added = noise(power, seconds=len(mono) / RATE)
    return mono + at_level(added, 10 * np.log10(np.square(mono).mean()) - ratio)


def recordings(folder: Path | None, seconds: float) -> dict[str, np.ndarray]:
    """The bundled recordings and those of a folder, float32 at 16 kHz."""
    paths = [*sorted(ASSETS.glob(RECORDINGS)), *(sorted(folder.iterdir()) if folder else [])]
    found = {}
    for path in paths:
        try:
            found[path.name] = to_mono_16k(load_audio(path, duration=seconds))
        except DiffusedHeadsError as error:
            print(f"left out: {error}")
    return {name: mono for name, mono in found.items() if mono.any()}


def clips(folder: Path | None, seconds: float, fps: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, sound and the real mouth's opening per frame of each video of a folder."""
    finder = FaceFinder()
    for path in sorted(folder.rglob("*.m*")) if folder else []:
        video = read_video(path)
        if video.audio is None:
            continue
        frames, reader = list(islice(video.frames, int(seconds * video.fps) + 1)), FaceReader(finder)
        count = int(min(seconds * fps, len(frames) / video.fps * fps))
        readings = [reader.read(frames[min(round(i * video.fps / fps), len(frames) - 1)]) for i in range(count)]
        marks = [np.full((68, 2), np.nan) if r.landmarks is None else r.landmarks for r in readings]
        yield path.name, to_mono_16k(video.audio)[: count * RATE // fps], mouth_opening(np.stack(marks))


def row(name: str, values: list[float]) -> str:
    """A line of a table."""
    return f"{name[:34]:34s}" + "".join(f"{value:8.3f}" for value in values)


def print_table(head: str, rows: dict[str, list[float]], mean: bool = True) -> None:
    """Print rows of figures under a head, and their mean."""
    print(f"\n{head}")
    print("\n".join(row(name, values) for name, values in rows.items()))
    if mean and rows:
        print(row("mean", np.nanmean(list(rows.values()), 0).tolist()), flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="human")
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="speech, besides the bundled recordings")
    parser.add_argument("--clips", type=Path, metavar="FOLDER", help="videos of people who speak")
    parser.add_argument("--seconds", type=float, default=10.0, help="at most this much of each recording")
    asked = parser.parse_args()
    opening = Opening(load_model(asked.model))
    speech = recordings(asked.recordings, asked.seconds)
    unit = float(np.mean([opening(mono, False).std() for mono in speech.values()]))
    rows = {
        name: [opening(mono, gate).std() / unit for gate in (False, True)] + [share_of_speech(mono)]
        for name, mono in sounds().items()
    }
    print_table("movement over speech's: without the gate, with it; share that counts as speech", rows)
    noises = [(ratio, power) for ratio in RATIOS for power in NOISES.values()]
    label = ", ".join(f"{ratio} dB {name}" for ratio in RATIOS for name in NOISES)
    for gate in (False, True):
        rows = {}
        for name, mono in speech.items():
            clean = opening(mono, gate)
            rows[name] = [correlation(clean, opening(in_noise(mono, *kind), gate)) for kind in noises]
        print_table(f"r with the clean recording, {'with' if gate else 'without'} the gate: {label}", rows)
    rows = {}
    for name, mono, true in clips(asked.clips, asked.seconds, opening.model.config.fps):
        heard = [mono, in_noise(mono, 10, NOISES["white"]), in_noise(mono, 10, NOISES["pink"])]
        found = [opening(sound, gate) for gate in (False, True) for sound in heard]
        length = min(len(true), len(found[0]))
        rows[name] = [correlation(each[:length], true[:length]) for each in found]
    if rows:
        print_table("r with the real mouth: clean, 10 dB white, 10 dB pink; the same with the gate", rows)


if __name__ == "__main__":
    main()
