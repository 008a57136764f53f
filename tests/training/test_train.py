"""The trainer: same data and numbers after any interruption, losses that mean what they say."""
from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffused_heads.diffused_heads_core.checkpoints import load
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.schedule import noise_schedule
from diffused_heads.diffused_heads_core.talking_head import load_model
from diffused_heads.training import train as command
from diffused_heads.training.bundle import main as bundle_command
from diffused_heads.training.cache import open_store
from diffused_heads.training.config import PRESETS, LossConfig, StabilityConfig, TrainConfig, preset
from diffused_heads.training.dataset import FrameSamples, StepBatches, order
from diffused_heads.training.ema import Ema
from diffused_heads.training.losses import Batch, losses, mirror, own_motion, recolour, snr_weight, worsen
from diffused_heads.training.state import states
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parent))
from small_run import main, small_config  # noqa: E402


@pytest.fixture(scope="module")
def samples(corpus: Path) -> FrameSamples:
    config = small_config()
    return FrameSamples(open_store(corpus, config.model.audio), config.model)


def batch_of(samples: FrameSamples, positions: range) -> Batch:
    rows = [samples[i] for i in positions]
    return Batch.of({name: torch.stack([row[name] for row in rows]) for name in rows[0]})


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    main(corpus, folder)
    return folder


def same_weights(a: Path, b: Path) -> bool:
    first, second = load_file(states(a)[-1]), load_file(states(b)[-1])
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def test_a_run_that_is_interrupted_anywhere_ends_with_the_same_bits(corpus: Path, whole: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    for stop in (3, 5):
        with pytest.raises(Stop):
            _stop_at(corpus, tmp_path, stop, Stop)
    main(corpus, tmp_path)
    assert same_weights(whole, tmp_path)
    with (whole / "losses.csv").open() as a, (tmp_path / "losses.csv").open() as b:
        rows = [[row for row in csv.reader(file) if "samples_a_second" not in row[1]] for file in (a, b)]
    assert rows[0] == rows[1]


def _stop_at(corpus: Path, folder: Path, step: int, error: type[Exception]) -> None:
    from diffused_heads.training.loop import build_model, setup, train

    def stop(run: object) -> None:
        raise error

    config = small_config(sample_every=step)
    run = setup(config, folder, build_model(config), cpu=True)
    train(run, FrameSamples(open_store(corpus, config.model.audio), config.model, config.seed), stop)


def test_sigkill_loses_only_the_steps_since_the_last_state(corpus: Path, tmp_path: Path) -> None:
    script = [sys.executable, str(Path(__file__).with_name("small_run.py")), str(corpus), str(tmp_path / "killed")]
    process = subprocess.Popen(script)
    deadline = time.monotonic() + 120
    while len(states(tmp_path / "killed")) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert states(tmp_path / "killed"), "the run never wrote a state"
    for folder in ("killed", "whole"):
        main(corpus, tmp_path / folder, steps=40, save_every=1)
    assert same_weights(tmp_path / "killed", tmp_path / "whole")


def test_training_learns_the_picture(corpus: Path, tmp_path: Path) -> None:
    main(corpus, tmp_path, steps=200, log_every=20, save_every=200, lr=3e-3)
    with (tmp_path / "losses.csv").open() as file:
        totals = [float(value) for _, name, value in csv.reader(file) if name == "loss/total"]
    assert totals[-1] < 0.5 * totals[0]


def test_the_model_of_a_run_is_a_checkpoint_that_loads(whole: Path) -> None:
    checkpoint = load(whole / "model.safetensors")
    assert checkpoint.summary["steps"] == 8 and checkpoint.config == small_config().model
    assert load_model(whole / "model.safetensors", "cpu").config.head_motion


def test_a_bundled_model_is_half_the_size_and_carries_its_figures(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "figures.json").write_text('{"mouth_r": 0.5}')
    bundle_command([str(whole / "model.safetensors"), str(tmp_path / "small.safetensors"), "--steps", "3", "--figures", str(tmp_path / "figures.json")])
    small, large = load(tmp_path / "small.safetensors"), load(whole / "model.safetensors")
    assert small.config == replace(large.config, steps=3) and small.summary["figures"] == {"mouth_r": 0.5}
    assert all(torch.allclose(small.tensors[n], large.tensors[n], atol=2e-3) for n in large.tensors)
    assert (tmp_path / "small.safetensors").stat().st_size < 0.6 * (whole / "model.safetensors").stat().st_size


def test_resuming_another_model_is_refused(corpus: Path, whole: Path) -> None:
    other = small_config(model=replace(small_config().model, fps=30))
    from diffused_heads.training.loop import build_model, setup

    with pytest.raises(DiffusedHeadsError, match="another fps"):
        setup(other, whole, build_model(other), cpu=True)


def test_a_sample_depends_on_its_position_alone(samples: FrameSamples) -> None:
    first, again = samples[57], FrameSamples(samples.store, samples.model)[57]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert sorted(order(0, 1, 48)) == list(range(48)) and not np.array_equal(order(0, 0, 48), order(0, 1, 48))


def test_processes_share_each_batch_without_overlap() -> None:
    whole = list(StepBatches(3, 5, 8))
    shares = [list(StepBatches(3, 5, 8, rank, 2)) for rank in range(2)]
    assert [sorted(a + b) for a, b in zip(*shares)] == whole == [list(range(24, 32)), list(range(32, 40))]


def test_a_clips_start_repeats_the_identity_frame(samples: FrameSamples) -> None:
    row = int(samples.store.starts[2])
    sample = samples.sample(row, np.random.default_rng(0))
    assert all(torch.equal(frame, sample["identity"]) for frame in sample["frames"][:-1])
    assert torch.equal(sample["frames"][-1], torch.from_numpy(samples.store.frames[row].copy()).permute(2, 0, 1))
    assert torch.equal(sample["poses"][:-1], sample["identity_pose"].expand(3, -1))


def test_previous_frames_are_in_order(samples: FrameSamples) -> None:
    row = int(samples.store.starts[1]) + 7
    frames = samples.sample(row, np.random.default_rng(0))["frames"].permute(0, 2, 3, 1).numpy()
    assert np.array_equal(frames, samples.store.frames[row - 3 : row + 1])


def test_mirroring_twice_changes_nothing_and_once_moves_the_lip_box(samples: FrameSamples) -> None:
    batch, every = batch_of(samples, range(4)), torch.ones(4, dtype=torch.bool)
    once = mirror(batch, every)
    twice = mirror(once, every)
    assert all(torch.allclose(a, b) for a, b in zip(vars(batch).values(), vars(twice).values()))
    assert torch.equal(once.frames, batch.frames.flip(-1))
    assert torch.allclose(once.lip_box[:, 0], 32 - batch.lip_box[:, 2]) and torch.allclose(once.poses[..., 0], -batch.poses[..., 0])


def test_recolouring_treats_all_frames_of_a_sample_alike(samples: FrameSamples) -> None:
    batch = batch_of(samples, range(6))
    same = replace(batch, frames=batch.identity[:, None].expand_as(batch.frames).clone())
    changed = recolour(same, 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(changed.frames[:, 0], changed.identity) and not torch.equal(changed.identity, batch.identity)


def test_worsening_leaves_the_target_and_can_give_the_identity_frame(samples: FrameSamples) -> None:
    batch = batch_of(samples, range(4))
    target = batch.frames[:, -1].clone()
    out = worsen(replace(batch), StabilityConfig(identity=1.0), torch.Generator().manual_seed(0))
    assert torch.equal(out.frames[:, -1], target) and torch.equal(out.frames[:, 0], out.identity)
    assert torch.equal(out.poses[:, 0], out.identity_pose)


def test_own_motion_is_the_models_prediction_of_the_frame_before(samples: FrameSamples) -> None:
    batch, config = batch_of(samples, range(4)), small_config(stability=StabilityConfig(own=1.0))
    before = batch.frames.clone()
    seen: dict[str, torch.Tensor] = {}

    def predict(x: torch.Tensor, t: torch.Tensor, spatial: dict, mel: torch.Tensor, keep: torch.Tensor, shift: int) -> tuple:
        seen.update(spatial, shift=torch.tensor(shift), t=t)
        return torch.full_like(x, 0.25), None

    out = own_motion(batch, config, noise_schedule("cosine", 1000), predict, torch.Generator().manual_seed(0))
    assert (out.frames[:, -2] == 0.25).all() and torch.equal(out.frames[:, -1], before[:, -1]) and torch.equal(out.frames[:, 0], before[:, 0])
    assert seen["shift"] == 0 and (seen["t"] == 999).all()


def test_losses_against_known_errors() -> None:
    schedule, index = noise_schedule("cosine", 1000), torch.tensor([100, 900])
    x0, noise = torch.zeros(2, 3, 16, 16), torch.randn(2, 3, 16, 16)
    output = noise.clone()
    output[:, :, 4:8, 4:8] += 2.0
    box = torch.tensor([[4.0, 4, 8, 8]]).expand(2, -1)
    found = losses(LossConfig(lip=0.5, lip_margin=0), schedule, "eps", output, None, x0, x0, noise, index, box)
    assert torch.allclose(found["lip"], torch.tensor(4.0)) and torch.allclose(found["simple"], torch.tensor(4.0 * 16 / 256))
    assert torch.allclose(found["total"], found["simple"] + 0.5 * found["lip"])


def test_x0_weights_are_the_clipped_snr_and_v_weights_give_the_same_loss() -> None:
    schedule, index = noise_schedule("cosine", 1000), torch.tensor([10, 500, 999])
    weight = snr_weight(schedule, "x0", index, (1.0, 5.0))
    assert torch.allclose(weight, torch.from_numpy(schedule.snr[index].clip(1, 5)).float())
    bar = torch.from_numpy(schedule.alphas_cumprod[index]).float()
    assert torch.allclose(snr_weight(schedule, "v", index, (1.0, 5.0)), weight * (1 - bar), rtol=1e-4)


def test_ema_follows_its_closed_form() -> None:
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(net.weight, 0.0)
    ema = Ema(net, 0.5)
    torch.nn.init.constant_(net.weight, 1.0)
    for step in range(3):
        ema.update(net, step + 1000)
    assert float(ema.model.weight.detach()) == pytest.approx(1 - 0.5**3)


def test_learning_rate_warms_up_and_decays() -> None:
    config = TrainConfig(steps=1000, lr=1.0, warmup=10, decay=0.2, decay_to=0.05)
    assert [config.lr_at(s) for s in (0, 9, 500)] == [0.1, 1.0, 1.0]
    assert config.lr_at(900) == pytest.approx(0.5) and config.lr_at(999) == 0.05
    released = TrainConfig(steps=1900, lr=1.0, warmup=0, step_decays=18)
    assert released.lr_at(99) == 1.0 and released.lr_at(100) == pytest.approx(0.8) and released.lr_at(1899) == pytest.approx(0.8**18)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_valid(name: str) -> None:
    assert preset(name).model.unet.image_size == 128


def test_bad_settings_are_reported_together() -> None:
    with pytest.raises(DiffusedHeadsError, match=r"ema=2.*steps=0.*lr=-1"):
        TrainConfig(ema=2, steps=0, lr=-1)


def test_dry_run_tells_the_plan_and_writes_nothing(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
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
    with pytest.raises(DiffusedHeadsError, match="size is 32, the preset wants 128"):
        command.run(parser.parse_args([str(corpus), str(tmp_path / "run")]))
