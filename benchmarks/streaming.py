"""Streaming: look-ahead, the first frame, frames per second, and memory for long recordings.

    python benchmarks/streaming.py [--portrait FILE] [--seconds 10] [--lengths 10 100]

Prints what is measured on this machine, one line each:

- the stated look-ahead and the largest that occurred, in blocks of 10 ms,
- time from the loaded model to the first finished frame: the portrait is placed, the sound is already there,
- frames per second of ``TalkingStream``, of the whole picture; of both the processors' time, too, which other programs
  change little,
- peak memory of `generate` for recordings of --lengths seconds, each in a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np

from diffused_heads.diffused_heads_core.assets import PORTRAITS, RECORDINGS, bundled_file
from diffused_heads.diffused_heads_core.media.audio import Audio, load_audio
from diffused_heads.diffused_heads_core.streaming.head import stream
from diffused_heads.diffused_heads_core.talking_head import TalkingHead, load_model

GENERATE = """
import resource, sys
from diffused_heads import main
status = main(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
sys.exit(status)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portrait", type=Path, default=bundled_file(PORTRAITS))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--lengths", type=int, nargs="*", default=[], help="seconds of recordings for peak memory")
    options = parser.parse_args()
    speech = load_audio(bundled_file(RECORDINGS))
    model = load_model()
    model.network()
    _first_frame(model, options.portrait, speech)
    _pace(model, options.portrait, _long(speech, options.seconds))
    for seconds in options.lengths:
        print(f"generate, {seconds} s of sound: peak memory {_peak(options.portrait, _long(speech, seconds))} MB")


def _long(speech: Audio, seconds: float) -> Audio:
    size = (speech.channels, round(seconds * speech.sample_rate))
    return Audio(np.resize(speech.samples, size), speech.sample_rate, "speech")


def _first_frame(model: TalkingHead, portrait: Path, speech: Audio) -> None:
    """The first of three runs also loads libraries; all are printed."""
    spent = []
    for _ in range(3):
        began, computed = time.perf_counter(), time.process_time()
        talking = stream(portrait, speech.sample_rate, model=model)
        next(talking.push(speech.samples[:, : speech.sample_rate]))
        spent.append((1000 * (time.perf_counter() - began), 1000 * (time.process_time() - computed)))
    shown = ", ".join(f"{clock:.0f} ({processor:.0f})" for clock, processor in spent)
    print(f"first frame after the model is loaded: {shown} ms by the clock (of processors)")


def _pace(model: TalkingHead, portrait: Path, speech: Audio) -> None:
    talking, block = stream(portrait, speech.sample_rate, model=model), speech.sample_rate // 100
    frames, largest, began, computed = 0, 0.0, time.perf_counter(), time.process_time()
    for at in range(0, speech.samples.shape[1], block):
        for _ in talking.push(speech.samples[:, at : at + block]):
            frames += 1
            largest = max(largest, (at + block) / speech.sample_rate - frames / talking.fps)
    spent = time.perf_counter() - began
    print(f"look-ahead: {talking.look_ahead} s stated, {largest:.3f} s needed in blocks of 10 ms")
    processor = 1000 * (time.process_time() - computed) / frames
    print(f"stream: {frames / spent:.1f} frames/s, {processor:.0f} ms of processors per frame")


def _peak(portrait: Path, speech: Audio) -> int:
    with tempfile.TemporaryDirectory() as folder:
        sound, video = Path(folder, "speech.wav"), Path(folder, "talk.mp4")
        with wave.open(str(sound), "wb") as file:
            file.setnchannels(speech.channels)
            file.setsampwidth(2)
            file.setframerate(speech.sample_rate)
            file.writeframes((speech.samples.T * 32767).astype("<i2").tobytes())
        command = ["generate", "--identity", portrait, "--audio", sound, "--output", video]
        run = subprocess.run(
            [sys.executable, "-c", GENERATE, *map(str, command)], stdout=subprocess.PIPE, text=True, check=True
        )
        return int(run.stdout.split()[-1])


if __name__ == "__main__":
    main()
