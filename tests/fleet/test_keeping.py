"""How long each class is kept: the rules alone, and both engines holding them."""

import asyncio
import sqlite3
from collections import Counter
from dataclasses import replace

import pytest
import sqlalchemy as sa

from fleet_builders import EITHER_ENGINE, NOW_MS, Box, batch_of, birth, context, health, window
from veilleur_contracts import messages as m
from veilleur_contracts.codec import context_number_of
from veilleur_contracts.ids import shard_of
from veilleur_fleet.app import Fleet
from veilleur_fleet.metrics import Metrics
from veilleur_fleet.pki.authority import make_authority
from veilleur_fleet.pki.register import Register
from veilleur_fleet.pki.service import Pki
from veilleur_fleet.pki.wiring import Identity
from veilleur_fleet.settings import Settings
from veilleur_fleet.store import partitions, sweeping
from veilleur_fleet.store.calendar import believed
from veilleur_fleet.store.cameras import FORGET_HEALTH
from veilleur_fleet.store.keeping import DAY_MS, Forgotten, Keeping, month_of, months_around, swept_upto
from veilleur_fleet.store.past import Past, Wanted
from veilleur_fleet.store.work import Delivery
from veilleur_fleet.store.writer import Writer
from veilleur_fleet.tidy import Tidier

KERB = context()
YOUNG, OLD, FUTURE = 1000, 10, 5000


@pytest.mark.parametrize(
    ("received", "upto"),
    [
        pytest.param([], None, id="nothing"),
        pytest.param([OLD, OLD, YOUNG, YOUNG], 2, id="up-to-the-first-young-one"),
        pytest.param([YOUNG, OLD], None, id="nothing-behind-a-young-one-is-old"),
        pytest.param([OLD, FUTURE, OLD, YOUNG], 3, id="one-from-the-future-goes-with-what-came-after"),
        pytest.param([OLD, FUTURE, YOUNG], 1, id="one-from-the-future-at-the-end-stays"),
        pytest.param([FUTURE, FUTURE], None, id="only-the-future"),
        pytest.param([OLD, OLD], 2, id="all-old"),
    ],
)
def test_what_is_swept_is_surely_too_old(received, upto) -> None:
    rows = list(enumerate(received, start=1))
    assert swept_upto(rows, bound_ms=500, now_ms=2000) == upto


def test_each_class_has_a_bound_of_its_own() -> None:
    keeping = Keeping({kind: days for days, kind in enumerate(m.MessageClass, start=1)})
    assert [keeping.bound_ms(kind, NOW_MS) for kind in m.MessageClass] == [NOW_MS - n * DAY_MS for n in (1, 2, 3, 4)]


def test_months_follow_each_other_over_the_turn_of_the_year() -> None:
    new_year_ms = 1_767_225_600_000  # 2026-01-01T00:00:00Z
    names = [month.name for month in months_around(new_year_ms)]
    assert names == ["2025_12", "2026_01", "2026_02"]
    assert month_of(new_year_ms - 1).end_ms == month_of(new_year_ms).first_ms == new_year_ms


def test_what_steps_forgot_is_summed() -> None:
    one = Forgotten({m.MessageClass.EVENT: 2}, 3)
    one.add(Forgotten({m.MessageClass.EVENT: 1, m.MessageClass.TECHNICAL: 4}, 5))
    assert (one.records, one.windows) == ({m.MessageClass.EVENT: 3, m.MessageClass.TECHNICAL: 4}, 8)


def event(at_s: int) -> m.StreetEvent:
    return m.StreetEvent(context_number_of(KERB), at_s, m.EventKind.WRONG_WAY, 0, at_s, 1)


@pytest.fixture
def tidied(database, ledger, clock):
    """Have everything told, then forget what is too old at the clock's time; give the log's counters."""
    started_at_s = clock.elapsed_s()

    def tidy(keeping=None) -> Metrics:
        metrics = Metrics()
        for shard, last in database.writer.execute("SELECT shard, last FROM shards").fetchall():
            ledger.mark_published({shard: last})
        writer = Writer(ledger)
        tidier = Tidier(writer, database, keeping or Keeping(), clock, metrics)
        tidier._tidied_at_s = started_at_s  # as one that has run since
        asyncio.run(tidier.tidy())
        writer.close()
        return metrics

    return tidy


def counted(metrics: Metrics, name: str, **labels) -> float:
    return metrics.registry.get_sample_value(f"veilleur_fleet_{name}_total", labels) or 0


@pytest.fixture
def months(ledger, clock):
    """A box that spoke once a month for five months, of every class it may."""
    box, start_ms = Box(), NOW_MS - 5 * 31 * DAY_MS
    for month in range(6):
        at_ms = start_ms + month * 31 * DAY_MS
        clock.at_ms = at_ms
        first = [KERB] if month == 0 else []
        ledger.store(
            [
                replace(box.says(birth(), health(at_s=at_ms // 1000)), received_ms=at_ms),
                replace(box.says(*first, window(KERB, at_s=at_ms // 1000)), received_ms=at_ms),
                replace(box.says(event(at_ms // 1000), kind=m.MessageClass.EVENT), received_ms=at_ms),
            ]
        )
    return box


def classes(ask) -> Counter:
    return Counter({"TSAE"[kind]: count for kind, count in ask("SELECT class, count(*) FROM records GROUP BY class")})


@EITHER_ENGINE
@pytest.mark.usefixtures("engine", "months")
def test_each_class_is_kept_for_its_days_and_what_went_is_counted_for_ever(tidied, ask, said) -> None:
    assert classes(ask) == {"T": 12, "S": 7, "E": 6}
    metrics = tidied()
    left = classes(ask)
    assert left["S"] == 7
    assert left["E"] == 1, "thirty days, to the hour"
    assert left["T"] == 6, "ninety days"
    assert ask("SELECT class, records, windows FROM forgotten WHERE class = 3") == [(3, 5, 0)]
    assert counted(metrics, "forgotten", **{"class": "E"}) == 5
    (line,) = [one for one in said if one["event"] == "records.forgotten" and one["message_class"] == "E"]
    assert (line["records"], line["kept_days"]) == (5, 30)
    assert counted(tidied(), "forgotten", **{"class": "E"}) == 0, "a second pass finds nothing"


@EITHER_ENGINE
@pytest.mark.usefixtures("engine")
def test_alarms_are_kept_as_long_as_the_rest_of_their_class(ledger, clock, tidied, ask) -> None:
    box, stream = Box(), m.alarm_stream_of(NOW_MS - 60_000)
    for number, days in enumerate((100, 91, 5), start=1):
        at_ms = clock.at_ms = NOW_MS - days * DAY_MS
        alarm = batch_of(stream, number, [m.ViewAlarm("gare-parvis", at_ms // 1000, 8, 34)])
        ledger.store([Delivery(box.topic(m.MessageClass.TECHNICAL), alarm, at_ms)])
    clock.at_ms = NOW_MS
    metrics = tidied()
    assert ask("SELECT count(*) FROM records") == [(1,)]
    assert counted(metrics, "forgotten", **{"class": "T"}) == 2


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_a_month_that_is_too_old_is_dropped_whole(ledger, clock, tidied, ask) -> None:
    box = Box()
    for _ in range(6):
        tidied(Keeping())  # as every hour: the months are there before what they hold
        said = box.says(birth(), health(at_s=clock.now_ms() // 1000))
        ledger.store([replace(said, received_ms=clock.now_ms())])
        clock.move(31 * 86_400)
    tables = (
        "SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = pg_class.oid WHERE relname LIKE 'records_t0_%'"
    )
    metrics = tidied()
    assert ask("SELECT count(*) FROM records_rest") == [(0,)]
    assert classes(ask) == {"T": 6}
    assert min(ask(tables)) == ("records_t0_2026_12",)
    assert ask("SELECT records FROM forgotten WHERE class = 0") == [(6,)]
    assert counted(metrics, "forgotten", **{"class": "T"}) == 2


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
@pytest.mark.usefixtures("engine", "months")
def test_what_came_before_its_month_was_made_moves_there(tidied, ask) -> None:
    tidied()
    assert ask("SELECT count(*) FROM records_s1_2026_09") == [(1,)]
    assert ask("SELECT count(*) FROM crossing_windows_2026_09") == [(1,)]
    assert ask("SELECT count(*) FROM crossing_windows") == [(6,)]


@EITHER_ENGINE
@pytest.mark.usefixtures("engine", "months")
def test_statistics_and_their_windows_go_together(tidied, ask, monkeypatch) -> None:
    monkeypatch.setattr(sweeping, "ROWS_PER_STEP", 2)
    monkeypatch.setattr(partitions, "ROWS_PER_STEP", 2)
    short = Keeping({**Keeping().days, m.MessageClass.STATISTICS: 60})
    metrics = tidied(short)
    assert classes(ask)["S"] == 2
    assert ask("SELECT count(*) FROM crossing_windows") == [(2,)]
    assert counted(metrics, "forgotten_windows") == 4
    assert ask("SELECT records, windows FROM forgotten WHERE class = 1") == [(5, 4)]


@EITHER_ENGINE
@pytest.mark.usefixtures("engine", "months")
def test_what_consumers_were_not_told_yet_is_not_forgotten(database, ledger, clock, ask) -> None:
    writer = Writer(ledger)
    asyncio.run(Tidier(writer, database, Keeping(), clock, Metrics()).tidy())
    writer.close()
    assert classes(ask) == {"T": 12, "S": 7, "E": 6}


@EITHER_ENGINE
@pytest.mark.usefixtures("engine")
def test_a_consumer_reads_on_over_what_was_forgotten(months, database, tidied) -> None:
    tidied()
    past, after, cursors = Past(database.readers), 0, []
    while True:
        stretch = past.after(Wanted(shard_of(months.name), after, m.MessageClass.EVENT), 1)
        cursors += [one.cursor for one in stretch.told]
        if stretch.upto == stretch.last:
            break
        after = stretch.upto
    assert cursors == [25]


def test_a_database_that_refuses_is_said_and_tried_again(tidied, ledger, monkeypatch, said) -> None:
    def refuse(*_):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(sweeping.Sweep, "step", refuse)
    tidied()
    assert [one["event"] for one in said if one["log_level"] == "warning"] == ["records.kept"]
    assert ledger.store([]).acknowledgements == []


@pytest.mark.parametrize(
    ("now_ms", "before_ms", "ran_ms", "expected"),
    [
        pytest.param(5_000, None, 0, 5_000, id="the-first-time"),
        pytest.param(5_000, 4_990, 10, 5_000, id="as-time-goes-by"),
        pytest.param(9_000, 5_000, 10, 5_250, id="a-clock-set-ahead"),
        pytest.param(9_000, 5_000, 0, 5_000, id="at-a-start"),
        pytest.param(2_000, 5_000, 10, 2_000, id="a-clock-set-back"),
    ],
)
def test_the_calendar_follows_the_clock_no_faster_than_it_may(now_ms, before_ms, ran_ms, expected) -> None:
    assert believed(now_ms, before_ms, ran_ms) == expected


@EITHER_ENGINE
@pytest.mark.usefixtures("engine", "months")
def test_a_clock_set_years_ahead_forgets_nothing(tidied, clock, ask) -> None:
    tidied()
    kept = classes(ask)
    clock.ahead_ms = 3 * 365 * DAY_MS
    tidied()
    assert classes(ask) == kept


async def test_certificates_that_cannot_be_tidied_do_not_end_the_fleet(database, clock, tmp_path, said, worlds) -> None:
    authority = make_authority(tmp_path / "pki", "a passphrase of the tests", clock, database.fleet_id)
    identity = Identity(Pki(authority, Register(database.desk, database.readers), clock))
    fleet = Fleet(Settings(data=tmp_path), database, clock, identity)

    def refuse(_connection) -> None:
        raise sa.exc.OperationalError("BEGIN", {}, sqlite3.OperationalError("database is locked"))

    sa.event.listen(database.desk, "begin", refuse)
    stop, events = asyncio.Event(), lambda: [one["event"] for one in said]
    with worlds.socket.create_server(("127.0.0.1", 0)) as listening:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(fleet.run(listening, None, stop.set))
            await worlds.until(lambda: stop.is_set() and "certificates.kept" in events(), "trying")
            assert not running.done()
            running.cancel()


def test_a_citys_week_of_health_is_not_read_to_forget_an_hour_of_it(database) -> None:
    plan = database.writer.execute(f"EXPLAIN QUERY PLAN {FORGET_HEALTH}", (0, 0)).fetchall()
    assert any("SEARCH camera_health USING PRIMARY KEY" in row[3] for row in plan)
