"""Tell boxes what is safe, and consumers what is new.

    acknowledgements ──▶ Ack on dn/ack
    records after the published mark ──▶ out/ ──taken by the broker──▶ the mark moves

Told again after a crash rather than never: each message carries its cursor, so a consumer knows what it has.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import structlog

from veilleur_contracts.audit_copy import Copied, encode_copied
from veilleur_contracts.clock import Clock
from veilleur_contracts.codec import encode
from veilleur_contracts.messages import Ack
from veilleur_contracts.topics import Down, down_topic
from veilleur_fleet.errors import StoreUnavailableError
from veilleur_fleet.metrics import Alarm, Metrics
from veilleur_fleet.store.outgoing import Outgoing, Outgoings
from veilleur_fleet.store.work import Acknowledgement, CopiedUpto
from veilleur_fleet.store.writer import Writer

REFUSED_PAUSE_S: Final = 10.0


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
    """Says what follows from a commit. Holds one slice of one shard."""

    def __init__(self, outgoings: Outgoings, writer: Writer, clock: Clock, metrics: Metrics) -> None:
        self._outgoings = outgoings
        self._writer = writer
        self._metrics = metrics
        self._alarm = Alarm(clock)
        self._log = structlog.get_logger()

    async def acknowledge(
        self, speaker: Speaker, acks: asyncio.Queue[list[Acknowledgement | CopiedUpto] | None]
    ) -> None:
        """Tell boxes what they may forget, until None comes."""
        while (batch := await acks.get()) is not None:
            refused = await speaker.say([_said_of(ack) for ack in batch])
            self._metrics.acknowledged.inc(len(batch) - refused)
            self._note_refused(refused)

    async def tell(self, speaker: Speaker, wake: asyncio.Event) -> None:
        """Publish what consumers have not been told, a slice of each shard in turn; for ever."""
        while True:
            await wake.wait()
            wake.clear()
            while behind := await asyncio.to_thread(self._outgoings.behind):
                for shard, cursor, last in behind:
                    outgoing = await asyncio.to_thread(self._outgoings.after, shard, cursor)
                    # Nothing follows where a restored backup jumped over cursors; the mark jumps too.
                    upto = outgoing[-1].cursor if outgoing else last
                    if not await self._tell_slice(speaker, shard, outgoing, upto):
                        await asyncio.sleep(REFUSED_PAUSE_S)

    async def _tell_slice(self, speaker: Speaker, shard: int, outgoing: list[Outgoing], upto: int) -> bool:
        """Publish one slice and move the mark to ``upto``; False when that is to be tried again later."""
        refused = await speaker.say([Said(one.topic, one.payload, one.retain) for one in outgoing])
        self._note_refused(refused)
        if refused:
            return False
        self._metrics.published.inc(len(outgoing))
        try:
            await self._writer.mark_published(shard, upto)
        except StoreUnavailableError:
            self._metrics.store_failures.inc()
            return False
        return True

    def _note_refused(self, count: int) -> None:
        if count:
            self._metrics.publications_refused.inc(count)
            if self._alarm.is_due("refused"):
                self._log.warning("publication.refused", count=count, remedy="give the fleet's account that right")


def _said_of(ack: Acknowledgement | CopiedUpto) -> Said:
    if isinstance(ack, CopiedUpto):
        return Said(down_topic(ack.controller, ack.box, Down.AUDIT), encode_copied(Copied(ack.log, ack.upto)))
    return Said(down_topic(ack.controller, ack.box, Down.ACK), encode(Ack(ack.stream, ack.upto)))
