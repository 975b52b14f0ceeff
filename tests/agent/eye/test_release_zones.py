"""Presence and speeds leave the eye only in company."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_agent.eye.presence import Presence
from veilleur_agent.eye.release_zones import occupancy_records, speed_records, stay_records
from veilleur_agent.eye.speed_windows import KMH_MAX, OPEN_MAX, SPEEDS_MAX, SpeedsRejectedError, SpeedWindows
from veilleur_agent.eye.windows import Window
from veilleur_contracts.codec import decode_record, encode_record
from veilleur_contracts.messages import Direction, Label, MessageClass, Quality
from veilleur_contracts.policy import BENCH, STRICTEST, Permissions

T0 = 1_790_000_400_000
LABELS = (Label.PERSON, Label.BICYCLE, Label.CAR)
WINDOW = Window(T0, 1_200_000, np.zeros((1, 3, 2), np.int64), 0.97, 5.0, Quality.GATED)
UNSEEN = Window(T0, 1_200_000, None, 0.0, 0.0, Quality.LOW_COVERAGE)
SILENT = Permissions("silent", frozenset({MessageClass.TECHNICAL}))


def presence(median: list[int], p90: list[int], stays: list[int] | None = None) -> Presence:
    """One zone, three labels, the same stays for each."""
    lengths = np.tile(np.array(stays or [0] * 8), (1, 3, 1))
    return Presence(np.array([median]), np.array([p90]), lengths)


@pytest.mark.parametrize(
    ("permissions", "expected"),
    [
        pytest.param(STRICTEST, (None, 5, 0, None, 1, 3), id="strictest"),
        pytest.param(BENCH, (4, 5, 0, 4, 1, 3), id="bench"),
    ],
)
def test_few_people_at_a_time_are_not_told(permissions, expected) -> None:
    (record,) = occupancy_records(7, WINDOW, presence([4, 0, 1], [5, 4, 3]), LABELS, permissions)
    assert record.counts == expected
    assert (record.at_s, record.window_s, record.zone, record.coverage) == (T0 // 1000, 1200, 0, 97)
    assert record.quality == int(Quality.GATED)
    assert decode_record(encode_record(record)) == record


def test_what_was_not_observed_is_nil_and_never_zero() -> None:
    (record,) = occupancy_records(7, UNSEEN, presence([0, 0, 0], [0, 0, 0]), LABELS, STRICTEST)
    assert record.counts == (None,) * 6
    (unknown,) = occupancy_records(7, WINDOW, presence([-1, 0, 0], [-1, 0, 0]), LABELS, STRICTEST)
    assert unknown.counts == (None, None, 0, 0, 0, 0)
    assert stay_records(7, UNSEEN, presence([0] * 3, [0] * 3), LABELS, STRICTEST, over_s={}) == []
    assert speed_records(7, UNSEEN, {}, [0], STRICTEST) == []


def test_few_stays_of_people_are_not_told_and_vehicles_are() -> None:
    held = presence([0] * 3, [0] * 3, [0, 1, 4, 5, 0, 0, 0, 99])
    person, bicycle, car = stay_records(7, WINDOW, held, LABELS, STRICTEST, over_s={(0, Label.CAR): 640})
    assert person.counts == bicycle.counts == (0, None, None, 5, 0, 0, 0, 99)
    assert car.counts == (0, 1, 4, 5, 0, 0, 0, 99)
    assert [one.over_s for one in (person, bicycle, car)] == [0, 0, 640]
    assert decode_record(encode_record(car)) == car


def test_speeds_are_told_of_five_or_more() -> None:
    speeds = {(0, 0): [30.0] * 4, (0, 1): [10.0, 20.0, 30.0, 40.0, 50.0]}
    few, enough = speed_records(7, WINDOW, speeds, [0], STRICTEST)
    assert (few.direction, few.measured, few.percentiles_kmh_x10) == (0, 4, (None, None, None))
    assert (enough.direction, enough.measured, enough.percentiles_kmh_x10) == (1, 5, (160, 300, 440))
    assert decode_record(encode_record(enough)) == enough


def test_nothing_is_told_where_statistics_are_not_allowed() -> None:
    held = presence([9] * 3, [9] * 3)
    assert occupancy_records(7, WINDOW, held, LABELS, SILENT) == []
    assert stay_records(7, WINDOW, held, LABELS, SILENT, over_s={}) == []
    assert speed_records(7, WINDOW, {(0, 0): [30.0] * 9}, [0], SILENT) == []


@pytest.fixture
def windows() -> SpeedWindows:
    return SpeedWindows(length_s=1200)


def test_speeds_are_gathered_by_window_line_and_direction(windows) -> None:
    windows.add(0, Direction.LEFT_TO_RIGHT, T0, 30.0)
    windows.add(0, Direction.LEFT_TO_RIGHT, T0 + 1_199_999, 31.0)
    windows.add(0, Direction.RIGHT_TO_LEFT, T0, 32.0)
    windows.add(1, Direction.LEFT_TO_RIGHT, T0 + 1_200_000, 33.0)
    assert windows.take(T0) == {(0, 0): [30.0, 31.0], (0, 1): [32.0]}
    windows.add(0, Direction.LEFT_TO_RIGHT, T0, 34.0)
    assert windows.take(T0 + 1_200_000) == {(1, 0): [33.0], (0, 0): [34.0]}
    assert windows.take(T0 + 2_400_000) == {}


@pytest.mark.parametrize("kmh", [-1.0, KMH_MAX + 1, float("nan"), float("inf")])
def test_an_impossible_speed_is_nobodys(windows, kmh) -> None:
    windows.add(0, Direction.LEFT_TO_RIGHT, T0, kmh)
    assert windows.take(T0) == {}


def test_speeds_are_bounded_and_windows_passed_forgotten(windows) -> None:
    for _ in range(SPEEDS_MAX + 10):
        windows.add(0, Direction.LEFT_TO_RIGHT, T0, 30.0)
    for number in range(1, OPEN_MAX + 1):
        windows.add(0, Direction.LEFT_TO_RIGHT, T0 + 1_200_000 * number, 30.0)
    assert len(windows._open) == OPEN_MAX
    assert windows.take(T0) == {}
    last = T0 + 1_200_000 * OPEN_MAX
    assert windows.take(last) == {(0, 0): [30.0]}
    assert windows._open == {}


def test_a_checkpoint_of_speeds_keeps_no_order_of_passing(windows) -> None:
    for kmh in (50.0, 30.0, 40.0):
        windows.add(0, Direction.LEFT_TO_RIGHT, T0, kmh)
    again = SpeedWindows(length_s=1200)
    again.restore(windows.checkpoint())
    assert again.take(T0) == {(0, 0): [30.0, 40.0, 50.0]}


def test_a_checkpoint_of_other_windows_is_refused(windows) -> None:
    with pytest.raises(SpeedsRejectedError, match="another window length"):
        SpeedWindows(length_s=900).restore(windows.checkpoint())


@given(st.binary(max_size=64))
def test_a_damaged_checkpoint_of_speeds_is_refused(data) -> None:
    with pytest.raises(SpeedsRejectedError):
        SpeedWindows(length_s=1200).restore(data)
