"""What the eye has said and the mouth has not yet acknowledged: numbered, bounded, and able to survive the eye.

    say ──▶ [ … held, in order of number … ] ──next──▶ link
                 ▲ oldest first                acknowledge ──▶ forgotten

Numbers run without a hole from 1 in each epoch (start of an eye). What must be dropped is replaced by a ``Gap`` that
names the numbers, so that the mouth can always insist on the very next number and a duplicate is known for sure.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import msgspec

from veilleur_contracts.codec import decode_record, encode, encode_record
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.messages import CLASS_OF, Carried, Gap, GapReason, MessageClass, Record, Sequence

HELD_BYTES_MAX: Final = 4 * 1024 * 1024
HELD_RECORDS_MAX: Final = 20_000
DROPPED_SHARE: Final = 0.05
"""Dropped at once when the hold is full, so that holes are few and long."""


class HoldRejectedError(RejectedError):
    """A checkpoint of the hold that cannot be read."""


class Held(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One record, or the Gap that stands for several, with the numbers it takes."""

    epoch: Sequence
    first: Sequence
    last: Sequence
    kind: MessageClass | None
    record: bytes

    @property
    def packet(self) -> bytes:
        """The record in its envelope, as it goes over the link."""
        return encode(Carried(self.epoch, self.first, msgspec.Raw(self.record)))


class _Checkpoint(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    epoch: Sequence
    held: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be held."""

    bytes_max: int = HELD_BYTES_MAX
    records_max: int = HELD_RECORDS_MAX


class Hold:
    """Everything said and not yet acknowledged, oldest first; bounded by ``limits``.

    A statistic may go out only once it is on disk together with the windows it came from (``saved``): otherwise an eye
    that dies in between would count the same window again under another number.
    """

    def __init__(self, epoch: int, held: Iterable[Held] = (), limits: Limits | None = None) -> None:
        self.epoch = epoch
        self.statistics_dropped = 0
        self.technical_dropped = 0
        self._limits = limits or Limits()
        self._held = list(held)
        self._count()
        self._next_number = 1
        self._sent_number = 0
        self._next = 0
        self._been_out = 0
        self._unsaved = len(self._held)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def size_bytes(self) -> int:
        """Bytes of the records held."""
        return self._bytes

    @property
    def needs_saving(self) -> bool:
        """Whether a statistic waits for a checkpoint before it may go out."""
        return any(one.kind is not MessageClass.TECHNICAL for one in self._held[self._unsaved :])

    def say(self, record: Record) -> None:
        """Number ``record`` and hold it until it is acknowledged."""
        data = encode_record(record)
        self._held.append(Held(self.epoch, self._next_number, self._next_number, CLASS_OF[type(record)], data))
        self._next_number += 1
        self._records += 1
        self._bytes += len(data)
        if self._records > self._limits.records_max or self._bytes > self._limits.bytes_max:
            self._make_room()

    def saved(self) -> None:
        """Take note that what is held now is on disk."""
        self._unsaved = len(self._held)

    def next_packet(self) -> bytes | None:
        """Return the next packet to send, or None when everything that may go out has gone."""
        if self._next >= len(self._held):
            return None
        one = self._held[self._next]
        if self._next >= self._unsaved and self.needs_saving:
            return None
        return one.packet

    @property
    def is_repeat(self) -> bool:
        """Whether the next packet has gone out before, from this very eye."""
        return self._next < self._been_out

    def sent(self) -> None:
        """Take note that ``next_packet`` went out."""
        one = self._held[self._next]
        if one.epoch == self.epoch:
            self._sent_number = max(self._sent_number, one.last)
        self._next += 1
        self._been_out = max(self._been_out, self._next)

    @property
    def in_flight(self) -> int:
        """Records sent and not acknowledged."""
        return self._next

    def rewind(self) -> None:
        """Send everything that is held again, from the oldest."""
        self._next = 0

    def acknowledge(self, epoch: int, upto: int) -> int:
        """Forget what the mouth has committed: all of ``epoch`` up to and with ``upto``.

        Returns:
            How many records were forgotten.

        Raises:
            ValueError: That number was never sent.
        """
        if epoch == self.epoch and upto > self._sent_number:
            raise ValueError("a number was acknowledged that was never sent")
        kept = [one.epoch != epoch or one.last > upto for one in self._held]
        gone = kept.count(False)
        if gone:
            self._next -= kept[: self._next].count(False)
            self._been_out -= kept[: self._been_out].count(False)
            self._unsaved -= kept[: self._unsaved].count(False)
            self._held = [one for one, is_kept in zip(self._held, kept, strict=True) if is_kept]
            self._count()
        return gone

    def bridge(self, epoch: int, upto: int) -> bool:
        """Put a Gap where the mouth knows less than it once acknowledged, so that it can go on.

        Returns:
            Whether there was such a hole: the mouth has lost its memory.
        """
        first = next((one.first for one in self._held if one.epoch == epoch), None)
        if first is None and epoch == self.epoch:
            first = self._next_number
        if first is None or upto + 1 >= first:
            return False
        place = next((i for i, one in enumerate(self._held) if one.epoch == epoch), len(self._held))
        self._held.insert(place, _gap_of(epoch, upto + 1, first - 1, GapReason.OUTBOX_DAMAGED))
        self._count()
        self._unsaved += 1 if place <= self._unsaved else 0
        self._been_out += 1 if place <= self._been_out else 0
        self._next = 0
        return True

    def checkpoint(self) -> bytes:
        """Return everything that is needed to go on after a restart."""
        return msgspec.msgpack.encode(_Checkpoint(self.epoch, tuple(self._held)))

    def _make_room(self) -> None:
        """Turn the oldest technical records into gaps; only when there are none left, the oldest statistics."""
        to_free = max(1, int(self._records * DROPPED_SHARE))
        places = [i for i, one in enumerate(self._held[:-1]) if one.kind is MessageClass.TECHNICAL][:to_free]
        if places:
            self.technical_dropped += len(places)
        else:
            places = [i for i, one in enumerate(self._held[:-1]) if one.kind is not None][:to_free]
            self.statistics_dropped += len(places)
        chosen = set(places)
        marked = [
            _gap_of(one.epoch, one.first, one.last, GapReason.OUTBOX_FULL) if i in chosen else one
            for i, one in enumerate(self._held)
        ]
        was_unsaved = self._held[self._unsaved].last if self._unsaved < len(self._held) else None
        first_fresh = self._held[self._been_out] if self._been_out < len(self._held) else None
        self._held = _merged(marked)
        self._count()
        self._next = 0
        self._been_out = len(self._held)
        if first_fresh is not None:
            self._been_out = next(
                i for i, one in enumerate(self._held) if one.epoch == first_fresh.epoch and one.last >= first_fresh.last
            )
        self._unsaved = len(self._held)
        if was_unsaved is not None:
            self._unsaved = next(
                i for i, one in enumerate(self._held) if one.epoch == self.epoch and one.last >= was_unsaved
            )

    def _count(self) -> None:
        self._bytes = sum(len(one.record) for one in self._held)
        self._records = sum(one.kind is not None for one in self._held)


def restore_hold(checkpoint: bytes | None, now_ms: int, limits: Limits | None = None) -> Hold:
    """Return the hold of an eye that starts at ``now_ms``, with what its predecessor still held.

    Raises:
        HoldRejectedError: The checkpoint is damaged.
    """
    if checkpoint is None:
        return Hold(now_ms, (), limits)
    try:
        before = msgspec.msgpack.decode(checkpoint, type=_Checkpoint)
        for one in before.held:
            decode_record(one.record)
    except (msgspec.DecodeError, UnicodeDecodeError, RejectedError, RecursionError):
        raise HoldRejectedError("the checkpoint of what the eye held is damaged") from None
    return Hold(max(now_ms, before.epoch + 1), before.held, limits)


def _gap_of(epoch: int, first: int, last: int, reason: GapReason) -> Held:
    return Held(epoch, first, last, None, encode(Gap(first, last, reason)))


def _merged(held: Iterable[Held]) -> list[Held]:
    """Join neighbouring gaps of one epoch into one."""
    merged: list[Held] = []
    for (epoch, is_gap), group in groupby(held, key=lambda one: (one.epoch, one.kind is None)):
        run = list(group)
        if is_gap and len(run) > 1:
            merged.append(_gap_of(epoch, run[0].first, run[-1].last, GapReason.OUTBOX_FULL))
        else:
            merged.extend(run)
    return merged
