"""One connection with the broker: how it is made, what the broker answers, and how it ends, in our own words.

Broker, address, certificate ──client_of──▶ Client ──say──▶ PUBACK's code      ended ──broker_error_of──▶ our error

The one place of the mouth that knows the library, and what it gets wrong (aiomqtt 2.5.1, all of it measured).
"""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import aiomqtt
from aiomqtt.exceptions import MqttConnectError

from veilleur_agent.mouth.errors import BrokerRefusedError, BrokerUnreachableError, ProtocolRefusedError

NOBODY_LISTENS: Final = 0x10
"""PUBACK of MQTT 5: taken, and there was nobody to give it to."""
INCOMING_MAX: Final = 1000
KEEPALIVE_S: Final = 20
ANSWER_WITHIN_S: Final = 10.0
REFUSED_PROTOCOL: Final = frozenset({1, 132})
"""CONNACK codes for "not this version": 1 in MQTT 3.1.1, 0x84 in MQTT 5."""
LOST: Final = aiomqtt.MqttError
"""What a use of a connection raises that is no more; its words may hold an address or an account."""
CANCEL_AGAIN_S: Final = 0.5
FAILURE_CODES_FROM: Final = 0x80
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


class Client(aiomqtt.Client):
    """Tells what a broker answers, where aiomqtt calls it a success, and why it ended, where aiomqtt gives no reason.

    Attributes:
        refusal: Why the broker ended the connection, 0: it did not, or did not say.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:  # aiomqtt's own
        super().__init__(*arguments, **named)
        self.refusal = self._answer = 0
        self._turn = asyncio.Lock()

    async def say(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Publish at QoS 1; one at a time, so that the answer is of this and no other. Return the PUBACK's code.

        Raises:
            aiomqtt.MqttError: The connection was lost, or nobody answers.
        """
        async with self._turn:
            self._answer = 0
            await self.publish(topic, payload, qos=1, retain=retain)
            _end_if_cancelled()
            return self._answer

    def _on_publish(
        self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any
    ) -> None:  # paho's own
        self._answer = number_of(reason_code)
        super()._on_publish(client, userdata, mid, reason_code, properties)

    def _on_disconnect(
        self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None
    ) -> None:  # paho's own
        if flags.is_disconnect_packet_from_server and number_of(reason_code) in REFUSALS_AT_THE_END:
            self.refusal = number_of(reason_code)
        super()._on_disconnect(client, userdata, flags, reason_code, properties)


async def to_the_end(session: Coroutine[Any, Any, None]) -> None:
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


def client_of(broker: Broker, address: str, box: str, *, speaks_5: bool, tls: ssl.SSLContext | None = None) -> Client:
    """Return what connects, when it is entered, as ``box``."""
    session: dict[str, Any] = (
        {"clean_start": True} if speaks_5 else {"clean_session": True}
    )  # each is the other's error
    return Client(
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


def check_granted(codes: Any) -> None:  # paho: a list of ReasonCode, or integers from an old broker
    """Look at what a broker says to a subscription.

    Raises:
        BrokerRefusedError: It does not grant all of it.
    """
    for code in codes:
        number = number_of(code)
        if number >= FAILURE_CODES_FROM:
            raise refused(number)


def number_of(code: Any) -> int:  # paho: a ReasonCode or, from an old broker, an integer
    """Return a reason code as a number."""
    return int(getattr(code, "value", code) or 0)


def refused(code: int) -> BrokerRefusedError:
    """Return the error that says that the broker answered ``code``."""
    return ProtocolRefusedError(code) if code in REFUSED_PROTOCOL else BrokerRefusedError(code)


def broker_error_of(group: BaseExceptionGroup[Exception]) -> BrokerUnreachableError | BrokerRefusedError:
    """Say in our words what ended a session; the library's own words may hold an address or an account."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, MqttConnectError):
        return refused(number_of(first.rc))
    if isinstance(first, BrokerUnreachableError | BrokerRefusedError):
        return first
    return BrokerUnreachableError("the broker cannot be reached")
