"""The moved head against real clips whose motion was measured: the mesh, and the ellipsoid that it replaced.

The first frame with open eyes is the portrait; every ``--every``-th later frame is made from it by the clip's measured
motion, mouth left out. Figures, means over frames, in the model's square of 256 px: band sharp: mean absolute Laplacian
of hair and jaw over the true frame's; eyes: mean absolute difference to the true frame around the eyes, of 255; head:
the same over the head without the mouth; landmarks: distance from the true ones without the lips, px of 128.

    python benchmarks/warp.py CLIP... [--portraits PICTURE...] [--write]

With portraits, what is asked is compared with what is measured in the made pictures: slope and correlation of yaw,
pitch and roll over the stated range, and how far the eyes are still open in a blink.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import cv2
import numpy as np
import sections
import torch
from tqdm import tqdm

from diffused_heads.diffused_heads_core.checkpoints import find_model, load
from diffused_heads.diffused_heads_core.config import ModelConfig
from diffused_heads.diffused_heads_core.face.alignment import crop
from diffused_heads.diffused_heads_core.face.compositing import Compositor
from diffused_heads.diffused_heads_core.face.expressions import ExpressionNetworks
from diffused_heads.diffused_heads_core.face.finder import FaceFinder
from diffused_heads.diffused_heads_core.face.motion import angles, measure_motion
from diffused_heads.diffused_heads_core.face.networks import load_motion_models
from diffused_heads.diffused_heads_core.face.portrait import Portrait, head_of, place_portrait
from diffused_heads.diffused_heads_core.face.portrait_mesh import in_frame
from diffused_heads.diffused_heads_core.media.pictures import load_picture
from diffused_heads.diffused_heads_core.media.video import read_video
from diffused_heads.diffused_heads_core.motion import MotionTrack
from diffused_heads.diffused_heads_core.motion.track import COLUMNS
from diffused_heads.diffused_heads_core.mouth.eyes import CREASE, LOWER, UPPER
from diffused_heads.diffused_heads_core.mouth.face_mesh import face_mesh
from diffused_heads.diffused_heads_core.mouth.renderer import HeadFrame, Move
from diffused_heads.diffused_heads_core.mouth.warp import OUTER_LIPS, OUTLINE, warp_map, warped
from diffused_heads.diffused_heads_core.pose import head_coordinates, warp, warp_offsets

SIZE = 256
FIGURES = ("band sharp", "eyes", "head", "landmarks")
ROADS = ("ellipsoid", "mesh")
RANGES = {"yaw": 25.0, "pitch": 15.0, "roll": 15.0}  # degrees
MIRROR = np.diag([1.0, 1.0, -1.0])
BROWS = [70, 63, 105, 66, 107, 46, 53, 52, 65, 55]
EYES = [33, 133, *UPPER, *LOWER]


class Ellipsoid:
    """What the mesh replaced: lids and brows by triangles, the turn by an ellipsoid, the picture by optical flow."""

    def __init__(self, portrait: Portrait, config: ModelConfig):
        self.portrait, self.config = portrait, config
        self.compositor = Compositor(portrait.picture, portrait.placement, geometry=config.geometry)
        self.compositor.paste(portrait.frame)

    def picture(self, track: MotionTrack, row: int) -> np.ndarray:
        """The picture uint8 (H, W, 3) for a row of a track."""
        frame = self.portrait.frame.astype(np.float32) / 127.5 - 1
        mesh = self._lids(track.face[row])
        box = 20, 60, SIZE - 20, 140
        frame[box[1] : box[3], box[0] : box[2]] = warped(frame, warp_map(self.portrait.mesh, mesh, box))
        pose = torch.from_numpy(track.pose[row])[None]
        points = head_coordinates(pose, SIZE // 4, self.config.geometry)
        offsets = warp_offsets(points, torch.zeros_like(pose), pose, self.config.geometry)
        turned = warp(torch.from_numpy(frame).permute(2, 0, 1)[None], offsets)[0].permute(1, 2, 0).numpy()
        return self.compositor.paste(np.rint((turned.clip(-1, 1) + 1) * 127.5).astype(np.uint8))

    def _lids(self, state: np.ndarray) -> np.ndarray:
        face = face_mesh()
        pose = face.pose(self.portrait.mesh)
        own = pose.inverse(self.portrait.mesh)
        for side in (0, 1):
            upper, lower, crease, brow = (
                np.array(line) if side == 0 else face.pairs[line] for line in (UPPER, LOWER, CREASE, BROWS)
            )
            way = 0.96 * float(state[side]) * (own[lower] - own[upper])
            own[upper] += way
            own[crease] += 0.35 * way
            own[brow, 1] -= 0.10 * float(state[4 + side])
        return pose(own)


class Mesh:
    """What is used now."""

    def __init__(self, portrait: Portrait, config: ModelConfig):
        self.portrait, self.head = portrait, head_of(portrait, config.geometry)

    def picture(self, track: MotionTrack, row: int) -> np.ndarray:
        """The picture uint8 (H, W, 3) for a row of a track."""
        canvas = self.portrait.picture.copy()
        self.head.draw(canvas, HeadFrame(Move.of(track, row)))
        return canvas


def masks(mesh: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The band of hair and jaw, the eyes, and the head without the mouth: bool (256, 256) each; mesh in its pixels."""

    def area(points: np.ndarray, size: float) -> np.ndarray:
        middle, drawn = points.mean(0), np.zeros((SIZE, SIZE), np.uint8)
        cv2.fillConvexPoly(drawn, cv2.convexHull(np.rint(middle + size * (points - middle)).astype(np.int32)), 1)
        return drawn > 0

    outline = mesh[OUTLINE, :2]
    mouth = area(mesh[OUTER_LIPS, :2], 1.7)
    head = area(outline, 1.45) & ~mouth
    eyes = np.zeros_like(head)
    for side in (0, 1):
        marks = np.array(EYES) if side == 0 else face_mesh().pairs[EYES]
        eyes |= area(mesh[marks, :2], 1.5)
    return head & ~area(outline, 0.85), eyes, head


def sharpness(picture: np.ndarray, mask: np.ndarray) -> float:
    """Mean absolute Laplacian of luminance where a mask is set."""
    gray = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 0.7)
    return float(np.abs(cv2.Laplacian(gray, cv2.CV_32F))[mask].mean())


def clip_figures(path: Path, config: ModelConfig, finder: FaceFinder, every: int) -> dict[str, np.ndarray]:
    """Means over a clip's frames of each figure, (4,) for each road."""
    video = read_video(path)
    frames = list(video.frames)
    measured = measure_motion(frames, video.fps, "first", smoothing=0, finder=finder)
    values = measured.clip.track.values
    start = int(np.abs(values[:, :5]).sum(1).argmin())
    portrait = place_portrait(frames[start], config, finder=lambda: finder, name=path.name)
    roads = [Ellipsoid(portrait, config), Mesh(portrait, config)]
    face = max(finder.find(frames[start]), key=lambda each: each.area)
    track, rows = MotionTrack.of_values(values), [[], []]
    for number in range(start, len(frames)):
        true_face = finder.track(frames[number], face)
        if true_face is None:
            break
        face = true_face
        if (number - start) % every or number == start:
            continue
        true, mesh = crop(frames[number], portrait.placement, SIZE), in_frame(face.landmarks, portrait.placement, SIZE)
        band, eyes, head = masks(mesh)
        others = np.setdiff1d(np.arange(len(mesh)), OUTER_LIPS)
        for road, found in zip(roads, rows):
            picture = road.picture(track, number)
            made = crop(picture, portrait.placement, SIZE)
            apart = np.abs(made.astype(np.float32) - true).mean(-1)
            seen = finder.track(picture, face)
            marks = math.nan
            if seen is not None:
                away = in_frame(seen.landmarks, portrait.placement, SIZE) - mesh
                marks = float(np.linalg.norm(away[others, :2], axis=1).mean()) / 2
            found.append([sharpness(made, band) / sharpness(true, band), apart[eyes].mean(), apart[head].mean(), marks])
    return {road: np.nanmean(found, 0) for road, found in zip(ROADS, rows)}


def asked_and_measured(path: Path, config: ModelConfig, finder: FaceFinder) -> dict[str, tuple[float, float]]:
    """Slope and correlation of measured on asked angles, and the eyes' opening in a blink (mean, most), by column."""
    portrait = place_portrait(load_picture(path), config, finder=lambda: finder, name=path.name)
    road, pose = Mesh(portrait, config), face_mesh().pose
    own = max(finder.find(portrait.picture), key=lambda each: each.area)
    still, result = pose(own.landmarks).turn, {}
    for axis, (name, reach) in enumerate(RANGES.items()):
        asked, got = np.radians(np.linspace(-reach, reach, 11)), []
        for angle in asked:
            track = MotionTrack.still(1)
            track.pose[0, axis] = angle
            seen = finder.track(road.picture(track, 0), own)
            got.append(np.nan if seen is None else _turned(still, pose(seen.landmarks).turn)[axis])
        there = np.isfinite(got)
        x, y = asked[there], np.array(got)[there]
        result[name] = float(np.polyfit(x, y, 1)[0]), float(np.corrcoef(x, y)[0, 1])
    track = MotionTrack.still(1)
    track.face[0, :2] = 1
    networks = ExpressionNetworks(load_motion_models())
    frames = [portrait.picture] * 4 + [road.picture(track, 0)]
    blinks = measure_motion(frames * 4, 25, "first", smoothing=0, finder=finder, networks=networks).clip.track
    closed = 1 - blinks.face[4::5, :2]
    result["blink"] = float(closed.mean()), float(closed.max())
    return result


def _turned(still: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Yaw, pitch, roll from one turn of a mesh to another."""
    return angles((MIRROR @ turn @ still.T @ MIRROR)[None])[0]


def report(clips: dict[str, dict[str, np.ndarray]], portraits: dict[str, dict[str, tuple[float, float]]]) -> str:
    """The tables in Markdown."""
    rows = [[name, road, *(f"{v:.2f}" for v in found[road])] for name, found in clips.items() for road in ROADS]
    for road in ROADS:
        mean = np.mean([found[road] for found in clips.values()], 0) if clips else []
        rows.append(["mean", road, *(f"{v:.2f}" for v in mean)])
    text = sections.table(("clip", "moved by", *FIGURES), rows) if clips else ""
    if portraits:
        names = (*RANGES, "blink")
        cells = [[n, *(f"{found[k][0]:.2f} ({found[k][1]:.3f})" for k in names)] for n, found in portraits.items()]
        head = ("portrait", *(f"{n} slope (r)" for n in RANGES), "open in a blink: mean (most)")
        text += "\n\n" + sections.table(head, cells)
    return text.strip()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("clips", nargs="*", type=Path, help="videos of a moving head")
    parser.add_argument(
        "--portraits", nargs="*", type=Path, default=[], help="pictures that are turned by known angles"
    )
    parser.add_argument("--every", type=int, default=6, help="a frame of so many is made")
    parser.add_argument("--write", action="store_true", help="write the section 'warp' of RESULTS.md")
    options = parser.parse_args()
    config, finder = load(find_model("portrait")).config, FaceFinder()
    assert COLUMNS[:5] == ("yaw", "pitch", "roll", "tx", "ty")
    clips = {path.stem: clip_figures(path, config, finder, options.every) for path in tqdm(options.clips)}
    portraits = {path.stem: asked_and_measured(path, config, finder) for path in tqdm(options.portraits)}
    text = report(clips, portraits)
    print(text)
    if options.write:
        sections.write("warp", f"## A moved head against real clips\n\n{(__doc__ or '').strip()}\n\n{text}")


if __name__ == "__main__":
    main()
