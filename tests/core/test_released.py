"""Converting the authors' files: archives in the released layout, made here on their own, give the same outputs."""

from __future__ import annotations

import math
import pickle
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from diffused_heads.diffused_heads_core import checkpoints
from diffused_heads.diffused_heads_core.config import ModelConfig
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.released import convert as released
from diffused_heads.diffused_heads_core.talking_head import load_model
from diffused_heads.diffused_heads_core.unet import UNet

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")


class Embed(nn.Module):
    """Time embedding of the released layout."""

    def __init__(self, c: int):
        super().__init__()
        self.c = c
        self.fc = nn.Sequential(nn.Linear(c, 4 * c), nn.SiLU(), nn.Linear(4 * c, 4 * c))

    def forward(self, t: Tensor) -> Tensor:
        k = torch.arange(self.c // 2).float()
        angle = t.float()[:, None] * torch.exp(-math.log(10000.0) * k / (2.0 * self.c))
        return self.fc(torch.cat([torch.cos(angle), torch.sin(angle)], 1))


class Res(nn.Module):
    """Residual block of the released layout; ``kind`` 0 keeps, 1 halves, 2 doubles the resolution."""

    def __init__(self, inputs: int, outputs: int, e: int, kind: int = 0):
        super().__init__()
        self.kind = kind
        self.in_layers = nn.Sequential(nn.GroupNorm(32, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.t_emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(e, 2 * outputs))
        self.audio_emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(e, 2 * outputs))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, outputs), nn.SiLU(), nn.Dropout(0.1), nn.Conv2d(outputs, outputs, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def size(self, x: Tensor) -> Tensor:
        if self.kind == 1:
            return F.avg_pool2d(x, 2)
        if self.kind == 2:
            return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        return x

    def forward(self, x: Tensor, t: Tensor, a: Tensor) -> Tensor:
        h = F.silu(self.in_layers[0](x))
        h = self.in_layers[2](self.size(h))
        h = self.out_layers[0](h)
        st, sa = self.t_emb_layers(t)[:, :, None, None], self.audio_emb_layers(a)[:, :, None, None]
        n = h.shape[1]
        h = h * (1 + st[:, :n]) + st[:, n:]
        h = h * (1 + sa[:, :n]) + sa[:, n:]
        return self.skip_connection(self.size(x)) + self.out_layers[3](F.silu(h))


class Attend(nn.Module):
    """Attention of the released layout."""

    def __init__(self, c: int, head: int):
        super().__init__()
        self.n_heads = c // head
        self.norm = nn.GroupNorm(32, c)
        self.qkv = nn.Conv1d(c, 3 * c, 1)
        self.proj_out = nn.Conv1d(c, c, 1)

    def forward(self, x: Tensor, t: Tensor, a: Tensor) -> Tensor:
        b, c, n = x.shape[0], x.shape[1], x.shape[2] * x.shape[3]
        flat = x.reshape(b, c, n)
        qkv = self.qkv(self.norm(flat)).reshape(b * self.n_heads, 3 * (c // self.n_heads), n)
        q, k, v = qkv.chunk(3, dim=1)
        weight = torch.bmm(q.transpose(1, 2), k).mul((c // self.n_heads) ** -0.5).softmax(-1)
        return (flat + self.proj_out(torch.bmm(v, weight.transpose(1, 2)).reshape(b, c, n))).reshape(x.shape)


class Conv(nn.Conv2d):
    """A convolution that lets the embeddings pass by."""

    def forward(self, x: Tensor, t: Tensor, a: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight, self.bias)


class Released(nn.Module):
    """The released network, of any size: a flat list of layers a block."""

    def __init__(
        self,
        c: int,
        mult: tuple[int, ...],
        blocks: int,
        attention: tuple[int, ...],
        head: int,
        inputs: int,
        audio: int,
        out: int = 6,
    ):
        super().__init__()
        self.time_embed = Embed(c)
        self.audio_embed = nn.Sequential(nn.Linear(audio, 4 * c), nn.SiLU(), nn.Linear(4 * c, 4 * c))
        down, kept, now = [[Conv(inputs, c, 3, padding=1)]], [c], c
        for level, m in enumerate(mult):
            for _ in range(blocks):
                down.append([Res(now, m * c, 4 * c)] + ([Attend(m * c, head)] if level in attention else []))
                now = m * c
                kept.append(now)
            if level + 1 < len(mult):
                down.append([Res(now, now, 4 * c, 1)])
                kept.append(now)
        up, middle = [], [Res(now, now, 4 * c), Attend(now, head), Res(now, now, 4 * c)]
        for level in range(len(mult) - 1, -1, -1):
            for i in range(blocks + 1):
                layers: list[nn.Module] = [Res(now + kept.pop(), mult[level] * c, 4 * c)]
                now = mult[level] * c
                layers += [Attend(now, head)] if level in attention else []
                layers += [Res(now, now, 4 * c, 2)] if level and i == blocks else []
                up.append(layers)
        self.input_blocks = nn.ModuleList([nn.ModuleList(layers) for layers in down])
        self.middle_block = nn.ModuleList(middle)
        self.output_blocks = nn.ModuleList([nn.ModuleList(layers) for layers in up])
        self.out = nn.Sequential(nn.GroupNorm(32, c), nn.SiLU(), nn.Conv2d(c, out, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, audio: Tensor) -> Tensor:
        e, a, h = self.time_embed(t), self.audio_embed(audio.flatten(1)), x
        kept = []
        for block in self.input_blocks:
            for layer in block:
                h = layer(h, e, a)
            kept.append(h)
        for layer in self.middle_block:
            h = layer(h, e, a)
        for block in self.output_blocks:
            h = torch.cat([h, kept.pop()], 1)
            for layer in block:
                h = layer(h, e, a)
        return self.out(h)


class Foreign:
    """A class that the file names and that conversion must leave alone."""

    made = 0

    def __init__(self, channels: int):
        Foreign.made += 1
        self.channels = channels

    def __setstate__(self, state: dict) -> None:
        raise AssertionError("the foreign class was revived")

    def __reduce__(self) -> tuple:
        return Foreign, (self.channels,), {"channels": self.channels}


ARCHITECTURES = {
    "middle attention, RGB": {
        "mult": (1, 2, 3),
        "blocks": 1,
        "attention": (),
        "inputs": 12,
        "c": 64,
        "head": 64,
        "audio": 5 * 256,
    },
    "attention one level up, gray": {
        "mult": (1, 2),
        "blocks": 2,
        "attention": (1,),
        "inputs": 8,
        "c": 32,
        "head": 64,
        "audio": 5 * 256,
    },
    "equal widths, narrow embeddings": {
        "mult": (1, 1, 2),
        "blocks": 1,
        "attention": (0, 2),
        "inputs": 8,
        "c": 32,
        "head": 16,
        "audio": 5 * 48,
    },
}


def network(name: str) -> Released:
    torch.manual_seed(len(name))
    model = Released(**ARCHITECTURES[name]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def inputs(name: str, size: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    told, generator = ARCHITECTURES[name], torch.Generator().manual_seed(3)
    return (
        torch.randn(2, told["inputs"], size, size, generator=generator),
        torch.tensor([3, 800]),
        torch.randn(2, 5, told["audio"] // 5, generator=generator),
    )


@torch.no_grad()
def converted_output(target: Path, given: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    checkpoint = checkpoints.load(target)
    unet, (x, t, audio) = UNet(checkpoint.config.unet).eval(), given
    unet.load_state_dict({n.removeprefix("unet."): v for n, v in checkpoint.tensors.items()})
    spatial = {"motion": x[:, 3:-3], "identity": x[:, -3:]}
    return torch.cat(unet(x[:, :3], t, spatial, {"audio": audio}), 1)


def lightning(model: nn.Module, **more: object) -> dict[str, object]:
    """A Lightning checkpoint's dictionary: the same tensors under both prefixes, tables of the diffusion, foreign
    objects.
    """
    weights = model.state_dict()
    state = {f"{prefix}{n}": v for prefix in ("unet.", "diffusion.nn_backbone.") for n, v in weights.items()}
    state |= {"diffusion.betas": torch.linspace(0, 1, 1000, dtype=torch.float64), "diffusion.steps": torch.arange(1000)}
    return {
        "epoch": 3,
        "state_dict": state,
        "hyper_parameters": {"network": Foreign(7), "options": Namespace(lr=1e-4), **more},
        "optimizer_states": [
            {"state": {0: {"step": torch.tensor(5.0)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
        ],
    }


def check(name: str, config: ModelConfig, path: Path, want: Tensor) -> None:
    told = ARCHITECTURES[name]
    assert config == checkpoints.load(path).config
    assert (config.unet.model_channels, config.unet.channel_mult, config.unet.res_blocks) == (
        told["c"],
        told["mult"],
        told["blocks"],
    )
    assert (config.unet.attention_levels, config.unet.head_channels) == (told["attention"], told["head"])
    assert (config.motion_gray, config.motion_frames, config.audio.embedding) == (
        told["inputs"] == 8,
        2,
        told["audio"] // 5,
    )
    assert (converted_output(path, inputs(name)) - want).abs().max() < 1e-4


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_a_scripted_archive_gives_the_same_outputs(name: str, tmp_path: Path) -> None:
    model = network(name)
    torch.jit.save(torch.jit.script(model), str(tmp_path / "net.pt"))
    config = released.convert(tmp_path / "net.pt", tmp_path / "net.safetensors", image_size=32)
    check(name, config, tmp_path / "net.safetensors", model(*inputs(name)))
    assert checkpoints.load(tmp_path / "net.safetensors").licence == "CC BY-NC-SA 4.0 (as released by the authors)"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.pt", "net.safetensors"]


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_a_traced_archive_gives_the_same_outputs(name: str, tmp_path: Path) -> None:
    """Tracing drops the attention's number of heads."""
    model, head = network(name), ARCHITECTURES[name]["head"]
    torch.jit.save(torch.jit.trace(model, inputs(name), check_trace=False), str(tmp_path / "net.pt"))
    config = released.convert(
        tmp_path / "net.pt", tmp_path / "net.safetensors", image_size=32, head_channels=None if head == 64 else head
    )
    check(name, config, tmp_path / "net.safetensors", model(*inputs(name)))


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_a_lightning_checkpoint_gives_the_same_outputs(name: str, tmp_path: Path) -> None:
    model, head = network(name), ARCHITECTURES[name]["head"]
    torch.save(lightning(model), tmp_path / "epoch.ckpt")
    made = Foreign.made
    config = released.convert(tmp_path / "epoch.ckpt", tmp_path / "net.safetensors", image_size=32, head_channels=head)
    assert Foreign.made == made
    check(name, config, tmp_path / "net.safetensors", model(*inputs(name)))


@torch.no_grad()
def test_half_precision_networks_become_float32(tmp_path: Path) -> None:
    model = network("attention one level up, gray").half()
    torch.save(lightning(model), tmp_path / "half.ckpt")
    config = released.convert(tmp_path / "half.ckpt", tmp_path / "net.safetensors", image_size=32)
    check(
        "attention one level up, gray",
        config,
        tmp_path / "net.safetensors",
        model.float()(*inputs("attention one level up, gray")),
    )


def test_what_the_hyper_parameters_tell_is_used(tmp_path: Path) -> None:
    model = network("equal widths, narrow embeddings")
    torch.save(lightning(model, net=Namespace(num_head_channels=16, image_size=48)), tmp_path / "x.ckpt")
    config = released.convert(tmp_path / "x.ckpt", tmp_path / "x.safetensors")
    assert (config.unet.head_channels, config.unet.image_size) == (16, 48)


def wrong_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that are no released UNet, each with a word that its error must say."""
    whole = folder / "whole.ckpt"
    torch.save(lightning(network("attention one level up, gray")), whole)
    made = {
        "text": (b"just some text\n", "a text file"),
        "empty": (b"", "empty"),
        "truncated": (whole.read_bytes()[:-5000], "truncated"),
        "half": (whole.read_bytes()[:100_000], "truncated"),
        "noise": (bytes(range(256)) * 8, "another kind"),
        "old pickle": (pickle.dumps({"state_dict": 1}), "a pickle file"),
    }
    files = {}
    for name, (content, word) in made.items():
        (folder / name).write_bytes(content)
        files[name] = (folder / name, word)
    with zipfile.ZipFile(folder / "some.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    torch.save({"model": torch.zeros(3)}, folder / "other.pt")
    torch.save({"state_dict": {"encoder.weight": torch.zeros(3)}}, folder / "other.ckpt")
    torch.save([1, 2], folder / "list.pt")
    save_file({"a": torch.zeros(3)}, folder / "x.safetensors")
    shorn = folder / "shorn.ckpt"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(shorn, "w") as new:
        for entry in old.namelist():
            if not entry.endswith("/data/5"):
                new.writestr(entry, old.read(entry))
    return {
        **files,
        "zip": (folder / "some.zip", "a zip file that PyTorch did not write"),
        "other": (folder / "other.pt", "something else"),
        "other checkpoint": (folder / "other.ckpt", "1 tensors, for example 'encoder.weight'"),
        "list": (folder / "list.pt", "something else"),
        "safetensors": (folder / "x.safetensors", "a safetensors file"),
        "folder": (folder, "a folder"),
        "absent": (folder / "nothing.pt", "no such file"),
        "shorn": (shorn, "damaged"),
    }


def test_wrong_files_say_what_they_are(tmp_path: Path) -> None:
    for name, (path, word) in wrong_files(tmp_path).items():
        with pytest.raises(DiffusedHeadsError) as caught:
            released.convert(path, tmp_path / "out.safetensors", image_size=32)
        message = str(caught.value)
        assert word in message and str(path) in message and "\n" not in message, (name, message)
        assert "expected a released UNet of Diffused Heads" in message, (name, message)
        assert not (tmp_path / "out.safetensors").exists() and not list(tmp_path.glob(".*")), name


def test_a_damaged_storage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    torch.save(lightning(network("attention one level up, gray")), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(DiffusedHeadsError, match="damaged"):
        released.convert(path, tmp_path / "y.safetensors", image_size=32)


def test_the_source_is_never_overwritten(tmp_path: Path) -> None:
    torch.save(lightning(network("attention one level up, gray")), tmp_path / "x.ckpt")
    with pytest.raises(DiffusedHeadsError, match="another file"):
        released.convert(tmp_path / "x.ckpt", tmp_path / "x.ckpt")


def test_the_audio_encoder_is_kept_beside_the_model_and_run_only_when_trusted(encoder: Path, tmp_path: Path) -> None:
    torch.save(lightning(network("attention one level up, gray")), tmp_path / "x.ckpt")
    target = tmp_path / "crema.v2.safetensors"
    released.convert(tmp_path / "x.ckpt", target, encoder, image_size=32)
    kept = tmp_path / "crema.v2.audio_encoder.pt"
    assert kept.read_bytes() == encoder.read_bytes()
    released.convert(tmp_path / "x.ckpt", target, kept, trust_torchscript=True, image_size=32)
    assert load_model(target, "cpu").audio_encoder is None
    assert load_model(target, "cpu", trust_torchscript=True).audio_encoder(np.zeros(6400, np.float32), 10).shape == (
        10,
        256,
    )


def test_a_wrong_audio_encoder_leaves_nothing_behind(tmp_path: Path) -> None:
    torch.save(lightning(network("attention one level up, gray")), tmp_path / "x.ckpt")
    (tmp_path / "notes.txt").write_text("notes")
    torch.jit.save(torch.jit.script(nn.Linear(3, 3)), str(tmp_path / "linear.pt"))
    for name, trust, word in (
        ("notes.txt", False, "a text file"),
        ("x.ckpt", False, "without code"),
        ("linear.pt", True, "its call failed"),
    ):
        with pytest.raises(DiffusedHeadsError, match=word) as caught:
            released.convert(tmp_path / "x.ckpt", tmp_path / "y.safetensors", tmp_path / name, trust, image_size=32)
        assert "audio encoder" in str(caught.value) and "\n" not in str(caught.value)
        assert not (tmp_path / "y.safetensors").exists()
