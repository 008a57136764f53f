"""Clips of Talking Portrait: IMAGE in memory, or video files written frame by frame if nothing takes the IMAGE."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import folder_paths
import server
import torch
from comfy_api.latest import InputImpl
from torch import Tensor

from ..diffused_heads_core.face.portrait import Portrait
from ..diffused_heads_core.media.audio import video_soundtrack
from ..diffused_heads_core.media.video import as_fps, write_video
from ..diffused_heads_core.pipeline import Animation
from . import runtime
from .convert import audio_to_core, image_to_uint8, uint8_to_image
from .page_messages import send_motion
from .paste_back import canvas
from .sampler import check_match
from .sockets import AudioEmbedding, Identity, Model, Sampling

FOLDER = "diffused_heads"  # in the host's temporary folder


def animations(
    model: Model,
    identity: Identity,
    speech: AudioEmbedding,
    recording: dict[str, Any],
    seed: int,
    sampling: Sampling,
    preset: str,
    whole: bool,
    max_side: int,
) -> list[Animation]:
    """One for each identity, of its ``whole`` picture, no side longer than ``max_side``, or of the head alone."""
    head = model.head
    check_match(head, model.name, identity, speech)
    rate = as_fps(sampling.fps or head.config.fps)
    options = head.options(preset, **{"seed": seed, **sampling.changes})
    sound, found = audio_to_core(recording), []
    for row, frame in enumerate(identity.pictures):
        picture, placement, _ = canvas(identity, row, max_side)
        mesh = None if identity.meshes is None else identity.meshes[row]
        portrait = Portrait(image_to_uint8(picture), placement, frame, f"image {row}", mesh=mesh)
        fps = None if rate == head.config.fps else rate
        found.append(
            Animation(
                head, portrait, sound, speech.frames, options, sampling.motion, whole, fps=fps, track=sampling.track
            )
        )
    return found


def images_of(clips: list[Animation], model: Model) -> list[Tensor]:
    """IMAGE (N, H, W, 3) of each clip, with the host's progress bar and preview."""
    found = []
    for clip, frames in _sampled(clips, model):
        height, width = clip.portrait.picture.shape[:2]
        images = torch.empty((len(clip), height, width, 3))
        for number, frame in enumerate(frames):
            images[number] = uint8_to_image(frame)
        found.append(images)
    return found


def videos_of(clips: list[Animation], model: Model) -> list[Any]:
    """VIDEO of each clip: a file in the host's temporary folder, written while its frames are made."""
    folder = Path(folder_paths.get_temp_directory(), FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for clip, frames in _sampled(clips, model):
        path = Path(tempfile.mkdtemp(dir=folder), "talking_portrait.mp4")
        write_video(path, frames, clip.rate, video_soundtrack(clip.audio), metadata=clip.metadata)
        found.append(InputImpl.VideoFromFile(str(path)))
    return found


def _sampled(clips: list[Animation], model: Model) -> Iterator[tuple[Animation, Iterator[Any]]]:
    """Each clip with its frames, under one progress bar."""
    runtime.bring_to_device(model.head, model.patcher, 1)
    progress, before = runtime.Progress(sum(map(len, clips)), clips[0].options.steps), 0
    with runtime.warnings_on_node():
        track = clips[0].head_track()
    send_motion(track, clips[0].rate)
    for clip in clips:

        def on_step(frame: int, step: int, x0: Tensor, before: int = before) -> None:
            progress(before + frame, step, x0)

        yield clip, clip.frames(on_step)
        before += len(clip)


def output_is_taken(node: str | None, output: int) -> bool:
    """Whether something in the prompt that runs takes an output of a node; True if that cannot be told."""
    queue = getattr(server.PromptServer.instance, "prompt_queue", None)
    if node is None or queue is None:
        return True
    for item in list(getattr(queue, "currently_running", {}).values()):
        prompt = item[2]
        if node in prompt:
            given = (value for each in prompt.values() for value in each.get("inputs", {}).values())
            return any(isinstance(value, list) and value == [node, output] for value in given)
    return True
