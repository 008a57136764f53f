"""The search for faces: cheap passes first, further ones only if nothing was found, each candidate verified.

A pass runs the detector once over a square of the picture. A sighting is what the passes see at one place. It counts as
a face if the landmark network is sure of it; or, as faces drawn with few lines seldom convince that network, if several
passes of the detector agree strongly and the landmark network does not contradict.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from .crops import Pyramid, Square
from .detector import SAME_FACE, Candidate, Detector, merge, overlap
from .mesh import LandmarkNetwork, square_of_keypoints, square_of_landmarks

LEAST_SCORE = 0.35  # detector score from which a candidate is verified
AT_MOST = 40  # candidates per pass that are verified
SURE = 11.0  # presence logit of a face beyond doubt: most photographs have 20 to 60, dogs up to 13, objects below 3
ENOUGH = 0.785  # evidence from which a sighting counts as a face that is not beyond doubt
WEIGHED = (-8.0, 12.0)  # presence logits are clipped to these
LARGE = 1024  # px of the longer side from which small parts are searched
PARTS = 3  # the stage that shows small faces
SMALL = 0.12  # if all faces are below this fraction of the picture's longer side, smaller ones are searched too


@dataclass
class Sighting:
    """What the passes so far show at one place; ``presence``: logit of the landmark network."""

    best: Candidate
    scores: dict[int, float] = field(default_factory=dict)  # by pass
    landmarks: np.ndarray | None = None
    presence: float = -math.inf

    @property
    def agreement(self) -> float:
        """Mean score of the three best passes, 0..1; a pass that saw nothing counts as 0."""
        return sum(sorted(self.scores.values())[-3:]) / 3

    @property
    def evidence(self) -> float:
        """Agreement plus a hundredth of the presence logit, clipped to ``WEIGHED``."""
        return self.agreement + 0.01 * float(np.clip(self.presence, *WEIGHED))

    @property
    def box(self) -> np.ndarray:
        """Where the face is, (4,) px: the extent of its landmarks if they can be trusted, else the detector's box."""
        if self.landmarks is None or self.presence < 0:
            return self.best.box
        return np.concatenate([self.landmarks[:, :2].min(0), self.landmarks[:, :2].max(0)])

    @property
    def is_face(self) -> bool:
        """Whether this counts as a face."""
        return self.presence >= SURE or self.evidence >= ENOUGH


def stages(height: int, width: int) -> Iterator[tuple[str, list[list[Square]]]]:
    """Passes over a picture in groups of rising cost, each with a name for the user; a pass is one square or four."""
    longer = max(height, width)

    def whole(scale: float = 1.0, degrees: float = 0.0) -> Square:
        return Square(width / 2, height / 2, scale * longer, math.radians(degrees))

    yield "the whole picture", [[whole()]]
    yield "at 2/3 and 1/2 of its size", [[whole(1.5)], [whole(2.0)]]
    yield "turned by 60 and 120 degrees either way", [[whole(1.0, angle) for angle in (-60, 60, -120, 120)]]
    yield "enlarged in parts", [[part] for part in tiles(height, width, 0.6 * longer)]
    if longer >= LARGE:
        yield "enlarged in small parts", [[part] for part in tiles(height, width, 0.4 * longer)]


def tiles(height: int, width: int, side: float) -> list[Square]:
    """Overlapping squares of ``side`` pixels that cover a picture."""
    rows, columns = (_centres(length, side) for length in (height, width))
    return [Square(float(x), float(y), side) for y in rows for x in columns]


def _centres(length: float, side: float) -> np.ndarray:
    if length <= side:
        return np.array([length / 2])
    return np.linspace(side / 2, length - side / 2, math.ceil((length - side) / (0.75 * side)) + 1)


class FaceSearch:
    """One search through one picture."""

    def __init__(self, detector: Detector, mesh: LandmarkNetwork, pyramid: Pyramid) -> None:
        self._detector, self._mesh, self._pyramid = detector, mesh, pyramid
        self._passes = 0
        self.sightings: list[Sighting] = []
        self.tried: list[str] = []
        self.best_score = 0.0

    def run(self) -> list[Sighting]:
        """The faces of the picture, the clearest first."""
        plan = list(stages(self._pyramid.height, self._pyramid.width))
        for name, passes in plan:
            self._try(name, passes)
            if found := self.faces():
                break
        if found and len(self.tried) == 1 and self._all_small(found):
            self._try(*plan[PARTS])
        return self.faces()

    def faces(self) -> list[Sighting]:
        """Sightings that are faces, each place once, the clearest first."""
        chosen: list[Sighting] = []
        for each in sorted(self.sightings, key=lambda sighting: -sighting.evidence):
            if each.is_face and not any(_same(each, other) for other in chosen):
                chosen.append(each)
        return chosen

    def _all_small(self, found: list[Sighting]) -> bool:
        longer = max(self._pyramid.height, self._pyramid.width)
        return max(float(np.max(each.box[2:] - each.box[:2])) for each in found) < SMALL * longer

    def _try(self, name: str, passes: list[list[Square]]) -> None:
        self.tried.append(name)
        for squares in passes:
            seen, best = self._detector.candidates(self._pyramid, squares, LEAST_SCORE)
            self.best_score = max(self.best_score, best)
            self._passes += 1
            for candidate in merge(seen)[:AT_MOST]:
                self._add(candidate)

    def _add(self, candidate: Candidate) -> None:
        sighting = self._at(candidate)
        if sighting.scores.get(self._passes, 0.0) < candidate.score:
            sighting.scores[self._passes] = candidate.score
        if candidate.score > sighting.best.score or sighting.landmarks is None:
            sighting.best = candidate
            if sighting.presence < SURE:
                self._verify(sighting)

    def _at(self, candidate: Candidate) -> Sighting:
        if self.sightings:
            shared = overlap(candidate.box, np.stack([each.best.box for each in self.sightings]))
            if shared.max() >= SAME_FACE:
                return self.sightings[int(shared.argmax())]
        self.sightings.append(Sighting(candidate))
        return self.sightings[-1]

    def _verify(self, sighting: Sighting) -> None:
        """Find landmarks twice, the second time in a crop around the first ones; the second presence counts."""
        first, _ = self._mesh.find(self._pyramid, square_of_keypoints(sighting.best.box, sighting.best.keypoints))
        landmarks, presence = self._mesh.find(self._pyramid, square_of_landmarks(first))
        if presence > sighting.presence:
            sighting.landmarks, sighting.presence = landmarks, presence


def _same(one: Sighting, other: Sighting) -> bool:
    """Whether two sightings overlap, or the middle of one lies within the other."""

    def inside(a: np.ndarray, b: np.ndarray) -> bool:
        return bool(np.all(a[:2] + a[2:] > 2 * b[:2]) and np.all(a[:2] + a[2:] < 2 * b[2:]))

    a, b = one.box, other.box
    return inside(a, b) or inside(b, a) or overlap(a, b[None])[0] >= SAME_FACE
