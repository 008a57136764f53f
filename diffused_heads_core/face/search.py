"""The search for faces: cheap passes first, further ones if nothing certain was found, each candidate verified.

A pass runs the detector once over a square of the picture. A sighting is what the passes see at one place. It counts as
a face if the landmark network is sure of it and other crops agree; or, as faces drawn with few lines seldom convince
that network, if several passes of the detector agree strongly and the landmark network does not contradict.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from .crops import Pyramid, Square
from .detector import SAME_FACE, SIZE, Candidate, Detector, merge, overlap
from .fitting import Fit, agrees, checked, converge, look_again
from .mesh import LandmarkNetwork, square_of_keypoints

LEAST_SCORE = 0.35  # detector score from which a candidate is verified
AT_MOST = 600  # candidates per stage that are verified
SURE = 11.0  # and if it is not quite sure: most photographs have 20 to 60, dogs up to 13, objects below 3
FAIR = 3.0  # presence logit that is enough if a second look is sure of it
CLEAR = 20.0  # presence logit of a face beyond doubt, which is not looked at again
LOOKS = 3  # at most, at a face that is not clear
AGREED = 0.25  # spread of the landmarks up to which crops agree, eye distances
ENOUGH = 0.785  # evidence from which a sighting counts as a face that is not beyond doubt
WEIGHED = (-8.0, 12.0)  # presence logits are clipped to these
LIKELY, STRONG = 0.5, 0.75  # scores from which a candidate may be a face, and from which the detector is sure of it
SEEN = 16  # px of the detector's input that a face needs: with 14, small tilted faces of groups were missed
GROUP_FACE = 58.0  # px: the smallest faces that are always looked for, about 25 px between the eyes
SMALLEST_FACE = 18.0  # px: the smallest faces that are looked for if there are no others
FINER = 3.0  # the most by which squares shrink from one round to the next
STEP = 0.8  # from one square to the next, in sides
FINEST = 0.5  # the smallest faces of a group, as a part of the largest
FLAT = 1.5  # standard deviation of a part's pixels below which nothing is in it


@dataclass
class Sighting:
    """What the passes so far show at one place; ``fit``: the best landmarks."""

    best: Candidate
    scores: dict[int, float] = field(default_factory=dict)  # by pass
    fit: Fit | None = None
    again: float = 0.0  # score of a second look that agrees with the landmarks

    @property
    def presence(self) -> float:
        """Logit of the landmark network."""
        return -math.inf if self.fit is None else self.fit.presence

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
        if self.fit is None or self.presence < 0:
            return self.best.box
        return np.concatenate([self.fit.landmarks[:, :2].min(0), self.fit.landmarks[:, :2].max(0)])

    @property
    def is_certain(self) -> bool:
        """Whether the landmarks alone say that this is a face."""
        if self.fit is None or self.fit.spread > AGREED:
            return False
        enough = FAIR if self.again >= STRONG else SURE if self.again else CLEAR
        return self.presence >= enough

    @property
    def is_face(self) -> bool:
        """Whether this counts as a face."""
        return self.is_certain or self.evidence >= ENOUGH

    @property
    def rank(self) -> tuple[bool, float]:
        """By which one of two sightings of the same place is chosen."""
        return self.is_certain, self.presence if self.is_certain else self.evidence


@dataclass(frozen=True)
class Stage:
    """Passes of one kind, each of one square or four, and what the user is told about them."""

    name: str
    passes: list[list[Square]]


def enlarged(height: int, width: int, parts: list[float]) -> Iterator[Stage]:
    """Passes over parts of a picture, each a square with a side from ``parts``, px."""
    for side in parts:
        yield Stage(f"enlarged in parts of {side:.0f} pixels", alone(tiles(height, width, side)))


def last_resorts(height: int, width: int, parts: list[float], smallest: float) -> Iterator[Stage]:
    """Passes over a picture in which nothing was found, in rising cost; ``smallest``: px of the smallest faces."""
    longer = max(height, width)

    def whole(scale: float = 1.0, degrees: float = 0.0) -> Square:
        return Square(width / 2, height / 2, scale * longer, math.radians(degrees))

    yield Stage("at 2/3 and 1/2 of its size", [[whole(1.5)], [whole(2.0)]])
    quarters = [whole(1.0, angle) for angle in (-60, 60, -120, 120)]
    yield Stage("turned by 60, 120 and 180 degrees", [quarters, [whole(1.0, 180)]])
    for side in parts or [0.6 * longer]:
        turned = [Square(each.x, each.y, side, math.pi) for each in tiles(height, width, side)]
        yield Stage(f"upside down in parts of {side:.0f} pixels", alone(turned))
    yield from enlarged(height, width, sides(parts[-1] if parts else longer, smallest))


def alone(squares: list[Square]) -> list[list[Square]]:
    """Each square as a pass of its own."""
    return [[square] for square in squares]


def sides(longer: float, face: float) -> list[float]:
    """Sides of squares, px, each smaller than the last, down to what shows faces of ``face`` px; none if all is shown.

    longer: side of the square that was searched before.
    """
    last = face * SIZE / SEEN
    rounds = math.ceil(math.log(max(longer / last, 1.0), FINER) - 0.1)
    return [float(longer * (last / longer) ** (number / rounds)) for number in range(1, rounds + 1)]


def tiles(height: int, width: int, side: float) -> list[Square]:
    """Overlapping squares of ``side`` pixels that cover a picture."""
    rows, columns = (_centres(length, side) for length in (height, width))
    return [Square(float(x), float(y), side) for y in rows for x in columns]


def _centres(length: float, side: float) -> np.ndarray:
    if length <= side:
        return np.array([length / 2])
    return np.linspace(side / 2, length - side / 2, math.ceil((length - side) / (STEP * side)) + 1)


class FaceSearch:
    """One search through one picture."""

    def __init__(
        self, detector: Detector, mesh: LandmarkNetwork, pyramid: Pyramid, smallest: float = SMALLEST_FACE
    ) -> None:
        self._detector, self._mesh, self._pyramid = detector, mesh, pyramid
        self._smallest = smallest
        self._passes, self._certain = 0, False
        self.sightings: list[Sighting] = []
        self.tried: list[str] = []
        self.best_score = 0.0

    def run(self) -> list[Sighting]:
        """The faces of the picture, the clearest first."""
        height, width = self._pyramid.height, self._pyramid.width
        self._try(Stage("the whole picture", [[Square(width / 2, height / 2, max(height, width))]]))
        found = [float(np.max(each.box[2:] - each.box[:2])) for each in self.faces()]
        parts = sides(max(height, width), min(GROUP_FACE, FINEST * max(found, default=math.inf)))
        for stage in enlarged(height, width, parts):
            self._try(stage)
        for stage in last_resorts(height, width, parts, self._smallest):
            if self.faces():
                break
            self._try(stage)
        return self.faces()

    def faces(self) -> list[Sighting]:
        """Sightings that are faces, each place once, the clearest first."""
        chosen: list[Sighting] = []
        for each in sorted(self.sightings, key=lambda sighting: sighting.rank, reverse=True):
            if each.is_face and not any(_same(each, other) for other in chosen):
                chosen.append(each)
        return chosen

    def _try(self, stage: Stage) -> None:
        """Run the detector over the stage's squares, then verify what it sees, the likeliest first."""
        self.tried.append(stage.name)
        found: list[tuple[int, Candidate]] = []
        for squares in stage.passes:
            if len(stage.passes) > 1 and self._pyramid.crop(squares[0], 64).std() < FLAT:
                continue
            seen, best = self._detector.candidates(self._pyramid, squares, LEAST_SCORE)
            self.best_score = max(self.best_score, best)
            self._passes += 1
            found += [(self._passes, candidate) for candidate in merge(seen)]
        found.sort(key=lambda each: -each[1].score)
        for number, candidate in found[:AT_MOST]:
            self._add(number, candidate)

    def _add(self, number: int, candidate: Candidate) -> None:
        """Note what pass ``number`` sees, and verify it if it is new, or clearer than what was seen there before."""
        sighting = self._at(candidate)
        sighting.scores[number] = max(sighting.scores.get(number, 0.0), candidate.score)
        if sighting.fit is None or (candidate.score > sighting.best.score and not sighting.is_certain):
            sighting.best = candidate
            self._verify(sighting)

    def _at(self, candidate: Candidate) -> Sighting:
        if self.sightings:
            shared = overlap(candidate.box, np.stack([each.best.box for each in self.sightings]))
            if shared.max() >= SAME_FACE:
                return self.sightings[int(shared.argmax())]
        self.sightings.append(Sighting(candidate))
        return self.sightings[-1]

    def _verify(self, sighting: Sighting) -> None:
        """Fit landmarks; if they are not clear, the detector looks again in their turn, and they have to agree."""
        self._fit(sighting, sighting.best)
        if sighting.presence < CLEAR and (
            sighting.best.score >= LIKELY or sighting.presence >= FAIR or not self._certain
        ):
            self._look_again(sighting)
        if sighting.fit is not None and sighting.presence >= FAIR:
            sighting.fit = checked(self._mesh, self._pyramid, sighting.fit)
        self._certain = self._certain or sighting.is_certain

    def _look_again(self, sighting: Sighting) -> None:
        for _ in range(LOOKS):
            fit = sighting.fit
            angle = fit.square.angle if fit is not None and fit.presence >= FAIR else 0.0
            again = look_again(self._detector, self._pyramid, sighting.best.box, angle)
            if again is None or again.score < LIKELY:
                return
            if fit is not None and agrees(fit, again):
                sighting.best, sighting.again = again, again.score
                return
            self._fit(sighting, again, fresh=True)

    def _fit(self, sighting: Sighting, candidate: Candidate, fresh: bool = False) -> None:
        """Fit landmarks from keypoints; the better fit counts, or this one if it is a ``fresh`` start."""
        fit = converge(self._mesh, self._pyramid, square_of_keypoints(candidate.box, candidate.keypoints))
        if (
            sighting.fit is None
            or fresh
            or (math.isfinite(fit.spread), fit.presence) > (math.isfinite(sighting.fit.spread), sighting.presence)
        ):
            sighting.fit, sighting.best, sighting.again = fit, candidate if fresh else sighting.best, 0.0


def _same(one: Sighting, other: Sighting) -> bool:
    """Whether two sightings overlap, or the middle of one lies within the other."""

    def inside(a: np.ndarray, b: np.ndarray) -> bool:
        return bool(np.all(a[:2] + a[2:] > 2 * b[:2]) and np.all(a[:2] + a[2:] < 2 * b[2:]))

    a, b = one.box, other.box
    return inside(a, b) or inside(b, a) or overlap(a, b[None])[0] >= SAME_FACE
