"""The voices of the corpora: those of the training data, and those held out for evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...diffused_heads_core.errors import DiffusedHeadsError

# Accent -> espeak-ng's name for it.
ACCENTS = {
    "en-us": "en-us",
    "en-gb": "en",
    "en-gb-scotland": "en-gb-scotland",
    "en-gb-x-rp": "en-gb-x-rp",
    "en-gb-x-gbclan": "en-gb-x-gbclan",
    "en-gb-x-gbcwmd": "en-gb-x-gbcwmd",
    "en-029": "en-029",
}
# Without the variants that use "breath": their noise starts from uninitialised memory and differs from run to run.
FEMALE_VARIANTS = ("Andrea", "Annie", "anika", "aunty", "f1", "grandma", "linda", "shelby", "steph")
MALE_VARIANTS = (
    "Alex", "Andy", "Denis", "Diogo", "Gene", "Gene2", "Henrique", "Hugo", "Jacky", "Lee", "Marco", "Mario",
    "Michael", "Mike", "Nguyen", "adam", "announcer", "antonio", "benjamin", "boris", "croak", "david", "ed",
    "edward", "grandpa", "gustave", "iven", "john", "kaukovalta", "klatt", "klatt2", "klatt3", "klatt4", "m1", "m2",
    "m4", "m5", "m6", "m7", "m8", "max", "miguel", "norbert", "pablo", "quincy", "rob", "robert", "travis",
)  # fmt: skip
HELD_OUT_VARIANTS = ("m3", "michel", "f4", "belinda")
FEMALE_SHARE = 0.45  # of the training clips; espeak-ng has fewer female variants


@dataclass(frozen=True)
class Voice:
    """accent: a key of ACCENTS; variant: of espeak-ng; rate: 80..300 words per minute; pitch, pitch_range: 0..99."""

    accent: str = "en-us"
    variant: str = "m1"
    rate: int = 165
    pitch: int = 50
    pitch_range: int = 50

    def __post_init__(self) -> None:
        wrong = [] if self.accent in ACCENTS else [f"accent {self.accent!r} is not one of {', '.join(ACCENTS)}"]
        limits = {"rate": (80, 300), "pitch": (0, 99), "pitch_range": (0, 99)}
        wrong += [
            f"{name}={getattr(self, name)} is outside {low}..{high}"
            for name, (low, high) in limits.items()
            if not low <= getattr(self, name) <= high
        ]
        if wrong:
            raise DiffusedHeadsError("voice: " + "; ".join(wrong))


def sample_voice(rng: np.random.Generator, held_out: bool = False) -> Voice:
    """A random voice for training, or for evaluation if ``held_out``; en-us and en-gb are the most frequent accents.

    rate: 130..205 words per minute; pitch: 35..65; pitch range: 30..80.
    """
    variants = FEMALE_VARIANTS if rng.random() < FEMALE_SHARE else MALE_VARIANTS
    variants = HELD_OUT_VARIANTS if held_out else variants
    variant = variants[rng.integers(len(variants))]
    weights = np.array([4, 3] + [1] * (len(ACCENTS) - 2), float)
    accent = tuple(ACCENTS)[rng.choice(len(ACCENTS), p=weights / weights.sum())]
    return Voice(accent, variant, int(rng.integers(130, 206)), int(rng.integers(35, 66)), int(rng.integers(30, 81)))
