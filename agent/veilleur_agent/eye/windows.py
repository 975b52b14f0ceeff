"""Gather crossings into UTC windows that say how much of them was really observed.

    frames ──observe──▶ ┌ open windows ┐ ──close──▶ Window (counts, coverage, fps, quality)
    crossings ──add───▶ └──────────────┘            one for every [t0, t0+dt), even when nothing was seen

A window is closed a little after its end, so that a crossing whose time was interpolated still finds it. A camera that
was not observed gives no counts at all: ``None``, never zero.
"""

from dataclasses import dataclass, field
from typing import Annotated, Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from veilleur_agent.eye.records import Crossing
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.messages import Label, Quality

GRACE_MS: Final = 4_000
"""How long after its end a window still takes crossings: whoever is lost in the band is told 3.5 s and a frame late."""
UNSEEN_MS: Final = 2_000
"""A pause between analysed frames longer than this (and than three frame intervals) was not observed."""
FULL_COVERAGE: Final = 0.9
"""Under it a window is flagged; it is never scaled."""
WINDOWS_AT_ONCE_MAX: Final = 300
"""Empty windows emitted for one pause at most; after a longer one the count starts anew."""
NOTHING_SPECIAL: Final = Quality(0)
OPEN_MAX: Final = 8
HELD_MAX: Final = 300
"""Windows held back while the clock has never been set; the oldest go first."""


class CheckpointRejectedError(RejectedError):
    """A checkpoint of windows that does not fit what is counted now."""


@dataclass(frozen=True, slots=True)
class Window:
    """What was counted during ``[start_ms, start_ms + length_ms)``.

    Attributes:
        start_ms: UTC milliseconds, a multiple of the length.
        length_ms: Milliseconds.
        counts: int64, shape ``(lines, labels, 2)``, left to right first; None when nothing was observed.
        coverage: Share of the window that was observed, 0-1.
        fps: Frames analysed per observed second.
        quality: What a reader must know.
    """

    start_ms: int
    length_ms: int
    counts: npt.NDArray[np.int64] | None
    coverage: float
    fps: float
    quality: Quality


@dataclass(slots=True)
class _Open:
    counts: npt.NDArray[np.int64]
    observed_ms: int = 0
    frames: int = 0
    quality: Quality = field(default=NOTHING_SPECIAL)


_Milliseconds = Annotated[int, Meta(ge=0, le=1 << 53)]


class _Saved(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    start_ms: _Milliseconds
    observed_ms: _Milliseconds
    frames: Annotated[int, Meta(ge=0, le=1 << 32)]
    quality: Annotated[int, Meta(ge=0, le=127)]
    counts: Annotated[list[Annotated[int, Meta(ge=0, le=1_000_000)]], Meta(max_length=16 * 6 * 2)]


class _Checkpoint(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    shape: tuple[int, int, int]
    length_ms: int
    windows: Annotated[list[_Saved], Meta(max_length=OPEN_MAX)]


class Windows:
    """The open windows of one camera: two or three at a time, whatever the clock does.

    Args:
        lines: How many lines the camera has.
        labels: Labels counted, in wire order.
        length_s: Length of a window, seconds.
        frame_interval_ms: Expected time between analysed frames, milliseconds.
    """

    def __init__(self, lines: int, labels: tuple[Label, ...], length_s: int, frame_interval_ms: float) -> None:
        self._labels = {label: place for place, label in enumerate(labels)}
        self._shape = (lines, len(labels), 2)
        self._length_ms = length_s * 1000
        self._unseen_ms = max(UNSEEN_MS, round(3 * frame_interval_ms))
        self._open: dict[int, _Open] = {}
        self._next_ms: int | None = None
        self._last_frame_ms: int | None = None
        self._held: list[Window] = []
        self._ever_synced = False

    def observe(self, at_ms: int, quality: Quality = NOTHING_SPECIAL) -> None:
        """Take note that a frame was analysed.

        Args:
            at_ms: Its time, UTC milliseconds.
            quality: Flags to put on the window it falls into.
        """
        window = self._window_of(at_ms)
        window.frames += 1
        window.quality |= quality
        last, self._last_frame_ms = self._last_frame_ms, at_ms
        if last is None or not 0 < at_ms - last <= self._unseen_ms:
            return
        boundary = self._start_of(at_ms)
        if last < boundary:
            self._window_of(last).observed_ms += boundary - last
        window.observed_ms += at_ms - max(last, boundary)

    def add(self, crossing: Crossing) -> None:
        """Count a crossing in the window of its time, or in the oldest open one when that is closed already."""
        place = self._labels.get(crossing.label)
        if place is not None:
            self._window_of(crossing.at_ms).counts[crossing.line, place, crossing.direction] += 1

    def close(self, now_ms: int, *, synced: bool = True) -> list[Window]:
        """Return the windows that ended, oldest first, the unobserved ones among them.

        Args:
            now_ms: The clock, UTC milliseconds.
            synced: Whether that clock has been set by a time source; before it ever was, windows are held back.
        """
        self._follow_clock(now_ms)
        closed = []
        while self._next_ms is not None and self._next_ms + self._length_ms + GRACE_MS <= now_ms:
            closed.append(self._closed(self._next_ms, NOTHING_SPECIAL))
            self._next_ms += self._length_ms
        return self._when_synced(closed, synced=synced)

    def close_all(self, quality: Quality = Quality.SPLIT) -> list[Window]:
        """Close every open window where it stands: at a stop, or when what is counted changes."""
        closed = [self._closed(start, quality) for start in sorted(self._open)]
        self._next_ms = None
        self._last_frame_ms = None
        return self._when_synced(closed, synced=False)

    def checkpoint(self) -> bytes:
        """Return the open windows as bytes: counts and times, nothing about anybody."""
        windows = [
            _Saved(start, one.observed_ms, one.frames, int(one.quality), one.counts.reshape(-1).tolist())
            for start, one in sorted(self._open.items())
        ]
        return msgspec.msgpack.encode(_Checkpoint(self._shape, self._length_ms, windows))

    def restore(self, data: bytes) -> None:
        """Take up the windows of a checkpoint; they carry ``RESTARTED`` from then on.

        Raises:
            CheckpointRejectedError: Damaged, or of other lines, labels or length.
        """
        try:
            saved = msgspec.msgpack.decode(data, type=_Checkpoint)
        except (msgspec.DecodeError, RecursionError):
            message = "the checkpoint of open windows is damaged; what was counted since they opened is lost"
            raise CheckpointRejectedError(message) from None
        cells = int(np.prod(self._shape))
        fits = all(len(one.counts) == cells and one.start_ms % self._length_ms == 0 for one in saved.windows)
        if saved.shape != self._shape or saved.length_ms != self._length_ms or not fits:
            message = "the checkpoint of open windows is of other lines, labels or window length"
            raise CheckpointRejectedError(message)
        for one in saved.windows:
            counts = np.asarray(one.counts, np.int64).reshape(self._shape)
            quality = Quality(one.quality) | Quality.RESTARTED
            self._open[one.start_ms] = _Open(counts, one.observed_ms, one.frames, quality)
        self._next_ms = min(self._open, default=None)

    def _start_of(self, at_ms: int) -> int:
        return at_ms - at_ms % self._length_ms

    def _window_of(self, at_ms: int) -> _Open:
        start = self._start_of(at_ms)
        if self._next_ms is None:
            self._next_ms = start
        start = max(start, self._next_ms)
        if start not in self._open and len(self._open) >= OPEN_MAX:
            return self._open[max(self._open)]
        if start not in self._open:
            self._open[start] = _Open(np.zeros(self._shape, np.int64))
        return self._open[start]

    def _follow_clock(self, now_ms: int) -> None:
        """Start at the present when nothing is open, and anew when the clock has jumped."""
        now_start = self._start_of(now_ms)
        if self._next_ms is None:
            self._next_ms = now_start
        ahead = now_start - self._next_ms
        if ahead > WINDOWS_AT_ONCE_MAX * self._length_ms or ahead < -2 * self._length_ms:
            jumped = [self._closed(start, Quality.CLOCK_UNSYNCED) for start in sorted(self._open)]
            self._held.extend(jumped)
            self._next_ms = now_start
            self._last_frame_ms = None

    def _closed(self, start_ms: int, quality: Quality) -> Window:
        one = self._open.pop(start_ms, None)
        if one is None:
            return Window(start_ms, self._length_ms, None, 0.0, 0.0, quality | Quality.LOW_COVERAGE)
        coverage = min(1.0, one.observed_ms / self._length_ms)
        quality |= one.quality | (Quality.LOW_COVERAGE if coverage < FULL_COVERAGE else NOTHING_SPECIAL)
        was_observed = one.observed_ms > 0 or bool(one.counts.any())
        fps = one.frames * 1000 / one.observed_ms if one.observed_ms else 0.0
        return Window(start_ms, self._length_ms, one.counts if was_observed else None, coverage, fps, quality)

    def _when_synced(self, closed: list[Window], *, synced: bool) -> list[Window]:
        self._ever_synced |= synced
        self._held.extend(closed)
        if not self._ever_synced:
            del self._held[:-HELD_MAX]
            return []
        ready, self._held = self._held, []
        return ready
