"""How long records are kept, by class, and which are too old: rules without a database.

T technical  90 days     S statistics  ten years     A aggregates  30 days     E events  30 days
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

from veilleur_contracts.clock import datetime_of
from veilleur_contracts.messages import MessageClass, class_of_stream


def _class_of(ordinal: int) -> MessageClass | None:
    try:
        return class_of_stream(ordinal)
    except ValueError:
        return None


DAY_MS: Final = 86_400_000
ORDINALS: Final = {number: kind for number in range(8) if (kind := _class_of(number)) is not None}
"""The class of each ordinal that a stream's number may end in; it is what the store calls ``class``."""
DAYS: Final = {
    MessageClass.TECHNICAL: 90,
    MessageClass.STATISTICS: 3650,
    MessageClass.AGGREGATE: 30,
    MessageClass.EVENT: 30,
}


@dataclass(frozen=True, slots=True)
class Keeping:
    """For how many days the records of each class are kept, from when the fleet received them.

    Attributes:
        days: Of each class.
    """

    days: dict[MessageClass, int] = field(default_factory=lambda: dict(DAYS))

    def bound_ms(self, kind: MessageClass, now_ms: int) -> int:
        """Return the time before which what was received of ``kind`` is too old."""
        return now_ms - self.days[kind] * DAY_MS


@dataclass(slots=True)
class Forgotten:
    """What was deleted because it is too old.

    Attributes:
        records: Records of each class.
        windows: Rows of crossing windows.
        more: Whether there is more to delete right away.
    """

    records: dict[MessageClass, int] = field(default_factory=dict)
    windows: int = 0
    more: bool = False

    def add(self, other: "Forgotten") -> None:
        """Count what another step deleted."""
        for kind, count in other.records.items():
            self.records[kind] = self.records.get(kind, 0) + count
        self.windows += other.windows


class Month(NamedTuple):
    """One month in UTC: what partitions call it, and its first millisecond and the first after it."""

    name: str
    first_ms: int
    end_ms: int


def month_of(at_ms: int) -> Month:
    """Return the month of ``at_ms``."""
    at = datetime_of(at_ms)
    first = datetime(at.year, at.month, 1, tzinfo=UTC)
    end = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    return Month(f"{first:%Y_%m}", round(first.timestamp() * 1000), round(end.timestamp() * 1000))


def months_around(now_ms: int) -> Iterator[Month]:
    """Yield the months that must be ready now: the last, this one and the next."""
    now = month_of(now_ms)
    yield month_of(now.first_ms - 1)
    yield now
    yield month_of(now.end_ms)


def swept_upto(rows: Sequence[tuple[int, int]], bound_ms: int, now_ms: int) -> int | None:
    """Return the last position of ``rows`` that is surely too old; None when not even the first is.

    Rows stand in the order in which they were stored, so time rises, but for a fleet's clock that was set: nothing is
    too old behind a row that is young, and a row from the future goes with what was stored after it.

    Args:
        rows: Position and time received, in order of position.
        bound_ms: What was received before is too old.
        now_ms: What was received after has a wrong time.
    """
    upto = None
    for position, received_ms in rows:
        if received_ms < bound_ms:
            upto = position
        elif received_ms <= now_ms:
            break
    return upto
