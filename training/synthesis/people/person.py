"""Everything in which one rendered person differs from another, and how it is chosen at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..choices import choose, choose_weighted, uniform
from .light import Lighting, sample_lighting

Colour = tuple[float, float, float]

# fmt: off
# Colours are sRGB, 0..1; SKIN is a ramp from light to dark, HAIR one from dark to light.
SKIN = (
    (0.878, 0.702, 0.618), (0.866, 0.686, 0.594), (0.850, 0.664, 0.566), (0.830, 0.636, 0.532),
    (0.800, 0.600, 0.486), (0.756, 0.552, 0.432), (0.700, 0.498, 0.378), (0.628, 0.434, 0.322),
    (0.550, 0.370, 0.270), (0.466, 0.306, 0.224), (0.388, 0.254, 0.192), (0.318, 0.210, 0.168),
)
HAIR = (
    (0.105, 0.095, 0.092), (0.130, 0.105, 0.092), (0.175, 0.128, 0.100), (0.225, 0.150, 0.105),
    (0.310, 0.210, 0.140), (0.420, 0.290, 0.185), (0.560, 0.410, 0.260), (0.690, 0.540, 0.350),
    (0.790, 0.670, 0.480),
)
RED = ((0.420, 0.190, 0.095), (0.520, 0.270, 0.130), (0.330, 0.130, 0.085))
GREY = ((0.46, 0.45, 0.44), (0.64, 0.63, 0.62), (0.80, 0.79, 0.78))
DYED = ((0.62, 0.22, 0.34), (0.24, 0.30, 0.58), (0.38, 0.22, 0.50), (0.16, 0.42, 0.40), (0.78, 0.62, 0.66))
EYES = (
    (0.20, 0.115, 0.07), (0.27, 0.16, 0.09), (0.36, 0.23, 0.12), (0.43, 0.32, 0.17), (0.36, 0.38, 0.22),
    (0.34, 0.44, 0.38), (0.36, 0.48, 0.60), (0.46, 0.57, 0.66), (0.45, 0.48, 0.50),
)
CLOTHES = (
    (0.10, 0.12, 0.18), (0.16, 0.26, 0.42), (0.38, 0.54, 0.68), (0.58, 0.16, 0.16), (0.72, 0.40, 0.28),
    (0.80, 0.68, 0.38), (0.28, 0.44, 0.30), (0.14, 0.30, 0.28), (0.42, 0.30, 0.48), (0.72, 0.50, 0.58),
    (0.90, 0.89, 0.86), (0.20, 0.20, 0.22), (0.46, 0.46, 0.48), (0.50, 0.36, 0.26), (0.06, 0.06, 0.08),
    (0.72, 0.78, 0.82), (0.30, 0.14, 0.20), (0.94, 0.93, 0.92), (0.78, 0.74, 0.66),
)
LIPSTICKS = (
    (0.66, 0.12, 0.18), (0.74, 0.26, 0.30), (0.56, 0.16, 0.28), (0.78, 0.40, 0.42), (0.46, 0.14, 0.18),
    (0.76, 0.36, 0.30),
)
FRAMES = (
    (0.06, 0.06, 0.07), (0.22, 0.14, 0.09), (0.38, 0.12, 0.13), (0.14, 0.20, 0.32), (0.62, 0.52, 0.32),
    (0.46, 0.47, 0.50), (0.20, 0.28, 0.26), (0.75, 0.74, 0.72),
)
# fmt: on
SHORT = ("buzz", "crop", "side_part", "swept_back", "messy", "curly", "afro")
LONG = ("long_straight", "long_wavy", "long_parted", "bob", "bangs", "long_curly", "bun", "ponytail")
BARE = ("bald", "receding")
COVERED = ("scarf", "beanie", "cap", "hat")
HAIR_STYLES = SHORT + LONG + BARE + COVERED
BEARDS = ("none", "shadow", "stubble", "moustache", "goatee", "short_beard", "full_beard")
GLASSES = ("none", "round", "square", "oval", "wire")
EARRINGS = ("none", "stud", "hoop", "drop")
STANCE_LIMIT = (0.5, 0.15)  # yaw and pitch, radians
BACKDROPS = ("plain", "gradient", "studio", "bokeh", "room", "window", "shelf", "foliage", "street", "clutter")


@dataclass(frozen=True)
class Person:
    """One person: shape, appearance, habits of speech, backdrop and camera distance. Colours are sRGB 0..1."""

    identity: tuple[float, ...]  # weights of the identity components
    masculine: bool
    age: float  # 0 young adult .. 1 old
    skin: Colour
    dark: float  # 0 fairest .. 1 darkest skin
    redness: float  # 0..1
    freckles: float
    spots: float
    moles: int
    oil: float  # how much the skin shines
    lip: Colour
    lip_gloss: float
    makeup: float  # eyes and cheeks, 0..1
    shadow_colour: Colour
    brow: Colour
    brow_density: float
    brow_width: float  # factor
    eye: Colour
    iris: float  # radius over the eyeball's
    pupil: float  # radius over the iris's
    lids: float  # how far the lids are closed at rest, 0..0.3
    lashes: float
    hair_style: str
    hair: Colour
    grey: float
    hair_volume: float
    hair_length: float  # 0..1 within the style
    hairline: float  # -1 low .. 1 high
    hair_side: int
    curl: float
    cover_colour: Colour
    beard: str
    beard_density: float
    glasses: str
    glasses_colour: Colour
    glasses_width: float
    earrings: str
    jewel: Colour
    neckline: str
    cloth: Colour
    cloth_second: Colour
    shoulder: float
    backdrop: str
    walls: tuple[Colour, Colour, Colour]
    jaw: float  # weight of jawOpen for the widest vowel
    habits: float  # spread of how strongly the speaker uses each blend shape
    rest: float  # strength of the face's expression at rest
    distance: float  # of the camera, in sides of the frame
    stance: tuple[float, float]  # yaw and pitch that are added to all poses, radians
    lighting: Lighting
    seed: int  # for scattered details

    def stream(self, name: str) -> np.random.Generator:
        """Random numbers for one purpose."""
        return np.random.default_rng([self.seed, *name.encode()])


def along(ramp: tuple[Colour, ...], place: float) -> np.ndarray:
    """Colour (3,) at a place 0..1 on a ramp."""
    place = float(np.clip(place, 0, 1)) * (len(ramp) - 1)
    index = min(int(place), len(ramp) - 2)
    return np.asarray(ramp[index]) * (1 - place + index) + np.asarray(ramp[index + 1]) * (place - index)


def _rounded(colour: np.ndarray) -> Colour:
    return tuple(round(float(c), 4) for c in np.clip(colour, 0.02, 0.98))


def _jitter(rng: np.random.Generator, colour: object, amount: float) -> Colour:
    return _rounded(np.asarray(colour) + rng.normal(0, amount, 3))


def _skin(rng: np.random.Generator, age: float, masculine: bool) -> dict:
    dark = round(float(rng.beta(1.05, 1.35)), 4)
    hue = rng.normal(0, 0.018)
    skin = along(SKIN, dark) + np.array([0.2, 0.1, -1.0]) * hue + rng.normal(0, 0.008, 3)
    skin = skin.mean() + (skin - skin.mean()) * rng.uniform(0.84, 1.12)
    return {
        "skin": _rounded(skin),
        "dark": dark,
        "redness": uniform(rng, 0.15, 1.0) * (1 - 0.5 * dark),
        "freckles": uniform(rng, 0.3, 1.0) if rng.random() < 0.22 * (1.2 - dark) else 0.0,
        "spots": uniform(rng, 0.2, 1.0) * age,
        "moles": int(rng.poisson(2.2)),
        "oil": uniform(rng, 0.35, 1.15),
        "makeup": 0.0 if masculine else uniform(rng, 0.15, 1.0) if rng.random() < 0.55 else 0.0,
    }


def _lips(rng: np.random.Generator, skin: Colour, dark: float, masculine: bool) -> dict:
    natural = np.asarray(skin) * (0.90, 0.66, 0.66) * (1 - 0.10 * dark) + np.array([0.045, 0.0, 0.01])
    natural = natural * (1, 1, 1) + rng.normal(0, 0.014, 3) + np.array([0.04, -0.03, -0.02]) * rng.uniform(-1, 1)
    paint = np.asarray(choose(rng, LIPSTICKS))
    painted = 0.0 if masculine or rng.random() < 0.55 else rng.uniform(0.3, 0.85)
    return {
        "lip": _rounded(natural * (1 - painted) + paint * painted),
        "lip_gloss": uniform(rng, 0.25, 1.0) if painted else uniform(rng, 0.1, 0.6),
    }


def _hair_colour(rng: np.random.Generator, dark: float, age: float) -> tuple[np.ndarray, float]:
    tone = rng.beta(0.9, 1.5) * (1 - min(dark * 1.5, 0.9))
    colour = along(HAIR, tone)
    if rng.random() < 0.07 * (1 - dark):
        colour = np.asarray(choose(rng, RED))
    if rng.random() < 0.02:
        colour = np.asarray(choose(rng, DYED))
    grey = round(float(np.clip((age - 0.55) * 2.0 + rng.normal(0, 0.2), 0, 1)), 4) if age > 0.45 else 0.0
    return colour + rng.normal(0, 0.008, 3), grey


def _hair(rng: np.random.Generator, dark: float, age: float, masculine: bool) -> dict:
    weights = {style: (1.5 if masculine else 0.35) for style in SHORT}
    weights |= {style: (0.18 if masculine else 1.5) for style in LONG}
    weights |= {style: ((0.35 + 1.2 * age) if masculine else 0.04) for style in BARE}
    weights |= {"scarf": 0.05 if masculine else 0.9, "beanie": 0.35, "cap": 0.35 if masculine else 0.15, "hat": 0.12}
    weights["afro"] *= 0.25 + 2.0 * dark
    style = choose_weighted(rng, weights)
    colour, grey = _hair_colour(rng, dark, age)
    mixed = colour * (1 - grey) + along(GREY, rng.random()) * grey
    brow = colour * (1 - 0.6 * grey) + np.asarray(GREY[1]) * 0.6 * grey
    return {
        "hair_style": style,
        "hair": _rounded(mixed),
        "grey": grey,
        "hair_volume": uniform(rng, 0, 1),
        "hair_length": uniform(rng, 0, 1),
        "hairline": round(float(np.clip(rng.normal(0.25 * age if masculine else -0.05, 0.4), -1, 1)), 4),
        "hair_side": int(choose(rng, (-1, 1))),
        "curl": uniform(rng, 0, 1),
        "cover_colour": _jitter(rng, choose(rng, CLOTHES), 0.03),
        "brow": _rounded(brow * 0.85 * (0.65 if tone_of(brow) > 0.45 else 1.0)),
    }


def tone_of(colour: np.ndarray) -> float:
    """Lightness 0..1 of a colour."""
    return float(np.dot(colour, (0.3, 0.59, 0.11)))


def _face(rng: np.random.Generator, dark: float, age: float, masculine: bool) -> dict:
    bearded = masculine and rng.random() < 0.65
    eye = choose(rng, EYES[:3]) if rng.random() < 0.35 + 0.9 * dark else choose(rng, EYES)
    return {
        "brow_density": uniform(rng, 0.65, 1.0) if masculine else uniform(rng, 0.45, 0.95),
        "brow_width": uniform(rng, 0.85, 1.5) if masculine else uniform(rng, 0.55, 1.1),
        "eye": _jitter(rng, eye, 0.02),
        "iris": uniform(rng, 0.46, 0.53),
        "pupil": uniform(rng, 0.3, 0.55),
        "lids": uniform(rng, 0.03, 0.16 + 0.06 * age),
        "lashes": uniform(rng, 0.2, 0.6) if masculine else uniform(rng, 0.35, 1.0),
        "shadow_colour": _jitter(rng, (0.36, 0.24, 0.22), 0.09),
        "beard": choose_weighted(rng, dict(zip(BEARDS[1:], (1.3, 1.3, 1.2, 0.8, 1.2, 0.9)))) if bearded else "none",
        "beard_density": uniform(rng, 0.5, 1.0),
    }


def _wear(rng: np.random.Generator, masculine: bool) -> dict:
    necklines = {"crew": 1.6, "vneck": 0.8, "shirt": 1.3, "turtleneck": 0.5, "hoodie": 0.6, "blazer": 0.9}
    necklines["scoop"] = 0.2 if masculine else 1.0
    return {
        "glasses": choose(rng, GLASSES[1:]) if rng.random() < 0.2 else "none",
        "glasses_colour": choose(rng, FRAMES),
        "glasses_width": uniform(rng, 0.6, 1.5),
        "earrings": choose(rng, EARRINGS[1:]) if rng.random() < (0.06 if masculine else 0.4) else "none",
        "jewel": choose(rng, ((0.85, 0.68, 0.34), (0.78, 0.79, 0.82), (0.90, 0.88, 0.84), (0.30, 0.55, 0.55))),
        "neckline": choose_weighted(rng, necklines),
        "cloth": _jitter(rng, choose(rng, CLOTHES), 0.03),
        "cloth_second": _jitter(rng, choose(rng, CLOTHES), 0.03),
        "shoulder": uniform(rng, 0, 1),
    }


def _place(rng: np.random.Generator) -> dict:
    walls = tuple(
        _jitter(rng, np.asarray(choose(rng, CLOTHES)) * 0.5 + rng.uniform(0.05, 0.48), 0.03) for _ in range(3)
    )
    return {
        "backdrop": choose_weighted(rng, dict(zip(BACKDROPS, (1, 1.2, 1, 1.2, 1.3, 1, 1, 1.1, 1, 1.2)))),
        "walls": walls,
        "lighting": sample_lighting(rng),
        "distance": uniform(rng, 2.0, 3.2) if rng.random() < 0.4 else uniform(rng, 3.2, 9.0),
    }


def _stance(rng: np.random.Generator) -> tuple[float, float]:
    """Half of the people look past the camera, as many do in portraits."""
    spread = 0.22 if rng.random() < 0.5 else 0.05
    yaw, pitch = np.clip(rng.normal(0, 1, 2) * (spread, 0.3 * spread), np.negative(STANCE_LIMIT), STANCE_LIMIT)
    return round(float(yaw), 4), round(float(pitch), 4)


def sample_person(rng: np.random.Generator) -> Person:
    """A random person; some choices depend on each other (age and grey hair, sex and beard)."""
    masculine, age = bool(rng.random() < 0.5), round(float(rng.beta(1.2, 1.6)), 4)
    identity = tuple(round(float(w), 4) for w in np.clip(rng.normal(0, rng.uniform(0.75, 1.0), 100), -2.6, 2.6))
    skin = _skin(rng, age, masculine)
    return Person(
        identity=identity,
        masculine=masculine,
        age=age,
        **skin,
        **_lips(rng, skin["skin"], skin["dark"], masculine),
        **_hair(rng, skin["dark"], age, masculine),
        **_face(rng, skin["dark"], age, masculine),
        **_wear(rng, masculine),
        **_place(rng),
        jaw=uniform(rng, 0.38, 0.70),
        habits=uniform(rng, 0.05, 0.25),
        rest=uniform(rng, 0.0, 1.0),
        seed=int(rng.integers(2**31)),
        stance=_stance(rng),
    )
