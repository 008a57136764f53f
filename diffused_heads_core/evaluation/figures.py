"""Figures of a result, drawn from its JSON values alone, with matplotlib (the extra ``evaluate``).

``figure_of(width, height)`` in inches makes an empty matplotlib figure; functions return None if there is nothing to
draw.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from ..errors import DiffusedHeadsError
from .measure import ENVELOPE
from .metrics.names import METRICS, shown

GENERATED, TRUTH, SOUND, INK = "#2563a8", "#c2570c", "#d5d9df", "#262a31"
SIDES = {"generated": GENERATED, "reference": TRUTH}
LINES = {"generated": "-", "reference": (0, (4, 2))}  # the reference is dashed
COLUMNS = 4
GREY = "#5b626d"
WIDTH = 11.0  # inches of a figure
_STYLE = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "figure.facecolor": "white",
    "axes.edgecolor": "#9aa1ab",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "svg.hashsalt": "diffused-heads",
    "svg.fonttype": "path",
}


def require_matplotlib() -> Any:
    """matplotlib; raises DiffusedHeadsError that names the extra if it is not installed."""
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError as error:
        raise DiffusedHeadsError('a report needs matplotlib: pip install "diffused-heads[evaluate]"') from error
    return matplotlib


class Style:
    """``with Style() as figure_of:`` makes figures in the report's style; the user's matplotlib settings stay."""

    def __enter__(self) -> Any:
        matplotlib = require_matplotlib()
        self._context = matplotlib.rc_context(_STYLE)
        self._context.__enter__()
        return lambda width, height: matplotlib.figure.Figure(figsize=(width, height), layout="constrained")

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)


def bars(result: Mapping[str, Any], figure_of: Any) -> Any:
    """A small panel per metric: the generated clips' bar and, below it, the truth's or the ideal's."""
    names = [n for n in result["metrics"] if result["metrics"][n]["value"] is not None]
    rows = -(-len(names) // COLUMNS)
    height = 0.92 * rows + 0.15
    figure = figure_of(WIDTH, height)
    figure.set_layout_engine("none")
    grid = {"left": 0.01, "right": 0.99, "top": 1 - 0.4 / height, "bottom": 0.01, "hspace": 1.0, "wspace": 0.12}
    panels = figure.subplots(rows, COLUMNS, squeeze=False, gridspec_kw=grid)
    for panel in panels.flat[len(names) :]:
        panel.set_axis_off()
    for name, panel in zip(names, panels.flat):
        _bar(panel, name, result["metrics"][name])
    return figure


def _bar(panel: Any, name: str, figure: Mapping[str, Any]) -> None:
    metric, true, spread = METRICS[name], figure["reference"], figure["spread"] or 0.0
    values: list[float] = [figure["value"], *([true] if true is not None else [])]
    places = [1.0, 0.0][: len(values)]
    panel.barh(places, values, 0.78, color=[GENERATED, TRUTH][: len(values)])
    if spread:
        panel.errorbar(values[0], 1.0, xerr=spread, color=INK, lw=1, capsize=2)
    ends = [max(values[0], 0) + spread, *(max(v, 0) for v in values[1:])]
    low, high = min(0.0, *values), max(0.0, *ends)
    reach = max(high - low, 1e-9)
    panel.set_xlim(low - 0.02 * reach, high + 0.5 * reach)
    for place, value, end in zip(places, values, ends):
        panel.text(end + 0.05 * reach, place, shown(value), va="center", fontsize=8.5)
    panel.set_ylim(-0.6, 1.6)
    panel.set_yticks([])
    panel.set_xticks([])
    panel.spines[["left", "bottom"]].set_visible(False)
    panel.axvline(0, color="#9aa1ab", lw=0.8)
    panel.set_title(f"{metric.title}\n", fontsize=8.5, pad=-7)
    above = {"xytext": (0, 3), "xycoords": "axes fraction", "textcoords": "offset points"}
    panel.annotate(metric.aim, (0, 1.0), **above, fontsize=7, color=GREY)


def drift(result: Mapping[str, Any], figure_of: Any) -> Any:
    """Figures over the clips' time, second by second: mean and, as a band, the standard deviation over clips."""
    curves = {name: sides for name, sides in result["drift"].items() if max(len(s["mean"]) for s in sides.values()) > 1}
    if not curves:
        return None
    rows = -(-len(curves) // COLUMNS)
    figure = figure_of(WIDTH, 2.1 * rows)
    panels = figure.subplots(rows, COLUMNS, squeeze=False)
    for panel in panels.flat[len(curves) :]:
        panel.set_axis_off()
    for (name, sides), panel in zip(curves.items(), panels.flat):
        _curve(panel, name, sides)
    for panel in panels[-1]:
        panel.set_xlabel("seconds")
    return figure


def _curve(panel: Any, name: str, sides: Mapping[str, Any]) -> None:
    for side, curve in sides.items():
        middle, spread = _values(curve["mean"]), _values(curve["spread"])
        seconds, marker = np.arange(len(middle)) + 0.5, "o" if len(middle) < 12 else None
        panel.fill_between(seconds, middle - spread, middle + spread, color=SIDES[side], alpha=0.18, lw=0)
        panel.plot(seconds, middle, color=SIDES[side], lw=1.6, ls=LINES[side], marker=marker, ms=3)
    panel.set_title(METRICS[name].title)
    panel.set_xlim(0, max(len(c["mean"]) for c in sides.values()))
    if METRICS[name].limits[0] == 0 and panel.get_ylim()[0] < 0:
        panel.set_ylim(bottom=0)


def _values(row: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in row])


def flow(result: Mapping[str, Any], figure_of: Any) -> Any:
    """Where the picture moves: mean optical flow of all frames, both sides on one scale, and their difference.

    Colours follow the root of the length; otherwise all but the mouth, which moves most, would be black.
    """
    maps = {side: np.array(values) for side, values in result["flow"].items()}
    if not maps:
        return None
    import matplotlib.colors as colours

    figure = figure_of(WIDTH, 3.3)
    panels = figure.subplots(1, 3, squeeze=False)[0]
    top = max(float(m.max()) for m in maps.values()) or 1.0
    for (side, values), panel in zip(maps.items(), panels):
        image = panel.imshow(values, cmap="magma", norm=colours.PowerNorm(0.5, 0, top), interpolation="bilinear")
        panel.set_title("generated" if side == "generated" else "ground truth")
        figure.colorbar(image, ax=panel, label="px per frame", shrink=0.9, pad=0.02)
    if len(maps) == 2:
        more = maps["generated"] - maps["reference"]
        reach = float(np.abs(more).max()) or 1.0
        image = panels[2].imshow(more, cmap="RdBu_r", vmin=-reach, vmax=reach, interpolation="bilinear")
        panels[2].set_title("generated minus ground truth")
        figure.colorbar(image, ax=panels[2], label="px per frame", shrink=0.9, pad=0.02)
    for number, panel in enumerate(panels):
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_visible(False)
        panel.set_visible(number < (3 if len(maps) == 2 else 1))
    return figure


def traces(result: Mapping[str, Any], figure_of: Any) -> Any:
    """Mouth openings over the sound's waveform, a panel per clip."""
    clips = result["traces"]
    if not clips:
        return None
    figure = figure_of(WIDTH, 1.75 * len(clips))
    panels = figure.subplots(len(clips), 1, squeeze=False)[:, 0]
    for clip, panel in zip(clips, panels):
        _trace(panel, clip)
    panels[-1].set_xlabel("seconds")
    if panels[0].get_legend_handles_labels()[1]:
        place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.2}
        panels[0].legend(**place, fontsize=8.5, frameon=False, ncols=2)
    return figure


def _trace(panel: Any, clip: Mapping[str, Any]) -> None:
    made, true = _values(clip["generated"]), _values(clip["truth"])
    known = np.concatenate([v[np.isfinite(v)] for v in (made, true)])
    top = float(known.max()) if known.size and known.max() > 0 else 1.0
    loud = np.array(clip["envelope"], float)
    if loud.size:
        moments = (np.arange(loud.size) + 0.5) / (ENVELOPE * clip["fps"])
        swing = 0.5 * top * loud / max(float(loud.max()), 1e-9)
        panel.fill_between(moments, 0.5 * top - swing, 0.5 * top + swing, color=SOUND, lw=0)
    for values, side, label in ((true, "reference", "ground truth"), (made, "generated", "generated")):
        if np.isfinite(values).any():
            moments = (np.arange(len(values)) + 0.5) / clip["fps"]
            panel.plot(moments, values, color=SIDES[side], lw=1.4, ls=LINES[side], label=label)
    panel.set_title(clip["clip"])
    panel.set_xlim(0, max(len(made), 1) / clip["fps"])
    panel.set_ylim(-0.03 * top, 1.08 * top)
    panel.set_ylabel("mouth")


FIGURES = {"bars": bars, "drift": drift, "traces": traces, "flow": flow}


def heading(title: str, words: str, figure_of: Any) -> Any:
    """A line of text and a smaller one, for above a figure in a picture."""
    figure = figure_of(WIDTH, 0.44)
    figure.set_layout_engine("none")
    figure.text(0.012, 0.95, title, fontsize=11, fontweight="bold", va="top")
    figure.text(0.012, 0.08, words, fontsize=9, color=GREY, va="bottom")
    return figure


def svg(figure: Any) -> str:
    """A figure as an SVG element, the same for the same figure."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def picture(figure: Any, dpi: int = 110) -> np.ndarray:
    """A figure as uint8 (H, W, 3) RGB."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def sheet_picture(text: str) -> np.ndarray:
    """A contact sheet, JPEG in base 64, as uint8 (H, W, 3) RGB."""
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded[..., ::-1]
