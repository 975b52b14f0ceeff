"""What the store takes in: once each, in order, refused with a reason, and never acknowledged past a hole."""

import contextlib
import sqlite3

import msgpack
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet_builders import EITHER_ENGINE, NOW_MS, Box, birth, context, health, window
from veilleur_contracts import messages as m
from veilleur_contracts.codec import encode
from veilleur_contracts.ids import shard_of
from veilleur_fleet.errors import StoreUnavailableError
from veilleur_fleet.store import quarantine, shelves
from veilleur_fleet.store.database import open_database
from veilleur_fleet.store.ledger import Ledger
from veilleur_fleet.store.work import POSITION_BITS, Delivery

pytestmark = EITHER_ENGINE
KERB = context()
UNKNOWN_TAG = msgpack.packb([99, 1, 2])
NEGATIVE_COUNT = msgpack.packb([2, 5, NOW_MS // 1000, 900, 0, 98, 50, 0, [-3]])
NOT_CANONICAL = b"\x95\x04\xce\x6a\xb1\x3b\x80\xa5\x30\x2e\x31\x2e\x30\xcd\x00\x01\xa9strictest"


def upto(stored, box: Box, kind=m.MessageClass.STATISTICS) -> int:
    marks = {ack.stream: ack.upto for ack in stored.acknowledgements if ack.box == box.name}
    return marks[box.stream(kind)]


def test_what_is_stored_is_acknowledged_and_can_be_asked_for(ledger, ask) -> None:
    box = Box()
    stored = ledger.store([box.says(KERB, window(KERB, (3, 1, None, None, 0, 7, 0, 0, 0, 0, 0, 0)))])
    assert upto(stored, box) == 2
    cells = ask("SELECT camera, line, label, direction, count FROM crossing_cells WHERE label IN ('person', 'bicycle')")
    assert sorted(cells) == [
        ("gare-parvis", "kerb", "bicycle", "left_to_right", None),
        ("gare-parvis", "kerb", "bicycle", "right_to_left", None),
        ("gare-parvis", "kerb", "person", "left_to_right", 3),
        ("gare-parvis", "kerb", "person", "right_to_left", 1),
    ]


def test_a_label_that_is_not_counted_has_no_cell_at_all(ledger, ask) -> None:
    cyclists = context(labels=(m.Label.BICYCLE,))
    ledger.store([Box().says(cyclists, window(cyclists, (4, 2)))])
    assert ask("SELECT label, direction, count FROM crossing_cells ORDER BY direction") == [
        ("bicycle", "left_to_right", 4),
        ("bicycle", "right_to_left", 2),
    ]


def test_what_comes_again_is_filtered_counted_and_acknowledged_again(ledger, ask) -> None:
    box = Box()
    first = box.says(KERB, window(KERB))
    ledger.store([first])
    again = ledger.store([first, first])
    assert (again.duplicates, upto(again, box)) == (4, 2)
    assert ask("SELECT count(*) FROM records") == [(2,)]
    assert ask("SELECT count(*) FROM crossing_windows") == [(1,)]
    assert ask("SELECT stored, duplicates FROM streams") == [(2, 4)]


def test_a_batch_that_is_held_in_part_gives_only_its_new_records(ledger, ask) -> None:
    box = Box()
    ledger.store([box.says(KERB, window(KERB, at_s=100))])
    stored = ledger.store([box.says(window(KERB, at_s=100), window(KERB, at_s=105), first_seq=2)])
    assert (stored.duplicates, upto(stored, box)) == (1, 3)
    assert ask("SELECT at_s FROM crossing_windows ORDER BY at_s") == [(100,), (105,)]


def test_a_hole_is_not_acknowledged_past_until_it_is_filled(ledger) -> None:
    box = Box()
    ledger.store([box.says(KERB)])
    ahead = ledger.store([box.says(window(KERB, at_s=110), first_seq=3)])
    assert upto(ahead, box) == 1
    filled = ledger.store([box.says(window(KERB, at_s=105), first_seq=2)])
    assert (upto(filled, box), filled.duplicates) == (3, 0)


def test_a_gap_moves_the_mark_and_counts_what_is_lost(ledger, ask) -> None:
    box = Box()
    ledger.store([box.says(KERB)])
    gap = m.Gap(2, 40, m.GapReason.OUTBOX_FULL)
    stored = ledger.store([box.says(gap, kind=m.MessageClass.STATISTICS, first_seq=2)])
    assert (upto(stored, box), stored.lost) == (40, 39)
    after = ledger.store([box.says(window(KERB), first_seq=41)])
    assert upto(after, box) == 41
    assert ask("SELECT lost FROM streams") == [(39,)]


def test_a_gap_over_numbers_that_did_arrive_counts_only_the_others(ledger, ask) -> None:
    box = Box()
    ledger.store([box.says(KERB, window(KERB, at_s=5), window(KERB, at_s=10))])
    gap = m.Gap(2, 6, m.GapReason.TOO_OLD)
    stored = ledger.store([box.says(gap, kind=m.MessageClass.STATISTICS, first_seq=2)])
    assert (stored.lost, upto(stored, box)) == (3, 6)
    assert ask("SELECT seq, tag FROM records ORDER BY seq") == [(1, 1), (2, 2), (3, 2), (4, 5)]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        pytest.param(UNKNOWN_TAG, "registry", id="unknown-tag"),
        pytest.param(NEGATIVE_COUNT, "registry", id="negative-count"),
        pytest.param(NOT_CANONICAL, "canonical", id="not-canonical"),
        pytest.param(encode(health()), "stream of this class", id="technical-record-among-statistics"),
        pytest.param(encode(window(KERB, (1, 2))), "does not fit its Context", id="too-few-counts"),
        pytest.param(encode(window(KERB, line=7)), "does not fit its Context", id="no-such-line"),
        pytest.param(encode(context(lines=("a", "a"))), "line twice", id="line-twice"),
        pytest.param(encode(context(labels=(2, 1))), "not in order", id="labels-out-of-order"),
        pytest.param(msgpack.packb(["x" * 2000]), "longer than", id="too-long"),
    ],
)
def test_a_refused_record_is_quarantined_acknowledged_and_harms_no_other(ledger, ask, bad, said) -> None:
    box = Box()
    stored = ledger.store([box.says(KERB, bad, window(KERB), kind=m.MessageClass.STATISTICS)])
    assert (upto(stored, box), stored.refused) == (3, {"gare-01": 1})
    ((reason, seq, raw),) = ask("SELECT reason, seq, raw FROM quarantine")
    assert said in reason
    assert (seq, raw) == (2, bad)
    assert ask("SELECT count(*) FROM crossing_windows") == [(1,)]


@pytest.mark.parametrize(
    ("topic", "payload", "said"),
    [
        pytest.param("veilleur/v1/ville/3/gare-01/up/ev", b"x", "shard", id="wrong-shard"),
        pytest.param("veilleur/v1/ville/x", b"x", "not a topic", id="no-topic-of-ours"),
        pytest.param(Box().topic(), b"\xff\x00rubbish", "registry", id="rubbish"),
        pytest.param(Box().topic(), b"", "registry", id="empty"),
        pytest.param(Box().topic(), bytes([0x91]) * 60_000, "registry", id="deep"),
        pytest.param(Box().topic(), bytes(70_000), "longer than", id="too-long"),
        pytest.param(Box().topic(m.MessageClass.TECHNICAL), Box().says(KERB).payload, "travel", id="wrong-channel"),
        pytest.param(Box().topic(), encode(m.Batch(NOW_MS * 8 + 7, 1, ())), "class", id="stream-without-class"),
        pytest.param(Box().topic(), encode(m.Batch(Box().stream(), 1, ())), "without records", id="empty-batch"),
        pytest.param(Box().topic(), Box().says(KERB, first_seq=0).payload, "range", id="number-nought"),
        pytest.param(Box().topic(), Box().says(KERB, first_seq=2**48 - 1).payload, "range", id="number-too-high"),
    ],
)
def test_a_message_whose_envelope_is_refused_is_kept_once_and_not_acknowledged(
    ledger, ask, topic, payload, said
) -> None:
    for _ in range(3):
        stored = ledger.store([Delivery(topic, payload, NOW_MS)])
        assert stored.acknowledgements == []
        assert stored.envelopes_refused == 1
    ((reason, times, raw),) = ask("SELECT reason, times, raw FROM quarantine")
    assert said in reason
    assert (times, raw) == (3, payload)


@pytest.mark.parametrize(
    "gap",
    [
        pytest.param(m.Gap(9, 12, 0), id="not-at-its-own-place"),
        pytest.param(m.Gap(2, 1, 0), id="ends-before-it-begins"),
        pytest.param(msgpack.packb([5, 2, 40, 99]), id="unreadable"),
    ],
)
def test_what_follows_a_gap_that_cannot_be_placed_has_no_number(ledger, ask, gap) -> None:
    box = Box()
    stored = ledger.store([box.says(KERB, gap, window(KERB))])
    assert upto(stored, box) == 1
    assert ask("SELECT count(*) FROM crossing_windows") == [(0,)]
    assert ask("SELECT stream FROM quarantine") == [(None,)]


def test_a_box_of_one_controller_cannot_speak_for_another(ledger, ask) -> None:
    ledger.store([Box().says(KERB)])
    stored = ledger.store([Box(controller="agglo").says(KERB, window(KERB))])
    assert (stored.acknowledgements, stored.envelopes_refused) == ([], 1)
    assert ask("SELECT controller FROM boxes") == [("ville",)]


def test_a_window_waits_for_its_context_and_gets_its_cursor_when_it_comes(ledger, ask) -> None:
    box = Box()
    stored = ledger.store([box.says(window(KERB, at_s=100), window(KERB, at_s=105))])
    assert upto(stored, box) == 2
    assert ask("SELECT count(*) FROM records") == [(0,)]
    later = ledger.store([box.says(KERB)])
    assert later.resolved == 2
    assert ask("SELECT at_s FROM crossing_windows ORDER BY at_s") == [(100,), (105,)]
    assert ask("SELECT seq FROM records ORDER BY position") == [(3,), (1,), (2,)]
    assert ask("SELECT count(*) FROM waiting") == [(0,)]
    assert ask("SELECT waiting_rows FROM boxes") == [(0,)]


def test_waiting_windows_are_resolved_after_a_restart_too(where, clock) -> None:
    box = Box()
    with open_database(where, clock) as database:
        Ledger(database.writer).store([box.says(window(KERB))])
        # As a fleet that was killed between learning a Context and resolving what waited for it.
        other = Box(name="elsewhere")
        Ledger(database.writer).store([other.says(KERB)])
        database.writer.execute(
            "INSERT INTO contexts SELECT (SELECT box_no FROM boxes WHERE box = 'gare-01'), number, camera_no,"
            " received_ms, raw FROM contexts"
        )
    with open_database(where, clock) as database:
        stored = Ledger(database.writer).store([])
        assert stored.resolved == 1
        assert database.writer.execute("SELECT count(*) FROM crossing_windows").fetchone() == (1,)


def test_a_full_waiting_room_holds_the_box_back_and_loses_nothing(ledger, monkeypatch, ask) -> None:
    monkeypatch.setattr(shelves, "WAITING_ROWS_MAX", 2)
    box = Box()
    stored = ledger.store([box.says(*(window(KERB, at_s=100 + number) for number in range(5)))])
    assert (upto(stored, box), stored.held_back) == (2, 1)
    ledger.store([box.says(KERB, first_seq=6)])
    again = ledger.store([box.says(*(window(KERB, at_s=100 + number) for number in range(5)), first_seq=1)])
    assert upto(again, box) == 6
    assert ask("SELECT count(*) FROM crossing_windows") == [(5,)]


def test_a_full_quarantine_holds_the_box_back_and_others_go_on(ledger, monkeypatch) -> None:
    monkeypatch.setattr(quarantine, "QUARANTINED_BYTES_MAX", 2 * len(UNKNOWN_TAG))
    bad, good = Box(), Box(name="mairie-02")
    stored = ledger.store([bad.says(KERB, *[UNKNOWN_TAG] * 5), good.says(KERB)])
    assert (upto(stored, bad), upto(stored, good), stored.held_back) == (3, 1, 1)


def test_cursors_of_a_shard_rise_by_one_and_outlive_a_restart(where, clock) -> None:
    box = Box()
    for _ in range(3):
        with open_database(where, clock) as database:
            ledger = Ledger(database.writer)
            ledger.store([box.says(KERB, UNKNOWN_TAG, window(KERB))])
            rows = database.writer.execute("SELECT position FROM records ORDER BY position").fetchall()
    cursors = [position & (2**POSITION_BITS - 1) for (position,) in rows]
    assert cursors == [1, 2, 3, 4, 5, 6]
    assert {position >> POSITION_BITS for (position,) in rows} == {shard_of("gare-01")}


def test_a_camera_tells_what_it_is_doing_and_old_news_do_not_replace_fresh_ones(ledger, ask) -> None:
    box, now_s = Box(), NOW_MS // 1000
    ledger.store(
        [
            box.says(health(state=m.CameraState.STALLED, at_s=now_s - 5)),
            box.says(health(state=m.CameraState.LIVE, at_s=now_s - 90)),
        ]
    )
    assert ask("SELECT state FROM cameras") == [(m.CameraState.STALLED,)]
    assert ask("SELECT state FROM camera_health ORDER BY at_s") == [(m.CameraState.LIVE,), (m.CameraState.STALLED,)]


def test_a_clock_that_runs_ahead_does_not_freeze_a_camera_state(ledger, ask) -> None:
    box = Box()
    ledger.store([box.says(health(state=m.CameraState.LIVE, at_s=4_000_000_000))])
    ledger.store([box.says(health(state=m.CameraState.BACKOFF, at_s=NOW_MS // 1000))])
    assert ask("SELECT state FROM cameras") == [(m.CameraState.BACKOFF,)]


def test_a_birth_is_remembered(ledger, ask) -> None:
    ledger.store([Box().says(birth("bench"))])
    assert ask("SELECT profile, agent, contract_revision FROM boxes") == [("bench", "0.1.0", 1)]


def test_health_older_than_its_keeping_is_forgotten(ledger, ask) -> None:
    ledger.store([Box().says(health())])
    assert ledger.forget_health_before(NOW_MS) == 0
    assert ledger.forget_health_before(NOW_MS + 1) == 1
    assert ask("SELECT count(*) FROM camera_health") == [(0,)]


@contextlib.contextmanager
def a_full_disk(database):
    """Have SQLite run out of pages."""
    database.writer.execute("PRAGMA cache_size = -64")
    pages = database.writer.execute("PRAGMA page_count").fetchone()[0]
    database.writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    yield
    database.writer.execute("PRAGMA max_page_count = 1073741823")


@contextlib.contextmanager
def a_locked_table(database):
    """Have somebody else hold a table of PostgreSQL's for longer than the writer waits."""
    database.writer.execute("SET lock_timeout = '50ms'")
    with database.desk.begin() as other:
        other.exec_driver_sql("LOCK TABLE crossing_windows")
        yield


def test_a_transaction_the_database_refuses_leaves_nothing_and_the_next_one_is_whole(
    engine, ledger, database, ask
) -> None:
    box = Box()
    said = box.says(KERB, *(window(KERB, at_s=5 * number) for number in range(900)))
    hindered = a_full_disk if engine == "sqlite" else a_locked_table
    with hindered(database):
        with pytest.raises(StoreUnavailableError, match=r"full|lock timeout"):
            ledger.store([said])
        assert ask("SELECT count(*) FROM boxes") == [(0,)]
    assert upto(ledger.store([said]), box) == 901
    assert ask("SELECT count(*) FROM crossing_windows") == [(900,)]


def test_one_number_can_never_be_stored_twice_even_past_our_own_filter(ledger, database) -> None:
    ledger.store([Box().says(KERB)])
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
        database.writer.execute(
            "INSERT INTO records (position, box_no, stream, seq, tag, received_ms, raw)"
            " SELECT position + 1, box_no, stream, seq, tag, received_ms, raw FROM records"
        )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_order_of_resent_and_lost_messages_stores_each_record_once(anywhere, clock, data) -> None:
    """A box says thirty records; messages of any cut come in any order, some twice, and at last everything once."""
    windows = [KERB, *(window(KERB, at_s=5 * number) for number in range(29))]
    cuts = st.tuples(st.integers(1, 30), st.integers(1, 8))
    pieces = data.draw(st.lists(cuts, max_size=12))
    box = Box()
    said = [box.says(*windows[first - 1 : first - 1 + size], first_seq=first) for first, size in pieces]
    with open_database(anywhere(), clock) as database:
        ledger = Ledger(database.writer)
        heard: set[int] = set()
        for (first, size), delivery in zip(pieces, said, strict=True):
            heard |= set(range(first, min(first + size, 31)))
            hole = next(number for number in range(1, 40) if number not in heard)
            assert upto(ledger.store([delivery]), box) == hole - 1
        assert upto(ledger.store([box.says(*windows, first_seq=1)]), box) == 30
        rows = database.writer.execute("SELECT seq FROM records ORDER BY seq").fetchall()
        assert rows == [(number,) for number in range(1, 31)]
        at = database.writer.execute("SELECT at_s FROM crossing_windows ORDER BY at_s").fetchall()
        assert at == [(5 * number,) for number in range(29)]
        last = database.writer.execute("SELECT max(position), count(*) FROM records").fetchone()
        assert last[0] & (2**POSITION_BITS - 1) == last[1] == 30
