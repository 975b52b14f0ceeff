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
from veilleur_agent.eye.rulers import Near, Rulers
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
        self._rulers = Rulers(lines, aspect)
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
        places = (tracks.seen & (tracks.ids >= 0)).nonzero()[0]
        if places.size and len(self._rulers):
            found += self._follow(tracks, places, at_ms)
        return sorted(found, key=lambda crossing: crossing.at_ms)

    def close(self) -> list[Crossing]:
        """End every path, as when the stream has ended, and tell who was over by then."""
        return self._expire(math.inf)

    def _begin(self, ids: npt.NDArray[np.int64], boxes: Floats, labels: npt.NDArray[np.int8], at_ms: Floats) -> Paths:
        """Return paths that begin with ``boxes``, on the side where they clearly are."""
        heavy = HEAVY[labels]
        points, sizes = self._points(boxes, heavy)
        paths = paths_of(ids, heavy, labels, (points, sizes, at_ms), len(self._rulers))
        paths.offset = self._rulers.offsets(points)
        clear = np.abs(paths.offset) > BIRTH_BANDS * _band(sizes)[:, None]
        paths.side = np.where(clear, np.sign(paths.offset), 0).astype(np.int8)
        return paths

    def _points(self, boxes: Floats, heavy: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Return where each box stands, ``(n, 2)``, and its size, ``(n,)``, in frame heights."""
        wide, tall = (boxes[:, 2] - boxes[:, 0]) * self._aspect, boxes[:, 3] - boxes[:, 1]
        points = np.empty((len(boxes), 2))
        points[:, 0] = (boxes[:, 0] + boxes[:, 2]) / 2 * self._aspect
        points[:, 1] = np.where(heavy, (boxes[:, 1] + boxes[:, 3]) / 2, boxes[:, 3])
        return points, np.sqrt(np.maximum(wide * tall, 1e-8))

    def _follow(self, tracks: Tracks, places: Places, at_ms: int) -> list[Crossing]:
        """Bring every path up to this frame."""
        rows = self._paths.rows_of(tracks.ids[places])
        found: list[Crossing] = []
        if (rows < 0).any():
            rows, found = self._welcome(tracks, places, rows, at_ms)
            places, rows = places[rows >= 0], rows[rows >= 0]
        paths = self._paths
        points, sizes = self._points(tracks.boxes.take(places, axis=0).astype(np.float64), paths.heavy[rows])
        times = np.full(len(rows), float(at_ms))
        rows = self._unswap(rows, points, times)
        paths.labels[rows] = tracks.labels[places]
        return found + self._advance(rows, points, sizes, times, tracks.moved[places])

    def _welcome(self, tracks: Tracks, places: Places, rows: Places, at_ms: int) -> tuple[Places, list[Crossing]]:
        """Give every unknown track a path: that of a lost one whose place it took, or one of its own."""
        unknown = (rows < 0).nonzero()[0][: PATHS_MAX - len(self._paths)]
        them = places[unknown]
        fresh = (at_ms - tracks.born_ms[them] <= BORN_MS) & (tracks.born_ms[them] <= at_ms)
        boxes = np.where(fresh[:, None], tracks.born_boxes[them], tracks.boxes[them]).astype(np.float64)
        born_ms = np.where(fresh, tracks.born_ms[them], at_ms).astype(np.float64)
        new = self._begin(tracks.ids[them], boxes, tracks.labels[them], born_ms)
        is_lost = np.ones(len(self._paths), np.bool_)
        is_lost[rows[rows >= 0]] = False
        lost = is_lost.nonzero()[0]
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
        paths, offset, band = self._paths, self._rulers.offsets(points), _band(sizes)
        # Whoever is on their own side, far from the line, and was so before, needs no more thought: nearly everybody.
        near = offset * paths.side.take(rows, axis=0) <= TURN_BANDS * band[:, None]
        near |= ~np.isnan(paths.entered_ms.take(rows, axis=0))
        place, line = near.nonzero()
        them = Near(rows[place], line, offset[place, line], band[place], points[place], at_ms[place])
        self._note_passing(them)
        paths.offset[rows] = offset
        found = self._note_turns(them)
        paths.see(rows, points, sizes, at_ms)
        return found + self._change_sides(them, moved[place])

    def _change_sides(self, near: Near, moved: npt.NDArray[np.bool_]) -> list[Crossing]:
        """Believe the side that was seen often enough, of who has moved, and return the crossings that this makes."""
        paths, cell = self._paths, (near.rows, near.lines)
        side, run = paths.side[cell], paths.run[cell]
        out = np.where(np.abs(near.offset) > near.band, np.sign(near.offset), 0).astype(np.int8)
        paths.run[cell] = run = np.where(out == np.sign(run), run + out, out)
        changed = (np.abs(run) >= SURE_RUN) & (out != side) & ((side == 0) | moved)
        found: list[Crossing] = []
        for one in changed.nonzero()[0].tolist():
            row, line = int(near.rows[one]), int(near.lines[one])
            paths.side[row, line] = out[one]
            if side[one]:
                found += self._crossing(row, line, float(near.band[one]))
        return found

    def _note_passing(self, near: Near) -> None:
        """Remember when and where each path last passed over each line."""
        paths = self._paths
        was = paths.offset[near.rows, near.lines]
        over = (was >= 0) != (near.offset >= 0)
        if not over.any():
            return
        was, near = was[over], near.chosen(over)
        share, was_ms = was / (was - near.offset), paths.seen_ms[near.rows]
        was_along = self._rulers.alongs(paths.points[near.rows], near.lines)
        along = self._rulers.alongs(near.points, near.lines)
        paths.zero_ms[near.rows, near.lines] = was_ms + share * (near.at_ms - was_ms)
        paths.zero_along[near.rows, near.lines] = was_along + share * (along - was_along)

    def _crossing(self, row: int, line: int, band: float) -> list[Crossing]:
        """Return the crossing of a path that has just changed sides, if it went over the segment."""
        paths = self._paths
        paths.entered_ms[row, line] = np.nan
        along, slack = float(paths.zero_along[row, line]), END_BANDS * band
        label = Label(int(paths.labels[row]))
        if label not in self._labels or not -slack <= along <= float(self._rulers.lengths[line]) + slack:
            return []
        at_ms, direction = round(float(paths.zero_ms[row, line])), _direction(int(paths.side[row, line]))
        return [Crossing(line, label, direction, at_ms, int(paths.ids[row]))]

    def _note_turns(self, near: Near) -> list[Crossing]:
        """Follow who is near a line; tell when two who turned back there must have gone through each other."""
        paths, rows, lines = self._paths, near.rows, near.lines
        side = paths.side[rows, lines]
        depth, inside = near.offset * side, ~np.isnan(paths.entered_ms[rows, lines])
        leaves = depth > TURN_BANDS * near.band
        enters = (~inside & (side != 0) & ~leaves).nonzero()[0]
        if enters.size:
            cell = rows[enters], lines[enters]
            paths.entered_ms[cell], paths.deepest[cell] = near.at_ms[enters], np.inf
            rightward = self._rulers.rightward(paths.speeds(cell[0]))[np.arange(enters.size), cell[1]]
            paths.entry_speed[cell] = -rightward * side[enters]
        deeper = ((side != 0) & (depth < paths.deepest[rows, lines])).nonzero()[0]
        cell = rows[deeper], lines[deeper]
        paths.deepest[cell], paths.deepest_ms[cell] = depth[deeper], near.at_ms[deeper]
        paths.deepest_along[cell] = self._rulers.alongs(near.points[deeper], cell[1])
        found: list[Crossing] = []
        for one in (inside & leaves).nonzero()[0].tolist():
            row, line = int(rows[one]), int(lines[one])
            turn = self._turn(row, line, float(near.band[one]), float(near.at_ms[one]))
            paths.entered_ms[row, line] = np.nan
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
                if not -slack <= turn.along <= float(self._rulers.lengths[turn.line]) + slack:
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
        rows = ended.nonzero()[0]
        band, side, speeds = _band(paths.sizes[rows])[:, None], paths.side[rows], paths.speeds(rows)
        depth, nearing = self._rulers.offsets(paths.fitted(rows)) * side, -self._rulers.rightward(speeds) * side
        carried = (side != 0) & (depth <= band) & (nearing > 0) & (depth - nearing * CARRY_S < -band)
        found: list[Crossing] = []
        for place, line in np.argwhere(carried).tolist():
            row = int(rows[place])
            if paths.offset[row, line] * side[place, line] > 0:
                more_s = max(depth[place, line], 0.0) / nearing[place, line]
                paths.zero_ms[row, line] = paths.seen_ms[row] + more_s * 1000
                carried_to = paths.points[row] + more_s * speeds[place]
                paths.zero_along[row, line] = self._rulers.alongs(carried_to[None], np.array([line]))[0]
            paths.side[row, line] = -side[place, line]
            found += self._crossing(row, line, float(band[place, 0]))
        paths.keep(~ended)
        return found


def _band(sizes: Floats) -> Floats:
    """Return the half-width of the band of each object, shape ``(n,)``."""
    return np.maximum(BAND_MIN, BAND_SIZES * sizes)


def _direction(side: int) -> Direction:
    """Return the direction that ends on ``side``."""
    return Direction.LEFT_TO_RIGHT if side > 0 else Direction.RIGHT_TO_LEFT
