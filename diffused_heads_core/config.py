"""Frozen configuration of a model: everything needed to rebuild it, carried as JSON in its checkpoint.

Each class checks itself and reports every problem at once.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .errors import DiffusedHeadsError
from .pose import HeadGeometry

PREDICTIONS = ("eps", "x0", "v")
AUDIO_KINDS = ("mel-conv", "features", "torchscript")
Config = TypeVar("Config")


def raise_problems(name: str, problems: list[str]) -> None:
    """Raise one DiffusedHeadsError that lists all ``problems`` of the configuration ``name``, if there are any."""
    if problems:
        raise DiffusedHeadsError(f"{name}: " + "; ".join(problems))


@dataclass(frozen=True)
class SpatialInput:
    """One image-like input beside x_t: ``channels`` planes, left out of a training sample with probability ``dropout``."""

    name: str
    channels: int
    dropout: float = 0.0

    def __post_init__(self) -> None:
        raise_problems(
            f"spatial input {self.name!r}",
            [
                *(["channels must be at least 1"] if self.channels < 1 else []),
                *([f"dropout={self.dropout} is outside 0..1"] if not 0 <= self.dropout <= 1 else []),
            ],
        )


@dataclass(frozen=True)
class FeatureGroup:
    """One per-frame feature vector ahead of the conditioning MLP, seen with ``neighbours`` frames on either side."""

    name: str
    channels: int
    neighbours: int = 2
    dropout: float = 0.0

    def __post_init__(self) -> None:
        raise_problems(
            f"feature group {self.name!r}",
            [
                *(["channels must be at least 1"] if self.channels < 1 else []),
                *(["neighbours must not be negative"] if self.neighbours < 0 else []),
                *([f"dropout={self.dropout} is outside 0..1"] if not 0 <= self.dropout <= 1 else []),
            ],
        )

    @property
    def window(self) -> int:
        """Frames in the window: the frame itself and its neighbours (paper: a = 2, so 5)."""
        return 2 * self.neighbours + 1


@dataclass(frozen=True)
class UNetConfig:
    """The denoising network. The defaults are the paper's CREMA model (128 px, 256-512-768 channels).

    ``unshuffle`` works on blocks of that many pixels a side; ``refine`` then gives the output two convolutions of that
    many channels at full resolution, which see the skip's inputs again.
    """

    image_size: int = 128
    model_channels: int = 256
    channel_mult: tuple[int, ...] = (1, 2, 3)
    res_blocks: int = 2
    attention_levels: tuple[int, ...] = ()
    head_channels: int = 64
    norm_groups: int = 32
    dropout: float = 0.1
    unshuffle: int = 1
    refine: int = 0
    prediction: str = "eps"
    learned_variance: bool = True
    spatial: tuple[SpatialInput, ...] = (SpatialInput("motion", 6), SpatialInput("identity", 3))
    features: tuple[FeatureGroup, ...] = (FeatureGroup("audio", 256),)
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        levels = len(self.channel_mult)
        widths = [self.model_channels * m for m in self.channel_mult]
        names = [s.name for s in self.spatial] + [g.name for g in self.features]
        stride = self.unshuffle * 2 ** (levels - 1)
        pictures = {s.name for s in self.spatial if s.channels == 3}
        raise_problems(
            "UNet configuration",
            [
                *([f"image_size={self.image_size} is no multiple of {stride}"] if self.image_size % stride else []),
                *(
                    [f"prediction={self.prediction!r} is none of {PREDICTIONS}"]
                    if self.prediction not in PREDICTIONS
                    else []
                ),
                *(
                    [f"attention_levels={self.attention_levels} outside 0..{levels - 1}"]
                    if any(not 0 <= a < levels for a in self.attention_levels)
                    else []
                ),
                *[
                    f"{w} channels are no multiple of norm_groups={self.norm_groups}"
                    for w in widths
                    if w % self.norm_groups
                ],
                *[
                    f"{w} channels are no multiple of head_channels={self.head_channels}"
                    for w in {widths[-1], *(widths[a] for a in self.attention_levels if a < levels)}
                    if w % self.head_channels
                ],
                *([f"names are not unique: {names}"] if len(set(names)) < len(names) else []),
                *(["refine needs a skip"] if self.refine and not self.skip else []),
                *[f"skip {name!r} is no 3-channel spatial input" for name in self.skip if name not in pictures],
                *(
                    ["learned_variance needs a prediction of eps"]
                    if self.learned_variance and self.prediction != "eps"
                    else []
                ),
            ],
        )

    @property
    def in_channels(self) -> int:
        """Channels of x_t and all spatial inputs together, before the stem's unshuffle."""
        return 3 + sum(s.channels for s in self.spatial)

    @property
    def out_channels(self) -> int:
        """RGB, the variance's v where it is learned, and one gate a skip."""
        return 3 * (1 + self.learned_variance) + len(self.skip)


@dataclass(frozen=True)
class AudioConfig:
    """How a model hears. Whatever the kind, an embedding of ``embedding`` channels a video frame comes out.

    mel-conv: log-mel spectrum at 4 columns a video frame, then a small convolution net (``mels``, ``channels``) that
    sees ``context`` frames on either side. features: hidden ``layer`` (0 is the first one's input), ``width`` channels,
    of the pretrained speech model ``source``, which stays frozen, then one linear layer. torchscript: the released
    encoder.
    """

    kind: str = "mel-conv"
    mels: int = 64
    channels: int = 256
    embedding: int = 256
    context: int = 4
    source: str = ""
    layer: int = 0
    width: int = 0

    def __post_init__(self) -> None:
        foreign = self.kind == "features"
        raise_problems(
            "audio configuration",
            [
                *([f"kind={self.kind!r}: expected one of {AUDIO_KINDS}"] if self.kind not in AUDIO_KINDS else []),
                *(
                    ["mels, channels and embedding must be positive"]
                    if min(self.mels, self.channels, self.embedding) < 1
                    else []
                ),
                *(
                    [f"context={self.context} and layer={self.layer} must not be negative"]
                    if min(self.context, self.layer) < 0
                    else []
                ),
                *(["features need a source and a width"] if foreign and not (self.source and self.width > 0) else []),
                *(
                    [f"source={self.source!r} and width={self.width} are for kind 'features' alone"]
                    if not foreign and (self.source or self.width)
                    else []
                ),
            ],
        )

    @property
    def reach(self) -> int:
        """Frames on either side that an embedding depends on beyond its own."""
        return self.context if self.kind == "mel-conv" else 0

    @property
    def input_width(self) -> int:
        """Channels of what the encoder is given: mel bands, or features, or embeddings that are there already."""
        return {"mel-conv": self.mels, "features": self.width, "torchscript": self.embedding}[self.kind]

    def describe(self) -> str:
        """One phrase for people."""
        return {
            "mel-conv": f"own encoder of {self.mels} mel bands",
            "features": f"features of {self.source}, layer {self.layer}, {self.width} wide",
            "torchscript": "released TorchScript encoder beside the file",
        }[self.kind]


@dataclass(frozen=True)
class ModelConfig:
    """A whole model: network, noise schedule, audio encoder, and how frames are conditioned.

    ``motion_frames`` previous frames are given, in gray where ``motion_gray``. With ``head_motion`` the identity and
    motion frames are warped to the target's head pose, a spatial input ``face`` carries eye and brow maps, and
    ``still``, if there is one, the identity frame as it is (for the background). ``motion_region`` 'mouth' then shows
    the motion frames around mouth and chin alone, the warped identity elsewhere: what pose and maps already tell cannot
    drift by feedback.
    """

    unet: UNetConfig = field(default_factory=UNetConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    geometry: HeadGeometry = field(default_factory=HeadGeometry)
    schedule: str = "cosine"
    timesteps: int = 1000
    fps: int = 25
    motion_frames: int = 2
    motion_gray: bool = False
    head_motion: bool = False
    motion_region: str = "frame"
    sampler: str = "ancestral"
    steps: int = 100

    def __post_init__(self) -> None:
        given = {s.name: s.channels for s in self.unet.spatial}
        want = self.motion_frames * (1 if self.motion_gray else 3)
        features = {g.name: g.channels for g in self.unet.features}
        raise_problems(
            "model configuration",
            [
                *(
                    [
                        f"spatial input 'motion' has {given.get('motion', 0)} channels, {self.motion_frames} motion frames need {want}"
                    ]
                    if given.get("motion", 0) != want
                    else []
                ),
                *(["a 3-channel spatial input 'identity' is missing"] if given.get("identity") != 3 else []),
                *(
                    ["head_motion needs a 6-channel spatial input 'face'"]
                    if self.head_motion and given.get("face") != 6
                    else []
                ),
                *(
                    [f"motion_region={self.motion_region!r}: expected 'frame', or 'mouth' with head_motion"]
                    if self.motion_region != "frame" and not (self.motion_region == "mouth" and self.head_motion)
                    else []
                ),
                *(
                    [
                        f"audio embeddings have {self.audio.embedding} channels, the network takes {features.get('audio')}"
                    ]
                    if features.get("audio") != self.audio.embedding
                    else []
                ),
                *(
                    [f"steps={self.steps} is outside 1..{self.timesteps}"]
                    if not 1 <= self.steps <= self.timesteps
                    else []
                ),
                *([f"fps={self.fps} must be positive"] if self.fps < 1 else []),
            ],
        )


def to_json(config: Any) -> str:
    """A configuration as one line of JSON."""
    return json.dumps(dataclasses.asdict(config), separators=(",", ":"))


def from_json(kind: type[Config], text: str) -> Config:
    """Rebuild a configuration of class ``kind``; a damaged or foreign text raises DiffusedHeadsError."""
    try:
        return build(kind, json.loads(text))
    except (json.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
        raise DiffusedHeadsError(f"{kind.__name__}: expected its JSON, found {text[:60]!r} ({error})") from error


def build(kind: type[Config], values: dict[str, Any]) -> Config:
    """A dataclass from plain values, nested dataclasses and tuples included; unknown names are reported."""
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    raise_problems(kind.__name__, [f"unknown setting {name!r}" for name in unknown])
    return kind(**{name: _value(hints[name], value) for name, value in values.items()})


def _value(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return build(hint, value)
    if typing.get_origin(hint) is tuple:
        args = typing.get_args(hint)
        inner = args[:1] * len(value) if args[-1] is Ellipsis else args
        return tuple(_value(a, v) for a, v in zip(inner, value, strict=True))
    if typing.get_origin(hint) is types.UnionType and value is not None:
        return _value(next(a for a in typing.get_args(hint) if a is not types.NoneType), value)
    return value
