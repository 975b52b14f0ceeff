"""Put each kind of record where it belongs: its box, its camera, its window's row, the waiting room or quarantine."""

from enum import Enum
from typing import Final

from veilleur_contracts.codec import context_number_of, decode_record
from veilleur_contracts.messages import (
    CameraHealth,
    Context,
    CrossingWindow,
    Validation,
    ViewAlarm,
)
from veilleur_fleet.judge import Entry, Refusal
from veilleur_fleet.store.boxes import Boxes, BoxRow, OfBox
from veilleur_fleet.store.cameras import Cameras
from veilleur_fleet.store.connection import Cursor
from veilleur_fleet.store.kinds import TAG_OF, OfContext
from veilleur_fleet.store.papers import Papers
from veilleur_fleet.store.quarantine import Quarantine, Refused
from veilleur_fleet.store.work import Place, Work

WAITING_ROWS_MAX: Final = 100_000
"""For one box: windows whose Context has not come. Beyond it a window is not taken, and the box keeps it."""


class Put(Enum):
    """What became of a record."""

    STORED = "it is a row of records, with a cursor"
    WAITING = "it is kept until its Context comes"
    REFUSED = "it is in quarantine"
    NOT_TAKEN = "there is no room for it; the box must keep it"


class Shelves:
    """The tables of the store, but for streams and shards."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self.boxes = Boxes(cursor)
        self.cameras = Cameras(cursor)
        self.quarantine = Quarantine(cursor)
        self.papers = Papers(cursor)

    def forget(self) -> None:
        """Read everything again: the transaction was rolled back."""
        self.boxes.forget()
        self.cameras.forget()

    def put(self, work: Work, place: Place, entry: Entry, position: int) -> Put:
        """Put one record away; with ``position`` if it gets a cursor now."""
        seq, raw, record = entry
        if isinstance(record, Refusal):
            return self._refuse(work, place, entry, record.reason)
        if isinstance(record, OfContext):
            known = self.cameras.known(place.box.box_no, record.context)
            if known is None:
                return self._wait(work, place, entry, record.context)
            if not known.holds(record):
                return self._refuse(work, place, entry, f"{type(record).__name__}: it does not fit its Context")
            if isinstance(record, CrossingWindow):
                work.windows.append(known.row_of(record, position))
            elif isinstance(record, Validation):
                self.cameras.validate(known, record)
        elif isinstance(record, (Context, CameraHealth, ViewAlarm)):
            reason = self._learn(work, place, record, raw)
            if reason is not None:
                return self._refuse(work, place, entry, reason)
        elif isinstance(record, OfBox):
            self.boxes.hear(place.box, record, place.received_ms, again=place.again)
        row = (position, place.box.box_no, place.stream, seq, TAG_OF[type(record)], place.received_ms, raw)
        work.records.append(row)
        return Put.STORED

    def waiting(self, box_no: int, context: int, at_most: int) -> list[tuple[int, int, int, bytes]]:
        """Return ``(stream, seq, received_ms, raw)`` of records that wait for a Context."""
        return self._cursor.execute(
            "SELECT stream, seq, received_ms, raw FROM waiting WHERE box_no = ? AND context = ?"
            " ORDER BY stream, seq LIMIT ?",
            (box_no, context, at_most),
        ).fetchall()

    def resolvable(self) -> set[tuple[str, int]]:
        """Return the ``(box, Context number)`` for which windows wait although the Context is there."""
        return set(
            self._cursor.execute(
                "SELECT DISTINCT boxes.box, waiting.context FROM waiting JOIN boxes USING (box_no)"
                " JOIN contexts ON contexts.box_no = waiting.box_no AND contexts.number = waiting.context"
            ).fetchall()
        )

    def release(self, work: Work, place: Place, waited: tuple[int, int, bytes], position: int) -> Put:
        """Take a window, ``(context, seq, raw)``, out of the waiting room, now that its Context is known."""
        context, seq, raw = waited
        put = self.put(work, place, (seq, raw, decode_record(raw)), position)
        if put is not Put.NOT_TAKEN:
            self._cursor.execute(
                "DELETE FROM waiting WHERE box_no = ? AND context = ? AND stream = ? AND seq = ?",
                (place.box.box_no, context, place.stream, seq),
            )
            place.box.waiting_rows -= 1
            work.bounds_moved.add(place.box.box)
        return put

    def refuse_envelope(self, work: Work, box: BoxRow | None, refused: Refused) -> None:
        """Keep a whole refused message; ``box`` is None when its topic names none of ours."""
        self.quarantine.put_envelope(box, refused)
        work.stored.envelopes_refused += 1
        if box is not None:
            work.bounds_moved.add(box.box)

    def _learn(self, work: Work, place: Place, record: Context | CameraHealth | ViewAlarm, raw: bytes) -> str | None:
        """Take in what a record says of a camera; return why it is refused, or None."""
        if isinstance(record, CameraHealth):
            return self.cameras.health(place.box, record, place.received_ms)
        if isinstance(record, ViewAlarm):
            return self.cameras.view(place.box, record, place.received_ms)
        reason = self.cameras.learn(place.box, record, raw, place.received_ms, again=place.again)
        if reason is None and place.box.waiting_rows:
            work.learnt.add((place.box.box, context_number_of(record)))
        return reason

    def _wait(self, work: Work, place: Place, entry: Entry, context: int) -> Put:
        if place.box.waiting_rows >= WAITING_ROWS_MAX:
            return Put.NOT_TAKEN
        seq, raw, _ = entry
        self._cursor.execute(
            "INSERT INTO waiting (box_no, context, stream, seq, received_ms, raw) VALUES (?, ?, ?, ?, ?, ?)",
            (place.box.box_no, context, place.stream, seq, place.received_ms, raw),
        )
        place.box.waiting_rows += 1
        work.bounds_moved.add(place.box.box)
        return Put.WAITING

    def _refuse(self, work: Work, place: Place, entry: Entry, reason: str) -> Put:
        seq, raw, _ = entry
        refused = Refused(place.topic, raw, reason, place.received_ms)
        kept = self.quarantine.put_record(place.box, refused, (place.stream, seq))
        if not kept:
            return Put.NOT_TAKEN
        work.stored.refused[place.box.box] += 1
        work.bounds_moved.add(place.box.box)
        return Put.REFUSED
