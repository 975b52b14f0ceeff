"""What the mouth is given by box, as the values its parts are built from; it reads no environment."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from veilleur_agent.budget import Budget
from veilleur_agent.mouth.fetch import Door
from veilleur_agent.mouth.gateway import GatewayBroker
from veilleur_agent.mouth.identity import Identity
from veilleur_agent.mouth.room import Bounds
from veilleur_agent.mouth.session import Broker
from veilleur_agent.mouth.uplinks import sensors_by_address
from veilleur_agent.starts import Identified, MouthStart
from veilleur_contracts.sensors import Decoder, Sensor


@dataclass(frozen=True, slots=True)
class MouthSettings:
    """Everything one mouth needs."""

    agent: str
    box: str
    controller: str
    profile: str
    outbox: Path
    bounds: Bounds
    broker: Broker
    addresses: tuple[str, ...]
    budgets: dict[str, Budget]
    disk_within_s: float = 0.0
    papers: Path | None = None
    door: Door | None = None
    doors: tuple[str, ...] = ()
    fetched: Path = Path("/nonexistent")
    gateway: GatewayBroker | None = None
    sensors: dict[str, tuple[Sensor, Decoder]] = field(default_factory=dict)
    identity: Identified | None = None
    door_tls: Callable[[], ssl.SSLContext] | None = None


def settings_of(start: MouthStart) -> MouthSettings:
    """Return what ``start`` says."""
    fleet = start.fleet
    gateway = start.gateway
    identity = start.identity
    folder, tls, door_tls = Path(start.state), None, None
    if identity is not None:
        tls, door_tls = (
            partial(Identity(folder, start.box).context, identity.ca, host) for host in (start.host, identity.host)
        )
    return MouthSettings(
        agent=start.agent,
        box=start.box,
        controller=start.controller,
        profile=start.profile,
        outbox=folder / "outbox.sqlite",
        bounds=Bounds(start.outbox_bytes_max, start.outbox_age_max_s),
        broker=Broker(start.port, start.user, start.password, start.version, tls),
        addresses=start.addresses,
        disk_within_s=start.disk_within_s,
        budgets={one.camera: Budget(one.rate_bytes_s, one.burst_bytes) for one in start.budgets},
        papers=None if start.papers is None else Path(start.papers),
        door=None if fleet is None else Door(fleet.scheme, fleet.host, fleet.port),
        doors=() if fleet is None else fleet.addresses,
        fetched=Path("/nonexistent" if fleet is None else fleet.fetched),
        gateway=None
        if gateway is None
        else GatewayBroker(gateway.address, gateway.port, gateway.user, gateway.password),
        sensors={} if gateway is None else sensors_by_address(gateway.sensors, gateway.decoders),
        identity=identity,
        door_tls=door_tls,
    )
