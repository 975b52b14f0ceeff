"""``veilleur-fleet audit copy`` and ``trust``: take the fleet's copy of an audit away, and accept a box's new key.

database ──copy──▶ folder laid out as the box's own ──▶ ``audit verify BOX/audit --copy FOLDER``
"""

from pathlib import Path
from typing import Annotated, Final, NoReturn

import sqlalchemy as sa
import typer

from veilleur_contracts.clock import SystemClock
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.notes import NoteRejectedError, read_checkpoint, read_verifier
from veilleur_contracts.tiles import ENTRIES, framed, tile_path
from veilleur_fleet.access.actions import note
from veilleur_fleet.access.command import by_server
from veilleur_fleet.store.database import open_desk, open_readers
from veilleur_fleet.store.papers import key_of
from veilleur_fleet.store.reports import StoredTiles, boxes_of, logs_of
from veilleur_fleet.store.tables import audit_logs, boxes
from veilleur_fleet.where import Data, where_of

KEY_CHARACTERS_MAX: Final = 512
COPY_HELP: Final = """
[bold]Examples[/bold]

  veilleur-fleet audit copy gare-01 copies/gare-01 --data /var/lib/veilleur-fleet
  veilleur-fleet audit verify /mnt/box/audit --key copies/gare-01/1/key --copy copies/gare-01/1

One numbered folder for each log the box ever wrote; the newest is 1.
"""
TRUST_HELP: Final = """
[bold]Example[/bold]

  veilleur-fleet audit trust gare-01 'veilleur/ville/gare-01/audit+2672c34d+AZN0lz0W...' --data /var/lib/veilleur-fleet

Read the key on the box itself (`veilleur-agent report`), after finding out why it has another one: the box was enrolled
again with an empty folder, or somebody put another box in its place.
"""


def copy(
    box: Annotated[str, typer.Argument(help="Name of the box.")],
    folder: Annotated[Path, typer.Argument(help="Where to; it must not exist.")],
    data: Data,
) -> None:
    """Write the fleet's copy of a box's audit into a folder, as a box keeps its own."""
    try:
        if folder.exists():
            raise NoteRejectedError(f"{folder} is there already: give a new folder")
        readers = open_readers(where_of(data))
        with readers.connect() as connection:
            found = next((one for one in boxes_of(connection, None) if one.box == box), None)
            logs = [] if found is None else logs_of(connection, found.box_no)
            for number, log in enumerate(logs, 1):
                entries = _write(folder / str(number), StoredTiles(connection, log), log.key)
                typer.echo(f"{folder / str(number)}: {entries} entries of {log.key}")
        readers.dispose()
        if not logs:
            raise NoteRejectedError(f"the fleet holds no audit of {box}")
    except RejectedError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"cannot write {folder}: {error.strerror}")


def trust(
    box: Annotated[str, typer.Argument(help="Name of the box.")],
    key: Annotated[str, typer.Argument(help="Its new key, NAME+ID+BASE64.")],
    data: Data,
) -> None:
    """Accept another key of a box; what it signs with it is taken from then on."""
    try:
        desk = open_desk(where_of(data))
        with desk.begin() as connection:
            row = connection.execute(sa.select(boxes.c.box_no, boxes.c.controller).where(boxes.c.box == box)).first()
            if row is None:
                raise NoteRejectedError(f"no box called {box} was ever heard")
            verifier = key_of(key[:KEY_CHARACTERS_MAX], row.controller, box)
            _trust(connection, row.box_no, str(verifier), box)
        desk.dispose()
    except RejectedError as error:
        _fail(str(error))
    except sa.exc.SQLAlchemyError:
        _fail("the database cannot be used just now: try again, or restore a backup")
    typer.echo(f"{box}: what is signed with key {verifier.key_id.hex()} is taken from now on")


def _trust(connection: sa.Connection, box_no: int, key: str, box: str) -> None:
    now_ms, by = SystemClock().now_ms(), by_server()
    known = connection.execute(
        sa.select(audit_logs.c.log_no).where(audit_logs.c.box_no == box_no, audit_logs.c.key == key)
    ).first()
    if known is not None:
        return
    row = {
        "box_no": box_no,
        "key": key,
        "trusted_by": f"{by.who}, by command",
        "first_seen_ms": now_ms,
        "heard_ms": now_ms,
    }
    connection.execute(
        sa.insert(audit_logs).values(**row, kept_from=0, size=0, prev="0" * 64, frontier=sa.literal(b""))
    )
    note(connection, now_ms, by, "audit-key.trusted", {"box": box, "key": key[-64:]})


def _write(folder: Path, tiles: StoredTiles, key: str) -> int:
    entries = 0
    for number in tiles.bundles():
        path = tile_path(folder, ENTRIES, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        bundle = tiles.bundle(number)[0]
        path.write_bytes(b"".join(map(framed, bundle)))
        entries += len(bundle)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    for head in tiles.notes():
        size = read_checkpoint(head, read_verifier(key)).checkpoint.size
        (folder / "checkpoints" / f"{size:015d}-00000000").write_bytes(head)
    (folder / "key").write_text(f"{key}\n", encoding="ascii")
    return entries


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"veilleur-fleet audit: {sentence}", err=True)
    raise typer.Exit(1)
