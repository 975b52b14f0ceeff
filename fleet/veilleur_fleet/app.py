"""Build the whole fleet, explicitly, and run it until it is told to stop.

settings ──▶ database ──▶ Ledger ──▶ Writer ──▶ Ingest ◀──▶ broker
                └─▶ readers ──▶ Painter, REST ──▶ web server ◀── browsers, programs
                           ├──▶ door ◀── boxes
                           └──▶ Steersman ──▶ broker
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Final

import sqlalchemy as sa
import structlog
from starlette.types import ASGIApp

from veilleur_contracts.clock import Clock
from veilleur_contracts.codec import encode
from veilleur_fleet.access.accounts import Accounts
from veilleur_fleet.access.actions import Actions
from veilleur_fleet.access.capacity import Access
from veilleur_fleet.access.porter import Entrance
from veilleur_fleet.door.admitting import Admitting
from veilleur_fleet.door.app import door_app
from veilleur_fleet.door.documents import Library, Twins, document_routes, twin_routes
from veilleur_fleet.door.enrolling import enrolment_routes
from veilleur_fleet.errors import PkiRejectedError, SettingsRejectedError, ShardTakenError, StoreUnavailableError
from veilleur_fleet.ingest import Ingest, Standing
from veilleur_fleet.keys import fleet_key_of
from veilleur_fleet.metrics import Metrics
from veilleur_fleet.notices.board import Board
from veilleur_fleet.oversight import Oversight
from veilleur_fleet.pki.wiring import Identity, has_authority, identity_of
from veilleur_fleet.routing.table import RoutingTable
from veilleur_fleet.serving import Server, listen, url_of
from veilleur_fleet.settings import BrokerAddress, ListenAddress, Settings, broker_for_boxes, door_of, shards_of
from veilleur_fleet.steer.desk import Desk
from veilleur_fleet.steer.steersman import Steersman, twin_in
from veilleur_fleet.store.database import Database
from veilleur_fleet.store.documents import document_of, twin_of
from veilleur_fleet.store.ledger import Ledger
from veilleur_fleet.store.outgoing import Outgoings
from veilleur_fleet.store.work import Stored
from veilleur_fleet.store.writer import Writer
from veilleur_fleet.tell import Teller
from veilleur_fleet.tidy import Tidier
from veilleur_fleet.web.answers import Health
from veilleur_fleet.web.app import web_app
from veilleur_fleet.web.dpo import Office
from veilleur_fleet.web.languages import languages_of
from veilleur_fleet.web.live import Live
from veilleur_fleet.web.pages import Painter, Place
from veilleur_fleet.where import name_of, open_when_free, where_of

TIDY_EVERY_S: Final = 3600.0
DOOR_QUESTIONS_MAX: Final = 256
"""At a time; more are told to come again, and boxes do, each after a while of its own."""


class Fleet:
    """One fleet manager: its database, its connection to the broker, and its page."""

    def __init__(self, settings: Settings, database: Database, clock: Clock, identity: Identity) -> None:
        """Build everything; nothing runs yet.

        Raises:
            SettingsRejectedError: A setting cannot be followed.
            KeyRejectedError: The fleet's key cannot be used.
        """
        key = fleet_key_of(settings.word_key, settings.word_passphrase_file)
        self._steersman = Steersman(database.desk, database.readers, clock, key, database.shards)
        address = BrokerAddress.parse(settings.broker.get_secret_value())
        metrics, self._live = Metrics(), Live()
        self._clock = clock
        self._writer = Writer(Ledger(database.writer))
        self._tidier = Tidier(self._writer, database, settings.keeping(), clock, metrics)
        self._ingest = Ingest(
            address,
            name_of(database),
            shards=database.shards,
            writer=self._writer,
            teller=Teller(Outgoings(database.readers, database.shards), self._writer, clock, metrics),
            clock=clock,
            metrics=metrics,
            committed=self._committed,
            changed=self._live.touch,
            credentials=identity.credentials,
            besides=[self._steersman.tell],
        )
        self._identity = identity
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
        self._door = door_for(identity, database.readers, broker_for_boxes(settings), clock)
        engines = (database.readers, database.desk, clock)
        entrance = Entrance(Accounts(*engines), RoutingTable(*engines), Board(*engines), settings.access)
        health = health_of(database.readers, standing)
        publish = Desk(database.desk, clock).publish
        office = Office(Oversight(database.readers), Actions(database.desk, clock), publish)
        self._app = web_app(painter, database.readers, metrics, health, entrance, office=office)

    async def run(self, listening: socket.socket, door: socket.socket | None, ready: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT; what was taken in is then committed and acknowledged.

        Args:
            listening: Where the page is served.
            door: Where boxes ask; None: nowhere.
            ready: Called when the page is served; the door's socket takes questions from before on.
        """
        stop = asyncio.Event()
        servers = [(Server(self._app, ready, farewell=self._live.close), listening, "web")]
        if door is not None:
            tls = None if self._identity.door is None else self._identity.door.context
            servers.append((Server(self._door, lambda: None, limit=DOOR_QUESTIONS_MAX, tls=tls), door, "door"))
        with _stopping_on_signals(stop):
            async with asyncio.TaskGroup() as tasks:
                for server, bound, name in servers:
                    tasks.create_task(server.serve(sockets=[bound]), name=name)
                chores = [
                    tasks.create_task(self._tidy(), name="tidy"),
                    tasks.create_task(self._keep_guard(), name="guard"),
                    tasks.create_task(self._steersman.run(), name="steer"),
                ]
                ingesting = tasks.create_task(self._ingest.run(stop), name="ingest")
                await stop.wait()
                for chore in chores:
                    chore.cancel()
                await ingesting
                for server, _, _ in servers:
                    server.end()
        await asyncio.to_thread(self._writer.close)

    def _committed(self, stored: Stored) -> None:
        if stored.records or stored.refused or stored.envelopes_refused or stored.reports or stored.alarms:
            self._live.touch()

    async def _keep_guard(self) -> None:
        if self._identity.guard is not None:
            await self._identity.guard.run()

    async def _tidy(self) -> None:
        while True:
            await self._tidier.tidy()
            try:
                await asyncio.to_thread(self._identity.tidy, self._clock.now_ms())
            except (StoreUnavailableError, PkiRejectedError) as error:
                structlog.get_logger().warning("certificates.kept", reason=str(error))
            await asyncio.sleep(TIDY_EVERY_S)


def check_access(access: Access, address: ListenAddress, accounts: Accounts) -> None:
    """Refuse to show a city to whoever reaches this machine, unless that is what is asked for.

    Raises:
        SettingsRejectedError: Others can reach the page, and nobody would be asked who they are.
    """
    if access is Access.AUTO and not address.is_loopback() and not accounts.is_anybody_known():
        raise SettingsRejectedError(
            f"{address.host} can be reached by others and there is no account: make one with `veilleur-fleet account"
            " add`, or say `--access open` if everybody may see everything"
        )


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


def door_for(identity: Identity, readers: sa.Engine, broker: str, clock: Clock) -> ASGIApp:
    """Return the door: open on this machine alone while there is no authority, and else for boxes it knows."""
    routes = [*document_routes(library_of(readers)), *twin_routes(twins_of(readers))]
    if identity.pki is None:
        return door_app(routes)
    register = identity.pki.register
    door = door_app([*routes, *enrolment_routes(identity.pki, broker, clock)])
    return Admitting(door, lambda serial: register.holder_of(serial, clock.now_ms()))


def library_of(readers: sa.Engine) -> Library:
    """Return what finds a document by the SHA-256 of its bytes."""

    def library(sha256: str) -> bytes | None:
        with readers.connect() as connection:
            return document_of(connection, sha256)

    return library


def twins_of(readers: sa.Engine) -> Twins:
    """Return what finds what a box should hold, by its name."""

    def twins(box: str) -> tuple[int, bytes] | None:
        with readers.connect() as connection:
            row = twin_of(connection, box)
        return None if row is None else (row.sequence, encode(twin_in(row)))

    return twins


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


def run(settings: Settings, clock: Clock, ready: Callable[[str, str | None], None]) -> None:
    """Run the fleet until it is told to stop; ``ready`` is called with the addresses of the page and of the door.

    Raises:
        SettingsRejectedError: A setting cannot be followed.
        StoreRejectedError: The data folder cannot be used.
    """
    is_tls = settings.ca_passphrase_file is not None and has_authority(settings.data)
    address, door = ListenAddress.parse(settings.listen), door_of(settings.door, is_tls=is_tls)
    root = root_of(settings.root_path)
    BrokerAddress.parse(settings.broker.get_secret_value())
    languages_of(settings.timezone)
    where = settings.data if settings.database is None else where_of(settings.database.get_secret_value())
    shards = shards_of(settings.shards)
    with contextlib.ExitStack() as opened:
        database = opened.enter_context(open_when_free(where, clock, shards, standby=settings.standby))
        listening = opened.enter_context(listen(address, "--listen"))
        check_access(settings.access, address, Accounts(database.readers, database.desk, clock))
        knocking = None if door is None else opened.enter_context(listen(door, "--door"))
        scheme = "https" if is_tls else "http"
        urls = (url_of(listening, root), None if knocking is None else url_of(knocking, scheme=scheme))
        identity = identity_of(settings, database, clock)
        fleet = Fleet(settings, database, clock, identity)
        try:
            asyncio.run(fleet.run(listening, knocking, lambda: ready(*urls)))
        except BaseExceptionGroup as group:
            raise _taken_in(group) or group from None


def _taken_in(group: BaseExceptionGroup[BaseException]) -> ShardTakenError | None:
    """Return what a session that was lost, and whose shards somebody else has now, ended us with."""
    for error in group.exceptions:
        found = _taken_in(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, ShardTakenError):
            return found
    return None


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
