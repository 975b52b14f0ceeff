"""What a child of box is given when it starts, and nothing else: closed messages, none with a picture.

box ──EyeStart──▶ eye        box ──MouthStart──▶ mouth

Passwords travel here and nowhere else, so that they stand in no argument and no environment, and show in no ``repr``.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from veilleur_contracts.ids import CameraId, Sha256, Slug, VersionText
from veilleur_contracts.sensors import DECODERS_MAX, SENSORS_MAX, Decoder, Sensor

ADDRESSES_MAX: Final = 8

Natural = Annotated[int, Meta(ge=0, le=1 << 53)]
Path = Annotated[str, Meta(min_length=1, max_length=4096)]
Text = Annotated[str, Meta(max_length=512)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Profile = Literal["bench", "strictest", "signed"]


class ControlMessage(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A thing that is said between box and a child."""


class Reach(ControlMessage, frozen=True, tag=7):
    """What a child may touch besides its own code and its own folder, and what it has to find shut.

    Attributes:
        ports: TCP ports it may connect to.
        read_only: Files and folders it may read.
        devices: Cameras plugged in.
        others: What belongs to others.
        allow_unconfined: Whether it goes on when it is not as confined as it must be.
    """

    ports: Annotated[tuple[Port, ...], Meta(max_length=64)]
    read_only: Annotated[tuple[Path, ...], Meta(max_length=128)]
    devices: Annotated[tuple[Path, ...], Meta(max_length=64)]
    others: Annotated[tuple[Path, ...], Meta(max_length=16)]
    allow_unconfined: bool


class EyeStart(ControlMessage, frozen=True, tag=1):
    """All the eye is given; the rest it reads and verifies itself.

    Attributes:
        site: The site document.
        site_sha256: Of its bytes, so that both speak of the same.
        state: Folder that the eye alone writes.
        models: Folder of built models.
        model: Which one.
        secrets: File of camera passwords that only the eye reads.
        profile: Which profile holds, or that signed policies say.
        bench_token: The simulator's one-time token.
        trusts_clock: Whether the clock counts as set, whatever the kernel says.
        reach: What it may touch.
        root: The root pinned at enrolment; with ``signed`` alone.
        offers: Folder that box puts signed documents into; the same.
        fetched: Folder that the mouth puts them into; the same.
        clips: Folder of kept stills, which the eye alone writes.
        freezes: Folder of the days kept for justice.
    """

    site: Path
    site_sha256: Sha256
    state: Path
    models: Path
    model: Slug
    secrets: Path | None
    profile: Profile
    bench_token: Text | None
    trusts_clock: bool
    reach: Reach
    root: Path | None = None
    offers: Path | None = None
    clips: Path | None = None
    freezes: Path | None = None
    fetched: Path | None = None

    def __repr__(self) -> str:
        """Show nothing: it holds a token."""
        return "EyeStart(…)"


class FleetAt(ControlMessage, frozen=True, tag=9):
    """Where the fleet hands out documents, for the mouth.

    Attributes:
        scheme: How it is spoken to.
        host: As a person wrote it.
        addresses: Where that is, resolved by box.
        port: Its port.
        fetched: Folder that documents are put into, which the eye may read.
    """

    scheme: Literal["http", "https"]
    host: Text
    addresses: Annotated[tuple[Text, ...], Meta(max_length=ADDRESSES_MAX)]
    port: Port
    fetched: Path


class CameraBudget(ControlMessage, frozen=True, tag=2):
    """What one camera may say on the link."""

    camera: CameraId
    rate_bytes_s: Annotated[float, Meta(ge=0.0, le=1e6)]
    burst_bytes: Natural


class GatewayStart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which sensors the mouth hears, and where.

    Attributes:
        address: The gateway's broker, as an address: a mouth looks up no names.
        port: Its port.
        user: Account.
        password: Its password.
        sensors: The site's.
        decoders: How their payloads are read.
    """

    address: Text
    port: Port
    user: Text | None
    password: Text | None
    sensors: Annotated[tuple[Sensor, ...], Meta(max_length=SENSORS_MAX)]
    decoders: Annotated[tuple[Decoder, ...], Meta(max_length=DECODERS_MAX)]

    def __repr__(self) -> str:
        """Show nothing: it holds a password."""
        return "GatewayStart(…)"


class Identified(ControlMessage, frozen=True, tag=21):
    """What an enrolled box believes, and where it renews its certificate, for the mouth.

    Attributes:
        ca: Certificate of the fleet's authority, PEM.
        host: Of the fleet's door, as a person wrote it.
        port: Its port.
        addresses: Where that is, resolved by box.
    """

    ca: Annotated[str, Meta(max_length=8192)]
    host: Text
    port: Port
    addresses: Annotated[tuple[Text, ...], Meta(max_length=ADDRESSES_MAX)]


class MouthStart(ControlMessage, frozen=True, tag=3):
    """All the mouth is given.

    Attributes:
        agent: Version of the agent, said in Birth.
        box: Name of the box.
        controller: Who answers for its cameras.
        state: Folder that the mouth alone writes.
        profile: Said in Birth.
        host: The broker, as a person wrote it.
        addresses: Where that is, resolved by box.
        port: Its port.
        user: Account.
        password: Its password.
        version: Of MQTT.
        budgets: What each camera may say on the link.
        outbox_bytes_max: Bound of the outbox.
        outbox_age_max_s: Bound of its age.
        reach: What it may touch.
        papers: Folder of the papers that box hands it to be told.
        fleet: Where documents are fetched; None: nowhere.
        gateway: The sensors beside the box; None: it has none.
        identity: What it is known by; None: the box is not enrolled, and the broker asks for no certificate.
        disk_within_s: How long it waits for room on its disk before it refuses to start.
    """

    agent: VersionText
    box: Slug
    controller: Slug
    state: Path
    profile: Profile
    host: Text
    addresses: Annotated[tuple[Text, ...], Meta(max_length=ADDRESSES_MAX)]
    port: Port
    user: Text | None
    password: Text | None
    version: Literal["auto", "5", "3.1.1"]
    budgets: Annotated[tuple[CameraBudget, ...], Meta(max_length=64)]
    outbox_bytes_max: Natural
    outbox_age_max_s: Natural
    reach: Reach
    papers: Path | None = None
    fleet: FleetAt | None = None
    gateway: GatewayStart | None = None
    identity: Identified | None = None
    disk_within_s: Annotated[float, Meta(ge=0.0, le=3600.0)] = 0.0

    def __repr__(self) -> str:
        """Show nothing: it holds a password."""
        return "MouthStart(…)"
