"""SSIM and PSNR against scikit-image, edge widths and CPBD on edges of known width, errors of known changes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.evaluation.metrics import pictures

skimage_metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed (the extra 'test')")


def pair(seed: int, shape: tuple[int, int] = (64, 48), noise: float = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    a = cv2.GaussianBlur(rng.uniform(0, 255, (*shape, 3)).astype(np.float32), (0, 0), 2)
    b = a + rng.normal(0, noise, a.shape) + rng.uniform(-10, 10)
    return np.clip(a, 0, 255).astype(np.uint8), np.clip(b, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "seed, shape, noise", [(0, (64, 48), 12), (1, (7, 9), 40), (2, (128, 128), 1), (3, (33, 90), 90)]
)
def test_ssim_and_psnr_are_scikit_images(seed: int, shape: tuple[int, int], noise: float) -> None:
    a, b = pair(seed, shape, noise)
    assert pictures.ssim(a, b) == pytest.approx(
        skimage_metrics.structural_similarity(a, b, channel_axis=-1, data_range=255), abs=1e-9
    )
    assert pictures.psnr(a, b) == pytest.approx(skimage_metrics.peak_signal_noise_ratio(a, b, data_range=255), abs=1e-9)


def test_equal_frames_are_ideal_and_a_known_difference_is_known() -> None:
    a = pair(4)[0] // 2
    assert pictures.ssim(a, a) == pytest.approx(1, abs=1e-12) and pictures.psnr(a, a) == pictures.PSNR_MOST
    assert pictures.psnr(a, a + 51) == pytest.approx(20 * np.log10(5))


@pytest.mark.parametrize("other", [np.zeros((64, 49, 3), np.uint8), np.zeros((64, 48, 3), np.float32)])
def test_frames_that_do_not_match_are_refused(other: np.ndarray) -> None:
    for measure in (pictures.ssim, pictures.psnr, pictures.background_error):
        with pytest.raises(DiffusedHeadsError, match="two of one shape"):
            measure(pair(0)[0], other)


def ramps(width: int, low: int = 20, high: int = 220, size: int = 128) -> np.ndarray:
    """Vertical edges every 32 px whose luminance takes ``width`` equal steps from ``low`` to ``high`` and back."""
    row = np.full(size, low, np.float64)
    for n, at in enumerate(range(16, size - 12, 32)):
        a, b = (low, high) if n % 2 == 0 else (high, low)
        row[at:] = b
        row[at : at + width] = a + (b - a) * (np.arange(width) + 0.5) / width if width > 1 else b
        row[at : at + width + 1] = np.interp(np.arange(width + 1), [0, width], [a, b])
    return np.repeat(np.repeat(np.round(row).astype(np.uint8)[None], size, 0)[..., None], 3, -1)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8])
def test_edge_widths_are_the_ramps_own(width: int) -> None:
    _, columns, widths = pictures.edge_widths(ramps(width)[..., 0])
    assert len(widths) >= 128 * 3 and (widths == width).all()
    assert {min(abs(c - at) for at in range(16, 116, 32)) <= width for c in columns} == {True}


@pytest.mark.parametrize("low, high, widest", [(20, 220, 3), (100, 140, 5)])
def test_cpbd_counts_edges_up_to_the_just_noticeable_width(low: int, high: int, widest: int) -> None:
    """w = w_JNB is the last width whose probability 1 - exp(-(w / w_JNB)^3.6) is not above 1 - 1 / e."""
    for width in (1, 2, 3, 4, 5, 6, 8):
        blurred = 1 - np.exp(-((width / widest) ** 3.6)) > 1 - np.exp(-1) + 1e-9
        assert pictures.cpbd(ramps(width, low, high)) == (0.0 if blurred else 1.0), width


def test_cpbd_falls_with_blur_and_is_unknown_without_edges() -> None:
    sharp = cv2.resize(
        np.random.default_rng(5).integers(0, 2, (16, 16, 3), np.uint8) * 200,
        (128, 128),
        interpolation=cv2.INTER_NEAREST,
    )
    found = [pictures.cpbd(cv2.GaussianBlur(sharp, (0, 0), s)) for s in (0.5, 1.0, 1.5, 3.0)]
    assert found == sorted(found, reverse=True) and found[0] > 0.8 and found[-1] < 0.1
    assert np.isnan(pictures.cpbd(np.full((64, 64, 3), 99, np.uint8)))


def test_sharpness_is_the_laplacians_variance() -> None:
    gray = np.zeros((8, 8), np.uint8)
    gray[4, 4] = 10  # its Laplacian is -40 there and 10 at four neighbours
    assert pictures.laplacian_variance(gray) == pytest.approx((40**2 + 4 * 10**2) / 64)
    assert pictures.laplacian_variance(np.full((8, 8), 7, np.uint8)) == 0


def test_background_and_regions_see_their_own_places() -> None:
    a = np.full((40, 60, 3), 100, np.uint8)
    corner, middle = a.copy(), a.copy()
    corner[:4, :4] += 20  # one of the four corners, which are 4 px wide
    middle[18:22, 28:32] += 30
    assert (
        pictures.background_error(corner, a) == pytest.approx(np.sqrt(20**2 / 4))
        and pictures.background_error(middle, a) == 0
    )
    box = np.array([[28, 18, 32, 22.0], [0, 0, 4, 4.0]])
    assert (
        pictures.region_error(middle, a, box) == pytest.approx(np.sqrt(30**2 / 2))
        and pictures.region_error(middle, a, box[1:]) == 0
    )
    assert pictures.cut(a, np.array([-9.0, -9, -5, -5])).shape == (1, 1, 3) and pictures.cut(
        a, np.array([58.5, 38.2, 99, 99])
    ).shape == (2, 2, 3)
