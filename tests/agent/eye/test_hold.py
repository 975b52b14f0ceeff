"""What is covered beyond what is found: before, after and between sightings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilleur_agent.eye.hold import (
    DELAY_FRAMES,
    FOUND_AHEAD_FRAMES,
    GROWTH,
    HELD_FRAMES,
    Hold,
    Regions,
)
from veilleur_agent.eye.sightings import SHIFT_SIZES

PERIOD_MS = 200
EMPTY = np.empty((0, 4))


def box_at(x: float, y: float = 0.5, width: float = 0.1, height: float = 0.2) -> Regions:
    """One box around a centre."""
    return np.array([[x - width / 2, y - height / 2, x + width / 2, y + height / 2]])


def covered_by(hold: Hold, frames: list[Regions], period_ms: int = PERIOD_MS) -> list[Regions]:
    """What is covered in each frame when it is shown: ``DELAY_FRAMES`` later, or at the end."""
    covered: list[Regions] = []
    for number, found in enumerate(frames):
        hold.add(number * period_ms, found)
        if number >= DELAY_FRAMES:
            covered.append(hold.at(DELAY_FRAMES, (number - DELAY_FRAMES) * period_ms))
    last = len(frames) - 1
    waiting = range(max(0, len(frames) - DELAY_FRAMES), len(frames))
    return covered + [hold.at(last - number, number * period_ms) for number in waiting]


def holds(covered: Regions, box: Regions) -> bool:
    return bool(
        ((covered[:, :2] <= box[0, :2] + 1e-9).all(axis=1) & (covered[:, 2:] >= box[0, 2:] - 1e-9).all(axis=1)).any()
    )


def test_what_is_found_once_is_covered_for_as_long_before_and_after() -> None:
    frames = [EMPTY] * 10 + [box_at(0.5)] + [EMPTY] * 10
    covered = covered_by(Hold(10), frames)
    assert [len(one) for one in covered] == [int(10 - FOUND_AHEAD_FRAMES <= n <= 10 + HELD_FRAMES) for n in range(21)]
    assert all(holds(one, box_at(0.5)) for one in covered[10 - FOUND_AHEAD_FRAMES : 11 + HELD_FRAMES])


def test_what_is_not_found_grows_with_every_frame() -> None:
    widths = [one[0, 2] - one[0, 0] for one in covered_by(Hold(10), [box_at(0.5)] + [EMPTY] * HELD_FRAMES)]
    assert widths == pytest.approx([0.1 * (1 + 2 * GROWTH * n) for n in range(HELD_FRAMES + 1)])


@pytest.mark.parametrize("speed", [0.0, 0.01, 0.03, -0.02])
def test_who_is_lost_is_covered_where_they_would_be_and_where_they_were(speed) -> None:
    frames = [box_at(0.5 + speed * n) for n in range(5)] + [EMPTY] * HELD_FRAMES
    covered = covered_by(Hold(10), frames)
    for number in range(5, 5 + HELD_FRAMES):
        assert holds(covered[number], box_at(0.5 + speed * number))
        assert holds(covered[number], box_at(0.5 + speed * 4))


@pytest.mark.parametrize("speed", [0.0, 0.01, 0.03, -0.02])
def test_who_is_found_is_covered_where_they_came_from(speed) -> None:
    walk = [box_at(0.5 + speed * n) for n in range(FOUND_AHEAD_FRAMES + 6)]
    covered = covered_by(Hold(10), [EMPTY] * FOUND_AHEAD_FRAMES + walk[FOUND_AHEAD_FRAMES:])
    assert all(holds(one, box) for one, box in zip(covered, walk, strict=True))


def test_between_two_sightings_the_way_is_covered() -> None:
    walk = [box_at(0.3 + 0.02 * n) for n in range(HELD_FRAMES + FOUND_AHEAD_FRAMES + 4)]
    gap = set(range(2, 2 + HELD_FRAMES + FOUND_AHEAD_FRAMES))
    covered = covered_by(Hold(10), [EMPTY if n in gap else box for n, box in enumerate(walk)])
    assert all(holds(one, box) for one, box in zip(covered, walk, strict=True))


def test_between_two_sightings_frames_need_not_come_evenly() -> None:
    times = [0, 200, 400, 600, 800, 2200, 2400, 2600, 2800]
    walk = [box_at(0.2 + 0.0002 * at_ms) for at_ms in times]
    hold = Hold(10)
    for at_ms, box in zip(times, walk, strict=True):
        hold.add(at_ms, EMPTY if at_ms in (800, 2200) else box)
    for back, (at_ms, box) in enumerate(zip(times[::-1], walk[::-1], strict=True)):
        assert back > DELAY_FRAMES or holds(hold.at(back, at_ms), box)


@pytest.mark.parametrize(
    ("gap_ms", "is_cut"), [pytest.param(200, True, id="another-view"), pytest.param(60_000, False, id="a-long-silence")]
)
def test_over_a_cut_nobody_is_followed_and_both_sides_are_covered(gap_ms, is_cut) -> None:
    hold = Hold(10)
    times = [0, 200, 200 + gap_ms, 400 + gap_ms, 600 + gap_ms]
    for number, (at_ms, found) in enumerate(zip(times, [box_at(0.5), EMPTY, EMPTY, EMPTY, box_at(0.54)], strict=True)):
        hold.add(at_ms, found, is_cut=is_cut and number == 2)
    for back in range(4):
        covered = hold.at(back, times[4 - back])
        assert holds(covered, box_at(0.5))
        assert holds(covered, box_at(0.54))


@pytest.mark.parametrize("speed", [0.0, 0.01, 0.05, -0.04])
def test_between_two_frames_all_that_is_found_in_either_is_covered_and_the_way(speed) -> None:
    hold, lost = Hold(10), {3, 4}
    for number in range(8):
        hold.add(number * PERIOD_MS, EMPTY if number in lost else box_at(0.4 + speed * number))
    for before in range(7):
        before_ms, after_ms = before * PERIOD_MS, (before + 1) * PERIOD_MS
        (covered,) = hold.between(7 - before, before_ms + 50, before_ms, after_ms)
        assert holds(covered[None], box_at(0.4 + speed * (before + 0.25)))
        sides = {before, before + 1}
        assert all(holds(covered[None], box_at(0.4 + speed * number)) for number in sides - lost)


def test_between_the_last_frame_somebody_is_held_in_and_the_next_they_are_let_go() -> None:
    hold = Hold(10)
    for number in range(HELD_FRAMES + 2):
        hold.add(number * PERIOD_MS, EMPTY if number else box_at(0.5))
    ends = [(back, (HELD_FRAMES + 1 - back) * PERIOD_MS) for back in (2, 1)]
    assert [len(hold.between(back, at_ms + 100, at_ms, at_ms + PERIOD_MS)) for back, at_ms in ends] == [1, 0]


def test_a_box_too_small_for_one_frame_is_steadied_by_those_beside_it() -> None:
    frames = [box_at(0.5), box_at(0.5), box_at(0.5, 0.55, height=0.1), box_at(0.5), box_at(0.5)]
    assert all(holds(one, box_at(0.5)) for one in covered_by(Hold(10), frames))


def test_two_who_cross_are_both_covered_all_the_way() -> None:
    walks = [[box_at(0.2 + 0.02 * n), box_at(0.8 - 0.02 * n)] for n in range(30)]
    hidden = set(range(12, 16))
    covered = covered_by(Hold(10), [np.concatenate(pair[: 1 if n in hidden else 2]) for n, pair in enumerate(walks)])
    for one, pair in zip(covered, walks, strict=True):
        assert all(holds(one, box) for box in pair)


def test_who_walks_leaves_no_trail_while_found() -> None:
    covered = covered_by(Hold(10), [box_at(0.1 + 0.02 * n) for n in range(30)])
    assert [len(one) for one in covered] == [1] * 30
    assert max(one[0, 2] - one[0, 0] for one in covered) < 0.11


def test_a_wrong_path_covers_no_street() -> None:
    frames = [box_at(0.2, width=0.05, height=0.05), box_at(0.245, width=0.05, height=0.05)] + [EMPTY] * HELD_FRAMES
    covered = covered_by(Hold(10), frames)
    widest = max(one[:, 2].max() - one[:, 0].min() for one in covered)
    assert widest <= 0.05 * (1 + SHIFT_SIZES + 2 * GROWTH * HELD_FRAMES) + 0.05


def test_what_is_small_and_flickers_once_is_left_out_where_that_is_asked_for() -> None:
    once = covered_by(Hold(10, flicker=0.021), [EMPTY] * 3 + [box_at(0.5)] + [EMPTY] * 9)
    large = covered_by(Hold(10, flicker=0.019), [EMPTY] * 3 + [box_at(0.5)] + [EMPTY] * 9)
    twice = covered_by(Hold(10, flicker=0.021), [EMPTY] * 3 + [box_at(0.5)] * 2 + [EMPTY] * 9)
    assert all(len(one) == 0 for one in once)
    assert all(holds(one, box_at(0.5)) for one in large[:9])
    assert all(holds(one, box_at(0.5)) for one in twice[:10])


def told_beside(moving: list[Regions], found: list[Regions], back: int = 2) -> list[Regions]:
    """What one hold covers in each frame when it learns after every one what another covers."""
    hold, other = Hold(10, growth=0.0), Hold(10)
    covered: list[Regions] = []
    for number, (one, two) in enumerate(zip(moving, found, strict=True)):
        hold.add(number * PERIOD_MS, one)
        other.add(number * PERIOD_MS, two)
        if number > back:
            hold.explain(back, other, (number - back - 1) * PERIOD_MS, (number - back) * PERIOD_MS)
        if number >= DELAY_FRAMES:
            covered.append(hold.at(DELAY_FRAMES, (number - DELAY_FRAMES) * PERIOD_MS))
    return covered


INNER = {"width": 0.05, "height": 0.1}
FRAMES = 30


@pytest.mark.parametrize(
    ("moved", "found", "is_told"),
    [
        pytest.param({10: 0.5}, range(FRAMES), False, id="always-found"),
        pytest.param({10: 0.5}, [9, 11], False, id="lost-for-one-frame"),
        pytest.param({10: 0.5, 11: 0.5, 12: 0.5}, [9, 13], True, id="lost-for-three"),
        pytest.param({10: 0.5}, [], True, id="never-found"),
        pytest.param({10: 0.5, 11: 0.5}, [8, 9], True, id="held-and-not-found-again"),
        pytest.param({10: 0.53}, range(FRAMES), True, id="beside-somebody-in-part"),
        pytest.param({10: 0.5, 11: 0.56, 12: 0.6}, range(FRAMES), True, id="comes-out-from-behind-somebody"),
    ],
)
def test_what_is_covered_by_another_hold_already_is_not_told_again(moved, found, is_told) -> None:
    moving = [box_at(moved[n], **INNER) if n in moved else EMPTY for n in range(FRAMES)]
    covered = told_beside(moving, [box_at(0.5) if n in found else EMPTY for n in range(FRAMES)])
    reach = range(min(moved) - FOUND_AHEAD_FRAMES, max(moved) + HELD_FRAMES + 1)
    assert [len(one) > 0 for one in covered] == [is_told and n in reach for n in range(len(covered))]


def test_whoever_comes_into_sight_late_is_told_from_behind_whoever_hid_them() -> None:
    moving = [box_at(0.5 + 0.02 * max(0, n - 15), **INNER) if n >= 10 else EMPTY for n in range(FRAMES)]
    covered = told_beside(moving, [box_at(0.5)] * FRAMES)
    assert all(holds(covered[n], moving[n]) for n in range(16, len(covered)))


@pytest.mark.parametrize(("ahead", "is_told"), [(0.0, False), (0.03, True)])
def test_what_moves_before_a_frame_is_told_unless_all_the_way_to_it_is_covered(ahead, is_told) -> None:
    """Between two frames in which somebody was not found they are where time has them: no further."""
    way = [box_at(0.2 + 0.02 * n) for n in range(FRAMES)]
    found = [way[n] if n < 10 or n > 13 else EMPTY for n in range(FRAMES)]
    moved = box_at(0.2 + 0.02 * 12 + ahead, **INNER)
    assert holds(covered_by(Hold(10), found)[12], moved)
    covered = told_beside([moved if n == 12 else EMPTY for n in range(FRAMES)], found)
    assert any(len(one) for one in covered) == is_told


@pytest.mark.parametrize("period_ms", [0, -200, 3_600_000])
def test_time_that_stands_still_runs_back_or_jumps_moves_nothing(period_ms) -> None:
    frames = [box_at(0.3), box_at(0.33), EMPTY, EMPTY]
    covered = covered_by(Hold(10), frames, period_ms)
    assert holds(covered[2], box_at(0.33))
    assert covered[2][:, 2].max() == pytest.approx(0.33 + 0.05 * (1 + 2 * GROWTH))


def test_more_boxes_than_the_bound_are_refused() -> None:
    hold = Hold(3)
    with pytest.raises(ValueError, match="4 boxes in one frame, more than 3"):
        hold.add(0, np.concatenate([box_at(0.1 * n) for n in range(1, 5)]))


def test_paths_end_when_no_frame_that_waits_can_need_them() -> None:
    hold = Hold(3)
    hold.add(0, box_at(0.5))
    for number in range(1, HELD_FRAMES + DELAY_FRAMES + 2):
        hold.add(number * PERIOD_MS, EMPTY)
    assert hold._paths == []


sightings = st.lists(
    st.lists(
        st.builds(
            lambda x, y, w, h: [x, y, x + w, y + h],
            st.floats(0, 0.9),
            st.floats(0, 0.9),
            st.floats(0.01, 0.3),
            st.floats(0.01, 0.3),
        ),
        max_size=4,
    ),
    min_size=1,
    max_size=16,
)


@settings(max_examples=settings.default.max_examples * 3 // 2)
@given(found=sightings)
def test_whatever_is_found_is_covered_in_its_frame_and_those_around_it(found) -> None:
    frames = [np.array(boxes, np.float64).reshape(-1, 4) for boxes in found]
    covered = covered_by(Hold(8), frames)
    for number, boxes in enumerate(frames):
        for box in boxes:
            assert holds(covered[number], box[None])
    for number, one in enumerate(covered):
        near = frames[max(0, number - HELD_FRAMES) : number + FOUND_AHEAD_FRAMES + 1]
        assert (len(one) > 0) == any(len(boxes) for boxes in near)
