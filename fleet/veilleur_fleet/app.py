"""Build the whole fleet, explicitly, and run it until it is told to stop.

settings ──▶ database ──▶ Ledger ──▶ Writer ──▶ Ingest ◀──▶ broker
                └─▶ readers ──▶ Painter, REST ──▶ web server ◀── browsers, programs
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Final

import sqlalchemy as sa
import structlog
import uvicorn
from fastapi import FastAPI

from veilleur_contracts.clock import Clock
from veilleur_fleet.errors import SettingsRejectedError, StoreUnavailableError
from veilleur_fleet.ingest import Ingest, Standing
from veilleur_fleet.metrics import Metrics
from veilleur_fleet.settings import BrokerAddress, ListenAddress, Settings
from veilleur_fleet.store.cameras import HEALTH_KEPT_MS
from veilleur_fleet.store.database import Database, open_database
from veilleur_fleet.store.ledger import Ledger
from veilleur_fleet.store.outgoing import Outgoings
from veilleur_fleet.store.work import Stored
from veilleur_fleet.store.writer import Writer
from veilleur_fleet.tell import Teller
from veilleur_fleet.web.answers import Health
from veilleur_fleet.web.app import web_app
from veilleur_fleet.web.languages import languages_of
from veilleur_fleet.web.live import Live
from veilleur_fleet.web.pages import Painter, Place

BACKLOG: Final = 128
TIDY_EVERY_S: Final = 3600.0
FAREWELL_S: Final = 3


class Fleet:
    """One fleet manager: its database, its connection to the broker, and its page."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        """Build everything; nothing runs yet.

        Raises:
            SettingsRejectedError: A setting cannot be followed.
        """
        address = BrokerAddress.parse(settings.broker.get_secret_value())
        metrics, self._live = Metrics(), Live()
        self._clock = clock
        self._writer = Writer(Ledger(database.writer))
        self._ingest = Ingest(
            address,
            f"veilleur-fleet-{database.fleet_id}",
            writer=self._writer,
            teller=Teller(Outgoings(database.readers), self._writer, clock, metrics),
            clock=clock,
            metrics=metrics,
            committed=self._committed,
            changed=self._live.touch,
        )
        place = Place(root_of(settings.root_path), str(address), settings.timezone)
        standing = self._ingest.standing
        painter = Painter(
            database.readers,
            languages_of(settings.timezone),
            live=self._live,
            clock=clock,
            place=place,
            connected=lambda: standing.connected,
        )
        self._app = web_app(painter, database.readers, metrics, health_of(database.readers, standing))

    async def run(self, listening: socket.socket, ready: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT; what was taken in is then committed and acknowledged."""
        stop = asyncio.Event()
        server = _Server(self._app, self._live, ready)
        with _stopping_on_signals(stop):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(server.serve(sockets=[listening]), name="web")
                tidying = tasks.create_task(self._tidy(), name="tidy")
                ingesting = tasks.create_task(self._ingest.run(stop), name="ingest")
                await stop.wait()
                tidying.cancel()
                await ingesting
                server.end()
        await asyncio.to_thread(self._writer.close)

    def _committed(self, stored: Stored) -> None:
        if stored.records or stored.refused or stored.envelopes_refused:
            self._live.touch()

    async def _tidy(self) -> None:
        log = structlog.get_logger()
        while True:
            try:
                gone = await self._writer.forget_health_before(self._clock.now_ms() - HEALTH_KEPT_MS)
                log.info("health.forgotten", rows=gone)
            except StoreUnavailableError as error:
                log.warning("health.kept", reason=str(error))
            await asyncio.sleep(TIDY_EVERY_S)


class _Server(uvicorn.Server):
    """uvicorn, but for signals: ``Fleet`` decides when to stop, and in which order."""

    def __init__(self, app: FastAPI, live: Live, ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=FAREWELL_S,
            h11_max_incomplete_event_size=16_384,
        )
        super().__init__(config)
        self._live = live
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and say so."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield

    def end(self) -> None:
        """Let those who follow live go, and stop serving."""
        self._live.close()
        self.should_exit = True


def listen(address: ListenAddress) -> socket.socket:
    """Bind the page's address before anything else is begun.

    Raises:
        SettingsRejectedError: It cannot be bound.
    """
    try:
        return socket.create_server((address.host, address.port), backlog=BACKLOG, family=_family_of(address.host))
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        message = f"cannot listen on {address.host}:{address.port}: {reason}; give another address with --listen"
        raise SettingsRejectedError(message) from None


def url_of(listening: socket.socket, root: str) -> str:
    """Return the page's address as a browser on this machine writes it."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - recognised, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{root}/"


def root_of(path: str) -> str:
    """Return ``path`` as a prefix of addresses: empty, or with a slash before and none behind.

    Raises:
        SettingsRejectedError: It is not a plain path.
    """
    parts = [part for part in path.split("/") if part]
    if not all(part.replace("-", "").replace("_", "").isalnum() and part.isascii() for part in parts):
        message = f"the root path {path!r} is not a plain path: write it like /veilleur"
        raise SettingsRejectedError(message)
    return "".join(f"/{part}" for part in parts)


def health_of(readers: sa.Engine, standing: Standing) -> Callable[[], Health]:
    """Return what tells whether the fleet can do its work."""

    def health() -> Health:
        try:
            with readers.connect() as connection:
                connection.execute(sa.text("SELECT 1 FROM fleet"))
            database = standing.writable
        except sa.exc.SQLAlchemyError:
            database = False
        fine = database and standing.connected
        return Health(status="ok" if fine else "degraded", database=database, broker=standing.connected)

    return health


def run(settings: Settings, clock: Clock, ready: Callable[[str], None]) -> None:
    """Run the fleet until it is told to stop; ``ready`` is called with the page's address.

    Raises:
        SettingsRejectedError: A setting cannot be followed.
        StoreRejectedError: The data folder cannot be used.
    """
    address = ListenAddress.parse(settings.listen)
    root = root_of(settings.root_path)
    BrokerAddress.parse(settings.broker.get_secret_value())
    languages_of(settings.timezone)
    with open_database(settings.data, clock) as database, listen(address) as listening:
        asyncio.run(_run(settings, database, clock, listening, lambda: ready(url_of(listening, root))))


async def _run(
    settings: Settings, database: Database, clock: Clock, listening: socket.socket, ready: Callable[[], None]
) -> None:
    await Fleet(settings, database, clock).run(listening, ready)


@contextlib.contextmanager
def _stopping_on_signals(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
