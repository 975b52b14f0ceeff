"""The one place that reads the wall clock; everything else is handed a ``Clock``."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What a rule may ask about time."""

    def now_ms(self) -> int:
        """Return UTC milliseconds since 1970; may jump when the system clock is set."""
        ...

    def elapsed_s(self) -> float:
        """Return seconds from an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now_ms(self) -> int:
        """Return UTC milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def elapsed_s(self) -> float:
        """Return seconds of the monotonic clock."""
        return time.monotonic()


def datetime_of(at_ms: int) -> datetime:
    """Return the aware UTC datetime of ``at_ms``."""
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC)
