"""Everything in which one drawn person differs from another, and how it is chosen at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..choices import choose, choose_weighted, uniform
from .draw import Colour, mix

# fmt: off
SKIN = (  # a ramp from light to dark
    (255, 226, 206), (250, 213, 186), (243, 200, 168), (234, 186, 150), (224, 172, 132), (208, 152, 112),
    (190, 132, 92), (168, 112, 76), (146, 94, 62), (122, 76, 50), (98, 60, 42), (78, 48, 36), (60, 38, 31),
)
HAIR = (  # natural colours: the first nine form a ramp from dark to light
    (28, 24, 26), (44, 33, 30), (66, 44, 34), (92, 60, 40), (120, 78, 48), (150, 102, 60), (188, 140, 84),
    (218, 178, 116), (236, 208, 154), (164, 74, 38), (130, 50, 34), (150, 148, 150), (206, 204, 204),
)
DYED = ((196, 70, 110), (86, 110, 196), (112, 70, 160), (60, 150, 140), (214, 110, 60), (226, 140, 180))
EYES = (
    (74, 46, 30), (96, 62, 36), (126, 88, 48), (104, 114, 58), (72, 118, 84), (78, 122, 164), (110, 152, 188),
    (116, 124, 132), (58, 42, 36),
)
CLOTHES = (
    (40, 52, 78), (58, 98, 150), (106, 156, 196), (188, 64, 60), (222, 120, 84), (236, 190, 96), (86, 130, 92),
    (46, 92, 86), (128, 92, 150), (206, 146, 166), (242, 238, 230), (60, 60, 66), (126, 126, 132), (150, 108, 78),
    (24, 26, 32), (196, 214, 222), (90, 44, 60),
)
WALLS = (
    (226, 232, 238), (204, 220, 230), (240, 228, 212), (222, 234, 220), (238, 220, 222), (224, 218, 238),
    (178, 200, 210), (214, 196, 176), (150, 176, 186), (120, 142, 160), (92, 108, 128), (188, 170, 190),
    (246, 214, 168), (160, 190, 168), (70, 84, 104), (200, 120, 100), (250, 244, 234), (110, 130, 112),
)
HAIR_STYLES = (
    "short", "side_part", "quiff", "curly", "afro", "bob", "bangs", "long_straight", "long_wavy", "bun", "ponytail",
    "pixie", "buzz", "receding", "bald", "scarf", "beanie", "cap",
)
BEARDS = ("none", "stubble", "moustache", "goatee", "short_beard", "full_beard")
GLASSES = ("none", "round", "square", "oval", "cat")
EARRINGS = ("none", "stud", "hoop", "drop")
COLLARS = ("crew", "vneck", "shirt", "hoodie", "turtleneck", "blazer", "striped", "scoop")
BACKDROPS = (
    "plain", "gradient", "radial", "bokeh", "stripes", "dots", "window", "shelf", "panel", "horizon", "frames",
    "plant",
)
SHAPE_OFFSETS = (
    "face_width", "jaw", "chin", "cheek", "eye_tilt", "brow_arch", "brow_tilt", "nose_length", "hairline",
    "hair_volume",
)
# fmt: on


@dataclass(frozen=True)
class Avatar:
    """Appearance of one person. Shape fields are offsets -1..1 from the average or, if marked, factors of 0.7..1.3."""

    skin: Colour
    light: int  # +1: light from image left, -1: from image right
    face_width: float
    jaw: float
    chin: float
    cheek: float
    ear_size: float  # factor
    hair_style: str
    hair: Colour
    hair_volume: float
    hair_side: int  # +1 or -1
    hairline: float
    headwear: Colour
    eye_size: float  # factor
    eye_height: float  # factor
    eye_tilt: float
    eye_shift: tuple[float, float]  # frame fractions
    eye_colour: Colour
    lashes: float  # 0..1
    brow: Colour
    brow_thickness: float  # factor
    brow_arch: float
    brow_tilt: float
    nose_width: float  # factor
    nose_length: float
    nose_bridge: float  # 0..1
    lips: Colour
    lip_fullness: float  # factor
    lip_width: float  # factor
    cupid: float  # 0..1, how marked the cupid's bow of the upper lip is
    beard: str
    glasses: str
    glasses_colour: Colour
    glasses_width: float  # frame fractions
    earrings: str
    jewel: Colour
    freckles: float  # 0..1
    age: float  # 0..1
    blush: float  # 0..1
    collar: str
    cloth: Colour
    cloth_second: Colour
    shoulders: float  # factor
    backdrop: str
    walls: tuple[Colour, Colour, Colour]
    seed: int  # for scattered details such as freckles and shapes in the backdrop


def _shape_offset(rng: np.random.Generator) -> float:
    return round(float(np.clip(rng.normal(0, 0.5), -1, 1)), 4)


def _from_ramp(rng: np.random.Generator, ramp: tuple[Colour, ...]) -> Colour:
    place = rng.uniform(0, len(ramp) - 1)
    index = min(int(place), len(ramp) - 2)
    return mix(ramp[index], ramp[index + 1], place - index)


def _jitter(rng: np.random.Generator, colour: Colour, amount: float) -> Colour:
    return tuple(int(np.clip(round(c + rng.normal(0, amount)), 0, 255)) for c in colour)


def _face(rng: np.random.Generator) -> dict:
    return {
        **{name: _shape_offset(rng) for name in SHAPE_OFFSETS},
        "skin": _jitter(rng, _from_ramp(rng, SKIN), 3),
        "light": int(choose(rng, (-1, 1))),
        "ear_size": uniform(rng, 0.85, 1.15),
        "eye_size": uniform(rng, 0.88, 1.18),
        "eye_height": uniform(rng, 0.78, 1.2),
        "eye_shift": (uniform(rng, -0.007, 0.007), uniform(rng, -0.007, 0.007)),
        "eye_colour": _jitter(rng, choose(rng, EYES), 8),
        "brow_thickness": uniform(rng, 0.55, 1.5),
        "nose_width": uniform(rng, 0.75, 1.35),
        "nose_bridge": uniform(rng, 0, 1),
        "lip_fullness": uniform(rng, 0.72, 1.25),
        "lip_width": uniform(rng, 0.9, 1.12),
        "cupid": uniform(rng, 0.2, 1),
    }


def _lips(rng: np.random.Generator, skin: Colour) -> Colour:
    natural = mix(tuple(int(c * f) for c, f in zip(skin, (0.90, 0.66, 0.66))), (196, 84, 88), uniform(rng, 0.1, 0.45))
    if rng.random() < 0.72:
        return _jitter(rng, natural, 5)
    paint = choose(rng, ((176, 30, 52), (206, 52, 72), (160, 44, 84), (222, 92, 110), (128, 34, 48), (214, 88, 70)))
    return mix(natural, paint, uniform(rng, 0.45, 0.9))


def _hair(rng: np.random.Generator) -> dict:
    if rng.random() < 0.07:
        colour = choose(rng, DYED)
    elif rng.random() < 0.75:
        colour = _from_ramp(rng, HAIR[:9])
    else:
        colour = choose(rng, HAIR[9:])
    rarer = {"bald": 0.7, "receding": 0.6, "buzz": 0.8, "scarf": 0.9, "cap": 0.7}
    style = choose_weighted(rng, dict.fromkeys(HAIR_STYLES, 1.0) | rarer)
    hair = _jitter(rng, colour, 4)
    natural = colour if colour not in DYED else HAIR[2]
    return {
        "hair_style": style,
        "hair": hair,
        "hair_side": int(choose(rng, (-1, 1))),
        "headwear": _jitter(rng, choose(rng, CLOTHES), 6),
        "brow": mix(natural, (50, 36, 30), 0.45),
        "lashes": uniform(rng, 0, 1),
    }


def _extras(rng: np.random.Generator, hair_style: str) -> dict:
    bearded = rng.random() < (0.0 if hair_style == "scarf" else 0.21)
    frames = ((32, 30, 34), (92, 58, 40), (150, 40, 46), (44, 66, 104), (176, 148, 92), (120, 122, 128), (60, 90, 80))
    return {
        "beard": choose(rng, BEARDS[1:]) if bearded else "none",
        "glasses": choose(rng, GLASSES[1:]) if rng.random() < 0.18 else "none",
        "glasses_colour": choose(rng, frames),
        "glasses_width": choose(rng, (0.008, 0.011, 0.015)),
        "earrings": choose(rng, EARRINGS[1:]) if rng.random() < 0.25 else "none",
        "jewel": choose(rng, ((226, 188, 96), (206, 210, 218), (236, 232, 224), (90, 170, 170))),
        "freckles": uniform(rng, 0.4, 1) if rng.random() < 0.15 else 0.0,
        "age": uniform(rng, 0.25, 1) if rng.random() < 0.35 else 0.0,
        "blush": uniform(rng, 0.1, 0.9),
    }


def _scene(rng: np.random.Generator) -> dict:
    return {
        "collar": choose(rng, COLLARS),
        "cloth": _jitter(rng, choose(rng, CLOTHES), 8),
        "cloth_second": _jitter(rng, choose(rng, CLOTHES), 8),
        "shoulders": uniform(rng, 0.9, 1.15),
        "backdrop": choose(rng, BACKDROPS),
        "walls": tuple(_jitter(rng, choose(rng, WALLS), 8) for _ in range(3)),
        "seed": int(rng.integers(2**31)),
    }


def sample_avatar(rng: np.random.Generator) -> Avatar:
    """A random person; every choice is independent of the others."""
    face, hair = _face(rng), _hair(rng)
    return Avatar(lips=_lips(rng, face["skin"]), **face, **hair, **_extras(rng, hair["hair_style"]), **_scene(rng))
