"""Keep one box per object: greedy non-maximum suppression, on arrays.

Boxes are float32, shape ``(n, 4)``, ``x1, y1, x2, y2`` in any one unit.
"""

import cv2
import numpy as np
import numpy.typing as npt

CANDIDATE_LIMIT = 400
"""Most candidates that are compared; a street never shows more, and comparing grows with the square."""


def areas_of(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Area of each box, shape ``(n,)``; negative where a box is turned inside out."""
    areas: npt.NDArray[np.float32] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def shared_areas_of(boxes: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Area that each box shares with each other one, shape ``(n, m)``."""
    wide = np.minimum(boxes[:, None, 2], others[None, :, 2]) - np.maximum(boxes[:, None, 0], others[None, :, 0])
    high = np.minimum(boxes[:, None, 3], others[None, :, 3]) - np.maximum(boxes[:, None, 1], others[None, :, 1])
    shared: npt.NDArray[np.float32] = np.maximum(wide, np.float32(0.0)) * np.maximum(high, np.float32(0.0))
    return shared


def overlaps_of(boxes: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Intersection over union of every box with every other, shape ``(n, m)``, 0..1; 0 where both are empty."""
    shared = shared_areas_of(boxes, others)
    union = areas_of(boxes)[:, None] + areas_of(others)[None, :] - shared
    ratio: npt.NDArray[np.float32] = shared / np.maximum(union, np.float32(1e-9))
    return ratio


def strongest_of(scores: npt.NDArray[np.float32], limit: int = CANDIDATE_LIMIT) -> npt.NDArray[np.intp]:
    """Positions of the ``limit`` highest scores, in no order; all of them where there are no more than that."""
    if scores.size <= limit:
        return np.arange(scores.size)
    return np.argpartition(scores, scores.size - limit)[scores.size - limit :]


def kept_of(
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    groups: npt.NDArray[np.int8],
    overlap: float,
) -> npt.NDArray[np.intp]:
    """Choose the boxes that stay when each box silences weaker ones of its group that overlap it too much.

    Args:
        boxes: What was found.
        scores: float32, shape ``(n,)``.
        groups: int8, shape ``(n,)``: boxes of different groups leave each other alone.
        overlap: Intersection over union above which the weaker box goes, 0..1.

    Returns:
        intp, shape ``(k,)``: positions of the kept boxes, strongest first; ties keep their order.
    """
    if scores.size < 2:  # noqa: PLR2004 - nothing to compare
        return np.arange(scores.size)
    # OpenCV's loop, 2.5 times as fast as arrays of pairs. It parts the groups by moving them away from each other,
    # which only works for coordinates that are not negative.
    placed: npt.NDArray[np.float32] = boxes - np.float32(min(0.0, float(boxes.min())))
    placed[:, 2:] -= placed[:, :2]
    kept = cv2.dnn.NMSBoxesBatched(placed, scores.tolist(), groups.tolist(), -1.0, overlap)  # type: ignore[arg-type]  # arrays are taken too
    return np.asarray(kept, dtype=np.intp).reshape(-1)
