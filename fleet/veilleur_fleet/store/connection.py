"""The one connection that writes, the same to the ledger whether SQLite or PostgreSQL stands behind it.

SQL is written once, with ``?`` for each value, in what both engines understand; where they cannot agree, the difference
has a method here. SQLAlchemy Core builds a dictionary for each row and unpacks it again [measured: 14 µs for a record
and its window, against 4], so the writer speaks to the drivers themselves; everything that reads goes through Core.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Final, Protocol, Self

ROWS_PER_STATEMENT: Final = 50
"""One statement with fifty rows costs less than fifty steps of ``executemany`` [measured: 3.8 µs against 4.6 µs for a
record and its window] and gives the interpreter lock away fifty times less often."""
BUSY_MS: Final = 5000
WAL_PAGES: Final = 8000
"""Pages (4 KiB) written between checkpoints: 32 MiB; the default of 1000 checkpoints five times in each second."""
CACHE_KIB: Final = 65_536

Row = Sequence[object]


ROWS: Final = "{rows}"
"""Where rows stand in a statement of ``execute_rows``."""


class Answer(Protocol):
    """What a statement found or did."""

    @property
    def rowcount(self) -> int:
        """How many rows the last statement changed."""
        ...

    def fetchone(self) -> Any:
        """Return the next row found; None when there is none left."""
        ...

    def fetchall(self) -> list[Any]:
        """Return every row left."""
        ...


class Cursor(Answer, Protocol):
    """What both drivers' cursors can do."""

    def execute(self, sql: str, values: Row = (), /) -> Self:
        """Run one statement; each ``?`` stands for one of ``values``."""
        ...

    def executemany(self, sql: str, rows: Iterable[Row], /) -> Self:
        """Run one statement for each of ``rows``."""
        ...

    def execute_rows(self, sql: str, rows: Sequence[Row], /) -> None:
        """Run as few statements as can be for all of ``rows``, which stand at ``{rows}`` as a table would.

        Its columns are called ``column1``, ``column2`` and so on.
        """
        ...


class Connection(Protocol):
    """A connection that writes, outside a transaction until ``begin``."""

    @property
    def unavailable(self) -> tuple[type[Exception], ...]:
        """What the driver raises when the database does not take something now, and may take it later."""
        ...

    @property
    def rows_at_once(self) -> int:
        """How many rows are worth giving to ``insert`` before the transaction is whole."""
        ...

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is under way."""
        ...

    def begin(self) -> None:
        """Begin the transaction of a writer."""
        ...

    def commit(self) -> None:
        """Make the transaction last through a power cut."""
        ...

    def rollback(self) -> None:
        """Undo the transaction; nothing happens outside one."""
        ...

    def cursor(self) -> Cursor:
        """Return a cursor on this connection."""
        ...

    def execute(self, sql: str, values: Row = (), /) -> Answer:
        """Run one statement on a cursor of its own."""
        ...

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Put many rows into ``table``, in the transaction under way."""
        ...

    def advance(self) -> None:
        """Go on with what was given to ``insert``, without waiting for it."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class SqliteCursor(sqlite3.Cursor):
    """SQLite's own cursor, and rows many at a time."""

    def execute_rows(self, sql: str, rows: Sequence[Row], /) -> None:
        """Run ``sql`` for all of ``rows``; see ``Cursor``."""
        for start in range(0, len(rows), ROWS_PER_STATEMENT):
            some = rows[start : start + ROWS_PER_STATEMENT]
            self.execute(_with_values(sql, len(some), len(some[0])), tuple(chain.from_iterable(some)))


class SqliteConnection(sqlite3.Connection):
    """SQLite's own connection, in autocommit mode: Python's transactions would commit at each DDL."""

    unavailable: tuple[type[Exception], ...] = (sqlite3.OperationalError,)
    rows_at_once = 1_000_000  # SQLite writes in our own thread, so nothing is won by beginning early

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open, or make, the file at ``path``.

        Raises:
            sqlite3.Error: It is no database, or cannot be written.
        """
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000, factory=cls
        )
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL, because an acknowledged record must survive a power cut: NORMAL may lose the last commits of a WAL.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        return connection

    def cursor(self) -> SqliteCursor:  # type: ignore[override]  # ours is the only factory there is
        """Return a cursor on this connection."""
        return super().cursor(SqliteCursor)

    def begin(self) -> None:
        """Begin the transaction of a writer."""
        self.execute("BEGIN IMMEDIATE")

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Put many rows into ``table``, in the transaction under way."""
        self.cursor().execute_rows(f"INSERT INTO {table} ({', '.join(columns)}) {ROWS}", rows)

    def advance(self) -> None:
        """Do nothing: ``insert`` has done it all."""


@lru_cache(maxsize=256)
def _with_values(sql: str, rows: int, columns: int) -> str:
    one = f"({', '.join('?' * columns)})"
    return sql.replace(ROWS, f"VALUES {', '.join([one] * rows)}")
