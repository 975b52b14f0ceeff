"""Twenty-four hours of a drawn street, its light and its traffic: what stands or lies is found, and nothing else."""

from collections.abc import Iterator

import pytest

from eye_builders import sprite_package
from journeys.town import scenario_of
from veilleur_agent.eye.detect import Detector
from veilleur_contracts.messages import EventKind, Label, ObjectWindow, StayWindow, StreetEvent, ViewAlarm
from veilleur_contracts.site import Zone
from veilleur_simulator.scenario import Dumped, Flow, Scenario, User
from watch_builders import StreetPost, camera_of, changed

pytestmark = pytest.mark.soak

HOUR = 3600
DAY = 24 * HOUR
LIMIT_S = 180
QUIET_S = 2.0
"""Seconds between pictures while nothing that is watched for comes or goes: as long as a track outlives."""
ROAD = ((-18, 14.5), (0, 14.5), (18, 14.5))
PAVEMENT = ((12, 8.3), (-4, 8.3), (-12, 8.3))
TOO_LONG = [(HOUR * 2, 600), (HOUR * 7, 240), (HOUR * 10, 600), (HOUR * 13, 1200), (HOUR * 18, 300), (HOUR * 22, 600)]
IN_TIME = [(HOUR * 3, 45), (HOUR * 9, 120), (HOUR * 15, 150), (HOUR * 20, 90)]
WAITING = [(HOUR * 5, 900), (HOUR * 12, 1500), (HOUR * 17, 600)]
LEFT = [(1.0 * HOUR, 4.5 * HOUR), (6.4 * HOUR, 9.1 * HOUR), (14.2 * HOUR, 21.3 * HOUR)]
PUT_AWAY = [(11.0 * HOUR, 11.3 * HOUR), (22.5 * HOUR, 22.8 * HOUR)]
PLACES = ((-5, 11.5), (4, 11.5), (-1, 11.0))
NO_PARKING = Zone("no-parking", ((0.3, 0.3), (0.7, 0.3), (0.7, 0.45), (0.3, 0.45)), limit_s=LIMIT_S)
GROUND = Zone("ground", ((0.0, 0.45), (1.0, 0.45), (1.0, 0.9), (0.0, 0.9)), objects=True)


def a_day() -> Scenario:
    """Six vehicles too long, four in time, three people who wait, three objects left, two put away in time."""
    stops = TOO_LONG + IN_TIME
    cars = [User("car", ROAD, enters_s=at_s, speed_mps=8.0, waits_s=(0, stays_s)) for at_s, stays_s in stops]
    people = [User("person", PAVEMENT, enters_s=at_s, speed_mps=1.3, waits_s=(0, s)) for at_s, s in WAITING]
    objects = [Dumped(PLACES[n % 3], from_s, to_s) for n, (from_s, to_s) in enumerate(LEFT + PUT_AWAY)]
    flows = (
        Flow("car", ((22, 19.5), (-22, 19.5)), every_s=90, gap_s=5.0, speed_mps=(7.0, 9.0)),
        Flow("person", ((-11, 6.0), (11, 6.0)), every_s=120, gap_s=3.0, speed_mps=(1.2, 1.5)),
    )
    return changed(scenario_of("street-stays"), user=(*cars, *people), dumped=tuple(objects), flow=flows, zone=())


def moments() -> Iterator[float]:
    """Five pictures a second while somebody comes to a stop or goes on, one every two seconds otherwise."""
    comings = [at_s for at_s, _ in TOO_LONG + IN_TIME]
    goings = [at_s + stays_s for at_s, stays_s in TOO_LONG + IN_TIME]
    busy = [(at_s, at_s + 20) for at_s in (*comings, *goings)]
    at_s = 0.0
    while at_s < DAY:
        yield at_s
        at_s += 0.2 if any(start <= at_s < end for start, end in busy) else QUIET_S


@pytest.mark.timeout(3600)
def test_in_a_day_everything_that_stands_or_lies_is_found_and_nothing_else() -> None:
    camera = camera_of(a_day(), zone=(NO_PARKING, GROUND), fps=1 / QUIET_S)
    with Detector(sprite_package()) as detector:
        post = StreetPost(a_day(), detector, camera=camera, window_s=1200)
        post.watch_at(moments())
        post.pass_time(2400)
    standing = [event for event in post.of(StreetEvent) if event.kind == EventKind.STANDING_VEHICLE]
    lying = [event for event in post.of(StreetEvent) if event.kind == EventKind.BULKY_OBJECT]
    assert len(standing) + len(lying) == len(post.of(StreetEvent))
    begun = [post.second_of(event.since_s) for event in standing if not event.over]
    assert begun == pytest.approx([at_s + 18 / 8 for at_s, _ in TOO_LONG], abs=3)
    assert len([event for event in standing if event.over]) == len(TOO_LONG)
    left = [post.second_of(event.since_s) for event in lying if not event.over]
    assert left == pytest.approx([from_s for from_s, _ in LEFT], abs=180)
    gone = [post.second_of(event.at_s) for event in lying if event.over]
    assert gone == pytest.approx([to_s for _, to_s in LEFT], abs=400)
    over_s = sum(window.over_s for window in post.of(StayWindow) if window.label == Label.CAR)
    assert over_s == pytest.approx(sum(stays_s - LIMIT_S for _, stays_s in TOO_LONG), abs=3 * len(TOO_LONG))
    lain_s = sum(window.lain_s for window in post.of(ObjectWindow))
    assert lain_s == pytest.approx(sum(to_s - from_s for from_s, to_s in LEFT), rel=0.05)
    assert [alarm.faults for alarm in post.of(ViewAlarm)] == [0], "night and day, the view was good"
