"""The pack in a running ComfyUI, over HTTP and WebSocket."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from core_nodes import facts, recorded, used
from host_client import PARTS, WORKFLOWS, Host, id_of

NODES = {
    "DH_TalkingPortrait",
    "DH_SamplingOptions",
    "DH_SeveralSpeakers",
    "DH_DubVideo",
    "DH_LoadModel",
    "DH_LoadIdentity",
    "DH_EncodeAudio",
    "DH_Sampler",
    "DH_PasteBack",
    "DH_VideoCombine",
    "DH_ExamplePortraitAndVoice",
    "DH_HeadMotion",
    "DH_MotionFromVideo",
    "DH_EditMotion",
    "DH_Expression",
    "DH_PreviewMotion",
    "DH_LoadMotion",
    "DH_Evaluate",
    "DH_PrepareDataset",
    "DH_ExampleDataset",
    "DH_LipCropLoss",
    "DH_Train",
}
CATEGORIES = ["Diffused Heads"] + [
    f"Diffused Heads/{room}" for room in ("step by step", "motion", "evaluation", "training")
]
SHARED = Path(__file__).resolve().parents[3] / "shared"
UPSCALE_MODEL = "talking-head-upscale-model-and-paste-back"  # needs a download
FILES = {"several-portraits-one-voice": 3}  # else one
FRAMES = {"two-people-in-one-picture-dialogue": 20}  # else 10: there, one waits for the other
RUNNABLE = sorted(
    {path.stem for path in (WORKFLOWS / "api").glob("*.json")} - {UPSCALE_MODEL, "train-on-your-clips"}
)  # training has tests of its own
CANCEL = 2.0  # seconds


def lengths(path: Path) -> tuple[int, float, float]:
    """Frames, frames per second and seconds of sound of a video, counted by decoding it."""
    with av.open(str(path)) as file:
        rate, frames = float(file.streams.video[0].average_rate), sum(1 for _ in file.decode(video=0))
    with av.open(str(path)) as file:
        sound = sum(frame.samples / frame.sample_rate for frame in file.decode(audio=0))
    return frames, rate, sound


def trouble(log: str) -> list[str]:
    """Lines of a log with warnings or errors about this pack."""
    marks = ("warning", "error", "deprecat", "traceback", "import failed", "cannot")
    return [
        line for line in log.splitlines() if "diffused" in line.lower() and any(mark in line.lower() for mark in marks)
    ]


def test_starts_without_a_warning_of_ours(host: Host) -> None:
    assert not trouble(host.startup) and "IMPORT FAILED" not in host.startup and "Traceback" not in host.startup


def test_lists_every_node_in_its_category(host: Host) -> None:
    ours = {id: info for id, info in host.get("/object_info").items() if id.startswith("DH_")}
    assert set(ours) == NODES
    places = {place: {id for id in ours if ours[id]["category"] == place} for place in CATEGORIES}
    assert places["Diffused Heads"] >= {"DH_TalkingPortrait", "DH_VideoCombine", "DH_ExamplePortraitAndVoice"}
    assert places["Diffused Heads/training"] >= {"DH_Train", "DH_PrepareDataset", "DH_ExampleDataset", "DH_LipCropLoss"}
    assert set().union(*places.values()) == NODES


def test_core_nodes_are_as_the_workflows_need_them(host: Host) -> None:
    info = host.get("/object_info")
    assert {name: facts(info[name]) for name in used()} == recorded()


def test_lists_workflows_and_the_scripts_of_the_page(host: Host) -> None:
    assert set(host.get("/workflow_templates")["diffused-heads"]) == {path.stem for path in WORKFLOWS.glob("*.json")}
    scripts = {name.rsplit("/", 1)[1] for name in host.get("/extensions") if "/diffused-heads/" in name}
    assert scripts == {path.name for path in (WORKFLOWS.parent / "web" / "js").glob("*.js")}


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_workflow_ends_in_files_whose_frames_and_sound_are_equally_long(host: Host, name: str) -> None:
    videos = [path for path in host.files(host.run(host.prompt(name))) if path.suffix == ".mp4"]
    assert len(videos) == FILES.get(name, 1)
    for path in videos:
        frames, rate, sound = lengths(path)
        assert frames == FRAMES.get(name, 10) and rate == 25 and abs(frames / rate - sound) <= 1 / rate
    assert not trouble(host.news())


def test_the_workflow_that_needs_a_file_names_it(host: Host) -> None:
    status, answer = host.post("/prompt", {"prompt": host.prompt(UPSCALE_MODEL)})
    assert status == 400 and "RealESRGAN_x4plus.safetensors" in json.dumps(answer["node_errors"])


@pytest.mark.parametrize(
    "kind, name, value",
    [
        ("DH_Sampler", "seed", -1),
        ("DH_LoadModel", "model_name", "nothing.safetensors"),
        ("DH_LoadModel", "model_name", "crema.ckpt"),
        ("DH_EncodeAudio", "start", -1.0),
        ("DH_VideoCombine", "fps", 0.0),
        ("DH_VideoCombine", "format", "avi"),
        ("DH_VideoCombine", "quality", 101),
        ("DH_LoadIdentity", "size", 2.0),
        ("DH_LoadIdentity", "face", "ugliest"),
        ("DH_PasteBack", "detail", 3.0),
        ("DH_ExamplePortraitAndVoice", "portrait", "nobody"),
        ("DH_LoadIdentity", "image", ["2", 0]),
        ("DH_Sampler", "identity", ["7", 0]),
        ("DH_EncodeAudio", "audio", ["3", 0]),
        ("DH_Sampler", "audio_embedding", None),
    ],
)
def test_a_wrong_value_or_connection_is_refused_by_name(host: Host, kind: str, name: str, value: Any) -> None:
    prompt = host.prompt(PARTS)
    node = id_of(prompt, kind)
    prompt[node]["inputs"].pop(name)
    prompt[node]["inputs"].update({} if value is None else {name: value})
    status, answer = host.post("/prompt", {"prompt": prompt})
    assert status == 400
    refused = answer["node_errors"][node]["errors"]
    assert [
        error
        for error in refused
        if name in (error["details"], error.get("extra_info", {}).get("input_name")) or name in error["details"]
    ]
    assert not host.busy()


def talking(host: Host, **changes: Any) -> dict[str, Any]:
    """The four nodes of the basic job, with the bundled portrait and voice; ``changes`` go to Talking Portrait."""
    inputs = {"model_name": host.model, "quality": "fast", "liveliness": 1.0, "frame": "whole picture", "seed": 3}
    return {
        "1": {"class_type": "DH_ExamplePortraitAndVoice", "inputs": {"portrait": "ada", "voice": "welcome"}},
        "2": {
            "class_type": "DH_TalkingPortrait",
            "inputs": {"image": ["1", 0], "audio": ["4", 0], **inputs, **changes},
        },
        "3": {
            "class_type": "SaveVideo",
            "inputs": {"video": ["2", 3], "filename_prefix": "talk", "format": "auto", "codec": "auto"},
        },
        "4": {"class_type": "TrimAudioDuration", "inputs": {"audio": ["1", 1], "start_index": 0.0, "duration": 0.4}},
    }


@pytest.mark.parametrize(
    "name, value", [("quality", "best"), ("liveliness", 2.5), ("model_name", "nobody"), ("seed", -1)]
)
def test_talking_portrait_refuses_wrong_values_before_it_runs(host: Host, name: str, value: Any) -> None:
    status, answer = host.post("/prompt", {"prompt": talking(host, **{name: value})})
    assert status == 400 and name in json.dumps(answer["node_errors"]["2"])


def test_talking_portrait_gives_save_video_a_video_with_its_sound(host: Host) -> None:
    frames, rate, sound = lengths(host.files(host.run(talking(host)))[0])
    assert frames == 10 and rate == 25 and abs(frames / rate - sound) <= 1 / rate
    again = host.run(talking(host))
    assert "2" in next(data["nodes"] for kind, data in again["status"]["messages"] if kind == "execution_cached")


def test_talking_portrait_makes_its_images_when_something_takes_them(host: Host) -> None:
    """Also if its video alone was made before with the same values."""
    host.run(talking(host, seed=12))
    prompt = {**talking(host, seed=12), "5": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}}
    entry = host.run(prompt)
    assert len(entry["outputs"]["5"]["images"]) == 10


def test_an_error_is_shown_without_a_module_path(host: Host) -> None:
    blank = {"class_type": "EmptyImage", "inputs": {"width": 9, "height": 9, "batch_size": 1, "color": 0}}
    prompt = {**talking(host, image=["5", 0], face="box", size=0.5), "5": blank}
    entry = host.wait(host.submit(prompt))
    error = next(data for kind, data in entry["status"]["messages"] if kind == "execution_error")
    assert error["exception_type"] == "DiffusedHeadsError" and "a box of 4 pixels" in error["exception_message"]


def test_the_blueprint_is_listed(host: Host) -> None:
    listed = [entry["name"] for entry in host.get("/global_subgraphs").values() if entry["source"] == "custom_node"]
    assert listed == [path.stem for path in (WORKFLOWS.parent / "subgraphs").glob("*.json")]


def test_a_second_run_paints_nothing_again(host: Host) -> None:
    first = host.prompt(PARTS, seed=11)
    files = host.files(host.run(first))
    again = host.run(host.prompt(PARTS, seed=11, filename_prefix="again"))
    cached = next(data["nodes"] for kind, data in again["status"]["messages"] if kind == "execution_cached")
    assert id_of(first, "DH_Sampler") in cached and id_of(first, "DH_VideoCombine") not in cached
    assert decoded(host.files(again)[0]) == decoded(files[0])


def decoded(path: Path) -> list[bytes]:
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in file.decode(video=0)]


def test_another_seed_gives_other_frames_and_the_same_seed_the_same(host: Host) -> None:
    runs = [decoded(host.files(host.run(host.prompt(PARTS, seed=seed, quality=90)))[0]) for seed in (21, 22)]
    host.post("/free", {"unload_models": True, "free_memory": True})
    time.sleep(2)
    runs.append(decoded(host.files(host.run(host.prompt(PARTS, seed=21, quality=90)))[0]))
    assert runs[0] == runs[2] != runs[1]


def test_progress_at_every_step_and_previews_on_the_way(host: Host) -> None:
    events = watch(host, host.prompt(PARTS, seed=31, duration=0.4))
    sampler = id_of(host.prompt(PARTS), "DH_Sampler")
    values = [data["value"] for kind, data in events if kind == "progress" and data["node"] == sampler]
    totals = {data["max"] for kind, data in events if kind == "progress" and data["node"] == sampler}
    assert totals == {10} and values == sorted(values) and values[-1] == 10  # one step per frame
    assert len([1 for kind, _ in events if kind == "picture"]) >= 1


@contextmanager
def listening(host: Host, client: str) -> Iterator[Iterator[tuple[str, Any]]]:
    """What the server tells a client, as (kind, data); a picture counts as ("picture", size)."""
    websocket = pytest.importorskip("websocket")
    line = websocket.create_connection(f"ws://127.0.0.1:{host.port}/ws?clientId={client}", timeout=120)

    def events() -> Iterator[tuple[str, Any]]:
        while True:
            message = line.recv()
            if isinstance(message, bytes):
                yield "picture", len(message)
            else:
                told = json.loads(message)
                yield told["type"], told["data"]

    try:
        yield events()
    finally:
        line.close()


def watch(host: Host, prompt: dict[str, Any]) -> list[tuple[str, Any]]:
    """Everything that a client is told while a prompt runs."""
    with listening(host, "watcher") as events:
        id, seen = host.submit(prompt, "watcher"), []
        for kind, data in events:
            seen.append((kind, data))
            if kind in ("execution_success", "execution_error") and data["prompt_id"] == id:
                return seen
    raise AssertionError("the connection ended")


def cancel_in_sampling(host: Host, seed: int) -> float:
    """Start a long run, cancel it when some frames are painted; seconds until the queue is free."""
    prompt = host.prompt(PARTS, duration=10, seed=seed)
    sampler = id_of(prompt, "DH_Sampler")
    with listening(host, "canceller") as events:
        id = host.submit(prompt, "canceller")
        next(data for kind, data in events if kind == "progress" and data["node"] == sampler and data["value"] > 10)
        begun = time.monotonic()
        host.post("/interrupt")
        while host.busy():
            assert time.monotonic() - begun < 60
            time.sleep(0.02)
    took = time.monotonic() - begun
    assert "execution_interrupted" in [kind for kind, _ in host.wait(id)["status"]["messages"]]
    return took


def test_cancel_frees_the_queue_and_the_next_run_works(host: Host, record_property: Any) -> None:
    took = [cancel_in_sampling(host, seed) for seed in (41, 42)]
    record_property("cancel_seconds", took)
    print("cancel after", [round(seconds, 2) for seconds in took], "s")
    assert max(took) < CANCEL
    assert host.files(host.run(host.prompt(PARTS, seed=43)))


def with_picture(host: Host, prompt: dict[str, Any], picture: Path | np.ndarray, **settings: Any) -> dict[str, Any]:
    """The prompt with a picture from Load Image in place of the example."""
    name = f"{abs(hash(str(picture)))}.png" if isinstance(picture, np.ndarray) else picture.name
    if isinstance(picture, np.ndarray):
        cv2.imwrite(str(host.base / "input" / name), picture)
    else:
        shutil.copy(picture, host.base / "input")
    identity = prompt[id_of(prompt, "DH_LoadIdentity")]["inputs"]
    identity.update(image=["100", 0], **settings)
    return {**prompt, "100": {"class_type": "LoadImage", "inputs": {"image": name}}}


def failure(host: Host, prompt: dict[str, Any]) -> str:
    """What a prompt that must fail while it runs says."""
    entry = host.wait(host.submit(prompt))
    assert entry["status"]["status_str"] == "error"
    return next(data["exception_message"] for kind, data in entry["status"]["messages"] if kind == "execution_error")


def test_a_picture_of_any_size_comes_back_whole(host: Host) -> None:
    """With the box given by hand: outside the head's square nothing moves."""
    picture = np.random.default_rng(0).integers(60, 190, (30, 41, 3), dtype=np.uint8)
    picture = cv2.resize(picture, (615, 450), interpolation=cv2.INTER_CUBIC)
    prompt = with_picture(host, host.prompt(PARTS, quality=95), picture, face="box", x=0.3, y=0.5, size=0.5)
    with av.open(str(host.files(host.run(prompt))[0])) as file:
        frames = np.stack([frame.to_ndarray(format="bgr24") for frame in file.decode(video=0)]).astype(int)
    assert frames.shape == (10, 450, 616, 3)
    still = frames[:, 10:440, 320:600]
    assert np.abs(still - picture[10:440, 320:600]).mean() < 6 and np.ptp(frames[:, 200:250, 160:210], 0).max() > 20


def test_a_real_group_picture_with_a_chosen_face(host: Host) -> None:
    networks, picture = SHARED / "face_models", SHARED / "real_inputs" / "images" / "i269_2007_007763.jpg"
    if not networks.is_dir() or not picture.exists():
        pytest.skip("needs ../shared with face_models and real_inputs")
    shutil.copytree(networks, host.base / "models" / "diffused_heads" / "face", dirs_exist_ok=True)
    clips = [
        decoded(
            host.files(host.run(with_picture(host, host.prompt(PARTS), picture, face="left to right", face_index=k)))[0]
        )
        for k in (0, 3)
    ]
    assert clips[0] != clips[1]
    assert "expected 0 to" in failure(
        host, with_picture(host, host.prompt(PARTS), picture, face="left to right", face_index=40)
    )
    blank = np.full((300, 300, 3), 127, np.uint8)
    assert "no face" in failure(host, with_picture(host, host.prompt(PARTS), blank))
    assert host.files(host.run(host.prompt(PARTS, seed=51)))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_stays_where_it_was(host: Host, record_property: Any) -> None:
    runs, held = int(os.environ.get("DIFFUSED_HEADS_RUNS", 30)), []
    for number in range(runs):
        prompt = host.prompt(
            PARTS, seed=100 + number, start=0.1 * (number % 3), portrait=("ada", "omar", "lena")[number % 3]
        )
        host.run(prompt)
        held.append(host.memory())
    record_property("memory", held)
    print("memory in MB after each run:", [bytes // 2**20 for bytes in held])
    assert held[-1] <= 1.05 * held[4]
