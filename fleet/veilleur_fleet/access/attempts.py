"""How often somebody may try: failures are counted for a while, and past a number of them nothing more is tried."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from veilleur_contracts.clock import Clock

WHILE_S: Final = 900.0
KEPT_MAX: Final = 10_000


@dataclass(slots=True)
class _Count:
    failures: int
    since_s: float


class Attempts:
    """Failures by key, ``KEPT_MAX`` keys at most; the key that failed longest ago is forgotten first.

    Many threads may use it at once.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: OrderedDict[str, _Count] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, key: str, most: int) -> float:
        """Return how long nothing may be tried under ``key``, seconds; 0: it may."""
        with self._lock:
            count = self._counts.get(key)
            if count is None or count.failures < most:
                return 0.0
            return max(0.0, count.since_s + WHILE_S - self._clock.elapsed_s())

    def note_failure(self, key: str) -> None:
        """Count a failure; the first of a while begins it."""
        now_s = self._clock.elapsed_s()
        with self._lock:
            count = self._counts.pop(key, None)
            if count is None or now_s - count.since_s >= WHILE_S:
                count = _Count(0, now_s)
            count.failures += 1
            self._counts[key] = count
            while len(self._counts) > KEPT_MAX:
                self._counts.popitem(last=False)

    def forget(self, key: str) -> None:
        """Forget the failures of ``key``: it succeeded."""
        with self._lock:
            self._counts.pop(key, None)
