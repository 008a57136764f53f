"""Heads of one or several portraits drawn in one picture, frame by frame: for a model that paints the mouth alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import cv2
import numpy as np

from ..mouth.renderer import HeadFrame, PictureHead
from ..pose import HeadGeometry
from .alignment import Placement, head_mask
from .transparency import off_white

WAITING = 3  # frames that are drawn, or wait for it, while the next one is sampled
_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


def source_picture(
    picture: np.ndarray, frame: np.ndarray, placement: Placement, geometry: HeadGeometry, detail: float
) -> np.ndarray:
    """A picture uint8 (H, W, C) whose head has ``detail`` of its fine detail, and of ``frame`` (S, S, 3) the rest."""
    if detail >= 1:
        return picture
    height, width = picture.shape[:2]
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    enlarged = cv2.warpAffine(frame, placement.pixels(len(frame)), (width, height), flags=flags)
    share = ((1 - detail) * head_mask(placement, height, width, geometry))[..., None]
    result = picture.copy()
    result[..., :3] = np.rint(picture[..., :3] * (1 - share) + enlarged * share)
    return result


def drawn(
    picture: np.ndarray, heads: Sequence[PictureHead], frames: Iterable[Sequence[HeadFrame]]
) -> Iterator[np.ndarray]:
    """The picture uint8 (H, W, C) with its heads as they are in each frame, each a new array, in their order.

    Frames are drawn by another thread while the next ones are sampled.
    """

    def draw(states: Sequence[HeadFrame]) -> np.ndarray:
        canvas = picture.copy()
        for head, state in zip(heads, states, strict=True):
            head.draw(canvas, state)
        return canvas

    return made_ahead(draw, frames)


def made_ahead(make: Callable[[_Item], _Made], items: Iterable[_Item], waiting: int = WAITING) -> Iterator[_Made]:
    """``make`` of each item, in their order, by one other thread, at most ``waiting`` items ahead."""
    with ThreadPoolExecutor(1) as pool:
        futures: deque[Future[_Made]] = deque()
        for item in items:
            futures.append(pool.submit(make, item))
            if len(futures) > waiting:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()


def with_alpha(pictures: Iterable[np.ndarray], given: bool) -> Iterator[np.ndarray]:
    """Pictures uint8 (H, W, 4), not premultiplied, from those whose colours lie on white if alpha was ``given``."""
    for picture in pictures:
        if given:
            picture[..., :3] = off_white(picture[..., :3], picture[..., 3])
        yield picture
