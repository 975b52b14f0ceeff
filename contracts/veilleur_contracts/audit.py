"""The entries of a box's audit log: closed, chained, and without any image, count or position.

    entry 0 ◀─prev─ entry 1 ◀─prev─ entry 2      prev = SHA-256 of the bytes before
        └──────┬───────┴───────┬───────┘
            leaf hashes ─▶ tree (RFC 6962) ─▶ signed checkpoint

One entry is canonical JSON of at most ``ENTRY_BYTES_MAX`` bytes, so that a person can read a log with any editor.
"""

import hashlib
from datetime import date
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from veilleur_contracts.errors import RejectedError
from veilleur_contracts.ids import CameraId, Sha256, Slug, VersionText

ENTRY_BYTES_MAX: Final = 1024
FIRST_PREV: Final = "0" * 64

Words = Annotated[str, Meta(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]*$")]
Ordinal = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF_FFFF)]


class AuditRejectedError(RejectedError):
    """Bytes that are no entry of an audit log."""


class Process(StrEnum):
    """One of the processes of a box."""

    EYE = "eye"
    MOUTH = "mouth"
    VIEW = "view"


def _tag_of(name: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")


class Happening(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag=_tag_of):
    """Something that a DPO may ask about later."""


class BoxStarted(Happening, frozen=True):
    """The box runs; everything below holds until the next one of these."""

    agent: VersionText
    profile: Slug


class BoxStopped(Happening, frozen=True):
    """The box was asked to stop, and did."""


class ProcessStarted(Happening, frozen=True):
    """A child process runs."""

    process: Process


class ProcessEnded(Happening, frozen=True):
    """A child process ended; negative: the signal that ended it."""

    process: Process
    exit_code: Annotated[int, Meta(ge=-255, le=255)]


class ConfinementTried(Happening, frozen=True):
    """A process tried what it must not do."""

    process: Process
    holds: bool


class PeerCutOff(Happening, frozen=True):
    """The link to a process was cut because of what came over it."""

    process: Process
    reason: Slug


class RootTaken(Happening, frozen=True):
    """A new root is in force."""

    version: Ordinal
    sha256: Sha256


class PolicyTaken(Happening, frozen=True):
    """A policy is in force."""

    version: Ordinal
    sha256: Sha256
    signers: Annotated[tuple[Slug, ...], Meta(max_length=8)]
    loosens: bool


class DocumentRefused(Happening, frozen=True):
    """A policy, root, stop, site or model was offered and refused; the last good one stays."""

    document: Slug
    sha256: Sha256
    reason: Slug


class StopTaken(Happening, frozen=True):
    """A DPO's stop is in force."""

    sha256: Sha256
    role: Slug


class StopLifted(Happening, frozen=True):
    """A stop is no longer in force: the policy named lifts it."""

    sha256: Sha256
    policy_version: Ordinal


class StrictFrom(Happening, frozen=True):
    """From here on the strictest profile holds, and why."""

    reason: Slug


class StrictUntil(Happening, frozen=True):
    """Until here the strictest profile held."""


class SiteTaken(Happening, frozen=True):
    """A site is in force."""

    sha256: Sha256


class ModelTaken(Happening, frozen=True):
    """A model is in use."""

    name: Slug
    sha256: Sha256


class ReportMade(Happening, frozen=True):
    """A privacy report was signed."""

    sha256: Sha256


class ClipsDestroyed(Happening, frozen=True):
    """The key of a camera's day was destroyed, and with it its clips."""

    camera: CameraId
    day: date


class ClipsFrozen(Happening, frozen=True):
    """A camera's day is kept for justice."""

    camera: CameraId
    day: date
    until: date
    reference: Words
    persons: tuple[Words, Words]


class ClipsReleased(Happening, frozen=True):
    """Somebody ended the freeze of a camera's day before its last day."""

    camera: CameraId
    day: date
    who: Words
    role: Slug
    why: Words


class ClipsExported(Happening, frozen=True):
    """Somebody took clips out."""

    camera: CameraId
    day: date
    who: Words
    role: Slug
    why: Words


class ClockJumped(Happening, frozen=True):
    """The clock was set, by so many seconds."""

    by_s: Annotated[int, Meta(ge=-0xFFFF_FFFF, le=0xFFFF_FFFF)]


class LogMended(Happening, frozen=True):
    """The end of the log was half written when the machine stopped; so many bytes were cut off."""

    torn_bytes: Annotated[int, Meta(ge=1, le=0xFFFF_FFFF)]


class LogSetAside(Happening, frozen=True):
    """The log before this one was damaged and put aside whole; this is entry 0 of a new one."""

    size: Ordinal
    folder: Words


class LogPruned(Happening, frozen=True):
    """Entries before this index are no longer kept; their hashes are."""

    before: Ordinal


class DiskFull(Happening, frozen=True):
    """The log could not be written; what should have stood here is lost, and the strictest profile held."""

    lost: Ordinal


What = (
    BoxStarted
    | BoxStopped
    | ProcessStarted
    | ProcessEnded
    | ConfinementTried
    | PeerCutOff
    | RootTaken
    | PolicyTaken
    | DocumentRefused
    | StopTaken
    | StopLifted
    | StrictFrom
    | StrictUntil
    | SiteTaken
    | ModelTaken
    | ReportMade
    | ClipsDestroyed
    | ClipsFrozen
    | ClipsReleased
    | ClipsExported
    | ClockJumped
    | LogMended
    | LogSetAside
    | LogPruned
    | DiskFull
)


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the log.

    Attributes:
        index: Its place, from 0.
        at_ms: When it was written, UTC milliseconds by the box's clock.
        prev: SHA-256 of the bytes of the entry before; zeros for the first.
        what: What happened.
    """

    index: Ordinal
    at_ms: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF_FFFF)]
    prev: Sha256
    what: What


_DECODER: Final = msgspec.json.Decoder(Entry)


def encode_entry(entry: Entry) -> bytes:
    """Return the one encoding of ``entry``.

    Raises:
        AuditRejectedError: A field is out of its bounds, or the whole too long.
    """
    data = msgspec.json.encode(entry, order="sorted")
    decode_entry(data)
    return data


def decode_entry(data: bytes) -> Entry:
    """Read one entry strictly.

    Raises:
        AuditRejectedError: Too long, not an entry, or not canonical.
    """
    if len(data) > ENTRY_BYTES_MAX:
        message = f"an audit entry has at most {ENTRY_BYTES_MAX} bytes, not {len(data)}"
        raise AuditRejectedError(message)
    try:
        entry = _DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        message = f"not an audit entry: {str(error)[:120]}"
        raise AuditRejectedError(message) from None
    if msgspec.json.encode(entry, order="sorted") != data:
        message = "an audit entry that is not in canonical form"
        raise AuditRejectedError(message)
    return entry


def chain_hash(data: bytes) -> str:
    """Return what the next entry holds as ``prev``."""
    return hashlib.sha256(data).hexdigest()


def origin_of(controller: str, box: str) -> str:
    """Return the name of a box's log, on its checkpoints and of its key."""
    return f"veilleur/{controller}/{box}/audit"
