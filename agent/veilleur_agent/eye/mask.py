"""Burn out the parts of a frame that a policy masks, before anything looks at it.

    Capture ──take──▶ RawFrame ──▶ polygons filled in luma and colour ──▶ scheduler ─▶ detector

A block of two by two pixels that a polygon touches is filled whole, so that no colour of a masked place is left beside
it, and the frame itself is written to: the masked pixels are nowhere any more.
"""

from collections.abc import Iterable
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from veilleur_agent.eye.planes import planes_of
from veilleur_agent.eye.records import Pixels, RawFrame
from veilleur_agent.eye.scheduler import Frames
from veilleur_contracts.policy import Mask

UNITS: Final = 10_000
"""A corner's coordinates are ten-thousandths of the frame."""
SHIFT: Final = 8
"""Bits of a pixel that corners are placed to."""
BLACK: Final = 16
COLOURLESS: Final = 128
"""Black in limited range (ITU-R BT.601)."""


class Burner:
    """Fills the masks of one camera; holds the filled area of one frame size.

    Args:
        masks: Polygons, at least three corners each; none burns nothing.
    """

    def __init__(self, masks: Iterable[Mask]) -> None:
        self._masks = tuple(sorted(masks))
        self._size = (0, 0)
        self._blocks: npt.NDArray[np.bool_] = np.zeros((0, 0), np.bool_)
        self._luma: npt.NDArray[np.bool_] = np.zeros((0, 0), np.bool_)
        self._rows = slice(0, 0)
        self._columns = slice(0, 0)

    def burn(self, frame: RawFrame) -> RawFrame:
        """Return ``frame`` with its masks filled in place; a picture that may not be written to is copied first."""
        if not self._masks:
            return frame
        pixels = frame.i420
        if not pixels.flags.writeable:
            frame = RawFrame(frame.camera, frame.number, frame.at_ms, pixels.copy())
        if (frame.width, frame.height) != self._size:
            self._fit_to(frame.width, frame.height)
        luma, *colours = planes_of(frame.i420)
        tall = slice(self._rows.start * 2, self._rows.stop * 2)
        wide = slice(self._columns.start * 2, self._columns.stop * 2)
        np.copyto(luma[tall, wide], np.uint8(BLACK), where=self._luma)
        for plane in colours:
            np.copyto(plane[self._rows, self._columns], np.uint8(COLOURLESS), where=self._blocks)
        return frame

    def _fit_to(self, width: int, height: int) -> None:
        touched = blocks_of(self._masks, width, height)
        rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
        if len(rows):
            self._rows, self._columns = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        else:  # corners that all lie on one outer edge
            self._rows = self._columns = slice(0, 0)
        self._blocks = np.ascontiguousarray(touched[self._rows, self._columns])
        self._luma = self._blocks.repeat(2, axis=0).repeat(2, axis=1)
        self._size = (width, height)


class Masked:
    """A capture whose frames come with their masks burnt in, and in no other way.

    Args:
        capture: Where they come from.
        masks: What is burnt out.
    """

    def __init__(self, capture: Frames, masks: Iterable[Mask]) -> None:
        self._capture = capture
        self._burner = Burner(masks)

    @property
    def camera(self) -> str:
        """Its name."""
        return self._capture.camera

    @property
    def has_frame(self) -> bool:
        """Whether ``take`` has something to give."""
        return self._capture.has_frame

    def take(self) -> RawFrame | None:
        """Return the newest frame not taken yet, masked; raises as the capture does."""
        frame = self._capture.take()
        return None if frame is None else self._burner.burn(frame)


def blocks_of(masks: Iterable[Mask], width: int, height: int) -> npt.NDArray[np.bool_]:
    """Return which blocks of two by two pixels the masks touch.

    Args:
        masks: Polygons in ten-thousandths of the frame.
        width: Pixels, even.
        height: Pixels, even.

    Returns:
        bool, shape ``(height / 2, width / 2)``: aligned outward, one pixel of margin included for what rounding cuts
        off.
    """
    area: Pixels = np.zeros((height, width), np.uint8)
    side = np.array([width, height], np.float64)
    for mask in masks:
        corners = np.array(mask, np.float64) / UNITS * side - 0.5  # a pixel's middle lies at .5
        cv2.fillPoly(area, [np.rint(corners * (1 << SHIFT)).astype(np.int32)], 1, shift=SHIFT)
    grown = np.asarray(cv2.dilate(area, np.ones((3, 3), np.uint8)), np.bool_)
    pairs = np.logical_or(grown[0::2], grown[1::2])
    return np.logical_or(pairs[:, 0::2], pairs[:, 1::2])
