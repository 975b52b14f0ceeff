"""Rendered streets through detector, tracker and a whole lookout: what leaves the eye is what happened, and no more."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from eye_builders import sprite_package
from journeys.town import scenario_of
from veilleur_agent.eye.detect import Detector
from veilleur_contracts.messages import (
    CrossingWindow,
    Direction,
    EventKind,
    Label,
    ObjectWindow,
    OccupancyWindow,
    Quality,
    SpeedWindow,
    StayWindow,
    StreetEvent,
    ViewAlarm,
    ViewFault,
)
from veilleur_contracts.policy import STRICTEST
from veilleur_contracts.site import Ground, Zone
from veilleur_simulator.scenario import Dumped, Fault, Nudge, Scenario, User
from veilleur_simulator.truth import TrueCrossing, crossings_of
from watch_builders import START_MS, StreetPost, camera_of, changed

pytestmark = pytest.mark.soak

NO_PARKING = Zone("no-parking", ((0.3, 0.3), (0.7, 0.3), (0.7, 0.45), (0.3, 0.45)), limit_s=60)
PAVEMENT = Zone("pavement", ((0.0, 0.45), (1.0, 0.45), (1.0, 0.9), (0.0, 0.9)), objects=True)
PARKED = User("car", ((-18, 14.5), (0, 14.5), (18, 14.5)), enters_s=10, speed_mps=8.0, waits_s=(0, 150))
WAITS = User("car", ((-18, 14.5), (0, 14.5), (18, 14.5)), enters_s=240, speed_mps=8.0, waits_s=(0, 45))

Cell = tuple[str, Label, Direction]


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    with Detector(sprite_package()) as one:
        yield one


def told(post: StreetPost) -> Counter[Cell]:
    """What the windows say crossed."""
    labels, found = post.camera.label_set(), Counter[Cell]()
    for window in post.of(CrossingWindow):
        for place, count in enumerate(window.counts):
            line = post.camera.line[window.line].id
            found[line, labels[place // 2], Direction(place % 2)] += count or 0
    return +found


def true(crossings: list[TrueCrossing]) -> Counter[Cell]:
    return Counter((one.line, one.label, one.direction) for one in crossings)


def played(scenario: Scenario, detector: Detector) -> StreetPost:
    post = StreetPost(scenario, detector)
    post.watch(0, scenario.street.seconds)
    post.finish()
    return post


@pytest.mark.parametrize("name", ["street-day", "street-night", "street-rain", "street-occluded"])
def test_the_windows_of_a_street_add_up_to_what_crossed(name: str, detector: Detector) -> None:
    scenario = scenario_of(name)
    post = played(scenario, detector)
    truth = true(crossings_of(scenario, scenario.line))
    assert truth.total() > 20
    assert told(post) == truth
    whole = [window for window in post.of(CrossingWindow) if 0 < post.second_of(window.at_s) < 55]
    assert len(whole) == 20
    assert all(window.coverage >= 99 and not window.quality for window in whole)


def test_nothing_is_counted_from_a_covered_camera_and_the_cover_is_told(detector: Detector) -> None:
    cover = Fault("covered", 20, 150)
    scenario = changed(scenario_of("street-covered"), seconds=200, fault=(cover,))
    post = StreetPost(scenario, detector)
    post.watch(0, 200)
    post.pass_time(30)

    def is_hidden(at_s: float) -> bool:
        return cover.from_s <= at_s < cover.to_s

    crossings = crossings_of(scenario, scenario.line)
    assert sum(is_hidden(one.at_s) for one in crossings) > 50
    hidden = [
        window
        for window in post.of(CrossingWindow)
        if is_hidden(post.second_of(window.at_s)) and is_hidden(post.second_of(window.at_s) + window.window_s)
    ]
    assert len(hidden) > 40
    for window in hidden:
        assert window.coverage == 0
        assert set(window.counts) == {None}, "not observed is nil, never zero"
    seen = [one for one in crossings if not cover.from_s - 2 <= one.at_s < cover.to_s + 2]
    borders = [one for one in crossings if not is_hidden(one.at_s) and one not in seen]
    assert true(seen) <= told(post) <= true(seen) + true(borders)
    faults = [(post.second_of(alarm.at_s), alarm.faults) for alarm in post.of(ViewAlarm)]
    assert [fault for _, fault in faults] == [ViewFault.COVERED, 0]
    assert 0 < faults[0][0] - cover.from_s <= 180
    assert 0 < faults[1][0] - cover.to_s <= 180


def test_a_nudge_is_told_within_three_minutes_quarantines_what_is_counted_and_ends_when_it_is_undone(
    detector: Detector,
) -> None:
    there, back = Nudge(100, (0.05, -0.03)), Nudge(300, (-0.05, 0.03))
    scenario = changed(scenario_of("street-nudged"), seconds=440, nudge=(there, back))
    post = StreetPost(scenario, detector)
    post.watch(0, 440)
    post.pass_time(30)
    alarms = [(post.second_of(alarm.at_s), ViewFault(alarm.faults)) for alarm in post.of(ViewAlarm)]
    assert [fault for _, fault in alarms] == [ViewFault(0), ViewFault.MOVED, ViewFault(0)]
    moved_s, good_s = alarms[1][0], alarms[2][0]
    assert 0 < moved_s - there.at_s <= 180
    assert 0 < good_s - back.at_s <= 180
    (alarm,) = [alarm for alarm in post.of(ViewAlarm) if alarm.faults]
    assert 40 <= alarm.shift_permille <= 70, "0.05 of the width, and 0.03 of the height"
    for window in post.of(CrossingWindow):
        start = post.second_of(window.at_s)
        is_inside = moved_s <= start and start + window.window_s <= good_s
        is_outside = start + window.window_s <= moved_s or good_s <= start
        quarantined = bool(window.quality & Quality.QUARANTINED)
        assert quarantined or not is_inside
        assert not (quarantined and is_outside)
    counted = [
        sum(count or 0 for count in w.counts) for w in post.of(CrossingWindow) if w.quality & Quality.QUARANTINED
    ]
    assert sum(counted) > 20, "counting goes on, and says so"


def test_a_defocused_camera_is_told_and_quarantined(detector: Detector) -> None:
    scenario = changed(scenario_of("street-defocused"), seconds=240, fault=(Fault("defocused", 60, 240),))
    post = StreetPost(scenario, detector)
    post.watch(0, 240, every_s=1.0)
    assert [alarm.faults for alarm in post.of(ViewAlarm)] == [0, ViewFault.DEFOCUSED]
    assert post.second_of(post.of(ViewAlarm)[1].at_s) - 60 <= 180


def stays_street(seconds: float, **parts: object) -> Scenario:
    empty = {"user": (), "dumped": (), "light": (), "zone": (), "fps": 12.5}
    return changed(scenario_of("street-stays"), seconds=seconds, **{**empty, **parts})


def test_a_vehicle_that_stands_too_long_is_found_and_one_at_a_light_is_not(detector: Detector) -> None:
    scenario = stays_street(330, user=(PARKED, WAITS))
    post = StreetPost(scenario, detector, camera=camera_of(scenario, zone=(NO_PARKING, PAVEMENT)))
    post.watch(0, 330)
    post.pass_time(30)
    began, ended = post.of(StreetEvent)
    assert (began.kind, began.place, began.over) == (EventKind.STANDING_VEHICLE, 0, 0)
    assert (ended.kind, ended.place, ended.over) == (EventKind.STANDING_VEHICLE, 0, 1)
    stops_s = 10 + 18 / 8
    assert abs(post.second_of(began.since_s) - stops_s) <= 2
    assert abs(post.second_of(began.at_s) - (stops_s + 60)) <= 3
    assert began.since_s == ended.since_s
    stays = [window for window in post.of(StayWindow) if window.zone == 0 and window.label == Label.CAR]
    assert abs(sum(window.over_s for window in stays) - 90) <= 3
    lengths = [sum(column) for column in zip(*(window.counts for window in stays), strict=True)]
    assert lengths == [0, 0, 1, 1, 0, 0, 0, 0], "one stay of under a minute, one of under three"
    assert all(window.over_s == 0 for window in post.of(StayWindow) if window.label != Label.CAR or window.zone)


def test_occupancy_is_what_was_there(detector: Detector) -> None:
    scenario = stays_street(120, user=(PARKED,))
    post = StreetPost(scenario, detector, camera=camera_of(scenario, zone=(NO_PARKING,)))
    post.watch(0, 120)
    post.pass_time(30)
    place = 2 * Label.CAR
    medians = {post.second_of(window.at_s): window.counts[place] for window in post.of(OccupancyWindow)}
    assert medians[0] == 0
    assert {medians[at_s] for at_s in range(20, 115, 5)} == {1}


def test_under_the_strictest_policy_the_same_street_gives_no_event_and_no_early_word(detector: Detector) -> None:
    scenario = stays_street(330, user=(PARKED, WAITS))
    camera = camera_of(scenario, zone=(NO_PARKING, PAVEMENT))
    post = StreetPost(scenario, detector, camera=camera, permissions=STRICTEST)
    post.watch(0, 330)
    assert post.of(StreetEvent) == []
    assert post.of(StayWindow) == []
    post.pass_time(1200)
    stays = [window for window in post.of(StayWindow) if window.zone == 0 and window.label == Label.CAR]
    assert [window.window_s for window in stays] == [1200]
    assert abs(stays[0].over_s - 90) <= 3
    assert post.of(StreetEvent) == []


def test_a_bulky_object_is_found_where_it_lies_and_told_when_it_has_gone(detector: Detector) -> None:
    scenario = stays_street(6000, dumped=(Dumped((-5, 11.5), 900, 4800),))
    camera = camera_of(scenario, zone=(NO_PARKING, PAVEMENT), fps=0.25)
    post = StreetPost(scenario, detector, camera=camera, window_s=1200)
    post.watch(0, 6000, every_s=4.0)
    post.pass_time(1200)
    began, ended = post.of(StreetEvent)
    assert (began.kind, began.place, began.over, ended.over) == (EventKind.BULKY_OBJECT, 1, 0, 1)
    assert abs(post.second_of(began.since_s) - 900) <= 120
    assert abs(post.second_of(ended.at_s) - 4800) <= 360
    lain_s = [window.lain_s for window in post.of(ObjectWindow)]
    assert abs(sum(lain_s) - 3900) <= 300
    assert lain_s[-1] <= 360, "until it was sure that it had gone"


def test_an_eye_that_starts_again_goes_on_with_what_stands_and_lies(detector: Detector) -> None:
    scenario = stays_street(300, user=(PARKED,))
    camera = camera_of(scenario, zone=(NO_PARKING, PAVEMENT))
    first = StreetPost(scenario, detector, camera=camera)
    first.watch(0, 50)
    second = StreetPost(scenario, detector, camera=camera, saved=first.lookout.checkpoint())
    second.watch(55, 230)
    second.pass_time(30)
    assert "checkpoint.refused" not in second.logged
    assert [(event.kind, event.over) for event in (*first.of(StreetEvent), *second.of(StreetEvent))] == [
        (EventKind.STANDING_VEHICLE, 0),
        (EventKind.STANDING_VEHICLE, 1),
    ]
    over_s = sum(window.over_s for window in (*first.of(StayWindow), *second.of(StayWindow)))
    assert abs(over_s - 90) <= 3


def test_a_wrong_way_is_told_only_where_it_may_be(detector: Detector) -> None:
    scenario = scenario_of("street-day")
    (middle, left) = scenario.line
    one_way = type(middle)(middle.id, middle.start, middle.end, one_way="left_to_right")
    camera = camera_of(scenario, line=(one_way, left))
    against = [
        one
        for one in crossings_of(scenario, (middle,))
        if one.label is Label.CAR and one.direction is Direction.RIGHT_TO_LEFT
    ]
    assert len(against) >= 3
    post = StreetPost(scenario, detector, camera=camera)
    post.watch(0, 62)
    events = post.of(StreetEvent)
    assert [(event.kind, event.place, event.over) for event in events] == [(EventKind.WRONG_WAY, 0, 1)] * len(against)
    for event, one in zip(events, against, strict=True):
        assert abs(event.since_s - START_MS / 1000 - one.at_s) <= 1.5
    silent = StreetPost(scenario, detector, camera=camera, permissions=STRICTEST)
    silent.watch(0, 62)
    assert silent.of(StreetEvent) == []


def test_speeds_over_a_line_are_those_that_were_driven(detector: Detector) -> None:
    kmh = (20, 30, 40, 50, 60, 90)
    ways = [(20.0 * place, speed / 3.6) for place, speed in enumerate(kmh)]
    cars = tuple(User("car", ((-40, 26), (40, 26)), enters_s=at_s, speed_mps=mps) for at_s, mps in ways)
    scenario = changed(scenario_of("street-speeds"), seconds=125, user=cars)
    image = ((0.2, 0.95), (0.8, 0.95), (0.7, 0.6), (0.3, 0.6))
    metres = tuple((float(x), float(z)) for x, z in scenario.pinhole().unproject(np.array(image)).tolist())
    camera = camera_of(scenario, ground=Ground(image, metres), fps=10.0)
    post = StreetPost(scenario, detector, camera=camera, window_s=3600)
    post.watch(0, 125, every_s=0.1)
    post.pass_time(3700)
    driven = crossings_of(scenario, scenario.line)
    assert len(driven) == len(kmh)
    (told,) = [window for window in post.of(SpeedWindow) if window.direction == driven[0].direction]
    assert told.measured == len(kmh)
    expected = np.percentile(kmh, (15, 50, 85))
    assert [one / 10 for one in told.percentiles_kmh_x10] == pytest.approx(expected, abs=1.0)
    (other,) = [window for window in post.of(SpeedWindow) if window.direction != driven[0].direction]
    assert (other.measured, other.percentiles_kmh_x10) == (0, (None, None, None))
