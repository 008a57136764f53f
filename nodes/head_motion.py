"""Nodes: Head Motion, made from a seed, and Motion from Video."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import numpy as np
from comfy_api.latest import io
from torch import Tensor

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.face.motion import measure_motion
from ..diffused_heads_core.media.video import as_fps, frame_count, read_video
from ..diffused_heads_core.motion import MotionOptions
from ..diffused_heads_core.motion.random_motion import SOURCES
from ..diffused_heads_core.pipeline import motion_for
from . import runtime
from .convert import audio_to_core, image_to_uint8, opaque_image, video_source
from .inputs import fps_input, seed_input, video_inputs
from .page_messages import send_motion
from .sockets import MOTION, MOTIONS

FIRST, USUAL = "first frame", "usual position"
ZEROS = {FIRST: "first", USUAL: "usual"}
ANY = "any"
KINDS = {ANY: "", "calm": "calm", "lively": "lively"}  # and their labels in the bundled prior
LARGEST, LEFT_TO_RIGHT = "largest", "left to right"
MOST_SECONDS = 3600.0


class HeadMotion(io.ComfyNode):
    """A natural motion of a head."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_HeadMotion",
            display_name="Head Motion",
            category=MOTIONS,
            description="A natural motion that goes with a speech: turns, nods, glances, brows and blinks. Connect "
            "it to Talking Portrait or to the sampler, directly or through Edit Motion.",
            search_aliases=["head pose", "blink", "gaze", "eye movement", "animate head", "Diffused Heads"],
            inputs=_motion_inputs(),
            outputs=[motion_output("The motion, for Talking Portrait, the sampler or Edit Motion.")],
        )

    @classmethod
    def execute(
        cls,
        seed: int,
        liveliness: float,
        gaze: float,
        brows: float,
        blinks: float,
        follows: str,
        kind: str,
        temperature: float,
        still: bool,
        seconds: float,
        fps: float,
        audio: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        speech, rate = None if audio is None else audio_to_core(audio), as_fps(fps)
        if kind not in KINDS:
            raise DiffusedHeadsError(f"kind={kind!r}: expected one of {', '.join(KINDS)}")
        moves = (0.0, 0.0, 0.0) if still else (liveliness, gaze, brows)
        options = MotionOptions(*moves, blinks, follows, KINDS[kind], temperature)
        clip = motion_for(max(1, frame_count(speech or seconds, rate)), rate, seed, options, speech)
        send_motion(clip.track, rate)
        return io.NodeOutput(clip)


class MotionFromVideo(io.ComfyNode):
    """The motion of a head in a video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_MotionFromVideo",
            display_name="Motion from Video",
            category=MOTIONS,
            description="Measures how a head moves in a video: pose, size, blinks, gaze, brows and expression. The "
            "portrait then moves like it, while its mouth follows the speech.",
            search_aliases=[
                "driving video",
                "pose from video",
                "reference video",
                "face tracking",
                "motion capture",
                "liveportrait",
                "blendshapes",
                "Diffused Heads",
            ],
            inputs=_video_inputs(),
            outputs=[
                motion_output("The measured motion."),
                io.String.Output("report", tooltip="How long it is, frames without a face, and cuts."),
            ],
        )

    @classmethod
    def execute(
        cls,
        zero: str,
        face: str,
        face_index: int,
        smoothing: float,
        video: Any = None,
        images: Tensor | None = None,
        fps: float = 25.0,
    ) -> io.NodeOutput:
        if zero not in ZEROS or face not in (LARGEST, LEFT_TO_RIGHT):
            raise DiffusedHeadsError(f"zero={zero!r}, face={face!r}: expected {', '.join(ZEROS)}; {LARGEST}, ...")
        frames, rate, total = pictures_of(video, images, fps)
        index = face_index if face == LEFT_TO_RIGHT else None
        finder, networks, progress = runtime.face_finder(), runtime.motion_networks(), _progress(total)
        found = measure_motion(frames, rate, ZEROS[zero], index, smoothing, finder, networks, progress)
        send_motion(found.clip.track, rate)
        runtime.show_text(found.summary())
        return io.NodeOutput(found.clip, found.summary())


def pictures_of(video: Any, images: Tensor | None, fps: float) -> tuple[Iterable[np.ndarray], Fraction, int | None]:
    """Frames uint8 (H, W, 3), one by one, their rate, and how many they are if that is known.

    Of a VIDEO, or of an IMAGE at ``fps``; raises DiffusedHeadsError unless exactly one of them is there. A VIDEO that
    is a whole file is read from it frame by frame.
    """
    found = video_source(video, images, fps)
    if isinstance(found, str):
        file = read_video(found)
        return file.frames, file.fps, None
    kept, rate = found
    frames = (image_to_uint8(opaque_image(kept[number : number + 1]))[0] for number in range(len(kept)))
    return frames, as_fps(rate), len(kept)


def _progress(total: int | None) -> Callable[[int], None]:
    """Moves the host's bar, or counts frames on the node if their number is not known; raises if the user cancels."""
    if total is not None:
        return runtime.progress_bar(total)

    def count(done: int) -> None:
        runtime.check_interruption()
        if done % 25 == 0:
            runtime.show_text(f"{done} frames measured")

    return count


def motion_output(tooltip: str) -> io.Output:
    """The socket that gives a motion."""
    return io.Custom(MOTION).Output("motion", tooltip=tooltip)


def slider(id: str, label: str, default: float, most: float, step: float, tooltip: str, least: float = 0.0) -> io.Input:
    """A number within limits."""
    return io.Float.Input(id, display_name=label, default=default, min=least, max=most, step=step, tooltip=tooltip)


def _motion_inputs() -> list[io.Input]:
    return [
        seed_input(),
        slider("liveliness", "liveliness", 1.0, 2.0, 0.05, "How much the head turns: 0 not at all, 1 naturally."),
        slider("gaze", "gaze", 1.0, 2.0, 0.05, "How far the eyes wander: 0 not at all, 1 naturally."),
        slider("brows", "brows", 1.0, 2.0, 0.05, "How much the brows move: 0 not at all, 1 naturally."),
        slider("blinks", "blinks per second", 0.28, 2.0, 0.01, "Blinks per second, on average."),
        io.Combo.Input(
            "follows",
            options=list(SOURCES),
            default=SOURCES[0],
            tooltip="Speech: the motion goes with the speech of audio, as people move who say it. Random: it knows "
            "nothing of the sound, as without audio.",
        ),
        io.Combo.Input(
            "kind",
            options=list(KINDS),
            default=ANY,
            tooltip="Of a motion that follows speech: as any talker moves, or as the calmest or the liveliest do.",
        ),
        slider(
            "temperature", "temperature", 1.0, 1.5, 0.05,
            "Of a motion that follows speech: 0 is the likeliest motion, 1 is as varied as people's.",
        ),
        io.Boolean.Input("still", default=False, tooltip="The head, eyes and brows stay as they are; it only blinks."),
        slider("seconds", "seconds", 10.0, MOST_SECONDS, 0.1, "How long it is if no audio is connected.", 0.1),
        fps_input("Rows of the motion per second. The video may have another rate."),
        io.Audio.Input("audio", optional=True, tooltip="The speech: the motion goes with it and becomes as long."),
    ]  # fmt: skip


def _video_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "zero",
            options=list(ZEROS),
            default=FIRST,
            tooltip="Which pose is the portrait's own: that of the first frame that shows the head well, or the head's "
            "usual position in the video.",
        ),
        io.Combo.Input(
            "face",
            options=[LARGEST, LEFT_TO_RIGHT],
            default=LARGEST,
            tooltip="Which of several heads: the largest, or number face index from the left.",
        ),
        io.Int.Input(
            "face_index",
            display_name="face index",
            default=0,
            min=0,
            max=63,
            tooltip="Number of the head from the left, from 0, if face is left to right.",
        ),
        slider(
            "smoothing", "smoothing (s)", 0.04, 1.0, 0.01,
            "Seconds over which pose, size and brows are averaged. 0 leaves everything as measured.",
        ),
        *video_inputs(),
    ]  # fmt: skip
