"""Read where the database is, for every command that opens one; and open it, when another worker lets us."""

import time
from pathlib import Path
from typing import Annotated, Final

import structlog
import typer

from veilleur_contracts.clock import Clock
from veilleur_fleet.errors import DiskRefusedError, ShardTakenError
from veilleur_fleet.store.database import EVERY_SHARD, Database, Where, open_database
from veilleur_fleet.store.postgresql import PostgresAddress

AGAIN_EVERY_S: Final = 0.5
DISK_WITHIN_S: Final = 60.0
"""A disk that was full a moment ago may have room again; whoever starts us would only do it again and again."""

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


def open_when_free(
    where: Where, clock: Clock, shards: tuple[int, ...], *, standby: bool, disk_within_s: float = DISK_WITHIN_S
) -> Database:
    """Open the database, as soon as its disk takes writing; for a ``standby``, as soon as nobody else has the shards.

    Raises:
        StoreRejectedError: It cannot be used.
        DiskRefusedError: Its disk was full for ``disk_within_s`` seconds.
    """
    until_s, said = clock.elapsed_s() + disk_within_s, ""
    while True:
        try:
            return open_database(where, clock, shards)
        except (ShardTakenError, DiskRefusedError) as error:
            if clock.elapsed_s() >= until_s if isinstance(error, DiskRefusedError) else not standby:
                raise
            event = "store.awaited" if isinstance(error, DiskRefusedError) else "shards.awaited"
            if said != event:
                structlog.get_logger().info(event, reason=str(error))
                said = event
            time.sleep(AGAIN_EVERY_S)


def name_of(database: Database) -> str:
    """Return the name of our session at the broker; workers on different shards have different ones."""
    name = f"veilleur-fleet-{database.fleet_id}"
    return name if database.shards == EVERY_SHARD else f"{name}-{'-'.join(map(str, database.shards))}"
