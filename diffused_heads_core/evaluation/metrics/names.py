"""The list of all figures that table, report and documentation share: name, unit, range, which way is good, format.

The formulas are in the other modules of this room.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

NEAR = "near the truth's"
UP, DOWN, ZERO, ONE, LIVELY = "higher is better", "lower is better", "0 is best", "1 is best", "higher is livelier"


@dataclass(frozen=True)
class Metric:
    """One figure.

    scope: "clip" (of a clip alone), "pair" (of a clip against its reference), "population" (of all clips against all
    references) or "takes" (of several takes of one clip). limits: the least and the greatest possible value.
    """

    group: str
    scope: str
    name: str
    label: str
    unit: str
    aim: str
    limits: tuple[float, float]
    source: str

    @property
    def ideal(self) -> float | None:
        """The value of the truth measured against itself; None if that is the truth's own value or has no limit."""
        if self.aim == UP:
            return self.limits[1] if math.isfinite(self.limits[1]) else None
        return {DOWN: 0.0, ZERO: 0.0, ONE: 1.0}.get(self.aim)

    @property
    def title(self) -> str:
        """The label with its unit, as for "PSNR, dB"."""
        return f"{self.label}, {self.unit}" if self.unit else self.label


_ANY, _POSITIVE, _COSINE = (-math.inf, math.inf), (0, math.inf), (-1, 1)
_SYNCNET, _LAPLACIAN = "Chung & Zisserman 2016; needs weights", "variance of the Laplacian"
_Row = tuple[str, str, str, str, tuple[float, float], str]  # the fields of Metric after group and scope
_TABLE: dict[tuple[str, str], tuple[_Row, ...]] = {
    ("Lip sync", "pair"): (
        ("mouth_r", "Mouth opening, correlation", "", UP, _COSINE, "Pearson's r of mouth opening with the truth's"),
        (
            "mouth_lag",
            "Mouth opening, lag",
            "frames",
            ZERO,
            _ANY,
            "lag of the highest r within 0.6 s; positive is late",
        ),
        ("lmd", "LMD, mouth landmarks", "px of 128", DOWN, _POSITIVE, "Chen et al. 2018"),
    ),
    ("Lip sync", "clip"): (
        ("av_offset", "AV offset (SyncNet)", "frames", ZERO, (-15, 15), _SYNCNET),
        ("av_confidence", "AV confidence (SyncNet)", "", UP, _POSITIVE, _SYNCNET),
    ),
    ("Motion", "clip"): (
        ("ofm", "OFM, optical flow", "px/frame", NEAR, _POSITIVE, "paper, appendix; Farneback 2003"),
        ("ofm_released", "OFM as the release computes it", "", NEAR, (42, 171), "min-max-stretched, coloured flow"),
        ("f_mse", "F-MSE", "levels²", NEAR, (0, 65025), "paper, appendix"),
        ("blinks_per_second", "Blinks per second", "1/s", NEAR, _POSITIVE, "eyes below 65% of their usual opening"),
        ("blink_duration", "Blink duration, median", "s", NEAR, (0, 1), "width at half depth"),
    ),
    ("Picture", "pair"): (
        ("ssim", "SSIM", "", UP, _COSINE, "Wang et al. 2004"),
        ("psnr", "PSNR", "dB", UP, (0, 100), "100 dB for equal frames"),
        ("eye_error", "Eye-region error", "levels", DOWN, (0, 255), "RMS difference around the true eyes"),
        ("mouth_error", "Mouth-region error", "levels", DOWN, (0, 255), "RMS difference around the true mouth"),
        ("background_error", "Background error", "levels", DOWN, (0, 255), "RMS difference in the four corners"),
        ("sharpness_ratio", "Sharpness ratio", "", ONE, _POSITIVE, "sharpness over the truth's; above 1 is artefact"),
    ),
    ("Picture", "clip"): (
        ("background_change", "Background change", "levels", NEAR, (0, 255), "RMS change of the corners since frame 1"),
        ("cpbd", "CPBD", "", NEAR, (0, 1), "Narvekar & Karam 2011"),
        ("sharpness", "Sharpness", "levels²", NEAR, _POSITIVE, _LAPLACIAN),
        ("sharpness_eyes", "Sharpness around the eyes", "levels²", NEAR, _POSITIVE, _LAPLACIAN),
    ),
    ("Face", "pair"): (
        ("face_similarity", "Face similarity", "", UP, _COSINE, "cosine of the clips' mean HOG and colour features"),
    ),
    ("Population", "population"): (
        ("frechet", "Fréchet distance, hand-crafted", "", DOWN, _POSITIVE, "Dowson & Landau 1982; not an FID"),
        ("degradation", "Degradation rate DR", "", ZERO, (-1, math.inf), "DAWN 2024, on hand-crafted features"),
        ("fid", "FID", "", DOWN, _POSITIVE, "Heusel et al. 2017; needs weights"),
        ("kid", "KID", "", DOWN, _ANY, "Bińkowski et al. 2018; needs weights"),
        ("fvd", "FVD", "", DOWN, _POSITIVE, "Unterthiner et al. 2018; needs weights"),
    ),
    ("Diversity", "takes"): (
        (
            "diversity_pixel",
            "Diversity over seeds, pixels",
            "levels",
            LIVELY,
            (0, 127.5),
            "RMS deviation from the mean",
        ),
        (
            "diversity_pose",
            "Diversity over seeds, pose",
            "eye distances",
            LIVELY,
            _POSITIVE,
            "RMS shift of the nose tip",
        ),
        ("diversity_blink", "Diversity over seeds, blinks", "", LIVELY, (0, 1), "share of blink frames not in common"),
    ),
}
METRICS: dict[str, Metric] = {
    row[0]: Metric(group, scope, *row) for (group, scope), rows in _TABLE.items() for row in rows
}


def scoped(*scopes: str) -> list[Metric]:
    """All metrics of these scopes, in the order of the table."""
    return [metric for metric in METRICS.values() if metric.scope in scopes]


def shown(value: float | None, spread: float | None = None) -> str:
    """A value for people: about three digits, followed by its spread; "-" for None."""
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2 if abs(value) >= 0.9995 else 3
    plain = f"{value:.{digits}f}" if value == 0 or abs(value) >= 0.0005 else f"{value:.1e}"
    plain = "0" if float(plain) == 0 else plain
    return f"{plain} ± {shown(spread)}" if spread is not None and spread > 0 else plain
