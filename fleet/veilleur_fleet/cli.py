"""``veilleur-fleet``: the commands of the fleet manager."""

import sys
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from pydantic import ValidationError

from veilleur_contracts.clock import SystemClock
from veilleur_contracts.errors import RejectedError
from veilleur_fleet.access.capacity import Access
from veilleur_fleet.access.command import account_app, actions_app, token_app
from veilleur_fleet.audit import audit_app
from veilleur_fleet.backup import BACKUP_EXAMPLES, RESTORE_EXAMPLES, backup, restored
from veilleur_fleet.feeds.command import export_app, push_app
from veilleur_fleet.notices.command import notice_app
from veilleur_fleet.pki.command import broker_app, pki_app
from veilleur_fleet.policy import policy_app
from veilleur_fleet.quarantine import quarantine_app
from veilleur_fleet.routing.command import route_app
from veilleur_fleet.settings import Settings
from veilleur_fleet.steer.command import steer_app

_EXAMPLES = """
[bold]Examples[/bold]

  veilleur-fleet run
  veilleur-fleet run --data /var/lib/veilleur-fleet --broker mqtt://127.0.0.1:1883 --listen 127.0.0.1:8080
  veilleur-fleet run --data /var/lib/veilleur-fleet --door 127.0.0.1:8081
  veilleur-fleet run --database postgresql://fleet@db.example/fleet --shards 0-7 --standby
  VEILLEUR_FLEET_BROKER=mqtt://fleet:secret@broker:1883 veilleur-fleet run --listen 127.0.0.1:0
"""

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Store what the boxes count, acknowledge it, and show it.",
)
cli.add_typer(account_app, name="account")
cli.add_typer(token_app, name="token")
cli.add_typer(actions_app, name="actions")
cli.add_typer(route_app, name="route")
cli.add_typer(notice_app, name="notice")
cli.add_typer(policy_app, name="policy")
cli.add_typer(audit_app, name="audit")
cli.add_typer(quarantine_app, name="quarantine")
cli.add_typer(pki_app, name="pki")
cli.add_typer(broker_app, name="broker")
cli.command(name="backup", epilog=BACKUP_EXAMPLES)(backup)
cli.command(name="restore", epilog=RESTORE_EXAMPLES)(restored)
cli.add_typer(export_app, name="export")
cli.add_typer(push_app, name="push")
cli.add_typer(steer_app, name="steer")


@cli.callback()
def about() -> None:
    """Store what the boxes count, acknowledge it, and show it."""


@cli.command(epilog=_EXAMPLES)
def run(
    *,
    data: Annotated[Path | None, typer.Option(help="Folder of the database; made if it is not there.")] = None,
    broker: Annotated[
        str | None, typer.Option(help="mqtt://[user:password@]host:port; a password is safer in the environment.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(help="postgresql://[user@]host/database instead; a password belongs in the environment."),
    ] = None,
    shards: Annotated[
        str | None, typer.Option(help="Shards that this worker takes, like 0-7; several need PostgreSQL.")
    ] = None,
    standby: Annotated[
        bool | None, typer.Option("--standby", help="Wait until another worker lets its shards go.")
    ] = None,
    listen: Annotated[str | None, typer.Option(help="host:port of the page; port 0 takes one that is free.")] = None,
    root_path: Annotated[str | None, typer.Option(help="Path under which a proxy serves the page.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Time zone of the page, like Europe/Paris.")] = None,
    door: Annotated[
        str | None, typer.Option(help="host:port at which boxes fetch their documents; nowhere when not given.")
    ] = None,
    access: Annotated[
        Access | None, typer.Option(help="Ask who one is: auto (once there is an account or token), required, or open.")
    ] = None,
    word_key: Annotated[Path | None, typer.Option(help="Key with which the fleet signs its word to the boxes.")] = None,
    word_passphrase_file: Annotated[
        Path | None, typer.Option(help="File (mode 0600) with the passphrase of --word-key.")
    ] = None,
) -> None:
    """Take in what boxes say and show it, until Ctrl-C or SIGTERM.

    Every option has an environment variable too: VEILLEUR_FLEET_DATA, VEILLEUR_FLEET_BROKER and so on.
    """
    said: dict[str, Any] = {
        "data": data,
        "database": database,
        "shards": shards,
        "standby": standby,
        "broker": broker,
        "listen": listen,
        "root_path": root_path,
        "timezone": timezone,
        "door": door,
        "access": access,
        "word_key": word_key,
        "word_passphrase_file": word_passphrase_file,
    }
    configure_log()
    from veilleur_fleet import app as fleet_app  # noqa: PLC0415 - pages and papers, which no other command waits for

    try:
        settings = Settings(**{name: value for name, value in said.items() if value is not None})
        fleet_app.run(settings, SystemClock(), _ready)
    except RejectedError as error:
        _fail(str(error))
    except ValidationError as error:
        first = error.errors()[0]
        _fail(f"setting {first['loc'][0]}: {first['msg'].lower()}")


def configure_log() -> None:
    """Write events to stderr: for people on a terminal, as JSON elsewhere."""
    terminal = sys.stderr.isatty()
    form: Any = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            form,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def main() -> None:
    """Run the command line."""
    cli()


def _ready(url: str, door: str | None) -> None:
    print(f"veilleur-fleet ready: {url}", flush=True)  # noqa: T201 - the line a person or a program waits for
    if door is not None:
        print(f"veilleur-fleet door: {door}", flush=True)  # noqa: T201 - the line a person or a program waits for


def _fail(sentence: str) -> None:
    print(f"veilleur-fleet: {sentence}", file=sys.stderr)  # noqa: T201 - the one sentence of a command
    raise typer.Exit(1)
