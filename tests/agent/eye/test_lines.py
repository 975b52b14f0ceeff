import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from count_builders import ASPECT, MEET_S, START_MS, Walk, World, straight, swapped_at, tally, torture, tracks_of
from veilleur_agent.eye.lines import LINGER_MS, LineCounter
from veilleur_agent.eye.records import Crossing, Tracks
from veilleur_contracts.messages import Direction, Label
from veilleur_contracts.site import Line

EVERYTHING = frozenset(Label)
TORTURE = torture()
HORIZONTAL, VERTICAL, OBLIQUE, BACKWARD = 0.0, math.pi / 2, 0.6, math.pi


def counted(world: World, walks: list[Walk], labels: frozenset[Label] = EVERYTHING) -> list[Crossing]:
    counter = LineCounter([world.line()], labels, world.aspect)
    found: list[Crossing] = []
    for at_ms, tracks in world.tracks(walks):
        found += counter.count(tracks, at_ms)
    return found + counter.close()


@pytest.mark.parametrize("fps", [5, pytest.param(25, marks=pytest.mark.thorough)])
@pytest.mark.parametrize(
    "angle",
    [
        pytest.param(HORIZONTAL, id="horizontal"),
        pytest.param(VERTICAL, id="vertical"),
        pytest.param(OBLIQUE, id="oblique"),
        pytest.param(BACKWARD, id="backward"),
    ],
)
@pytest.mark.parametrize("name", TORTURE)
def test_counts_who_went_over_and_nobody_else(name, angle, fps) -> None:
    walks, expected = TORTURE[name]
    world = World(angle=angle, fps=fps, jitter_ms=8)
    assert tally(counted(world, walks)) == expected


@given(
    angle=st.floats(0, 2 * math.pi),
    fps=st.sampled_from([5.0, 8.0, 25.0]),
    walk=st.lists(
        st.tuples(st.floats(-3, 3), st.floats(-3, 3).filter(lambda across: abs(across) > 0.6)), min_size=2, max_size=6
    ),
)
def test_a_line_counts_alike_however_it_is_turned_and_mirrored(angle, fps, walk) -> None:
    walks = [straight(*walk)]

    def seen(**more: object) -> tuple[int, int]:
        return tally(counted(World(fps=fps, noise=0.0, height=0.05, length=200, **more), walks))

    upright = seen()
    assert seen(angle=angle) == upright
    assert seen(angle=angle, mirrored=True) == upright[::-1]
    sides = [math.copysign(1, across) for _, across in walk]
    rightward = sum(before < after for before, after in pairwise(sides))
    leftward = sum(before > after for before, after in pairwise(sides))
    assert upright == (rightward, leftward)


@given(st.integers(0, 2**32 - 1))
def test_what_went_over_less_what_came_back_is_who_is_beyond(seed) -> None:
    """Conservation: however somebody wanders, crossings alternate and end on the side they end on."""
    rng = np.random.default_rng(seed)
    across = np.clip(np.cumsum(rng.normal(0, 0.5, 60)) - 1.5, -3, 3)
    across[0], across[-1] = -2.0, math.copysign(2.0, across[-1])
    walk = Walk(tuple((number * 0.7, 0.0, float(place)) for number, place in enumerate(across)))
    found = counted(World(fps=10, noise=0.03, seed=seed % 1000), [walk])
    directions = [one.direction for one in found]
    assert all(before is not after for before, after in pairwise(directions))
    rightward, leftward = tally(found)
    assert rightward - leftward == (1 if across[-1] > 0 else 0)


def test_left_and_right_are_as_seen_from_a_looking_at_b() -> None:
    """A left of B: who comes down the picture goes from left to right."""
    counter = LineCounter([Line("kerb", (0.1, 0.5), (0.9, 0.5))], EVERYTHING, ASPECT)
    found: list[Crossing] = []
    for number, foot in enumerate(np.linspace(0.3, 0.7, 21)):
        found += counter.count(tracks_of([1], [[0.48, foot - 0.1, 0.52, foot]]), START_MS + 100 * number)
    assert [one.direction for one in found] == [Direction.LEFT_TO_RIGHT]


def test_a_crossing_is_timed_between_frames() -> None:
    walk = straight((0, -3), (0, 3))
    (crossing,) = counted(World(fps=5, noise=0.0), [walk])
    assert crossing.at_ms == pytest.approx(START_MS + 1000 * MEET_S, abs=2)


def test_who_is_lost_in_the_band_is_timed_where_their_way_led() -> None:
    (crossing,) = counted(World(fps=10, noise=0.0), [straight((0, -3), (0, -0.08))])
    assert crossing.at_ms == pytest.approx(START_MS + 1000 * MEET_S, abs=100)


def test_people_count_by_the_foot_and_cars_by_the_centre() -> None:
    line = Line("kerb", (0.1, 0.5), (0.9, 0.5))

    def over(label: Label) -> int:
        counter = LineCounter([line], EVERYTHING, ASPECT)
        found: list[Crossing] = []
        for number, foot in enumerate(np.linspace(0.40, 0.58, 25)):
            tracks = tracks_of([1], [[0.45, foot - 0.2, 0.55, foot]], label)
            found += counter.count(tracks, START_MS + 100 * number)
        return len(found)

    assert (over(Label.PERSON), over(Label.BICYCLE), over(Label.CAR), over(Label.TRUCK)) == (1, 1, 0, 0)


def test_each_of_many_lines_counts_for_itself() -> None:
    lines = [Line(f"l{number}", (0.1, y), (0.9, y)) for number, y in enumerate((0.3, 0.5, 0.7))]
    counter = LineCounter(lines, EVERYTHING, ASPECT)
    found: list[Crossing] = []
    for number, foot in enumerate(np.linspace(0.2, 0.9, 60)):
        found += counter.count(tracks_of([1], [[0.48, foot - 0.1, 0.52, foot]]), START_MS + 100 * number)
    assert [one.line for one in found] == [0, 1, 2]
    assert found == sorted(found, key=lambda one: one.at_ms)


def test_a_label_that_is_not_counted_is_not_told() -> None:
    walk = straight((0, -3), (0, 3), label=Label.BICYCLE)
    assert counted(World(), [walk], frozenset({Label.PERSON})) == []
    assert counted(World(), swapped_at(0.0), frozenset({Label.CAR})) == []


def test_what_has_never_moved_is_not_counted() -> None:
    """A box that flips between two places is a detector's fault, not a walker."""
    world = World(noise=0.0)
    counter = LineCounter([world.line()], EVERYTHING, ASPECT)
    found: list[Crossing] = []
    for at_ms, tracks in world.tracks([straight((0, -3), (0, 3))]):
        still = np.zeros(len(tracks), np.bool_)
        found += counter.count(
            Tracks(tracks.ids, tracks.boxes, tracks.labels, tracks.seen, still, tracks.born_boxes, tracks.born_ms),
            at_ms,
        )
    assert found == []


def test_one_bad_box_beyond_the_line_changes_nothing() -> None:
    counter = LineCounter([Line("kerb", (0.1, 0.5), (0.9, 0.5))], EVERYTHING, ASPECT)
    feet = [0.45] * 10 + [0.62] + [0.45] * 10
    found: list[Crossing] = []
    for number, foot in enumerate(feet):
        found += counter.count(tracks_of([1], [[0.48, foot - 0.1, 0.52, foot]]), START_MS + 100 * number)
    assert found + counter.close() == []


def test_predicted_boxes_move_nobody() -> None:
    counter = LineCounter([Line("kerb", (0.1, 0.5), (0.9, 0.5))], EVERYTHING, ASPECT)
    found: list[Crossing] = []
    for number, foot in enumerate(np.linspace(0.2, 0.8, 31)):
        tracks = tracks_of([1], [[0.48, foot - 0.1, 0.52, foot]], seen=bool(foot < 0.4))
        found += counter.count(tracks, START_MS + 100 * number)
    assert found + counter.close() == []


def test_an_id_that_comes_back_after_its_path_was_taken_over_begins_again() -> None:
    world = World(noise=0.0, fps=10)
    walk = straight((0, -3), (0, 3), ids=((0, 1), (2.0, 7), (6.0, 1)))
    assert tally(counted(world, [walk])) == (1, 0)


def test_two_who_meet_at_the_line_stop_and_turn_back_have_not_crossed() -> None:
    there = Walk(((0, 0, -3), (3.6, 0, -0.1), (6, 0, -0.1), (9.6, 0, -3)))
    back = Walk(((0, 0.3, 3), (3.6, 0.3, 0.1), (6, 0.3, 0.1), (9.6, 0.3, 3)))
    assert counted(World(), [there, back]) == []


def test_ids_swapped_beyond_the_end_of_the_line_are_nobodys_crossing() -> None:
    there, back = swapped_at(0.0)
    aside = [
        Walk(tuple((at_s, along + 6, across) for at_s, along, across in one.corners), ids=one.ids)
        for one in (there, back)
    ]
    assert counted(World(length=5, height=0.05), aside) == []


def test_ids_swapped_over_a_distance_are_given_back() -> None:
    """At 5 fps two runners may change ids a stride apart."""
    walks = [
        Walk(((0, 0, -4), (4, 0, 4)), ids=((0, 1), (2.3, 2))),
        Walk(((0, 0.4, 4), (4, 0.4, -4)), ids=((0, 2), (2.3, 1))),
    ]
    assert tally(counted(World(fps=5), walks)) == (1, 1)


def test_a_car_never_inherits_the_way_of_a_walker() -> None:
    world = World(noise=0.0, fps=10)
    walker, car = straight((0, -3), (0, -0.5)), straight((0, -0.2), (0, 3), start_s=3.2, label=Label.CAR)
    assert [one.label for one in counted(world, [walker, car])] == []


def test_time_that_goes_back_ends_every_path() -> None:
    line = Line("kerb", (0.1, 0.5), (0.9, 0.5))
    counter = LineCounter([line], EVERYTHING, ASPECT)
    for number in range(5):
        assert counter.count(tracks_of([1], [[0.48, 0.3, 0.52, 0.4]]), START_MS + 100 * number) == []
    found: list[Crossing] = []
    for number in range(5):
        found += counter.count(tracks_of([1], [[0.48, 0.5, 0.52, 0.6]]), START_MS - 60_000 + 100 * number)
    assert found == []


@pytest.mark.thorough
def test_nothing_is_kept_of_those_who_left() -> None:
    counter = LineCounter([Line("kerb", (0.1, 0.5), (0.9, 0.5))], EVERYTHING, ASPECT)
    rng = np.random.default_rng(1)
    most = 0
    for number in range(2000):
        at_ms = START_MS + 200 * number
        boxes = rng.uniform(0, 0.9, (20, 2))
        counter.count(tracks_of(rng.integers(1, 2**62, 20).tolist(), np.hstack([boxes, boxes + 0.1])), at_ms)
        most = max(most, len(counter._paths))
    assert most <= 1024
    counter.count(tracks_of([], []), at_ms + LINGER_MS + 1)
    assert len(counter._paths) == 0
    assert len(counter._turns) <= 64


def test_no_lines_count_nothing() -> None:
    counter = LineCounter([], EVERYTHING, ASPECT)
    assert counter.count(tracks_of([1], [[0.1, 0.1, 0.2, 0.2]]), START_MS) + counter.close() == []
