"""The trainer: same data and numbers after any interruption, losses that mean what they say."""

from __future__ import annotations

import csv
import json
import pickle
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from diffused_heads.diffused_heads_core.checkpoints import load, to_json
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.schedule import noise_schedule
from diffused_heads.diffused_heads_core.talking_head import load_model
from diffused_heads.training.cache import open_store
from diffused_heads.training.config import LossConfig, StabilityConfig, TrainConfig
from diffused_heads.training.dataset import FrameSamples, Order, StepBatches
from diffused_heads.training.draws import BatchDraws, SampleGenerators, draw_batch
from diffused_heads.training.ema import Ema
from diffused_heads.training.frame_augmentation import Batch, augmented, mirror
from diffused_heads.training.job import Progress
from diffused_heads.training.losses import losses, snr_weight, with_predictions
from diffused_heads.training.state import states
from diffused_heads.training.tools.bundle import main as bundle_command

sys.path.insert(0, str(Path(__file__).parent))
from small_run import main, open_run, plain, small_config


@pytest.fixture(scope="module")
def samples(corpus: Path) -> FrameSamples:
    config = small_config()
    return FrameSamples(open_store(corpus, config.model.audio), config.model)


def batch_of(samples: FrameSamples, positions: range) -> Batch:
    rows = [samples[i] for i in positions]
    return Batch.of({name: torch.stack([row[name] for row in rows]) for name in rows[0] if name != "position"})


def drawn(batch: Batch, **changes: object) -> BatchDraws:
    """Random choices of a training with those settings alone."""
    config = small_config(**{"mirror": False, "colour": 0.0, "reframe": 0.0, "stability": StabilityConfig(), **changes})
    return draw_batch(config, range(len(batch.identity)), batch.identity.shape[-1], 1000)


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    main(corpus, folder)
    return folder


def same_weights(a: Path, b: Path) -> bool:
    first, second = load_file(states(a)[-1]), load_file(states(b)[-1])
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def test_a_run_that_is_interrupted_anywhere_ends_with_the_same_bits(corpus: Path, whole: Path, tmp_path: Path) -> None:
    class Stop(BaseException):
        pass

    def interrupt(progress: Progress) -> bool:
        if progress.step == 3:
            raise Stop
        return progress.step == 5

    with pytest.raises(Stop):
        open_run(corpus, tmp_path, small_config()).fit(interrupt)
    assert states(tmp_path)[-1].name == "state-000000003.safetensors"
    assert open_run(corpus, tmp_path, small_config()).fit(interrupt) == "stopped"
    assert open_run(corpus, tmp_path, small_config()).fit() == "done"
    assert same_weights(whole, tmp_path)


def test_losses_are_written_once_a_line_however_often_a_run_is_killed(
    corpus: Path, whole: Path, tmp_path: Path
) -> None:
    main(corpus, tmp_path, steps=4)
    with (tmp_path / "losses.csv").open("a") as file:
        file.write("6,loss/total,0.1\r\n7,lo")  # what a killed process may leave
    main(corpus, tmp_path)
    assert same_lines(whole, tmp_path)


def same_lines(a: Path, b: Path) -> bool:
    rates = ("samples_a_second", "waiting", "memory_gb")
    with (a / "losses.csv").open() as first, (b / "losses.csv").open() as second:
        rows = [[row for row in csv.reader(file) if row[1] not in rates] for file in (first, second)]
    return rows[0] == rows[1]


def test_training_leaves_the_process_as_it_was(corpus: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    with torch.inference_mode():
        trainer = open_run(corpus, tmp_path, small_config(steps=2))
        trainer.fit(lambda progress: progress.losses["total"] > 1e9)
    assert torch.equal(torch.rand(3), want) and not next(trainer.denoiser.parameters()).is_inference()


def test_the_process_may_see_each_step(corpus: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    trainer = open_run(corpus, tmp_path, small_config(sample_every=4))
    assert trainer.fit(seen.append) == "done" and [p.step for p in seen] == list(range(1, 9))
    assert all(set(p.losses) == {"simple", "lip", "total"} for p in seen)
    assert [p.step for p in seen if p.figures] == [4, 8] and seen[3].sheet.shape[2] == 3
    frames = list(trainer.talking_head().generate(np.zeros((32, 32, 3), np.uint8), torch.zeros(2, 8)))
    assert len(frames) == 2


def test_a_run_of_an_older_version_goes_on(corpus: Path, whole: Path, tmp_path: Path) -> None:
    """Old states have fewer settings of the model and another one of the training."""
    main(corpus, tmp_path, steps=4)
    path = states(tmp_path)[-1]
    old = json.loads(to_json(small_config()))
    old["freeze_audio"] = False
    for name in ("source", "layer", "width"):
        del old["model"]["audio"][name]
    save_file(load_file(path), path, {"step": "4", "config": json.dumps(old)})
    main(corpus, tmp_path)
    assert same_weights(whole, tmp_path)


def test_freezing_other_parts_than_before_is_refused(corpus: Path, whole: Path) -> None:
    with pytest.raises(DiffusedHeadsError, match="same --freeze"):
        open_run(corpus, whole, small_config(freeze=("audio",)))


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
    bundle_command(
        [
            str(whole / "model.safetensors"),
            str(tmp_path / "small.safetensors"),
            "--steps",
            "3",
            "--figures",
            str(tmp_path / "figures.json"),
        ]
    )
    small, large = load(tmp_path / "small.safetensors"), load(whole / "model.safetensors")
    assert small.config == replace(large.config, steps=3) and small.summary["figures"] == {"mouth_r": 0.5}
    assert all(torch.allclose(small.tensors[n], large.tensors[n], atol=2e-3) for n in large.tensors)
    assert (tmp_path / "small.safetensors").stat().st_size < 0.6 * (whole / "model.safetensors").stat().st_size


def test_resuming_another_model_is_refused(corpus: Path, whole: Path) -> None:
    model = small_config().model
    spatial = tuple(replace(entry, channels=2) if entry.name == "motion" else entry for entry in model.unet.spatial)
    other = small_config(model=replace(model, motion_gray=True, unet=replace(model.unet, spatial=spatial)))
    with pytest.raises(DiffusedHeadsError, match="another motion_gray, unet|another unet, motion_gray"):
        open_run(corpus, whole, other)


def test_a_sample_depends_only_on_its_position(samples: FrameSamples) -> None:
    first, again = samples[57], FrameSamples(samples.store, samples.model)[57]
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_another_persons_mouth_is_on_the_portrait_and_never_on_the_target(samples: FrameSamples) -> None:
    strange = FrameSamples(samples.store, samples.model, stability=StabilityConfig(swapped_mouth=1.0))
    pairs = [(samples[n], strange[n]) for n in range(24)]
    assert all(torch.equal(plain["frames"][-1], other["frames"][-1]) for plain, other in pairs)
    assert sum(not torch.equal(plain["identity"], other["identity"]) for plain, other in pairs) > 18
    started = [other for _, other in pairs if torch.equal(other["poses"][0], other["identity_pose"])]
    assert started and all(torch.equal(other["frames"][0], other["identity"]) for other in started)


@pytest.mark.parametrize("pool", [7, 40, 1000])
def test_an_epoch_visits_every_frame_once_in_an_order_of_its_own(pool: int) -> None:
    lengths = np.array([3, 1, 9, 20, 2] * 40)
    order = Order(lengths, 0, pool)
    epochs = [[order.at(position) for position in range(first, first + len(order))] for first in (0, len(order))]
    every = [(clip, frame) for clip, length in enumerate(lengths) for frame in range(length)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == every and epochs[0] != epochs[1] and epochs[0] != every
    assert [pickle.loads(pickle.dumps(order)).at(position) for position in range(50)] == epochs[0][:50]


def test_large_data_are_read_a_part_at_a_time() -> None:
    order = Order(np.full(6400, 10), 0, 3200)
    clips = {order.at(position)[0] for position in range(3200)}
    assert len(clips) <= 640 and len({clip // 64 for clip in clips}) <= 6


def test_processes_and_parts_share_each_batch_without_overlap() -> None:
    whole = list(StepBatches(3, 5, 8))
    shares = [list(StepBatches(3, 5, 8, rank, 2)) for rank in range(2)]
    assert [sorted(a + b) for a, b in zip(*shares)] == whole == [list(range(24, 32)), list(range(32, 40))]
    parts = [list(StepBatches(3, 4, 8, rank, 2, 2)) for rank in range(2)]
    assert sorted(chain(*parts[0], *parts[1])) == whole[0] and all(len(part) == 2 for part in parts[0])
    with pytest.raises(DiffusedHeadsError, match="batch=6: expected a multiple of 2 processes x 2 parts"):
        StepBatches(0, 1, 6, 0, 2, 2)


def test_random_numbers_belong_to_a_sample_and_not_to_its_batch() -> None:
    together, single = SampleGenerators(1, [4, 9]), SampleGenerators(1, [9])
    assert torch.equal(together.uniform(3)[1], single.uniform(3)[0])
    assert torch.equal(together.frames(2, 2, rows=[1])[0], single.frames(2, 2)[0])
    assert torch.equal(together.integers(1000)[1], single.integers(1000)[0])
    assert not torch.equal(SampleGenerators(1, [9]).uniform(3), SampleGenerators(2, [9]).uniform(3))


def test_a_step_in_parts_is_the_same_step(corpus: Path, tmp_path: Path) -> None:
    runs = {}
    for parts in (1, 2, 4):
        runs[parts] = open_run(corpus, tmp_path / str(parts), plain(small_config(steps=3, accumulate=parts)))
        runs[parts].fit()
    want = dict(runs[1].denoiser.named_parameters())
    for parts in (2, 4):
        assert all(torch.allclose(p, want[n], atol=1e-5) for n, p in runs[parts].denoiser.named_parameters())


def test_a_clips_start_repeats_the_identity_frame(samples: FrameSamples) -> None:
    sample = samples.sample(2, 0, np.random.default_rng(0))
    assert all(torch.equal(frame, sample["identity"]) for frame in sample["frames"][:-1])
    assert torch.equal(
        sample["frames"][-1], torch.from_numpy(samples.store.frames[samples.store.starts[2]].copy()).permute(2, 0, 1)
    )
    assert torch.equal(sample["poses"][:-1], sample["identity_pose"].expand(3, -1))


def test_previous_frames_are_in_order(samples: FrameSamples) -> None:
    row = int(samples.store.starts[1]) + 7
    frames = samples.sample(1, 7, np.random.default_rng(0))["frames"].permute(0, 2, 3, 1).numpy()
    assert np.array_equal(frames, samples.store.frames[row - 3 : row + 1])


def test_mirroring_twice_changes_nothing_and_once_moves_the_lip_box(samples: FrameSamples) -> None:
    batch, every = batch_of(samples, range(4)), torch.ones(4, dtype=torch.bool)
    once = mirror(replace(batch), every)
    twice = mirror(replace(once), every)
    assert all(torch.allclose(a, b) for a, b in zip(vars(batch).values(), vars(twice).values()))
    assert torch.equal(once.frames, batch.frames.flip(-1))
    assert torch.allclose(once.lip_box[:, 0], 32 - batch.lip_box[:, 2]) and torch.allclose(
        once.poses[..., 0], -batch.poses[..., 0]
    )


def test_recolouring_treats_all_frames_of_a_sample_alike(samples: FrameSamples) -> None:
    batch = batch_of(samples, range(6))
    same = replace(batch, frames=batch.identity[:, None].expand_as(batch.frames).clone())
    changed = augmented(same, drawn(same, colour=1.0))
    assert torch.equal(changed.frames[:, 0], changed.identity) and not torch.equal(changed.identity, batch.identity)


def test_degrading_leaves_the_target_and_can_give_the_identity_frame(samples: FrameSamples) -> None:
    batch = batch_of(samples, range(4))
    target = batch.frames[:, -1].clone()
    out = augmented(batch, drawn(batch, stability=StabilityConfig(identity=1.0)))
    assert torch.equal(out.frames[:, -1], target) and torch.equal(out.frames[:, 0], out.identity)
    assert torch.equal(out.poses[:, 0], out.identity_pose)


def test_a_predicted_motion_frame_is_the_models_prediction_of_the_frame_before(samples: FrameSamples) -> None:
    batch, config = batch_of(samples, range(4)), small_config(stability=StabilityConfig(predicted=1.0))
    before = batch.frames.clone()
    seen: dict[str, torch.Tensor] = {}

    def predict(
        x: torch.Tensor, t: torch.Tensor, spatial: dict, sound: torch.Tensor, window: torch.Tensor, keep: torch.Tensor
    ) -> tuple:
        seen.update(spatial, window=window, t=t)
        return torch.full_like(x, 0.25), None

    chosen = drawn(batch, stability=config.stability).predicted
    out = with_predictions(batch, config, noise_schedule("cosine", 1000), predict, chosen)
    assert (out.frames[:, -2] == 0.25).all()
    assert torch.equal(out.frames[:, -1], before[:, -1]) and torch.equal(out.frames[:, 0], before[:, 0])
    assert torch.equal(seen["window"], batch.windows[:, 0]) and (seen["t"] == 999).all()


def test_losses_against_known_errors() -> None:
    schedule, index = noise_schedule("cosine", 1000), torch.tensor([100, 900])
    x0, noise = torch.zeros(2, 3, 16, 16), torch.randn(2, 3, 16, 16)
    output = noise.clone()
    output[:, :, 4:8, 4:8] += 2.0
    box = torch.tensor([[4.0, 4, 8, 8]]).expand(2, -1)
    found = losses(LossConfig(lip=0.5, lip_margin=0), schedule, "eps", output, None, x0, x0, noise, index, box)
    assert torch.allclose(found["lip"], torch.tensor(4.0)) and torch.allclose(
        found["simple"], torch.tensor(4.0 * 16 / 256)
    )
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
    assert (
        config.with_steps(20).warmup == 5
        and config.with_steps(2).warmup == 1
        and config.with_steps(500) == TrainConfig(steps=500, lr=1.0, warmup=10)
    )
    released = TrainConfig(steps=1900, lr=1.0, warmup=0, step_decays=18)
    assert (
        released.lr_at(99) == 1.0
        and released.lr_at(100) == pytest.approx(0.8)
        and released.lr_at(1899) == pytest.approx(0.8**18)
    )


def test_bad_settings_are_reported_together() -> None:
    with pytest.raises(DiffusedHeadsError, match=r"ema=2.*steps=0.*lr=-1"):
        TrainConfig(ema=2, steps=0, lr=-1)
