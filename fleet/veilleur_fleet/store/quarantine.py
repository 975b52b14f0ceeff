"""Keep what was refused, as it came, so that a newer fleet can judge it again and nothing is silently dropped."""

import hashlib
from typing import Final, NamedTuple

from veilleur_fleet.store.boxes import BoxRow
from veilleur_fleet.store.connection import Cursor

QUARANTINED_BYTES_MAX: Final = 4_194_304
"""For one box: a hundred thousand records of usual size. Beyond it a record is not taken, and the box keeps it."""
STRANGERS_MAX: Final = 1000
"""Messages kept whose topic names no box of ours."""
TOPIC_CHARACTERS_MAX: Final = 160


class Refused(NamedTuple):
    """Bytes that are not stored as what they claim to be.

    Attributes:
        topic: Where they came from.
        raw: As they came.
        reason: Why, in a sentence without content.
        received_ms: When they came.
    """

    topic: str
    raw: bytes
    reason: str
    received_ms: int


class Quarantine:
    """Rows of ``quarantine``."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    def put_record(self, box: BoxRow, refused: Refused, place: tuple[int, int]) -> bool:
        """Keep one refused record; False when the box has no room left, and then nothing was written.

        Args:
            box: Whose it is; its ``quarantined_bytes`` moves, and the caller writes it.
            refused: The record, and why.
            place: Stream and number.
        """
        topic, raw, reason, received_ms = refused
        if box.quarantined_bytes + len(raw) > QUARANTINED_BYTES_MAX:
            return False
        self._cursor.execute(_PUT, (box.box_no, topic, *place, reason, received_ms, _digest_of(topic, raw), raw))
        box.quarantined_bytes += len(raw)
        return True

    def put_envelope(self, box: BoxRow | None, refused: Refused) -> bool:
        """Keep a whole refused message, once however often it comes; False when there is no room left."""
        topic, raw, reason, received_ms = refused
        topic = topic[:TOPIC_CHARACTERS_MAX]
        digest = _digest_of(topic, raw)
        self._cursor.execute("UPDATE quarantine SET times = times + 1 WHERE digest = ? AND stream IS NULL", (digest,))
        if self._cursor.rowcount:
            return True
        if box is None:
            full = self._strangers() >= STRANGERS_MAX
        else:
            full = box.quarantined_bytes + len(raw) > QUARANTINED_BYTES_MAX
        if full:
            return False
        number = None if box is None else box.box_no
        self._cursor.execute(_PUT, (number, topic, None, None, reason, received_ms, digest, raw))
        if box is not None:
            box.quarantined_bytes += len(raw)
        return True

    def count(self, quarantine_no: int, times: int) -> None:
        """Write how often a refused message came."""
        self._cursor.execute("UPDATE quarantine SET times = ? WHERE quarantine_no = ?", (times, quarantine_no))

    def forget(self, quarantine_no: int) -> None:
        """Delete a row; the caller moves the box's ``quarantined_bytes``."""
        self._cursor.execute("DELETE FROM quarantine WHERE quarantine_no = ?", (quarantine_no,))

    def _strangers(self) -> int:
        found = self._cursor.execute("SELECT count(*) FROM quarantine WHERE box_no IS NULL").fetchone()
        return int(found[0])


def _digest_of(topic: str, raw: bytes) -> bytes:
    return hashlib.sha256(topic.encode("utf-8", "surrogatepass") + b"\0" + raw).digest()


_PUT: Final = (
    "INSERT INTO quarantine (box_no, topic, stream, seq, reason, received_ms, times, digest, raw)"
    " VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?)"
)
