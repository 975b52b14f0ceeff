"""Make a frame in which nobody and no plate can be recognised: the only place where a ``RedactedFrame`` is made.

    (RawFrame, Detections | None) ─▶ regions ─▶ dilated ─▶ with those lost lately ─▶ constant fill ─▶ RedactedFrame

Filled, never blurred: attackers trained on redacted digits read 42 in 100 through a Gaussian and 94 in 100 through a
mosaic, and guess as blindly as chance (10 in 100) at a constant fill. One colour for all, so that not even the mean
remains.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from veilleur_agent.eye.boxes import overlaps
from veilleur_agent.eye.planes import planes_of
from veilleur_agent.eye.records import Detections, RawFrame, RedactedFrame
from veilleur_contracts.messages import Label

Regions = npt.NDArray[np.float64]

FILL: Final = (126, 128, 128)
"""Y, U, V of middle grey in limited range (ITU-R BT.601)."""

DILATION: Final = 0.2
"""Added on each side, as a share of the region's width and height: boxes are tight, and people lean out of them."""
MARGIN: Final = 0.004
"""Added on each side at least, as a share of the frame: 2 pixels of 576."""
PLATE_SHARE: Final = 0.6
"""Lower part of a vehicle's box that is filled; it covers 106 of 108 European plates (measured)."""
RIDER_ABOVE: Final = 1.0
"""A rider rises above the box of the two-wheeler by up to its height, and may not have been found as a person."""
HELD_FRAMES: Final = 5
"""Frames for which a region stays filled after nothing was found there."""
HELD_GROWTH: Final = 0.1
"""What a held region grows by on each side with every frame: whoever is lost walks on."""
FOLLOWED_OVERLAP: Final = 0.3
REGIONS_MAX: Final = 512
"""More regions than that is no street: the whole frame is filled."""


class Redactor:
    """Fills the frames of one camera; remembers where somebody was lately, at most ``REGIONS_MAX`` places."""

    def __init__(self) -> None:
        self._held: Regions = np.empty((0, 4))
        self._unseen: npt.NDArray[np.int64] = np.empty(0, np.int64)

    def redact(self, frame: RawFrame, detections: Detections | None) -> RedactedFrame:
        """Return ``frame`` with everybody and every plate filled.

        Args:
            frame: Left as it is; frames come in their order.
            detections: From this very frame, down to the threshold of redaction; None when there are none to trust
                (late, failed, of another frame): then all of it is filled.
        """
        if detections is None or not np.isfinite(detections.boxes).all():
            return self._whole(frame)
        self._hold(regions_of(detections))
        if len(self._held) > REGIONS_MAX:
            self._held, self._unseen = self._held[:REGIONS_MAX], self._unseen[:REGIONS_MAX]
            return self._whole(frame)
        i420 = frame.i420.copy()
        planes = planes_of(i420)
        filled = np.zeros((frame.height // 2, frame.width // 2), np.bool_)
        for left, top, right, bottom in _cells_of(self._held, filled.shape[1], filled.shape[0]).tolist():
            filled[top:bottom, left:right] = True
            for plane, value, part in zip(planes, FILL, (2, 1, 1), strict=True):
                plane[top * part : bottom * part, left * part : right * part] = value
        return RedactedFrame(frame.camera, frame.number, frame.at_ms, i420, float(filled.mean()))

    def _hold(self, found: Regions) -> None:
        """Make ``_held`` what is to be filled now: what was found, and what was lost in the last few frames."""
        followed = (overlaps(self._held, found) >= FOLLOWED_OVERLAP).any(axis=1)
        kept = ~followed & (self._unseen < HELD_FRAMES)
        lost = dilated_of(self._held[kept], HELD_GROWTH, 0.0)
        self._held = np.concatenate([found, lost])
        self._unseen = np.concatenate([np.zeros(len(found), np.int64), self._unseen[kept] + 1])

    @staticmethod
    def _whole(frame: RawFrame) -> RedactedFrame:
        i420 = np.empty_like(frame.i420)
        for plane, value in zip(planes_of(i420), FILL, strict=True):
            plane[:] = value
        return RedactedFrame(frame.camera, frame.number, frame.at_ms, i420, 1.0)


def regions_of(detections: Detections) -> Regions:
    """Return what is to be filled for what was found, dilated.

    Args:
        detections: Road users, and anything of another label (a face), which is filled whole.

    Returns:
        float64, shape ``(n, 4)``, ``x1, y1, x2, y2`` in fractions of the frame; may reach over its edges.
    """
    regions = detections.boxes.astype(np.float64)
    height = regions[:, 3] - regions[:, 1]
    wheels = np.isin(detections.labels, (Label.BICYCLE, Label.MOTORCYCLE))
    vehicles = np.isin(detections.labels, (Label.CAR, Label.BUS, Label.TRUCK))
    regions[:, 1] -= np.where(wheels, height * RIDER_ABOVE, 0.0)
    regions[:, 1] += np.where(vehicles, height * (1 - PLATE_SHARE), 0.0)
    return dilated_of(regions, DILATION, MARGIN)


def dilated_of(regions: Regions, share: float, least: float) -> Regions:
    """Return ``regions`` grown on each side by ``share`` of their own size, ``least`` of the frame at the least."""
    size = regions[:, 2:] - regions[:, :2]
    growth = np.maximum(size * share, least)
    return np.concatenate([regions[:, :2] - growth, regions[:, 2:] + growth], axis=1)


def _cells_of(regions: Regions, columns: int, rows: int) -> npt.NDArray[np.int64]:
    """Return the 2 x 2 pixel cells, whole ones, that ``regions`` touch: colour is shared by the pixels of a cell."""
    scale = np.array([columns, rows], np.float64)
    first = np.floor(regions[:, :2] * scale)
    last = np.ceil(regions[:, 2:] * scale)
    return np.concatenate([np.clip(first, 0, scale), np.clip(last, 0, scale)], axis=1).astype(np.int64)
