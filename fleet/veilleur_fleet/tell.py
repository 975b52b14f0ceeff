"""Tell boxes what is safe, and consumers what is new.

    acknowledgements ──▶ Ack on dn/ack
    records after the published mark ──▶ out/ ──taken by the broker──▶ the mark moves

Shards are told beside each other, so that one box with a long backlog keeps only those of its own shard waiting. The
marks of all of them are written together, a little later: after a crash something is told again rather than never, and
each message carries its cursor, so a consumer knows what it has.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeVar

import structlog

from veilleur_contracts.audit_copy import Copied, encode_copied
from veilleur_contracts.clock import Clock
from veilleur_contracts.codec import encode
from veilleur_contracts.messages import Ack
from veilleur_contracts.topics import Down, down_topic
from veilleur_fleet.errors import StoreUnavailableError
from veilleur_fleet.metrics import Alarm, Metrics
from veilleur_fleet.store.outgoing import Outgoings
from veilleur_fleet.store.work import Acknowledgement, CopiedUpto
from veilleur_fleet.store.writer import Writer

_T = TypeVar("_T")

REFUSED_PAUSE_S: Final = 10.0
STORE_PAUSE_S: Final = 1.0
SHARDS_AT_ONCE: Final = 4
MARK_EVERY_S: Final = 0.25
"""A mark is a commit, for which what boxes say must wait."""


class Said(NamedTuple):
    """One message for the broker."""

    topic: str
    payload: bytes
    retain: bool = False


class Speaker(Protocol):
    """A connection to the broker."""

    async def say(self, messages: Sequence[Said]) -> int:
        """Publish in order and wait for every answer; return how many were refused."""
        ...


class Teller:
    """Says what follows from a commit. Holds one slice of each of ``SHARDS_AT_ONCE`` shards."""

    def __init__(self, outgoings: Outgoings, writer: Writer, clock: Clock, metrics: Metrics) -> None:
        self._outgoings = outgoings
        self._writer = writer
        self._metrics = metrics
        self._alarm = Alarm(clock)
        self._log = structlog.get_logger()
        self._told: dict[int, int] = {}
        self._marks: dict[int, int] = {}
        self._to_mark = asyncio.Event()

    async def acknowledge(
        self, speaker: Speaker, acks: asyncio.Queue[list[Acknowledgement | CopiedUpto] | None]
    ) -> None:
        """Tell boxes what they may forget, until None comes."""
        while (batch := await acks.get()) is not None:
            refused = await speaker.say([_said_of(ack) for ack in batch])
            self._metrics.acknowledged.inc(len(batch) - refused)
            self._note_refused(refused)

    async def tell(self, speaker: Speaker, wake: asyncio.Event) -> None:
        """Publish what consumers have not been told, for ever: each shard in its order, none waiting for another."""
        under_way: set[int] = set()
        turns = asyncio.Semaphore(SHARDS_AT_ONCE)

        async def tell_shard(shard: int, last: int) -> None:
            while self._told[shard] < last:
                async with turns:
                    is_taken = await self._tell_slice(speaker, shard, last)
                if not is_taken:
                    await asyncio.sleep(REFUSED_PAUSE_S)
            under_way.discard(shard)
            wake.set()  # for what came meanwhile

        async with asyncio.TaskGroup() as tasks:
            if self._marks:
                self._to_mark.set()  # the connection before ended with these unwritten
            tasks.create_task(self._mark(), name="mark-published")
            while True:
                await wake.wait()
                wake.clear()
                for shard, published, last in await self._read(self._outgoings.behind):
                    told = self._told[shard] = max(published, self._told.get(shard, 0))
                    if told < last and shard not in under_way:
                        under_way.add(shard)
                        tasks.create_task(tell_shard(shard, last), name="tell-shard")

    async def _tell_slice(self, speaker: Speaker, shard: int, last: int) -> bool:
        """Publish the next of ``shard``; False when the broker refuses some, which is to be tried again later."""
        outgoing = await self._read(partial(self._outgoings.after, shard, self._told[shard]))
        refused = await speaker.say([Said(one.topic, one.payload, one.retain) for one in outgoing])
        self._note_refused(refused)
        if refused:
            return False
        self._metrics.published.inc(len(outgoing))
        # Nothing follows where a restored backup jumped over cursors; the mark jumps too.
        self._told[shard] = self._marks[shard] = outgoing[-1].cursor if outgoing else last
        self._to_mark.set()
        return True

    async def _read(self, question: Callable[[], _T]) -> _T:
        """Ask the store, again and again while it does not answer: what is to be told waits in it."""
        while True:
            try:
                return await asyncio.to_thread(question)
            except StoreUnavailableError as error:
                self._note_silence(error)
                await asyncio.sleep(STORE_PAUSE_S)

    async def _mark(self) -> None:
        """Write how far each shard was told, of all shards together and not more often than is worth it."""
        while True:
            await self._to_mark.wait()
            self._to_mark.clear()
            marks = dict(self._marks)
            try:
                await self._writer.mark_published(marks)
            except StoreUnavailableError as error:
                self._note_silence(error)
                self._to_mark.set()
                await asyncio.sleep(REFUSED_PAUSE_S)
                continue
            for shard, upto in marks.items():
                if self._marks[shard] == upto:
                    del self._marks[shard]
            await asyncio.sleep(MARK_EVERY_S)

    def _note_silence(self, error: StoreUnavailableError) -> None:
        self._metrics.store_failures.inc()
        if self._alarm.is_due("store"):
            self._log.error("store.failed", reason=str(error))

    def _note_refused(self, count: int) -> None:
        if count:
            self._metrics.publications_refused.inc(count)
            if self._alarm.is_due("refused"):
                self._log.warning("publication.refused", count=count, remedy="give the fleet's account that right")


def _said_of(ack: Acknowledgement | CopiedUpto) -> Said:
    if isinstance(ack, CopiedUpto):
        return Said(down_topic(ack.controller, ack.box, Down.AUDIT), encode_copied(Copied(ack.log, ack.upto)))
    return Said(down_topic(ack.controller, ack.box, Down.ACK), encode(Ack(ack.stream, ack.upto)))
