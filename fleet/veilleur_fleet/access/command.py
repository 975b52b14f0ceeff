"""``veilleur-fleet account``, ``token``, ``actions``: who may come in, and what was done; fleet running or not."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, NoReturn

import sqlalchemy as sa
import typer

from veilleur_contracts.clock import SystemClock, datetime_of
from veilleur_contracts.errors import RejectedError
from veilleur_fleet.access.accounts import Accounts
from veilleur_fleet.access.actions import By, listed, verify
from veilleur_fleet.access.capacity import Capacity
from veilleur_fleet.errors import AccessRejectedError
from veilleur_fleet.keys import read_passphrase
from veilleur_fleet.store.database import FILE_NAME, open_database, open_desk, open_readers
from veilleur_fleet.where import Data, where_of

_ADD = """
[bold]Examples[/bold]

  veilleur-fleet account add jmartin --holder "Jeanne Martin" --role operator --data /var/lib/veilleur-fleet
  veilleur-fleet account add pdurand --holder "Paul Durand" --role dpo-ville --data /var/lib/veilleur-fleet
  veilleur-fleet account add crise-1 --holder "Salle de crise, poste 1" --role consumer-crisis-room --data fleet-data

As soon as there is one account or token, everybody is asked who they are.
"""
_LIST = """
[bold]Example[/bold]

  veilleur-fleet account list --data /var/lib/veilleur-fleet
"""
_DISABLE = """
[bold]Example[/bold]

  veilleur-fleet account disable jmartin --data /var/lib/veilleur-fleet
"""
_ANOTHER = """
[bold]Examples[/bold]

  veilleur-fleet account password jmartin --data /var/lib/veilleur-fleet
  veilleur-fleet account password jmartin --password-file new-password --data /var/lib/veilleur-fleet
"""
_NEW = """
[bold]Example[/bold]

  veilleur-fleet token new hypervisor --role consumer-traffic-control --days 365 --data /var/lib/veilleur-fleet

Prints the token once; only its digest is kept. A program sends it as `Authorization: Bearer ...`. A token looks and
never acts, whatever its role.
"""
_TOKENS = """
[bold]Example[/bold]

  veilleur-fleet token list --data /var/lib/veilleur-fleet
"""
_REVOKE = """
[bold]Example[/bold]

  veilleur-fleet token revoke hypervisor --data /var/lib/veilleur-fleet
"""
_ACTIONS = """
[bold]Examples[/bold]

  veilleur-fleet actions list --data /var/lib/veilleur-fleet
  veilleur-fleet actions list --who jmartin --limit 20 --data /var/lib/veilleur-fleet
"""
_VERIFY = """
[bold]Examples[/bold]

  veilleur-fleet actions verify --data /var/lib/veilleur-fleet
  veilleur-fleet actions verify --data /var/lib/veilleur-fleet --head "$(cat head)"

Prints the head, NUMBER:DIGEST. Note it elsewhere and give it the next time: rows cut off at the end are then found too.
"""

account_app: Final = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="Accounts of people.")
token_app: Final = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="Tokens of programs.")
actions_app: Final = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="What people did here.")

RoleText = Annotated[str, typer.Option("--role", help="operator, dpo-ville, dpo-agglo or consumer-<service>.")]
PasswordFile = Annotated[
    Path | None,
    typer.Option(help="File (mode 0600) with the password on its first line; asked for when not given."),
]


@account_app.command(epilog=_ADD)
def add(
    name: Annotated[str, typer.Argument(help="What the person types: a-z, 0-9 and inner hyphens.")],
    holder: Annotated[str, typer.Option(help="Who it is, as others will read it.")],
    role: RoleText,
    data: Data,
    password_file: PasswordFile = None,
) -> None:
    """Make an account for one person."""
    with told():
        capacity = Capacity.parse(role)
        with _accounts(data) as accounts:
            accounts.add(by_server(), name, holder, capacity, _password(password_file))
    typer.echo(f"account {name} made for {holder}: {capacity}")


@account_app.command("list", epilog=_LIST)
def list_accounts(data: Data) -> None:
    """Say who may come in."""
    with told(), _accounts(data) as accounts:
        for one in accounts.accounts():
            ended = "" if one.disabled_ms is None else f"disabled {_day(one.disabled_ms)}"
            typer.echo("\t".join((one.name, str(one.capacity), one.holder, f"since {_day(one.created_ms)}", ended)))


@account_app.command(epilog=_DISABLE)
def disable(name: Annotated[str, typer.Argument(help="The account.")], data: Data) -> None:
    """End an account and log its person out; its name is never given to another."""
    with told(), _accounts(data) as accounts:
        accounts.disable(by_server(), name)
    typer.echo(f"account {name} disabled")


@account_app.command(epilog=_ANOTHER)
def password(
    name: Annotated[str, typer.Argument(help="The account.")], data: Data, password_file: PasswordFile = None
) -> None:
    """Give an account another password and log its person out."""
    with told(), _accounts(data) as accounts:
        accounts.set_password(by_server(), name, _password(password_file))
    typer.echo(f"account {name} has another password")


@token_app.command("new", epilog=_NEW)
def new_token(
    name: Annotated[str, typer.Argument(help="What people call it: a-z, 0-9 and inner hyphens.")],
    role: RoleText,
    data: Data,
    days: Annotated[int, typer.Option(help="How long it lasts.")] = 365,
) -> None:
    """Make a token for one program and print it, once."""
    with told(), _accounts(data) as accounts:
        secret = accounts.new_token(by_server(), name, Capacity.parse(role), days)
    typer.echo(secret)


@token_app.command("list", epilog=_TOKENS)
def list_tokens(data: Data) -> None:
    """Say which programs may look."""
    with told(), _accounts(data) as accounts:
        for one in accounts.tokens():
            used = "never used" if one.used_ms is None else f"used {_day(one.used_ms)}"
            end = f"until {_day(one.expires_ms)}" if one.revoked_ms is None else f"revoked {_day(one.revoked_ms)}"
            typer.echo("\t".join((one.name, str(one.capacity), end, used)))


@token_app.command(epilog=_REVOKE)
def revoke(name: Annotated[str, typer.Argument(help="The token.")], data: Data) -> None:
    """End a token at once."""
    with told(), _accounts(data) as accounts:
        accounts.revoke(by_server(), name)
    typer.echo(f"token {name} revoked")


@actions_app.command("list", epilog=_ACTIONS)
def list_actions(
    data: Data,
    after: Annotated[
        int | None, typer.Option(min=0, help="Those after this number; the newest when not given.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many lines at most.")] = 100,
    who: Annotated[str | None, typer.Option(help="Only what this account did.")] = None,
) -> None:
    """Say what was done, oldest first."""
    with told(), _reading(data) as connection:
        rows = listed(connection, after=after or 0, limit=limit, who=who, newest=after is None)
        for row in rows:
            when = f"{datetime_of(row.at_ms):%Y-%m-%dT%H:%M:%SZ}"
            typer.echo("\t".join((str(row.action_no), when, row.who, row.capacity, row.action, row.what)))


@actions_app.command("verify", epilog=_VERIFY)
def verify_actions(
    data: Data, head: Annotated[str | None, typer.Option(help="NUMBER:DIGEST noted earlier.")] = None
) -> None:
    """Check that nothing of what was done has been changed, removed or put elsewhere."""
    with told():
        noted = None if head is None else _head_of(head)
        with _reading(data) as connection:
            verdict = verify(connection, noted)
        if verdict.fault is not None:
            fail(f"the first {verdict.count} rows are whole; {verdict.fault}")
    typer.echo(f"whole: {verdict.count} actions, head {verdict.count}:{verdict.head}")


def by_server() -> By:
    """Return who runs this command: the user of this process, as the system knows it."""
    try:
        return By(pwd.getpwuid(os.getuid()).pw_name, "server")
    except KeyError:
        return By(f"uid-{os.getuid()}", "server")


@contextmanager
def _accounts(data: str) -> Iterator[Accounts]:
    where, clock = where_of(data), SystemClock()
    if isinstance(where, Path) and not (where / FILE_NAME).exists():
        open_database(where, clock).close()  # the first account may be made before the fleet first runs
    desk = open_desk(where)
    readers = open_readers(where)
    try:
        yield Accounts(readers, desk, clock)
    finally:
        readers.dispose()
        desk.dispose()


@contextmanager
def _reading(data: str) -> Iterator[sa.Connection]:
    readers = open_readers(where_of(data))
    try:
        with readers.connect() as connection:
            yield connection
    finally:
        readers.dispose()


@contextmanager
def told() -> Iterator[None]:
    """Turn a refusal into one sentence and exit code 1."""
    try:
        yield
    except RejectedError as error:
        fail(str(error))
    except sa.exc.SQLAlchemyError:
        fail("the database cannot be used just now: try again, or restore a backup")


def fail(sentence: str) -> NoReturn:
    """Say why, and end."""
    typer.echo(f"veilleur-fleet: {sentence}", err=True)
    raise typer.Exit(1)


def _password(file: Path | None) -> str:
    if file is not None:
        return read_passphrase(file)
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def _head_of(text: str) -> tuple[int, str]:
    number, _, digest = text.partition(":")
    if not (number.isascii() and number.isdigit()) or len(digest) != 64:  # noqa: PLR2004 - a SHA-256 in hexadecimal
        message = "--head is NUMBER:DIGEST, as `actions verify` printed it"
        raise AccessRejectedError(message)
    return int(number), digest


def _day(at_ms: int) -> str:
    return f"{datetime_of(at_ms):%Y-%m-%d}"
