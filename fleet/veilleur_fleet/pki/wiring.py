"""What of identity a running fleet needs, from its settings: built once, explicitly.

data/pki + passphrase ──▶ Pki ──▶ credentials at the broker · guard · the door's certificate
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from veilleur_contracts.clock import Clock
from veilleur_contracts.ids import SHARDS
from veilleur_contracts.rights import Holder
from veilleur_fleet.errors import SettingsRejectedError, StoreUnavailableError
from veilleur_fleet.keys import read_passphrase
from veilleur_fleet.pki.authority import CA_NAME, load_authority
from veilleur_fleet.pki.command import PKI_FOLDER
from veilleur_fleet.pki.credentials import Credentials, DoorCredentials, GivenCredentials, OwnCredentials
from veilleur_fleet.pki.evict import take_place
from veilleur_fleet.pki.files import BrokerFiles
from veilleur_fleet.pki.guard import Guard
from veilleur_fleet.pki.register import Register
from veilleur_fleet.pki.service import Pki
from veilleur_fleet.routing.table import RoutingTable
from veilleur_fleet.settings import BrokerAddress, Settings
from veilleur_fleet.store.database import Database


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the fleet is, and how it knows the boxes.

    Attributes:
        pki: Issues and revokes; None: this fleet has no authority, or its passphrase was not given.
        credentials: For the broker; None: it is reached without TLS.
        guard: Keeps the broker's lists; None without an authority.
        door: The door's certificate; None without an authority.
    """

    pki: Pki | None = None
    credentials: Credentials | None = None
    guard: Guard | None = None
    door: DoorCredentials | None = None

    def tidy(self, now_ms: int) -> None:
        """Renew the door's certificate when it is time, and forget who left long ago.

        Raises:
            StoreUnavailableError: The register cannot be written, or a file cannot.
        """
        try:
            if self.door is not None:
                self.door.refresh()
            if self.pki is not None:
                self.pki.register.forget_ended(now_ms)
        except (sa.exc.SQLAlchemyError, OSError) as error:
            raise StoreUnavailableError(f"certificates are not tidied: {type(error).__name__}") from None


def identity_of(settings: Settings, database: Database, clock: Clock) -> Identity:
    """Build what the settings ask for.

    Raises:
        SettingsRejectedError: A broker with TLS, and nothing to be known by; or files that cannot be used.
        PkiRejectedError: The authority cannot be opened.
        KeyRejectedError: Its passphrase cannot be read.
    """
    address = BrokerAddress.parse(settings.broker.get_secret_value())
    pki = _pki_of(settings, Register(database.desk, database.readers), clock)
    credentials = _credentials_of(settings, address, pki, clock, worker_name(database.shards))
    if pki is None:
        return Identity(credentials=credentials)
    files = None if settings.broker_files is None else _broker_files(settings.broker_files, pki, database, clock)
    evict = partial(_evict, pki, address) if address.is_tls else None
    door = None
    if settings.door is not None:
        door = DoorCredentials(pki, settings.data / PKI_FOLDER, door_names(settings), clock)
    return Identity(pki, credentials, Guard(pki, files, evict, clock), door)


def _broker_files(folder: Path, pki: Pki, database: Database, clock: Clock) -> BrokerFiles:
    return BrokerFiles(folder, pki, clock, RoutingTable(database.readers, database.desk, clock).filters)


def door_names(settings: Settings) -> list[str]:
    """Return the names and addresses that the door's certificate is for."""
    given = [name.strip() for name in settings.door_names.split(",") if name.strip()]
    return given or [socket.gethostname(), "localhost", "127.0.0.1"]


def has_authority(data: Path) -> bool:
    """Tell whether this fleet has made an authority."""
    return (data / PKI_FOLDER / CA_NAME).is_file()


def _pki_of(settings: Settings, register: Register, clock: Clock) -> Pki | None:
    if settings.ca_passphrase_file is None or not has_authority(settings.data):
        return None
    authority = load_authority(settings.data / PKI_FOLDER, read_passphrase(settings.ca_passphrase_file))
    return Pki(authority, register, clock)


def worker_name(shards: Sequence[int]) -> str:
    """Return what a worker goes by at the broker, where each name has one connection: ``main`` when it takes all."""
    if len(shards) == SHARDS:
        return "main"
    return f"shards-{sum(1 << shard for shard in shards):04x}"


def _credentials_of(
    settings: Settings, address: BrokerAddress, pki: Pki | None, clock: Clock, name: str
) -> Credentials | None:
    if not address.is_tls:
        return None
    if settings.broker_ca is not None:
        return GivenCredentials(settings.broker_ca, settings.broker_cert, settings.broker_key)
    if pki is None:
        message = (
            "a broker at mqtts:// is known by certificates: make an authority (veilleur-fleet pki init) and give "
            "VEILLEUR_FLEET_CA_PASSPHRASE_FILE, or give VEILLEUR_FLEET_BROKER_CA, _CERT and _KEY"
        )
        raise SettingsRejectedError(message)
    return OwnCredentials(pki, settings.data / PKI_FOLDER, clock, name)


def _evict(pki: Pki, address: BrokerAddress, holder: Holder) -> None:
    take_place(address.host, address.port, holder.name, pki.evicting(holder), pki.authority.pem)
