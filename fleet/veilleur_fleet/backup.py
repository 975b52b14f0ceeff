"""``veilleur-fleet backup`` and ``restore``: the whole database in one file, and back."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import Progress as Bar

from veilleur_contracts.clock import SystemClock, datetime_of
from veilleur_contracts.errors import RejectedError, TransientError
from veilleur_fleet.access.actions import Actions
from veilleur_fleet.access.command import by_server
from veilleur_fleet.errors import StoreRejectedError
from veilleur_fleet.store.backup import Progress, back_up, sha256_of
from veilleur_fleet.store.database import open_desk
from veilleur_fleet.store.restore import CURSORS_JUMPED, restore
from veilleur_fleet.where import Data, where_of

BACKUP_EXAMPLES: Final = """
[bold]Examples[/bold]

  veilleur-fleet backup /backups/fleet-2026-11-27.db --data /var/lib/veilleur-fleet
  VEILLEUR_FLEET_DATABASE=postgresql://fleet@db.example/fleet veilleur-fleet backup /backups/fleet.db

While the fleet runs: it is one moment of the database. The file appears when it is whole and was read again; the line
it prints is what `sha256sum --check` reads. It holds digests of passwords and the fleet's documents: keep it as safe as
the database.
"""
RESTORE_EXAMPLES: Final = """
[bold]Examples[/bold]

  veilleur-fleet restore /backups/fleet-2026-11-27.db --data /var/lib/veilleur-new
  veilleur-fleet restore /backups/fleet.db --database postgresql://fleet@db.example/fleet

Into an empty folder or database only, also from SQLite to PostgreSQL. What it prints says what is lost.
"""
BackupFile = Annotated[Path, typer.Argument(help="The backup.")]


def backup(file: BackupFile, data: Data) -> None:
    """Copy the whole database into FILE, while the fleet runs; prints its SHA-256."""
    with _told(), _bar("copying") as progress:
        where = where_of(data)
        copied = back_up(where, file, progress)
    typer.echo(f"{copied.sha256}  {file}")
    rows = copied.rows
    typer.echo(
        f"{copied.size_bytes:,} bytes, read again and whole: {rows['records']:,} records,"
        f" {rows['crossing_windows']:,} windows, {rows['boxes']:,} boxes",
        err=True,
    )


def restored(
    file: BackupFile,
    data: Data,
    sha256: Annotated[str | None, typer.Option(help="What the backup's SHA-256 must be.")] = None,
) -> None:
    """Make a database out of the backup FILE, in a place where there is none."""
    clock = SystemClock()
    with _told(), _bar("restoring") as progress:
        where = where_of(data)
        _check_digest(file, sha256)
        done = restore(file, where, clock.now_ms(), progress)
        desk = open_desk(where)
        Actions(desk, clock).note(by_server(), "backup.restored", {"sha256": done.sha256})
        desk.dispose()
    newest = "none" if done.newest_ms is None else f"received {datetime_of(done.newest_ms):%Y-%m-%dT%H:%M:%SZ}"
    typer.echo(f"restored at {where}: {done.rows['records']:,} records, the newest {newest}; SHA-256 {done.sha256}")
    typer.echo(LOST)


LOST: Final = f"""\
- Lost: whatever the fleet stored and acknowledged after this backup. Boxes delete what is acknowledged; they say again
  what is not, and declare the rest as a gap.
- Consumers go on with the cursors they have: every shard jumped by {CURSORS_JUMPED:,}, so that no cursor means two
  things.
- Accounts, tokens and certificates are as they were then: disable and revoke again what was since. A box that was
  enrolled or got its next certificate since is not known by it: enrol it again with a new token. Everybody is logged
  out, and enrolments that were not used yet are withdrawn.
- Policies and other documents published since must be published again."""


def _check_digest(file: Path, wanted: str | None) -> None:
    if wanted is None:
        return
    try:
        found = sha256_of(file)
    except OSError as error:
        raise StoreRejectedError(f"cannot read {file}: {error.strerror}") from None
    if found != wanted.strip().lower():
        raise StoreRejectedError(f"{file} is not that backup: its SHA-256 is {found}")


@contextlib.contextmanager
def _bar(what: str) -> Iterator[Progress]:
    """Show how far it is, on a terminal."""
    with Bar(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (RejectedError, TransientError) as error:
        typer.echo(f"veilleur-fleet: {error}", err=True)
        raise typer.Exit(1) from None
