"""A fleet that does the very least, for the tests of the mouth: a ledger, and acknowledgements up to the first hole."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiomqtt

from veilleur_contracts.codec import decode_batch, decode_record, encode
from veilleur_contracts.messages import Ack, CrossingWindow, Gap, MessageClass, Record, class_of_stream
from veilleur_contracts.topics import Down, Up, down_topic, read_up_topic, up_filter

READY_WITHIN_S = 20.0


class Ledger:
    """What a fleet does at the very least: keep each number once, acknowledge up to the first hole."""

    def __init__(self, drop_acks: float = 0.0) -> None:
        self.records: dict[tuple[int, int], Record] = {}
        self.covered: dict[int, set[int]] = {}
        self.channels: set[tuple[MessageClass, Up]] = set()
        self.papers: dict[Up, list[bytes]] = {Up.PRIVACY: [], Up.AUDIT: []}
        self.batches = 0
        self.acks_held = False
        self._drop = drop_acks
        self._random = random.Random(7)

    def windows(self) -> list[int]:
        return sorted(record.at_s for record in self.records.values() if isinstance(record, CrossingWindow))

    def take(self, payload: bytes, channel: Up) -> Ack | None:
        batch = decode_batch(payload)
        self.batches += 1
        self.channels.add((class_of_stream(batch.stream), channel))
        covered, seq = self.covered.setdefault(batch.stream, set()), batch.first_seq
        for raw in batch.records:
            record = decode_record(bytes(raw))
            last = record.last if isinstance(record, Gap) else seq
            self.records.setdefault((batch.stream, seq), record)
            covered |= set(range(seq, last + 1))
            seq = last + 1
        upto = 0
        while upto + 1 in covered:
            upto += 1
        if self.acks_held or self._random.random() < self._drop:
            return None
        return Ack(batch.stream, upto)


@asynccontextmanager
async def _connected(host: str, port: int) -> AsyncIterator[aiomqtt.Client]:
    """Connect; how that ended is looked at even when nobody listened then, or asyncio would complain of it at exit."""
    client = aiomqtt.Client(host, port, identifier="fleet", timeout=2)
    try:
        async with client:
            yield client
    finally:
        if client._disconnected.done() and not client._disconnected.cancelled():
            client._disconnected.exception()


@asynccontextmanager
async def fleet_at(host: str, port: int, ledger: Ledger) -> AsyncIterator[None]:
    """Run the ledger as a client of the broker, reconnecting for ever."""
    ready = asyncio.Event()

    async def serve() -> None:
        while True:
            try:
                async with _connected(host, port) as client:
                    await client.subscribe(up_filter(), qos=1)
                    ready.set()
                    async for message in client.messages:
                        topic = read_up_topic(str(message.topic))
                        assert isinstance(message.payload, bytes)
                        if topic.channel in ledger.papers:
                            ledger.papers[topic.channel].append(message.payload)
                            continue
                        ack = ledger.take(message.payload, topic.channel)
                        if ack is not None:
                            await client.publish(down_topic(topic.controller, topic.box, Down.ACK), encode(ack), qos=1)
            except aiomqtt.MqttError:
                await asyncio.sleep(0.02)

    task = asyncio.create_task(serve(), name="fleet")
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            await ready.wait()
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
