"""PostgreSQL behind the same door: one session that writes and holds its shards, and sessions that can only read.

pg_advisory_lock(shard) ── held by the session that writes ──▶ it dies with it, so whoever takes the shard over
                                                              can never meet a transaction of the one before
"""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self
from urllib.parse import urlsplit

import psycopg
import sqlalchemy as sa
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper
from pydantic import SecretStr

from veilleur_contracts.ids import SHARDS
from veilleur_fleet.errors import SettingsRejectedError, ShardTakenError
from veilleur_fleet.store.connection import BUSY_MS, ROWS, Row
from veilleur_fleet.store.copying import Copying

LOCK_CLASS: Final = 0x5645494C
"""First half of our advisory locks' keys, "VEIL"; the second is the shard."""
MIGRATION_LOCK: Final = SHARDS
DESK_LOCK: Final = SHARDS + 1
TIDY_LOCK: Final = SHARDS + 2
CONNECT_S: Final = 10
READERS: Final = 8
_SESSION: Final = (
    # A worker whose machine vanished must let its shards go within half a minute.
    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
    " -c idle_in_transaction_session_timeout=60000 -c timezone=UTC"
)
# Whoever waits longer for a lock is told that the database is not there, and tries again, as with SQLite.
_WRITING: Final = f"{_SESSION} -c synchronous_commit=on -c lock_timeout={BUSY_MS}"
_READING: Final = f"{_SESSION} -c default_transaction_read_only=on -c statement_timeout=60000"


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Where a PostgreSQL database is.

    Attributes:
        url: As libpq reads it; it may hold a password, and is never shown.
    """

    url: SecretStr

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``postgresql://[user[:password]@][host][:port]/database``.

        Raises:
            SettingsRejectedError: It is not such an address; the text is not repeated, it may hold a password.
        """
        try:
            psycopg.conninfo.conninfo_to_dict(text)
            url = urlsplit(text)
        except (psycopg.Error, ValueError):
            url = urlsplit("")
        if url.scheme not in {"postgresql", "postgres"} or url.path in {"", "/"}:
            message = (
                "the database is not an address: write it like postgresql://user@host/database, and give the password"
                " in VEILLEUR_FLEET_DATABASE or in libpq's own PGPASSWORD or PGPASSFILE"
            )
            raise SettingsRejectedError(message)
        return cls(SecretStr(text))

    def __str__(self) -> str:
        parts = urlsplit(self.url.get_secret_value())
        return f"postgresql://{parts.hostname or ''}{parts.path}"


class PostgresCursor:
    """A cursor that takes ``?`` for a value, as SQLite's does; it waits for ``settle`` before each statement."""

    def __init__(self, cursor: psycopg.Cursor[Any], settle: Callable[[], None] = lambda: None) -> None:
        self._cursor = cursor
        self._settle = settle

    @property
    def rowcount(self) -> int:
        """How many rows the last statement changed."""
        return self._cursor.rowcount

    def execute(self, sql: str, values: Row = (), /) -> Self:
        """Run one statement; each ``?`` stands for one of ``values``."""
        self._settle()
        self._cursor.execute(_percent(sql) if values else sql.encode(), values or None)
        return self

    def executemany(self, sql: str, rows: Iterable[Row], /) -> Self:
        """Run one statement for each of ``rows``."""
        self._settle()
        self._cursor.executemany(_percent(sql), rows)
        return self

    def execute_rows(self, sql: str, rows: Sequence[Row], /) -> None:
        """Run ``sql`` once, each column of ``rows`` one array of text or whole numbers.

        A statement of many values would be parsed anew each time, here and in the server [measured: 10 ms for the
        streams and boxes of a commit, against 2].
        """
        if rows:
            names = ", ".join(f"column{place + 1}" for place in range(len(rows[0])))
            marks = ", ".join("?::text[]" if isinstance(value, str) else "?::bigint[]" for value in rows[0])
            given = f"SELECT * FROM unnest({marks}) AS given ({names})"  # noqa: S608 - no word that is not ours
            self.execute(sql.replace(ROWS, given), [list(column) for column in zip(*rows, strict=True)])

    def fetchone(self) -> Any:
        """Return the next row found; None when there is none left."""
        return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        """Return every row left."""
        return self._cursor.fetchall()

    def renew(self, cursor: psycopg.Cursor[Any]) -> None:
        """Go on with a cursor of another session."""
        self._cursor = cursor


class PostgresConnection:
    """The session that writes: it holds the advisory locks of ``shards`` for as long as it lives.

    When it is lost, the next ``begin`` opens another and takes the same locks again, or is refused because somebody
    else has them now.
    """

    unavailable: tuple[type[Exception], ...] = (psycopg.OperationalError, psycopg.InterfaceError)
    rows_at_once = 1  # what is handed over early, the server does while the next is judged

    def __init__(self, address: PostgresAddress, shards: Sequence[int]) -> None:
        """Connect and take the locks.

        Raises:
            psycopg.Error: The server is not there, or refuses us.
            ShardTakenError: Another worker has one of the shards.
        """
        self._address = address
        self._shards = tuple(shards)
        self._session = self._connect()
        self._cursors: list[PostgresCursor] = []
        self._copying = Copying()
        self._types: dict[str, dict[str, str]] = {}

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is under way."""
        return self._session.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE

    def begin(self) -> None:
        """Begin the transaction of a writer, in a new session when the last one is gone."""
        if self._session.closed:
            self._copying.forget()
            self._session = self._connect()
            for cursor in self._cursors:
                cursor.renew(self._session.cursor())
        self._session.execute("BEGIN")

    def commit(self) -> None:
        """Make the transaction last through a power cut."""
        self._settle()
        self._session.execute("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction; a session that is gone has undone it already."""
        with contextlib.suppress(psycopg.Error):  # whoever waits for it is told already
            self._copying.drop(self._session)
        if self._session.closed:
            return
        try:
            self._session.execute("ROLLBACK")
        except self.unavailable:
            self._session.close()

    def cursor(self) -> PostgresCursor:
        """Return a cursor that outlives its session."""
        cursor = PostgresCursor(self._session.cursor(), self._settle)
        self._cursors.append(cursor)
        return cursor

    def execute(self, sql: str, values: Row = (), /) -> PostgresCursor:
        """Run one statement on a cursor of its own."""
        return PostgresCursor(self._session.cursor(), self._settle).execute(sql, values)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Have many rows put into ``table`` by COPY, in the transaction under way, while the caller goes on.

        Whatever is wrong with a row is raised by one of the next calls, at the latest by ``commit``.
        """
        if rows:
            self._copying.add(self._session, table, columns, self._types_of(table, columns), rows)

    def advance(self) -> None:
        """Go on with what was given to ``insert``, without waiting for the server."""
        self._copying.advance(self._session)

    def _types_of(self, table: str, columns: Sequence[str]) -> list[str]:
        if table not in self._types:
            self._settle()
            found = self._session.execute(
                "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = %s::regclass", (table,)
            )
            self._types[table] = dict(found.fetchall())
        return [self._types[table][column] for column in columns]

    def _settle(self) -> None:
        """Wait until everything that was given to ``insert`` is there.

        Raises:
            psycopg.Error: Some of it is not; the transaction is lost.
        """
        self._copying.settle(self._session)

    def close(self) -> None:
        """Let the shards go and close the session, of which the server lets go a moment later."""
        with contextlib.suppress(psycopg.Error):  # a session that broke has let them go already
            if not self.in_transaction:
                self._session.execute("SELECT pg_advisory_unlock_all()")
        self._session.close()

    def _connect(self) -> psycopg.Connection[Any]:
        session = connect(self._address, _WRITING)
        try:
            for shard in self._shards:
                self._hold(session, shard)
        except BaseException:  # interrupted too: the session lets its shards go, and it is raised again
            session.close()
            raise
        return session

    def _hold(self, session: psycopg.Connection[Any], shard: int) -> None:
        found = session.execute("SELECT pg_try_advisory_lock(%s::int, %s::int)", (LOCK_CLASS, shard)).fetchone()
        if found is None or not found[0]:
            message = (
                f"another veilleur-fleet works on shard {shard} of {self._address}: stop it, give other --shards,"
                " or wait for it with --standby"
            )
            raise ShardTakenError(message)


def connect(address: PostgresAddress, options: str = _WRITING) -> psycopg.Connection[Any]:
    """Open a session in autocommit mode.

    Raises:
        psycopg.Error: The server is not there, or refuses us.
    """
    session = psycopg.connect(
        address.url.get_secret_value(),
        autocommit=True,
        connect_timeout=CONNECT_S,
        options=options,
        application_name="veilleur-fleet",
    )
    # One width for whole numbers, or each would make another prepared statement of the same text.
    session.adapters.register_dumper(int, Int8Dumper)
    session.adapters.register_dumper(int, Int8BinaryDumper)
    session.adapters.register_loader("numeric", _WholeLoader)
    return session


def readers_of(address: PostgresAddress) -> sa.Engine:
    """Return an engine whose sessions cannot write."""
    return _engine_of(address, _READING)


def desk_of(address: PostgresAddress) -> sa.Engine:
    """Return an engine for rare, small transactions beside the writer, one of them at a time as in SQLite."""
    desk = _engine_of(address, _WRITING)
    lock = sa.text(f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, {DESK_LOCK})")
    sa.event.listen(desk, "begin", lambda connection: connection.execute(lock))
    return desk


def _engine_of(address: PostgresAddress, options: str) -> sa.Engine:
    def session() -> psycopg.Connection[Any]:
        made = connect(address, options)
        made.autocommit = False
        return made

    return sa.create_engine(
        "postgresql+psycopg://", creator=session, pool_size=READERS, max_overflow=0, pool_timeout=10, pool_pre_ping=True
    )


class _WholeLoader(psycopg.adapt.Loader):
    """PostgreSQL sums whole numbers to numeric; everything that we sum is whole, and stays an int as in SQLite."""

    def load(self, data: Any) -> int | float:
        text = bytes(data).decode("ascii")
        return float(text) if "." in text or text == "NaN" else int(text)


@lru_cache(maxsize=256)
def _percent(sql: str) -> bytes:
    """Return ``sql`` with psycopg's sign for a value; none of ours holds a question mark or percent sign otherwise."""
    return sql.replace("%", "%%").replace("?", "%s").encode()
