"""Bytes to messages and back, strictly: one value has one encoding and everything else is refused.

What msgspec alone lets through [measured]: non-canonical integers (``0xcd 0x00 0x05`` for 5) and one unknown tag
refusing a whole batch. So every decode re-encodes and compares, and batches hold ``Raw`` records decoded one by one.
"""

import hashlib
from typing import Final, TypeVar

import msgspec

from veilleur_contracts.errors import RejectedError
from veilleur_contracts.messages import (
    BATCH_BYTES_MAX,
    RECORD_BYTES_MAX,
    TWIN_BYTES_MAX,
    Ack,
    AnyRecord,
    Batch,
    Carried,
    Context,
    DocumentReady,
    Published,
    Received,
    Record,
    Twin,
)

_T = TypeVar("_T")

_RECORD: Final[msgspec.msgpack.Decoder[AnyRecord]] = msgspec.msgpack.Decoder(AnyRecord)
_UP: Final = msgspec.msgpack.Decoder(Batch)
_DOWN: Final = msgspec.msgpack.Decoder(Ack)
_TWIN: Final = msgspec.msgpack.Decoder(Twin)
_LINK_UP: Final = msgspec.msgpack.Decoder(Carried)
_LINK_DOWN: Final[msgspec.msgpack.Decoder[Received | DocumentReady]] = msgspec.msgpack.Decoder(Received | DocumentReady)
_OUT: Final = msgspec.msgpack.Decoder(Published)
_ENCODER: Final = msgspec.msgpack.Encoder()


class MessageRejectedError(RejectedError):
    """Bytes that are not a message of the closed registry; never holds the bytes themselves."""


def encode(message: Record) -> bytes:
    """Return the one canonical encoding of ``message``."""
    return _ENCODER.encode(message)


def encode_record(record: Record) -> bytes:
    """Encode a record that must fit the link.

    Raises:
        MessageRejectedError: Longer than ``RECORD_BYTES_MAX``, or a field is out of its bounds.
    """
    data = _ENCODER.encode(record)
    decode_record(data)
    return data


def decode_record(data: bytes) -> AnyRecord:
    """Read one record.

    Raises:
        MessageRejectedError: Too long, not in the registry, out of bounds, or not canonical.
    """
    return _strict(_RECORD, data, RECORD_BYTES_MAX)


def decode_batch(data: bytes) -> Batch:
    """Read the envelope of a batch; its records stay encoded, to be judged one by one with ``decode_record``."""
    return _strict(_UP, data, BATCH_BYTES_MAX)


def decode_ack(data: bytes) -> Ack:
    """Read what the fleet acknowledges."""
    return _strict(_DOWN, data, RECORD_BYTES_MAX)


def decode_twin(data: bytes) -> Twin:
    """Read which documents a box should hold."""
    return _strict(_TWIN, data, TWIN_BYTES_MAX)


def decode_carried(data: bytes) -> Carried:
    """Read one message of the link from eye to mouth; its record is judged too.

    Raises:
        MessageRejectedError: As ``decode_record``, for the envelope or the record in it.
    """
    carried = _strict(_LINK_UP, data, RECORD_BYTES_MAX)
    decode_record(bytes(carried.record))
    return carried


def decode_received(data: bytes) -> Received | DocumentReady:
    """Read one message of the link from mouth to eye."""
    return _strict(_LINK_DOWN, data, RECORD_BYTES_MAX)


def decode_published(data: bytes) -> Published:
    """Read one message of ``out/``."""
    return _strict(_OUT, data, 2 * RECORD_BYTES_MAX)


def context_number_of(context: Context) -> int:
    """Return the number by which windows refer to ``context``: the first 32 bits of its SHA-256."""
    return int.from_bytes(hashlib.sha256(encode(context)).digest()[:4], "big")


def _place_of(error: Exception) -> str:
    """Keep the place of a fault (``$[2]``) and drop the value, which may be anybody's."""
    text = str(error)
    return text[text.rfind("at `") :] if "at `" in text else type(error).__name__


def _strict(decoder: "msgspec.msgpack.Decoder[_T]", data: bytes, most: int) -> _T:
    if len(data) > most:
        message = f"a message of {len(data)} bytes is longer than the {most} allowed"
        raise MessageRejectedError(message)
    try:
        message_read = decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        reason = f"not a message of the registry: {_place_of(error)}"
        raise MessageRejectedError(reason) from None
    if _ENCODER.encode(message_read) != data:
        reason = "not in canonical form: re-encoding gives other bytes"
        raise MessageRejectedError(reason)
    return message_read
