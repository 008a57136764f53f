"""What comes with the package: models, portraits and recordings, all synthetic."""

from __future__ import annotations

from pathlib import Path

from ..errors import DiffusedHeadsError

ASSETS = Path(__file__).parent
PORTRAITS, RECORDINGS = "portrait-*.png", "speech-*.wav"
MOTION_PRIOR = ASSETS / "motion.safetensors"  # what ``motion.prior`` samples head motion with; no model of heads
DEFAULTS = "portrait-noah", "speech-welcome"  # those that look and sound best


def bundled_file(pattern: str, name: str | None = None) -> Path:
    """The bundled file of that name (without suffix), by default the one in DEFAULTS or else the first by name.

    pattern: PORTRAITS or RECORDINGS. Raises DiffusedHeadsError naming what there is.
    """
    kind, there = pattern.split("-")[0], {path.stem: path for path in sorted(ASSETS.glob(pattern))}
    if not there:
        raise DiffusedHeadsError(
            f"no {kind} is bundled here ({ASSETS / pattern}): use `diffused-heads generate` with files of your own"
        )
    if name is not None and name not in there:
        raise DiffusedHeadsError(f"{kind} {name!r}: expected one of {', '.join(there)}")
    return there[name or next((default for default in DEFAULTS if default in there), next(iter(there)))]


DEFAULT_MODEL = "portrait"  # for photographs and drawings
