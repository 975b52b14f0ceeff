"""Open the fleet's database: one writer, many readers, at this program's version."""

import contextlib
import fcntl
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import psycopg
import sqlalchemy as sa

from veilleur_contracts.clock import Clock
from veilleur_contracts.ids import SHARDS
from veilleur_fleet.errors import DiskRefusedError, StoreRejectedError, StoreUnavailableError
from veilleur_fleet.store import postgresql
from veilleur_fleet.store.connection import BUSY_MS, Connection, SqliteConnection
from veilleur_fleet.store.migrations import knows_all, migrate
from veilleur_fleet.store.postgresql import PostgresAddress, PostgresConnection

FILE_NAME: Final = "fleet.db"
LOCK_NAME: Final = "fleet.lock"
READERS: Final = 8
_DISK: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
EVERY_SHARD: Final = tuple(range(SHARDS))

UNAVAILABLE: Final = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)
"""What an engine raises when its database does not answer now: locked, gone, or every connection to it in use."""

Where = Path | PostgresAddress
"""The folder of a SQLite database, or the address of a PostgreSQL one."""


@dataclass(frozen=True, slots=True)
class Database:
    """An open database; a context manager.

    Attributes:
        writer: The one connection that stores what boxes say, outside a transaction until it is told to begin one.
        readers: An engine whose connections cannot write.
        desk: An engine for the few rows that people's decisions are, written beside ``writer``; see ``open_desk``.
        fleet_id: Names this fleet for as long as its database lives.
        shards: The shards that are ours to write.
        address: Where it is, if that is PostgreSQL.
    """

    writer: Connection
    readers: sa.Engine
    desk: sa.Engine
    fleet_id: str
    shards: tuple[int, ...]
    address: PostgresAddress | None
    _lock: IO[bytes] | None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection and let others have the database."""
        self.readers.dispose()
        self.desk.dispose()
        self.writer.close()
        if self._lock is not None:
            self._lock.close()


def open_database(where: Where, clock: Clock, shards: Sequence[int] = EVERY_SHARD) -> Database:
    """Open, or make, the database at ``where``, to write ``shards`` of it.

    Raises:
        StoreRejectedError: It cannot be used, another fleet uses it, or it is newer than this program, or damaged.
        DiskRefusedError: The disk is full or fails.
    """
    if isinstance(where, PostgresAddress):
        return _open_postgresql(where, clock, tuple(shards))
    if tuple(shards) != EVERY_SHARD:
        raise StoreRejectedError(
            "SQLite has one writer, so one fleet takes every shard: leave --shards out, or give a PostgreSQL --database"
        )
    return _open_sqlite(where, clock)


def open_readers(where: Where) -> sa.Engine:
    """Open the database at ``where`` to read beside a fleet that may be running on it.

    Raises:
        StoreRejectedError: There is none.
    """
    if isinstance(where, PostgresAddress):
        readers = postgresql.readers_of(where)
        try:
            with readers.connect() as connection:
                connection.execute(sa.text("SELECT 1 FROM fleet"))
        except sa.exc.SQLAlchemyError:
            readers.dispose()
            raise StoreRejectedError(
                f"there is no fleet's database at {where}, or it cannot be reached: look at --database"
            ) from None
        return readers
    path = where / FILE_NAME
    if not path.is_file():
        raise StoreRejectedError(f"there is no fleet's database in {where}: give its folder with --data")
    return _readers_of(path)


@contextlib.contextmanager
def reading(readers: sa.Engine) -> Iterator[sa.Connection]:
    """Give a connection to read with.

    Raises:
        StoreUnavailableError: The database does not answer now.
    """
    try:
        with readers.connect() as connection:
            yield connection
    except UNAVAILABLE as error:
        sentence = str(error).partition("\n")[0]
        raise StoreUnavailableError(f"the database does not answer: {sentence}") from None


def open_desk(where: Where) -> sa.Engine:
    """Open the database at ``where`` to write a few rows beside a fleet that may be running on it.

    A transaction (``engine.begin()``) waits for every other of these, so it must be short; and in SQLite it holds the
    one write lock of the database.

    Raises:
        StoreRejectedError: There is none, or it is at another version than this program.
    """
    open_readers(where).dispose()  # which says it when there is none
    desk = postgresql.desk_of(where) if isinstance(where, PostgresAddress) else _desk_of(where / FILE_NAME)
    try:
        with desk.connect() as connection:
            is_ours = knows_all(connection.exec_driver_sql("SELECT version FROM schema_version").scalars())
    except sa.exc.SQLAlchemyError:
        is_ours = False
    if not is_ours:
        desk.dispose()
        raise StoreRejectedError(f"the database in {where} is of another release: start this one's fleet on it once")
    return desk


def _open_sqlite(folder: Path, clock: Clock) -> Database:
    lock = lock_folder(folder)
    path = folder / FILE_NAME
    try:
        writer = SqliteConnection.open(path)
        migrate(writer)
        fleet_id = _fleet_id_of(writer, clock.now_ms())
    except sqlite3.Error as error:
        lock.close()
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DISK:
            message = (
                f"the disk refuses {path} ({error.sqlite_errorname}): make room on it, or give another --data folder"
            )
            raise DiskRefusedError(message) from None
        message = f"cannot open {path}: {error}; restore a backup, or give another --data folder"
        raise StoreRejectedError(message) from None
    except StoreRejectedError:
        lock.close()
        raise
    return Database(writer, _readers_of(path), _desk_of(path), fleet_id, EVERY_SHARD, None, lock)


def _open_postgresql(address: PostgresAddress, clock: Clock, shards: tuple[int, ...]) -> Database:
    try:
        writer = PostgresConnection(address, shards)
    except psycopg.Error as error:
        raise StoreRejectedError(f"cannot open {address}: {_sentence_of(error)}; look at --database") from None
    try:
        migrate(writer)
        fleet_id = _fleet_id_of(writer, clock.now_ms())
    except psycopg.Error as error:
        writer.close()
        raise StoreRejectedError(f"cannot open {address}: {_sentence_of(error)}; look at --database") from None
    except StoreRejectedError:
        writer.close()
        raise
    return Database(
        writer, postgresql.readers_of(address), postgresql.desk_of(address), fleet_id, shards, address, None
    )


def _sentence_of(error: psycopg.Error) -> str:
    """Return the first line of what the server or libpq says; neither repeats a password."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def lock_folder(folder: Path) -> IO[bytes]:
    """Keep others out of ``folder`` for as long as what is returned stays open.

    Raises:
        StoreRejectedError: Another fleet has it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK_NAME).open("ab")
    except OSError as error:
        message = f"cannot use the data folder {folder}: {error.strerror}; give one that can be written with --data"
        raise StoreRejectedError(message) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        message = f"another veilleur-fleet uses the data folder {folder}: stop it, or give another folder with --data"
        raise StoreRejectedError(message) from None
    return lock


def _fleet_id_of(connection: Connection, now_ms: int) -> str:
    connection.execute(
        "INSERT INTO fleet (one, fleet_id, created_ms) VALUES (1, ?, ?) ON CONFLICT DO NOTHING",
        (secrets.token_hex(6), now_ms),
    )
    return str(connection.execute("SELECT fleet_id FROM fleet").fetchone()[0])


def _readers_of(path: Path) -> sa.Engine:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False, timeout=BUSY_MS / 1000
        )
        connection.execute("PRAGMA query_only = ON")
        return connection

    return sa.create_engine(
        "sqlite://", creator=connect, poolclass=sa.QueuePool, pool_size=READERS, max_overflow=0, pool_timeout=10
    )


def _desk_of(path: Path) -> sa.Engine:
    desk = sa.create_engine(
        "sqlite://", creator=lambda: SqliteConnection.open(path), poolclass=sa.QueuePool, pool_size=2, max_overflow=0
    )
    # The driver would begin too late, and a transaction that reads first could then not write any more.
    sa.event.listen(desk, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return desk
