"""Hear the sensors of the radio gateway beside the box: from its broker to the outbox, each message once.

    sensor ─radio─▶ ChirpStack ─MQTT, QoS 1─▶ read ─▶ outbox (reading and its number, one commit) ─▶ acknowledged

The gateway's broker keeps the session, so what comes while the mouth is away waits there. A message that cannot be
believed is counted, told by number, and acknowledged: it would not become better.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import aiomqtt

from veilleur_agent.budget import Budget, TokenBucket
from veilleur_agent.mouth.errors import DiskRefusedError
from veilleur_agent.mouth.outbox import Outbox
from veilleur_agent.mouth.shelf import Shelf
from veilleur_agent.mouth.uplinks import UPLINKS, Heard, UplinkRejectedError, missed_between, read_uplink
from veilleur_contracts.clock import Clock, datetime_of
from veilleur_contracts.messages import Record, SensorHealth
from veilleur_contracts.sensors import Decoder, Sensor

HEALTH_EVERY_S: Final = 3600.0
OFTEN: Final = Budget(rate_bytes_s=1 / 10, burst_bytes=30)
"""Messages, not bytes, of one sensor: one in ten seconds and thirty at once; LoRaWAN's duty cycle allows no more."""
INCOMING_MAX: Final = 256
ANSWER_WITHIN_S: Final = 10.0
KEEPALIVE_S: Final = 30
RETRY_S: Final = 1.0
RETRY_MAX_S: Final = 60.0
DISK_RETRY_S: Final = 1.0
REFUSED_FROM: Final = 0x80
MISSED_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class GatewayBroker:
    """Where the gateway's broker is, as an address, and how to be let in."""

    address: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class _Ear:
    """What is remembered of one sensor: numbers alone."""

    bucket: TokenBucket
    told_at_s: float = float("-inf")
    missed: int = 0
    refused: int = 0


class Gateway:
    """Listens for one box. ``run`` never ends by itself: trouble with the gateway's broker is waited out.

    Args:
        broker: The gateway's.
        box: Names the session there.
        sensors: Sensor and decoder by device address; what others say is passed over.
        shelf: The outbox.
        tell: Says a registered event.
        wake: Says that there is something new in the outbox.
        clock: Of this box.
    """

    def __init__(
        self,
        broker: GatewayBroker,
        box: str,
        sensors: dict[str, tuple[Sensor, Decoder]],
        *,
        shelf: Shelf,
        tell: Callable[..., None],
        wake: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._broker = broker
        self._box = box
        self._sensors = sensors
        self._shelf = shelf
        self._tell = tell
        self._wake = wake
        self._clock = clock
        self._ears = {sensor.id: _Ear(TokenBucket(OFTEN, clock)) for sensor, _ in sensors.values()}
        self._failures = 0

    async def run(self) -> None:
        """Stay connected and hear, for ever."""
        while True:
            lost = False
            try:
                await self._session()
            except aiomqtt.MqttError:  # its words may hold an account; they end here
                lost = True
            if lost:
                if not self._failures:
                    self._tell("gateway.lost")
                self._failures += 1
                longest_s = min(RETRY_MAX_S, RETRY_S * 2.0 ** min(self._failures - 1, 16))
                await asyncio.sleep(longest_s * random.SystemRandom().uniform(0.5, 1.0))

    async def _session(self) -> None:
        broker = self._broker
        client = aiomqtt.Client(
            broker.address,
            broker.port,
            username=broker.user,
            password=broker.password,
            identifier=f"veilleur-{self._box}",
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=False,
            timeout=ANSWER_WITHIN_S,
            keepalive=KEEPALIVE_S,
            max_queued_incoming_messages=INCOMING_MAX,
        )
        # aiomqtt acknowledges on arrival; before it connects, or what waited there is acknowledged unseen [measured].
        client._client.manual_ack_set(True)  # noqa: SLF001, FBT003 - paho's own
        async with client:
            granted: Any = await client.subscribe(UPLINKS, qos=1)
            if any(int(getattr(code, "value", code)) >= REFUSED_FROM for code in granted):
                raise aiomqtt.MqttError("the gateway's broker refuses the subscription")
            self._tell("gateway.connected", sensors=len(self._sensors))
            self._failures = 0
            async for message in client.messages:
                await self._take(str(message.topic), message.payload if isinstance(message.payload, bytes) else b"")
                client._client.ack(message.mid, message.qos)  # noqa: SLF001 - paho's, since we acknowledge by hand

    async def _take(self, topic: str, payload: bytes) -> None:
        """Take one message to the disk, or refuse it; it is acknowledged afterwards, either way."""
        try:
            heard = read_uplink(topic, payload, self._sensors, datetime_of(self._clock.now_ms()))
        except UplinkRejectedError:
            self._refuse(self._sensors[topic.split("/")[3].lower()][0].id)
            return
        if heard is None:
            return
        ear = self._ears[heard.sensor]
        if not ear.bucket.take(1):
            self._refuse(heard.sensor)
            return
        is_due = self._clock.elapsed_s() - ear.told_at_s >= HEALTH_EVERY_S
        before = await self._kept(lambda outbox: outbox.last_heard(heard.sensor))
        ear.missed = min(MISSED_MAX, ear.missed + missed_between(before, heard.number))
        records = self._records_of(heard, ear, with_health=is_due)
        if await self._kept(partial(Outbox.say_heard, sensor=heard.sensor, number=heard.number, records=records)):
            if is_due:
                ear.told_at_s, ear.missed, ear.refused = self._clock.elapsed_s(), 0, 0
            self._wake()

    def _records_of(self, heard: Heard, ear: _Ear, *, with_health: bool) -> tuple[Record, ...]:
        measured = () if heard.measured is None else (heard.measured,)
        if not with_health:
            return measured
        at_s = self._clock.now_ms() // 1000
        signs = (heard.battery_mv, heard.faint_db, ear.missed, min(MISSED_MAX, ear.refused))
        return (*measured, SensorHealth(heard.sensor, at_s, *signs))

    def _refuse(self, sensor: str) -> None:
        ear = self._ears[sensor]
        ear.refused += 1
        if ear.refused == 1:
            self._tell("gateway.uplink_refused", sensor=sensor)

    async def _kept(self, work: Callable[[Outbox], Any]) -> Any:  # whatever the work returns
        """Do ``work``, again and again while the disk refuses; the gateway's broker keeps the message meanwhile."""
        while True:
            try:
                return await self._shelf.do(work)
            except DiskRefusedError:
                await asyncio.sleep(DISK_RETRY_S)
