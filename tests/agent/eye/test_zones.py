"""How many are in a zone, how long they stayed, and what a window makes of it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from count_builders import ASPECT, START_MS, tracks_of
from veilleur_agent.eye.polygons import Polygons, inside
from veilleur_agent.eye.presence import OPEN_MAX, PresenceRejectedError, PresenceWindows
from veilleur_agent.eye.records import Tracks
from veilleur_agent.eye.zones import BRIDGED_MS, GRACE_MS, STAYS_MAX, Stay, ZonesRejectedError, ZoneWatch
from veilleur_contracts.messages import Label
from veilleur_contracts.site import Zone

PERSON, CAR = Label.PERSON, Label.CAR
LEFT = Zone("left", ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)))
RIGHT = Zone("right", ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)))
T0 = START_MS - START_MS % 60_000


def at(x: float, y: float = 0.8) -> list[float]:
    return [x - 0.02, y - 0.2, x + 0.02, y]


def still(tracks: Tracks) -> Tracks:
    return Tracks(
        tracks.ids,
        tracks.boxes,
        tracks.labels,
        tracks.seen,
        np.zeros(len(tracks), np.bool_),
        tracks.born_boxes,
        tracks.born_ms,
    )


@pytest.fixture
def watch() -> ZoneWatch:
    return ZoneWatch([LEFT, RIGHT], (PERSON, CAR), ASPECT)


def seen_for(watch: ZoneWatch, tracks: Tracks, from_s: float, to_s: float) -> list[Stay]:
    return [
        stay
        for number in range(round(from_s * 5), round(to_s * 5))
        for stay in watch.watch(tracks, T0 + 200 * number)[1]
    ]


NOBODY = tracks_of([], [])


def test_tells_how_many_are_in_each_zone(watch) -> None:
    tracks = tracks_of([1, 2, 3, 4], [at(0.2), at(0.3), at(0.7), at(0.8)], [PERSON, PERSON, CAR, Label.BUS])
    counts, _ = watch.watch(tracks, T0)
    assert counts.tolist() == [[2, 0], [0, 1]]


def test_who_never_moved_is_no_person_but_may_be_a_parked_car(watch) -> None:
    counts, _ = watch.watch(still(tracks_of([1, 2], [at(0.2), at(0.7)], [PERSON, CAR])), T0)
    assert counts.tolist() == [[0, 0], [0, 1]]


def test_a_stay_is_told_once_it_has_ended_for_a_while(watch) -> None:
    assert seen_for(watch, tracks_of([1], [at(0.2)]), 0, 30) == []
    assert seen_for(watch, NOBODY, 30, 39.8) == []
    (stay,) = seen_for(watch, NOBODY, 39.8, 41)
    assert (stay.zone, stay.label, stay.from_ms, stay.until_ms) == (0, PERSON, T0, T0 + 29_800)


def test_who_steps_out_for_less_than_the_grace_stays(watch) -> None:
    for start in range(0, 60, 15):
        assert seen_for(watch, tracks_of([1], [at(0.2)]), start, start + 7) == []
        assert seen_for(watch, tracks_of([1], [at(1.2)]), start + 7, start + 15) == []
    (stay,) = seen_for(watch, NOBODY, 60, 75)
    assert stay.until_ms - stay.from_ms == 51_800


def test_who_is_lost_and_found_under_another_id_stays(watch) -> None:
    seen_for(watch, tracks_of([1], [at(0.2)]), 0, 20)
    seen_for(watch, NOBODY, 20, 25)
    seen_for(watch, tracks_of([2], [at(0.21)], born=[(np.array(at(0.21)), T0 + 25_000)]), 25, 40)
    (stay,) = seen_for(watch, NOBODY, 40, 60)
    assert stay.until_ms - stay.from_ms == 39_800


def test_who_sits_still_when_found_again_still_stays(watch) -> None:
    """The new id has never moved, but it was born where somebody was lost."""
    seen_for(watch, tracks_of([1], [at(0.2)]), 0, 20)
    seen_for(watch, NOBODY, 20, 23)
    again = tracks_of([2], [at(0.2)], born=[(np.array(at(0.2)), T0 + 23_000)])
    seen_for(watch, still(again), 23, 40)
    assert watch.watch(still(again), T0 + 40_000)[0][0, 0] == 1
    (stay,) = watch.close()
    assert stay.until_ms - stay.from_ms == 40_000


def test_a_cone_beside_somebody_who_leaves_takes_nothing_over(watch) -> None:
    cone = tracks_of([2], [at(0.21)], born=[(np.array(at(0.21)), T0 - 60_000)])
    both = tracks_of([1, 2], [at(0.2), at(0.21)], born=[(np.array(at(0.2)), T0), (np.array(at(0.21)), T0 - 60_000)])
    mixed = Tracks(both.ids, both.boxes, both.labels, both.seen, np.array([True, False]), both.born_boxes, both.born_ms)
    seen_for(watch, mixed, 0, 20)
    (stay,) = seen_for(watch, still(cone), 20, 40)
    assert stay.until_ms - stay.from_ms == 19_800
    assert watch.close() == []


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(tracks_of([2], [at(0.4)], born=[(np.array(at(0.4)), T0 + 20_000)]), id="elsewhere"),
        pytest.param(tracks_of([2], [at(0.21)], CAR, [(np.array(at(0.21)), T0 + 20_000)]), id="a-car"),
    ],
)
def test_somebody_else_begins_a_stay_of_their_own(watch, other) -> None:
    seen_for(watch, tracks_of([1], [at(0.2)]), 0, 20)
    seen_for(watch, other, 20, 40)
    assert len(watch.close()) == 1
    assert watch.close() == []


def test_who_goes_from_zone_to_zone_stayed_in_both(watch) -> None:
    seen_for(watch, tracks_of([1], [at(0.45)]), 0, 20)
    first = seen_for(watch, tracks_of([1], [at(0.55)]), 20, 40)
    (second,) = watch.close()
    assert [(one.zone, one.until_ms - one.from_ms) for one in (*first, second)] == [(0, 19_800), (1, 19_800)]


def test_nobody_knows_since_when_somebody_was_there_who_never_moved(watch) -> None:
    seen_for(watch, still(tracks_of([1], [at(0.2)], CAR)), 0, 30)
    assert watch.close() == []


def test_time_that_goes_back_ends_every_stay(watch) -> None:
    seen_for(watch, tracks_of([1], [at(0.2)]), 0, 20)
    counts, ended = watch.watch(tracks_of([1], [at(0.2)]), T0 - 1)
    assert len(ended) == 1
    assert counts[0, 0] == 1


def after_a_restart(watch: ZoneWatch) -> ZoneWatch:
    again = ZoneWatch([LEFT, RIGHT], (PERSON, CAR), ASPECT)
    again.restore(watch.checkpoint())
    return again


def found_at(x: float, born_s: float) -> Tracks:
    return tracks_of([9], [at(x)], born=[(np.array(at(x)), T0 + round(born_s * 1000))])


def test_a_stay_goes_on_over_a_restart_where_it_was(watch) -> None:
    seen_for(watch, tracks_of([7], [at(0.2)]), 0, 20)
    again = after_a_restart(watch)
    assert seen_for(again, still(found_at(0.21, 55)), 55, 70) == []
    (stay,) = seen_for(again, NOBODY, 70, 85)
    assert (stay.from_ms, stay.until_ms) == (T0, T0 + 69_800)


def test_who_left_during_a_restart_stayed_as_long_as_was_seen(watch) -> None:
    seen_for(watch, tracks_of([7], [at(0.2)]), 0, 20)
    again = after_a_restart(watch)
    assert seen_for(again, NOBODY, 40, 49.8) == [], "they may only be hidden"
    (stay,) = seen_for(again, NOBODY, 49.8, 52)
    assert (stay.from_ms, stay.until_ms) == (T0, T0 + 19_800)


def test_nobody_is_taken_to_have_stayed_through_a_long_blind_time(watch) -> None:
    seen_for(watch, tracks_of([7], [at(0.2)]), 0, 20)
    again, late_s = after_a_restart(watch), 21 + BRIDGED_MS / 1000
    found = seen_for(again, found_at(0.2, late_s), late_s, late_s + 5)
    assert [(stay.from_ms, stay.until_ms) for stay in found] == [(T0, T0 + 19_800)]


def test_a_clock_set_back_over_a_restart_ends_what_was_saved(watch) -> None:
    seen_for(watch, tracks_of([7], [at(0.2)]), 0, 20)
    (stay,) = seen_for(after_a_restart(watch), NOBODY, 5, 5.2)
    assert stay.until_ms == T0 + 19_800


def test_a_checkpoint_knows_no_id(watch) -> None:
    number = 0x5EC2E7_1DEA
    seen_for(watch, tracks_of([number], [at(0.2)]), 0, 20)
    saved = watch.checkpoint()
    assert not any(number.to_bytes(8, order) in saved for order in ("big", "little"))


@given(st.binary(max_size=100))
def test_damaged_presences_are_refused(data) -> None:
    with pytest.raises(ZonesRejectedError):
        ZoneWatch([LEFT], (PERSON,), ASPECT).restore(b"\xc1" + data)


def test_presences_are_bounded(watch) -> None:
    rng = np.random.default_rng(1)
    for number in range(20):
        ids = rng.integers(1, 2**62, 100).tolist()
        watch.watch(tracks_of(ids, [at(x, y) for x, y in rng.uniform(0.1, 0.9, (100, 2))]), T0 + 200 * number)
    assert len(watch._present.ids) <= STAYS_MAX


def test_no_zones_hold_nobody() -> None:
    counts, stays = ZoneWatch([], (PERSON,), ASPECT).watch(tracks_of([1], [at(0.2)]), T0)
    assert counts.shape == (0, 1)
    assert stays == []


@given(turn=st.floats(0, 2 * math.pi), x=st.floats(-1, 1), y=st.floats(-1, 1))
def test_a_turned_square_holds_what_it_held(turn, x, y) -> None:
    if abs(max(abs(x), abs(y)) - 0.5) < 1e-6:
        return
    square = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    turned = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    assert inside(square @ turned.T, np.array([[x, y]]) @ turned.T)[0] == (max(abs(x), abs(y)) < 0.5)


@pytest.fixture
def windows() -> PresenceWindows:
    return PresenceWindows(zones=2, labels=(PERSON, CAR), length_s=60)


def observed(windows: PresenceWindows, numbers: list[int], start_ms: int = T0, step_ms: int = 200) -> None:
    for number, people in enumerate(numbers):
        windows.observe(np.array([[people, 0], [0, 1]]), start_ms + step_ms * number)


@pytest.mark.parametrize(
    ("numbers", "median", "p90"),
    [
        pytest.param([0] * 300, 0, 0, id="empty"),
        pytest.param([3] * 300, 3, 3, id="even"),
        pytest.param([0] * 160 + [5] * 140, 0, 5, id="half-of-the-time"),
        pytest.param([1] * 100 + [2] * 100 + [9] * 100, 2, 9, id="thirds"),
        pytest.param([1] * 280 + [9] * 20, 1, 1, id="a-short-crowd"),
        pytest.param([400] * 300, 255, 255, id="more-than-the-tracker-follows"),
    ],
)
def test_a_window_tells_median_and_ninetieth_percentile(windows, numbers, median, p90) -> None:
    observed(windows, numbers)
    held = windows.take(T0)
    assert (held.median[0, 0], held.p90[0, 0]) == (median, p90)
    assert (held.median[1].tolist(), held.p90[1].tolist()) == ([0, 1], [0, 1])


def test_what_was_not_observed_is_not_zero(windows) -> None:
    assert (windows.take(T0).median == -1).all()
    observed(windows, [2, 7, 2], step_ms=5000)
    assert (windows.take(T0).p90 == -1).all()


@pytest.mark.parametrize(
    ("stayed_s", "place"),
    [(0, 0), (9.9, 0), (10, 1), (59, 2), (60, 3), (179, 3), (600, 5), (7199, 6), (7200, 7), (90_000, 7)],
)
def test_a_stay_is_told_by_its_length(windows, stayed_s, place) -> None:
    windows.add(Stay(1, CAR, T0 + 5000 - round(stayed_s * 1000), T0 + 5000))
    windows.add(Stay(1, Label.BUS, T0, T0 + 5000))
    stays = windows.take(T0).stays
    assert stays.sum() == 1
    assert stays[1, 1, place] == 1


def test_a_stay_told_late_counts_in_the_next_window(windows) -> None:
    windows.take(T0)
    windows.add(Stay(0, PERSON, T0, T0 + 59_000))
    assert windows.take(T0 + 60_000).stays.sum() == 1


def test_windows_are_bounded_and_those_passed_forgotten(windows) -> None:
    for number in range(OPEN_MAX + 20):
        windows.add(Stay(0, PERSON, T0, T0 + 60_000 * number))
    assert len(windows._open) == OPEN_MAX
    windows.take(T0 + 60_000 * (OPEN_MAX + 19))
    assert windows._open == {}


def test_a_checkpoint_takes_up_where_it_was(windows) -> None:
    observed(windows, [3] * 200)
    windows.add(Stay(0, PERSON, T0, T0 + 15_000))
    again = PresenceWindows(zones=2, labels=(PERSON, CAR), length_s=60)
    again.restore(windows.checkpoint())
    first, second = windows.take(T0), again.take(T0)
    assert (first.median.tolist(), first.stays.tolist()) == (second.median.tolist(), second.stays.tolist())
    assert first.stays.sum() == 1


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(PresenceWindows(zones=3, labels=(PERSON, CAR), length_s=60), id="zones"),
        pytest.param(PresenceWindows(zones=2, labels=(PERSON,), length_s=60), id="labels"),
        pytest.param(PresenceWindows(zones=2, labels=(PERSON, CAR), length_s=5), id="length"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(windows, other) -> None:
    observed(windows, [3] * 200)
    with pytest.raises(PresenceRejectedError, match="other zones"):
        other.restore(windows.checkpoint())


@given(st.binary(max_size=64))
def test_a_damaged_checkpoint_is_refused(data) -> None:
    windows = PresenceWindows(zones=2, labels=(PERSON, CAR), length_s=60)
    with pytest.raises(PresenceRejectedError):
        windows.restore(data)


def test_grace_is_longer_than_a_lost_track_is_predicted() -> None:
    assert GRACE_MS > 2000


def test_many_polygons_hold_what_each_of_them_holds() -> None:
    rng = np.random.default_rng(5)
    polygons, points = [rng.uniform(0, 1, (corners, 2)) for corners in (3, 4, 7, 12)], rng.uniform(0, 1, (200, 2))
    held = Polygons(polygons).holding(points)
    assert [one.tolist() for one in held] == [inside(polygon, points).tolist() for polygon in polygons]
    assert held.any(axis=1).all()
    assert Polygons([]).holding(points).shape == (0, 200)
