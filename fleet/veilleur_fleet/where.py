"""Read where the database is, for every command that opens one."""

from pathlib import Path
from typing import Annotated

import typer

from veilleur_fleet.errors import SettingsRejectedError
from veilleur_fleet.store.database import Where
from veilleur_fleet.store.postgresql import PostgresAddress


def where_of(text: str) -> Where:
    """Read a folder, or an address that begins with ``postgresql://``.

    Raises:
        typer.BadParameter: It looks like an address and is none; the text is not repeated, it may hold a password.
    """
    if "://" not in text:
        return Path(text)
    try:
        return PostgresAddress.parse(text)
    except SettingsRejectedError as error:
        raise typer.BadParameter(str(error)) from None


Data = Annotated[
    Where,
    typer.Option(
        "--data",
        "--database",
        parser=where_of,
        envvar="VEILLEUR_FLEET_DATABASE",
        metavar="FOLDER|postgresql://…",
        help="Folder of the SQLite database, or address of the PostgreSQL one (a password belongs in the environment).",
    ),
]
