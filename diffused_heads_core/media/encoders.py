"""Which of FFmpeg's encoders write a video here, what they take, and how they are set."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import av
import numpy as np

from ..errors import DiffusedHeadsError
from ..processes import same_scheduling
from .audio import Audio
from .mixdown import resample

QUALITY = 18  # constant rate factor of x264, visually without loss
AAC, OPUS, FLAC = ("aac", "aac_at", "aac_mf"), ("libopus",), ("flac",)  # in order of preference, as all encoders here


@dataclass(frozen=True)
class Codec:
    """How a codec of pictures is written.

    ``name``: for messages. ``encoders``: of FFmpeg, in order of preference. ``largest``, ``smallest``: pixels per side.
    ``pix_fmt``: what it stores frames as; ``alpha_fmt``: with alpha, "" if it has none. ``worst_crf``: the largest
    constant rate factor, where 0 is the best; 0 if there is no such setting, nor a bitrate. ``offset``: what to add to
    x264's constant rate factor for about the same quality.
    """

    name: str
    encoders: tuple[str, ...]
    largest: int
    smallest: int = 1
    pix_fmt: str = "yuv420p"
    alpha_fmt: str = ""
    worst_crf: int = 0
    offset: int = 0

    @property
    def rgb(self) -> bool:
        """Whether it stores red, green and blue, without conversion and in any size."""
        return self.pix_fmt.startswith(("gbr", "bgr"))


_H265 = ("libx265", "hevc_videotoolbox", "hevc_mf")
# The assembly of x265 4.2 writes beyond its buffers if both sides are less than 64.
CODECS = {
    "h264": Codec("H.264", ("libx264", "libopenh264", "h264_videotoolbox", "h264_mf"), 16384, worst_crf=51),
    "h265": Codec("H.265", _H265, 65536, 64, worst_crf=51, offset=4),
    "h265-10bit": Codec("H.265", _H265, 65536, 64, "yuv420p10le", worst_crf=51, offset=4),
    "av1": Codec("AV1", ("libsvtav1", "libaom-av1"), 8704, 4, "yuv420p10le", worst_crf=63, offset=10),
    "vp9": Codec("VP9", ("libvpx-vp9", "libvpx"), 65536, 1, "yuv420p", "yuva420p", 63, 8),
    "prores4444": Codec("ProRes", ("prores_ks",), 65534, 1, "yuv444p10le", "yuva444p10le"),
    "ffv1": Codec("FFV1", ("ffv1",), 65534, 1, "bgr0", "bgra"),
    "ffv1-10bit": Codec("FFV1", ("ffv1",), 65534, 1, "gbrp10le", "gbrap10le"),
    "h264-nvenc": Codec("H.264 of NVENC", ("h264_nvenc",), 4096, 160, worst_crf=51, offset=1),
    "h265-nvenc": Codec("H.265 of NVENC", ("hevc_nvenc",), 8192, 160, worst_crf=51, offset=5),
    "av1-nvenc": Codec("AV1 of NVENC", ("av1_nvenc",), 8192, 192, worst_crf=51, offset=8),
}

_X265_QUIET = {"x265-params": "log-level=error"}
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_BT709 = {"color_primaries": "bt709", "color_trc": "bt709", "colorspace": "bt709", "color_range": "tv"}
_RGB = {"color_primaries": "bt709", "color_trc": "iec61966-2-1", "colorspace": "rgb", "color_range": "pc"}


@dataclass(frozen=True)
class Coding:
    """How to code pictures: ``codec``, a key of CODECS, None for the usual one of the file.

    By ``quality`` as x264 counts it, 0 (largest file) to 51; or by ``crf``, the codec's own constant rate factor, 0 to
    its ``worst_crf``; or by ``bitrate`` in bit/s. Codecs without these settings ignore them. Raises
    DiffusedHeadsError for values that cannot be.
    """

    codec: str | None = None
    quality: int = QUALITY
    crf: int | None = None
    bitrate: int | None = None

    def __post_init__(self) -> None:
        if self.codec is not None and self.codec not in CODECS:
            raise DiffusedHeadsError(f"codec={self.codec}, expected one of {', '.join(CODECS)}")
        if not 0 <= self.quality <= 51:
            raise DiffusedHeadsError(f"quality={self.quality}, expected 0 to 51")
        if self.crf is not None and self.bitrate is not None:
            raise DiffusedHeadsError("expected crf or bitrate, found both")


def add_video_stream(
    container: av.container.OutputContainer,
    codec: Codec,
    fps: Fraction,
    size: tuple[int, int],
    coding: Coding,
    alpha: bool = False,
) -> av.VideoStream:
    """Add a stream of pictures of ``size`` (height, width), both even; with ``alpha``, of transparent pictures.

    Raises DiffusedHeadsError for a size or rate factor that the codec does not take, if it holds no alpha, or if this
    FFmpeg cannot encode it.
    """
    height, width = size
    _check_size(codec, height, width)
    if alpha and not codec.alpha_fmt:
        raise DiffusedHeadsError(f"{codec.name} holds no transparency")
    name = video_encoder(codec)
    stream = container.add_stream(name, rate=fps)
    stream.width, stream.height = width, height
    stream.pix_fmt = codec.alpha_fmt if alpha else codec.pix_fmt
    stream.codec_context.time_base = 1 / fps
    if name.startswith(("libx265", "hevc")) and container.format.name in ("mp4", "mov"):
        stream.codec_context.codec_tag = "hvc1"  # Apple's players refuse hev1
    colours = _RGB if codec.rgb else _BT709
    stream.options = {**colours, **_encoder_options(name, alpha), **_set_rate(stream, name, codec, coding)}
    return stream


def _set_rate(stream: av.VideoStream, name: str, codec: Codec, coding: Coding) -> dict[str, str]:
    """Set the bitrate of a stream, or return the options of the encoder ``name`` for a constant rate factor."""
    if not codec.worst_crf:
        return {}
    if coding.bitrate is not None:
        stream.bit_rate = coding.bitrate
        return {}
    crf = min(codec.worst_crf, coding.quality + codec.offset) if coding.crf is None else coding.crf
    if not 0 <= crf <= codec.worst_crf:
        raise DiffusedHeadsError(f"crf={crf}, {codec.name} takes 0 to {codec.worst_crf}")
    if name in ("libx264", "libx265", "libsvtav1"):
        return {"crf": str(crf)}
    if name.startswith(("libvpx", "libaom")):
        return {"crf": str(crf), "b": "0"}
    if name.endswith("_nvenc"):
        return {"rc": "vbr", "cq": str(max(1, crf)), "b": "0"}  # to NVENC, 0 is automatic
    # No constant quality: 0.2 bit per pixel at the default, halved every six steps as x264 does.
    pixels = stream.width * stream.height * float(stream.codec_context.framerate)
    stream.bit_rate = max(200_000, int(pixels * 0.2 * 2 ** ((QUALITY - crf) / 6)))
    return {}


def _encoder_options(name: str, alpha: bool) -> dict[str, str]:
    """What an encoder needs beside the quality."""
    if name.startswith("libvpx"):  # frames that are never shown have no alpha
        speed = {"deadline": "good", "cpu-used": "4", "row-mt": "1"}
        return {**speed, "auto-alt-ref": "0"} if alpha else speed
    if name == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # else it prints its settings
    return {
        "libx265": _X265_QUIET,
        "libsvtav1": {"preset": "8"},
        "libaom-av1": {"cpu-used": "6", "row-mt": "1"},
        "prores_ks": {"profile": "4444", "alpha_bits": "16" if alpha else "0", "vendor": "apl0"},
        "ffv1": {"level": "3", "slicecrc": "1"},
    }.get(name, {"preset": "p5"} if name.endswith("_nvenc") else {})


def _check_size(codec: Codec, height: int, width: int) -> None:
    if max(width, height) > codec.largest:
        wrong = f"frames of {width} x {height}, {codec.name} takes {codec.largest} pixels a side at most"
        raise DiffusedHeadsError(f"{wrong}: make the picture smaller (max_side of Paste Back, --max-side in commands)")
    if min(width, height) < codec.smallest:
        least = f"{codec.smallest} x {codec.smallest}"
        raise DiffusedHeadsError(f"frames of {width} x {height}, {codec.name} takes {least} and more")


def encodable(audio: Audio, encoders: tuple[str, ...]) -> Audio:
    """The recording at the next higher rate that the encoder takes.

    Raises DiffusedHeadsError if it has more channels than a video takes.
    """
    if audio.channels not in _LAYOUTS:
        raise DiffusedHeadsError(f"{audio.name}: {audio.channels} channels, a video takes 1 to 8")
    rates = sorted(av.codec.Codec(_audio_encoder(encoders), "w").audio_rates or _AAC_RATES)
    rate = next((r for r in rates if r >= audio.sample_rate), rates[-1])
    samples = (
        audio.samples if rate == audio.sample_rate else resample(np.asarray(audio.samples), audio.sample_rate, rate)
    )
    return Audio(samples, rate, audio.name)


def add_audio_stream(
    container: av.container.OutputContainer, encoders: tuple[str, ...], audio: Audio
) -> av.AudioStream:
    """Add a stream for a recording that is ``encodable``."""
    name, layout, options = _audio_encoder(encoders), _LAYOUTS[audio.channels], {}
    if name == "libopus" and audio.channels > 2:  # else FFmpeg writes 5 and 7 channels in the wrong order
        layout, options = layout.replace("4.0", "quad"), {"mapping_family": "1"}
    stream = container.add_stream(name, rate=audio.sample_rate, layout=layout, options=options)
    stream.codec_context.time_base = Fraction(1, audio.sample_rate)
    stream.bit_rate = audio.channels * min(96_000, 4 * audio.sample_rate)
    return stream


@cache
def video_encoder(codec: Codec) -> str:
    """The first encoder of a codec that this FFmpeg has and that opens here. Raises DiffusedHeadsError if none does."""
    return _first_open(codec.encoders, codec.pix_fmt)


@cache
def _audio_encoder(names: tuple[str, ...]) -> str:
    return _first_open(names)


def _first_open(names: tuple[str, ...], pix_fmt: str = "") -> str:
    for name in names:
        try:
            context = av.CodecContext.create(name, "w")
            if pix_fmt:
                context.width, context.height, context.pix_fmt = 256, 256, pix_fmt
                context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
                context.options = _encoder_options(name, False)
                with same_scheduling():
                    context.open()
        except (av.error.FFmpegError, ValueError, LookupError):
            continue
        return name
    raise DiffusedHeadsError(f"this PyAV {av.__version__} has none of the encoders {', '.join(names)}")
