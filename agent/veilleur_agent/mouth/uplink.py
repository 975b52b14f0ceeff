"""Carry the outbox to the fleet: batches up, cumulative acknowledgements down, and a new connection after each loss.

    outbox ──next_batch──▶ speak ──QoS 1──▶ broker ──▶ fleet
    papers ──next──────▶ tell ───QoS 1──▶ broker ──▶ fleet      (report, audit)
    outbox ◀─acknowledge── hear  ◀───────── broker ◀── Ack(stream, upto), after its commit

A PUBACK is not durability (a broker killed lost 2,000 of 2,000), so nothing is deleted on it. Whatever the fleet has
not acknowledged is published again after a new connection, and after a time without progress; then one batch at a time,
until the fleet is heard again. Alarms go first, then events, road states, statistics, health; a backlog of the last two
is paced (``pace``).
"""

import asyncio
import random
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal

import aiomqtt
from aiomqtt.exceptions import MqttConnectError

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
from veilleur_agent.mouth.shelf import Shelf
from veilleur_contracts.audit_copy import Copied, PartRejectedError, decode_copied
from veilleur_contracts.clock import Clock
from veilleur_contracts.codec import MessageRejectedError, decode_ack
from veilleur_contracts.messages import MessageClass
from veilleur_contracts.topics import Down, Up, down_topic, up_topic

DISK_RETRY_S: Final = 1.0
NOBODY_LISTENS: Final = 0x10
"""PUBACK of MQTT 5: taken, and there was nobody to give it to."""
INCOMING_MAX: Final = 1000
KEEPALIVE_S: Final = 20
ANSWER_WITHIN_S: Final = 10.0
REFUSED_PROTOCOL: Final = frozenset({1, 132})
"""CONNACK codes for "not this version": 1 in MQTT 3.1.1, 0x84 in MQTT 5."""

CANCEL_AGAIN_S: Final = 0.5
FAILURE_CODES_FROM: Final = 0x80
REFUSED_PAPERS_PAUSE_S: Final = 600.0
REFUSALS_AT_THE_END: Final = frozenset(
    {0x82, 0x87, 0x8C, 0x8E, 0x90, 0x93, 0x94, 0x95, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9F}
)
"""DISCONNECT codes of MQTT 5 that trying again does not mend: rights, another client of this name, a quota, an order of
the administrator, a size or a quality of service that the broker does not take. Others tell of a broker that goes."""

MqttVersion = Literal["auto", "5", "3.1.1"]


@dataclass(frozen=True, slots=True)
class Broker:
    """How to be let in by the broker; where it is comes from box, because a mouth looks up no names."""

    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    version: MqttVersion = "auto"
    tls: Callable[[], ssl.SSLContext] | None = field(default=None, repr=False)
    """Makes what to connect with, anew for each connection; None: without TLS."""


class _ChangeOver(Exception):  # noqa: N818 - no error: what ends a session for the next
    """There is a new certificate."""


class _Client(aiomqtt.Client):
    """Remembers what a broker answers and aiomqtt 2.5.1 calls a success, or an end without a reason [measured]."""

    refusal: int = 0
    is_unheard: bool = False

    def _on_publish(
        self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any
    ) -> None:  # paho's own
        code = _number_of(reason_code)
        self.is_unheard = code == NOBODY_LISTENS
        if code >= FAILURE_CODES_FROM:
            self.refusal = code
        super()._on_publish(client, userdata, mid, reason_code, properties)

    def _on_disconnect(
        self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None
    ) -> None:  # paho's own
        if flags.is_disconnect_packet_from_server and _number_of(reason_code) in REFUSALS_AT_THE_END:
            self.refusal = _number_of(reason_code)
        super()._on_disconnect(client, userdata, flags, reason_code, properties)


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
                await _to_the_end(self._session())
            except* _ChangeOver:
                pass
            except* (aiomqtt.MqttError, BrokerUnreachableError, BrokerRefusedError) as group:
                error = _broker_error_of(group)
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
        async with _client_of(self._broker, address, self._box, speaks_5=self._speaks_5, tls=tls) as client:
            await self._subscribe(client)
            self._tell("uplink.connected", mqtt=5 if self._speaks_5 else 3, failures=self._failures)
            self._pace.restart(self._failures)
            self._failures, self._told = 0, None
            self._in_flight.restart()
            try:
                await self._carry(client)
            except* aiomqtt.MqttError:
                if client.refusal:
                    raise _refused(client.refusal) from None
                raise

    async def _carry(self, client: _Client) -> None:
        """Carry until the connection is lost."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear(client), name="uplink.hear")
            tasks.create_task(self._speak(client), name="uplink.speak")
            tasks.create_task(self._until_changed(), name="uplink.change")
            if self._papers is not None:
                tasks.create_task(self._tell_papers(client, self._papers), name="uplink.papers")

    async def _subscribe(self, client: _Client) -> None:
        """Ask for what nothing goes without, and for the twin, which can be asked for elsewhere."""
        channels = [Down.ACK, *(() if self._papers is None else (Down.AUDIT,))]
        needed = len(channels)
        channels += [] if self._twin_told is None else [Down.TWIN]
        topics = [(down_topic(self._controller, self._box, channel), 1) for channel in channels]
        codes = list(await client.subscribe(topics))
        _check_granted(codes[:needed])
        try:
            _check_granted(codes[needed:])
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

    async def _hear(self, client: _Client) -> None:
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

    async def _publish(self, client: _Client, channel: Up, payload: bytes, *, retain: bool = False) -> None:
        """Publish at QoS 1 and count it.

        Raises:
            BrokerRefusedError: The broker answers with no.
        """
        topic = up_topic(self._controller, self._box, channel)
        self._meter.sent(topic, payload)
        await client.publish(topic, payload, qos=1, retain=retain)
        _end_if_cancelled()
        if client.refusal:
            self._meter.refused += 1
            code, client.refusal = client.refusal, 0
            raise _refused(code)

    async def _tell_papers(self, client: _Client, papers: Papers) -> None:
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
                self._papers_after_s = self._clock.elapsed_s() + REFUSED_PAPERS_PAUSE_S

    async def _speak(self, client: _Client) -> None:
        while True:
            self._more.clear()
            allowed = self._pace.allowed(self._in_flight.bytes_of(is_paced))
            parcel = await self._next(allowed.size_bytes) if self._in_flight.has_room() else None
            if parcel is None:
                await self._wait_for_more(allowed.again_in_s if self._in_flight.has_room() else None)
                continue
            channel = Up.HEALTH if parcel.kind is MessageClass.TECHNICAL else Up.EVENTS
            await self._publish(client, channel, parcel.payload)
            if client.is_unheard and not self._is_unheard:
                self._tell("uplink.unheard")
            self._is_unheard = client.is_unheard
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
            if not self._in_flight.is_doubtful:
                self._tell("uplink.unacknowledged")
            self._in_flight.give_up()
            self._pace.slower()


async def _to_the_end(session: Coroutine[Any, Any, None]) -> None:
    """Run ``session``; when cancelled, cancel it until it has ended.

    Once is not enough: ``asyncio.wait_for`` of Python 3.11, which aiomqtt uses, swallows a cancellation that comes
    together with its result.
    """
    task = asyncio.create_task(session, name="uplink.session")
    try:
        await asyncio.wait({task})
    finally:
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_AGAIN_S)
        error = None if task.cancelled() else task.exception()
    if error is not None:
        raise error


def _end_if_cancelled() -> None:
    """Do the same for a task that publishes in a loop.

    Raises:
        asyncio.CancelledError: A cancellation was swallowed.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _client_of(broker: Broker, address: str, box: str, *, speaks_5: bool, tls: ssl.SSLContext | None = None) -> _Client:
    session: dict[str, Any] = (
        {"clean_start": True} if speaks_5 else {"clean_session": True}
    )  # each is the other's error
    return _Client(
        address,
        broker.port,
        username=broker.user,
        password=broker.password,
        identifier=box,
        tls_context=tls,
        protocol=aiomqtt.ProtocolVersion.V5 if speaks_5 else aiomqtt.ProtocolVersion.V311,
        timeout=ANSWER_WITHIN_S,
        keepalive=KEEPALIVE_S,
        max_queued_incoming_messages=INCOMING_MAX,
        **session,
    )


def _check_granted(codes: Any) -> None:  # paho: a list of ReasonCode, or integers from an old broker
    for code in codes:
        number = _number_of(code)
        if number >= FAILURE_CODES_FROM:
            raise _refused(number)


def _number_of(code: Any) -> int:  # paho: a ReasonCode or, from an old broker, an integer
    return int(getattr(code, "value", code) or 0)


def _refused(code: int) -> BrokerRefusedError:
    return ProtocolRefusedError(code) if code in REFUSED_PROTOCOL else BrokerRefusedError(code)


def _broker_error_of(group: BaseExceptionGroup[Exception]) -> BrokerUnreachableError | BrokerRefusedError:
    """Say in our words what ended a session; the library's own words may hold an address or an account."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, MqttConnectError):
        return _refused(_number_of(first.rc))
    if isinstance(first, BrokerUnreachableError | BrokerRefusedError):
        return first
    return BrokerUnreachableError("the broker cannot be reached")
