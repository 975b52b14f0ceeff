"""Which numbers of a stream are held: everything up to a mark, and a few ranges beyond a hole.

1 2 3 4 5 6 7 8 9 ...
■ ■ ■ ■ □ □ ■ ■ □          upto = 4, ahead = [(7, 8)]; a resent 5..6 moves the mark to 8
"""

from dataclasses import dataclass, field
from typing import Final

AHEAD_RANGES_MAX: Final = 64
"""More holes than this in one stream, and what lies beyond is not taken: the box keeps it and says it again."""


class TooManyHolesError(ValueError):
    """The range would open one hole more than a stream may have; nothing was changed."""


@dataclass(slots=True)
class Held:
    """The numbers held of one stream. Bounded by ``AHEAD_RANGES_MAX``.

    Attributes:
        upto: Every number from 1 to this one is held; what may be acknowledged.
        ahead: Closed ranges beyond the first hole, rising, never touching each other or the mark.
    """

    upto: int = 0
    ahead: list[tuple[int, int]] = field(default_factory=list)

    def has(self, seq: int) -> bool:
        """Tell whether ``seq`` is held."""
        return seq <= self.upto or any(first <= seq <= last for first, last in self.ahead)

    def missing(self, first: int, last: int) -> int:
        """Return how many numbers of ``first..last`` are not held."""
        held = max(0, min(last, self.upto) - first + 1)
        held += sum(max(0, min(last, end) - max(first, start) + 1) for start, end in self.ahead)
        return last - first + 1 - held

    def is_next(self, first: int) -> bool:
        """Tell whether a range from ``first`` on is wholly new without looking any closer."""
        return first == self.upto + 1 and not self.ahead

    def first_missing(self, first: int, last: int) -> int | None:
        """Return the first number of ``first..last`` that is not held; None when all are."""
        candidate = max(first, self.upto + 1)
        for start, end in self.ahead:
            if start <= candidate <= end:
                candidate = end + 1
        return candidate if candidate <= last else None

    def take(self, first: int, last: int) -> None:
        """Hold ``first..last`` too.

        Raises:
            TooManyHolesError: It would leave more than ``AHEAD_RANGES_MAX`` ranges beyond the mark.
        """
        if last <= self.upto:
            return
        ranges = sorted([*self.ahead, (first, last)])
        upto, ahead = self.upto, list[tuple[int, int]]()
        for start, end in ranges:
            if start <= upto + 1:
                upto = max(upto, end)
            elif ahead and start <= ahead[-1][1] + 1:
                ahead[-1] = (ahead[-1][0], max(ahead[-1][1], end))
            else:
                ahead.append((start, end))
        if len(ahead) > AHEAD_RANGES_MAX:
            raise TooManyHolesError
        self.upto, self.ahead = upto, ahead
