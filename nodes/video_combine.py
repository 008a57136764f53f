"""Node: Video Combine."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import folder_paths
from comfy.cli_args import args
from comfy_api.latest import InputImpl, Types, io, ui
from torch import Tensor

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.media.audio import Audio
from ..diffused_heads_core.media.encoders import Coding
from ..diffused_heads_core.media.export import QUALITY, ExportOptions, Format, export, formats_here, write_still
from ..diffused_heads_core.media.video import as_fps, write_video
from . import runtime
from .clip import LENGTHS, Clip, masked
from .convert import audio_to_core
from .inputs import fps_input
from .output_files import Target, checked_prefix, next_target
from .sockets import CATEGORY

_log = logging.getLogger(__name__)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
SHOWN_PICTURES = 16  # of a folder of pictures, at most
UNREAD = (".gif", ".mkv")  # suffixes of files from which the page reads no workflow: a PNG beside them holds it
PREFIX = "video/diffused_heads"


class VideoCombine(io.ComfyNode):
    """From pictures and sound to one file, which plays in the node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_VideoCombine",
            display_name="Video Combine (Diffused Heads)",
            category=CATEGORY,
            description="Writes pictures and sound to one file with the workflow inside, and plays it here.",
            search_aliases=["save video", "export video", "gif", "webm", "mp4", "prores", "av1", "ffv1", "apng"],
            inputs=_inputs(),
            outputs=[
                io.Video.Output("video", tooltip="The clip, for nodes that take a VIDEO."),
                io.String.Output(
                    "filenames", is_output_list=True, tooltip="The path of the file, or of every picture of a folder."
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None = PREFIX) -> bool | str:
        """Whether the prefix, None if it comes from a node, is inside the output folder; else what is wrong."""
        try:
            checked_prefix(filename_prefix or PREFIX, folder_paths.get_output_directory())
        except DiffusedHeadsError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls,
        images: Tensor,
        fps: float,
        format: str = "mp4-h264",
        quality: int = QUALITY,
        filename_prefix: str = PREFIX,
        pingpong: bool = False,
        loop_count: int = 0,
        save_output: bool = True,
        audio: dict[str, Any] | None = None,
        mask: Tensor | None = None,
        length: str = "pictures",
        rate_control: str = "quality",
        crf: int = 18,
        bitrate: float = 8.0,
        save_metadata: bool = True,
    ) -> io.NodeOutput:
        bits = round(bitrate * 1e6) if rate_control == "bitrate" else None
        options = ExportOptions(format, quality, loop_count, crf if rate_control == "crf" else None, bits)
        kind, rate = options.kind, as_fps(fps)
        images = images if mask is None else masked(images, mask)
        clip, sound = Clip(images, pingpong, kind.alpha, kind.bits), _sound(audio, kind, length)
        clip.fit(sound, rate, length)
        beside = (".png",) if kind.suffix in UNREAD else ()
        target = next_target(filename_prefix, clip.size, kind.suffix, save_output, beside)
        wanted = save_metadata and not args.disable_metadata
        metadata = workflow_metadata(cls.hidden.prompt, cls.hidden.extra_pnginfo) if wanted else {}
        export(target.path, clip, rate, options, sound, metadata, runtime.progress_bar(len(clip)))
        if beside and metadata:
            write_still(target.path.with_suffix(".png"), clip[0], metadata)
        if kind.codec:
            video = InputImpl.VideoFromFile(str(target.path))
        else:
            parts = Types.VideoComponents(images=clip.whole(), audio=audio, frame_rate=rate)
            video = InputImpl.VideoFromComponents(parts)
        files = [target.path] if kind.suffix else sorted(target.path.iterdir())
        shown = _shown(target, options) if kind.shown else _preview(target, clip, rate, sound)
        return io.NodeOutput(video, list(map(str, files)), ui=shown)


def _widgets_of(kind: Format) -> list[str]:
    """The widgets that matter for a format and not for all; the page hides the others."""
    found = ["quality"] * kind.lossy + ["loop_count"] * kind.loops
    return found + ["rate_control", "crf", "bitrate"] * bool(kind.worst_crf)


def workflow_metadata(prompt: Any, extra: Mapping[str, Any] | None) -> dict[str, str]:
    """What the page reads from a dropped file, as JSON: the ``prompt``, and whatever the page sent (``workflow``)."""
    found = {} if prompt is None else {"prompt": prompt}
    return {key: _json(value) for key, value in {**(extra or {}), **found}.items()}


def _json(value: Any) -> str:
    """ASCII JSON without braces in its strings: in a WebM, the page finds the end by counting them."""
    return _STRING.sub(lambda text: text[0].replace("{", "\\u007b").replace("}", "\\u007d"), json.dumps(value))


def _sound(audio: dict[str, Any] | None, kind: Format, length: str) -> Audio | None:
    if audio is not None and not kind.codec:
        _log.info("Video Combine: this format holds no sound, it is left out")
    return None if audio is None or (not kind.codec and length == "pictures") else audio_to_core(audio)


def _saved(target: Target, name: str = "", subfolder: str | None = None) -> Any:
    return ui.SavedResult(name or target.path.name, subfolder or target.subfolder, target.folder)


def _shown(target: Target, options: ExportOptions) -> Any:
    """What the node shows: a player, which repeats, for videos, an <img> for pictures.

    A GIF must not be called animated, or the page gives it a player.
    """
    if not options.kind.suffix:
        names = sorted(path.name for path in target.path.iterdir())
        names = names[:: -(-len(names) // SHOWN_PICTURES)]  # every nth
        subfolder = (Path(target.subfolder) / target.path.name).as_posix()
        return ui.SavedImages([_saved(target, name, subfolder) for name in names])
    if options.kind.codec:
        return ui.PreviewVideo([_saved(target)])
    return ui.SavedImages([_saved(target)], is_animated=options.format != "gif")


def _preview(target: Target, clip: Clip, fps: Fraction, sound: Audio | None) -> dict[str, Any]:
    """What the node shows of a file that browsers cannot play: a small copy in the temporary folder.

    ``files`` names the file itself, for those who ask the server for it.
    """
    copy = next_target("diffused_heads_preview", clip.size, ".mp4", save_output=False)
    write_video(copy.path, clip.small(), fps, sound, Coding(quality=23))
    return {"images": [_saved(copy)], "animated": (True,), "files": [_saved(target)]}


def _inputs() -> list[io.Input]:
    return [
        io.Image.Input("images", tooltip="The frames, in order."),
        fps_input("Frames per second. Connect the fps output of the sampler."),
        io.Audio.Input(
            "audio",
            optional=True,
            tooltip="The video's sound. It keeps its channels and sample rate, and is cut or padded with "
            "silence to the length of the picture (see length). GIF, WebP and PNG have no sound.",
        ),
        io.Combo.Input(
            "format",
            options=list(formats_here()),
            default="mp4-h264",
            tooltip="mp4-h264 plays everywhere. h265 and av1 are smaller; nvenc encodes on the graphics card. "
            "webm is an open format. gif, webp and apng are animated pictures, png is a folder of them. For "
            "editing: prores4444 and the lossless ffv1. Transparent: webm-vp9-alpha, prores4444, ffv1, webp, "
            "apng, png.",
            extra_dict={"widgets_of": {name: _widgets_of(kind) for name, kind in formats_here().items()}},
        ),
        io.Int.Input(
            "quality",
            default=QUALITY,
            min=0,
            max=100,
            step=1,
            tooltip="100 is the best and the largest; 80 looks like the original. For a gif it sets the number "
            "of colours; lossless formats ignore it.",
        ),
        io.String.Input(
            "filename_prefix",
            display_name="filename prefix",
            default=PREFIX,
            tooltip="Folder and beginning of the file's name. %date:yyyy-MM-dd%, %Load Image.image%, %width% "
            "and the like are filled in. A number follows; nothing is overwritten.",
        ),
        io.Boolean.Input(
            "save_output",
            display_name="save to output",
            default=True,
            tooltip="On: into the output folder. Off: into the temporary folder, which ComfyUI empties.",
        ),
        *_optional_inputs(),
    ]


def _optional_inputs() -> list[io.Input]:
    return [
        io.Boolean.Input(
            "pingpong",
            display_name="ping-pong",
            default=False,
            optional=True,
            advanced=True,
            tooltip="Play forwards, then backwards. The sound plays once; silence follows.",
        ),
        io.Int.Input(
            "loop_count",
            display_name="loop count",
            default=0,
            min=0,
            max=65535,
            step=1,
            optional=True,
            advanced=True,
            tooltip="How often a gif, webp or apng plays; 0 repeats it for ever.",
        ),
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="What is seen: 1 is opaque, 0 transparent, one mask for all pictures or one for each. It "
            "replaces the pictures' own alpha. Formats without transparency show white instead.",
        ),
        io.Combo.Input(
            "length",
            options=list(LENGTHS),
            default="pictures",
            optional=True,
            advanced=True,
            tooltip="How long the clip is: as the pictures, as the audio, as the shorter or as the longer of "
            "the two. Missing pictures repeat the last one, missing audio is silence.",
        ),
        io.Combo.Input(
            "rate_control",
            display_name="rate control",
            options=["quality", "crf", "bitrate"],
            default="quality",
            optional=True,
            advanced=True,
            tooltip="What sets a video's size: the quality above, the codec's own constant rate factor (crf), "
            "or a bitrate.",
        ),
        io.Int.Input(
            "crf",
            default=18,
            min=0,
            max=63,
            step=1,
            optional=True,
            advanced=True,
            tooltip="For rate control by crf: 0 is the best and the largest. h264 and h265 go to 51, vp9 and "
            "av1 to 63.",
        ),
        io.Float.Input(
            "bitrate",
            display_name="bitrate (Mbit/s)",
            default=8.0,
            min=0.05,
            max=1000.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip="For rate control by bitrate: millions of bits per second, on average.",
        ),
        io.Boolean.Input(
            "save_metadata",
            display_name="save metadata",
            default=True,
            optional=True,
            advanced=True,
            tooltip="Put the workflow into the file, so that dropping it on the canvas brings it back. The "
            "note that it is AI-generated stays in any case.",
        ),
    ]
