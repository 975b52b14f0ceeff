"""``veilleur-fleet steer``: give the boxes signed documents, and see what each of them holds; beside a running fleet.

root.json, policy.json, stop.json ──publish──▶ database ──fleet──▶ boxes ──reported──▶ database ──▶ status
"""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import sqlalchemy as sa
import typer

from veilleur_contracts.clock import SystemClock, datetime_of
from veilleur_contracts.envelope import ENVELOPE_BYTES_MAX, DocumentType, read_envelope
from veilleur_contracts.errors import RejectedError, TransientError
from veilleur_fleet.steer.desk import Desk, Publication, PublicationRefusedError
from veilleur_fleet.steer.status import boxes_in
from veilleur_fleet.store.database import open_desk, open_readers
from veilleur_fleet.store.documents import documents_in
from veilleur_fleet.where import Data, where_of

_ROOT: Final = """
[bold]Examples[/bold]

  veilleur-fleet steer root root.json --data /var/lib/veilleur-fleet
  veilleur-fleet steer root root-2.json --data /var/lib/veilleur-fleet --as "Jeanne Martin"

The first root is trusted as it is given; each of the others must be signed by the one before it.
"""
_PUBLISH: Final = """
[bold]Examples[/bold]

  veilleur-fleet steer publish policy.json --data /var/lib/veilleur-fleet
  veilleur-fleet steer publish stop.json --data /var/lib/veilleur-fleet --as "DPO of the city"

The fleet that runs on that folder tells the boxes within seconds; those that are away, when they come back.
"""
_LIST: Final = """
[bold]Examples[/bold]

  veilleur-fleet steer list --data /var/lib/veilleur-fleet
  veilleur-fleet steer list --data /var/lib/veilleur-fleet --limit 5

The document sha256 of a stop is what `lifts` of a policy names.
"""
_STATUS: Final = """
[bold]Example[/bold]

  veilleur-fleet steer status --data /var/lib/veilleur-fleet

One line each: box, what it should hold, what it says it holds, since when, and what is in the way.
"""

steer_app: Final = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="Give the boxes signed documents, and see what they hold."
)
File = Annotated[Path, typer.Argument(help="A signed document, as `policy sign` writes it.")]
Who = Annotated[str | None, typer.Option("--as", help="Who does it, for the list; your account when not given.")]


@steer_app.command(epilog=_ROOT)
def root(file: File, data: Data, who: Who = None) -> None:
    """Tell the fleet, and through it the boxes, who may sign what."""
    with _told():
        document = _read(file)
        if read_envelope(document).payload_type is not DocumentType.ROOT:
            raise PublicationRefusedError(f"{file} is no root: give it to `veilleur-fleet steer publish`")
        _say(_publish(data, document, who))


@steer_app.command(epilog=_PUBLISH)
def publish(file: File, data: Data, who: Who = None) -> None:
    """Publish a signed policy or stop; refused when a box would refuse it."""
    with _told():
        _say(_publish(data, _read(file), who))


@steer_app.command("list", epilog=_LIST)
def listed(data: Data, limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100) -> None:
    """Say what was published, the newest first: kind, version, document sha256, size, when, by whom."""
    with _told(), _readers(data) as readers, readers.connect() as connection:
        for row in documents_in(connection, limit):
            when = f"{datetime_of(row.published_ms):%Y-%m-%dT%H:%M:%SZ}"
            version = "-" if row.version is None else str(row.version)
            cells = (row.kind, version, row.content, f"{row.size_bytes} B", when, row.published_by)
            typer.echo("\t".join(cells))


@steer_app.command(epilog=_STATUS)
def status(data: Data) -> None:
    """Say what each box should hold and what it says it holds."""
    with _told(), _readers(data) as readers, readers.connect() as connection:
        found = boxes_in(connection)
    for box in found:
        typer.echo(f"{box.box}\t{box.controller}\t{box.desired}\t{box.reported}\t{box.heard}\t{box.trouble}")
    typer.echo(f"{len(found)} boxes, {sum(not box.trouble for box in found)} as they should be")


def _publish(data: str, document: bytes, who: str | None) -> Publication:
    engine = open_desk(where_of(data))
    try:
        return Desk(engine, SystemClock()).publish(document, who or _account())
    finally:
        engine.dispose()


def _say(done: Publication) -> None:
    version = "" if done.version is None else f" {done.version}"
    if not done.is_new:
        typer.echo(f"{done.kind}{version} was published before; nothing changes (document sha256 {done.sha256})")
        return
    whose = ", ".join(done.controllers)
    typer.echo(f"{done.kind}{version} published for the boxes of {whose}, document sha256 {done.sha256}")


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(ENVELOPE_BYTES_MAX + 1)
    except OSError as error:
        raise PublicationRefusedError(f"{file} cannot be read: {error.strerror}") from None


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


@contextmanager
def _readers(data: str) -> Iterator[sa.Engine]:
    readers = open_readers(where_of(data))
    try:
        yield readers
    finally:
        readers.dispose()


@contextmanager
def _told() -> Iterator[None]:
    """Turn what is refused into one sentence and an exit code."""
    try:
        yield
    except (RejectedError, TransientError) as error:
        sentence = str(error)
    except sa.exc.SQLAlchemyError:
        sentence = "the database cannot be read: start this release's fleet on it once, or restore a backup"
    else:
        return
    typer.echo(f"veilleur-fleet: {sentence}", err=True)
    raise typer.Exit(1)
