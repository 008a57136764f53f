"""Bad input through the command line: one line names the input, what was expected and what was found.

No file is left behind.
"""

from __future__ import annotations

import json
import os
import re
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent))
from hard_inputs import PREFIX, RIFF_FLOAT, Bench, bench, encode, frames_of, riff, voice

from diffused_heads import animate, main
from diffused_heads.diffused_heads_core.face.placing import Placing
from diffused_heads.diffused_heads_core.files import as_path
from diffused_heads.diffused_heads_core.media.pictures import load_picture
from diffused_heads.diffused_heads_core.media.video import read_video, write_video
from diffused_heads.diffused_heads_core.talking_head import TalkingHead

POSIX = os.name == "posix"
NOISE = np.random.default_rng(0).integers(0, 256, (60, 50, 3), np.uint8)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>'
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)


def chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png(width: int, height: int, pixels: bytes, end: bool = True, **more: int | None) -> bytes:
    """An RGB PNG with these compressed pixels, whether they fit or not."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels, **more) + (chunk(b"IEND", b"") if end else b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def cut(suffix: str) -> bytes:
    return bytes(cv2.imencode(suffix, NOISE)[1].tobytes()[:-1500])


ROWS = zlib.compress(bytes(61 * 20))  # 20 x 20 pixels
PICTURES: dict[str, tuple[bytes, str]] = {  # what is in the file; what the line says was found
    "png, wrong checksum": (png(20, 20, ROWS, checksum=1), "a PNG picture that is damaged"),
    "png, no zlib in it": (png(20, 20, b"nonsense" * 9), "a PNG picture that is damaged"),
    "png, rows are missing": (png(20, 20, zlib.compress(bytes(61 * 3))), "a PNG picture that is damaged"),
    "png of 1 gigapixel, rows are missing": (png(32768, 32768, ROWS), "a PNG picture that is damaged"),
    "png of nothing": (png(0, 0, ROWS), "a PNG picture that is damaged"),
    "png of 3.6 gigapixels": (png(60000, 60000, ROWS), "60000 x 60000"),
    "png of 2 million columns": (png(2_000_000, 1, ROWS), "2000000 x 1"),
    "png, no end": (png(20, 20, ROWS, end=False), "a PNG picture that is damaged, cut short"),
    "png, another chunk first": (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", ROWS) + chunk(b"IEND", b""),
        "a PNG picture that is damaged",
    ),
    "jpeg cut": (cut(".jpg"), "a JPEG picture that is damaged, cut short"),
    "webp cut": (cut(".webp"), "a WebP picture that is damaged, cut short"),
    "tiff cut": (cut(".tiff"), "a TIFF picture that is damaged"),
    "bmp cut": (cut(".bmp"), "a BMP picture that is damaged"),
    "gif cut": (b"GIF89a\x20\0\x20\0\x80\0\0" + bytes(9), "a GIF picture that is damaged"),
    "svg": (SVG, "an SVG drawing"),
    "pdf": (b"%PDF-1.7\n" + bytes(99), "a PDF"),
    "photoshop": (b"8BPS\0\1" + bytes(99), "a Photoshop document"),
    "heic of a phone": (HEIC, "a HEIC picture"),
    "video": (b"\0\0\0\x18ftypisom" + bytes(99), "a video"),
    "matroska": (b"\x1aE\xdf\xa3" + bytes(99), "a video"),
    "sound": (b"RIFF\x24\0\0\0WAVEfmt ", "sound"),
    "archive": (b"PK\3\4" + bytes(99), "a ZIP archive"),
    "text": (b"hello\n" * 9, "text"),
    "empty": (b"", "0 bytes"),
    "one byte": (b"\0", "something else"),
}


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield from bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def refused(
    tools: Bench, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Runs a command that must fail before any sampling and gives its line; libraries must not print anything."""

    def run(*more: object, output: object = "a.mp4", **inputs: object) -> str:
        monkeypatch.setattr(TalkingHead, "generate", lambda *_, **__: pytest.fail("sampling began"))
        before = sorted(p.name for p in tmp_path.iterdir())
        line = tools.generate(tmp_path / str(output), *more, **inputs).line
        out, err = capfd.readouterr()
        assert not out and not err and sorted(p.name for p in tmp_path.iterdir()) == before
        return line

    return run


@pytest.mark.parametrize("case", PICTURES)
def test_what_is_no_picture(tools: Bench, refused: Callable[..., str], case: str) -> None:
    content, found = PICTURES[case]
    path = tools.folder / "bad.png"
    path.write_bytes(content)
    line = refused(identity=path)
    assert line.startswith(f"{path}: expected ") and found in line


def recordings(folder: Path) -> dict[str, tuple[Path, str]]:
    """What is no speech: the file, and what the line says was found."""
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    (folder / "stream.sdp").write_text(
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"
    )
    (folder / "words.srt").write_text("1\n00:00:00,000 --> 00:00:02,000\nhello\n")
    (folder / "zeros.wav").write_bytes(bytes(5000))
    whole = riff(folder / "whole.wav", voice(0.5, 16000)[None], 16000).read_bytes()
    for name, at, value in (("no channels", 22, b"\0\0"), ("no rate", 24, bytes(4)), ("codec", 20, b"\x99\x99")):
        (folder / f"{name}.wav").write_bytes(whole[:at] + value + whole[at + len(value) :])
    movie = encode(folder / "cut.mov", voice(0.5, 48000)[None], 48000, "pcm_s16le")
    movie.write_bytes(movie.read_bytes()[:9000])
    broken = np.where(np.arange(8000) == 5, np.nan, voice(0.5, 16000))[None]
    write_video(folder / "mute.mp4", [NOISE] * 9, 25)
    return {
        "an address": (folder / "list.m3u8", "no audio"),
        "a stream": (folder / "stream.sdp", "no audio"),
        "subtitles": (folder / "words.srt", "without sound"),
        "zeros": (folder / "zeros.wav", "no audio"),
        "no channels": (folder / "no channels.wav", "damaged"),
        "no rate": (folder / "no rate.wav", "damaged"),
        "unknown codec": (folder / "codec.wav", "no decoder"),
        "cut movie": (movie, "damaged"),
        "mute video": (folder / "mute.mp4", "without sound"),
        "not a number": (riff(folder / "nan.wav", broken, 16000, RIFF_FLOAT, 32), "NaN"),
        "offset alone": (riff(folder / "flat.wav", np.full((1, 8000), 0.5), 16000), "silent"),
        "no samples": (riff(folder / "none.wav", np.zeros((1, 0)), 16000), "empty"),
        "one sample": (riff(folder / "one.wav", np.ones((1, 1)), 16000), "0.000 s"),
    }


RECORDINGS = (
    "an address",
    "a stream",
    "subtitles",
    "zeros",
    "no channels",
    "no rate",
    "unknown codec",
    "cut movie",
    "mute video",
    "not a number",
    "offset alone",
    "no samples",
    "one sample",
)


@pytest.mark.parametrize("case", RECORDINGS)
def test_what_is_no_speech(tools: Bench, refused: Callable[..., str], case: str) -> None:
    path, found = recordings(tools.folder)[case]
    line = refused(audio=path)
    assert line.startswith(f"{path}: ") and found in line and ("expected" in line or "no decoder" in line)


NAMES = {
    "missing": ("none.x", "no such file"),
    "folder": (".", "folder"),
    "NUL": ("a\0b.x", "null"),
    "too long": ("x" * 300, "too long"),
    "under a file": ("face.png/a.x", "Not a directory"),
    "pipe": ("pipe", "a pipe or device"),
    "device": ("/dev/zero", "a pipe or device"),
}


@pytest.mark.parametrize("case", NAMES)
@pytest.mark.parametrize("which", ["identity", "audio"])
def test_names_that_are_no_files(tools: Bench, refused: Callable[..., str], which: str, case: str) -> None:
    if not POSIX:
        pytest.skip("names and messages of POSIX")
    name, found = NAMES[case]
    if case == "pipe" and not (tools.folder / name).exists():
        os.mkfifo(tools.folder / name)
    line = refused(**{which: tools.folder / name})
    assert str(tools.folder / name) in line and "expected" in line and found in line


OUTPUTS = {
    "NUL": ("a\0b.mp4", "null"),
    "too long": (f"{'x' * 300}.mp4", "too long"),
    "no suffix": ("talk", "expected a video name ending in .mp4"),
    "picture": ("talk.png", "found .png"),
    "missing folder": ("no/a.mp4", "does not exist"),
    "under a file": ("file/a.mp4", "is not a folder"),
    "folder": ("folder.mp4", "found a folder"),
    "pipe": ("pipe.mp4", "not a regular file"),
    "link to nowhere": ("link.mp4", "no/where does not exist"),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_outputs_that_cannot_be_written(refused: Callable[..., str], tmp_path: Path, case: str) -> None:
    if not POSIX:
        pytest.skip("pipes, links and messages of POSIX")
    (tmp_path / "file").touch()
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "no" / "where" / "a.mp4")
    name, found = OUTPUTS[case]
    line = refused(output=name)
    assert str(tmp_path / name) in line and found in line


SETTINGS = [
    *[
        (option, text, f"{name}={text}")
        for option, name, texts in (
            ("--seed", "seed", ("-1", str(2**64), str(10**30))),
            ("--steps", "steps", ("0", "-3", "1001", str(10**30))),
            ("--guidance", "guidance", ("nan", "inf", "-1.0", "10.5")),
            ("--eta", "eta", ("nan", "1.5")),
            ("--colour-lock", "colour_lock", ("nan", "-0.5")),
            ("--motion-anchor", "motion_anchor", ("inf", "1.01")),
            ("--head-motion", "head", ("nan", "2.5")),
            ("--blinks", "blinks", ("-1.0", "3.0")),
            ("--start", "start", ("nan", "inf", "-1.0")),
            ("--duration", "duration", ("nan", "inf", "0.0", "-2.0")),
            ("--margin", "margin", ("nan", "-0.5", "3.0")),
            ("--face-index", "index", ("-1",)),
        )
        for text in texts
    ],
    ("--detail", "nan", "--detail: nan"),
    ("--detail", "1.5", "--detail: 1.5"),
    ("--start", "1e300", "start=1e+300 s is beyond"),
    ("--duration", "1e-300", "0.000 s"),
    ("--sampler", "euler", "sampler='euler'"),
    ("--device", "tpu", "device='tpu'"),
    ("--face", "nearest", "--at X Y"),
    ("--model", "nobody", "'nobody'"),
]


@pytest.mark.parametrize(("option", "text", "said"), SETTINGS)
def test_settings_beyond_their_limits(refused: Callable[..., str], option: str, text: str, said: str) -> None:
    line = refused(option, text)
    assert said in line and ("expected" in line or "beyond" in line)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--box", "nan", "0.5", "0.5"), "x=nan"),
        (("--box", "0.5", "0.5", "0"), "size=0"),
        (("--box", "0.5", "0.5", "0.01"), "a box of 0 pixels"),
        (("--box", "0.5", "0.5", "1.5"), "size=1.5"),
        (("--at", "-0.5", "0.5"), "x=-0.5"),
        (("--at", "0.5", "0.5", "--box", "0.5", "0.5", "0.5"), "--at and --box"),
    ],
)
def test_places_outside_the_picture(refused: Callable[..., str], words: tuple[str, ...], said: str) -> None:
    assert said in refused(*words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--steps", "many"), "--steps: invalid int value: 'many'"),
        (("--steps", "1.5"), "'1.5'"),
        (("--duration", ""), "--duration"),
        (("--seed", "1e3"), "'1e3'"),
        (("--face", "biggest"), "--face"),
        (("--frame", "window"), "--frame"),
        (("--box", "1", "2"), "--box"),
        (("--at", "1"), "--at"),
        (("--stepz", "3"), "--stepz"),
    ],
)
def test_usage_errors_end_with_status_2(tools: Bench, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = tools.generate(tmp_path / "a.mp4", *words)
    assert done.status == 2 and said in done.line and not list(tmp_path.iterdir())


def test_models_that_do_not_fit(
    tools: Bench, refused: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with safe_open(tools.folder / "tiny.safetensors", "pt") as file:
        names, metadata = file.keys(), file.metadata()
        tensors = {name: file.get_tensor(name) for name in names}
    first = next(iter(tensors))
    config = json.loads(metadata["config"])
    cases = {
        "no tensors": ({}, metadata, "tensors do not fit"),
        "one is missing": ({n: t for n, t in tensors.items() if n != first}, metadata, f"{first} missing"),
        "another shape": ({**tensors, first: tensors[first][..., :1]}, metadata, "1 tensors do not fit"),
        "one too many": ({**tensors, "unet.more": tensors[first].clone()}, metadata, "not expected"),
        "config is no JSON": (tensors, {**metadata, "config": "{"}, "do not describe a model"),
        "no config": (tensors, {"format": metadata["format"]}, "do not describe"),
        "config of a list": (tensors, {**metadata, "config": "[]"}, "do not describe a model"),
        "config with nonsense": (
            tensors,
            {**metadata, "config": json.dumps({**config, "unet": 3})},
            "do not describe a model",
        ),
        "summary is no JSON": (tensors, {**metadata, "summary": "?"}, "do not describe a model"),
        "another format": (tensors, {**metadata, "format": "x"}, "another project"),
    }
    for number, (case, (content, about, said)) in enumerate(cases.items()):
        path = tmp_path_factory.mktemp("model") / f"{number}.safetensors"
        save_file(content, path, about)
        line = refused("--model", path)
        assert str(path) in line and said in line, case


def test_a_picture_too_wide_for_its_codec_leaves_nothing(tools: Bench, tmp_path: Path) -> None:
    cv2.imwrite(str(tools.folder / "wide.png"), np.zeros((20, 17000, 3), np.uint8))
    words = ("--frame", "picture", "--duration", 0.2)
    done = tools.generate(tmp_path / "a.mp4", *words, identity=tools.folder / "wide.png")
    assert "a.mp4: frames of 17000 x 20, H.264 takes 16384 pixels a side at most" in done.line
    assert "--max-side" in done.line and not list(tmp_path.iterdir())
    done = tools.generate(tmp_path / "a.mp4", *words, "--max-side", 1700, identity=tools.folder / "wide.png")
    assert done.status == 0 and read_video(tmp_path / "a.mp4").size == (2, 1700)


def test_max_side_makes_the_portrait_smaller_before_everything(tools: Bench, tmp_path: Path) -> None:
    cv2.imwrite(str(tools.folder / "large.png"), np.full((960, 800, 3), (30, 90, 200), np.uint8))
    words = ("--frame", "picture", "--duration", 0.2, "--box", 0.5, 0.5, 0.5)
    for side, size in ((480, (480, 400)), (5000, (960, 800))):
        done = tools.generate(tmp_path / "a.mp4", *words, "--max-side", side, identity=tools.folder / "large.png")
        assert done.status == 0 and read_video(tmp_path / "a.mp4").size == size
        corner = next(iter(read_video(tmp_path / "a.mp4").frames))[:40, :40].astype(int)
        assert np.abs(corner - (200, 90, 30)).max() <= 4
    assert tools.generate(tmp_path / "a.mp4", "--max-side", 0).status == 2


@pytest.mark.parametrize("which", ["identity", "audio"])
@pytest.mark.parametrize("address", ["https://a.org/b.png", "http://a.org/b", "rtsp://camera/1", "FTP://a/b"])
def test_an_address_is_refused_with_a_word(tools: Bench, tmp_path: Path, which: str, address: str) -> None:
    line = tools.generate(tmp_path / "a.mp4", **{which: address}).line
    assert "expected a file on this machine, found an address; download it first" in line
    assert address.split(":")[1] in line and not list(tmp_path.iterdir())


def test_paths_as_people_write_them(tools: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME" if POSIX else "USERPROFILE", str(tools.folder))
    spaced = tools.folder / "with blank.png"
    spaced.write_bytes((tools.folder / "face.png").read_bytes())
    short = ("--duration", 0.2)
    for identity in ("~/face.png", spaced.as_uri(), f'"{spaced}"', f"'{spaced}'", spaced.as_uri().replace("///", "/")):
        assert tools.generate(tmp_path / "a.mp4", *short, identity=identity).status == 0, identity
    assert tools.generate("~/out.mp4", *short, audio="~/speech.wav").status == 0
    assert (tools.folder / "out.mp4").is_file()
    animation = animate("~/face.png", "~/speech.wav", "~/tiny.safetensors", placing=Placing("whole"), device="cpu")
    assert animation.write("~/python.mp4") == 13 and (tools.folder / "python.mp4").is_file()
    assert main(["info", "~/tiny.safetensors"]) == 0


def test_what_exists_is_taken_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("~draft.png", "'quoted'"):
        (tmp_path / name).touch()
        assert as_path(name) == Path(name)
    assert as_path("~nobody-of-this-name/a") == Path("~nobody-of-this-name/a")
    assert as_path("C:/a.png") == Path("C:/a.png") and as_path("'") == Path("'")


def test_another_sound_track(tools: Bench, tmp_path: Path) -> None:
    path = tools.folder / "tracks.mkv"
    with av.open(str(path), "w") as out:
        streams = [out.add_stream("pcm_s16le", rate=16000, layout="mono") for _ in range(2)]
        for stream, seconds in zip(streams, (0.4, 0.8)):
            frame = av.AudioFrame.from_ndarray((voice(seconds, 16000)[None] * 32767).astype(np.int16), "s16", "mono")
            frame.sample_rate = 16000
            out.mux([*stream.encode(frame), *stream.encode(None)])
    for words, frames in (((), 10), (("--audio-track", 2), 20), (("--audio-track", 1), 10)):
        assert tools.generate(tmp_path / "a.mp4", *words, audio=path).status == 0
        assert frames_of(tmp_path / "a.mp4") == frames
    assert "3" in tools.generate(tmp_path / "b.mp4", "--audio-track", 3, audio=path).line


@pytest.mark.skipif(not POSIX, reason="names of POSIX")
def test_names_that_are_no_text_are_fine(tools: Bench, tmp_path: Path) -> None:
    for name, which in ((b"\xff.png", "identity"), (b"\xff.wav", "audio")):
        path = Path(os.fsdecode(os.fsencode(tools.folder) + b"/" + name))
        path.write_bytes((tools.folder / ("face.png" if which == "identity" else "speech.wav")).read_bytes())
        assert tools.generate(tmp_path / os.fsdecode(b"\xfe.mp4"), "--duration", 0.2, **{which: path}).status == 0
    assert [os.fsencode(p.name) for p in tmp_path.iterdir()] == [b"\xfe.mp4"]


def test_the_error_of_a_run_stands_below_its_progress(
    tools: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Iterator[np.ndarray]:
        yield np.zeros((32, 32, 3), np.uint8)
        raise MemoryError("17 GB")

    monkeypatch.setattr(TalkingHead, "generate", broken)
    done = tools.generate(tmp_path / "a.mp4")
    assert done.status == 1 and re.search(rf"\n{PREFIX}unexpected MemoryError: 17 GB .*\n$", done.err)
    assert not list(tmp_path.iterdir())


def test_what_ends_in_the_middle_of_a_jpeg_is_not_taken_for_its_thumbnail(tmp_path: Path) -> None:
    whole = cv2.imencode(".jpg", NOISE)[1].tobytes()
    thumbnail = b"Exif\0\0" + whole
    path = tmp_path / "a.jpg"
    path.write_bytes(whole[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + whole[2:])
    assert load_picture(path).shape == NOISE.shape
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match="cut short"):
        load_picture(path)
