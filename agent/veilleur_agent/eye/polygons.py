"""Which points lie in which polygons."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Polygons:
    """Some polygons, their edges end to end, so that all are tried at once.

    Args:
        polygons: float64, each of shape ``(n, 2)``.
    """

    def __init__(self, polygons: Sequence[Floats]) -> None:
        sizes = [len(polygon) for polygon in polygons]
        self._firsts = np.cumsum([0, *sizes[:-1]])[: len(sizes)]
        start = np.concatenate([np.empty((0, 2)), *polygons])[:, :, None]
        end = np.concatenate([np.empty((0, 2)), *(np.roll(polygon, -1, axis=0) for polygon in polygons)])[:, :, None]
        self._start_x, self._start_y, self._end_y = start[:, 0], start[:, 1], end[:, 1]
        self._run, rise = end[:, 0] - start[:, 0], end[:, 1] - start[:, 1]
        self._rise = np.where(rise == 0, 1.0, rise)  # a level edge is straddled by nobody

    def __len__(self) -> int:
        return len(self._firsts)

    def holding(self, points: Floats) -> npt.NDArray[np.bool_]:
        """Tell which polygons hold which points (even-odd rule; Shimrat, 1962).

        Args:
            points: float64, shape ``(m, 2)``.

        Returns:
            bool, shape ``(polygons, m)``.
        """
        if not len(self):
            return np.empty((0, len(points)), np.bool_)
        x, y = points.T
        straddled = (self._start_y > y) != (self._end_y > y)
        straddled &= x < self._run * (y - self._start_y) / self._rise + self._start_x
        odd: npt.NDArray[np.bool_] = np.logical_xor.reduceat(straddled, self._firsts, axis=0)
        return odd


def inside(polygon: Floats, points: Floats) -> npt.NDArray[np.bool_]:
    """Tell which points lie in one polygon.

    Args:
        polygon: float64, shape ``(n, 2)``.
        points: float64, shape ``(m, 2)``.
    """
    held: npt.NDArray[np.bool_] = Polygons([polygon]).holding(points)[0]
    return held
