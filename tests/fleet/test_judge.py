"""What a decoder of the fleet lets through: nothing that is not a batch, and no crash whatever comes."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_builders import Box, batch_of, birth, context, health, window
from veilleur_contracts import messages as m
from veilleur_contracts.topics import Up
from veilleur_fleet.judge import EnvelopeRejectedError, Refusal, _judge_at_once, _judge_one_by_one, judge

KERB = context()
STREAM = Box().stream()
GOOD = [KERB, window(KERB), birth(), health(), m.Gap(3, 9, 0)]
EDGES = [
    b"\x95\x04\xce\x6a\xb1\x3b\x80\xa5\x30\x2e\x31\x2e\x30\xcd\x00\x01\xa9strictest",  # not canonical
    b"\x92\x63\x01",  # an unknown tag
    msgspec.msgpack.encode([1, *["x" * 24] * 60]),  # too long, and wrong
    msgspec.msgpack.encode(context(lines=[f"line-{n:02d}-{'x' * 15}" for n in range(16)])),
    msgspec.msgpack.encode(m.Gap(1, 4, 0)),
]


@given(st.binary(max_size=300))
def test_any_bytes_are_judged_or_refused(payload) -> None:
    with contextlib.suppress(EnvelopeRejectedError):
        assert judge(payload, Up.EVENTS).entries


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(GOOD)), min_size=1, max_size=20))
def test_every_record_of_a_batch_is_numbered_in_its_place_or_the_batch_is_cut(records) -> None:
    raws = [record for record in records if not isinstance(record, bytes) or _is_one_value(record)]
    if not raws:
        return
    judged = judge(batch_of(STREAM, 1, raws), Up.EVENTS)
    seqs = [seq for seq, _, _ in judged.entries]
    assert seqs == sorted(set(seqs))
    if judged.cut is None:
        assert len(judged.entries) == len(raws)
        assert judged.last >= len(raws)
    for entry, raw in zip(judged.entries, raws, strict=False):
        _, kept, record = entry
        assert kept == (raw if isinstance(raw, bytes) else msgspec.msgpack.encode(raw))
        allowed = isinstance(raw, m.Context | m.CrossingWindow | m.Gap)
        assert isinstance(record, Refusal) or allowed or isinstance(raw, bytes)


@given(st.lists(st.one_of(st.sampled_from(GOOD), st.sampled_from(EDGES)), min_size=1, max_size=6), st.sampled_from(Up))
def test_a_batch_is_judged_at_once_as_it_is_one_by_one(records, channel) -> None:
    for stream in (STREAM, Box().stream(m.MessageClass.TECHNICAL)):
        payload = batch_of(stream, 1, records)
        at_once = _judge_at_once(payload, channel)
        try:
            closely = _judge_one_by_one(payload, channel)
        except EnvelopeRejectedError:
            assert at_once is None
            continue
        faultless = closely.cut is None and not any(isinstance(one, Refusal | m.Gap) for _, _, one in closely.entries)
        assert at_once == (closely if faultless else None)


@given(st.binary(max_size=200))
def test_any_bytes_are_judged_at_once_only_if_they_are_one_by_one(payload) -> None:
    at_once = _judge_at_once(payload, Up.EVENTS)
    assert at_once is None or at_once == _judge_one_by_one(payload, Up.EVENTS)


def test_a_reason_never_repeats_what_was_sent() -> None:
    told = "hunter2-is-no-slug!!"
    judged = judge(batch_of(STREAM, 1, [msgspec.msgpack.encode([4, 1, told, 1, told])]), Up.EVENTS)
    ((_, _, refusal),) = judged.entries
    assert isinstance(refusal, Refusal)
    assert told not in refusal.reason


def test_a_batch_of_the_greatest_size_is_taken() -> None:
    judged = judge(batch_of(STREAM, 1, [window(KERB)] * m.BATCH_RECORDS_MAX), Up.EVENTS)
    assert (judged.first, judged.last, judged.cut) == (1, m.BATCH_RECORDS_MAX, None)


def test_one_record_too_many_is_refused() -> None:
    with pytest.raises(EnvelopeRejectedError):
        judge(batch_of(STREAM, 1, [birth()] * (m.BATCH_RECORDS_MAX + 1)), Up.EVENTS)


def _is_one_value(data: bytes) -> bool:
    """Tell whether ``data`` is one MessagePack value, which is all that can stand in a batch's array."""
    try:
        msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError):
        return False
    return msgspec.msgpack.encode(msgspec.Raw(data)) == data
