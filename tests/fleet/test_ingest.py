"""Between boxes and store, over a real broker: stored, acknowledged, told, and nothing of it twice or too early."""

import asyncio
import getpass
import signal
import sqlite3
import subprocess
import sys

import sqlalchemy as sa

from fleet_builders import Box, birth, context, health, window
from veilleur_contracts import messages as m
from veilleur_contracts.codec import decode_record
from veilleur_contracts.topics import Up, up_topic
from veilleur_fleet import tell
from veilleur_fleet.store.database import open_database

KERB = context()


async def test_what_a_box_says_is_stored_acknowledged_and_told(worlds, database, either_broker, ask) -> None:
    box = Box()
    async with worlds.running(database, either_broker.port), worlds.listening(either_broker.port, box) as ear:
        await ear.say(box.says(birth(), health()))
        await ear.say(box.says(KERB, window(KERB)))
        await worlds.until(lambda: len(ear.acks) >= 2 and len(ear.told) >= 4, "acknowledging and telling")
    assert set(ear.acks) == {
        ("gare-01", box.stream(m.MessageClass.TECHNICAL), 2),
        ("gare-01", box.stream(m.MessageClass.STATISTICS), 2),
    }
    assert ask("SELECT count(*) FROM records") == [(4,)]
    assert [topic for topic, _, _ in ear.told] == [
        "veilleur/v1/ville/out/T/gare-01/birth",
        "veilleur/v1/ville/out/T/gare-01/health",
        "veilleur/v1/ville/out/S/30189/gare-parvis/context",
        "veilleur/v1/ville/out/S/30189/gare-parvis/crossings",
    ]
    assert [told.cursor for _, told, _ in ear.told] == [1, 2, 3, 4]
    assert decode_record(bytes(ear.told[3][1].record)) == window(KERB)


async def test_what_comes_again_is_acknowledged_again_and_told_once(worlds, database, broker, ask) -> None:
    box = Box()
    said = box.says(KERB, window(KERB))
    async with worlds.running(database, broker.port) as fleet, worlds.listening(broker.port, box) as ear:
        for number in range(3):
            await ear.say(said)
            await worlds.until(lambda wanted=number + 1: len(ear.acks) >= wanted, "another acknowledgement")
        await worlds.until(lambda: len(ear.told) >= 2, "telling")
        assert fleet.counted("duplicates") == 4
    assert {upto for _, _, upto in ear.acks} == {2}
    assert [told.cursor for _, told, _ in ear.told] == [1, 2]
    assert ask("SELECT count(*) FROM crossing_windows") == [(1,)]


async def test_a_hole_is_not_acknowledged_past_and_a_gap_is(worlds, database, broker) -> None:
    box = Box()
    async with worlds.running(database, broker.port), worlds.listening(broker.port, box) as ear:
        await ear.say(box.says(KERB, first_seq=1))
        await ear.say(box.says(window(KERB), first_seq=5))
        await worlds.until(lambda: len(ear.acks) >= 2, "two acknowledgements")
        assert {upto for _, _, upto in ear.acks} == {1}
        await ear.say(box.says(m.Gap(2, 4, m.GapReason.OUTBOX_FULL), kind=m.MessageClass.STATISTICS, first_seq=2))
        await worlds.until(lambda: ear.acks[-1][2] == 5, "the mark moving over the gap")


async def test_a_refused_record_is_acknowledged_kept_and_alarmed(worlds, database, broker, ask, said) -> None:
    box = Box()
    async with worlds.running(database, broker.port) as fleet, worlds.listening(broker.port, box) as ear:
        await ear.say(box.says(KERB, b"\x92\x63\x01", window(KERB)))
        await worlds.until(lambda: ear.acks, "the acknowledgement")
        assert ear.acks[0][2] == 3
        assert fleet.counted("refused_records") == 1
    assert ask("SELECT seq FROM quarantine") == [(2,)]
    assert {"event": "record.quarantined", "box": "gare-01", "count": 1}.items() <= next(
        event for event in said if event["event"] == "record.quarantined"
    ).items()


async def test_a_box_that_speaks_under_another_name_is_not_acknowledged(worlds, database, broker, ask) -> None:
    good, thief = Box(), Box(name="gare-02")
    async with worlds.running(database, broker.port) as fleet, worlds.listening(broker.port, good, thief) as ear:
        stolen = up_topic("ville", "gare-01", Up.EVENTS).replace("gare-01", "gare-02")
        await ear.client.publish(stolen, thief.says(KERB).payload, qos=1)
        await ear.say(good.says(KERB))
        await worlds.until(lambda: ear.acks, "the acknowledgement of the honest box")
        assert fleet.counted("refused_messages") == 1
    assert [box for box, _, _ in ear.acks] == ["gare-01"]
    assert ask("SELECT box FROM boxes") == [("gare-01",)]


async def test_what_was_not_told_yet_is_told_after_a_restart(worlds, tmp_path, broker) -> None:
    box = Box()
    with open_database(tmp_path, worlds.SystemClock()) as database:
        worlds.Ledger(database.writer).store([box.says(KERB, *(window(KERB, at_s=at_s) for at_s in range(0, 2000, 5)))])
    with open_database(tmp_path, worlds.SystemClock()) as database:
        async with worlds.listening(broker.port) as ear, worlds.running(database, broker.port):
            await worlds.until(lambda: len(ear.told) >= 401, "telling what was left")
            await worlds.until(lambda: worlds.read(database, "SELECT published FROM shards") == [(401,)], "the mark")
        assert [told.cursor for _, told, _ in ear.told] == list(range(1, 402))
    with open_database(tmp_path, worlds.SystemClock()) as database:
        async with worlds.listening(broker.port) as ear, worlds.running(database, broker.port):
            await ear.say(box.says(window(KERB, at_s=5000)))
            await worlds.until(lambda: any(told.cursor == 402 for _, told, _ in ear.told), "telling what is new")
        assert [told.cursor for _, told, retained in ear.told if not retained] == [402]


async def test_a_camera_context_waits_at_the_broker_for_late_consumers(worlds, database, broker) -> None:
    late = context("quai-nord", insee="30258")
    box = Box(name="quai-01")
    async with worlds.running(database, broker.port), worlds.listening(broker.port, box) as ear:
        await ear.say(box.says(late))
        await worlds.until(lambda: any("quai-nord" in topic for topic, _, _ in ear.told), "telling")
    async with worlds.listening(broker.port) as ear:
        await worlds.until(lambda: any("quai-nord" in topic for topic, _, _ in ear.told), "the retained Context")


async def test_a_broker_that_is_killed_and_comes_back_is_found_again(worlds, database, tmp_path, said) -> None:
    broker = worlds.mosquitto(tmp_path, worlds.free_port(), "allow_anonymous true")
    broker.start()
    box = Box()
    try:
        async with worlds.running(database, broker.port) as fleet:
            async with worlds.listening(broker.port, box) as ear:
                await ear.say(box.says(KERB))
                await worlds.until(lambda: ear.acks, "the first acknowledgement")
            broker.kill()
            await worlds.until(lambda: not fleet.ingest.standing.connected, "noticing the loss")
            broker.start()
            await worlds.until(lambda: fleet.ingest.standing.connected, "the new connection")
            async with worlds.listening(broker.port, box) as ear:
                await ear.say(box.says(window(KERB)))
                await worlds.until(lambda: ear.acks, "the acknowledgement after the loss")
                assert ear.acks[0][2] == 2
    finally:
        broker.kill()
    assert [event["event"] for event in said if event["event"].startswith("broker.")].count("broker.lost") == 1


async def test_a_broker_that_refuses_the_account_is_named_once_and_tried_again(
    worlds, database, tmp_path, said
) -> None:
    broker = worlds.mosquitto(tmp_path, worlds.free_port(), "allow_anonymous false")
    broker.start()
    try:
        async with worlds.running(database, broker.port, account="fleet:s3cret@", connected=False):
            await worlds.until(lambda: [event for event in said if event["event"] == "broker.unreachable"], "the alarm")
    finally:
        broker.kill()
    (event,) = [event for event in said if event["event"] == "broker.unreachable"]
    assert "refuses us" in event["reason"]
    assert "s3cret" not in str(said)


async def test_a_broker_that_refuses_out_keeps_the_mark_and_does_not_stop_acknowledgements(
    worlds, database, tmp_path, said, ask
) -> None:
    """Mosquitto answers a forbidden publication with PUBACK 0x87, which aiomqtt calls a success."""
    rights = tmp_path / "rights"
    rights.write_text(
        "topic readwrite veilleur/v1/+/+/+/up/#\n"
        "topic readwrite veilleur/v1/+/+/+/dn/#\n"
        "topic read veilleur/v1/+/out/#\n"
    )
    rights.chmod(0o600)
    broker = worlds.mosquitto(
        tmp_path,
        worlds.free_port(),
        "allow_anonymous true",
        f"acl_file {rights}",
        f"user {getpass.getuser()}",  # Mosquitto would give up root and with it the right to read the file
    )
    broker.start()
    box = Box()
    try:
        async with worlds.running(database, broker.port) as fleet, worlds.listening(broker.port, box) as ear:
            await ear.say(box.says(KERB, window(KERB)))
            await worlds.until(lambda: ear.acks, "the acknowledgement")
            await worlds.until(lambda: fleet.counted("publications_refused") >= 2, "noticing the refusal")
            assert ear.told == []
    finally:
        broker.kill()
    assert ask("SELECT last, published FROM shards") == [(2, 0)]
    assert any(event["event"] == "publication.refused" for event in said)


async def test_a_full_disk_is_waited_out_and_nothing_is_acknowledged_meanwhile(worlds, database, broker, said) -> None:
    box = Box()
    writer = database.writer
    writer.execute("PRAGMA cache_size = -64")
    async with worlds.running(database, broker.port) as fleet, worlds.listening(broker.port, box) as ear:
        await worlds.until(lambda: fleet.ingest.standing.connected, "the connection")
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
        writer.execute(f"PRAGMA max_page_count = {pages + 2}")
        await ear.say(box.says(KERB, *(window(KERB, at_s=5 * number) for number in range(900))))
        await worlds.until(lambda: not fleet.ingest.standing.writable, "noticing the full disk")
        assert ear.acks == []
        writer.execute("PRAGMA max_page_count = 1073741823")
        await worlds.until(lambda: ear.acks, "the acknowledgement once there is room")
        assert fleet.ingest.standing.writable
        assert ear.acks[0][2] == 901
    assert [event["event"] for event in said].count("store.failed") == 1


KILLED_AFTER_COMMIT = """
import asyncio, os, signal, sys
from pathlib import Path
from veilleur_contracts.clock import SystemClock
from veilleur_fleet.ingest import Ingest
from veilleur_fleet.metrics import Metrics
from veilleur_fleet.settings import BrokerAddress
from veilleur_fleet.store.database import open_database
from veilleur_fleet.store.ledger import Ledger
from veilleur_fleet.store.outgoing import Outgoings
from veilleur_fleet.store.writer import Writer
from veilleur_fleet.tell import Teller

async def main():
    clock, metrics = SystemClock(), Metrics()
    database = open_database(Path(sys.argv[1]), clock)
    writer = Writer(Ledger(database.writer))
    teller = Teller(Outgoings(database.readers), writer, clock, metrics)
    ingest = Ingest(
        BrokerAddress.parse(sys.argv[2]), f"veilleur-fleet-{database.fleet_id}", writer=writer, teller=teller,
        clock=clock, metrics=metrics, changed=lambda: print("connected", flush=True),
        committed=lambda stored: stored.records and os.kill(os.getpid(), signal.SIGKILL),
    )
    await ingest.run(asyncio.Event())

asyncio.run(main())
"""


async def test_a_fleet_killed_between_commit_and_acknowledgement_stores_each_record_once(
    worlds, tmp_path, broker
) -> None:
    box = Box(name="mairie-02")
    said = box.says(KERB, window(KERB, at_s=5), window(KERB, at_s=10))
    async with worlds.listening(broker.port, box) as ear:
        with subprocess.Popen(  # noqa: ASYNC220 - waited for in a thread below
            [sys.executable, "-c", KILLED_AFTER_COMMIT, str(tmp_path), f"mqtt://127.0.0.1:{broker.port}"],
            stdout=subprocess.PIPE,
        ) as victim:
            assert await asyncio.to_thread(victim.stdout.readline) == b"connected\n"
            await ear.say(said)
            assert await asyncio.to_thread(victim.wait, worlds.DEADLINE_S) == -signal.SIGKILL
        assert ear.acks == []
        with open_database(tmp_path, worlds.SystemClock()) as database:
            assert worlds.read(database, "SELECT count(*) FROM records") == [(3,)]
            async with worlds.running(database, broker.port):
                await ear.say(said)
                await worlds.until(lambda: ear.acks, "the acknowledgement of what was said again")
                await worlds.until(lambda: len([1 for topic, _, _ in ear.told if "/S/" in topic]) >= 3, "telling")
            assert worlds.read(database, "SELECT count(*) FROM records") == [(3,)]
            assert worlds.read(database, "SELECT sum(duplicates) >= 3 FROM streams") == [(1,)]
        assert ear.acks[-1][2] == 3


async def test_a_database_that_answers_no_reader_for_a_while_ends_nothing(
    worlds, database, broker, said, monkeypatch
) -> None:
    monkeypatch.setattr(tell, "STORE_PAUSE_S", 0.01)
    box, silent = Box(), []

    def refuse(_connection) -> None:
        if silent:
            raise sa.exc.OperationalError("BEGIN", {}, sqlite3.OperationalError("database is locked"))

    sa.event.listen(database.readers, "begin", refuse)
    async with worlds.running(database, broker.port) as fleet, worlds.listening(broker.port, box) as ear:
        silent.append(True)
        await ear.say(box.says(KERB, window(KERB)))
        await worlds.until(lambda: ear.acks, "the acknowledgement")
        await worlds.until(lambda: fleet.counted("store_failures") >= 3, "asking again")
        assert fleet.ingest.standing.connected
        silent.clear()
        await worlds.until(lambda: len(ear.told) == 2, "telling")
    assert [event["event"] for event in said].count("store.failed") == 1
