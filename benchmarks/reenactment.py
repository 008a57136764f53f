"""A model on real people: each clip's first frame speaks the clip's own sound, and is measured against the clip.

    python benchmarks/reenactment.py FOLDER                                   # a sub-folder of clips per person
    python benchmarks/reenactment.py FOLDER --clips-per-person 2 --model runs/mine/model.safetensors --out output/mine
    python benchmarks/reenactment.py PHOTOGRAPHS --speech RECORDING           # no true clips (photographs.py)

Needs clips with one talking face and sound, and the face networks (downloaded on first use). The finished pictures of
``diffused_heads.animate`` are measured, at the clip's frame rate; the same network reads landmarks in them and in the
true frames. Readings of true clips are kept in output/readings. With PocketSphinx (``pip install pocketsphinx``) and
known words (phones.py) the lips at /p b m/ are measured too.

Prints means over people with confidence intervals, and each clip's figures (reenactment_report.LEGEND explains them).
Writes to --out: results.json, a video of each clip, heads.jpg, and a sheet of mouths at 3x per person; the true frames
are above the generated ones.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import mouth_sheets
import numpy as np
import phones
import photographs
import reenactment_figures
import reenactment_report
import sections
from reenactment_clips import Clip, find_clips, read_clip, see, see_once, speak
from tqdm import tqdm

from diffused_heads import load_model
from diffused_heads.diffused_heads_core import checkpoints
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.evaluation.metrics import lips
from diffused_heads.diffused_heads_core.face.finder import FaceFinder
from diffused_heads.diffused_heads_core.files import atomic_path
from diffused_heads.diffused_heads_core.media.pictures import save_picture
from diffused_heads.diffused_heads_core.media.video import write_video
from diffused_heads.diffused_heads_core.talking_head import TalkingHead

ROOT = Path(__file__).resolve().parents[1]
READINGS = ROOT / "output" / "readings"
HEAD = 192  # px in heads.jpg
EPILOG = "figures:\n" + reenactment_report.LEGEND


class Benchmark:
    """Makes and measures clips one after the other, and gathers the sheets."""

    def __init__(self, model: TalkingHead, seed: int, options: dict[str, Any], out: Path) -> None:
        """seed: of the first clip; the others have the next seeds, and so other head motions."""
        self._model, self._seed, self._options, self._out = model, seed, options, out
        self._finder, self._heads = FaceFinder(), []
        self._mouths: dict[str, list[np.ndarray]] = {}
        self.pairs: list[reenactment_figures.Pair] = []

    def add(self, clip: Clip) -> None:
        """Make and measure a clip; errors of ``speak``."""
        animation, made = speak(clip, self._model, self._seed + len(self.pairs), self._options)
        true, found = see_once(clip, self._finder, READINGS), see(made, self._finder)
        pair = reenactment_figures.pair_of(clip.person, clip.name, clip.fps, clip.frames, made, true, found)
        placement = animation.portrait.placement
        pair.row.update(reenactment_figures.movement(true, found, min(made.shape[1:3]), clip.fps))
        pair.row.update(reenactment_figures.closing(true, found, spoken_spans(clip)))
        pair.row.update(reenactment_figures.looks(pair))
        pair.row["sharp"] = reenactment_figures.face_sharpness([clip.frames[0], *made], placement)
        self.pairs.append(pair)
        write_video(self._out / f"{clip.name}.mp4", iter(made), clip.fps, clip.audio)
        self._heads += [mouth_sheets.heads(frames, placement, HEAD) for frames in (clip.frames, made)]
        mouths = mouth_sheets.mouth_rows([(clip.frames, true.marks), (made, found.marks)])
        self._mouths.setdefault(clip.person, []).append(mouths)

    def rows(self) -> list[dict[str, Any]]:
        """A row of figures per clip; writes the sheets."""
        reenactment_figures.compare_clips(self.pairs)
        reenactment_figures.tell_apart(self.pairs)
        save_picture(self._out / "heads.jpg", mouth_sheets.stacked(self._heads))
        for person, found in self._mouths.items():
            save_picture(self._out / f"mouths-{person}.png", mouth_sheets.stacked(found))
        return [{"person": pair.person, "clip": pair.name, **pair.row} for pair in self.pairs]


def spoken_spans(clip: Clip) -> list[lips.Span] | None:
    """Frames of /p b m/ in a clip; None if the words are unknown or nothing can align them."""
    words = phones.words_of(clip.path)
    if words is None or not phones.can_align():
        return None
    return lips.spans_of(phones.bilabials(clip.audio, words), float(clip.fps))


def run(asked: argparse.Namespace, model: TalkingHead, options: dict[str, Any]) -> dict[str, Any]:
    """Measure all clips of the folder: model, settings, figures by clip and by person, and means."""
    benchmark = Benchmark(model, asked.seed, options, asked.out)
    for person, path in tqdm(find_clips(asked.folder, asked.clips_per_person), unit="clip"):
        try:
            benchmark.add(read_clip(path, person, asked.seconds))
        except DiffusedHeadsError as error:
            tqdm.write(f"left out: {error}")
    if not benchmark.pairs:
        raise DiffusedHeadsError(f"{asked.folder}: expected clips with speech and a face, found none")
    rows = benchmark.rows()
    digest = hashlib.sha256(checkpoints.find_model(asked.model).read_bytes()).hexdigest()
    settings = {"model": str(asked.model), "sha256": digest, "seconds": asked.seconds, "seed": asked.seed}
    settings["data"] = asked.data
    return {**settings, "options": options, **reenactment_report.summary(rows), "clips": rows}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = options.add_argument
    add("folder", type=Path, help="clips, or photographs with --speech")
    add("--speech", type=Path, help="a recording for photographs to speak")
    add("--model", default="portrait")
    add("--clips-per-person", type=int, metavar="N", help="the first N of each person")
    add("--seconds", type=float, default=5.0, help="at most this much of each clip")
    add("--steps", type=int)
    add("--motion-anchor", type=float, help="the first frame's share in the motion frames (default: the model's own)")
    add("--seed", type=int, default=0, help="of the first clip; the others have the next seeds, and other head motions")
    add("--out", type=Path, default=ROOT / "output" / "reenactment")
    add("--data", default="real people", help="what the clips are, for RESULTS.md")
    add("--write", action="store_true", help="also write the part of RESULTS.md")
    return options


def main() -> None:
    """Print the tables, or one line if there is nothing to measure."""
    asked = parser().parse_args()
    try:
        print(measure(asked))
    except DiffusedHeadsError as error:
        parser().error(str(error))


def measure(asked: argparse.Namespace) -> str:
    """Measure clips or photographs, write the results, and give the tables."""
    options = {name: getattr(asked, name) for name in ("steps", "motion_anchor") if getattr(asked, name) is not None}
    asked.out.mkdir(parents=True, exist_ok=True)
    model = load_model(asked.model)
    if asked.speech is not None:
        chosen = (asked.folder, asked.speech, model, asked.seconds, asked.seed, options, asked.out)
        results: dict[str, Any] = {"model": str(asked.model), "photographs": photographs.measure(*chosen)}
        text = photographs.table(results["photographs"])
    else:
        results = run(asked, model, options)
        by_clip = reenactment_report.rows_table(results["clips"], ["clip"])
        text = "\n\n".join([reenactment_report.figures_table(results["mean"]), by_clip])
        if asked.write:
            sections.write("reenactment", reenactment_report.document(results))
    with atomic_path(asked.out / "results.json") as part:
        part.write_text(json.dumps(reenactment_report.for_json(results), indent=2) + "\n", encoding="utf-8")
    return text


if __name__ == "__main__":
    main()
