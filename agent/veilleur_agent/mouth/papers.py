"""Papers that box hands over to be told as they are: the privacy report, and the audit part by part.

    handed/report.dsse ──────▶ up/privacy, retained            (box alone writes there; the mouth only reads)
    handed/audit-*.part ─────▶ up/audit ──▶ fleet ──Copied──▶ the next part, and box makes room

One part is under way at a time; it is told again when nobody answers, and after each new connection.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from veilleur_contracts.audit_copy import PART_BYTES_MAX, Copied
from veilleur_contracts.clock import Clock
from veilleur_contracts.topics import Up

REPORT_FILE: Final = "report.dsse"
REPORT_FILE_BYTES_MAX: Final = 131_072
PART_PATTERN: Final = "audit-*.part"
ANSWER_WITHIN_S: Final = 30.0
LOOK_EVERY_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Paper:
    """One paper to be told.

    Attributes:
        channel: Where.
        payload: As it is.
        retain: Whether the broker keeps it for those who come later.
    """

    channel: Up
    payload: bytes
    retain: bool


class Papers:
    """Says what to tell next. Holds one file name and two marks.

    Args:
        folder: Where box puts them.
        clock: For waiting.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._report_mark: tuple[int, int] | None = None
        self._under_way: str | None = None
        self._told_at_s = 0.0

    def restart(self) -> None:
        """Begin again: there is a new connection."""
        self._report_mark = None
        self._under_way = None

    def next(self) -> Paper | None:
        """Return what to tell now, None when there is nothing; reads files, so not in the loop."""
        return self._report() or self._part()

    def answered(self, copied: Copied) -> None:  # noqa: ARG002 - how far it goes is box's business
        """Take note that the fleet has answered: the next part may go as soon as box has made room."""
        self._told_at_s = self._clock.elapsed_s() - ANSWER_WITHIN_S + LOOK_EVERY_S

    def _report(self) -> Paper | None:
        path = self._folder / REPORT_FILE
        try:
            found = path.stat()
            mark = (found.st_mtime_ns, found.st_ino)
            if mark == self._report_mark:
                return None
            data = _bytes_of(path, REPORT_FILE_BYTES_MAX)
        except OSError:
            return None
        self._report_mark = mark
        return None if data is None else Paper(Up.PRIVACY, data, retain=True)

    def _part(self) -> Paper | None:
        name = min((path.name for path in self._folder.glob(PART_PATTERN)), default=None)
        is_waiting = name == self._under_way and self._clock.elapsed_s() - self._told_at_s < ANSWER_WITHIN_S
        if name is None or is_waiting:
            return None
        try:
            data = _bytes_of(self._folder / name, PART_BYTES_MAX)
        except OSError:
            return None
        self._under_way, self._told_at_s = name, self._clock.elapsed_s()
        return None if data is None else Paper(Up.AUDIT, data, retain=False)


def _bytes_of(path: Path, most: int) -> bytes | None:
    """Return the bytes of a paper, None when it is longer than any of box's."""
    with path.open("rb") as file:
        data = file.read(most + 1)
    return data if len(data) <= most else None
