"""Which numbers are held: the same answers as a plain set of numbers gives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_fleet.store.streams import AHEAD_RANGES_MAX, Held, TooManyHolesError

RANGE = st.tuples(st.integers(1, 60), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def held_after(ranges) -> tuple[Held, set[int]]:
    held, truth = Held(), set()
    for first, last in ranges:
        held.take(first, last)
        truth |= set(range(first, last + 1))
    return held, truth


@given(st.lists(RANGE, max_size=20))
def test_the_mark_is_the_last_number_before_the_first_hole(ranges) -> None:
    held, truth = held_after(ranges)
    first_hole = next(number for number in range(1, 200) if number not in truth)
    assert held.upto == first_hole - 1
    assert {seq for seq in range(1, 200) if held.has(seq)} == truth


@given(st.lists(RANGE, max_size=20), RANGE)
def test_what_is_missing_of_a_range_is_told_exactly(ranges, asked) -> None:
    held, truth = held_after(ranges)
    missing = sorted(set(range(asked[0], asked[1] + 1)) - truth)
    assert held.missing(*asked) == len(missing)
    assert held.first_missing(*asked) == (missing[0] if missing else None)


@given(st.lists(RANGE, max_size=20))
def test_ranges_beyond_the_mark_rise_and_never_touch(ranges) -> None:
    held, _ = held_after(ranges)
    edges = [held.upto, *(edge for pair in held.ahead for edge in pair)]
    assert all(first <= last for first, last in held.ahead)
    assert all(start > end + 1 for end, start in zip(edges[0::2], edges[1::2], strict=False))


def test_a_stream_with_too_many_holes_takes_no_more_and_stays_as_it_was() -> None:
    held = Held()
    for seq in range(2, 2 * AHEAD_RANGES_MAX + 2, 2):
        held.take(seq, seq)
    before = (held.upto, list(held.ahead))
    with pytest.raises(TooManyHolesError):
        held.take(1000, 1000)
    assert (held.upto, held.ahead) == before
    held.take(1, 1)
    assert held.upto == 2
