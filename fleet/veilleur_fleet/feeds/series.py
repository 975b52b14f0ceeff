"""The counts of one camera along time: one channel for each line, label and direction, one value for each slot."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from veilleur_contracts.messages import Direction, Label
from veilleur_fleet.errors import QueryRejectedError
from veilleur_fleet.feeds.reading import CountedLine, lines_of, roll_ups_of, windows_of
from veilleur_fleet.feeds.slots import DAY_S, HOUR_S, SeenWindow, by_slot, count_of

RANGE_S_MAX: Final = 366 * DAY_S
STEPS: Final = {"window": None, "hour": HOUR_S, "day": DAY_S}
"""Length of a slot by name; None: the length of the line's own windows."""
_CELLS: Final = 2 * len(Label)


@dataclass(frozen=True, slots=True)
class Period:
    """What is asked for.

    Attributes:
        from_s: Beginning, UTC.
        to_s: End, UTC, not in it.
        step: ``window``, ``hour`` or ``day``.
    """

    from_s: int
    to_s: int
    step: str = "hour"

    def check(self, now_s: int) -> None:
        """Refuse what cannot be cut into slots, or has not happened yet.

        Raises:
            QueryRejectedError: Empty, too long, in the future, an unknown step, or ends that fall inside a slot.
        """
        if self.step not in STEPS:
            message = f"{self.step[:32]!r} is no step; known are {', '.join(STEPS)}"
        elif not self.from_s < self.to_s:
            message = "the period is empty: it must end later than it begins"
        elif self.to_s - self.from_s > RANGE_S_MAX:
            message = f"the period is longer than {RANGE_S_MAX // DAY_S} days: ask for it in parts"
        elif self.to_s > now_s:
            message = "the period has not ended yet: its end must not lie in the future"
        elif self.from_s % (STEPS[self.step] or 1) or self.to_s % (STEPS[self.step] or 1):
            message = f"the period must begin and end on a whole {self.step}, in UTC"
        else:
            return
        raise QueryRejectedError(message)


@dataclass(frozen=True, slots=True)
class Channel:
    """One label crossing one line one way, slot by slot.

    Attributes:
        line: The line.
        label: What is counted.
        direction: Which way.
        step_s: Length of a slot, seconds.
        from_s: Beginning of the first slot, UTC.
        counts: One for each slot, without a gap; None was not measured, or may not be told.
        is_bench: Whether windows of the bench policy are among what is counted.
    """

    line: CountedLine
    label: Label
    direction: Direction
    step_s: int
    from_s: int
    counts: tuple[int | None, ...]
    is_bench: bool = False


@dataclass(slots=True)
class Bench:
    """What is done with windows of the bench policy, whose counts are of files and rendered streets.

    Attributes:
        keeps: Whether they are counted with.
        windows: How many there were.
    """

    keeps: bool = False
    windows: int = 0


def channels_of(
    connection: sa.Connection, controller: str, camera: str, period: Period, bench: Bench
) -> Iterator[Channel]:
    """Yield the channels of one camera: of its lines counted now, and of those with windows in the period.

    A line of which there are windows of the bench policy alone has no channel, unless these are kept.

    Raises:
        QueryRejectedError: The windows of a line do not fit the slots.
    """
    found = []
    for line in lines_of(connection, controller, camera):
        every = list(windows_of(connection, line.line_no, period.from_s, period.to_s))
        kept = [window for window in every if bench.keeps or not window.is_bench]
        bench.windows += sum(window.is_bench for window in every)
        if kept or not every:
            found.append((line, kept))
    box_nos = {window.source.box_no for _, windows in found for window in windows}
    roll_ups = roll_ups_of(connection, box_nos, period.from_s, period.to_s)
    for line, windows in found:
        counted = line.counted
        for window in windows:
            counted |= window.counted
        if not counted or line.started_s >= period.to_s:
            continue
        step_s = _step_of(camera, line, windows, period)
        begin = max(period.from_s, line.started_s // step_s * step_s)
        slots = by_slot(windows, step_s)
        for cell in (cell for cell in range(_CELLS) if counted >> cell // 2 & 1):
            counts = tuple(
                count_of(slots.get(at_s, ()), cell, (at_s, step_s), roll_ups)
                for at_s in range(begin, period.to_s, step_s)
            )
            is_bench = any(window.is_bench for window in windows)
            yield Channel(line, Label(cell // 2), Direction(cell % 2), step_s, begin, counts, is_bench)


def _step_of(camera: str, line: CountedLine, windows: Sequence[SeenWindow], period: Period) -> int:
    """Return the length of the line's slots.

    Raises:
        QueryRejectedError: Its windows have several lengths, or one that does not divide the slots.
    """
    lengths = sorted({window.window_s for window in windows})
    step_s = STEPS[period.step]
    where = f"line {line.line} of camera {camera}"
    if step_s is None:
        if len(lengths) > 1:
            message = f"{where} has windows of {' and '.join(map(str, lengths))} s in this period: ask for it by hour"
            raise QueryRejectedError(message)
        # A line that was silent all along has no length of its own; an hour is what it may be told by.
        step_s = lengths[0] if lengths else HOUR_S
        if period.from_s % step_s or period.to_s % step_s:
            message = f"the period must begin and end between two windows of {step_s} s of {where}"
            raise QueryRejectedError(message)
    for length in lengths:
        if step_s % length:
            message = f"{where} has windows of {length} s, which do not fill slots of {step_s} s: ask for it by day"
            raise QueryRejectedError(message)
    return step_s
