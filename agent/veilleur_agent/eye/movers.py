"""Find what moves against what stands still, whatever it is: somebody no network knows is covered when they move.

RawFrame ─▶ small luma ─▶ mixture of Gaussians per pixel ─▶ without what is covered ─▶ blobs ─▶ regions
                                                    frames between looks ─▶ swept ───┘

The background is a model after Zivkovic (ICPR 2004), OpenCV's ``BackgroundSubtractorMOG2``. On vtest.avi it finds the
head of somebody behind a parked car, 12 pixels high, in 54 of 56 frames where the network finds it in none, adds half a
hundredth of the picture to what is filled, and takes 1.1 ms a frame on one core.
"""

from typing import Final

import cv2
import numpy as np

from veilleur_agent.eye.planes import planes_of
from veilleur_agent.eye.records import Pixels, RawFrame
from veilleur_agent.eye.targets import Regions, cells_of

SMALL_WIDTH: Final = 256
"""A head of 6 pixels in a frame 576 high is 2 here."""
LEARNT_FRAMES: Final = 300
"""Frames the background is learnt over. Whoever stops belongs to it after a tenth of them: later would be safer, and
fills the street with what was parked, opened or blown about (2 % more of vtest.avi for 20 s instead of 3)."""
DISTANCE: Final = 30.0
"""Squared distance from the background, in variances, that is no noise."""
BLOB_MIN: Final = 6
"""Pixels of the small picture: less is noise, or a leaf."""


class Movers:
    """Watches what moves before one camera; holds a background model of the small picture, and what moved in it."""

    def __init__(self) -> None:
        self._size = (0, 0)
        self._background = cv2.createBackgroundSubtractorMOG2(LEARNT_FRAMES, DISTANCE, detectShadows=False)
        self._closing = np.ones((3, 3), np.uint8)
        self._swept: Pixels | None = None

    def pass_over(self, frame: RawFrame, covers: Regions) -> None:
        """Watch a frame that is not looked at: what moves in it is told with the next one that is.

        Args:
            frame: Frames come in their order.
            covers: As in ``find``.
        """
        moving = self._moving_in(frame)
        if moving is not None:
            _clear(moving, covers)
            self._swept = moving if self._swept is None else np.bitwise_or(self._swept, moving)

    def find(self, frame: RawFrame, covers: Regions) -> Regions:
        """Return the boxes of what moves, or has moved since the last call, and is not covered yet.

        Args:
            frame: Frames come in their order.
            covers: float64, shape ``(n, 4)``: what is covered whether it moves or not.

        Returns:
            float64, shape ``(n, 4)``, ``x1, y1, x2, y2``, fractions of the frame; none in the first frame, which shows
            only what stands where.
        """
        moving = self._moving_in(frame)
        if moving is None:
            return np.empty((0, 4))
        if self._swept is not None:
            moving = np.bitwise_or(moving, self._swept)
            self._swept = None
        _clear(moving, covers)
        blobs = cv2.connectedComponentsWithStats(moving)[2][1:].astype(np.float64)
        left, top, wide, high, _ = blobs[blobs[:, cv2.CC_STAT_AREA] >= BLOB_MIN].T
        scale = np.array([*self._size, *self._size], np.float64)
        regions: Regions = np.stack([left, top, left + wide, top + high], axis=1) / scale
        return regions

    def _moving_in(self, frame: RawFrame) -> Pixels | None:
        """Return which pixels of the small picture move, None in the first one of its shape."""
        size = (SMALL_WIDTH, max(1, round(SMALL_WIDTH * frame.height / frame.width)))
        small = cv2.resize(planes_of(frame.i420)[0], size, interpolation=cv2.INTER_AREA)
        if size != self._size:
            self._size, self._swept = size, None
            self._background = cv2.createBackgroundSubtractorMOG2(LEARNT_FRAMES, DISTANCE, detectShadows=False)
            self._background.apply(small)
            return None
        moving = self._background.apply(small, learningRate=1 / LEARNT_FRAMES)
        return np.asarray(cv2.morphologyEx(moving, cv2.MORPH_CLOSE, self._closing), np.uint8)


def _clear(moving: Pixels, covers: Regions) -> None:
    high, wide = moving.shape
    for left, top, right, bottom in cells_of(covers, wide, high).tolist():
        moving[top:bottom, left:right] = 0
