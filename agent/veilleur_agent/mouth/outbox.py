"""Messages on disk until the fleet has stored them: SQLite, one transaction for dedupe, number and record.

    link ──store──▶ [ stream 1: 4 5 6 ]──next_batch──▶ uplink ──▶ fleet
                    [ stream 2: 1 2   ]◀─acknowledge────────────── Ack(stream, upto)

There is one stream for each class and start of the mouth, and one for alarms: a power cut may roll the file back, and a
number that was given twice would hide a message. What must go (the bounds are bytes and age, ``room``) leaves a ``Gap``
in its place. Age is counted in seconds during which a mouth ran, so that a clock set a year ahead drops nothing.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from veilleur_agent.mouth.coarsen import Row, gap_row
from veilleur_agent.mouth.database import connect, lost_mark_of, set_aside, translated
from veilleur_agent.mouth.errors import AckRejectedError, OutboxDamagedError
from veilleur_agent.mouth.room import Bounds, Room
from veilleur_agent.mouth.uplinks import is_repeated
from veilleur_contracts.clock import Clock
from veilleur_contracts.codec import context_number_of, decode_record, encode, encode_record
from veilleur_contracts.messages import (
    BATCH_BYTES_MAX,
    BATCH_RECORDS_MAX,
    STREAMS_A_START,
    Ack,
    Batch,
    Carried,
    Context,
    Gap,
    GapReason,
    MessageClass,
    Record,
    class_of_stream,
    is_alarm_stream,
    stream_for,
    stream_of,
)

ENVELOPE_BYTES: Final = 40
"""What a batch adds to its records, at most."""
EPOCHS_KEPT: Final = 16
CONTEXTS_KEPT: Final = 256
STREAMS_MARKED: Final = 64
MARKED_AHEAD: Final = 256
"""Numbers by which the mark of what may have been published runs ahead, so that it is not written for every batch."""

_HOLES: Final = """
SELECT before + 1, seq - 1 FROM (
    SELECT seq, lag(last, 1, ?) OVER (ORDER BY seq) AS before FROM record WHERE stream = ?
) WHERE seq > before + 1
"""
_BATCH: Final = "SELECT seq, last, body FROM record WHERE stream = ? AND last > ? ORDER BY seq LIMIT ?"


@dataclass(frozen=True, slots=True)
class Parcel:
    """A batch ready to be published."""

    stream: int
    kind: MessageClass
    first_seq: int
    last_seq: int
    payload: bytes
    is_alarm: bool = False


class Outbox:
    """The messages of one box on disk; not for two threads at a time, and each public method is one transaction.

    Every method that writes raises ``DiskRefusedError`` when nothing was written and the same call may succeed later,
    and ``OutboxDamagedError`` when the file is broken.
    """

    def __init__(self, database: sqlite3.Connection, bounds: Bounds, clock: Clock) -> None:
        self._database = database
        self._room = Room(database, bounds)
        self._clock = clock
        self._opened_at_s = clock.elapsed_s()
        self._following: dict[int, int] = {}
        self._marked: dict[int, int] = {}
        self._ran_before_s = 0
        self.damaged_before = False
        with self._transaction():
            self.started_ms = max(clock.now_ms(), self._fact("started_ms") + 1)
            self._state_fact("started_ms", self.started_ms)
            self._ran_before_s = self._fact("running_s")
            self._heal()

    @classmethod
    def open(cls, path: Path, bounds: Bounds, clock: Clock) -> Self:
        """Open the outbox at ``path``; one that is damaged is set aside, and the wire is told that something is lost.

        Raises:
            DiskRefusedError: The disk does not let us.
            OutboxNewerError: A newer agent made it.
        """
        try:
            outbox = cls(connect(path), bounds, clock)
        except OutboxDamagedError:
            set_aside(path)
            outbox = cls(connect(path), bounds, clock)
        mark = lost_mark_of(path)
        if mark.exists():  # from now, or from a start before whose new file the disk refused
            outbox.say_damage()
            mark.unlink()
        return outbox

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @property
    def size_bytes(self) -> int:
        """Bytes held, rows' own cost included."""
        return self._room.bytes

    @property
    def dropped(self) -> int:
        """Records dropped since the start."""
        return self._room.dropped

    @property
    def coarsened(self) -> int:
        """By how many there are fewer records since the start, because others sum them."""
        return self._room.coarsened

    def committed(self) -> dict[int, int]:
        """Return, for each epoch of the link, up to which number it is stored; the latest heard is last."""
        return dict(self._rows("SELECT epoch, upto FROM link ORDER BY heard"))

    def contexts(self) -> dict[int, str]:
        """Return the camera of each context number heard lately."""
        return dict(self._rows("SELECT number, camera FROM context ORDER BY heard"))

    def store(self, carried: Sequence[Carried]) -> int:
        """Commit what came over the link, each number once and in order; return how many records are new."""
        new = 0
        with self._transaction():
            heard = self._fact("heard") + 1
            self._state_fact("heard", heard)
            upto = self.committed()
            for one in carried:
                new += self._store_one(one, upto, heard)
            for epoch in {one.epoch for one in carried}:
                self._do("INSERT OR REPLACE INTO link VALUES (?, ?, ?)", (epoch, upto[epoch], heard))
            self._forget_old(heard)
            self._room.make(stream_of(MessageClass.STATISTICS, self.started_ms), self._running_s())
        return new

    def say(self, record: Record) -> None:
        """Put a record of the mouth's own in its stream."""
        with self._transaction():
            self._append(stream_for(type(record), self.started_ms), encode_record(record))

    def last_heard(self, sensor: str) -> int | None:
        """Return the number of the last message of ``sensor`` that was stored, None when there was none."""
        return self._fact(f"heard:{sensor}") or None

    def say_heard(self, sensor: str, number: int, records: Sequence[Record]) -> bool:
        """Store what a sensor said, once: tell whether it is new. Its number is committed with it."""
        if is_repeated(self.last_heard(sensor), number):
            return False
        with self._transaction():
            for record in records:
                self._append(stream_for(type(record), self.started_ms), encode_record(record))
            self._state_fact(f"heard:{sensor}", number)
            self._room.make(stream_of(MessageClass.STATISTICS, self.started_ms), self._running_s())
        return True

    def say_damage(self) -> None:
        """Say on the wire that messages are lost: the next number of these streams will never come."""
        self.damaged_before = True
        with self._transaction():
            for kind in (MessageClass.TECHNICAL, MessageClass.STATISTICS):
                stream = stream_of(kind, self.started_ms)
                seq = self._take_number(stream)
                self._insert_gap(stream, seq, seq)

    def streams(self) -> dict[int, int]:
        """Return the streams that have unacknowledged records, oldest first, with the number acknowledged."""
        query = "SELECT number, acknowledged FROM stream WHERE next > acknowledged + 1 ORDER BY number"
        return dict(self._rows(query))

    def last_numbers(self) -> dict[int, int]:
        """Return the last number given on each stream known."""
        return dict(self._rows("SELECT number, next - 1 FROM stream"))

    def left(self) -> int:
        """Return how many rows nobody has acknowledged yet."""
        return self._room.rows

    def next_batch(self, stream: int, after: int, most_bytes: int = BATCH_BYTES_MAX) -> Parcel | None:
        """Return the records of ``stream`` that follow ``after``, as many as ``most_bytes`` hold, but one at least.

        Returns:
            None when none follow.
        """
        bodies: list[msgspec.Raw] = []
        first_seq = last_seq = size = 0
        for seq, last, body in self._rows(_BATCH, (stream, after, BATCH_RECORDS_MAX)):
            if bodies and (seq != last_seq + 1 or size + len(body) + ENVELOPE_BYTES > most_bytes):
                break
            first_seq, last_seq, size = first_seq or seq, last, size + len(body)
            bodies.append(msgspec.Raw(body))
        if not bodies:
            return None
        payload = encode(Batch(stream, first_seq, tuple(bodies)))
        return Parcel(stream, class_of_stream(stream), first_seq, last_seq, payload, is_alarm_stream(stream))

    def mark(self, parcel: Parcel) -> None:
        """Take note, before ``parcel`` is published, that the fleet may hold it: what it holds is never coarsened.

        Raises:
            DiskRefusedError: It must not be published now.
        """
        if parcel.kind is not MessageClass.STATISTICS or parcel.last_seq <= self._marked.get(parcel.stream, 0):
            return
        upto = parcel.last_seq + MARKED_AHEAD
        with self._transaction():
            self._do("UPDATE stream SET published = max(published, ?) WHERE number = ?", (upto, parcel.stream))
        self._marked = {**self._marked, parcel.stream: upto} if len(self._marked) < STREAMS_MARKED else {}

    def acknowledge(self, ack: Ack) -> int:
        """Delete what the fleet has stored; return how many rows went.

        A fleet that was restored from a backup acknowledges less than it did; what was deleted since is told as a Gap,
        or its mark could never pass. An old acknowledgement that comes late does the same, and the fleet filters that.

        Raises:
            AckRejectedError: It names numbers that were never given.
        """
        known = self._rows("SELECT next, acknowledged FROM stream WHERE number = ?", (ack.stream,))
        if not known:
            return 0  # an old stream, wholly acknowledged before
        following, acknowledged = known[0]
        if ack.upto >= following:
            raise AckRejectedError("the fleet acknowledges numbers that this box never gave")
        if ack.upto < acknowledged:
            self._reopen(ack, acknowledged)
        if ack.upto <= acknowledged:
            return 0
        with self._transaction():
            rows = self._room.forget(ack.stream, ack.upto)
            self._do("UPDATE stream SET acknowledged = ? WHERE number = ?", (ack.upto, ack.stream))
            ours = self.started_ms * STREAMS_A_START
            self._do("DELETE FROM stream WHERE acknowledged = next - 1 AND number < ?", (ours,))
        return rows

    def _reopen(self, ack: Ack, acknowledged: int) -> None:
        with self._transaction():
            gap = gap_row(ack.upto + 1, acknowledged, GapReason.FLEET_RESTORED, self._running_s())
            self._room.append(ack.stream, gap)
            self._do("UPDATE stream SET acknowledged = ? WHERE number = ?", (ack.upto, ack.stream))

    def expire(self) -> int:
        """Coarsen what is half as old as may be, drop what is older; return how many records were dropped."""
        before = self.dropped
        with self._transaction():
            self._state_fact("running_s", self._running_s())
            self._room.expire(stream_of(MessageClass.STATISTICS, self.started_ms), self._running_s())
        return self.dropped - before

    def _store_one(self, carried: Carried, upto: dict[int, int], heard: int) -> bool:
        body = bytes(carried.record)
        record = decode_record(body)
        last = record.last if isinstance(record, Gap) else carried.seq
        stored = upto.setdefault(carried.epoch, 0)
        if last <= stored:
            return False
        if carried.seq > stored + 1:
            raise ValueError("a number of the link was passed over")
        upto[carried.epoch] = last
        if isinstance(record, Gap):
            return False  # numbers of the link that will never come: nothing the fleet would miss
        if isinstance(record, Context):
            row = (context_number_of(record), record.camera, heard)
            self._do("INSERT OR REPLACE INTO context VALUES (?, ?, ?)", row)
        self._append(stream_for(type(record), self.started_ms), body)
        return True

    def _forget_old(self, heard: int) -> None:
        """Bound what is remembered of the link: the epochs and contexts heard last."""
        old = "SELECT epoch FROM link ORDER BY heard DESC LIMIT -1 OFFSET ?"
        self._do(f"DELETE FROM link WHERE epoch IN ({old})", (EPOCHS_KEPT,))  # noqa: S608 - a constant
        if heard % CONTEXTS_KEPT == 0:
            old = "SELECT number FROM context ORDER BY heard DESC LIMIT -1 OFFSET ?"
            self._do(f"DELETE FROM context WHERE number IN ({old})", (CONTEXTS_KEPT,))  # noqa: S608 - a constant

    def _append(self, stream: int, body: bytes) -> None:
        seq = self._take_number(stream)
        self._room.append(stream, Row(seq, seq, is_gap=False, at_running_s=self._running_s(), body=body))

    def _take_number(self, stream: int) -> int:
        if stream not in self._following:
            self._do("INSERT OR IGNORE INTO stream VALUES (?, 1, 0, 0)", (stream,))
            (self._following[stream],) = self._rows("SELECT next FROM stream WHERE number = ?", (stream,))[0]
        self._following[stream] += 1
        return self._following[stream] - 1

    def _insert_gap(self, stream: int, first: int, last: int) -> None:
        self._room.append(stream, gap_row(first, last, GapReason.OUTBOX_DAMAGED, self._running_s()))

    def _heal(self) -> None:
        """Fill holes that a disk which lied about its writes has left: over them the fleet could never go on."""
        for stream, following, acknowledged in self._rows("SELECT number, next, acknowledged FROM stream"):
            for first, last in self._rows(_HOLES, (acknowledged, stream)):
                self._insert_gap(stream, first, last)
            query = "SELECT coalesce(max(last), ?) FROM record WHERE stream = ?"
            (upto,) = self._rows(query, (acknowledged, stream))[0]
            if upto + 1 < following:
                self._insert_gap(stream, upto + 1, following - 1)
        self._room.recount()

    def _running_s(self) -> int:
        return self._ran_before_s + int(self._clock.elapsed_s() - self._opened_at_s)

    def _fact(self, name: str) -> int:
        rows = self._rows("SELECT value FROM fact WHERE name = ?", (name,))
        return int(rows[0][0]) if rows else 0

    def _state_fact(self, name: str, value: int) -> None:
        self._do("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

    def _rows(self, query: str, values: Sequence[int | str] = ()) -> list[Any]:  # rows are as typed as their query
        with translated():
            return self._database.execute(query, values).fetchall()

    def _do(self, query: str, values: Sequence[int | str | bytes] = ()) -> None:
        with translated():
            self._database.execute(query, values)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        before = self._room.state()
        self._do("BEGIN IMMEDIATE")
        try:
            yield
            for stream, following in self._following.items():
                self._do("UPDATE stream SET next = ? WHERE number = ?", (following, stream))
            self._do("COMMIT")
        except BaseException:  # whatever it was: nothing half done stays, and it is raised again
            self._room.roll_back(before)
            self._following.clear()
            with translated():
                self._database.rollback()
            raise
