"""One model from several of one architecture, by averaging their weights (WiSE-FT, Wortsman et al., CVPR 2022).

``python -m diffused_heads.training.tools.average TARGET MODEL=WEIGHT MODEL=WEIGHT …``

A fine-tuned model and the model that it started from lie in the same basin of the loss. Their average keeps abilities
of the first model on pictures that the data of the second one does not contain. Weights are divided by their sum.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...diffused_heads_core.checkpoints import Checkpoint, find_model, load, save
from ...diffused_heads_core.errors import DiffusedHeadsError
from ..provenance import code, parent


def average(models: Sequence[tuple[str, Checkpoint, float]]) -> Checkpoint:
    """The weighted mean, in float32, of models given as (name, checkpoint, share); its summary lists them.

    Raises DiffusedHeadsError for shares that are not positive and finite, and for models whose licence, settings or
    tensors differ.
    """
    first, base, _ = models[0]
    expected = {key: value.shape for key, value in base.tensors.items()}
    for name, model, share in models:
        if not 0 < share < math.inf:
            raise DiffusedHeadsError(f"{name}: expected a share above 0, found {share}")
        if model.licence != base.licence:
            raise DiffusedHeadsError(f"{name}: expected the licence of {first}, {base.licence}, found {model.licence}")
        if model.config != base.config or {key: value.shape for key, value in model.tensors.items()} != expected:
            raise DiffusedHeadsError(f"{name}: expected the architecture and settings of {first}, found others")
    total = sum(share for _, _, share in models)
    sums = {key: sum(model.tensors[key].float() * (share / total) for _, model, share in models) for key in expected}
    parents = [{**parent(name, model), "share": round(share / total, 4)} for name, model, share in models]
    data = {source: None for each in parents for source in str(each.get("data", "unknown")).split("; ")}
    summary = {"preset": base.summary.get("preset"), "data": "; ".join(data), **code(), "average of": parents}
    return replace(base, tensors=sums, summary=summary)


def main(argv: list[str] | None = None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="the checkpoint to write")
    parser.add_argument(
        "models", nargs="+", metavar="MODEL=WEIGHT", help="a bundled model's name or a checkpoint, and its share"
    )
    options = parser.parse_args(argv)
    models = []
    for given in options.models:
        name, _, share = given.rpartition("=")
        try:
            weight = float(share)
        except ValueError:
            parser.error(f"{given}: expected MODEL=WEIGHT with a number for the weight")
        models.append((name, load(find_model(name)), weight))
    save(options.target, average(models))


if __name__ == "__main__":
    main()
