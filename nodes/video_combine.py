"""Node: Video Combine."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
import torch
from comfy.cli_args import args
from comfy_api.latest import InputImpl, Types, io, ui
from torch import Tensor
from torch.nn.functional import pad

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.media.audio import Audio
from ..diffused_heads_core.media.export import (
    QUALITY,
    SUFFIXES,
    VIDEOS,
    WITH_ALPHA,
    ExportOptions,
    export,
    play_order,
    write_still,
)
from ..diffused_heads_core.media.video import as_fps
from . import runtime
from .convert import audio_to_core, check_image, image_to_uint8, opaque_image
from .sockets import CATEGORY

_log = logging.getLogger(__name__)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
SHOWN_PICTURES = 16  # of a folder of pictures, at most


class VideoCombine(io.ComfyNode):
    """From pictures and sound to one file, which plays in the node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_VideoCombine",
            display_name="Video Combine (Diffused Heads)",
            category=CATEGORY,
            description="Writes pictures and sound to one file with the workflow inside, and plays it here.",
            search_aliases=["save video", "export video", "gif", "webm", "mp4"],
            inputs=[
                io.Image.Input("images", tooltip="The frames, in order."),
                io.Float.Input(
                    "fps",
                    display_name="frames per second",
                    default=25.0,
                    min=1.0,
                    max=240.0,
                    step=0.001,
                    tooltip="Frames per second. Connect the fps output of the sampler.",
                ),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="The video's sound. It keeps its channels and sample rate, and is cut or padded with "
                    "silence to the length of the picture. GIF, WebP and PNG have no sound.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(SUFFIXES),
                    default="mp4-h264",
                    tooltip="mp4-h264 plays everywhere. mp4-h265 is smaller, but not every browser plays it. webm-vp9 "
                    "is an open format. gif and webp are animated pictures. png is a folder of lossless pictures. "
                    "webm-vp9-alpha (for browsers) and mov-prores4444 (for editing, no browser plays it) are "
                    "transparent videos.",
                ),
                io.Int.Input(
                    "quality",
                    default=QUALITY,
                    min=0,
                    max=100,
                    step=1,
                    tooltip="100 is the best and the largest; 80 looks like the original. For a gif it sets the number "
                    "of colours; png ignores it.",
                ),
                io.String.Input(
                    "filename_prefix",
                    display_name="filename prefix",
                    default="video/diffused_heads",
                    tooltip="Folder and beginning of the file's name. %date:yyyy-MM-dd%, %year%, %width% and the like "
                    "are filled in. A number follows; nothing is overwritten.",
                ),
                io.Boolean.Input(
                    "save_output",
                    display_name="save to output",
                    default=True,
                    tooltip="On: into the output folder. Off: into the temporary folder, which ComfyUI empties.",
                ),
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
                    tooltip="How often a gif or webp plays; 0 repeats it for ever.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="What is seen: 1 is opaque, 0 transparent, one mask for all pictures or one for each. It "
                    "replaces the pictures' own alpha. Formats without transparency show white instead.",
                ),
            ],
            outputs=[io.Video.Output("video", tooltip="The clip, for nodes that take a VIDEO.")],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        images: Tensor,
        fps: float,
        format: str = "mp4-h264",
        quality: int = QUALITY,
        filename_prefix: str = "video/diffused_heads",
        pingpong: bool = False,
        loop_count: int = 0,
        save_output: bool = True,
        audio: dict[str, Any] | None = None,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        options = ExportOptions(format, quality, loop_count)
        images = images if mask is None else masked(images, mask)
        clip, rate = Clip(images, pingpong, format in WITH_ALPHA), as_fps(fps)
        sound = _sound(audio, format)
        target = next_target(filename_prefix, images, options.suffix, save_output)
        metadata = {} if args.disable_metadata else workflow_metadata(cls.hidden.prompt, cls.hidden.extra_pnginfo)
        export(target.path, clip, rate, options, sound, metadata, runtime.progress_bar(len(clip)))
        if format == "gif" and metadata:  # no place for them in a GIF
            write_still(workflow_picture(target.path), clip[0], metadata)
        if format in VIDEOS:
            video = InputImpl.VideoFromFile(str(target.path))
        else:
            parts = Types.VideoComponents(images=clip.whole(), audio=audio, frame_rate=rate)
            video = InputImpl.VideoFromComponents(parts)
        return io.NodeOutput(video, ui=_shown(target, format))


def masked(images: Tensor, mask: Tensor) -> Tensor:
    """IMAGE (N, H, W, 4) with a MASK, (H, W), (1, H, W) or (N, H, W), as its alpha.

    Raises DiffusedHeadsError if it does not fit.
    """
    check_image(images, "images")
    count, height, width = images.shape[:3]
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.ndim != 3 or mask.shape[0] not in (1, count) or mask.shape[1:] != (height, width):
        raise DiffusedHeadsError(
            f"mask: expected 1 or {count} of {height} x {width} pixels, as the images, found {tuple(mask.shape)}"
        )
    colours = images[..., :3].expand(-1, -1, -1, 3)
    alpha = mask.to(colours).expand(count, -1, -1)[..., None].clamp(0, 1)
    return torch.cat([colours, alpha.nan_to_num()], -1)


def workflow_picture(path: Path) -> Path:
    """The PNG beside a GIF that holds its workflow."""
    return path.with_suffix(".png")


class Clip(Sequence):
    """The frames of an IMAGE as uint8 (H, W, 3 or 4), in playing order, each converted when it is asked for."""

    def __init__(self, images: Tensor, pingpong: bool = False, keep_alpha: bool = False):
        check_image(images, "images")
        self.images, self.order = images, play_order(len(images), pingpong)
        self.keep_alpha = keep_alpha and images.shape[-1] == 4

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, i: int) -> np.ndarray:
        image = self.images[self.order[i]]
        return image_to_uint8(image.float() if self.keep_alpha else opaque_image(image[None])[0])

    def whole(self) -> Tensor:
        """The IMAGE (N, H, W, 3) in playing order and of even size, for the host's encoders; copied only if needed."""
        images = self.images if len(self.order) == len(self.images) else self.images[self.order]
        images = opaque_image(images) if images.shape[-1] != 3 else images
        height, width = images.shape[1:3]
        if height % 2 == width % 2 == 0:
            return images
        return pad(images.movedim(-1, 1), (0, width % 2, 0, height % 2), mode="replicate").movedim(1, -1)


@dataclass(frozen=True)
class Target:
    """Where a clip goes: ``path`` on the disk, and the subfolder and folder by which the page asks for it."""

    path: Path
    subfolder: str
    folder: Any


def next_target(prefix: str, images: Tensor, suffix: str, save_output: bool) -> Target:
    """The host's next free name for this prefix in its output or temporary folder.

    Raises DiffusedHeadsError if nothing can be written there.
    """
    root = folder_paths.get_output_directory() if save_output else folder_paths.get_temp_directory()
    height, width = images.shape[1:3]
    try:
        if "\0" in prefix:
            raise ValueError("a file's name holds no null character")
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            prefix.strip() or "diffused_heads", root, width, height
        )
        name = name.replace("%batch_num%", "0")
        while (path := Path(folder) / f"{name}_{counter:05}_{suffix}").exists() or (
            suffix == ".gif" and workflow_picture(path).exists()
        ):
            counter += 1
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DiffusedHeadsError(f"filename_prefix={prefix!r:.80}: cannot write there ({reason})") from error
    return Target(path, subfolder, io.FolderType.output if save_output else io.FolderType.temp)


def workflow_metadata(prompt: Any, extra: Mapping[str, Any] | None) -> dict[str, str]:
    """What the page reads from a dropped file, as JSON: the ``prompt``, and whatever the page sent (``workflow``)."""
    found = {} if prompt is None else {"prompt": prompt}
    return {key: _json(value) for key, value in {**(extra or {}), **found}.items()}


def _json(value: Any) -> str:
    """ASCII JSON without braces in its strings: in a WebM, the page finds the end by counting them."""
    return _STRING.sub(lambda text: text[0].replace("{", "\\u007b").replace("}", "\\u007d"), json.dumps(value))


def _sound(audio: dict[str, Any] | None, format: str) -> Audio | None:
    if audio is not None and format not in VIDEOS:
        _log.info("Video Combine: %s holds no sound, it is left out", format)
    return None if audio is None or format not in VIDEOS else audio_to_core(audio)


def _shown(target: Target, format: str) -> Any:
    """What the node shows: a player for videos, an <img> for pictures.

    A GIF must not be called animated, or the page gives it a player.
    """
    if format == "png":
        names = sorted(path.name for path in target.path.iterdir())
        names = names[:: -(-len(names) // SHOWN_PICTURES)]  # every nth
        subfolder = (Path(target.subfolder) / target.path.name).as_posix()
        return ui.SavedImages([ui.SavedResult(name, subfolder, target.folder) for name in names])
    saved = [ui.SavedResult(target.path.name, target.subfolder, target.folder)]
    return ui.PreviewVideo(saved) if format in VIDEOS else ui.SavedImages(saved, is_animated=format == "webp")
