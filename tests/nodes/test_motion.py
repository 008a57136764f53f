"""The motion nodes: made, measured, edited, drawn, stored, and followed by Talking Portrait and the sampler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.motion import MeasuredMotion
from diffused_heads.diffused_heads_core.media.video import write_video
from diffused_heads.diffused_heads_core.motion import MotionClip, read_motion, write_motion
from diffused_heads.diffused_heads_core.motion.track import COLUMNS
from diffused_heads.nodes.sockets import Sampling

YAW, SMILE = COLUMNS.index("yaw"), COLUMNS.index("smile")


def run(host: SimpleNamespace, module: str, name: str, **changes: Any) -> tuple[Any, ...]:
    """A node's outputs for its defaults but for these changes."""
    node = host.node(module, name)
    widgets = {socket.id: socket.default for socket in node.define_schema().inputs if hasattr(socket, "default")}
    return node.execute(**{**widgets, **changes}).args


def nod(frames: int = 20, fps: float = 25) -> MotionClip:
    values = np.zeros((frames, len(COLUMNS)))
    values[:, YAW] = 0.2 * np.sin(np.arange(frames) / 3)
    return MotionClip.of_values(values, fps)


def test_head_motion_is_as_long_as_the_speech_and_repeats_with_its_seed(
    host: SimpleNamespace, speech: dict[str, Any]
) -> None:
    (clip,) = run(host, "head_motion", "HeadMotion", seed=3, seconds=2.0, fps=30.0)
    (again,) = run(host, "head_motion", "HeadMotion", seed=3, seconds=2.0, fps=30.0)
    assert len(clip) == 60 and clip.fps == 30 and repr(clip) == repr(again)
    (spoken,) = run(host, "head_motion", "HeadMotion", audio=speech)
    (random,) = run(host, "head_motion", "HeadMotion", audio=speech, follows="random")
    (lively,) = run(host, "head_motion", "HeadMotion", audio=speech, kind="lively", temperature=0.5)
    assert len(spoken) == len(random) == len(lively) == 13
    assert len({repr(clip) for clip in (spoken, random, lively)}) == 3
    with pytest.raises(DiffusedHeadsError, match="any, calm, lively"):
        run(host, "head_motion", "HeadMotion", kind="angry")
    (still,) = run(host, "head_motion", "HeadMotion", still=True, blinks=1.0)
    assert not still.track.pose.any() and not still.track.face[:, 2:].any() and still.track.face[:, :2].max() == 1
    assert host.messages[-1][0] == "diffused_heads.motion"


def test_motion_from_video_reads_images_files_and_trimmed_videos(
    host: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module, seen = host.node("head_motion", "__dict__"), []

    def measured(frames: Any, rate: Any, zero: str, index: Any, smoothing: float, *rest: Any) -> MeasuredMotion:
        pictures = list(frames)
        seen.append((len(pictures), pictures[0].shape, float(rate), zero, index))
        rest[-1](len(pictures))
        return MeasuredMotion(nod(len(pictures), rate), 2)

    monkeypatch.setitem(module, "measure_motion", measured)
    monkeypatch.setattr(module["runtime"], "face_finder", lambda: None)
    monkeypatch.setattr(module["runtime"], "motion_networks", lambda: None)
    clip, report = run(host, "head_motion", "MotionFromVideo", images=torch.rand(6, 16, 24, 3), fps=30.0)
    assert len(clip) == 6 and "2 without a face" in report and host.shown["7"] == report
    write_video(tmp_path / "a.mp4", [np.zeros((16, 24, 3), np.uint8)] * 5, 25)

    class VideoFromFile(SimpleNamespace):
        def get_stream_source(self) -> str:
            return str(tmp_path / "a.mp4")

    class Trimmed(VideoFromFile):
        def get_active_trim_window(self) -> tuple[float, float]:
            return (0.0, 0.1)

        def get_components(self) -> SimpleNamespace:
            return SimpleNamespace(images=torch.rand(3, 16, 24, 3), frame_rate=24)

    run(host, "head_motion", "MotionFromVideo", video=VideoFromFile(), zero="usual position", face="left to right")
    run(host, "head_motion", "MotionFromVideo", video=Trimmed())
    assert seen == [
        (6, (16, 24, 3), 30.0, "first", None),
        (5, (16, 24, 3), 25.0, "usual", 0),
        (3, (16, 24, 3), 24.0, "first", None),
    ]
    for wrong in ({}, {"video": VideoFromFile(), "images": torch.rand(1, 8, 8, 3)}):
        with pytest.raises(DiffusedHeadsError, match="either video"):
            run(host, "head_motion", "MotionFromVideo", **wrong)


def test_edit_motion_leaves_a_motion_as_it_is_by_default(host: SimpleNamespace) -> None:
    (clip,) = run(host, "edit_motion", "EditMotion", motion=nod())
    assert repr(clip) == repr(nod())
    with pytest.raises(DiffusedHeadsError, match="motion: expected a motion, found NoneType"):
        run(host, "edit_motion", "EditMotion", motion=None)


def test_edit_motion_changes_what_is_asked(host: SimpleNamespace) -> None:
    def edited(**changes: Any) -> np.ndarray:
        return run(host, "edit_motion", "EditMotion", motion=nod(), **changes)[0].track.values

    before = nod().track.values
    np.testing.assert_allclose(edited(scale=0.5, columns="pose")[:, YAW], before[:, YAW] / 2, rtol=1e-6)
    np.testing.assert_allclose(edited(scale=0.5, columns="smile"), before)
    np.testing.assert_allclose(edited(offset=10.0, columns="yaw")[:, YAW], before[:, YAW] + np.radians(10), rtol=1e-5)
    assert len(edited(start=0.2, duration=0.4)) == 10 and len(edited(length=4.0, end="loop")) == 100
    assert np.ptp(edited(hold=True, hold_at=0.2)[:, YAW]) == 0
    keys = edited(keyframes="time, smile\n0, 0\n0.7, 1", keys="add")
    assert keys[-1, SMILE] == pytest.approx(1) and np.array_equal(keys[:, YAW], before[:, YAW])
    np.testing.assert_allclose(edited(other=MotionClip.of_values(0 * before, 25), share=1.0), 0 * before)
    with pytest.raises(DiffusedHeadsError, match="keyframes, line 2"):
        edited(keyframes="time, smile\n0, 3")


def test_expression_is_constant_or_added(host: SimpleNamespace) -> None:
    (alone,) = run(host, "edit_motion", "Expression", smile=0.4, yaw=-10.0)
    assert len(alone) == 1 and alone.track.values[0, [YAW, SMILE]] == pytest.approx([-np.pi / 18, 0.4])
    (added,) = run(host, "edit_motion", "Expression", brows=0.2, motion=nod())
    assert added.track.face[:, 4:] == pytest.approx(0.2) and np.array_equal(added.track.pose, nod().track.pose)


def test_preview_motion_draws_says_and_saves(host: SimpleNamespace) -> None:
    node = host.node("motion_files", "PreviewMotion")
    output = node.execute(motion=nod(), save_as=".csv", filename_prefix="moves/nod")
    plot, summary, file = output.args
    assert plot.shape[0] == 1 and plot.shape[-1] == 3 and "yaw" in summary
    assert Path(file).parent == host.output / "moves" and len(read_motion(file)) == 20
    (shown,) = output.ui.results
    assert (host.temp / shown.subfolder / shown.filename).is_file()
    assert node.execute(motion=nod()).args[2] == ""


def test_load_motion_finds_files_of_the_host_and_notices_changes(host: SimpleNamespace, tmp_path: Path) -> None:
    node = host.node("motion_files", "LoadMotion")
    host.output.mkdir(exist_ok=True)
    write_motion(host.output / "a.json", nod())
    write_motion(tmp_path / "b.npz", nod(7))
    assert len(node.execute("a.json").args[0]) == 20 and len(node.execute(f'"{tmp_path / "b.npz"}"').args[0]) == 7
    before = node.fingerprint_inputs("a.json")
    write_motion(host.output / "a.json", nod(9))
    assert node.fingerprint_inputs("a.json") != before and node.fingerprint_inputs("") == "" != node.fingerprint_inputs(
        None
    )
    for name, words in (("", "found none"), ("c.json", "no such file"), ("c.mp4", ".json, .csv, .npz")):
        with pytest.raises(DiffusedHeadsError, match=words):
            node.execute(name)


def sent(host: SimpleNamespace) -> dict[str, Any]:
    """The motion that the page was last told."""
    return next(data["motion"] for event, data, _ in reversed(host.messages) if event == "diffused_heads.motion")


def test_talking_portrait_and_the_sampler_follow_a_motion(
    host: SimpleNamespace, make_model: Callable[..., Path], portraits: torch.Tensor, speech: dict[str, Any]
) -> None:
    host.node("load_model", "register_folder")()
    make_model(host.models / "diffused_heads" / "tiny.safetensors")
    given = {"image": portraits[:1], "audio": speech, "model_name": "tiny.safetensors", "face": "whole", "seed": 5}
    given["frame"] = "head only"
    free, _, _, _ = run(host, "talking_portrait", "TalkingPortrait", **given)
    again, _, _, _ = run(host, "talking_portrait", "TalkingPortrait", motion=None, **given)
    led, _, _, _ = run(host, "talking_portrait", "TalkingPortrait", motion=nod(13), **given)
    assert torch.equal(free[0], again[0]) and not torch.equal(free[0], led[0])
    assert sent(host)["yaw"] == pytest.approx(np.degrees(nod(13).track.pose[:, 0]), abs=0.01)
    run(host, "talking_portrait", "TalkingPortrait", motion=nod(5), **given)
    assert len(sent(host)["yaw"]) == 13


def test_what_a_model_does_not_follow_is_said_on_the_node(host: SimpleNamespace) -> None:
    track_of = host.node("sampler", "track_of")
    (smiling,) = run(host, "edit_motion", "Expression", smile=0.4, motion=nod())
    led = SimpleNamespace(config=SimpleNamespace(head_motion=True, mouth=None), name="human")
    assert len(track_of(led, Sampling(track=smiling), None, 30, 0, nod().fps)) == 30
    assert "no effect with the model human" in host.shown["7"]
    free = SimpleNamespace(config=SimpleNamespace(head_motion=False), name="paper")
    assert track_of(free, Sampling(track=nod()), None, 30, 0, nod().fps) is None
    assert "the model paper makes up its own" in host.shown["7"]
