"""What the README shows must work as it stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from diffused_heads import main
from diffused_heads.diffused_heads_core.assets import ASSETS
from diffused_heads.diffused_heads_core.data.codecs import encode_wave
from diffused_heads.diffused_heads_core.media.audio import load_audio
from diffused_heads.diffused_heads_core.media.video import read_video

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(path for room in (".", "docs", "tests", "benchmarks") for path in (ROOT / room).glob("*.md"))
MOST_FILES, MOST_LINES = 15, 1800  # of the reading list: about an hour


def block(after: str) -> str:
    return re.search(rf"{re.escape(after)}.*?```\w*\n(.*?)```", README, re.S)[1]


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with portrait.png and half a second of speech.wav, as the README's examples name them."""
    shutil.copy(next(ASSETS.glob("portrait-*.png")), tmp_path / "portrait.png")
    voice = load_audio(next(ASSETS.glob("speech-*.wav")), start=0.5, duration=0.5)
    (tmp_path / "speech.wav").write_bytes(encode_wave(voice.samples[0], voice.sample_rate))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_example_makes_the_video(inputs: Path) -> None:
    exec(block("### From Python"), {"__name__": "__main__"})
    video = read_video(inputs / "talk.mp4")
    assert len(list(video.frames)) == 13 and video.audio is not None


def test_the_generate_example_makes_the_same_kind_of_video(inputs: Path) -> None:
    command = block("## Use\n").split()
    assert command[0] == "diffused-heads" and main(command[1:]) == 0
    assert len(list(read_video(inputs / "talk.mp4").frames)) == 13


def test_the_first_command_ends_in_the_demo() -> None:
    assert block("<!-- demo command -->").strip().endswith("diffused-heads demo")


def test_options_in_the_readme_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["generate", "--help"])
    known = capsys.readouterr().out
    named = set(re.findall(r"`(--[a-z-]+)", block_of_table()))
    assert named and not [name for name in named if name not in known]


def block_of_table() -> str:
    return README[README.index("| option | meaning |") : README.index("`diffused-heads --help`")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_linked_files_are_there(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    assert not [link for link in links if not (document.parent / link).exists()]


def test_imports_of_the_examples_work() -> None:
    lines = []
    for document in DOCUMENTS:
        for example in re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.S):
            lines += re.findall(r"^(?:import|from) .*", example, re.M)
    assert lines
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_the_reading_list_is_short() -> None:
    section = README[README.index("**Reading list.**") :]
    names = re.findall(r"^\d+\. `(\w+\.py)`: \S", section, re.M)
    files = [ROOT / "diffused_heads_core" / name for name in names]
    assert names[0] == "config.py" and "generator.py" in names and len(set(names)) == len(names) <= MOST_FILES
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files) <= MOST_LINES


def test_the_architecture_table_names_every_room_and_no_other() -> None:
    table = README[README.index("| room |") : README.index("**Reading list.**")]
    named = {ROOT / path for path in re.findall(r"^\| `([\w/.]+)` \|", table, re.M)}
    assert named and all(path.exists() for path in named)
    core = (ROOT / "diffused_heads_core").iterdir()
    rooms = {ROOT / room for room in ("nodes", "training")} | {
        path for path in core if (path / "__init__.py").is_file()
    }
    assert rooms <= named
