"""What a slot comes to: told cells and told roll-ups, and nothing that could be wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_contracts.messages import Label, Quality
from veilleur_fleet.feeds.slots import DAY_S, HOUR_S, SeenWindow, Source, by_slot, count_of

DAY = 20_352 * DAY_S
SOURCE = Source(1, 42, 0)
OTHER = Source(1, 43, 0)
CAR = 2 * Label.CAR
PERSON = 2 * Label.PERSON


def seen(cells, *, at_s=DAY, window_s=900, coverage=100, quality=0, source=SOURCE, label=Label.PERSON):
    """Return windows one after the other, whose first cell of ``label`` is what is given."""
    windows = []
    for number, value in enumerate(cells):
        row = [None] * 12
        row[2 * label], row[2 * label + 1] = value, 0
        windows.append(
            SeenWindow(source, at_s + number * window_s, window_s, coverage, quality, 1 << label, tuple(row))
        )
    return windows


def hour(count, at_s=DAY, source=SOURCE):
    return {(source, PERSON, at_s, HOUR_S): [count]}


@pytest.mark.parametrize(
    ("windows", "roll_ups", "expected"),
    [
        pytest.param(seen([8, 9, 12, 7]), {}, 36, id="all-told"),
        pytest.param(seen([0, 0, 0, 0]), {}, 0, id="nobody"),
        pytest.param([], {}, None, id="nothing-measured-is-not-zero"),
        pytest.param(seen([8, None, 12, None]), hour(6), 26, id="withheld-and-rolled-up"),
        pytest.param(seen([8, None, 12, None]), {}, None, id="withheld-and-not-rolled-up"),
        pytest.param(seen([8, None, 12, None]), hour(None), None, id="rolled-up-to-a-mark"),
        pytest.param(seen([8, None, 12, None]), hour(1), None, id="a-roll-up-too-small-for-its-cells"),
        pytest.param(seen([8, None, 12, None]), hour(6, source=OTHER), None, id="a-roll-up-of-another-context"),
        pytest.param(seen([8, None, 12, None]), {(SOURCE, PERSON, DAY, HOUR_S): [6, 6]}, None, id="told-twice"),
        pytest.param(seen([8, 9, 12, 7], coverage=89), {}, None, id="not-observed-enough"),
        pytest.param(seen([8, 9, 12, 7], coverage=90), {}, 36, id="observed-enough"),
        pytest.param(seen([8, 9, 12]), {}, None, id="a-window-is-missing"),
        pytest.param(seen([8, 9, 12, 7], quality=Quality.QUARANTINED), {}, None, id="quarantined"),
        pytest.param(seen([8, 9, 12, 7], quality=Quality.CLOCK_UNSYNCED), {}, None, id="time-unknown"),
        pytest.param(seen([8, 9, 12, 7], quality=Quality.GATED), {}, 36, id="gated-is-measured"),
        pytest.param(
            seen([8], window_s=3420) + seen([None], at_s=DAY + 3420, window_s=180, quality=Quality.QUARANTINED),
            hour(6),
            None,
            id="a-roll-up-that-holds-a-quarantined-cell",
        ),
        pytest.param(
            seen([8, None]) + seen([12, 7], at_s=DAY + 1800, source=OTHER),
            hour(6),
            None,
            id="two-contexts-and-withheld",
        ),
        pytest.param(seen([8, 9]) + seen([12, 7], at_s=DAY + 1800, source=OTHER), {}, 36, id="two-contexts-all-told"),
        pytest.param(seen([8, 9, 12, 7], label=Label.CAR), {}, None, id="a-label-that-was-not-counted"),
        pytest.param(
            seen([8], window_s=3600, coverage=50) + seen([5], window_s=3600, coverage=50, quality=Quality.SPLIT),
            {},
            13,
            id="a-window-in-two-pieces",
        ),
    ],
)
def test_an_hour_is_what_was_told_and_rolled_up_or_unknown(windows, roll_ups, expected) -> None:
    assert count_of(windows, PERSON, (DAY, HOUR_S), roll_ups) == expected


def a_day(withheld_hours):
    windows = []
    for number in range(24):
        cells = [10, None, 10, 10] if number in withheld_hours else [10, 10, 10, 10]
        windows += seen(cells, at_s=DAY + number * HOUR_S)
    return windows


def test_a_day_takes_its_hours_and_what_is_left_of_them() -> None:
    windows = a_day({3, 7, 9})
    told = {**hour(12, DAY + 3 * HOUR_S), (SOURCE, PERSON, DAY, DAY_S): [5]}
    assert count_of(windows, PERSON, (DAY, DAY_S), told) == 93 * 10 + 12 + 5
    assert count_of(windows, PERSON, (DAY, DAY_S), hour(12, DAY + 3 * HOUR_S)) is None


def test_windows_themselves_know_no_roll_up() -> None:
    assert count_of(seen([None]), PERSON, (DAY, 900), hour(6)) is None
    assert count_of(seen([0]), PERSON, (DAY, 900), {}) == 0


@given(
    truth=st.lists(st.integers(0, 30), min_size=4, max_size=4),
    least=st.integers(1, 9),
    tells=st.booleans(),
)
def test_an_hour_is_the_truth_or_unknown(truth, least, tells) -> None:
    told = [None if 0 < value < least else value for value in truth]
    hidden = [value for value in truth if 0 < value < least]
    roll_ups = hour(sum(hidden)) if tells and hidden else {}
    count = count_of(seen(told), PERSON, (DAY, HOUR_S), roll_ups)
    assert count == (sum(truth) if tells or not hidden else None)


def test_a_window_belongs_to_the_slot_it_began_in() -> None:
    slots = by_slot(seen([1, 2, 3, 4, 5]), HOUR_S)
    assert {at_s: len(windows) for at_s, windows in slots.items()} == {DAY: 4, DAY + HOUR_S: 1}
