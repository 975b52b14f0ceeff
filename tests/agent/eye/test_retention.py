"""What may be kept, and how long, whatever the clock says: rules without a disk."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_builders import FIRST_MAY, FIRST_MAY_MS, a_reckoning
from veilleur_agent.eye.retention import (
    ABSENCE_MAX_MS,
    DAY_MS,
    FREEZE_DAYS_MAX,
    JUMP_MS,
    LOOKED_AT_MS,
    SHAKEN_MS,
    Doomed,
    Lain,
    Reckoning,
    Why,
    begin,
    doomed_of,
    end_ms_of,
    is_over,
    jump_ms_of,
    life_ms_of,
    reckon,
)
from veilleur_contracts.policy_document import RETENTION_DAYS_MAX

HOUR_MS = 3_600_000
IN_2100_MS = 4_102_444_800_000
BORN = Lain("avenue", FIRST_MAY, (FIRST_MAY_MS, FIRST_MAY_MS))
AVENUE = ("avenue", FIRST_MAY)

walls = st.integers(0, IN_2100_MS + 400 * DAY_MS)
"""From 1970 to after 2100."""
stretches = st.integers(1, 5 * DAY_MS)


def later(now: Reckoning, ms: int) -> Reckoning:
    """The machine ran, and its clock was right."""
    return reckon(now, now.wall + ms, ms, is_set=True)


def is_doomed(now: Reckoning, days: int, one: Lain = BORN, until: date | None = None) -> bool:
    frozen = {} if until is None else {(one.camera, one.day): until}
    return bool(doomed_of([one], {one.camera: days}, frozen, now))


@pytest.mark.parametrize(
    ("days", "age_ms", "why"),
    [
        pytest.param(3, 0, None, id="fresh"),
        pytest.param(3, 3 * DAY_MS - LOOKED_AT_MS - 1, None, id="still-allowed"),
        pytest.param(3, 3 * DAY_MS - LOOKED_AT_MS, Why.OLD, id="goes-within-the-hour-before-its-limit"),
        pytest.param(15, 15 * DAY_MS - LOOKED_AT_MS, Why.OLD, id="fifteen-days"),
        pytest.param(30, 15 * DAY_MS - LOOKED_AT_MS, Why.OLD, id="never-more-than-fifteen-whatever-is-allowed"),
        pytest.param(0, 0, Why.NOT_ALLOWED, id="nothing-allowed"),
        pytest.param(-1, 0, Why.NOT_ALLOWED, id="less-than-nothing"),
        pytest.param(3, -1, Why.OLD, id="from-the-future"),
    ],
)
def test_a_day_goes_when_it_must_and_not_before(days, age_ms, why) -> None:
    now = Reckoning(FIRST_MAY_MS + age_ms, FIRST_MAY_MS, FIRST_MAY_MS, FIRST_MAY_MS, is_set=True)
    expected = () if why is None else (Doomed("avenue", FIRST_MAY, why),)
    assert doomed_of([BORN], {"avenue": days}, {}, now) == expected


def test_a_camera_nobody_names_may_keep_nothing_and_oldest_days_go_first() -> None:
    lain = [
        Lain("quai", FIRST_MAY, (FIRST_MAY_MS, FIRST_MAY_MS)),
        Lain("avenue", FIRST_MAY + timedelta(1), (FIRST_MAY_MS, FIRST_MAY_MS)),
        Lain("avenue", FIRST_MAY, None),
    ]
    assert doomed_of(lain, {"avenue": 5}, {}, a_reckoning()) == (
        Doomed("avenue", FIRST_MAY, Why.KEY_GONE),
        Doomed("quai", FIRST_MAY, Why.NOT_ALLOWED),
    )


@given(st.integers(-5, 400), st.integers(-5, 400))
def test_a_lower_limit_never_keeps_more(first, second) -> None:
    assert life_ms_of(min(first, second)) <= life_ms_of(max(first, second)) <= 15 * DAY_MS - LOOKED_AT_MS


@given(st.integers(1, 40), st.lists(st.tuples(walls, stretches, st.booleans(), st.booleans()), max_size=30))
def test_no_clock_makes_a_picture_older_than_its_limit_while_the_box_runs(days, steps) -> None:
    """However the clock is set, back, forward or both: what counts is how long the box ran."""
    now, ran_ms = a_reckoning(), 0
    for wall_ms, ran, is_set, restarts in steps:
        now = reckon(now, wall_ms, ran, is_set=is_set)
        ran_ms += ran
        if restarts:
            now = reckon(now, wall_ms, 0, is_set=is_set, is_running=False)
        if ran_ms >= min(days, RETENTION_DAYS_MAX) * DAY_MS - LOOKED_AT_MS:
            assert is_doomed(now, days)


@given(st.integers(1, 15), st.lists(st.tuples(stretches, st.booleans(), st.booleans()), max_size=40))
def test_a_right_clock_counts_the_time_the_box_was_off_and_nothing_goes_early(days, steps) -> None:
    """A clock that is lost while the box is off (1970) is as good, once a time source has set it."""
    now, true_ms = a_reckoning(), FIRST_MAY_MS
    for passed, is_off, loses_clock in steps:
        true_ms += passed
        if not is_off:
            now = reckon(now, true_ms, passed, is_set=True)
        elif loses_clock:
            now = reckon(now, 0, 0, is_set=False, is_running=False)
            now = reckon(now, true_ms, 0, is_set=True)
        else:
            now = reckon(now, true_ms, 0, is_set=True, is_running=False)
        assert now.aged == now.dated == true_ms
        assert is_doomed(now, days) is (true_ms - FIRST_MAY_MS >= days * DAY_MS - LOOKED_AT_MS)


@given(st.lists(st.tuples(walls, st.integers(0, 10 * DAY_MS), st.booleans(), st.booleans()), max_size=40))
def test_a_reckoning_never_goes_back(steps) -> None:
    now = a_reckoning()
    for wall_ms, elapsed_ms, is_set, is_running in steps:
        after = reckon(now, wall_ms, elapsed_ms if is_running else 0, is_set=is_set, is_running=is_running)
        assert after.aged >= now.aged
        assert after.lived >= now.lived
        assert after.aged - now.aged >= after.lived - now.lived
        assert is_set or after.dated >= now.dated
        now = after


@given(walls, st.lists(st.integers(0, IN_2100_MS), max_size=5))
def test_a_store_that_lost_its_reckoning_makes_nothing_younger(wall_ms, births) -> None:
    lain = [Lain("avenue", FIRST_MAY, (born, born)) for born in births]
    now = begin(wall_ms, [*lain, Lain("avenue", FIRST_MAY, None)], is_set=False)
    assert all(now.aged >= born for born in births)
    assert now.aged >= wall_ms


# What is frozen.


@given(st.integers(0, FREEZE_DAYS_MAX + RETENTION_DAYS_MAX), st.integers(1, 15), stretches)
def test_a_freeze_holds_to_its_last_day_and_not_longer_by_a_right_clock(frozen_days, days, step_ms) -> None:
    until = FIRST_MAY + timedelta(frozen_days)
    now = a_reckoning()
    while now.wall < end_ms_of(until) + 5 * DAY_MS:
        is_allowed = now.aged - FIRST_MAY_MS < days * DAY_MS - LOOKED_AT_MS
        assert is_doomed(now, days, until=until) is (now.wall >= end_ms_of(until) and not is_allowed)
        assert is_doomed(now, 0, until=until) is (now.wall >= end_ms_of(until))
        now = later(now, max(step_ms, DAY_MS))


@given(st.integers(0, 60), st.lists(st.tuples(walls, stretches, st.booleans()), max_size=40))
def test_no_clock_makes_a_freeze_outlive_its_days_while_the_box_runs(frozen_days, steps) -> None:
    until = FIRST_MAY + timedelta(frozen_days)
    now, ran_ms = a_reckoning(), 0
    for wall_ms, ran, is_set in steps:
        now, ran_ms = reckon(now, wall_ms, ran, is_set=is_set), ran_ms + ran
        if ran_ms >= (frozen_days + 2) * DAY_MS:
            assert is_doomed(now, 0, until=until)


@pytest.mark.parametrize("is_set", [True, False], ids=["believed", "not-believed"])
def test_a_clock_that_springs_to_2100_and_is_set_right_within_a_week_ends_no_freeze(is_set) -> None:
    until = FIRST_MAY + timedelta(30)
    sprung = reckon(later(a_reckoning(), DAY_MS), IN_2100_MS, 60_000, is_set=is_set)
    assert is_doomed(sprung, 15), "what is not frozen goes"
    assert not is_doomed(sprung, 15, until=until)
    six_days_on = reckon(sprung, IN_2100_MS + 6 * DAY_MS, 6 * DAY_MS, is_set=is_set)
    assert not is_doomed(six_days_on, 0, until=until)
    right = reckon(six_days_on, FIRST_MAY_MS + 7 * DAY_MS, 60_000, is_set=True)
    assert not is_doomed(later(right, 10 * DAY_MS), 0, until=until)
    assert is_doomed(later(right, 40 * DAY_MS), 0, until=until)


def test_a_clock_that_stays_in_2100_for_a_week_is_believed() -> None:
    sprung = reckon(a_reckoning(), IN_2100_MS, 60_000, is_set=True)
    assert is_doomed(later(sprung, SHAKEN_MS), 0, until=FIRST_MAY + timedelta(30))


def test_a_box_that_wakes_up_in_2100_does_not_end_a_freeze_at_once() -> None:
    woken = reckon(a_reckoning(), IN_2100_MS, 0, is_set=True, is_running=False)
    assert not is_doomed(woken, 15, until=FIRST_MAY + timedelta(30))
    assert is_doomed(woken, 15)
    off = reckon(a_reckoning(), FIRST_MAY_MS + ABSENCE_MAX_MS, 0, is_set=True, is_running=False)
    assert is_doomed(off, 15, until=FIRST_MAY + timedelta(30)), "it may have been off for three months"


def test_a_freeze_of_a_day_without_key_keeps_nothing_and_none_lasts_for_ever() -> None:
    gone = Lain("avenue", FIRST_MAY, None)
    assert is_doomed(a_reckoning(), 15, gone, until=FIRST_MAY + timedelta(30))
    assert is_over(gone, FIRST_MAY, a_reckoning())
    far = date(9999, 12, 30)
    assert is_doomed(later(a_reckoning(), (FREEZE_DAYS_MAX + RETENTION_DAYS_MAX + 2) * DAY_MS), 0, until=far)


@pytest.mark.parametrize(
    ("by_ms", "is_running", "told"),
    [
        pytest.param(JUMP_MS, True, False, id="drift"),
        pytest.param(-JUMP_MS, True, False, id="drift-back"),
        pytest.param(JUMP_MS + 1, True, True, id="forward"),
        pytest.param(-JUMP_MS - 1, True, True, id="back"),
        pytest.param(JUMP_MS + 1, False, False, id="was-off"),
        pytest.param(-JUMP_MS - 1, False, True, id="back-while-off"),
        pytest.param(ABSENCE_MAX_MS + 1, False, True, id="off-for-too-long"),
    ],
)
def test_a_clock_that_was_set_is_told_of(by_ms, is_running, told) -> None:
    found = jump_ms_of(a_reckoning(), FIRST_MAY_MS + 60_000 + by_ms, 60_000, is_running=is_running)
    assert found == (by_ms if told else 0)
