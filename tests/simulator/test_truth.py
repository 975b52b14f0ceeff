import itertools
import math

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from simulator.streets import street
from veilleur_contracts.messages import Direction, Label
from veilleur_contracts.site import Line, Zone
from veilleur_simulator.motion import SIZE_M, journeys_of
from veilleur_simulator.scenario import Flow, Scenario, Standing, User
from veilleur_simulator.truth import (
    CENTRED,
    crossings_of,
    occupancy_at,
    presences_of,
    stays_of,
    tally_of,
    truth_of,
)

UPWARDS = Line("middle", (0.5, 1.0), (0.5, 0.0))
ZONE = Zone("square", ((0.3, 0.2), (0.7, 0.2), (0.7, 0.9), (0.3, 0.9)))
LEFT, RIGHT = (-11.0, 8.0), (11.0, 8.0)


def reference_at(scenario: Scenario, label: Label, ground: tuple[float, float]) -> tuple[float, float]:
    """Where the reference of a road user appears, worked out the long way round."""
    pinhole = scenario.pinhole()
    x, y, depth = pinhole.project(np.array([ground]))[0]
    high = pinhole.size_of(*SIZE_M[label], depth)[1]
    return float(x), float(y - high / 2 if label in CENTRED else y)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param((LEFT, RIGHT), [Direction.LEFT_TO_RIGHT], id="to-the-right"),
        pytest.param((RIGHT, LEFT), [Direction.RIGHT_TO_LEFT], id="to-the-left"),
        pytest.param((LEFT, (-1.0, 8.0), LEFT), [], id="turns-back-before"),
        pytest.param((LEFT, (1.0, 8.0), LEFT), [Direction.LEFT_TO_RIGHT, Direction.RIGHT_TO_LEFT], id="there-and-back"),
        pytest.param((LEFT, (0.0, 8.0), RIGHT), [Direction.LEFT_TO_RIGHT], id="stands-on-the-line"),
        pytest.param((LEFT, (0.0, 8.0), LEFT), [], id="touches-the-line"),
    ],
)
def test_a_crossing_is_a_change_of_side(path: tuple[tuple[float, float], ...], expected: list[Direction]) -> None:
    scenario = street(seconds=60.0, user=(User("person", path, speed_mps=1.5),))
    assert [one.direction for one in crossings_of(scenario, [UPWARDS])] == expected


def test_tells_when_a_line_was_crossed_and_how_fast() -> None:
    scenario = street(user=(User("bicycle", (LEFT, RIGHT), enters_s=2.0, speed_mps=4.0),))
    (crossing,) = crossings_of(scenario, [UPWARDS])
    assert crossing.at_s == pytest.approx(2.0 + 11.0 / 4.0)
    assert crossing.speed_mps == pytest.approx(4.0)


def test_a_wait_delays_the_crossing() -> None:
    scenario = street(user=(User("person", (LEFT, (-1.0, 8.0), RIGHT), speed_mps=2.0, waits_s=(1.0, 5.0)),))
    (crossing,) = crossings_of(scenario, [UPWARDS])
    assert crossing.at_s == pytest.approx(1.0 + 5.0 + 5.0 + 0.5)


def test_what_comes_after_the_end_is_not_told() -> None:
    scenario = street(seconds=3.0, user=(User("person", (LEFT, RIGHT), speed_mps=1.0),))
    assert crossings_of(scenario, [UPWARDS]) == []


def test_passing_beyond_the_ends_of_a_line_is_no_crossing() -> None:
    short = Line("short", (0.5, 0.2), (0.5, 0.1))
    assert crossings_of(street(user=(User("person", (LEFT, RIGHT), speed_mps=3.0),)), [short]) == []


def test_people_count_by_the_foot_and_cars_by_the_centre() -> None:
    ahead = ((0.0, 5.0), (0.0, 30.0))
    level = Line("level", (0.0, 0.5), (1.0, 0.5))
    scenario = street(user=(User("person", ahead, speed_mps=5.0), User("car", ahead, speed_mps=5.0)))
    when = {one.label: one.at_s for one in crossings_of(scenario, [level])}
    assert when[Label.CAR] < when[Label.PERSON]
    for label, at_s in when.items():
        assert reference_at(scenario, label, (0.0, 5.0 + 5.0 * at_s))[1] == pytest.approx(0.5)


@given(
    path=st.lists(st.tuples(st.floats(-12, 12), st.floats(4, 40)), min_size=2, max_size=6).filter(
        lambda path: all(math.dist(a, b) > 0.1 for a, b in itertools.pairwise(path))
    ),
    a=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    b=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    label=st.sampled_from(["person", "car"]),
)
@pytest.mark.thorough
def test_crossings_agree_with_a_fine_sampling_of_the_path(
    path: list[tuple[float, float]], a: tuple[float, float], b: tuple[float, float], label: str
) -> None:
    assume(math.dist(a, b) > 0.05)
    scenario = street(seconds=400.0, user=(User(label, tuple(path), speed_mps=2.0),))
    (journey,) = journeys_of(scenario)
    found = crossings_of(scenario, [Line("any", a, b)])

    def seen_at(at_s: float) -> tuple[float, float]:
        ground = journey.at(at_s)
        assert ground is not None
        return reference_at(scenario, journey.label, ground)

    def side(point: tuple[float, float]) -> float:
        return (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])

    ways: list[tuple[float, Direction]] = []
    times = np.linspace(journey.from_s, journey.to_s, 1499, endpoint=False)
    places = [seen_at(float(at_s)) for at_s in times]
    for at_s, p, q in zip(times, places, places[1:], strict=False):
        if side(p) * side(q) < 0:
            share = side(p) / (side(p) - side(q))
            x, y = (p[i] + (q[i] - p[i]) * share for i in (0, 1))
            along = ((x - a[0]) * (b[0] - a[0]) + (y - a[1]) * (b[1] - a[1])) / math.dist(a, b) ** 2
            assume(min(abs(along), abs(along - 1)) > 0.01)
            if 0 < along < 1:
                ways.append((float(at_s), Direction.LEFT_TO_RIGHT if side(q) > 0 else Direction.RIGHT_TO_LEFT))
    step = float(times[1] - times[0])
    # sampling cannot see somebody who goes over and comes back between two samples
    exact = [
        one for one in found if not any(other is not one and abs(other.at_s - one.at_s) < 2 * step for other in found)
    ]
    assume(len(exact) == len(found))
    assert [one.direction for one in exact] == [way for _, way in ways]
    assert all(0 <= one.at_s - at_s <= step for one, (at_s, _) in zip(exact, ways, strict=True))


def test_presence_begins_and_ends_at_the_edge_of_the_zone() -> None:
    scenario = street(user=(User("person", (LEFT, (0.0, 8.0), RIGHT), speed_mps=2.0, waits_s=(0.0, 3.0)),))
    (presence,) = presences_of(scenario, [ZONE])
    (journey,) = journeys_of(scenario)
    for at_s, edge in ((presence.from_s, 0.3), (presence.to_s, 0.7)):
        ground = journey.at(at_s)
        assert ground is not None
        assert reference_at(scenario, Label.PERSON, ground)[0] == pytest.approx(edge)
    assert occupancy_at([presence], "square", presence.from_s - 0.01) == 0
    assert occupancy_at([presence], "square", presence.from_s + 0.01) == 1
    assert occupancy_at([presence], "elsewhere", presence.from_s + 0.01) == 0


def test_a_zone_with_a_notch_is_left_and_entered_again() -> None:
    notched = Zone(
        "notched", ((0.2, 0.3), (0.8, 0.3), (0.8, 0.9), (0.6, 0.9), (0.6, 0.4), (0.4, 0.4), (0.4, 0.9), (0.2, 0.9))
    )
    scenario = street(user=(User("person", (LEFT, RIGHT), speed_mps=2.0),))
    assert len(presences_of(scenario, [notched])) == 2


def test_tells_what_stood_still_where_and_how_long() -> None:
    scenario = street(
        user=(User("car", ((-16.0, 14.0), (0.0, 14.0), (16.0, 14.0)), speed_mps=8.0, waits_s=(0.0, 6.0)),),
        standing=(Standing("car", (30.0, 14.0), from_s=1.0, to_s=4.0),),
    )
    inside, outside = sorted(stays_of(scenario, [ZONE]), key=lambda one: -one.to_s)
    assert (inside.from_s, inside.to_s, inside.zones) == (2.0, 8.0, ("square",))
    assert (outside.from_s, outside.to_s, outside.zones) == (1.0, 4.0, ())


def test_a_seed_draws_the_same_street_again_and_another_seed_another() -> None:
    flow = Flow("person", (LEFT, RIGHT), every_s=2.0, both_ways=True, spread_m=0.5)
    one, same, other = (journeys_of(street(seed=seed, flow=(flow,))) for seed in (4, 4, 5))
    assert one == same
    assert one != other


def test_a_flow_keeps_its_least_gap_its_speeds_and_its_times() -> None:
    flow = Flow("car", (LEFT, RIGHT), every_s=2.0, gap_s=1.5, speed_mps=(5.0, 6.0), from_s=10.0, to_s=200.0)
    drawn = journeys_of(street(seconds=300.0, flow=(flow,)))
    starts = [one.from_s for one in drawn]
    assert len(drawn) > 50
    assert min(b - a for a, b in itertools.pairwise(starts)) >= 1.5
    assert min(starts) > 10.0
    assert max(starts) < 200.0
    assert all(5.0 <= one.legs[0].speed_mps <= 6.0 + 1e-9 for one in drawn)


def test_the_file_of_truth_tells_lines_as_the_agent_does_and_points_for_the_ground() -> None:
    scenario = street(user=(User("person", (LEFT, RIGHT), speed_mps=1.5),), line=(UPWARDS,), zone=(ZONE,))
    told = msgspec.json.decode(truth_of(scenario))
    assert told["lines"] == {"middle": {"person": {"left_to_right": 1, "right_to_left": 0}}}
    assert told["lines"] == tally_of(crossings_of(scenario, [UPWARDS]))
    seen = scenario.pinhole().project(np.array(told["ground"]["metres"]))[:, :2]
    assert np.allclose(seen, told["ground"]["image"])
