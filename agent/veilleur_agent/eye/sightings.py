"""Reckon where somebody is between and beyond the boxes in which they were seen: moved, grown, drawn between two.

Single boxes are reckoned with as plain numbers: NumPy takes ten times as long for four of them.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Box = npt.NDArray[np.float64]
Sighting = tuple[int, int, Box]
"""Position of the frame, its time in milliseconds, the box in it."""

SHIFT_SIZES: Final = 3.5
"""How far a box that is not found moves at most, in sizes: a wrong path must not cover the street."""
STEP_MS_MAX: Final = 2000
"""Time between frames beyond which nobody knows how anything moved."""


def speed_of(seen: list[Sighting]) -> Box:
    """Speed of the centre, fractions of the frame per millisecond, shape ``(2,)``; 0 when unknown."""
    (_, first_ms, first), (_, last_ms, last) = seen[0], seen[-1]
    if not 0 < last_ms - first_ms <= STEP_MS_MAX:
        return np.zeros(2)
    way: Box = (centre_of(last) - centre_of(first)) / (last_ms - first_ms)
    return way


def shift_of(box: Box, speed: Box, after_ms: int) -> Box:
    """Return how far somebody has moved, by side: no further than ``SHIFT_SIZES``, not at all after too long."""
    if abs(after_ms) > STEP_MS_MAX:
        return np.zeros(4)
    across, down = (speed * after_ms).tolist()
    length, reach = math.hypot(across, down), SHIFT_SIZES * math.sqrt(area_of(box))
    share = min(1.0, reach / length) if length > 0.0 else 0.0
    return np.array([across, down, across, down]) * share


def carried_on(seen: Sighting, speed: Box, at_ms: int, growth: float) -> Box:
    """Return what covers somebody who has stayed where they were, walked on, or anything between."""
    _, seen_ms, box = seen
    shift = shift_of(box, speed, at_ms - seen_ms)
    grown = grown_by(box, growth)
    return hull_of([grown, grown + shift])


def grown_by(box: Box, share: float) -> Box:
    """Return a box grown on each side by ``share`` of its size."""
    growth = (box[2:] - box[:2]) * share
    return np.concatenate([box[:2] - growth, box[2:] + growth])


def drawn_between(last: Sighting, following: Sighting, at_ms: int) -> Box:
    """Return where somebody was between two sightings, in time: frames do not come evenly.

    Anywhere between, when one of them shows only a part.
    """
    if reaches_edge(last[2]) or reaches_edge(following[2]) or not last[1] < at_ms < following[1]:
        return hull_of([last[2], following[2]])
    share = (at_ms - last[1]) / (following[1] - last[1])
    between: Box = last[2] + (following[2] - last[2]) * share
    return between


def reaches_edge(box: Box) -> bool:
    """Tell whether the frame's edge cuts a box."""
    left, top, right, bottom = box.tolist()
    return bool(left <= 0.0 or top <= 0.0 or right >= 1.0 or bottom >= 1.0)


def hull_of(boxes: Sequence[Box]) -> Box:
    """Return the box around all of ``boxes``."""
    left, top, right, bottom = zip(*[box.tolist() for box in boxes], strict=True)
    return np.array([min(left), min(top), max(right), max(bottom)])


def area_of(box: Box) -> float:
    """Return the area of a box, a share of the frame."""
    left, top, right, bottom = box.tolist()
    return float((right - left) * (bottom - top))


def centre_of(box: Box) -> Box:
    """Return the centre of a box, shape ``(2,)``."""
    centre: Box = (box[:2] + box[2:]) / 2
    return centre
