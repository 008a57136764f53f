"""Signals at random moments in every command: nothing is left that a user has to delete, and no process stays.

``DIFFUSED_HEADS_SLOW=1`` tries twenty moments of each command.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffused_heads import main
from diffused_heads.diffused_heads_core import files, processes
from diffused_heads.diffused_heads_core.cli import main as cli
from diffused_heads.diffused_heads_core.data.shards import Clip, ShardWriter, finish_dataset
from diffused_heads.diffused_heads_core.media.video import write_video

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "training")]
from hard_inputs import riff, save_tiny, voice  # noqa: E402
from prepare_stage import usual_films  # noqa: E402
from test_cli import released  # noqa: E402

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
MOMENTS = 20 if "DIFFUSED_HEADS_SLOW" in os.environ else 1
TERM, HUP, INT = signal.SIGTERM, signal.SIGHUP, signal.SIGINT
EARLIER = b"an earlier output"
FRESH = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background of a shell start without them
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""
RUN = FRESH + "import diffused_heads; sys.exit(diffused_heads.main())"
# `prepare` with a finder that needs no networks
PREPARE = f"""{FRESH}
sys.path.insert(0, {str(HERE.parent / "training")!r})
from types import SimpleNamespace
import prepare_stage, diffused_heads
from diffused_heads.training.preparation import prepare
prepare.load_face_models = lambda: SimpleNamespace(folder=None)
prepare.Networks = lambda folder: prepare_stage.PaintFinder()
if __name__ == "__main__":
    sys.exit(diffused_heads.main())
"""


def talking_dataset(folder: Path, name: str = "clip", clips: int = 12, frames: int = 50) -> Path:
    """A dataset of 32 px with what the trainer reads."""
    rng = np.random.default_rng(0)
    with ShardWriter(folder, 0, 25.0, 32) as writer:
        for n in range(clips):
            notes = {
                "pose": rng.normal(0, 0.05, (frames, 5)).astype(np.float32),
                "expression": rng.uniform(0, 1, (frames, 12)).astype(np.float32),
                "lip_box": np.tile(np.array([10, 20, 22, 28], np.float32), (frames, 1)),
            }
            pictures = rng.integers(0, 255, (frames, 32, 32, 3), np.uint8)
            writer.add(f"{name}-{n}", Clip(pictures, voice(frames / 25, 16000), 16000, notes))
    finish_dataset(folder, 1)
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    save_tiny(folder / "tiny.safetensors")
    cv2.imwrite(str(folder / "face.png"), np.full((48, 40, 3), 90, np.uint8))
    riff(folder / "long.wav", voice(60, 16000)[None], 16000)
    talking_dataset(folder / "data")
    (folder / "films").mkdir()
    usual_films(folder / "films", 6)
    if MOMENTS > 1:
        more_inputs(folder)
    return folder


def more_inputs(folder: Path) -> None:
    """What the other commands need."""
    released(folder / "released.ckpt")
    talking_dataset(folder / "more", "other")
    (folder / "clips").mkdir()
    rng = np.random.default_rng(0)
    for n in range(12):
        pictures = list(rng.integers(0, 255, (100, 64, 64, 3), np.uint8))
        write_video(folder / "clips" / f"{n}.mp4", pictures, 25)


def command(name: str, inputs: Path, out: Path) -> list[str]:
    """A command line that takes long, and writes into ``out``."""
    tiny = ("--model", inputs / "tiny.safetensors", "--device", "cpu")
    words = {
        "generate": ("--identity", inputs / "face.png", "--audio", inputs / "long.wav", "--face", "whole")
        + ("--output", out / "talk.mp4", *tiny),
        "demo": ("--output", out / "talk.mp4", "--steps", 100, "--device", "cpu"),
        "evaluate": (inputs / "clips", "--reference", inputs / "clips", "--no-faces", "--workers", 2)
        + ("--output", out / "report.html"),
        "synthesize": (out / "corpus", "--clips", 600, "--seed", 1, "--size", 32, "--workers", 2),
        "prepare": (inputs / "films", out / "made", "--size", 32, "--workers", 2),
        "join": (out / "joined", inputs / "data", inputs / "more"),
        "convert": (inputs / "released.ckpt", out / "model.safetensors", "--image-size", 64),
        "train": (inputs / "data", out / "run", "--from", inputs / "tiny.safetensors", "--cpu")
        + ("--steps", 100_000, "--batch", 2, "--save-every", 20),
        "pretrain-audio": (inputs / "data", out / "audio.safetensors", "--steps", 100_000),
    }
    return [name, *map(str, words[name])]


EARLIER_NAMES = {
    **dict.fromkeys(("generate", "demo"), ("talk.mp4",)),
    "evaluate": ("report.html", "report.json"),
    "convert": ("model.safetensors",),
    "pretrain-audio": ("audio.safetensors",),
}
BARE = {"synthesize": "espeakng_loader", "train": "tensorboard"}  # modules without which a command ends at once


def start(name: str, words: list[str], folder: Path) -> subprocess.Popen[str]:
    script = folder / "command.py"  # a file: worker processes import it again
    script.write_text(PREPARE if name == "prepare" else RUN, encoding="utf-8")
    run = [sys.executable, str(script), *words] if name == "prepare" else [sys.executable, "-c", RUN, *words]
    return subprocess.Popen(run, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True)


def survivors(session: int) -> str:
    """Processes of a session that are left after five seconds."""
    for _ in range(50):
        command = ["ps", "-o", "pid=,stat=,args=", "-s", str(session)]
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        if not found:
            return ""
        time.sleep(0.1)
    return found


def lines_of(err: str) -> list[str]:
    """What a command said, without its progress bars and log."""
    return [line for line in err.replace("\r", "\n").split("\n") if line.startswith(("diffused-heads", "Traceback"))]


@pytest.mark.parametrize("name", [*EARLIER_NAMES, "synthesize", "prepare", "join", "train"])
def test_a_signal_at_any_moment(inputs: Path, tmp_path: Path, name: str) -> None:
    if name not in ("generate", "prepare", "train") and MOMENTS == 1:
        pytest.skip("takes seconds: tried where DIFFUSED_HEADS_SLOW is set")
    if name in BARE:
        pytest.importorskip(BARE[name], reason=f"{BARE[name]} is not installed (the extra 'train')")
    moments = random.Random(name)
    for number in range(MOMENTS):
        out = tmp_path / str(number)
        out.mkdir()
        for file in EARLIER_NAMES.get(name, ()):
            (out / file).write_bytes(EARLIER)
        sent = (TERM, HUP, INT)[number % 3] if number else TERM
        process = start(name, command(name, inputs, out), tmp_path)
        time.sleep(moments.uniform(0.5, 6 if name not in ("convert", "join") else 3))
        to_all = number % 2 == 1 and process.poll() is None  # as a terminal and `timeout` send it
        os.killpg(process.pid, sent) if to_all else process.send_signal(sent)
        err = process.communicate(timeout=60)[1]
        case = f"{name} {number}: {sent.name}, {process.returncode}, {err}"
        assert not survivors(process.pid), case
        check_what_is_left(name, out, process.returncode, sent, err, case)


def check_what_is_left(name: str, out: Path, status: int, sent: int, err: str, case: str) -> None:
    new = [path for path in EARLIER_NAMES.get(name, ()) if (out / path).read_bytes() != EARLIER]
    if status == 0 or (status == -sent and new):  # it was faster; the signal came while the interpreter ended
        assert name in ("convert", "join", "prepare", "demo") and not lines_of(err), case
        return
    assert status in (128 + sent, -sent), case  # -sent: before `main`, while Python starts
    if status == 128 + sent:
        expected = "interrupted" if sent == INT else f"interrupted by {signal.Signals(sent).name}"
        assert lines_of(err) == [f"diffused-heads: {expected}"], case
    left = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert not [path for path in left if "tmp" in path or path.endswith(".part")], (case, left)
    if name in EARLIER_NAMES:
        assert left == set(EARLIER_NAMES[name]) and not new, (case, left)


def test_a_run_saves_on_hangup_and_goes_on(inputs: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (the extra 'train')")
    process = start("train", command("train", inputs, tmp_path), tmp_path)
    while not list(tmp_path.glob("run/state-*")) and process.poll() is None:
        time.sleep(0.05)
    for _ in range(2):  # a closing terminal sends it twice, and to all
        os.killpg(process.pid, HUP)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + HUP and "the same command goes on from here" in err, err
    step = int(err.split("stopped at step ")[1].split(";")[0])
    assert (tmp_path / "run" / f"state-{step:08d}.safetensors").is_file() or list(tmp_path.glob(f"run/state-*{step}*"))


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], None]], int]]:
    """Runs a function as a command in this process; returns its exit status."""
    before = {number: signal.getsignal(number) for number in (TERM, HUP, INT)}
    for number in before:  # jobs in the background of a shell ignore some
        signal.signal(number, signal.default_int_handler if number == INT else signal.SIG_DFL)

    def run(perform: Callable[[], None]) -> int:
        monkeypatch.setattr(cli.models, "info", lambda options: perform())
        return main(["info"])

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("sent", [TERM, HUP, INT])
def test_the_status_is_the_signal_s_and_handlers_are_put_back(raised, capfd, tmp_path, sent):
    before = [signal.getsignal(number) for number in processes.SIGNALS]

    def perform() -> None:
        with files.atomic_path(tmp_path / "a.txt"):
            os.kill(os.getpid(), sent)
            time.sleep(5)

    assert raised(perform) == 128 + sent and not list(tmp_path.iterdir())
    assert [signal.getsignal(number) for number in processes.SIGNALS] == before
    assert capfd.readouterr().err.count("\n") == 1


def test_what_a_library_makes_of_it_is_still_an_interruption(raised, capfd):
    def perform() -> None:
        try:
            os.kill(os.getpid(), TERM)
            time.sleep(5)
        except BaseException as error:
            raise ImportError("numpy cannot be loaded") from error

    assert raised(perform) == 143 and capfd.readouterr().err == "diffused-heads: interrupted by SIGTERM\n"


def test_one_that_is_lost_in_a_destructor_is_raised_again(raised, capfd):
    class Slow:
        def __del__(self) -> None:
            os.kill(os.getpid(), TERM)
            time.sleep(0.1)

    waited: list[str] = []

    def perform() -> None:
        thing = Slow()
        del thing
        time.sleep(5)
        waited.append("to the end")

    assert raised(perform) == 143 and not waited and not capfd.readouterr().err.count("Traceback")


def test_other_threads_and_hosts_keep_their_handlers(raised):
    before, found = signal.getsignal(TERM), []
    thread = threading.Thread(target=lambda: raised(lambda: found.append(signal.getsignal(TERM))))
    thread.start()
    thread.join()
    assert found == [before]


def test_nohup_holds(tmp_path):
    run = f"{sys.executable} -c 'import os, signal, diffused_heads.diffused_heads_core.processes as p\n"
    run += "with p.stopped_by_signals(): os.kill(os.getpid(), signal.SIGHUP); print(7)'"
    done = subprocess.run(["sh", "-c", f"trap '' HUP; {run}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr


def test_a_second_signal_ends_at_once_and_removes_what_is_unfinished(tmp_path):
    code = f"""{FRESH}
import sys, time
from pathlib import Path
from diffused_heads.diffused_heads_core import files, processes
with processes.stopped_by_signals(), files.atomic_path(sys.argv[1]) as part:
    try:
        print(part.name, flush=True)
        time.sleep(60)
    finally:
        print("leaving", flush=True)
        time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a.mp4")], stdout=subprocess.PIPE, text=True)
    assert (tmp_path / process.stdout.readline().strip()).is_file()
    process.send_signal(TERM)
    assert process.stdout.readline() == "leaving\n"
    time.sleep(processes.REPEATED + 0.1)
    process.send_signal(HUP)
    assert process.wait(5) == 128 + HUP and not list(tmp_path.iterdir())


def test_what_killed_runs_left_goes_after_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_swept", set())
    old = time.time() - 2 * 86400
    names = {
        ".diffused-heads-0123456789ab.tmp.mp4": False,  # killed two days ago
        ".diffused-heads-0123456789ac.tmp.mp4": True,  # still being written
        ".0123456789ab.tmp.mp4": True,  # perhaps another program's
        ".diffused-heads-notes.tmp.mp4": True,
    }
    for name in names:
        (tmp_path / name).touch()
        if "9ac" not in name:
            os.utime(tmp_path / name, (old, old))
    with files.atomic_path(tmp_path / "a.mp4"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", *(name for name, stays in names.items() if stays)}
