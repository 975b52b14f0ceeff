"""What box and its children tell each other: closed messages over one socket pair with each child, none with a picture.

    box ──EyeStart · Addresses · LinkReopened · HoldTight · Stop──▶ eye ──┐
    box ──MouthStart · Addresses · LinkReopened · Stop──▶ mouth  ──┤
    box ◀── Ready · Beat · Refused · Resolve · LinkCut · Tallied · Numbered · Witnessed · Dealt · Ended ──┤
    box ◀── Egressed · AuditCopied, of the mouth ──────────────────────────────────────┘

The first message a child reads is its start (``starts``). When box goes, the pair closes and the child ends.
"""

import socket
from enum import StrEnum
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from veilleur_agent.confine.report import ConfinementReport
from veilleur_agent.link import CutReason, LinkCutError, read_packet
from veilleur_agent.starts import ADDRESSES_MAX, ControlMessage, EyeStart, MouthStart, Natural, Text
from veilleur_contracts.audit import (
    ClipsDestroyed,
    ClockJumped,
    DocumentRefused,
    PolicyTaken,
    RootTaken,
    StopLifted,
    StopTaken,
    StrictFrom,
    StrictUntil,
)
from veilleur_contracts.audit_copy import LogId
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.ids import CameraId, Sha256, Slug

CONTROL_BYTES_MAX: Final = 65_536
BROKER_NAME: Final = "broker"
FLEET_NAME: Final = "fleet"
MOUTH_NAMES: Final = frozenset({BROKER_NAME, FLEET_NAME})
"""What the mouth's own addresses go by; no camera's addresses are ever sent to the mouth."""

EyeWitnessed = (
    RootTaken
    | PolicyTaken
    | DocumentRefused
    | StopTaken
    | StopLifted
    | StrictFrom
    | StrictUntil
    | ClipsDestroyed
    | ClockJumped
)
"""What the eye alone knows, since it alone verifies, and it alone lets clips go."""


class RefusedReason(StrEnum):
    """Why a child cannot do what it is asked; box makes a sentence of it."""

    SITE = "site"
    MODEL = "model"
    SECRETS = "secrets"
    WINDOW = "window"
    BENCH = "bench"
    ROOT = "root"
    GROUND = "ground"
    FACES = "faces"
    CONFINEMENT = "confinement"
    SPAWN = "spawn"
    DISK = "disk"
    OUTBOX_NEWER = "outbox-newer"


class Addresses(ControlMessage, frozen=True, tag=4):
    """Where a name leads now: a camera's for the eye, the broker's for the mouth; none: it leads nowhere."""

    name: Slug
    addresses: Annotated[tuple[Text, ...], Meta(max_length=ADDRESSES_MAX)]


class LinkReopened(ControlMessage, frozen=True, tag=5):
    """The peer that was cut off is gone; throw away what it left and listen again."""


class Stop(ControlMessage, frozen=True, tag=6):
    """Finish and end, within so many milliseconds."""

    within_ms: Natural


class HoldTight(ControlMessage, frozen=True, tag=8):
    """From here on the strictest profile holds for everything, whatever is signed; or no longer."""

    is_tight: bool


class Ready(ControlMessage, frozen=True, tag=10):
    """Everything is loaded; the work begins."""


class Beat(ControlMessage, frozen=True, tag=11):
    """The main loop still turns."""


class Refused(ControlMessage, frozen=True, tag=12):
    """It cannot be done, and trying again would not help."""

    reason: RefusedReason
    subject: Slug | None


class LinkCut(ControlMessage, frozen=True, tag=13):
    """The peer on the link did what no peer of ours does."""

    reason: CutReason


class Resolve(ControlMessage, frozen=True, tag=14):
    """A name should be looked up again: nobody answers where it led."""

    name: Slug


class Tallied(ControlMessage, frozen=True, tag=15):
    """What the line counters of one camera made since the eye started; said under the bench profile alone.

    Attributes:
        camera: Which camera.
        frames: Frames analysed.
        fps_x10: Frames analysed per second x 10, lately.
        counts: For each line in order, for each label in order: left to right, right to left.
    """

    camera: CameraId
    frames: Natural
    fps_x10: Natural
    counts: Annotated[tuple[Annotated[tuple[Natural, ...], Meta(max_length=12)], ...], Meta(max_length=16)]


class Numbered(ControlMessage, frozen=True, tag=16):
    """Streams of the mouth with the last number given, and how many records nobody has acknowledged."""

    streams: Annotated[dict[Natural, Natural], Meta(max_length=256)]
    left: Natural


class Confined(ControlMessage, frozen=True, tag=18):
    """What a child found when it tried what it must not be able to do; said before anything of it is loaded."""

    report: ConfinementReport


class Witnessed(ControlMessage, frozen=True, tag=19):
    """Something that belongs into the audit and that the eye alone knows."""

    what: EyeWitnessed


class Dealt(ControlMessage, frozen=True, tag=20):
    """A document that was offered is taken or refused, and need not be offered again."""

    sha256: Sha256


class Egressed(ControlMessage, frozen=True, tag=30):
    """What the mouth sent and took in since it started, for the privacy report; the same bounds as every count."""

    messages: Natural
    message_bytes: Natural
    refused: Natural
    link_records: Natural
    link_bytes: Natural
    rejects: Natural


class AuditCopied(ControlMessage, frozen=True, tag=31):
    """The fleet holds the audit log ``log`` up to this index, as it told the mouth."""

    log: LogId
    upto: Natural


class Ended(ControlMessage, frozen=True, tag=17):
    """The last word of a child that was asked to stop."""

    left: Natural


ToEye = EyeStart | Addresses | LinkReopened | HoldTight | Stop
ToMouth = MouthStart | Addresses | LinkReopened | Stop
FromMouth = Numbered | Egressed | AuditCopied
FromChild = Confined | Ready | Beat | Refused | LinkCut | Resolve | Tallied | Witnessed | Dealt | Ended | FromMouth

_T = TypeVar("_T")


class ControlClosedError(RejectedError):
    """The other end of the control pair is gone, or says what cannot be understood."""


class ControlEnd:
    """One end of a control pair, non-blocking.

    Args:
        sock: The socket; it belongs to this end from now on.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(0)
        self._sock = sock
        self._waiting: list[bytes] = []

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def say(self, message: ControlMessage) -> bool:
        """Send ``message``; return False when there is no room for it now.

        Raises:
            ControlClosedError: Nobody is there any more.
        """
        try:
            self._sock.send(msgspec.msgpack.encode(message))
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            raise ControlClosedError("the control pair is closed") from None
        return True

    def hear(self, kind: "msgspec.msgpack.Decoder[_T]") -> _T | None:
        """Return the next message, None when there is none.

        Args:
            kind: Decodes what this end may be told.

        Raises:
            ControlClosedError: Nobody is there any more, or it is no message of ours.
        """
        try:
            data = read_packet(self._sock, CONTROL_BYTES_MAX)
        except LinkCutError as error:
            raise ControlClosedError(f"the control pair is closed: {error.reason.value}") from None
        if data is None:
            return None
        try:
            return kind.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ControlClosedError("something that is no message came over the control pair") from None


def to_eye() -> "msgspec.msgpack.Decoder[ToEye]":
    """Return the decoder of what the eye may be told."""
    return msgspec.msgpack.Decoder(ToEye)


def to_mouth() -> "msgspec.msgpack.Decoder[ToMouth]":
    """Return the decoder of what the mouth may be told."""
    return msgspec.msgpack.Decoder(ToMouth)


def from_child() -> "msgspec.msgpack.Decoder[FromChild]":
    """Return the decoder of what box may be told."""
    return msgspec.msgpack.Decoder(FromChild)


def control_pair() -> tuple[socket.socket, socket.socket]:
    """Return box's and the child's end of a new control pair."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
