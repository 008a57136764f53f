"""Networks that the user supplies as TorchScript: Inception for FID and KID, I3D for FVD, SyncNet for lip sync.

A TorchScript archive is a program: it runs only if the user says that it is trusted.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...errors import DiffusedHeadsError
from ...files import readable_file

CLIP, CLIP_SIDE = 16, 224  # frames and px of I3D's input
FACE_SIDE = 224
BATCH = 16


@dataclass(frozen=True)
class NetworkFiles:
    """TorchScript archives, each of which may be missing, and whether their code may run.

    Raises DiffusedHeadsError for a file that cannot be read, and for any file if they are not trusted.
    """

    inception: Path | None = None
    i3d: Path | None = None
    syncnet: Path | None = None
    trusted: bool = False

    def __post_init__(self) -> None:
        given = {name: path for name in ("inception", "i3d", "syncnet") if (path := getattr(self, name)) is not None}
        for name, path in given.items():
            readable_file(path, f"the {name} network as TorchScript")
        if given and not self.trusted:
            raise DiffusedHeadsError(
                f"{', '.join(str(p) for p in given.values())}: a TorchScript archive is a program; "
                "add --trust-torchscript to run it, only for files from people you trust"
            )


class Network:
    """One TorchScript archive on the CPU. Raises DiffusedHeadsError if it is another file or its call fails."""

    def __init__(self, path: Path, kind: str):
        import torch

        self.path, self.kind, self._torch = path, kind, torch
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                self._module = torch.jit.load(str(path), map_location="cpu").eval()
        except (RuntimeError, ValueError) as error:
            raise DiffusedHeadsError(
                f"{path}: expected the {kind} network as TorchScript, found something else or a damaged file"
            ) from error

    def __call__(self, values: np.ndarray, method: str = "forward", **options: Any) -> np.ndarray:
        """Features (B, D) float32 of ``values`` (B, ...); options that the network does not know are left out."""
        tensor = self._torch.from_numpy(np.ascontiguousarray(values))
        try:
            run = getattr(self._module, method)
            with self._torch.no_grad():
                found = run(tensor, **{k: v for k, v in options.items() if k in self._arguments(run)})
        except (RuntimeError, AttributeError, TypeError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            reason = lines[-1] if lines else type(error).__name__
            raise DiffusedHeadsError(
                f"{self.path}: expected the {self.kind} network, its call failed ({reason[:120]})"
            ) from error
        is_tensor = isinstance(found, self._torch.Tensor)
        if not (is_tensor and found.dim() >= 2 and len(found) == len(values) and found.is_floating_point()):
            shape = tuple(found.shape) if is_tensor else type(found).__name__
            raise DiffusedHeadsError(
                f"{self.path}: expected features ({len(values)}, D) of the {self.kind} network, found {shape}"
            )
        return found.float().flatten(1).numpy()

    @staticmethod
    def _arguments(run: Any) -> set[str]:
        schema = getattr(run, "schema", None)
        return {argument.name for argument in schema.arguments} if schema is not None else set()


class Networks:
    """The networks that were supplied, loaded; None for the others. Built once per process."""

    def __init__(self, files: NetworkFiles):
        self.inception, self.i3d, self.syncnet = (
            Network(path, name) if path is not None else None
            for name, path in (("inception", files.inception), ("i3d", files.i3d), ("syncnet", files.syncnet))
        )

    def pictures(self, frames: np.ndarray) -> np.ndarray:
        """Inception features (n, D) of uint8 frames (n, H, W, 3).

        The network gets uint8 (n, 3, H, W), and ``return_features`` if it has that argument, as the usual archives do.
        """
        assert self.inception is not None
        return self.inception(frames.transpose(0, 3, 1, 2), return_features=True)

    def clips(self, clips: np.ndarray) -> np.ndarray:
        """I3D features (n, D) of uint8 clips (n, 16, 224, 224, 3); it gets float32 (n, 3, 16, 224, 224) in -1..1."""
        assert self.i3d is not None
        values = clips.transpose(0, 4, 1, 2, 3).astype(np.float32) / 127.5 - 1
        return self.i3d(values, rescale=False, resize=False, return_features=True)

    def lips(self, windows: np.ndarray) -> np.ndarray:
        """SyncNet's embeddings (n, D) of windows of faces (n, 3, 5, 224, 224), see ``sync``."""
        assert self.syncnet is not None
        return self.syncnet(windows, "forward_lip")

    def sounds(self, windows: np.ndarray) -> np.ndarray:
        """SyncNet's embeddings (n, D) of MFCC windows (n, 1, 13, 20), n >= 1."""
        assert self.syncnet is not None
        parts = (windows[i : i + BATCH] for i in range(0, len(windows), BATCH))
        return np.concatenate([self.syncnet(part, "forward_aud") for part in parts])


def network_frame(frame: np.ndarray, side: int) -> np.ndarray:
    """A frame scaled to (side, side, 3)."""
    way = cv2.INTER_AREA if min(frame.shape[:2]) > side else cv2.INTER_LINEAR
    return cv2.resize(frame, (side, side), interpolation=way)
