"""A fleet's authority, certificates for everybody, and a real Mosquitto with the configuration that is generated."""

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path

import aiomqtt
import pytest

from veilleur_contracts.clock import Clock, SystemClock
from veilleur_contracts.rights import CONSUMES, Holder, Role, holder_of
from veilleur_fleet.access.command import by_server
from veilleur_fleet.pki.authority import Authority, key_pem_of, make_authority, new_key, pem_of
from veilleur_fleet.pki.evict import context_of
from veilleur_fleet.pki.files import BrokerFiles
from veilleur_fleet.pki.mosquitto import configuration
from veilleur_fleet.pki.register import Register
from veilleur_fleet.pki.service import Pki
from veilleur_fleet.routing.table import RoutingTable
from veilleur_fleet.store.database import open_database

HOST = "127.0.0.1"
DEADLINE_S = 20.0
PASSPHRASE = "a passphrase of the tests"  # noqa: S105 - of tests
FLEET = Path(sys.executable).with_name("veilleur-fleet")
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None, reason="Mosquitto is not installed: what it lets in is not tried"
)

ville_box = holder_of(Role.BOX, "gare-01", "ville")
agglo_box = holder_of(Role.BOX, "pont-02", "agglo")
fleet = holder_of(Role.FLEET, "main", None)
consumers = {role: holder_of(role, "someone", "ville") for role in CONSUMES}


def free_port() -> int:
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])


@dataclass
class World:
    """An authority with its register in ``folder``, and the broker's folder beside it."""

    folder: Path
    clock: Clock = field(default_factory=SystemClock)
    port: int = field(default_factory=free_port)
    open_port: int = field(default_factory=free_port)
    door_port: int = field(default_factory=free_port)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def broker_folder(self) -> Path:
        return self.folder / "broker"

    @property
    def passphrase_file(self) -> Path:
        path = self.folder / "passphrase"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(PASSPHRASE + "\n")
        return path

    @cached_property
    def authority(self) -> Authority:
        return make_authority(self.data / "pki", PASSPHRASE, self.clock, "tests")

    @cached_property
    def database(self):
        return open_database(self.data, self.clock)

    @cached_property
    def pki(self) -> Pki:
        return Pki(self.authority, Register(self.database.desk, self.database.readers), self.clock)

    @cached_property
    def files(self) -> BrokerFiles:
        return BrokerFiles(self.broker_folder, self.pki, self.clock, self.table.filters)

    @cached_property
    def table(self) -> RoutingTable:
        return RoutingTable(self.database.readers, self.database.desk, self.clock)

    def credentials(self, holder: Holder) -> str:
        """Certificate and key of a holder whom the register knows."""
        made, key = self.pki.issue(holder)
        return made.pem + key

    def unregistered(self, holder: Holder, life: timedelta = timedelta(days=1)) -> str:
        """Signed by the authority, but not in the register; negative: it ended that long ago."""
        key = new_key()
        certificate = self.authority.issue(holder, key.public_key(), self.clock, life)
        return pem_of(certificate) + key_pem_of(key)

    def tls(self, credentials: str) -> ssl.SSLContext:
        return context_of(self.authority.pem, credentials)

    def lay_out(self, *more: str) -> None:
        """Write the broker's folder; a second, open listener lets the test see and say everything."""
        lines = (f"listener {self.open_port} {HOST}", "allow_anonymous true", *more)
        text = configuration(str(self.broker_folder), self.port, HOST, by_server().who, lines)
        self.files.lay_out(text, [HOST])

    @contextmanager
    def broker(self) -> Iterator[subprocess.Popen]:
        """Run Mosquitto as people do, by ``run.sh``."""
        log = (self.folder / "broker.log").open("wb")
        command = [str(self.broker_folder / "run.sh"), str(self.broker_folder / "mosquitto.conf")]
        surroundings = {"MOSQUITTO": str(MOSQUITTO), "LOOK_EVERY_S": "0.2", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=surroundings, start_new_session=True)
        try:
            wait_until(lambda: listens(self.port) and listens(self.open_port), "the broker")
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(DEADLINE_S)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            log.close()

    def client(self, credentials: str, version: int = 5, identifier: str | None = None, **more: object) -> "Client":
        return Client(
            HOST,
            self.port,
            identifier=identifier,
            tls_context=self.tls(credentials),
            protocol=aiomqtt.ProtocolVersion.V5 if version == 5 else aiomqtt.ProtocolVersion.V311,
            timeout=DEADLINE_S,
            **more,
        )

    def onlooker(self) -> "Client":
        """A client of the open listener, which may everything."""
        return Client(HOST, self.open_port, protocol=aiomqtt.ProtocolVersion.V5, timeout=DEADLINE_S)

    def surroundings(self, **more: str) -> dict[str, str]:
        return {
            "VEILLEUR_FLEET_CA_PASSPHRASE_FILE": str(self.passphrase_file),
            "VEILLEUR_FLEET_BROKER_FILES": str(self.broker_folder),
            "VEILLEUR_FLEET_DOOR_NAMES": f"{HOST},localhost",
            **more,
        }

    def command(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [FLEET, *arguments, "--data", self.data],
            env=self.surroundings(),
            capture_output=True,
            text=True,
            check=False,
        )

    def fleet(self, **more: str) -> subprocess.Popen:
        """Start ``veilleur-fleet run`` on this world's data, keeping the broker's folder, with a door."""
        options = ["--data", self.data, "--broker", f"mqtts://{HOST}:{self.port}", "--listen", f"{HOST}:0"]
        options += ["--door", f"{HOST}:{self.door_port}"]
        with (self.folder / "fleet.log").open("ab") as log:
            return subprocess.Popen([FLEET, "run", *options], stdout=log, stderr=log, env=self.surroundings(**more))

    def fleet_said(self, event: str) -> int:
        lines = (self.folder / "fleet.log").read_text().splitlines()
        return sum(json.loads(line).get("event") == event for line in lines if line.startswith("{"))

    @contextmanager
    def running_fleet(self, **more: str) -> Iterator[subprocess.Popen]:
        """Run the fleet until it serves its door; the database belongs to it meanwhile."""
        self.close()
        process = self.fleet(**more)
        try:
            wait_until(lambda: listens(self.door_port) or process.poll() is not None, "the door", 2 * DEADLINE_S)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_S) == 0, (self.folder / "fleet.log").read_text()

    def close(self) -> None:
        if "database" in self.__dict__:
            self.database.close()
            for name in ("database", "pki", "files"):
                self.__dict__.pop(name, None)


class Client(aiomqtt.Client):
    """A client that remembers with which reason each publication was answered."""

    answered: int = 0

    def _on_publish(self, client, userdata, mid, reason_code, properties=None) -> None:
        self.answered = int(reason_code.value)
        super()._on_publish(client, userdata, mid, reason_code, properties)

    async def say(self, topic: str, payload: bytes = b"x") -> int:
        """Publish at QoS 1; return the reason code of the answer."""
        await self.publish(topic, payload, qos=1)
        return self.answered

    async def heard(self) -> set[str]:
        """Return the topics of what has come, once everything that was on its way has."""
        await self.subscribe("nothing/at/all", qos=0)  # its answer comes behind whatever was sent before
        topics = set()
        while self.messages._client._queue.qsize():
            topics.add(str(self._queue.get_nowait().topic))
        return topics


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def wait_until(condition, what: str, within_s: float = DEADLINE_S) -> float:
    """Wait until ``condition``; return how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, f"{what}: not within {within_s} s"
        time.sleep(0.02)
    return time.monotonic() - began


def everybody() -> Sequence[Holder]:
    return (ville_box, agglo_box, fleet, *consumers.values())
