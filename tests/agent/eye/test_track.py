import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from count_builders import ASPECT, START_MS, Walk, World, detections_of, straight, tally, torture
from veilleur_agent.eye.assign import assign, assign_pairs
from veilleur_agent.eye.boxes import centred_of, corners_of, overlaps
from veilleur_agent.eye.kalman import Motion
from veilleur_agent.eye.lines import LineCounter
from veilleur_agent.eye.records import Detections, Tracks, no_detections
from veilleur_agent.eye.riders import candidates_of
from veilleur_agent.eye.track import Tracker, TrackSettings
from veilleur_contracts.messages import Label

PERSON, BICYCLE, CAR, MOTORCYCLE = Label.PERSON, Label.BICYCLE, Label.CAR, Label.MOTORCYCLE


def followed(world: World, walks: list[Walk], **more: object) -> list[tuple[int, Tracks]]:
    tracker = Tracker(world.aspect)
    return [(at_ms, tracker.update(found, at_ms)) for at_ms, found in world.detections(walks, **more)]


def ids_of(told: list[tuple[int, Tracks]]) -> set[int]:
    return {int(one) for _, tracks in told for one in tracks.ids}


def assign_possible(matrix, most):
    """Pair as ``assign`` does, telling only the possible pairs."""
    rows, columns = np.isfinite(matrix).nonzero()
    return assign_pairs(rows, columns, matrix[rows, columns], most)


@pytest.mark.parametrize("pair", [assign, assign_possible])
@given(
    costs=st.integers(0, 2**32 - 1).map(np.random.default_rng),
    shape=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    possible=st.floats(0.1, 1),
    most=st.sampled_from([0.2, 0.5, 0.9]),
)
@settings(max_examples=settings.default.max_examples * 3, deadline=None)
def test_assignment_costs_as_little_as_the_reference(pair, costs, shape, possible, most) -> None:
    matrix = np.round(costs.random(shape), 1)
    matrix[costs.random(shape) > possible] = np.inf
    rows, columns = pair(matrix, most)
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == len(columns)
    square = np.full((shape[0], shape[0] + shape[1]), 1e6)
    square[:, : shape[1]] = np.where(np.isfinite(matrix), matrix, 1e6)
    square[np.arange(shape[0]), shape[1] + np.arange(shape[0])] = most
    best = square[linear_sum_assignment(square)].sum()
    assert matrix[rows, columns].sum() + most * (shape[0] - len(rows)) == pytest.approx(best)


@pytest.mark.parametrize("fps", [5.0, 25.0])
@pytest.mark.parametrize("jitter_ms", [0, 15])
def test_the_filter_learns_an_even_speed_at_any_frame_interval(fps, jitter_ms) -> None:
    rng = np.random.default_rng(1)
    motion, at_s = Motion(), 0.0
    motion.append(np.array([[0.1, 0.5, 0.05, 0.1]]), np.array([3.0]))
    for number in range(1, int(3 * fps)):
        step_s = number / fps + rng.uniform(-1, 1) * jitter_ms / 1000 - at_s
        at_s += step_s
        motion.predict(step_s, np.array([False]))
        motion.correct(np.array([0]), np.array([[0.1 + 0.2 * at_s, 0.5, 0.05, 0.1]]))
    assert motion.velocity[0, 0] == pytest.approx(0.2, rel=0.03)
    motion.predict(1.0, np.array([True]))
    assert motion.position[0, 0] == pytest.approx(0.1 + 0.2 * (at_s + 1), abs=0.01)


@pytest.mark.parametrize(
    ("cut", "edge"),
    [
        pytest.param([0.0, 0.0, 0.0, -0.06], 1, id="legs-hidden"),
        pytest.param([0.0, 0.06, 0.0, 0.0], 3, id="head-hidden"),
        pytest.param([0.0, 0.0, -0.03, 0.0], 0, id="one-side-hidden"),
    ],
)
def test_the_filter_follows_the_edge_that_is_seen(cut, edge) -> None:
    """Half a box for a second changes neither the way nor the size of somebody who walks on."""
    motion, start, way = Motion(), np.array([[0.5, 0.2, 0.55, 0.32]]), np.array([[0.03, 0.06, 0.03, 0.06]])
    motion.append(centred_of(start), np.array([2.0]))
    for number in range(1, 31):
        motion.predict(0.1, np.array([False]))
        seen = start + way * number / 10 + (np.array([cut]) if number > 20 else 0.0)
        motion.correct(np.array([0]), centred_of(seen))
    expected = start + way * 3
    assert corners_of(motion.position)[0, edge] == pytest.approx(expected[0, edge], abs=0.012)
    assert motion.velocity[0, :2] == pytest.approx(way[0, :2], abs=0.025)


@pytest.mark.parametrize("fps", [5, 10, 25])
@pytest.mark.parametrize(
    "walk",
    [
        pytest.param(straight((0, -3), (0, 3)), id="walker"),
        pytest.param(straight((0, -3), (0, 2), (0.3, 2), (0.3, -3)), id="turns-round"),
        pytest.param(straight((0, -3), (0, 3), hidden=((3.0, 4.5),)), id="hidden-1.5s"),
        pytest.param(straight((0, -3), (0, 3), seen_share=0.7), id="flickers"),
        pytest.param(straight((0, -6), (0, 6), speed=3.5, label=BICYCLE), id="cyclist"),
        pytest.param(straight((0, -9), (0, 9), speed=8, label=CAR), id="car"),
    ],
)
def test_one_road_user_keeps_one_id(walk, fps) -> None:
    told = followed(World(fps=fps, height=0.09), [walk])
    assert len(ids_of(told)) == 1
    assert all(0 <= one < 2**63 for one in ids_of(told))
    assert {int(label) for _, tracks in told for label in tracks.labels} == {int(walk.label)}


def test_two_who_cross_keep_their_ids() -> None:
    told = followed(World(fps=10), [straight((0, -3), (0, 3)), straight((0.4, 3), (0.4, -3))])
    assert len(ids_of(told)) == 2
    first = {int(one): tracks.boxes[row, 3] for _, tracks in told[:12] for row, one in enumerate(tracks.ids)}
    last = {int(one): tracks.boxes[row, 3] for _, tracks in told[-40:-30] for row, one in enumerate(tracks.ids)}
    assert all((first[one] > 0.5) != (last[one] > 0.5) for one in first.keys() & last.keys())


def test_a_track_is_told_at_its_third_sighting_with_its_birth() -> None:
    tracker = Tracker(ASPECT)
    counts = []
    for number in range(3):
        box = [0.1 + 0.01 * number, 0.1, 0.15 + 0.01 * number, 0.3]
        told = tracker.update(detections_of([box]), START_MS + 100 * number)
        counts.append(len(told))
    assert counts == [0, 0, 1]
    assert told.born_boxes[0] == pytest.approx([0.1, 0.1, 0.15, 0.3])
    assert told.born_ms[0] == START_MS


def test_low_scores_go_on_with_a_track_and_never_start_one() -> None:
    tracker, box = Tracker(ASPECT), [[0.1, 0.1, 0.15, 0.3]]
    for number in range(10):
        assert len(tracker.update(detections_of(box, scores=0.3), START_MS + 100 * number)) == 0
    for number in range(10, 13):
        tracker.update(detections_of(box, scores=0.6), START_MS + 100 * number)
    told = tracker.update(detections_of(box, scores=0.3), START_MS + 1300)
    assert told.seen.tolist() == [True]


def test_who_is_unseen_is_predicted_for_two_seconds() -> None:
    tracker = Tracker(ASPECT)
    for number in range(10):
        x = 0.1 + 0.01 * number
        tracker.update(detections_of([[x, 0.4, x + 0.05, 0.6]]), START_MS + 100 * number)
    gone_ms = START_MS + 900
    told = tracker.update(no_detections(), gone_ms + 1000)
    assert told.seen.tolist() == [False]
    assert told.boxes[0, 0] == pytest.approx(0.29, abs=0.01)
    assert len(tracker.update(no_detections(), gone_ms + 2000)) == 1
    assert len(tracker.update(no_detections(), gone_ms + 2001)) == 0


def test_who_has_left_the_picture_is_forgotten_at_once() -> None:
    tracker = Tracker(ASPECT)
    for number in range(10):
        x = 0.85 + 0.015 * number
        told = tracker.update(detections_of([[x, 0.4, x + 0.05, 0.6]]), START_MS + 100 * number)
    assert len(told) == 1
    assert len(tracker.update(no_detections(), START_MS + 1100)) == 0


def test_a_cone_never_moves_and_a_walker_does() -> None:
    world = World(fps=10, noise=0.05)
    cone, walker = Walk(((0, 1, 1), (40, 1, 1))), straight((-1, -3), (-1, 3))
    told = followed(world, [cone, walker])
    moved = [{int(one) for one in tracks.ids[tracks.moved]} for _, tracks in told]
    assert len(set.union(*moved)) == 1
    assert len(ids_of(told)) == 2


def person_on(wheel: list[float], *, lift: float, shift: float = 0.0) -> list[float]:
    """A person 0.2 tall whose feet end ``lift`` above the tyres of ``wheel``."""
    middle = (wheel[0] + wheel[2]) / 2 + shift
    return [middle - 0.035, wheel[3] - lift - 0.2, middle + 0.035, wheel[3] - lift]


WHEEL = [0.4, 0.5, 0.54, 0.62]


@pytest.mark.parametrize(
    ("person", "parked", "expected"),
    [
        pytest.param(person_on(WHEEL, lift=0.03), [], [BICYCLE], id="rides"),
        pytest.param(person_on(WHEEL, lift=0.03), [WHEEL], [PERSON, BICYCLE], id="walks-behind-a-parked-one"),
        pytest.param(person_on(WHEEL, lift=-0.03), [], [PERSON, BICYCLE], id="walks-in-front"),
        pytest.param(person_on(WHEEL, lift=0.03, shift=0.12), [], [PERSON, BICYCLE], id="walks-beside"),
        pytest.param(person_on(WHEEL, lift=0.12), [], [PERSON, BICYCLE], id="floats-above"),
        pytest.param([0.45, 0.55, 0.47, 0.6], [], [PERSON, BICYCLE], id="is-far-away"),
        pytest.param([0.43, 0.4, 0.5, 0.51], [], [BICYCLE], id="rides-and-shows-no-legs"),
        pytest.param([0.43, 0.32, 0.5, 0.51], [], [PERSON, BICYCLE], id="stands-far-behind"),
    ],
)
def test_a_rider_and_what_they_ride_are_one(person, parked, expected) -> None:
    boxes = np.array([person, WHEEL])
    found = candidates_of(
        boxes, np.array([0.7, 0.5]), np.array([PERSON, BICYCLE], np.int8), np.array(parked).reshape(-1, 4)
    )
    assert found.labels.tolist() == [int(label) for label in expected]
    if len(expected) == 1:
        assert found.boxes[0].tolist() == [0.4, person[1], 0.54, 0.62]
        assert found.scores[0] == pytest.approx(0.7)
        assert found.ridden.tolist() == [True]


def test_each_rider_gets_their_own_wheels() -> None:
    other = [0.6, 0.5, 0.74, 0.62]
    boxes = np.array([person_on(other, lift=0.03), WHEEL, person_on(WHEEL, lift=0.03), other])
    found = candidates_of(
        boxes, np.full(4, 0.6), np.array([PERSON, MOTORCYCLE, PERSON, BICYCLE], np.int8), np.empty((0, 4))
    )
    assert found.labels.tolist() == [int(MOTORCYCLE), int(BICYCLE)]


def test_parts_of_a_rider_are_no_second_one() -> None:
    boxes = [person_on(WHEEL, lift=0.03), WHEEL, [0.44, 0.41, 0.49, 0.55], [0.47, 0.52, 0.54, 0.62]]
    found = candidates_of(
        np.array(boxes),
        np.array([0.6, 0.6, 0.9, 0.4]),
        np.array([PERSON, BICYCLE, PERSON, BICYCLE], np.int8),
        np.empty((0, 4)),
    )
    assert found.labels.tolist() == [int(BICYCLE)]


LEFT, RIGHT = [0.40, 0.30, 0.44, 0.50], [0.44, 0.32, 0.48, 0.52]


@pytest.mark.parametrize(
    ("boxes", "scores", "kept"),
    [
        pytest.param([LEFT, RIGHT, [0.40, 0.31, 0.48, 0.51]], [0.8, 0.7, 0.5], [0, 1], id="a-couples-box"),
        pytest.param([LEFT, RIGHT, [0.40, 0.31, 0.48, 0.51]], [0.8, 0.4, 0.5], [0, 1, 2], id="surer-than-one"),
        pytest.param([LEFT, RIGHT, [0.42, 0.31, 0.46, 0.50]], [0.8, 0.7, 0.5], [0, 1], id="a-box-between"),
        pytest.param([LEFT, RIGHT, [0.42, 0.25, 0.46, 0.43]], [0.8, 0.7, 0.5], [0, 1, 2], id="one-behind-them"),
        pytest.param([LEFT, RIGHT, [0.41, 0.36, 0.43, 0.45]], [0.8, 0.7, 0.5], [0, 1, 2], id="a-child-before-one"),
        pytest.param(
            [[0.40, 0.30, 0.44, 0.46], [0.41, 0.34, 0.44, 0.50], [0.40, 0.30, 0.44, 0.50]],
            [0.8, 0.7, 0.5],
            [0, 1],
            id="the-same-one",
        ),
        pytest.param(
            [[0.40, 0.30, 0.44, 0.38], [0.40, 0.42, 0.44, 0.50], [0.40, 0.30, 0.44, 0.50]],
            [0.8, 0.7, 0.5],
            [0, 1, 2],
            id="head-and-legs",
        ),
    ],
)
def test_a_box_around_two_people_is_nobody(boxes, scores, kept) -> None:
    found = candidates_of(np.array(boxes), np.array(scores), np.full(3, PERSON, np.int8), np.empty((0, 4)))
    assert found.boxes.tolist() == [boxes[place] for place in kept]


def test_who_stands_before_a_far_rider_is_somebody() -> None:
    boxes = [person_on(WHEEL, lift=0.03), WHEEL, [0.38, 0.1, 0.56, 0.95]]
    found = candidates_of(
        np.array(boxes), np.array([0.6, 0.6, 0.5]), np.array([PERSON, BICYCLE, PERSON], np.int8), np.empty((0, 4))
    )
    assert sorted(found.labels.tolist()) == [int(PERSON), int(BICYCLE)]


@pytest.mark.parametrize("late", [0, 1])
def test_a_part_of_somebody_starts_no_track_and_a_car_before_a_bus_does(late) -> None:
    for label, other, parts in ((PERSON, PERSON, 1), (CAR, Label.BUS, 2)):
        tracker = Tracker(ASPECT)
        for number in range(8):
            x = 0.3 + 0.01 * number
            boxes = [[x, 0.3, x + 0.1, 0.7]] + ([[x + 0.02, 0.32, x + 0.08, 0.55]] if number >= late else [])
            told = tracker.update(detections_of(boxes, [other, label][: len(boxes)]), START_MS + 100 * number)
        assert len(told) == parts


def test_a_cyclist_whose_wheels_are_often_missed_is_a_cyclist() -> None:
    tracker, told = Tracker(ASPECT), None
    for number in range(20):
        wheel = [value + 0.01 * number * (place % 2 == 0) for place, value in enumerate(WHEEL)]
        found = [person_on(wheel, lift=0.03)] + ([wheel] if number % 2 else [])
        told = tracker.update(
            detections_of(found, [PERSON, BICYCLE][: len(found)], [0.7, 0.45][: len(found)]), START_MS + 100 * number
        )
    assert told is not None
    assert told.labels.tolist() == [int(BICYCLE)]


@pytest.mark.parametrize("score", [0.3, 0.6])
def test_who_walks_behind_a_parked_bicycle_stays_a_walker(score) -> None:
    tracker, labels = Tracker(ASPECT), set()
    for number in range(60):
        shift = 0.02 * (number - 40)
        found = [WHEEL] + ([person_on(WHEEL, lift=0.03, shift=shift)] if number >= 20 else [])
        told = tracker.update(
            detections_of(found, [BICYCLE, PERSON][: len(found)], [score, 0.7][: len(found)]),
            START_MS + 100 * number,
        )
        labels |= {int(label) for label in told.labels[told.moved]}
    assert labels == {int(PERSON)}


def test_what_was_found_twice_is_followed_once() -> None:
    tracker = Tracker(ASPECT)
    for number in range(20):
        x = 0.1 + 0.01 * number
        boxes = [[x, 0.4, x + 0.2, 0.6], [x + 0.005, 0.405, x + 0.2, 0.6], [x, 0.4, x + 0.2, 0.53]]
        told = tracker.update(detections_of(boxes, [CAR, Label.TRUCK, CAR], [0.8, 0.6, 0.5]), START_MS + 100 * number)
    assert told.labels.tolist() == [int(CAR)]


def test_the_label_is_what_was_seen_most_surely() -> None:
    tracker = Tracker(ASPECT)
    for number, (label, score) in enumerate([(CAR, 0.45), (Label.TRUCK, 0.9), (CAR, 0.42), (Label.TRUCK, 0.8)] * 3):
        told = tracker.update(detections_of([[0.1, 0.1, 0.3, 0.3]], label, score), START_MS + 100 * number)
    assert told.labels.tolist() == [int(Label.TRUCK)]


def test_a_walker_does_not_take_over_a_lost_car() -> None:
    tracker = Tracker(ASPECT)
    for number in range(5):
        tracker.update(detections_of([[0.4, 0.4, 0.6, 0.6]], CAR), START_MS + 100 * number)
    for number in range(5, 9):
        told = tracker.update(detections_of([[0.45, 0.42, 0.55, 0.6]], PERSON), START_MS + 100 * number)
    assert sorted(told.labels[told.seen].tolist()) == [int(PERSON)]
    assert len(told) == 2


def test_an_id_lives_at_most_five_minutes_and_the_count_goes_on() -> None:
    world = World(fps=5, height=0.1)
    wait = Walk(((0, 0, -3), (290, 0, -3), (305, 0, 3)))
    tracker, counter, found = Tracker(ASPECT), LineCounter([world.line()], frozenset(Label), ASPECT), []
    born: dict[int, int] = {}
    longest = 0
    for at_ms, detections in world.detections([wait]):
        told = tracker.update(detections, at_ms)
        for one in told.ids.tolist():
            born.setdefault(one, at_ms)
            longest = max(longest, at_ms - born[one])
        found += counter.count(told, at_ms)
    assert longest < 300_000
    assert len(born) == 2
    assert tally(found + counter.close()) == (1, 0)


@pytest.mark.parametrize("fps", [5, pytest.param(25, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("name", [name for name in torture() if name != "no-id"])
def test_what_a_detector_finds_is_counted_exactly(name, fps) -> None:
    walks, expected = torture()[name]
    world = World(angle=2.5, fps=fps, jitter_ms=8, height=0.1)
    tracker, counter = Tracker(world.aspect), LineCounter([world.line()], frozenset(Label), world.aspect)
    found = [
        one for at_ms, seen in world.detections(walks) for one in counter.count(tracker.update(seen, at_ms), at_ms)
    ]
    assert tally(found + counter.close()) == expected


def test_ids_are_random() -> None:
    first, second = (ids_of(followed(World(), [straight((0, -3), (0, 3))])) for _ in range(2))
    assert not first & second


@pytest.mark.parametrize("jump_ms", [-1, -60_000, 2001, 3_600_000])
def test_everybody_is_forgotten_when_time_jumps(jump_ms) -> None:
    tracker, box = Tracker(ASPECT), [[0.4, 0.4, 0.45, 0.6]]
    for number in range(5):
        told = tracker.update(detections_of(box), START_MS + 100 * number)
    assert len(told) == 1
    assert len(tracker.update(detections_of(box), START_MS + 400 + jump_ms)) == 0


def test_a_frame_told_twice_changes_little() -> None:
    tracker, box = Tracker(ASPECT), [[0.4, 0.4, 0.45, 0.6]]
    for at_ms in (0, 0, 100, 100, 200):
        told = tracker.update(detections_of(box), START_MS + at_ms)
    assert told.boxes[0] == pytest.approx(box[0], abs=1e-3)


@pytest.mark.parametrize(
    "box",
    [
        pytest.param([math.nan, 0.1, 0.2, 0.2], id="not-a-number"),
        pytest.param([0.1, 0.1, math.inf, 0.2], id="endless"),
        pytest.param([0.2, 0.1, 0.1, 0.2], id="inside-out"),
        pytest.param([0.1, 0.1, 0.1, 0.2], id="flat"),
    ],
)
def test_a_box_that_is_none_is_passed_over(box) -> None:
    tracker = Tracker(ASPECT)
    for number in range(5):
        told = tracker.update(detections_of([box, [0.4, 0.4, 0.45, 0.6]]), START_MS + 100 * number)
    assert len(told) == 1


def test_memory_is_bounded_however_much_is_found() -> None:
    tracker, rng = Tracker(ASPECT, TrackSettings(tracks_max=40)), np.random.default_rng(1)
    for number in range(300):
        corner = rng.uniform(0, 0.9, (100, 2))
        boxes = np.hstack([corner, corner + rng.uniform(0.01, 0.1, (100, 2))]).astype(np.float32)
        found = Detections(boxes, rng.uniform(0.2, 1, 100).astype(np.float32), rng.integers(0, 6, 100).astype(np.int8))
        assert len(tracker.update(found, START_MS + 200 * number)) <= 40
        assert len(tracker._motion) == len(tracker._roster.ids) <= 40


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_any_detections_give_sane_tracks(seed) -> None:
    rng = np.random.default_rng(seed)
    tracker, at_ms = Tracker(ASPECT), START_MS
    for _ in range(30):
        at_ms += int(rng.choice([0, 40, 200, 900, 3000, -50]))
        count = int(rng.integers(0, 12))
        boxes = rng.uniform(-0.5, 1.5, (count, 4)).astype(np.float32)
        found = Detections(
            boxes, rng.uniform(0, 1, count).astype(np.float32), rng.integers(0, 6, count).astype(np.int8)
        )
        told = tracker.update(found, at_ms)
        assert np.isfinite(told.boxes).all()
        assert (told.boxes[:, 2:] > told.boxes[:, :2]).all()
        assert len(set(told.ids.tolist())) == len(told)


def test_corners_and_centres_are_one_box() -> None:
    box = np.array([[0.1, 0.2, 0.4, 0.8]])
    assert corners_of(centred_of(box))[0] == pytest.approx(box[0])
    assert overlaps(box, box)[0, 0] == pytest.approx(1.0)
