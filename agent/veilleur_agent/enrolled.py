"""What a box was told when it enrolled: which fleet it is of, and where that is. No secret; box alone writes it.

veilleur-agent enrol ──▶ enrolment.json (this) · mouth/identity.pem (key and certificate, the mouth's alone) ──▶ run
"""

from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from veilleur_agent.atomic import replace_file
from veilleur_agent.errors import StartRefusedError
from veilleur_agent.settings import AgentSettings, BrokerAddress, DoorAddress, broker_of, door_of
from veilleur_agent.starts import Identified
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.ids import Slug
from veilleur_contracts.site import Site

FILE_NAME: Final = "enrolment.json"
FILE_BYTES_MAX: Final = 16_384


class EnrolmentDamagedError(RejectedError):
    """The file cannot be read as what was written."""


class Enrolled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands in the file.

    Attributes:
        box: Name of the box.
        controller: Who answers for its cameras.
        fleet: ``https://host:port`` of the fleet's door.
        broker: ``mqtts://host:port``.
        ca: Certificate of the fleet's authority, PEM: the only one this box believes.
    """

    box: Slug
    controller: Slug
    fleet: Annotated[str, Meta(max_length=300)]
    broker: Annotated[str, Meta(max_length=300)]
    ca: Annotated[str, Meta(max_length=8192)]


def read_enrolled(state: Path) -> Enrolled | None:
    """Return what the box in ``state`` was told; None: it never enrolled.

    Raises:
        EnrolmentDamagedError: The file is not as it was written.
    """
    path = state / FILE_NAME
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        return msgspec.json.decode(data[:FILE_BYTES_MAX], type=Enrolled)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise EnrolmentDamagedError(f"{path} cannot be read: enrol this box again (veilleur-agent enrol)") from None


def write_enrolled(state: Path, enrolled: Enrolled) -> None:
    """Keep what the box was told.

    Raises:
        OSError: The disk refused.
    """
    replace_file(state / FILE_NAME, msgspec.json.format(msgspec.json.encode(enrolled)) + b"\n", 0o644)


def identity_of(enrolled: Enrolled | None, door: DoorAddress | None) -> Identified | None:
    """Return what the mouth is told of an enrolment; addresses come when they are looked up."""
    return None if enrolled is None or door is None else Identified(enrolled.ca, door.host, door.port, ())


def door_for(settings: AgentSettings, enrolled: Enrolled | None, broker: BrokerAddress) -> DoorAddress | None:
    """Return where the fleet's door is: where it is told to be, else where the box enrolled.

    Raises:
        StartRefusedError: A door that asks for a certificate, and the box has none, or speaks to a broker without.
        SettingsRejectedError: It is no address.
    """
    if settings.fleet is None:
        return door_of(enrolled.fleet) if enrolled is not None and broker.is_tls else None
    door = door_of(settings.fleet)
    if door is not None and door.scheme == "https" and not broker.is_tls:
        raise StartRefusedError(
            "--fleet: a door at https:// asks for a certificate: run veilleur-agent enrol, and leave out --broker"
        )
    return door


def broker_for(settings: AgentSettings, site: Site, enrolled: Enrolled | None) -> BrokerAddress:
    """Return where a box speaks: where it is told to, else where it was told when it enrolled.

    Raises:
        StartRefusedError: A broker that asks for a certificate, and the box has none, or another's.
        SettingsRejectedError: It is no address.
    """
    given = broker_of(settings.broker.get_secret_value())
    broker = given if enrolled is None or "broker" in settings.model_fields_set else broker_of(enrolled.broker)
    if not broker.is_tls:
        return broker
    if enrolled is None:
        raise StartRefusedError(
            f"a broker at mqtts:// asks for a certificate, and {settings.state} holds none: run veilleur-agent enrol"
        )
    if (enrolled.box, enrolled.controller) != (site.site.box, site.site.controller):
        raise StartRefusedError(
            f"this box is enrolled as {enrolled.box} of {enrolled.controller}, and the site is for {site.site.box} of "
            f"{site.site.controller}: give the site of this box, or enrol that one with another --state"
        )
    return broker
