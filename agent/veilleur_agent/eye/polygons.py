"""Which points lie in a polygon."""

import numpy as np
import numpy.typing as npt


def inside(polygon: npt.NDArray[np.float64], points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Tell which points lie in a polygon (even-odd rule; Shimrat, 1962).

    Args:
        polygon: float64, shape ``(n, 2)``.
        points: float64, shape ``(m, 2)``.
    """
    x, y = points[:, 0, None], points[:, 1, None]
    ax, ay = polygon[:, 0], polygon[:, 1]
    bx, by = np.roll(ax, -1), np.roll(ay, -1)
    straddles = (ay > y) != (by > y)
    rise = np.where(by == ay, 1.0, by - ay)
    left_of = x < (bx - ax) * (y - ay) / rise + ax
    odd: npt.NDArray[np.bool_] = (straddles & left_of).sum(axis=1) % 2 == 1
    return odd
