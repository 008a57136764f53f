"""Painted talking heads for the tests of preparation, and a face finder that reads their landmarks from the paint."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from diffused_heads.diffused_heads_core.face import mesh
from diffused_heads.diffused_heads_core.face.finder import Face
from diffused_heads.diffused_heads_core.pose import HeadGeometry, project, rotation_matrix
from diffused_heads.training.preparation import head_pose

RATE = 16000
GEOMETRY = HeadGeometry()
RED, GREEN, BLUE = (230, 20, 20), (20, 230, 20), (20, 20, 230)  # left eye, right eye, mouth
WIDEST = 0.4  # mouth opening in eye distances, drawn as full


def _template() -> np.ndarray:
    """Landmarks (468, 3) of a neutral head in head coordinates, with a closed mouth; known pairs are symmetric."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.2, 0.2, (mesh.POINTS, 2))
    for left, right in zip(head_pose.LEFT, head_pose.RIGHT):
        points[left] = -abs(points[left][0]) - 0.02, rng.uniform(-0.3, 0.2)
        points[right] = points[left] * (-1, 1)
    points[head_pose.MIDDLE, 0] = 0
    centre = np.array(GEOMETRY.centre)
    for upper, lower, eye in (
        (mesh.LEFT_EYE_UPPER, mesh.LEFT_EYE_LOWER, GEOMETRY.left_eye),
        (mesh.RIGHT_EYE_UPPER, mesh.RIGHT_EYE_LOWER, GEOMETRY.right_eye),
    ):
        across = np.linspace(-0.05, 0.05, 9)
        for ids, sign in ((lower, 1), (upper, -1)):
            points[ids] = (
                np.array(eye) - centre + np.column_stack([across, sign * 0.015 * np.sqrt(1 - (across / 0.05) ** 2)])
            )
    for ids, eye in ((mesh.LEFT_BROW, GEOMETRY.left_eye), (mesh.RIGHT_BROW, GEOMETRY.right_eye)):
        points[ids] = np.array(eye) - centre + np.column_stack([np.linspace(-0.06, 0.06, 5), np.full(5, -0.09)])
    nose = np.array(GEOMETRY.nose) - centre
    points[[mesh.NOSE_TIP, *mesh.NOSE_BASE]] = nose + np.array(
        [(0, 0), (-0.04, 0), (-0.02, 0), (0, 0), (0.02, 0), (0.04, 0)]
    )
    mouth = np.array(GEOMETRY.mouth) - centre
    for ids, half, sign, height in (
        (mesh.OUTER_LIP_LOWER, 0.09, 1, 0.025),
        (mesh.OUTER_LIP_UPPER, 0.09, -1, 0.02),
        (mesh.INNER_LIP_LOWER, 0.07, 1, 0.0),
        (mesh.INNER_LIP_UPPER, 0.07, -1, 0.0),
    ):
        across = np.linspace(-half, half, 11)
        points[ids] = mouth + np.column_stack([across, sign * height * np.sqrt(1 - (across / half) ** 2)])
    points[mesh.JAW[8]] = 0, 0.36
    points[[mesh.LEFT_EAR, mesh.RIGHT_EAR]] = (-0.28, 0.0), (0.28, 0.0)
    depth = GEOMETRY.depth * np.sqrt(np.clip(1 - ((points / GEOMETRY.radii) ** 2).sum(1), 0.02, None))
    return np.column_stack([points, depth])


TEMPLATE = _template()


def landmarks(
    pose: Sequence[float], opening: float, centre: tuple[float, float], side: float, template: np.ndarray = TEMPLATE
) -> np.ndarray:
    """Landmarks (468, 3) in pixels, z away from the viewer, of a head in a frame with that centre and side; opening: of
    the mouth in eye distances.
    """
    points = template.copy()
    gap = opening * (GEOMETRY.right_eye[0] - GEOMETRY.left_eye[0])
    points[mesh.INNER_LIP_LOWER[1:-1], 1] += gap
    points[mesh.OUTER_LIP_LOWER[1:-1], 1] += gap
    flat = project(points, np.asarray(pose), GEOMETRY) - GEOMETRY.centre
    pivot = np.array(GEOMETRY.pivot)
    depth = ((points - pivot) @ rotation_matrix(*np.asarray(pose)[:3]).T + pivot)[:, 2]
    return np.column_stack([flat * side + centre, -depth * side])


@dataclass(frozen=True)
class Person:
    """A head: where the frame's centre is (fractions of width and height) and its side (fraction of the height); x and
    opening (0..1) may change with the seconds.
    """

    x: float | Callable[[float], float] = 0.5
    y: float = 0.5
    side: float = 0.8
    opening: Callable[[float], float] = lambda t: 0.5 + 0.5 * np.sin(2 * np.pi * 3.1 * t)
    skin: tuple[int, int, int] = (205, 160, 130)


@dataclass(frozen=True)
class Shot:
    """Seconds of people before a background."""

    seconds: float
    people: tuple[Person, ...] = (Person(),)
    background: int = 0


def paint(shot: Shot, time: float, height: int, width: int) -> np.ndarray:
    """The picture (H, W, 3) of a shot at a time, in seconds since its start."""
    rng = np.random.default_rng(shot.background)
    picture = cv2.resize(
        np.repeat(rng.integers(60, 190, (6, 8, 1)), 3, 2).astype(np.uint8),
        (width, height),
        interpolation=cv2.INTER_LINEAR,
    )
    for person in shot.people:
        x = person.x(time) if callable(person.x) else person.x
        side = person.side * height
        corner = np.array([x * width, person.y * height]) - np.array(GEOMETRY.centre) * side

        def at(point: Sequence[float], corner: np.ndarray = corner, side: float = side) -> tuple[int, int]:
            return tuple(round(v) for v in corner + np.array(point) * side)

        axes = tuple(int(r * side) for r in GEOMETRY.radii)
        cv2.ellipse(picture, at(GEOMETRY.centre), axes, 0, 0, 360, person.skin, -1)
        texture = rng.integers(0, 50, (height, width, 1), np.uint8).repeat(3, 2)
        inside = cv2.ellipse(np.zeros_like(picture), at(GEOMETRY.centre), axes, 0, 0, 360, (1, 1, 1), -1)
        picture = cv2.subtract(picture, inside * texture)
        for eye, colour in ((GEOMETRY.left_eye, RED), (GEOMETRY.right_eye, GREEN)):
            cv2.circle(picture, at(eye), max(2, int(0.045 * side)), colour, -1)
        gap = WIDEST * 0.25 * float(person.opening(time))
        left, top = at((GEOMETRY.mouth[0] - 0.09, GEOMETRY.mouth[1] - 0.02))
        right, bottom = at((GEOMETRY.mouth[0] + 0.09, GEOMETRY.mouth[1] + 0.02 + gap))
        cv2.rectangle(picture, (left, top), (right, bottom), BLUE, -1)
    return picture


def _blobs(picture: np.ndarray, colour: tuple[int, int, int]) -> list[tuple[np.ndarray, int, int]]:
    """(centre, height, top) of the patches of a colour, from left to right."""
    channel = int(np.argmax(colour))
    planes = list(cv2.split(picture))
    own = planes.pop(channel)
    mask = cv2.medianBlur(
        (cv2.subtract(own, cv2.max(*planes)) > 60).astype(np.uint8), 3
    )  # what chroma bleeds over goes
    _, _, stats, centres = cv2.connectedComponentsWithStats(mask)
    found = [(centres[i] + 0.5, int(stats[i, 3]), int(stats[i, 1])) for i in range(1, len(stats)) if stats[i, 4] >= 12]
    return sorted(found, key=lambda each: each[0][0])


class PaintFinder:
    """Stands for the face networks: reads painted heads."""

    def find(self, picture: np.ndarray, landmarks: bool = True) -> list[Face]:
        faces = [
            _face(left, right, mouth)
            for (left, _, _), (right, _, _), mouth in zip(
                _blobs(picture, RED), _blobs(picture, GREEN), _blobs(picture, BLUE)
            )
        ]
        return sorted(faces, key=lambda face: -face.area)

    def track(self, picture: np.ndarray, previous: Face) -> Face | None:
        near = [(abs(face.centre[0] - previous.centre[0]), face) for face in self.find(picture)]
        distance, face = min(near, key=lambda each: each[0], default=(np.inf, None))
        return face if distance < previous.box[2] - previous.box[0] else None


def _face(left: np.ndarray, right: np.ndarray, mouth: tuple[np.ndarray, int, int]) -> Face:
    side = (right[0] - left[0]) / 0.25
    centre = (left + right) / 2 + side * (np.array(GEOMETRY.centre) - (0.5, 0.45))
    opening = max(0.0, mouth[1] / side - 0.04) / 0.25
    points = landmarks(np.zeros(5), opening, tuple(centre), side)
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    return Face((*map(float, low), *map(float, high)), 0.9, points[:6, :2], points, 1.0)


class DeadlyFinder(PaintFinder):
    """Ends its process where a picture is all black."""

    def find(self, picture: np.ndarray, landmarks: bool = True) -> list[Face]:
        if picture.max() < 40:
            os._exit(9)
        return super().find(picture, landmarks)


def speech(seconds: float, person: Person = Person(), loudness: float = 0.3) -> np.ndarray:
    """Sound (n,) at RATE that is as loud as a person's mouth is open."""
    time = np.arange(round(seconds * RATE)) / RATE
    return (loudness * person.opening(time) * np.sin(2 * np.pi * 220 * time)).astype(np.float32)


def film(
    path: Path,
    shots: Sequence[Shot],
    fps: float = 25,
    size: tuple[int, int] = (120, 150),
    sound: np.ndarray | str | None = "speech",
    codec: str = "libx264",
    times: Sequence[float] | None = None,
    without: tuple[float, float] = (0.0, 0.0),
) -> Path:
    """Write a video of shots, height and width ``size``; sound: (n,) at RATE, "speech" of the first person, or none;
    times: the pictures' seconds where they are not even; without: as of ``record``.
    """
    length = sum(shot.seconds for shot in shots)
    stamps = np.arange(round(length * fps)) / fps if times is None else np.asarray(times)
    ends = np.cumsum([shot.seconds for shot in shots])
    pictures = []
    for stamp in stamps:
        number = min(int(np.searchsorted(ends, stamp, "right")), len(shots) - 1)
        pictures.append(paint(shots[number], stamp - (ends[number] - shots[number].seconds), *size))
    if isinstance(sound, str):
        sound = speech(length, shots[0].people[0] if shots[0].people else Person())
    return record(path, pictures, stamps, sound, codec, without=without)


def record(
    path: Path,
    pictures: Sequence[np.ndarray],
    stamps: Sequence[float],
    sound: np.ndarray | None = None,
    codec: str = "libx264",
    sound_at: float = 0.0,
    without: tuple[float, float] = (0.0, 0.0),
) -> Path:
    """Write pictures (H, W, 3) with time stamps in seconds, and sound (n,) at RATE that begins at ``sound_at``;
    without: seconds from which and to which the packets of the sound are missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        rate = 25 if len(stamps) < 2 else 1 / float(np.median(np.diff(stamps)))
        even, modern = Fraction(rate).limit_denominator(1001), path.suffix in (".mp4", ".mov", ".mkv")
        options = {"crf": "12", "preset": "ultrafast", "bf": "0"} if codec == "libx264" else {"b": "2M"}
        stream = container.add_stream(codec, rate=even, options=options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        base = Fraction(1, 12800) if modern else 1 / even
        stream.codec_context.time_base = base
        voice = None
        if sound is not None:
            voice = container.add_stream("aac" if modern else "mp2", rate=RATE, layout="mono")
        for picture, stamp in zip(pictures, stamps):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = round(Fraction(stamp) / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if voice is not None:
            samples = np.ascontiguousarray(sound[None], np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), round(sound_at * RATE)
            converter = av.AudioResampler(format="fltp" if modern else "s16", layout="mono", rate=RATE)
            for part in (*converter.resample(frame), *converter.resample(None)):
                _mux_sound(container, voice.encode(part), without)
            _mux_sound(container, voice.encode(), without)
    return path


def _mux_sound(container: av.container.OutputContainer, packets: list[av.Packet], without: tuple[float, float]) -> None:
    for packet in packets:
        if not without[0] <= float(packet.pts * packet.time_base) < without[1]:
            container.mux(packet)


def usual_films(folder: Path, count: int = 3) -> Path:
    """A few short talking clips in ``folder``, each of its own person and place."""
    for n in range(count):
        person = replace(Person(), x=0.42 + 0.04 * n, skin=(120 + 25 * n, 150 - 10 * n, 90 + 20 * n))
        film(folder / f"person{n}.mp4", [Shot(1.2, (person,), background=n)])
    return folder


if __name__ == "__main__":
    from diffused_heads.training.preparation.prepare import prepare
    from diffused_heads.training.preparation.settings import Settings

    raw, out, workers = sys.argv[1:4]
    prepare(
        Path(raw), Path(out), Settings(size=32, validation=0.3), int(workers), progress=False, make_finder=PaintFinder
    )
