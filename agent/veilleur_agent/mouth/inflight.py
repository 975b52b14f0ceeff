"""What was published and not yet acknowledged, and when it counts as lost; plain bookkeeping, no connection."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from veilleur_agent.mouth.outbox import Parcel
from veilleur_contracts.clock import Clock

IN_FLIGHT_BYTES_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, seconds: for an acknowledgement, and between two attempts to connect (each doubles)."""

    ack_s: float = 10.0
    ack_max_s: float = 60.0
    retry_s: float = 1.0
    retry_max_s: float = 60.0


@dataclass(slots=True)
class _Sent:
    """What was published of one stream and not acknowledged: last numbers, sizes and times, and when it last got on."""

    progress_at_s: float
    batches: deque[tuple[int, int, float]] = field(default_factory=deque)


class InFlight:
    """What was published and not acknowledged; bounded in bytes, and to a single batch when in doubt."""

    def __init__(self, patience: Patience, clock: Clock) -> None:
        self._patience = patience
        self._clock = clock
        self._sent: dict[int, _Sent] = {}
        self._wait_s = patience.ack_s
        self._heard_at_s: float | None = None
        self.is_doubtful = False

    def restart(self) -> None:
        """Forget what was published: the connection is new."""
        self._sent.clear()
        self._heard_at_s = None

    def after(self, stream: int, acknowledged: int) -> int:
        """Return the last number of ``stream`` that needs no publishing now."""
        sent = self._sent.get(stream)
        return max(acknowledged, sent.batches[-1][0]) if sent else acknowledged

    def bytes_of(self, is_wanted: Callable[[int], bool]) -> int:
        """Return how many bytes are out of the streams that are wanted."""
        wanted = (sent for stream, sent in self._sent.items() if is_wanted(stream))
        return sum(size for sent in wanted for _, size, _ in sent.batches)

    def has_room(self) -> bool:
        """Tell whether another batch may go out."""
        total = self.bytes_of(lambda _: True)
        return total == 0 if self.is_doubtful else total < IN_FLIGHT_BYTES_MAX

    def published(self, parcel: Parcel) -> None:
        """Take note of a batch that went out."""
        now_s = self._clock.elapsed_s()
        sent = self._sent.setdefault(parcel.stream, _Sent(now_s))
        sent.batches.append((parcel.last_seq, len(parcel.payload), now_s))

    def acknowledged(self, stream: int, upto: int) -> float | None:
        """Take note of progress on ``stream``; what tells nothing new is no progress.

        Returns:
            Seconds since the last of the batches that it answers went out; None: no progress.
        """
        sent = self._sent.get(stream)
        if sent is None or sent.batches[0][0] > upto:
            return None
        now_s = sent.progress_at_s = self._heard_at_s = self._clock.elapsed_s()
        after_s = 0.0
        while sent.batches and sent.batches[0][0] <= upto:
            after_s = now_s - sent.batches.popleft()[2]
        if not sent.batches:
            del self._sent[stream]
        self._wait_s, self.is_doubtful = self._patience.ack_s, False
        return after_s

    def overdue_in_s(self) -> float | None:
        """Return the seconds until something published counts as lost; None when nothing is out."""
        oldest_s = min((sent.progress_at_s for sent in self._sent.values()), default=None)
        return None if oldest_s is None else max(0.0, oldest_s + self._wait_s - self._clock.elapsed_s())

    def give_up(self) -> bool:
        """Publish again what is overdue.

        While the fleet answers for other streams, an acknowledgement was lost, and it is only the stream that waits for
        it. Otherwise it is everything, one batch at a time, and the next answer may take longer.

        Returns:
            Whether the fleet is in doubt now and was not before.
        """
        now_s = self._clock.elapsed_s()
        if self._heard_at_s is not None and now_s - self._heard_at_s < self._wait_s:
            overdue = [stream for stream, sent in self._sent.items() if now_s - sent.progress_at_s >= self._wait_s]
            for stream in overdue:
                del self._sent[stream]
            return False
        was_doubtful, self.is_doubtful = self.is_doubtful, True
        self.restart()
        self._wait_s = min(self._wait_s * 2, self._patience.ack_max_s)
        return not was_doubtful
