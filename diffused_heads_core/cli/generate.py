"""``diffused-heads generate`` and ``demo``: everything is checked before the first frame is sampled."""

from __future__ import annotations

import argparse
import math
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import batch, dubbing, speakers
from .forecast import Forecast
from .parser import add_command
from .request import SECONDS, add_head, add_part, add_sampling, add_video, check_output, request, signer, warn_of_motion

if TYPE_CHECKING:
    from ..media.signing import Signer
    from ..pipeline import Animation, Clip

BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} frames, {rate_noinv_fmt}, {remaining} left"


def add_commands(commands: Any) -> None:
    """Add ``generate`` and ``demo``."""
    _add_generate(commands)
    _add_demo(commands)


def _add_generate(commands: Any) -> None:
    parser = add_command(
        commands,
        "generate",
        generate,
        "make videos of heads that speak recordings",
        "Make a video in which the head of a portrait speaks a recording. The recording's own sound goes into the\n"
        "video, and the video says in its metadata that it is AI-generated. An existing video is replaced.\n\n"
        "Several portraits or recordings make several videos in --output-folder. The same command again goes on where\n"
        "it stopped. The exit status is 1 if any of them failed.\n\n"
        "Several people in one picture: --speaker or --speakers-from in place of --audio.\n\n"
        "If --identity is a video, it is dubbed: each frame keeps its own head, eyes and light, and only the mouth\n"
        "follows the recording, which replaces the video's sound.",
        "diffused-heads generate --identity portrait.png --audio speech.wav --output talk.mp4",
        "diffused-heads generate --identity portrait.png --audio talk.mp3 --start 12 --duration 5 --seed 7 "
        "--output part.mp4",
        "diffused-heads generate --identity a.png b.png --audio speech.wav --output-folder videos",
        "diffused-heads generate --table pairs.csv --output-folder videos",
        "diffused-heads generate --identity two.jpg --speaker 1:ada.wav --speaker 2:omar.wav --output talk.mp4",
        "diffused-heads generate --identity two.jpg --speakers-from stereo.wav --output talk.mp4",
        "diffused-heads generate --identity clip.mp4 --audio speech.wav --output dubbed.mp4",
        aliases=("dub",),
    )
    files = {
        "--identity": "the portrait: any picture with a head that looks ahead (PNG, JPEG, WebP, BMP, TIFF), or a "
        "video, which is dubbed",
        "--audio": "the speech: any file with sound that FFmpeg reads, a video included",
    }
    for name, text in files.items():
        parser.add_argument(name, type=Path, nargs="+", metavar="FILE", help=f"{text}; or several")
    text = (
        "the video to write: .mp4, .mov, .mkv (H.264, AAC) or .webm (VP9, Opus); "
        "with --alpha, .webm or .mov (ProRes 4444)"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help=text)
    batch.add_options(parser)
    speakers.add_options(parser)
    dubbing.add_options(parser)
    add_part(parser)
    add_head(parser)
    add_video(parser)
    add_sampling(parser)


def _add_demo(commands: Any) -> None:
    parser = add_command(
        commands,
        "demo",
        demo,
        "make a video from the bundled portrait and speech",
        "Make a short video from a portrait and a speech recording that come with the program, and say where it is.",
        "diffused-heads demo",
        "diffused-heads demo --seed 3 --duration 2 --output short.mp4",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("diffused-heads-demo.mp4"),
        metavar="FILE",
        help="the video to write (default: %(default)s in the current folder)",
    )
    parser.add_argument("--portrait", metavar="NAME", help="which bundled portrait (default: the first)")
    parser.add_argument("--speech", metavar="NAME", help="which bundled recording (default: the first)")
    parser.add_argument("--duration", **SECONDS, default=4.0, help="at most this many seconds (default: %(default)g)")
    add_sampling(parser)


def generate(options: argparse.Namespace) -> int:
    """Run ``generate``; returns the exit status. Raises DiffusedHeadsError for the first thing that is wrong."""
    if speakers.are_asked(options):
        speakers.check_usage(options)
        if options.show_numbers:
            speakers.show_numbers(options)
        if options.output:
            signed_by = signer(options, options.output)
            print(_written(options, speakers.prepared(options), signed_by))
        return 0
    if batch.is_single(options):
        (options.identity,), (options.audio,) = options.identity, options.audio
        dubbed = dubbing.is_asked(options)
        signed_by = signer(options, options.output)
        clip: Clip = dubbing.prepared(options) if dubbed else _prepared(options)
        print(_written(options, clip, signed_by))
        return 0
    return batch.run(options)


def demo(options: argparse.Namespace) -> None:
    """Run ``demo`` with a bundled portrait and recording; raises DiffusedHeadsError for names that are not bundled."""
    from ..assets import PORTRAITS, RECORDINGS, bundled_file

    options.identity = bundled_file(PORTRAITS, options.portrait)
    options.audio = bundled_file(RECORDINGS, options.speech)
    vars(options).update(start=0.0, audio_track=None, max_side=None, frame="picture", detail=1.0)
    vars(options).update(fps=None, alpha=False)
    vars(options).update(face="whole", face_index=0, at=None, box=None, margin=0.0, keep_tilt=False)
    print(_written(options, _prepared(options)))
    print(f"the video is {options.output.resolve()}")


def _prepared(options: argparse.Namespace) -> Animation:
    """Check every argument and file, the cheap ones first, and load them."""
    from ..pipeline import animate

    check_output(options.output, options.alpha, options.identity, options.audio)
    model = {"device": options.device, "trust_torchscript": options.trust_torchscript, "engine": options.engine}
    animation = animate(options.identity, options.audio, options.model, **request(options), **model)
    warn_of_motion(options, animation.model)
    return animation


def _written(options: argparse.Namespace, animation: Clip, signed_by: Signer | None = None) -> str:
    """Write the video; returns one line that says where it is and how long it took."""
    from tqdm import tqdm

    began, fps, often = time.monotonic(), float(animation.rate), 0.1 if sys.stderr.isatty() else 5
    settings: dict[str, Any] = {"unit": " frames", "bar_format": BAR, "file": sys.stderr, "maxinterval": math.inf}
    with ExitStack() as stack:  # the bar begins with the first frame, and an error's line comes after it
        bar, forecast = None, Forecast(len(animation))

        def on_frame(done: int) -> None:
            nonlocal bar
            bar = bar or stack.enter_context(tqdm(total=len(animation), mininterval=often, **settings))
            bar.update()
            if line := forecast.line(done):
                tqdm.write(line, file=sys.stderr)

        frames = animation.write(options.output, on_frame, signed_by)
    spent = time.monotonic() - began
    return (
        f"{options.output}: {frames} frames, {frames / fps:.2f} s, generated in {spent:.1f} s "
        f"({frames / max(spent, 1e-3):.1f} frames/s)"
    )
