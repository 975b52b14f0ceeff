"""Rows go to PostgreSQL while the writer goes on, and none of them is there before its commit or missing after it."""

import time

import psycopg
import pytest

from veilleur_fleet.store.cameras import WINDOW_COLUMNS
from veilleur_fleet.store.work import RECORD_COLUMNS

pytestmark = pytest.mark.parametrize("engine", ["postgresql"], indirect=True)

DEADLINE_S = 20.0


def records(first: int, count: int) -> list[tuple[object, ...]]:
    return [(number, 1, 9, number, 2, 1_790_000_000_001, bytes(100)) for number in range(first, first + count)]


def windows(first: int, count: int) -> list[tuple[object, ...]]:
    return [(1, 900 * number, number, 900, 98, 50, 0, 63, *(None, 7) * 6) for number in range(first, first + count)]


def test_rows_of_two_tables_are_there_in_order_however_they_were_handed_over(database, ask) -> None:
    writer, at = database.writer, 1
    writer.begin()
    for count in (1, 700, 3, 5000, 1, 0, 20_000):
        writer.insert("records", RECORD_COLUMNS, records(at, count))
        writer.insert("crossing_windows", WINDOW_COLUMNS, windows(at, count))
        writer.advance()
        at += count
    with database.readers.connect() as reader:
        assert reader.exec_driver_sql("SELECT count(*) FROM records").scalar() == 0
    writer.commit()
    assert ask("SELECT position, seq, raw FROM records ORDER BY position") == [
        (number, number, bytes(100)) for number in range(1, at)
    ]
    assert ask("SELECT count(*), count(person_lr), sum(person_rl) FROM crossing_windows") == [(at - 1, 0, 7 * (at - 1))]


def test_handing_over_does_not_wait_for_the_server(database, ask) -> None:
    writer, held = database.writer, 20
    writer.execute("SET lock_timeout = '60s'")
    with database.desk.begin() as other:
        other.exec_driver_sql("LOCK TABLE records IN ACCESS EXCLUSIVE MODE")
        writer.begin()
        for turn in range(held):
            writer.insert("records", RECORD_COLUMNS, records(1 + 600 * turn, 600))
            writer.advance()
    writer.commit()
    assert ask("SELECT count(*) FROM records") == [(600 * held,)]


def test_a_statement_sees_the_rows_that_were_handed_over_before_it(database) -> None:
    writer = database.writer
    writer.begin()
    writer.insert("records", RECORD_COLUMNS, records(1, 5))
    assert writer.execute("SELECT count(*) FROM records").fetchone() == (5,)
    writer.commit()


@pytest.mark.parametrize("later", [0, 20_000], ids=["as the last", "with more behind it"])
def test_a_row_that_cannot_stand_is_told_before_the_commit_and_spoils_nothing_else(database, ask, later) -> None:
    writer = database.writer

    def write() -> None:
        writer.begin()
        writer.insert("records", RECORD_COLUMNS, [*records(1, 800), *records(1, 1)])
        writer.advance()
        writer.insert("crossing_windows", WINDOW_COLUMNS, windows(1, later))
        writer.commit()

    with pytest.raises(psycopg.errors.UniqueViolation):
        write()
    writer.rollback()
    assert not writer.in_transaction
    writer.begin()
    writer.insert("records", RECORD_COLUMNS, records(1, 2))
    writer.commit()
    assert ask("SELECT count(*) FROM records") == [(2,)]
    assert ask("SELECT count(*) FROM crossing_windows") == [(0,)]


def test_going_on_tells_too_when_a_row_cannot_stand(database) -> None:
    writer = database.writer
    writer.begin()
    writer.insert("records", RECORD_COLUMNS, records(1, 800) * 2)

    def go_on(at_most: float) -> None:
        while time.monotonic() < at_most:
            writer.advance()

    with pytest.raises(psycopg.errors.UniqueViolation):
        go_on(time.monotonic() + DEADLINE_S)
    writer.rollback()
    assert not writer.in_transaction


def test_rolling_back_forgets_what_was_sent_and_what_was_not(database, ask) -> None:
    writer = database.writer
    writer.begin()
    for first in (1, 1001):
        writer.insert("records", RECORD_COLUMNS, records(first, 1000))
        writer.advance()
    writer.rollback()
    writer.begin()
    writer.commit()
    assert ask("SELECT count(*) FROM records") == [(0,)]


@pytest.mark.parametrize("begun", [True, False], ids=["in the middle of a copy", "before one began"])
def test_a_session_that_is_cut_off_is_unavailable_and_the_next_one_begins_anew(database, ask, begun) -> None:
    writer = database.writer
    (pid,) = writer.execute("SELECT pg_backend_pid()").fetchone()
    writer.execute("SET lock_timeout = '60s'")
    writer.begin()
    with database.desk.begin() as other:
        other.exec_driver_sql("LOCK TABLE records IN ACCESS EXCLUSIVE MODE")
        writer.insert("records", RECORD_COLUMNS, records(1, 30_000))
        if begun:
            writer.advance()
        other.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 5000)")
    with pytest.raises(writer.unavailable):
        writer.commit()
    writer.rollback()
    writer.begin()
    writer.insert("records", RECORD_COLUMNS, records(1, 3))
    writer.commit()
    assert ask("SELECT count(*) FROM records") == [(3,)]


def test_many_rows_change_what_is_there_in_one_statement(database, ask) -> None:
    cursor = database.writer.cursor()
    for last in (5, 6):
        cursor.execute_rows(
            "INSERT INTO shards (shard, last, published) {rows} ON CONFLICT (shard) DO UPDATE SET last = excluded.last",
            [(shard, last, 0) for shard in range(120)],
        )
    cursor.execute_rows("UPDATE shards SET last = column2 FROM ({rows}) AS said WHERE shard = column1", [])
    cursor.execute_rows(
        "UPDATE shards SET last = column2 FROM ({rows}) AS said WHERE shard = column1", [(1, 1), (2, 2)]
    )
    assert ask("SELECT count(*), sum(last) FROM shards") == [(120, 118 * 6 + 3)]
