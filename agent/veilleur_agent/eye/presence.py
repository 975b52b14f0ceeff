"""Gather presence into windows: how many at a time (median, 90th percentile), and how long stays lasted.

    counts ──observe──▶ ┌ window: time spent at each number ┐
    stays  ──add──────▶ └ window: stays by length           ┘ ──take──▶ Presence of one window

Windows are opened by what falls into them and taken when the camera's own windows close, so that coverage and quality
are said once, there.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Annotated, Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from veilleur_agent.eye.zones import Stay
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.messages import Label

STAY_EDGES_S: Final = (10, 30, 60, 180, 600, 1800, 7200)
"""Upper ends of the lengths of stay, seconds; the last class has none (StayWindow says the same)."""
UNSEEN_MS: Final = 2_000
"""Longest time a number holds after the frame that showed it; longer was not observed (as in windows)."""
MOST: Final = 255
"""Numbers at a time are told apart up to here: the tracker follows no more."""
OPEN_MAX: Final = 320

Counts = npt.NDArray[np.int64]


class PresenceRejectedError(RejectedError):
    """Checkpointed presence that cannot be read, or of other zones, labels or window length."""


@dataclass(frozen=True, slots=True)
class Presence:
    """What the zones of one camera held during one window.

    Attributes:
        median: int64, shape ``(zones, labels)``: how many at a time, half of the observed time; -1 when not observed.
        p90: The same, nine tenths of the time.
        stays: int64, shape ``(zones, labels, 8)``: stays that ended, by length.
    """

    median: Counts
    p90: Counts
    stays: Counts


@dataclass(slots=True)
class _Open:
    spent_ms: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    stays: Counter[tuple[int, int, int]] = field(default_factory=Counter)


_Small = Annotated[int, Meta(ge=0, le=255)]
_Big = Annotated[int, Meta(ge=0, le=1 << 53)]
_Cells = Annotated[list[tuple[_Small, _Small, _Small, _Big]], Meta(max_length=16 * 6 * 256)]


class _Checkpoint(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    shape: tuple[int, int]
    length_ms: _Big
    windows: Annotated[list[tuple[_Big, _Cells, _Cells]], Meta(max_length=OPEN_MAX)]


class PresenceWindows:
    """The open windows of one camera's zones; the oldest are forgotten past ``OPEN_MAX``.

    Args:
        zones: How many zones the camera has.
        labels: Labels measured, in wire order.
        length_s: Length of a window, seconds.
    """

    def __init__(self, zones: int, labels: Sequence[Label], length_s: int) -> None:
        self._labels = {label: place for place, label in enumerate(labels)}
        self._shape = (zones, len(self._labels))
        self._length_ms = length_s * 1000
        self._open: dict[int, _Open] = {}
        self._taken_ms = 0
        self._last_ms: int | None = None

    def observe(self, counts: Counts, at_ms: int) -> None:
        """Take note of how many there are now, ``(zones, labels)``: they count for the time since the last frame."""
        last_ms, self._last_ms = self._last_ms, at_ms
        if last_ms is None or not 0 < at_ms - last_ms <= UNSEEN_MS:
            return
        window = self._window_of(at_ms - 1)
        for zone, place in np.ndindex(self._shape):
            window.spent_ms[zone, place, min(int(counts[zone, place]), MOST)] += at_ms - last_ms

    def add(self, stay: Stay) -> None:
        """Count a stay in the window in which it ended, or in the next when that is taken already."""
        place = self._labels.get(stay.label)
        if place is not None:
            length = int(np.searchsorted(STAY_EDGES_S, (stay.until_ms - stay.from_ms) / 1000, side="right"))
            self._window_of(stay.until_ms).stays[stay.zone, place, length] += 1

    def take(self, start_ms: int) -> Presence:
        """Return what the window that starts at ``start_ms`` held, and forget it and those before."""
        self._taken_ms = start_ms + self._length_ms
        window = self._open.pop(start_ms, _Open())
        for passed in [one for one in self._open if one < start_ms]:
            del self._open[passed]
        stays = np.zeros((*self._shape, len(STAY_EDGES_S) + 1), np.int64)
        for (zone, place, length), count in window.stays.items():
            stays[zone, place, length] = count
        median, p90 = np.full(self._shape, -1, np.int64), np.full(self._shape, -1, np.int64)
        for zone, place in np.ndindex(self._shape):
            spent = sorted((at, ms) for (z, p, at), ms in window.spent_ms.items() if (z, p) == (zone, place))
            if spent:
                median[zone, place], p90[zone, place] = _reached(spent, 0.5), _reached(spent, 0.9)
        return Presence(median, p90, stays)

    def checkpoint(self) -> bytes:
        """Return the open windows as bytes: numbers and times, nothing about anybody."""
        windows = [(start, _cells(one.spent_ms), _cells(one.stays)) for start, one in sorted(self._open.items())]
        return msgspec.msgpack.encode(_Checkpoint(self._shape, self._length_ms, windows))

    def restore(self, data: bytes) -> None:
        """Take up the windows of a checkpoint.

        Raises:
            PresenceRejectedError: Damaged, or of other zones, labels or window length.
        """
        try:
            saved = msgspec.msgpack.decode(data, type=_Checkpoint)
        except (msgspec.DecodeError, RecursionError):
            message = "the checkpoint of presence is damaged; what was seen since its windows opened is lost"
            raise PresenceRejectedError(message) from None
        cells = [cell for _, spent, stays in saved.windows for cell in (*spent, *stays)]
        fits = all(zone < self._shape[0] and place < self._shape[1] for zone, place, _, _ in cells)
        fits &= all(length <= len(STAY_EDGES_S) for _, _, stays in saved.windows for _, _, length, _ in stays)
        if saved.shape != self._shape or saved.length_ms != self._length_ms or not fits:
            message = "the checkpoint of presence is of other zones, labels or window length"
            raise PresenceRejectedError(message)
        for start, spent, stays in saved.windows:
            self._open[start] = _Open(
                Counter({(z, p, at): ms for z, p, at, ms in spent}), Counter({(z, p, at): n for z, p, at, n in stays})
            )

    def _window_of(self, at_ms: int) -> _Open:
        start = max(at_ms - at_ms % self._length_ms, self._taken_ms)
        if start not in self._open:
            if len(self._open) >= OPEN_MAX:
                del self._open[min(self._open)]
            self._open[start] = _Open()
        return self._open[start]


def _cells(counted: Counter[tuple[int, int, int]]) -> list[tuple[int, int, int, int]]:
    return [(*key, value) for key, value in sorted(counted.items())]


def _reached(spent: Sequence[tuple[int, int]], share: float) -> int:
    """Return the least number that was not exceeded during ``share`` of the time."""
    numbers, times = zip(*spent, strict=True)
    upto = list(accumulate(times))
    return int(next(number for number, ms in zip(numbers, upto, strict=True) if ms >= share * upto[-1]))
