"""Policies as people write them: templates in TOML, and the files that ``policy`` commands read, signed or not."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from veilleur_contracts.authority import PublicKey, Root, check_root
from veilleur_contracts.envelope import (
    ENVELOPE_BYTES_MAX,
    DocumentType,
    Envelope,
    read_envelope,
    seal,
)
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.policy_document import (
    MalformedDocumentError,
    Policy,
    Role,
    Stop,
    canonical,
    check_instant,
    check_policy,
    decode_document,
)

STRUCTS: Final[Mapping[DocumentType, type[Policy | Stop | Root]]] = {
    DocumentType.POLICY: Policy,
    DocumentType.STOP: Stop,
    DocumentType.ROOT: Root,
}
ROOT_YEARS: Final = 5
PLACEHOLDER: Final = re.compile(r"(?<!\S)…(?!\w)")
"""A ``…`` that is a word of its own; one at the end of a word is a writer's."""
SHOWN_MAX: Final = 60


class Kind(StrEnum):
    """What a person can write."""

    POLICY = "policy"
    STOP = "stop"
    ROOT = "root"


class DraftRejectedError(RejectedError):
    """A file that cannot be read as a policy, stop or root; the sentence says why."""


POLICY_TEMPLATE = """# What the boxes may do. Fill it in, look at it with `veilleur-fleet policy explain`, `sign` it.
version = 1                              # rises with every policy
issued = {issued}
expires = {expires}           # within 366 days; afterwards the strictest profile holds
max_age_s = 604800                       # without word from the fleet for longer: the strictest profile
purpose = "Connaître les déplacements pour aménager l'espace public."
legal_references = ["RGPD art. 6(1)(e)", "CNIL, juillet 2022 : caméras dites augmentées"]
decision = "Délibération n° … du …"
# lifts = ["…"]                          # stops that end with this policy: the document sha256 of each, 64 digits

[scope]                                  # whose cameras; leave communes and cameras out to mean all of theirs
controllers = ["ville"]                  # "ville", "agglo" or both
# communes = ["30189"]
# cameras = ["gare-parvis"]

[default]                                # rules of every camera without rules of its own
classes = ["T", "S"]                     # T health, S statistics; A needs a visa, E an authorisation
person_window_s = 1200                   # 20 minutes at least
vehicle_window_s = 900                   # 15 minutes at least
person_cell_min = 5                      # k: cells of 1 to k-1 persons are withheld
speed_cell_min = 5
# [default.images]                       # leave out: no image is kept
# days = 10
# prefect_days = 15
# reference = "Arrêté préfectoral n° …"

[[cameras]]                              # a camera that is not listed does not run: its masks are not decided
id = "gare-parvis"
masks = []                               # or [[[0, 0], [10000, 0], [10000, 2000], [0, 2000]]], in ten-thousandths

[[visas]]                                # the DPO's opinion, beside the decision
role = "dpo-ville"
day = {today}
opinion = "favourable"                   # "favourable", "with-reservations" or "unfavourable"
text = "Finalité statistique, données agrégées, aucune image."
# aggregates = ["road-state", "crowd-band"]

# [[authorisations]]                     # class E; add "E" to the classes
# kind = "stopped-vehicle"               # or "bulky-object", "wrong-way"
# first_day = 2026-06-01
# last_day = 2026-09-30
# communes = ["30189"]
# reference = "Arrêté n° …"
"""

STOP_TEMPLATE = """# A DPO's order to say and keep nothing. In force at once; a policy that all sign may lift it.
role = "dpo-ville"
issued = {issued}
reason = "…"

[scope]
controllers = ["ville"]
# communes = ["30189"]
# cameras = ["gare-parvis"]
"""


def template_of(kind: Kind, now: datetime, keys: Sequence[tuple[Role, str, PublicKey]] = ()) -> str:
    """Return a file to fill in.

    Args:
        kind: What is to be written.
        now: UTC.
        keys: For a root: who holds which role, with the key's id.
    """
    issued = now.replace(microsecond=0)
    if kind is Kind.ROOT:
        return _root_template(issued, keys)
    template = POLICY_TEMPLATE if kind is Kind.POLICY else STOP_TEMPLATE
    return template.format(
        issued=_stamp(issued), expires=_stamp(issued + timedelta(days=365)), today=issued.date().isoformat()
    )


def read_any(path: Path) -> Envelope:
    """Read a draft or a signed file; a draft comes as an envelope without signatures.

    Raises:
        RejectedError: It cannot be read, or is no policy, stop or root.
    """
    try:
        with path.open("rb") as file:
            data = file.read(ENVELOPE_BYTES_MAX + 1)
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise DraftRejectedError(message) from None
    if path.suffix != ".toml":
        return read_envelope(data)
    return _sealed(data, path)


def document_of(envelope: Envelope) -> Policy | Stop | Root:
    """Return the document in ``envelope``, checked; who signed it is not looked at.

    Raises:
        PolicyRejectedError: It is none.
    """
    kind = STRUCTS.get(envelope.payload_type)
    if kind is None:
        message = "only a policy, a stop or a root is written and signed by people"
        raise MalformedDocumentError(message)
    document = decode_document(envelope.content(), kind)
    _check(document)
    return document


def check_filled_in(document: Policy | Stop | Root) -> None:
    """Refuse a document in which a ``…`` of the template still stands for what somebody was to write.

    Raises:
        DraftRejectedError: As said, with the field's name.
    """
    for name, text in _texts_in(msgspec.to_builtins(document), ""):
        if PLACEHOLDER.search(text):
            message = (
                f"{name} is still the template's ({text[:SHOWN_MAX]!r}): write what it should say before it is signed"
            )
            raise DraftRejectedError(message)


def _texts_in(value: object, name: str) -> Iterator[tuple[str, str]]:
    """Yield every text of a document with the name of its field, as a draft writes it."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts_in(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts_in(inner, name)


def _sealed(data: bytes, path: Path) -> Envelope:
    try:
        found = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"{path} is not TOML: {error}"
        raise DraftRejectedError(message) from None
    kind = DocumentType.ROOT if "roles" in found else DocumentType.STOP if "reason" in found else DocumentType.POLICY
    try:
        document = msgspec.convert(found, STRUCTS[kind])
    except msgspec.ValidationError as error:
        message = f"{path}: {str(error)[:240]}; see `veilleur-fleet policy new` for what a file may hold"
        raise DraftRejectedError(message) from None
    _check(document)
    return seal(canonical(document), kind)


def _check(document: Policy | Stop | Root) -> None:
    if isinstance(document, Policy):
        check_policy(document)
    elif isinstance(document, Root):
        check_root(document)
    else:
        check_instant(document.issued)


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _root_template(issued: datetime, keys: Sequence[tuple[Role, str, PublicKey]]) -> str:
    lines = [
        "# Whose signature means what. Signed offline by two of the three root keys; pinned when a box is enrolled.",
        "version = 1",
        f"issued = {_stamp(issued)}",
        f"expires = {_stamp(issued + timedelta(days=365 * ROOT_YEARS))}",
    ]
    for _, key_id, public in keys:
        lines += ["", f'[keys."{key_id}"]', f"holder = {_quoted(public.holder)}", f'public = "{public.public}"']
    for role in Role:
        ids = [key_id for held, key_id, _ in keys if held is role]
        if ids or role is not Role.FLEET:
            listed = ", ".join(f'"{one}"' for one in ids)
            lines += ["", f"[roles.{role.value}]", f"keys = [{listed}]", f"threshold = {2 if role is Role.ROOT else 1}"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
