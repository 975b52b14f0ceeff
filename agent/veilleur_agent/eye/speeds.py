"""Measure how fast vehicles go over the ground, and tell only what many of them did.

    Tracks ─▶ foot ─▶ metres ─▶ the last 2 s of each ─▶ median of slopes over ≥ 1 s ─▶ km/h ─▶ V15 · V50 · V85

One frame to the next a box breathes by more than a car moves, which is how peers come to read 6 to 41 km/h for a true
30. The slope here is Theil's and Sen's (Sen, 1968): the median over all pairs at least half a second apart, which one
box in four may spoil. What remains is the box itself: a roof reaches into it, so that under a camera tilted by up to 40
degrees a car reads up to 6 % wrong across the view, by 60 degrees 16 % [computed for a car of 4.4 x 1.8 x 1.5 m].
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from veilleur_agent.eye.ground import Ground
from veilleur_agent.eye.records import Tracks
from veilleur_agent.eye.rows import Rows

SPAN_MS: Final = 1000
"""Least time over which a speed is measured."""
MEMORY_MS: Final = 2000
PAIR_MS: Final = 500
SAMPLES: Final = 32
SAMPLE_MS: Final = 60
"""Least time between samples, so that ``SAMPLES`` hold the whole memory at any frame rate."""
LINGER_MS: Final = 5000
"""Ways are kept this long after their track was last seen: the crossing of a lost one is told late."""
WAYS_MAX: Final = 512
KMH: Final = 3.6
PERCENTILES: Final = (15, 50, 85)

Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class _Ways(Rows):
    """Where each track was on the ground: rings of ``SAMPLES`` places."""

    ids: npt.NDArray[np.int64]
    next: npt.NDArray[np.int64]
    at_ms: Floats
    metres: Floats


class Speedometer:
    """Speeds of the tracks of one camera; forgets a way 5 s after its track was last seen.

    Args:
        ground: Where the picture's points lie.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._ways = _ways_of(np.empty(0, np.int64))

    def watch(self, tracks: Tracks, at_ms: int) -> None:
        """Take in where everybody seen in this frame stands."""
        ways = self._ways
        if len(ways.ids):
            latest = np.nanmax(ways.at_ms, axis=1)
            ways.keep((at_ms - latest <= LINGER_MS) & (latest <= at_ms))
        boxes, ids = tracks.boxes[tracks.seen].astype(np.float64), tracks.ids[tracks.seen]
        metres = self._ground.metres_of(np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], axis=1))
        known = np.isfinite(metres).all(axis=1)
        ids, metres = ids[known], metres[known]
        row_of = {one: row for row, one in enumerate(ways.ids.tolist())}
        new = np.array([one for one in ids.tolist() if one not in row_of], np.int64)[: WAYS_MAX - len(row_of)]
        row_of |= {one: len(ways.ids) + row for row, one in enumerate(new.tolist())}
        ways.append(_ways_of(new))
        held = np.array([one in row_of for one in ids.tolist()], np.bool_)
        rows = np.array([row_of[one] for one in ids[held].tolist()], np.intp)
        self._note(rows, metres[held], at_ms)

    def kmh_of(self, track: int) -> float | None:
        """Return the speed of ``track`` over the last two seconds it was seen, None when seen for under a second."""
        rows = np.flatnonzero(self._ways.ids == track)
        if not rows.size:
            return None
        order = np.argsort(self._ways.at_ms[rows[0]])
        at_ms, metres = self._ways.at_ms[rows[0]][order], self._ways.metres[rows[0]][order]
        recent = at_ms >= np.nanmax(at_ms) - MEMORY_MS
        at_ms, metres = at_ms[recent], metres[recent]
        if at_ms[-1] - at_ms[0] < SPAN_MS:
            return None
        first, second = np.nonzero(at_ms[None, :] - at_ms[:, None] >= PAIR_MS)
        slopes = (metres[second] - metres[first]) / (at_ms[second] - at_ms[first])[:, None]
        return float(np.linalg.norm(np.median(slopes, axis=0))) * 1000 * KMH

    def _note(self, rows: npt.NDArray[np.intp], metres: Floats, at_ms: int) -> None:
        ways = self._ways
        last = ways.at_ms[rows, (ways.next[rows] - 1) % SAMPLES]
        due = ~(at_ms - last < SAMPLE_MS)
        rows, metres = rows[due], metres[due]
        place = ways.next[rows] % SAMPLES
        ways.at_ms[rows, place], ways.metres[rows, place] = at_ms, metres
        ways.next[rows] += 1


def percentiles_of(speeds_kmh: npt.ArrayLike, least: int) -> tuple[float | None, ...]:
    """Return V15, V50 and V85 of the speeds, km/h; three times None from fewer than ``least`` vehicles."""
    speeds = np.asarray(speeds_kmh, np.float64)
    if len(speeds) < least:
        return (None,) * len(PERCENTILES)
    return tuple(float(one) for one in np.percentile(speeds, PERCENTILES))


def _ways_of(ids: npt.NDArray[np.int64]) -> _Ways:
    count = len(ids)
    return _Ways(
        ids=ids,
        next=np.zeros(count, np.int64),
        at_ms=np.full((count, SAMPLES), np.nan),
        metres=np.full((count, SAMPLES, 2), np.nan),
    )
