"""The file under the outbox: how it is opened, checked, set aside, and how SQLite's complaints are told apart."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from veilleur_agent.mouth.errors import DiskRefusedError, OutboxDamagedError, OutboxNewerError

SCHEMA_VERSION: Final = 2
SCHEMA: Final = """
BEGIN;
CREATE TABLE stream (
    number INTEGER PRIMARY KEY, next INTEGER NOT NULL, acknowledged INTEGER NOT NULL, published INTEGER NOT NULL
) STRICT;
CREATE TABLE record (
    stream INTEGER NOT NULL, seq INTEGER NOT NULL, last INTEGER NOT NULL, is_gap INTEGER NOT NULL,
    at_running_s INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (stream, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE link (epoch INTEGER PRIMARY KEY, upto INTEGER NOT NULL, heard INTEGER NOT NULL) STRICT;
CREATE TABLE context (number INTEGER PRIMARY KEY, camera TEXT NOT NULL, heard INTEGER NOT NULL) STRICT;
CREATE TABLE fact (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
PRAGMA user_version = 2;
COMMIT;
"""
FROM_1: Final = """
BEGIN;
ALTER TABLE stream ADD COLUMN published INTEGER NOT NULL DEFAULT 0;
UPDATE stream SET published = next;
PRAGMA user_version = 2;
COMMIT;
"""
"""Version 1 did not note what was published, so all of it may have been."""
_SCRIPT_FROM: Final = {0: SCHEMA, 1: FROM_1}
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


@contextmanager
def translated() -> Iterator[None]:
    """Turn what SQLite says into errors that say what to do.

    Raises:
        OutboxDamagedError: The file is no longer a database.
        DiskRefusedError: The disk is full, read-only or fails.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            raise
        primary = code & 0xFF
        if primary in _DAMAGED:
            raise OutboxDamagedError("the outbox on disk is damaged") from None
        if isinstance(error, sqlite3.OperationalError):
            raise DiskRefusedError(f"the disk refuses the outbox: {error.sqlite_errorname}") from None
        raise


def connect(path: Path) -> sqlite3.Connection:
    """Open, check and, when it is new, lay out the file at ``path``.

    Raises:
        OutboxDamagedError: It is no database, or its pages do not hold together.
        OutboxNewerError: Its layout is newer than this agent.
        DiskRefusedError: The disk does not let us.
    """
    with translated():
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    try:
        with translated():
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            _check_pages(database)
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version in _SCRIPT_FROM:
                database.executescript(_SCRIPT_FROM[version])
    except (OutboxDamagedError, DiskRefusedError):
        database.close()
        raise
    if version > SCHEMA_VERSION:
        database.close()
        raise OutboxNewerError(f"{path.name} was made by a newer agent; install that one, or move the file away")
    return database


def _check_pages(database: sqlite3.Connection) -> None:
    if database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise OutboxDamagedError("the outbox on disk is damaged")


def lost_mark_of(path: Path) -> Path:
    """Return the mark that says that a damaged file was set aside, and that nobody was told of what is lost yet."""
    return path.with_suffix(".lost")


def set_aside(path: Path) -> None:
    """Keep a damaged file for a person to look at, in the place of the one kept before, and clear the way.

    Raises:
        DiskRefusedError: The disk does not let us; the file is where it was.
    """
    try:
        lost_mark_of(path).touch()
    except OSError as error:
        raise DiskRefusedError(f"the disk refuses the outbox: {error.strerror}") from None
    path.replace(path.with_suffix(".damaged"))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
