"""Models of one architecture made one by averaging their weights (WiSE-FT, Wortsman et al., CVPR 2022).

``python -m diffused_heads.training.average TARGET MODEL=WEIGHT MODEL=WEIGHT …``

A model that was trained on lies in the same basin as the one it came from; between them it keeps what the first did well on
pictures that the second one's data does not hold. Weights are shares: they are divided by their sum.
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..diffused_heads_core.checkpoints import Checkpoint, find_model, load, save
from ..diffused_heads_core.errors import DiffusedHeadsError
from .provenance import code, parent


def average(models: Sequence[tuple[str, Checkpoint, float]]) -> Checkpoint:
    """The weighted mean, in float32, of checkpoints (name, checkpoint, share > 0); its summary names them, first the preset
    and all data.

    Raises DiffusedHeadsError for shares that are not positive and for models whose licence, settings or tensors differ.
    """
    (first, base, _), total = models[0], sum(share for _, _, share in models)
    sums = {name: value.float() * 0 for name, value in base.tensors.items()}
    for name, model, share in models:
        if not share > 0:
            raise DiffusedHeadsError(f"{name}: expected a share above 0, found {share}")
        if model.licence != base.licence:
            raise DiffusedHeadsError(f"{name}: expected the licence of {first}, {base.licence}, found {model.licence}")
        shapes, expected = ({key: tuple(value.shape) for key, value in each.tensors.items()} for each in (model, base))
        if model.config != base.config or shapes != expected:
            raise DiffusedHeadsError(f"{name}: expected the architecture and settings of {first}, found others")
        for key, value in model.tensors.items():
            sums[key] += value.float() * (share / total)
    told = [{**parent(name, model), "share": round(share / total, 4)} for name, model, share in models]
    data = {source: None for each in told for source in str(each.get("data", "unknown")).split("; ")}
    return replace(base, tensors=sums, summary={"preset": base.summary.get("preset"), "data": "; ".join(data), **code(), "average of": told})


def main(argv: list[str] | None = None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="the checkpoint to write")
    parser.add_argument("models", nargs="+", metavar="MODEL=WEIGHT", help="a bundled model's name or a checkpoint, and its share")
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
