"""Book time to the windows it was spent in: how long something lasted, split where windows end.

(key, from, until) ──add──▶ ┌ window ┬ window ┬ window ┐ ──take──▶ milliseconds by key
                            └────────┴────────┴────────┘
"""

from collections import Counter
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from veilleur_contracts.errors import RejectedError

WINDOWS_MAX: Final = 320
"""Windows kept: all that are held back while the clock was never set, and the open ones; the oldest are forgotten."""
KEYS_MAX: Final = 16 * 6

Key = tuple[int, int]
"""Zone and label, or zone and 0."""

_Milliseconds = Annotated[int, Meta(ge=0, le=1 << 53)]
_Place = Annotated[int, Meta(ge=0, le=63)]
_Spent = Annotated[list[tuple[_Place, _Place, _Milliseconds]], Meta(max_length=KEYS_MAX)]


class TimesheetRejectedError(RejectedError):
    """Checkpointed times that cannot be read, or of windows of another length."""


class _Saved(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    length_ms: _Milliseconds
    open_ms: _Milliseconds
    windows: Annotated[list[tuple[_Milliseconds, _Spent]], Meta(max_length=WINDOWS_MAX)]


class Timesheet:
    """Time booked to windows of one length; holds ``WINDOWS_MAX`` of them with ``KEYS_MAX`` keys each.

    Args:
        length_ms: Length of a window, milliseconds.
    """

    def __init__(self, length_ms: int) -> None:
        self._length_ms = length_ms
        self._open_ms = 0
        self._windows: dict[int, Counter[Key]] = {}

    def add(self, key: Key, from_ms: int, until_ms: int) -> None:
        """Book the time from ``from_ms`` to ``until_ms``; what falls into windows taken already goes to the next one.

        Args:
            key: What it was spent on; new ones past ``KEYS_MAX`` a window are left out.
            from_ms: UTC milliseconds.
            until_ms: UTC milliseconds.
        """
        self._book(key, self._open_ms, min(until_ms, self._open_ms) - from_ms)
        at_ms = max(from_ms, self._open_ms)
        while at_ms < until_ms:
            start_ms = at_ms - at_ms % self._length_ms
            end_ms = min(until_ms, start_ms + self._length_ms)
            self._book(key, start_ms, end_ms - at_ms)
            at_ms = end_ms

    def take(self, start_ms: int) -> Counter[Key]:
        """Return the milliseconds of each key in the window that began at ``start_ms``, with what older ones left."""
        taken: Counter[Key] = Counter()
        for start in [start for start in self._windows if start <= start_ms]:
            taken += self._windows.pop(start)
        self._open_ms = start_ms + self._length_ms
        return taken

    def checkpoint(self) -> bytes:
        """Return what is booked as bytes."""
        windows = [
            (start, [(*key, spent_ms) for key, spent_ms in sorted(spent.items())])
            for start, spent in sorted(self._windows.items())
        ]
        return msgspec.msgpack.encode(_Saved(self._length_ms, self._open_ms, windows))

    def restore(self, data: bytes) -> None:
        """Take up what is booked in a checkpoint.

        Raises:
            TimesheetRejectedError: Damaged, or of windows of another length.
        """
        try:
            saved = msgspec.msgpack.decode(data, type=_Saved)
        except (msgspec.DecodeError, RecursionError):
            raise TimesheetRejectedError("the checkpoint of times spent is damaged; they are lost") from None
        starts = [start for start, _ in saved.windows]
        if saved.length_ms != self._length_ms or any(start % self._length_ms for start in (*starts, saved.open_ms)):
            raise TimesheetRejectedError("the checkpoint of times spent is of windows of another length")
        self._open_ms = saved.open_ms
        self._windows = {
            start: Counter({(one, other): ms for one, other, ms in spent}) for start, spent in saved.windows
        }

    def _book(self, key: Key, start_ms: int, spent_ms: int) -> None:
        if spent_ms <= 0:
            return
        window = self._windows.setdefault(start_ms, Counter())
        if key in window or len(window) < KEYS_MAX:
            window[key] += spent_ms
        while len(self._windows) > WINDOWS_MAX:
            del self._windows[min(self._windows)]
