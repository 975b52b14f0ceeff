"""Whatever bytes come from outside, a decoder gives a value or refuses, and does nothing else."""

import math
import struct

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoders import Decoder, batch_of_all, decoders
from veilleur_contracts import messages as m
from veilleur_contracts.codec import MessageRejectedError, decode_batch, decode_record, encode
from veilleur_contracts.describe import records
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.examples import EXAMPLES
from veilleur_contracts.topics import Up
from veilleur_fleet.judge import Refusal, judge

EVERY = list(decoders())


def reads_or_refuses(decoder: Decoder, data: bytes) -> None:
    try:
        decoder.decode(data)
    except RejectedError:
        return


@st.composite
def spoilt(draw: st.DrawFn, seed: bytes) -> bytes:
    """Good bytes with a few of them turned, taken out, put in or cut off."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["turn", "out", "in", "cut", "twice"])):
            case "turn" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case "out":
                del data[at : at + draw(st.integers(1, 8))]
            case "in":
                data[at:at] = draw(st.binary(min_size=1, max_size=9))
            case "cut":
                del data[at:]
            case _:
                data[at:at] = data[: draw(st.integers(0, 40))]
    return bytes(data)


@pytest.mark.parametrize("decoder", EVERY, ids=lambda one: one.name.replace(" ", "-"))
@given(st.data())
def test_spoilt_bytes_are_read_or_refused(decoder: Decoder, data: st.DataObject) -> None:
    reads_or_refuses(decoder, data.draw(spoilt(data.draw(st.sampled_from(decoder.seeds)))))


@pytest.mark.parametrize("decoder", EVERY, ids=lambda one: one.name.replace(" ", "-"))
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x91" * 60_000, id="arrays-in-arrays"),
        pytest.param(b"\x81\xa1a" * 20_000, id="maps-in-maps"),
        pytest.param(b"[" * 60_000, id="json-lists-in-lists"),
        pytest.param(b'{"a":' * 12_000, id="json-maps-in-maps"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="array-said-to-be-huge"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="map-said-to-be-huge"),
        pytest.param(b"\xc6\xff\xff\xff\xff", id="binary-said-to-be-huge"),
        pytest.param(b'{"version":1e400}', id="json-infinity"),
        pytest.param(b'{"version":' + b"9" * 5000 + b"}", id="json-integer-of-5000-digits"),
        pytest.param(b"a = [" * 10_000, id="toml-lists-in-lists"),
        pytest.param(b"a" + b".a" * 20_000 + b" = 1", id="toml-tables-in-tables"),
        pytest.param(b"\xff\xfe\x00" * 100, id="no-text"),
        pytest.param(b"\x00" * 300_000, id="far-too-long"),
    ],
)
def test_what_is_deep_long_or_said_to_be_huge_is_refused(decoder: Decoder, data: bytes) -> None:
    reads_or_refuses(decoder, data)


WRONG = [math.nan, math.inf, -math.inf, 1.0, -1, -(2**63), 2**63, 2**64 - 1, b"\x01", {"a": 1}, True]


@pytest.mark.parametrize("record", records(), ids=lambda one: one.__name__)
def test_a_number_that_is_nan_infinite_negative_or_huge_is_refused_in_every_place(record: type[m.Record]) -> None:
    good = msgpack.unpackb(encode(EXAMPLES[record]))
    tried = 0
    for place, field in enumerate(good):
        for wrong in WRONG:
            spoilt_places = [wrong]
            if isinstance(field, list):
                spoilt_places = [[wrong, *field[1:]], [*field[:-1], wrong]] if field else []
            for value in spoilt_places:
                tried += 1
                data = msgpack.packb([*good[:place], value, *good[place + 1 :]])
                with pytest.raises(MessageRejectedError):
                    decode_record(data)
    assert tried >= len(WRONG) * 3


def longer_forms(value: int) -> list[bytes]:
    """Every encoding of a small whole number but the one that is canonical."""
    forms = [b"\xcc" + struct.pack(">B", value), b"\xcd" + struct.pack(">H", value), b"\xce" + struct.pack(">I", value)]
    forms += [
        b"\xcf" + struct.pack(">Q", value),
        b"\xd0" + struct.pack(">b", value),
        b"\xd1" + struct.pack(">h", value),
    ]
    return [*forms, b"\xd2" + struct.pack(">i", value), b"\xd3" + struct.pack(">q", value)]


@pytest.mark.parametrize("form", longer_forms(17), ids=lambda form: f"{form[0]:02x}")
def test_a_number_in_a_longer_form_is_refused_by_itself_and_in_a_batch(form: bytes) -> None:
    good = b"\x94\x05\x11\x28\x00"
    assert decode_record(good) == m.Gap(17, 40, 0)
    spoilt_record = b"\x94\x05" + form + b"\x28\x00"
    with pytest.raises(MessageRejectedError):
        decode_record(spoilt_record)
    with pytest.raises(MessageRejectedError):
        decode_batch(b"\x94\x01" + form + b"\x01\x91" + good)


@given(st.data())
def test_the_fleets_short_way_and_its_long_way_judge_alike(data: st.DataObject) -> None:
    payload = data.draw(spoilt(batch_of_all()))
    try:
        judged = judge(payload, Up.EVENTS)
    except RejectedError:
        return
    for seq, raw, record in judged.entries:
        assert judged.first <= seq <= judged.last
        if not isinstance(record, Refusal):
            assert decode_record(raw) == record
            assert encode(record) == raw
