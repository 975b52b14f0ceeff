"""``veilleur-fleet pki`` and ``broker``: the authority, tokens, certificates, and the broker's configuration.

init ─▶ token ─ a person carries it to the box ─▶ veilleur-agent enrol ─▶ list, revoke
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import msgspec
import sqlalchemy as sa
import typer

from veilleur_contracts.clock import SystemClock, datetime_of
from veilleur_contracts.enrolment import write_fingerprint
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.rights import Role, holder_of
from veilleur_fleet.access.command import by_server, fail
from veilleur_fleet.errors import StoreRejectedError
from veilleur_fleet.keys import read_passphrase
from veilleur_fleet.pki.authority import CA_NAME, fingerprint_of, load_authority, load_ca, make_authority
from veilleur_fleet.pki.files import BrokerFiles, write_file
from veilleur_fleet.pki.mosquitto import PORT, configuration
from veilleur_fleet.pki.register import Listed, Register
from veilleur_fleet.pki.service import Pki
from veilleur_fleet.routing.table import RoutingTable
from veilleur_fleet.store.database import open_database, open_desk
from veilleur_fleet.where import where_of

PKI_FOLDER: Final = "pki"
_INIT: Final = """
[bold]Example[/bold]

  umask 077; head -c 24 /dev/urandom | base64 > ca-passphrase
  veilleur-fleet pki init --data /var/lib/veilleur-fleet --passphrase-file ca-passphrase

Keep a copy of the data folder's pki/ and of the passphrase, apart from each other: boxes know this authority and no
other.
"""
_INVITE: Final = """
[bold]Example[/bold]

  veilleur-fleet pki token gare-01 --controller ville --data /var/lib/veilleur-fleet

Prints one line for `veilleur-agent enrol --token`. It is good once, for 24 hours, for this box alone; a new token
withdraws the one before it. A box whose disk was lost is enrolled again the same way; revoke it first.
"""
_LISTED: Final = """
[bold]Examples[/bold]

  veilleur-fleet pki list --data /var/lib/veilleur-fleet
  veilleur-fleet pki list --json --data /var/lib/veilleur-fleet
"""
_CRL: Final = """
[bold]Example[/bold]

  veilleur-fleet pki crl --out /srv/broker/crl.pem --data /var/lib/veilleur-fleet
      --passphrase-file ca-passphrase
"""
_REVOKE: Final = """
[bold]Example[/bold]

  veilleur-fleet pki revoke gare-01 --data /var/lib/veilleur-fleet

A running fleet writes the broker's lists and ends the connection within a minute. What the box counted until then stays
on it, and is sent when it is enrolled again.
"""
_ISSUE: Final = """
[bold]Examples[/bold]

  veilleur-fleet pki issue hypervisor --role consumer-control-centre --controller ville --out hypervisor.pem
      --data /var/lib/veilleur-fleet
  veilleur-fleet pki issue traffic-control --role consumer-service --out traffic-control.pem
      --data /var/lib/veilleur-fleet
  veilleur-fleet pki issue portal --role consumer-statistics --days 365 --out portal.pem
      --data /var/lib/veilleur-fleet

A consumer-service is called as its service in the table of routes, and hears what is routed to it, class E apart.
Writes certificate and key into one file, mode 0600. The fleet needs none: it issues its own.
"""
_BROKER: Final = """
[bold]Example[/bold]

  veilleur-fleet broker config --out /srv/broker --name broker.example.org --data /var/lib/veilleur-fleet
  /srv/broker/run.sh /srv/broker/mosquitto.conf

Give the fleet the folder too (VEILLEUR_FLEET_BROKER_FILES=/srv/broker): it keeps the lists in it as they must be.
"""

pki_app: Final = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="Say who is who: authority, tokens, certificates."
)
broker_app: Final = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="Write the broker's configuration.")

Data = Annotated[Path, typer.Option(envvar="VEILLEUR_FLEET_DATA", help="Folder of the authority and the database.")]
Database = Annotated[
    str | None,
    typer.Option(
        "--database", envvar="VEILLEUR_FLEET_DATABASE", help="postgresql://…, where the database is not in the folder."
    ),
]
Passphrase = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        envvar="VEILLEUR_FLEET_CA_PASSPHRASE_FILE",
        help="File (mode 0600) with the authority's passphrase on its first line; asked for when not given.",
    ),
]
Name = Annotated[str, typer.Argument(help="The box.")]


@pki_app.command(epilog=_INIT)
def init(data: Data, database: Database = None, passphrase_file: Passphrase = None) -> None:
    """Make the authority of this fleet, once."""
    clock = SystemClock()
    with _told():
        passphrase = _passphrase(passphrase_file, confirm=True)
        with _opened(data, database, make=True) as desk, desk.connect() as connection:
            fleet_id = str(connection.exec_driver_sql("SELECT fleet_id FROM fleet").scalar_one())
        authority = make_authority(data / PKI_FOLDER, passphrase, clock, fleet_id)
    typer.echo(f"authority made in {data / PKI_FOLDER}, fingerprint {write_fingerprint(authority.sha256)}")


@pki_app.command(epilog=_INVITE)
def token(
    box: Name,
    controller: Annotated[str, typer.Option(help="Who answers for its cameras; never changed afterwards.")],
    data: Data,
    hours: Annotated[int, typer.Option(min=1, max=24 * 30, help="How long it is good.")] = 24,
    *,
    database: Database = None,
    passphrase_file: Passphrase = None,
) -> None:
    """Print a one-time token with which one box enrols."""
    with _told(), _pki(data, database, passphrase_file) as pki:
        made = pki.invite(holder_of(Role.BOX, box, controller), timedelta(hours=hours), by_server())
    typer.echo(made.write())


@pki_app.command("list", epilog=_LISTED)
def listed(
    data: Data,
    *,
    database: Database = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each line.")] = False,
) -> None:
    """Say who has a certificate, until when, and who was invited."""
    with _told():
        fingerprint = write_fingerprint(fingerprint_of(load_ca(data / PKI_FOLDER)))
        with _opened(data, database) as desk:
            everybody = Register(desk).listed(SystemClock().now_ms())
    for one in everybody:
        typer.echo(_as_json(one) if as_json else _line_of(one))
    if not as_json:
        typer.echo(f"{len(everybody)} known; authority {fingerprint}")


@pki_app.command(epilog=_REVOKE)
def revoke(
    name: Annotated[str, typer.Argument(help="The box, or another name that list shows.")],
    data: Data,
    database: Database = None,
) -> None:
    """Take back every certificate and token of a box, or of somebody else."""
    with _told(), _opened(data, database) as desk:
        many = Register(desk).revoke(name, SystemClock().now_ms(), by_server())
    typer.echo(f"{many} certificate(s) of {name} revoked; a running fleet sees it out within a minute")


@pki_app.command(epilog=_ISSUE)
def issue(
    name: Annotated[str, typer.Argument(help="A name of its own.")],
    role: Annotated[Role, typer.Option(help="What it is.")],
    out: Annotated[Path, typer.Option(help="File to write, certificate and key.")],
    data: Data,
    *,
    controller: Annotated[str | None, typer.Option(help="Whose boxes it hears of; all, when not given.")] = None,
    days: Annotated[int, typer.Option(min=1, max=400, help="How long it is good.")] = 30,
    database: Database = None,
    passphrase_file: Passphrase = None,
) -> None:
    """Give a consumer, or a fleet's program on another machine, its certificate."""
    with _told(), _pki(data, database, passphrase_file) as pki:
        if role is Role.BOX:
            fail("a box makes its own key: give it a token")
        holder = holder_of(role, name, controller)
        made, key = pki.issue(holder, timedelta(days=days), by_server())
        write_file(out, (made.pem + key).encode(), 0o600)
    typer.echo(
        f"{holder.name}: {out}, good until {_date(made.expires_ms)}; the broker is known by {data}/pki/{CA_NAME}"
    )


@pki_app.command(epilog=_CRL)
def crl(
    out: Annotated[Path, typer.Option(help="File to write.")],
    data: Data,
    database: Database = None,
    passphrase_file: Passphrase = None,
) -> None:
    """Write the revocation list, for a broker whose folder the fleet does not keep."""
    with _told(), _pki(data, database, passphrase_file) as pki:
        write_file(out, pki.crl(), 0o644)
        many = len(pki.register.revoked(SystemClock().now_ms()))
    typer.echo(f"{out}: {many} revoked")


@broker_app.command(epilog=_BROKER)
def config(
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    name: Annotated[list[str], typer.Option(help="Host name or address boxes reach the broker at; repeatable.")],
    data: Data,
    *,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="TCP port.")] = PORT,
    bind: Annotated[str, typer.Option(help="Address to listen on; all, when not given.")] = "",
    files: Annotated[str | None, typer.Option(help="Where the broker sees the folder, if elsewhere.")] = None,
    database: Database = None,
    passphrase_file: Passphrase = None,
) -> None:
    """Write Mosquitto's configuration, certificate, access list and revocation list."""
    clock = SystemClock()
    with _told(), _pki(data, database, passphrase_file) as pki, _opened(data, database) as desk:
        text = configuration(files or str(out.resolve()), port, bind, by_server().who)
        BrokerFiles(out, pki, clock, RoutingTable(desk, desk, clock).filters).lay_out(text, name)
    typer.echo(f"{out} written; run it with {out}/run.sh {out}/mosquitto.conf")


@contextmanager
def _pki(data: Path, database: str | None, passphrase_file: Path | None) -> Iterator[Pki]:
    load_ca(data / PKI_FOLDER)  # before anything is asked
    authority = load_authority(data / PKI_FOLDER, _passphrase(passphrase_file))
    with _opened(data, database) as desk:
        yield Pki(authority, Register(desk), SystemClock())


@contextmanager
def _opened(data: Path, database: str | None, *, make: bool = False) -> Iterator[sa.Engine]:
    where = data if database is None else where_of(database)
    try:
        desk = open_desk(where)
    except StoreRejectedError:
        if not make:
            raise
        open_database(where, SystemClock()).close()
        desk = open_desk(where)
    try:
        yield desk
    finally:
        desk.dispose()


def _passphrase(file: Path | None, *, confirm: bool = False) -> str:
    if file is not None:
        return read_passphrase(file)
    return str(typer.prompt("Passphrase of the authority", hide_input=True, confirmation_prompt=confirm))


def _line_of(one: Listed) -> str:
    good = "-" if one.expires_ms is None else f"until {_date(one.expires_ms)}"
    state = "revoked" if one.is_revoked else good
    invited = "" if one.invited_until_ms is None else f"invited until {_date(one.invited_until_ms)}"
    return "\t".join(
        (one.holder.name, one.holder.role.value, one.holder.controller or "every", state, invited)
    ).rstrip()


def _as_json(one: Listed) -> str:
    return msgspec.json.encode(
        {
            "name": one.holder.name,
            "role": one.holder.role.value,
            "controller": one.holder.controller,
            "expires_ms": one.expires_ms,
            "invited_until_ms": one.invited_until_ms,
            "is_revoked": one.is_revoked,
        }
    ).decode()


def _date(at_ms: int) -> str:
    return f"{datetime_of(at_ms):%Y-%m-%dT%H:%M:%SZ}"


@contextmanager
def _told() -> Iterator[None]:
    """Turn what can go wrong into one sentence."""
    try:
        yield
    except RejectedError as error:
        fail(str(error))
    except sa.exc.SQLAlchemyError:
        fail("the database cannot be used right now: try again, or give another --data folder")
    except OSError as error:
        fail(f"cannot write {os.fspath(error.filename or 'the file')}: {error.strerror}")
