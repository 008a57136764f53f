"""Overfitting one clip: prepare, train and generate it again, through the command line and through the trainer node.

    python benchmarks/overfit.py CLIP --out FOLDER                # 1,000 steps of tiny-64, then 4 and 8 steps per frame
    python benchmarks/overfit.py CLIP --out FOLDER --node         # the same through ComfyUI; compares the loss curves

A clip is generated from the clip's first frame, its sound and a seed, and compared with the clip frame by frame. So are
the trivial ones: the first frame held, and the mean of all frames. The clip itself, coded as the command line writes
videos (H.264, colours at half the size), is as good as a generated video can be. `sheet.png` has the clip and the
generated ones in rows. For --node, COMFYUI_PATH names the folder of ComfyUI's main.py and COMFYUI_PYTHON the Python
that it runs with.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import sections

from diffused_heads.diffused_heads_core.data.codecs import decode_video, encode_wave
from diffused_heads.diffused_heads_core.data.shards import Clip, Dataset
from diffused_heads.diffused_heads_core.face.networks import load_face_models
from diffused_heads.diffused_heads_core.media.pictures import load_picture, save_picture
from diffused_heads.diffused_heads_core.media.video import write_video
from diffused_heads.training.preview import contact_sheet
from diffused_heads.training.validation import MARGIN, Pair, figures

ROOT = Path(__file__).resolve().parents[1]
SAMPLING = {
    "head_motion": 1.0,
    "blinks": 0.28,
    "fps": 25.0,
    "guidance": 1.0,
    "colour_lock": 0.0,
    "denoising": "custom",
    "motion_anchor": 0.0,
    "temperature": 1.0,
}
PRESET, SIZE, BAR, STEPS = "tiny-64", 64, 24.0, (4, 8)
SHOWN = ("psnr", "lip_psnr", "lip_r", "sharpness", "drift")
COLUMNS = 10


def command(*words: object) -> float:
    """Run ``diffused-heads``; returns the processor seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    program = "import sys, diffused_heads; sys.exit(diffused_heads.main())"
    subprocess.run([sys.executable, "-c", program, *map(str, words)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def inputs(video: Path, out: Path) -> Clip:
    """The clip as ``prepare`` cuts it out; its first frame and its sound are written beside it."""
    raw = out / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    shutil.copy(video, raw)
    command("prepare", raw, out / "data", "--size", SIZE, "--validation", 0, "--workers", 1)
    clip = Dataset(out / "data" / "train").clip(0)
    save_picture(out / "first.png", clip.frames[0])
    (out / "sound.wav").write_bytes(encode_wave(clip.audio, clip.sample_rate))
    return clip


def compared(clip: Clip, made: np.ndarray) -> dict[str, float]:
    """Validation figures of frames (T, S, S, 3) against the clip's."""
    margin = MARGIN * SIZE * np.array([-1, -1, 1, 1])
    return figures([Pair(clip.frames, made[: len(clip.frames)], clip.annotations["lip_box"] + margin)])


def coded(clip: Clip, out: Path) -> np.ndarray:
    """The clip's frames after coding as ``generate`` codes videos."""
    write_video(out / "coded.mp4", list(clip.frames), Dataset(out / "data" / "train").fps)
    return decode_video((out / "coded.mp4").read_bytes())


def by_command(clip: Clip, out: Path, options: argparse.Namespace, log_every: int) -> dict[str, np.ndarray]:
    """Clips made by the command line, by name, after training a run with it."""
    asked = {"preset": PRESET, "steps": options.steps, "seed": options.seed, "workers": 0, "log-every": log_every}
    seconds = command("train", out / "data" / "train", out / "cli", *words(asked), "--cpu")
    print(
        f"training: {seconds / 60:.1f} minutes of processor time for what was left of {options.steps} steps (bar: 20)"
    )
    made = {}
    inputs = {"identity": out / "first.png", "audio": out / "sound.wav", "model": out / "cli" / "model.safetensors"}
    for steps in STEPS:
        path = out / f"cli-{steps}.mp4"
        asked = {**inputs, "frame": "head", "steps": steps, "seed": options.seed, "output": path, "device": "cpu"}
        command("generate", *words(asked))
        made[f"command line, {steps} steps, H.264"] = decode_video(path.read_bytes())
    return made


def words(options: dict[str, object]) -> list[object]:
    """Options by name as words of a command line."""
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def by_node(out: Path, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Clips made by the nodes of a real ComfyUI, by name, after training a run with them."""
    sys.path.insert(0, str(ROOT / "tests" / "host"))
    from host_client import Host

    base = out / "comfyui"
    for folder in ("custom_nodes", "input", "output", "temp", "user", "models/diffused_heads"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    if not (base / "custom_nodes" / "diffused-heads").exists():
        (base / "custom_nodes" / "diffused-heads").symlink_to(ROOT, target_is_directory=True)
    shutil.copytree(load_face_models().folder, base / "models" / "diffused_heads" / "face", dirs_exist_ok=True)
    for name in ("first.png", "sound.wav"):
        shutil.copy(out / name, base / "input")
    host = Host(Path(os.environ["COMFYUI_PATH"]), os.environ["COMFYUI_PYTHON"], base, "")
    host.start()
    try:
        files = host.files(host.run(prompt(out / "raw", options)))
    finally:
        host.stop()
    made = {}
    for steps in STEPS:
        pictures = [load_picture(path) for path in sorted(files) if path.name.startswith(f"steps{steps}_")]
        made[f"node, {steps} steps, PNG"] = np.stack([picture[..., :3] for picture in pictures])
    return made


def prompt(raw: Path, options: argparse.Namespace) -> dict[str, object]:
    """The workflow: prepare, train, and generate with each number of steps."""

    def node(kind: str, **values: object) -> dict[str, object]:
        return {"class_type": kind, "inputs": values}

    nodes = {
        "data": node("DH_PrepareDataset", folder=str(raw.resolve()), name="clip", size=SIZE, validation=0.0),
        "train": node(
            "DH_Train",
            dataset=["data", 0],
            start_from=f"from scratch: {PRESET}",
            steps=options.steps,
            learning_rate=0.0,
            batch=0,
            seed=options.seed,
            run_name="clip",
            resume="auto",
        ),
        "picture": node("LoadImage", image="first.png"),
        "sound": node("LoadAudio", audio="sound.wav"),
        "identity": node("DH_LoadIdentity", image=["picture", 0], model=["train", 0], face="whole"),
        "speech": node("DH_EncodeAudio", model=["train", 0], audio=["sound", 0], start=0.0, duration=0.0),
    }
    for steps in STEPS:
        nodes[f"steps{steps}"] = node("DH_SamplingOptions", **SAMPLING, steps=steps)
        nodes[f"clip{steps}"] = node(
            "DH_Sampler",
            model=["train", 0],
            identity=["identity", 0],
            audio_embedding=["speech", 0],
            seed=options.seed,
            options=[f"steps{steps}", 0],
        )
        nodes[f"save{steps}"] = node("SaveImage", images=[f"clip{steps}", 0], filename_prefix=f"steps{steps}")
    return nodes


def losses(run: Path) -> dict[int, float]:
    """Mean total losses of a run, by step."""
    with (run / "losses.csv").open(newline="") as file:
        return {int(row[0]): float(row[2]) for row in csv.reader(file) if row[1] == "loss/total"}


def curves(out: Path) -> None:
    """Print how far apart the loss curves of both runs are."""
    mine, node = losses(out / "cli"), losses(out / "comfyui" / "output" / "diffused_heads" / "runs" / "clip")
    steps = sorted(mine.keys() & node.keys())
    apart = [abs(mine[step] / node[step] - 1) for step in steps]
    equal, last = sum(gap == 0 for gap in apart), steps[-1]
    print(
        f"loss curves: {len(steps)} common lines, equal in {equal}, at most {100 * max(apart):.3f}% apart; "
        f"at step {last} {mine[last]:.6f} and {node[last]:.6f}"
    )


def main(argv: list[str] | None = None) -> int:
    """0 if every generated clip passes the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, help="a video of one talking person, a few seconds long")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for data, runs and clips; the same call resumes there"
    )
    parser.add_argument("--steps", type=int, default=1000, help="steps of training (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of training and generation (default: %(default)s)")
    parser.add_argument("--node", action="store_true", help="train and generate in ComfyUI too")
    options = parser.parse_args(argv)
    clip = inputs(options.clip, options.out)
    still, mean = (
        np.broadcast_to(frame, clip.frames.shape)
        for frame in (clip.frames[:1], clip.frames.mean(0).round().astype(np.uint8))
    )
    made = by_command(clip, options.out, options, max(1, min(50, options.steps // 50)))
    made |= by_node(options.out, options) if options.node else {}
    rows = {
        "first frame held": compared(clip, still),
        "mean of all frames": compared(clip, mean),
        "the clip itself, H.264": compared(clip, coded(clip, options.out)),
        **{name: compared(clip, frames) for name, frames in made.items()},
    }
    cells = [[name, *(f"{row[figure]:.2f}" for figure in SHOWN)] for name, row in rows.items()]
    print(sections.table(["clip", *SHOWN], cells))
    if options.node:
        curves(options.out)
    shown = [clip.frames, *(frames[: len(clip.frames)] for frames in made.values())]
    save_picture(options.out / "sheet.png", contact_sheet(shown, COLUMNS))
    (options.out / "figures.json").write_text(json.dumps(rows, indent=1) + "\n")
    passed = all(rows[name]["psnr"] > BAR for name in made)
    print(f"all above {BAR:g} dB: {'PASS' if passed else 'FAIL'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
