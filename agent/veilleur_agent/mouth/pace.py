"""What goes out first, and how fast a backlog may: more while the fleet answers at once, half when it does not.

    unanswered at a time  ▁▂▃▄▅▆▇ answered soon: one step more      ▇▄▂▁ answered late, or not at all: half, and rest

Each box finds by itself the share that 1,200 boxes coming back at once leave it, and begins at a moment of its own.
What a street says from day to day is far below all of it, and alarms, events and road states are not paced at all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from veilleur_contracts.clock import Clock
from veilleur_contracts.messages import BATCH_BYTES_MAX, MessageClass, class_of_stream, is_alarm_stream

UNPACED: Final = (MessageClass.EVENT, MessageClass.AGGREGATE)
PACED: Final = (MessageClass.STATISTICS, MessageClass.TECHNICAL)
TECHNICAL_EVERY: Final = 4
"""Of what is paced, one batch in four may be technical first, so that a long backlog of statistics does not make a box
look dead."""


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """Between what a pace moves.

    Attributes:
        start_bytes: What may be unanswered at a time, after each connection.
        least_bytes: The least of it: fifty windows.
        most_bytes: The most of it: a hundred windows, which are told on ``out/`` in some 100 ms.
        bytes_s: The most in a second, some 600 records: half of what one fleet tells on ``out/`` on a busy machine,
            so that boxes of the same shard, told in the same order, do not wait behind a backlog.
        soon_s: An answer within this came soon.
        probe_s: An answer that is missing this long, and twice as long as the last one took, may be lost: one more
            batch goes out, whose answer counts for both; and the wait for the next doubles.
        probe_max_s: No wait for an answer doubles beyond this.
        spread_s: The backlog begins after a random part of this for each attempt to connect that failed before.
        spread_max_s: At most so much.
    """

    start_bytes: int = 4_096
    least_bytes: int = 2_048
    most_bytes: int = 4_096
    bytes_s: float = 16_384.0
    soon_s: float = 0.25
    probe_s: float = 0.25
    probe_max_s: float = 8.0
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
        self._last_after_s, self._probes = 0.0, 0
        self.window_bytes = limits.start_bytes

    def restart(self, failures: int) -> None:
        """Begin again with a new connection, before which so many attempts failed."""
        spread_s = min(self._limits.spread_max_s, failures * self._limits.spread_s)
        self._next_at_s = self._clock.elapsed_s() + spread_s * self._chance()
        self._probes = 0
        self.window_bytes = self._limits.start_bytes

    def allowed(self, unanswered_bytes: int) -> Allowed:
        """Return what may go out while so much is unanswered."""
        now_s = self._clock.elapsed_s()
        if now_s < self._next_at_s:
            return Allowed(0, self._next_at_s - now_s)
        if unanswered_bytes < self.window_bytes:
            return Allowed(self.window_bytes - unanswered_bytes, None)
        probe_in_s = self._heard_at_s + self._missing_s() - now_s
        return Allowed(0, probe_in_s) if probe_in_s > 0 else Allowed(self._limits.least_bytes, None)

    def _missing_s(self) -> float:
        """Return how long an answer must be missing until one more batch may ask for it."""
        wait_s = max(self._limits.probe_s, 2 * self._last_after_s) * 2.0 ** min(self._probes, 8)
        return min(wait_s, max(self._limits.probe_max_s, 2 * self._last_after_s))

    def sent(self, size_bytes: int, unanswered_bytes: int) -> None:
        """Take note of what went out, while so much was unanswered before it."""
        self._probes += unanswered_bytes >= self.window_bytes
        self._heard_at_s = self._clock.elapsed_s()
        self._next_at_s = max(self._next_at_s, self._clock.elapsed_s()) + size_bytes / self._limits.bytes_s

    def answered(self, after_s: float) -> None:
        """Take note of an acknowledgement that came ``after_s`` after what it answers."""
        self._last_after_s, self._heard_at_s, self._probes = after_s, self._clock.elapsed_s(), 0
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


def is_paced(stream: int) -> bool:
    """Tell whether ``stream`` is one of statistics, or a technical one that is not of alarms."""
    return class_of_stream(stream) in PACED and not is_alarm_stream(stream)


def order_of(room_bytes: int, turn: int) -> list[tuple[Callable[[int], bool], int]]:
    """Return which streams come first, and how long a batch of them may be: T alarm, E, A, then S and other T.

    Args:
        room_bytes: What the pace allows.
        turn: How many paced batches have gone out.
    """
    order: list[tuple[Callable[[int], bool], int]] = [(is_alarm_stream, BATCH_BYTES_MAX)]
    order += [(partial(_is_plain, kind=kind), BATCH_BYTES_MAX) for kind in UNPACED]
    if room_bytes:
        paced = PACED if turn % TECHNICAL_EVERY else PACED[::-1]
        order += [(partial(_is_plain, kind=kind), room_bytes) for kind in paced]
    return order


def _is_plain(stream: int, kind: MessageClass) -> bool:
    return class_of_stream(stream) is kind and not is_alarm_stream(stream)
