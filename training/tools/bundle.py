"""Makes the model of a run ready for bundling: half the size, with the measured figures in its summary.

``python -m diffused_heads.training.tools.bundle RUN/model.safetensors diffused_heads_core/assets/avatar.safetensors
[--figures results.json]``
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from ...diffused_heads_core.checkpoints import STORED, load, save
from ...diffused_heads_core.config import ModelConfig


def bundle(
    source: Path,
    target: Path,
    dtype: str = "float16",
    steps: int | None = None,
    sampler: str | None = None,
    figures: Path | None = None,
) -> None:
    """Write the checkpoint ``source`` as ``target`` with weights of ``dtype``.

    steps, sampler: other defaults for sampling; figures: JSON file that goes into the summary.
    """
    checkpoint = load(source)
    changes = {name: value for name, value in (("steps", steps), ("sampler", sampler)) if value is not None}
    config: ModelConfig = replace(checkpoint.config, **changes)
    measured = {"figures": json.loads(figures.read_text(encoding="utf-8"))} if figures else {}
    save(target, replace(checkpoint, config=config, summary={**checkpoint.summary, **measured}), dtype)


def main(argv: list[str] | None = None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--dtype", choices=sorted(STORED), default="float16")
    parser.add_argument("--steps", type=int, help="default number of denoising steps")
    parser.add_argument("--sampler", help="default sampler")
    parser.add_argument("--figures", type=Path, help="JSON of measured figures for the summary")
    options = parser.parse_args(argv)
    bundle(options.source, options.target, options.dtype, options.steps, options.sampler, options.figures)


if __name__ == "__main__":
    main()
