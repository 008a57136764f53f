"""Stand-ins for the modules of ComfyUI that the nodes import, which take the real ones' parameters and no others.

SIGNATURES holds what the nodes call with the names of its parameters, as far as ComfyUI 0.12.1 and 0.33.0 (the oldest
and the newest that the README names) agree on them. Names before the slash may be given by position, in this order,
and must be given unless marked with a question mark; names after the slash are optional and given by keyword. A host
test compares this table with a running ComfyUI.
"""

from __future__ import annotations

import inspect
import os
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

PACKAGE = "diffused_heads.nodes"
INPUT = "id / display_name optional tooltip lazy extra_dict raw_link advanced"
WIDGET = f"{INPUT} default socketless"
OUTPUT = "id / display_name tooltip is_output_list"
SOCKETS = ("Image", "Mask", "Audio", "Video", "Custom")
WIDGETS = {
    "Boolean": f"{WIDGET} force_input label_on label_off",
    "Int": f"{WIDGET} force_input min max step control_after_generate display_mode",
    "Float": f"{WIDGET} force_input min max step round display_mode",
    "String": f"{WIDGET} force_input multiline placeholder dynamic_prompts",
    "Combo": f"{WIDGET} options control_after_generate upload image_folder remote",
}
SIGNATURES = {
    "io.Schema": "node_id / display_name category inputs outputs hidden description search_aliases is_input_list "
    "is_output_node is_deprecated is_experimental is_dev_only is_api_node price_badge not_idempotent enable_expand "
    "accept_all_inputs",
    "io.NodeOutput": "*args / ui expand block_execution",
    **{f"io.{kind}.Input": INPUT for kind in SOCKETS},
    **{f"io.{kind}.Input": names for kind, names in WIDGETS.items()},
    **{f"io.{kind}.Output": OUTPUT for kind in (*SOCKETS, *WIDGETS)},
    "ui.SavedResult": "filename subfolder type /",
    "ui.PreviewVideo": "values /",
    "ui.SavedImages": "results / is_animated",
    "Types.VideoComponents": "images frame_rate audio? metadata? /",
    "InputImpl.VideoFromFile": "file /",
    "InputImpl.VideoFromComponents": "components /",
    "comfy.model_management.get_free_memory": "dev? torch_free_too? /",
    "comfy.model_management.get_torch_device": "/",
    "comfy.model_management.intermediate_device": "/",
    "comfy.model_management.load_models_gpu": "models / memory_required force_patch_weights minimum_memory_required "
    "force_full_load",
    "comfy.model_management.should_use_bf16": "device? / model_params prioritize_performance manual_cast",
    "comfy.model_management.should_use_fp16": "device? / model_params prioritize_performance manual_cast",
    "comfy.model_management.soft_empty_cache": "/ force",
    "comfy.model_management.throw_exception_if_processing_interrupted": "/",
    "comfy.model_management.unet_offload_device": "/",
    "comfy.model_management.unload_all_models": "/",
    "comfy.model_patcher.CoreModelPatcher": "model load_device offload_device / size weight_inplace_update",
    "comfy.utils.ProgressBar": "total / node_id",
    "comfy.utils.ProgressBar.update_absolute": "value total? preview? /",
    "comfy_execution.utils.get_executing_context": "/",
    "folder_paths.add_model_folder_path": "folder_name full_folder_path / is_default",
    "folder_paths.get_filename_list": "folder_name /",
    "folder_paths.get_full_path_or_raise": "folder_name filename /",
    "folder_paths.get_input_directory": "/",
    "folder_paths.get_output_directory": "/",
    "folder_paths.get_save_image_path": "filename_prefix output_dir image_width? image_height? /",
    "folder_paths.get_temp_directory": "/",
    "server.PromptServer.send_progress_text": "text node_id / sid",
    "server.PromptServer.send_sync": "event data sid? /",
}


class Stop(BaseException):
    """What the host raises to interrupt."""


def split(name: str) -> tuple[list[str], list[str]]:
    """The names of an entry of SIGNATURES: by position (still with ? or *), and by keyword."""
    positional, keywords = SIGNATURES[name].split("/")
    return positional.split(), keywords.split()


def signature(name: str) -> inspect.Signature:
    """An entry of SIGNATURES as Python has it."""
    positional, keywords = split(name)
    kinds = inspect.Parameter
    parameters = [
        kinds(text[1:], kinds.VAR_POSITIONAL)
        if text.startswith("*")
        else kinds(text.rstrip("?"), kinds.POSITIONAL_OR_KEYWORD, default=None if text.endswith("?") else kinds.empty)
        for text in positional
    ]
    return inspect.Signature([*parameters, *(kinds(text, kinds.KEYWORD_ONLY, default=None) for text in keywords)])


def record(name: str, **more: Any) -> Callable[..., SimpleNamespace]:
    """A callable that takes what ``name`` takes, raises TypeError for anything else, and returns what it was given."""
    known = signature(name)
    return lambda *args, **given: SimpleNamespace(**known.bind(*args, **given).arguments, **more)


def checked(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, which raises TypeError for arguments that ``name`` does not take."""
    known = signature(name)

    def call(*args: Any, **given: Any) -> Any:
        known.bind(*args, **given)
        return function(*args, **given)

    return call


def _io() -> SimpleNamespace:
    def socket(name: str, kind: str) -> SimpleNamespace:
        return SimpleNamespace(
            Input=record(f"io.{name}.Input", kind=kind), Output=record(f"io.{name}.Output", kind=kind)
        )

    return SimpleNamespace(
        **{name: socket(name, name.upper()) for name in (*SOCKETS, *WIDGETS) if name != "Custom"},
        Custom=lambda io_type: socket("Custom", io_type),
        ComfyNode=object,
        Schema=record("io.Schema"),
        NodeOutput=record("io.NodeOutput"),
        Hidden=SimpleNamespace(prompt="prompt", extra_pnginfo="extra_pnginfo", unique_id="unique_id"),
        FolderType=SimpleNamespace(output="output", temp="temp"),
    )


def _next_file(prefix: str, folder: str, width: int = 0, height: int = 0) -> tuple[str, str, int, str, str]:
    """As the host finds the next free name: it refuses what is outside the output folder, and makes folders."""
    prefix = prefix.replace("%width%", str(width)).replace("%height%", str(height))
    subfolder, name = os.path.split(os.path.normpath(prefix))
    place = os.path.join(folder, subfolder)
    if os.path.commonpath((folder, os.path.abspath(place))) != folder:
        raise Exception("Saving image outside the output folder is not allowed.")
    os.makedirs(place, exist_ok=True)
    taken = [file[len(name) + 1 :] for file in os.listdir(place) if file.startswith(f"{name}_")]
    numbers = [int(text) for text in (file.split("_")[0] for file in taken) if text.isdigit()]
    return place, name, max(numbers, default=0) + 1, subfolder, prefix


def new_host(folder: Path) -> SimpleNamespace:
    """What a stand-in host notes and how it behaves; ``stop_at``: interrupt after so many moves of the bar."""
    places = {name: folder / name for name in ("input", "models", "output", "temp")}
    return SimpleNamespace(
        **places,
        args=SimpleNamespace(disable_metadata=False),
        shown={},  # texts on nodes, by their ids
        page="page",  # id of the page that queued the prompt
        messages=[],  # (event, data, page) of every message to a page
        executing="7",  # id of the node that is executed
        progress=[],  # (value, total, preview) of every move of the bar
        loaded=[],
        freed=[],
        folders={},
        stop_at=None,
        fp16=True,
        bf16=True,
        device=torch.device("cpu"),
        free_memory=2**40,
        Stop=Stop,
    )


def modules(host: SimpleNamespace) -> dict[str, types.ModuleType]:
    """The host's modules by name."""

    class Patcher:
        def __init__(self, model: torch.nn.Module, load_device: torch.device, offload_device: torch.device):
            self.model, self.load_device, self.offload_device = model, load_device, offload_device

    def progress_bar(total: int) -> SimpleNamespace:
        def update(value: int, total: int | None = None, preview: Any = None) -> None:
            host.progress.append((value, total, preview))

        return SimpleNamespace(update_absolute=checked("comfy.utils.ProgressBar.update_absolute", update))

    def note(text: str, node_id: str) -> None:
        host.shown[node_id] = text

    show = checked("server.PromptServer.send_progress_text", note)
    send = checked("server.PromptServer.send_sync", lambda *message: host.messages.append(message))

    class PromptServer(SimpleNamespace):
        """The server; the page that queued the prompt can change."""

        client_id = property(lambda self: host.page)

    def check() -> None:
        if host.stop_at is not None and len(host.progress) >= host.stop_at:
            raise Stop

    def names(folder: str) -> list[str]:
        assert folder == "diffused_heads" and folder in host.folders
        return sorted(p.name for p in Path(host.folders[folder]).iterdir())

    cpu = torch.device("cpu")
    functions: dict[str, Callable[..., Any]] = {
        "comfy.model_management.get_free_memory": lambda device: host.free_memory,
        "comfy.model_management.get_torch_device": lambda: host.device,
        "comfy.model_management.intermediate_device": lambda: cpu,
        "comfy.model_management.load_models_gpu": lambda models, **more: host.loaded.append(models),
        "comfy.model_management.should_use_bf16": lambda device: host.bf16,
        "comfy.model_management.should_use_fp16": lambda device: host.fp16,
        "comfy.model_management.soft_empty_cache": lambda: host.freed.append("emptied"),
        "comfy.model_management.throw_exception_if_processing_interrupted": check,
        "comfy.model_management.unet_offload_device": lambda: cpu,
        "comfy.model_management.unload_all_models": lambda: host.freed.append("unloaded"),
        "comfy.model_patcher.CoreModelPatcher": Patcher,
        "comfy.utils.ProgressBar": progress_bar,
        "comfy_execution.utils.get_executing_context": lambda: (
            SimpleNamespace(node_id=host.executing) if host.executing else None
        ),
        "folder_paths.add_model_folder_path": host.folders.__setitem__,
        "folder_paths.get_filename_list": names,
        "folder_paths.get_full_path_or_raise": lambda folder, name: str(Path(host.folders[folder]) / name),
        "folder_paths.get_input_directory": lambda: str(host.input),
        "folder_paths.get_output_directory": lambda: str(host.output),
        "folder_paths.get_save_image_path": _next_file,
        "folder_paths.get_temp_directory": lambda: str(host.temp),
    }
    latest = {
        "io": _io(),
        "ComfyExtension": object,
        **{
            group: SimpleNamespace(
                **{
                    name.split(".")[1]: record(name, called=name.split(".")[1])
                    for name in SIGNATURES
                    if name.startswith(f"{group}.")
                }
            )
            for group in ("ui", "Types", "InputImpl")
        },
    }
    contents: dict[str, dict[str, Any]] = {
        **{name: {} for name in ("comfy", "comfy.model_management", "comfy.model_patcher", "comfy.utils", "comfy_api")},
        "comfy.cli_args": {"args": host.args},
        "comfy_api.latest": latest,
        **{name: {} for name in ("comfy_execution", "comfy_execution.utils")},
        "server": {"PromptServer": SimpleNamespace(instance=PromptServer(send_progress_text=show, send_sync=send))},
        "folder_paths": {"models_dir": str(host.models)},
    }
    for name, function in functions.items():
        module, attribute = name.rsplit(".", 1)
        contents[module][attribute] = checked(name, function)
    made = {name: types.ModuleType(name) for name in contents}
    for name, module in made.items():
        vars(module).update(contents[name])
        if "." in name:
            parent, child = name.split(".")
            setattr(made[parent], child, module)
    return made


@contextmanager
def installed(host: SimpleNamespace) -> Iterator[None]:
    """The stand-ins in place of the host's modules; afterwards they and the nodes that imported them are forgotten."""
    before = dict(sys.modules)
    sys.modules.update(modules(host))
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name not in before and name.startswith(PACKAGE)]:
            parent, _, child = name.rpartition(".")
            vars(sys.modules.get(parent, host)).pop(child, None)
            del sys.modules[name]
        for name in modules(host):
            sys.modules.pop(name)
            sys.modules.update({name: before[name]} if name in before else {})
