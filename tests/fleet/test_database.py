"""The database: one version, one writer, made whole or not at all."""

import contextlib
import sqlite3
import subprocess
import sys

import pytest
import sqlalchemy as sa

from veilleur_fleet.errors import SettingsRejectedError, StoreRejectedError
from veilleur_fleet.store import migrations, tables
from veilleur_fleet.store.connection import SqliteConnection
from veilleur_fleet.store.database import FILE_NAME, open_database, open_desk
from veilleur_fleet.store.postgresql import PostgresAddress


def test_the_tables_that_are_read_are_the_tables_that_are_made(database) -> None:
    for table in tables.ALL:
        made = [row[1] for row in database.writer.execute(f"PRAGMA table_xinfo({table.name})")]
        assert [column.name for column in table.columns] == [name for name in made if name in table.columns], table.name
        assert set(made) >= {column.name for column in table.columns}, table.name


def test_an_open_database_survives_a_power_cut_after_each_commit(database) -> None:
    assert database.writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.writer.execute("PRAGMA synchronous").fetchone() == (2,)


def test_readers_cannot_write(database) -> None:
    with database.readers.connect() as connection, pytest.raises(Exception, match="readonly"):
        connection.exec_driver_sql("DELETE FROM fleet")


def test_a_fleet_keeps_its_identity(tmp_path, clock) -> None:
    with open_database(tmp_path, clock) as first:
        identity = first.fleet_id
    with open_database(tmp_path, clock) as again:
        assert again.fleet_id == identity


def test_a_second_fleet_on_one_folder_is_refused_and_the_first_goes_on(tmp_path, clock) -> None:
    with open_database(tmp_path, clock) as first:
        with pytest.raises(StoreRejectedError, match="another veilleur-fleet"):
            open_database(tmp_path, clock)
        assert first.writer.execute("SELECT count(*) FROM boxes").fetchone() == (0,)


def test_the_folder_of_a_killed_fleet_can_be_used_again(tmp_path, clock) -> None:
    program = (
        "import sys; from pathlib import Path; from veilleur_contracts.clock import SystemClock;"
        "from veilleur_fleet.store.database import open_database;"
        "held = open_database(Path(sys.argv[1]), SystemClock()); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as held:
        assert held.stdout.readline() == b"open\n"
        with pytest.raises(StoreRejectedError):
            open_database(tmp_path, clock)
        held.kill()
    open_database(tmp_path, clock).close()


def test_a_newer_database_is_refused_with_a_remedy(tmp_path, clock) -> None:
    with open_database(tmp_path, clock) as database:
        database.writer.execute("INSERT INTO schema_version VALUES (99)")
    with pytest.raises(StoreRejectedError, match=r"version 99.*install the newer"):
        open_database(tmp_path, clock)
    open_again = sqlite3.connect(tmp_path / FILE_NAME)
    assert open_again.execute("SELECT max(version) FROM schema_version").fetchone() == (99,)
    open_again.close()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(
            lambda folder: (folder / FILE_NAME).write_bytes(b"not a database, but long enough" * 40), id="file"
        ),
        pytest.param(lambda folder: (folder / FILE_NAME).mkdir(), id="folder"),
    ],
)
def test_a_damaged_database_is_refused_with_a_remedy_and_the_folder_is_let_go(tmp_path, clock, spoil) -> None:
    spoil(tmp_path)
    for _ in range(2):
        with pytest.raises(StoreRejectedError, match="restore a backup"):
            open_database(tmp_path, clock)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, clock) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreRejectedError, match="--data"):
        open_database(tmp_path / "file" / "below", clock)


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path, monkeypatch) -> None:
    connection = SqliteConnection.open(tmp_path / "db")
    migrations.migrate(connection)
    before = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    scripts = migrations.scripts_of("sqlite")
    following = max(scripts) + 1
    broken = "CREATE TABLE fine (a INTEGER);\nINSERT INTO fine VALUES (1);\nCREATE TABLE boxes (twice INTEGER);\n"
    monkeypatch.setattr(migrations, "scripts_of", lambda _: {**scripts, following: broken})
    with pytest.raises(sqlite3.OperationalError, match="boxes"):
        migrations.migrate(connection)
    assert connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall() == before
    monkeypatch.setattr(migrations, "scripts_of", lambda _: {**scripts, following: "CREATE TABLE later (a INTEGER);"})
    assert migrations.migrate(connection) == following
    assert migrations.migrate(connection) == following
    connection.close()


def test_a_script_that_ends_inside_a_statement_is_no_script() -> None:
    assert list(migrations.statements_of("-- c;\nCREATE TABLE a (b);\n-- end\n")) == ["-- c;\nCREATE TABLE a (b);\n"]
    with pytest.raises(ValueError, match="inside a statement"):
        list(migrations.statements_of("CREATE TABLE a (b"))


def test_a_database_of_version_one_keeps_what_it_holds(tmp_path, clock) -> None:
    old = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    old.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
    for statement in migrations.statements_of(migrations.scripts_of("sqlite")[1]):
        old.execute(statement)
    old.execute("INSERT INTO schema_version VALUES (1)")
    old.execute("INSERT INTO boxes (box_no, box, controller, first_heard_ms, heard_ms) VALUES (1, 'b', 'ville', 5, 5)")
    old.execute("INSERT INTO cameras (camera_no, controller, camera, box_no) VALUES (7, 'ville', 'parvis', 1)")
    old.close()
    with open_database(tmp_path, clock) as database:
        assert database.writer.execute("SELECT max(version) FROM schema_version").fetchone() == (
            max(migrations.scripts_of("sqlite")),
        )
        kept = database.writer.execute("SELECT camera_no, camera, context, view_faults FROM cameras").fetchall()
        assert kept == [(7, "parvis", None, None)]


def test_a_script_that_came_later_than_its_number_is_made_up_for(tmp_path, clock, monkeypatch) -> None:
    scripts = migrations.scripts_of("sqlite")
    late = max(scripts) + 1
    monkeypatch.setattr(migrations, "scripts_of", lambda _: {**scripts, late + 1: "CREATE TABLE early (a INTEGER);"})
    open_database(tmp_path, clock).close()
    monkeypatch.setattr(
        migrations,
        "scripts_of",
        lambda _: {**scripts, late: "CREATE TABLE later (a INTEGER);", late + 1: "CREATE TABLE early (a INTEGER);"},
    )
    with pytest.raises(StoreRejectedError, match="of another release"):
        open_desk(tmp_path)
    with open_database(tmp_path, clock) as database:
        assert database.writer.execute("SELECT count(*) FROM later").fetchone() == (0,)
        open_desk(tmp_path).dispose()


def test_what_people_decide_is_written_beside_the_writer(database) -> None:
    with database.desk.begin() as connection:
        connection.exec_driver_sql("INSERT INTO twins VALUES ('box-1', 'ville', 1, '[]')")
    assert database.writer.execute("SELECT box FROM twins").fetchall() == [("box-1",)]
    with contextlib.suppress(sa.exc.OperationalError), database.desk.begin() as connection:
        connection.exec_driver_sql("DELETE FROM twins")
        connection.exec_driver_sql("DELETE FROM nothing")
    assert database.writer.execute("SELECT box FROM twins").fetchall() == [("box-1",)]


def test_a_folder_without_a_database_is_no_place_to_write(tmp_path) -> None:
    with pytest.raises(StoreRejectedError, match="give its folder with --data"):
        open_desk(tmp_path)


def test_both_engines_have_the_same_tables_and_columns(tmp_path, clock, postgresql) -> None:
    with open_database(tmp_path, clock) as database, database.readers.connect() as connection:
        names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')").scalars()
        sqlite = {
            name: [row[1] for row in connection.exec_driver_sql(f"PRAGMA table_xinfo({name})")] for name in list(names)
        }
    with open_database(postgresql(), clock) as database, database.readers.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid"
            " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition"
            " AND attnum > 0 AND NOT attisdropped ORDER BY relname, attnum"
        ).all()
    found: dict[str, list[str]] = {}
    for table, column in rows:
        found.setdefault(table, []).append(column)
    assert found == sqlite


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_readers_of_postgresql_cannot_write_either(database) -> None:
    with database.readers.connect() as connection, pytest.raises(sa.exc.InternalError, match="read-only"):
        connection.exec_driver_sql("DELETE FROM fleet")


def test_an_address_of_a_database_is_refused_without_being_repeated() -> None:
    for text in (
        "mysql://u:hunter2@h/d",
        "postgresql://u:hunter2@h",
        "postgresql://u:hunter2@[h/d",
        "postgresql://%zz@h/d",
    ):
        with pytest.raises(SettingsRejectedError, match="write it like") as told:
            PostgresAddress.parse(text)
        assert "hunter2" not in str(told.value)
    address = PostgresAddress.parse("postgresql://u:hunter2@db.example/fleet")
    assert "hunter2" not in f"{address} {address!r}"


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path, clock) -> None:
    for text in (f"postgresql://u:hunter2@/fleet?host={tmp_path}", "postgresql://u:hunter2@127.0.0.1:port/fleet"):
        with pytest.raises(StoreRejectedError, match="cannot open postgresql") as told:
            open_database(PostgresAddress.parse(text), clock)
        assert "hunter2" not in str(told.value)


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_people_who_decide_at_the_same_time_take_turns_on_postgresql_too(database) -> None:
    with database.desk.connect() as waiting:
        waiting.exec_driver_sql("SET lock_timeout = '100ms'")
        waiting.rollback()
        with database.desk.begin() as first:
            first.exec_driver_sql("INSERT INTO twins VALUES ('box-1', 'ville', 1, '[]')")
            with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
                waiting.begin()
    assert database.writer.execute("SHOW lock_timeout").fetchone() == ("5s",)
