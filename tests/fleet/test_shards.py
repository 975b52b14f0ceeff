"""Several workers on one PostgreSQL: each shard has one at a time, and whoever reads never misses a cursor."""

import asyncio
import contextlib
import signal
import subprocess
import threading

import pytest

from fleet_builders import Box, context, window
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.ids import SHARDS, shard_of
from veilleur_fleet.errors import SettingsRejectedError, ShardTakenError, StoreRejectedError, StoreUnavailableError
from veilleur_fleet.settings import shards_of
from veilleur_fleet.store.database import EVERY_SHARD, open_database
from veilleur_fleet.store.ledger import Ledger
from veilleur_fleet.store.past import Past, Wanted

KERB = context()
LOWER, UPPER = EVERY_SHARD[:8], EVERY_SHARD[8:]
ON_POSTGRESQL = pytest.mark.parametrize("engine", ["postgresql"], indirect=True)


def boxes_of(shards, many: int) -> list[Box]:
    names = (f"pont-{number}" for number in range(10_000))
    return [
        Box(name) for name, _ in zip((name for name in names if shard_of(name) in shards), range(many), strict=False)
    ]


@pytest.mark.parametrize(
    ("text", "shards"),
    [("0-15", EVERY_SHARD), ("0-7", LOWER), ("3", (3,)), ("8-9, 0,2", (0, 2, 8, 9)), ("1,1-2", (1, 2))],
)
def test_shards_are_read_as_people_write_them(text, shards) -> None:
    assert shards_of(text) == shards


@pytest.mark.parametrize("text", ["", "16", "7-0", "a", "0-", "0-16", "1;2", "-1", "0--3"])
def test_shards_that_there_are_not_are_refused(text) -> None:
    with pytest.raises(SettingsRejectedError, match="write it like 0-7"):
        shards_of(text)


def test_sqlite_has_one_worker(tmp_path, clock) -> None:
    with pytest.raises(StoreRejectedError, match="leave --shards out"):
        open_database(tmp_path, clock, LOWER)


@ON_POSTGRESQL
def test_a_shard_has_one_worker_at_a_time(where, clock) -> None:
    with open_database(where, clock, LOWER), open_database(where, clock, UPPER):
        for shards in (EVERY_SHARD, (7,), (8, 9)):
            with pytest.raises(ShardTakenError, match="give other --shards, or wait for it with --standby"):
                open_database(where, clock, shards)
    open_database(where, clock).close()


@ON_POSTGRESQL
def test_a_worker_whose_session_was_cut_goes_on_with_its_shards(where, clock) -> None:
    box = Box()
    with open_database(where, clock) as database:
        ledger = Ledger(database.writer)
        ledger.store([box.says(KERB)])
        cut_off(database)
        said = box.says(window(KERB))
        with pytest.raises(StoreUnavailableError):
            ledger.store([said])
        assert ledger.store([said]).acknowledgements[0].upto == 2
        with pytest.raises(ShardTakenError):
            open_database(where, clock, (shard_of(box.name),))


@ON_POSTGRESQL
def test_a_worker_that_lost_its_shards_meanwhile_writes_nothing_more(where, clock) -> None:
    box = Box()
    with open_database(where, clock) as first:
        ledger = Ledger(first.writer)
        ledger.store([box.says(KERB)])
        cut_off(first)
        with pytest.raises(StoreUnavailableError):
            ledger.store([])
        with open_database(where, clock) as second:
            said = box.says(window(KERB))
            Ledger(second.writer).store([said])
            with pytest.raises(ShardTakenError, match="another veilleur-fleet"):
                ledger.store([said])
            assert second.writer.execute("SELECT count(*) FROM records").fetchone() == (2,)


def cut_off(database) -> None:
    """End the session that writes, as a server that restarts would."""
    (pid,) = database.writer.execute("SELECT pg_backend_pid()").fetchone()
    with database.desk.begin() as other:
        other.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 5000)")


@ON_POSTGRESQL
def test_readers_see_every_cursor_of_every_shard_in_order_while_workers_commit_together(where, clock) -> None:
    """Cursors are given out under the shard's lock, so the order of commits is the order of cursors."""
    ended, trouble = threading.Event(), []

    def work(shards) -> None:
        with contextlib.suppress(BaseException):
            with open_database(where, clock, shards) as database:
                ledger, boxes = Ledger(database.writer), boxes_of(shards, 12)
                ledger.store([box.says(KERB) for box in boxes])
                for turn in range(40):
                    ledger.store([box.says(window(KERB, at_s=5 * turn)) for box in boxes])
            return
        trouble.append("a worker failed")

    with open_database(where, clock, ()) as onlooker:
        past, last, looks = Past(onlooker.readers), dict.fromkeys(range(SHARDS), 0), 0
        workers = [threading.Thread(target=work, args=(shards,)) for shards in (LOWER[:4], LOWER[4:], UPPER)]
        for worker in workers:
            worker.start()
        threading.Thread(target=lambda: ([worker.join() for worker in workers], ended.set())).start()
        while True:
            was_ended = ended.is_set()
            for shard in range(SHARDS):
                stretch = past.after(Wanted(shard, last[shard]), 1000)
                cursors = [one.cursor for one in stretch.told]
                assert cursors == list(range(last[shard] + 1, last[shard] + 1 + len(cursors)))
                assert stretch.upto == stretch.last == last[shard] + len(cursors)
                last[shard] = stretch.upto
                looks += 1
            if was_ended:
                break
    assert not trouble
    assert sum(last.values()) == 3 * 12 * 41
    assert looks > SHARDS


def test_a_fleet_that_was_closed_has_let_its_shards_go_for_the_next_one(postgresql, clock) -> None:
    address = postgresql()
    for _ in range(30):
        open_database(address, clock).close()


@pytest.mark.processes
async def test_two_workers_share_a_city_and_a_standby_takes_over_from_a_killed_one(
    worlds, start_fleet, broker, postgresql
) -> None:
    address = postgresql()
    place = ("--database", address.url.get_secret_value())
    lower = await asyncio.to_thread(start_fleet, broker.port, *place, "--shards", "0-7")
    upper = await asyncio.to_thread(start_fleet, broker.port, *place, "--shards", "8-15")
    refused = await asyncio.to_thread(
        subprocess.run,
        [*worlds.fleet_command("run", *place, "--shards", "7", "--listen", "127.0.0.1:0")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "another veilleur-fleet works on shard 7" in refused.stderr
    standby = start_fleet(broker.port, *place, "--shards", "0-7", "--standby", waits=True)
    await worlds.until(lambda: "shards.awaited" in standby.log.read_text(), "the waiting")
    boxes = [*boxes_of(LOWER, 3), *boxes_of(UPPER, 3)]
    async with worlds.listening(broker.port, *boxes) as ear:

        async def say(number: int) -> None:
            for box in boxes:
                await ear.say(box.says(*([] if box.said else [KERB]), window(KERB, at_s=5 * number)))

        def all_heard(upto: int) -> bool:
            return {(name, mark) for name, _, mark in ear.acks} >= {(box.name, upto) for box in boxes}

        await say(1)
        await worlds.until(lambda: all_heard(2), "the acknowledgements")
        await asyncio.to_thread(lower.end, signal.SIGKILL)
        await asyncio.to_thread(start_fleet.ready, standby)
        await say(2)
        await worlds.until(lambda: all_heard(3), "the acknowledgements after the takeover")
        wanted = 3 * len(boxes)
        await worlds.until(lambda: len({(told.box, told.seq) for _, told, _ in ear.told}) == wanted, "the telling")
    assert [await asyncio.to_thread(fleet.end) for fleet in (standby, upper)] == [0, 0]
    with open_database(address, SystemClock()) as database:
        rows = database.writer.execute(
            "SELECT box, array_agg(seq ORDER BY position) FROM records JOIN boxes USING (box_no) GROUP BY box"
        ).fetchall()
    assert dict(rows) == {box.name: [1, 2, 3] for box in boxes}
