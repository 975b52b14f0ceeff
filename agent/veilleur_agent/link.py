"""The only door between eye and mouth: closed messages of at most 1,024 bytes over a socket that keeps their borders.

    EYE  EyeEnd ──Carried(epoch, seq, record)──▶ MouthEnd  MOUTH
         (hold) ◀─Received(epoch, upto)───────── (ledger, budgets)
                ◀─DocumentReady(name, sha256)───

Packets are read with no room for ancillary data. One that is too long, carries a file descriptor, is empty or is not a
message of the registry cuts the peer off: ``LinkCutError`` says why, box restarts that peer, and what it says meanwhile
is thrown away. Both ends belong to box, which keeps them open, so a restart on one side loses nothing on the other.
"""

import socket
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from veilleur_agent.budget import Budget, TokenBucket
from veilleur_agent.hold import Hold
from veilleur_contracts.clock import Clock
from veilleur_contracts.codec import (
    MessageRejectedError,
    context_number_of,
    decode_carried,
    decode_received,
    decode_record,
    encode,
)
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.messages import (
    RECORD_BYTES_MAX,
    AnyRecord,
    Birth,
    CameraHealth,
    Carried,
    ClipsHeld,
    Context,
    DocumentReady,
    FetchAlarm,
    Gap,
    LightLevel,
    NoiseLevel,
    Received,
    Reported,
    SensorHealth,
    ViewAlarm,
    WaterLevel,
)

RESEND_AFTER_S: Final = 2.0
REWIND_EVERY_S: Final = 0.25
"""A mouth that starts may say twice from where it wants to hear again; once is enough."""
PACKETS_A_TURN: Final = 256
EPOCHS_REMEMBERED: Final = 16


class CutReason(StrEnum):
    """Why a peer was cut off."""

    TRUNCATED = "truncated"
    ANCILLARY = "ancillary"
    EMPTY = "empty"
    UNDECODABLE = "undecodable"
    UNEXPECTED = "unexpected"
    BUDGET = "budget"


class LinkCutError(RejectedError):
    """The peer on the link did what no peer of ours does; nothing more is read from it."""

    def __init__(self, reason: CutReason) -> None:
        super().__init__(f"the peer on the link was cut off: {reason.value}")
        self.reason = reason


def link_pair() -> tuple[socket.socket, socket.socket]:
    """Return the eye's and the mouth's end of a new link, both non-blocking."""
    eye, mouth = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    eye.settimeout(0)
    mouth.settimeout(0)
    return eye, mouth


def read_packet(sock: socket.socket, most: int = RECORD_BYTES_MAX) -> bytes | None:
    """Read one packet; None when there is none to read.

    Raises:
        LinkCutError: Longer than ``most`` bytes, with ancillary data, or empty (which is also how a closed peer reads).
    """
    try:
        data, _, flags, _ = sock.recvmsg(most, 0)
    except (BlockingIOError, InterruptedError):
        return None
    except ConnectionError:
        raise LinkCutError(CutReason.EMPTY) from None
    if flags & socket.MSG_TRUNC:
        raise LinkCutError(CutReason.TRUNCATED)
    if flags & socket.MSG_CTRUNC:
        raise LinkCutError(CutReason.ANCILLARY)
    if not data:
        raise LinkCutError(CutReason.EMPTY)
    return data


def discard(sock: socket.socket) -> int:
    """Throw away every packet that waits on ``sock``; return how many there were."""
    count = 0
    while True:
        try:
            if read_packet(sock) is None:
                return count
        except LinkCutError as error:
            if error.reason is CutReason.EMPTY:
                return count
        count += 1


MOUTHS_OWN: Final = (Birth, FetchAlarm, WaterLevel, NoiseLevel, LightLevel, SensorHealth)
"""What no eye has to say."""


class Allowances:
    """Which camera a record is about, and whether it may still speak; bounded by the site's cameras.

    What names no camera of the site (a record of yesterday's site, a window whose Context was never heard) draws on one
    share of its own, so that it passes and yet cannot be a way round.
    """

    def __init__(self, budgets: Mapping[str, Budget], others: Budget, clock: Clock) -> None:
        self._buckets = {camera: TokenBucket(budget, clock) for camera, budget in budgets.items()}
        self._others = TokenBucket(others, clock)
        self._camera_of: dict[int, str] = {}

    def learn(self, number: int, camera: str) -> None:
        """Take note that windows of context ``number`` are about ``camera``; only the latest few of each are kept."""
        if camera in self._buckets:
            self._camera_of.pop(number, None)
            self._camera_of[number] = camera
            while len(self._camera_of) > 4 * len(self._buckets):
                del self._camera_of[next(iter(self._camera_of))]

    def allow(self, record: AnyRecord, size_bytes: int) -> bool:
        """Tell whether ``record`` is within the budget of its camera, and charge it."""
        if isinstance(record, MOUTHS_OWN):
            return False
        match record:
            case Context(camera=camera) | CameraHealth(camera=camera) | ViewAlarm(camera=camera):
                bucket = self._buckets.get(camera, self._others)
            case Gap() | Reported() | ClipsHeld():
                bucket = self._others
            case _:
                bucket = self._buckets.get(self._camera_of.get(record.context, ""), self._others)
        return bucket.take(size_bytes)


class EyeEnd:
    """The eye's end: sends what the hold has, as fast as the mouth reads, and again when that seems lost.

    Args:
        sock: The eye's end of the link.
        hold: What waits to be acknowledged.
        clock: For sending again.
        allowances: What it keeps to, so that the mouth has no reason to cut it off after a long silence.
    """

    def __init__(self, sock: socket.socket, hold: Hold, clock: Clock, allowances: Allowances) -> None:
        self._sock = sock
        self._hold = hold
        self._allowances = allowances
        self._charged: bytes | None = None
        self._clock = clock
        self._progress_at_s = clock.elapsed_s()
        self._rewound_at_s = -REWIND_EVERY_S
        self.mouth_forgot = False
        self.is_full = False

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._sock.fileno()

    def pump(self) -> list[DocumentReady]:
        """Hear what the mouth has committed, then send what may go; never waits.

        Returns:
            The documents the mouth has announced meanwhile.

        Raises:
            LinkCutError: The mouth did what no mouth of ours does.
        """
        documents = []
        for _ in range(PACKETS_A_TURN):
            data = read_packet(self._sock)
            if data is None:
                break
            try:
                message = decode_received(data)
            except MessageRejectedError:
                raise LinkCutError(CutReason.UNDECODABLE) from None
            if isinstance(message, DocumentReady):
                documents.append(message)
            else:
                self._hear(message)
        self._send()
        return documents

    def _hear(self, received: Received) -> None:
        try:
            gone = self._hold.acknowledge(received.epoch, received.seq)
        except ValueError:
            raise LinkCutError(CutReason.UNEXPECTED) from None
        if gone:
            self._progress_at_s = self._clock.elapsed_s()
        elif self._hold.bridge(received.epoch, received.seq):
            self.mouth_forgot = True
        elif self._clock.elapsed_s() - self._rewound_at_s >= REWIND_EVERY_S:
            self._rewind()

    def _rewind(self) -> None:
        self._hold.rewind()
        self._rewound_at_s = self._progress_at_s = self._clock.elapsed_s()

    def _send(self) -> None:
        if not self._hold.in_flight:
            self._progress_at_s = self._clock.elapsed_s()
        elif self._clock.elapsed_s() - self._progress_at_s > RESEND_AFTER_S:
            self._rewind()
        self.is_full = False
        for _ in range(PACKETS_A_TURN):
            packet = self._hold.next_packet()
            if packet is None or not self._may_send(packet):
                return
            try:
                self._sock.send(packet)
            except (BlockingIOError, InterruptedError):
                self.is_full = True
                return
            except ConnectionError:
                raise LinkCutError(CutReason.EMPTY) from None
            self._hold.sent()
            self._charged = None

    def _may_send(self, packet: bytes) -> bool:
        """Tell whether ``packet`` is within budget; it is charged once, however often it goes out."""
        if self._hold.is_repeat or packet == self._charged:
            return True
        record = decode_record(bytes(decode_carried(packet).record))
        if isinstance(record, Context):
            self._allowances.learn(context_number_of(record), record.camera)
        if not self._allowances.allow(record, len(packet)):
            return False
        self._charged = packet
        return True


class MouthEnd:
    """The mouth's end: takes only the very next number of each epoch, within budget, and says what is committed.

    Args:
        sock: The mouth's end of the link.
        allowances: What each camera may say.
        committed: For each epoch the outbox knows, the highest number it holds; latest last.
    """

    def __init__(self, sock: socket.socket, allowances: Allowances, committed: Mapping[int, int]) -> None:
        self._sock = sock
        self._allowances = allowances
        self._heard = dict(committed)
        self._to_answer = set(list(self._heard)[-1:])
        self.duplicates = 0
        self.taken_bytes = 0

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._sock.fileno()

    def receive(self) -> Carried | None:
        """Return the next new message, to be committed; None when none waits.

        Raises:
            LinkCutError: The eye did what no eye of ours does.
        """
        for _ in range(PACKETS_A_TURN):
            data = read_packet(self._sock)
            if data is None:
                return None
            try:
                carried = decode_carried(data)
            except MessageRejectedError:
                raise LinkCutError(CutReason.UNDECODABLE) from None
            if self._is_next(carried, len(data)):
                self.taken_bytes += len(data)
                return carried
        return None

    def acknowledge(self, committed: Mapping[int, int]) -> None:
        """Tell the eye, for every epoch it spoke of since, up to where the outbox holds it.

        Args:
            committed: As at the start, now.

        Raises:
            LinkCutError: The link is closed.
        """
        for epoch in sorted(self._to_answer):
            if not self._tell(Received(epoch, committed.get(epoch, 0))):
                return  # a full socket is no fault: the rest is told next time, or the eye asks again
            self._to_answer.discard(epoch)

    def owes_answer(self) -> bool:
        """Tell whether the eye waits to hear from where to go on."""
        return bool(self._to_answer)

    def announce(self, document: DocumentReady) -> bool:
        """Tell the eye that a document lies in the store.

        Returns:
            Whether there was room to say it.

        Raises:
            LinkCutError: The link is closed.
        """
        return self._tell(document)

    def _is_next(self, carried: Carried, size_bytes: int) -> bool:
        record = decode_record(bytes(carried.record))
        self._to_answer.add(carried.epoch)
        heard = self._heard.get(carried.epoch, 0)
        first, last = carried.seq, carried.seq
        if isinstance(record, Gap):
            first, last = record.first, record.last
        if isinstance(record, MOUTHS_OWN) or first != carried.seq or first > last:
            raise LinkCutError(CutReason.UNEXPECTED)
        if last <= heard or first > heard + 1:
            self.duplicates += last <= heard
            return False
        if not self._allowances.allow(record, size_bytes):
            raise LinkCutError(CutReason.BUDGET)
        if isinstance(record, Context):
            self._allowances.learn(context_number_of(record), record.camera)
        self._heard[carried.epoch] = last
        self._forget_old_epochs()
        return True

    def _forget_old_epochs(self) -> None:
        while len(self._heard) > EPOCHS_REMEMBERED:
            del self._heard[next(iter(self._heard))]

    def _tell(self, message: Received | DocumentReady) -> bool:
        try:
            self._sock.send(encode(message))
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionError:
            raise LinkCutError(CutReason.EMPTY) from None
        return True


def others_budget(budgets: Iterable[Budget]) -> Budget:
    """Return the share of everything that names no camera of the site: as much as the largest camera's."""
    return max(budgets, key=Budget.bytes_per_day, default=Budget(1.0, 4096))
