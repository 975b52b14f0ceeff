"""Count road users over lines: tracks in, crossings out.

            left                          d = signed distance to the line, right positive
      A ───────────▶ B                    ━━━━━━━━━━━━━━━ band (hysteresis) ━━━━━━━━━━━━━━━
            right                         a side is believed outside the band, never inside

A crossing is a change of believed side whose path went over the segment between its ends. Its time is interpolated to
where the path met the line. Everything is measured in frame heights in both directions, so a vertical line counts as a
horizontal one does. Whoever is lost inside the band is carried on at their last speed; whoever was never seen on one
side is not counted onto the other; a track that comes back under a new id goes on with its path.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from veilleur_agent.eye.paths import GAP_MS, Floats, Paths, Places, paths_of
from veilleur_agent.eye.records import Crossing, Tracks
from veilleur_agent.eye.turns import TURN_BANDS, TURNS_MAX, Turn, went_through
from veilleur_contracts.messages import Direction, Label
from veilleur_contracts.site import Line

BAND_SIZES: Final = 0.25
BAND_MIN: Final = 0.004
"""Half-width of the band: a quarter of the object's size (five sigma of a filtered foot), 2 pixels of 576 at least."""
BIRTH_BANDS: Final = 0.6
"""Share of the band past which the side of birth is believed: two sigma of an unfiltered foot."""
SURE_RUN: Final = 2
"""A side is believed after this many sightings in a row outside the band, so that one bad box changes nothing."""
END_BANDS: Final = 0.5
"""How far past its ends a line still counts, in half-bands."""
CARRY_S: Final = 1.0
"""Whoever is lost in the band is over if their speed takes them out of it within this time."""
BORN_MS: Final = 1000
"""Longest time between birth and first being told; an older birth is not a part of the path."""
LINGER_MS: Final = GAP_MS + BORN_MS
"""A path is kept this long after its track was last seen: the longest gap, and the time an heir takes to be told."""
PATHS_MAX: Final = 1024
HEAVY: Final = np.isin(np.arange(len(Label)), (int(Label.CAR), int(Label.BUS), int(Label.TRUCK)))


class LineCounter:
    """Counts the tracks of one camera over its lines; forgets a path 3.5 s after its track was last seen.

    Args:
        lines: The lines, in the order in which crossings name them.
        labels: What is counted.
        aspect: Width of the frame over its height.
    """

    def __init__(self, lines: Sequence[Line], labels: frozenset[Label], aspect: float) -> None:
        ends = np.array([[line.start, line.end] for line in lines], np.float64).reshape(-1, 2, 2) * (aspect, 1.0)
        self._start = ends[:, 0]
        way = ends[:, 1] - ends[:, 0]
        self._length = np.linalg.norm(way, axis=1)
        self._along = way / self._length[:, None]
        self._right = np.stack([-self._along[:, 1], self._along[:, 0]], axis=1)
        self._labels = labels
        self._aspect = aspect
        self._at_ms = -math.inf
        self._turns: list[Turn] = []
        self._paths = self._begin(np.empty(0, np.int64), np.empty((0, 4)), np.empty(0, np.int8), np.empty(0))

    def count(self, tracks: Tracks, at_ms: int) -> list[Crossing]:
        """Take in the tracks of one frame and tell who has crossed.

        Args:
            tracks: Everybody told by the tracker; negative ids are nobody.
            at_ms: Time of the frame, UTC milliseconds.

        Returns:
            Crossings known since the last call, in order of time; those of lost tracks come up to 3.5 s late.
        """
        found = self.close() if at_ms < self._at_ms else self._expire(at_ms)
        self._at_ms = at_ms
        places = np.flatnonzero(tracks.seen & (tracks.ids >= 0))
        if places.size and len(self._length):
            found += self._follow(tracks, places, at_ms)
        return sorted(found, key=lambda crossing: crossing.at_ms)

    def close(self) -> list[Crossing]:
        """End every path, as when the stream has ended, and tell who was over by then."""
        return self._expire(math.inf)

    def _begin(self, ids: npt.NDArray[np.int64], boxes: Floats, labels: npt.NDArray[np.int8], at_ms: Floats) -> Paths:
        """Return paths that begin with ``boxes``, on the side where they clearly are."""
        heavy = HEAVY[labels]
        points, sizes = self._points(boxes, heavy)
        paths = paths_of(ids, heavy, labels, (points, sizes, at_ms), len(self._length))
        paths.offset, paths.along = self._measure(points)
        clear = np.abs(paths.offset) > BIRTH_BANDS * _band(sizes)
        paths.side = np.where(clear, np.sign(paths.offset), 0).astype(np.int8)
        return paths

    def _points(self, boxes: Floats, heavy: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Return where each box stands, ``(n, 2)``, and its size, ``(n,)``, in frame heights."""
        wide, tall = (boxes[:, 2] - boxes[:, 0]) * self._aspect, boxes[:, 3] - boxes[:, 1]
        across = (boxes[:, 0] + boxes[:, 2]) / 2 * self._aspect
        down = np.where(heavy, (boxes[:, 1] + boxes[:, 3]) / 2, boxes[:, 3])
        return np.stack([across, down], axis=1), np.sqrt(np.maximum(wide * tall, 1e-8))

    def _measure(self, points: Floats) -> tuple[Floats, Floats]:
        """Return the signed distance to each line and the distance along it, both ``(n, lines)``."""
        offset, along = points @ self._right.T, points @ self._along.T
        offset -= (self._start * self._right).sum(axis=1)
        along -= (self._start * self._along).sum(axis=1)
        return offset, along

    def _follow(self, tracks: Tracks, places: Places, at_ms: int) -> list[Crossing]:
        """Bring every path up to this frame."""
        place_of = {int(one): row for row, one in enumerate(self._paths.ids.tolist())}
        rows = np.array([place_of.get(int(one), -1) for one in tracks.ids[places].tolist()], np.intp)
        found: list[Crossing] = []
        if (rows < 0).any():
            rows, found = self._welcome(tracks, places, rows, at_ms)
            places, rows = places[rows >= 0], rows[rows >= 0]
        paths = self._paths
        points, sizes = self._points(tracks.boxes[places].astype(np.float64), paths.heavy[rows])
        times = np.full(len(rows), float(at_ms))
        rows = self._unswap(rows, points, times)
        paths.labels[rows] = tracks.labels[places]
        return found + self._advance(rows, points, sizes, times, tracks.moved[places])

    def _welcome(self, tracks: Tracks, places: Places, rows: Places, at_ms: int) -> tuple[Places, list[Crossing]]:
        """Give every unknown track a path: that of a lost one whose place it took, or one of its own."""
        unknown = np.flatnonzero(rows < 0)[: PATHS_MAX - len(self._paths)]
        them = places[unknown]
        fresh = (at_ms - tracks.born_ms[them] <= BORN_MS) & (tracks.born_ms[them] <= at_ms)
        boxes = np.where(fresh[:, None], tracks.born_boxes[them], tracks.boxes[them]).astype(np.float64)
        born_ms = np.where(fresh, tracks.born_ms[them], at_ms).astype(np.float64)
        new = self._begin(tracks.ids[them], boxes, tracks.labels[them], born_ms)
        lost = np.setdiff1d(np.arange(len(self._paths)), rows)
        old, heirs = self._paths.heirs(lost, new)
        self._paths.ids[old] = new.ids[heirs]
        found = self._advance(old, new.points[heirs], new.sizes[heirs], new.seen_ms[heirs], tracks.moved[them[heirs]])
        rows = rows.copy()
        rows[unknown[heirs]] = old
        own = np.ones(len(new), np.bool_)
        own[heirs] = False
        rows[unknown[own]] = len(self._paths) + np.arange(own.sum())
        new.keep(own)
        self._paths.append(new)
        return rows, found

    def _unswap(self, rows: Places, points: Floats, at_ms: Floats) -> Places:
        """Give two tracks that exchanged their ids their own paths back."""
        ids = self._paths.ids
        for one, other in self._paths.swapped(rows, points, at_ms):
            ids[rows[one]], ids[rows[other]] = int(ids[rows[other]]), int(ids[rows[one]])
            rows[one], rows[other] = int(rows[other]), int(rows[one])
        return rows

    def _advance(
        self, rows: Places, points: Floats, sizes: Floats, at_ms: Floats, moved: npt.NDArray[np.bool_]
    ) -> list[Crossing]:
        """Move the paths ``rows`` on to ``points`` and return the crossings that became sure."""
        paths, band = self._paths, _band(sizes)
        offset, along = self._measure(points)
        self._note_passing(rows, offset, along, at_ms)
        side = paths.side[rows]
        out = np.where(np.abs(offset) > band, np.sign(offset), 0).astype(np.int8)
        run = np.where((out != 0) & (out == paths.run_side[rows]), paths.run[rows] + 1, out != 0)
        sure = (out != 0) & (run >= SURE_RUN) & ((side == 0) | moved[:, None])
        paths.run_side[rows], paths.run[rows] = out, run
        paths.offset[rows], paths.along[rows] = offset, along
        found = self._note_turns(rows, band, at_ms)
        paths.see(rows, points, sizes, at_ms)
        changed = sure & (out != side)
        paths.side[rows] = np.where(changed, out, side)
        for place, line in np.argwhere(changed & (side != 0)).tolist():
            found += self._crossing(int(rows[place]), line, float(band[place, 0]))
        return found

    def _note_passing(self, rows: Places, offset: Floats, along: Floats, at_ms: Floats) -> None:
        """Remember when and where each path last passed over each line."""
        paths = self._paths
        was, was_along, was_ms = paths.offset[rows], paths.along[rows], paths.seen_ms[rows][:, None]
        over = (was >= 0) != (offset >= 0)
        if not over.any():
            return
        share = was / np.where(over, was - offset, 1.0)
        paths.zero_ms[rows] = np.where(over, was_ms + share * (at_ms[:, None] - was_ms), paths.zero_ms[rows])
        paths.zero_along[rows] = np.where(over, was_along + share * (along - was_along), paths.zero_along[rows])

    def _crossing(self, row: int, line: int, band: float) -> list[Crossing]:
        """Return the crossing of a path that has just changed sides, if it went over the segment."""
        paths = self._paths
        paths.entered_ms[row, line] = np.nan
        along, slack = float(paths.zero_along[row, line]), END_BANDS * band
        label = Label(int(paths.labels[row]))
        if label not in self._labels or not -slack <= along <= float(self._length[line]) + slack:
            return []
        at_ms, direction = round(float(paths.zero_ms[row, line])), _direction(int(paths.side[row, line]))
        return [Crossing(line, label, direction, at_ms, int(paths.ids[row]))]

    def _note_turns(self, rows: Places, band: Floats, at_ms: Floats) -> list[Crossing]:
        """Follow who is near a line; tell when two who turned back there must have gone through each other."""
        paths = self._paths
        side = paths.side[rows]
        depth, entered = paths.offset[rows] * side, paths.entered_ms[rows]
        inside = ~np.isnan(entered)
        near = TURN_BANDS * band
        enters = ~inside & (side != 0) & (depth <= near)
        if not (inside | enters).any():
            return []
        speed = -(paths.speeds(rows) @ self._right.T) * side
        deeper = enters | (inside & (depth < paths.deepest[rows]))
        place, line = np.nonzero(enters)
        paths.entered_ms[rows[place], line] = at_ms[place]
        paths.entry_speed[rows[place], line] = speed[place, line]
        place, line = np.nonzero(deeper)
        paths.deepest[rows[place], line] = depth[place, line]
        paths.deepest_ms[rows[place], line] = at_ms[place]
        paths.deepest_along[rows[place], line] = paths.along[rows[place], line]
        found: list[Crossing] = []
        for place_home, line_home in np.argwhere(inside & (depth > near)).tolist():
            row = int(rows[place_home])
            turn = self._turn(row, line_home, float(band[place_home, 0]), float(at_ms[place_home]))
            paths.entered_ms[row, line_home] = np.nan
            found += self._pair(turn)
        return found

    def _turn(self, row: int, line: int, band: float, at_ms: float) -> Turn:
        paths, side = self._paths, int(self._paths.side[row, line])
        deepest, deepest_ms = float(paths.deepest[row, line]), float(paths.deepest_ms[row, line])
        back = float(paths.offset[row, line]) * side - deepest
        exit_speed = back / max(at_ms - deepest_ms, 1.0) * 1000
        entry_speed = float(paths.entry_speed[row, line])
        way_s = (at_ms - float(paths.entered_ms[row, line])) / 1000
        due_s = (TURN_BANDS * band - deepest) / max(entry_speed, 1e-6) + back / max(exit_speed, 1e-6)
        return Turn(
            line=line,
            side=side,
            label=Label(int(paths.labels[row])),
            at_ms=deepest_ms,
            along=float(paths.deepest_along[row, line]),
            depth=deepest,
            band=band,
            entry_speed=entry_speed,
            exit_speed=exit_speed,
            paused=way_s > 1.5 * due_s + 0.2,
        )

    def _pair(self, turn: Turn) -> list[Crossing]:
        """Return the two crossings of ``turn`` and an earlier one that is its other half, or keep it waiting."""
        self._turns = [one for one in self._turns if turn.at_ms - one.at_ms <= LINGER_MS][-TURNS_MAX:]
        for other in self._turns:
            if went_through(turn, other):
                self._turns.remove(other)
                slack = END_BANDS * turn.band
                if not -slack <= turn.along <= float(self._length[turn.line]) + slack:
                    return []
                return [
                    Crossing(one.line, one.label, _direction(-one.side), round((turn.at_ms + other.at_ms) / 2))
                    for one in (turn, other)
                    if one.label in self._labels
                ]
        self._turns.append(turn)
        return []

    def _expire(self, at_ms: float) -> list[Crossing]:
        """Forget the paths not seen for long, and tell who was lost in the band on their way over."""
        paths = self._paths
        ended = at_ms - paths.seen_ms > LINGER_MS
        if not ended.any():
            return []
        rows = np.flatnonzero(ended)
        band, side, speeds = _band(paths.sizes[rows]), paths.side[rows], paths.speeds(rows)
        depth, nearing = self._measure(paths.fitted(rows))[0] * side, -(speeds @ self._right.T) * side
        carried = (side != 0) & (depth <= band) & (nearing > 0) & (depth - nearing * CARRY_S < -band)
        found: list[Crossing] = []
        for place, line in np.argwhere(carried).tolist():
            row = int(rows[place])
            if paths.offset[row, line] * side[place, line] > 0:
                more_s = max(depth[place, line], 0.0) / nearing[place, line]
                paths.zero_ms[row, line] = paths.seen_ms[row] + more_s * 1000
                paths.zero_along[row, line] = paths.along[row, line] + more_s * float(speeds[place] @ self._along[line])
            paths.side[row, line] = -side[place, line]
            found += self._crossing(row, line, float(band[place, 0]))
        paths.keep(~ended)
        return found


def _band(sizes: Floats) -> Floats:
    """Return the half-width of the band of each object, shape ``(n, 1)``."""
    return np.maximum(BAND_MIN, BAND_SIZES * sizes)[:, None]


def _direction(side: int) -> Direction:
    """Return the direction that ends on ``side``."""
    return Direction.LEFT_TO_RIGHT if side > 0 else Direction.RIGHT_TO_LEFT
