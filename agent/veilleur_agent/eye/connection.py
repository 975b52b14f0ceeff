"""What a live camera's connection knows without touching it: when to try again, what time it is, whether it is frozen.

Every rule here takes its clock readings as arguments, so that a test needs no sleep.
"""

import zlib
from collections.abc import Callable
from typing import Final

from veilleur_agent.eye.address import CameraError, CameraRefusedError
from veilleur_agent.eye.source import Picture

FIRST_DELAY_S: Final = 1.0
LONGEST_DELAY_S: Final = 60.0
PROVEN_AFTER_S: Final = 10.0
"""A connection that lived so long was sound: the next failure is a new story."""

DRIFT_MS: Final = 1000
STALLED_AFTER_S: Final = 3.0
FROZEN_AFTER_S: Final = 30.0
"""A live sensor's noise changes some pixel of some key picture within it, whatever the encoder smooths away."""

EVERY_NTH_PIXEL: Final = 4


class Backoff:
    """How long to wait before the next attempt: doubling from 1 s to 60 s, each between half and the whole of it.

    Args:
        jitter: Returns a number from 0 to 1, so that the cameras of a street that lost power do not come back as one.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._failures = 0

    def delay_s(self, fault: CameraError, lived_s: float) -> float:
        """Return the wait after ``fault`` ended a connection that had given pictures for ``lived_s`` seconds."""
        if lived_s >= PROVEN_AFTER_S:
            self._failures = 0
        longest_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(self._failures, 16))
        self._failures += 1
        if isinstance(fault, CameraRefusedError):
            longest_s = LONGEST_DELAY_S  # cameras lock an account that keeps knocking
        return longest_s * (0.5 + 0.5 * self._jitter())


class UtcAnchor:
    """Ties the camera's own clock to UTC: anchor at connect + (PTS - first PTS), anchored anew when they part.

    What arrives at connect is often a burst from the camera's buffer, and whatever arrives can only be late, never
    early: a picture that would be dated after its arrival moves the anchor back to it.
    """

    def __init__(self) -> None:
        self.times_anchored = 0
        self._offset_ms: int | None = None
        self._last_pts_s = 0.0

    def at_ms(self, pts_s: float, now_ms: int) -> int:
        """Return UTC milliseconds of a picture of camera time ``pts_s`` that arrived at ``now_ms``."""
        pts_ms = round(pts_s * 1000)
        if self._offset_ms is None or pts_s < self._last_pts_s or abs(pts_ms + self._offset_ms - now_ms) > DRIFT_MS:
            self._offset_ms = now_ms - pts_ms
            self.times_anchored += 1
        self._offset_ms = min(self._offset_ms, now_ms - pts_ms)
        self._last_pts_s = pts_s
        return pts_ms + self._offset_ms


class FrozenWatch:
    """Notices that packets flow but the picture stands still.

    A stuck camera either repeats one picture bit for bit, or encodes one picture again and again: then the pictures
    between differ as the encoder refines them, and the key pictures are the same. Both are looked for.
    """

    def __init__(self, now_s: float) -> None:
        self._last: int | None = None
        self._last_key: int | None = None
        self._changed_s = now_s
        self._key_changed_s = now_s
        self._keys_alike = 0

    def is_frozen(self, picture: Picture, now_s: float) -> bool:
        """Take in a picture that arrived at ``now_s``, seconds of a clock that never goes back."""
        rows = picture.i420.shape[0] * 2 // 3
        digest = zlib.crc32(picture.i420[:rows:EVERY_NTH_PIXEL, ::EVERY_NTH_PIXEL].tobytes())
        if digest != self._last:
            self._last, self._changed_s = digest, now_s
        if picture.is_key:
            self._keys_alike = self._keys_alike + 1 if digest == self._last_key else 0
            if not self._keys_alike:
                self._last_key, self._key_changed_s = digest, now_s
        repeats = now_s - self._changed_s >= FROZEN_AFTER_S
        encodes_again = self._keys_alike > 1 and now_s - self._key_changed_s >= FROZEN_AFTER_S
        return repeats or encodes_again
