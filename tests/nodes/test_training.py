"""The trainer nodes: datasets, losses, and runs that stop, go on and end in a model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.config import AudioConfig, FeatureGroup, ModelConfig, UNetConfig
from diffused_heads.diffused_heads_core.data.shards import Clip, Dataset, ShardWriter, finish_dataset
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.training import presets
from diffused_heads.training.config import LossConfig, TrainConfig, ValidationConfig
from diffused_heads.training.state import states
from diffused_heads.training.validation import Validation

SIZE, RATE = 32, 16000
SMALL = "from scratch: tiny-64"  # replaced by a smaller one here


def clip(seed: int, frames: int = 12) -> Clip:
    """A coloured square that opens with the sound's loudness."""
    rng = np.random.default_rng(seed)
    level = np.abs(np.sin(np.arange(frames) / 2 + seed))
    pictures = np.full((frames, SIZE, SIZE, 3), rng.integers(40, 200, 3), np.uint8)
    for n, height in enumerate((2 + 6 * level).astype(int)):
        pictures[n, 20 : 20 + height, 10:22] = (200, 30, 60)
    sound = np.repeat(level, RATE // 25) * np.sin(np.arange(frames * RATE // 25) * 0.2) * 0.5
    boxes = np.stack([np.full(frames, 10.0), np.full(frames, 20.0), np.full(frames, 22.0), 22 + 6 * level], -1)
    return Clip(
        pictures,
        sound.astype(np.float32),
        RATE,
        {"lip_box": boxes.astype(np.float32), "mouth_open": level.astype(np.float32)},
    )


def write_dataset(folder: Path, clips: int = 3, first: int = 0) -> Path:
    with ShardWriter(folder, 0, 25.0, SIZE) as writer:
        for number in range(clips):
            writer.add(f"clip-{number}", clip(first + number))
    finish_dataset(folder, 1, info={"source": "made up", "licence": "CC0-1.0"})
    return folder


def small_training() -> TrainConfig:
    audio = AudioConfig(mels=16, channels=8, embedding=8)
    unet = UNetConfig(
        image_size=SIZE,
        model_channels=16,
        channel_mult=(1, 2),
        res_blocks=1,
        head_channels=16,
        norm_groups=4,
        dropout=0.0,
        unshuffle=4,
        prediction="x0",
        learned_variance=False,
        features=(FeatureGroup("audio", 8, 2),),
    )
    return TrainConfig(
        model=ModelConfig(unet=unet, audio=audio, sampler="ddim", steps=2),
        loss=LossConfig(lip=0.2, lip_margin=1.0, vlb=0.0),
        validation=ValidationConfig(1, 0.2),
        steps=8,
        batch=2,
        lr=1e-3,
        ema=0.9,
        precision="no",
        mirror=False,
    )


@pytest.fixture
def trainer(host: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The host with folders, datasets, and a small network in place of tiny-64's."""
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
    monkeypatch.setitem(presets.PRESETS, "tiny-64", small_training)
    host.models.mkdir()
    host.node("load_model", "register_folder")()
    host.folder = tmp_path
    host.data = host.node("sockets", "DatasetFolders")(
        write_dataset(tmp_path / "data"), write_dataset(tmp_path / "held", 1, 7)
    )
    return host


@pytest.fixture
def train(trainer: SimpleNamespace) -> Callable[..., tuple[Any, ...]]:
    """Runs the Train node as the host does, under inference mode."""

    def run(**changes: Any) -> tuple[Any, ...]:
        usual = dict(
            dataset=trainer.data,
            start_from=SMALL,
            steps=6,
            learning_rate=0.0,
            batch=0,
            seed=3,
            run_name="test",
            validate_every=100,
        )
        with torch.inference_mode():
            return trainer.node("train", "TrainDiffusedHeads").execute(**{**usual, **changes}).args

    return run


def run_folder(trainer: SimpleNamespace, name: str = "test") -> Path:
    return trainer.folder / "output" / "diffused_heads" / "runs" / name


def test_from_a_dataset_to_a_model_that_speaks(trainer: SimpleNamespace, train: Any, speech: dict[str, Any]) -> None:
    model, loss, samples = train()
    assert model.name == "test.safetensors" and (trainer.models / "diffused_heads" / "test.safetensors").is_file()
    assert len(loss["loss"]) == 6 and min(loss["loss"]) < max(loss["loss"]) and all(np.isfinite(loss["loss"]))
    assert (
        samples.shape == (1, 2 * SIZE, 10 * SIZE, 3)
        and samples.dtype == torch.float32
        and 0 <= float(samples.min()) < float(samples.max()) <= 1
    )
    steps = [value for value, total, preview in trainer.progress if total == 6]
    assert steps == [1, 2, 3, 4, 5, 6]
    shown = [np.asarray(preview[1]) for *_, preview in trainer.progress if preview is not None]
    assert shown and shown[-1].shape[1] == 480
    assert shown[-1].shape[0] > shown[0].shape[0]  # the curve alone, then with the sheet
    assert trainer.freed[0] == "unloaded" and trainer.freed[-1] == "emptied"
    with torch.inference_mode():
        portrait = torch.rand(1, 40, 40, 3, generator=torch.Generator().manual_seed(0))
        identity = trainer.node("identity", "LoadIdentity").execute(portrait, model, face="whole").args[0]
        embedding = trainer.node("audio", "EncodeAudio").execute(model, speech, 0.0, 0.2).args[0]
        frames = trainer.node("sampler", "DiffusedHeadsSampler").execute(model, identity, embedding, 0).args[0][0]
    assert frames.shape == (5, SIZE, SIZE, 3)


def test_the_same_inputs_again_return_the_finished_model(trainer: SimpleNamespace, train: Any) -> None:
    first, before = train(), len(trainer.progress)
    again = train()
    assert len(trainer.progress) == before and again[1] == first[1] and torch.equal(again[2], first[2])
    weights = [dict(out[0].head.unet.state_dict()) for out in (first, again)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_cancel_saves_and_the_run_goes_on_bit_for_bit(trainer: SimpleNamespace, train: Any) -> None:
    whole = train(run_name="whole")
    trainer.progress.clear()
    trainer.stop_at = 3
    with pytest.raises(trainer.Stop):
        train()
    step = len([1 for _, total, _ in trainer.progress if total == 6])
    found = states(run_folder(trainer))
    assert (
        len(found) == 1
        and step >= 1
        and found[0].stem == f"state-{step + 1:09d}"
        and not (trainer.models / "diffused_heads" / "test.safetensors").exists()
    )
    assert trainer.freed[-1] == "emptied"
    trainer.stop_at = None
    model, loss, _ = train()
    assert loss == whole[1]
    for name, tensor in model.head.unet.state_dict().items():
        assert torch.equal(tensor, whole[0].head.unet.state_dict()[name]), name


def test_cancel_acts_within_a_validation_round(
    trainer: SimpleNamespace, train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, generate = train(run_name="whole", validate_every=2, steps=4), Validation.generate

    def cancelled(self: Validation, model: Any, seed: int, notify: Callable[[int, int], None]) -> Any:
        def cancel(done: int, frames: int) -> None:
            trainer.stop_at = 0
            notify(done, frames)

        return generate(self, model, seed, cancel)

    with monkeypatch.context() as patch, pytest.raises(trainer.Stop):
        patch.setattr(Validation, "generate", cancelled)
        train(validate_every=2, steps=4)
    assert (
        states(run_folder(trainer))[-1].stem.endswith("-000000002")
        and not (run_folder(trainer) / "validation.csv").exists()
    )
    trainer.stop_at = None
    found = train(validate_every=2, steps=4)
    assert found[1] == whole[1] and torch.equal(found[2], whole[2])
    assert (run_folder(trainer) / "validation.csv").read_text() == (
        run_folder(trainer, "whole") / "validation.csv"
    ).read_text()


def test_more_steps_go_on_and_other_settings_are_refused_unless_asked_for(trainer: SimpleNamespace, train: Any) -> None:
    train(steps=3)
    assert len(train(steps=5)[1]["loss"]) == 5
    with pytest.raises(
        DiffusedHeadsError, match="run_name='test': there is a run of this name with other lr; choose another name"
    ):
        train(steps=5, learning_rate=0.01)
    with pytest.raises(DiffusedHeadsError, match="with other loss, seed"):
        train(steps=5, seed=9, loss=LossConfig(lip=0.5, vlb=0.0))
    assert len(train(steps=6, learning_rate=0.01, resume="with changed settings")[1]["loss"]) == 6
    assert len(train(steps=2, resume="start over")[1]["loss"]) == 2
    assert (run_folder(trainer, "test-before-1") / "model.safetensors").is_file()
    other = replace(trainer.data, train=write_dataset(trainer.folder / "other", 2, 20))
    with pytest.raises(DiffusedHeadsError, match="with other dataset;"):
        train(steps=4, dataset=other)


def test_a_model_to_go_on_from_keeps_its_architecture(trainer: SimpleNamespace, train: Any) -> None:
    first = train(run_name="first")[0]
    model = train(run_name="second", start_from="first.safetensors", steps=2)[0]
    assert model.head.config == first.head.config
    moved = [
        not torch.equal(a, b)
        for a, b in zip(model.head.unet.state_dict().values(), first.head.unet.state_dict().values())
    ]
    kept = [
        torch.equal(a, b)
        for a, b in zip(model.head.audio_encoder.state_dict().values(), first.head.audio_encoder.state_dict().values())
    ]
    assert any(moved) and all(kept)  # fine-tuning leaves the audio encoder as it is
    with pytest.raises(DiffusedHeadsError, match="would take the place of the one that it starts from"):
        train(run_name="first", start_from="first.safetensors", resume="start over")
    choices = next(
        i for i in trainer.node("train", "TrainDiffusedHeads").define_schema().inputs if i.id == "start_from"
    ).options
    assert (
        choices[0] == SMALL
        and "first.safetensors" in choices
        and "from scratch: avatar" in choices
        and "from scratch: finetune" not in choices
    )


def test_a_model_of_somebody_else_is_not_overwritten(trainer: SimpleNamespace, train: Any) -> None:
    (trainer.models / "diffused_heads" / "test.safetensors").write_bytes(b"mine")
    with pytest.raises(DiffusedHeadsError, match="is there already and not of this run"):
        train()
    assert (trainer.models / "diffused_heads" / "test.safetensors").read_bytes() == b"mine" and not run_folder(
        trainer
    ).exists()


def test_what_cannot_be_trained(trainer: SimpleNamespace, train: Any) -> None:
    for changes, words in (
        ({"start_from": "nothing.safetensors"}, "there is no model"),
        ({"start_from": "from scratch: avatar"}, "expected the annotations pose"),
        ({"run_name": "../out"}, "run_name='../out': expected 1 to 64 letters"),
        ({"resume": "never"}, "resume='never': expected one of auto"),
    ):
        with pytest.raises(DiffusedHeadsError, match=words):
            train(**changes)
    trainer.device = torch.device("xpu")
    with pytest.raises(DiffusedHeadsError, match="found xpu"):
        train()


def test_names_are_refused_before_anything_runs(trainer: SimpleNamespace) -> None:
    node = trainer.node("train", "TrainDiffusedHeads")
    assert node.validate_inputs() is node.validate_inputs("kopf_Ä-2") is True
    for name in ("", "a/b", "..", "con", "x" * 65, "-a", "a b", "COM1"):
        assert "run_name=" in node.validate_inputs(name), name
    assert "name='nul'" in trainer.node("prepare_dataset", "PrepareDataset").validate_inputs("nul")
    assert (
        node.fingerprint_inputs(SMALL) == node.fingerprint_inputs("gone.safetensors") == node.fingerprint_inputs() == ""
    )
    assert node.fingerprint_inputs("avatar") != ""


def test_losses_that_the_plot_can_draw(trainer: SimpleNamespace) -> None:
    plottable = trainer.node("training_runs", "plottable")
    for given in ([], [0.5], [0.5, 0.5, 0.5], [float("nan"), 2.0]):
        found = plottable(given)
        assert len(found) >= 2 and max(found) > min(found) and abs(max(found) - min(found)) < 1e-9
    assert plottable([3.0, 1.0]) == [3.0, 1.0]


def test_the_loss_and_its_crop(trainer: SimpleNamespace) -> None:
    node = trainer.node("lip_crop_loss", "LipCropLoss")
    loss, picture = node.execute(0.5, 4.0, 0.001, 1.0, trainer.data, clip=4).args
    assert loss == LossConfig(lip=0.5, lip_margin=4.0, vlb=0.001, simple=1.0)
    factor, picture = picture.shape[1] // SIZE, (picture[0] * 255).byte().numpy()
    orange = np.argwhere((picture == (255, 160, 40)).all(-1))
    (top, left), (bottom, right) = orange.min(0) / factor, (orange.max(0) + 1) / factor
    box = clip(1).annotations["lip_box"][np.argmax(clip(1).annotations["mouth_open"])]  # clip 4 of 3 is clip 1
    assert np.abs(np.array([left, top, right, bottom]) - (box + np.array([-4, -4, 4, 4]))).max() < 0.3
    assert (picture == (80, 255, 80)).all(-1).any()
    assert node.execute(0.2, 5.0, 0.0, 1.0).args[1].shape == (1, 512, 512, 3)
    with pytest.raises(DiffusedHeadsError, match="expected one above 0"):
        node.execute(0.0, 5.0, 0.0, 0.0)


def test_an_example_is_made_once_and_can_be_interrupted(trainer: SimpleNamespace) -> None:
    pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed (the extra 'train')")
    node = trainer.node("example_dataset", "ExampleDataset")
    trainer.stop_at = 1
    with pytest.raises(trainer.Stop):
        node.execute(2, "64", 1.0, 1)
    trainer.stop_at = None
    trainer.progress.clear()
    found, sheet, text = node.execute(2, "64", 1.0, 1).args
    assert [(value, total) for value, total, _ in trainer.progress] == [(n, 4) for n in range(4)]
    assert (
        len(Dataset(found.train)) == 2
        and Dataset(found.train).size == 64
        and Dataset(found.validation).meta(0)["identity"].startswith("avatar-held")
    )
    assert sheet.shape == (1, 2 * 128, 6 * 128, 3) and text.startswith("train: 2 clips, 2 s at 64 px")
    assert found.train.parent.parent == trainer.folder / "output" / "diffused_heads" / "datasets"
    assert node.execute(2, "64", 1.0, 1).args[0] == found and len(trainer.progress) == 4
    assert node.execute(2, "64", folder=found.train.parent.name).args[0] == found


def test_a_dataset_that_is_there(trainer: SimpleNamespace) -> None:
    node = trainer.node("example_dataset", "ExampleDataset")
    found, _, text = node.execute(2, "64", folder=f' "{trainer.data.train}" ').args
    assert found.train == trainer.data.train and found.validation is None and "validation: none" in text
    assert (
        node.fingerprint_inputs(str(found.train))
        != node.fingerprint_inputs("nowhere")
        == node.fingerprint_inputs()
        == ""
    )
    for folder, words in (
        ("nowhere", "there is none; looked for"),
        (str(trainer.folder), "expected a finished dataset"),
    ):
        with pytest.raises(DiffusedHeadsError, match=words):
            node.execute(2, "64", folder=folder)


def test_without_the_speech_engine_the_command_is_named(
    trainer: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffused_heads.training.synthesis import speech

    def missing() -> str:
        raise DiffusedHeadsError("the speech engine espeak-ng is missing")

    monkeypatch.setattr(speech, "version", missing)
    with pytest.raises(DiffusedHeadsError, match=r'-m pip install "espeakng-loader>=0.2.4"'):
        trainer.node("example_dataset", "ExampleDataset").execute(2, "64")


def test_videos_become_a_dataset(trainer: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``prepare`` stood in for: the node moves its bar by videos, lets the host interrupt at every picture, tells
    what came out.
    """
    import diffused_heads.training.preparation.prepare as module
    from diffused_heads.diffused_heads_core.media.video import write_video

    raw = trainer.folder / "input" / "raw"
    raw.mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_video(raw / name, [np.zeros((32, 32, 3), np.uint8)] * 3, 25.0)
    asked: list[Any] = []

    def prepare(raw: Path, out: Path, settings: Any, workers: int, progress: Any, make_finder: Any) -> dict[str, Any]:
        asked.append((raw, out, settings, workers))
        for number in range(2):
            progress(number, 2)
            make_finder().find(np.zeros((8, 8, 3), np.uint8))
        write_dataset(out / "train")
        sources = [
            {"name": "a.mp4", "problem": None, "clips": [1], "dropped": [], "facts": None},
            {"name": "b.mp4", "problem": "b.mp4: no face", "clips": []},
        ]
        return {
            "clips": 3,
            "train_clips": len(asked) % 2 * 3,
            "seconds": 1.4,
            "people": 1,
            "videos": 2,
            "videos_with_clips": 1,
            "remarks": [],
            "sources": sources,
        }

    monkeypatch.setattr(module, "prepare", prepare)
    node = trainer.node("prepare_dataset", "PrepareDataset")
    seen: list[int] = []
    monkeypatch.setattr(
        sys.modules["diffused_heads.nodes.runtime"],
        "face_finder",
        lambda: SimpleNamespace(find=lambda *a: seen.append(1) or []),
    )
    before = node.fingerprint_inputs("raw", "mine")
    found, report, text = node.execute("raw", "mine", 32, licence="CC0-1.0").args
    assert (
        asked[0][0] == raw
        and asked[0][1] == found.train.parent
        and asked[0][2].size == 32
        and asked[0][2].licence == "CC0-1.0"
        and asked[0][3] == 1
    )
    assert [(value, total) for value, total, _ in trainer.progress] == [(0, 2), (1, 2)] and len(seen) == 2
    assert (
        report.shape[0] == 1
        and "3 clips (1 s) of 1 person from 1 of 2 videos" in text
        and "b.mp4: no face" in text
        and "train: 3 clips" in text
    )
    (raw / "c.mp4").write_bytes(b"new")
    assert node.fingerprint_inputs("raw", "mine") != before and node.fingerprint_inputs("nowhere", "mine") == ""
    with pytest.raises(DiffusedHeadsError, match="no clip to train on came out of"):
        node.execute("raw", "mine", 32)
    trainer.stop_at = len(trainer.progress)
    with pytest.raises(trainer.Stop):
        node.execute("raw", "mine", 32)
    with pytest.raises(DiffusedHeadsError, match="folder='nowhere': expected a folder"):
        node.execute("nowhere", "mine", 32)
