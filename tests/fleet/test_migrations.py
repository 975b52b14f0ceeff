"""Databases that older fleets wrote: each is brought to today's version with everything in it, or left as it was."""

import contextlib
import sqlite3
from pathlib import Path

import psycopg
import pytest

from fleet_builders import EITHER_ENGINE, NOW_MS, Box, context, window
from veilleur_fleet.errors import StoreRejectedError
from veilleur_fleet.store import migrations
from veilleur_fleet.store.backup import back_up, tables_of
from veilleur_fleet.store.connection import SqliteConnection
from veilleur_fleet.store.database import FILE_NAME, open_database
from veilleur_fleet.store.ledger import Ledger
from veilleur_fleet.store.postgresql import PostgresConnection
from veilleur_fleet.store.restore import restore

OLD = Path(__file__).parent / "old"
KERB = context(lines=("kerb", "lane"))


def opened_sqlite(path):
    return contextlib.closing(sqlite3.connect(path))


def everything_in(connection) -> dict[str, tuple[list[str], list[tuple]]]:
    """Return the columns and rows of every table."""
    found = {}
    for name in tables_of(connection):
        rows = connection.execute(f"SELECT * FROM {name}")  # noqa: S608 - names of our own tables
        found[name] = ([column[0] for column in rows.description], sorted(rows.fetchall(), key=repr))
    return found


@pytest.fixture(params=sorted(OLD.glob("v*.sql")), ids=lambda path: path.stem)
def old(request, tmp_path):
    """A folder with a database of an older version, and what is in it."""
    folder = tmp_path / "old"
    folder.mkdir()
    with opened_sqlite(folder / FILE_NAME) as made:
        made.executescript(request.param.read_text(encoding="utf-8"))
        return folder, everything_in(made)


def test_an_old_database_keeps_everything_it_holds(old, clock) -> None:
    folder, before = old
    open_database(folder, clock).close()
    with opened_sqlite(folder / FILE_NAME) as upgraded:
        assert upgraded.execute("SELECT max(version) FROM schema_version").fetchone() == (migrations.newest(),)
        assert upgraded.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert upgraded.execute("PRAGMA foreign_key_check").fetchall() == []
        for name, (columns, rows) in before.items():
            if name != "schema_version":
                found = upgraded.execute(f"SELECT {', '.join(columns)} FROM {name}").fetchall()  # noqa: S608 - our own
                assert sorted(found, key=repr) == rows, name


def test_an_old_database_goes_on_where_it_stood(old, clock) -> None:
    folder, _ = old
    with open_database(folder, clock) as database:
        box = Box()
        stored = Ledger(database.writer).store(
            [box.says(*(window(KERB, at_s=NOW_MS // 1000 + n) for n in range(6)), first_seq=4)]
        )
        assert [(ack.stream, ack.upto, stored.duplicates) for ack in stored.acknowledgements] == [(box.stream(), 9, 2)]
        later = Ledger(database.writer).store([Box("mairie-02", "agglo").says(KERB, first_seq=2)])
        assert later.resolved == 1, "what waited for its Context"


def test_an_old_database_can_be_moved_to_postgresql(old, clock, tmp_path, postgresql) -> None:
    folder, before = old
    open_database(folder, clock).close()
    back_up(folder, tmp_path / "backup.db", lambda *_: None)
    there = postgresql("template0")
    restore(tmp_path / "backup.db", there, NOW_MS, lambda *_: None)
    with open_database(there, clock) as database:
        for name, (columns, rows) in before.items():
            if name not in {"schema_version", "fleet", "shards"}:
                found = database.writer.execute(f"SELECT {', '.join(columns)} FROM {name}").fetchall()  # noqa: S608 - our own
                assert sorted(found, key=repr) == rows, name


def test_a_backup_of_an_older_release_is_upgraded_when_it_is_restored(old, clock, tmp_path) -> None:
    folder, before = old
    restore(folder / FILE_NAME, tmp_path / "new", NOW_MS, lambda *_: None)
    with open_database(tmp_path / "new", clock) as database:
        assert database.writer.execute("SELECT count(*) FROM records").fetchone() == (len(before["records"][1]),)


@contextlib.contextmanager
def writing(where):
    connection = SqliteConnection.open(where / FILE_NAME) if isinstance(where, Path) else PostgresConnection(where, ())
    with contextlib.closing(connection):
        yield connection


@EITHER_ENGINE
def test_a_script_that_fails_leaves_either_database_as_it_was(where, clock, monkeypatch) -> None:
    open_database(where, clock).close()
    scripts = migrations.scripts_of("sqlite")
    following = max(scripts) + 1
    broken = "CREATE TABLE fine (a INTEGER);\nINSERT INTO fine VALUES (1);\nCREATE TABLE boxes (twice INTEGER);\n"
    with writing(where) as connection:
        versions = "SELECT version FROM schema_version ORDER BY version"
        before = connection.execute(versions).fetchall()
        with monkeypatch.context() as later:
            later.setattr(migrations, "scripts_of", lambda _: {**scripts, following: broken})
            with pytest.raises((sqlite3.OperationalError, psycopg.ProgrammingError), match="boxes"):
                migrations.migrate(connection)
        assert connection.execute(versions).fetchall() == before
        with pytest.raises((sqlite3.OperationalError, psycopg.ProgrammingError), match="fine"):
            connection.execute("SELECT * FROM fine")
    open_database(where, clock).close()


@EITHER_ENGINE
def test_a_newer_database_is_refused_on_either_engine(where, clock) -> None:
    with open_database(where, clock) as database:
        database.writer.execute("INSERT INTO schema_version VALUES (99)")
    with pytest.raises(StoreRejectedError, match=r"version 99.*install the newer"):
        open_database(where, clock)


def test_words_of_sqlite_are_said_in_those_of_postgresql() -> None:
    script = "CREATE TABLE a (n INTEGER PRIMARY KEY, t TEXT DEFAULT 'INTEGER', b BLOB, r REAL) WITHOUT ROWID; -- TEXT\n"
    assert migrations.translated(script) == (
        "CREATE TABLE a (n BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, t TEXT COLLATE \"C\" DEFAULT 'INTEGER',"
        " b BYTEA, r DOUBLE PRECISION) ; \n"
    )
