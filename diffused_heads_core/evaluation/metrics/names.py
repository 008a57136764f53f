"""All figures that an evaluation tells: what each is called, its unit and range, and which way it is good.

The formulas are in ``metrics_motion``, ``metrics_pictures``, ``metrics_faces``, ``metrics_features``,
``metrics_frechet`` and ``metrics_sync``; this file is the list that table, report and documentation share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

NEAR = "near the truth's"
UP, DOWN, ZERO, ONE, LIVELY = "higher is better", "lower is better", "0 is best", "1 is best", "higher is livelier"


@dataclass(frozen=True)
class Metric:
    """One figure. ``scope``: of a clip alone ("clip"), of a clip against its reference ("pair"), of two populations
    ("population"), or of several takes of one clip ("takes"). ``limits``: the least and the greatest value that it can
    have.
    """

    name: str
    label: str
    unit: str
    aim: str
    scope: str
    group: str
    limits: tuple[float, float]
    source: str

    @property
    def ideal(self) -> float | None:
        """The value that the truth has against itself; None where it is the truth's own, or lively without a limit."""
        if self.aim == UP:
            return self.limits[1] if math.isfinite(self.limits[1]) else None
        return {DOWN: 0.0, ZERO: 0.0, ONE: 1.0}.get(self.aim)


_INF = math.inf
_ROWS = (
    Metric(
        "mouth_r",
        "Mouth opening, correlation",
        "",
        UP,
        "pair",
        "Lip sync",
        (-1, 1),
        "Pearson's r of mouth opening with the truth's",
    ),
    Metric(
        "mouth_lag",
        "Mouth opening, lag",
        "frames",
        ZERO,
        "pair",
        "Lip sync",
        (-_INF, _INF),
        "lag of the highest r within 0.6 s; positive is late",
    ),
    Metric("lmd", "LMD, mouth landmarks", "px of 128", DOWN, "pair", "Lip sync", (0, _INF), "Chen et al. 2018"),
    Metric(
        "av_offset",
        "AV offset (SyncNet)",
        "frames",
        ZERO,
        "clip",
        "Lip sync",
        (-15, 15),
        "Chung & Zisserman 2016; needs weights",
    ),
    Metric(
        "av_confidence",
        "AV confidence (SyncNet)",
        "",
        UP,
        "clip",
        "Lip sync",
        (0, _INF),
        "Chung & Zisserman 2016; needs weights",
    ),
    Metric(
        "ofm", "OFM, optical flow", "px/frame", NEAR, "clip", "Motion", (0, _INF), "paper, appendix; Farneback 2003"
    ),
    Metric(
        "ofm_released",
        "OFM as the release computes it",
        "",
        NEAR,
        "clip",
        "Motion",
        (42, 171),
        "min-max-stretched, coloured flow",
    ),
    Metric("f_mse", "F-MSE", "levels²", NEAR, "clip", "Motion", (0, 65025), "paper, appendix"),
    Metric(
        "blinks_per_second",
        "Blinks a second",
        "1/s",
        NEAR,
        "clip",
        "Motion",
        (0, _INF),
        "eyes below 65% of the person's own usual opening",
    ),
    Metric("blink_duration", "Blink duration, median", "s", NEAR, "clip", "Motion", (0, 1), "width at half depth"),
    Metric("ssim", "SSIM", "", UP, "pair", "Picture", (-1, 1), "Wang et al. 2004"),
    Metric("psnr", "PSNR", "dB", UP, "pair", "Picture", (0, 100), "100 dB for equal frames"),
    Metric(
        "eye_error",
        "Eye-region error",
        "levels",
        DOWN,
        "pair",
        "Picture",
        (0, 255),
        "RMS difference around the true eyes",
    ),
    Metric(
        "mouth_error",
        "Mouth-region error",
        "levels",
        DOWN,
        "pair",
        "Picture",
        (0, 255),
        "RMS difference around the true mouth",
    ),
    Metric(
        "background_error",
        "Background error",
        "levels",
        DOWN,
        "pair",
        "Picture",
        (0, 255),
        "RMS difference in the four corners",
    ),
    Metric(
        "background_change",
        "Background change",
        "levels",
        NEAR,
        "clip",
        "Picture",
        (0, 255),
        "RMS difference to the clip's first frame in the corners",
    ),
    Metric("cpbd", "CPBD", "", NEAR, "clip", "Picture", (0, 1), "Narvekar & Karam 2011"),
    Metric("sharpness", "Sharpness", "levels²", NEAR, "clip", "Picture", (0, _INF), "variance of the Laplacian"),
    Metric(
        "sharpness_eyes",
        "Sharpness around the eyes",
        "levels²",
        NEAR,
        "clip",
        "Picture",
        (0, _INF),
        "variance of the Laplacian",
    ),
    Metric(
        "sharpness_ratio",
        "Sharpness ratio",
        "",
        ONE,
        "pair",
        "Picture",
        (0, _INF),
        "sharpness over the truth's; above 1 is artefact",
    ),
    Metric(
        "identity",
        "Identity preservation",
        "",
        UP,
        "pair",
        "Identity",
        (-1, 1),
        "cosine of the clips' mean face features (own extractor)",
    ),
    Metric(
        "frechet",
        "Fréchet distance, own features",
        "",
        DOWN,
        "population",
        "Population",
        (0, _INF),
        "Dowson & Landau 1982; not an FID",
    ),
    Metric(
        "degradation",
        "Degradation rate DR",
        "",
        ZERO,
        "population",
        "Population",
        (-1, _INF),
        "DAWN 2024, on own features",
    ),
    Metric("fid", "FID", "", DOWN, "population", "Population", (0, _INF), "Heusel et al. 2017; needs weights"),
    Metric("kid", "KID", "", DOWN, "population", "Population", (-_INF, _INF), "Bińkowski et al. 2018; needs weights"),
    Metric("fvd", "FVD", "", DOWN, "population", "Population", (0, _INF), "Unterthiner et al. 2018; needs weights"),
    Metric(
        "diversity_pixel",
        "Diversity over seeds, pixels",
        "levels",
        LIVELY,
        "takes",
        "Diversity",
        (0, 127.5),
        "RMS deviation from the takes' mean frame",
    ),
    Metric(
        "diversity_pose",
        "Diversity over seeds, pose",
        "eye distances",
        LIVELY,
        "takes",
        "Diversity",
        (0, _INF),
        "RMS deviation of the nose tip from the takes' mean",
    ),
    Metric(
        "diversity_blink",
        "Diversity over seeds, blinks",
        "",
        LIVELY,
        "takes",
        "Diversity",
        (0, 1),
        "share of blink frames that two takes do not share",
    ),
)
METRICS: dict[str, Metric] = {row.name: row for row in _ROWS}


def scoped(*scopes: str) -> list[Metric]:
    """All metrics of these scopes, in the order of the table."""
    return [metric for metric in _ROWS if metric.scope in scopes]
