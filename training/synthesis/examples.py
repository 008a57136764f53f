"""The bundled portraits and recordings: identities and voices that the corpora hold out from training.

``python -m diffused_heads.training.synthesis.examples FOLDER [FACE_MODEL.npz]`` writes them again: the drawn ones, and
with the packed face model also the rendered people.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...diffused_heads_core.assets import PORTRAITS as PATTERN
from ...diffused_heads_core.data.codecs import encode_wave
from ...diffused_heads_core.face.alignment import whole_placement
from ...diffused_heads_core.face.finder import FaceFinder
from ...diffused_heads_core.face.portrait_mesh import mesh_in_frame
from ...diffused_heads_core.files import atomic_path
from ...diffused_heads_core.media.pictures import load_picture, save_picture
from ...diffused_heads_core.pose import HeadGeometry
from .avatars.avatar import sample_avatar
from .avatars.render import render
from .corpus import Job
from .expression import index, neutral
from .people.person import sample_person
from .people.render import portrait as person_portrait
from .speech import join, pause, speak
from .voices import HELD_OUT_VARIANTS, Voice

SIZE = 512
SMILE = 0.2
JOB = Job(seed=11, size=SIZE, seconds=3.0, held_out=True)
PORTRAITS = {"ada": 0, "kim": 4, "lena": 34, "omar": 31, "rosa": 36, "samira": 38}
PEOPLE = {"mei": 0, "noah": 32}
SPEECH = {
    "welcome": (
        Voice("en-us", HELD_OUT_VARIANTS[0], 150, 45, 60),
        "Hello, and welcome. Every frame that you see here was painted from noise, one after the other, while I speak.",
    ),
    "weather": (
        Voice("en-gb", HELD_OUT_VARIANTS[2], 160, 60, 65),
        "Good morning! A warm wind blows over the valley today, "
        "but by four o'clock we may see a few big drops of rain.",
    ),
}


def portrait(name: str) -> np.ndarray:
    """A drawn portrait (SIZE, SIZE, 3) uint8: it faces the viewer with a closed mouth and a slight smile."""
    return render(sample_avatar(JOB.stream(PORTRAITS[name], "identity")), _smiling(), np.zeros(5), SIZE)[0]


def photograph(name: str, face_model: Path) -> np.ndarray:
    """A rendered person (SIZE, SIZE, 3) uint8, otherwise as ``portrait``. face_model: the packed ICT face model.

    Raises DiffusedHeadsError if OpenGL or the face model is missing.
    """
    person = sample_person(replace(JOB, face_model=str(face_model)).stream(PEOPLE[name], "identity"))
    with person_portrait(person, face_model, SIZE) as shown:
        return shown.render(_smiling(), np.zeros(5))[0]


def _smiling() -> np.ndarray:
    face = neutral()
    face[index("smile")] = SMILE
    return face


def write_examples(folder: Path, face_model: Path | None = None) -> None:
    """Write ``portrait-<name>.png`` and ``speech-<name>.wav`` into a folder; rendered people only with a face model."""
    for name in PORTRAITS:
        save_picture(folder / f"portrait-{name}.png", portrait(name))
    for name in PEOPLE if face_model else ():
        save_picture(folder / f"portrait-{name}.png", photograph(name, face_model))
    for name, (voice, text) in SPEECH.items():
        spoken = join([pause(0.25), speak(text, voice), pause(0.3)])
        with atomic_path(folder / f"speech-{name}.wav") as part:
            part.write_bytes(encode_wave(spoken.samples, spoken.sample_rate))


def write_meshes(folder: Path) -> None:
    """Write ``portrait-meshes.npz``: the face meshes, px, of the portraits in a folder; needs the face networks."""
    meshes, finder = {}, FaceFinder()
    for path in sorted(folder.glob(PATTERN)):
        picture = load_picture(path)
        size = len(picture)
        placement = whole_placement(size, size)
        meshes[path.stem] = mesh_in_frame(picture, None, placement, HeadGeometry(), lambda: finder, path.name)
    with atomic_path(folder / "portrait-meshes.npz") as part, part.open("wb") as file:
        np.savez_compressed(file, **{name: mesh.astype(np.float32) for name, mesh in meshes.items()})


if __name__ == "__main__":
    write_examples(*map(Path, sys.argv[1:3]))
    write_meshes(Path(sys.argv[1]))
