"""The way each track has gone, as little as counting needs: where it was, how fast, on which side of each line.

A path lives on for a moment after its track was last seen, so that a track which comes back under another id goes on
with it, and two that exchanged their ids where they met get their own back. Nothing else is kept.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from veilleur_agent.eye.assign import assign
from veilleur_agent.eye.rows import Rows

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

GAP_MS: Final = 2500
"""Longest gap over which a new track takes over a lost one: occlusions last 1 to 2 s."""
STANDSTILL: Final = 1e-9
MEMORY_S: Final = 0.5
"""Time constant of the speed, a straight line fitted with weights that fade."""
RELINK_SIZES: Final = (0.5, 0.25, 1.0)
"""Radius in which a new track takes over a lost one: sizes, sizes per second of absence, sizes at most."""
ALIKE: Final = (0.6, 1.6)
SWAP_SIZES: Final = 0.5
"""A track this far, in sizes, from where its way led may have exchanged its id with another."""
SWAP_GAIN: Final = 0.35
"""Exchange ids back when that leaves at most this share of the distance."""


@dataclass(slots=True)
class Paths(Rows):
    """One row per track; columns per line have shape ``(n, lines)``; lengths in frame heights.

    Attributes:
        ids: int64: the track, -1 when its path was taken over.
        heavy: bool: a motor vehicle, followed by its centre; others by their foot.
        labels: int8: as last told.
        sizes: Square root of the area of its box.
        points: ``(n, 2)``: where it was last seen.
        seen_ms: When, UTC milliseconds.
        sums: ``(n, 7)``: weight, and weighted sums of t, t², x, y, xt, yt, with t in seconds from ``seen_ms``.
        side: int8: -1 left, +1 right, 0 not known yet.
        offset: Signed distance to the line, right positive.
        run: int64: how many points in a row were seen outside the band, as many times the side they were on.
        zero_ms: When the path last passed over the line, NaN when it never has.
        zero_along: Where.
        entered_ms: When it came into the band from its side, NaN while it is outside.
        entry_speed: How fast it neared the line then, per second.
        deepest: Least distance to the line on its own side since; negative beyond it.
        deepest_ms: When.
        deepest_along: Where.
    """

    ids: npt.NDArray[np.int64]
    heavy: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int8]
    sizes: Floats
    points: Floats
    seen_ms: Floats
    sums: Floats
    side: npt.NDArray[np.int8]
    offset: Floats
    run: npt.NDArray[np.int64]
    zero_ms: Floats
    zero_along: Floats
    entered_ms: Floats
    entry_speed: Floats
    deepest: Floats
    deepest_ms: Floats
    deepest_along: Floats

    def __len__(self) -> int:
        return len(self.ids)

    def rows_of(self, ids: npt.NDArray[np.int64]) -> Places:
        """Return the row of each of ``ids``, -1 where it has no path; intp, shape ``(k,)``."""
        if not len(self):
            return np.full(len(ids), -1)
        order = self.ids.argsort()
        rows = order[self.ids[order].searchsorted(ids) % len(order)]
        return np.where(self.ids[rows] == ids, rows, -1)

    def speeds(self, rows: Places) -> Floats:
        """Return the velocity of ``rows``, per second, 0 until two sightings; shape ``(k, 2)``."""
        sums = self.sums.take(rows, axis=0)
        weight, late, place, moving = sums[:, :1], sums[:, 1:2], sums[:, 3:5], sums[:, 5:7]
        spread = weight * sums[:, 2:3] - late * late
        slope = (weight * moving - late * place) / np.maximum(spread, STANDSTILL)
        speeds: Floats = np.where(spread > STANDSTILL, slope, 0.0)
        return speeds

    def fitted(self, rows: Places) -> Floats:
        """Return where the fitted way of ``rows`` ends, which is surer than the last sighting; shape ``(k, 2)``."""
        weight, late = self.sums[rows, 0, None], self.sums[rows, 1, None]
        fitted: Floats = (self.sums[rows, 3:5] - late * self.speeds(rows)) / weight
        return fitted

    def expected(self, rows: Places, at_ms: Floats) -> Floats:
        """Return where ``rows`` should be at ``at_ms`` ``(k,)`` if they kept their way; shape ``(k, 2)``."""
        expected: Floats = (
            self.points.take(rows, axis=0) + self.speeds(rows) * ((at_ms - self.seen_ms[rows]) / 1000)[:, None]
        )
        return expected

    def see(self, rows: Places, points: Floats, sizes: Floats, at_ms: Floats) -> None:
        """Take in where ``rows`` are now: the fit fades, moves its origin to ``at_ms``, and gains the points."""
        step = (at_ms - self.seen_ms[rows]) / 1000
        sums = self.sums.take(rows, axis=0) * np.exp(-step / MEMORY_S)[:, None]
        sums[:, 2] += step * (step * sums[:, 0] - 2 * sums[:, 1])
        sums[:, 1] -= step * sums[:, 0]
        sums[:, 5:7] -= step[:, None] * sums[:, 3:5]
        sums[:, 0] += 1.0
        sums[:, 3:5] += points
        self.sums[rows] = sums
        self.points[rows], self.sizes[rows], self.seen_ms[rows] = points, sizes, at_ms

    def heirs(self, lost: Places, new: "Paths") -> tuple[Places, Places]:
        """Pair the paths ``lost`` from sight with the ``new`` ones that were born where they should be by now.

        Returns:
            Rows of ``self`` and rows of ``new``.
        """
        if not lost.size or not len(new):
            return np.empty(0, np.intp), np.empty(0, np.intp)
        gap_s = (new.seen_ms[None, :] - self.seen_ms[lost][:, None]) / 1000
        expected = self.points[lost][:, None, :] + self.speeds(lost)[:, None, :] * gap_s[..., None]
        least, per_s, most = RELINK_SIZES
        radius = self.sizes[lost][:, None] * np.minimum(least + per_s * gap_s, most)
        apart = np.linalg.norm(expected - new.points[None], axis=2) / radius
        ratio = new.sizes[None, :] / self.sizes[lost][:, None]
        fits = (apart < 1.0) & (gap_s > 0) & (gap_s <= GAP_MS / 1000) & (ratio > ALIKE[0]) & (ratio < ALIKE[1])
        fits &= self.heavy[lost][:, None] == new.heavy[None, :]
        rows, columns = assign(np.where(fits, apart, np.inf), 1.0)
        return lost[rows], columns

    def swapped(self, rows: Places, points: Floats, at_ms: Floats) -> list[tuple[int, int]]:
        """Return pairs of places in ``rows`` that stand where the other's way led, and far from where theirs did."""
        expected = self.expected(rows, at_ms)
        off = np.hypot(*(points - expected).T)
        strayed = ((off > SWAP_SIZES * self.sizes[rows]) & (self.sums[rows, 0] > 1.5)).nonzero()[0]  # noqa: PLR2004 - two sightings or more
        pairs: list[tuple[int, int]] = []
        for place, one in enumerate(strayed.tolist()):
            for other in strayed[place + 1 :].tolist():
                crossed = np.linalg.norm(points[other] - expected[one]) + np.linalg.norm(points[one] - expected[other])
                same = self.heavy[rows[one]] == self.heavy[rows[other]]
                if same and crossed < SWAP_GAIN * (off[one] + off[other]):
                    pairs.append((one, other))
        return pairs


def paths_of(
    ids: npt.NDArray[np.int64],
    heavy: npt.NDArray[np.bool_],
    labels: npt.NDArray[np.int8],
    seen: tuple[Floats, Floats, Floats],
    lines: int,
) -> Paths:
    """Return paths that begin where they were ``seen`` (points, sizes, times), on no side of any line yet."""
    count = len(ids)
    points, sizes, at_ms = seen
    sums = np.zeros((count, 7))
    sums[:, 0] = 1.0
    sums[:, 3:5] = points

    def unknown() -> Floats:
        return np.full((count, lines), np.nan)

    return Paths(
        ids=ids.copy(),
        heavy=heavy.copy(),
        labels=labels.copy(),
        sizes=sizes.copy(),
        points=points.copy(),
        seen_ms=at_ms.astype(np.float64),
        sums=sums,
        side=np.zeros((count, lines), np.int8),
        offset=unknown(),
        run=np.zeros((count, lines), np.int64),
        zero_ms=unknown(),
        zero_along=unknown(),
        entered_ms=unknown(),
        entry_speed=unknown(),
        deepest=unknown(),
        deepest_ms=unknown(),
        deepest_along=unknown(),
    )
