"""A vehicle that stands too long is known by where and how long, never by who."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_agent.eye.polygons import inside
from veilleur_agent.eye.records import Tracks
from veilleur_agent.eye.stays import PLACES_MAX, Standing, Stays, StaysRejectedError, WatchedZone
from veilleur_contracts.messages import Label

T0 = 1_790_000_000_000
ZONE = WatchedZone(2, np.array([[0.0, 0.5], [1.0, 0.5], [1.0, 1.0], [0.0, 1.0]]), limit_ms=180_000)
Box = tuple[float, float, float, float]
CAR = (0.2, 0.6, 0.4, 0.8)


@pytest.fixture
def stays() -> Stays:
    return Stays([ZONE])


def seen(*boxes: Box, label: Label = Label.CAR, ids: int = 1, arrived: bool = True, predicted: bool = False) -> Tracks:
    count = len(boxes)
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    return Tracks(
        ids=np.arange(ids, ids + count),
        boxes=corners,
        labels=np.full(count, label, np.int8),
        seen=np.full(count, not predicted),
        moved=np.full(count, arrived),
        born_boxes=corners,
        born_ms=np.full(count, T0),
    )


def moved(box: Box, x: float) -> Box:
    return (box[0] + x, box[1], box[2] + x, box[3])


def watch(stays: Stays, tracks: Tracks, from_s: int, to_s: int) -> list[Standing]:
    told = []
    for second in range(from_s, to_s):
        told += stays.watch(tracks, T0 + second * 1000)
    return told


def test_tells_a_vehicle_that_stands_over_the_limit_once_and_again_when_it_leaves(stays) -> None:
    (begun,) = watch(stays, seen(CAR), 0, 400)
    assert (begun.zone, begun.label, begun.since_ms, begun.over) == (2, Label.CAR, T0, False)
    assert begun.until_ms == T0 + 181_000
    (ended,) = watch(stays, seen(), 400, 500)
    assert (ended.since_ms, ended.until_ms, ended.over) == (T0, T0 + 399_000, True)


def over_s(stays: Stays) -> float:
    return sum(one.until_ms - one.from_ms for one in stays.over_limit()) / 1000


def test_the_time_over_the_limit_is_told_once_while_it_stands(stays) -> None:
    watch(stays, seen(CAR), 0, 180)
    assert stays.over_limit() == []
    watch(stays, seen(CAR), 180, 241)
    (over,) = stays.over_limit()
    assert (over.zone, over.label, over.from_ms, over.until_ms) == (2, Label.CAR, T0 + 180_000, T0 + 240_000)
    assert over_s(stays) == 0
    watch(stays, seen(CAR), 241, 251)
    assert over_s(stays) == 10


def test_a_while_behind_a_bus_counts_when_it_is_seen_again(stays) -> None:
    watch(stays, seen(CAR), 0, 201)
    assert over_s(stays) == 20
    watch(stays, seen(), 201, 240)
    assert over_s(stays) == 0
    watch(stays, seen(CAR), 240, 241)
    assert over_s(stays) == 40


def test_two_beyond_the_limit_count_twice(stays) -> None:
    watch(stays, seen(CAR, moved(CAR, 0.25)), 0, 211)
    assert over_s(stays) == 60


def test_a_restart_books_no_while_twice_and_none_that_was_not_observed(stays) -> None:
    watch(stays, seen(CAR), 0, 201)
    assert over_s(stays) == 20
    again = Stays([ZONE])
    again.restore(stays.checkpoint())
    watch(again, seen(CAR), 4000, 4011)
    assert over_s(again) == 60, "the last minute, not the hour in which the eye was down"


@pytest.mark.parametrize(
    "tracks",
    [
        pytest.param(seen(CAR, label=Label.PERSON), id="somebody-who-waits"),
        pytest.param(seen((0.2, 0.1, 0.4, 0.3)), id="outside-the-zone"),
        pytest.param(seen(CAR, predicted=True), id="only-predicted"),
        pytest.param(seen(CAR, arrived=False), id="a-bin-that-never-moved"),
    ],
)
def test_is_silent_about(stays, tracks) -> None:
    assert watch(stays, tracks, 0, 400) == []


def test_is_silent_about_traffic_that_stops_and_goes(stays) -> None:
    told = []
    for stop in range(12):
        told += watch(stays, seen(moved(CAR, 0.05 * stop)), stop * 60, stop * 60 + 60)
    assert told == []


def test_an_id_that_begins_where_one_ended_has_not_to_arrive_again(stays) -> None:
    watch(stays, seen(CAR, ids=1), 0, 100)
    (begun,) = watch(stays, seen(CAR, ids=9, arrived=False), 100, 200)
    assert begun.since_ms == T0


def test_another_id_in_the_same_place_is_the_same_vehicle(stays) -> None:
    assert len(watch(stays, seen(CAR, ids=1), 0, 100) + watch(stays, seen(CAR, ids=9), 100, 200)) == 1


def test_a_bus_that_hides_it_for_a_while_does_not_start_it_anew(stays) -> None:
    watch(stays, seen(CAR), 0, 100)
    watch(stays, seen(), 100, 150)
    (begun,) = watch(stays, seen(CAR), 150, 200)
    assert begun.since_ms == T0


def test_one_who_leaves_and_one_who_comes_are_two(stays) -> None:
    watch(stays, seen(CAR), 0, 170)
    watch(stays, seen(), 170, 240)
    assert watch(stays, seen(CAR), 240, 400) == []


def test_two_side_by_side_are_two(stays) -> None:
    assert len(watch(stays, seen(CAR, moved(CAR, 0.25)), 0, 200)) == 2


def test_a_box_that_breathes_stands_still(stays) -> None:
    rng, told = np.random.default_rng(1), []
    for second in range(200):
        box = tuple((np.array(CAR) + rng.normal(0, 0.006, 4)).tolist())
        told += stays.watch(seen(box), T0 + second * 1000)
    assert len(told) == 1


def test_time_that_was_not_observed_neither_ends_nor_hides(stays) -> None:
    watch(stays, seen(CAR), 0, 100)
    (begun,) = watch(stays, seen(CAR), 1000, 1010)
    assert begun.since_ms == T0


def test_a_restart_keeps_what_stands(stays) -> None:
    watch(stays, seen(CAR), 0, 170)
    again = Stays([ZONE])
    again.restore(stays.checkpoint())
    (begun,) = watch(again, seen(CAR), 175, 200)
    assert begun.since_ms == T0


def test_what_left_during_a_restart_has_left(stays) -> None:
    watch(stays, seen(CAR), 0, 200)
    again = Stays([ZONE])
    again.restore(stays.checkpoint())
    (ended,) = watch(again, seen(), 205, 300)
    assert ended.over
    assert ended.until_ms == T0 + 199_000


@given(st.binary(max_size=80))
def test_a_damaged_checkpoint_is_refused_or_empty(data) -> None:
    stays = Stays([ZONE])
    try:
        stays.restore(data)
    except StaysRejectedError:
        return
    assert over_s(stays) >= 0


def test_memory_is_bounded(stays) -> None:
    rng = np.random.default_rng(2)
    for second in range(200):
        corners = rng.uniform(0, 0.9, (20, 2))
        boxes = [(x, 0.5 + y / 2, x + 0.03, 0.53 + y / 2) for x, y in corners.tolist()]
        stays.watch(seen(*boxes), T0 + second * 1000)
    assert len(stays._places) <= PLACES_MAX


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        pytest.param((0.5, 0.5), True, id="middle"),
        pytest.param((0.9, 0.5), False, id="in-the-notch"),
        pytest.param((0.1, 0.9), True, id="arm"),
        pytest.param((1.5, 0.5), False, id="outside"),
        pytest.param((0.5, -0.1), False, id="above"),
    ],
)
def test_a_polygon_may_be_concave(point, expected) -> None:
    notched = np.array([[0, 0], [1, 0], [0.7, 0.5], [1, 1], [0, 1]], np.float64)
    assert inside(notched, np.array([point])).tolist() == [expected]
