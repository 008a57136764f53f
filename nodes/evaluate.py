"""Node: Evaluate Video."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from comfy_api.latest import io
from torch import Tensor

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.evaluation import report
from ..diffused_heads_core.evaluation.figures import require_matplotlib
from ..diffused_heads_core.evaluation.measure import Settings, measure
from ..diffused_heads_core.evaluation.readers import FaceReader
from ..diffused_heads_core.evaluation.sources import ArraySource, Group
from ..diffused_heads_core.evaluation.totals import Totals
from . import runtime
from .convert import audio_to_core, image_to_uint8, opaque_image, uint8_to_image
from .inputs import fps_input
from .sockets import EVALUATION


class EvaluateTalkingHead(io.ComfyNode):
    """Measures a clip by itself and against its reference, if there is one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_Evaluate",
            display_name="Evaluate Video",
            category=EVALUATION,
            description="Measures a clip: lip sync, motion, sharpness, face similarity, difference to a reference.",
            search_aliases=["metrics", "quality", "SSIM", "PSNR", "optical flow", "benchmark"],
            inputs=[
                io.Image.Input("generated", tooltip="The frames to measure, in order."),
                fps_input("Frames per second. Connect the fps output of the sampler."),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="The true clip of the same person and speech, frame for frame, with the same proportions. "
                    "Without it, only the measures that need no reference are taken.",
                ),
                io.Audio.Input(
                    "audio", optional=True, tooltip="The speech; its waveform is drawn behind the mouth's opening."
                ),
                io.Boolean.Input(
                    "find_face",
                    display_name="find face",
                    default=True,
                    optional=True,
                    advanced=True,
                    tooltip="On: mouth, blinks and eyes are measured from landmarks; the face networks are downloaded "
                    "on first use. Off: those figures are left out.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "report",
                    tooltip="Bars, curves over time, mouth and waveform, optical flow and frames in one picture.",
                ),
                io.String.Output("numbers", tooltip="All figures as a text table, with what was not measured and why."),
                io.String.Output("json", tooltip="The figures as JSON: name and value."),
            ],
        )

    @classmethod
    def execute(
        cls,
        generated: Tensor,
        fps: float,
        reference: Tensor | None = None,
        audio: dict[str, Any] | None = None,
        find_face: bool = True,
    ) -> io.NodeOutput:
        require_matplotlib()
        sound = None if audio is None else audio_to_core(audio)
        true = None if reference is None else ArraySource("reference", frames(reference, "reference"), fps, sound)
        group = Group("clip", (ArraySource("generated", frames(generated, "generated"), fps, sound),), true)
        totals = Totals(settings(find_face))
        length = len(generated) if reference is None else min(len(generated), len(reference))
        totals.add(measure(group, totals.settings, runtime.progress_bar(length)))
        result = totals.result({})
        picture = uint8_to_image(report.report_picture(result))[None]
        return io.NodeOutput(picture, report.table(result), json.dumps(report.plain(result), indent=1))


def frames(images: Tensor | None, name: str) -> Iterator[np.ndarray]:
    """The frames of an IMAGE as uint8 (H, W, 3), converted one by one; raises DiffusedHeadsError without any."""
    if not isinstance(images, Tensor) or images.ndim != 4 or not len(images):
        found = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise DiffusedHeadsError(f"{name}: expected frames (number, height, width, channels), found {found}")
    return (image_to_uint8(opaque_image(image[None])[0]) for image in images)


def settings(find_face: bool) -> Settings:
    """How to measure: with the host's face networks if they are wanted and can be loaded."""
    if not find_face:
        return Settings(no_readers="find_face is off")
    try:
        finder = runtime.face_finder()
    except DiffusedHeadsError as error:
        return Settings(no_readers=f"the face networks are not there ({error})")
    return Settings(readers=lambda: FaceReader(finder))
