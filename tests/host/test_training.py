"""The trainer nodes in a running ComfyUI: the workflow as it ships, cancel and going on, one's own clips, missing
packages.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from host_client import MAIN, WORKFLOWS, Host, furnish, id_of
from test_server import SHARED, decoded, failure, lengths, listening, trouble, watch

STEPS = 4
CANCEL = 60.0  # seconds: a step may be under way, and the state is written
VIDEOS = ("LipNet_bbaf2n.mpg", "LipNet_brbk7n.mpg", "EAMM_happy.mp4")  # the last without sound


def training(host: Host, **changes: Any) -> dict[str, Any]:
    """The workflow with two clips and few steps."""
    return host.prompt(
        "train-on-your-clips",
        **{
            "clips": 2,
            "seconds": 1.0,
            "steps": STEPS,
            "validate_every": 1000,
            "batch": 4,
            "run_name": "tests",
            **changes,
        },
    )


def run_folder(host: Host, name: str) -> Path:
    return host.base / "output" / "diffused_heads" / "runs" / name


def test_the_workflow_trains_and_speaks(host: Host) -> None:
    prompt = training(host)
    node = id_of(prompt, "DH_Train")
    events = watch(host, prompt)
    assert events[-1][0] == "execution_success", events[-1]
    steps = [data for kind, data in events if kind == "progress" and data["node"] == node]
    values = [data["value"] for data in steps if data["max"] == STEPS]
    assert values[-1] == STEPS and 1 in values  # the host may leave out quick steps between
    assert len([1 for kind, _ in events if kind == "picture"]) >= 2
    videos = sorted((host.base / "output" / "video").glob("diffused_heads_trained*.mp4"))
    assert len(videos) == 1 and lengths(videos[0])[:2] == (10, 25)
    shown = {
        id: data["images"]
        for kind, data in events
        if kind == "executed"
        for id, data in ((data["node"], data["output"]),)
        if "images" in data
    }
    assert {prompt[id]["class_type"] for id in shown} == {"PreviewImage", "LossGraphNode", "SaveVideo"}
    assert (host.base / "models" / "diffused_heads" / "tests.safetensors").is_file() and (
        run_folder(host, "tests") / "losses.csv"
    ).is_file()
    assert not trouble(host.news())


def test_the_model_is_in_the_list_and_is_the_same_there(host: Host) -> None:
    host.run(training(host))
    listed = json.dumps(host.get("/object_info/DH_LoadModel"))
    assert "tests.safetensors" in listed
    files = host.files(host.run(training(host, filename_prefix="video/direct")))
    direct = decoded(next(path for path in files if path.suffix == ".mp4"))
    prompt = host.prompt(MAIN, frame="head only")
    prompt[id_of(prompt, "DH_TalkingPortrait")]["inputs"]["model_name"] = "tests.safetensors"
    assert decoded(host.files(host.run(prompt))[0]) == direct


def test_cancel_saves_and_the_same_inputs_go_on(host: Host, record_property: Any) -> None:
    prompt = training(host, steps=400, run_name="cancelled")
    node, run = id_of(prompt, "DH_Train"), run_folder(host, "cancelled")
    with listening(host, "trainer") as events:
        id = host.submit(prompt, "trainer")
        next(
            data
            for kind, data in events
            if kind == "progress" and data["node"] == node and data["max"] == 400 and data["value"] >= 3
        )
        begun = time.monotonic()
        host.post("/interrupt")
        while host.busy():
            assert time.monotonic() - begun < CANCEL
            time.sleep(0.05)
    record_property("cancel_seconds", time.monotonic() - begun)
    print(f"cancel after {time.monotonic() - begun:.1f} s")
    assert "execution_interrupted" in [kind for kind, _ in host.wait(id)["status"]["messages"]]
    state = sorted(run.glob("state-*.safetensors"))[-1]
    step = int(state.stem.removeprefix("state-"))
    assert (
        step >= 3
        and (run / "model.safetensors").is_file()
        and not (host.base / "models" / "diffused_heads" / "cancelled.safetensors").exists()
    )
    events = watch(host, training(host, steps=step + 2, run_name="cancelled"))
    values = [
        data["value"]
        for kind, data in events
        if kind == "progress" and data["node"] == node and data["max"] == step + 2
    ]
    assert events[-1][0] == "execution_success" and set(values) == {step + 1, step + 2}


def test_a_run_of_that_name_with_other_settings_is_refused(host: Host) -> None:
    host.run(training(host))
    assert "there is a run of this name with other lr" in failure(host, training(host, learning_rate=0.5))
    assert "size is 64, the model wants 128" in failure(host, training(host, start_from="avatar", run_name="larger"))


@pytest.mark.parametrize(
    "kind, name, value",
    [
        ("DH_Train", "run_name", "../x"),
        ("DH_Train", "steps", -1),
        ("DH_Train", "start_from", "nothing"),
        ("DH_Train", "learning_rate", 2.0),
        ("DH_Train", "resume", "never"),
        ("DH_Train", "dataset", ["4", 0]),
        ("DH_LipCropLoss", "lip", -1.0),
        ("DH_ExampleDataset", "size", "96"),
        ("DH_ExampleDataset", "clips", 1),
    ],
)
def test_a_wrong_value_or_connection_is_refused_by_name(host: Host, kind: str, name: str, value: Any) -> None:
    prompt = training(host)
    node = id_of(prompt, kind)
    prompt[node]["inputs"][name] = value
    status, answer = host.post("/prompt", {"prompt": prompt})
    refused = (answer["node_errors"] or {}).get(node, {}).get("errors", [])
    assert [
        error for error in refused if name in error["details"] or error.get("extra_info", {}).get("input_name") == name
    ], (status, answer)
    until = time.monotonic() + 60  # an output that does not need that node still runs
    while host.busy() and time.monotonic() < until:
        time.sleep(0.1)


def test_own_clips(host: Host) -> None:
    networks, videos = SHARED / "face_models", SHARED / "real_inputs" / "video"
    if not networks.is_dir() or not videos.is_dir():
        pytest.skip("needs ../shared with face_models and real_inputs")
    shutil.copytree(networks, host.base / "models" / "diffused_heads" / "face", dirs_exist_ok=True)
    (host.base / "input" / "clips").mkdir()
    for name in VIDEOS:
        shutil.copy(videos / name, host.base / "input" / "clips")
    (host.base / "input" / "clips" / "broken.mp4").write_bytes(b"nothing")
    prompt = {
        "1": {
            "class_type": "DH_PrepareDataset",
            "inputs": {"folder": "clips", "name": "mine", "size": 64, "validation": 0.5, "quality": 0.0},
        },
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 1]}},
        "3": {
            "class_type": "DH_LipCropLoss",
            "inputs": {"lip": 0.2, "lip_margin": 2.5, "vlb": 0.0, "dataset": ["1", 0]},
        },
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 1]}},
        "5": {"class_type": "PreviewAny", "inputs": {"source": ["1", 2]}},
    }
    entry = host.run(prompt)
    text = entry["outputs"]["5"]["text"][0]
    print(text)
    assert (
        "2 clips (6 s) of 2 people from 2 of 4 videos" in text
        and "broken.mp4: " in text
        and "EAMM_happy.mp4: no clip; there is no sound" in text
    )
    assert len(host.files(entry)) == 2
    out = host.base / "output" / "diffused_heads" / "datasets" / "mine"
    assert (out / "train" / "dataset.json").is_file() and (out / "report.html").is_file()
    prompt = training(host, run_name="mine", steps=2)
    prompt["100"] = {"class_type": "DH_ExampleDataset", "inputs": {"clips": 2, "size": "64", "folder": "mine"}}
    prompt[id_of(prompt, "DH_Train")]["inputs"]["dataset"] = ["100", 0]
    assert len(host.files(host.run(prompt))) == 4


HIDE = """import ctypes.util, sys
sys.modules.update(dict.fromkeys(("espeakng_loader", "tensorboard")))
find = ctypes.util.find_library
ctypes.util.find_library = lambda name: None if "espeak" in name else find(name)
"""


@pytest.fixture
def bare_host(tmp_path: Path) -> Iterator[Host]:
    """A ComfyUI whose Python has none of the packages of the extra "train", nor a speech engine of the system."""
    comfy, base = Path(os.environ["COMFYUI_PATH"]), tmp_path / "base"
    host = Host(comfy, os.environ["COMFYUI_PYTHON"], base, furnish(base))
    hiding = base / "custom_nodes" / "hiding"
    hiding.mkdir()
    (hiding / "prestartup_script.py").write_text(HIDE)
    (hiding / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    try:
        host.start()
        yield host
    finally:
        host.stop()


def test_without_the_packages_of_training(host: Host, bare_host: Host) -> None:
    """All nodes load; the avatars name the command; a dataset that is there trains all the same."""
    assert {id for id in bare_host.get("/object_info") if id.startswith("DH_")} == {
        id for id in host.get("/object_info") if id.startswith("DH_")
    }
    assert not trouble(bare_host.log())
    message = failure(bare_host, training(bare_host))
    assert '-m pip install "espeakng-loader>=0.2.4"' in message and "\n" not in message.strip(), message
    host.run(training(host))
    made = next((host.base / "output" / "diffused_heads" / "datasets").glob("example-64px-2x1s-*"))
    assert bare_host.files(bare_host.run(training(bare_host, folder=str(made))))


def test_the_workflow_is_listed_with_its_nodes() -> None:
    kinds = {
        node["class_type"]
        for node in json.loads((WORKFLOWS / "api" / "train-on-your-clips.json").read_text(encoding="utf-8")).values()
    }
    assert kinds >= {
        "DH_ExampleDataset",
        "DH_LipCropLoss",
        "DH_Train",
        "DH_TalkingPortrait",
        "LossGraphNode",
        "PreviewImage",
    }
