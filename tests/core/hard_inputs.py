"""What the tests of hard inputs share: ``generate`` in one call with a tiny model, and recordings of any kind."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from diffused_heads import main
from diffused_heads.diffused_heads_core import checkpoints, pipeline
from diffused_heads.diffused_heads_core.audio_encoder import AudioEncoder
from diffused_heads.diffused_heads_core.config import AudioConfig, FeatureGroup, ModelConfig, SpatialInput, UNetConfig
from diffused_heads.diffused_heads_core.media.video import read_video
from diffused_heads.diffused_heads_core.talking_head import TalkingHead, load_model
from diffused_heads.diffused_heads_core.unet import UNet

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real_inputs"
SIZE, FPS = 32, 25
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 6: "5.1", 8: "7.1"}
RIFF_PCM, RIFF_FLOAT = 1, 3
PREFIX = "diffused-heads: error: "


def save_tiny(path: Path, size: int = SIZE) -> Path:
    """A checkpoint with random weights: ``size`` px, moved by a head-motion track, two steps of ddim by default."""
    torch.manual_seed(0)
    audio = AudioConfig(mels=16, channels=8, embedding=8)
    spatial = (SpatialInput("motion", 6), SpatialInput("identity", 3), SpatialInput("face", 6))
    config = ModelConfig(
        audio=audio,
        sampler="ddim",
        steps=2,
        head_motion=True,
        unet=UNetConfig(
            image_size=size,
            model_channels=16,
            channel_mult=(1, 2),
            res_blocks=1,
            head_channels=16,
            norm_groups=8,
            dropout=0.0,
            prediction="x0",
            learned_variance=False,
            spatial=spatial,
            features=(FeatureGroup("audio", 8),),
        ),
    )
    parts = {"unet.": UNet(config.unet), "audio_encoder.": AudioEncoder(audio)}
    tensors = {
        prefix + name: torch.randn_like(t) * 0.1
        for prefix, part in parts.items()
        for name, t in part.state_dict().items()
    }
    checkpoints.save(path, checkpoints.Checkpoint(config, tensors, "Apache-2.0"))
    return path


@dataclass(frozen=True)
class Done:
    """How a command ended: exit status, and the text on its two streams."""

    status: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The line of an error: the only one on either stream but the progress bar, and without a traceback."""
        lines = [text for text in self.err.replace("\r", "\n").split("\n") if text.strip() and "frames/s" not in text]
        assert self.status in (1, 2) and not self.out and len(lines) == 1, self
        assert lines[0].startswith(PREFIX) and "unexpected" not in lines[0] and "Traceback" not in self.err, self
        return lines[0].removeprefix(PREFIX)


@dataclass(frozen=True)
class Bench:
    """A folder with a tiny model, a portrait of 40 x 48 and half a second of speech; the model is loaded once."""

    folder: Path

    def generate(self, output: Path | str, *more: object, identity: object = None, audio: object = None) -> Done:
        """``generate`` from these inputs or others: one step per frame, the picture's middle square as the head."""
        identity = identity if isinstance(identity, list) else [identity or self.folder / "face.png"]
        audio = audio or self.folder / "speech.wav"
        return self.run("--identity", *identity, "--audio", audio, "--output", output, *more)

    def run(self, *more: object) -> Done:
        """``generate`` with this model and these settings; ``more`` names inputs and outputs."""
        words = [
            *("generate", "--model", self.folder / "tiny.safetensors", "--device", "cpu", "--steps", 1),
            *("--face", "whole", "--frame", "head"),
            *more,
        ]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = main([str(word) for word in words])
            except SystemExit as stop:
                status = int(stop.code)
        return Done(status, out.getvalue(), err.getvalue())


def bench(folder: Path) -> Iterator[Bench]:
    """Set the folder up; the command line gets its model without reading the file again. For a fixture of a module."""
    head = load_model(save_tiny(folder / "tiny.safetensors"), "cpu")
    cv2.imwrite(str(folder / "face.png"), np.linspace(20, 230, 48 * 40 * 3).reshape(48, 40, 3).astype(np.uint8))
    riff(folder / "speech.wav", voice(0.5, 16000)[None], 16000)
    load = pipeline.load_model

    def loaded(name: str, *settings: object) -> TalkingHead:
        return head if Path(name) == folder / "tiny.safetensors" else load(name, *settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "load_model", loaded)
        yield Bench(folder)


def frames_of(path: Path) -> int:
    """Number of pictures in a video, which is uint8 RGB throughout."""
    frames = list(read_video(path).frames)
    assert all(frame.dtype == np.uint8 and frame.shape == frames[0].shape and frame.shape[2] == 3 for frame in frames)
    return len(frames)


def voice(seconds: float, rate: int, hertz: float = 180.0, level: float = 0.3) -> np.ndarray:
    """Syllable-like bursts of a buzz, four a second: float32 (n,), ``level`` at their loudest."""
    time = np.arange(round(seconds * rate)) / rate
    partials = [np.sin(2 * np.pi * hertz * k * time + k) / k for k in range(1, 6) if hertz * k < rate / 2]
    buzz = sum(partials, np.zeros(len(time)))
    buzz *= level / np.abs(buzz).max(initial=1e-9)
    return (buzz * (0.55 - 0.45 * np.cos(2 * np.pi * 4 * time))).astype(np.float32)


def riff(
    path: Path, samples: np.ndarray, rate: int, kind: int = RIFF_PCM, bits: int = 16, declared: int | None = None
) -> Path:
    """A WAV written by hand from (channels, n) in [-1, 1]; ``declared`` bytes of sound in place of what is there."""
    if kind == RIFF_FLOAT:
        data = samples.T.astype(f"<f{bits // 8}").tobytes()
    else:
        whole = np.round(np.clip(samples.T, -1, 1) * (2.0 ** (bits - 1) - 1)).astype("<i8").reshape(-1, 1)
        data = (whole + (128 if bits == 8 else 0)).view(np.uint8)[:, : bits // 8].tobytes()
    block = len(samples) * bits // 8
    form = struct.pack("<HHIIHH", kind, len(samples), rate, min(rate * block, 2**32 - 1), block, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(data) if declared is None else declared) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def encode(
    path: Path, samples: np.ndarray, rate: int, codec: str, container: str | None = None, cover: bool = False
) -> Path:
    """A recording (channels, n) in any codec, with a cover picture if wanted."""
    layout = LAYOUTS[len(samples)]
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        if cover:
            picture = out.add_stream("mjpeg", rate=1)
            picture.width = picture.height = 32
            picture.pix_fmt = "yuvj420p"
            out.mux(picture.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), 90, np.uint8), format="rgb24")))
        packed = np.ascontiguousarray(samples.T, np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path
