"""Start a broker on the loopback: Mosquitto when it is there, else the embedded ``amqtt``; and kill and revive it.

Broker.start ─▶ mosquitto -c DIR/mosquitto.conf   or   python -m veilleur_simulator.embedded_broker
       .kill ─▶ SIGKILL, and .start again: same port, same directory
"""

import contextlib
import os
import pwd
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, get_args

from veilleur_simulator.errors import BrokerUnavailableError, PartFailedError
from veilleur_simulator.processes import LOOPBACK, Child, free_port, module_command, wait_until

Kind = Literal["mosquitto", "amqtt"]

READY_WITHIN_S: Final = 15.0
TRIES: Final = 5
CONNECT: Final = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x0a\x00\x05probe"
"""MQTT 3.1.1 CONNECT of a client called "probe", clean session."""
DISCONNECT: Final = b"\xe0\x00"
CONNACK: Final = b"\x20\x02\x00\x00"
MOSQUITTO_PLACES: Final = os.pathsep.join(("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"))

MOSQUITTO_CONF: Final = """\
per_listener_settings true
user {user}
listener {port} {host}
allow_anonymous true
# without it Nagle's algorithm holds small acknowledgements back (measured: 502 instead of 7,900 a second)
set_tcp_nodelay true
persistence true
persistence_location {directory}/
autosave_interval 60
max_packet_size 131072
max_inflight_messages 64
max_queued_messages 100000
log_dest stderr
log_type error
log_type warning
log_type notice
connection_messages false
"""


def kind_of(name: str | None) -> Kind | None:
    """Read the name of a kind of broker.

    Raises:
        BrokerUnavailableError: There is no such kind.
    """
    for kind in get_args(Kind):
        if name == kind:
            return kind  # type: ignore[no-any-return]  # one of the names in Kind
    if name is not None:
        raise BrokerUnavailableError(f"there is no broker called {name}; use mosquitto or amqtt")
    return None


class Broker:
    """A broker on the loopback, on one port for as long as this object lives.

    Args:
        directory: Where it keeps its configuration, its data and its log.
        kind: Which one; None: Mosquitto when it is installed, else the embedded one.
        port: Where it listens; None: a free one.
    """

    def __init__(self, directory: Path, kind: Kind | None = None, port: int | None = None) -> None:
        self.directory = directory
        self.program = mosquitto_path()
        self.kind: Kind = kind or ("mosquitto" if self.program else "amqtt")
        self.host = LOOPBACK
        self.port = port or free_port()
        self._fixed = port is not None
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """Its address, as ``--broker`` takes it."""
        return f"mqtt://{self.host}:{self.port}"

    @property
    def child(self) -> Child:
        """Its process.

        Raises:
            BrokerUnavailableError: It is not running.
        """
        if self._child is None:
            raise BrokerUnavailableError("the broker is not running; start it first")
        return self._child

    def start(self) -> None:
        """Start it, and wait until it answers a CONNECT.

        The first start looks for another port when somebody else took this one meanwhile; later ones keep the port.

        Raises:
            BrokerUnavailableError: It did not come up; the sentence shows its last lines.
        """
        for left in reversed(range(1 if self._fixed else TRIES)):
            child = Child(f"the broker ({self.kind})", self._command(), self.directory / "broker.log")
            try:
                wait_until(lambda: child.exit_code is not None or self._answers(), READY_WITHIN_S, "a CONNACK")  # noqa: B023 - called before the loop goes on
                child.check()
            except PartFailedError as error:
                child.kill()
                if not left:
                    raise BrokerUnavailableError(child.told(f"no broker came up at {self.url}: {error}")) from None
                self.port = free_port()
                continue
            self._child, self._fixed = child, True
            return

    def kill(self) -> None:
        """End it as a power cut would."""
        self.child.kill()
        self._child = None

    def stop(self) -> None:
        """End it in good order; nothing happens when it is not running."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def _command(self) -> list[str]:
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.kind == "amqtt":
            return module_command("veilleur_simulator.embedded_broker", self.host, str(self.port))
        if self.program is None:
            raise BrokerUnavailableError("Mosquitto is not installed; install it, or let the embedded broker do")
        configuration = self.directory / "mosquitto.conf"
        configuration.write_text(
            MOSQUITTO_CONF.format(
                user=pwd.getpwuid(os.getuid()).pw_name,
                port=self.port,
                host=self.host,
                directory=self.directory.resolve(),
            ),
            encoding="utf-8",
        )
        return [self.program, "-c", str(configuration)]

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=1.0) as probe:
                probe.sendall(CONNECT)
                answer = probe.recv(len(CONNACK))
                probe.sendall(DISCONNECT)
        except OSError:
            return False
        return answer == CONNACK


@contextlib.contextmanager
def broker_in(directory: Path, kind: Kind | None = None) -> Iterator[Broker]:
    """Run a broker for as long as the block lasts.

    Raises:
        BrokerUnavailableError: It did not come up.
    """
    broker = Broker(directory, kind)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def mosquitto_path() -> str | None:
    """Return where Mosquitto is; Debian puts it in a directory that a plain user's PATH lacks."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=MOSQUITTO_PLACES)
