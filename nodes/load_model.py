"""Node: Load Diffused Heads Model."""

from __future__ import annotations

import logging
import os
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..diffused_heads_core import checkpoints
from ..diffused_heads_core.errors import DiffusedHeadsError
from . import model_files, runtime
from .sockets import MODEL, PARTS, Model

_log = logging.getLogger(__name__)


def register_folder() -> None:
    """Register models/diffused_heads with the host, and make the folder, so that users see where models go."""
    folder = os.path.join(folder_paths.models_dir, model_files.FOLDER)
    folder_paths.add_model_folder_path(model_files.FOLDER, folder)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        _log.debug("%s cannot be made: %s", folder, error)


def files() -> list[str]:
    """The files in models/diffused_heads."""
    return folder_paths.get_filename_list(model_files.FOLDER)


def path_of(name: str) -> str:
    """The file of a name in the list; raises DiffusedHeadsError if the name is not in it."""
    bundled = checkpoints.bundled_models()
    if name in bundled:
        return str(bundled[name])
    problem = model_files.refusal(name, files())
    if problem:
        raise DiffusedHeadsError(f"model_name: {problem}")
    return folder_paths.get_full_path_or_raise(model_files.FOLDER, name)


class LoadModel(io.ComfyNode):
    """Loads a model and hands it to the host's memory management."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DH_LoadModel",
            display_name="Load Diffused Heads Model",
            category=PARTS,
            description="Loads a talking-head model: a bundled one, or a checkpoint from models/diffused_heads.",
            search_aliases=["checkpoint", "load model", "model loader"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    display_name="model",
                    options=model_files.choices(files()),
                    tooltip="A bundled model, or a .safetensors checkpoint in ComfyUI's models/diffused_heads folder. "
                    "Checkpoints as released by the paper's authors (.pt, .ckpt) must be converted first: "
                    "diffused-heads convert.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(runtime.PRECISIONS),
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="Number format that the network computes in. Auto takes half precision on graphics cards "
                    "where it is fast, float32 elsewhere. On the CPU it is always float32.",
                ),
                io.Boolean.Input(
                    "trust_torchscript",
                    display_name="trust TorchScript",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Only for converted models of the paper's authors: run the TorchScript program that is "
                    "their audio encoder. Such a program can do anything on your computer, so switch this on only for "
                    "files that you trust.",
                ),
            ],
            outputs=[
                io.Custom(MODEL).Output(
                    "model", tooltip="The model, for Load Identity, Encode Audio and Diffused Heads Sampler."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, model_name: str | None = None) -> bool | str:
        """Refuse unknown names, and files that need conversion, before anything runs.

        The name is None if it comes from another node.
        """
        if model_name is None or model_name in checkpoints.bundled_models():
            return True
        return model_files.refusal(model_name, files()) or True

    @classmethod
    def fingerprint_inputs(cls, model_name: str | None = None, **more: Any) -> str:
        """Load again if the file was replaced. The name is None if it comes from another node."""
        if model_name is None:
            return ""
        try:
            return model_files.fingerprint(path_of(model_name))
        except (DiffusedHeadsError, OSError):  # the run says what is wrong
            return "missing"

    @classmethod
    def execute(cls, model_name: str, precision: str = "auto", trust_torchscript: bool = False) -> io.NodeOutput:
        return io.NodeOutput(load(model_name, precision, trust_torchscript))


def load(name: str, precision: str = "auto", trust_torchscript: bool = False) -> Model:
    """The model of a name in the list, which the host's memory management moves.

    precision: one of ``runtime.PRECISIONS``. Raises DiffusedHeadsError as ``path_of`` and ``load_model``.
    """
    head = model_files.load(path_of(name), trust_torchscript)
    patcher = runtime.manage(head)
    head.to(dtype=runtime.choose_dtype(precision, patcher.load_device))
    return Model(name, head, patcher)
