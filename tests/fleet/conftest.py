import asyncio
import contextlib
import itertools
import json
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import aiomqtt
import fastapi.dependencies.models
import psycopg
import pytest
import structlog

from fleet_builders import HandClock
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.codec import decode_ack, decode_published
from veilleur_contracts.topics import Down, down_topic
from veilleur_fleet.ingest import Ingest
from veilleur_fleet.metrics import Metrics
from veilleur_fleet.settings import BrokerAddress
from veilleur_fleet.store.database import open_database
from veilleur_fleet.store.ledger import Ledger
from veilleur_fleet.store.outgoing import Outgoings
from veilleur_fleet.store.postgresql import PostgresAddress
from veilleur_fleet.store.writer import Writer
from veilleur_fleet.tell import Teller
from veilleur_simulator.postgresql import postgresql_server, programs_folder

DEADLINE_S = 20.0


@pytest.fixture(autouse=True)
def said():
    """Keep log events as dictionaries instead of printing them."""
    with structlog.testing.capture_logs() as events:
        yield events


@pytest.fixture(autouse=True, scope="module")
def let_go():
    """Let go of a module's applications: FastAPI remembers every route it saw, and each holds its whole application."""
    yield
    for remembering in vars(fastapi.dependencies.models).values():
        if hasattr(remembering, "cache_clear"):
            remembering.cache_clear()


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture(scope="session")
def postgresql():
    """Give addresses of empty databases on a real PostgreSQL server of our own."""
    if programs_folder() is None:
        pytest.skip("PostgreSQL is not installed; `apt-get install postgresql` brings it")
    numbers = itertools.count(1)
    with postgresql_server() as server, psycopg.connect(server.url(), autocommit=True) as session:
        session.execute("CREATE DATABASE made")
        open_database(PostgresAddress.parse(server.url("made")), SystemClock()).close()

        def fresh(template: str = "made") -> PostgresAddress:
            name = f"fleet_{next(numbers)}"
            session.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
            return PostgresAddress.parse(server.url(name))

        fresh.server = server
        yield fresh


@pytest.fixture
def engine(request):
    """Which engine keeps the database; modules that are about the store ask for both."""
    return getattr(request, "param", "sqlite")


@pytest.fixture
def anywhere(engine, request, tmp_path_factory):
    """Give places for databases, a new one each time."""
    if engine == "sqlite":
        return lambda: tmp_path_factory.mktemp("fleet")
    return request.getfixturevalue("postgresql")


@pytest.fixture
def where(engine, anywhere, tmp_path):
    return tmp_path / "fleet" if engine == "sqlite" else anywhere()


@pytest.fixture
def database(where, clock):
    with open_database(where, clock) as opened:
        yield opened


@pytest.fixture
def ledger(database):
    return Ledger(database.writer)


@pytest.fixture
def ask(database):
    """Ask the database in SQL, past every line of ours."""
    return lambda sql, *values: [tuple(row) for row in database.writer.execute(sql, values).fetchall()]


async def until(condition, what="it"):
    """Wait until ``condition`` holds; say what did not happen otherwise."""
    end = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} did not happen within {DEADLINE_S} s"
        await asyncio.sleep(0.01)
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@dataclass
class Broker:
    """A real broker on loopback, as a process of its own."""

    command: list[str]
    port: int
    process: subprocess.Popen | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + DEADLINE_S
        while not answers(self.port):
            assert self.process.poll() is None, "the broker ended by itself"
            assert time.monotonic() < end, "the broker does not listen"
            time.sleep(0.01)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def mosquitto(folder: Path, port: int, *lines: str) -> Broker:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("Mosquitto is not installed; the same is tested with amqtt")
    conf = folder / "mosquitto.conf"
    conf.write_text(
        "\n".join([f"listener {port} 127.0.0.1", "set_tcp_nodelay true", "max_inflight_messages 0", *lines])
    )
    return Broker([program, "-c", str(conf)], port)


def amqtt(folder: Path, port: int) -> Broker:
    conf = folder / "amqtt.yaml"
    conf.write_text(
        f"listeners:\n  default:\n    type: tcp\n    bind: 127.0.0.1:{port}\n"
        "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: true\n"
    )
    return Broker([str(Path(sys.executable).with_name("amqtt")), "-c", str(conf)], port)


@pytest.fixture(params=["mosquitto", "amqtt"])
def either_broker(request, tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("broker"), free_port()
    broker = mosquitto(folder, port, "allow_anonymous true") if request.param == "mosquitto" else amqtt(folder, port)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def broker(tmp_path_factory):
    started = mosquitto(tmp_path_factory.mktemp("broker"), free_port(), "allow_anonymous true")
    started.start()
    yield started
    started.kill()


def read(database, sql):
    """Ask past the writer, which has a thread of its own while a fleet runs."""
    with database.readers.connect() as connection:
        return connection.exec_driver_sql(sql).fetchall()


class Running:
    """The fleet's ingest, really connected."""

    def __init__(self, database, address: str, clock=None) -> None:
        clock = clock or SystemClock()
        self.metrics = Metrics()
        self.stored = []
        self.writer = Writer(Ledger(database.writer))
        self.ingest = Ingest(
            BrokerAddress.parse(address),
            f"veilleur-fleet-{database.fleet_id}",
            writer=self.writer,
            teller=Teller(Outgoings(database.readers), self.writer, clock, self.metrics),
            clock=clock,
            metrics=self.metrics,
            committed=self.stored.append,
            changed=lambda: None,
        )

    def counted(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(f"veilleur_fleet_{name}_total") or 0.0


@contextlib.asynccontextmanager
async def running(database, port: int, *, account: str = "", connected: bool = True):
    fleet, stop = Running(database, f"mqtt://{account}127.0.0.1:{port}"), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fleet.ingest.run(stop), name="ingest")
        if connected:
            await until(lambda: fleet.ingest.standing.connected, "the connection")
        try:
            yield fleet
        finally:
            stop.set()
    fleet.writer.close()


@dataclass
class Ear:
    """What one client heard: acknowledgements and publications, in order."""

    client: aiomqtt.Client
    acks: list
    told: list

    async def say(self, delivery) -> None:
        await self.client.publish(delivery.topic, delivery.payload, qos=1)


@contextlib.asynccontextmanager
async def listening(port: int, *boxes, account=None):
    """Stand at the broker in place of boxes and consumers."""
    user, password = account or (None, None)
    async with aiomqtt.Client("127.0.0.1", port, username=user, password=password, timeout=10) as client:
        ear = Ear(client, [], [])
        for box in boxes:
            await client.subscribe(down_topic(box.controller, box.name, Down.ACK), qos=1)
        await client.subscribe("veilleur/v1/+/out/#", qos=1)

        async def hear() -> None:
            async for message in client.messages:
                topic = str(message.topic)
                if "/dn/" in topic:
                    ack = decode_ack(message.payload)
                    ear.acks.append((topic.split("/")[4], ack.stream, ack.upto))
                else:
                    ear.told.append((topic, decode_published(message.payload), message.retain))

        async with asyncio.TaskGroup() as tasks:
            hearing = tasks.create_task(hear(), name="hear")
            try:
                yield ear
            finally:
                hearing.cancel()


@dataclass
class FleetProcess:
    """``veilleur-fleet run`` as people start it.

    Attributes:
        process: The program.
        url: Where its page is.
        log: Where its stderr goes.
        door: Where boxes ask, if anywhere.
    """

    process: subprocess.Popen
    url: str
    log: Path
    door: str = ""

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(DEADLINE_S)
        finally:
            self.process.kill()
            self.process.stdout.close()

    def events(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


def fleet_command(*arguments) -> list[str]:
    return [str(Path(sys.executable).with_name("veilleur-fleet")), *map(str, arguments)]


@pytest.fixture
def start_fleet(tmp_path):
    """Start the fleet as a process; it is ended with the test."""
    started = []

    def start(port: int, *more: str, connected=True, door: str | None = None, waits=False) -> FleetProcess:
        log = tmp_path / f"fleet-{len(started)}.log"
        command = fleet_command("run", "--data", tmp_path / "data", "--broker", f"mqtt://127.0.0.1:{port}")
        command += [*more, *([] if door is None else ["--door", door])]
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [*command, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        fleet = FleetProcess(process, "", log)
        started.append(fleet)
        if not waits:
            ready(fleet, connected=connected, door=door)
        return fleet

    def ready(fleet: FleetProcess, *, connected=True, door: str | None = None) -> None:
        process, log = fleet.process, fleet.log
        assert select.select([process.stdout], [], [], DEADLINE_S)[0], "the fleet does not get ready"
        line = process.stdout.readline()
        assert line.startswith("veilleur-fleet ready: http://127.0.0.1:"), log.read_text()
        fleet.url = line.split(": ", 1)[1].strip()
        if door is not None:
            fleet.door = process.stdout.readline().split(": ", 1)[1].strip()
        end = time.monotonic() + DEADLINE_S
        while connected and "broker.connected" not in log.read_text():
            assert time.monotonic() < end, "the fleet does not reach the broker"
            time.sleep(0.01)

    start.ready = ready
    yield start
    for fleet in started:
        fleet.end(signal.SIGKILL)


@pytest.fixture
def worlds():
    """Hand tests what stands in this file: imports between test files depend on how pytest was started."""
    return sys.modules[__name__]
