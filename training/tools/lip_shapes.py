"""Fit the lip shape of a model anew; its audio encoder and its painter stay as they are.

``python -m diffused_heads.training.tools.lip_shapes MODEL DATA [DATA ...] --out FILE [--weights W ...]``
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...diffused_heads_core.checkpoints import Checkpoint, find_model, load, save
from ...diffused_heads_core.errors import DiffusedHeadsError
from ...diffused_heads_core.mouth.lip_shape import LipShape
from ..mouth.presets import new_mouth
from ..mouth.trainer import MouthJob, MouthTrainer

PREFIX = "lip_shape."  # of its tensors in a checkpoint


def with_lip_shape(checkpoint: Checkpoint, shape: LipShape) -> Checkpoint:
    """The checkpoint with another lip shape. Raises DiffusedHeadsError if it does not paint the mouth alone."""
    if checkpoint.config.mouth is None:
        raise DiffusedHeadsError("expected a model that paints the mouth alone, found one of whole frames")
    kept = {name: tensor for name, tensor in checkpoint.tensors.items() if not name.startswith(PREFIX)}
    return replace(checkpoint, tensors=kept | {f"{PREFIX}{n}": tensor for n, tensor in shape.state_dict().items()})


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a bundled model or a checkpoint that paints the mouth alone")
    parser.add_argument("data", type=Path, nargs="+", help="datasets with face meshes, real people first")
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint that is written")
    parser.add_argument("--weights", type=float, nargs="+", help="of the datasets (default: equal)")
    options = parser.parse_args(argv)
    path = find_model(options.model)
    checkpoint = load(path)
    with tempfile.TemporaryDirectory() as run:
        config = replace(new_mouth(checkpoint.config.audio), model=checkpoint.config)
        others, weights = tuple(options.data[1:]), tuple(options.weights or ())
        job = MouthJob(options.data[0], Path(run), config, start=path, others=others, weights=weights, fit_lips=True)
        shape = MouthTrainer(job).lip_shape.cpu()
    save(options.out, with_lip_shape(checkpoint, shape), "float16")


if __name__ == "__main__":
    main()
