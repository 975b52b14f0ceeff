"""What the fleet's programs are told by their environment and command line, checked once."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from veilleur_contracts.ids import SHARDS
from veilleur_contracts.messages import MessageClass
from veilleur_fleet.access.capacity import Access
from veilleur_fleet.errors import SettingsRejectedError
from veilleur_fleet.store.keeping import DAYS, Keeping

PORT_MAX: Final = 65_535
Days = Annotated[int, Field(ge=1, le=36_500)]
_MQTT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
_SHARD_RANGE: Final = re.compile(r"([0-9]{1,2})(?:-([0-9]{1,2}))?")


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is, and the account the fleet has there.

    Attributes:
        host: Name or address.
        port: TCP port.
        user: Account; None when the broker asks for none.
        password: Its password; kept out of ``repr``, so out of logs.
        is_tls: Whether it is reached over TLS.
    """

    host: str
    port: int
    user: str | None = None
    password: SecretStr | None = None
    is_tls: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``mqtt://[user:password@]host[:port]``, or ``mqtts://`` with certificates.

        Raises:
            SettingsRejectedError: It is not such an address; the text is not repeated, it may hold a password.
        """
        try:
            url = urlsplit(text)
            port = url.port or _MQTT_PORTS.get(url.scheme, 0)
            host = url.hostname
        except ValueError:
            host, port, url = None, 0, urlsplit("")
        if url.scheme not in _MQTT_PORTS or not host or url.path not in {"", "/"} or url.query or url.fragment:
            message = "the broker is not an address: write it like mqtt://127.0.0.1:1883 or mqtt://user:password@host"
            raise SettingsRejectedError(message)
        password = None if url.password is None else SecretStr(unquote(url.password))
        return cls(host, port, None if url.username is None else unquote(url.username), password, url.scheme == "mqtts")

    def __str__(self) -> str:
        return f"{'mqtts' if self.is_tls else 'mqtt'}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where the page is served.

    Attributes:
        host: Address to bind.
        port: TCP port; 0: one that is free.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``host:port``; an IPv6 host stands in brackets.

        Raises:
            SettingsRejectedError: It is not such an address.
        """
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not (port.isascii() and port.isdigit()) or int(port) > PORT_MAX:
            message = f"cannot listen on {text!r}: write it like 127.0.0.1:8080, or 127.0.0.1:0 for any free port"
            raise SettingsRejectedError(message)
        return cls(host, int(port))

    def is_loopback(self) -> bool:
        """Tell whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def door_of(text: str | None, *, is_tls: bool) -> ListenAddress | None:
    """Read the address of the door; while it speaks plain HTTP it is for this machine only.

    Raises:
        SettingsRejectedError: It is no address, or others could reach it.
    """
    if text is None:
        return None
    address = ListenAddress.parse(text)
    if not is_tls and not address.is_loopback():
        message = (
            f"the door at {text} would speak plain HTTP to other machines: give a loopback address with --door, or "
            "make an authority (veilleur-fleet pki init) and give VEILLEUR_FLEET_CA_PASSPHRASE_FILE"
        )
        raise SettingsRejectedError(message)
    return address


def shards_of(text: str) -> tuple[int, ...]:
    """Read which shards a worker takes, like ``0-7`` or ``0,2,8-15``; rising, each once.

    Raises:
        SettingsRejectedError: It is no such list, or names a shard that there is not.
    """
    found = set[int]()
    for part in text.split(","):
        match = _SHARD_RANGE.fullmatch(part.strip())
        first = int(match[1]) if match else SHARDS
        last = int(match[2] or first) if match else SHARDS
        if not first <= last < SHARDS:
            message = f"the shards {text!r} are not a list of 0 to {SHARDS - 1}: write it like 0-7 or 0,2,8-15"
            raise SettingsRejectedError(message)
        found.update(range(first, last + 1))
    return tuple(sorted(found))


class Settings(BaseSettings):
    """Everything the fleet is told; each has an environment variable ``VEILLEUR_FLEET_<NAME>``.

    Attributes:
        data: Folder of the SQLite database, when no other is given.
        database: Address of a PostgreSQL database; the environment is the place for one with a password.
        shards: Shards that this worker takes, like ``0-7``; several workers need PostgreSQL.
        keep_technical_days: Days for which records of class T are kept.
        keep_statistics_days: Days for which class S is kept, and the windows that are asked for.
        keep_aggregates_days: Days for which class A is kept.
        keep_events_days: Days for which class E is kept.
        standby: Wait until the shards are free, instead of refusing to start.
        broker: ``mqtt://[user:password@]host:port``; the environment is the place for one with a password.
        listen: ``host:port`` of the page.
        root_path: Path under which a reverse proxy serves the page, like ``/veilleur``.
        timezone: In which the page writes times.
        door: ``host:port`` at which boxes enrol and fetch documents; None: nowhere.
        door_names: Host names and addresses boxes reach the door at, with commas between; for its certificate.
        ca_passphrase_file: File with the passphrase of the fleet's authority; without it nobody can be enrolled.
        broker_files: Folder that the broker reads its lists from, which the fleet then keeps.
        broker_for_boxes: ``mqtts://host:port`` as boxes reach the broker; None: as the fleet does.
        broker_ca: File of the authorities of the broker's certificate; None: the fleet's own.
        broker_cert: File of the fleet's client certificate there; None: it issues its own.
        broker_key: File of its key; None: in the same file.
        access: Whether people and programs must say who they are: ``auto`` (as soon as there is an account or token),
            ``required`` or ``open``.
        word_key: File of the key with which the fleet signs its word to the boxes, encrypted; None: it gives none.
        word_passphrase_file: File with its passphrase.
    """

    model_config = SettingsConfigDict(env_prefix="VEILLEUR_FLEET_", extra="ignore", frozen=True)

    data: Path = Path("fleet-data")
    database: SecretStr | None = None
    shards: str = f"0-{SHARDS - 1}"
    standby: bool = False
    keep_technical_days: Days = DAYS[MessageClass.TECHNICAL]
    keep_statistics_days: Days = DAYS[MessageClass.STATISTICS]
    keep_aggregates_days: Days = DAYS[MessageClass.AGGREGATE]
    keep_events_days: Days = DAYS[MessageClass.EVENT]
    broker: SecretStr = SecretStr("mqtt://127.0.0.1:1883")
    listen: str = "127.0.0.1:8080"
    root_path: str = ""
    timezone: str = "Europe/Paris"
    door: str | None = None
    door_names: str = ""
    ca_passphrase_file: Path | None = None
    broker_files: Path | None = None
    broker_for_boxes: str | None = None
    broker_ca: Path | None = None
    broker_cert: Path | None = None
    broker_key: Path | None = None
    access: Access = Access.AUTO
    word_key: Path | None = None
    word_passphrase_file: Path | None = None

    def keeping(self) -> Keeping:
        """Return how long each class is kept."""
        return Keeping(
            {
                MessageClass.TECHNICAL: self.keep_technical_days,
                MessageClass.STATISTICS: self.keep_statistics_days,
                MessageClass.AGGREGATE: self.keep_aggregates_days,
                MessageClass.EVENT: self.keep_events_days,
            }
        )


def broker_for_boxes(settings: Settings) -> str:
    """Return where boxes are told to speak.

    Raises:
        SettingsRejectedError: It is no address.
    """
    given = settings.broker_for_boxes or settings.broker.get_secret_value()
    return str(BrokerAddress.parse(given))
