"""The command line: what it makes, and that whatever goes wrong ends in one clear line and no partial file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from diffused_heads import main
from diffused_heads.diffused_heads_core import assets, checkpoints, pipeline
from diffused_heads.diffused_heads_core.audio_encoder import AudioEncoder
from diffused_heads.diffused_heads_core.config import AudioConfig, FeatureGroup, ModelConfig, SpatialInput, UNetConfig
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.finder import Search
from diffused_heads.diffused_heads_core.media.audio import Audio, load_audio, video_soundtrack
from diffused_heads.diffused_heads_core.media.video import read_video, write_video
from diffused_heads.diffused_heads_core.samplers import SAMPLERS
from diffused_heads.diffused_heads_core.talking_head import TalkingHead
from diffused_heads.diffused_heads_core.unet import UNet

MODULE = "diffused_heads.diffused_heads_core"
COMMANDS = (
    "generate",
    "demo",
    "info",
    "face-models",
    "convert",
    "export",
    "synthesize",
    "join",
    "motion",
    "prepare",
    "evaluate",
    "train",
    "train-mouth",
    "pretrain-audio",
)
RATE = 22050


def tiny_model(path: Path, head_motion: bool = False) -> Path:
    """A checkpoint of a network small enough for tests, with random weights."""
    torch.manual_seed(0)
    audio = AudioConfig(mels=16, channels=8, embedding=8)
    spatial = (
        SpatialInput("motion", 6),
        SpatialInput("identity", 3),
        *([SpatialInput("face", 6)] if head_motion else []),
    )
    config = ModelConfig(
        unet=UNetConfig(
            image_size=32,
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
        audio=audio,
        sampler="ddim",
        steps=2,
        head_motion=head_motion,
    )
    parts = {"unet.": UNet(config.unet), "audio_encoder.": AudioEncoder(audio)}
    tensors = {
        prefix + name: torch.randn_like(t) * 0.1
        for prefix, part in parts.items()
        for name, t in part.state_dict().items()
    }
    checkpoints.save(path, checkpoints.Checkpoint(config, tensors, "Apache-2.0", {"steps": 123}))
    return path


def wave(path: Path, seconds: float, level: float = 0.3, channels: int = 1) -> Path:
    """A recording of syllable-like bursts."""
    time = np.arange(round(seconds * RATE)) / RATE
    sound = level * np.sin(2 * np.pi * 180 * time) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout={1: "mono", 2: "stereo"}[channels])
        block = np.repeat((sound * 32767).astype(np.int16), channels)[None]
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout=stream.layout.name)
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    gradient = np.linspace(20, 230, 48 * 40 * 3).reshape(48, 40, 3).astype(np.uint8)
    cv2.imwrite(str(folder / "face.png"), gradient)
    wave(folder / "speech.wav", 0.5, channels=2)
    wave(folder / "short.wav", 0.1)
    wave(folder / "silent.wav", 0.5, level=0.0)
    model = tiny_model(folder / "tiny.safetensors")
    tiny_model(folder / "moving.safetensors", head_motion=True)
    (folder / "text.png").write_text("this is no picture\n" * 20)
    (folder / "text.wav").write_text("this is no sound\n" * 20)
    (folder / "empty.wav").touch()
    (folder / "cut.safetensors").write_bytes(model.read_bytes()[:-200])
    (folder / "header.safetensors").write_bytes(model.read_bytes()[:100])
    save_file({"weight": torch.zeros(3)}, folder / "foreign.safetensors", {"format": "pt"})
    write_video(folder / "mute.mp4", [np.zeros((32, 32, 3), np.uint8)] * 10, 25)
    (folder / "folder.mp4").mkdir()
    return folder


def command(inputs: Path, output: Path, **changes: str | None) -> list[str]:
    """A ``generate`` command line; ``changes`` replace or add options, file names being those of ``inputs``."""
    files = {
        "identity": inputs / "face.png",
        "audio": inputs / "speech.wav",
        "model": inputs / "tiny.safetensors",
        "output": output,
    }
    values = {**files, "device": "cpu", "face": "whole", "frame": "head", **changes}
    return [
        "generate",
        *(word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))),
    ]


def frames_of(path: Path) -> np.ndarray:
    return np.stack(list(read_video(path).frames))


@pytest.mark.parametrize(
    "changes, seconds",
    [({}, 0.5), ({"duration": "0.3"}, 0.3), ({"start": "0.1"}, 0.4), ({"start": "0.11", "duration": "0.25"}, 0.25)],
)
def test_a_video_covers_the_recording_with_its_own_sound(inputs, tmp_path, capfd, changes, seconds):
    output = tmp_path / "talk.mp4"
    assert main(command(inputs, output, **changes)) == 0
    video, count = read_video(output), int(np.ceil(round(seconds * 25, 6)))
    assert len(list(video.frames)) == count and video.size == (32, 32)
    assert video.audio.sample_rate == RATE and video.audio.channels == 2
    assert abs(video.audio.duration - count / 25) < 0.03
    out, err = capfd.readouterr()
    assert re.fullmatch(rf"{re.escape(str(output))}: {count} frames, .* s, generated in .* s \(.* frames/s\)\n", out)
    assert f"{count}/{count} frames" in err and "frames/s" in err and "left" in err
    assert [path.name for path in tmp_path.iterdir()] == ["talk.mp4"]


def test_the_whole_picture_comes_back_and_moves_in_the_box_alone(inputs, tmp_path):
    output = tmp_path / "talk.mkv"
    where = ["--box", "0.5", "0.3", "0.5"]
    assert main([*command(inputs, output, frame="picture", duration="0.2", detail="0"), *where]) == 0
    frames, picture = frames_of(output).astype(int), cv2.imread(str(inputs / "face.png"))[..., ::-1].astype(int)
    assert frames.shape == (5, 48, 40, 3)
    outside, inside = np.abs(frames[:, 30:] - picture[30:]), np.abs(frames[:, 8:20, 14:26] - picture[8:20, 14:26])
    assert inside.mean() > 3 * outside.mean() and outside.max() < 8


def test_no_face_is_an_error_that_names_a_way(inputs, tmp_path, capfd, monkeypatch):
    blank = SimpleNamespace(search=lambda picture: Search([], ("the whole picture",), 0.12))
    monkeypatch.setattr(pipeline, "FaceFinder", lambda: blank)
    assert main(command(inputs, tmp_path / "a.mp4", face="auto")) == 1
    said = capfd.readouterr().err
    assert "face.png: no face" in said and "0.12" in said and "box" in said and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "more, word",
    [
        (["--at", "0.5", "0.5", "--box", "0.5", "0.5", "0.5"], "--at and --box"),
        (["--face", "nearest"], "--at X Y"),
        (["--box", "0.5", "0.5", "2"], "size=2"),
        (["--face-index", "-1"], "index=-1"),
        (["--margin", "9"], "margin=9"),
        (["--detail", "2"], "--detail: 2"),
    ],
)
def test_wrong_framing_is_refused(inputs, tmp_path, capfd, more, word):
    assert main([*command(inputs, tmp_path / "a.mp4"), *more]) == 1
    assert word in capfd.readouterr().err and not list(tmp_path.iterdir())


def test_the_sound_is_the_part_asked_for(inputs, tmp_path):
    assert main(command(inputs, tmp_path / "a.mkv", start="0.125", duration="0.2")) == 0
    written, part = (
        load_audio(tmp_path / "a.mkv").samples[0, :4000],
        load_audio(inputs / "speech.wav", 0.125, 0.2).samples[0, :4000],
    )
    assert np.corrcoef(written, part)[0, 1] > 0.98


def test_metadata_say_how_it_was_made_and_an_older_file_is_replaced(inputs, tmp_path):
    (tmp_path / "a.mp4").write_text("old")
    main(command(inputs, tmp_path / "a.mp4", seed="7", steps="3", sampler="dpm++2m"))
    with av.open(str(tmp_path / "a.mp4")) as container:
        tags = container.metadata
    assert "AI-generated" in tags["comment"] and "Diffused Heads" in tags["comment"] and "seed 7" in tags["comment"]
    assert (tags["title"], tags["model"], tags["seed"], tags["steps"], tags["sampler"]) == (
        "Talking head of face",
        "tiny",
        "7",
        "3",
        "dpm++2m",
    )
    assert not any(str(tmp_path) in value or str(inputs) in value for value in tags.values())


def test_a_seed_makes_the_same_frames_and_another_seed_makes_others(inputs, tmp_path):
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert main(command(inputs, tmp_path / f"{name}.mp4", seed=seed, sampler="ancestral", duration="0.2")) == 0
    a, b, c = (frames_of(tmp_path / f"{name}.mp4") for name in "abc")
    assert np.array_equal(a, b) and not np.array_equal(a, c)


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_every_sampler_runs_and_is_in_the_help(inputs, tmp_path, capsys, sampler):
    assert main(command(inputs, tmp_path / "a.mp4", sampler=sampler, duration="0.2", guidance="1.5")) == 0
    with pytest.raises(SystemExit, match="0"):
        main(["generate", "--help"])
    assert sampler in capsys.readouterr().out


def test_a_preset_sets_the_steps_unless_they_are_given(inputs, tmp_path):
    for more, steps in (({"preset": "reference"}, "4"), ({"preset": "reference", "steps": "3"}, "3")):
        assert main(command(inputs, tmp_path / "a.mp4", duration="0.2", **more)) == 0
        with av.open(str(tmp_path / "a.mp4")) as video:
            assert video.metadata["steps"] == steps


def test_head_motion_reaches_a_model_that_follows_it(inputs, tmp_path):
    for name, lively in (("still", "0"), ("strong", "2")):
        assert (
            main(
                command(
                    inputs,
                    tmp_path / f"{name}.mp4",
                    model=inputs / "moving.safetensors",
                    head_motion=lively,
                    blinks="0",
                )
            )
            == 0
        )
    assert not np.array_equal(frames_of(tmp_path / "still.mp4"), frames_of(tmp_path / "strong.mp4"))


def test_more_channels_than_a_video_takes_are_mixed():
    samples = np.zeros((10, 4410), np.float32)
    samples[3] = np.sin(np.arange(4410) / 20)
    track = video_soundtrack(Audio(samples, 44100))
    assert track.channels == 1 and np.corrcoef(track.samples[0], samples[3])[0, 1] > 0.99
    assert video_soundtrack(Audio(samples[:8], 44100)).channels == 8


BAD = {  # case: (options of the command, file names being those of the inputs; what the line must name)
    "missing picture": ({"identity": "none.png"}, "none.png"),
    "missing sound": ({"audio": "none.wav"}, "none.wav"),
    "missing model": ({"model": "none.safetensors"}, "none.safetensors"),
    "unknown model": ({"model": "nobody"}, "nobody"),
    "folder as picture": ({"identity": "folder.mp4"}, "folder.mp4"),
    "folder as sound": ({"audio": "folder.mp4"}, "folder.mp4"),
    "folder as model": ({"model": "folder.mp4"}, "folder.mp4"),
    "text as picture": ({"identity": "text.png"}, "text.png"),
    "text as sound": ({"audio": "text.wav"}, "text.wav"),
    "text as model": ({"model": "text.png"}, "text.png"),
    "sound as picture": ({"identity": "speech.wav"}, "speech.wav"),
    "picture as sound": ({"audio": "face.png"}, "face.png"),
    "empty sound": ({"audio": "empty.wav"}, "empty.wav"),
    "empty picture": ({"identity": "empty.wav"}, "empty.wav"),
    "empty model": ({"model": "empty.wav"}, "empty.wav"),
    "silent sound": ({"audio": "silent.wav"}, "silent.wav"),
    "0.1 s of sound": ({"audio": "short.wav"}, "short.wav"),
    "video without sound": ({"audio": "mute.mp4"}, "mute.mp4"),
    "missing output folder": ({"output": "nowhere/a.mp4"}, "nowhere"),
    "folder as output": ({"output": "folder.mp4"}, "folder.mp4"),
    "unknown suffix": ({"output": "a.xyz"}, "a.xyz"),
    "no suffix": ({"output": "talk"}, "talk"),
    "output over input": ({"audio": "copy.mp4", "output": "copy.mp4"}, "copy.mp4"),
    "truncated model": ({"model": "cut.safetensors"}, "cut.safetensors"),
    "truncated header": ({"model": "header.safetensors"}, "header.safetensors"),
    "another project's model": ({"model": "foreign.safetensors"}, "foreign.safetensors"),
    "no steps": ({"steps": "0"}, "steps=0"),
    "too many steps": ({"steps": "2000"}, "steps=2000"),
    "unknown sampler": ({"sampler": "euler"}, "sampler='euler'"),
    "negative seed": ({"seed": "-1"}, "seed=-1"),
    "negative start": ({"start": "-1"}, "start=-1"),
    "start beyond the end": ({"start": "9"}, "speech.wav"),
    "start is nan": ({"start": "nan"}, "start=nan"),
    "no duration": ({"duration": "0"}, "duration=0"),
    "part too short": ({"duration": "0.05"}, "speech.wav"),
    "guidance is nan": ({"guidance": "nan"}, "guidance=nan"),
    "head motion": ({"head_motion": "5"}, "head=5"),
    "unknown device": ({"device": "tpu"}, "device='tpu'"),
    "absent device": ({"device": "cuda"}, "device='cuda'"),
}
FILES = ("identity", "audio", "model", "output")


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_in_one_line_before_any_sampling(inputs, tmp_path, capfd, monkeypatch, case):
    changes, named = BAD[case]
    if case == "absent device" and torch.cuda.is_available():
        pytest.skip("a CUDA device is there")
    (tmp_path / "copy.mp4").write_bytes(b"RIFF")
    (tmp_path / "folder.mp4").mkdir()
    places = {"output": tmp_path, "audio": tmp_path if "copy.mp4" in changes.values() else inputs}
    values = {k: places.get(k, inputs) / v if k in FILES and v != "nobody" else v for k, v in changes.items()}
    before = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.setattr(TalkingHead, "generate", lambda *_, **__: pytest.fail("sampling began"))
    assert main(command(inputs, values.pop("output", tmp_path / "a.mp4"), **values)) == 1
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and err.endswith("\n"), err
    assert (
        err.startswith("diffused-heads: error: ")
        and named in err
        and "Traceback" not in err
        and "unexpected" not in err
    ), err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_read_only_folder_is_refused(inputs, tmp_path, capfd, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("os.open", refuse)  # an administrator may write anywhere, so the system's answer is played
        assert main(command(inputs, tmp_path / "a.mp4")) == 1
    assert "a.mp4: cannot write here, Permission denied" in capfd.readouterr().err


@pytest.mark.parametrize(
    "line, named",
    [
        ([], "COMMAND"),
        (["paint"], "paint"),
        (["generate"], "--identity"),
        (["generate", "--step", "3"], "--step"),
        ([*["generate", "--identity", "a", "--audio", "b", "--output", "c", "--steps", "many"]], "--steps"),
        (["synthesize", "out", "--seed", "1", "--clips", "0"], "--clips"),
        (["info", "a", "b"], "b"),
    ],
)
def test_bad_usage_is_one_line_and_exits_2(capfd, line, named):
    with pytest.raises(SystemExit) as stop:
        main(line)
    err = capfd.readouterr().err
    assert stop.value.code == 2 and err.count("\n") == 1 and err.startswith("diffused-heads: error: ") and named in err


@pytest.mark.parametrize("before", [True, False])
def test_debug_lets_the_error_through(inputs, tmp_path, before):
    line = command(inputs, tmp_path / "a.mp4", steps="0")
    with pytest.raises(DiffusedHeadsError):
        main(["--debug", *line] if before else [*line, "--debug"])


@pytest.mark.parametrize(
    "error, status, words",
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("out of\nmemory"), 1, "unexpected RuntimeError: out of memory"),
        (OSError(28, "No space left on device", "disk"), 1, "disk: No space left on device"),
    ],
)
def test_what_happens_while_sampling_leaves_no_partial_file(inputs, tmp_path, capfd, monkeypatch, error, status, words):
    def frames(*_, **__):
        yield np.zeros((32, 32, 3), np.uint8)
        raise error

    monkeypatch.setattr(TalkingHead, "generate", frames)
    assert main(command(inputs, tmp_path / "a.mp4")) == status
    assert words in capfd.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_demo_uses_bundled_files_and_says_where_the_video_is(inputs, tmp_path, capsys, monkeypatch):
    for name in ("portrait-b.png", "portrait-a.png"):
        (tmp_path / name).write_bytes((inputs / "face.png").read_bytes())
    wave(tmp_path / "speech-a.wav", 1.0)
    monkeypatch.setattr(assets, "ASSETS", tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    assert main(["demo", "--model", str(inputs / "tiny.safetensors"), "--device", "cpu", "--duration", "0.4"]) == 0
    assert str(home / "diffused-heads-demo.mp4") in capsys.readouterr().out
    assert len(frames_of(home / "diffused-heads-demo.mp4")) == 10
    assert main(["demo", "--portrait", "portrait-c"]) == 1
    assert "expected one of portrait-a, portrait-b" in capsys.readouterr().err


def test_demo_without_bundled_files_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(assets, "ASSETS", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 1
    err = capsys.readouterr().err
    assert "no portrait is bundled" in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_info_tells_configuration_parameters_licence_and_summary(inputs, capsys):
    assert main(["info", str(inputs / "tiny.safetensors")]) == 0
    out = capsys.readouterr().out
    count = sum(p.numel() for p in UNet(checkpoints.load(inputs / "tiny.safetensors").config.unet).parameters())
    for words in (
        "diffused-heads-1",
        f"UNet {count:,}",
        "Apache-2.0",
        "steps: 123",
        "unet.image_size = 32",
        "unet.spatial.motion = channels 6",
        "32 x 32 px",
    ):
        assert words in out, words
    assert main(["info", str(inputs / "foreign.safetensors")]) == 1
    assert "another project" in capsys.readouterr().err


def released(path: Path) -> Path:
    """A Lightning checkpoint in the released layout, small, with random weights."""
    config = UNetConfig(
        model_channels=32,
        channel_mult=(1, 2),
        res_blocks=1,
        spatial=(SpatialInput("motion", 6), SpatialInput("identity", 3)),
    )
    torch.save({"state_dict": {f"unet.{name}": t for name, t in UNet(config).state_dict().items()}}, path)
    return path


def test_convert_writes_a_checkpoint_that_info_reads(tmp_path, capsys):
    source, target = released(tmp_path / "released.ckpt"), tmp_path / "model.safetensors"
    assert main(["convert", str(source), str(target), "--image-size", "64"]) == 0
    assert "64 px, 2 RGB motion frames" in capsys.readouterr().out
    assert main(["info", str(target)]) == 0
    assert "unet.image_size = 64" in capsys.readouterr().out


@pytest.mark.parametrize(
    "source, target, named",
    [
        ("text.png", "a.safetensors", "text.png"),
        ("none.pt", "a.safetensors", "none.pt"),
        ("tiny.safetensors", "a.safetensors", "tiny.safetensors"),
        ("text.png", "a.pt", "a.pt"),
        ("released.ckpt", "nowhere/a.safetensors", "nowhere"),
    ],
)
def test_convert_refuses_in_one_line(inputs, tmp_path, capfd, source, target, named):
    if source.endswith(".ckpt"):
        released(inputs / source)
    assert main(["convert", str(inputs / source), str(tmp_path / target)]) == 1
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and named in err and "unexpected" not in err, err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_has_an_example(capsys, name):
    with pytest.raises(SystemExit, match="0"):
        main([*name.split(), "--help"])
    out = capsys.readouterr().out
    assert re.search(rf"examples?:\n  diffused-heads {name}", out) and all(
        command in out for command in ([] if name else COMMANDS)
    )


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=60)


def test_the_package_runs_as_a_module(inputs, tmp_path):
    done = python("-m", MODULE, *command(inputs, tmp_path / "a.mp4", audio=inputs / "text.wav"))
    assert (done.returncode, done.stdout) == (1, "") and not list(tmp_path.iterdir())
    assert done.stderr.count("\n") == 1 and "text.wav" in done.stderr


def test_help_and_version_load_neither_torch_nor_the_trainer():
    code = "import sys, diffused_heads\ntry: diffused_heads.main(sys.argv[1:])\nfinally: print(sorted(sys.modules))"
    done = python("-c", code, "--version")
    assert re.match(r"diffused-heads \S+", done.stdout) and done.returncode == 0
    assert not any(f"'{name}'" in done.stdout for name in ("torch", "numpy", "av", "cv2", "tqdm"))
    assert set(re.findall(r"'diffused_heads\.training\.(\w+)", done.stdout)) == {"commands"}


def test_a_missing_training_extra_is_named_with_its_remedy(tmp_path):
    words = ["synthesize", str(tmp_path / "a"), "--clips", "1", "--seed", "0", "--workers", "1"]
    lacking = "sys.modules['diffused_heads.training.synthesis.speech'] = None"
    done = python("-c", f"import sys, diffused_heads\n{lacking}\nsys.exit(diffused_heads.main({words!r}))")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "training.synthesis.speech" in done.stderr and 'pip install "diffused-heads[train]"' in done.stderr


def test_trainer_commands_reach_the_trainer(tmp_path, capfd):
    assert main(["train", str(tmp_path / "none"), str(tmp_path / "run")]) == 1
    err = capfd.readouterr().err
    assert "none" in err and err.count("\n") == 1
