"""Sensors heard through a real broker, as a radio gateway has one, into a real outbox: each message once."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from sensor_builders import DECODERS, PARK, SENSORS, topic_of, uplink
from veilleur_agent.mouth.gateway import Gateway, GatewayBroker
from veilleur_agent.mouth.room import Bounds
from veilleur_agent.mouth.shelf import Shelf
from veilleur_agent.mouth.uplinks import sensors_by_address
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.codec import decode_batch, decode_record
from veilleur_contracts.messages import LightLevel, Record, SensorHealth, WaterLevel
from veilleur_simulator.broker import Broker, broker_in

pytestmark = pytest.mark.journey

WITHIN_S = 30.0
CONNECT, PUBACK, SUBSCRIBE = 1, 4, 8


class Listening:
    """A gateway at work, what it has logged, and what lies in its outbox."""

    def __init__(self, broker: GatewayBroker, shelf: Shelf) -> None:
        self.logged: list[str] = []
        self.woken = 0
        self._shelf = shelf
        self.gateway = Gateway(
            broker,
            "gare-01",
            sensors_by_address(SENSORS, DECODERS),
            shelf=shelf,
            tell=lambda event, **_: self.logged.append(event),
            wake=self._wake,
            clock=SystemClock(),
        )

    def _wake(self) -> None:
        self.woken += 1

    async def records(self) -> list[Record]:
        streams = await self._shelf.do(lambda outbox: outbox.streams())
        parcels = [await self._shelf.do(lambda outbox, one=one: outbox.next_batch(one, 0)) for one in streams]
        return [decode_record(bytes(raw)) for one in parcels if one for raw in decode_batch(one.payload).records]

    async def until(self, kind: type[Record], count: int) -> list[Record]:
        found: list[Record] = []
        async with asyncio.timeout(WITHIN_S):
            while len(found) < count:
                await asyncio.sleep(0.02)
                found = [one for one in await self.records() if isinstance(one, kind)]
        return found

    async def is_logged(self, event: str) -> None:
        async with asyncio.timeout(WITHIN_S):
            seen = 0
            while event not in self.logged[seen:]:
                seen = len(self.logged)
                await asyncio.sleep(0.02)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with broker_in(tmp_path / "broker") as one:
        yield one


@contextlib.asynccontextmanager
async def listening(broker: Broker, folder: Path) -> AsyncIterator[Listening]:
    shelf = await Shelf.open(folder / "outbox.sqlite", Bounds(), SystemClock())
    one = Listening(GatewayBroker(broker.host, broker.port), shelf)
    task = asyncio.create_task(one.gateway.run(), name="gateway")
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await shelf.close()


def published(broker: Broker, *messages: tuple[str, bytes]) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
    client.connect(broker.host, broker.port)
    client.loop_start()
    for topic, payload in messages:
        client.publish(topic, payload, qos=1).wait_for_publish(WITHIN_S)
    client.disconnect()
    client.loop_stop()


async def test_what_a_sensor_says_lies_in_the_outbox_with_how_it_is_heard(broker, tmp_path) -> None:
    async with listening(broker, tmp_path) as one:
        await one.is_logged("gateway.connected")
        await asyncio.to_thread(
            published, broker, (topic_of(), uplink()), (topic_of(PARK), uplink(b"\0\x12", PARK, port=1))
        )
        assert [level.level_mm for level in await one.until(WaterLevel, 1)] == [1_500]
        assert [level.lux for level in await one.until(LightLevel, 1)] == [18]
        health = {sign.sensor: sign for sign in await one.until(SensorHealth, 2)}
        assert (health["vistre-amont"].battery_mv, health["vistre-amont"].faint_db) == (3_450, 61)
        assert one.woken == 2


async def test_a_message_is_told_once_however_often_it_comes_also_over_a_restart(broker, tmp_path) -> None:
    async with listening(broker, tmp_path) as one:
        await one.is_logged("gateway.connected")
        await asyncio.to_thread(published, broker, *[(topic_of(), uplink(counter=7))] * 3)
        await one.until(WaterLevel, 1)
    async with listening(broker, tmp_path) as one:
        await one.is_logged("gateway.connected")
        again = (topic_of(), uplink(counter=7))
        await asyncio.to_thread(published, broker, again, (topic_of(), uplink(counter=8)))
        assert len(await one.until(WaterLevel, 2)) == 2


async def test_what_comes_while_nobody_listens_waits_at_the_gateway(broker, tmp_path) -> None:
    async with listening(broker, tmp_path) as one:
        await one.is_logged("gateway.connected")
    await asyncio.to_thread(published, broker, *((topic_of(), uplink(counter=number)) for number in range(1, 6)))
    async with listening(broker, tmp_path) as one:
        assert len(await one.until(WaterLevel, 5)) == 5


@contextlib.asynccontextmanager
async def broker_with_a_message_in_its_greeting(heard: list[int]) -> AsyncIterator[int]:
    """A broker that greets whoever connects together with what waited for it, and writes down each packet. Its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        topic, payload = topic_of().encode(), uplink()
        body = len(topic).to_bytes(2, "big") + topic + b"\0\x07" + payload
        published = bytes([0x32, 0x80 | len(body) & 0x7F, len(body) >> 7]) + body
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                kind, size = await reader.readexactly(2)
                packet = await reader.readexactly(size)
                heard.append(kind >> 4)
                if kind >> 4 == CONNECT:
                    writer.write(b"\x20\x02\x01\x00" + published)
                elif kind >> 4 == SUBSCRIBE:
                    writer.write(b"\x90\x03" + packet[:2] + b"\x01")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_what_waited_is_acknowledged_only_when_it_lies_in_the_outbox(tmp_path) -> None:
    heard: list[int] = []
    shelf = await Shelf.open(tmp_path / "outbox.sqlite", Bounds(), SystemClock())
    may_write = threading.Event()
    writing = asyncio.create_task(shelf.do(lambda _: may_write.wait(WITHIN_S)), name="disk")
    async with broker_with_a_message_in_its_greeting(heard) as port:
        one = Listening(GatewayBroker("127.0.0.1", port), shelf)
        task = asyncio.create_task(one.gateway.run(), name="gateway")
        await one.is_logged("gateway.connected")
        assert heard == [CONNECT, SUBSCRIBE]
        may_write.set()
        await one.until(WaterLevel, 1)
        async with asyncio.timeout(WITHIN_S):
            while PUBACK not in heard:  # noqa: ASYNC110  # heard by a server in this loop
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, writing, return_exceptions=True)
    await shelf.close()


async def test_a_broker_that_was_away_is_found_again(broker, tmp_path) -> None:
    async with listening(broker, tmp_path) as one:
        await one.is_logged("gateway.connected")
        broker.kill()
        await one.is_logged("gateway.lost")
        broker.start()
        one.logged.clear()
        await one.is_logged("gateway.connected")
        await asyncio.to_thread(published, broker, (topic_of(), uplink()))
        await one.until(WaterLevel, 1)


async def test_rubbish_is_refused_counted_and_stops_nothing(broker, tmp_path) -> None:
    rubbish = [(topic_of(), data) for data in (b"", b"{}", b"[" * 9_000, uplink(b"\xff" * 4), b"\x00" * 20_000)]
    async with listening(broker, tmp_path) as one:
        await one.is_logged("gateway.connected")
        await asyncio.to_thread(
            published, broker, *rubbish, ("application/1/device/0/event/up", b"x"), (topic_of(), uplink())
        )
        (health,) = await one.until(SensorHealth, 1)
        assert (health.refused, health.missed) == (len(rubbish), 0)
        assert one.logged.count("gateway.uplink_refused") == 1
        assert len(await one.until(WaterLevel, 1)) == 1


async def test_a_sensor_that_never_stops_talking_fills_no_disk(broker, tmp_path) -> None:
    async with listening(broker, tmp_path) as one:
        await one.is_logged("gateway.connected")
        flood = [(topic_of(), uplink(counter=number)) for number in range(1, 200)]
        await asyncio.to_thread(published, broker, *flood, (topic_of(PARK), uplink(b"\0\x12", PARK, port=1)))
        await one.until(LightLevel, 1)
        assert len([record for record in await one.records() if isinstance(record, WaterLevel)]) < 40
