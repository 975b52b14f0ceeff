"""The uplink against a real broker on loopback, with a fleet that keeps a ledger and acknowledges what it holds."""

import asyncio
import getpass
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import aiomqtt
import pytest
from msgspec import Raw

from box_builders import HandClock, a_health, a_window
from fleet_double import Ledger, fleet_at
from veilleur_agent.mouth.inflight import InFlight, Patience
from veilleur_agent.mouth.outbox import Outbox, Parcel
from veilleur_agent.mouth.room import Bounds
from veilleur_agent.mouth.session import Broker, MqttVersion
from veilleur_agent.mouth.shelf import Shelf
from veilleur_agent.mouth.uplink import Uplink
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.codec import encode
from veilleur_contracts.messages import Ack, Carried, MessageClass, RoadState, StreetEvent, ViewAlarm
from veilleur_contracts.topics import Down, Up, down_topic
from veilleur_simulator.broker import Broker as RealBroker
from veilleur_simulator.broker import broker_in, mosquitto_path
from veilleur_simulator.network import proxy_to
from veilleur_simulator.processes import Child, free_port, wait_until

QUICK = Patience(ack_s=0.3, ack_max_s=1.0, retry_s=0.02, retry_max_s=0.2)
WITHIN_S = 20.0


class Speaker:
    """An uplink over a real outbox, with what it told."""

    def __init__(self, shelf: Shelf, broker: Broker, clock: SystemClock, *, steered: bool = False) -> None:
        self.shelf = shelf
        self.told: list[tuple[str, dict[str, object]]] = []
        self.twins: list[bytes] = []
        self.uplink = Uplink(
            broker,
            shelf,
            controller="ville",
            box="gare-01",
            tell=self._tell,
            lost=self._lost,
            clock=clock,
            patience=QUICK,
            told=self.twins.append if steered else None,
        )
        self.times_lost = 0
        self._said = 0
        self.task: asyncio.Task[None] | None = None

    def _tell(self, event: str, **values: object) -> None:
        self.told.append((event, values))

    def _lost(self) -> None:
        self.times_lost += 1

    async def say(self, windows: int) -> None:
        first, self._said = self._said + 1, self._said + windows
        records = [Carried(1, n, Raw(encode(a_window(n)))) for n in range(first, self._said + 1)]
        await self.shelf.do(lambda outbox: outbox.store(records))
        self.uplink.wake()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not condition():  # what is waited for lies in another program
                self.check()
                await asyncio.sleep(0.01)

    async def until_empty(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            while await self.shelf.do(Outbox.left):
                self.check()
                await asyncio.sleep(0.01)

    def check(self) -> None:
        """Show what ended the uplink, which never ends by itself."""
        if self.task is not None and self.task.done():
            self.task.result()
            raise AssertionError("the uplink came to an end")

    def names(self) -> list[str]:
        return [event for event, _ in self.told]


@asynccontextmanager
async def speaking(
    path: Path, host: str, port: int, version: MqttVersion = "auto", *, steered: bool = False
) -> AsyncIterator[Speaker]:
    shelf = await Shelf.open(path, Bounds(), SystemClock())
    speaker = Speaker(shelf, Broker(port, version=version), SystemClock(), steered=steered)
    speaker.uplink.lead_to((host,))
    task = speaker.task = asyncio.create_task(speaker.uplink.run(), name="uplink")
    try:
        yield speaker
        speaker.check()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await shelf.close()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[RealBroker]:
    if mosquitto_path() is None:
        pytest.skip("Mosquitto is not installed")
    with broker_in(tmp_path / "broker", "mosquitto") as broker:
        yield broker


@pytest.mark.parametrize("version", ["auto", "5", "3.1.1"])
async def test_everything_said_is_stored_once_and_then_deleted(mosquitto, tmp_path, version) -> None:
    ledger = Ledger()
    async with (
        fleet_at(mosquitto.host, mosquitto.port, ledger),
        speaking(tmp_path / "o.sqlite", mosquitto.host, mosquitto.port, version) as one,
    ):
        await one.say(2500)
        await one.until_empty()
    assert ledger.windows() == list(range(1, 2501))
    assert one.names() == ["uplink.connected"]
    assert ledger.channels == {(MessageClass.STATISTICS, Up.EVENTS)}


async def test_the_embedded_broker_is_spoken_to_in_its_own_version(tmp_path: Path) -> None:
    ledger = Ledger()
    with broker_in(tmp_path / "broker", "amqtt") as broker:
        async with (
            fleet_at(broker.host, broker.port, ledger),
            speaking(tmp_path / "o.sqlite", broker.host, broker.port) as one,
        ):
            await one.say(50)
            await one.until_empty()
    assert ledger.windows() == list(range(1, 51))
    assert one.told[0] == ("uplink.connected", {"mqtt": 3, "failures": 1})


async def test_health_goes_on_a_channel_of_its_own(mosquitto, tmp_path) -> None:
    ledger = Ledger()
    async with (
        fleet_at(mosquitto.host, mosquitto.port, ledger),
        speaking(tmp_path / "o.sqlite", mosquitto.host, mosquitto.port) as one,
    ):
        await one.shelf.do(lambda outbox: outbox.say(a_health(1)))
        one.uplink.wake()
        await one.until_empty()
    assert ledger.channels == {(MessageClass.TECHNICAL, Up.HEALTH)}


async def test_alarms_go_first_then_events_and_roads_and_health_is_not_behind_all_statistics(
    mosquitto, tmp_path
) -> None:
    ledger = Ledger()
    with closing(Outbox.open(tmp_path / "o.sqlite", Bounds(), SystemClock())) as filled:
        records = [a_health(1), *(a_window(n) for n in range(1, 3001))]
        records += [RoadState(1, 1, 300, 0, 1, 1, 1, 1), StreetEvent(1, 1, 1, 0, 1, 0), ViewAlarm("gare", 1, 8, 34)]
        filled.store([Carried(1, n, Raw(encode(one))) for n, one in enumerate(records, start=1)])
    async with (
        fleet_at(mosquitto.host, mosquitto.port, ledger),
        speaking(tmp_path / "o.sqlite", mosquitto.host, mosquitto.port) as one,
    ):
        await one.until_empty()
    came = [type(record).__name__ for record in ledger.records.values()]
    assert came[:3] == ["ViewAlarm", "StreetEvent", "RoadState"]
    assert came.index("CameraHealth") < len(came) / 2
    assert ledger.windows() == list(range(1, 3001))


async def test_that_nobody_listens_is_told_once_by_the_pubacks_own_code(mosquitto, tmp_path) -> None:
    async with speaking(tmp_path / "o.sqlite", mosquitto.host, mosquitto.port, "5") as one:
        await one.say(5)
        await one.until(lambda: one.names().count("uplink.unacknowledged") == 1)
        assert one.names().count("uplink.unheard") == 1
        ledger = Ledger()
        async with fleet_at(mosquitto.host, mosquitto.port, ledger):
            await one.until_empty()
    assert ledger.windows() == [1, 2, 3, 4, 5]


@asynccontextmanager
async def broker_that_ends_with(code: int) -> AsyncIterator[int]:
    """A broker of MQTT 5 that grants all and then says DISCONNECT; Mosquitto 2.0 closes without a word. Its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while kind := await reader.read(1):
            (size,) = await reader.readexactly(1)
            body = await reader.readexactly(size)
            if kind[0] >> 4 == 1:
                writer.write(b"\x20\x03\x00\x00\x00")
            elif kind[0] >> 4 == 8:
                writer.write(b"\x90\x04" + body[:2] + b"\x00\x01")
                writer.write(bytes([0xE0, 2, code, 0]))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        pytest.param(0x8E, {"reason": "refused", "code": 0x8E}, id="another-client-of-this-name"),
        pytest.param(0x87, {"reason": "refused", "code": 0x87}, id="not-authorised"),
        pytest.param(0x8B, {"reason": "unreachable", "code": 0}, id="it-shuts-down"),
    ],
)
async def test_a_disconnect_that_says_why_is_told_by_its_number(tmp_path, code, told) -> None:
    async with broker_that_ends_with(code) as port, speaking(tmp_path / "o.sqlite", "127.0.0.1", port, "5") as one:
        await one.until(lambda: one.names().count("uplink.connected") >= 2)
        assert one.told[1] == ("uplink.lost", told)


async def test_what_the_disk_does_not_let_us_mark_as_published_is_not_published(mosquitto, tmp_path) -> None:
    ledger = Ledger()
    async with (
        fleet_at(mosquitto.host, mosquitto.port, ledger),
        speaking(tmp_path / "o.sqlite", mosquitto.host, mosquitto.port) as one,
    ):
        await one.until(lambda: "uplink.connected" in one.names())
        records = [Carried(1, 1, Raw(encode(a_window(1))))]

        def store_and_fail(outbox: Outbox) -> None:
            outbox.store(records)
            outbox._database.execute("PRAGMA query_only = ON")

        await one.shelf.do(store_and_fail)
        one.uplink.wake()
        await one.until(lambda: "outbox.disk_refused" in one.names())
        assert ledger.batches == 0
        await one.shelf.do(lambda outbox: outbox._database.execute("PRAGMA query_only = OFF"))
        await one.until_empty()
    assert ledger.windows() == [1]
    assert one.names().count("outbox.disk_refused") == 1


async def test_with_four_acks_in_ten_lost_nothing_is_lost_or_doubled(mosquitto, tmp_path) -> None:
    ledger = Ledger(drop_acks=0.4)
    async with (
        fleet_at(mosquitto.host, mosquitto.port, ledger),
        speaking(tmp_path / "o.sqlite", mosquitto.host, mosquitto.port) as one,
    ):
        for _ in range(20):
            await one.say(25)
            await asyncio.sleep(0)
        await one.until_empty()
    assert ledger.windows() == list(range(1, 501))


@pytest.mark.journey
async def test_a_broker_killed_again_and_again_loses_nothing(mosquitto, tmp_path) -> None:
    ledger = Ledger(drop_acks=0.2)
    async with (
        fleet_at(mosquitto.host, mosquitto.port, ledger),
        speaking(tmp_path / "o.sqlite", mosquitto.host, mosquitto.port) as one,
    ):
        for turn in range(4):
            await one.say(300)
            seen = ledger.batches
            await one.until(lambda seen=seen: ledger.batches > seen)
            await asyncio.to_thread(mosquitto.kill)
            await one.say(100)
            await asyncio.to_thread(mosquitto.start)
            await one.until(lambda turn=turn: one.names().count("uplink.connected") >= turn + 2)
        await one.until_empty()
    assert ledger.windows() == list(range(1, 1601))
    assert one.names().count("uplink.lost") >= 4


async def test_a_fleet_that_is_silent_is_told_once_and_probed_with_one_batch(mosquitto, tmp_path) -> None:
    ledger = Ledger()
    ledger.acks_held = True
    async with (
        fleet_at(mosquitto.host, mosquitto.port, ledger),
        speaking(tmp_path / "o.sqlite", mosquitto.host, mosquitto.port) as one,
    ):
        await one.say(5000)
        await one.until(lambda: "uplink.unacknowledged" in one.names())
        seen = ledger.batches
        await one.until(lambda: ledger.batches >= seen + 2)
        assert one.names().count("uplink.unacknowledged") == 1
        ledger.acks_held = False
        await one.until_empty()
    assert ledger.windows() == list(range(1, 5001))


async def test_a_connection_that_is_cut_is_replaced(mosquitto, tmp_path) -> None:
    ledger = Ledger()
    with proxy_to(mosquitto.port) as proxy:
        async with (
            fleet_at(mosquitto.host, mosquitto.port, ledger),
            speaking(tmp_path / "o.sqlite", "127.0.0.1", proxy.port) as one,
        ):
            await one.say(10)
            await one.until_empty()
            await asyncio.to_thread(proxy.cut)
            await one.until(lambda: "uplink.lost" in one.names())
            await one.say(10)
            await asyncio.to_thread(proxy.mend)
            await one.until_empty()
    assert ledger.windows() == list(range(1, 21))
    assert one.names() == ["uplink.connected", "uplink.lost", "uplink.connected"]


async def test_an_acknowledgement_nobody_can_have_meant_changes_nothing(mosquitto, tmp_path) -> None:
    async with (
        speaking(tmp_path / "o.sqlite", mosquitto.host, mosquitto.port) as one,
        aiomqtt.Client(mosquitto.host, mosquitto.port) as stranger,
    ):
        await one.say(5)
        await one.until(lambda: "uplink.connected" in one.names())
        topic = down_topic("ville", "gare-01", Down.ACK)
        (stream,) = await one.shelf.do(Outbox.streams)
        for payload in (b"", b"\xff" * 3000, encode(Ack(stream, 6)), b"\x93\x02\x01"):
            await stranger.publish(topic, payload, qos=1)
        await one.until(lambda: one.names().count("uplink.ack_rejected") == 4)
        assert await one.shelf.do(Outbox.left) == 5


@contextmanager
def strict_broker(directory: Path, rules: str) -> Iterator[int]:
    """Run a Mosquitto with ``rules``; yield its port."""
    program = mosquitto_path()
    if program is None:
        pytest.skip("Mosquitto is not installed")
    port = free_port()
    configuration, acl = directory / "strict.conf", directory / "strict.acl"
    acl.write_text("topic read #\n")
    configuration.write_text(f"user {getpass.getuser()}\nlistener {port} 127.0.0.1\n{rules.format(acl=acl)}\n")

    child = Child("the strict broker", [program, "-c", str(configuration)], directory / "strict.log")
    try:
        wait_until(lambda: is_open(port), WITHIN_S, "a strict broker")
        yield port
    finally:
        child.kill()


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        pytest.param("allow_anonymous false", [("uplink.lost", {"reason": "refused", "code": 135})], id="the-account"),
        pytest.param(
            "allow_anonymous true\nacl_file {acl}",
            [
                ("uplink.connected", {"mqtt": 5, "failures": 0}),
                ("uplink.lost", {"reason": "refused", "code": 135}),
            ],
            id="the-topic-by-puback-alone",
        ),
    ],
)
async def test_a_broker_that_refuses_is_told_by_number_and_asked_again(tmp_path, rules, told) -> None:
    with strict_broker(tmp_path, rules) as port:
        async with speaking(tmp_path / "o.sqlite", "127.0.0.1", port) as one:
            await one.say(5)
            await one.until(lambda: len(one.told) >= len(told) and one.uplink._turn == 0)
            assert one.told[: len(told)] == told
            assert await one.shelf.do(Outbox.left) == 5


async def test_where_nothing_listens_it_is_told_once_and_tried_again(tmp_path: Path) -> None:
    async with speaking(tmp_path / "o.sqlite", "127.0.0.1", free_port()) as one:
        await one.until(lambda: one.uplink._failures >= 3)
    assert one.told == [("uplink.lost", {"reason": "unreachable", "code": 0})]
    assert one.times_lost >= 3


async def test_a_broker_whose_name_leads_nowhere_is_waited_for(mosquitto, tmp_path) -> None:
    ledger = Ledger()
    async with (
        fleet_at(mosquitto.host, mosquitto.port, ledger),
        speaking(tmp_path / "o.sqlite", mosquitto.host, mosquitto.port) as one,
    ):
        one.uplink.lead_to(())
        await one.say(5)
        await one.until(lambda: one.times_lost >= 2)
        one.uplink.lead_to(("127.0.0.1",))
        await one.until_empty()
    assert ledger.windows() == [1, 2, 3, 4, 5]


def test_repeated_acknowledgements_of_the_same_number_are_no_progress() -> None:
    clock = HandClock()
    flight = InFlight(Patience(ack_s=10), clock)
    flight.published(Parcel(8, MessageClass.TECHNICAL, 1, 10, b"x"))
    flight.published(Parcel(8, MessageClass.TECHNICAL, 11, 20, b"x"))
    flight.acknowledged(8, 10)
    for _ in range(5):
        clock.advance(2)
        flight.acknowledged(8, 10)
    assert flight.overdue_in_s() == 0
    assert flight.give_up()
    assert flight.after(8, 10) == 10
    assert flight.is_doubtful


def test_a_lost_acknowledgement_makes_one_stream_be_said_again_while_the_fleet_answers_for_others() -> None:
    clock = HandClock()
    flight = InFlight(Patience(ack_s=10), clock)
    flight.published(Parcel(8, MessageClass.TECHNICAL, 1, 10, b"x"))
    flight.published(Parcel(9, MessageClass.STATISTICS, 1, 5, b"x"))
    flight.published(Parcel(9, MessageClass.STATISTICS, 6, 9, b"x"))
    clock.advance(6)
    flight.acknowledged(9, 5)
    clock.advance(4)
    assert flight.overdue_in_s() == 0
    assert not flight.give_up()
    assert (flight.after(8, 0), flight.after(9, 5)) == (0, 9)
    assert flight.has_room()
    assert not flight.is_doubtful
    clock.advance(6)
    assert flight.give_up(), "now nothing was heard for as long as may be"
    assert flight.after(9, 5) == 5


async def test_what_the_fleet_retained_for_the_box_is_heard_at_once_and_so_is_what_follows(tmp_path, mosquitto) -> None:
    topic = down_topic("ville", "gare-01", Down.TWIN)
    async with aiomqtt.Client(mosquitto.host, mosquitto.port) as fleet:
        await fleet.publish(topic, b"before", qos=1, retain=True)
        async with speaking(tmp_path / "outbox", mosquitto.host, mosquitto.port, steered=True) as speaker:
            await speaker.until(lambda: speaker.twins == [b"before"])
            await fleet.publish(topic, b"after", qos=1, retain=True)
            await speaker.until(lambda: speaker.twins == [b"before", b"after"])
