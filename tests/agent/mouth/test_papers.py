"""Papers through a real broker: told and answered; and a broker that does not allow them does not stop the counts."""

import asyncio
import getpass
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiomqtt
import pytest
from msgspec import Raw

from box_builders import a_window
from veilleur_agent.mouth import uplink
from veilleur_agent.mouth.inflight import Patience
from veilleur_agent.mouth.meter import Meter
from veilleur_agent.mouth.outbox import Outbox
from veilleur_agent.mouth.papers import Papers
from veilleur_agent.mouth.room import Bounds
from veilleur_agent.mouth.session import Broker
from veilleur_agent.mouth.shelf import Shelf
from veilleur_agent.mouth.uplink import Uplink
from veilleur_contracts.audit_copy import Copied, encode_copied
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.codec import decode_batch, encode
from veilleur_contracts.messages import Ack, Carried
from veilleur_contracts.topics import Down, Up, down_topic, read_up_topic, up_filter
from veilleur_simulator.broker import mosquitto_path
from veilleur_simulator.processes import Child, free_port, wait_until
from waiting import until

pytestmark = pytest.mark.processes
WITHIN_S = 20.0
ALL = ("#",)
OLDER = ("veilleur/v1/ville/+/gare-01/up/ev", "veilleur/v1/ville/+/gare-01/dn/ack")


class World:
    """A broker with rights, a fleet that acknowledges, and an uplink with papers to tell."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.meter = folder, Meter()
        self.heard: list[tuple[Up, bytes, bool]] = []
        self.told: list[str] = []
        self.copied: list[Copied] = []
        (folder / "handed").mkdir()
        (folder / "handed" / "report.dsse").write_bytes(b"report")
        (folder / "handed" / "audit-000000000000-000000000009.part").write_bytes(b"part")

    async def fleet(self, port: int, ready: asyncio.Event) -> None:
        async with aiomqtt.Client("127.0.0.1", port, username="fleet", identifier="fleet") as client:
            await client.subscribe(up_filter(), qos=1)
            ready.set()
            async for message in client.messages:
                topic, payload = read_up_topic(str(message.topic)), bytes(message.payload)
                self.heard.append((topic.channel, payload, message.retain))
                if topic.channel is Up.EVENTS:
                    batch = decode_batch(payload)
                    ack = encode(Ack(batch.stream, batch.first_seq + len(batch.records) - 1))
                    await client.publish(down_topic("ville", "gare-01", Down.ACK), ack, qos=1)
                if topic.channel is Up.AUDIT:
                    where = down_topic("ville", "gare-01", Down.AUDIT)
                    await client.publish(where, b"rubbish", qos=1)
                    await client.publish(where, encode_copied(Copied("a" * 16, 9)), qos=1)

    async def until(self, condition) -> None:
        await until(condition, WITHIN_S)


@pytest.fixture
async def world(tmp_path, request):
    program = mosquitto_path()
    if program is None:
        pytest.skip("Mosquitto is not installed")
    one, port = World(tmp_path), free_port()
    rights = [f"topic readwrite {topic}" for topic in request.param]
    (tmp_path / "acl").write_text("\n".join(["user fleet", "topic readwrite #", "user gare-01", *rights, ""]))
    lines = (
        f"user {getpass.getuser()}",
        f"listener {port} 127.0.0.1",
        "allow_anonymous true",
        f"acl_file {tmp_path}/acl",
    )
    (tmp_path / "mosquitto.conf").write_text("\n".join(lines))
    broker = Child("broker", [program, "-c", str(tmp_path / "mosquitto.conf")], tmp_path / "broker.log")
    wait_until(lambda: "running" in (tmp_path / "broker.log").read_text(), WITHIN_S, "a broker")
    clock, ready = SystemClock(), asyncio.Event()
    shelf = await Shelf.open(tmp_path / "outbox.sqlite", Bounds(), clock)
    one.uplink = Uplink(
        Broker(port, user="gare-01"),
        shelf,
        controller="ville",
        box="gare-01",
        tell=lambda event, **_: one.told.append(event),
        lost=lambda: None,
        clock=clock,
        meter=one.meter,
        papers=Papers(tmp_path / "handed", clock),
        copied=one.copied.append,
    )
    one.shelf = shelf
    one.uplink.lead_to(("127.0.0.1",))
    tasks = [asyncio.create_task(one.fleet(port, ready), name="fleet")]
    await ready.wait()
    tasks.append(asyncio.create_task(one.uplink.run(), name="uplink"))
    yield one
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await shelf.close()
    broker.kill()


async def count(world: World) -> None:
    records = [Carried(1, n, Raw(encode(a_window(n)))) for n in (1, 2, 3)]
    await world.shelf.do(lambda outbox: outbox.store(records))
    world.uplink.wake()


async def _is_empty(world) -> bool:
    return not await world.shelf.do(Outbox.left)


@pytest.mark.parametrize("world", [ALL], indirect=True, ids=["all-allowed"])
async def test_the_report_is_kept_by_the_broker_and_the_audit_answered(world) -> None:
    await world.until(lambda: world.copied)
    assert world.copied == [Copied("a" * 16, 9)]
    assert {(channel, payload) for channel, payload, _ in world.heard} == {(Up.PRIVACY, b"report"), (Up.AUDIT, b"part")}
    assert (world.meter.rejects, world.meter.refused) == (1, 0)
    assert world.meter.message_bytes > world.meter.messages * len("veilleur/v1/ville")


@pytest.mark.parametrize("world", [OLDER], indirect=True, ids=["older-rights"])
async def test_a_broker_with_older_rights_refuses_papers_and_takes_counts(world) -> None:
    await world.until(lambda: "papers.refused" in world.told)
    await count(world)
    await world.until(lambda: any(channel is Up.EVENTS for channel, _, _ in world.heard))
    await until(lambda: _is_empty(world), WITHIN_S)
    assert world.told.count("papers.refused") == 1
    assert world.meter.refused == 1


@pytest.mark.parametrize("world", [OLDER], indirect=True, ids=["older-rights"])
async def test_what_a_broker_refused_is_told_again_and_its_rights_may_be_newer_then(world, monkeypatch) -> None:
    monkeypatch.setattr(uplink, "REFUSED_PAPERS_PAUSE_S", 0.05)
    await world.until(lambda: world.told.count("papers.refused") >= 3)
    assert world.told.count("uplink.connected") == 1


@asynccontextmanager
async def broker_that_answers_together() -> AsyncIterator[int]:
    """A broker of MQTT 5 whose answers to counts (yes) and papers (no) come in one piece, if both wait. Its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers: dict[bool, bytes] = {}

        def answer() -> None:
            writer.write(b"".join(answers[one] for one in sorted(answers)))
            answers.clear()

        with suppress(asyncio.IncompleteReadError):
            while True:
                kind, body = await packet_from(reader)
                if kind == 1:
                    writer.write(b"\x20\x03\x00\x00\x00")
                elif kind == 8:
                    writer.write(b"\x90\x05" + body[:2] + b"\x00\x01\x01")
                elif kind == 3:
                    end = 2 + int.from_bytes(body[:2], "big")
                    is_paper = body[2:end].endswith((b"/privacy", b"/audit"))
                    answers[is_paper] = b"\x40\x03" + body[end : end + 2] + (b"\x87" if is_paper else b"\x00")
                    asyncio.get_running_loop().call_later(0.0 if len(answers) == 2 else 0.3, answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def packet_from(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    (head,) = await reader.readexactly(1)
    size = shift = 0
    while True:
        (byte,) = await reader.readexactly(1)
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return head >> 4, await reader.readexactly(size)


async def test_a_paper_refused_beside_a_batch_that_is_taken_ends_no_connection(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(uplink, "REFUSED_PAPERS_PAUSE_S", 0.05)
    world, clock = World(tmp_path), SystemClock()
    world.shelf = await Shelf.open(tmp_path / "outbox.sqlite", Bounds(), clock)
    async with broker_that_answers_together() as port:
        speaker = world.uplink = Uplink(
            Broker(port, version="5"),
            world.shelf,
            controller="ville",
            box="gare-01",
            tell=lambda event, **_: world.told.append(event),
            lost=lambda: None,
            clock=clock,
            patience=Patience(ack_s=0.1, ack_max_s=0.1),
            papers=Papers(tmp_path / "handed", clock),
        )
        speaker.lead_to(("127.0.0.1",))
        await count(world)
        task = asyncio.create_task(speaker.run(), name="uplink")
        await world.until(lambda: world.told.count("papers.refused") >= 4 or "uplink.lost" in world.told)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await world.shelf.close()
    assert "uplink.lost" not in world.told
