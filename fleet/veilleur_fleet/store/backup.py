"""Copy the whole database into one file while the fleet runs, and prove that the copy is whole.

    SQLite ──pages of one snapshot──▶┐
                                     FILE (a SQLite database) ──integrity, rows counted──▶ SHA-256
    PostgreSQL ──rows of one snapshot▶┘

Both engines give the same kind of file, so a backup of one can be restored into the other.
"""

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Final

import psycopg

from veilleur_fleet.errors import StoreRejectedError
from veilleur_fleet.store.connection import BUSY_MS, SqliteConnection
from veilleur_fleet.store.database import FILE_NAME, Where
from veilleur_fleet.store.migrations import knows_all, migrate
from veilleur_fleet.store.postgresql import PostgresAddress, connect

PAGES_AT_ONCE: Final = 1024
ROWS_AT_ONCE: Final = 5000
_CHUNK: Final = 1 << 20

Progress = Callable[[int, int], None]
"""Told how much of how much is copied."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A backup that was written and read again.

    Attributes:
        rows: How many rows each table has.
        size_bytes: Of the file.
        sha256: Of the file.
    """

    rows: dict[str, int]
    size_bytes: int
    sha256: str


def back_up(where: Where, file: Path, progress: Progress) -> Copied:
    """Write a backup of the database at ``where`` to ``file``, which is there only when it is whole.

    Raises:
        StoreRejectedError: There is no database of this release, the file is there already, or it cannot be written.
    """
    if file.exists():
        raise StoreRejectedError(f"{file} is there already, and a backup never replaces another: give a new name")
    beside = file.with_name(f".{file.name}.part")
    try:
        beside.unlink(missing_ok=True)
        os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # it holds digests of passwords
        with contextlib.closing(sqlite3.connect(beside, isolation_level=None)) as target:
            if isinstance(where, PostgresAddress):
                expected = _copy_postgresql(where, target, progress)
            else:
                expected = _copy_sqlite(where, target, progress)
            target.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
        check_whole(beside, expected)
        copied = Copied(expected, beside.stat().st_size, sha256_of(beside))
        beside.rename(file)
    except OSError as error:
        raise StoreRejectedError(f"cannot write {file}: {error.strerror}") from None
    except (sqlite3.Error, psycopg.Error) as error:
        sentence = str(error).partition("\n")[0]
        raise StoreRejectedError(f"the database at {where} could not be copied: {sentence}") from None
    finally:
        beside.unlink(missing_ok=True)
    return copied


def check_whole(file: Path, expected: dict[str, int] | None = None) -> dict[str, int]:
    """Read a backup from its first page to its last, and return how many rows each table has.

    Raises:
        StoreRejectedError: It is damaged, or has not the rows that are ``expected``.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as copy:
            found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if found != "ok":
                raise StoreRejectedError(f"{file} is damaged: {found}")
            rows = counts_of(copy)
    except sqlite3.Error as error:
        raise StoreRejectedError(f"{file} is no backup, or is damaged: {error}") from None
    if expected is not None and rows != expected:
        raise StoreRejectedError(f"{file} has not the rows that the database had: the disk may be faulty")
    return rows


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of ``file``, and have it on the disk for sure."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
        os.fsync(opened.fileno())
    return digest.hexdigest()


def tables_of(connection: sqlite3.Connection) -> list[str]:
    """Return the names of the tables, each after those that it refers to."""
    names = [
        row[0]
        for row in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        )
    ]
    needs = {
        name: {row[2] for row in connection.execute(f"PRAGMA foreign_key_list({name})")} - {name} for name in names
    }
    return list(TopologicalSorter(needs).static_order())


def columns_of(connection: sqlite3.Connection, table: str) -> list[str]:
    """Return the columns of ``table`` that are written; what is computed from them is not."""
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def counts_of(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how many rows each table has."""
    return {
        name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]  # noqa: S608 - names of our own tables
        for name in tables_of(connection)
    }


def _copy_sqlite(folder: Path, target: sqlite3.Connection, progress: Progress) -> dict[str, int]:
    path = folder / FILE_NAME
    if not path.is_file():
        raise StoreRejectedError(f"there is no fleet's database in {folder}: give its folder with --data")
    address = f"{path.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(address, uri=True, isolation_level=None, timeout=BUSY_MS / 1000)) as source:
        # One snapshot for all steps: without, each commit of the fleet would make the copy begin again.
        source.execute("BEGIN")
        _check_ours(row[0] for row in source.execute("SELECT version FROM schema_version"))
        rows = counts_of(source)
        source.backup(
            target, pages=PAGES_AT_ONCE, progress=lambda _, left, total: progress(total - left, total), sleep=0.0
        )
    return rows


def _copy_postgresql(address: PostgresAddress, target: sqlite3.Connection, progress: Progress) -> dict[str, int]:
    with connect(address) as source:
        source.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        _check_ours(row[0] for row in source.execute("SELECT version FROM schema_version"))
        made = _empty_copy(target)
        tables = tables_of(made)
        rows = {name: _one(source, f"SELECT count(*) FROM {name}") for name in tables}  # noqa: S608 - our own tables
        done, total = 0, sum(rows.values())
        made.execute("BEGIN")
        for name in tables:
            columns = columns_of(made, name)
            into = f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - our own tables
            for some in _read(source, name, columns):
                made.executemany(into, some)
                done += len(some)
                progress(done, total)
        made.execute("COMMIT")
        source.execute("COMMIT")
    return rows


def _empty_copy(target: sqlite3.Connection) -> sqlite3.Connection:
    """Make every table in ``target``, with nothing in it."""
    file = target.execute("PRAGMA database_list").fetchone()[2]
    with contextlib.closing(SqliteConnection.open(Path(file))) as made:
        migrate(made)
        made.execute("PRAGMA foreign_keys = OFF")
        for name in tables_of(made):
            made.execute(f"DELETE FROM {name}")  # noqa: S608 - our own tables
    target.execute("PRAGMA synchronous = OFF")  # it is read again, and synchronised, when it is whole
    return target


def _read(source: psycopg.Connection[Any], table: str, columns: list[str]) -> Iterator[list[tuple[Any, ...]]]:
    with source.cursor(name="backup", binary=True) as cursor:
        cursor.itersize = ROWS_AT_ONCE
        cursor.execute(f"SELECT {', '.join(columns)} FROM {table}".encode())  # noqa: S608 - our own tables
        while some := cursor.fetchmany(ROWS_AT_ONCE):
            yield some


def _one(source: psycopg.Connection[Any], query: str) -> int:
    return int((source.execute(query.encode()).fetchone() or (0,))[0])


def _check_ours(versions: Iterator[int]) -> None:
    if not knows_all(versions):
        raise StoreRejectedError("the database is of another release: back it up with that one's veilleur-fleet")
