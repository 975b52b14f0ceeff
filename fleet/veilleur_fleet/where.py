"""Read where the database is, for every command that opens one; and open it, when another worker lets us."""

import time
from pathlib import Path
from typing import Annotated, Final

import structlog
import typer

from veilleur_contracts.clock import Clock
from veilleur_fleet.errors import ShardTakenError
from veilleur_fleet.store.database import EVERY_SHARD, Database, Where, open_database
from veilleur_fleet.store.postgresql import PostgresAddress

STANDBY_EVERY_S: Final = 0.5

Data = Annotated[
    str,
    typer.Option(
        "--data",
        "--database",
        envvar=["VEILLEUR_FLEET_DATABASE", "VEILLEUR_FLEET_DATA"],
        metavar="FOLDER|postgresql://…",
        help="Folder of the SQLite database, or address of the PostgreSQL one (a password belongs in the environment).",
    ),
]


def where_of(text: str) -> Where:
    """Read a folder, or an address that begins with ``postgresql://``.

    Raises:
        SettingsRejectedError: It looks like an address and is none; the text is not repeated, it may hold a password.
    """
    return PostgresAddress.parse(text) if "://" in text else Path(text)


def open_when_free(where: Where, clock: Clock, shards: tuple[int, ...], *, standby: bool) -> Database:
    """Open the database; for a ``standby``, as soon as nobody else has the shards.

    Raises:
        StoreRejectedError: It cannot be used.
    """
    said = False
    while True:
        try:
            return open_database(where, clock, shards)
        except ShardTakenError as error:
            if not standby:
                raise
            if not said:
                structlog.get_logger().info("shards.awaited", reason=str(error))
                said = True
            time.sleep(STANDBY_EVERY_S)


def name_of(database: Database) -> str:
    """Return the name of our session at the broker; workers on different shards have different ones."""
    name = f"veilleur-fleet-{database.fleet_id}"
    return name if database.shards == EVERY_SHARD else f"{name}-{'-'.join(map(str, database.shards))}"
