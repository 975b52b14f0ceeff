"""Ask the kernel whether the clock has been set by a time source; windows are not released before it was."""

import ctypes
from typing import Final

TIME_ERROR: Final = 5
"""What adjtimex(2) returns while the clock is not synchronised."""
_TIMEX_BYTES: Final = 512
"""Larger than struct timex of any architecture; all zero means "only look"."""


def is_synced() -> bool:
    """Tell whether a time source (chrony, systemd-timesyncd, ntpd) holds the clock."""
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    state: int = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    return 0 <= state < TIME_ERROR
