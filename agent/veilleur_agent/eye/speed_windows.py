"""Gather the speeds of crossings into windows, by line and direction.

(line, direction, time, km/h) ──add──▶ ┌ window ┬ window ┐ ──take──▶ speeds of one window
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from veilleur_contracts.errors import RejectedError
from veilleur_contracts.messages import Direction

OPEN_MAX: Final = 320
SPEEDS_MAX: Final = 4096
"""Speeds kept of one line and direction in one window: a lane passes fewer in an hour; the first ones are kept."""
KMH_MAX: Final = 300.0
"""A road user that seems faster was two."""

Key = tuple[int, int]
"""Line and direction."""


class SpeedsRejectedError(RejectedError):
    """Checkpointed speeds that cannot be read, or of windows of another length."""


_Milliseconds = Annotated[int, Meta(ge=0, le=1 << 53)]
_Speeds = Annotated[list[Annotated[float, Meta(ge=0, le=KMH_MAX)]], Meta(max_length=SPEEDS_MAX)]
_Saved = tuple[Annotated[int, Meta(ge=0, le=63)], Annotated[int, Meta(ge=0, le=1)], _Speeds]


class _Checkpoint(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    length_ms: _Milliseconds
    windows: Annotated[
        list[tuple[_Milliseconds, Annotated[list[_Saved], Meta(max_length=32)]]], Meta(max_length=OPEN_MAX)
    ]


class SpeedWindows:
    """The speeds of one camera's windows; the oldest window is forgotten past ``OPEN_MAX``.

    Args:
        length_s: Length of a window, seconds.
    """

    def __init__(self, length_s: int) -> None:
        self._length_ms = length_s * 1000
        self._taken_ms = 0
        self._open: dict[int, dict[Key, list[float]]] = {}

    def add(self, line: int, direction: Direction, at_ms: int, kmh: float) -> None:
        """Take in the speed of one crossing, into the next window when its own is taken already."""
        if not 0 <= kmh <= KMH_MAX:
            return
        start = max(at_ms - at_ms % self._length_ms, self._taken_ms)
        if start not in self._open and len(self._open) >= OPEN_MAX:
            del self._open[min(self._open)]
        speeds = self._open.setdefault(start, {}).setdefault((line, int(direction)), [])
        if len(speeds) < SPEEDS_MAX:
            speeds.append(kmh)

    def take(self, start_ms: int) -> dict[Key, list[float]]:
        """Return the speeds of the window that starts at ``start_ms``, and forget it and those before."""
        self._taken_ms = start_ms + self._length_ms
        speeds = self._open.pop(start_ms, {})
        for passed in [one for one in self._open if one < start_ms]:
            del self._open[passed]
        return speeds

    def checkpoint(self) -> bytes:
        """Return the speeds as bytes: numbers alone, in order of size, so that no order of passing is kept."""
        windows = [
            (start, [(line, direction, sorted(speeds)) for (line, direction), speeds in sorted(window.items())])
            for start, window in sorted(self._open.items())
        ]
        return msgspec.msgpack.encode(_Checkpoint(self._length_ms, windows))

    def restore(self, data: bytes) -> None:
        """Take up the speeds of a checkpoint.

        Raises:
            SpeedsRejectedError: Damaged, or of windows of another length.
        """
        try:
            saved = msgspec.msgpack.decode(data, type=_Checkpoint)
        except (msgspec.DecodeError, RecursionError):
            message = "the checkpoint of speeds is damaged; those of the open windows are lost"
            raise SpeedsRejectedError(message) from None
        if saved.length_ms != self._length_ms:
            message = "the checkpoint of speeds is of another window length"
            raise SpeedsRejectedError(message)
        self._open = {start: {(line, way): speeds for line, way, speeds in window} for start, window in saved.windows}
