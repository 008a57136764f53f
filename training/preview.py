"""Sample clips during training: fixed held-out identities and voices, written as video and contact sheet."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from ..diffused_heads_core.audio import from_waveform
from ..diffused_heads_core.pictures import save_picture
from ..diffused_heads_core.talking_head import TalkingHead
from ..diffused_heads_core.video import write_video
from .shards import Dataset


def sample_clip(model: TalkingHead, dataset: Dataset, index: int, seconds: float, **options: object) -> tuple[np.ndarray, np.ndarray]:
    """Truth and generated frames (T, S, S, 3) uint8 of a dataset's clip: its first frame and its sound are given."""
    clip = dataset.clip(index)
    count = min(len(clip.frames), round(seconds * dataset.fps))
    audio = from_waveform(clip.audio[None], clip.sample_rate, dataset.keys[index])
    embeddings = model.encode_audio(audio)[:count]
    frames = np.stack(list(model.generate(clip.frames[0], embeddings, model.options(**options))))
    return clip.frames[:count], frames


def contact_sheet(rows: list[np.ndarray], columns: int) -> np.ndarray:
    """Evenly spaced frames of clips (T, S, S, 3), one clip a row, as one picture."""
    picked = [np.concatenate(list(row[np.linspace(0, len(row) - 1, columns).round().astype(int)]), 1) for row in rows]
    return np.concatenate(picked)


def write_previews(model: TalkingHead, dataset: Dataset, folder: Path, name: str, clips: int = 4, seconds: float = 3.0) -> None:
    """Write ``<name>.png`` (truth above generated, a pair a clip) and a video of the first clip with its sound."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(min(clips, len(dataset))):
        truth, made = sample_clip(model, dataset, index, seconds)
        rows += [truth, made]
        if index == 0:
            audio, rate = dataset.audio(index)
            write_video(folder / f"{name}.mp4", list(made), dataset.fps, from_waveform(audio[None], rate, name))
    save_picture(folder / f"{name}.png", contact_sheet(rows, 10))
