"""``veilleur-fleet route``: who of the control centre is told what, and why; fleet running or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from veilleur_contracts.authority import Root, read_root, verify
from veilleur_contracts.clock import SystemClock, datetime_of
from veilleur_contracts.envelope import ENVELOPE_BYTES_MAX
from veilleur_contracts.messages import MessageClass
from veilleur_contracts.policy import EventKind
from veilleur_fleet.access.command import by_server, fail, told
from veilleur_fleet.routing.rules import TEMPLATE, Purpose, Route, RoutesRejectedError, Routing, Subject, read_routes
from veilleur_fleet.routing.subjects import PURPOSE_OF_EVENT
from veilleur_fleet.routing.table import RoutingTable
from veilleur_fleet.store.database import open_desk, open_readers
from veilleur_fleet.where import Data, where_of

_NEW = """
[bold]Example[/bold]

  veilleur-fleet route new routes.toml
"""
_LIST = """
[bold]Example[/bold]

  veilleur-fleet route list --data /var/lib/veilleur-fleet
"""
_SET = """
[bold]Examples[/bold]

  veilleur-fleet route new routes.toml
  veilleur-fleet route set routes.toml --data /var/lib/veilleur-fleet
"""
_GROUNDS = """
[bold]Example[/bold]

  veilleur-fleet route grounds policy.json --root root.json --data /var/lib/veilleur-fleet

Takes the authorisations of the signed policy, after verifying it as a box would. A route for class E names their
references; an event goes to the service only while one of them covers its kind, its camera and its day.
"""
_EXPLAIN = """
[bold]Examples[/bold]

  veilleur-fleet route explain municipal-police --event stopped-vehicle --controller ville --commune 30189
      --camera gare-parvis --data /var/lib/veilleur-fleet
  veilleur-fleet route explain traffic-control --class A --purpose traffic --controller agglo --commune 30258
      --data /var/lib/veilleur-fleet
"""

route_app: Final = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="Which service of the control centre is told what."
)


@route_app.command(epilog=_NEW)
def new(out: Annotated[Path, typer.Argument(help="The file to write, ending in .toml.")]) -> None:
    """Write a table to fill in."""
    with told():
        try:
            with out.open("x", encoding="utf-8") as file:
                file.write(TEMPLATE)
        except OSError as error:
            raise RoutesRejectedError(f"cannot write {out}: {error.strerror}; choose another name") from None
    typer.echo(f"{out} written: fill it in and put it in force with `route set`")


@route_app.command("set", epilog=_SET)
def put(file: Annotated[Path, typer.Argument(help="The table.")], data: Data) -> None:
    """Put another table in force, at once."""
    with told(), _table(data) as table:
        routes = read_routes(file)
        table.put(by_server(), routes)
    typer.echo(f"{len(routes)} route(s) in force for {len({route.service for route in routes})} service(s)")


@route_app.command("grounds", epilog=_GROUNDS)
def take_grounds(
    file: Annotated[Path, typer.Argument(help="A signed policy.")],
    root: Annotated[
        list[Path], typer.Option("--root", help="Signed root; once for each there has been, oldest first.")
    ],
    data: Data,
) -> None:
    """Take the authorisations of a signed policy, on which class E rests."""
    with told(), _table(data) as table:
        authority: Root | None = None
        for path in root:
            authority = read_root(_bytes_of(path), authority)
        if authority is None:
            raise RoutesRejectedError("give the signed root with --root")
        verified = verify(_bytes_of(file), authority, datetime_of(SystemClock().now_ms()))
        many = table.put_grounds(by_server(), verified.policy)
    typer.echo(f"{many} authorisation(s) of policy {verified.policy.version} known")


@route_app.command("list", epilog=_LIST)
def list_routes(data: Data) -> None:
    """Say what is in force."""
    with told(), _table(data) as table:
        routing = table.routing()
    for number, route in enumerate(routing.routes, start=1):
        typer.echo("\t".join((str(number), route.service, *_cells_of(route))))
    for ground in routing.grounds:
        one = ground.authorisation
        where = ",".join(sorted(one.communes | one.cameras))
        days = f"{one.first_day} to {one.last_day}"
        typer.echo("\t".join(("ground", one.kind.value, where, days, one.reference, f"policy {ground.version}")))
    typer.echo(f"{len(routing.routes)} route(s), {len(routing.grounds)} authorisation(s)")


@route_app.command(epilog=_EXPLAIN)
def explain(
    service: Annotated[str, typer.Argument(help="The service.")],
    *,
    data: Data,
    controller: Annotated[str, typer.Option(help="Who answers for the camera.")],
    commune: Annotated[str | None, typer.Option(help="INSEE code of its commune.")] = None,
    camera: Annotated[str | None, typer.Option(help="The camera.")] = None,
    event: Annotated[EventKind | None, typer.Option(help="An event of class E.")] = None,
    kind: Annotated[MessageClass | None, typer.Option("--class", help="Class of anything else.")] = None,
    purpose: Annotated[Purpose | None, typer.Option(help="What it is told for.")] = None,
) -> None:
    """Say whether a service would be told something now, and why, or why not."""
    with told(), _table(data) as table:
        subject = _subject(Subject(kind or MessageClass.EVENT, controller, purpose, 0, commune, camera, event), kind)
        routing = table.routing()
    for line in _explained(routing, service, subject):
        typer.echo(line)
    if not routing.tells(service, subject):
        fail(f"{service} is not told")
    typer.echo(f"{service} is told")


def _explained(routing: Routing, service: str, subject: Subject) -> list[str]:
    lines = []
    for number, route in enumerate(routing.routes, start=1):
        if route.service == service:
            bar = routing.bar(route, subject)
            lines.append(f"route {number}: {'yes' if bar is None else f'no: {bar.value}'}")
    return lines or [f"no route names {service}"]


def _subject(asked: Subject, kind: MessageClass | None) -> Subject:
    now_s = SystemClock().now_ms() // 1000
    if asked.event is not None:
        return replace(asked, purpose=asked.purpose or PURPOSE_OF_EVENT[asked.event], at_s=now_s)
    if kind is None or asked.purpose is None:
        raise RoutesRejectedError("say what it is: --event, or --class with --purpose")
    return replace(asked, at_s=now_s)


def _cells_of(route: Route) -> tuple[str, ...]:
    return (
        "".join(one.value for one in MessageClass if one in route.classes),
        ",".join(sorted(route.purposes)),
        ",".join(sorted(route.controllers)) or "all controllers",
        ",".join(sorted(route.communes)) or "all communes",
        "; ".join(sorted(route.grounds)) or "-",
        route.note or "-",
    )


@contextmanager
def _table(data: str) -> Iterator[RoutingTable]:
    where = where_of(data)
    desk, readers = open_desk(where), open_readers(where)
    try:
        yield RoutingTable(readers, desk, SystemClock())
    finally:
        readers.dispose()
        desk.dispose()


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(ENVELOPE_BYTES_MAX + 1)
    except OSError as error:
        raise RoutesRejectedError(f"cannot read {path}: {error.strerror}") from None
