import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_agent.control import (
    Addresses,
    Beat,
    ControlClosedError,
    ControlEnd,
    Stop,
    Tallied,
    control_pair,
    from_child,
    to_eye,
)


@pytest.fixture
def pair() -> Iterator[tuple[ControlEnd, socket.socket]]:
    ours, theirs = control_pair()
    theirs.settimeout(0)
    yield ControlEnd(ours), theirs
    ours.close()
    theirs.close()


def test_what_is_said_is_heard_in_order_and_then_nothing(pair) -> None:
    end, other = pair
    other_end = ControlEnd(other)
    assert other_end.say(Beat())
    assert other_end.say(Tallied("gare", 1, 50, ((1, 2),)))
    decoder = from_child()
    assert end.hear(decoder) == Beat()
    assert end.hear(decoder) == Tallied("gare", 1, 50, ((1, 2),))
    assert end.hear(decoder) is None


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x91\x06", b"\x92\x06\xff", b"x" * 70_000, b"\x91" * 20_000])
def test_a_child_that_says_no_message_is_as_good_as_gone(pair, data: bytes) -> None:
    end, other = pair
    other.send(data)
    with pytest.raises(ControlClosedError):
        end.hear(from_child())


def test_a_child_cannot_give_box_orders(pair) -> None:
    end, other = pair
    ControlEnd(other).say(Stop(1))
    with pytest.raises(ControlClosedError):
        end.hear(from_child())


def test_the_other_end_gone_is_noticed_on_both_ways(pair) -> None:
    end, other = pair
    other.close()
    with pytest.raises(ControlClosedError):
        end.hear(to_eye())
    with pytest.raises(ControlClosedError):
        end.say(Beat())


def test_with_no_room_it_says_so_and_does_not_wait(pair) -> None:
    end, _ = pair
    for _ in range(100_000):
        if not end.say(Addresses("gare", ("10.0.0.7",))):
            return
    raise AssertionError("a socket without end")


@given(st.binary(min_size=1, max_size=300))
def test_no_bytes_get_past_but_messages(data: bytes) -> None:
    ours, theirs = control_pair()
    end = ControlEnd(ours)
    try:
        theirs.send(data)
        try:
            message = end.hear(from_child())
        except ControlClosedError:
            return
        assert message is not None
    finally:
        ours.close()
        theirs.close()
