"""Say what has to be covered in a frame: people and their two-wheelers whole, faces, and where plates are.

Detections ─▶ regions ─▶ (hold) ─▶ dilated ─▶ cells of 2 x 2 pixels, as colour is stored
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from veilleur_agent.eye.records import Detections
from veilleur_contracts.messages import Label

Regions = npt.NDArray[np.float64]
Cells = npt.NDArray[np.int64]

DILATION: Final = 0.2
"""Added on each side, as a share of the region's width and height: boxes are tight, and people lean out of them."""
MARGIN: Final = 0.004
"""Added on each side at least, as a share of the frame: 2 pixels of 576."""
EDGE: Final = 0.02
"""What comes so near the frame's edge, as a share of the frame, is covered up to it: somebody half in is half found."""
PLATE_SHARE: Final = 0.6
"""Lower part of a vehicle's box that is filled; it covers 106 of 108 European plates (measured)."""
RIDER_ABOVE: Final = 1.0
"""A rider rises above the box of the two-wheeler by up to its height, and may not have been found as a person."""
VEHICLES: Final = (Label.CAR, Label.BUS, Label.TRUCK)
WHEELS: Final = (Label.BICYCLE, Label.MOTORCYCLE)


def regions_of(detections: Detections) -> Regions:
    """Return what must not be seen of what was found.

    Args:
        detections: Road users, and anything of another label (a face), which is covered whole.

    Returns:
        float64, shape ``(n, 4)``, ``x1, y1, x2, y2`` in fractions of the frame; may reach over its upper edge.
    """
    regions = detections.boxes.astype(np.float64)
    height = regions[:, 3] - regions[:, 1]
    regions[:, 1] -= np.where(np.isin(detections.labels, WHEELS), height * RIDER_ABOVE, 0.0)
    regions[:, 1] += np.where(np.isin(detections.labels, VEHICLES), height * (1 - PLATE_SHARE), 0.0)
    return regions


def dilated_of(regions: Regions, share: float = DILATION, least: float = MARGIN) -> Regions:
    """Return ``regions`` grown on each side by ``share`` of their own size, ``least`` of the frame at the least."""
    growth = np.maximum((regions[:, 2:] - regions[:, :2]) * share, least)
    return np.concatenate([regions[:, :2] - growth, regions[:, 2:] + growth], axis=1)


def cells_of(regions: Regions, columns: int, rows: int) -> Cells:
    """Return the cells that ``regions`` touch, whole ones: colour is shared by the 2 x 2 pixels of a cell.

    Returns:
        int64, shape ``(n, 4)``: left, top, and right, bottom beyond the last one.
    """
    scale = np.array([columns, rows], np.float64)
    first, last = np.floor(regions[:, :2] * scale), np.ceil(regions[:, 2:] * scale)
    return np.concatenate([np.clip(first, 0, scale), np.clip(last, 0, scale)], axis=1).astype(np.int64)


def reaching_edges(regions: Regions) -> Regions:
    """Return ``regions`` with the sides that nearly touch the frame's edge, or lie beyond it, moved onto it.

    Those that lie wholly beyond it are left out: nothing of them can be shown.
    """
    low, high = np.clip(regions[:, :2], 0.0, 1.0), np.clip(regions[:, 2:], 0.0, 1.0)
    moved = np.concatenate([np.where(low < EDGE, 0.0, low), np.where(high > 1.0 - EDGE, 1.0, high)], axis=1)
    return moved[(high > low).all(axis=1)]
