"""The rules a window passes before it may leave the eye: who may be told, in what company, and when.

    Window ─▶ class? length? ─▶ cells 0 or ≥ k ─────────────▶ CrossingWindow
                                 cells 1..k-1 ─▶ nil there, and
                                     └─▶ hour ─▶ day ───────▶ RollUp: the sum of the withheld cells alone

A roll-up is told only when no withheld cell can be worked out from it and everything else that is told. An hour with m
withheld cells of 1..k-1 gives one away when its sum is m (all ones) or m(k-1) (all as large as can be); the day is
checked against every way the hours that were not told could have come about. What may not be told is the mark ``nil``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from veilleur_agent.eye.windows import Window
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.messages import CrossingWindow, Label, MessageClass, RollUp
from veilleur_contracts.policy import PERSON_LABELS, Permissions

HOUR_S: Final = 3_600
DAY_S: Final = 86_400

Cell = tuple[int, int, int]
"""Line, place of the label, direction."""


class WindowTooShortError(RejectedError):
    """A window length the policy in force does not allow."""


class RollUpRejectedError(RejectedError):
    """Checkpointed withheld sums that cannot be read."""


@dataclass(slots=True)
class _Hidden:
    """Withheld cells not told yet: of the hour, and of the hours of the day that were not told.

    ``hours`` holds ``(cells, sum)`` of each such hour: at most 24 (23 and 25 where clocks change do not arise in UTC).
    """

    cells: int = 0
    total: int = 0
    hours: list[tuple[int, int]] = field(default_factory=list)


_Small = Annotated[int, Meta(ge=0, le=100_000)]


class _Saved(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    cell: tuple[_Small, _Small, _Small]
    cells: _Small
    total: _Small
    hours: Annotated[list[tuple[_Small, _Small]], Meta(max_length=24)]


class _Checkpoint(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    context: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
    hour: Annotated[int, Meta(ge=-1, le=1 << 40)]
    hidden: Annotated[list[_Saved], Meta(max_length=16 * 6 * 2)]


class Release:
    """What one camera may tell, under one Context.

    Holds the withheld sums of at most one day: bounded by lines x labels x directions x 24.

    Args:
        context: Number of the Context the windows refer to.
        labels: Labels counted, in wire order.
        window_s: Length of the windows, seconds.
        permissions: What the policy in force allows.

    Raises:
        WindowTooShortError: The windows are shorter than ``permissions`` allow for these labels.
    """

    def __init__(self, context: int, labels: Sequence[Label], window_s: int, permissions: Permissions) -> None:
        shortest = permissions.window_s_for(labels)
        if window_s < shortest:
            message = f"windows of {window_s} s are shorter than the {shortest} s that the policy asks for"
            raise WindowTooShortError(message)
        self._context = context
        self._labels = tuple(labels)
        self._permissions = permissions
        self._hour = -1
        self._hidden: dict[Cell, _Hidden] = {}

    def release(self, window: Window) -> list[CrossingWindow | RollUp]:
        """Return the records that ``window`` gives: roll-ups that fell due before it, then one per line."""
        if MessageClass.STATISTICS not in self._permissions.classes:
            return []
        at_s, window_s = window.start_ms // 1000, window.length_ms // 1000
        records: list[CrossingWindow | RollUp] = list(self._due(at_s // HOUR_S))
        lines = 0 if window.counts is None else window.counts.shape[0]
        records.extend(self._line_record(window, at_s, window_s, line) for line in range(lines))
        return records

    def unobserved(self, window: Window, lines: int) -> list[CrossingWindow | RollUp]:
        """Return the records of a window in which nothing was observed: every cell nil, coverage 0."""
        if MessageClass.STATISTICS not in self._permissions.classes:
            return []
        at_s, window_s = window.start_ms // 1000, window.length_ms // 1000
        nothing = (None,) * (2 * len(self._labels))
        empty = [
            CrossingWindow(self._context, at_s, window_s, line, 0, 0, int(window.quality), nothing)
            for line in range(lines)
        ]
        return [*self._due(at_s // HOUR_S), *empty]

    def finish(self) -> list[RollUp]:
        """Tell what may be told of the withheld sums, for good: the Context is about to change."""
        return [*self._end_of_hour(), *self._end_of_day()]

    def checkpoint(self) -> bytes:
        """Return the withheld sums as bytes."""
        hidden = [_Saved(cell, one.cells, one.total, one.hours) for cell, one in sorted(self._hidden.items())]
        return msgspec.msgpack.encode(_Checkpoint(self._context, self._hour, hidden))

    def restore(self, data: bytes) -> None:
        """Take up the withheld sums of a checkpoint of the same Context.

        Raises:
            RollUpRejectedError: Damaged, or of another Context.
        """
        try:
            saved = msgspec.msgpack.decode(data, type=_Checkpoint)
        except (msgspec.DecodeError, RecursionError):
            message = "the checkpoint of withheld sums is damaged; they are lost"
            raise RollUpRejectedError(message) from None
        if saved.context != self._context:
            message = "the checkpoint of withheld sums is of another context"
            raise RollUpRejectedError(message)
        self._hour = saved.hour
        self._hidden = {one.cell: _Hidden(one.cells, one.total, one.hours) for one in saved.hidden}

    def _line_record(self, window: Window, at_s: int, window_s: int, line: int) -> CrossingWindow:
        counts: list[int | None] = []
        for place, label in enumerate(self._labels):
            for direction in (0, 1):
                value = int(window.counts[line, place, direction]) if window.counts is not None else None
                counts.append(self._told((line, place, direction), label, value))
        return CrossingWindow(
            self._context,
            at_s,
            window_s,
            line,
            int(window.coverage * 100),
            min(1200, round(window.fps * 10)),
            int(window.quality),
            tuple(counts),
        )

    def _told(self, cell: Cell, label: Label, value: int | None) -> int | None:
        """Return ``value`` if it may be told; else keep it for the roll-up and return the mark."""
        if value is None or label not in PERSON_LABELS or not 0 < value < self._permissions.person_cell_min:
            return value
        hidden = self._hidden.setdefault(cell, _Hidden())
        hidden.cells += 1
        hidden.total += value
        return None

    def _due(self, hour: int) -> Iterator[RollUp]:
        before, self._hour = self._hour, hour
        if before in {-1, hour}:
            return
        self._hour = before
        yield from self._end_of_hour()
        if before * HOUR_S // DAY_S != hour * HOUR_S // DAY_S:
            yield from self._end_of_day()
        self._hour = hour

    def _end_of_hour(self) -> Iterator[RollUp]:
        for cell, hidden in self._hidden.items():
            if not hidden.cells:
                continue
            if may_tell_hour(hidden.cells, hidden.total, self._permissions.person_cell_min):
                yield self._roll_up(cell, self._hour * HOUR_S, HOUR_S, hidden.total)
            else:
                hidden.hours.append((hidden.cells, hidden.total))
            hidden.cells = hidden.total = 0

    def _end_of_day(self) -> Iterator[RollUp]:
        start = self._hour * HOUR_S // DAY_S * DAY_S
        for cell, hidden in self._hidden.items():
            if hidden.hours:
                total = sum(total for _, total in hidden.hours)
                counts = [cells for cells, _ in hidden.hours]
                may_tell = may_tell_day(counts, total, self._permissions.person_cell_min)
                yield self._roll_up(cell, start, DAY_S, total if may_tell else None)
        self._hidden.clear()

    def _roll_up(self, cell: Cell, at_s: int, length_s: int, total: int | None) -> RollUp:
        line, place, direction = cell
        return RollUp(self._context, at_s, length_s, line, int(self._labels[place]), direction, total)


def may_tell_hour(cells: int, total: int, least: int) -> bool:
    """Tell whether the sum of an hour's withheld cells may be told.

    Args:
        cells: How many cells of 1..least-1 it sums.
        total: Their sum.
        least: k.
    """
    return total >= least and cells < total < cells * (least - 1)


def may_tell_day(cells: Sequence[int], total: int, least: int) -> bool:
    """Tell whether the sum over the hours that were not told may be told.

    Every sum an untold hour can have had is known from the rule itself; the day's total may be told only when, for each
    hour, the sums that remain possible do not fix the value of its cells.

    Args:
        cells: Withheld cells of each untold hour, each at least 1.
        total: Sum over all of them.
        least: k.
    """
    if total < least:
        return False
    possible = [_untold_sums(count, least) for count in cells]
    ahead = _sums_before(possible)
    behind = _sums_before(possible[::-1])[::-1]
    for place, count in enumerate(cells):
        others = _sum_of_sets(ahead[place], behind[place])
        left = [own for own in possible[place] if own <= total and others >> (total - own) & 1]
        if all(own == count for own in left) or all(own == count * (least - 1) for own in left):
            return False
        if count == 1 and len(left) == 1:
            return False
    return True


def _untold_sums(cells: int, least: int) -> list[int]:
    return [total for total in range(cells, cells * (least - 1) + 1) if not may_tell_hour(cells, total, least)]


def _sums_before(possible: Sequence[Sequence[int]]) -> list[int]:
    """Return for each place the set, as bits, of the sums the places before it can have."""
    sums, reachable = [], 1
    for own in possible:
        sums.append(reachable)
        reachable = sum_set(reachable, own)
    return sums


def sum_set(reachable: int, own: Sequence[int]) -> int:
    """Return the sums reachable by adding one of ``own`` to one of ``reachable``; sets are bits of an integer."""
    together = 0
    for value in own:
        together |= reachable << value
    return together


def _sum_of_sets(one: int, other: int) -> int:
    together, shift = 0, 0
    while other >> shift:
        if other >> shift & 1:
            together |= one << shift
        shift += 1
    return together
