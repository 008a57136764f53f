"""Colour profiles: colours come out as the ICC's equations say, and a profile that says nothing is ignored in silence.

The profiles are written by hand from published primaries and curves, the expected colours computed from the same.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.media.pictures import load_picture, load_picture_alpha

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "cases"
WHITE = (0.9642, 1.0, 0.8249)  # D50, to which profiles are adapted
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
PRIMARIES = {  # XYZ of red, green and blue in columns
    "srgb": SRGB,
    "display p3": np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]),
    "adobe rgb": np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]),
    "prophoto": np.array([[0.79767, 0.13519, 0.03134], [0.28804, 0.71188, 0.00009], [0.0, 0.0, 0.82491]]),
    "rec. 2020": np.array([[0.67348, 0.16566, 0.12504], [0.27904, 0.67534, 0.04561], [-0.00193, 0.02998, 0.79686]]),
    "blue and red exchanged": SRGB[:, ::-1],
}
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
CURVES: dict[str, float | tuple[float, ...]] = {  # a power, or the parameters of the ICC's curve of type 3
    "srgb": SRGB_CURVE,
    "display p3": SRGB_CURVE,
    "adobe rgb": 2.19921875,
    "prophoto": 1.8,
    "rec. 2020": 2.4,
    "blue and red exchanged": 2.2,
    "grey": 1.8,
}


def fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


def curve_tag(curve: float | tuple[float, ...]) -> bytes:
    if isinstance(curve, tuple):
        return b"para\0\0\0\0\0\3\0\0" + fixed(*curve)
    return b"curv\0\0\0\0\0\0\0\1" + struct.pack(">H", round(curve * 256))


def profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of a display or printer with these tags."""
    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(*WHITE), b"cprt": b"text\0\0\0\0none\0", **tags}
    table, values, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", at + len(values), len(value))
        values += value + b"\0" * (-len(value) % 4)
    kind, version = (b"prtr", 0x02400000) if space == b"CMYK" else (b"mntr", 0x04200000)
    header = struct.pack(">I4sI4s4s4s", at + len(values), b"none", version, kind, space, connection)
    header += bytes(12) + b"acsp" + bytes(28) + fixed(*WHITE)
    return header + bytes(128 - len(header)) + table + values


def rgb_profile(name: str) -> bytes:
    curve = curve_tag(CURVES[name])
    colours = {key: b"XYZ \0\0\0\0" + fixed(*xyz) for key, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), PRIMARIES[name].T)}
    return profile(b"RGB ", b"XYZ ", {**colours, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


def grey_profile() -> bytes:
    return profile(b"GRAY", b"XYZ ", {b"kTRC": curve_tag(CURVES["grey"])})


INKS = np.stack(np.meshgrid(*[[0, 255]] * 4, indexing="ij"), -1).reshape(16, 4).astype(np.uint8)
LAB = np.column_stack(  # of the sixteen ways to print with four inks or without: lightness and colour
    [100 * (1 - INKS / 255 @ [0.1, 0.25, 0.05, 0.6]), INKS[:, :3] / 255 @ [[-20, 10], [50, -5], [-5, 60]]]
).round()
LAB[:, 1:] = (LAB[:, 1:] * (LAB[:, :1] / 100)).round()  # grey towards black


def cmyk_profile() -> bytes:
    straight = bytes(range(256))
    codes = np.column_stack([LAB[:, 0] * 2.55, LAB[:, 1:] + 128]).round().astype(np.uint8)
    table = b"mft1\0\0\0\0\4\3\2\0" + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + straight * 4 + codes.tobytes() + straight * 3
    return profile(b"CMYK", b"Lab ", {b"A2B0": table})


def linear(levels: np.ndarray, curve: float | tuple[float, ...]) -> np.ndarray:
    levels = levels / 255
    if not isinstance(curve, tuple):
        return levels**curve
    power, scale, offset, slope, start = curve
    return np.where(levels >= start, (scale * levels + offset) ** power, slope * levels)


def from_xyz(xyz: np.ndarray) -> np.ndarray:
    """sRGB levels (float) of XYZ relative to D50."""
    rgb = np.clip(xyz @ np.linalg.inv(SRGB).T, 0, 1)
    return 255 * np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)


def from_lab(lab: np.ndarray) -> np.ndarray:
    middle = (lab[:, 0] + 16) / 116
    f = np.column_stack([middle + lab[:, 1] / 500, middle, middle - lab[:, 2] / 200])
    return from_xyz(np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * WHITE)


def picture(channels: int) -> np.ndarray:
    """Smooth colours of all kinds, uint8 (64, 96, channels)."""
    y, x = np.mgrid[0:64, 0:96] / [[[63]], [[95]]]
    return (255 * np.stack([x, y, 0.5 + 0.5 * np.sin(7 * x + 5 * y), 1 - x * y], -1)[..., :channels]).astype(np.uint8)


def saved(path: Path, image: Image.Image, icc: bytes) -> Path:
    lossless = {"lossless": True, "exact": True} if path.suffix == ".webp" else {}
    image.save(path, icc_profile=icc, **lossless)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp"])
@pytest.mark.parametrize("name", PRIMARIES)
def test_colours_of_a_profile(tmp_path: Path, name: str, suffix: str) -> None:
    path = saved(tmp_path / f"a{suffix}", Image.fromarray(picture(3)), rgb_profile(name))
    expected = from_xyz(linear(picture(3), CURVES[name]) @ PRIMARIES[name].T)
    assert np.abs(load_picture(path) - expected).mean() < 0.6
    assert np.abs(expected - picture(3)).mean() > 2 or name == "srgb"


def test_grey_with_a_gamma(tmp_path: Path) -> None:
    grey, curve = picture(1)[..., 0], CURVES["grey"]
    expected = from_xyz(linear(grey, curve)[..., None] * WHITE)
    for image in (Image.fromarray(grey), Image.merge("LA", [Image.fromarray(picture(4)[..., i]) for i in (0, 3)])):
        rgb = load_picture_alpha(saved(tmp_path / "a.png", image, grey_profile()))[0]
        assert np.abs(rgb - expected).mean() < 0.6 and np.abs(expected - grey[..., None]).mean() > 10


def test_inks_of_a_profile(tmp_path: Path) -> None:
    image = Image.frombytes("CMYK", (4, 4), INKS.tobytes())
    found = load_picture(saved(tmp_path / "a.tiff", image, cmyk_profile())).reshape(16, 3)
    assert np.abs(found - from_lab(LAB)).mean() < 1 and np.abs(found - from_lab(LAB)).max() < 3
    large = image.resize((64, 64), Image.Resampling.NEAREST)
    large.save(tmp_path / "a.jpg", quality=100, subsampling=0, icc_profile=cmyk_profile())
    assert np.abs(load_picture(tmp_path / "a.jpg")[8::16, 8::16].reshape(16, 3) - from_lab(LAB)).mean() < 2


def test_the_profile_that_pillow_makes_changes_nothing(tmp_path: Path) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(load_picture(saved(tmp_path / "a.png", Image.fromarray(picture(3)), icc)), picture(3))


def test_palette_alpha_and_orientation_with_a_profile(tmp_path: Path) -> None:
    icc, image = rgb_profile("display p3"), picture(4)
    expected = from_xyz(linear(image[..., :3], SRGB_CURVE) @ PRIMARIES["display p3"].T)
    rgb, alpha = load_picture_alpha(saved(tmp_path / "a.png", Image.fromarray(image), icc))
    assert np.abs(rgb - expected).mean() < 0.6 and np.array_equal(alpha, image[..., 3])
    palette = Image.fromarray(image[..., :3]).quantize(64)
    stored = np.asarray(palette.convert("RGB"))
    found = load_picture(saved(tmp_path / "p.png", palette, icc))
    assert np.abs(found - from_xyz(linear(stored, SRGB_CURVE) @ PRIMARIES["display p3"].T)).mean() < 0.6
    turned = Image.Exif()
    turned[0x0112] = 3
    Image.fromarray(image[..., :3]).save(tmp_path / "o.png", icc_profile=icc, exif=turned)
    assert np.abs(load_picture(tmp_path / "o.png") - expected[::-1, ::-1]).mean() < 0.6


BROKEN: dict[str, Callable[[], bytes]] = {
    "nonsense": lambda: b"nonsense" * 40,
    "cut short": lambda: rgb_profile("display p3")[:300],
    "no tags": lambda: profile(b"RGB ", b"XYZ ", {}),
    "of grey": grey_profile,
    "of inks": cmyk_profile,
    "of no kind": lambda: profile(b"5CLR", b"Lab ", {}),
}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff"])
@pytest.mark.parametrize("case", BROKEN)
def test_a_profile_that_does_not_fit_is_ignored(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], case: str, suffix: str
) -> None:
    plain = saved(tmp_path / f"plain{suffix}", Image.fromarray(picture(3)), b"")
    path = saved(tmp_path / f"a{suffix}", Image.fromarray(picture(3)), BROKEN[case]())
    assert np.array_equal(load_picture(path), load_picture(plain))
    assert capfd.readouterr() == ("", "")


def test_photographs_with_a_profile(capfd: pytest.CaptureFixture[str]) -> None:
    paths = sorted(CASES.glob("portrait_display_p3.*"))
    if not paths:
        pytest.skip("../shared/cases is not beside this repository")
    for path in paths:
        with Image.open(path) as image:
            stored = np.asarray(image.convert("RGB"))
        expected = from_xyz(linear(stored, SRGB_CURVE) @ PRIMARIES["display p3"].T)
        assert np.abs(load_picture(path) - expected).mean() < 0.6
    assert capfd.readouterr() == ("", "")


def test_heic_with_a_profile_opens_if_its_package_is_there(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    heif.register_heif_opener()
    flat = Image.fromarray(np.full((64, 96, 3), (200, 60, 40), np.uint8))
    flat.save(tmp_path / "phone.heic", quality=95, icc_profile=rgb_profile("display p3"))
    expected = from_xyz(linear(np.asarray(flat), SRGB_CURVE) @ PRIMARIES["display p3"].T)
    found = load_picture(tmp_path / "phone.heic")
    assert found.shape == (64, 96, 3) and np.abs(found - expected).mean() < 1.5


def test_heic_without_its_package_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    with pytest.raises(DiffusedHeadsError, match="phone.heic: .*HEIC.*pip install pillow-heif"):
        load_picture(tmp_path / "phone.heic")
