"""Speech augmentation: microphones, rooms, noise and loudness, so that synthetic voices prepare for human ones."""

from __future__ import annotations

import numpy as np

from ..diffused_heads_core.audio_encoder import SAMPLE_RATE


def augment_speech(mono: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random recording situation for mono 16 kHz speech (n,) float32: reverb, filter, noise, gain; timing is kept."""
    sound = mono.astype(np.float32)
    if rng.random() < 0.4:
        sound = _reverb(sound, rng)
    if rng.random() < 0.7:
        sound = _colour(sound, rng)
    level = np.sqrt(np.mean(sound**2)) + 1e-6
    if rng.random() < 0.7:
        sound = sound + _noise(len(sound), rng) * level * 10 ** (-rng.uniform(8, 40) / 20)
    if rng.random() < 0.2:
        sound = np.tanh(sound * rng.uniform(1, 6) / (np.abs(sound).max() + 1e-6))
    return (sound * 10 ** (rng.uniform(-30, 3) / 20)).astype(np.float32).clip(-1, 1)


def _reverb(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A decaying noise tail after the direct sound, 0.05 to 0.4 s."""
    tail = rng.normal(size=int(rng.uniform(0.05, 0.4) * SAMPLE_RATE)) * rng.uniform(0.02, 0.15)
    response = tail * np.exp(-np.linspace(0, 6, len(tail)))
    response[0] = 1.0
    size = 1 << (len(sound) + len(response)).bit_length()
    return np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(response, size), size)[: len(sound)].astype(np.float32)


def _colour(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth random frequency response of up to 9 dB with random band limits, as microphones and telephones have."""
    frequency = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)
    gain = np.interp(np.log(frequency + 50), np.linspace(np.log(50), np.log(8050), 7), rng.uniform(-9, 9, 7))
    low, high = rng.uniform(20, 250), rng.uniform(3200, 8000)
    gain = (
        gain - 24 * np.maximum(np.log2(low / (frequency + 1)), 0) - 36 * np.maximum(np.log2((frequency + 1) / high), 0)
    )
    return np.fft.irfft(np.fft.rfft(sound) * 10 ** (np.maximum(gain, -80) / 20), len(sound)).astype(np.float32)


def _noise(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of unit power between white and brown, sometimes with hum."""
    spectrum = np.fft.rfft(rng.normal(size=samples))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1) ** -rng.uniform(0, 1)
    noise = np.fft.irfft(spectrum, samples)
    if rng.random() < 0.3:
        noise = noise / (noise.std() + 1e-9) + 0.7 * np.sin(
            2 * np.pi * rng.choice((50, 60)) * np.arange(samples) / SAMPLE_RATE
        )
    return (noise / (noise.std() + 1e-9)).astype(np.float32)
