import contextlib
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from box_builders import HandClock, a_context, a_health, a_window, files_no_longer_than
from veilleur_agent.mouth.errors import AckRejectedError, DiskRefusedError, OutboxNewerError
from veilleur_agent.mouth.outbox import Outbox
from veilleur_agent.mouth.room import Bounds
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.codec import context_number_of, decode_batch, decode_record, encode
from veilleur_contracts.messages import (
    BATCH_BYTES_MAX,
    Ack,
    Birth,
    Carried,
    CrossingWindow,
    Gap,
    GapReason,
    MessageClass,
    Record,
    ViewAlarm,
    alarm_stream_of,
    class_of_stream,
    is_alarm_stream,
    stream_of,
)

EPOCH = 1_700_000_000_000


def carried(record: Record, seq: int, epoch: int = EPOCH) -> Carried:
    return Carried(epoch, seq, Raw(encode(record)))


def windows(first: int, last: int) -> list[Carried]:
    return [carried(a_window(n), n) for n in range(first, last + 1)]


def records_of(outbox: Outbox, kind: MessageClass) -> dict[tuple[int, int], Record]:
    """Everything of a class that waits to be sent, by stream and number, read the way the fleet reads it."""
    found: dict[tuple[int, int], Record] = {}
    for stream, acknowledged in outbox.streams().items():
        if class_of_stream(stream) is not kind:
            continue
        after = acknowledged
        while (parcel := outbox.next_batch(stream, after)) is not None:
            assert len(parcel.payload) <= BATCH_BYTES_MAX
            seq = parcel.first_seq
            for raw in decode_batch(parcel.payload).records:
                record = decode_record(bytes(raw))
                found[stream, seq] = record
                seq = record.last + 1 if isinstance(record, Gap) else seq + 1
            assert seq == parcel.last_seq + 1
            after = parcel.last_seq
    return found


def starts_of(outbox: Outbox) -> list[int]:
    found = records_of(outbox, MessageClass.STATISTICS).values()
    return [record.at_s for record in found if isinstance(record, CrossingWindow)]


Opener = Callable[..., Outbox]


@pytest.fixture
def opener(tmp_path: Path) -> Iterator[Opener]:
    opened: list[Outbox] = []

    def open_one(bounds: Bounds | None = None, clock: HandClock | None = None) -> Outbox:
        for before in opened:
            before.close()
        opened.append(Outbox.open(tmp_path / "outbox.sqlite", bounds or Bounds(), clock or HandClock()))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def test_what_was_stored_is_there_after_a_restart_under_the_numbers_it_had(opener: Opener) -> None:
    first = opener()
    first.store([carried(a_context(), 1), carried(a_window(2), 2), carried(a_health(3), 3)])
    before = records_of(first, MessageClass.STATISTICS)
    again = opener()
    assert records_of(again, MessageClass.STATISTICS) == before
    assert again.committed() == {EPOCH: 3}
    assert again.contexts() == {context_number_of(a_context()): "gare"}
    assert again.started_ms > first.started_ms, "streams of two starts never share a number"


def test_what_comes_twice_is_stored_once(opener: Opener) -> None:
    outbox = opener()
    assert outbox.store(windows(1, 5)) == 5
    assert outbox.store(windows(1, 8)) == 3
    again = opener()
    assert again.store(windows(1, 8)) == 0
    assert sorted(starts_of(again)) == list(range(1, 9))


def test_a_gap_of_the_link_advances_its_numbers_and_is_not_sent(opener: Opener) -> None:
    outbox = opener()
    assert outbox.store([carried(Gap(1, 39, GapReason.OUTBOX_FULL), 1), *windows(40, 41)]) == 2
    assert outbox.committed() == {EPOCH: 41}
    assert sorted(starts_of(outbox)) == [40, 41]


def test_an_acknowledgement_deletes_up_to_its_number_and_no_further(opener: Opener) -> None:
    outbox = opener()
    outbox.store(windows(1, 10))
    stream = stream_of(MessageClass.STATISTICS, outbox.started_ms)
    assert outbox.acknowledge(Ack(stream, 4)) == 4
    assert outbox.acknowledge(Ack(stream, 4)) == 0
    assert outbox.streams() == {stream: 4}
    assert starts_of(outbox) == [5, 6, 7, 8, 9, 10]


def test_a_fleet_that_was_restored_is_told_what_is_gone_and_gets_the_rest(opener: Opener) -> None:
    outbox = opener()
    outbox.store(windows(1, 10))
    (stream,) = outbox.streams()
    outbox.acknowledge(Ack(stream, 7))
    assert outbox.acknowledge(Ack(stream, 4)) == 0, "the backup held four"
    said = records_of(outbox, MessageClass.STATISTICS)
    assert said.pop((stream, 5)) == Gap(5, 7, GapReason.FLEET_RESTORED)
    assert sorted(seq for _, seq in said) == [8, 9, 10]
    outbox.acknowledge(Ack(stream, 10))
    assert outbox.left() == 0
    outbox.acknowledge(Ack(stream, 0))
    assert records_of(outbox, MessageClass.STATISTICS) == {(stream, 1): Gap(1, 10, GapReason.FLEET_RESTORED)}


def test_an_acknowledgement_of_what_was_never_sent_is_refused_and_deletes_nothing(opener: Opener) -> None:
    outbox = opener()
    outbox.store(windows(1, 3))
    with pytest.raises(AckRejectedError):
        outbox.acknowledge(Ack(stream_of(MessageClass.STATISTICS, outbox.started_ms), 4))
    assert outbox.acknowledge(Ack(8, 100)) == 0, "a stream nobody knows any more"
    assert starts_of(outbox) == [1, 2, 3]


def test_a_batch_never_exceeds_what_one_message_may_hold(opener: Opener) -> None:
    outbox = opener()
    outbox.store(windows(1, 4000))
    assert sorted(starts_of(outbox)) == list(range(1, 4001))


def test_when_full_health_goes_first_and_a_gap_names_every_number_that_went(opener: Opener) -> None:
    outbox = opener(Bounds(bytes_max=30_000))
    for n in range(1, 501, 2):
        outbox.store([carried(a_window(n), n), carried(a_health(n + 1), n + 1)])
    assert outbox.size_bytes <= 30_000
    assert outbox.dropped > 0
    kept = records_of(outbox, MessageClass.TECHNICAL)
    gaps = [record for record in kept.values() if isinstance(record, Gap)]
    assert {gap.reason for gap in gaps} == {GapReason.OUTBOX_FULL}
    assert sum(gap.last - gap.first + 1 for gap in gaps) == outbox.dropped
    assert starts_of(outbox) == list(range(1, 501, 2)), "statistics are the last to go"


def test_when_full_of_statistics_the_oldest_become_one_gap_each_time(opener: Opener) -> None:
    outbox = opener(Bounds(bytes_max=20_000))
    for n in range(1, 1001):
        outbox.store(windows(n, n))
    kept = records_of(outbox, MessageClass.STATISTICS)
    numbers: list[int] = []
    for (_, seq), record in kept.items():
        numbers += range(seq, record.last + 1) if isinstance(record, Gap) else [seq]
    assert numbers == list(range(1, 1001))
    assert outbox.size_bytes <= 20_000


QUARTERS = 1_790_000_000 // 86_400 * 86_400
"""A midnight from which on quarters of an hour are counted."""


def quarters(first: int, last: int, lines: int = 4) -> list[Carried]:
    """Windows of a quarter of an hour of a few lines, three cells told and one withheld by night."""
    return [
        carried(
            CrossingWindow(1, QUARTERS + 900 * (n // lines), 900, n % lines, 100, 50, 0, counts_of(n, lines)), n + 1
        )
        for n in range(first, last)
    ]


def counts_of(n: int, lines: int) -> tuple[int | None, ...]:
    is_night = n // lines % 96 < 24
    return (None if is_night else n % 50, n % 7, n % 90, 1)


def counted_in(records: Iterable[Record]) -> tuple[list[int], int]:
    """Sums of what is told, and how long it was looked at, line-seconds."""
    sums, seconds = [0, 0, 0, 0], 0
    for one in records:
        if isinstance(one, CrossingWindow):
            seconds += one.window_s
            sums = [total + (count or 0) for total, count in zip(sums, one.counts, strict=True)]
    return sums, seconds


def test_when_full_statistics_are_summed_before_anything_is_dropped_and_the_sums_are_exact(opener: Opener) -> None:
    outbox, said = opener(Bounds(bytes_max=900_000)), quarters(0, 14_000)
    for at in range(0, 14_000, 500):
        outbox.store(said[at : at + 500])
    assert outbox.coarsened > 1000
    assert outbox.dropped == 0
    assert outbox.size_bytes <= 900_000
    kept = records_of(outbox, MessageClass.STATISTICS)
    assert counted_in(kept.values()) == counted_in(decode_record(bytes(one.record)) for one in said)
    lengths = {one.window_s for one in kept.values() if isinstance(one, CrossingWindow)}
    assert lengths <= {900, 1800, 3600, 86_400}
    gaps = [one for one in kept.values() if isinstance(one, Gap)]
    assert {gap.reason for gap in gaps} == {GapReason.COARSENED}
    again = opener(Bounds(bytes_max=900_000))
    assert (outbox.size_bytes, outbox.left()) == (again.size_bytes, again.left()), "what it counts is what is there"


def test_what_cannot_be_summed_any_further_is_dropped_and_said(opener: Opener) -> None:
    outbox, said = opener(Bounds(bytes_max=300_000)), quarters(0, 14_000)
    for at in range(0, 14_000, 500):
        outbox.store(said[at : at + 500])
    assert outbox.dropped > 0
    assert outbox.size_bytes <= 300_000
    reasons = {one.reason for one in records_of(outbox, MessageClass.STATISTICS).values() if isinstance(one, Gap)}
    assert reasons == {GapReason.COARSENED, GapReason.OUTBOX_FULL}


def test_what_was_published_is_never_summed_because_the_fleet_may_hold_it(opener: Opener) -> None:
    outbox, said = opener(Bounds(bytes_max=900_000)), quarters(0, 14_000)
    outbox.store(said[:500])
    (stream,) = outbox.streams()
    published = outbox.next_batch(stream, 0)
    assert published is not None
    outbox.mark(published)
    outbox = opener(Bounds(bytes_max=900_000))
    for at in range(500, 14_000, 500):
        outbox.store(said[at : at + 500])
    again = outbox.next_batch(stream, 0)
    assert outbox.coarsened > 0
    assert again is not None
    assert again.payload == published.payload


def test_statistics_of_half_the_age_bound_are_summed_and_the_rest_waits(opener: Opener) -> None:
    clock = HandClock()
    outbox, said = opener(Bounds(age_max_s=10 * 86_400), clock), quarters(0, 1200)
    outbox.store(said[:800])
    clock.advance(2 * 86_400)
    outbox.store(said[800:])
    clock.advance(4 * 86_400)
    outbox.expire()
    assert outbox.coarsened == 0, "less than a day of it, which may still grow"
    clock.advance(2 * 86_400)
    assert outbox.expire() == 0
    assert outbox.coarsened > 0
    kept = records_of(outbox, MessageClass.STATISTICS).values()
    assert counted_in(kept) == counted_in(decode_record(bytes(one.record)) for one in said)


def test_alarms_stand_in_a_stream_of_their_own_and_are_the_last_to_go(opener: Opener) -> None:
    outbox = opener(Bounds(bytes_max=30_000))
    for n in range(1, 801, 2):
        outbox.store([carried(a_window(n), n), carried(ViewAlarm("gare", n, 8, 34), n + 1)])
    alarms = [stream for stream in outbox.streams() if is_alarm_stream(stream)]
    assert alarms == [alarm_stream_of(outbox.started_ms)]
    assert class_of_stream(alarms[0]) is MessageClass.TECHNICAL
    said = records_of(outbox, MessageClass.TECHNICAL)
    assert [one.at_s for one in said.values() if isinstance(one, ViewAlarm)] == list(range(1, 801, 2))


VERSION_1 = """
CREATE TABLE stream (number INTEGER PRIMARY KEY, next INTEGER NOT NULL, acknowledged INTEGER NOT NULL) STRICT;
CREATE TABLE record (
    stream INTEGER NOT NULL, seq INTEGER NOT NULL, last INTEGER NOT NULL, is_gap INTEGER NOT NULL,
    at_running_s INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (stream, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE link (epoch INTEGER PRIMARY KEY, upto INTEGER NOT NULL, heard INTEGER NOT NULL) STRICT;
CREATE TABLE context (number INTEGER PRIMARY KEY, camera TEXT NOT NULL, heard INTEGER NOT NULL) STRICT;
CREATE TABLE fact (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
PRAGMA user_version = 1;
"""


def test_an_outbox_of_the_release_before_goes_on_and_all_of_it_counts_as_published(
    opener: Opener, tmp_path: Path
) -> None:
    stream = stream_of(MessageClass.STATISTICS, 1_700_000_000_000)
    with contextlib.closing(sqlite3.connect(tmp_path / "outbox.sqlite")) as old:
        old.executescript(VERSION_1)
        old.execute("INSERT INTO stream VALUES (?, 6, 1)", (stream,))
        for n in range(2, 6):
            body = encode(CrossingWindow(1, QUARTERS + 900 * (n - 2), 900, 0, 100, 50, 0, (1,)))
            old.execute("INSERT INTO record VALUES (?, ?, ?, 0, 0, ?)", (stream, n, n, body))
        old.commit()
    outbox = opener(Bounds(age_max_s=100))
    outbox.expire()
    assert outbox.streams() == {stream: 1}
    assert len(records_of(outbox, MessageClass.STATISTICS)) == 4
    assert outbox.coarsened == 0


def test_what_is_too_old_is_dropped_and_said_and_a_clock_set_ahead_drops_nothing(opener: Opener) -> None:
    clock = HandClock()
    outbox = opener(Bounds(age_max_s=3600), clock)
    outbox.store(windows(1, 3))
    clock.at_ms += 400 * 86_400_000
    assert outbox.expire() == 0
    clock.advance(3602)
    outbox.store(windows(4, 4))
    assert outbox.expire() == 3
    assert [type(record) for record in records_of(outbox, MessageClass.STATISTICS).values()] == [Gap, CrossingWindow]


def test_age_is_counted_across_restarts(opener: Opener) -> None:
    clock = HandClock()
    outbox = opener(Bounds(age_max_s=3600), clock)
    outbox.store(windows(1, 1))
    clock.advance(3000)
    outbox.expire()
    again_clock = HandClock()
    again = opener(Bounds(age_max_s=3600), again_clock)
    again_clock.advance(700)
    assert again.expire() == 1


@pytest.mark.parametrize("damage", ["zeros", "truncated", "text", "middle"])
def test_a_damaged_file_is_set_aside_and_the_wire_is_told(opener: Opener, tmp_path: Path, damage: str) -> None:
    outbox = opener()
    outbox.store(windows(1, 2000))
    outbox.close()
    path = tmp_path / "outbox.sqlite"
    data = bytearray(path.read_bytes())
    match damage:
        case "zeros":
            data[:] = bytes(len(data))
            data[0] = 1
        case "truncated":
            del data[len(data) // 2 :]
        case "text":
            data[:] = b"this was never a database, " * 300
        case _:
            data[4096 : 4096 * 8] = b"\xa5" * (4096 * 7)
    path.write_bytes(data)
    again = opener()
    assert again.damaged_before
    assert (tmp_path / "outbox.damaged").stat().st_size == len(data)
    again.store(windows(1, 2))
    said = list(records_of(again, MessageClass.STATISTICS).values())
    assert said[0] == Gap(1, 1, GapReason.OUTBOX_DAMAGED)
    assert starts_of(again) == [1, 2]


def test_what_a_damaged_file_lost_is_told_even_when_the_disk_was_full_as_it_was_set_aside(opener, tmp_path) -> None:
    outbox = opener()
    outbox.store(windows(1, 20))
    outbox.close()
    (tmp_path / "outbox.sqlite").write_bytes(b"this was never a database, " * 300)
    with files_no_longer_than(0), pytest.raises(DiskRefusedError):
        opener()
    again = opener()
    assert again.damaged_before
    assert list(records_of(again, MessageClass.STATISTICS).values()) == [Gap(1, 1, GapReason.OUTBOX_DAMAGED)]
    again.close()
    assert not opener().damaged_before, "it is told once"


def test_a_file_of_a_newer_agent_is_left_alone(opener: Opener, tmp_path: Path) -> None:
    outbox = opener()
    outbox._database.execute("PRAGMA user_version = 99")
    with pytest.raises(OutboxNewerError, match="newer agent"):
        opener()
    assert (tmp_path / "outbox.sqlite").exists()


def test_a_full_disk_stores_nothing_of_the_call_and_the_same_call_succeeds_later(opener: Opener) -> None:
    outbox = opener()
    outbox.store(windows(1, 3))
    (pages,) = outbox._database.execute("PRAGMA page_count").fetchone()
    outbox._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DiskRefusedError, match="SQLITE_FULL"):
        outbox.store(windows(4, 4000))
    assert outbox.committed() == {EPOCH: 3}
    assert starts_of(outbox) == [1, 2, 3]
    outbox._database.execute("PRAGMA max_page_count = 1000000")
    assert outbox.store(windows(4, 4000)) == 3997
    assert starts_of(outbox) == list(range(1, 4001))


def test_a_hole_left_by_a_disk_that_lied_is_said(opener: Opener) -> None:
    outbox = opener()
    outbox.store(windows(1, 9))
    outbox._database.execute("DELETE FROM record WHERE seq IN (1, 4, 5, 9)")
    again = opener()
    gaps = [record for record in records_of(again, MessageClass.STATISTICS).values() if isinstance(record, Gap)]
    assert gaps == [Gap(n, m, GapReason.OUTBOX_DAMAGED) for n, m in ((1, 1), (4, 5), (9, 9))]
    assert starts_of(again) == [2, 3, 6, 7, 8]


def test_the_mouths_own_words_stand_in_their_stream(opener: Opener) -> None:
    outbox = opener()
    outbox.say(Birth(1, "0.1.0", 1, "bench"))
    outbox.store([carried(a_health(1), 1)])
    said = records_of(outbox, MessageClass.TECHNICAL)
    assert [(seq, type(record).__name__) for (_, seq), record in said.items()] == [(1, "Birth"), (2, "CameraHealth")]


def test_streams_wholly_acknowledged_are_forgotten_but_not_the_one_in_use(opener: Opener) -> None:
    first = opener()
    first.store(windows(1, 2))
    old = stream_of(MessageClass.STATISTICS, first.started_ms)
    again = opener()
    again.store(windows(3, 3))
    new = stream_of(MessageClass.STATISTICS, again.started_ms)
    assert again.last_numbers() == {old: 2, new: 1}
    again.acknowledge(Ack(old, 2))
    again.acknowledge(Ack(new, 1))
    assert again.last_numbers() == {new: 1}
    again.store(windows(4, 4))
    assert again.streams() == {new: 1}


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_is_sent_again_or_acknowledged_each_window_is_offered_until_stored(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("outbox") / "outbox.sqlite"
    clock = HandClock()
    outbox, said, fleet = Outbox.open(path, Bounds(), clock), 0, {}
    for _ in range(data.draw(st.integers(1, 25))):
        match data.draw(st.sampled_from(["say", "again", "restart", "fleet", "acknowledge"])):
            case "say":
                more = data.draw(st.integers(1, 6))
                outbox.store(windows(said + 1, said + more))
                said += more
            case "again" if said:
                outbox.store(windows(data.draw(st.integers(1, said)), said))
            case "restart":
                outbox.close()
                outbox = Outbox.open(path, Bounds(), clock)
            case "fleet":
                fleet |= records_of(outbox, MessageClass.STATISTICS)
            case _:
                for stream, acknowledged in outbox.streams().items():
                    upto = acknowledged
                    while (stream, upto + 1) in fleet:
                        upto += 1
                    outbox.acknowledge(Ack(stream, upto))
    fleet |= records_of(outbox, MessageClass.STATISTICS)
    outbox.close()
    assert sorted(record.at_s for record in fleet.values()) == list(range(1, said + 1))


KILLED = """
    import sys
    from pathlib import Path
    from msgspec import Raw
    from veilleur_agent.mouth.outbox import Outbox
    from veilleur_agent.mouth.room import Bounds
    from veilleur_contracts.clock import SystemClock
    from veilleur_contracts.codec import encode
    from veilleur_contracts.messages import Carried, CrossingWindow

    outbox = Outbox.open(Path(sys.argv[1]), Bounds(), SystemClock())
    done = outbox.committed().get(1, 0)
    while True:
        windows = [CrossingWindow(1, n, 5, 0, 100, 50, 0, ()) for n in range(done + 1, done + 8)]
        batch = [Carried(1, window.at_s, Raw(encode(window))) for window in windows]
        outbox.store(batch)
        done += len(batch)
        print(done, flush=True)
"""


def test_killed_again_and_again_it_keeps_what_it_said_was_committed(tmp_path: Path) -> None:
    path, promised = tmp_path / "outbox.sqlite", 0
    for turn in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(KILLED), str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(3 + turn * 5):
            promised = int(process.stdout.readline())
        process.kill()
        for line in process.stdout.read().splitlines(keepends=True):
            promised = int(line) if line.endswith("\n") else promised
        process.stdout.close()
        process.wait()
    outbox = Outbox.open(path, Bounds(), SystemClock())
    try:
        assert not outbox.damaged_before
        assert promised <= outbox.committed()[1] <= promised + 7
        assert starts_of(outbox) == list(range(1, outbox.committed()[1] + 1))
    finally:
        outbox.close()
