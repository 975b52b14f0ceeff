"""Look where the machine may write its memory to: a frame in an unencrypted swap outlives the eye that saw it.

/proc/swaps ─▶ devices and files ─▶ compressed memory, or a dm-crypt device? ─▶ those in the clear
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

SWAPS: Final = Path("/proc/swaps")
SWAPS_BYTES_MAX: Final = 65_536


def swaps_in_clear(text: str, uuid_of: Callable[[str], str]) -> tuple[str, ...]:
    """Return the swaps of ``text`` (as /proc/swaps has it) that are neither in memory nor on a dm-crypt device.

    A swap file counts as in the clear: nothing here knows what its file system stands on.

    Args:
        text: Of /proc/swaps, proc(5).
        uuid_of: Gives the device-mapper UUID of a block device by its name, empty where it has none.
    """
    rows = [line.split() for line in text.splitlines()[1:]]
    return tuple(row[0] for row in rows if row and not _is_covered(Path(row[0]).name, uuid_of))


def _is_covered(name: str, uuid_of: Callable[[str], str]) -> bool:
    return name.startswith("zram") or uuid_of(name).startswith("CRYPT-")


def swaps_here() -> tuple[str, ...]:
    """Return the swaps of this machine that are in the clear; none where /proc cannot be read."""
    try:
        with SWAPS.open(encoding="ascii", errors="replace") as file:
            return swaps_in_clear(file.read(SWAPS_BYTES_MAX), _mapped_uuid)
    except OSError:
        return ()


def _mapped_uuid(name: str) -> str:
    """Return the UUID that the device mapper gives ``name``; it is how the kernel names what dm-crypt made."""
    resolved = Path("/dev/mapper", name).resolve().name if Path("/dev/mapper", name).exists() else name
    try:
        return Path("/sys/block", resolved, "dm", "uuid").read_text(encoding="ascii")
    except OSError:
        return ""
