"""Starts ComfyUI and talks to it over HTTP."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / "workflows"
MAIN, PARTS = "talking-head-avatar-lip-sync", "talking-head-step-by-step-with-each-node"
FACE_MODELS = ROOT.parent / "shared" / "face_models"
BUNDLED = ROOT / "diffused_heads_core" / "assets" / "portrait.safetensors"
PATIENCE = float(os.environ.get("DIFFUSED_HEADS_PATIENCE", 600))  # seconds for one run


class Host:
    """A ComfyUI process on a free port of this machine, on the CPU."""

    def __init__(self, comfy: Path, python: str, base: Path, model: str):
        self.comfy, self.python, self.base, self.model = comfy, python, base, model
        self.log_file, self.process, self.startup, self._seen = base / "comfyui.log", None, "", 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [
            self.python,
            "main.py",
            "--cpu",
            "--listen",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--disable-api-nodes",
            "--base-directory",
            str(self.base),
            "--database-url",
            f"sqlite:///{self.base / 'comfyui.db'}",
        ]
        networks = {"DIFFUSED_HEADS_FACE_MODELS": str(FACE_MODELS)} if FACE_MODELS.is_dir() else {}
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.comfy,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**networks, **os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            )
        until = time.monotonic() + 180
        while time.monotonic() < until and self.process.poll() is None:
            try:
                self.get("/system_stats")
                self.startup = self.log()
                return
            except OSError:
                time.sleep(0.5)
        raise RuntimeError(f"ComfyUI does not start:\n{self.log()[-4000:]}")

    def stop(self) -> None:
        """End the server that was started."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def log(self) -> str:
        """Everything that the server has printed, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log_file.read_text(encoding="utf-8", errors="replace"))

    def mark(self) -> None:
        """From here on ``news`` counts."""
        self._seen = len(self.log())

    def news(self) -> str:
        """What the server has printed since the last ``mark``."""
        return self.log()[self._seen :]

    def get(self, path: str) -> Any:
        """JSON of a GET."""
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Status and JSON (or None) of a POST."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body or {}).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text, status = answer.read(), answer.status
        except urllib.error.HTTPError as error:
            text, status = error.read(), error.code
        return status, json.loads(text) if text.strip().startswith(b"{") else None

    def submit(self, prompt: dict[str, Any], client: str = "tests") -> str:
        """Queue a prompt that must be accepted as a whole; its id."""
        status, answer = self.post("/prompt", {"prompt": prompt, "client_id": client})
        assert status == 200 and not answer["node_errors"], answer
        return answer["prompt_id"]

    def wait(self, id: str) -> dict[str, Any]:
        """The history entry of a prompt, when it has ended."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            entry = self.get(f"/history/{id}").get(id)
            if entry and entry.get("status", {}).get("status_str"):
                return entry
            time.sleep(0.1)
        raise TimeoutError(f"prompt {id} did not end within {PATIENCE} s:\n{self.log()[-2000:]}")

    def run(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """Run a prompt that must succeed; its history entry."""
        entry = self.wait(self.submit(prompt))
        assert entry["status"]["status_str"] == "success", entry["status"]
        return entry

    def busy(self) -> bool:
        """Whether anything runs or waits."""
        queue = self.get("/queue")
        return bool(queue["queue_running"] or queue["queue_pending"])

    def files(self, entry: dict[str, Any]) -> list[Path]:
        """Files that the nodes of a finished prompt show."""
        shown = [item for output in entry["outputs"].values() for item in output.get("images", [])]
        return [self.base / item["type"] / item["subfolder"] / item["filename"] for item in shown]

    def memory(self) -> int:
        """Bytes of memory that the server holds (Linux)."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def prompt(self, name: str, duration: float = 0.4, **changes: Any) -> dict[str, Any]:
        """The API form of a workflow with this host's model, shortened; ``changes`` by name go to every node that has
        such an input.
        """
        prompt = json.loads((WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))
        changes = {"duration": duration, **changes}
        for node in prompt.values():
            if node["class_type"].startswith("DH_") and "model_name" in node["inputs"]:
                node["inputs"]["model_name"] = self.model
            node["inputs"].update({key: value for key, value in changes.items() if key in node["inputs"]})
        return prompt


def id_of(prompt: dict[str, Any], kind: str) -> str:
    """The id of the first node of a kind."""
    return next(id for id, node in prompt.items() if node["class_type"] == kind)


def furnish(base: Path) -> str:
    """Make the folders of a fresh install with this pack linked in; returns the name of the model to use."""
    for folder in ("custom_nodes", "input", "output", "temp", "user", "models/diffused_heads"):
        (base / folder).mkdir(parents=True)
    (base / "custom_nodes" / "diffused-heads").symlink_to(ROOT, target_is_directory=True)
    given = os.environ.get("DIFFUSED_HEADS_MODEL")
    if given:
        shutil.copy(given, base / "models" / "diffused_heads" / "test.safetensors")
    elif BUNDLED.exists():
        return BUNDLED.stem
    else:
        tiny_model(base / "models" / "diffused_heads" / "test.safetensors")
    return "test.safetensors"


def tiny_model(path: Path) -> None:
    """A checkpoint of a very small network with random weights: it paints noise, fast."""
    import torch

    from diffused_heads.diffused_heads_core import checkpoints
    from diffused_heads.diffused_heads_core.audio_encoder import AudioEncoder
    from diffused_heads.diffused_heads_core.config import (
        AudioConfig,
        FeatureGroup,
        ModelConfig,
        SpatialInput,
        UNetConfig,
    )
    from diffused_heads.diffused_heads_core.unet import UNet

    torch.manual_seed(0)
    audio = AudioConfig(mels=16, channels=8, embedding=8)
    unet = UNetConfig(
        image_size=64,
        model_channels=16,
        channel_mult=(1, 2),
        res_blocks=1,
        head_channels=16,
        norm_groups=8,
        dropout=0.0,
        prediction="x0",
        learned_variance=False,
        features=(FeatureGroup("audio", 8),),
        spatial=(SpatialInput("motion", 6), SpatialInput("identity", 3), SpatialInput("face", 6)),
    )
    parts = {"unet.": UNet(unet), "audio_encoder.": AudioEncoder(audio)}
    tensors = {
        prefix + name: torch.randn_like(tensor) * 0.1
        for prefix, part in parts.items()
        for name, tensor in part.state_dict().items()
    }
    config = ModelConfig(audio=audio, unet=unet, sampler="ddim", steps=4, head_motion=True)
    checkpoints.save(path, checkpoints.Checkpoint(config, tensors, "Apache-2.0"))
