"""From clips to one result as plain JSON values: populations, means and spreads, curves over time, pictures."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from ..errors import DiffusedHeadsError
from .measure import ENVELOPE, GroupFigures, Settings
from .meters import SideFigures
from .metrics.faces import bridged
from .metrics.frechet import Moments, Sample, degradation_rate, frechet_distance, kernel_distance
from .metrics.names import METRICS, scoped

FORMAT, VERSION = "diffused-heads-evaluation", 1
TRACES, TRACE_SECONDS, SHEETS = 3, 8.0, 6
DIGITS = 6
DRIFTING = ("sharpness", "f_mse", "ofm", "background_change", "ssim", "psnr", "background_error", "face_similarity")


@dataclass
class Population:
    """All clips of one side.

    moments: of the frame features of all frames, the first and the last ones; inception, i3d, sample: of the features
    of supplied networks; flow: summed over frames, (64, 64).
    """

    moments: list[Moments] = field(default_factory=list)
    inception: Moments | None = None
    i3d: Moments | None = None
    sample: Sample = field(default_factory=Sample)
    flow: np.ndarray | float = 0.0
    frames: int = 0

    def add(self, side: SideFigures) -> None:
        """Add one clip."""
        self.moments = self.moments or [Moments.empty(len(side.moments[0].total)) for _ in side.moments]
        for mine, more in zip(self.moments, side.moments):
            mine.add(more)
        if side.inception is not None:
            self.inception = _added(self.inception, side.inception)
            self.sample.add(side.inception)
        if side.i3d is not None:
            self.i3d = _added(self.i3d, side.i3d)
        self.flow = side.flow * side.frames + self.flow
        self.frames += side.frames

    def mean_flow(self) -> list[list[float]]:
        """Mean flow of all frames, px per frame, rounded for JSON."""
        return [[float(f"{v:.3g}") for v in row] for row in np.asarray(self.flow) / self.frames]


def _added(moments: Moments | None, rows: np.ndarray) -> Moments:
    found = Moments.of(rows)
    if moments is not None:
        found.add(moments)
    return found


@dataclass
class Curve:
    """A figure over the clips' seconds: count, sum and sum of squares of the clips' means in each second."""

    sums: np.ndarray = field(default_factory=lambda: np.zeros((3, 0)))

    def add(self, values: np.ndarray, fps: float) -> None:
        """Add one clip's values (T,), one per frame, NaN if unknown; a last part below half a second is left out."""
        step = max(1, round(fps))
        seconds = max(1, round(len(values) / step))
        parts = [values[i * step : (i + 1) * step] for i in range(seconds)]
        means = np.array([np.nanmean(p) if np.isfinite(p).any() else np.nan for p in parts])
        known = np.isfinite(means)
        if len(means) > self.sums.shape[1]:
            self.sums = np.pad(self.sums, ((0, 0), (0, len(means) - self.sums.shape[1])))
        filled = np.where(known, means, 0)
        self.sums[:, : len(means)] += np.stack([known, filled, filled**2])

    def result(self) -> dict[str, list[float | None]]:
        """Mean and spread (standard deviation over clips) of each second."""
        count, total, squares = self.sums
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / count
            spread = np.sqrt(np.maximum(squares / count - mean**2, 0))
        return {"mean": [number(v) for v in mean], "spread": [number(v) for v in spread]}


class Totals:
    """Gathers groups: ``add`` each, then ``result``. Keeps numbers and a few small pictures."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.generated, self.reference = Population(), Population()
        self.rows: list[dict[str, Any]] = []
        self.reference_rows: list[dict[str, float | None]] = []
        self.diversity: list[dict[str, float]] = []
        self.curves: dict[str, dict[str, Curve]] = {}
        self.traces: list[dict[str, Any]] = []
        self.sheets: list[dict[str, str]] = []
        self.seconds = 0.0

    def add(self, group: GroupFigures) -> None:
        """Add one group."""
        for i, side in enumerate(group.generated):
            self.generated.add(side)
            pair, series = (group.pairs[i], group.pair_series[i]) if group.pairs else ({}, {})
            values = _numbers({**side.values, **pair})
            self.rows.append({"clip": group.takes[i], "frames": side.frames, "fps": number(group.fps), **values})
            self.seconds += side.frames / group.fps
            self._curve("generated", {**side.series, **series}, group.fps)
        if group.reference is not None:
            self._reference(group.reference, group.fps)
        self.diversity += [group.diversity] if group.diversity else []
        self._show(group)

    def add_reference(self, group: GroupFigures) -> None:
        """Add a reference clip without a partner, measured as the only take of a group."""
        self._reference(group.generated[0], group.fps)

    def _reference(self, side: SideFigures, fps: float) -> None:
        self.reference.add(side)
        self.reference_rows.append(_numbers(side.values))
        self._curve("reference", side.series, fps)

    def _curve(self, side: str, series: Mapping[str, np.ndarray], fps: float) -> None:
        for name in DRIFTING:
            if name in series and np.isfinite(series[name]).any():
                self.curves.setdefault(name, {}).setdefault(side, Curve()).add(series[name], fps)

    def _show(self, group: GroupFigures) -> None:
        made, length = group.generated[0], round(TRACE_SECONDS * group.fps)
        if len(self.traces) < TRACES and (bridged(made.mouth) is not None or bridged(group.mouth) is not None):
            tracks = {"generated": made.mouth[:length], "truth": group.mouth[:length]}
            tracks["envelope"] = group.envelope[: ENVELOPE * length]
            values = {name: [number(v) for v in track] for name, track in tracks.items()}
            self.traces.append({"clip": group.takes[0], "fps": number(group.fps), **values})
        if len(self.sheets) < SHEETS:
            rows = [made.thumbnails, *([group.reference.thumbnails] if group.reference is not None else [])]
            words = "generated above, reference below" if len(rows) > 1 else "generated"
            self.sheets.append({"clip": group.takes[0], "rows": words, "jpeg": sheet(rows)})

    def result(self, about: Mapping[str, Any], notes: Iterable[str] = ()) -> dict[str, Any]:
        """Everything as JSON values; about: what was measured. Raises DiffusedHeadsError if nothing was added."""
        if not self.rows:
            raise DiffusedHeadsError("evaluation: expected at least one clip, found none")
        values = {**self._of_clips(), **self._of_populations(), **self._of_takes()}
        missing = {name: self._reason(name) for name in METRICS if name not in values}
        curves = {name: {side: c.result() for side, c in sides.items()} for name, sides in self.curves.items()}
        sides = {"generated": self.generated, "reference": self.reference}
        return {
            "format": FORMAT,
            "version": VERSION,
            "about": dict(about),
            "notes": list(notes),
            "clips": len(self.rows),
            "references": len(self.reference_rows),
            "frames": self.generated.frames,
            "seconds": number(self.seconds),
            "metrics": {name: values[name] for name in METRICS if name in values},
            "not_measured": missing,
            "rows": self.rows,
            "drift": curves,
            "flow": {side: population.mean_flow() for side, population in sides.items() if population.frames},
            "traces": self.traces,
            "sheets": self.sheets,
        }

    def _of_clips(self) -> dict[str, dict[str, Any]]:
        found = {}
        for metric in scoped("clip", "pair"):
            mine = _known(row.get(metric.name) for row in self.rows)
            true = _known(row.get(metric.name) for row in self.reference_rows)
            ideal = metric.ideal if metric.scope == "pair" else number(np.mean(true)) if true else None
            if mine:
                found[metric.name] = _figure(mine, ideal)
        return found

    def _of_populations(self) -> dict[str, dict[str, Any]]:
        mine, true = self.generated, self.reference
        if not true.frames:
            return {}
        found = {
            "frechet": frechet_distance(mine.moments[0], true.moments[0]),
            "degradation": degradation_rate((mine.moments[1], true.moments[1]), (mine.moments[2], true.moments[2])),
        }
        if mine.inception and true.inception:
            found |= {
                "fid": frechet_distance(mine.inception, true.inception),
                "kid": kernel_distance(mine.sample.array(), true.sample.array()),
            }
        if mine.i3d and true.i3d:
            found["fvd"] = frechet_distance(mine.i3d, true.i3d)
        return {
            name: {"value": number(v), "spread": None, "count": len(self.rows), "reference": METRICS[name].ideal}
            for name, v in found.items()
            if math.isfinite(v)
        }

    def _of_takes(self) -> dict[str, dict[str, Any]]:
        known = {metric.name: _known(row.get(metric.name) for row in self.diversity) for metric in scoped("takes")}
        return {name: _figure(values, None) for name, values in known.items() if values}

    def _reason(self, name: str) -> str:
        """Why a metric has no value."""
        metric, network = METRICS[name], _NETWORKS.get(name)
        if network is not None and getattr(self.settings.networks, network) is None:
            return f"needs weights (--{network} FILE --trust-torchscript)"
        if metric.scope == "takes" and not self.diversity:
            return "needs several takes of a clip, made with different seeds"
        if metric.scope in ("pair", "population") and not self.reference_rows:
            return "needs references"
        if metric.scope == "pair" and not any("ssim" in row for row in self.rows):
            return "needs references that are paired with the clips"
        if self.settings.readers is None and name in _FROM_LANDMARKS:
            return self.settings.no_readers
        return _REASONS.get(name, _NO_FACE if name in _FROM_LANDMARKS else "no clip has it")


_NETWORKS = {
    **dict.fromkeys(("av_offset", "av_confidence"), "syncnet"),
    **dict.fromkeys(("fid", "kid"), "inception"),
    "fvd": "i3d",
}
_FROM_LANDMARKS = {
    *("mouth_r", "mouth_lag", "lmd", "eye_error", "mouth_error", "sharpness_eyes"),
    *("blinks_per_second", "blink_duration", "diversity_pose", "diversity_blink"),
}
_NO_FACE = "no face was found in at least half of the frames"
_REASONS = {
    "blink_duration": "nobody blinks",
    "degradation": "the first frames equal the truth's, so the rate has no bound",
    "cpbd": "no edges",
    "fvd": "needs two runs of 16 frames on either side",
    **dict.fromkeys(("av_offset", "av_confidence"), "needs sound, 25 frames/s and more than 1.4 s"),
    **dict.fromkeys(("ofm", "ofm_released", "f_mse"), "needs two frames"),
}


def number(value: float | np.floating | None) -> float | None:
    """A float with DIGITS significant digits for JSON; None if it is not finite."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")


def _figure(values: list[float], reference: float | None) -> dict[str, Any]:
    """Mean and spread of one metric over clips."""
    spread = number(np.std(values))
    return {"value": number(np.mean(values)), "spread": spread, "count": len(values), "reference": reference}


def _numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: number(value) for name, value in values.items()}


def _known(values: Iterable[float | None]) -> list[float]:
    return [v for v in values if v is not None and math.isfinite(v)]


def sheet(rows: list[list[np.ndarray]]) -> str:
    """Rows of small frames as one JPEG in base 64; shorter rows end in white."""
    columns, (height, width) = max(map(len, rows)), rows[0][0].shape[:2]
    page = np.full((len(rows) * height, columns * width, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, frame in enumerate(row):
            page[i * height : (i + 1) * height, j * width : (j + 1) * width] = cv2.resize(frame, (width, height))
    done, data = cv2.imencode(".jpg", page[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    if not done:
        raise DiffusedHeadsError("contact sheet: this OpenCV cannot encode JPEG")
    return base64.b64encode(data.tobytes()).decode("ascii")
