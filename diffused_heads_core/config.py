"""Frozen configuration of a model: everything needed to rebuild it, carried as JSON in its checkpoint.

Each class checks itself and reports every problem at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .errors import DiffusedHeadsError, raise_problems
from .mouth.settings import MouthConfig

PREDICTIONS = ("eps", "x0", "v")
MEL_KINDS = ("mel-conv", "mel-streaming")  # audio encoders that read the log-mel spectrum
AUDIO_KINDS = (*MEL_KINDS, "features", "torchscript")


@dataclass(frozen=True)
class SpatialInput:
    """One image-like input beside x_t: ``channels`` planes, zeroed in training samples with probability ``dropout``."""

    name: str
    channels: int
    dropout: float = 0.0

    def __post_init__(self) -> None:
        wrong = {
            "channels must be at least 1": self.channels < 1,
            f"dropout={self.dropout} is outside 0..1": not 0 <= self.dropout <= 1,
        }
        raise_problems(f"spatial input {self.name!r}", wrong)


@dataclass(frozen=True)
class FeatureGroup:
    """One feature vector per frame, given to the network with those of ``neighbours`` frames on either side."""

    name: str
    channels: int
    neighbours: int = 2

    def __post_init__(self) -> None:
        wrong = {
            "channels must be at least 1": self.channels < 1,
            "neighbours must not be negative": self.neighbours < 0,
        }
        raise_problems(f"feature group {self.name!r}", wrong)

    @property
    def window(self) -> int:
        """Frames in the window: the frame itself and its neighbours (paper: a = 2, so 5)."""
        return 2 * self.neighbours + 1


@dataclass(frozen=True)
class UNetConfig:
    """The denoising network. The defaults are the paper's CREMA model (128 px, 256-512-768 channels).

    image_size: pixels across a frame; image_height: down it, None if it is square. attention_levels: levels with
    self-attention beside the middle block's, 0 the finest. head_channels: channels per attention head. unshuffle:
    space-to-depth factor of the first layer (pixel unshuffle), undone by the last one. spatial, features: the inputs
    beside x_t and t. skip: names of the spatial inputs that the output blends in, pixel by pixel; not the UNet's skip
    connections. refine: channels of two more convolutions at full resolution that see those inputs again; 0 is none.
    """

    image_size: int = 128
    image_height: int | None = None
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
        widths, levels = self.widths, len(self.channel_mult)
        names = [s.name for s in self.spatial] + [g.name for g in self.features]
        pictures = {s.name for s in self.spatial if s.channels == 3}
        attended = {widths[-1], *(widths[a] for a in self.attention_levels if a < levels)}
        heads = self.head_channels
        wrong = {
            f"image_size={self.image_size} is no multiple of {self.stride}": self.image_size % self.stride,
            f"image_height={self.image_height} is no multiple of {self.stride}": (self.image_height or 0) % self.stride,
            f"prediction={self.prediction!r} is none of {PREDICTIONS}": self.prediction not in PREDICTIONS,
            f"attention_levels={self.attention_levels} outside 0..{levels - 1}": any(
                not 0 <= a < levels for a in self.attention_levels
            ),
            **{f"{w} channels are no multiple of norm_groups={self.norm_groups}": w % self.norm_groups for w in widths},
            **{f"{w} channels are no multiple of head_channels={heads}": w % heads for w in attended},
            f"names are not unique: {names}": len(set(names)) < len(names),
            "refine needs a skip": self.refine and not self.skip,
            **{f"skip {name!r} is no 3-channel spatial input": name not in pictures for name in self.skip},
            "learned_variance needs a prediction of eps": self.learned_variance and self.prediction != "eps",
        }
        raise_problems("UNet configuration", wrong)

    @property
    def widths(self) -> list[int]:
        """Channels at each level, the finest first."""
        return [self.model_channels * m for m in self.channel_mult]

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Height and width of a frame in pixels."""
        return self.image_height or self.image_size, self.image_size

    @property
    def stride(self) -> int:
        """Pixels of the frame per position at the coarsest level: both sides are multiples of it."""
        return self.unshuffle * 2 ** (len(self.channel_mult) - 1)

    @property
    def in_channels(self) -> int:
        """Channels of x_t and all spatial inputs together, before the pixel unshuffle."""
        return 3 + sum(s.channels for s in self.spatial)

    @property
    def out_channels(self) -> int:
        """RGB, the weights of the learned variance, and one blending weight for each of ``skip``."""
        return 3 * (1 + self.learned_variance) + len(self.skip)

    @property
    def audio_neighbours(self) -> int:
        """Frames on either side of a frame whose audio embeddings the network sees."""
        return next(group.neighbours for group in self.features if group.name == "audio")


@dataclass(frozen=True)
class AudioConfig:
    """The audio encoder. Whatever its kind, it gives ``embedding`` channels per video frame.

    mel-conv: log-mel spectrum at 4 columns per video frame, then a small convolutional network (``mels``,
    ``channels``). mel-streaming: the same spectrum, then residual blocks that see 0.15 s ahead and 0.9 s back.
    features: hidden ``layer`` (0 is the first one's input), ``width`` channels, of the pretrained speech model
    ``source``, which stays frozen, then one linear layer. torchscript: the authors' released encoder.
    """

    kind: str = "mel-conv"
    mels: int = 64
    channels: int = 256
    embedding: int = 256
    source: str = ""
    layer: int = 0
    width: int = 0

    def __post_init__(self) -> None:
        features = self.kind == "features"
        beside = f"source={self.source!r} and width={self.width} are for kind 'features' alone"
        wrong = {
            f"kind={self.kind!r}: expected one of {AUDIO_KINDS}": self.kind not in AUDIO_KINDS,
            "mels, channels and embedding must be positive": min(self.mels, self.channels, self.embedding) < 1,
            f"layer={self.layer} must not be negative": self.layer < 0,
            "features need a source and a width": features and not (self.source and self.width > 0),
            beside: not features and (self.source or self.width),
        }
        raise_problems("audio configuration", wrong)

    @property
    def input_width(self) -> int:
        """Channels of the encoder's input: mel bands, features, or finished embeddings."""
        return {"features": self.width, "torchscript": self.embedding}.get(self.kind, self.mels)

    def describe(self) -> str:
        """One phrase for people."""
        return {
            "mel-conv": f"convolutional encoder of {self.mels} mel bands",
            "mel-streaming": f"streaming encoder of {self.mels} mel bands",
            "features": f"features of {self.source}, layer {self.layer}, {self.width} wide",
            "torchscript": "released TorchScript encoder beside the file",
        }[self.kind]


@dataclass(frozen=True)
class HeadGeometry:
    """Where a neutral head sits in the square frame (fractions of it, see ``pose``), and the ellipsoid for its surface.

    nose: its lower end, as ``face.finder.stable_points`` finds it; older checkpoints lack it.
    """

    left_eye: tuple[float, float] = (0.375, 0.45)
    right_eye: tuple[float, float] = (0.625, 0.45)
    mouth: tuple[float, float] = (0.5, 0.69)
    centre: tuple[float, float] = (0.5, 0.47)
    radii: tuple[float, float] = (0.30, 0.40)
    depth: float = 0.26
    pivot: tuple[float, float, float] = (0.0, 0.28, -0.10)
    nose: tuple[float, float] = (0.5, 0.598)


@dataclass(frozen=True)
class ModelConfig:
    """A whole model: network, noise schedule, audio encoder, how frames are conditioned, and how it samples by default.

    motion_frames: number of previous frames that the network sees, in gray if ``motion_gray``. head_motion: a head
    track is given, and all frames that the network sees are warped to its pose (``conditioning``). motion_region
    'mouth' then shows the motion frames around mouth and chin alone, so that errors elsewhere cannot be fed back.
    sampler, steps: defaults of ``SamplingOptions``. mouth: of a model that paints the mouth alone.
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
    mouth: MouthConfig | None = None

    def __post_init__(self) -> None:
        given = {s.name: s.channels for s in self.unet.spatial}
        motion, want = given.get("motion", 0), self.motion_frames * (1 if self.motion_gray else 3)
        takes, gives = next((g.channels for g in self.unet.features if g.name == "audio"), None), self.audio.embedding
        region_fits = self.motion_region == "frame" or (self.motion_region == "mouth" and self.head_motion)
        window = None if self.mouth is None else (self.mouth.window[3], self.mouth.window[2])
        wrong = {
            f"spatial input 'motion' has {motion} channels, {self.motion_frames} motion frames need {want}": motion
            != want,
            "a 3-channel spatial input 'identity' is missing": given.get("identity") != 3,
            "head_motion needs a 6-channel spatial input 'face'": self.head_motion
            and self.mouth is None
            and given.get("face") != 6,
            f"mouth: a window of {window} px, the network paints {self.unet.frame_shape}": window is not None
            and window != self.unet.frame_shape,
            "mouth needs spatial inputs 'still' (3 channels) and 'lips' (2)": self.mouth is not None
            and (given.get("still"), given.get("lips")) != (3, 2),
            "the spatial input 'teeth' has 7 channels": self.mouth is not None and given.get("teeth", 7) != 7,
            f"motion_region={self.motion_region!r}: expected 'frame', or 'mouth' with head_motion": not region_fits,
            f"audio embeddings have {gives} channels, the network takes {takes}": takes != gives,
            f"steps={self.steps} is outside 1..{self.timesteps}": not 1 <= self.steps <= self.timesteps,
            f"fps={self.fps} must be positive": self.fps < 1,
        }
        raise_problems("model configuration", wrong)

    @property
    def frame_size(self) -> int:
        """Pixels per side of the frames that the model gives and takes."""
        return self.unet.image_size if self.mouth is None else self.mouth.frame_size

    @property
    def fully_driven(self) -> bool:
        """Whether sound and head track determine a frame: an x0 prediction from no noise is then a sensible frame."""
        return self.unet.prediction == "x0" and self.head_motion


# Quality presets: denoising steps per frame, as multiples of the model's default (figures: benchmarks/RESULTS.md).
PRESETS = {"fast": 0.5, "balanced": 1.0, "reference": 2.0}
DEFAULT_PRESET = "balanced"


def preset_steps(config: ModelConfig, preset: str) -> int:
    """Denoising steps per frame of a quality preset. Raises DiffusedHeadsError for an unknown one."""
    if preset not in PRESETS:
        raise DiffusedHeadsError(f"preset={preset!r}: expected one of {', '.join(PRESETS)}")
    return min(max(1, math.ceil(config.steps * PRESETS[preset])), config.timesteps)
