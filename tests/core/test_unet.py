"""The network: the reference's outputs, the config's extras, and inputs that do not fit."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from diffused_heads.diffused_heads_core.config import FeatureGroup, SpatialInput, UNetConfig
from diffused_heads.diffused_heads_core.layers import Attention, Refine, timestep_embedding
from diffused_heads.diffused_heads_core.unet import UNet

DATA = Path(__file__).resolve().parents[1] / "data"
TINY = UNetConfig(
    image_size=16,
    model_channels=32,
    channel_mult=(1, 2),
    res_blocks=1,
    head_channels=32,
    dropout=0.0,
    features=(FeatureGroup("audio", 8),),
)
SKIPPING = dataclasses.replace(
    TINY,
    skip=("last", "identity"),
    prediction="x0",
    learned_variance=False,
    spatial=(SpatialInput("last", 3), SpatialInput("identity", 3)),
)


def reference(name: str) -> tuple[UNetConfig, dict[str, Tensor]]:
    """Configuration and tensors of a reference vector, weights as float32."""
    with safe_open(DATA / f"{name}.safetensors", "pt") as file:
        told, tensors = json.loads(file.metadata()["config"]), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    size = told["image_size"]
    config = UNetConfig(
        image_size=size,
        model_channels=told["mc"],
        channel_mult=tuple(told["mult"]),
        res_blocks=told["nrb"],
        attention_levels=tuple(int(math.log2(size // side)) for side in told["att"]),
        head_channels=told["nhc"],
        spatial=(SpatialInput("motion", 2 if told["gray"] else 6), SpatialInput("identity", 3)),
        features=(FeatureGroup("audio", 32),),
    )
    return config, {key: tensor.float() if key.startswith("weight.") else tensor for key, tensor in tensors.items()}


def randomised(config: UNetConfig, seed: int = 0) -> UNet:
    """A network none of whose layers starts at zero."""
    torch.manual_seed(seed)
    unet = UNet(config).eval()
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return unet


def inputs(config: UNetConfig, batch: int = 2) -> tuple[Tensor, Tensor, dict[str, Tensor], dict[str, Tensor]]:
    generator, size = torch.Generator().manual_seed(1), config.image_size

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return (
        draw(batch, 3, size, size),
        torch.tensor([10, 900] * batch)[:batch],
        {s.name: draw(batch, s.channels, size, size) for s in config.spatial},
        {g.name: draw(batch, g.window, g.channels) for g in config.features},
    )


@pytest.mark.parametrize("name", ["unet_middle_attention_rgb", "unet_attention_gray"])
@torch.no_grad()
def test_reference_outputs(name: str) -> None:
    config, tensors = reference(name)
    unet = UNet(config).eval()
    unet.load_state_dict({key.removeprefix("weight."): t for key, t in tensors.items() if key.startswith("weight.")})
    given = {key.removeprefix("input."): t for key, t in tensors.items() if key.startswith("input.")}
    spatial = {"motion": given["motion"], "identity": given["identity"]}
    prediction, v = unet(given["x_t"], given["t"], spatial, {"audio": given["audio"]})
    assert (torch.cat([prediction, v], 1) - tensors["output"]).abs().max() < 1e-4


def test_timestep_embedding_is_cosine_then_sine() -> None:
    found = timestep_embedding(torch.tensor([0, 7]), 8)
    angle = [7 * 10000 ** (-k / 16) for k in range(4)]
    assert torch.equal(found[0], torch.tensor([1.0] * 4 + [0.0] * 4))
    torch.testing.assert_close(found[1], torch.tensor([math.cos(a) for a in angle] + [math.sin(a) for a in angle]))


@torch.no_grad()
def test_attention_is_softmax_of_scaled_products_head_by_head() -> None:
    torch.manual_seed(0)
    layer, x = Attention(8, 4, 2), torch.randn(1, 8, 3, 3)
    layer.proj_out.weight.copy_(torch.eye(8)[..., None])
    qkv = layer.qkv(layer.norm(x.flatten(2)))[0]
    heads = []
    for part in qkv.split(12):
        q, k, v = part.split(4)
        heads.append(v @ (q.T @ k / 2).softmax(-1).T)
    torch.testing.assert_close(layer(x), x + torch.cat(heads).view(1, 8, 3, 3))


@torch.no_grad()
def test_a_fresh_network_predicts_nothing_and_blends_its_skips_evenly() -> None:
    prediction, v = UNet(TINY).eval()(*inputs(TINY))
    assert not prediction.any() and not v.any()
    unet, (x, t, spatial, features) = UNet(SKIPPING).eval(), inputs(SKIPPING)
    prediction, v = unet(x, t, spatial, features)
    torch.testing.assert_close(prediction, (spatial["last"] + spatial["identity"]) / 3)
    assert v is None


@torch.no_grad()
@pytest.mark.parametrize(
    "gates, chosen", [((100.0, 0.0), "last"), ((0.0, 100.0), "identity"), ((-100.0, -100.0), None)]
)
def test_the_skip_is_chosen_by_its_gate(gates: tuple[float, float], chosen: str | None) -> None:
    unet, (x, t, spatial, features) = UNet(SKIPPING).eval(), inputs(SKIPPING)
    colour = torch.tensor([0.5, -0.5, 0.25])
    unet.out[2].bias.copy_(torch.cat([colour, torch.tensor(gates)]))
    want = spatial[chosen] if chosen else colour[:, None, None].expand(2, 3, 16, 16)
    torch.testing.assert_close(unet(x, t, spatial, features)[0], want)


VARIANTS = {
    "published": TINY,
    "no variance": dataclasses.replace(TINY, learned_variance=False),
    "unshuffle": dataclasses.replace(TINY, unshuffle=2),
    "attention at every level": dataclasses.replace(TINY, attention_levels=(0, 1)),
    "one level": dataclasses.replace(TINY, channel_mult=(1,)),
    "extra conditioning": dataclasses.replace(
        TINY, spatial=(*TINY.spatial, SpatialInput("face", 6)), features=(*TINY.features, FeatureGroup("mood", 3, 0))
    ),
}


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
@torch.no_grad()
def test_every_input_matters_and_rows_are_independent(config: UNetConfig) -> None:
    unet, (x, t, spatial, features) = randomised(config), inputs(config)
    plain, v = unet(x, t, spatial, features)
    assert plain.shape == x.shape and (v is not None) == config.learned_variance
    for group in (spatial, features):
        for name in group:
            changed = {**group, name: group[name].flip(-1)}
            other = unet(x, t, changed if group is spatial else spatial, changed if group is features else features)[0]
            assert (other - plain).abs().max() > 1e-4, name
    assert (unet(x, t.flip(0), spatial, features)[0] - plain).abs().max() > 1e-4
    alone = unet(x[1:], t[1:], {n: s[1:] for n, s in spatial.items()}, {n: f[1:] for n, f in features.items()})[0]
    assert (alone - plain[1:]).abs().max() < 1e-5


def test_wrong_inputs_are_all_named() -> None:
    x, t, spatial, features = inputs(TINY)
    with pytest.raises(ValueError) as caught:
        UNet(TINY)(x, t, {"motion": spatial["motion"][:, :2]}, {"audio": features["audio"][:, :3]})
    for word in (
        "motion: expected (2, 6, 16, 16), found (2, 2, 16, 16)",
        "identity",
        "found nothing",
        "audio: expected (2, 5, 8)",
    ):
        assert word in str(caught.value)


def test_refinement_changes_nothing_at_first_and_then_sees_the_skips_inputs() -> None:
    torch.manual_seed(0)
    inputs, output = torch.randn(2, 6, 16, 16), torch.randn(2, 5, 16, 16)
    refine = Refine(6, 5, 4)
    assert torch.equal(refine(output, inputs), output)
    torch.nn.init.normal_(refine.layers[2].weight)
    assert not torch.equal(refine(output, inputs), refine(output, inputs + 1))
