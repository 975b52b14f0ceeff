"""Open the fleet's database: one writer, many readers, at this program's version."""

import fcntl
import secrets
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import sqlalchemy as sa

from veilleur_contracts.clock import Clock
from veilleur_fleet.errors import StoreRejectedError
from veilleur_fleet.store.migrations import knows_all, migrate

FILE_NAME: Final = "fleet.db"
LOCK_NAME: Final = "fleet.lock"
BUSY_MS: Final = 5000
WAL_PAGES: Final = 8000
"""Pages (4 KiB) written between checkpoints: 32 MiB; the default of 1000 checkpoints five times in each second."""
CACHE_KIB: Final = 65_536
READERS: Final = 8


@dataclass(frozen=True, slots=True)
class Database:
    """An open database; a context manager.

    Attributes:
        writer: The one connection that writes, in autocommit mode; transactions are begun by hand.
        readers: An engine whose connections cannot write.
        desk: An engine for the few rows that people's decisions are, written beside ``writer``; see ``open_desk``.
        fleet_id: Names this fleet for as long as its database lives.
    """

    writer: sqlite3.Connection
    readers: sa.Engine
    desk: sa.Engine
    fleet_id: str
    _lock: IO[bytes]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection and give the folder back."""
        self.readers.dispose()
        self.desk.dispose()
        self.writer.close()
        self._lock.close()


def open_database(folder: Path, clock: Clock) -> Database:
    """Open, or make, the database in ``folder``.

    Raises:
        StoreRejectedError: The folder cannot be used, another fleet uses it, or its database is newer or damaged.
    """
    lock = _lock_of(folder)
    path = folder / FILE_NAME
    try:
        writer = _writer_of(path)
        fleet_id = _fleet_id_of(writer, clock.now_ms())
    except sqlite3.Error as error:
        lock.close()
        message = f"cannot open {path}: {error}; restore a backup, or give another --data folder"
        raise StoreRejectedError(message) from None
    except StoreRejectedError:
        lock.close()
        raise
    return Database(writer, _readers_of(path), _desk_of(path), fleet_id, lock)


def open_readers(folder: Path) -> sa.Engine:
    """Open the database in ``folder`` to read beside a fleet that may be running on it.

    Raises:
        StoreRejectedError: There is none.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise StoreRejectedError(f"there is no fleet's database in {folder}: give its folder with --data")
    return _readers_of(path)


def open_desk(folder: Path) -> sa.Engine:
    """Open the database in ``folder`` to write a few rows beside a fleet that may be running on it.

    A transaction (``engine.begin()``) holds the one write lock of the database, so it must be short.

    Raises:
        StoreRejectedError: There is none, or it is at another version than this program.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise StoreRejectedError(f"there is no fleet's database in {folder}: give its folder with --data")
    desk = _desk_of(path)
    try:
        with desk.connect() as connection:
            is_ours = knows_all(connection.exec_driver_sql("SELECT version FROM schema_version").scalars())
    except sa.exc.SQLAlchemyError:
        is_ours = False
    if not is_ours:
        desk.dispose()
        raise StoreRejectedError(f"the database in {folder} is of another release: start this one's fleet on it once")
    return desk


def _lock_of(folder: Path) -> IO[bytes]:
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


def _writer_of(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL, because an acknowledged record must survive a power cut: NORMAL may lose the last commits of a WAL.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    migrate(connection)
    return connection


def _fleet_id_of(connection: sqlite3.Connection, now_ms: int) -> str:
    connection.execute(
        "INSERT INTO fleet (one, fleet_id, created_ms) VALUES (1, ?, ?) ON CONFLICT DO NOTHING",
        (secrets.token_hex(6), now_ms),
    )
    return str(connection.execute("SELECT fleet_id FROM fleet").fetchone()[0])


def _desk_of(path: Path) -> sa.Engine:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    desk = sa.create_engine("sqlite://", creator=connect, poolclass=sa.QueuePool, pool_size=2, max_overflow=0)
    # The driver would begin too late, and a transaction that reads first could then not write any more.
    sa.event.listen(desk, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return desk


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
