"""Quality of a model on held-out avatars and voices: lip sync, sharpness, drift, background, self-reenactment.

    python benchmarks/quality.py                        # the bundled model at its default steps
    python benchmarks/quality.py --model runs/avatar/model.safetensors --steps 2 4 --out output/compare
    python benchmarks/quality.py --sets 8x5s 4x30s --steps 2 4 8 --write   # longer fixed sets, see avatar_sets.py

The clips are synthesized once into corpora/. Each avatar is rendered at rest as the identity frame; its voice drives
the mouth and the model's own sampled track the head, as for any user. Mouth opening is read by mouth_meter.py and
compared with the avatar's true one. Writes results.json, contact sheets and a video per clip.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import quality_report
import torch
from held_out import ROOT, at_rest, held_out, on_head, speak
from mouth_meter import measure
from tqdm import tqdm

from diffused_heads import load_model
from diffused_heads.diffused_heads_core import checkpoints, pose as head
from diffused_heads.diffused_heads_core.conditioning import to_model, to_uint8
from diffused_heads.diffused_heads_core.data.shards import Clip
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.evaluation.metrics import pictures
from diffused_heads.diffused_heads_core.evaluation.metrics.faces import correlation, lagged_correlation
from diffused_heads.diffused_heads_core.media.audio import Audio, from_waveform
from diffused_heads.diffused_heads_core.media.pictures import save_picture
from diffused_heads.diffused_heads_core.media.video import write_video
from diffused_heads.diffused_heads_core.motion import MotionTrack
from diffused_heads.diffused_heads_core.talking_head import TalkingHead
from diffused_heads.training.preview import contact_sheet
from diffused_heads.training.synthesis.corpus import FPS

REACH = 5  # frames; lags are searched up to this, either way
EYE, MOUTH = (0.085, 0.06), (0.13, 0.085)  # half sizes of boxes, fractions of the frame


@dataclass(frozen=True, eq=False)
class Case:
    """A held-out clip and its avatar at rest, (S, S, 3) uint8."""

    name: str
    clip: Clip
    identity: np.ndarray

    @property
    def truth(self) -> np.ndarray:
        """True mouth opening (T,)."""
        return self.clip.annotations["mouth_open"]

    @property
    def track(self) -> MotionTrack:
        """The true motion of head, eyes and brows."""
        return MotionTrack(self.clip.annotations["pose"], self.clip.annotations["expression"][:, -len(head.FACE) :])

    @property
    def audio(self) -> Audio:
        """The clip's sound."""
        return from_waveform(self.clip.audio[None], self.clip.sample_rate, self.name)

    def spoken(self, model: TalkingHead, options: dict[str, Any], track: MotionTrack | None = None) -> np.ndarray:
        """Frames (T, S, S, 3) uint8 of the identity speaking the sound; ``track`` None: the model's own head motion."""
        return np.stack(list(speak(model, self.identity, self.audio, len(self.clip.frames), options, track)))


lagged = partial(lagged_correlation, reach=REACH)  # Pearson's r at lags -REACH .. REACH; positive if the mouth is late


def speech_figures(found: list[np.ndarray], truth: list[np.ndarray], ceiling: list[float]) -> list[dict[str, float]]:
    """Lip sync of each clip: r and best lag with its own truth, mean r with the other clips' (``shuffled``),
    the meter's r on true frames (``ceiling``) and the movement's size relative to the true one (``gain``)."""
    rows = []
    for i, track in enumerate(found):
        pairs = ((track, other, min(len(track), len(other))) for j, other in enumerate(truth) if j != i)
        others = [correlation(a[:n], b[:n]) for a, b, n in pairs]
        rows.append(
            {
                "r": correlation(track, truth[i]),
                "lag": int(lagged(track, truth[i]).argmax()) - REACH,
                "shuffled": float(np.mean(others)) if others else 0.0,
                "ceiling": ceiling[i],
                "gain": float(np.std(track) / max(np.std(truth[i]), 1e-9)),
            }
        )
    return rows


def edges(frames: np.ndarray) -> np.ndarray:
    """Laplacian of luminance, (T, S, S) float32, of frames (T, S, S, 3) uint8."""
    return np.stack([cv2.Laplacian(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY).astype(np.float32), cv2.CV_32F) for f in frames])


def regions(poses: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """Where eyes and mouth of a head at ``poses`` (T, 5) are: name -> boxes (T, k, 4) in pixels."""
    geometry = head.HeadGeometry()

    def boxes(places: list[tuple[float, float]], half: tuple[float, float]) -> np.ndarray:
        at = np.stack([on_head(np.array(places), pose, geometry) for pose in poses])
        return np.concatenate([at - half, at + half], -1) * size

    return {"eyes": boxes([geometry.left_eye, geometry.right_eye], EYE), "mouth": boxes([geometry.mouth], MOUTH)}


def sharpness(maps: np.ndarray, boxes: np.ndarray | None = None) -> np.ndarray:
    """Variance of the Laplacian ``maps`` (T, S, S), of the whole or as mean over ``boxes`` (T, k, 4): (T,)."""
    if boxes is None:
        return maps.reshape(len(maps), -1).var(1)
    return np.array([np.mean([pictures.cut(m, box).var() for box in row]) for m, row in zip(maps, boxes)])


def background_error(frames: np.ndarray, identity: np.ndarray) -> float:
    """Mean squared difference to the identity frame in the four corners, on a scale of 0..1."""
    return float(np.mean([(pictures.background_error(frame, identity) / 255) ** 2 for frame in frames]))


def look_figures(frames: np.ndarray, identity: np.ndarray, poses: np.ndarray, fps: float) -> dict[str, float]:
    """Sharpness over the identity frame's (whole, eyes, mouth), that of the last second over the first, background."""
    maps, rest, places = edges(frames), edges(identity[None]), regions(poses, frames.shape[1])
    still, whole, second = regions(np.zeros((1, 5)), frames.shape[1]), sharpness(maps), round(fps)
    parts = {f"sharp_{n}": float(sharpness(maps, places[n]).mean() / sharpness(rest, still[n])[0]) for n in places}
    return {
        "sharp": float(whole.mean() / sharpness(rest)[0]),
        **parts,
        "drift": float(whole[-second:].mean() / whole[:second].mean()),
        "background": background_error(frames, identity),
    }


def psnr(frames: np.ndarray, truth: np.ndarray, boxes: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB over a clip, of the whole or inside ``boxes`` (T, k, 4) alone."""
    squared = np.square(frames.astype(np.float32) - truth)
    parts = [squared] if boxes is None else [pictures.cut(s, box) for s, row in zip(squared, boxes) for box in row]
    error = sum(float(p.sum(dtype=np.float64)) for p in parts) / sum(p.size for p in parts)
    return float(10 * np.log10(255**2 / max(error, 1e-3)))


def true_boxes(case: Case) -> dict[str, np.ndarray]:
    """Boxes (T, k, 4) in pixels around the true mouth and eyes."""
    marks, size = case.clip.annotations["landmarks"], case.clip.frames.shape[1]
    margin = 0.03 * size * np.array([-1, -1, 1, 1])
    eyes = np.stack(
        [np.concatenate([marks[:, k].min(1), marks[:, k].max(1)], -1) for k in (slice(36, 42), slice(42, 48))], 1
    )
    return {"mouth": case.clip.annotations["lip_box"][:, None] + margin, "eyes": eyes + margin}


def reenactment_figures(case: Case, frames: np.ndarray) -> dict[str, float]:
    """Frames made with the true head track against the true frames: PSNR of the whole, mouth and eyes; mouth r."""
    truth, boxes = case.clip.frames, true_boxes(case)
    return {
        "psnr": psnr(frames, truth),
        "psnr_mouth": psnr(frames, truth, boxes["mouth"]),
        "psnr_eyes": psnr(frames, truth, boxes["eyes"]),
        "r_posed": correlation(measure(frames), case.truth),
    }


def warped(case: Case) -> np.ndarray:
    """The identity frame warped to the true poses without a network: a model that gets the pose has to beat this."""
    geometry, size = head.HeadGeometry(), len(case.identity)
    target = torch.from_numpy(case.track.pose)
    surface = head.head_coordinates(target, size, geometry)
    offsets = head.warp_offsets(surface, torch.zeros_like(target), target, geometry)
    return to_uint8(head.warp(to_model(case.identity, size).expand(len(target), -1, -1, -1), offsets))


def evaluate(
    model: TalkingHead, cases: list[Case], options: dict[str, Any], seed: int, out: Path, reenact: bool
) -> dict[str, Any]:
    """Generate every case, write its video and the contact sheets under ``out``; figures as JSON values."""
    made, posed, seconds = [], [], 0.0
    out.mkdir(parents=True, exist_ok=True)
    for index, case in enumerate(tqdm(cases, unit="clip", leave=False)):
        asked, began = {**options, "seed": seed + index}, time.perf_counter()
        made.append(case.spoken(model, asked))
        seconds += time.perf_counter() - began
        write_video(out / f"{case.name}.mp4", list(made[-1]), FPS, case.audio)
        if reenact and model.config.head_motion:
            posed.append(case.spoken(model, asked, case.track))
    rows = figures(model, cases, made, posed, seed)
    shown = [np.linspace(0, len(frames) - 1, 10).round().astype(int) for frames in made]
    with_identity = [np.concatenate([c.identity[None], frames[at]]) for c, frames, at in zip(cases, made, shown)]
    save_picture(out / "contact.png", contact_sheet(with_identity, 11))
    if posed:
        rows_of_both = [frames for case, made_of in zip(cases, posed) for frames in (case.clip.frames, made_of)]
        save_picture(out / "reenactment.png", contact_sheet(rows_of_both, 10))
    used = model.options(**options)
    return {
        "steps": used.steps,
        "sampler": used.sampler,
        "seed": seed,
        "frames_per_second": sum(map(len, made)) / seconds,
        "clips": rows,
        "mean": mean_of(rows),
        "bars": bars(rows),
    }


def figures(
    model: TalkingHead, cases: list[Case], made: list[np.ndarray], posed: list[np.ndarray], seed: int
) -> list[dict[str, Any]]:
    """One row of figures per clip; ``truth_*`` are the same figures of the true frames."""
    found, truth = [measure(frames) for frames in made], [c.truth for c in cases]
    ceiling = [correlation(measure(c.clip.frames), c.truth) for c in cases]
    rows: list[dict[str, Any]] = []
    for i, (case, speech) in enumerate(zip(cases, speech_figures(found, truth, ceiling))):
        track, voice = model.head_track(len(made[i]), seed + i), case.clip.meta["voice"]["variant"]
        poses = np.zeros((len(made[i]), 5)) if track is None else track.pose
        looks = look_figures(made[i], case.identity, poses, FPS)
        true = look_figures(case.clip.frames, case.identity, case.track.pose, FPS)
        true = {f"truth_{name}": value for name, value in true.items()}
        rows.append({"clip": case.name, "voice": voice, **speech, **looks, **true})
        still = np.repeat(case.identity[None], len(made[i]), 0)
        for name, frames in (("", posed[i] if posed else None), ("warp_", warped(case)), ("still_", still)):
            if frames is not None:
                rows[-1] |= {f"{name}{n}": v for n, v in reenactment_figures(case, frames).items()}
    return rows


def mean_of(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Mean of every number over the clips."""
    names = [name for name, value in rows[0].items() if not isinstance(value, str)]
    return {name: float(np.mean([row[name] for row in rows])) for name in names}


def bars(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The bars of the bundled model: name, found, expected, passed."""
    r, lag, shuffled, sharp = (np.array([row[name] for row in rows]) for name in ("r", "lag", "shuffled", "sharp"))
    range_of_sharp = f"{sharp.min():.2f}..{sharp.max():.2f}, mean {sharp.mean():.2f}"
    found = [
        ("mouth r, mean", f"{r.mean():.3f}", ">= 0.75", r.mean() >= 0.75),
        ("mouth r, worst clip", f"{r.min():.3f}", ">= 0.5", r.min() >= 0.5),
        ("lag of every clip, frames", f"{lag.min():+d}..{lag.max():+d}", "-1..1", np.abs(lag).max() <= 1),
        ("mouth r with another clip's truth, mean", f"{shuffled.mean():+.3f}", "-0.2..0.2", abs(shuffled.mean()) < 0.2),
        ("sharpness of every clip", range_of_sharp, "0.5..1.3", sharp.min() >= 0.5 and sharp.max() <= 1.3),
    ]
    return [{"bar": name, "found": value, "expected": limit, "passed": bool(ok)} for name, value, limit, ok in found]


def stamp(name: str, model: TalkingHead) -> dict[str, str]:
    """Which model it was, and the machine that it ran on."""
    cpu = f"{model.device.type}, {torch.get_num_threads()} threads of {os.cpu_count()}"
    where = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else cpu
    digest = hashlib.sha256(checkpoints.find_model(name).read_bytes()).hexdigest()
    return {
        "model": Path(name).stem,
        "sha256": digest,
        "machine": f"{platform.machine()}, {where}, PyTorch {torch.__version__.split('+')[0]}",
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure as the command line says, print, and write results.json; returns everything that was measured."""
    model = load_model(options.model, options.device)
    if model.config.fps != FPS:
        raise DiffusedHeadsError(f"model {options.model!r}: expected {FPS:g} frames/s, found {model.config.fps}")
    if options.sets:
        import avatar_sets

        avatar_sets.run(model, options, stamp(options.model, model))
        return {"runs": []}
    chosen = options.clips, options.seconds, options.seed, model.config.frame_size
    data, rest = held_out(*chosen), at_rest(*chosen)
    cases = [Case(data.keys[i], data.clip(i), rest[i]) for i in range(options.clips)]
    counts = sum(p.numel() for m in (model.unet, model.audio_encoder) if m is not None for p in m.parameters())
    result: dict[str, Any] = {
        **stamp(options.model, model),
        "parameters": counts,
        "training": model.summary,
        "clips": options.clips,
        "seconds": options.seconds,
        "seed": options.seed,
        "runs": [],
    }
    asked = {"sampler": options.sampler} if options.sampler else {}
    for steps in options.steps or [model.config.steps]:
        used = model.options(**asked, steps=steps)
        out = options.out / f"{used.sampler}-{steps}"
        result["runs"].append(evaluate(model, cases, {**asked, "steps": steps}, options.seed, out, options.reenact))
        print(quality_report.report(result["runs"][-1]))
        print(f"videos and contact sheets: {out}\n", flush=True)
    (options.out / "results.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--model", default="portrait", help="bundled model or checkpoint (default: %(default)s)")
    add("--clips", type=int, default=8, help="held-out clips (default: %(default)s)")
    add("--seconds", type=float, default=5.0, help="length of a clip (default: %(default)s)")
    add("--steps", type=int, nargs="+", help="denoising steps, several to compare (default: the model's)")
    add("--sampler", help="sampler (default: the model's)")
    add("--seed", type=int, default=0, help="of the held-out clips, and of the generation (default: %(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    add("--out", type=Path, default=ROOT / "output" / "quality", help="folder to write to (default: %(default)s)")
    text = "leave out generation with the true head track (half the time)"
    add("--no-reenactment", dest="reenact", action="store_false", help=text)
    add(
        "--sets",
        nargs="+",
        choices=("8x5s", "4x30s", "2x300s"),
        help="measure these fixed sets instead, as `diffused-heads evaluate` does; a stopped run resumes by clip",
    )
    add("--samplers", nargs="+", help="samplers to compare on the sets (default: the model's)")
    add("--write", action="store_true", help="also keep the figures, and write benchmarks/RESULTS.md")
    add("--from-json", type=Path, help="measure nothing; take the figures of a results.json")
    return made


def main(argv: list[str] | None = None) -> int:
    """0 when every bar is passed, 1 when one is not, 2 after an error of the input."""
    options = parser().parse_args(argv)
    try:
        result = json.loads(options.from_json.read_text(encoding="utf-8")) if options.from_json else run(options)
    except (DiffusedHeadsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.from_json:
        print("\n".join(quality_report.report(one) for one in result["runs"]))
    if options.write and result["runs"]:
        quality_report.keep(result)
    return 0 if all(bar["passed"] for one in result["runs"] for bar in one["bars"]) else 1


if __name__ == "__main__":
    sys.exit(main())
