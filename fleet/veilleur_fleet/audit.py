"""``veilleur-fleet audit``: verify a box's audit log offline, and cosign its head as a witness."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from veilleur_contracts.audit_check import Fault, Findings, check_log
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.notes import (
    BY_WITNESS,
    NOTE_BYTES_MAX,
    NoteRejectedError,
    VerifierKey,
    cosign,
    read_checkpoint,
    read_verifier,
    verifier_of,
)
from veilleur_contracts.tiles import LogUnreadableError, Tiles
from veilleur_fleet.audit_copies import COPY_HELP, TRUST_HELP, copy, trust
from veilleur_fleet.keys import read_key, read_passphrase

VERIFIER_CHARACTERS_MAX: Final = 512
_VERIFY = """
[bold]Examples[/bold]

  veilleur-fleet audit verify /mnt/box/audit --key gare-01.key
  veilleur-fleet audit verify audit/ --key gare-01.key --witness dpo-ville.key --witness dpo-agglo.key
      --checkpoint seen-by-the-dpo.txt --copy yesterday/audit

Exit code 0: whole. 1: not whole, or it cannot be read. Take the key from the enrolment, not from the box you verify.
"""
_COSIGN = """
[bold]Example[/bold]

  veilleur-fleet audit cosign audit/ --key gare-01.key --name dpo-ville --with witness.pem --seen gare-01.seen

Verifies the whole log first, and that it only grew since the checkpoint in gare-01.seen, which is then replaced.
"""

audit_app: Final = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="Verify the audit logs of boxes, and witness them."
)
audit_app.command("copy", epilog=COPY_HELP)(copy)
audit_app.command("trust", epilog=TRUST_HELP)(trust)
Key = Annotated[str, typer.Option(help="Key of the log, NAME+ID+BASE64, or a file that holds it.")]
Passphrase = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        envvar="VEILLEUR_PASSPHRASE_FILE",
        help="File (mode 0600) with the passphrase on its first line; asked for when not given.",
    ),
]


@audit_app.command(epilog=_VERIFY)
def verify(
    path: Annotated[Path, typer.Argument(help="Folder of the log.")],
    key: Key,
    witness: Annotated[list[str] | None, typer.Option(help="Key of a witness, or a file that holds it.")] = None,
    checkpoint: Annotated[list[Path] | None, typer.Option(help="A checkpoint kept elsewhere.")] = None,
    copy: Annotated[list[Path] | None, typer.Option(help="Another copy of the log, to compare with.")] = None,
) -> None:
    """Verify a log: order, chain, hashes, and every signed checkpoint; name the first bad entry."""
    with _told():
        log, witnesses = _key_of(key), [_key_of(one) for one in witness or ()]
        notes = [_bytes_of(one) for one in checkpoint or ()]
        for one in (path, *(copy or ())):
            _check_folder(one)
        findings = check_log(Tiles(path), log, witnesses, notes, [Tiles(one) for one in copy or ()])
    Console().print(_table(path, log, witnesses, findings))
    if not findings.is_whole:
        _fail(_verdict(findings.faults[0]))
    typer.echo(_how_far(findings))


@audit_app.command("cosign", epilog=_COSIGN)
def add_cosignature(
    path: Annotated[Path, typer.Argument(help="Folder of the log.")],
    *,
    key: Key,
    name: Annotated[str, typer.Option(help="Your name as a witness, such as dpo-ville.")],
    with_key: Annotated[Path, typer.Option("--with", help="Your private key as a witness, used for nothing else.")],
    seen: Annotated[Path, typer.Option(help="The checkpoint you cosigned last; made the first time.")],
    passphrase_file: Passphrase = None,
) -> None:
    """Verify a log as far as you can see, and cosign its newest checkpoint."""
    with _told():
        _check_folder(path)
        log, tiles = _key_of(key), Tiles(path)
        earlier = _bytes_of(seen) if seen.exists() else None
        findings = check_log(tiles, log, notes=() if earlier is None else (earlier,))
        if not findings.is_whole:
            raise NoteRejectedError(_verdict(findings.faults[0]) + "; nothing was cosigned")
        newest = list(tiles.notes())
        if not newest:
            message = f"{path} holds no checkpoint yet; the box signs one every hour and when it stops"
            raise NoteRejectedError(message)
        size = read_checkpoint(newest[-1], log).checkpoint.size
        if earlier is not None and read_checkpoint(earlier, log).checkpoint.size > size:
            message = f"{seen} is newer than the newest checkpoint of {path}: the log was cut short, or put back"
            raise NoteRejectedError(message)
        private = read_key(with_key, _passphrase(passphrase_file))
        note = cosign(newest[-1], name, private, SystemClock().now_ms() // 1000)
        _write(seen, note)
    typer.echo(f"{seen}: {size} entries cosigned by {name}; your key as a witness is")
    typer.echo(str(verifier_of(name, private, BY_WITNESS)))


def _table(path: Path, log: VerifierKey, witnesses: list[VerifierKey], findings: Findings) -> Table:
    table = Table(title=f"Audit log {log.name}", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("folder", str(path))
    table.add_row("entries", f"{findings.size}, kept from {findings.kept_from}")
    table.add_row("signed up to", f"{findings.signed_size}, by {findings.checkpoints} checkpoint(s)")
    table.add_row("starts of the box", str(findings.starts))
    for one in witnesses:
        seen = findings.witnessed.get(one.name)
        table.add_row(f"witness {one.name}", "has cosigned nothing here" if seen is None else f"up to {seen}")
    if findings.torn_bytes:
        table.add_row("half an entry", f"{findings.torn_bytes} bytes at the end; the box cuts them off when it starts")
    for fault in findings.faults:
        place = str(fault.first) if fault.is_exact else f"{fault.first} to {fault.last}"
        table.add_row(f"[red]{fault.kind.value} at {place}[/red]", fault.sentence)
    table.add_row("verdict", "[green]whole[/green]" if findings.is_whole else "[red]not whole[/red]")
    return table


def _verdict(fault: Fault) -> str:
    if fault.is_exact:
        return f"the first bad entry is {fault.first} ({fault.kind.value}): {fault.sentence}"
    return f"the first bad entry is one of {fault.first} to {fault.last} ({fault.kind.value}): {fault.sentence}"


def _how_far(findings: Findings) -> str:
    unsigned = findings.size - findings.signed_size
    if unsigned:
        return f"whole; the last {unsigned} entries are chained and not signed yet"
    return "whole, and signed to the end"


def _key_of(text: str) -> VerifierKey:
    if "+" not in text or Path(text).exists():
        return read_verifier(_bytes_of(Path(text))[:VERIFIER_CHARACTERS_MAX].decode("utf-8", "replace"))
    return read_verifier(text)


def _check_folder(path: Path) -> None:
    if not (path / "tile").is_dir():
        message = f"{path} holds no audit log: give the folder with `tile` and `checkpoint` in it"
        raise LogUnreadableError(message)


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(NOTE_BYTES_MAX + 1)
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise NoteRejectedError(message) from None


def _write(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise NoteRejectedError(message) from None


def _passphrase(file: Path | None) -> str:
    return read_passphrase(file) if file else str(typer.prompt("Passphrase", hide_input=True, err=True))


@contextmanager
def _told() -> Iterator[None]:
    """Turn a refusal into one sentence and exit code 1."""
    try:
        yield
    except RejectedError as error:
        _fail(str(error))


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"veilleur-fleet audit: {sentence}", err=True)
    raise typer.Exit(1)
