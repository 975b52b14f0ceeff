"""The state of a road follows its vehicles, does not flap, and is not made by one that is parked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eye_builders import a_frame, a_street, detections_of
from veilleur_agent.eye.ground import Ground
from veilleur_agent.eye.pipeline import Step
from veilleur_agent.eye.records import RawFrame, Tracks
from veilleur_agent.eye.roads import (
    STANDS_AFTER_MS,
    VEHICLES_MAX,
    RoadMeter,
    Standstill,
    Traffic,
    level_after,
    queue_of,
)
from veilleur_agent.eye.watch_roads import OPEN_MAX, RoadsWatch
from veilleur_agent.eye.watching import roads_of
from veilleur_contracts.codec import decode_record, encode_record
from veilleur_contracts.messages import Label, MessageClass, RoadLevel, RoadState
from veilleur_contracts.policy import BENCH, STRICTEST, AggregateKind, Permissions
from veilleur_contracts.site import Camera, Zone
from veilleur_contracts.site import Ground as GroundPoints

FREE, HEAVY, SLOW, QUEUING, STATIONARY = RoadLevel
T0 = 1_790_000_400_000 // 300_000 * 300_000
WHOLE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
CAMERA = Camera("gare", "30189", "/x", zone=(Zone("square", WHOLE), Zone("road", WHOLE, road=True)))
AGGREGATES = Permissions("signed", frozenset(MessageClass), aggregates=frozenset({AggregateKind.ROAD_STATE}))
FRAME = a_frame(a_street())


@pytest.mark.parametrize(
    ("before", "occupied", "standing", "after"),
    [
        pytest.param(FREE, 0.0, 0.0, FREE, id="empty"),
        pytest.param(FREE, 0.59, 0.14, FREE, id="busy"),
        pytest.param(FREE, 0.61, 0.0, HEAVY, id="busier"),
        pytest.param(HEAVY, 0.55, 0.0, HEAVY, id="stays-heavy"),
        pytest.param(HEAVY, 0.49, 0.0, FREE, id="light-again"),
        pytest.param(FREE, 0.3, 0.16, SLOW, id="slow"),
        pytest.param(SLOW, 0.3, 0.12, SLOW, id="stays-slow"),
        pytest.param(SLOW, 0.3, 0.09, FREE, id="no-longer-slow"),
        pytest.param(FREE, 0.9, 0.45, QUEUING, id="queuing"),
        pytest.param(QUEUING, 0.9, 0.35, QUEUING, id="stays-queuing"),
        pytest.param(QUEUING, 0.9, 0.29, SLOW, id="only-slow"),
        pytest.param(FREE, 1.0, 0.95, STATIONARY, id="stationary"),
        pytest.param(STATIONARY, 1.0, 0.7, STATIONARY, id="stays-stationary"),
        pytest.param(STATIONARY, 1.0, 0.5, QUEUING, id="it-moves-again"),
        pytest.param(STATIONARY, 0.0, 0.0, FREE, id="all-gone"),
    ],
)
def test_it_takes_more_to_change_a_state_than_to_keep_it(before, occupied, standing, after) -> None:
    assert level_after(before, occupied, standing) is after


shares = st.floats(0, 1)


@given(st.sampled_from(RoadLevel), shares, shares)
def test_the_same_traffic_twice_changes_nothing_the_second_time(before, occupied, standing) -> None:
    once = level_after(before, occupied, standing)
    assert level_after(once, occupied, standing) is once


@given(st.sampled_from(RoadLevel), shares, shares, shares)
def test_more_standing_is_never_better(before, occupied, one, other) -> None:
    less, more = sorted((one, other))
    assert level_after(before, occupied, less) <= level_after(before, occupied, more)


@given(shares, st.floats(-0.02, 0.02))
def test_a_small_wobble_around_any_value_does_not_flap(standing, wobble) -> None:
    first = level_after(FREE, 0.3, standing)
    there = level_after(first, 0.3, min(1.0, max(0.0, standing + wobble)))
    back = level_after(there, 0.3, standing)
    assert level_after(back, 0.3, min(1.0, max(0.0, standing + wobble))) is back


def test_a_vehicle_stands_after_two_seconds_in_one_place() -> None:
    still = Standstill()
    stood = [bool(still.watch([7], np.array([[0.5, 0.5]]), np.array([0.2]), T0 + ms)[0]) for ms in range(0, 4000, 200)]
    assert stood == [ms >= STANDS_AFTER_MS for ms in range(0, 4000, 200)]


def test_a_box_that_breathes_stands_and_one_that_creeps_does_not() -> None:
    rng, still, creeping = np.random.default_rng(1), Standstill(), Standstill()
    size = np.array([0.2])
    for step in range(40):
        breathing = still.watch([7], np.array([[0.5, 0.5]]) + rng.normal(0, 0.004, (1, 2)), size, T0 + 200 * step)
        away = creeping.watch([7], np.array([[0.3 + 0.005 * step, 0.5]]), size, T0 + 200 * step)
    assert breathing.all()
    assert not away.any()


def test_who_was_not_seen_for_a_while_has_to_stand_anew() -> None:
    still = Standstill()
    place, size = np.array([[0.5, 0.5]]), np.array([0.2])
    for ms in range(0, 3000, 200):
        still.watch([7], place, size, T0 + ms)
    still.watch([], np.empty((0, 2)), np.empty(0), T0 + 6000)
    assert len(still._anchors) == 0
    assert not still.watch([7], place, size, T0 + 6200)[0]


def spent(*vehicles: tuple[int, int, int]) -> Traffic:
    """A minute in which vehicles were there, and stood, for so many seconds."""
    meter = RoadMeter()
    for second in range(60):
        there = [one for one, seconds, _ in vehicles if second < seconds]
        stands = np.array([second < stood for one, seconds, stood in vehicles if second < seconds], np.bool_)
        meter.add(there, stands, 0, 1000)
    return meter.traffic()


@pytest.mark.parametrize(
    ("vehicles", "occupied", "standing"),
    [
        pytest.param([], 0.0, 0.0, id="nobody"),
        pytest.param([(1, 30, 0)], 0.5, 0.0, id="one-passes"),
        pytest.param([(1, 30, 15)], 0.5, 0.5, id="one-waits-half-the-time"),
        pytest.param([(1, 60, 60), (2, 60, 60)], 1.0, 1.0, id="a-jam"),
        pytest.param([(1, 60, 60), (2, 10, 0)], 1.0, 0.0, id="one-parked-while-another-passes"),
        pytest.param([(1, 60, 60), (2, 50, 30)], 1.0, 90 / 110, id="two-that-wait-are-no-parked-ones"),
    ],
)
def test_time_spent_standing_is_that_of_traffic_and_not_of_the_parked(vehicles, occupied, standing) -> None:
    traffic = spent(*vehicles)
    assert (traffic.occupied, traffic.standing) == pytest.approx((occupied, standing))


def test_flow_is_what_left_per_hour_of_observed_time() -> None:
    meter = RoadMeter(passed=14)
    meter.add([], np.empty(0, np.bool_), 0, 60_000)
    assert meter.traffic().flow_per_h == 840
    assert RoadMeter(passed=3).traffic().flow_per_h == 0, "never observed"


def test_a_queue_is_as_long_as_it_was_for_five_seconds() -> None:
    meter = RoadMeter()
    for length_m, ms in ((80, 1000), (45, 3000), (40, 3000), (20, 30_000)):
        meter.add([], np.empty(0, np.bool_), length_m, ms)
    assert meter.traffic().queue_m == 40
    assert RoadMeter().traffic().queue_m == 0


def test_memory_is_bounded_and_time_is_not_lost() -> None:
    meter = RoadMeter()
    many = list(range(2 * VEHICLES_MAX))
    meter.add(many, np.ones(len(many), np.bool_), 0, 1000)
    assert len(meter._vehicles) == VEHICLES_MAX + 1
    assert meter.traffic().standing == 1.0


@pytest.mark.parametrize(
    ("feet", "expected"),
    [
        pytest.param([], 0, id="nobody"),
        pytest.param([(0.5, 0.5)], 0, id="one-is-no-queue"),
        pytest.param([(0.5, 0.5), (0.6, 0.5), (0.7, 0.5)], 22, id="three"),
    ],
)
def test_without_a_ground_each_takes_its_spacing(feet, expected) -> None:
    assert queue_of(np.array(feet).reshape(-1, 2), None) == expected


def test_with_a_ground_a_queue_is_measured() -> None:
    flat = Ground(
        GroundPoints(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)), ((0, 0), (60, 0), (60, 60), (0, 60))), 1.0
    )
    assert queue_of(np.array([(0.1, 0.5), (0.3, 0.5), (0.6, 0.5)]), flat) == round(30 + 4.5)
    assert queue_of(np.array([(0.1, 0.5)]), flat) == 0


@pytest.mark.parametrize(
    ("permissions", "zone", "expected"),
    [
        pytest.param(AGGREGATES, CAMERA.zone, True, id="with-a-visa"),
        pytest.param(BENCH, CAMERA.zone, True, id="bench"),
        pytest.param(STRICTEST, CAMERA.zone, False, id="strictest"),
        pytest.param(AGGREGATES, CAMERA.zone[:1], False, id="no-road"),
    ],
)
def test_nothing_is_measured_that_may_not_be_told(permissions, zone, expected) -> None:
    camera = Camera("gare", "30189", "/x", zone=zone)
    assert (roads_of(camera, 7, permissions) is not None) is expected


def cars(*feet: tuple[int, float, float]) -> Tracks:
    boxes = np.array([(x - 0.05, y - 0.1, x + 0.05, y) for _, x, y in feet], np.float32).reshape(-1, 4)
    yes = np.ones(len(feet), np.bool_)
    ids = np.array([one for one, _, _ in feet], np.int64)
    return Tracks(ids, boxes, np.full(len(feet), Label.CAR, np.int8), yes, yes, boxes, np.full(len(feet), T0))


def watch(roads: RoadsWatch, second: float, *feet: tuple[int, float, float]) -> list[RoadState]:
    frame = RawFrame("gare", 0, T0 + round(second * 1000), FRAME.i420)
    roads.take(frame, Step(detections_of(), cars(*feet), ()))
    states = roads.due(frame.at_ms)
    assert all(decode_record(encode_record(state)) == state for state in states)
    return states


def test_a_road_is_told_window_by_window_as_it_fills_and_empties() -> None:
    roads, states = RoadsWatch(CAMERA, None, 7, AGGREGATES), list[RoadState]()
    for tick in range(5 * 940):
        second = tick / 5
        if second < 300:
            feet = [(tick // 50, second % 10 / 10, 0.5)]
        elif second < 600:
            feet = [(1000 + place, 0.1 + 0.15 * place, 0.5) for place in range(6)]
        else:
            feet = []
        states += watch(roads, second, *feet)
    assert [(state.at_s - T0 // 1000, state.window_s, state.zone) for state in states] == [
        (0, 300, 1),
        (300, 300, 1),
        (600, 300, 1),
    ]
    assert [RoadLevel(state.level) for state in states] == [HEAVY, STATIONARY, FREE]
    assert 300 <= states[0].flow_per_h <= 372, "one in ten seconds"
    assert [state.occupied for state in states] == [100, 100, 0]
    assert [state.queue_m for state in states] == [0, 45, 0]


def test_a_window_hardly_observed_has_no_state() -> None:
    roads, states = RoadsWatch(CAMERA, None, 7, AGGREGATES), list[RoadState]()
    for second in (*range(100), *range(299, 320)):
        states += watch(roads, second)
    assert states == []


def test_windows_are_bounded() -> None:
    roads = RoadsWatch(CAMERA, None, 7, AGGREGATES)
    for window in range(3 * OPEN_MAX):
        roads.take(RawFrame("gare", 0, T0 + 300_000 * window, FRAME.i420), Step(detections_of(), cars(), ()))
        roads.take(RawFrame("gare", 0, T0 + 300_000 * window + 500, FRAME.i420), Step(detections_of(), cars(), ()))
    assert len(roads._open) == OPEN_MAX
