"""Several videos in one command: which are made, how they are named, what fails, and that a stopped run goes on."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from hard_inputs import Bench, Done, bench, encode, frames_of, riff, voice

from diffused_heads.diffused_heads_core import pipeline, talking_head
from diffused_heads.diffused_heads_core.pipeline import Animation

Generate = Callable[..., Done]


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield from bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def inputs(tools: Bench, tmp_path: Path) -> Path:
    """Portraits a, b, c and recordings x (0.2 s), y (0.32 s), z (0.4 s)."""
    for name, level in (("a", 60), ("b", 120), ("c", 180)):
        picture = np.full((48, 40, 3), level, np.uint8)
        picture[10:20, 10:30] = 250
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
    for name, seconds in (("x", 0.2), ("y", 0.32), ("z", 0.4)):
        riff(tmp_path / f"{name}.wav", voice(seconds, 16000)[None], 16000)
    return tmp_path


@pytest.fixture
def generate(tools: Bench, inputs: Path) -> Generate:
    """Runs ``generate`` with names of the inputs, into the folder "out"; ``--`` options as they are."""
    return lambda *words: tools.run(
        *(inputs / word if str(word).endswith((".png", ".wav", ".csv", ".mka")) else word for word in words),
        *(() if "--output-folder" in words else ("--output-folder", inputs / "out")),
    )


def made(folder: Path) -> dict[str, int]:
    return {path.name: frames_of(path) for path in sorted(folder.iterdir())}


def test_as_many_of_both_are_pairs(generate: Generate, inputs: Path) -> None:
    done = generate("--identity", "a.png", "b.png", "--audio", "x.wav", "y.wav")
    assert done.status == 0 and made(inputs / "out") == {"a-x.mp4": 5, "b-y.mp4": 8}
    assert done.out.splitlines()[-1] == "2 videos: 2 made"
    assert "13/13 frames" in done.err and set(re.findall(r"/(\d+) frames", done.err)) == {"13"}


def test_one_of_either_is_used_for_all(generate: Generate, inputs: Path) -> None:
    assert generate("--identity", "a.png", "b.png", "c.png", "--audio", "x.wav").status == 0
    assert made(inputs / "out") == {"a-x.mp4": 5, "b-x.mp4": 5, "c-x.mp4": 5}
    assert generate("--identity", "a.png", "--audio", "y.wav", "z.wav").status == 0
    assert {"a-y.mp4", "a-z.mp4"} < made(inputs / "out").keys()


def test_all_pairs_must_be_asked_for(generate: Generate, inputs: Path) -> None:
    words = ("--identity", "a.png", "b.png", "--audio", "x.wav", "y.wav", "z.wav")
    assert "2 portraits and 3 recordings" in generate(*words).line and not (inputs / "out").exists()
    assert generate(*words, "--all-pairs").status == 0
    assert made(inputs / "out") == {f"{a}-{x}.mp4": n for a in "ab" for x, n in (("x", 5), ("y", 8), ("z", 10))}


def test_names_are_unique_and_stay(generate: Generate, inputs: Path) -> None:
    (inputs / "more").mkdir()
    for name in ("a.png", "A.png"):
        (inputs / "more" / name).write_bytes((inputs / "b.png").read_bytes())
    words = ("--identity", "a.png", "more/a.png", "more/A.png", "--audio", "x.wav")
    assert generate(*words).status == 0 and set(made(inputs / "out")) == {"a-x.mp4", "a-x-2.mp4", "A-x-3.mp4"}
    assert generate(*words).out == "3 videos: 3 there already\n"


def test_a_table_with_options(generate: Generate, inputs: Path) -> None:
    (inputs / "pairs.csv").write_text(
        "\ufeffIdentity;audio;output;start;duration;seed;keep-tilt;box\n"
        "a.png;z.wav;first.mp4;0.1;;7;;\n\n"
        f"{inputs / 'b.png'};z.wav;second.mkv;;0.2;;yes;0.5 0.5 0.5\n"
        "c.png;x.wav;;;;;no;\n",
        encoding="utf-8",
    )
    done = generate("--table", "pairs.csv", "--seed", 3)
    assert done.status == 0 and made(inputs / "out") == {"c-x.mp4": 5, "first.mp4": 8, "second.mkv": 5}, done
    with av.open(str(inputs / "out" / "first.mp4")) as first, av.open(str(inputs / "out" / "c-x.mp4")) as last:
        assert (first.metadata["seed"], last.metadata["seed"]) == ("7", "3")
    (inputs / "pairs.csv").write_text("identity,audio,output\na.png,x.wav,beside.mp4\n")
    assert generate("--table", "pairs.csv", "--output-folder", inputs).status == 0
    assert (inputs / "beside.mp4").is_file()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("identity,audio,colour\na.png,x.wav,red\n", "unknown columns colour"),
        ("identity,output\na.png,a.mp4\n", "columns identity, output"),
        ("identity,audio\n", "expected rows, found none"),
        ("identity,audio,steps,seed\na.png,,2,\nb.png,x.wav,many,\n", "line 2: audio: expected a file"),
        ("identity,audio,steps,seed\na.png,,2,\nb.png,x.wav,many,\n", "line 3: argument --steps"),
        ("identity,audio,keep_tilt\na.png,x.wav,perhaps\n", "--keep-tilt perhaps: expected yes or no"),
        ("identity,audio\na.png,x.wav,more\n", "line 2: 3 cells, 2 columns"),
        ("identity,audio,output\na.png,x.wav,t.mp4\nb.png,x.wav,t.mp4\n", "t.mp4: named as output more than once"),
        ("identity,audio\nhttps://a.org/a.png,x.wav\n", "https://a.org/a.png: expected a file on this machine"),
        ("\0", "expected the columns"),
    ],
)
def test_what_is_wrong_in_a_table(generate: Generate, inputs: Path, table: str, said: str) -> None:
    (inputs / "pairs.csv").write_text(table)
    assert said in generate("--table", "pairs.csv").line and not (inputs / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--identity", "a.png", "--audio", "x.wav", "--output", "t.mp4"), "--output and --output-folder"),
        (("--identity", "a.png"), "--audio"),
        (("--table", "t.csv", "--audio", "x.wav"), "--table: expected no --audio"),
    ],
)
def test_options_that_do_not_belong_together(generate: Generate, words: tuple[str, ...], said: str) -> None:
    done = generate(*words)
    assert done.status == 2 and said in done.line


def test_several_need_a_folder(tools: Bench, inputs: Path) -> None:
    done = tools.generate(inputs / "t.mp4", audio=inputs / "x.wav", identity=[inputs / "a.png", inputs / "b.png"])
    assert done.status == 2 and "--output-folder is for several" in done.line


def test_failures_have_a_line_each_before_the_first_frame_and_the_others_are_made(
    generate: Generate, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inputs / "b.png").write_text("no picture")
    riff(inputs / "y.wav", np.zeros((1, 8000)), 16000)
    began: list[str] = []
    frames = Animation.frames

    def noted(self: Animation, *more: object) -> Iterator[np.ndarray]:
        began.append(self.portrait.name)
        return frames(self, *more)

    monkeypatch.setattr(Animation, "frames", noted)
    done = generate("--identity", "a.png", "b.png", "c.png", "--audio", "x.wav", "x.wav", "y.wav")
    lines = [line for line in done.err.replace("\r", "\n").splitlines() if "failed" in line]
    assert done.status == 1 and made(inputs / "out") == {"a-x.mp4": 5} and len(began) == 1
    assert [line.split(": failed: ")[0] for line in lines] == [str(inputs / "out" / f"{n}.mp4") for n in ("b-x", "c-y")]
    assert "b.png: expected a picture" in lines[0] and "y.wav: " in lines[1] and "silent" in lines[1]
    assert done.err.index("failed") < done.err.index("frames/s")
    assert done.out.splitlines()[-1] == "3 videos: 1 made, 2 failed"


def test_a_video_that_fails_while_it_is_made_does_not_stop_the_others(
    generate: Generate, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = Animation.frames

    def broken(self: Animation, *more: object) -> Iterator[np.ndarray]:
        for number, frame in enumerate(frames(self, *more)):
            if number == 2 and "b.png" in self.portrait.name:
                raise RuntimeError("out of\nmemory")
            yield frame

    monkeypatch.setattr(Animation, "frames", broken)
    done = generate("--identity", "a.png", "b.png", "c.png", "--audio", "x.wav")
    assert done.status == 1 and made(inputs / "out") == {"a-x.mp4": 5, "c-x.mp4": 5}
    assert done.err.count("failed") == 1 and "b-x.mp4: failed: unexpected RuntimeError: out of memory" in done.err
    assert "12/12 frames" in done.err  # two of the five that failed were done


def test_a_stopped_run_goes_on(generate: Generate, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--identity", "a.png", "b.png", "c.png", "--audio", "x.wav")

    def stopped(self: Animation, *more: object) -> Iterator[np.ndarray]:
        if "b.png" in self.portrait.name:
            raise KeyboardInterrupt
        return frames(self, *more)

    frames = Animation.frames
    with monkeypatch.context() as patch:
        patch.setattr(Animation, "frames", stopped)
        assert generate(*words).status == 130 and set(made(inputs / "out")) == {"a-x.mp4"}
    first = (inputs / "out" / "a-x.mp4").stat()
    done = generate(*words)
    assert done.status == 0 and done.out.splitlines()[-1] == "3 videos: 2 made, 1 there already"
    assert (inputs / "out" / "a-x.mp4").stat().st_mtime_ns == first.st_mtime_ns


def test_what_changed_is_made_again(generate: Generate, inputs: Path) -> None:
    words = ("--identity", "a.png", "b.png", "--audio", "x.wav")

    def said(*more: object) -> str:
        return generate(*words, *more).out.splitlines()[-1]

    assert said() == "2 videos: 2 made" and said() == "2 videos: 2 there already"
    assert said("--overwrite") == "2 videos: 2 made" and said("--seed", 5) == "2 videos: 2 made"
    (inputs / "b.png").write_bytes((inputs / "c.png").read_bytes())
    assert said("--seed", 5) == "2 videos: 1 made, 1 there already"
    (inputs / "out" / "a-x.mp4").write_bytes(b"cut short")
    assert said("--seed", 5) == "2 videos: 1 made, 1 there already"


def test_an_output_never_replaces_an_input(generate: Generate, inputs: Path) -> None:
    clip = encode(inputs / "x.mkv", voice(0.3, 48000)[None], 48000, "aac")
    (inputs / "pairs.csv").write_text("identity,audio,output\na.png,x.mkv,x.mkv\n")
    before = clip.read_bytes()
    done = generate("--table", "pairs.csv", "--output-folder", inputs)
    assert done.status == 1 and "must be another file" in done.err and clip.read_bytes() == before


def test_the_model_is_loaded_once(tools: Bench, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[object] = []
    load = talking_head.load_model
    monkeypatch.setattr(talking_head, "load_model", lambda *words: loaded.append(words) or load(*words))
    monkeypatch.setattr(pipeline, "load_model", lambda *words: pytest.fail("loaded again"))
    words = ("--identity", *(inputs / f"{name}.png" for name in "abc"), "--audio", inputs / "x.wav")
    assert tools.run(*words, "--output-folder", inputs / "out").status == 0 and len(loaded) == 1
