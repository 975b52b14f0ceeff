"""Nobody and no plate is left in a redacted frame, and any doubt fills all of it."""

from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eye_builders import detections_of
from veilleur_agent.eye.hold import DELAY_FRAMES, FOUND_AHEAD_FRAMES, HELD_FRAMES
from veilleur_agent.eye.planes import planes_of
from veilleur_agent.eye.records import Detections, RawFrame, RedactedFrame, no_detections
from veilleur_agent.eye.redact import (
    CHECKED_EVERY,
    FILL,
    LOOKS_APART_MS,
    PASSED_OVER_MAX,
    REGIONS_MAX,
    Check,
    Doubt,
    Redactor,
    fill,
)
from veilleur_contracts.errors import TransientError
from veilleur_contracts.messages import Label

WIDTH, HEIGHT = 320, 240
BOX = (0.4, 0.4, 0.6, 0.8)
PERSON = detections_of((Label.PERSON, BOX))
VEHICLES = {Label.CAR, Label.BUS, Label.TRUCK}


@cache
def wall() -> np.ndarray:
    """A picture no pixel of which is the colour of the fill, so that what was filled can be told."""
    i420 = np.random.default_rng(7).integers(16, 100, (HEIGHT * 3 // 2, WIDTH), np.uint8)
    smooth = cv2.GaussianBlur(i420[:HEIGHT], (0, 0), 6)
    i420[:HEIGHT] = np.clip((smooth.astype(np.int16) - 58) * 8 + 58, 16, 110)
    return i420


def texture(number: int = 0) -> RawFrame:
    """A still frame of that."""
    return RawFrame("gare", number, number * 200, wall().copy())


def nothing_left(_: RawFrame) -> Detections:
    return no_detections()


def always(_: RawFrame) -> bool:
    return True


def shown_of(*found: Detections | None, check: Check = nothing_left) -> list[RedactedFrame]:
    """Redact one still frame after another, each with what one detector found in it."""
    redactor = Redactor(check, always)
    shown = [redactor.redact(texture(number), (one,)) for number, one in enumerate(found)]
    return [one for due in shown for one in due] + redactor.close()


def filled_of(i420: np.ndarray) -> np.ndarray:
    """Which pixels are filled in all three planes, bool, shape (height, width)."""
    luma, blue, red = (np.equal(plane, value) for plane, value in zip(planes_of(i420), FILL, strict=True))
    assert np.array_equal(blue, red)
    colour = blue.repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(luma, colour), "a filled pixel keeps neither its light nor its colour"
    return luma


def spot_of(filled: np.ndarray, x: float, y: float) -> bool:
    return bool(filled[min(int(y * HEIGHT), HEIGHT - 1), min(int(x * WIDTH), WIDTH - 1)])


def is_covered(shown: RedactedFrame, box: tuple[float, float, float, float]) -> bool:
    x1, y1, x2, y2 = box
    rows = slice(int(y1 * HEIGHT), int(np.ceil(y2 * HEIGHT)))
    return bool(filled_of(shown.i420)[rows, int(x1 * WIDTH) : int(np.ceil(x2 * WIDTH))].all())


def test_a_person_is_filled_whole_and_beyond() -> None:
    filled = filled_of(shown_of(PERSON)[0].i420)
    rows, columns = np.nonzero(filled)
    assert columns.min() / WIDTH <= 0.4 - 0.2 * 0.2
    assert (columns.max() + 1) / WIDTH >= 0.6 + 0.2 * 0.2
    assert rows.min() / HEIGHT <= 0.4 - 0.2 * 0.4
    assert (rows.max() + 1) / HEIGHT >= 0.8 + 0.2 * 0.4
    assert filled.sum() == (np.ptp(columns) + 1) * (np.ptp(rows) + 1)


def test_what_was_not_found_is_left_as_it_was() -> None:
    frame, shown = texture(), shown_of(PERSON)[0]
    filled = filled_of(shown.i420)
    np.testing.assert_array_equal(shown.i420[:HEIGHT][~filled], frame.i420[:HEIGHT][~filled])
    assert shown.filled_share == pytest.approx(filled.mean())
    assert (shown.camera, shown.number, shown.at_ms) == (frame.camera, frame.number, frame.at_ms)


def test_the_raw_frame_is_not_touched() -> None:
    frame = texture()
    before = frame.i420.copy()
    redactor = Redactor(nothing_left, always)
    redactor.redact(frame, (PERSON,))
    redactor.redact(frame, (None,))
    redactor.close()
    np.testing.assert_array_equal(frame.i420, before)


@pytest.mark.parametrize(
    ("label", "above", "upper", "lower"),
    [
        pytest.param(Label.PERSON, False, True, True, id="person-whole"),
        pytest.param(Label.BICYCLE, True, True, True, id="bicycle-and-its-rider"),
        pytest.param(Label.MOTORCYCLE, True, True, True, id="motorcycle-and-its-rider"),
        pytest.param(Label.CAR, False, False, True, id="car-plate"),
        pytest.param(Label.BUS, False, False, True, id="bus-plate"),
        pytest.param(Label.TRUCK, False, False, True, id="truck-plate"),
        pytest.param(-1, False, True, True, id="anything-else-whole"),
    ],
)
def test_each_label_is_filled_where_it_can_be_recognised(label, above, upper, lower) -> None:
    filled = filled_of(shown_of(detections_of((label, (0.4, 0.5, 0.6, 0.7))))[0].i420)
    assert (spot_of(filled, 0.5, 0.4), spot_of(filled, 0.5, 0.51), spot_of(filled, 0.5, 0.65)) == (above, upper, lower)


def test_what_any_detector_finds_is_filled() -> None:
    redactor = Redactor(nothing_left, always)
    face = detections_of((-1, (0.1, 0.1, 0.15, 0.2)))
    assert redactor.redact(texture(), (PERSON, no_detections(), face)) == []
    shown = redactor.close()[0]
    assert is_covered(shown, BOX)
    assert is_covered(shown, (0.1, 0.1, 0.15, 0.2))


def test_frames_come_out_in_their_order_each_once_and_late() -> None:
    redactor = Redactor(nothing_left, always)
    during = [redactor.redact(texture(number), (PERSON,)) for number in range(12)]
    assert [[one.number for one in due] for due in during] == [[]] * DELAY_FRAMES + [
        [number] for number in range(12 - DELAY_FRAMES)
    ]
    assert [one.number for one in redactor.close()] == list(range(12 - DELAY_FRAMES, 12))
    assert redactor.close() == []
    assert redactor.shown == 12


def test_somebody_lost_stays_filled_and_somebody_found_was_filled_before() -> None:
    found = [no_detections()] * 10 + [PERSON] + [no_detections()] * 10
    covered = [is_covered(one, BOX) for one in shown_of(*found)]
    assert min(HELD_FRAMES, FOUND_AHEAD_FRAMES) >= 5
    assert covered == [10 - FOUND_AHEAD_FRAMES <= number <= 10 + HELD_FRAMES for number in range(21)]


def test_somebody_walking_is_filled_with_one_detection_in_four_dropped() -> None:
    chance = np.random.default_rng(3)
    walk = [(0.05 + 0.015 * n, 0.4, 0.11 + 0.015 * n, 0.8) for n in range(50)]
    dropped = chance.random(50) < 0.25
    found = [
        no_detections() if gone else detections_of((Label.PERSON, box)) for box, gone in zip(walk, dropped, strict=True)
    ]
    assert dropped.sum() >= 8
    assert all(is_covered(one, box) for one, box in zip(shown_of(*found), walk, strict=True))


def test_a_mover_nobody_recognises_is_filled() -> None:
    redactor = Redactor(nothing_left, always)
    shown: list[RedactedFrame] = []
    for number in range(30):
        frame = texture(number)
        left = 20 + 6 * number
        planes_of(frame.i420)[0][100:130, left : left + 16] = 200
        shown.extend(redactor.redact(frame, (no_detections(),)))
    told = [*shown, *redactor.close()]
    assert len(told) == 30
    for one in told:
        assert not (planes_of(one.i420)[0] == 200).any()
        assert one.filled_share < 0.2


@pytest.mark.parametrize(
    ("found", "doubt"),
    [
        pytest.param((), Doubt.UNSEEN, id="no-detector-at-all"),
        pytest.param((None,), Doubt.UNSEEN, id="late"),
        pytest.param((PERSON, None), Doubt.UNSEEN, id="one-of-two-late"),
        pytest.param((detections_of((Label.PERSON, (0.1, 0.1, float("nan"), 0.2))),), Doubt.UNSEEN, id="not-finite"),
        pytest.param((detections_of((Label.PERSON, (0.6, 0.4, 0.4, 0.8))),), Doubt.UNSEEN, id="no-box-at-all"),
        pytest.param((detections_of(*[(Label.PERSON, BOX)] * (REGIONS_MAX + 1)),), Doubt.CROWDED, id="crowded"),
    ],
)
def test_without_detections_to_trust_the_whole_frame_is_filled(found, doubt) -> None:
    redactor = Redactor(nothing_left, always)
    redactor.redact(texture(), found)
    shown = redactor.close()[0]
    assert filled_of(shown.i420).all()
    assert shown.filled_share == 1.0
    assert redactor.doubts == {doubt: 1}


def test_whoever_was_there_before_a_blind_frame_is_still_held_after_it() -> None:
    assert is_covered(shown_of(PERSON, None, no_detections())[2], BOX)


@pytest.mark.parametrize(("blind", "is_whole"), [(2, False), (3, True)])
def test_a_frame_that_too_few_looks_to_trust_followed_is_filled_whole(blind, is_whole) -> None:
    """Whoever was there would be known only from looks that come when it has been shown."""
    shown = shown_of(no_detections(), *[None] * blind, *[no_detections()] * 12)
    assert (shown[0].filled_share == 1.0) == is_whole
    assert not any(one.filled_share for one in shown[blind + 1 :])


def test_blind_frames_use_up_nothing_of_the_time_somebody_is_held() -> None:
    found = [PERSON, *[None] * 12, *[no_detections()] * (HELD_FRAMES + 1)]
    shown = shown_of(*found)
    assert all(one.filled_share == 1.0 for one in shown[1:13])
    assert [is_covered(one, BOX) for one in shown[13:]] == [True] * HELD_FRAMES + [False]


def test_whoever_is_there_when_the_camera_connects_was_filled_before_being_found() -> None:
    found = [no_detections()] * FOUND_AHEAD_FRAMES + [PERSON]
    assert all(is_covered(one, BOX) for one in shown_of(*found))


def test_in_a_crowd_too_large_everybody_is_held_in_the_frames_around_it() -> None:
    places = [(0.02 + 0.05 * (n % 20), 0.02 + 0.06 * (n // 20)) for n in range(REGIONS_MAX + 60)]
    boxes = [(x, y, x + 0.01, y + 0.02) for x, y in places]
    crowd = detections_of(*[(Label.PERSON, box) for box in boxes])
    before, during, after = shown_of(no_detections(), crowd, no_detections())
    assert during.filled_share == 1.0
    assert all(is_covered(one, box) for one in (before, after) for box in boxes)


def test_more_movers_than_the_bound_are_filled_all_of_them() -> None:
    redactor = Redactor(nothing_left, always)
    shown: list[RedactedFrame] = []
    for number in range(12):
        frame = texture(number)
        if number > 2:
            for place in range(300):
                top, left = 8 + place // 20 * 15, 2 + place % 20 * 16 + number % 2 * 2
                planes_of(frame.i420)[0][top : top + 8, left : left + 8] = 200
        shown.extend(redactor.redact(frame, (no_detections(),)))
    told = [*shown, *redactor.close()]
    assert not any((planes_of(one.i420)[0] == 200).any() for one in told)


def test_when_the_picture_changes_its_shape_nobody_is_followed_from_one_to_the_other() -> None:
    redactor = Redactor(nothing_left, always)
    other = (0.42, 0.3, 0.62, 0.7)
    wide = np.ascontiguousarray(texture().i420[:, : WIDTH // 2])
    sights = [PERSON, no_detections(), no_detections(), detections_of((Label.PERSON, other))]
    for number, found in enumerate(sights):
        i420 = texture().i420 if number < 2 else wide
        redactor.redact(RawFrame("gare", number, number * 200, i420), (found,))
    for one in redactor.close():
        rows, columns = one.i420.shape[0] * 2 // 3, one.i420.shape[1]
        for x1, y1, x2, y2 in (BOX, other):
            part = planes_of(one.i420)[0][int(y1 * rows) : int(y2 * rows), int(x1 * columns) : int(x2 * columns)]
            assert (part == FILL[0]).all()


def test_a_frame_nobody_could_be_found_in_is_filled_whole() -> None:
    redactor = Redactor(nothing_left, lambda frame: frame.number != 1)
    for number in range(3):
        redactor.redact(texture(number), (PERSON,))
    assert [one.filled_share == 1.0 for one in redactor.close()] == [False, True, False]
    assert redactor.doubts == {Doubt.UNREADABLE: 1}


def a_frame_at(number: int, at_ms: int) -> RawFrame:
    return RawFrame("gare", number, at_ms, texture().i420)


def shown_between(*looks: Detections | None, passed: int = 1, check: Check = nothing_left) -> list[RedactedFrame]:
    """Redact one still frame after another, 200 ms from look to look, with so many frames passed over after each."""
    redactor, shown = Redactor(check, always), list[RedactedFrame]()
    for turn, found in enumerate(looks):
        first, step_ms = turn * (passed + 1), 200 / (passed + 1)
        shown += redactor.redact(a_frame_at(first, turn * 200), (found,))
        for later in range(1, passed + 1):
            shown += redactor.pass_over(a_frame_at(first + later, round(turn * 200 + later * step_ms)))
    return shown + redactor.close()


def test_frames_passed_over_come_out_in_their_order_each_once_and_are_covered_from_both_sides() -> None:
    far = detections_of((Label.PERSON, (0.1, 0.1, 0.2, 0.3)))
    shown = shown_between(*[no_detections()] * 6, PERSON, far, *[no_detections()] * 6, passed=5)
    assert [one.number for one in shown] == list(range(14 * 6))
    for one in shown[6 * 6 : 7 * 6 + 1]:
        assert is_covered(one, BOX)
        assert is_covered(one, (0.1, 0.1, 0.2, 0.3))
    assert all(is_covered(one, BOX) for one in shown[6 * (6 - FOUND_AHEAD_FRAMES) : 6 * (6 + HELD_FRAMES)])


def test_between_looks_the_whole_way_of_a_walker_is_covered() -> None:
    walk = [(0.05 + 0.04 * n, 0.4, 0.15 + 0.04 * n, 0.8) for n in range(15)]
    shown = shown_between(*[detections_of((Label.PERSON, box)) for box in walk], passed=3)
    for turn in range(14):
        (x1, y1, _, y2), (_, _, x2, _) = walk[turn], walk[turn + 1]
        assert all(is_covered(one, (x1, y1, x2, y2)) for one in shown[turn * 4 + 1 : turn * 4 + 4])
        assert not is_covered(shown[turn * 4 + 1], (0.05, 0.4, 0.95, 0.8))


@pytest.mark.parametrize(
    ("looks", "whole"),
    [
        pytest.param((PERSON, PERSON, PERSON), {5}, id="no-look-after-the-last"),
        pytest.param((PERSON, None, PERSON, PERSON), {1, 2, 3, 7}, id="a-look-that-failed"),
        pytest.param((None, PERSON, PERSON), {0, 1, 5}, id="none-before"),
        pytest.param(
            (PERSON, detections_of(*[(Label.PERSON, BOX)] * (REGIONS_MAX + 1)), PERSON), {1, 2, 3, 5}, id="crowded"
        ),
    ],
)
def test_a_frame_passed_over_beside_a_look_not_to_be_trusted_is_filled_whole(looks, whole) -> None:
    assert {one.number for one in shown_between(*looks) if one.filled_share == 1.0} == whole


@pytest.mark.parametrize(
    ("passed_ms", "after_ms", "is_whole"),
    [
        pytest.param(125, LOOKS_APART_MS, False, id="as-far-apart-as-may-be"),
        pytest.param(125, LOOKS_APART_MS + 1, True, id="too-far-apart"),
        pytest.param(125, 100, True, id="after-its-look"),
        pytest.param(-20, 200, True, id="before-its-look"),
        pytest.param(0, 0, True, id="a-clock-that-stands"),
        pytest.param(LOOKS_APART_MS, LOOKS_APART_MS, True, id="too-late"),
    ],
)
def test_a_frame_passed_over_lies_in_time_between_two_looks_that_are_near(passed_ms, after_ms, is_whole) -> None:
    redactor = Redactor(nothing_left, always)
    redactor.redact(a_frame_at(0, 0), (PERSON,))
    redactor.pass_over(a_frame_at(1, passed_ms))
    redactor.redact(a_frame_at(2, after_ms), (PERSON,))
    assert [one.filled_share == 1.0 for one in redactor.close()] == [False, is_whole, False]
    assert redactor.doubts == ({Doubt.UNSEEN: 1} if is_whole else {})


def test_a_frame_passed_over_of_another_shape_or_before_any_look_is_filled_whole() -> None:
    redactor = Redactor(nothing_left, always)
    redactor.pass_over(a_frame_at(0, 0))
    redactor.redact(a_frame_at(1, 100), (PERSON,))
    redactor.pass_over(RawFrame("gare", 2, 200, np.ascontiguousarray(texture().i420[:, : WIDTH // 2])))
    redactor.redact(a_frame_at(3, 300), (PERSON,))
    assert [one.filled_share == 1.0 for one in redactor.close()] == [True, False, True, False]


@pytest.mark.parametrize("step_ms", [0, 10, 100])
def test_without_looks_frames_passed_over_are_let_go_and_none_is_shown(step_ms) -> None:
    redactor = Redactor(nothing_left, always)
    shown = redactor.redact(a_frame_at(0, 0), (PERSON,))
    for number in range(1, 400):
        shown += redactor.pass_over(a_frame_at(number, number * step_ms))
        assert len(redactor._waiting) + len(redactor._passed_over) <= (DELAY_FRAMES + 1) * (PASSED_OVER_MAX + 1)
    assert len(shown) > 200
    assert all(one.filled_share == 1.0 for one in shown[1:])


def test_whoever_moves_in_frames_passed_over_alone_is_filled_in_them() -> None:
    redactor, shown = Redactor(nothing_left, always), list[RedactedFrame]()
    for number in range(60):
        frame = texture(number)
        if number % 3 and number > 6:
            planes_of(frame.i420)[0][100:130, 20 + 4 * number : 36 + 4 * number] = 200
        seen = RawFrame("gare", number, number * 66, frame.i420)
        shown += redactor.pass_over(seen) if number % 3 else redactor.redact(seen, (no_detections(),))
    told = shown + redactor.close()
    assert [one.number for one in told] == list(range(60))
    assert not any((planes_of(one.i420)[0] == 200).any() for one in told)
    assert np.mean([one.filled_share for one in told]) < 0.3


def test_frames_passed_over_are_looked_at_again_too() -> None:
    checker = Checker(set())
    shown_between(*[PERSON] * 50, passed=1, check=checker)
    assert {number % 2 for number in checker.asked} == {0, 1}
    assert max(np.diff(checker.asked)) <= CHECKED_EVERY


class Checker:
    """Finds a face in the frames it is told to, counts those it was shown, and can fail."""

    def __init__(self, exposed: set[int], *, fails: bool = False) -> None:
        self.asked: list[int] = []
        self._exposed = exposed
        self._fails = fails

    def __call__(self, frame: RawFrame) -> Detections:
        self.asked.append(frame.number)
        if self._fails:
            raise TransientError("no answer")
        return detections_of((-1, (0.7, 0.1, 0.75, 0.2))) if frame.number in self._exposed else no_detections()


def test_one_frame_in_ten_is_looked_at_again() -> None:
    checker = Checker(set())
    shown = shown_of(*[PERSON] * 60, check=checker)
    assert CHECKED_EVERY <= 10
    assert checker.asked == [0, 9, 19, 28, 38, 47, 57]
    assert all(one.filled_share < 1.0 for one in shown)


def test_after_a_face_was_left_every_frame_is_looked_at_until_none_is() -> None:
    checker = Checker({19, 20})
    shown = shown_of(*[PERSON] * 40, check=checker)
    assert checker.asked == [0, 9, 19, 20, 21, 30]
    assert [one.number for one in shown if one.filled_share == 1.0] == [19, 20]


def test_every_kept_still_is_looked_at() -> None:
    checker = Checker({3})
    redactor = Redactor(checker, always)
    for number in range(6):
        redactor.redact(texture(number), (PERSON,), is_kept=number == 3)
    redactor.close()
    assert 3 in checker.asked
    assert redactor.doubts == {Doubt.EXPOSED: 1}


def test_a_self_check_that_fails_fills_the_frame() -> None:
    redactor = Redactor(Checker(set(), fails=True), always)
    redactor.redact(texture(), (PERSON,))
    assert redactor.close()[0].filled_share == 1.0
    assert redactor.doubts == {Doubt.UNCHECKED: 1}


def test_what_the_self_check_sees_in_the_fill_itself_is_nothing() -> None:
    shown = shown_of(PERSON, check=lambda _: detections_of((-1, (0.45, 0.5, 0.5, 0.6))))
    assert shown[0].filled_share < 1.0


def test_the_self_check_is_shown_what_would_be_shown() -> None:
    seen: list[RawFrame] = []

    def check(frame: RawFrame) -> Detections:
        seen.append(frame)
        return no_detections()

    shown = shown_of(PERSON, check=check)
    np.testing.assert_array_equal(seen[0].i420, shown[0].i420)


@pytest.mark.thorough
def test_what_is_remembered_is_bounded() -> None:
    redactor = Redactor(nothing_left, always)
    chance = np.random.default_rng(7)
    for number in range(20):
        corners = chance.random((REGIONS_MAX, 2)) * 0.9
        found = detections_of(*[(Label.PERSON, (x, y, x + 0.01, y + 0.01)) for x, y in corners])
        redactor.redact(texture(number), (found,))
    assert len(redactor._hold._paths) <= REGIONS_MAX * (HELD_FRAMES + DELAY_FRAMES + 1)
    assert len(redactor._waiting) == DELAY_FRAMES


@given(
    label=st.sampled_from(list(Label)),
    corner=st.tuples(st.floats(0, 0.98), st.floats(0, 0.98)),
    size=st.tuples(st.floats(0.002, 1), st.floats(0.002, 1)),
)
def test_wherever_somebody_is_found_nothing_of_what_must_go_is_left(label, corner, size) -> None:
    x1, y1 = corner
    x2, y2 = min(1.0, x1 + size[0]), min(1.0, y1 + size[1])
    shown = shown_of(detections_of((label, (x1, y1, x2, y2))))[0]
    top = y1 + 0.4 * (y2 - y1) if label in VEHICLES else y1
    assert is_covered(shown, (x1, top, x2, y2))


anywhere = st.floats(-0.5, 1.5, width=32) | st.sampled_from([-1e30, 0.0, 1.0, 1e30])
boxes = st.builds(
    lambda xs, ys: (min(xs), min(ys), max(xs), max(ys)), st.tuples(anywhere, anywhere), st.tuples(anywhere, anywhere)
)
sights = st.none() | st.lists(boxes, max_size=3)


@example(seen=[[], *[None] * DELAY_FRAMES, [(0.0, 0.0, 1.0, 1.0)]], steps=[])
@given(seen=st.lists(sights, min_size=1, max_size=22), steps=st.lists(st.sampled_from([0, 40, 200, 9000, -500])))
def test_whatever_is_found_is_filled_in_the_frames_around_that_are_not_blind(seen, steps) -> None:
    redactor = Redactor(nothing_left, always)
    picture = np.ascontiguousarray(texture().i420[:96, :64])
    shown: list[RedactedFrame] = []
    at_ms = 0
    for number, found in enumerate(seen):
        at_ms += steps[number] if number < len(steps) else 200
        frame = RawFrame("gare", number, at_ms, picture)
        told = None if found is None else detections_of(*[(Label.PERSON, box) for box in found])
        shown.extend(redactor.redact(frame, (told,)))
    frames = [*shown, *redactor.close()]
    assert [one.number for one in frames] == list(range(len(seen)))
    assert all(one.filled_share == 1.0 for one, found in zip(frames, seen, strict=True) if found is None)
    sighted = [(one, found) for one, found in zip(frames, seen, strict=True) if found is not None]
    for place, (one, found) in enumerate(sighted):
        luma = planes_of(one.i420)[0]
        for x1, y1, x2, y2 in np.clip(np.reshape(found, (-1, 4)), 0.0, 1.0) * [64, 64, 64, 64]:
            assert (luma[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] == FILL[0]).all()
        near = sighted[max(0, place - HELD_FRAMES) : place + FOUND_AHEAD_FRAMES + 1]
        inside = [box for _, found in near for box in found if max(box[:2]) < 1.0 and min(box[2:]) > 0.0]
        assert one.filled_share > 0.0 or not inside


@given(
    looks=st.lists(st.lists(boxes, max_size=3), min_size=2, max_size=14),
    passed=st.lists(st.integers(0, 6), min_size=14, max_size=14),
)
def test_whatever_is_found_at_a_look_is_filled_in_every_frame_until_the_next_and_since_the_last(looks, passed) -> None:
    redactor, shown, turn_of = Redactor(nothing_left, always), list[RedactedFrame](), list[int]()
    picture = np.ascontiguousarray(texture().i420[:96, :64])
    for turn, found in enumerate(looks):
        told = detections_of(*[(Label.PERSON, box) for box in found])
        shown += redactor.redact(RawFrame("gare", len(turn_of), turn * 200, picture), (told,))
        turn_of.append(turn)
        for later in range(passed[turn] if turn < len(looks) - 1 else 0):
            at_ms = turn * 200 + 200 * (later + 1) // (passed[turn] + 1)
            shown += redactor.pass_over(RawFrame("gare", len(turn_of), at_ms, picture))
            turn_of.append(turn)
    shown += redactor.close()
    assert [one.number for one in shown] == list(range(len(turn_of)))
    assert not redactor.doubts
    for number, (one, turn) in enumerate(zip(shown, turn_of, strict=True)):
        is_look = number == 0 or turn_of[number - 1] != turn
        beside = looks[turn] if is_look else looks[turn] + looks[turn + 1]
        luma = planes_of(one.i420)[0]
        for x1, y1, x2, y2 in np.clip(np.reshape(beside, (-1, 4)), 0.0, 1.0) * [64, 64, 64, 64]:
            assert (luma[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] == FILL[0]).all()


@given(cells=st.lists(st.tuples(*[st.integers(0, 40)] * 4), max_size=6), seed=st.integers(0, 9))
def test_a_fill_leaves_nothing_that_depends_on_what_was_there(cells, seed) -> None:
    boxes = np.array([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in cells], np.int64).reshape(-1, 4)
    one = np.random.default_rng(seed).integers(0, 256, (HEIGHT * 3 // 2, WIDTH), np.uint8)
    other = one.copy()
    filled = fill(one, boxes)
    luma, *colour = planes_of(other)
    luma[filled.repeat(2, axis=0).repeat(2, axis=1)] ^= 0xFF
    for plane in colour:
        plane[filled] ^= 0xFF
    fill(other, boxes)
    np.testing.assert_array_equal(one, other)
