"""Samples, losses and runs of the mouth's training, on drawn faces."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from diffused_heads import load_model, main
from diffused_heads.diffused_heads_core.checkpoints import load
from diffused_heads.diffused_heads_core.data.shards import Dataset, ShardWriter, finish_dataset
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.mouth.window import TEETH
from diffused_heads.training.config import LossConfig, ValidationConfig
from diffused_heads.training.mouth import command
from diffused_heads.training.mouth.clips import check_dataset
from diffused_heads.training.mouth.losses import Critic, balance, critic_loss, matching_loss, painting_losses
from diffused_heads.training.mouth.presets import MouthTrainConfig, SharpnessConfig, mouth_model, new_mouth
from diffused_heads.training.mouth.samples import MouthSamples, drawn_frame
from diffused_heads.training.mouth.stabilising import placed_frames
from diffused_heads.training.mouth.trainer import MouthJob, MouthTrainer
from diffused_heads.training.state import states

sys.path.insert(0, str(Path(__file__).parent))
from conftest import made_up_clip
from mouth_faces import FRAMES, SIZE, encoder_checkpoint, faces, mouth_config


@pytest.fixture(scope="module")
def talkers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faces(tmp_path_factory.mktemp("talkers"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoder_checkpoint(tmp_path_factory.mktemp("encoder") / "encoder.safetensors")


def small_config(**changes: object) -> MouthTrainConfig:
    config = MouthTrainConfig(
        model=mouth_config(),
        loss=LossConfig(lip=0.6, vlb=0.0),
        validation=ValidationConfig(1, 0.2),
        sharpness=SharpnessConfig(after=2, critic_channels=4),
        steps=6,
        batch=4,
        lr=1e-3,
        warmup=2,
        ema=0.9,
        colour=0.5,
        reframe=0.5,
        precision="no",
        save_every=2,
        sample_every=100,
        log_every=2,
        workers=0,
    )
    return replace(config, **changes)


def open_run(data: Path, run: Path, encoder: Path | None, config: MouthTrainConfig, **changes: object) -> MouthTrainer:
    job = MouthJob(data, run, config, audio_encoder=encoder, device="cpu", board=False, **changes)
    return MouthTrainer(job)


@pytest.fixture(scope="module")
def samples(talkers: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> MouthSamples:
    return open_run(talkers, tmp_path_factory.mktemp("samples"), encoder, small_config()).samples


def plain(samples: MouthSamples) -> MouthSamples:
    """The same samples without augmentation, in a window that does not follow the lips."""
    mouth = replace(samples.mouth, window=(16, 34, 32, 24), at_lips=False)
    model = replace(samples.model, mouth=mouth)
    config = replace(samples.config, model=model, colour=0.0, reframe=0.0, mirror=False)
    return MouthSamples(samples.corpora, [1.0], config)


def test_a_sample_depends_on_its_position_alone(samples: MouthSamples) -> None:
    first, again, other = samples[7], MouthSamples(samples.corpora, [1.0], samples.config)[7], samples[8]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["target"], other["target"])
    assert {tuple(samples[n][name].shape for name in first) for n in range(6)} == {
        tuple(value.shape for value in first.values())
    }


def test_every_person_is_seen_equally_often(samples: MouthSamples) -> None:
    """The first person has one clip of five; the persons' skins have different colours."""
    red = [round(float(plain(samples)[n]["still"][0, -1, 0]), 2) for n in range(200)]
    counts = Counter(red)
    assert len(counts) == 2 and min(counts.values()) > 75


def test_the_target_is_a_stabilised_frame_around_the_lips(samples: MouthSamples) -> None:
    corpus, model = samples.corpora[0], samples.model
    windows = [
        torch.from_numpy(frame.window(plain(samples).mouth.window)).permute(2, 0, 1) / 127.5 - 1
        for clip in range(5)
        for frame in placed_frames(corpus.store, clip, range(FRAMES), model)
    ]
    for position in range(4):
        sample = plain(samples)[position]
        shown = [torch.lerp(sample["identity"], window, sample["around"]) for window in windows]
        assert sum(torch.allclose(each, sample["target"], atol=1e-5) for each in shown) == 1
        assert any(torch.allclose(window, sample["still"], atol=1e-5) for window in windows)
        assert (sample["around"][0][sample["lips"][0] > 0.5] > 0.5).all()


def test_frames_are_drawn_by_the_rank_of_their_opening() -> None:
    openings, rng = np.random.default_rng(0).permutation(20) / 100, np.random.default_rng(1)
    closed = {float(openings[drawn_frame(openings, (0, 0.1), 1.0, rng)]) for _ in range(100)}
    assert closed == {0.0, 0.01}
    opened = {float(openings[drawn_frame(openings, (0.5, 1), 1.0, rng)]) for _ in range(400)}
    assert opened == {n / 100 for n in range(10, 20)}
    assert {drawn_frame(openings, (0, 0.1), 0.0, rng) for _ in range(400)} == set(range(20))
    assert {drawn_frame(openings[:3], (0, 0.1), 1.0, rng) for _ in range(9)} == {int(np.argmin(openings[:3]))}


def test_losses_of_constant_errors_are_known() -> None:
    target, around = torch.zeros(2, 3, 24, 32), torch.zeros(2, 1, 24, 32)
    around[..., 6:18, 6:18] = 1
    found = painting_losses(target + torch.tensor([0.5, 0.25])[:, None, None, None], target, around)
    torch.testing.assert_close(found["simple"], torch.tensor([0.5, 0.25]))
    torch.testing.assert_close(found["lip"], torch.tensor([0.5, 0.25]))
    torch.testing.assert_close(found["gradient"], torch.zeros(2))
    lips = painting_losses(around.expand(-1, 3, -1, -1), target, around)
    torch.testing.assert_close(lips["lip"], torch.ones(2))
    torch.testing.assert_close(lips["simple"], torch.full((2,), 144 / 768))


def test_balanced_losses_have_gradients_of_the_same_norm() -> None:
    painted = torch.ones(2, 3, requires_grad=True)
    one, other = (3 * painted).mean(), (2 * painted).mean()
    assert balance(one, other, painted) == pytest.approx(1.5)


def test_the_critics_losses_are_known() -> None:
    around = torch.zeros(1, 1, 8 + 8, 16 + 8)
    around[..., :12] = 1  # the left half of what the critic sees, which has two patches side by side
    real, painted = torch.tensor([[[[0.5, 9.0]]]]), torch.tensor([[[[0.5, 9.0]]]])
    assert critic_loss(real, painted, around) == pytest.approx(0.5 + 1.5)
    features = [torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 2, 2)]
    torch.testing.assert_close(matching_loss(features, [f + 0.5 for f in features], around), torch.ones(1))


def test_a_critic_learns_to_tell_bright_from_dark_mouths() -> None:
    torch.manual_seed(0)
    critic, given = Critic(4), [torch.zeros(4, planes, 24, 32) for planes in (3, 2, TEETH)]
    optimizer = torch.optim.Adam(critic.parameters(), 1e-2)
    for _ in range(60):
        real, made = (torch.full((4, 3, 24, 32), value) + 0.1 * torch.randn(4, 3, 24, 32) for value in (0.8, -0.8))
        around = torch.ones(4, 1, 24, 32)
        loss = critic_loss(critic(real, *given)[0], critic(made, *given)[0], around)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1


def test_a_resumed_run_equals_an_undisturbed_one(talkers: Path, encoder: Path, tmp_path: Path) -> None:
    whole = open_run(talkers, tmp_path / "whole", encoder, small_config())
    assert whole.fit() == "done"
    part = open_run(talkers, tmp_path / "part", encoder, small_config())
    assert part.fit(lambda progress: progress.step == 3) == "stopped" and part.step == 3
    resumed = open_run(talkers, tmp_path / "part", encoder, small_config())
    assert resumed.step == 3 and resumed.fit() == "done"
    last = [load_file(states(tmp_path / name)[-1]) for name in ("whole", "part")]
    assert last[0].keys() == last[1].keys() and all(torch.equal(last[0][name], last[1][name]) for name in last[0])
    assert any(name.startswith("model.critic.") for name in last[0])
    assert open_run(talkers, tmp_path / "whole", encoder, small_config()).fit() == "done"


def test_the_model_paints_and_says_where_it_comes_from(talkers: Path, encoder: Path, tmp_path: Path) -> None:
    run = open_run(talkers, tmp_path, encoder, small_config(sample_every=6), licence="CC0", preset="mouth")
    assert run.fit() == "done"
    head, checkpoint = load_model(tmp_path / "model.safetensors"), load(tmp_path / "model.safetensors")
    clip = Dataset(talkers).clip(0)
    audio = head.encode_mono(clip.audio, FRAMES)
    frames = list(head.generate(clip.frames[0], audio, mesh=clip.annotations["mesh"][0]))
    assert len(frames) == FRAMES and frames[0].shape == (SIZE, SIZE, 3)
    assert checkpoint.licence == "CC0" and checkpoint.summary["preset"] == "mouth"
    assert checkpoint.summary["data_licence"] == "CC0" and checkpoint.summary["figures"]["best"]["step"] == 6
    assert (tmp_path / "best.safetensors").is_file() and (tmp_path / "samples").is_dir()


def test_training_lowers_the_loss(talkers: Path, encoder: Path, tmp_path: Path) -> None:
    config = small_config(steps=60, warmup=5, lr=3e-3, sharpness=SharpnessConfig(after=1000, critic_channels=4))
    losses: list[float] = []
    run = open_run(talkers, tmp_path, encoder, replace(config, save_every=100))
    run.fit(lambda progress: losses.append(progress.losses["simple"]))
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:10])


def test_a_person_begins_with_a_model_of_many(talkers: Path, encoder: Path, tmp_path: Path) -> None:
    open_run(talkers, tmp_path / "many", encoder, small_config(steps=2)).fit()
    many = tmp_path / "many" / "model.safetensors"
    mine = open_run(talkers, tmp_path / "mine", None, small_config(), start=many, fit_lips=False)
    before = load(many).tensors
    for name, tensor in mine.weights().items():
        torch.testing.assert_close(tensor, before[name].to(tensor.dtype))
    assert mine.origin["from"]["model"] == "model.safetensors"
    assert mine.fit(lambda progress: progress.step == 1) == "stopped"
    after = load(tmp_path / "mine" / "model.safetensors").tensors
    kept, moved = ({n for n in before if torch.equal(before[n], after[n]) is same} for same in (True, False))
    assert moved and all(name.startswith("unet.") for name in moved)
    assert {"lip_shape.linear.weight", "lip_shape.closure.weight"} <= kept


def test_two_datasets_are_sampled_as_often_as_asked(talkers: Path, encoder: Path, tmp_path: Path) -> None:
    other = faces(tmp_path / "others", 3)
    run = open_run(talkers, tmp_path / "run", encoder, small_config(), others=(other,), weights=(3.0, 1.0))
    np.testing.assert_allclose(run.samples.shares, [0.75, 0.25])
    assert run.origin["clips"] == 8 and ";" in str(run.origin["fingerprint"])
    with pytest.raises(DiffusedHeadsError, match="one above 0 for each of 2 datasets"):
        open_run(talkers, tmp_path / "run", encoder, small_config(), others=(other,), weights=(1.0,))


def test_clips_with_frames_that_show_no_face_are_left_out(encoder: Path, tmp_path: Path) -> None:
    from mouth_faces import FPS, talking_clip

    clips = [talking_clip(seed, seed) for seed in range(2)]
    clips[0].annotations["mesh"][3] = np.nan
    with ShardWriter(tmp_path / "data", 0, FPS, SIZE) as writer:
        for number, clip in enumerate(clips):
            writer.add(f"clip-{number}", clip)
    finish_dataset(tmp_path / "data", 1)
    assert open_run(tmp_path / "data", tmp_path / "run", encoder, small_config()).samples.corpora[0].people == ((1,),)


def test_datasets_that_do_not_fit_are_refused(corpus: Path, talkers: Path, encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(DiffusedHeadsError, match="annotation mesh.*frames of 64 px or more"):
        check_dataset(Dataset(corpus), mouth_config())
    with pytest.raises(DiffusedHeadsError, match="256 px"):
        check_dataset(Dataset(talkers), mouth_model(mouth_config().audio))
    with pytest.raises(DiffusedHeadsError, match="--audio-encoder"):
        open_run(talkers, tmp_path, None, small_config())
    assert made_up_clip(0).annotations.keys() & {"mesh"} == set()


def test_settings_are_checked() -> None:
    with pytest.raises(DiffusedHeadsError, match="other_clip=2"):
        small_config(other_clip=2.0)
    with pytest.raises(DiffusedHeadsError, match="critic_lr=0"):
        SharpnessConfig(critic_lr=0)
    assert new_mouth(mouth_config().audio).model.mouth.window == (-40, -16, 80, 48)


def parsed(*words: object) -> MouthJob:
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    return command.job_from(parser.parse_args([str(word) for word in words]))


def test_the_command_line_names_datasets_weights_and_settings(encoder: Path) -> None:
    job = parsed("one", "two", "run", "--weights", 3, 1, "--audio-encoder", encoder, "--lip", 0.9, "--after", 7)
    assert (job.data, job.others, job.run) == (Path("one"), (Path("two"),), Path("run"))
    assert job.weights == (3.0, 1.0) and job.fit_lips and job.config.model == mouth_model(mouth_config().audio)
    assert job.config.loss.lip == 0.9 and job.config.sharpness.after == 7


def test_the_command_line_begins_a_persons_model_with_another(encoder: Path) -> None:
    job = parsed("mine", "run", "--from", encoder, "--steps", 40)
    assert job.config.model == mouth_config() and job.config.steps == 40 and job.config.warmup == 10
    assert not job.fit_lips and job.audio_encoder is None and job.preset == "mouth-person"
    with pytest.raises(DiffusedHeadsError, match="whole frames"):
        parsed("mine", "run", "--from", "avatar")


def test_the_command_says_what_is_wrong_with_a_dataset(
    talkers: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train-mouth", str(talkers), str(tmp_path), "--audio-encoder", str(encoder), "--cpu"]) == 1
    assert "expected frames of 256 px or more" in capsys.readouterr().err
