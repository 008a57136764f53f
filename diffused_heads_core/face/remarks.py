"""What to expect from a portrait that will not come out well: one line for each reason."""

from __future__ import annotations

import math

import cv2
import numpy as np

from .alignment import Placement
from .crops import Pyramid
from .finder import Face, has_landmarks, stable_points
from .mesh import INNER_LIPS, LEFT_EAR, OUTER_LIPS, RIGHT_EAR, eye_centres, eye_distance, square_of_landmarks, tilt

PROFILE = 28.0  # degrees of yaw: the bundled models' motion reaches half of that, and in half profile lips follow badly
DISAGREE = 0.1  # spread of the landmarks, eye distances: faces that are seen well have 0.02 to 0.08
ROUGH = 13.0  # px between the eyes below which an error of a pixel counts
CONTRAST = 6.0  # distance of the lips' colour to the skin around them, in 8-bit Lab: open to view it is 9 to 90
MOUTH_SEEN = 20.0  # px between the eyes from which the lips' colour can be told
CROP = 192  # px of the crop in which colours are compared


def remarks(picture: np.ndarray, face: Face | None, placement: Placement, frame_size: int) -> list[str]:
    """One line for each thing about a portrait that makes the result worse than usual; none for a good portrait.

    picture: uint8 (H, W, 3); face: the face that was found in it, or None if the place was set by hand; placement: the
    model's frame; frame_size: its pixels per side.
    """
    lines = [] if face is None else [*_doubts(face), *_sights(picture, face)]
    if placement.side < frame_size - 0.5:
        lines.append(
            f"the head's square has {placement.side:.0f} of the model's {frame_size} pixels per side: expect a soft "
            "picture; a larger one of the same head helps"
        )
    return lines


def _doubts(face: Face) -> list[str]:
    """Why the place of the head may be wrong."""
    if not has_landmarks(face):
        return [
            "the face's landmarks cannot be trusted (a drawing of few lines, or a face that is hardly seen), its place "
            "is rough: check it, or set the head's square by hand as a box"
        ]
    if face.spread > DISAGREE:
        return [
            "the face's landmarks do not agree (covered, blurred or turned away), the head may be placed badly: check "
            "it, or set the head's square by hand as a box"
        ]
    apart = math.dist(*stable_points(face)[:2])
    if apart < ROUGH:
        return [f"the eyes are {apart:.0f} pixels apart, so the head's place may be off by a pixel"]
    return []


def _sights(picture: np.ndarray, face: Face) -> list[str]:
    """What is not seen of the face."""
    if face.landmarks is None or not has_landmarks(face):
        return []
    lines = []
    if (turn := abs(yaw(face.landmarks))) > PROFILE:
        lines.append(
            f"the head is turned aside by {turn:.0f} degrees: expect lips that follow badly and a stretched cheek; a "
            "picture from the front helps"
        )
    if eye_distance(face.landmarks) >= MOUTH_SEEN and lip_contrast(picture, face.landmarks) < CONTRAST:
        lines.append(
            "the lips cannot be told from what is around them: if the mouth is covered (hand, mask, microphone), "
            "expect a painted mouth on top of it"
        )
    return lines


def yaw(landmarks: np.ndarray) -> float:
    """How far a face (468, 3) is turned aside, degrees, above 0 if to image right, from the depth of its two sides."""
    angle = tilt(*eye_centres(landmarks))
    across = landmarks[RIGHT_EAR] - landmarks[LEFT_EAR]
    width = across[0] * math.cos(angle) + across[1] * math.sin(angle)
    return math.degrees(math.atan2(across[2], width))


def lip_contrast(picture: np.ndarray, landmarks: np.ndarray) -> float:
    """Distance of the median colours of lips and surrounding skin, in 8-bit Lab; picture uint8 (H, W, 3)."""
    square = square_of_landmarks(landmarks)
    colours = cv2.cvtColor(Pyramid(picture).crop(square, CROP, cv2.BORDER_REPLICATE), cv2.COLOR_RGB2LAB)
    outer, inner = (_filled(square.to_fractions(landmarks[part, :2]) * CROP) for part in (OUTER_LIPS, INNER_LIPS))
    near, far = (cv2.dilate(outer, np.ones((width, width), np.uint8)) for width in (5, 17))
    lips, skin = (outer > inner), (far > near)
    if not lips.any() or not skin.any():
        return 0.0
    return float(np.linalg.norm(np.median(colours[lips], 0) - np.median(colours[skin], 0)))


def _filled(points: np.ndarray) -> np.ndarray:
    mask = np.zeros((CROP, CROP), np.uint8)
    cv2.fillPoly(mask, [np.rint(points - 0.5).astype(np.int32)], 1)
    return mask
