"""Take in what boxes say, commit it, acknowledge it, and tell consumers; the one module that speaks MQTT.

    broker ──▶ inbox ──▶ one transaction ──COMMIT──▶ PUBACK, Ack on dn/ack
                         (writer thread)     └─────▶ out/ after the published mark, then the mark moves

The broker gets its PUBACK after the commit, so what it holds back meanwhile is what bounds us; but a PUBACK proves
nothing to a box, which forgets only what an Ack names.
"""

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiomqtt
import structlog
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from veilleur_contracts.clock import Clock
from veilleur_contracts.ids import SHARDS
from veilleur_contracts.topics import up_filter
from veilleur_fleet.errors import BrokerRejectedError, PkiRejectedError, SettingsRejectedError, StoreUnavailableError
from veilleur_fleet.metrics import Alarm, Metrics
from veilleur_fleet.pki.credentials import Credentials
from veilleur_fleet.settings import BrokerAddress
from veilleur_fleet.store.database import UNAVAILABLE
from veilleur_fleet.store.work import Acknowledgement, CopiedUpto, Delivery, Stored
from veilleur_fleet.store.writer import Writer
from veilleur_fleet.tell import SHARDS_AT_ONCE, Said, Speaker, Teller

MESSAGES_PER_COMMIT: Final = 256
BYTES_PER_COMMIT: Final = 1_048_576
"""About 25,000 windows, a quarter of a second: no box waits long behind another."""
ACKS_UNDER_WAY: Final = 8
INBOX_MESSAGES: Final = 1024
"""Far above what a broker may have under way, and still 64 MiB at most."""
RECEIVE_MAXIMUM: Final = 256
SESSION_EXPIRY_S: Final = 7 * 86_400
KEEPALIVE_S: Final = 30
TIMEOUT_S: Final = 10.0
BACKOFF_S: Final = (0.25, 30.0)
SAID_AT_ONCE: Final = 50
_WRONG_VERSION: Final = frozenset({0x84, 1})
_FAILURE: Final = 0x80


class _Inbox(asyncio.Queue[aiomqtt.Message]):
    """Messages not looked at yet; when it is full, a message is dropped and counted, and its box says it again."""

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        self.dropped: list[aiomqtt.Message] = []

    def put_nowait(self, item: aiomqtt.Message) -> None:
        """Take ``item``, or drop it."""
        if self.full():
            self.dropped.append(item)
        else:
            super().put_nowait(item)


class _Session(aiomqtt.Client):
    """One connection; never used again after it ends, because paho keeps what it could not send.

    aiomqtt acknowledges on arrival and calls a refused publication a success; both are set right here.
    """

    def __init__(
        self,
        address: BrokerAddress,
        identifier: str,
        version: aiomqtt.ProtocolVersion,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        persistent: dict[str, Any] = {"clean_session": False}
        if version is aiomqtt.ProtocolVersion.V5:
            properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no types here
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
            properties.ReceiveMaximum = RECEIVE_MAXIMUM
            persistent = {"clean_start": False, "properties": properties}
        super().__init__(
            address.host,
            address.port,
            username=address.user,
            password=_password_of(address),
            identifier=identifier,
            protocol=version,
            timeout=TIMEOUT_S,
            keepalive=KEEPALIVE_S,
            tls_context=tls,
            queue_type=_Inbox,
            max_queued_incoming_messages=INBOX_MESSAGES,
            max_inflight_messages=(SHARDS_AT_ONCE + 1) * SAID_AT_ONCE,
            **persistent,
        )
        self._answers: dict[int, asyncio.Future[int]] = {}
        self._end = aiomqtt.Message("end", b"", 0, False, 0, None)  # noqa: FBT003 - aiomqtt's own signature
        self._client.manual_ack_set(True)  # noqa: FBT003 - paho's own signature

    def received(self, message: aiomqtt.Message) -> None:
        """Tell the broker that ``message`` is dealt with."""
        self._client.ack(message.mid, message.qos)

    def waiting(self, at_most: int, bytes_at_most: int) -> list[aiomqtt.Message]:
        """Return messages that are there already, up to the one that passes ``bytes_at_most``, or the end."""
        messages, size = list[aiomqtt.Message](), 0
        while len(messages) < at_most and size < bytes_at_most and not self._queue.empty():
            messages.append(self._queue.get_nowait())
            size += len(messages[-1].payload)
            if self.is_end(messages[-1]):
                break
        return messages

    def end(self) -> None:
        """Let whoever reads the messages know that no more are wanted."""
        asyncio.Queue.put_nowait(self._queue, self._end)

    def is_end(self, message: aiomqtt.Message) -> bool:
        """Tell whether ``message`` is what ``end`` put there."""
        return message is self._end

    def forget_dropped(self) -> int:
        """Let the broker forget what did not fit the inbox; return how many that were."""
        dropped = self._queue.dropped if isinstance(self._queue, _Inbox) else []
        for message in dropped:
            self.received(message)
        count = len(dropped)
        dropped.clear()
        return count

    async def say(self, messages: Sequence[Said]) -> int:
        """Publish ``messages`` at QoS 1, in order; return how many the broker refused, once it answered for each."""
        refused = 0
        for start in range(0, len(messages), SAID_AT_ONCE):
            asked = [self._ask(one) for one in messages[start : start + SAID_AT_ONCE]]
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    for _, answer in asked:
                        refused += await answer >= _FAILURE
            except TimeoutError:
                message = "the broker does not answer a publication"
                raise aiomqtt.MqttError(message) from None
            finally:
                for number, _ in asked:
                    self._answers.pop(number, None)
        return refused

    def _ask(self, one: Said) -> tuple[int, asyncio.Future[int]]:
        """Publish ``one``; return its number, and what will be the reason code of the answer."""
        sent = self._client.publish(one.topic, one.payload, qos=1, retain=one.retain)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise aiomqtt.MqttCodeError(sent.rc, "not sent")
        answer = self._answers[sent.mid] = asyncio.get_running_loop().create_future()
        return sent.mid, answer

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any = None) -> None:
        answer = self._answers.get(mid)
        if answer is not None and not answer.done():
            answer.set_result(int(reason_code.value))
        super()._on_publish(client, userdata, mid, reason_code, properties)


@dataclass(slots=True)
class Standing:
    """How ingest is doing, for those who ask.

    Attributes:
        connected: Whether the broker has us and our subscription.
        writable: Whether the last transaction was taken.
    """

    connected: bool = False
    writable: bool = True


class Ingest:
    """Keeps a connection to the broker until it is told to stop; holds one micro-batch and a bounded inbox."""

    def __init__(
        self,
        address: BrokerAddress,
        identifier: str,
        *,
        shards: Sequence[int] = tuple(range(SHARDS)),
        writer: Writer,
        teller: Teller,
        clock: Clock,
        metrics: Metrics,
        committed: Callable[[Stored], None],
        changed: Callable[[], None],
        credentials: Credentials | None = None,
        besides: Sequence[Callable[[Speaker], Coroutine[Any, Any, None]]] = (),
    ) -> None:
        """Keep what is needed.

        ``committed`` is called after each transaction, ``changed`` with each new standing, and what ``besides`` makes
        runs for as long as a connection lasts.
        """
        self.standing = Standing()
        self._address = address
        self._identifier = identifier
        everything = len(shards) == SHARDS
        self._filters = [up_filter()] if everything else [up_filter(shard) for shard in shards]
        self._writer = writer
        self._teller = teller
        self._clock = clock
        self._metrics = metrics
        self._committed = committed
        self._changed = changed
        self._credentials = credentials
        self._besides = besides
        self._version: aiomqtt.ProtocolVersion | None = None
        self._log = structlog.get_logger().bind(broker=str(address))
        self._trouble: str | None = None
        self._alarm = Alarm(clock)

    async def run(self, stop: asyncio.Event) -> None:
        """Connect, serve, and connect again, until ``stop``; ends with everything taken in committed."""
        delay_s = BACKOFF_S[0]
        while not stop.is_set():
            error = await self._once(stop)
            if error is None:
                continue
            if not self.standing.connected:
                self._version = None  # another broker may stand there now
            delay_s = BACKOFF_S[0] if self.standing.connected else min(2 * delay_s, BACKOFF_S[1])
            self._lost(error)
            await _wait(stop, delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter is no secret

    async def _once(self, stop: asyncio.Event) -> Exception | None:
        """Serve one connection; return what ended it, None for ``stop``."""
        ended: list[Exception] = []
        try:
            tls = None if self._credentials is None else await asyncio.to_thread(self._credentials.context)
            if self._version is None:
                self._version = await self._version_spoken()
            async with _Session(self._address, self._identifier, self._version, tls) as session:
                await self._serve(session, stop)
        except* (aiomqtt.MqttError, BrokerRejectedError) as group:
            ended.append(_first_of(group))
        except* (PkiRejectedError, SettingsRejectedError, *UNAVAILABLE, OSError) as group:
            ended.append(BrokerRejectedError(f"the fleet's certificate cannot be used: {_first_of(group)}"))
        return ended[0] if ended else None

    async def _version_spoken(self) -> aiomqtt.ProtocolVersion:
        """Return which MQTT the broker speaks.

        One that knows certificates takes the name in ours for the client id, so a greeting under another id would end
        the session it keeps for us; such brokers speak MQTT 5.
        """
        if self._address.is_tls:
            return aiomqtt.ProtocolVersion.V5
        return await _version_of(self._address, self._identifier)

    async def _serve(self, session: _Session, stop: asyncio.Event) -> None:
        await self._subscribe(session)
        acks: asyncio.Queue[list[Acknowledgement | CopiedUpto] | None] = asyncio.Queue(ACKS_UNDER_WAY)
        wake = asyncio.Event()
        wake.set()  # something may be left from before
        async with asyncio.TaskGroup() as tasks:
            ending = tasks.create_task(_end_on(stop, session), name="end-session")
            acknowledging = tasks.create_task(self._teller.acknowledge(session, acks), name="acknowledge")
            telling = [tasks.create_task(self._teller.tell(session, wake), name="tell-consumers")]
            telling += [tasks.create_task(work(session), name="tell-boxes") for work in self._besides]
            await self._collect(session, stop, acks, wake)
            await acks.put(None)
            await acknowledging
            for task in telling:
                task.cancel()
            ending.cancel()

    async def _subscribe(self, session: _Session) -> None:
        codes = await session.subscribe([(wanted, 1) for wanted in self._filters])
        if any((code if isinstance(code, int) else code.value) >= _FAILURE for code in codes):
            wanted = ", ".join(self._filters)
            message = f"the broker refuses the fleet's subscription to {wanted}: give its account that right"
            raise BrokerRejectedError(message)
        self._trouble = None
        self.standing.connected = True
        self._metrics.connected.set(1)
        self._metrics.connections.inc()
        self._changed()
        self._log.info("broker.connected", mqtt="5" if self._version is aiomqtt.ProtocolVersion.V5 else "3.1.1")

    async def _collect(
        self,
        session: _Session,
        stop: asyncio.Event,
        acks: asyncio.Queue[list[Acknowledgement | CopiedUpto] | None],
        wake: asyncio.Event,
    ) -> None:
        """Commit what comes, many messages at a time, until ``stop``."""
        async for first in session.messages:
            if session.is_end(first):
                return
            messages = [first, *session.waiting(MESSAGES_PER_COMMIT - 1, BYTES_PER_COMMIT)]
            ended = session.is_end(messages[-1])
            messages = messages[:-1] if ended else messages
            began_s = self._clock.elapsed_s()
            stored = await self._commit(messages, stop)
            if stored is None:
                return
            self._metrics.commit_s.observe(self._clock.elapsed_s() - began_s)
            for message in messages:
                session.received(message)
            self._metrics.discarded.inc(session.forget_dropped())
            self._note(stored)
            await acks.put([*stored.acknowledgements, *stored.copied])
            wake.set()
            if ended:
                return

    async def _commit(self, messages: list[aiomqtt.Message], stop: asyncio.Event) -> Stored | None:
        """Store ``messages``, however long the database refuses; None when ``stop`` came first."""
        received_ms = self._clock.now_ms()
        deliveries = [Delivery(str(message.topic), bytes(message.payload), received_ms) for message in messages]
        delay_s = BACKOFF_S[0]
        while True:
            try:
                stored = await self._writer.store(deliveries)
            except StoreUnavailableError as error:
                if self.standing.writable:
                    self._log.error("store.failed", reason=str(error))
                self.standing.writable = False
                self._metrics.store_failures.inc()
                if await _wait(stop, delay_s):
                    return None
                delay_s = min(2 * delay_s, BACKOFF_S[1])
            else:
                if not self.standing.writable:
                    self._log.info("store.recovered")
                self.standing.writable = True
                return stored

    def _note(self, stored: Stored) -> None:
        """Count a transaction and tell whoever shows it; what is refused is alarmed, once a minute for each box."""
        self._metrics.add(stored)
        for box, count in stored.refused.items():
            if self._alarm.is_due(box):
                self._log.warning("record.quarantined", box=box, count=count)
        if stored.envelopes_refused and self._alarm.is_due("any message"):
            self._log.warning("message.quarantined", count=stored.envelopes_refused)
        for one in stored.alarms:
            if self._alarm.is_due(f"{one.box} {one.kind}"):
                self._log.error("audit.alarmed", box=one.box, kind=one.kind, remedy="look at its page for the DPO")
        self._committed(stored)

    def _lost(self, error: Exception) -> None:
        """Say that the connection is gone or cannot be had; once for each reason, not for each attempt."""
        was_connected, self.standing.connected = self.standing.connected, False
        self._metrics.connected.set(0)
        if was_connected:
            self._changed()
        trouble = _sentence_of(error)
        if was_connected or trouble != self._trouble:
            self._trouble = trouble
            self._log.warning("broker.lost" if was_connected else "broker.unreachable", reason=trouble)


async def _version_of(address: BrokerAddress, identifier: str) -> aiomqtt.ProtocolVersion:
    """Ask which MQTT the broker speaks.

    With a bare greeting: to one that carries MQTT 5's properties, amqtt 0.12 gives no answer at all [measured], while
    to a bare one it says that it does not speak it.
    """
    greeting = aiomqtt.Client(
        address.host,
        address.port,
        username=address.user,
        password=_password_of(address),
        identifier=f"{identifier}-greeting",
        protocol=aiomqtt.ProtocolVersion.V5,
        timeout=TIMEOUT_S,
    )
    try:
        async with greeting:
            return aiomqtt.ProtocolVersion.V5
    except MqttConnectError as error:
        if _code_of(error) in _WRONG_VERSION:
            return aiomqtt.ProtocolVersion.V311
        raise


def _password_of(address: BrokerAddress) -> str | None:
    return None if address.password is None else address.password.get_secret_value()


async def _end_on(stop: asyncio.Event, session: _Session) -> None:
    await stop.wait()
    session.end()


async def _wait(stop: asyncio.Event, seconds: float) -> bool:
    """Wait, but no longer than until ``stop``; tell whether it came."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()


def _first_of(group: BaseExceptionGroup[Exception]) -> Exception:
    """Return the first plain exception of a group of groups."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, Exception) else RuntimeError()


def _code_of(error: Exception) -> int | None:
    """Return the reason code with which the broker answered, MQTT 5 or 3.1.1; None when it did not."""
    code = getattr(error, "rc", None)
    return getattr(code, "value", code) if isinstance(error, aiomqtt.MqttError) else None


def _sentence_of(error: Exception) -> str:
    if isinstance(error, MqttConnectError):
        return f"the broker answers and refuses us ({error}): check the fleet's user, password and rights"
    if isinstance(error, BrokerRejectedError):
        return str(error)
    return f"the broker does not answer ({error}): check its address and that it runs; trying again"
