"""Bring a database to this program's version, in one transaction: all of it or nothing."""

import re
import sqlite3
from collections.abc import Iterable, Iterator
from importlib import resources
from typing import Final

from veilleur_fleet.errors import StoreRejectedError

_NAME: Final = re.compile(r"sqlite_v([0-9]+)\.sql")


def migrate(connection: sqlite3.Connection) -> int:
    """Apply every schema script that the database has not had, in order, and return the version it is at.

    Args:
        connection: In autocommit mode (``isolation_level=None``): Python's own transactions would commit at each DDL.

    Raises:
        StoreRejectedError: The database is newer than this program.
        sqlite3.Error: A script failed; the database is as it was.
    """
    scripts = _scripts()
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
        had = {row[0] for row in connection.execute("SELECT version FROM schema_version")}
        _check_known(max(had, default=0), max(scripts))
        for number in sorted(scripts.keys() - had):
            for statement in statements_of(scripts[number]):
                connection.execute(statement)
            connection.execute("INSERT INTO schema_version VALUES (?)", (number,))
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return max(scripts)


def knows_all(versions: Iterable[int]) -> bool:
    """Tell whether a database that has had the scripts ``versions`` is at this program's version."""
    return set(versions) == _scripts().keys()


def _check_known(version: int, newest: int) -> None:
    if version > newest:
        message = (
            f"the database is at version {version} and this program knows {newest}: "
            "install the newer veilleur-fleet, or restore the backup made before its upgrade"
        )
        raise StoreRejectedError(message)


def statements_of(script: str) -> Iterator[str]:
    """Yield the statements of ``script`` one by one; ``executescript`` would commit before the first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if _without_comments(statement).strip():
        message = "a schema script ends inside a statement"
        raise ValueError(message)


def _scripts() -> dict[int, str]:
    found = {}
    for entry in (resources.files("veilleur_fleet.store") / "schema").iterdir():
        match = _NAME.fullmatch(entry.name)
        if match:
            found[int(match[1])] = entry.read_text(encoding="utf-8")
    return found


def _without_comments(text: str) -> str:
    return re.sub(r"--[^\n]*", "", text)
