"""Make months ahead of time in PostgreSQL and drop those that are too old, beside the workers that write.

    records:   T 2026_09 · T 2026_10 · T 2026_11 · T 2026_12 · S 2026_09 ... · rest
               └─ dropped, when its last day is too old

T and S go by whole months, so up to a month later than asked. A and E are few and about single things, so they also go
by the row, to the hour; what came into no month (``_rest``: a wrong clock) goes by the row too.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import psycopg

from veilleur_contracts.messages import MessageClass
from veilleur_fleet.errors import StoreUnavailableError
from veilleur_fleet.store.keeping import ORDINALS, Forgotten, Keeping, Month, months_around
from veilleur_fleet.store.postgresql import LOCK_CLASS, TIDY_LOCK, PostgresAddress, PostgresCursor, connect
from veilleur_fleet.store.sweeping import note
from veilleur_fleet.store.work import POSITION_BITS, RECORD_COLUMNS

ROWS_PER_STEP: Final = 5000
EXACT: Final = (MessageClass.AGGREGATE, MessageClass.EVENT)
WAIT_MS: Final = 3000
"""For a lock, after which it is tried again next time: a worker must not wait behind us."""


def tidy(address: PostgresAddress, keeping: Keeping, now_ms: int, believed_ms: int) -> Forgotten:
    """Make the months that are wanted and forget what is too old; nothing when another worker is doing it.

    Args:
        address: The database.
        keeping: How long what is kept.
        now_ms: The clock's time, by which months are made.
        believed_ms: The time by which things are too old.

    Raises:
        StoreUnavailableError: The server did not let us; what was done until then is done.
    """
    forgotten = Forgotten()
    try:
        with connect(address) as session:
            session.execute(f"SET lock_timeout = {WAIT_MS}")
            held = session.execute("SELECT pg_try_advisory_lock(%s::int, %s::int)", (LOCK_CLASS, TIDY_LOCK)).fetchone()
            if held is not None and held[0]:
                partitions = Partitions(session)
                partitions.prepare(now_ms)
                for step in partitions.forget(keeping, believed_ms):
                    forgotten.add(step)
    except psycopg.Error as error:
        sentence = str(error).partition("\n")[0]
        raise StoreUnavailableError(f"the months of the database could not be tidied: {sentence}") from None
    return forgotten


class Partitions:
    """The months of ``records`` and ``crossing_windows``."""

    def __init__(self, session: psycopg.Connection[Any]) -> None:
        self._session = session

    def prepare(self, now_ms: int) -> None:
        """Make the months around ``now_ms`` that are not there; what stands in ``rest`` for them moves there."""
        self.make(months_around(now_ms))

    def make(self, months: Iterable[Month]) -> None:
        """Make each of ``months`` that is not there."""
        there = self._names()
        for month in months:
            for number, kind in ORDINALS.items():
                if (name := f"{_prefix(number, kind)}{month.name}") not in there:
                    self._make_records(name, number, month)
            if (name := f"crossing_windows_{month.name}") not in there:
                self._make_windows(name, month)

    def forget(self, keeping: Keeping, now_ms: int) -> Iterator[Forgotten]:
        """Drop months and delete rows that are too old, and tell of each step."""
        there = self._names()
        for number, kind in ORDINALS.items():
            bound_ms = keeping.bound_ms(kind, now_ms)
            for name, end_ms in sorted(there.items()):
                if name.startswith(_prefix(number, kind)) and end_ms <= bound_ms:
                    yield self._drop_records(name, kind)
            yield from self._delete(kind, number, bound_ms)
        bound_ms = keeping.bound_ms(MessageClass.STATISTICS, now_ms)
        for name, end_ms in sorted(there.items()):
            if name.startswith("crossing_windows_") and end_ms <= bound_ms:
                yield self._drop_windows(name)
        yield from self._delete_windows(bound_ms // 1000)

    def _names(self) -> dict[str, int]:
        """Return the months there are, and the first millisecond after each, which is written in its comment."""
        rows = self._session.execute(
            "SELECT relname, obj_description(pg_class.oid, 'pg_class') FROM pg_class JOIN pg_inherits"
            " ON inhrelid = pg_class.oid WHERE inhparent IN ('records'::regclass, 'crossing_windows'::regclass)"
        )
        return {name: int(comment) for name, comment in rows.fetchall() if comment}

    def _make_records(self, name: str, number: int, month: Month) -> None:
        where = f"stream % 8 = {number} AND received_ms >= {month.first_ms} AND received_ms < {month.end_ms}"
        columns = ", ".join(RECORD_COLUMNS)
        self._make(
            name,
            month,
            "LOCK TABLE records_rest",
            f"CREATE TABLE {name} (LIKE records INCLUDING GENERATED)",
            f"ALTER TABLE {name} ADD PRIMARY KEY (position), ADD UNIQUE (box_no, stream, seq)",
            f"INSERT INTO {name} ({columns}) SELECT {columns} FROM records_rest WHERE {where}",  # noqa: S608 - our own words
            f"DELETE FROM records_rest WHERE {where}",  # noqa: S608 - our own words
            f"ALTER TABLE records ATTACH PARTITION {name}"
            f" FOR VALUES FROM ({number}, {month.first_ms}) TO ({number}, {month.end_ms})",
        )

    def _make_windows(self, name: str, month: Month) -> None:
        first_s, end_s = month.first_ms // 1000, month.end_ms // 1000
        where = f"at_s >= {first_s} AND at_s < {end_s}"
        self._make(
            name,
            month,
            "LOCK TABLE crossing_windows_rest",
            f"CREATE TABLE {name} (LIKE crossing_windows)",
            f"ALTER TABLE {name} ADD PRIMARY KEY (line_no, at_s, position)",
            f"INSERT INTO {name} SELECT * FROM crossing_windows_rest WHERE {where}",  # noqa: S608 - our own words
            f"DELETE FROM crossing_windows_rest WHERE {where}",  # noqa: S608 - our own words
            f"ALTER TABLE crossing_windows ATTACH PARTITION {name} FOR VALUES FROM ({first_s}) TO ({end_s})",
        )

    def _make(self, name: str, month: Month, *statements: str) -> None:
        with self._session.transaction():
            for statement in (*statements, f"COMMENT ON TABLE {name} IS '{month.end_ms}'"):
                self._session.execute(statement.encode())

    def _drop_records(self, name: str, kind: MessageClass) -> Forgotten:
        """Drop a month, unless consumers were not told everything of it yet."""
        count, untold = self._one(
            f"SELECT count(*), count(*) FILTER (WHERE position - (shard << {POSITION_BITS}) > published)"  # noqa: S608 - our own words
            f" FROM {name} LEFT JOIN shards ON shard = position >> {POSITION_BITS}"
        )
        if untold:
            return Forgotten()
        self._drop(name, kind, count, 0)
        return Forgotten({kind: count})

    def _drop_windows(self, name: str) -> Forgotten:
        (count,) = self._one(f"SELECT count(*) FROM {name}")  # noqa: S608 - our own words
        self._drop(name, MessageClass.STATISTICS, 0, count)
        return Forgotten(windows=count)

    def _drop(self, name: str, kind: MessageClass, records: int, windows: int) -> None:
        with self._session.transaction(), self._session.cursor() as cursor:
            cursor.execute(f"DROP TABLE {name}".encode())
            note(PostgresCursor(cursor), kind, records, windows)

    def _delete(self, kind: MessageClass, number: int, bound_ms: int) -> Iterator[Forgotten]:
        table = "records" if kind in EXACT else "records_rest"
        told = f"position - (shard << {POSITION_BITS}) <= published"
        old = (
            f"SELECT position FROM {table} JOIN shards ON shard = position >> {POSITION_BITS}"  # noqa: S608 - our own words
            f" WHERE stream % 8 = {number} AND received_ms < {bound_ms} AND {told} LIMIT {ROWS_PER_STEP}"
        )
        while True:
            with self._session.transaction(), self._session.cursor() as cursor:
                deleted = cursor.execute(
                    f"DELETE FROM {table} WHERE stream % 8 = {number} AND received_ms < {bound_ms}"  # noqa: S608 - our own words
                    f" AND position IN ({old})".encode()
                ).rowcount
                note(PostgresCursor(cursor), kind, deleted, 0)
            yield Forgotten({kind: deleted})
            if deleted < ROWS_PER_STEP:
                return

    def _delete_windows(self, bound_s: int) -> Iterator[Forgotten]:
        old = f"SELECT ctid FROM crossing_windows_rest WHERE at_s < {bound_s} LIMIT {ROWS_PER_STEP}"  # noqa: S608 - our own words
        while True:
            with self._session.transaction(), self._session.cursor() as cursor:
                deleted = cursor.execute(
                    f"DELETE FROM crossing_windows_rest WHERE ctid IN ({old})".encode()  # noqa: S608 - our own words
                ).rowcount
                note(PostgresCursor(cursor), MessageClass.STATISTICS, 0, deleted)
            yield Forgotten(windows=deleted)
            if deleted < ROWS_PER_STEP:
                return

    def _one(self, query: str) -> tuple[int, ...]:
        return tuple(self._session.execute(query.encode()).fetchone() or ())


def _prefix(number: int, kind: MessageClass) -> str:
    return f"records_{kind.value.lower()}{number}_"
