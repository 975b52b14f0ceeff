"""Metres from the picture, and speeds that a breathing box does not change."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from count_builders import START_MS, tracks_of
from ground_builders import ASPECT, PinholeCamera
from veilleur_agent.eye.ground import Ground, GroundRejectedError
from veilleur_agent.eye.speeds import LINGER_MS, SAMPLES, WAYS_MAX, Speedometer, percentiles_of
from veilleur_contracts.messages import Label
from veilleur_contracts.site import Ground as GroundPoints

TILTS = (15.0, 25.0, 40.0, 60.0)


def metres(ground: Ground, camera: PinholeCamera, places: list[tuple[float, float]]) -> np.ndarray:
    return ground.metres_of(camera.fractions_of([(x, y, 0.0) for x, y in places]))


@given(
    tilt=st.floats(10, 80),
    roll=st.floats(-20, 20),
    height=st.floats(3, 15),
    place=st.tuples(st.floats(-3, 3), st.floats(0.7, 1.5)),
)
@settings(deadline=None)
def test_a_place_is_found_again_however_the_camera_hangs(tilt, roll, height, place) -> None:
    camera = PinholeCamera(tilt, height, roll_deg=roll)
    ground = Ground(camera.ground(), ASPECT)
    right, ahead = place[0], place[1] * camera.middle_m()
    assert metres(ground, camera, [(right, ahead)])[0] == pytest.approx([right, ahead], abs=1e-5 * ahead + 1e-6)
    assert ground.error_m == pytest.approx(0, abs=1e-6 * camera.middle_m() + 1e-9)


def test_the_error_of_the_fit_is_in_metres_and_names_the_worst_point() -> None:
    camera = PinholeCamera(30)
    known = [(x, y) for x in (-4.0, 0.0, 4.0) for y in (9.0, 12.0, 16.0)]
    good = camera.ground(known)
    wrong = [list(place) for place in good.metres]
    wrong[4][0] += 0.3
    ground = Ground(GroundPoints(good.image, tuple(map(tuple, wrong))), ASPECT)
    assert ground.worst == 4
    assert 0.05 < ground.error_m < 0.3


SQUARE = ((0.2, 0.4), (0.8, 0.4), (0.9, 0.9), (0.1, 0.9))
BAY = ((0.0, 20.0), (6.0, 20.0), (6.0, 5.0), (0.0, 5.0))


@pytest.mark.parametrize(
    ("image", "on_ground", "reason"),
    [
        pytest.param(SQUARE[:3], BAY[:3], "at least 4", id="three-points"),
        pytest.param(SQUARE, (*BAY, (1.0, 1.0)), "4 points in the picture and 5 in metres", id="uneven"),
        pytest.param(((0.5, 0.5),) * 4, BAY, "all one point", id="one-point-in-the-picture"),
        pytest.param(SQUARE, ((1.0, 1.0),) * 4, "all one point", id="one-point-on-the-ground"),
        pytest.param(((0.1, 0.1), (0.2, 0.2), (0.3, 0.3), (0.4, 0.4)), BAY, "fix no plane", id="all-on-a-line"),
        pytest.param(((0.1, 0.1), (0.2, 0.2), (0.3, 0.3), (0.9, 0.1)), BAY, "fix no plane", id="three-on-a-line"),
        pytest.param((SQUARE[0], SQUARE[0], *SQUARE[2:]), BAY, "fix no plane", id="a-point-twice"),
        pytest.param(SQUARE, (BAY[0], BAY[2], BAY[1], BAY[3]), "both sides of its horizon", id="wrong-order"),
        pytest.param(
            (*SQUARE, (0.5, 0.65), (0.5, 0.5)),
            (*BAY, (3.0, 10.0), (6.0, 5.5)),
            "do not agree",
            id="points-that-disagree",
        ),
    ],
)
def test_points_that_fix_no_plane_are_refused_with_a_reason(image, on_ground, reason) -> None:
    with pytest.raises(GroundRejectedError, match=reason):
        Ground(GroundPoints(image, on_ground), ASPECT)


def test_nothing_above_the_horizon_has_a_place() -> None:
    camera = PinholeCamera(15)
    ground = Ground(camera.ground(), ASPECT)
    places = ground.metres_of(np.array([[0.5, 0.1], [0.5, 0.9]]))
    assert np.isnan(places[0]).all()
    assert np.isfinite(places[1]).all()


def driven(camera: PinholeCamera, kmh: float, heading_deg: float, fps: float, noise: float) -> float:
    """Return what is read of a car whose foot is found with ``noise``, in shares of its size."""
    speedometer, rng = Speedometer(Ground(camera.ground(), ASPECT)), np.random.default_rng(1)
    turn = math.radians(heading_deg)
    read = None
    for number in range(int(2.5 * fps) + 1):
        second = number / fps
        way = (second - 1.25) * kmh / 3.6
        ahead = camera.middle_m() * 1.1 + way * math.sin(turn)
        if ahead < 0.5 * camera.middle_m():
            continue
        foot, side = camera.fractions_of([(way * math.cos(turn), ahead, 0), (way * math.cos(turn) + 2, ahead, 0)])
        size = abs(side[0] - foot[0])
        box = [foot[0] - size / 2, foot[1] - size, foot[0] + size / 2, foot[1]]
        blurred = np.array(box) + rng.normal(0, noise, 4) * size
        speedometer.watch(tracks_of([1], [blurred], Label.CAR), START_MS + round(second * 1000))
        read = speedometer.kmh_of(1) or read
    assert read is not None
    return read


def hung(tilt: float) -> PinholeCamera:
    return PinholeCamera(tilt, height_m=10 if tilt > 50 else 7)


def is_seen_for_a_second(tilt: float, heading: int, kmh: int) -> bool:
    return heading != 270 or kmh / 3.6 * 1.25 <= 0.55 * hung(tilt).middle_m()


DRIVES = [
    (tilt, heading, kmh)
    for tilt in TILTS
    for heading in (0, 45, 90, 270)
    for kmh in (10, 30, 50, 70, 90)
    if is_seen_for_a_second(tilt, heading, kmh)
]


@pytest.mark.parametrize(("tilt", "heading", "kmh"), DRIVES)
@pytest.mark.parametrize("fps", [5, 25])
def test_a_speed_is_right_to_a_kilometre_an_hour(tilt, heading, kmh, fps) -> None:
    assert driven(hung(tilt), kmh, heading, fps, noise=0.01) == pytest.approx(kmh, abs=1.0)


@pytest.mark.parametrize("tilt", TILTS[:3])
@pytest.mark.parametrize("heading", [0, 45, 90])
def test_a_cars_box_leans_its_speed_by_a_sixteenth_at_most(tilt, heading) -> None:
    """The roof reaches into the box, so its foot is not quite the car's; at 60 degrees it would be one in six."""
    camera = PinholeCamera(tilt)
    speedometer, turn = Speedometer(Ground(camera.ground(), ASPECT)), math.radians(heading)
    for number in range(31):
        way = (number / 25 - 0.6) * 30 / 3.6
        box = camera.car(way * math.cos(turn), 1.1 * camera.middle_m() + way * math.sin(turn), heading)
        speedometer.watch(tracks_of([1], [box], Label.CAR), START_MS + 40 * number)
    assert speedometer.kmh_of(1) == pytest.approx(30, rel=1 / 16)


def test_one_bad_box_in_five_changes_little() -> None:
    camera = PinholeCamera(30)
    speedometer = Speedometer(Ground(camera.ground(), ASPECT))
    for number in range(50):
        foot = camera.fractions_of([(number / 25 * 30 / 3.6 - 8, 12.0, 0.0)])[0]
        spoilt = 0.02 if number % 5 == 2 else 0.0
        speedometer.watch(tracks_of([1], [[foot[0], foot[1] - 0.1, foot[0], foot[1] - spoilt]]), START_MS + 40 * number)
    assert speedometer.kmh_of(1) == pytest.approx(30, abs=1)


def test_a_speed_takes_a_second() -> None:
    camera = PinholeCamera(30)
    speedometer = Speedometer(Ground(camera.ground(), ASPECT))
    known = []
    for number in range(8):
        foot = camera.fractions_of([(number / 2, 12.0, 0.0)])[0]
        speedometer.watch(tracks_of([1], [[foot[0], foot[1] - 0.1, foot[0], foot[1]]]), START_MS + 200 * number)
        known.append(speedometer.kmh_of(1) is not None)
    assert known == [False] * 5 + [True] * 3
    assert speedometer.kmh_of(2) is None


def test_ways_are_bounded_and_forgotten() -> None:
    speedometer = Speedometer(Ground(PinholeCamera(30).ground(), ASPECT))
    boxes = np.tile([0.5, 0.5, 0.6, 0.7], (WAYS_MAX + 100, 1))
    for number in range(SAMPLES * 3):
        speedometer.watch(tracks_of(list(range(1, WAYS_MAX + 101)), boxes), START_MS + 100 * number)
    assert len(speedometer._ways.ids) == WAYS_MAX
    assert speedometer.kmh_of(1) == pytest.approx(0, abs=1e-9)
    speedometer.watch(tracks_of([], []), START_MS + 9600 + LINGER_MS)
    assert len(speedometer._ways.ids) == 0


def test_who_stands_above_the_horizon_has_no_speed() -> None:
    speedometer = Speedometer(Ground(PinholeCamera(15).ground(), ASPECT))
    for number in range(20):
        speedometer.watch(tracks_of([1], [[0.5, 0.02, 0.55, 0.1]]), START_MS + 100 * number)
    assert speedometer.kmh_of(1) is None


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        pytest.param([], (None, None, None), id="none"),
        pytest.param([30.0] * 4, (None, None, None), id="four"),
        pytest.param([10.0, 20.0, 30.0, 40.0, 50.0], (16.0, 30.0, 44.0), id="five"),
    ],
)
def test_percentiles_are_told_from_five_vehicles_on(speeds, expected) -> None:
    assert percentiles_of(speeds, least=5) == pytest.approx(expected)
