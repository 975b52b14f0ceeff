"""Make a database out of a backup, and see that nobody mistakes it for the one that was lost.

    FILE ──whole? of a release we know?──▶ a copy ──upgraded, renumbered──▶ fleet.db, or rows of PostgreSQL

What was stored after the backup is gone, but its cursors may be known to consumers and its numbers to boxes:

- every shard's cursors jump, so that none is ever given to two records: a consumer goes on from where it is;
- the fleet gets another name at the broker, so that nothing queued for the old one is taken for new;
- a box is acknowledged only up to what the backup holds, and says with a Gap what it has deleted since.
"""

import contextlib
import secrets
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from veilleur_contracts.ids import SHARDS
from veilleur_fleet.errors import StoreRejectedError
from veilleur_fleet.store.backup import Progress, check_whole, columns_of, sha256_of, tables_of
from veilleur_fleet.store.connection import SqliteConnection
from veilleur_fleet.store.database import FILE_NAME, Where, lock_folder
from veilleur_fleet.store.keeping import DAY_MS, month_of
from veilleur_fleet.store.migrations import check_known, migrate
from veilleur_fleet.store.partitions import Partitions
from veilleur_fleet.store.postgresql import PostgresAddress, PostgresConnection, connect

CURSORS_JUMPED: Final = 1 << 32
"""More than one shard gives out in a year of a thousand records a second; 65,000 restores fit."""
SEQUENCES_JUMPED: Final = 1 << 20
ROWS_AT_ONCE: Final = 5000
MONTHS_MAX: Final = 240


@dataclass(frozen=True, slots=True)
class Restored:
    """What a backup came to.

    Attributes:
        rows: Rows of each table.
        newest_ms: When the newest record in it was received; None: it has none.
        sha256: Of the backup.
    """

    rows: dict[str, int]
    newest_ms: int | None
    sha256: str


def restore(file: Path, where: Where, now_ms: int, progress: Progress) -> Restored:
    """Make the database at ``where`` out of the backup ``file``.

    Raises:
        StoreRejectedError: The backup is damaged or newer than this program, or there is a database already.
    """
    if not file.is_file():
        raise StoreRejectedError(f"there is no backup {file}")
    check_whole(file)
    sha256 = sha256_of(file)
    try:
        if isinstance(where, PostgresAddress):
            scratch = file.with_name(f".{file.name}.restoring")
            try:
                rows, newest_ms = _prepare(file, scratch, now_ms)
                _load(scratch, where, progress)
            finally:
                _remove(scratch)
        else:
            rows, newest_ms = _put_in(where, file, now_ms)
            progress(1, 1)
    except OSError as error:
        raise StoreRejectedError(f"the backup could not be restored: {error.strerror}") from None
    except (sqlite3.Error, psycopg.Error) as error:
        sentence = str(error).partition("\n")[0]
        raise StoreRejectedError(f"the backup could not be restored at {where}: {sentence}") from None
    return Restored(rows, newest_ms, sha256)


def _put_in(folder: Path, file: Path, now_ms: int) -> tuple[dict[str, int], int | None]:
    with contextlib.closing(lock_folder(folder)):
        path = folder / FILE_NAME
        if path.exists():
            raise StoreRejectedError(
                f"there is a database in {folder} already, and restore never replaces one: move it away, or give"
                " another folder"
            )
        scratch = folder / ".restoring.db"
        try:
            done = _prepare(file, scratch, now_ms)
            sha256_of(scratch)  # on the disk for sure
            scratch.rename(path)
        finally:
            _remove(scratch)
        return done


def _remove(scratch: Path) -> None:
    for name in (scratch.name, f"{scratch.name}-wal", f"{scratch.name}-shm"):
        scratch.with_name(name).unlink(missing_ok=True)


def _prepare(file: Path, scratch: Path, now_ms: int) -> tuple[dict[str, int], int | None]:
    """Copy the backup, bring it to this release's version, and renumber it."""
    _remove(scratch)
    shutil.copyfile(file, scratch)
    scratch.chmod(0o600)
    with contextlib.closing(SqliteConnection.open(scratch)) as copy:
        try:
            found = copy.execute("SELECT max(version) FROM schema_version").fetchone()
        except sqlite3.OperationalError:
            found = None
        if not found or not found[0]:
            raise StoreRejectedError(f"{file} is a database, but not a fleet's")
        check_known(found[0])
        migrate(copy)
        renumber(copy, now_ms)
        rows = {
            name: copy.execute(f"SELECT count(*) FROM {name}").fetchone()[0]  # noqa: S608 - our own tables
            for name in tables_of(copy)
        }
        newest_ms = copy.execute("SELECT max(received_ms) FROM records").fetchone()[0]
        copy.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        copy.execute("PRAGMA journal_mode = DELETE")
    return rows, newest_ms


def renumber(copy: SqliteConnection, now_ms: int) -> None:
    """Change what must never be mistaken for what was lost; see the top of this module."""
    copy.begin()
    copy.execute(
        "UPDATE fleet SET fleet_id = ?, restored = restored + 1, restored_ms = ?", (secrets.token_hex(6), now_ms)
    )
    copy.executemany(
        "INSERT INTO shards (shard, last, published) VALUES (?, 0, 0) ON CONFLICT DO NOTHING",
        [(shard,) for shard in range(SHARDS)],
    )
    # What was not told yet is told, and then the mark jumps; see ``tell``.
    copy.execute(
        "UPDATE shards SET published = CASE WHEN published = last THEN last + ? ELSE published END", (CURSORS_JUMPED,)
    )
    copy.execute("UPDATE shards SET last = last + ?", (CURSORS_JUMPED,))
    # Boxes keep to the highest number that they have heard.
    copy.execute("UPDATE twins SET sequence = sequence + ?", (SEQUENCES_JUMPED,))
    # A one-time token may have been used since, and whoever was logged in may have been sent away.
    copy.execute("UPDATE enrolments SET withdrawn_ms = ? WHERE used_ms IS NULL AND withdrawn_ms IS NULL", (now_ms,))
    copy.execute("DELETE FROM sessions")
    copy.commit()


def _load(scratch: Path, address: PostgresAddress, progress: Progress) -> None:
    with contextlib.closing(PostgresConnection(address, range(SHARDS))) as writer:
        if writer.execute("SELECT to_regclass('fleet')").fetchone() != (None,):
            raise StoreRejectedError(
                f"there is a fleet's database at {address} already, and restore never replaces one: give an empty one"
            )
        migrate(writer)
        try:
            _fill(scratch, address, progress)
        except BaseException:  # interrupted too: half a restore must not look like a fleet; raised again
            _empty(scratch, writer)
            raise


def _empty(scratch: Path, writer: PostgresConnection) -> None:
    """Take away what was made, so that it can be tried again."""
    with contextlib.closing(sqlite3.connect(f"{scratch.absolute().as_uri()}?mode=ro", uri=True)) as copy:
        for name in tables_of(copy):
            writer.execute(f"DROP TABLE IF EXISTS {name} CASCADE")


def _fill(scratch: Path, address: PostgresAddress, progress: Progress) -> None:
    address_of = f"{scratch.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(address_of, uri=True)) as copy, connect(address) as session:
        _make_months(copy, session)
        tables = [name for name in tables_of(copy) if name != "schema_version"]
        total = sum(copy.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables)  # noqa: S608 - names of our tables
        done = 0
        with session.transaction():
            for name in tables:
                columns = ", ".join(columns_of(copy, name))
                rows = copy.execute(f"SELECT {columns} FROM {name}")  # noqa: S608 - our own tables
                with session.cursor() as cursor, cursor.copy(f"COPY {name} ({columns}) FROM STDIN".encode()) as into:
                    while some := rows.fetchmany(ROWS_AT_ONCE):
                        for row in some:
                            into.write_row(row)
                        done += len(some)
                        progress(done, total)
            _set_counters(session)


def _make_months(copy: sqlite3.Connection, session: psycopg.Connection[Any]) -> None:
    """Make the months of which the backup has records or windows, the newest ``MONTHS_MAX`` at most."""
    days = copy.execute(
        "SELECT received_ms / 86400000 FROM records UNION SELECT at_s / 86400 FROM crossing_windows"
    ).fetchall()
    months = sorted({month_of(day * DAY_MS) for (day,) in days})
    Partitions(session).make(months[-MONTHS_MAX:])


def _set_counters(session: psycopg.Connection[Any]) -> None:
    """Have keys that number themselves go on behind the highest that was restored."""
    found = session.execute(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND is_identity = 'YES'"
    ).fetchall()
    for table, column in found:
        session.execute(
            f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column}))"  # noqa: S608 - our own tables
            f" FROM {table} HAVING max({column}) > 0".encode()
        )
