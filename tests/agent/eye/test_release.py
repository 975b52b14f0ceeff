"""Nothing that is told, alone or together with the rest, gives a withheld cell away."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilleur_agent.eye.release import (
    DAY_S,
    HOUR_S,
    Release,
    RollUpRejectedError,
    WindowTooShortError,
    may_tell_day,
    may_tell_hour,
)
from veilleur_agent.eye.windows import Window
from veilleur_contracts.codec import encode_record
from veilleur_contracts.messages import CrossingWindow, Label, MessageClass, Quality, RollUp
from veilleur_contracts.policy import BENCH, STRICTEST, Permissions

DAY_0 = 1_790_035_200 - 1_790_035_200 % DAY_S
WINDOW_S = 1200
LABELS = (Label.PERSON, Label.CAR)


def window(at_s: int, person: int, car: int = 0) -> Window:
    counts = np.zeros((1, 2, 2), np.int64)
    counts[0, 0, 0], counts[0, 1, 0] = person, car
    return Window(at_s * 1000, WINDOW_S * 1000, counts, 0.987, 5.02, Quality(0))


def release(permissions: Permissions = STRICTEST) -> Release:
    return Release(7, LABELS, WINDOW_S, permissions)


def told_over_a_day(persons: Sequence[int], permissions: Permissions = STRICTEST) -> list[CrossingWindow | RollUp]:
    """Release one window per value from the day's start, then the first of the next day."""
    rules, told = release(permissions), []
    for place, value in enumerate(persons):
        told += rules.release(window(DAY_0 + place * WINDOW_S, value))
    return told + rules.release(window(DAY_0 + DAY_S, 0))


def roll_ups(told: Sequence[CrossingWindow | RollUp]) -> list[tuple[int, int, int | None]]:
    return [((r.at_s - DAY_0) // HOUR_S, r.window_s, r.count) for r in told if isinstance(r, RollUp)]


@pytest.mark.parametrize(
    ("person", "told"),
    [
        pytest.param(0, 0, id="nobody"),
        pytest.param(1, None, id="one"),
        pytest.param(4, None, id="k-minus-one"),
        pytest.param(5, 5, id="k"),
    ],
)
def test_small_cells_of_persons_are_withheld(person, told) -> None:
    (record,) = release().release(window(DAY_0, person, car=1))
    assert isinstance(record, CrossingWindow)
    assert record.counts == (told, 0, 1, 0)
    assert (record.coverage, record.fps_x10) == (98, 50)
    encode_record(record)


def test_the_example_of_the_design_gives_no_hour_total() -> None:
    """8, 9, 12 and an hour's total of 32 would give the 3 away: the hour is never told, only its withheld cells."""
    assert roll_ups(told_over_a_day([8, 3, 12])) == [(0, DAY_S, None)]


def test_withheld_cells_are_summed_over_the_hour() -> None:
    assert roll_ups(told_over_a_day([3, 2, 9])) == [(0, HOUR_S, 5)]


def test_what_the_hour_could_not_tell_is_summed_over_the_day() -> None:
    assert roll_ups(told_over_a_day([2, 9, 9, 9, 3, 9, 9, 9, 1])) == [(0, DAY_S, 6)]


def test_a_days_remainder_below_k_is_only_marked() -> None:
    assert roll_ups(told_over_a_day([2, 0, 0, 0, 0, 1])) == [(0, DAY_S, None)]


def test_two_cells_that_are_as_large_as_can_be_are_not_summed_alone() -> None:
    assert roll_ups(told_over_a_day([4, 4])) == [(0, DAY_S, None)]


def test_bench_withholds_nothing() -> None:
    assert roll_ups(told_over_a_day([1, 2, 3], BENCH)) == []


def test_an_unobserved_window_tells_nothing_and_says_so() -> None:
    dead = Window(DAY_0 * 1000, WINDOW_S * 1000, None, 0.0, 0.0, Quality.LOW_COVERAGE)
    assert release().release(dead) == []
    (record,) = release().unobserved(dead, lines=1)
    assert isinstance(record, CrossingWindow)
    assert (record.counts, record.coverage) == ((None,) * 4, 0)


def test_a_policy_without_statistics_lets_nothing_out() -> None:
    silent = Permissions("silent", frozenset({MessageClass.TECHNICAL}))
    assert release(silent).release(window(DAY_0, 9)) == []
    assert release(silent).unobserved(window(DAY_0, 9), 1) == []


def test_windows_shorter_than_the_policy_allows_are_refused() -> None:
    with pytest.raises(WindowTooShortError, match="900 s are shorter than the 1200 s"):
        Release(7, LABELS, 900, STRICTEST)
    Release(7, (Label.CAR,), 900, STRICTEST)


def test_a_restart_keeps_the_withheld_sums() -> None:
    first = release()
    first.release(window(DAY_0, 3))
    second = release()
    second.restore(first.checkpoint())
    second.release(window(DAY_0 + WINDOW_S, 2))
    told = second.release(window(DAY_0 + HOUR_S, 0))
    assert roll_ups(told) == [(0, HOUR_S, 5)]


def test_a_checkpoint_of_another_context_is_refused() -> None:
    with pytest.raises(RollUpRejectedError, match="another context"):
        Release(8, LABELS, WINDOW_S, STRICTEST).restore(release().checkpoint())


@given(st.binary(max_size=100))
def test_a_damaged_checkpoint_is_refused(data) -> None:
    with pytest.raises(RollUpRejectedError):
        release().restore(data)


def test_a_change_of_context_tells_what_may_be_told_of_the_withheld() -> None:
    rules = release()
    rules.release(window(DAY_0, 3))
    rules.release(window(DAY_0 + WINDOW_S, 3))
    assert [record.count for record in rules.finish()] == [6]
    assert rules.finish() == []


def possible_days(told: list[CrossingWindow | RollUp], least: int) -> list[tuple[int, ...]]:
    """Return every way the withheld cells can have been, for somebody who knows the rules and all that was told."""
    cells = [r for r in told if isinstance(r, CrossingWindow) and r.counts[0] is None]
    hours = [(r.at_s - DAY_0) // HOUR_S for r in cells]
    hour_told = {(r.at_s - DAY_0) // HOUR_S: r.count for r in told if isinstance(r, RollUp) and r.window_s == HOUR_S}
    day_told = [r.count for r in told if isinstance(r, RollUp) and r.window_s == DAY_S]
    places = {hour: [place for place, other in enumerate(hours) if other == hour] for hour in set(hours)}
    consistent = []
    for values in itertools.product(range(1, least), repeat=len(cells)):
        by_hour = {hour: [values[place] for place in own] for hour, own in places.items()}
        untold = {hour: own for hour, own in by_hour.items() if not may_tell_hour(len(own), sum(own), least)}
        if {hour: sum(own) for hour, own in by_hour.items() if hour not in untold} != hour_told:
            continue
        total = sum(sum(own) for own in untold.values())
        may_tell = may_tell_day([len(own) for _, own in sorted(untold.items())], total, least)
        if [total if may_tell else None for _ in range(bool(untold))] == day_told:
            consistent.append(values)
    return consistent


@settings(max_examples=settings.default.max_examples * 3 // 2, deadline=None)
@given(
    least=st.integers(3, 5),
    persons=st.lists(st.sampled_from([0, 1, 2, 3, 4, 9]), min_size=1, max_size=12),
)
def test_no_withheld_cell_can_be_worked_out_from_everything_told(least, persons) -> None:
    hidden = [place for place, value in enumerate(persons) if 0 < value < least][:7]
    persons = [9 if 0 < v < least and place not in hidden else v for place, v in enumerate(persons)]
    permissions = Permissions("signed", STRICTEST.classes, person_cell_min=least)
    consistent = possible_days(told_over_a_day(persons, permissions), least)
    truth = tuple(persons[place] for place in hidden)
    assert truth in consistent
    for cell in range(len(hidden)):
        assert len({values[cell] for values in consistent}) > 1, "a withheld cell is given away"


@pytest.mark.parametrize("values", list(itertools.product(range(1, 5), repeat=3)))
def test_no_hour_of_three_cells_gives_one_away(values) -> None:
    consistent = possible_days(told_over_a_day(list(values)), 5)
    assert values in consistent
    assert all(len({day[cell] for day in consistent}) > 1 for cell in range(3))


@settings(max_examples=settings.default.max_examples * 2, deadline=None)
@given(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=2), min_size=1, max_size=3))
def test_the_days_rule_agrees_with_trying_every_possibility(hours) -> None:
    persons = [value for own in hours for value in [*own, 0, 0, 0][:3]]
    consistent = possible_days(told_over_a_day(persons), 5)
    assert all(len({day[cell] for day in consistent}) > 1 for cell in range(sum(map(len, hours))))


def test_the_control_a_rule_that_tells_every_sum_is_caught() -> None:
    """With the naive rule (tell any sum of at least k) two cells of 4 are given away, and this method sees it."""
    told = told_over_a_day([4, 4])
    naive = [r for r in told if isinstance(r, CrossingWindow)] + [RollUp(7, DAY_0, HOUR_S, 0, 0, 0, 8)]
    sums = {values for values in itertools.product(range(1, 5), repeat=2) if sum(values) == 8}
    assert len(naive) == 4
    assert sums == {(4, 4)}
