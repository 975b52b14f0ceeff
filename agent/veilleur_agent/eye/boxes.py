"""Boxes as corners and as centres, and how much of them is shared."""

from typing import Final

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
SIZE_MIN: Final = 1e-4


def corners_of(centred: Boxes) -> Boxes:
    """Return ``x1, y1, x2, y2`` of boxes ``cx, cy, w, h``, shape ``(n, 4)``."""
    half = centred[:, 2:] / 2
    return np.concatenate([centred[:, :2] - half, centred[:, :2] + half], axis=1)


def centred_of(corners: Boxes) -> Boxes:
    """Return ``cx, cy, w, h`` of boxes ``x1, y1, x2, y2``, shape ``(n, 4)``."""
    return np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)


def sizes_of(centred: Boxes) -> Boxes:
    """Return the size, the square root of the area, of boxes ``cx, cy, w, h``; shape ``(n,)``."""
    sizes: Boxes = np.sqrt(np.maximum(centred[:, 2] * centred[:, 3], SIZE_MIN**2))
    return sizes


def shared_areas(ones: Boxes, others: Boxes) -> Boxes:
    """Return the area that each pair of boxes shares.

    Args:
        ones: float64, shape ``(n, 4)``, ``x1, y1, x2, y2``.
        others: The same, shape ``(m, 4)``.

    Returns:
        float64, shape ``(n, m)``.
    """
    wide = np.minimum(ones[:, 2, None], others[:, 2]) - np.maximum(ones[:, 0, None], others[:, 0])
    tall = np.minimum(ones[:, 3, None], others[:, 3]) - np.maximum(ones[:, 1, None], others[:, 1])
    areas: Boxes = np.maximum(wide, 0.0) * np.maximum(tall, 0.0)
    return areas


def areas_of(boxes: Boxes) -> Boxes:
    """Return the area of each box, shape ``(n,)``."""
    areas: Boxes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def overlaps(ones: Boxes, others: Boxes) -> Boxes:
    """Return intersection over union of each pair, 0-1, shape ``(n, m)``; boxes must have an area."""
    shared = shared_areas(ones, others)
    ratios: Boxes = shared / (areas_of(ones)[:, None] + areas_of(others)[None, :] - shared)
    return ratios


def touching(ones: Boxes, others: Boxes) -> tuple[Places, Places, Boxes]:
    """Return the pairs that share anything, few of all in a street, and intersection over union of each.

    Returns:
        Rows of ``ones``, rows of ``others`` and their overlap, all of shape ``(p,)``.
    """
    shared = shared_areas(ones, others)
    rows, columns = (shared > 0.0).nonzero()
    both = shared[rows, columns]
    return rows, columns, both / (areas_of(ones)[rows] + areas_of(others)[columns] - both)


def lies_within(ones: Boxes, others: Boxes, least: float) -> npt.NDArray[np.bool_]:
    """Tell of each pair whether at least that share of the one lies in the other, shape ``(n, m)``."""
    within: npt.NDArray[np.bool_] = shared_areas(ones, others) >= least * areas_of(ones)[:, None]
    return within
