"""Store what boxes say, once each, in one transaction for many messages; say what may then be acknowledged.

    deliveries ──judge──▶ known numbers filtered ──▶ records · crossing_windows · waiting · quarantine
                                                 ──▶ high-water marks, cursors ──COMMIT──▶ acknowledgements

There is one Ledger on a database at a time (``database`` holds a lock for it): it keeps marks and cursors in mind.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

import msgspec

from veilleur_contracts.messages import CrossingWindow, Gap, GapReason
from veilleur_contracts.topics import TopicRejectedError, Up, read_up_topic, up_topic
from veilleur_fleet.errors import StoreUnavailableError
from veilleur_fleet.judge import Entry, EnvelopeRejectedError, Judged, judge
from veilleur_fleet.store.boxes import BoxRow
from veilleur_fleet.store.cameras import WINDOW_COLUMNS
from veilleur_fleet.store.connection import Connection
from veilleur_fleet.store.keeping import Forgotten, Keeping
from veilleur_fleet.store.quarantine import Refused
from veilleur_fleet.store.replay import Kept, Replayed, entry_of, is_readable, kept_after
from veilleur_fleet.store.shelves import Put, Shelves
from veilleur_fleet.store.streams import Held, TooManyHolesError
from veilleur_fleet.store.sweeping import Sweep
from veilleur_fleet.store.work import (
    POSITION_BITS,
    RECORD_COLUMNS,
    Acknowledgement,
    Delivery,
    Place,
    Stored,
    StreamRow,
    Work,
)

_T = TypeVar("_T")

RESOLVED_PER_COMMIT: Final = 5000
STREAMS_KEPT: Final = 20_000

_WINDOW_TAG: Final = 2
_RANGES: Final = msgspec.json.Decoder(list[tuple[int, int]])


class Ledger:
    """The one writer of what boxes say. Not for two threads at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._shelves = Shelves(self._cursor)
        self._streams: dict[tuple[int, int], StreamRow] = {}
        self._last: dict[int, int] = {}
        self._resolvable: set[tuple[str, int]] | None = None

    def store(self, deliveries: Iterable[Delivery]) -> Stored:
        """Judge, filter and commit ``deliveries``, in order.

        Raises:
            StoreUnavailableError: The database did not take them; nothing is kept and nothing may be acknowledged.
        """

        def deliver(work: Work) -> None:
            for delivery in deliveries:
                self._deliver(work, delivery)
                if len(work.records) >= self._connection.rows_at_once:
                    self._insert(work)
                self._connection.advance()

        return self._commit(deliver)

    def replay(self, after: int) -> Replayed:
        """Judge the next rows of quarantine after the key ``after`` again, and store what can be stored today.

        Raises:
            StoreUnavailableError: The database did not take it; quarantine is as it was.
        """
        done = Replayed(last=after)

        def again(work: Work) -> None:
            for kept in kept_after(self._cursor, after):
                accepted = self._again(work, kept) if kept.stream is None else self._record_again(work, kept)
                done.judged, done.accepted, done.last = done.judged + 1, done.accepted + accepted, kept.quarantine_no
            work.heard.clear()  # no box has spoken

        done.stored = self._commit(again).records.total()
        return done

    def _commit(self, fill: Callable[[Work], None]) -> Stored:
        """Do ``fill`` and write what it comes to, in one transaction; see ``store``."""
        work = Work()
        try:
            self._connection.begin()
            fill(work)
            self._resolve(work)
            self._write(work)
            self._connection.commit()
        except self._connection.unavailable as error:
            self._roll_back()
            message = f"the database did not take a transaction: {error}"
            raise StoreUnavailableError(message) from None
        except BaseException:  # whatever it was: nothing half stored stays, and it is raised again
            self._roll_back()
            raise
        return work.stored

    def mark_published(self, marks: Mapping[int, int]) -> None:
        """Write that the broker has taken everything of each shard up to the cursor named on ``out/``.

        Raises:
            StoreUnavailableError: No mark was kept; what was published will be published again.
        """
        rows = [(cursor, shard) for shard, cursor in marks.items()]
        self._briefly(
            "the published marks",
            lambda: self._cursor.executemany("UPDATE shards SET published = ? WHERE shard = ?", rows),
        )

    def forget_health_before(self, received_ms: int) -> int:
        """Delete the history of cameras' health received before; return how many rows went.

        Raises:
            StoreUnavailableError: Nothing was deleted.
        """
        return self._briefly("a deletion", lambda: self._shelves.cameras.forget_health_before(received_ms))

    def sweep(self, keeping: Keeping, now_ms: int) -> Callable[[], Forgotten]:
        """Begin a pass over what is too old; each call of what is returned is one short transaction of it.

        That raises ``StoreUnavailableError`` when the database did not take the step.
        """
        sweep = Sweep(self._cursor, keeping, now_ms)
        return lambda: self._briefly("a deletion", sweep.step)

    def _briefly(self, what: str, change: Callable[[], _T]) -> _T:
        """Make a change that touches nothing we keep in mind, in a transaction of its own."""
        try:
            self._connection.begin()
            changed = change()
            self._connection.commit()
        except self._connection.unavailable as error:
            self._roll_back()
            message = f"the database did not take {what}: {error}"
            raise StoreUnavailableError(message) from None
        except BaseException:  # whatever it was: nothing half stored stays, and it is raised again
            self._roll_back()
            raise
        return changed

    def _deliver(self, work: Work, delivery: Delivery) -> None:
        try:
            topic = read_up_topic(delivery.topic)
        except TopicRejectedError as error:
            self._shelves.refuse_envelope(work, None, _refused(delivery, str(error)))
            return
        if topic.channel is Up.STATUS:
            return  # a connection's last word, and no record
        box = self._shelves.boxes.find(topic.box, topic.controller, delivery.received_ms)
        reason, batch = None, None
        if box is None:
            reason = "there are too many boxes"
        elif box.controller != topic.controller:
            reason = "a box serves one controller, and this one was heard under another"
        else:
            work.heard[box.box_no] = delivery.received_ms
            batch, reason = self._judged(work, box, topic.channel, delivery)
        if reason is not None:
            self._shelves.refuse_envelope(work, box, _refused(delivery, reason))
        if box is not None and batch is not None and batch.entries:
            self._take(work, Place(box, batch.stream, delivery.topic, delivery.received_ms), batch)

    def _judged(self, work: Work, box: BoxRow, channel: Up, delivery: Delivery) -> tuple[Judged | None, str | None]:
        """Return what a message of ``box`` holds for its streams, and why it, or the rest of it, is refused."""
        if channel is Up.PRIVACY:
            return None, self._shelves.papers.take_report(work, box, delivery)
        if channel is Up.AUDIT:
            return None, self._shelves.papers.take_part(work, box, delivery)
        try:
            batch = judge(delivery.payload, channel)
        except EnvelopeRejectedError as error:
            return None, str(error)
        return batch, batch.cut

    def _again(self, work: Work, kept: Kept) -> bool:
        """Deliver a whole message that was refused once more; tell whether it was taken, and left quarantine."""
        before = (work.stored.envelopes_refused, work.stored.held_back)
        if not is_readable(kept):
            return False
        self._deliver(work, Delivery(kept.topic, kept.raw, kept.received_ms))
        if (work.stored.envelopes_refused, work.stored.held_back) != before:
            self._shelves.quarantine.count(kept.quarantine_no, kept.times)  # it did not come once more
            return False
        self._leave_quarantine(work, kept)
        return True

    def _record_again(self, work: Work, kept: Kept) -> bool:
        """Put away a record that was refused; its number is held already, and now stands for something."""
        entry = entry_of(kept)
        if entry is None or kept.box is None or kept.stream is None:
            return False
        box = self._shelves.boxes.known(kept.box)
        place = Place(box, kept.stream, kept.topic, kept.received_ms, again=True)
        kept_bytes = box.quarantined_bytes
        self._cursor.execute("SAVEPOINT again")
        self._leave_quarantine(work, kept)
        put = self._shelves.put(work, place, entry, self._next_position(box.shard))
        if put in {Put.REFUSED, Put.NOT_TAKEN}:
            self._cursor.execute("ROLLBACK TO again")
            box.quarantined_bytes = kept_bytes
            return False
        stream = self._touch(work, place)
        self._given_out(work, box.shard, int(put is Put.STORED))
        stream.stored += put is Put.STORED
        stream.refused -= 1
        work.count(kept.stream, int(put is Put.STORED))
        return True

    def _leave_quarantine(self, work: Work, kept: Kept) -> None:
        self._shelves.quarantine.forget(kept.quarantine_no)
        if kept.box is not None:
            self._shelves.boxes.known(kept.box).quarantined_bytes -= len(kept.raw)
            work.bounds_moved.add(kept.box)

    def _take(self, work: Work, place: Place, batch: Judged) -> None:
        """Store what is new of ``batch``, and move the stream's mark over it."""
        stream = self._touch(work, place)
        entries = batch.entries
        if not stream.held.is_next(batch.first):
            if not _has_room(stream.held, batch):
                work.stored.held_back += 1
                return
            again = (batch.last - batch.first + 1) - stream.held.missing(batch.first, batch.last)
            stream.duplicates += again
            work.stored.duplicates += again
            entries = _unheard(stream.held, entries) if again else entries
        not_taken = self._put_all(work, place, stream, entries)
        if not_taken is None:
            stream.held.take(batch.first, batch.last)
            return
        work.stored.held_back += 1
        if not_taken > batch.first:
            stream.held.take(batch.first, not_taken - 1)

    def _put_all(self, work: Work, place: Place, stream: StreamRow, entries: list[Entry]) -> int | None:
        """Put ``entries`` away in order; return the number of the first that is not taken, None when all are.

        Plain windows, which are nearly all there is, take the short way; the rest is put by ``Shelves``.
        """
        records, windows = work.records, work.windows
        box_no, number, received_ms = place.box.box_no, place.stream, place.received_ms
        first = position = self._next_position(place.box.shard)
        context, known = -1, None
        not_taken = None
        for entry in entries:
            seq, raw, record = entry
            if type(record) is CrossingWindow:
                if record.context != context:
                    context, known = record.context, self._shelves.cameras.known(box_no, record.context)
                if known is not None and known.fits(record):
                    windows.append(known.row_of(record, position))
                    records.append((position, box_no, number, seq, _WINDOW_TAG, received_ms, raw))
                    position += 1
                    continue
            put = self._shelves.put(work, place, entry, position)
            if put is Put.NOT_TAKEN:
                not_taken = seq
                break
            context = -1  # a Context may have come
            position += put is Put.STORED
            self._note(work, stream, put, record)
        self._given_out(work, place.box.shard, position - first)
        stream.stored += position - first
        work.count(number, position - first)
        return not_taken

    def _note(self, work: Work, stream: StreamRow, put: Put, record: object) -> None:
        """Count what a record that took the long way means for its stream."""
        if put is Put.REFUSED:
            stream.refused += 1
        if isinstance(record, Gap) and record.reason != GapReason.COARSENED:
            lost = stream.held.missing(record.first, record.last)
            stream.lost += lost
            work.stored.lost += lost

    def _resolve(self, work: Work) -> None:
        """Give a cursor to windows whose Context has come, ``RESOLVED_PER_COMMIT`` at most."""
        if self._resolvable is None:
            self._resolvable = self._shelves.resolvable()
        self._resolvable |= work.learnt
        room = RESOLVED_PER_COMMIT
        while self._resolvable and room > 0:
            name, context = self._resolvable.pop()
            box = self._shelves.boxes.known(name)
            waited = self._shelves.waiting(box.box_no, context, room)
            for number, seq, received_ms, raw in waited:
                place = Place(box, number, up_topic(box.controller, name, Up.EVENTS), received_ms)
                stream = self._touch(work, place)
                put = self._shelves.release(work, place, (context, seq, raw), self._next_position(box.shard))
                self._given_out(work, box.shard, int(put is Put.STORED))
                stream.stored += put is Put.STORED
                stream.refused += put is Put.REFUSED
                work.count(number, int(put is Put.STORED))
                work.stored.resolved += 1
            if len(waited) == room:
                self._resolvable.add((name, context))
            room -= len(waited)

    def _touch(self, work: Work, place: Place) -> StreamRow:
        """Return the row of a stream, to be written and acknowledged with this transaction."""
        key = (place.box.box_no, place.stream)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = self._read_stream(*key)
        stream.heard_ms = max(stream.heard_ms, place.received_ms)
        work.streams[key] = (place.box, stream)
        return stream

    def _read_stream(self, box_no: int, number: int) -> StreamRow:
        found = self._cursor.execute(
            "SELECT upto, ahead, heard_ms, stored, duplicates, lost, refused FROM streams"
            " WHERE box_no = ? AND stream = ?",
            (box_no, number),
        ).fetchone()
        if found is None:
            return StreamRow(Held())
        return StreamRow(Held(found[0], _RANGES.decode(found[1])), *found[2:])

    def _next_position(self, shard: int) -> int:
        last = self._last.get(shard)
        if last is None:
            found = self._cursor.execute("SELECT last FROM shards WHERE shard = ?", (shard,)).fetchone()
            last = self._last[shard] = 0 if found is None else found[0]
        return (shard << POSITION_BITS) + last + 1

    def _given_out(self, work: Work, shard: int, cursors: int) -> None:
        if cursors:
            self._last[shard] += cursors
            work.shards.add(shard)

    def _write(self, work: Work) -> None:
        cursor = self._cursor
        self._insert(work)
        cursor.execute_rows(
            "INSERT INTO streams (box_no, stream, upto, ahead, heard_ms, stored, duplicates, lost, refused) {rows}"
            " ON CONFLICT (box_no, stream) DO UPDATE SET upto = excluded.upto,"
            " ahead = excluded.ahead, heard_ms = excluded.heard_ms, stored = excluded.stored,"
            " duplicates = excluded.duplicates, lost = excluded.lost, refused = excluded.refused",
            [(*key, *_values_of(stream)) for key, (_, stream) in work.streams.items()],
        )
        cursor.execute_rows(
            "INSERT INTO shards (shard, last, published) {rows} ON CONFLICT (shard) DO UPDATE SET last = excluded.last",
            [(shard, self._last[shard], 0) for shard in work.shards],
        )
        self._shelves.boxes.note(work.heard, work.bounds_moved)
        work.stored.acknowledgements = [
            Acknowledgement(box.controller, box.box, number, stream.held.upto)
            for (_, number), (box, stream) in work.streams.items()
        ]
        if len(self._streams) > STREAMS_KEPT:
            self._streams.clear()

    def _insert(self, work: Work) -> None:
        """Hand over the rows that are ready, and begin new lists."""
        self._connection.insert("records", RECORD_COLUMNS, work.records)
        self._connection.insert("crossing_windows", WINDOW_COLUMNS, work.windows)
        work.records, work.windows = [], []

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.rollback()
        self._shelves.forget()
        self._streams.clear()
        self._last.clear()
        self._resolvable = None


def _refused(delivery: Delivery, reason: str) -> Refused:
    return Refused(delivery.topic, delivery.payload, reason, delivery.received_ms)


def _has_room(held: Held, batch: Judged) -> bool:
    """Tell whether the stream may hold ``batch`` without more holes than are allowed."""
    trial = Held(held.upto, list(held.ahead))
    try:
        trial.take(batch.first, batch.last)
    except TooManyHolesError:
        return False
    return True


def _unheard(held: Held, entries: list[Entry]) -> list[Entry]:
    """Return what is not held of ``entries``; a Gap that is held in part is numbered by its first new number."""
    kept = list[Entry]()
    for entry in entries:
        seq, raw, record = entry
        if isinstance(record, Gap):
            first = held.first_missing(record.first, record.last)
            if first is not None:
                kept.append((first, raw, record))
        elif not held.has(seq):
            kept.append(entry)
    return kept


def _values_of(stream: StreamRow) -> tuple[int | str, ...]:
    return (
        stream.held.upto,
        msgspec.json.encode(stream.held.ahead).decode("ascii"),
        stream.heard_ms,
        stream.stored,
        stream.duplicates,
        stream.lost,
        stream.refused,
    )
