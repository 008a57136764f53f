"""The schema of every node, in the host's terms, and that the stand-in host refuses what the real one would refuse."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

# inputs and outputs of every node: workflows that people saved depend on these names and their order
NODES = {
    "DH_TalkingPortrait": (
        "image audio model_name quality liveliness frame seed options model face face_index x y size max_side motion",
        "images audio fps video",
    ),
    "DH_SeveralSpeakers": (
        "image audio_1 audio_2 audio_3 audio_4 sound others model_name quality liveliness seed options model squares "
        "max_side",
        "images audio fps video roles numbers",
    ),
    "DH_DubVideo": (
        "audio video images fps model_name quality length when_short model face face_index x y max_side",
        "images audio fps video",
    ),
    "DH_SamplingOptions": (
        "head_motion blinks fps guidance colour_lock denoising sampler steps eta motion_anchor temperature",
        "options",
    ),
    "DH_LoadModel": ("model_name precision trust_torchscript", "model"),
    "DH_LoadIdentity": ("image model x y size face face_index margin level", "identity crop mask"),
    "DH_EncodeAudio": ("model audio start duration", "audio_embedding audio"),
    "DH_Sampler": ("model identity audio_embedding seed options motion", "images fps"),
    "DH_PasteBack": ("images identity fps mask detail match_colour max_side keep_transparency", "images"),
    "DH_VideoCombine": (
        "images fps audio format quality filename_prefix save_output pingpong loop_count mask length rate_control crf "
        "bitrate save_metadata",
        "video filenames",
    ),
    "DH_ExamplePortraitAndVoice": ("portrait voice duration", "image audio"),
    "DH_HeadMotion": ("seed liveliness gaze brows blinks follows kind temperature still seconds fps audio", "motion"),
    "DH_MotionFromVideo": ("zero face face_index smoothing video images fps", "motion report"),
    "DH_EditMotion": (
        "motion columns start duration scale offset smooth hold hold_at keyframes keys share length end other",
        "motion",
    ),
    "DH_Expression": ("smile frown furrow squint brows gaze_x gaze_y yaw pitch roll motion", "motion"),
    "DH_PreviewMotion": ("motion save_as filename_prefix", "plot summary file"),
    "DH_LoadMotion": ("file", "motion"),
    "DH_Evaluate": ("generated fps reference audio find_face", "report numbers json"),
    "DH_PrepareDataset": (
        "folder name size validation fps margin seconds quality identity_from licence audio_track",
        "dataset report summary",
    ),
    "DH_ExampleDataset": ("clips size seconds seed folder", "dataset report summary"),
    "DH_LipCropLoss": ("lip lip_margin vlb simple dataset clip", "loss preview"),
    "DH_Train": (
        "dataset start_from steps learning_rate batch seed run_name resume loss validate_every licence "
        "trust_torchscript",
        "model loss samples",
    ),
}


@pytest.fixture
def nodes(host: SimpleNamespace) -> dict[str, Any]:
    """Node id -> class, of all nodes."""
    host.models.mkdir()
    host.node("load_model", "register_folder")()
    return {node.define_schema().node_id: node for node in host.node("extension", "NODES")}


def names(sockets: list[SimpleNamespace]) -> str:
    return " ".join(socket.id for socket in sockets)


def given(socket: SimpleNamespace, name: str) -> Any:
    """A setting of a socket, None if the schema does not have it."""
    return getattr(socket, name, None)


def test_inputs_and_outputs_keep_their_names(nodes: dict[str, Any]) -> None:
    found = {id: node.define_schema() for id, node in nodes.items()}
    assert {id: (names(schema.inputs), names(schema.outputs)) for id, schema in found.items()} == NODES


@pytest.mark.parametrize("id", NODES)
def test_every_node_explains_itself(nodes: dict[str, Any], id: str) -> None:
    schema = nodes[id].define_schema()
    assert schema.category.split("/")[0] == "Diffused Heads" and schema.display_name and schema.description
    assert all(socket.tooltip.endswith(".") for socket in (*schema.inputs, *schema.outputs))
    labels = [given(socket, "display_name") or socket.id for socket in schema.inputs]
    assert len(set(labels)) == len(labels)
    widgets = [label for label, socket in zip(labels, schema.inputs) if hasattr(socket, "default")]
    assert not [label for label in widgets if "_" in label]


@pytest.mark.parametrize("id", NODES)
def test_the_help_page_names_every_output(nodes: dict[str, Any], id: str) -> None:
    page = (Path(__file__).resolve().parents[2] / "web" / "docs" / f"{id}.md").read_text(encoding="utf-8")
    outputs = page[re.search(r"\| Output \||\*\*Outputs?:\*\*", page).start() :]
    assert not [socket.id for socket in nodes[id].define_schema().outputs if f"*{socket.id}*" not in outputs]


@pytest.mark.parametrize("id", NODES)
def test_every_input_reaches_the_node_and_numbers_have_limits(nodes: dict[str, Any], id: str) -> None:
    schema, parameters = nodes[id].define_schema(), inspect.signature(nodes[id].execute).parameters
    assert set(parameters) == {socket.id for socket in schema.inputs}
    for socket in schema.inputs:
        if given(socket, "optional"):
            assert parameters[socket.id].default is not inspect.Parameter.empty, socket.id
        if given(socket, "advanced"):
            assert socket.optional, socket.id
        if socket.kind in ("INT", "FLOAT"):
            assert socket.min <= socket.default <= socket.max, socket.id
        if socket.kind == "FLOAT":
            assert socket.step, socket.id  # the host rounds to 0.1 otherwise


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda io, ui: io.Schema(node_id="a", title="A"), "title"),
        (lambda io, ui: io.Schema(display_name="A"), "node_id"),
        (lambda io, ui: io.Int.Input("a", minimum=0), "minimum"),
        (lambda io, ui: io.Float.Input("a", gradient_stops=[]), "gradient_stops"),  # not in 0.12.1
        (lambda io, ui: io.Boolean.Input("a", options=["on"]), "options"),
        (lambda io, ui: io.Image.Input("a", default=0), "default"),
        (lambda io, ui: io.Custom("A").Input("a", "A", True, "by position"), "positional"),
        (lambda io, ui: io.Image.Output("a", is_list=True), "is_list"),
        (lambda io, ui: io.NodeOutput(1, preview=2), "preview"),
        (lambda io, ui: ui.SavedImages([], animated=True), "animated"),
        (lambda io, ui: ui.SavedResult("a.png", "sub"), "type"),
    ],
)
def test_an_unknown_or_missing_parameter_is_an_error(host: SimpleNamespace, call: Any, words: str) -> None:
    from comfy_api.latest import io, ui

    with pytest.raises(TypeError, match=words):
        call(io, ui)


def test_functions_of_the_host_are_checked_too(host: SimpleNamespace) -> None:
    import comfy.model_management
    import comfy.utils

    with pytest.raises(TypeError, match="memory"):
        comfy.model_management.load_models_gpu([], memory=1)
    with pytest.raises(TypeError, match="text"):
        comfy.utils.ProgressBar(3).update_absolute(1, text="half")
