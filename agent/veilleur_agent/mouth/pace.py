"""How fast a backlog may go out: more while the fleet answers at once, half as much and rests when it does not.

    unanswered at a time  ▁▂▃▄▅▆▇ answered soon: one step more      ▇▄▂▁ answered late, or not at all: half, and rest

Each box finds by itself the share that 1,200 boxes coming back at once leave it, and begins at a moment of its own.
What a street says from day to day is far below all of it, and alarms, events and road states are not paced at all.
"""

from collections.abc import Callable
from dataclasses import dataclass

from veilleur_contracts.clock import Clock


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """Between what a pace moves.

    Attributes:
        start_bytes: What may be unanswered at a time, after each connection.
        least_bytes: The least of it: a hundred windows.
        most_bytes: The most of it: one whole batch.
        bytes_s: The most in a second: a quarter of what a fleet stores, so that one box alone leaves room for others.
        soon_s: An answer within this came soon.
        probe_s: An answer that is missing this long, and twice as long as the last one took, may be lost: one more
            batch goes out, whose answer counts for both.
        spread_s: The backlog begins after a random part of this for each attempt to connect that failed before.
        spread_max_s: At most so much.
    """

    start_bytes: int = 8_192
    least_bytes: int = 4_096
    most_bytes: int = 65_536
    bytes_s: float = 524_288.0
    soon_s: float = 0.25
    probe_s: float = 1.0
    spread_s: float = 1.0
    spread_max_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may go out now.

    Attributes:
        size_bytes: How long the next batch may be; 0: it must wait.
        again_in_s: When to ask again, if it must; None: it need not.
    """

    size_bytes: int
    again_in_s: float | None


class Pace:
    """What of a backlog may be under way. Holds no queue.

    Args:
        limits: Between what it moves.
        clock: For waiting.
        chance: Draws from 0 to 1.
    """

    def __init__(self, limits: PaceLimits, clock: Clock, chance: Callable[[], float]) -> None:
        self._limits, self._clock, self._chance = limits, clock, chance
        self._next_at_s = self._slowed_at_s = self._heard_at_s = clock.elapsed_s()
        self._last_after_s = 0.0
        self.window_bytes = limits.start_bytes

    def restart(self, failures: int) -> None:
        """Begin again with a new connection, before which so many attempts failed."""
        spread_s = min(self._limits.spread_max_s, failures * self._limits.spread_s)
        self._next_at_s = self._clock.elapsed_s() + spread_s * self._chance()
        self.window_bytes = self._limits.start_bytes

    def allowed(self, unanswered_bytes: int) -> Allowed:
        """Return what may go out while so much is unanswered."""
        now_s = self._clock.elapsed_s()
        if now_s < self._next_at_s:
            return Allowed(0, self._next_at_s - now_s)
        if unanswered_bytes < self.window_bytes:
            return Allowed(self.window_bytes - unanswered_bytes, None)
        probe_in_s = self._heard_at_s + max(self._limits.probe_s, 2 * self._last_after_s) - now_s
        return Allowed(0, probe_in_s) if probe_in_s > 0 else Allowed(self._limits.least_bytes, None)

    def sent(self, size_bytes: int) -> None:
        """Take note of what went out."""
        self._heard_at_s = self._clock.elapsed_s()
        self._next_at_s = max(self._next_at_s, self._clock.elapsed_s()) + size_bytes / self._limits.bytes_s

    def answered(self, after_s: float) -> None:
        """Take note of an acknowledgement that came ``after_s`` after what it answers."""
        self._last_after_s, self._heard_at_s = after_s, self._clock.elapsed_s()
        if after_s <= self._limits.soon_s:
            self.window_bytes = min(self._limits.most_bytes, self.window_bytes + self._limits.least_bytes)
            return
        now_s = self._clock.elapsed_s()
        self._next_at_s = max(self._next_at_s, now_s + after_s * self._chance())
        if now_s - after_s >= self._slowed_at_s:  # once a round, not for each answer in it
            self.slower()

    def slower(self) -> None:
        """Go half as fast: an answer came late, or none came."""
        self._slowed_at_s = self._clock.elapsed_s()
        self.window_bytes = max(self._limits.least_bytes, self.window_bytes // 2)
