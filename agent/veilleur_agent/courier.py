"""Hand papers from box to mouth: a folder that only box writes and the mouth only reads.

    AuditLog ──part_of──▶ handed/audit-FIRST-UPTO.part ─┐
    Reporter ──signed───▶ handed/report.dsse ───────────┴──▶ mouth ──▶ fleet
    handed/upto ◀── Copied(upto), heard by the mouth ◀──────────────────┘

Used in the clerk's thread alone. At most ``PARTS_MAX`` parts lie there; more are written when the fleet holds those.
"""

from pathlib import Path
from typing import Final

from veilleur_agent.atomic import replace_file
from veilleur_agent.audit import AuditLog
from veilleur_contracts.audit_copy import PART_ENTRIES_MAX, AuditPart, encode_part, log_id_of
from veilleur_contracts.merkle import frontier_of
from veilleur_contracts.tiles import TILE_WIDTH

PARTS_MAX: Final = 64
PART_ENTRY_BYTES_MAX: Final = 32_768
REPORT_FILE: Final = "report.dsse"
UPTO_FILE: Final = "upto"
UPTO_BYTES_MAX: Final = 64
ASKING_ENTRIES: Final = 32
"""Of a part that asks the fleet where it stands; they always fit one part."""
PART_PATTERN: Final = "audit-*.part"
FOR_ALL: Final = 0o644


class Courier:
    """Keeps the folder of papers; what it writes the mouth carries as it is.

    Args:
        folder: Where.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def hand_report(self, envelope: bytes) -> None:
        """Put the newest report in the place of the one before.

        Raises:
            OSError: The disk refuses.
        """
        replace_file(self._folder / REPORT_FILE, envelope, FOR_ALL)

    def hand_audit(self, log: AuditLog) -> None:
        """Put parts there for what the fleet does not hold yet; while nobody knows what it holds, the newest entries.

        It answers with where it stands. A head that is signed in the middle of what it holds already looks to it like
        that of a box that was put back to an earlier day; one at the end never does.

        Raises:
            OSError: The disk refuses.
        """
        log_id = log_id_of(str(log.verifier))
        held, asking = self._held(log_id), min(ASKING_ENTRIES, PART_ENTRIES_MAX)
        first = max(log.size - asking if held is None else held, kept_from_of(log))
        waiting = sorted(self._folder.glob(PART_PATTERN))
        for place, path in enumerate(waiting):
            begins, ends = bounds_of(path)
            if begins != first or ends > log.size or place >= PARTS_MAX:
                for stale in waiting[place:]:
                    stale.unlink(missing_ok=True)
                waiting = waiting[:place]
                break
            first = ends
        room = PARTS_MAX - len(waiting)
        while first < log.size and room > 0:
            part = part_of(log, first)
            name = f"audit-{part.first:012d}-{part.upto:012d}.part"
            replace_file(self._folder / name, encode_part(part), FOR_ALL)
            first, room = part.upto, room - 1

    def note_copied(self, log: AuditLog, log_id: str, upto: int) -> None:
        """Take note that the fleet holds the log ``log_id`` up to ``upto``, and hand over what follows.

        Raises:
            OSError: The disk refuses.
        """
        if log_id != log_id_of(str(log.verifier)) or upto > log.size:
            return  # of another log; or more than was ever written, which the fleet has to tell its people
        replace_file(self._folder / UPTO_FILE, f"{log_id} {upto}\n".encode(), FOR_ALL)
        for path in self._folder.glob(PART_PATTERN):
            if bounds_of(path)[1] <= upto:
                path.unlink(missing_ok=True)
        self.hand_audit(log)

    def _held(self, log_id: str) -> int | None:
        """Return up to where the fleet said that it holds this log, None when it has not said."""
        try:
            with (self._folder / UPTO_FILE).open("rb") as file:
                found, _, upto = file.read(UPTO_BYTES_MAX).decode("ascii", "replace").strip().partition(" ")
        except OSError:
            return None
        return int(upto) if found == log_id and upto.isdecimal() else None


def part_of(log: AuditLog, first: int) -> AuditPart:
    """Return the part of ``log`` that begins at ``first``, or at the first entry that is still kept."""
    tiles, kept_from = log.tiles, kept_from_of(log)
    first = max(first, kept_from)
    before = frontier_of(first, tiles.subtree) if first == kept_from else ()
    entries: list[bytes] = []
    size = 0
    while first + len(entries) < log.size and len(entries) < PART_ENTRIES_MAX and size < PART_ENTRY_BYTES_MAX:
        number, place = divmod(first + len(entries), TILE_WIDTH)
        for raw in tiles.bundle(number)[0][place:][: PART_ENTRIES_MAX - len(entries)]:
            if size >= PART_ENTRY_BYTES_MAX:
                break
            entries.append(raw)
            size += len(raw)
    return AuditPart(str(log.verifier), first, tuple(entries), log.head_at(first + len(entries)), before)


def kept_from_of(log: AuditLog) -> int:
    """Return the index of the first entry of ``log`` that is still kept."""
    return min(log.tiles.bundles(), default=0) * TILE_WIDTH


def bounds_of(path: Path) -> tuple[int, int]:
    """Return the first index of a part and the one after its last, as its name tells; (-1, -1) for another name."""
    words = path.stem.split("-")
    if len(words) != 3 or not (words[1].isdecimal() and words[2].isdecimal()):  # noqa: PLR2004 - audit, first, upto
        return (-1, -1)
    return int(words[1]), int(words[2])
