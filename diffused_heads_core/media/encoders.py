"""Which of FFmpeg's encoders write a video here, what they take, and how they are set."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import av

from ..errors import DiffusedHeadsError
from .audio import Audio
from .mixdown import resample

QUALITY = 18  # constant rate factor of x264, visually without loss
H264 = ("libx264", "libopenh264", "h264_videotoolbox", "h264_mf")  # in order of preference, as all of these
H265 = ("libx265", "hevc_videotoolbox", "hevc_mf")
VP9 = ("libvpx-vp9", "libvpx")
PRORES = ("prores_ks",)
WITH_ALPHA = {VP9: "yuva420p", PRORES: "yuva444p10le"}  # what they store transparent pictures as
AAC, OPUS = ("aac", "aac_at", "aac_mf"), ("libopus",)

_X265_QUIET = {"x265-params": "log-level=error"}
_X265_SMALLEST = 64  # the assembly of x265 4.2 writes beyond its buffers if both sides are less
_LARGEST = {
    H264: ("H.264", 16384),
    H265: ("H.265", 65536),
    VP9: ("VP9", 65536),
    PRORES: ("ProRes", 65534),
}  # pixels per side
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


def add_video_stream(
    container: av.container.OutputContainer,
    encoders: tuple[str, ...],
    fps: Fraction,
    size: tuple[int, int],
    quality: int,
    alpha: bool = False,
) -> av.VideoStream:
    """Add a stream of pictures of ``size`` (height, width), both even; ``quality`` as x264 counts it, 0..51.

    alpha: transparent pictures; ``encoders`` is then one of WITH_ALPHA. ProRes, which is only for these, has a fixed
    quality. Raises DiffusedHeadsError for a size that the encoder does not take, or if this FFmpeg has none of
    ``encoders``.
    """
    height, width = size
    _check_size(encoders, height, width)
    name = _encoder(encoders)
    stream = container.add_stream(name, rate=fps)
    stream.width, stream.height = width, height
    stream.pix_fmt = WITH_ALPHA[encoders] if alpha else "yuv420p"
    stream.codec_context.time_base = 1 / fps
    options = {"color_primaries": "bt709", "color_trc": "bt709", "colorspace": "bt709", "color_range": "tv"}
    if name in H265 and container.format.name in ("mp4", "mov"):
        stream.codec_context.codec_tag = "hvc1"  # Apple's players refuse hev1
    if name == "libx264":
        options["crf"] = str(quality)
    elif name == "libx265":  # its scale is about four steps finer than that of x264
        options |= {"crf": str(min(51, quality + 4)), **_X265_QUIET}
    elif name.startswith("libvpx"):
        options |= {"crf": str(min(63, quality + 8)), "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}
        options |= {"auto-alt-ref": "0"} if alpha else {}  # frames that are never shown have no alpha
    elif name == "prores_ks":
        options |= {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"}
    else:  # no constant quality: 0.2 bit per pixel at the default, halved every six steps as x264 does
        stream.bit_rate = max(200_000, int(width * height * float(fps) * 0.2 * 2 ** ((QUALITY - quality) / 6)))
    stream.options = options
    return stream


def _check_size(encoders: tuple[str, ...], height: int, width: int) -> None:
    name, largest = _LARGEST[encoders]
    if max(width, height) > largest:
        wrong = f"frames of {width} x {height}, {name} takes {largest} pixels a side at most"
        raise DiffusedHeadsError(f"{wrong}: make the picture smaller (max_side of Paste Back, --max-side in commands)")
    if encoders is H265 and min(width, height) < _X265_SMALLEST:
        least = f"{_X265_SMALLEST} x {_X265_SMALLEST}"
        raise DiffusedHeadsError(f"frames of {width} x {height}, {name} takes {least} and more")


def encodable(audio: Audio, encoders: tuple[str, ...]) -> Audio:
    """The recording at the next higher rate that the encoder takes.

    Raises DiffusedHeadsError if it has more channels than a video takes.
    """
    if audio.channels not in _LAYOUTS:
        raise DiffusedHeadsError(f"{audio.name}: {audio.channels} channels, a video takes 1 to 8")
    rates = sorted(av.codec.Codec(_encoder(encoders), "w").audio_rates or _AAC_RATES)
    rate = next((r for r in rates if r >= audio.sample_rate), rates[-1])
    samples = audio.samples if rate == audio.sample_rate else resample(audio.samples, audio.sample_rate, rate)
    return Audio(samples, rate, audio.name)


def add_audio_stream(
    container: av.container.OutputContainer, encoders: tuple[str, ...], audio: Audio
) -> av.AudioStream:
    """Add a stream for a recording that is ``encodable``."""
    name, layout, options = _encoder(encoders), _LAYOUTS[audio.channels], {}
    if name == "libopus" and audio.channels > 2:  # else FFmpeg writes 5 and 7 channels in the wrong order
        layout, options = layout.replace("4.0", "quad"), {"mapping_family": "1"}
    stream = container.add_stream(name, rate=audio.sample_rate, layout=layout, options=options)
    stream.codec_context.time_base = Fraction(1, audio.sample_rate)
    stream.bit_rate = audio.channels * min(96_000, 4 * audio.sample_rate)
    return stream


@cache
def _encoder(names: tuple[str, ...]) -> str:
    """The first of these encoders that this FFmpeg has and that opens here."""
    for name in names:
        try:
            codec = av.codec.Codec(name, "w")
            if codec.type == "video":
                context = av.CodecContext.create(name, "w")
                context.width, context.height = 256, 256
                context.pix_fmt = WITH_ALPHA[PRORES] if names is PRORES else "yuv420p"
                context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
                context.options = _X265_QUIET if name == "libx265" else {}
                context.open()
        except (av.error.FFmpegError, ValueError, LookupError):
            continue
        return name
    raise DiffusedHeadsError(f"this PyAV {av.__version__} has none of the encoders {', '.join(names)}")
