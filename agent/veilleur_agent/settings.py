"""What this box is: read from the environment (prefix ``VEILLEUR_``) by the one module of the agent that may."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal, TypeGuard
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from veilleur_contracts.errors import RejectedError
from veilleur_models.settings import read_settings as read_model_settings

MQTT_PORT: Final = 1883
DOOR_PORTS: Final = {"http": 80, "https": 8443}
MQTTS_PORT: Final = 8883
HOST_CHARACTERS_MAX: Final = 253
DEFAULT_MODEL: Final = "nanodet-g-640x384"


class SettingsRejectedError(RejectedError):
    """A setting that makes no sense; the sentence never shows a password."""


class AgentSettings(BaseSettings):
    """Settings of one box; every one can be given on the command line too, which wins.

    Attributes:
        state: Folder for what must survive a restart.
        models: Folder of built models; None: where ``veilleur-models build`` puts them.
        model: Which model looks at the frames.
        broker: ``mqtt://[user:password@]host[:port]``, or ``mqtts://`` for an enrolled box, which need not be told.
        fleet: ``http://host[:port]`` of the fleet's door, where documents are fetched, or ``https://`` for an enrolled
            box, which need not be told; None: they come by file alone.
        gateway: ``mqtt://[user:password@]address[:port]`` of the radio gateway's broker, where the site has sensors.
        mqtt_version: Of MQTT; ``auto`` tries 5, then 3.1.1.
        policy: ``bench``, ``strictest``, or a file with a signed policy; None: what was signed before, else strictest.
        root: File with the signed root that policies are checked with; pinned at the first start.
        secrets: TOML file of camera passwords that only the eye reads.
        bench_token: File with the simulator's one-time token.
        eye_uid: User under which the eye runs, when box runs as root.
        mouth_uid: The same for the mouth.
        outbox_bytes: Bound of what waits for the fleet on disk.
        outbox_days: Bound of its age.
        trust_clock: Whether the clock counts as set even when the kernel does not say so, as in a container or a guest
            whose host keeps the time.
        allow_unconfined: Whether to run where the kernel cannot confine eye and mouth; the log says so at every start.
        drain_s: How long a stop waits for the fleet to acknowledge.
    """

    model_config = SettingsConfigDict(env_prefix="VEILLEUR_", hide_input_in_errors=True, extra="ignore")

    state: Path = Path("veilleur-state")
    models: Path | None = None
    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{1,31}$")] = DEFAULT_MODEL
    broker: SecretStr = SecretStr(f"mqtt://127.0.0.1:{MQTT_PORT}")
    fleet: Annotated[str, Field(max_length=512)] | None = None
    gateway: SecretStr | None = None
    mqtt_version: Literal["auto", "5", "3.1.1"] = "auto"
    policy: Annotated[str, Field(pattern=r"^(bench|strictest|.*[./].*)$", max_length=4096)] | None = None
    root: Path | None = None
    secrets: Path | None = None
    bench_token: Path | None = None
    eye_uid: Annotated[int, Field(ge=1, le=2**31)] | None = None
    mouth_uid: Annotated[int, Field(ge=1, le=2**31)] | None = None
    outbox_bytes: Annotated[int, Field(ge=65_536, le=1 << 40)] = 256 * 1024 * 1024
    outbox_days: Annotated[int, Field(ge=1, le=3650)] = 30
    trust_clock: bool = False
    allow_unconfined: bool = False
    drain_s: Annotated[float, Field(ge=0.0, le=300.0)] = 10.0

    @property
    def model_folder(self) -> Path:
        """Folder of built models."""
        return self.models or read_model_settings().cache


def settings_of(**given: object) -> AgentSettings:
    """Return the settings of the environment, with what a command line gives on top; None is not given.

    Raises:
        SettingsRejectedError: A value makes no sense.
    """
    try:
        return AgentSettings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = "_".join(str(part) for part in first["loc"])
        option = f"--{name.replace('_', '-')} (VEILLEUR_{name.upper()})"
        raise SettingsRejectedError(f"{option}: {first['msg']}") from None


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is and how to be let in."""

    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    is_tls: bool = False


def broker_of(url: str, what: str = "--broker (VEILLEUR_BROKER)") -> BrokerAddress:
    """Read ``mqtt://[user:password@]host[:port]``, or ``mqtts://``; ``what`` is what the error calls it.

    Raises:
        SettingsRejectedError: It is written otherwise; the sentence shows none of it, as a password may be anywhere.
    """
    refusal = f"{what} is not an address; write it like mqtt://10.0.0.2:1883"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or (MQTTS_PORT if parts.scheme == "mqtts" else MQTT_PORT)
    except ValueError:
        raise SettingsRejectedError(refusal) from None
    if parts.scheme not in {"mqtt", "mqtts"} or not is_host(host):
        raise SettingsRejectedError(refusal)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise SettingsRejectedError(f"{refusal}; nothing follows the port")
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    return BrokerAddress(host, port, user, password, parts.scheme == "mqtts")


def is_host(text: str | None) -> TypeGuard[str]:
    """Tell whether ``text`` can stand for a host in an address and in HTTP: printable ASCII (a name with é: xn--…)."""
    return (
        text is not None
        and 0 < len(text) <= HOST_CHARACTERS_MAX
        and text.isascii()
        and text.isprintable()
        and " " not in text
    )


@dataclass(frozen=True, slots=True)
class DoorAddress:
    """Where the fleet's door is."""

    scheme: Literal["http", "https"]
    host: str
    port: int


def door_of(url: str | None) -> DoorAddress | None:
    """Read ``http://host[:port]`` or ``https://host[:port]``; None when there is none.

    Raises:
        SettingsRejectedError: It is written otherwise; nothing of it is shown, as a password may be anywhere.
    """
    if url is None:
        return None
    refusal = "--fleet (VEILLEUR_FLEET) is not an address; write it like https://fleet.example:8443"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SettingsRejectedError(refusal) from None
    if parts.scheme not in DOOR_PORTS or not is_host(host):
        raise SettingsRejectedError(refusal)
    if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise SettingsRejectedError(f"{refusal}; nothing follows the port, and no account stands before the host")
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    return DoorAddress(scheme, host, port or DOOR_PORTS[scheme])
