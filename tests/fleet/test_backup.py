"""A backup is one moment of a running fleet, is read again, and comes back on either engine without false cursors."""

import contextlib
import hashlib
import os
import sqlite3
import threading

import pytest
from typer.testing import CliRunner

from fleet_builders import EITHER_ENGINE, NOW_MS, Box, birth, context, health, window
from veilleur_contracts import messages as m
from veilleur_contracts.ids import shard_of
from veilleur_fleet.cli import cli
from veilleur_fleet.errors import StoreRejectedError
from veilleur_fleet.store.backup import back_up, check_whole
from veilleur_fleet.store.database import open_database
from veilleur_fleet.store.ledger import Ledger
from veilleur_fleet.store.outgoing import Outgoings
from veilleur_fleet.store.past import Past, Wanted
from veilleur_fleet.store.postgresql import PostgresAddress
from veilleur_fleet.store.restore import CURSORS_JUMPED, restore

KERB = context()
NOW_S = NOW_MS // 1000
UNKNOWN_TAG = b"\x93\x63\x01\x02"


def quiet(_done: int, _total: int) -> None:
    pass


def text_of(where) -> str:
    return where.url.get_secret_value() if isinstance(where, PostgresAddress) else str(where)


@pytest.fixture
def box():
    return Box()


@pytest.fixture
def filled(where, clock, box):
    """A closed database with a bit of everything."""
    with open_database(where, clock) as database:
        ledger = Ledger(database.writer)
        ledger.store(
            [
                box.says(birth(), health()),
                box.says(KERB, UNKNOWN_TAG, *(window(KERB, at_s=NOW_S + 5 * n) for n in range(20))),
            ]
        )
        ledger.store([Box("seule").says(window(KERB))])
        with database.desk.begin() as desk:
            desk.exec_driver_sql("INSERT INTO twins VALUES ('gare-01', 'ville', 7, '[]')")
    return where


def everything_of(where, clock) -> dict[str, list]:
    asked = {
        "records": "SELECT position, box_no, stream, seq, tag, received_ms, raw, class FROM records ORDER BY position",
        "windows": "SELECT * FROM crossing_windows ORDER BY line_no, at_s, position",
        "cells": "SELECT * FROM crossing_cells ORDER BY camera, line, at_s, label, direction",
        "streams": "SELECT * FROM streams ORDER BY box_no, stream",
        "quarantine": "SELECT * FROM quarantine ORDER BY quarantine_no",
        "waiting": "SELECT * FROM waiting ORDER BY box_no, context, stream, seq",
        "boxes": "SELECT * FROM boxes ORDER BY box_no",
    }
    with open_database(where, clock) as database:
        return {
            name: [tuple(row) for row in database.writer.execute(query).fetchall()] for name, query in asked.items()
        }


@EITHER_ENGINE
@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_what_was_backed_up_comes_back_whole_on_either_engine(filled, clock, tmp_path, target, request) -> None:
    box = Box(said={m.MessageClass.STATISTICS: 22})
    done = back_up(filled, tmp_path / "backup.db", quiet)
    there = tmp_path / "new" if target == "sqlite" else request.getfixturevalue("postgresql")("template0")
    came = restore(tmp_path / "backup.db", there, NOW_MS, quiet)
    assert (came.sha256, came.rows["records"], came.newest_ms) == (done.sha256, 23, NOW_MS)
    assert everything_of(there, clock) == everything_of(filled, clock)
    with open_database(there, clock) as database:  # keys that number themselves go on
        stored = Ledger(database.writer).store([Box("neuve").says(KERB), box.says(window(KERB, at_s=999))])
        assert {ack.upto for ack in stored.acknowledgements} == {1, 23}
        assert database.writer.execute("SELECT max(box_no), count(*) FROM boxes").fetchone() == (3, 3)


@EITHER_ENGINE
def test_no_cursor_means_two_things_after_a_restore_and_consumers_read_on(filled, clock, tmp_path, box) -> None:
    shard = shard_of(box.name)
    with open_database(filled, clock) as database:
        Ledger(database.writer).mark_published({shard: 20})
        back_up(filled, tmp_path / "backup.db", quiet)
        Ledger(database.writer).store([box.says(window(KERB, at_s=500))])  # lost with the disk that burns now
        lost = Past(database.readers).after(Wanted(shard, 23), 10).told[0].cursor
        fleet_id = database.fleet_id
    there = tmp_path / "new"
    restore(tmp_path / "backup.db", there, NOW_MS, quiet)
    with open_database(there, clock) as database:
        assert database.fleet_id != fleet_id
        assert database.writer.execute("SELECT restored, restored_ms FROM fleet").fetchone() == (1, NOW_MS)
        assert database.writer.execute("SELECT sequence FROM twins").fetchone()[0] > 7
        ((behind, published, last),) = Outgoings(database.readers).behind()
        assert (behind, published, last) == (shard, 20, 23 + CURSORS_JUMPED), "what was not told yet will be"
        assert len(Outgoings(database.readers).after(shard, 20)) == 3
        Ledger(database.writer).store([box.says(window(KERB, at_s=600), first_seq=24)])
        past = Past(database.readers)
        for after in (lost, 23, 0):
            stretch = past.after(Wanted(shard, after), 1000)
            assert stretch.told[-1].cursor == stretch.last == 24 + CURSORS_JUMPED
            assert len(stretch.told) == 1 + max(0, 23 - after)


@EITHER_ENGINE
def test_a_backup_beside_a_fleet_that_stores_is_one_moment_of_it(where, clock, tmp_path, box) -> None:
    ended = threading.Event()
    with open_database(where, clock) as database:
        ledger = Ledger(database.writer)
        ledger.store([box.says(KERB)])
        many = 0

        def work() -> None:
            nonlocal many
            while not ended.is_set():
                ledger.store([box.says(*(window(KERB, at_s=NOW_S + 20 * many + n) for n in range(20)))])
                many += 1

        working = threading.Thread(target=work)
        working.start()
        moments = []
        try:
            for turn in range(3):
                before = many
                back_up(where, tmp_path / f"{turn}.db", quiet)
                with contextlib.closing(sqlite3.connect(tmp_path / f"{turn}.db")) as copy:
                    (records,) = copy.execute("SELECT count(*) FROM records").fetchone()
                    assert copy.execute("SELECT count(*) FROM crossing_windows").fetchone() == (records - 1,)
                    assert copy.execute("SELECT sum(last) FROM shards").fetchone() == (records,)
                    assert copy.execute("SELECT upto FROM streams").fetchone() == (records,)
                    assert records - 1 >= 20 * before
                    moments.append(records)
        finally:
            ended.set()
            working.join()
    assert moments == sorted(moments)


@EITHER_ENGINE
def test_the_commands_say_what_they_did_and_what_is_lost(filled, tmp_path) -> None:
    file, there = tmp_path / "backup.db", tmp_path / "new"
    done = CliRunner().invoke(cli, ["backup", str(file), "--data", text_of(filled)])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file}\n", "as sha256sum --check reads it"
    assert "23 records" in done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    sha256 = done.stdout.split()[0]
    done = CliRunner().invoke(cli, ["restore", str(file), "--data", str(there), "--sha256", sha256])
    assert done.exit_code == 0, done.output
    for words in (
        "the newest received 2026-09-21T14:13:20Z",
        "Lost: whatever",
        "no cursor means two",
        "revoke again",
    ):
        assert words in done.stdout
    done = CliRunner().invoke(cli, ["actions", "list", "--data", str(there)])
    assert "backup.restored" in done.output


@EITHER_ENGINE
def test_nothing_is_ever_overwritten(filled, clock, tmp_path) -> None:
    file = tmp_path / "backup.db"
    back_up(filled, file, quiet)
    with pytest.raises(StoreRejectedError, match="never replaces another"):
        back_up(filled, file, quiet)
    before = everything_of(filled, clock)
    with pytest.raises(StoreRejectedError, match="already, and restore never replaces one"):
        restore(file, filled, NOW_MS, quiet)
    assert everything_of(filled, clock) == before
    with open_database(filled, clock), pytest.raises(StoreRejectedError, match=r"another veilleur-fleet|already"):
        restore(file, filled, NOW_MS, quiet)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        pytest.param(lambda file: file.unlink(), "there is no backup", id="gone"),
        pytest.param(lambda file: file.write_bytes(b"rubbish" * 1000), "no backup, or is damaged", id="rubbish"),
        pytest.param(lambda file: os.truncate(file, file.stat().st_size // 2), "damaged|malformed", id="half"),
        pytest.param(lambda file: ask(file, "INSERT INTO schema_version VALUES (99)"), "install the newer", id="newer"),
        pytest.param(lambda file: ask(file, "DROP TABLE schema_version"), "not a fleet's", id="somebody-else's"),
    ],
)
def test_a_backup_that_is_not_whole_or_newer_is_refused_and_leaves_nothing(filled, tmp_path, spoil, sentence) -> None:
    file, there = tmp_path / "backup.db", tmp_path / "new"
    back_up(filled, file, quiet)
    spoil(file)
    with pytest.raises(StoreRejectedError, match=sentence):
        restore(file, there, NOW_MS, quiet)
    assert [path.name for path in there.glob("*")] in ([], ["fleet.lock"])


def ask(file, sql) -> None:
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as opened:
        opened.execute(sql)


def test_a_backup_that_is_another_one_is_refused(filled, tmp_path) -> None:
    file = tmp_path / "backup.db"
    back_up(filled, file, quiet)
    done = CliRunner().invoke(cli, ["restore", str(file), "--data", str(tmp_path / "new"), "--sha256", "0" * 64])
    assert done.exit_code == 1
    assert "is not that backup" in done.stderr


def test_a_backup_that_cannot_be_written_leaves_nothing_behind(filled, tmp_path) -> None:
    with pytest.raises(StoreRejectedError, match="cannot write"):
        back_up(filled, tmp_path / "nowhere" / "backup.db", quiet)
    with pytest.raises(StoreRejectedError, match="no fleet's database"):
        back_up(tmp_path / "empty", tmp_path / "backup.db", quiet)
    assert not list(tmp_path.glob(".*")) + list(tmp_path.glob("backup*"))


@EITHER_ENGINE
def test_a_restore_that_fails_half_way_leaves_the_place_empty(filled, clock, tmp_path, postgresql) -> None:
    back_up(filled, tmp_path / "backup.db", quiet)
    there = postgresql("template0")

    def fail(_done: int, _total: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreRejectedError, match="No space left"):
        restore(tmp_path / "backup.db", there, NOW_MS, fail)
    restore(tmp_path / "backup.db", there, NOW_MS, quiet)
    assert everything_of(there, clock) == everything_of(filled, clock)
    assert check_whole(tmp_path / "backup.db")["records"] == 23
