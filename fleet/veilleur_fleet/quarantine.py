"""``veilleur-fleet quarantine``: see what was refused, and have it judged again after an upgrade."""

from typing import Annotated, Final, NoReturn

import sqlalchemy as sa
import typer

from veilleur_contracts.clock import SystemClock, datetime_of
from veilleur_contracts.errors import RejectedError, TransientError
from veilleur_contracts.messages import class_of_stream
from veilleur_fleet.store.database import open_database, open_readers
from veilleur_fleet.store.ledger import Ledger
from veilleur_fleet.store.tables import boxes, quarantine
from veilleur_fleet.where import Data, where_of

_LIST = """
[bold]Example[/bold]

  veilleur-fleet quarantine list --data /var/lib/veilleur-fleet

One line each: key, box, stream and number (or "message"), bytes, how often it came, when first, and why it was refused;
never its content. Works while the fleet runs.
"""
_REPLAY = """
[bold]Example[/bold]

  systemctl stop veilleur-fleet
  pip install ...                                         the newer release
  veilleur-fleet quarantine replay --data /var/lib/veilleur-fleet
  systemctl start veilleur-fleet

Before the newer fleet starts, so that what is replayed comes before what is new. What is still refused stays in
quarantine; a second replay changes nothing. Consumers are told the records when the fleet runs, at new cursors.
"""

quarantine_app: Final = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="See what was refused, and judge it again after an upgrade."
)


@quarantine_app.command(name="list", epilog=_LIST)
def listed(
    data: Data,
    after: Annotated[int, typer.Option(min=0, help="Only those behind this key.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many lines at most.")] = 100,
) -> None:
    """Say what is in quarantine, the oldest first."""
    query = (
        sa.select(quarantine, boxes.c.box, sa.func.length(quarantine.c.raw).label("size_bytes"))
        .join_from(quarantine, boxes, quarantine.c.box_no == boxes.c.box_no, isouter=True)
        .where(quarantine.c.quarantine_no > after)
        .order_by(quarantine.c.quarantine_no)
    )
    try:
        where = where_of(data)
        readers = open_readers(where)
        with readers.connect() as connection:
            many = connection.execute(sa.select(sa.func.count()).select_from(quarantine)).scalar_one()
            rows = connection.execute(query.limit(limit)).all()
        readers.dispose()
    except RejectedError as error:
        _fail(str(error))
    except sa.exc.SQLAlchemyError:
        _fail(f"the database at {where} cannot be read: restore a backup, or give another --data folder")
    for row in rows:
        place = "message" if row.stream is None else f"{class_of_stream(row.stream).value}/{row.stream}/{row.seq}"
        when = f"{datetime_of(row.received_ms):%Y-%m-%dT%H:%M:%SZ}"
        cells = (row.quarantine_no, row.box or "-", place, f"{row.size_bytes} B", f"x{row.times}", when, row.reason)
        typer.echo("\t".join(map(str, cells)))
    typer.echo(f"{many} in quarantine, {len(rows)} shown")


@quarantine_app.command(epilog=_REPLAY)
def replay(data: Data) -> None:
    """Judge everything in quarantine again, and store what this release can read. Stop the fleet first."""
    judged = accepted = stored = after = 0
    try:
        where = where_of(data)
        open_readers(where).dispose()  # a wrong folder is refused, not made
        with open_database(where, SystemClock()) as database:
            ledger = Ledger(database.writer)
            while (done := ledger.replay(after)).judged:
                judged, accepted, after = judged + done.judged, accepted + done.accepted, done.last
                stored += done.stored
    except (RejectedError, TransientError) as error:
        _fail(str(error))
    typer.echo(
        f"{judged} judged again: {accepted} accepted, {judged - accepted} still refused; {stored} records stored"
    )


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"veilleur-fleet: {sentence}", err=True)
    raise typer.Exit(1)
