"""Gradients that are not finite change nothing and stop a run that gets no others; training in bfloat16."""

from __future__ import annotations

import csv
import logging
import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.training.batches import Prepared
from diffused_heads.training.gradients import clip_gradients
from diffused_heads.training.state import states
from diffused_heads.training.trainer import Trainer

sys.path.insert(0, str(Path(__file__).parent))
from small_run import open_run, small_config


def scale_losses(trainer: Trainer, factor: float, chosen: Callable[[int], bool]) -> None:
    """Multiply the total loss, of which the gradient is taken, in the steps (from 1) that are chosen."""
    losses = trainer.losses

    def scaled(part: Prepared) -> dict[str, torch.Tensor]:
        found = losses(part)
        return {**found, "total": found["total"] * factor} if chosen(trainer.step + 1) else found

    trainer.losses = scaled


def values(run: Path, name: str) -> list[float]:
    with (run / "losses.csv").open(newline="") as file:
        return [float(row[2]) for row in csv.reader(file) if row[1] == name]


def parameters(count: int = 3) -> list[torch.nn.Parameter]:
    found = [torch.nn.Parameter(torch.zeros(4)) for _ in range(count)]
    for number, parameter in enumerate(found):
        parameter.grad = torch.full((4,), number + 1.0)
    return found


def test_finite_gradients_are_clipped_and_others_are_zeroed() -> None:
    clipped = parameters()
    norm = clip_gradients(clipped, 1.0)
    assert float(norm) == pytest.approx(math.sqrt(4 * (1 + 4 + 9)))
    assert [float(p.grad[0]) for p in clipped] == pytest.approx([n / float(norm) for n in (1, 2, 3)], rel=1e-5)
    small = parameters()
    clip_gradients(small, 1e6)
    assert [p.grad.tolist() for p in small] == [p.grad.tolist() for p in parameters()]
    for bad in (math.nan, math.inf, 3e38):  # squares of 3e38 overflow
        spoilt = parameters()
        spoilt[1].grad[2] = bad
        assert not math.isfinite(float(clip_gradients(spoilt, 1.0)))
        assert all((p.grad == 0).all() for p in spoilt)


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_step_without_a_finite_gradient_counts_as_one_of_gradient_zero(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, factor: float
) -> None:
    found = {}
    for name, scale in (("bad", factor), ("zero", 0.0)):
        trainer = open_run(corpus, tmp_path / name, small_config())
        scale_losses(trainer, scale, lambda step: step == 4)
        with caplog.at_level(logging.WARNING):
            assert trainer.fit() == "done"
        found[name] = load_file(states(tmp_path / name)[-1])
    assert all(torch.equal(tensor, found["zero"][name]) for name, tensor in found["bad"].items())
    assert all(tensor.isfinite().all() for tensor in found["bad"].values())
    assert values(tmp_path / "bad", "skipped_steps") == [1] and not values(tmp_path / "zero", "skipped_steps")
    assert all(map(math.isfinite, values(tmp_path / "bad", "loss/total") + values(tmp_path / "bad", "gradient_norm")))
    assert [record.getMessage() for record in caplog.records] == ["step 4: skipped 1 of 2 steps, gradient not finite"]


def test_a_run_that_diverges_stops_and_keeps_the_states_before(corpus: Path, tmp_path: Path) -> None:
    config = small_config(steps=60, save_every=2, log_every=10)
    whole = open_run(corpus, tmp_path / "whole", config)
    whole.fit(lambda progress: progress.step == 14)
    trainer = open_run(corpus, tmp_path / "run", config)
    scale_losses(trainer, math.nan, lambda step: step > 14)
    with pytest.raises(
        DiffusedHeadsError, match=r"diverged at step 15: .*lower learning rate.*precision no.*-000000014"
    ):
        trainer.fit()
    assert trainer.step == 30 and [int(path.stem[-9:]) for path in states(tmp_path / "run")] == [12, 14]
    kept, want = (load_file(states(tmp_path / name)[-1]) for name in ("run", "whole"))
    assert all(torch.equal(tensor, want[name]) for name, tensor in kept.items())
    assert values(tmp_path / "run", "skipped_steps") == [6, 10]
    assert math.isnan(values(tmp_path / "run", "loss/total")[-1])
    assert open_run(corpus, tmp_path / "run", config).fit(lambda progress: progress.step == 20) == "stopped"


def test_a_run_without_a_single_finite_gradient_does_not_end_as_done(corpus: Path, tmp_path: Path) -> None:
    trainer = open_run(corpus, tmp_path, small_config(log_every=100))
    scale_losses(trainer, math.inf, lambda step: True)
    with pytest.raises(DiffusedHeadsError, match="diverged at step 1: .*no state was saved"):
        trainer.fit()
    assert not states(tmp_path) and not (tmp_path / "model.safetensors").exists()


def test_training_in_bfloat16_learns_with_weights_in_float32(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffused_heads.training.parallel.supports_bfloat16", lambda device: True)
    config = small_config(precision="bf16", steps=120, log_every=20, save_every=120, lr=3e-3)
    trainer = open_run(corpus, tmp_path, config)
    computed: set[torch.dtype] = set()
    convolution = trainer.denoiser.unet.middle_block[0].in_layers[2]
    convolution.register_forward_hook(lambda module, inputs, output: computed.add(output.dtype))
    assert trainer.fit() == "done" and computed == {torch.bfloat16}
    totals = values(tmp_path, "loss/total")
    assert totals[-1] < 0.7 * totals[0] and not values(tmp_path, "skipped_steps")
    state = load_file(states(tmp_path)[-1])
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in state.values())
