"""``veilleur-fleet notice``: confirm something for drivers, take it back, see what is told; fleet running or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import typer

from veilleur_contracts.clock import SystemClock, datetime_of
from veilleur_fleet.access.command import by_server, told
from veilleur_fleet.notices.board import Board
from veilleur_fleet.notices.rules import Subtype, Way, content_of, ms_of
from veilleur_fleet.store.database import open_desk, open_readers
from veilleur_fleet.where import Data, where_of

_CONFIRM = """
[bold]Example[/bold]

  veilleur-fleet notice confirm HAZARD_ON_ROAD_OBJECT --street "Avenue Feuchères" --line "43.8325 4.3661 43.8345 4.3655"
      --until 2026-10-01T18:00:00+02:00 --data /var/lib/veilleur-fleet

It is told to drivers at once (`veilleur-fleet export cifs`, GET /v1/feeds/cifs) until it ends or is withdrawn.
"""

_WITHDRAW: Final = """
[bold]Example[/bold]

  veilleur-fleet notice withdraw 3f9a1c07d2be --data /var/lib/veilleur-fleet

`notice list` shows the names.
"""
_LIST: Final = """
[bold]Example[/bold]

  veilleur-fleet notice list --data /var/lib/veilleur-fleet
"""

notice_app: Final = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="What operators confirm for drivers, and take back."
)


@notice_app.command(epilog=_CONFIRM)
def confirm(
    subtype: Annotated[Subtype, typer.Argument(help="What it is, as CIFS names it.")],
    *,
    street: Annotated[str, typer.Option(help="Name of the street.")],
    line: Annotated[str, typer.Option(help="lat lon lat lon ... along it, the way the traffic goes.")],
    until: Annotated[str, typer.Option(help="End, with its zone; within 24 h of the beginning.")],
    data: Data,
    since: Annotated[str | None, typer.Option("--from", help="Beginning; now when not given.")] = None,
    way: Annotated[Way, typer.Option(help="Which way of the road.")] = Way.ONE,
    description: Annotated[str, typer.Option(help="More, for drivers; it is public.")] = "",
) -> None:
    """Tell drivers something you have looked at."""
    with told(), _board(data) as board:
        content = content_of(subtype, street, line, way, description)
        starts_ms = None if since is None else ms_of(since, "--from")
        name = board.confirm(by_server(), content, starts_ms, ms_of(until, "--until"))
    typer.echo(f"notice {name} is told")


@notice_app.command(epilog=_WITHDRAW)
def withdraw(name: Annotated[str, typer.Argument(help="The notice.")], data: Data) -> None:
    """Take a notice back at once."""
    with told(), _board(data) as board:
        board.withdraw(by_server(), name)
    typer.echo(f"notice {name} withdrawn")


@notice_app.command("list", epilog=_LIST)
def list_notices(data: Data) -> None:
    """Say what is told now or will be."""
    with told(), _board(data) as board:
        for one in board.standing():
            times = (f"{datetime_of(at):%Y-%m-%dT%H:%M:%SZ}" for at in (one.starts_ms, one.ends_ms))
            typer.echo("\t".join((one.name, one.content.subtype, one.content.street, *times, one.confirmed_by)))


@contextmanager
def _board(data: str) -> Iterator[Board]:
    where = where_of(data)
    desk, readers = open_desk(where), open_readers(where)
    try:
        yield Board(readers, desk, SystemClock())
    finally:
        readers.dispose()
        desk.dispose()
