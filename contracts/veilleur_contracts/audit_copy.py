"""How a box's audit travels to the fleet: bounded parts up, and down what the fleet holds. Looks at no signature.

    box ──AuditPart(first, entries, note)──▶ mouth ──up/audit──▶ fleet (``audit_follow``)
    box ◀────────────Copied(upto)────────── mouth ◀──dn/audit──── fleet, after its commit

A part is sent again until the fleet says that it holds it, from wherever the fleet says that it stands. An entry holds
no image, count or position (see ``audit``).
"""

import hashlib
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from veilleur_contracts.audit import ENTRY_BYTES_MAX, Ordinal
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.merkle import HASH_BYTES

PART_BYTES_MAX: Final = 65_536
PART_ENTRIES_MAX: Final = 256
NOTE_IN_PART_MAX: Final = 4096
LOG_ID_DIGITS: Final = 16

_T = TypeVar("_T")

Raw = Annotated[bytes, Meta(min_length=1, max_length=ENTRY_BYTES_MAX)]
Hash = Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
LogId = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$", max_length=16)]


class PartRejectedError(RejectedError):
    """Bytes that are no part of an audit log."""


class AuditPart(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """Entries of one log, in order, and the head signed where they end, so that nobody else can add any.

    Attributes:
        key: The log's verifier key, as it is written.
        first: Index of the first entry here.
        entries: Their bytes.
        note: The signed head of exactly ``first`` + ``len(entries)``.
        before: Where ``first`` is the first entry still kept: the subtrees of those before.
    """

    key: Annotated[str, Meta(min_length=1, max_length=512)]
    first: Ordinal
    entries: Annotated[tuple[Raw, ...], Meta(max_length=PART_ENTRIES_MAX)]
    note: Annotated[bytes, Meta(min_length=1, max_length=NOTE_IN_PART_MAX)]
    before: Annotated[tuple[Hash, ...], Meta(max_length=48)] = ()

    @property
    def upto(self) -> int:
        """Index after the last entry here."""
        return self.first + len(self.entries)


class Copied(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """The fleet holds the log up to, and without, this index."""

    log: LogId
    upto: Ordinal


def log_id_of(key: str) -> str:
    """Return the short name of the log with this verifier key."""
    return hashlib.sha256(key.encode()).hexdigest()[:LOG_ID_DIGITS]


def encode_part(part: AuditPart) -> bytes:
    """Return the one encoding of ``part``."""
    return msgspec.msgpack.encode(part)


def decode_part(data: bytes) -> AuditPart:
    """Read a part strictly.

    Raises:
        PartRejectedError: Too long, no part, or not canonical.
    """
    return _strict(data, AuditPart, PART_BYTES_MAX)


def encode_copied(copied: Copied) -> bytes:
    """Return the one encoding of ``copied``."""
    return msgspec.msgpack.encode(copied)


def decode_copied(data: bytes) -> Copied:
    """Read what the fleet says that it holds.

    Raises:
        PartRejectedError: As ``decode_part``.
    """
    return _strict(data, Copied, 256)


def _strict(data: bytes, kind: type[_T], most: int) -> _T:
    what = "a part of an audit log" if kind is AuditPart else "what the fleet holds of an audit log"
    if len(data) > most:
        message = f"{what} of {len(data)} bytes is longer than the {most} allowed"
        raise PartRejectedError(message)
    try:
        read = msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        message = f"bytes that are not {what}"
        raise PartRejectedError(message) from None
    if msgspec.msgpack.encode(read) != data:
        message = f"{what} is not in canonical form"
        raise PartRejectedError(message)
    return read
