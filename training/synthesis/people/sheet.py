"""A contact sheet of people: ``python -m diffused_heads.training.synthesis.people.sheet FACE_MODEL.npz people.jpg``."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from ....diffused_heads_core.files import atomic_path
from ..expression import EXPRESSION, clamp
from ..motion import POSE_STD
from .person import sample_person
from .render import portrait


def moment(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random expression (12,) and pose (5,), as in a conversation."""
    value = {
        "open": rng.uniform(0, 0.8) * (rng.random() < 0.6),
        "wide": rng.normal(0, 0.35),
        "press": 0.0,
        "teeth": rng.uniform(0, 0.8) * (rng.random() < 0.4),
        "tongue": 0.0,
        "smile": rng.normal(0.2, 0.25),
        "gaze_x": rng.normal(0, 0.15),
        "gaze_y": rng.normal(0, 0.08),
        "blink_left": 0.0,
        "blink_right": 0.0,
        "brow_left": rng.normal(0, 0.2),
        "brow_right": 0.0,
    }
    value["brow_right"] = value["brow_left"]
    pose = rng.normal(0, 1, 5) * np.array(list(POSE_STD.values())) * 1.3
    return clamp(np.array([value[name] for name in EXPRESSION])), pose


def contact_sheet(face_model: Path, count: int = 48, columns: int = 8, size: int = 256, seed: int = 0) -> np.ndarray:
    """A picture uint8 RGB of ``count`` random people in rows of ``columns``."""
    pictures = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        person = sample_person(rng)
        with portrait(person, face_model, size) as shown:
            pictures.append(shown.render(*moment(rng))[0])
    pictures += [np.zeros_like(pictures[0])] * (-count % columns)
    return np.vstack([np.hstack(pictures[i : i + columns]) for i in range(0, len(pictures), columns)])


def main(arguments: list[str] | None = None) -> None:
    """Command line of the contact sheet."""
    parser = argparse.ArgumentParser(description="A contact sheet of synthetic people.")
    parser.add_argument("face_model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    sheet = contact_sheet(options.face_model, options.count, options.columns, options.size, options.seed)
    with atomic_path(options.out) as part:
        quality = [cv2.IMWRITE_JPEG_QUALITY, 88] if options.out.suffix in (".jpg", ".jpeg") else []
        cv2.imwrite(str(part), sheet[..., ::-1], quality)


if __name__ == "__main__":
    main()
