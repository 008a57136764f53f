"""Changes of posture, which take longer than the clips that the motion prior learns from.

How differently one person holds the head in different clips of GRID, mean over ten people, is measured. How soon it
changes is not: the corpus does not tell which clips follow each other.
"""

from __future__ import annotations

import numpy as np

DEVIATION = (0.025, 0.029, 0.0045)  # of yaw, pitch and roll between clips of one person, radians
CHANGE = 3.0  # seconds that a change takes, a sentence's length
MEMORY = 30.0  # seconds after which the posture has forgotten the portrait's
STREAM = 0x706F7374


def posture(frames: int, fps: float, seed: int) -> np.ndarray:
    """Yaw, pitch and roll (N, 3), radians, of a first-order process that begins at 0; a longer one begins alike."""
    rng = np.random.default_rng([seed, STREAM])
    at = (np.arange(frames) + 0.5) / fps / CHANGE
    kept, knots = np.exp(-CHANGE / MEMORY), [np.zeros(3)]
    while len(knots) < frames / fps / CHANGE + 2:
        knots.append(kept * knots[-1] + np.sqrt(1 - kept**2) * rng.normal(0, DEVIATION))
    before, part = at.astype(int), (at % 1)[:, None]
    table = np.array(knots)
    return table[before] + part * part * (3 - 2 * part) * (table[before + 1] - table[before])
