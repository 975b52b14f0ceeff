"""Read where the database is, for every command that opens one."""

from pathlib import Path
from typing import Annotated

import typer

from veilleur_fleet.store.database import Where
from veilleur_fleet.store.postgresql import PostgresAddress

Data = Annotated[
    str,
    typer.Option(
        "--data",
        "--database",
        envvar="VEILLEUR_FLEET_DATABASE",
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
