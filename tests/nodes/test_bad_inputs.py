"""Bad input through every node: a DiffusedHeadsError of one line that names the input, and no file left behind."""

from __future__ import annotations

import math
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from node_calls import Calls

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face.finder import Search
from diffused_heads.diffused_heads_core.face.placing import NoFaceError
from diffused_heads.diffused_heads_core.talking_head import TalkingHead, load_model
from diffused_heads.nodes.sockets import Sampling

NAN, INF = math.nan, math.inf
HALF = torch.full((1, 20, 20, 3), 0.5)


@pytest.fixture(scope="module")
def head(make_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> TalkingHead:
    return load_model(make_model(tmp_path_factory.mktemp("model") / "tiny.safetensors"), "cpu")


@pytest.fixture
def calls(host: SimpleNamespace, head: TalkingHead) -> Calls:
    return Calls(host, head)


def with_one(image: torch.Tensor, value: float, picture: int = 0) -> torch.Tensor:
    image = image.clone()
    image[picture, 3, 3, 0] = value
    return image


IMAGES: dict[str, tuple[Any, str]] = {  # what is no IMAGE; what the line says was found
    "none": (None, "found none"),
    "list": ([HALF], "found list"),
    "array": (HALF.numpy(), "found ndarray"),
    "one picture": (HALF[0], "(20, 20, 3)"),
    "clip of clips": (HALF[None], "(1, 1, 20, 20, 3)"),
    "empty batch": (HALF[:0], "(0, 20, 20, 3)"),
    "no height": (HALF[:, :0], "(1, 0, 20, 3)"),
    "no channels": (HALF[..., :0], "(1, 20, 20, 0)"),
    "2 channels": (HALF[..., :2], "(1, 20, 20, 2)"),
    "5 channels": (torch.ones(1, 9, 9, 5), "(1, 9, 9, 5)"),
    "channels first": (HALF.movedim(-1, 1), "(1, 3, 20, 20)"),
    "bytes": ((HALF * 255).byte(), "torch.uint8"),
    "yes and no": (HALF > 0.2, "torch.bool"),
    "whole numbers": (HALF.long(), "torch.int64"),
    "complex numbers": (HALF.cfloat(), "torch.complex64"),
    "NaN": (with_one(HALF, NAN), "NaN or infinity in picture 0 of 1"),
    "infinity": (with_one(HALF.repeat(3, 1, 1, 1), -INF, 2), "NaN or infinity in picture 2 of 3"),
}


@pytest.mark.parametrize("case", IMAGES)
@pytest.mark.parametrize(
    ("node", "name"), [("LoadIdentity", "image"), ("PasteBack", "images"), ("VideoCombine", "images")]
)
def test_what_is_no_image(calls: Calls, node: str, name: str, case: str) -> None:
    image, found = IMAGES[case]
    line = calls.refused(node, **{name: [image] if node == "PasteBack" else image})
    assert line.startswith(f"{name}: expected") and found in line


def sound(change: Callable[[torch.Tensor], Any], **more: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda speech: {**speech, "waveform": change(speech["waveform"]), **more}


RECORDINGS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "none": (lambda s: None, "found none"),
    "list": (lambda s: [s], "found list"),
    "waveform alone": (lambda s: s["waveform"], "found Tensor"),
    "no rate": (lambda s: {"waveform": s["waveform"]}, "found dict"),
    "no waveform": (lambda s: {"sample_rate": 16000}, "found dict"),
    "rate none": (sound(lambda w: w, sample_rate=None), "None"),
    "rate text": (sound(lambda w: w, sample_rate="fast"), "'fast'"),
    "rate NaN": (sound(lambda w: w, sample_rate=NAN), "nan"),
    "rate infinite": (sound(lambda w: w, sample_rate=INF), "inf"),
    "rate 0": (sound(lambda w: w, sample_rate=0), "0 Hz"),
    "rate negative": (sound(lambda w: w, sample_rate=-16000), "-16000 Hz"),
    "rate of light": (sound(lambda w: w, sample_rate=10**15), "1000000000000000 Hz"),
    "waveform none": (sound(lambda w: None), "NoneType"),
    "array": (sound(lambda w: w.numpy()), "ndarray"),
    "16-bit": (sound(lambda w: (w * 9999).short()), "torch.int16"),
    "complex": (sound(lambda w: w.cfloat()), "torch.complex64"),
    "one row": (sound(lambda w: w[0, 0]), "(3840,)"),
    "two recordings": (sound(lambda w: w.repeat(2, 1, 1)), "(2, 1, 3840)"),
    "no channel": (sound(lambda w: w[:, :0]), "(1, 0, 3840)"),
    "empty": (sound(lambda w: w[..., :0]), "0 samples"),
    "five axes": (sound(lambda w: w[None, None]), "(1, 1, 1, 1, 3840)"),
    "one sample": (sound(lambda w: w[..., :1]), "1 samples"),
    "NaN": (sound(lambda w: w * NAN), "NaN"),
    "infinity": (sound(lambda w: w + INF), "infinity"),
}
NO_SPEECH = {
    "0.1 s": (sound(lambda w: w[..., :1600]), "0.100 s"),
    "silence": (sound(torch.zeros_like), "silent"),
    "an offset": (sound(lambda w: w * 0 + 0.5), "silent"),
    "fainter than -70 dB": (sound(lambda w: w / 5000), "silent"),
}


@pytest.mark.parametrize("case", [*RECORDINGS, *NO_SPEECH])
@pytest.mark.parametrize("node", ["EncodeAudio", "VideoCombine"])
def test_what_is_no_recording(calls: Calls, node: str, case: str) -> None:
    if node == "VideoCombine" and case in NO_SPEECH:
        pytest.skip("any sound goes into a video")
    make, found = {**RECORDINGS, **NO_SPEECH}[case]
    if node == "VideoCombine" and case == "none":
        assert calls.run(node, audio=None)
        return
    line = calls.refused(node, audio=make(calls.speech))
    assert line.startswith("audio: ") and found in line


def test_nine_channels_are_refused_in_a_video(calls: Calls) -> None:
    many = {**calls.speech, "waveform": calls.speech["waveform"].expand(1, 9, -1)}
    assert calls.run("EncodeAudio", audio=many)[0].frames.shape == (6, 8)
    assert "audio: 9 channels" in calls.refused("VideoCombine", audio=many)


SETTINGS = [
    *[
        ("LoadIdentity", {name: value}, said)
        for name, value, said in (
            ("face", "smallest", "rule='smallest'"),
            ("face", "box", "size=0"),
            ("x", NAN, "x=nan"),
            ("y", -0.1, "y=-0.1"),
            ("size", INF, "size=inf"),
            ("size", 2.0, "size=2.0"),
            ("margin", NAN, "margin=nan"),
            ("margin", 99.0, "margin=99.0"),
            ("face_index", -1, "index=-1"),
        )
    ],
    ("LoadIdentity", {"face": "box", "size": 0.1}, "image: a box of 6 pixels in a picture of 60x80"),
    *[
        ("EncodeAudio", {name: value}, f"{name}={said}")
        for name, value, said in (
            ("start", NAN, "nan"),
            ("start", -1.0, "-1.0"),
            ("start", 1e308, "1e+308 s is beyond"),
            ("start", 0.24, "0.24 s is beyond the end of the recording at 0.240 s"),
            ("duration", NAN, "nan"),
            ("duration", INF, "inf"),
            ("duration", -0.5, "-0.5"),
        )
    ],
    ("EncodeAudio", {"duration": 1e-300}, "0 samples"),
    ("EncodeAudio", {"start": 0.1}, "0.140 s of sound, expected speech of at least 0.2 s"),
    *[
        ("DiffusedHeadsSampler", {name: value}, said)
        for name, value, said in (("seed", -1, "seed=-1"), ("seed", 2**64, "seed=18446744073709551616"))
    ],
    *[
        ("DiffusedHeadsSampler", {"options": Sampling({name: value})}, said)
        for name, value, said in (
            ("steps", 1001, "steps=1001"),
            ("steps", 0, "steps=0"),
            ("sampler", "euler", "sampler='euler'"),
            ("guidance", NAN, "guidance=nan"),
            ("guidance", 11.0, "guidance=11.0"),
            ("eta", 2.0, "eta=2.0"),
            ("colour_lock", INF, "colour_lock=inf"),
            ("motion_anchor", -0.5, "motion_anchor=-0.5"),
            ("motion_anchor", NAN, "motion_anchor=nan"),
            ("temperature", -0.5, "temperature=-0.5"),
            ("temperature", NAN, "temperature=nan"),
        )
    ],
    ("DiffusedHeadsSampler", {"options": Sampling(fps=241.0)}, "fps=241.0"),
    *[
        ("PasteBack", {name: [value]}, said)
        for name, value, said in (
            ("images", torch.zeros(2, 32, 30, 3), "square frames"),
            ("images", torch.zeros(2, 32, 32, 4), "square frames"),
            ("fps", NAN, "fps=nan"),
            ("fps", 0.0, "fps=0"),
            ("detail", NAN, "detail=nan"),
            ("detail", 1.5, "detail=1.5"),
            ("mask", torch.zeros(3, 8, 8), "1 masks, found 3"),
            ("mask", torch.full((1, 8, 8), NAN), "mask: expected finite"),
            ("mask", torch.zeros(1, 0, 8), "(1, 0, 8)"),
            ("mask", torch.zeros(1, 1, 8, 8), "(1, 1, 8, 8)"),
        )
    ],
    *[
        ("VideoCombine", {name: value}, said)
        for name, value, said in (
            ("fps", NAN, "fps=nan"),
            ("fps", 0.0, "fps=0"),
            ("fps", 1000.0, "fps=1000"),
            ("format", "avi", "format=avi"),
            ("quality", 101, "quality=101"),
            ("quality", -1, "quality=-1"),
            ("loop_count", -1, "plays=-1"),
            ("loop_count", 65536, "plays=65536"),
            ("filename_prefix", "a\0b", "filename_prefix='a\\x00b': cannot write there"),
            ("filename_prefix", "x" * 300 + "/a", "filename_prefix='xxx"),
            ("images", torch.zeros(1, 8, 17000, 3), "frames of 17000 x 8, H.264 takes 16384"),
        )
    ],
    ("VideoCombine", {"format": "mp4-h265", "images": torch.zeros(1, 32, 32, 3)}, "H.265 takes 64 x 64"),
    ("VideoCombine", {"format": "webp", "images": torch.zeros(1, 8, 17000, 3)}, "webp is at most 16383 pixels"),
    *[
        ("LoadModel", {"model_name": name}, "model_name: ")
        for name in ("nobody", "", "../tiny.safetensors", "old/crema.pt", "a\0b.safetensors")
    ],
    ("ExamplePortraitAndVoice", {"portrait": "nobody"}, "portrait-nobody.png: expected a picture"),
    ("ExamplePortraitAndVoice", {"voice": "../x"}, "expected an audio file"),
]


@pytest.mark.parametrize(
    ("node", "changes", "said"), SETTINGS, ids=lambda value: value if isinstance(value, str) else ",".join(value)
)
def test_settings_beyond_their_limits(calls: Calls, node: str, changes: dict[str, Any], said: str) -> None:
    if node == "LoadModel":
        calls.host.models.mkdir()
        calls.node(node)
        sys.modules["diffused_heads.nodes.load_model"].register_folder()
    assert said in calls.refused(node, **changes)


def test_files_that_are_no_models(calls: Calls, tmp_path: Path, make_model: Callable[..., Path]) -> None:
    node, folder = calls.node("LoadModel"), calls.host.models / "diffused_heads"
    sys.modules["diffused_heads.nodes.load_model"].register_folder()
    whole = make_model(tmp_path / "tiny.safetensors").read_bytes()
    for name, content in {
        "empty": b"",
        "text": b"hello\n" * 99,
        "cut": whole[:-99],
        "head": whole[:50],
        "zeros": bytes(99),
    }.items():
        (folder / f"{name}.safetensors").write_bytes(content)
        assert node.validate_inputs(f"{name}.safetensors") is True and f"{name}.safetensors: expected" in calls.refused(
            "LoadModel", model_name=f"{name}.safetensors"
        )
    (folder / "folder.safetensors").mkdir()
    assert "folder.safetensors" in calls.refused("LoadModel", model_name="folder.safetensors")
    assert "nobody" in node.validate_inputs("nobody") and "diffused-heads convert" in node.validate_inputs("a.ckpt")


def test_what_was_made_for_another_model(calls: Calls) -> None:
    other = calls.identity_of(calls.picture, 64)
    assert "identity: made for a model of 64 px, tiny has 32 px" in calls.refused(
        "DiffusedHeadsSampler", identity=other
    )
    stranger = type(calls.embedding)(calls.embedding.frames, "stranger")
    assert "audio_embedding: made by stranger" in calls.refused("DiffusedHeadsSampler", audio_embedding=stranger)
    two = calls.identity_of(calls.picture.repeat(2, 1, 1, 1))
    assert "found 2 for 3" in calls.refused("PasteBack", images=[torch.zeros(1, 32, 32, 3)] * 3, identity=[two])


def test_pictures_without_a_face_and_without_networks(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    calls.node("LoadIdentity")
    module = sys.modules["diffused_heads.nodes.identity"]
    monkeypatch.setattr(
        module, "face_finder", lambda: SimpleNamespace(search=lambda picture: Search([], ("the whole picture",), 0.1))
    )
    assert "image: no face" in calls.refused("LoadIdentity", face="auto") and "box" in calls.refused(
        "LoadIdentity", face="largest"
    )

    def absent() -> None:
        raise DiffusedHeadsError("face_detection_back.tflite: face analysis needs this network")

    monkeypatch.setattr(module, "face_finder", absent)
    assert "face_detection_back.tflite" in calls.refused("LoadIdentity", face="auto")


def test_too_little_memory_and_the_hosts_own_refusal(calls: Calls) -> None:
    calls.host.free_memory = 1000
    assert "2 frames of 60x80 take 0.0 GB" in calls.refused("PasteBack")
    with pytest.raises(Exception, match="outside the output folder"):
        calls.run("VideoCombine", filename_prefix="../../a")
    assert not calls.left()


def test_sound_of_a_node_that_reads_it_late(calls: Calls) -> None:
    from collections.abc import Iterator, Mapping

    class Late(Mapping):
        """As given by packs that decode a file when its sound is asked for."""

        def __getitem__(self, key: str) -> Any:
            return calls.speech[key]

        def __iter__(self) -> Iterator[str]:
            return iter(calls.speech)

        def __len__(self) -> int:
            return 2

    embedding, part = calls.run("EncodeAudio", audio=Late())
    assert torch.equal(embedding.frames, calls.embedding.frames) and torch.equal(
        part["waveform"], calls.speech["waveform"]
    )
    assert calls.run("VideoCombine", audio=Late()) and len(calls.left()) == 1


def test_numpy_and_the_good_inputs_are_good(calls: Calls, make_model: Callable[..., Path]) -> None:
    calls.node("LoadModel")
    sys.modules["diffused_heads.nodes.load_model"].register_folder()
    make_model(calls.host.models / "diffused_heads" / "tiny.safetensors")
    for name in calls.good:
        assert calls.run(name)
    assert len(calls.left()) == 1 and np.array_equal(calls.run("LoadIdentity")[0].pictures, calls.identity.pictures)


def test_the_host_shows_the_error_without_a_path_and_it_can_be_pickled() -> None:
    """ComfyUI writes the module before the class, unless it is ``builtins``."""
    error = DiffusedHeadsError("image: wrong")
    assert (type(error).__module__, type(error).__qualname__) == ("builtins", "DiffusedHeadsError")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is DiffusedHeadsError and str(again) == "image: wrong"
    no_face = NoFaceError("a: no face", np.zeros((9, 9, 3), np.uint8), (0.5, 0.5, 0.5))
    assert str(pickle.loads(pickle.dumps(no_face))) == str(no_face) and type(no_face).__module__ == "builtins"
