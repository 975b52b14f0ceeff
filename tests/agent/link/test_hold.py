import pytest
from hypothesis import given
from hypothesis import strategies as st

from box_builders import a_health, a_window
from veilleur_agent.hold import Hold, HoldRejectedError, Limits, restore_hold
from veilleur_contracts.codec import decode_carried, decode_record
from veilleur_contracts.messages import CrossingWindow, Gap


def packets_of(hold: Hold) -> list[bytes]:
    packets = []
    while (packet := hold.next_packet()) is not None:
        packets.append(packet)
        hold.sent()
    return packets


def numbers_of(packets: list[bytes]) -> list[int]:
    """Every number that the packets account for, those under a gap included."""
    numbers: list[int] = []
    for packet in packets:
        carried = decode_carried(packet)
        record = decode_record(bytes(carried.record))
        last = record.last if isinstance(record, Gap) else carried.seq
        numbers += range(carried.seq, last + 1)
    return numbers


def windows_of(packets: list[bytes]) -> list[int]:
    records = [decode_record(bytes(decode_carried(packet).record)) for packet in packets]
    return [record.at_s for record in records if isinstance(record, CrossingWindow)]


def test_a_statistic_waits_for_the_checkpoint_and_a_health_message_does_not() -> None:
    hold = Hold(7)
    hold.say(a_health(1))
    assert len(packets_of(hold)) == 1
    hold.say(a_window(2))
    hold.say(a_health(3))
    assert hold.needs_saving
    assert packets_of(hold) == []
    hold.saved()
    assert numbers_of(packets_of(hold)) == [2, 3]


def test_what_is_acknowledged_is_forgotten_and_the_rest_is_sent_again_after_a_rewind() -> None:
    hold = Hold(7)
    for n in range(5):
        hold.say(a_window(n))
    hold.saved()
    packets_of(hold)
    assert hold.acknowledge(7, 3) == 3
    hold.rewind()
    assert numbers_of(packets_of(hold)) == [4, 5]


def test_a_number_that_was_never_sent_cannot_be_acknowledged() -> None:
    hold = Hold(7)
    hold.say(a_window(1))
    with pytest.raises(ValueError, match="never sent"):
        hold.acknowledge(7, 1)


def test_when_full_health_goes_first_and_every_number_is_accounted_for() -> None:
    hold = Hold(7, limits=Limits(records_max=100))
    for n in range(50):
        hold.say(a_window(n))
        hold.say(a_health(n))
    for n in range(50, 75):
        hold.say(a_window(n))
    hold.saved()
    packets = packets_of(hold)
    assert windows_of(packets) == list(range(75))
    assert numbers_of(packets) == list(range(1, 126))
    assert (hold.statistics_dropped, hold.technical_dropped) == (0, 25)


def test_when_full_of_statistics_the_oldest_go_and_are_told() -> None:
    hold = Hold(7, limits=Limits(records_max=100))
    for n in range(1, 201):
        hold.say(a_window(n))
    hold.saved()
    packets = packets_of(hold)
    assert hold.statistics_dropped == 200 - len(windows_of(packets))
    assert windows_of(packets) == list(range(hold.statistics_dropped + 1, 201))
    assert numbers_of(packets) == list(range(1, 201))
    assert len(packets) == len(windows_of(packets)) + 1, "the holes lie together and are told as one"


def test_an_eye_that_restarts_keeps_the_numbers_of_its_predecessor_and_takes_a_new_epoch() -> None:
    hold = restore_hold(None, 1000)
    hold.say(a_window(1))
    hold.say(a_window(2))
    again = restore_hold(hold.checkpoint(), 1000)
    again.say(a_window(3))
    again.saved()
    carried = [decode_carried(packet) for packet in packets_of(again)]
    assert [(one.epoch, one.seq) for one in carried] == [(1000, 1), (1000, 2), (1001, 1)]


def test_a_mouth_that_lost_its_memory_is_told_the_hole() -> None:
    hold = Hold(7)
    for n in range(1, 6):
        hold.say(a_window(n))
    hold.saved()
    packets_of(hold)
    hold.acknowledge(7, 3)
    assert hold.bridge(7, 0)
    packets = packets_of(hold)
    assert numbers_of(packets) == [1, 2, 3, 4, 5]
    assert windows_of(packets) == [4, 5]
    assert not hold.bridge(7, 3)


def test_a_mouth_that_lost_its_memory_of_everything_is_told_before_the_next_word() -> None:
    hold = Hold(7)
    hold.say(a_window(1))
    hold.saved()
    packets_of(hold)
    hold.acknowledge(7, 1)
    assert hold.bridge(7, 0)
    hold.say(a_window(2))
    hold.saved()
    assert numbers_of(packets_of(hold)) == [1, 2]


@given(cut=st.integers(0, 60), flip=st.integers(0, 255))
def test_a_damaged_checkpoint_is_refused_or_harmless(cut: int, flip: int) -> None:
    hold = Hold(7)
    hold.say(a_window(1))
    data = bytearray(hold.checkpoint())
    place = cut % len(data)
    data[place] ^= flip
    try:
        again = restore_hold(bytes(data), 1000)
    except HoldRejectedError:
        return
    again.saved()
    for packet in packets_of(again):
        decode_carried(packet)


@given(st.data())
def test_whatever_happens_the_numbers_have_no_hole_and_no_repeat(data: st.DataObject) -> None:
    hold = Hold(7, limits=Limits(records_max=12, bytes_max=400))
    said = acknowledged = sent = 0
    for _ in range(data.draw(st.integers(1, 60))):
        match data.draw(st.sampled_from(["window", "health", "send", "acknowledge", "rewind", "save"])):
            case "window":
                hold.say(a_window(said := said + 1))
            case "health":
                hold.say(a_health(said := said + 1))
            case "send" if (packet := hold.next_packet()) is not None:
                sent = max(sent, *numbers_of([packet]))
                hold.sent()
            case "acknowledge" if sent > acknowledged:
                acknowledged = data.draw(st.integers(acknowledged, sent))
                hold.acknowledge(7, acknowledged)
            case "rewind":
                hold.rewind()
            case _:
                hold.saved()
    hold.saved()
    hold.rewind()
    numbers = numbers_of(packets_of(hold))
    assert numbers == list(range(numbers[0], said + 1)) if numbers else acknowledged == said
    assert not numbers or numbers[0] <= acknowledged + 1
    assert hold.size_bytes <= 400 + 14 * 12, "gaps are the only thing kept above the bound"
