"""Streams that are closed, cut off or missing: the work is done, the exit status says so, and no traceback appears."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from hard_inputs import frames_of, riff, save_tiny, voice

pytestmark = pytest.mark.skipif(os.name != "posix", reason="shells of POSIX")
RUN = f"{shlex.quote(sys.executable)} -c 'import sys, diffused_heads; sys.exit(diffused_heads.main())'"
SERVICE = "import sys, diffused_heads; sys.stdout = sys.stderr = sys.stdin = None; sys.exit(diffused_heads.main())"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    save_tiny(folder / "tiny.safetensors")
    cv2.imwrite(str(folder / "face.png"), np.full((48, 40, 3), 90, np.uint8))
    riff(folder / "speech.wav", voice(0.4, 16000)[None], 16000)
    return folder


def words(inputs: Path, output: Path) -> str:
    files = f"--identity {inputs}/face.png --audio {inputs}/speech.wav --model {inputs}/tiny.safetensors"
    return f"generate {files} --face whole --device cpu --output {output}"


def shell(line: str) -> tuple[str, str]:
    """Runs a command line; the status of the first command of a pipe, which it leaves in a file, and stderr."""
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=300, check=False)
    return str(done.returncode), done.stderr


CLOSED = {
    "stdout closed": ">&-",
    "stderr closed": "2>&-",
    "all closed": "<&- >&- 2>&-",
    "no reader of stdout": "> >(exit 0)",
    "no reader of stderr": "2> >(exit 0)",
    "no reader": "> >(exit 0) 2> >(exit 0)",
    "full disk": "> /dev/full 2> /dev/full",
}


@pytest.mark.parametrize("case", CLOSED)
def test_a_video_is_made_whatever_the_streams_are(inputs: Path, tmp_path: Path, case: str) -> None:
    if "full" in case and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    status, err = shell(f"{RUN} {words(inputs, tmp_path / 'a.mp4')} {CLOSED[case]}")
    assert status == "0" and "Traceback" not in err and "ignored" not in err, err
    assert frames_of(tmp_path / "a.mp4") == 10 and len(list(tmp_path.iterdir())) == 1


def test_an_error_has_its_status_without_streams(inputs: Path, tmp_path: Path) -> None:
    line = words(inputs, tmp_path / "a.mp4").replace("face.png", "none.png")
    assert shell(f"{RUN} {line} >&- 2>&-")[0] == "1"
    assert shell(f"{RUN} {line} 2> >(exit 0)")[0] == "1"


@pytest.mark.parametrize("line", ["--help", "generate --help", "info {inputs}/tiny.safetensors", "--version"])
def test_a_pipe_that_ends_early(inputs: Path, line: str) -> None:
    line = line.format(inputs=inputs)
    status, err = shell(f"set -o pipefail; {RUN} {line} | head -c 1")
    assert status == "0" and not err


def test_a_program_without_streams(inputs: Path, tmp_path: Path) -> None:
    line = shlex.split(words(inputs, tmp_path / "a.mp4"))
    done = subprocess.run([sys.executable, "-c", SERVICE, *line], timeout=300, check=False)
    assert done.returncode == 0 and frames_of(tmp_path / "a.mp4") == 10
