"""Measure points of the picture against lines: how far to the right of each, and how far along it.

A ──── along ───▶ ┬ ─────────▶ B
                  │ offset, right positive
                  ● point
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from veilleur_contracts.site import Line

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


class Rulers:
    """The lines of one camera, in frame heights.

    Args:
        lines: The lines.
        aspect: Width of the frame over its height.

    Attributes:
        lengths: float64, shape ``(lines,)``: from the first point of each to its second.
    """

    def __init__(self, lines: Sequence[Line], aspect: float) -> None:
        ends = np.array([[line.start, line.end] for line in lines], np.float64).reshape(-1, 2, 2) * (aspect, 1.0)
        self._start, way = ends[:, 0], ends[:, 1] - ends[:, 0]
        self.lengths: Floats = np.hypot(way[:, 0], way[:, 1])
        self._along = way / self.lengths[:, None]
        self._right = np.stack([-self._along[:, 1], self._along[:, 0]], axis=1)
        self._start_offset = (self._start * self._right).sum(axis=1)

    def __len__(self) -> int:
        return len(self.lengths)

    def offsets(self, points: Floats) -> Floats:
        """Return the signed distance of points ``(n, 2)`` to every line, right positive; shape ``(n, lines)``."""
        offsets: Floats = points @ self._right.T - self._start_offset
        return offsets

    def rightward(self, ways: Floats) -> Floats:
        """Return by how much ways ``(n, 2)`` lead to the right of every line; shape ``(n, lines)``."""
        rightward: Floats = ways @ self._right.T
        return rightward

    def alongs(self, points: Floats, lines: Places) -> Floats:
        """Return how far along its own line, one of ``lines`` ``(n,)``, each of ``points`` ``(n, 2)`` lies."""
        alongs: Floats = ((points - self._start[lines]) * self._along[lines]).sum(axis=1)
        return alongs


@dataclass(frozen=True, slots=True)
class Near:
    """Paths near lines, one row for each path and each line it is near.

    Attributes:
        rows: intp, shape ``(n,)``: the path.
        lines: intp: the line.
        offset: float64: signed distance of the path's new point to the line.
        band: float64: half-width of the band for this path.
        points: float64, shape ``(n, 2)``: the new point.
        at_ms: float64: when.
    """

    rows: Places
    lines: Places
    offset: Floats
    band: Floats
    points: Floats
    at_ms: Floats

    def chosen(self, mask: npt.NDArray[np.bool_]) -> "Near":
        """Return the rows where ``mask`` is true."""
        places = mask.nonzero()[0]
        return Near(
            self.rows[places],
            self.lines[places],
            self.offset[places],
            self.band[places],
            self.points[places],
            self.at_ms[places],
        )
