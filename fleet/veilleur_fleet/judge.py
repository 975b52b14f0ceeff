"""Say of every record a box sent whether it can be stored, before anything is stored.

payload ──all at once──────────────────────────▶ (seq, raw, record) of each               when nothing is wrong
    └────decode_batch──▶ numbers ──one by one──▶ (seq, raw, record | Gap | Refusal) of each   else
"""

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from veilleur_contracts.codec import MessageRejectedError, decode_batch, decode_record
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.messages import (
    BATCH_BYTES_MAX,
    BATCH_RECORDS_MAX,
    CLASS_OF,
    RECORD_BYTES_MAX,
    AnyRecord,
    Batch,
    Gap,
    MessageClass,
    class_of_stream,
)
from veilleur_contracts.topics import Up

SEQ_MAX: Final = 0xFFFF_FFFF_FFFF
_GAP_TAG: Final = 5
_ALLOWED: Final = {
    kind: frozenset(record for record, its in CLASS_OF.items() if its is kind) | {Gap} for kind in MessageClass
}


class EnvelopeRejectedError(RejectedError):
    """A message of which not even the stream and the numbers can be told, so nothing of it can be acknowledged."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Stands where a record cannot be stored; it is kept in quarantine under its number.

    Attributes:
        reason: One sentence, without anything of the record's content.
    """

    reason: str


Entry = tuple[int, bytes, AnyRecord | Refusal]
"""One numbered record: its number in the stream (the first one of a Gap), its bytes as they came, and what they say or
why they are refused. A plain tuple: a hundred thousand are made in a second, and a named one costs three times as much.
"""


@dataclass(frozen=True, slots=True)
class Judged:
    """One batch, every record of it judged.

    Attributes:
        stream: The stream it belongs to.
        kind: The class of that stream.
        first: Number of its first record.
        last: Last number it covers; ``first - 1`` when none of its records could be numbered.
        entries: In rising order of number.
        cut: Why the rest of the batch could not be numbered; None when all of it could.
    """

    stream: int
    kind: MessageClass
    first: int
    last: int
    entries: list[Entry]
    cut: str | None = None


class _Whole(Batch, frozen=True, tag=1):
    """A batch whose records are read with it."""

    records: Annotated[tuple[AnyRecord, ...], msgspec.Meta(max_length=BATCH_RECORDS_MAX)]  # type: ignore[assignment]  # the same bytes, read further


_WHOLE: Final = msgspec.msgpack.Decoder(_Whole)
_RAWS: Final = msgspec.msgpack.Decoder(Batch)
_ENCODER: Final = msgspec.msgpack.Encoder()


def channel_of(kind: MessageClass) -> Up:
    """Return the channel on which streams of ``kind`` travel."""
    return Up.HEALTH if kind is MessageClass.TECHNICAL else Up.EVENTS


def judge(payload: bytes, channel: Up) -> Judged:
    """Read one batch that came on ``channel``.

    Raises:
        EnvelopeRejectedError: Not a batch, an empty one, numbers out of range, no class, or the wrong channel.
    """
    return _judge_at_once(payload, channel) or _judge_one_by_one(payload, channel)


def judge_record(data: bytes, kind: MessageClass) -> AnyRecord | Refusal:
    """Read one record that stands in a stream of ``kind``, or say why it cannot be stored."""
    return _read(data, _ALLOWED[kind])


def _judge_at_once(payload: bytes, channel: Up) -> Judged | None:
    """Read a batch with nothing wrong and no Gap in it; None for any other, which is then looked at closely.

    Twice as fast as one record after the other, by the same rules: closed types, lengths, one encoding for one value.
    """
    if len(payload) > BATCH_BYTES_MAX:
        return None
    try:
        whole = _WHOLE.decode(payload)
        kind = class_of_stream(whole.stream)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None
    raws = _RAWS.decode(payload).records
    fine = (
        raws
        and channel_of(kind) is channel
        and whole.first_seq >= 1
        and whole.first_seq + len(raws) <= SEQ_MAX
        and set(map(type, whole.records)) <= _ALLOWED[kind] - {Gap}
        and max(map(len, raws)) <= RECORD_BYTES_MAX
        and _ENCODER.encode(whole) == payload
    )
    if not fine:
        return None
    last = whole.first_seq + len(raws) - 1
    entries = list[Entry](zip(range(whole.first_seq, last + 1), map(bytes, raws), whole.records, strict=True))
    return Judged(whole.stream, kind, whole.first_seq, last, entries)


def _judge_one_by_one(payload: bytes, channel: Up) -> Judged:
    """Read any batch, and say of each record what is wrong with it.

    Raises:
        EnvelopeRejectedError: As ``judge``.
    """
    try:
        batch = decode_batch(payload)
        kind = class_of_stream(batch.stream)
    except (MessageRejectedError, ValueError) as error:
        raise EnvelopeRejectedError(str(error)) from None
    if channel_of(kind) is not channel:
        message = f"a stream of class {kind.value} does not travel on {channel.value}"
        raise EnvelopeRejectedError(message)
    if not batch.records:
        message = "a batch without records"
        raise EnvelopeRejectedError(message)
    if batch.first_seq < 1 or batch.first_seq + len(batch.records) > SEQ_MAX:
        message = "the numbers of the batch are out of range"
        raise EnvelopeRejectedError(message)
    allowed = _ALLOWED[kind]
    seq, entries, cut = batch.first_seq, list[Entry](), None
    for raw in batch.records:
        data = bytes(raw)
        record = _read(data, allowed)
        if type(record) is Gap:
            if record.first != seq or not seq <= record.last < SEQ_MAX:
                cut = "a Gap that does not begin at its own place, or ends before it begins"
                break
            entries.append((seq, data, record))
            seq = record.last + 1
            continue
        if type(record) is Refusal and _tag_of(data) == _GAP_TAG:
            cut = "a Gap that cannot be read, so what follows it has no number"
            break
        entries.append((seq, data, record))
        seq += 1
    return Judged(batch.stream, kind, batch.first_seq, seq - 1, entries, cut)


def _read(data: bytes, allowed: frozenset[type]) -> AnyRecord | Refusal:
    try:
        record = decode_record(data)
    except MessageRejectedError as error:
        return Refusal(str(error))
    if type(record) not in allowed:
        return Refusal(f"a {type(record).__name__} may not stand in a stream of this class")
    return record


def _tag_of(data: bytes) -> int | None:
    """Return the tag of an encoded array, as far as its first bytes tell."""
    place = 1 if data[:1] and data[0] & 0xF0 == 0x90 else 3 if data[:1] == b"\xdc" else len(data)  # noqa: PLR2004 - MessagePack's fixarray and array 16
    return data[place] if place < len(data) else None
