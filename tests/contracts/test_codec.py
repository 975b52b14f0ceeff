"""The wire: one value, one encoding, and nothing else gets in."""

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_contracts import messages as m
from veilleur_contracts.codec import (
    MessageRejectedError,
    context_number_of,
    decode_ack,
    decode_batch,
    decode_carried,
    decode_published,
    decode_received,
    decode_record,
    decode_twin,
    encode,
    encode_record,
)
from veilleur_contracts.describe import records
from veilleur_contracts.examples import EXAMPLES

GOLDEN = {
    "Context": (
        "9901ab676172652d706172766973a53330313839b030303131323233333434353536366666b038383939616162626363"
        "646465656666b0303132333435363738396162636465669600010203040592a46b657262aa6379636c652d6c616e6590"
    ),
    "CrossingWindow": "9902ceaf301502ce6ab13be4cd0384016232009ccd0141cd011fc000cd0280cd02be0c0907071f1c",
    "CameraHealth": "9703ab676172652d706172766973ce6ab13be401320200",
    "Birth": "9504ce6ab13b80a5302e312e3001a9737472696374657374",
    "Gap": "9405112800",
    "RollUp": "9806ceaf301502ce6ab13860cd0e1000000107",
    "OccupancyWindow": "9807ceaf301502ce6ab13d10cd04b00061009c060ec0000205000000010000",
    "StayWindow": "9a08ceaf301502ce6ab13d10cd04b000610002980409030201000000cd04ec",
    "ObjectWindow": "9809ceaf301502ce6ab13d10cd04b0006100cd0960",
    "SpeedWindow": "980aceaf301502ce6ab13be4cd03840100ccd693ccf1cd0129cd0160",
    "RoadState": "990bceaf301502ce6ab13be4cd012c0001cd03481f19",
    "StreetEvent": "970cceaf301502ce6ab13be40100ce6ab133b000",
    "ViewAlarm": "950dab676172652d706172766973ce6ab13be40822",
    "Reported": (
        "9d0fce6ab13be40107b038383939616162626363646465656666b030303131323233333434353536366666a773746f"
        "70706564090001ce6ab13b80c000"
    ),
    "ClipsHeld": "9714ce6ab13be40b01ce000c8ed8cd019c01",
    "FetchAlarm": "9517ce6ab13be4b0383839396161626263636464656566660603",
    "WaterLevel": "9510ac7669737472652d616d6f6e74a53330313839ce6ab13be4cd04d8",
    "NoiseLevel": "9711a66172656e6573a53330313839ce6ab13be4cd0384cd0282cd032f",
    "LightLevel": "9512b06a617264696e732d666f6e7461696e65a53330313839ce6ab13be412",
    "SensorHealth": "9718ac7669737472652d616d6f6e74ce6ab13be4cd0d54610200",
    "Validation": "930eceaf301502dc0012cd03cccd03dfccd6c0c0c0cd03d9cd03e4cd0212c0c0c0c0c0c0c0c0c0",
}
"""Bytes as they were when each record was first released: they may never change."""

DECODER_OF = {
    m.Batch: decode_batch,
    m.Ack: decode_ack,
    m.Twin: decode_twin,
    m.Published: decode_published,
    m.Carried: decode_carried,
    m.Received: decode_received,
    m.DocumentReady: decode_received,
}

GOOD_WINDOW = [2, 5, 1_790_000_100, 900, 0, 98, 50, 0, [3, None, 0]]


@pytest.mark.parametrize("record", records(), ids=lambda record: record.__name__)
def test_released_bytes_never_change(record) -> None:
    assert encode(EXAMPLES[record]).hex() == GOLDEN[record.__name__]


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=lambda example: type(example).__name__)
def test_every_message_survives_the_wire(example) -> None:
    decode = DECODER_OF.get(type(example), decode_record)
    assert decode(encode(example)) == example


@pytest.mark.parametrize("record", records(), ids=lambda record: record.__name__)
def test_a_plain_messagepack_reader_understands_every_record(record) -> None:
    tag, *fields = msgpack.unpackb(encode(EXAMPLES[record]), strict_map_key=True)
    assert tag == record.__struct_config__.tag
    expected = msgspec.structs.astuple(EXAMPLES[record])
    assert [list(value) if isinstance(value, tuple) else value for value in expected] == fields


def test_a_plain_messagepack_reader_understands_a_batch() -> None:
    tag, stream, first_seq, inner = msgpack.unpackb(encode(EXAMPLES[m.Batch]))
    assert (tag, first_seq) == (1, 41)
    assert m.class_of_stream(stream) is m.MessageClass.STATISTICS
    assert inner[0][1] == "gare-parvis"
    assert inner[1][8][2] is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        pytest.param(1, -1, id="negative"),
        pytest.param(1, 2**32, id="too-large"),
        pytest.param(1, 2**63, id="huge"),
        pytest.param(2, 1.0, id="float-that-is-whole"),
        pytest.param(2, float("nan"), id="nan"),
        pytest.param(3, float("inf"), id="infinity"),
        pytest.param(3, True, id="boolean"),
        pytest.param(4, "0", id="text"),
        pytest.param(5, 101, id="out-of-range"),
        pytest.param(8, [1] * 13, id="too-many-counts"),
        pytest.param(8, b"\x01\x02", id="binary"),
        pytest.param(8, {"a": 1}, id="map"),
        pytest.param(0, 99, id="unknown-tag"),
        pytest.param(0, "2", id="text-tag"),
    ],
)
def test_refuses_a_window_with_one_wrong_field(place, value) -> None:
    fields = list(GOOD_WINDOW)
    decode_record(msgpack.packb(fields))
    fields[place] = value
    with pytest.raises(MessageRejectedError):
        decode_record(msgpack.packb(fields))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xc0", id="nil"),
        pytest.param(b"\x91" * 1000, id="deep"),
        pytest.param(b"\x94\x05\xcd\x00\x11\x28\x00", id="integer-in-a-longer-form"),
        pytest.param(b"\xdc\x00\x04\x05\x11\x28\x00", id="array-in-a-longer-form"),
        pytest.param(b"\x94\x05\x11\x28\x00\x00", id="trailing-byte"),
        pytest.param(b"\x95\x05\x11\x28\x00\x00", id="one-field-too-many"),
        pytest.param(b"\x93\x05\x11\x28", id="one-field-too-few"),
        pytest.param(b"\xdd\xff\xff\xff\xff\x05", id="array-said-to-be-huge"),
        pytest.param(b"\x00" * 1025, id="too-long"),
    ],
)
def test_refuses_bytes_that_are_not_canonical(data) -> None:
    with pytest.raises(MessageRejectedError):
        decode_record(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_record_or_refused(data) -> None:
    try:
        record = decode_record(data)
    except MessageRejectedError:
        return
    assert encode(record) == data


@given(st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=10)))
def test_any_messagepack_value_is_a_message_or_refused(value) -> None:
    try:
        data = msgpack.packb(value)
    except OverflowError:
        return
    for decode in (decode_record, decode_batch, decode_ack, decode_carried, decode_received, decode_published):
        try:
            message = decode(data)
        except MessageRejectedError:
            continue
        assert encode(message) == data


def test_a_refusal_never_repeats_the_bytes_it_refuses() -> None:
    secret = "secret plate AB-123-CD"  # noqa: S105 - a marker to look for, not a credential
    with pytest.raises(MessageRejectedError) as refusal:
        decode_record(msgpack.packb([3, secret, 0, 1, 0, 0, 0]))
    assert "AB-123" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_the_link_judges_the_record_it_carries() -> None:
    smuggled = m.Carried(1, 1, msgspec.Raw(msgpack.packb([2, "pixels"])))
    with pytest.raises(MessageRejectedError):
        decode_carried(encode(smuggled))


def test_one_unknown_record_does_not_refuse_its_batch() -> None:
    batch = m.Batch(8, 1, (msgspec.Raw(msgpack.packb([99, 1])), msgspec.Raw(encode(EXAMPLES[m.Gap]))))
    read = decode_batch(encode(batch))
    with pytest.raises(MessageRejectedError):
        decode_record(bytes(read.records[0]))
    assert decode_record(bytes(read.records[1])) == EXAMPLES[m.Gap]


def test_encoding_refuses_what_reading_would_refuse() -> None:
    with pytest.raises(MessageRejectedError):
        encode_record(m.Gap(-1, 2, 0))


def test_the_largest_context_fits_the_link() -> None:
    ids = tuple(f"{n:02}-{'x' * 21}" for n in range(16))
    context = m.Context("c" * 32, "2A004", "0" * 16, "1" * 16, "2" * 16, (0, 1, 2, 3, 4, 5), ids, ids)
    carried = m.Carried(2**48 - 1, 2**48 - 1, msgspec.Raw(encode_record(context)))
    assert decode_carried(encode(carried)) == carried


def test_context_number_changes_with_its_content() -> None:
    one = EXAMPLES[m.Context]
    assert context_number_of(one) == context_number_of(msgspec.structs.replace(one))
    assert context_number_of(one) != context_number_of(msgspec.structs.replace(one, insee="30007"))


def test_six_labels_both_ways_with_three_digits_stay_within_sixty_bytes() -> None:
    window = m.CrossingWindow(2**32 - 1, 1_790_000_100, 900, 3, 100, 250, 127, (999,) * 12)
    assert len(encode_record(window)) <= 60


@pytest.mark.parametrize("kind", list(m.MessageClass))
def test_a_stream_number_tells_its_class(kind) -> None:
    assert m.class_of_stream(m.stream_of(kind, 1_790_000_000_123)) is kind


def test_alarms_have_a_stream_of_their_own_within_class_t() -> None:
    stream = m.stream_for(m.ViewAlarm, 1_790_000_000_123)
    assert m.is_alarm_stream(stream)
    assert m.class_of_stream(stream) is m.MessageClass.TECHNICAL
    health = m.stream_for(m.CameraHealth, 1_790_000_000_123)
    assert not m.is_alarm_stream(health)
    assert health == m.stream_of(m.MessageClass.TECHNICAL, 1_790_000_000_123)


def test_a_stream_of_no_class_is_refused() -> None:
    with pytest.raises(ValueError, match="no message class"):
        m.class_of_stream(7)


def test_every_record_but_the_gap_has_a_class() -> None:
    assert set(records()) - {m.Gap} == set(m.CLASS_OF)
