"""Messages on disk until the fleet has stored them: SQLite, one transaction for dedupe, number and record.

    link ──store──▶ [ stream 1: 4 5 6 ]──next_batch──▶ uplink ──▶ fleet
                    [ stream 2: 1 2   ]◀─acknowledge────────────── Ack(stream, upto)

There is one stream for each class and start of the mouth: a power cut may roll the file back, and a number that was
given twice would hide a message. What must be dropped (the bounds are bytes and age) leaves a ``Gap`` in its place.
Age is counted in seconds during which a mouth ran, so that a clock set a year ahead drops nothing.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from veilleur_agent.mouth.database import connect, set_aside, translated
from veilleur_agent.mouth.errors import AckRejectedError, OutboxDamagedError
from veilleur_contracts.clock import Clock
from veilleur_contracts.codec import context_number_of, decode_record, encode, encode_record
from veilleur_contracts.messages import (
    BATCH_BYTES_MAX,
    BATCH_RECORDS_MAX,
    CLASS_OF,
    Ack,
    Batch,
    Carried,
    Context,
    Gap,
    GapReason,
    MessageClass,
    Record,
    class_of_stream,
    stream_of,
)

ROW_BYTES: Final = 48
"""What a row costs on disk beside its record, about."""
ENVELOPE_BYTES: Final = 40
"""What a batch adds to its records, at most."""
DROPPED_SHARE: Final = 0.05
"""Dropped at once when the outbox is full, so that gaps are few and long."""
EPOCHS_KEPT: Final = 16
CONTEXTS_KEPT: Final = 256
DROP_ORDER: Final = (MessageClass.TECHNICAL, MessageClass.STATISTICS, MessageClass.AGGREGATE, MessageClass.EVENT)

_INSERT: Final = "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?)"
_OF_KIND: Final = (
    "SELECT stream, seq, last, length(body) FROM record WHERE is_gap = 0 AND stream % 8 = ? ORDER BY stream, seq"
)
_OLDER: Final = (
    "SELECT stream, seq, last, length(body) FROM record WHERE is_gap = 0 AND at_running_s < ? ORDER BY stream, seq"
)
_HOLES: Final = """
SELECT before + 1, seq - 1 FROM (
    SELECT seq, lag(last, 1, ?) OVER (ORDER BY seq) AS before FROM record WHERE stream = ?
) WHERE seq > before + 1
"""
_BATCH: Final = "SELECT seq, last, body FROM record WHERE stream = ? AND last > ? ORDER BY seq LIMIT ?"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much and how long the outbox keeps what nobody acknowledges."""

    bytes_max: int = 256 * 1024 * 1024
    age_max_s: int = 30 * 86_400


@dataclass(frozen=True, slots=True)
class Parcel:
    """A batch ready to be published."""

    stream: int
    kind: MessageClass
    first_seq: int
    last_seq: int
    payload: bytes


class Outbox:
    """The messages of one box on disk; not for two threads at a time, and each public method is one transaction.

    Every method that writes raises ``DiskRefusedError`` when nothing was written and the same call may succeed later,
    and ``OutboxDamagedError`` when the file is broken.
    """

    def __init__(self, database: sqlite3.Connection, bounds: Bounds, clock: Clock) -> None:
        self._database = database
        self._bounds = bounds
        self._clock = clock
        self._opened_at_s = clock.elapsed_s()
        self._following: dict[int, int] = {}
        self._bytes = self._ran_before_s = 0
        self.damaged_before = False
        self.dropped = 0
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
            return cls(connect(path), bounds, clock)
        except OutboxDamagedError:
            set_aside(path)
        outbox = cls(connect(path), bounds, clock)
        outbox.say_damage()
        return outbox

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @property
    def size_bytes(self) -> int:
        """Bytes held, rows' own cost included."""
        return self._bytes

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
            self._make_room()
        return new

    def say(self, record: Record) -> None:
        """Put a record of the mouth's own in its stream."""
        with self._transaction():
            self._append(CLASS_OF[type(record)], encode_record(record))

    def say_damage(self) -> None:
        """Say on the wire that messages are lost: the next number of these streams will never come."""
        self.damaged_before = True
        with self._transaction():
            for kind in (MessageClass.TECHNICAL, MessageClass.STATISTICS):
                seq = self._take_number(kind)
                self._insert_gap(stream_of(kind, self.started_ms), seq, seq, GapReason.OUTBOX_DAMAGED)

    def streams(self) -> dict[int, int]:
        """Return the streams that have unacknowledged records, oldest first, with the number acknowledged."""
        query = "SELECT number, acknowledged FROM stream WHERE next > acknowledged + 1 ORDER BY number"
        return dict(self._rows(query))

    def last_numbers(self) -> dict[int, int]:
        """Return the last number given on each stream known."""
        return dict(self._rows("SELECT number, next - 1 FROM stream"))

    def left(self) -> int:
        """Return how many rows nobody has acknowledged yet."""
        return int(self._rows("SELECT count(*) FROM record")[0][0])

    def next_batch(self, stream: int, after: int) -> Parcel | None:
        """Return the records of ``stream`` that follow ``after``, as many as one message holds; None when none do."""
        bodies: list[msgspec.Raw] = []
        first_seq = last_seq = size = 0
        for seq, last, body in self._rows(_BATCH, (stream, after, BATCH_RECORDS_MAX)):
            is_hole = bodies and seq != last_seq + 1
            if is_hole or size + len(body) + ENVELOPE_BYTES > BATCH_BYTES_MAX:
                break
            first_seq, last_seq, size = first_seq or seq, last, size + len(body)
            bodies.append(msgspec.Raw(body))
        if not bodies:
            return None
        payload = encode(Batch(stream, first_seq, tuple(bodies)))
        return Parcel(stream, class_of_stream(stream), first_seq, last_seq, payload)

    def acknowledge(self, ack: Ack) -> int:
        """Delete what the fleet has stored; return how many rows went.

        Raises:
            AckRejectedError: It names numbers that were never given.
        """
        known = self._rows("SELECT next, acknowledged FROM stream WHERE number = ?", (ack.stream,))
        if not known:
            return 0  # an old stream, wholly acknowledged before
        following, acknowledged = known[0]
        if ack.upto >= following:
            raise AckRejectedError("the fleet acknowledges numbers that this box never gave")
        if ack.upto <= acknowledged:
            return 0
        done = (ack.stream, ack.upto)
        with self._transaction():
            query = "SELECT count(*), total(length(body)) FROM record WHERE stream = ? AND last <= ?"
            rows, freed = self._rows(query, done)[0]
            self._do("DELETE FROM record WHERE stream = ? AND last <= ?", done)
            self._do("UPDATE stream SET acknowledged = ? WHERE number = ?", (ack.upto, ack.stream))
            self._do("DELETE FROM stream WHERE acknowledged = next - 1 AND number < ?", (self.started_ms * 8,))
            self._bytes -= int(freed) + int(rows) * ROW_BYTES
        return int(rows)

    def expire(self) -> int:
        """Drop what is older than the bound; return how many records went."""
        before = self.dropped
        with self._transaction():
            self._state_fact("running_s", self._running_s())
            oldest = self._running_s() - self._bounds.age_max_s
            self._drop(self._rows(_OLDER, (oldest,)), GapReason.TOO_OLD)
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
        self._append(CLASS_OF[type(record)], body)
        return True

    def _forget_old(self, heard: int) -> None:
        """Bound what is remembered of the link: the epochs and contexts heard last."""
        old = "SELECT epoch FROM link ORDER BY heard DESC LIMIT -1 OFFSET ?"
        self._do(f"DELETE FROM link WHERE epoch IN ({old})", (EPOCHS_KEPT,))  # noqa: S608  # a constant
        if heard % CONTEXTS_KEPT == 0:
            old = "SELECT number FROM context ORDER BY heard DESC LIMIT -1 OFFSET ?"
            self._do(f"DELETE FROM context WHERE number IN ({old})", (CONTEXTS_KEPT,))  # noqa: S608  # a constant

    def _append(self, kind: MessageClass, body: bytes) -> None:
        seq = self._take_number(kind)
        self._do(_INSERT, (stream_of(kind, self.started_ms), seq, seq, 0, self._running_s(), body))
        self._bytes += len(body) + ROW_BYTES

    def _take_number(self, kind: MessageClass) -> int:
        stream = stream_of(kind, self.started_ms)
        if stream not in self._following:
            self._do("INSERT OR IGNORE INTO stream VALUES (?, 1, 0)", (stream,))
            (self._following[stream],) = self._rows("SELECT next FROM stream WHERE number = ?", (stream,))[0]
        self._following[stream] += 1
        return self._following[stream] - 1

    def _make_room(self) -> None:
        """Drop the oldest technical records when there are too many bytes, then statistics, in long runs."""
        if self._bytes <= self._bounds.bytes_max:
            return
        wanted = int(self._bounds.bytes_max * (1 - DROPPED_SHARE))
        for kind in DROP_ORDER:
            victims, freed = [], 0
            for row in self._database.execute(_OF_KIND, (stream_of(kind, 0),)):
                if self._bytes - freed <= wanted:
                    break
                victims.append(row)
                freed += row[3] + ROW_BYTES
            self._drop(victims, GapReason.OUTBOX_FULL)
            if self._bytes <= self._bounds.bytes_max:
                return

    def _drop(self, victims: Sequence[tuple[int, int, int, int]], reason: GapReason) -> None:
        """Replace records by gaps, one for each unbroken run; ``victims`` are in order of stream and number."""
        runs: list[tuple[int, int, int]] = []
        for stream, seq, last, size in victims:
            self._do("DELETE FROM record WHERE stream = ? AND seq = ?", (stream, seq))
            self._bytes -= size + ROW_BYTES
            if runs and runs[-1][0] == stream and runs[-1][2] == seq - 1:
                runs[-1] = (stream, runs[-1][1], last)
            else:
                runs.append((stream, seq, last))
        for stream, first, last in runs:
            self._insert_gap(stream, first, last, reason)
        self.dropped += len(victims)

    def _insert_gap(self, stream: int, first: int, last: int, reason: GapReason) -> None:
        body = encode(Gap(first, last, reason))
        self._do(_INSERT, (stream, first, last, 1, self._running_s(), body))
        self._bytes += len(body) + ROW_BYTES

    def _heal(self) -> None:
        """Fill holes that a disk which lied about its writes has left: over them the fleet could never go on."""
        for stream, following, acknowledged in self._rows("SELECT number, next, acknowledged FROM stream"):
            for first, last in self._rows(_HOLES, (acknowledged, stream)):
                self._insert_gap(stream, first, last, GapReason.OUTBOX_DAMAGED)
            query = "SELECT coalesce(max(last), ?) FROM record WHERE stream = ?"
            (upto,) = self._rows(query, (acknowledged, stream))[0]
            if upto + 1 < following:
                self._insert_gap(stream, upto + 1, following - 1, GapReason.OUTBOX_DAMAGED)
        query = "SELECT total(length(body)) + count(*) * ? FROM record"
        self._bytes = int(self._rows(query, (ROW_BYTES,))[0][0])

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
        before = (self._bytes, self.dropped)
        self._do("BEGIN IMMEDIATE")
        try:
            yield
            for stream, following in self._following.items():
                self._do("UPDATE stream SET next = ? WHERE number = ?", (following, stream))
            self._do("COMMIT")
        except BaseException:
            self._bytes, self.dropped = before
            self._following.clear()
            with translated():
                self._database.rollback()
            raise
