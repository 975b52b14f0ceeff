"""Carry the outbox to the fleet: batches up, cumulative acknowledgements down, and a new connection after each loss.

    outbox ──next_batch──▶ speak ──QoS 1──▶ broker ──▶ fleet
    papers ──next──────▶ tell ───QoS 1──▶ broker ──▶ fleet      (report, audit)
    outbox ◀─acknowledge── hear  ◀───────── broker ◀── Ack(stream, upto), after its commit

A PUBACK is not durability (a broker killed lost 2,000 of 2,000), so nothing is deleted on it. Whatever the fleet has
not acknowledged is published again after a new connection, and after a time without progress; when nothing at all is
heard, then one batch at a time. Alarms go first, then events, road states, statistics, health; a backlog of the last
two is paced (``pace``).
"""

import asyncio
import random
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final

from veilleur_agent.mouth.errors import (
    AckRejectedError,
    BrokerRefusedError,
    BrokerUnreachableError,
    CertificateRejectedError,
    DiskRefusedError,
    ProtocolRefusedError,
)
from veilleur_agent.mouth.inflight import InFlight, Patience
from veilleur_agent.mouth.meter import Meter
from veilleur_agent.mouth.outbox import Outbox, Parcel
from veilleur_agent.mouth.pace import Pace, PaceLimits, is_paced, order_of
from veilleur_agent.mouth.papers import LOOK_EVERY_S, Papers
from veilleur_agent.mouth.session import (
    FAILURE_CODES_FROM,
    LOST,
    NOBODY_LISTENS,
    Broker,
    Client,
    broker_error_of,
    check_granted,
    client_of,
    refused,
    to_the_end,
)
from veilleur_agent.mouth.shelf import Shelf
from veilleur_contracts.audit_copy import Copied, PartRejectedError, decode_copied
from veilleur_contracts.clock import Clock
from veilleur_contracts.codec import MessageRejectedError, decode_ack
from veilleur_contracts.messages import MessageClass
from veilleur_contracts.topics import Down, Up, down_topic, up_topic

DISK_RETRY_S: Final = 1.0
REFUSED_PAPERS_PAUSE_S: Final = 600.0


class _ChangeOver(Exception):  # noqa: N818 - no error: what ends a session for the next
    """There is a new certificate."""


class Uplink:
    """Speaks for one box. ``run`` never ends by itself: trouble with the broker is waited out.

    Args:
        broker: Where to connect.
        shelf: The outbox.
        controller: Who answers for the box's cameras.
        box: The box.
        tell: Says a registered event.
        lost: Asks for the broker's addresses to be looked up again.
        clock: For waiting.
        patience: How long to wait for what.
        meter: Counts what goes out.
        papers: What box hands over to be told as it is; None: nothing.
        copied: Takes how far the fleet's copy of the audit goes.
        told: Takes what the broker says this box should hold; None: nobody asks.
        limits: Between which rates a backlog goes out.
    """

    def __init__(
        self,
        broker: Broker,
        shelf: Shelf,
        *,
        controller: str,
        box: str,
        tell: Callable[..., None],
        lost: Callable[[], None],
        clock: Clock,
        patience: Patience | None = None,
        meter: Meter | None = None,
        papers: Papers | None = None,
        copied: Callable[[Copied], None] | None = None,
        told: Callable[[bytes], None] | None = None,
        limits: PaceLimits | None = None,
    ) -> None:
        self._meter = meter or Meter()
        self._papers = papers
        self._copied = copied
        self._clock = clock
        self._papers_after_s = clock.elapsed_s()
        self._twin_told = told
        self._broker = broker
        self._controller = controller
        self._box = box
        self._shelf = shelf
        self._tell = tell
        self._lost = lost
        self._addresses: tuple[str, ...] = ()
        self._patience = patience or Patience()
        self._in_flight = InFlight(self._patience, clock)
        self._pace = Pace(limits or PaceLimits(), clock, random.SystemRandom().random)
        self._more = asyncio.Event()
        self._change = asyncio.Event()
        self._turn = 0
        self._speaks_5 = broker.version != "3.1.1"
        self._failures = 0
        self._told: str | None = None
        self._is_unheard = self._disk_refuses = False

    def lead_to(self, addresses: tuple[str, ...]) -> None:
        """Take note of where the broker is, from the next connection on."""
        self._addresses = addresses

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._more.set()

    def change_over(self) -> None:
        """End this connection for another, which is made at once: there is a new certificate."""
        self._change.set()

    async def run(self) -> None:
        """Stay connected and carry, for ever."""
        while True:
            error: BrokerUnreachableError | BrokerRefusedError | None = None
            self._change.clear()
            try:
                await to_the_end(self._session())
            except* _ChangeOver:
                pass
            except* (LOST, BrokerUnreachableError, BrokerRefusedError) as group:
                error = broker_error_of(group)
            if error is not None:
                await self._wait_after(error)

    async def _wait_after(self, error: BrokerUnreachableError | BrokerRefusedError) -> None:
        self._failures += 1
        if self._broker.version == "auto" and isinstance(error, ProtocolRefusedError):
            self._speaks_5 = not self._speaks_5
            if self._failures == 1:
                return
        reason = "refused" if isinstance(error, BrokerRefusedError) else "unreachable"
        if reason != self._told:
            self._tell("uplink.lost", reason=reason, code=error.code)
            self._told = reason
        self._lost()
        longest_s = min(self._patience.retry_max_s, self._patience.retry_s * 2.0 ** min(self._failures - 1, 16))
        await asyncio.sleep(longest_s * random.SystemRandom().uniform(0.5, 1.0))

    async def _session(self) -> None:
        """Connect, listen for acknowledgements, and carry until the connection is lost."""
        if not self._addresses:
            raise BrokerUnreachableError("nobody knows where the broker is")
        address = self._addresses[self._failures % len(self._addresses)]
        tls = await self._tls()
        async with client_of(self._broker, address, self._box, speaks_5=self._speaks_5, tls=tls) as client:
            await self._subscribe(client)
            self._tell("uplink.connected", mqtt=5 if self._speaks_5 else 3, failures=self._failures)
            self._pace.restart(self._failures)
            self._failures, self._told = 0, None
            self._in_flight.restart()
            try:
                await self._carry(client)
            except* LOST:
                if client.refusal:
                    raise refused(client.refusal) from None
                raise

    async def _carry(self, client: Client) -> None:
        """Carry until the connection is lost."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear(client), name="uplink.hear")
            tasks.create_task(self._speak(client), name="uplink.speak")
            tasks.create_task(self._until_changed(), name="uplink.change")
            if self._papers is not None:
                tasks.create_task(self._tell_papers(client, self._papers), name="uplink.papers")

    async def _subscribe(self, client: Client) -> None:
        """Ask for what nothing goes without, and for the twin, which can be asked for elsewhere."""
        channels = [Down.ACK, *(() if self._papers is None else (Down.AUDIT,))]
        needed = len(channels)
        channels += [] if self._twin_told is None else [Down.TWIN]
        topics = [(down_topic(self._controller, self._box, channel), 1) for channel in channels]
        codes = list(await client.subscribe(topics))
        check_granted(codes[:needed])
        try:
            check_granted(codes[needed:])
        except BrokerRefusedError:
            self._tell("twin.refused")

    async def _tls(self) -> ssl.SSLContext | None:
        if self._broker.tls is None:
            return None
        try:
            return await asyncio.to_thread(self._broker.tls)
        except CertificateRejectedError:
            raise BrokerUnreachableError("this box has no certificate to show") from None

    async def _until_changed(self) -> None:
        await self._change.wait()
        raise _ChangeOver

    async def _hear(self, client: Client) -> None:
        audit, twin = (down_topic(self._controller, self._box, channel) for channel in (Down.AUDIT, Down.TWIN))
        async for message in client.messages:
            payload = message.payload if isinstance(message.payload, bytes) else b""
            topic = str(message.topic)
            if topic == audit:
                self._hear_copied(payload)
                continue
            if topic == twin and self._twin_told is not None:
                self._twin_told(payload)
                continue
            try:
                ack = decode_ack(payload)
                await self._shelf.do(partial(Outbox.acknowledge, ack=ack))
            except (MessageRejectedError, AckRejectedError):
                self._meter.rejects += 1
                self._tell("uplink.ack_rejected")
            except DiskRefusedError:
                self._tell("outbox.disk_refused")
            else:
                after_s = self._in_flight.acknowledged(ack.stream, ack.upto)
                if after_s is not None:
                    self._pace.answered(after_s)
                self._more.set()

    def _hear_copied(self, payload: bytes) -> None:
        """Take in how far the fleet's copy of the audit goes."""
        try:
            copied = decode_copied(payload)
        except PartRejectedError:
            self._meter.rejects += 1
            self._tell("uplink.ack_rejected")
            return
        if self._papers is not None:
            self._papers.answered(copied)
        if self._copied is not None:
            self._copied(copied)

    async def _publish(self, client: Client, channel: Up, payload: bytes, *, retain: bool = False) -> int:
        """Publish at QoS 1 and count it; return the PUBACK's code.

        Raises:
            BrokerRefusedError: The broker answers with no.
        """
        topic = up_topic(self._controller, self._box, channel)
        self._meter.sent(topic, payload)
        code = await client.say(topic, payload, retain=retain)
        if code >= FAILURE_CODES_FROM:
            self._meter.refused += 1
            raise refused(code)
        return code

    async def _tell_papers(self, client: Client, papers: Papers) -> None:
        """Tell what box hands over; a broker whose rights are older than this agent must not stop the counts."""
        papers.restart()
        while True:
            if self._clock.elapsed_s() < self._papers_after_s:
                await asyncio.sleep(LOOK_EVERY_S)
                continue
            paper = await asyncio.to_thread(papers.next)
            if paper is None:
                await asyncio.sleep(LOOK_EVERY_S)
                continue
            try:
                await self._publish(client, paper.channel, paper.payload, retain=paper.retain)
            except BrokerRefusedError:
                self._tell("papers.refused")
                papers.restart()  # what was refused was not told
                self._papers_after_s = self._clock.elapsed_s() + REFUSED_PAPERS_PAUSE_S

    async def _speak(self, client: Client) -> None:
        while True:
            self._more.clear()
            allowed = self._pace.allowed(self._in_flight.bytes_of(is_paced))
            parcel = await self._next(allowed.size_bytes) if self._in_flight.has_room() else None
            if parcel is None:
                await self._wait_for_more(allowed.again_in_s if self._in_flight.has_room() else None)
                continue
            channel = Up.HEALTH if parcel.kind is MessageClass.TECHNICAL else Up.EVENTS
            is_unheard = await self._publish(client, channel, parcel.payload) == NOBODY_LISTENS
            if is_unheard and not self._is_unheard:
                self._tell("uplink.unheard")
            self._is_unheard = is_unheard
            if is_paced(parcel.stream):
                self._pace.sent(len(parcel.payload), self._in_flight.bytes_of(is_paced))
                self._turn += 1
            self._in_flight.published(parcel)

    async def _next(self, room: int) -> Parcel | None:
        """Return the next batch, marked as published; None when there is none, or the disk does not take the mark."""
        try:
            parcel = await self._shelf.do(partial(self._pick, room=room))
        except DiskRefusedError:
            if not self._disk_refuses:
                self._tell("outbox.disk_refused")
            self._disk_refuses = True
            await asyncio.sleep(DISK_RETRY_S)
            self._more.set()
            return None
        self._disk_refuses = False
        return parcel

    def _pick(self, outbox: Outbox, room: int) -> Parcel | None:
        """Choose the next batch by class, oldest stream first, and mark it; ``room`` is what the pace allows."""
        streams = outbox.streams()
        for is_wanted, most in order_of(room, self._turn):
            for stream, acknowledged in streams.items():
                if is_wanted(stream):
                    parcel = outbox.next_batch(stream, self._in_flight.after(stream, acknowledged), most)
                    if parcel is not None:
                        outbox.mark(parcel)
                        return parcel
        return None

    async def _wait_for_more(self, again_in_s: float | None) -> None:
        """Wait for news, until something is overdue, or until the pace may let more go."""
        overdue_s = self._in_flight.overdue_in_s()
        waits = [seconds for seconds in (overdue_s, again_in_s) if seconds is not None]
        try:
            async with asyncio.timeout(min(waits, default=None)):
                await self._more.wait()
        except TimeoutError:
            if self._in_flight.overdue_in_s() != 0:
                return  # it was the pace
            if self._in_flight.give_up():
                self._tell("uplink.unacknowledged")
            self._pace.slower()
