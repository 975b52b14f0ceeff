"""What the fleet's programs are told by their environment and command line, checked once."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from veilleur_fleet.errors import SettingsRejectedError

PORT_MAX: Final = 65_535
_MQTT_PORT: Final = 1883


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is, and the account the fleet has there.

    Attributes:
        host: Name or address.
        port: TCP port.
        user: Account; None when the broker asks for none.
        password: Its password; kept out of ``repr``, so out of logs.
    """

    host: str
    port: int
    user: str | None = None
    password: SecretStr | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``mqtt://[user:password@]host[:port]``.

        Raises:
            SettingsRejectedError: It is not such an address; the text is not repeated, it may hold a password.
        """
        try:
            url = urlsplit(text)
            port = url.port or _MQTT_PORT
            host = url.hostname
        except ValueError:
            host, port, url = None, 0, urlsplit("")
        if url.scheme != "mqtt" or not host or url.path not in {"", "/"} or url.query or url.fragment:
            message = "the broker is not an address: write it like mqtt://127.0.0.1:1883 or mqtt://user:password@host"
            raise SettingsRejectedError(message)
        password = None if url.password is None else SecretStr(unquote(url.password))
        return cls(host, port, None if url.username is None else unquote(url.username), password)

    def __str__(self) -> str:
        return f"mqtt://{self.host}:{self.port}"


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


def door_of(text: str | None) -> ListenAddress | None:
    """Read the address of the door, which speaks plain HTTP and so is for this machine only.

    Raises:
        SettingsRejectedError: It is no address, or others could reach it.
    """
    if text is None:
        return None
    address = ListenAddress.parse(text)
    if not address.is_loopback():
        message = f"the door at {text} would speak plain HTTP to other machines: give a loopback address with --door"
        raise SettingsRejectedError(message)
    return address


class Settings(BaseSettings):
    """Everything the fleet is told; each has an environment variable ``VEILLEUR_FLEET_<NAME>``.

    Attributes:
        data: Folder of the database.
        broker: ``mqtt://[user:password@]host:port``; the environment is the place for one with a password.
        listen: ``host:port`` of the page.
        root_path: Path under which a reverse proxy serves the page, like ``/veilleur``.
        timezone: In which the page writes times.
        door: ``host:port`` at which boxes fetch documents; None: nowhere.
        key: The fleet's own key, encrypted; None: it signs no word to the boxes.
        passphrase_file: File with its passphrase.
    """

    model_config = SettingsConfigDict(env_prefix="VEILLEUR_FLEET_", extra="ignore", frozen=True)

    data: Path = Path("fleet-data")
    broker: SecretStr = SecretStr("mqtt://127.0.0.1:1883")
    listen: str = "127.0.0.1:8080"
    root_path: str = ""
    timezone: str = "Europe/Paris"
    door: str | None = None
    key: Path | None = None
    passphrase_file: Path | None = None
