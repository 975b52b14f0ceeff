"""``veilleur-fleet policy``: write, sign, check and explain what boxes may do; nothing here touches a network.

new ─▶ draft.toml ─ a person fills it in ─▶ sign ─▶ policy.json ─▶ sign … ─▶ check ─▶ given to the fleet
                            └──────────────▶ explain
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from veilleur_contracts.authority import PublicKey, Root, read_root, verify, verify_stop
from veilleur_contracts.clock import SystemClock, datetime_of
from veilleur_contracts.envelope import (
    ENVELOPE_BYTES_MAX,
    DocumentType,
    key_id_of,
    read_envelope,
    short_name,
    sign,
    write_envelope,
)
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.policy_change import compare, who_must_sign
from veilleur_contracts.policy_document import (
    MalformedDocumentError,
    Policy,
    Role,
    Scope,
    check_policy,
    decode_document,
    document_sha256,
)
from veilleur_fleet.drafts import DraftRejectedError, Kind, check_filled_in, document_of, read_any, template_of
from veilleur_fleet.keys import KeyRejectedError, make_key, read_key, read_passphrase, read_public
from veilleur_fleet.policy_words import changes_told, explained
from veilleur_fleet.texts import texts_of

_NEW = """
[bold]Examples[/bold]

  veilleur-fleet policy new policy.toml
  veilleur-fleet policy new stop.toml --kind stop
  veilleur-fleet policy new root.toml --kind root --public root=a.pub --public root=b.pub --public root=c.pub
      --public controller=mayor.pub --public operator=ops.pub --public dpo-ville=dpo1.pub --public dpo-agglo=dpo2.pub
"""
_SIGN = """
[bold]Examples[/bold]

  veilleur-fleet policy sign policy.toml --role dpo-ville --key dpo.pem
  veilleur-fleet policy sign policy.json --role operator --key ops.pem --root root.json

The first signature turns the draft policy.toml into policy.json; the others add themselves to policy.json.
"""
_CHECK = """
[bold]Examples[/bold]

  veilleur-fleet policy check policy.json --root root.json
  veilleur-fleet policy check policy.json --root root.json --current in-force.json

Give --root once for each root there has been, the pinned one first. The first root of all is checked against itself:

  veilleur-fleet policy check root.json --root root.json
"""
_EXPLAIN = """
[bold]Examples[/bold]

  veilleur-fleet policy explain policy.json
  veilleur-fleet policy explain policy.toml --against in-force.json --lang en
  veilleur-fleet policy explain policy.json --camera gare-parvis
"""
_KEY = """
[bold]Example[/bold]

  veilleur-fleet policy key new dpo.pem --holder "Jeanne Martin, DPO of the city"

Writes dpo.pem, encrypted, which its holder keeps, and dpo.pub, which goes into the root.
"""

policy_app: Final = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="Write, sign, check and explain what the boxes may do."
)
key_app: Final = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="Keys of the people who sign.")
policy_app.add_typer(key_app, name="key")

Passphrase = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        envvar="VEILLEUR_PASSPHRASE_FILE",
        help="File (mode 0600) with the passphrase on its first line; asked for when not given.",
    ),
]
Roots = Annotated[list[Path], typer.Option("--root", help="Signed root; once for each there has been, oldest first.")]


@policy_app.command(epilog=_NEW)
def new(
    out: Annotated[Path, typer.Argument(help="The file to write, ending in .toml.")],
    kind: Annotated[Kind, typer.Option(help="What to write.")] = Kind.POLICY,
    public: Annotated[
        list[str] | None, typer.Option(help="For a root: ROLE=FILE.pub, once for each person.", show_default=False)
    ] = None,
) -> None:
    """Write a template to fill in."""
    with _told():
        if out.suffix != ".toml":
            message = f"a draft is a TOML file: call it {out.with_suffix('.toml').name}"
            raise DraftRejectedError(message)
        text = template_of(kind, _now(), [_holder(one) for one in public or ()])
        _write_new(out, text.encode())
    look = "look at it with `explain`, then `sign` it" if kind is Kind.POLICY else "then `sign` it"
    typer.echo(f"{out} written: fill it in, {look}")


@policy_app.command("sign", epilog=_SIGN)
def add_signature(
    file: Annotated[Path, typer.Argument(help="A draft (.toml) or a signed document (.json).")],
    *,
    role: Annotated[Role, typer.Option(help="In what quality you sign.")],
    key: Annotated[Path, typer.Option(help="Your private key.")],
    root: Annotated[list[Path] | None, typer.Option(help="Signed roots, to check that your key has this role.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; otherwise FILE, with .json.")] = None,
    passphrase_file: Passphrase = None,
) -> None:
    """Add your signature."""
    with _told():
        envelope = read_any(file)
        check_filled_in(document_of(envelope))
        private = read_key(key, _passphrase(passphrase_file))
        key_id = key_id_of(private.public_key().public_bytes_raw())
        if root:
            held = _root_of(root).roles.get(role)
            if held is None or key_id not in held.keys:
                message = f"{key} is no key of {role.value} in the root; sign with the role it has"
                raise KeyRejectedError(message)
        target = out or file.with_suffix(".json")
        if file.suffix == ".toml" and target.exists():
            message = f"{target} is signed already; sign that file, or remove it to start again from {file}"
            raise DraftRejectedError(message)
        signed = sign(envelope, private)
        _replace(target, write_envelope(signed))
    typer.echo(f"{target}: {short_name(signed.payload_type)}, document sha256 {document_sha256(signed.content())}")
    typer.echo(f"signed as {role.value} with key {key_id[:12]}; {len(signed.signatures)} signature(s) on it")


@policy_app.command(epilog=_CHECK)
def check(
    file: Annotated[Path, typer.Argument(help="A signed policy, stop or root.")],
    root: Roots,
    current: Annotated[Path | None, typer.Option(help="The signed policy it would replace.")] = None,
    at: Annotated[datetime | None, typer.Option(help="As if it were this moment (UTC); now when not given.")] = None,
) -> None:
    """Verify a signed document offline, as a box would, and say in one sentence whether it would take it."""
    with _told():
        now = at.replace(tzinfo=UTC) if at is not None else _now()
        data = _bytes_of(file)
        authority = _root_of(root)
        kind = read_envelope(data).payload_type
        if kind is DocumentType.STOP:
            stop, sha256 = verify_stop(data, authority)
            said = f"a stop ordered by {stop.role.value}, document sha256 {sha256}; boxes obey it at once"
        elif kind is DocumentType.ROOT:
            said = _root_said(data, root)
        else:
            before = None if current is None else _signed_policy(current)
            verified = verify(data, authority, now, before)
            how = "loosens, and all have signed" if verified.change.loosened else "loosens nothing"
            said = f"policy {verified.policy.version}: it {how} ({', '.join(sorted(verified.signers))})"
    typer.echo(f"good: {file} is {said}")


@policy_app.command(epilog=_EXPLAIN)
def explain(
    file: Annotated[Path, typer.Argument(help="A policy, as a draft or signed.")],
    against: Annotated[Path | None, typer.Option(help="Another policy: what changed since?")] = None,
    camera: Annotated[str | None, typer.Option(help="Only this camera.")] = None,
    lang: Annotated[str, typer.Option(envvar="VEILLEUR_LANG", help="fr or en.")] = "fr",
) -> None:
    """Say in plain words what a policy lets a camera do, what it changes, and who must sign it."""
    with _told():
        texts = texts_of("policy", lang)
        policy = _policy_in(file)
        lines = [*explained(policy, texts, camera)]
        before = None if against is None else _policy_in(against)
        if before is not None:
            change = compare(before, policy)
            requirement = who_must_sign(change, Scope(policy.scope.controllers | before.scope.controllers))
            title = texts.say("Against policy {version}", version=before.version)
            lines += ["", title, *changes_told(change, requirement, texts)]
    for line in lines:
        typer.echo(line)


@key_app.command("new", epilog=_KEY)
def new_key(
    out: Annotated[Path, typer.Argument(help="The private key to write, ending in .pem.")],
    holder: Annotated[str, typer.Option(help="Whose it is, as others will read it.")],
    passphrase_file: Passphrase = None,
) -> None:
    """Make a key for one person: encrypted, readable by you alone, and its public half beside it."""
    with _told():
        if out.suffix != ".pem":
            message = f"a private key is a PEM file: call it {out.with_suffix('.pem').name}"
            raise KeyRejectedError(message)
        public, beside = make_key(out, holder, _passphrase(passphrase_file, confirm=True))
    typer.echo(f"{out} written (keep it), and {beside} (give it): key {key_id_of(bytes.fromhex(public.public))[:12]}")


def _now() -> datetime:
    return datetime_of(SystemClock().now_ms())


def _passphrase(file: Path | None, *, confirm: bool = False) -> str:
    if file is not None:
        return read_passphrase(file)
    return str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True))


def _holder(text: str) -> tuple[Role, str, PublicKey]:
    role, separator, path = text.partition("=")
    if not separator or role not in set(Role):
        message = f"--public {text}: write ROLE=FILE.pub, with a role of {', '.join(Role)}"
        raise KeyRejectedError(message)
    return (Role(role), *read_public(Path(path)))


def _root_of(paths: list[Path]) -> Root:
    root: Root | None = None
    for path in paths:
        root = read_root(_bytes_of(path), root)
    if root is None:
        message = "give the signed root with --root"
        raise DraftRejectedError(message)
    return root


def _root_said(data: bytes, paths: list[Path]) -> str:
    """Verify a root against those there have been, among which it may stand itself, and say what it is."""
    content = read_envelope(data).content()
    before: Root | None = None
    for path in paths:
        one = _bytes_of(path)
        if read_envelope(one).content() == content:
            break
        before = read_root(one, before)
    root = read_root(data, before)
    if before is None:
        return f"root {root.version}, the first: signed by its own keys, and trusted as whoever enrols a box gives it"
    return f"root {root.version}, which may follow root {before.version}"


def _signed_policy(path: Path) -> Policy:
    policy = decode_document(read_envelope(_bytes_of(path), DocumentType.POLICY).content(), Policy)
    check_policy(policy)
    return policy


def _policy_in(path: Path) -> Policy:
    envelope = read_any(path)
    document = document_of(envelope)
    if not isinstance(document, Policy):
        message = f"{path} is a {short_name(envelope.payload_type)}; only a policy is explained"
        raise MalformedDocumentError(message)
    return document


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(ENVELOPE_BYTES_MAX + 1)
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise DraftRejectedError(message) from None


def _write_new(path: Path, data: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        message = f"{path} is there already; choose another name"
        raise DraftRejectedError(message) from None
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise DraftRejectedError(message) from None


def _replace(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise DraftRejectedError(message) from None


@contextmanager
def _told() -> Iterator[None]:
    """Turn a refusal into one sentence and exit code 1."""
    try:
        yield
    except RejectedError as error:
        _fail(str(error))


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"veilleur-fleet policy: {sentence}", err=True)
    raise typer.Exit(1)
