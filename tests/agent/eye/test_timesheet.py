"""Time is booked to the windows it was spent in, once, and none is lost on the way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_agent.eye.timesheet import KEYS_MAX, WINDOWS_MAX, Timesheet, TimesheetRejectedError

MINUTE = 60_000
T0 = 1_790_000_040_000 // MINUTE * MINUTE
BAY = (1, 2)


def minutes(sheet: Timesheet, count: int) -> list[int]:
    return [sheet.take(T0 + minute * MINUTE)[BAY] for minute in range(count)]


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        pytest.param([], [0, 0, 0], id="nothing"),
        pytest.param([(10, 20)], [10_000, 0, 0], id="inside-one"),
        pytest.param([(50, 130)], [10_000, 60_000, 10_000], id="over-two-ends"),
        pytest.param([(0, 60)], [60_000, 0, 0], id="exactly-one"),
        pytest.param([(10, 20), (15, 25)], [20_000, 0, 0], id="two-at-once"),
        pytest.param([(20, 10)], [0, 0, 0], id="backwards"),
    ],
)
def test_splits_time_where_windows_end(spans, expected) -> None:
    sheet = Timesheet(MINUTE)
    for start, end in spans:
        sheet.add(BAY, T0 + start * 1000, T0 + end * 1000)
    assert minutes(sheet, 3) == expected


def test_what_comes_after_its_window_was_taken_goes_to_the_next() -> None:
    sheet = Timesheet(MINUTE)
    assert sheet.take(T0)[BAY] == 0
    sheet.add(BAY, T0 + 30_000, T0 + 70_000)
    assert sheet.take(T0 + MINUTE)[BAY] == 40_000


def test_keys_are_kept_apart() -> None:
    sheet = Timesheet(MINUTE)
    sheet.add((0, 2), T0, T0 + 1000)
    sheet.add((0, 5), T0, T0 + 2000)
    assert sheet.take(T0) == {(0, 2): 1000, (0, 5): 2000}


spans = st.lists(st.tuples(st.integers(0, 600_000), st.integers(0, 200_000)), max_size=20)


@given(spans, st.lists(st.integers(0, 12), max_size=6))
def test_no_time_is_lost_or_doubled_however_windows_are_taken(booked, taken) -> None:
    sheet, got = Timesheet(MINUTE), 0
    for place, (start, length) in enumerate(booked):
        sheet.add(BAY, T0 + start, T0 + start + length)
        if place < len(taken):
            got += sheet.take(T0 + sorted(taken)[place] * MINUTE)[BAY]
    got += sheet.take(T0 + 100 * MINUTE)[BAY]
    assert got == sum(length for _, length in booked)


def test_a_restart_keeps_what_is_booked_and_what_was_taken() -> None:
    before, after = Timesheet(MINUTE), Timesheet(MINUTE)
    before.take(T0)
    before.add(BAY, T0 + 30_000, T0 + 70_000)
    after.restore(before.checkpoint())
    after.add(BAY, T0, T0 + 1000)
    assert after.take(T0 + MINUTE)[BAY] == 41_000


def test_times_of_other_windows_are_refused() -> None:
    with pytest.raises(TimesheetRejectedError, match="another length"):
        Timesheet(MINUTE).restore(Timesheet(2 * MINUTE).checkpoint())


@given(st.binary(max_size=60))
def test_a_damaged_checkpoint_is_refused(data) -> None:
    with pytest.raises(TimesheetRejectedError):
        Timesheet(MINUTE).restore(data)


def test_memory_is_bounded() -> None:
    sheet = Timesheet(MINUTE)
    for minute in range(2 * WINDOWS_MAX):
        sheet.add(BAY, T0 + minute * MINUTE, T0 + minute * MINUTE + 1)
    for zone in range(2 * KEYS_MAX):
        sheet.add((zone, 0), T0 + 9_000 * MINUTE, T0 + 9_000 * MINUTE + 1)
    assert len(sheet._windows) == WINDOWS_MAX
    assert max(len(window) for window in sheet._windows.values()) == KEYS_MAX
