"""Conversion between the host's IMAGE and AUDIO and the arrays of the core; nothing else changes their layout.

IMAGE is float32 (B, H, W, C) in 0..1, AUDIO ``{"waveform": (B, C, T), "sample_rate": Hz}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..diffused_heads_core.errors import DiffusedHeadsError
from ..diffused_heads_core.media.audio import Audio, from_waveform


def check_image(image: Tensor | None, name: str = "image") -> Tensor:
    """The IMAGE as it is. Raises DiffusedHeadsError unless it is finite floats (B, H, W, C) with 1, 3 or 4 channels.

    name: of the input that it came through, for the message.
    """
    if image is None:
        raise DiffusedHeadsError(f"{name}: expected an IMAGE, found none (the node before it gave nothing)")
    if not isinstance(image, Tensor):
        raise DiffusedHeadsError(f"{name}: expected an IMAGE, found {type(image).__name__}")
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        raise DiffusedHeadsError(
            f"{name}: expected pictures (batch, height, width, 1, 3 or 4 channels), found {tuple(image.shape)}"
        )
    if not image.is_floating_point():
        raise DiffusedHeadsError(f"{name}: expected values of 0 to 1 as floats, found {image.dtype}")
    for number, picture in enumerate(image):
        if not torch.isfinite(torch.stack(torch.aminmax(picture.float()))).all():  # aminmax passes NaN on
            raise DiffusedHeadsError(
                f"{name}: expected values of 0 to 1, found NaN or infinity in picture {number} of {len(image)}"
            )
    return image


def video_source(video: Any, images: Tensor | None, fps: float) -> str | tuple[Tensor, float | Fraction]:
    """The file of a VIDEO, or frames as an IMAGE and their rate: of a VIDEO without a file, or ``images`` at ``fps``.

    Raises DiffusedHeadsError unless exactly one of video and images is there.
    """
    if (video is None) == (images is None):
        raise DiffusedHeadsError("expected either video (from Load Video) or images, found both or none")
    if video is None:
        return check_image(images, "images"), fps
    # Other kinds of VIDEO would be encoded to be read; this one has no public name in ComfyUI 0.12.
    file = video.get_stream_source() if type(video).__name__ == "VideoFromFile" else None
    window = getattr(video, "get_active_trim_window", None)  # since ComfyUI 0.33
    if isinstance(file, str) and (window is None or tuple(window()) == (0.0, 0.0)):
        return file
    parts = video.get_components()
    return check_image(parts.images, "images"), parts.frame_rate


def opaque_image(image: Tensor | None) -> Tensor:
    """An IMAGE as float32 (B, H, W, 3) in 0..1: gray becomes RGB, transparent parts become white.

    Raises DiffusedHeadsError as ``check_image``.
    """
    pictures = check_image(image).float().clamp(0, 1)
    if pictures.shape[-1] == 4:
        alpha = pictures[..., 3:]
        return pictures[..., :3] * alpha + (1 - alpha)
    return pictures.expand(-1, -1, -1, 3)


def image_to_uint8(image: Tensor) -> np.ndarray:
    """Pictures (..., C) in 0..1 to uint8 of the same shape."""
    return (image.clamp(0, 1) * 255).round().byte().cpu().numpy()


def uint8_to_image(pictures: np.ndarray) -> Tensor:
    """uint8 pictures (..., C) to float32 of the same shape in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).float() / 255


def waveform_of(audio: Mapping[str, Any] | None) -> tuple[Tensor, int]:
    """The waveform, floats (1, C, T), and the rate in Hz of an AUDIO, which may be any mapping.

    Raises DiffusedHeadsError unless it holds one recording.
    """
    if audio is None:
        raise DiffusedHeadsError("audio: expected an AUDIO, found none (a video or picture without sound gives none)")
    if not isinstance(audio, Mapping) or "waveform" not in audio or "sample_rate" not in audio:
        raise DiffusedHeadsError(
            f"audio: expected an AUDIO with waveform and sample_rate, found {type(audio).__name__}"
        )
    waveform, rate = audio["waveform"], _rate_of(audio["sample_rate"])
    if not isinstance(waveform, Tensor) or not waveform.is_floating_point():
        found = waveform.dtype if isinstance(waveform, Tensor) else type(waveform).__name__
        raise DiffusedHeadsError(f"audio: expected a waveform of floats, found {found}")
    waveform = waveform[None] if waveform.ndim == 2 else waveform
    if waveform.ndim != 3 or waveform.shape[0] != 1 or not waveform.shape[1] or rate < 1:
        raise DiffusedHeadsError(
            f"audio: expected one recording, waveform (1, channels, samples), found {tuple(waveform.shape)} "
            f"at {rate} Hz"
        )
    if not waveform.shape[2]:
        raise DiffusedHeadsError("audio: expected a recording, found an empty one (0 samples)")
    return waveform, rate


def _rate_of(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise DiffusedHeadsError(f"audio: expected a sample_rate in Hz, found {value!r:.60}") from error


def audio_to_core(audio: Mapping[str, Any] | None, name: str = "audio") -> Audio:
    """An AUDIO as a recording of the core, copied; raises as ``waveform_of`` and ``from_waveform``."""
    waveform, rate = waveform_of(audio)
    return from_waveform(waveform[0], rate, name)


def audio_to_host(audio: Audio) -> dict[str, Any]:
    """A recording of the core as an AUDIO at its own rate and channels."""
    return {"waveform": torch.from_numpy(np.ascontiguousarray(audio.samples))[None], "sample_rate": audio.sample_rate}
