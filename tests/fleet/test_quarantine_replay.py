"""What an older registry refused enters the store once after an upgrade, in its stream's books; the rest stays."""

import base64
from typing import Union, get_args

import msgpack
import msgspec
import pytest
from typer.testing import CliRunner

from fleet_builders import EITHER_ENGINE, NOW_MS, Box, context, health, window
from veilleur_contracts import codec
from veilleur_contracts import messages as m
from veilleur_contracts.codec import context_number_of, encode
from veilleur_fleet import judge
from veilleur_fleet.cli import cli
from veilleur_fleet.store import shelves
from veilleur_fleet.store.database import open_database
from veilleur_fleet.store.ledger import Ledger
from veilleur_fleet.store.outgoing import Outgoings
from veilleur_fleet.store.postgresql import PostgresAddress
from veilleur_fleet.store.work import Delivery

pytestmark = EITHER_ENGINE
KERB = context()
RUBBISH = msgpack.packb([99, 1, 2])
SPEEDS = m.SpeedWindow(context_number_of(KERB), NOW_MS // 1000, 900, 0, 0, 214, (241, 297, 352))
NO_SUCH_LINE = m.SpeedWindow(context_number_of(KERB), NOW_MS // 1000, 900, 7, 0, 214, (241, 297, 352))
ASK = {
    "streams": "SELECT stream % 8, upto, ahead, stored, duplicates, lost, refused FROM streams ORDER BY box_no, stream",
    "records": "SELECT position, box_no, stream, seq, tag, received_ms, raw FROM records ORDER BY position",
    "windows": "SELECT * FROM crossing_windows ORDER BY position",
    "quarantine": "SELECT * FROM quarantine ORDER BY quarantine_no",
    "boxes": "SELECT box, heard_ms, quarantined_bytes, waiting_rows FROM boxes ORDER BY box_no",
    "waiting": "SELECT count(*) FROM waiting",
}


def without(monkeypatch, *newer) -> None:
    """Have the registry be the older one, before ``newer`` records were added: real decoders of fewer kinds."""
    older = Union[tuple(kind for kind in get_args(m.AnyRecord) if kind not in newer)]  # noqa: UP007 - made at run time

    class Whole(m.Batch, frozen=True, tag=1):
        records: tuple[older, ...]

    monkeypatch.setattr(codec, "_RECORD", msgspec.msgpack.Decoder(older))
    monkeypatch.setattr(judge, "_WHOLE", msgspec.msgpack.Decoder(Whole))


@pytest.fixture
def old_fleet(where, clock):
    """Store what an older fleet would have, in a database that outlives it."""

    def store(*deliveries, newer=(m.SpeedWindow,)) -> None:
        with pytest.MonkeyPatch.context() as older, open_database(where, clock) as database:
            without(older, *newer)
            Ledger(database.writer).store(deliveries)

    return store


@pytest.fixture
def held(where, clock):
    """Everything that the database holds."""

    def read() -> dict[str, list[tuple]]:
        with open_database(where, clock) as database:
            return {name: [tuple(row) for row in database.writer.execute(sql).fetchall()] for name, sql in ASK.items()}

    return read


@pytest.fixture
def command(where):
    def run(*words, data=where):
        place = data.url.get_secret_value() if isinstance(data, PostgresAddress) else str(data)
        return CliRunner().invoke(cli, ["quarantine", *words, "--data", place])

    return run


def test_what_an_older_registry_refused_is_stored_once_and_its_stream_says_so(old_fleet, held, command) -> None:
    box = Box()
    old_fleet(box.says(KERB, window(KERB), SPEEDS, SPEEDS, RUBBISH, window(KERB, at_s=500)))
    before = held()
    assert before["streams"] == [(1, 6, "[]", 3, 0, 0, 3)]
    assert [row[3] for row in before["records"]] == [1, 2, 6]

    done = command("replay")
    assert (done.exit_code, done.stdout) == (0, "3 judged again: 2 accepted, 1 still refused; 2 records stored\n")
    after = held()
    assert after["streams"] == [(1, 6, "[]", 5, 0, 0, 1)]
    assert [row[3] for row in after["records"]] == [1, 2, 6, 3, 4]
    assert [row[0] for row in after["records"]] == [before["records"][0][0] + n for n in range(5)], (
        "new cursors, no hole"
    )
    assert [row[6] for row in after["records"]][3:] == [encode(SPEEDS)] * 2
    assert after["boxes"] == [("gare-01", NOW_MS, len(RUBBISH), 0)]
    assert after["quarantine"] == [before["quarantine"][2]], "what is refused still stays as it was"


def test_a_second_replay_changes_nothing_and_what_a_box_says_again_is_known(old_fleet, held, command, where, clock):
    box = Box()
    said = box.says(KERB, SPEEDS, RUBBISH, NO_SUCH_LINE)
    old_fleet(said)
    assert "1 accepted, 2 still refused; 1 records stored" in command("replay").stdout
    once = held()
    assert "2 judged again: 0 accepted, 2 still refused; 0 records stored" in command("replay").stdout
    assert held() == once
    with open_database(where, clock) as database:
        again = Ledger(database.writer).store([said])
    assert (again.records.total(), again.duplicates) == (0, 4)
    assert held()["records"] == once["records"]


def test_consumers_are_told_what_was_replayed_behind_what_they_have(old_fleet, command, where, clock) -> None:
    box = Box()
    old_fleet(box.says(KERB, SPEEDS, window(KERB)))
    command("replay")
    with open_database(where, clock) as database:
        (shard,) = Outgoings(database.readers).behind()
        told = Outgoings(database.readers).after(*shard[:2])
    assert [(one.cursor, one.topic.rsplit("/", 1)[1]) for one in told] == [
        (1, "context"),
        (2, "crossings"),
        (3, "speeds"),
    ]


def test_a_context_that_was_refused_lets_its_waiting_windows_in(old_fleet, held, command) -> None:
    box = Box()
    old_fleet(box.says(KERB, window(KERB), SPEEDS, window(KERB, at_s=500)), newer=(m.Context, m.SpeedWindow))
    assert held()["waiting"] == [(2,)]
    assert "2 judged again: 2 accepted, 0 still refused; 4 records stored" in command("replay").stdout
    after = held()
    assert sorted(row[3] for row in after["records"]) == [1, 2, 3, 4]
    assert after["streams"] == [(1, 4, "[]", 4, 0, 0, 0)]
    assert (after["waiting"], len(after["windows"]), after["quarantine"]) == ([(0,)], 2, [])
    assert after["boxes"] == [("gare-01", NOW_MS, 0, 0)]


@pytest.mark.parametrize("late", [False, True], ids=["before-the-fleet-starts", "after-newer-ones-came"])
def test_a_replayed_context_or_birth_does_not_replace_a_newer_one(old_fleet, command, where, clock, late) -> None:
    box, at_s = Box(), NOW_MS // 1000
    first, newer = context(insee="30189"), context(insee="30258")
    births = [m.Birth(at_s + n, f"0.{n}.0", m.CONTRACT_REVISION, "bench") for n in (1, 2)]
    old_fleet(box.says(first), box.says(births[0]), newer=(m.Context, m.Birth))
    if late:
        with open_database(where, clock) as database:
            ledger = Ledger(database.writer)
            for said in (box.says(newer), box.says(births[1])):
                ledger.store([Delivery(said.topic, said.payload, NOW_MS + 60_000)])
    assert "2 judged again: 2 accepted, 0 still refused; 2 records stored" in command("replay").stdout
    with open_database(where, clock) as database:
        in_force = database.writer.execute("SELECT insee, context FROM cameras").fetchall()
        agent = database.writer.execute("SELECT agent FROM boxes").fetchall()
        assert database.writer.execute("SELECT count(*) FROM contexts").fetchone() == (1 + late,)
    expected = newer if late else first
    assert in_force == [(expected.insee, context_number_of(expected))]
    assert agent == [("0.2.0" if late else "0.1.0",)]


def test_a_full_waiting_room_leaves_a_record_in_quarantine(old_fleet, held, command, monkeypatch) -> None:
    old_fleet(Box().says(SPEEDS, SPEEDS))
    before = held()
    monkeypatch.setattr(shelves, "WAITING_ROWS_MAX", 1)
    assert "2 judged again: 1 accepted, 1 still refused; 0 records stored" in command("replay").stdout
    after = held()
    assert (after["waiting"], after["quarantine"]) == ([(1,)], before["quarantine"][1:])
    assert after["boxes"][0][2:] == (len(encode(SPEEDS)), 1)


def test_a_whole_message_that_is_refused_still_stays_as_it_was(old_fleet, held, command) -> None:
    bad = Box().says(KERB)
    stranger = Delivery("veilleur/v1/ville/99/gare-01/up/ev", bad.payload, NOW_MS)
    garbled = Delivery(bad.topic, b"\xc1", NOW_MS)
    old_fleet(bad, stranger, garbled, garbled)
    before = held()
    assert "2 judged again: 0 accepted, 2 still refused" in command("replay").stdout
    assert held() == before


def test_a_whole_message_that_can_be_read_today_is_taken_by_its_numbers(old_fleet, held, command, where, clock) -> None:
    box, other = Box(), Box(name="pont-02")
    old_fleet(box.says(KERB), other.says(health()))
    said = box.says(window(KERB), SPEEDS)
    with open_database(where, clock) as database:  # an older fleet knew less of envelopes, too
        database.writer.execute(
            "INSERT INTO quarantine (box_no, topic, reason, received_ms, times, digest, raw)"
            " VALUES (1, ?, '-', 1, 4, ?, ?)",
            (said.topic, b"d" * 32, said.payload),
        )
        database.writer.execute("UPDATE boxes SET quarantined_bytes = ? WHERE box_no = 1", (len(said.payload),))
    assert "1 judged again: 1 accepted, 0 still refused; 2 records stored" in command("replay").stdout
    after = held()
    assert (after["quarantine"], after["streams"][0]) == ([], (1, 3, "[]", 3, 0, 0, 0))
    assert after["boxes"] == [("gare-01", NOW_MS, 0, 0), ("pont-02", NOW_MS, 0, 0)], "nobody has spoken now"


def test_the_list_says_where_and_why_and_never_what(old_fleet, command) -> None:
    box = Box()
    old_fleet(box.says(KERB, SPEEDS), Delivery(box.topic(), b"\xc1secret", NOW_MS))
    lines = command("list").stdout.splitlines()
    assert lines[-1] == "2 in quarantine, 2 shown"
    record, message = (line.split("\t") for line in lines[:2])
    assert record[1:6] == ["gare-01", f"S/{box.stream()}/2", f"{len(encode(SPEEDS))} B", "x1", "2026-09-21T14:13:20Z"]
    assert message[2:4] == ["message", "7 B"]
    assert "not a message" in record[6]
    for kept in (b"secret", encode(SPEEDS)):
        assert kept.hex() not in "".join(lines)
        assert base64.b64encode(kept).decode() not in "".join(lines)
    assert command("list", "--limit", "1").stdout.splitlines()[-1] == "2 in quarantine, 1 shown"


@pytest.mark.parametrize("verb", ["list", "replay"])
def test_a_folder_without_a_database_is_refused_and_none_is_made(command, tmp_path, verb) -> None:
    done = command(verb, data=tmp_path / "elsewhere")
    assert done.exit_code == 1
    assert "there is no fleet's database" in done.stderr
    assert "--data" in done.stderr
    assert not (tmp_path / "elsewhere").exists()


def test_a_running_fleet_can_be_listed_but_not_replayed(old_fleet, command, where, clock) -> None:
    old_fleet(Box().says(KERB, SPEEDS))
    with open_database(where, clock):
        assert command("list").exit_code == 0
        refused = command("replay")
    assert refused.exit_code == 1
    assert "another veilleur-fleet " in refused.stderr
