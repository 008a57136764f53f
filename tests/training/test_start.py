"""Where a run begins: other models' weights, frozen parts, data with and without each annotation, provenance."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diffused_heads import main
from diffused_heads.diffused_heads_core.checkpoints import Checkpoint, load, save
from diffused_heads.diffused_heads_core.config import AudioConfig
from diffused_heads.diffused_heads_core.data.shards import Clip, Dataset, ShardWriter, finish_dataset
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.pretrained_audio import audio_encoder_path
from diffused_heads.diffused_heads_core.talking_head import load_model
from diffused_heads.training import provenance, train as command
from diffused_heads.training.config import PARTS, LossConfig
from diffused_heads.training.presets import PRESETS, preset, with_model
from diffused_heads.training.start import build, parts
from diffused_heads.training.tools import speech_pretraining

sys.path.insert(0, str(Path(__file__).parent))
from conftest import FPS, SIZE, made_up_clip
from small_run import open_run, small_config


@pytest.fixture(scope="module")
def parent(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parent")
    open_run(corpus, folder, small_config(steps=2), licence="Apache-2.0").fit()
    return folder / "model.safetensors"


def without(folder: Path, *names: str) -> Path:
    """A dataset of two clips that lacks some annotations."""
    with ShardWriter(folder, 0, FPS, SIZE) as writer:
        for seed in range(2):
            clip = made_up_clip(seed)
            writer.add(
                f"clip-{seed}",
                Clip(
                    clip.frames,
                    clip.audio,
                    clip.sample_rate,
                    {n: a for n, a in clip.annotations.items() if n not in names},
                ),
            )
    finish_dataset(folder, 1)
    return folder


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_parameter_belongs_to_one_part(name: str) -> None:
    with torch.device("meta"):
        model = build(preset(name).model, 0)
    found = parts(model)
    assert set(found) == {n for n, _ in model.named_parameters()} and set(found.values()) == set(PARTS)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_valid(name: str) -> None:
    assert preset(name).model.unet.image_size in (64, 128)


@pytest.mark.parametrize("frozen", [("audio",), ("audio", "body", "output"), ("conditioning", "attention")])
def test_frozen_parts_stay_and_the_others_move(
    corpus: Path, parent: Path, tmp_path: Path, frozen: tuple[str, ...]
) -> None:
    trainer = open_run(corpus, tmp_path, small_config(steps=3, freeze=frozen), start=parent)
    before = {name: p.detach().clone() for name, p in trainer.denoiser.named_parameters()}
    trainer.fit()
    moved = {
        part: any(
            not torch.equal(p, before[n])
            for n, p in trainer.denoiser.named_parameters()
            if parts(trainer.denoiser)[n] == part
        )
        for part in PARTS
    }
    assert moved == {part: part not in frozen for part in PARTS}


def test_a_run_from_a_model_begins_with_its_weights_and_records_it(
    corpus: Path, parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = open_run(corpus, tmp_path, small_config(steps=1, lr=1e-9), start=parent)
    want = load(parent).tensors
    assert all(torch.equal(t, want[n]) for n, t in trainer.ema.model.state_dict().items())
    trainer.fit()
    made = load(tmp_path / "model.safetensors")
    assert (
        made.licence == "Apache-2.0"
        and made.summary["from"]["model"] == "model.safetensors"
        and made.summary["from"]["steps"] == 2
    )
    assert main(["info", str(tmp_path / "model.safetensors")]) == 0
    printed = capsys.readouterr().out
    for text in (
        "fingerprint: " + Dataset(corpus).header["fingerprint"],
        "licence      Apache-2.0",
        "training",
        "lr: 1e-09",
        "figures",
        "score:",
        "from",
        "version:",
    ):
        assert text in printed


def test_a_frozen_encoder_needs_weights(corpus: Path, tmp_path: Path, parent: Path) -> None:
    with pytest.raises(DiffusedHeadsError, match="the audio encoder would stay frozen at random weights"):
        open_run(corpus, tmp_path, small_config(freeze=("audio",)))
    encoder = {n: t for n, t in load(parent).tensors.items() if n.startswith("audio_encoder.")}
    save(tmp_path / "audio.safetensors", Checkpoint(small_config().model, encoder))
    trainer = open_run(
        corpus, tmp_path / "run", small_config(freeze=("audio",)), audio_encoder=tmp_path / "audio.safetensors"
    )
    assert all(
        torch.equal(t, encoder[f"audio_encoder.{n}"]) for n, t in trainer.denoiser.audio_encoder.state_dict().items()
    )


def test_a_converted_model_is_trained_on_with_its_scripted_encoder(corpus: Path, tmp_path: Path) -> None:
    class Encoder(torch.nn.Module):
        def forward(
            self, window: torch.Tensor, lengths: torch.Tensor, init_state: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            return window[:, 1600:1608], lengths, init_state

    config = small_config(steps=2)
    config = replace(config, model=replace(config.model, audio=AudioConfig(kind="torchscript", embedding=8)))
    tensors = {f"unet.{n}": t for n, t in build(config.model, 1).unet.state_dict().items()}
    save(tmp_path / "converted.safetensors", Checkpoint(config.model, tensors, "CC BY-NC-SA 4.0"))
    torch.jit.save(torch.jit.script(Encoder()), str(audio_encoder_path(tmp_path / "converted.safetensors")))
    with pytest.raises(DiffusedHeadsError, match="released TorchScript encoder"):
        open_run(corpus, tmp_path / "run", config, start=tmp_path / "converted.safetensors")
    embed_speech = command.speech_embedder(config.model, tmp_path / "converted.safetensors", None, True)
    open_run(
        corpus, tmp_path / "run", config, start=tmp_path / "converted.safetensors", embed_speech=embed_speech
    ).fit()
    made = load_model(tmp_path / "run" / "model.safetensors", "cpu", trust_torchscript=True)
    assert made.licence == "CC BY-NC-SA 4.0" and made.audio_encoder(np.zeros(1280, np.float32), 2).shape == (2, 8)


def test_annotations_that_are_missing_are_named_or_not_needed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = small_config(steps=2)
    with pytest.raises(DiffusedHeadsError, match="expected the annotations pose .*found expression, lip_box"):
        open_run(without(tmp_path / "a", "pose"), tmp_path / "run", config)
    bare = without(tmp_path / "b", "lip_box", "expression")
    with pytest.raises(DiffusedHeadsError, match="expected the annotations lip_box .*found pose"):
        open_run(bare, tmp_path / "run", config)
    with caplog.at_level(logging.WARNING):
        assert open_run(bare, tmp_path / "run", replace(config, loss=LossConfig(lip=0, vlb=0))).fit() == "done"
    assert "eyes and brows are taken as neutral" in caplog.text
    unet = replace(config.model.unet, spatial=config.model.unet.spatial[:2], skip=("identity",))
    still = replace(config, model=replace(config.model, head_motion=False, unet=unet), loss=LossConfig(lip=0, vlb=0))
    assert open_run(without(tmp_path / "c", "pose", "expression", "lip_box"), tmp_path / "still", still).fit() == "done"


def test_the_command_line_chooses_model_and_settings(parent: Path) -> None:
    parser = argparse.ArgumentParser()
    command.arguments(parser)

    def configured(*words: str) -> object:
        return command.config_from(parser.parse_args(["data", "run", *words]))

    tuned = configured(
        "--from", str(parent), "--freeze", "audio", "body", "--lip", "0.4", "--patience", "3", "--steps", "7"
    )
    assert tuned.model == small_config().model and tuned.freeze == ("audio", "body") and tuned.loss.lip == 0.4
    assert (tuned.validation.patience, tuned.steps, tuned.lr) == (3, 7, preset("finetune").lr)
    assert configured("--freeze").freeze == () and configured().freeze == ("audio",)
    assert tuned.loss.lip_margin == 1.25  # 5 px of 128 are 1.25 of 32
    with_features = configured("--preset", "tiny-64", "--audio-features", "wav2vec2-large", "--layer", "14")
    assert with_features.model.audio == AudioConfig(
        kind="features", embedding=64, source="wav2vec2-large", layer=14, width=1024
    )
    for words, message in (
        (["--preset", "finetune"], "expected a model to begin with"),
        (["--from", str(parent), "--audio-features", "hubert-base"], "for a new model"),
    ):
        with pytest.raises(DiffusedHeadsError, match=message):
            configured(*words)


def test_dry_run_prints_the_plan_and_writes_nothing(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "avatar", small_config)
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    command.run(parser.parse_args([str(corpus), str(tmp_path / "run"), "--dry-run", "--cpu"]))
    printed = capsys.readouterr().out
    assert "UNet" in printed and "48 frames in 4 clips" in printed and "8 of 8 to do" in printed
    assert not (tmp_path / "run").exists()


def test_a_dataset_of_another_size_is_refused(corpus: Path, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    with pytest.raises(DiffusedHeadsError, match="size is 32, the model wants 128"):
        command.run(parser.parse_args([str(corpus), str(tmp_path / "run")]))


def test_a_model_that_predicts_eps_is_not_trained_on_its_own_predictions() -> None:
    assert with_model(preset("finetune"), preset("crema").model).stability.predicted == 0
    assert with_model(preset("finetune"), preset("avatar").model).stability == preset("finetune").stability


def test_the_commit_is_read_from_files(tmp_path: Path) -> None:
    head, git = "a" * 40, tmp_path / "plain" / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert provenance.commit(tmp_path / "plain") is None  # no commit yet
    (git / "packed-refs").write_text(f"# pack-refs with: peeled\n{'b' * 40} refs/heads/main\n^{'c' * 40}\n")
    assert provenance.commit(tmp_path / "plain") == "b" * 40
    (git / "refs" / "heads" / "main").write_text(head + "\n")
    assert provenance.commit(tmp_path / "plain") == head and provenance.code(tmp_path / "plain")["commit"] == head
    linked, place = tmp_path / "linked", git / "worktrees" / "linked"
    linked.mkdir()
    place.mkdir(parents=True)
    (linked / ".git").write_text(f"gitdir: {place}\n")
    (place / "HEAD").write_text("ref: refs/heads/main\n")
    (place / "commondir").write_text("../..\n")
    assert provenance.commit(linked) == head
    (git / "HEAD").write_text("d" * 40 + "\n")
    assert provenance.commit(tmp_path / "plain") == "d" * 40
    assert provenance.commit(tmp_path) is None and "commit" not in provenance.code(tmp_path)


def test_an_audio_encoder_is_not_pretrained_on_mouths_that_nobody_measured(tmp_path: Path) -> None:
    folder = tmp_path / "prepared"
    with ShardWriter(folder, 0, FPS, SIZE) as writer:
        writer.add("clip", made_up_clip(0))
    finish_dataset(folder, 1, info={"measured": ["open", "wide", "blink_left"]})
    parser = argparse.ArgumentParser()
    speech_pretraining.arguments(parser)
    with pytest.raises(
        DiffusedHeadsError,
        match="prepared: expected the mouth shapes open, wide, press.*found none of press, teeth, tongue",
    ):
        speech_pretraining.run(parser.parse_args([str(folder), str(tmp_path / "audio.safetensors")]))
    with pytest.raises(DiffusedHeadsError, match="found none of open, wide, press, teeth, tongue"):
        speech_pretraining.run(
            parser.parse_args([str(without(tmp_path / "bare", "expression")), str(tmp_path / "audio.safetensors")])
        )
    speech_pretraining.check_mouths([Dataset(without(tmp_path / "whole"))])
