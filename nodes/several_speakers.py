"""Node: Several Speakers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import comfy.utils
import numpy as np
import torch
from comfy_api.latest import io
from PIL import Image
from torch import Tensor

from ..diffused_heads_core.conversation.animation import OTHERS, Conversation, animate_several
from ..diffused_heads_core.conversation.heads import Box
from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.face.placing import NoFaceError
from ..diffused_heads_core.media.audio import Audio
from ..diffused_heads_core.media.pictures import shrink
from . import runtime
from .convert import audio_to_core, audio_to_host, check_image, image_to_uint8, uint8_to_image
from .identity import framed, square_to_try
from .inputs import loaded_model_input, making_inputs, max_side_input, options_input, seed_input
from .load_model import LoadModel, load
from .page_messages import SamplingStatus
from .paste_back import check_memory
from .sockets import CATEGORY, Model, Sampling
from .talking_portrait import livelier, video_of

PREVIEW_SIDE = 768  # pixels of the longer side: several heads share the preview
EACH, CHANNELS = "one recording per head", "channels of audio 1"
ALIASES = [
    "multiple speakers", "two people", "conversation", "dialogue", "interview", "podcast", "multi talk",
    "talking heads", "lip sync", "Diffused Heads",
]  # fmt: skip


class SeveralSpeakers(io.ComfyNode):
    """A picture of several people and what each of them says in, the frames and the video out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_SeveralSpeakers",
            display_name="Several Speakers",
            category=CATEGORY,
            description="Two or more people in one picture talk, each with a recording of their own; without one, a "
            "head listens. Heads are counted from left to right.",
            search_aliases=ALIASES,
            inputs=_inputs(),
            outputs=[
                io.Image.Output("images", tooltip="The frames: the whole picture with all heads moving in it."),
                io.Audio.Output("audio", tooltip="All recordings at once, for Video Combine."),
                io.Float.Output("fps", tooltip="The frames' rate, for Video Combine."),
                io.Video.Output("video", tooltip="The finished video with its sound, for Save Video."),
                io.String.Output("roles", tooltip="Who is who: a line per head with its place and what it says."),
                io.Image.Output("numbers", tooltip="The picture with the number of each head drawn into it."),
            ],
        )

    @classmethod
    def validate_inputs(cls, model_name: str | None = None) -> bool | str:
        """As Load Diffused Heads Model's."""
        return LoadModel.validate_inputs(model_name)

    @classmethod
    def fingerprint_inputs(cls, model_name: str | None = None, **more: Any) -> str:
        """As Load Diffused Heads Model's."""
        return LoadModel.fingerprint_inputs(model_name)

    @classmethod
    def execute(
        cls,
        image: Tensor,
        sound: str,
        others: str,
        model_name: str,
        quality: str,
        liveliness: float,
        seed: int,
        audio_1: dict[str, Any] | None = None,
        audio_2: dict[str, Any] | None = None,
        audio_3: dict[str, Any] | None = None,
        audio_4: dict[str, Any] | None = None,
        options: Sampling | None = None,
        model: Model | None = None,
        squares: str = "",
        max_side: int = 1920,
    ) -> io.NodeOutput:
        picture = one_picture(image, max_side)
        recordings = recordings_of((audio_1, audio_2, audio_3, audio_4), sound)
        boxes = parse_squares(squares)
        model, sampling = model or load(model_name), livelier(options or Sampling(), liveliness)
        runtime.bring_to_device(model.head, model.patcher)
        with runtime.warnings_on_node(), runtime.speech_model_released(model.head), no_face_shown():
            conversation = animate_several(
                picture,
                recordings,
                model.head,
                others=others,
                boxes=boxes,
                motion=sampling.motion,
                fps=sampling.fps,
                finder=runtime.face_finder,
                preset=quality,
                **{"seed": seed, **sampling.changes},
            )
        images, audio = sample(conversation), audio_to_host(conversation.audio)
        return io.NodeOutput(
            images,
            audio,
            float(conversation.rate),
            video_of(images, audio, conversation.rate),
            "\n".join(conversation.roles()),
            uint8_to_image(conversation.numbered_picture())[None],
        )


@contextmanager
def no_face_shown() -> Iterator[None]:
    """Within the block, show a picture without a face as the preview, and name the input that helps."""
    try:
        yield
    except NoFaceError as error:
        square = square_to_try(error)
        runtime.show_picture(framed(error.picture, square))
        raise DiffusedHeadsError(
            f"{error.problem}; write the heads' squares into squares, a line for each: {square.x:.2f} {square.y:.2f} "
            f"{square.size:.2f} is the red square in the preview"
        ) from error


def one_picture(image: Tensor, max_side: int) -> np.ndarray:
    """The only picture of an IMAGE as uint8 (H, W, 3 or 4), its longer side at most ``max_side`` pixels."""
    check_image(image)
    if len(image) != 1:
        raise DiffusedHeadsError(f"image: expected one picture with all speakers in it, found {len(image)}")
    picture = image[0] if image.shape[-1] > 1 else image[0].expand(-1, -1, 3)
    return shrink(image_to_uint8(picture), max_side)


def recordings_of(audios: tuple[dict[str, Any] | None, ...], sound: str) -> Audio | Mapping[int, Audio | None]:
    """What each head says by its number, or one recording with a channel for each.

    Raises DiffusedHeadsError if nothing is connected, and for more recordings than the choice ``sound`` takes.
    """
    given = {number: audio for number, audio in enumerate(audios, 1) if audio is not None}
    if not given:
        raise DiffusedHeadsError("audio 1 to audio 4: expected at least one recording, found none")
    if sound == EACH:
        return {number: audio_to_core(audio, f"audio {number}") for number, audio in given.items()}
    if list(given) != [1]:
        found = ", ".join(f"audio {number}" for number in given)
        raise DiffusedHeadsError(f"sound is {CHANNELS!r}: expected audio 1 alone, found {found}")
    return audio_to_core(given[1], "audio 1")


def parse_squares(text: str) -> list[Box]:
    """Squares set by hand, one "x y size" per line. Raises DiffusedHeadsError for other lines."""
    boxes = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        try:
            x, y, size = (float(word) for word in line.replace(",", " ").split())
        except ValueError:
            raise DiffusedHeadsError(
                f"squares: expected x y size in each line, such as 0.25 0.4 0.5, found {line!r:.40}"
            ) from None
        boxes.append((x, y, size))
    return boxes


def sample(conversation: Conversation) -> Tensor:
    """All frames as IMAGE (N, H, W, 3), with the host's progress bar and a preview of the whole picture.

    Raises DiffusedHeadsError before it begins if memory is short.
    """
    count, (height, width) = len(conversation), conversation.picture.shape[:2]
    check_memory(count, torch.empty(height, width, 3, device="meta"))
    images, progress = torch.empty((count, height, width, 3)), _Progress(conversation)
    for number, frame in enumerate(conversation.frames(progress.on_step)):
        images[number] = uint8_to_image(frame)
        progress.show(frame)
    return images


class _Progress:
    """Moves the host's bar at every denoising step of every head, interrupts if the user cancels, shows pictures."""

    def __init__(self, conversation: Conversation):
        self.steps = next(iter(conversation.moving.values())).options.steps
        self.total = len(conversation) * len(conversation.moving) * self.steps
        self.bar, self.done, self.shown = comfy.utils.ProgressBar(self.total), 0, 0.0
        self.status = SamplingStatus(len(conversation))

    def on_step(self, number: int, step: int, x0: Tensor) -> None:
        """Called as ``Conversation.frames`` says."""
        runtime.check_interruption()
        self.done = number * self.steps + step + 1
        self.bar.update_absolute(self.done, self.total)
        self.status.show(self.done / self.total * self.status.frames)

    def show(self, frame: np.ndarray) -> None:
        """Show a finished picture, not more often than previews are due."""
        if time.monotonic() - self.shown >= runtime.PREVIEW_INTERVAL:
            self.shown = time.monotonic()
            picture = Image.fromarray(shrink(frame, PREVIEW_SIDE))
            self.bar.update_absolute(self.done, self.total, ("JPEG", picture, None))


def _inputs() -> list[io.Input]:
    places = ("leftmost head", "second head from the left", "third head from the left", "fourth head from the left")
    return [
        io.Image.Input(
            "image", tooltip="One picture with all the people in it. Heads are counted from left to right, from 1."
        ),
        *(
            io.Audio.Input(
                f"audio_{number}",
                display_name=f"audio {number}",
                optional=True,
                tooltip=f"What the {place} says. The video is as long as the longest recording; a head is silent "
                "after the end of its own.",
            )
            for number, place in enumerate(places, 1)
        ),
        io.Combo.Input(
            "sound",
            options=[EACH, CHANNELS],
            default=EACH,
            tooltip="One recording per head: audio 1 is the leftmost head's, audio 2 the next one's. Channels of audio "
            "1: a stereo recording, the left channel is the leftmost head's, the right channel the next one's.",
        ),
        io.Combo.Input(
            "others",
            display_name="heads without a recording",
            options=list(OTHERS),
            default=OTHERS[0],
            tooltip="Listen: the mouth stays shut, head and lids move calmly. Still: the picture stays as it is there.",
        ),
        *making_inputs(),
        seed_input(" Head 1 moves as in Talking Portrait with this seed, head 2 as with the next one."),
        options_input(),
        loaded_model_input(),
        io.String.Input(
            "squares",
            default="",
            multiline=True,
            optional=True,
            advanced=True,
            tooltip="The heads' squares by hand, for cartoons and animals whose faces are not found: a line per head "
            "with x, y and size, such as 0.25 0.4 0.5. x and y are the centre as fractions of width and height, size "
            "is a fraction of the shorter side. Line 1 is head 1. Empty: all faces that are found.",
        ),
        max_side_input(),
    ]
