"""``veilleur-fleet export`` and ``push``: what was counted, as files and as entities for other people's systems."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, NoReturn

import msgspec
import sqlalchemy as sa
import typer

from veilleur_contracts.clock import SystemClock
from veilleur_contracts.errors import RejectedError, TransientError
from veilleur_fleet.errors import QueryRejectedError
from veilleur_fleet.feeds import etalab as files
from veilleur_fleet.feeds.cifs import incidents
from veilleur_fleet.feeds.context_broker import ContextBroker
from veilleur_fleet.feeds.datex import publication
from veilleur_fleet.feeds.ngsi import entities_at, slots_of
from veilleur_fleet.feeds.places import Places, read_places
from veilleur_fleet.feeds.reading import open_readers
from veilleur_fleet.feeds.series import STEPS, Bench, Period, channels_of
from veilleur_fleet.feeds.slots import DAY_S
from veilleur_fleet.notices.board import Board
from veilleur_fleet.where import Data, where_of

_TIME_CHARACTERS_MAX: Final = 40
_ETALAB: Final = """
[bold]Examples[/bold]

  veilleur-fleet export etalab --data fleet-data --places places.toml --out open-data
      --from 2026-10-01T00:00:00Z --to 2026-11-01T00:00:00Z
  veilleur-fleet export etalab --data fleet-data --places places.toml --out open-data --step day
      --from 2026-10-01T00:00:00Z --to 2026-11-01T00:00:00Z

May run beside the fleet. Only cameras named in places.toml are published; docs/feeds.md says what is told and how.
"""

_DATEX: Final = """
[bold]Example[/bold]

  veilleur-fleet export datex --data fleet-data --places places.toml --out flow.json
      --from 2026-10-01T08:00:00Z --to 2026-10-01T09:00:00Z

Vehicles only, a day at most.
"""
_CIFS: Final = """
[bold]Example[/bold]

  veilleur-fleet export cifs --data fleet-data --out cifs.json
"""

export_app: Final = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="Write what was counted as files for other systems."
)
_NGSI: Final = """
[bold]Example[/bold]

  veilleur-fleet push ngsi --data fleet-data --places places.toml --to-broker https://broker.example.org:1026
      --from 2026-10-01T08:00:00Z --to 2026-10-01T08:15:00Z

Slots are pushed in order, each replacing the one before it: the broker ends up holding the last slot of the period.
"""
push_app: Final = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="Push what was counted to other systems."
)

PlacesFile = Annotated[Path, typer.Option(help="File that says which cameras are published, and where they stand.")]
Since = Annotated[str, typer.Option("--from", help="Beginning, with its zone, like 2026-10-01T00:00:00Z.")]
Before = Annotated[str, typer.Option("--to", help="End, not in it.")]
Step = Annotated[str, typer.Option(help=f"Length of a slot: {', '.join(STEPS)}.")]


@export_app.callback()
def about() -> None:
    """Write what was counted as files for other systems."""


@export_app.command(epilog=_ETALAB)
def etalab(
    *,
    data: Data,
    places: PlacesFile,
    out: Annotated[Path, typer.Option(help="Folder for site.csv, channel.csv and measure.csv.")],
    since: Since,
    before: Before,
    step: Step = "hour",
    with_bench: Annotated[
        bool,
        typer.Option("--bench", help="With counts of the bench policy, marked in `comment`; to try, not to publish."),
    ] = False,
) -> None:
    """Write the three files of etalab's schema-comptage-mobilites 0.2.5."""
    bench = Bench(keeps=with_bench)
    with _told():
        period = Period(_second_of("--from", since), _second_of("--to", before), step)
        period.check(_now_s())
        published = read_places(places)
        engine = open_readers(where_of(data))
        try:
            with engine.connect() as connection:
                exported = files.export(connection, published, period, out, bench)
        except OSError as error:
            _fail(f"cannot write {out}: {error.strerror}; give a folder that can be written with --out")
        finally:
            engine.dispose()
    _say_bench(bench)
    for camera in exported.silent:
        typer.echo(f"veilleur-fleet export: camera {camera} has counted nothing that could be published", err=True)
    typer.echo(
        f"{out}: {exported.sites} sites, {exported.channels} channels, {exported.measures} measures,"
        f" {exported.unknown} of them without a count"
    )


@export_app.command(epilog=_DATEX)
def datex(
    *,
    data: Data,
    places: PlacesFile,
    out: Annotated[Path, typer.Option(help="File to write; replaced when it is whole.")],
    since: Since,
    before: Before,
    step: Step = "window",
) -> None:
    """Write a DATEX II v3 MeasuredDataPublication in JSON: vehicles only."""
    bench = Bench()
    with _told():
        period, now_s = Period(_second_of("--from", since), _second_of("--to", before), step), _now_s()
        period.check(now_s)
        if period.to_s - period.from_s > DAY_S:
            message = "a DATEX publication holds one day at most: it is written in one piece"
            raise QueryRejectedError(message)
        published, engine = read_places(places), open_readers(where_of(data))
        try:
            with engine.connect() as connection:
                found = [
                    (one, list(channels_of(connection, one.controller, one.camera, period, bench)))
                    for one in published.place
                ]
            text = msgspec.json.encode(publication(published.publisher, found, now_s))
            beside = out.with_name(f".{out.name}.part")
            beside.write_bytes(text)
            beside.replace(out)
        except OSError as error:
            _fail(f"cannot write {out}: {error.strerror}; give a file that can be written with --out")
        finally:
            engine.dispose()
    _say_bench(bench)
    typer.echo(f"{out}: {len(text)} bytes")


@export_app.command(epilog=_CIFS)
def cifs(
    *,
    data: Data,
    out: Annotated[Path, typer.Option(help="File to write; replaced when it is whole.")],
) -> None:
    """Write Waze's CIFS feed in JSON: what operators confirmed (`veilleur-fleet notice`), and nothing else."""
    with _told():
        engine = open_readers(where_of(data))
        try:
            text = msgspec.json.encode(incidents(Board(engine, engine, SystemClock()).standing()))
            beside = out.with_name(f".{out.name}.part")
            beside.write_bytes(text)
            beside.replace(out)
        except OSError as error:
            _fail(f"cannot write {out}: {error.strerror}; give a file that can be written with --out")
        finally:
            engine.dispose()
    typer.echo(f"{out}: {len(text)} bytes")


def _now_s() -> int:
    return SystemClock().now_ms() // 1000


@push_app.callback()
def about_push() -> None:
    """Push what was counted to other systems."""


@push_app.command(epilog=_NGSI)
def ngsi(
    *,
    data: Data,
    places: PlacesFile,
    to_broker: Annotated[str, typer.Option(help="http[s]://host:port of an NGSI-LD context broker.")],
    since: Since,
    before: Before,
    step: Step = "window",
    context: Annotated[list[str] | None, typer.Option(help="Address of a JSON-LD context; may be repeated.")] = None,
    token: Annotated[
        str | None, typer.Option(envvar="VEILLEUR_FLEET_NGSI_TOKEN", help="Bearer token; safer in the environment.")
    ] = None,
) -> None:
    """Push TrafficFlowObserved, CrowdFlowObserved and Device entities to a context broker."""
    bench = Bench()
    with _told():
        period = Period(_second_of("--from", since), _second_of("--to", before), step)
        period.check(_now_s())
        published, broker = read_places(places), ContextBroker.parse(to_broker, tuple(context or ()), token)
        engine = open_readers(where_of(data))
        try:
            with engine.connect() as connection:
                pushed = _push(connection, published, period, broker, bench)
        finally:
            engine.dispose()
    _say_bench(bench)
    typer.echo(f"{pushed} entities pushed")


def _push(connection: sa.Connection, places: Places, period: Period, broker: ContextBroker, bench: Bench) -> int:
    """Push camera by camera, and each slot after the one before it; return how many entities that was."""
    pushed = 0
    for place in places.place:
        channels = list(channels_of(connection, place.controller, place.camera, period, bench))
        for slot in slots_of(channels):
            entities = list(entities_at(place, places.publisher, channels, slot))
            broker.push(entities)
            pushed += len(entities)
    return pushed


def _say_bench(bench: Bench) -> None:
    """Say how many windows of the bench policy were left out, and why; or that they are in."""
    if bench.windows and bench.keeps:
        typer.echo(
            f"veilleur-fleet: {bench.windows} windows of the bench policy are in, and marked: do not publish this",
            err=True,
        )
    elif bench.windows:
        typer.echo(
            f"veilleur-fleet: {bench.windows} windows left out: they were counted under the bench policy, in files or "
            "rendered streets and in no street of the city",
            err=True,
        )


def _second_of(name: str, text: str) -> int:
    try:
        at = datetime.fromisoformat(text) if len(text) <= _TIME_CHARACTERS_MAX else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or at.microsecond or at.timestamp() < 0:
        message = f"{name}: write a time with its zone, in whole seconds, like 2026-10-01T00:00:00Z"
        raise QueryRejectedError(message)
    return int(at.timestamp())


@contextmanager
def _told() -> Iterator[None]:
    """Turn a refusal into one sentence and exit code 1."""
    try:
        yield
    except (RejectedError, TransientError) as error:
        _fail(str(error))


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"veilleur-fleet: {sentence}", err=True)
    raise typer.Exit(1)
