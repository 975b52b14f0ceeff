"""Windows say how much of them was observed, and a dead camera never looks like an empty street."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_agent.eye.records import Crossing
from veilleur_agent.eye.windows import GRACE_MS, HELD_MAX, OPEN_MAX, CheckpointRejectedError, Window, Windows
from veilleur_contracts.messages import Direction, Label, Quality

T0 = 1_790_000_000_000
"""A multiple of 5 s and of 20 s, the lengths of the windows here."""
LABELS = (Label.PERSON, Label.CAR)


@pytest.fixture
def windows() -> Windows:
    return Windows(lines=2, labels=LABELS, length_s=5, frame_interval_ms=200)


def watch(windows: Windows, start_ms: int, end_ms: int, step_ms: int = 200) -> None:
    for at_ms in range(start_ms, end_ms + 1, step_ms):
        windows.observe(at_ms)


def cross(at_ms: int, line: int = 0, label: Label = Label.PERSON) -> Crossing:
    return Crossing(line, label, Direction.LEFT_TO_RIGHT, at_ms)


def only(closed: list[Window]) -> Window:
    assert len(closed) == 1
    return closed[0]


def test_a_fully_watched_window_says_so(windows) -> None:
    watch(windows, T0, T0 + 7000)
    windows.add(cross(T0 + 100))
    windows.add(cross(T0 + 4999, line=1, label=Label.CAR))
    window = only(windows.close(T0 + 5000 + GRACE_MS))
    assert (window.start_ms, window.length_ms, window.quality) == (T0, 5000, Quality(0))
    assert window.coverage == 1.0
    assert window.fps == pytest.approx(5.0)
    assert window.counts is not None
    assert window.counts.tolist() == [[[1, 0], [0, 0]], [[0, 0], [1, 0]]]


def test_a_window_waits_for_late_crossings_before_it_closes(windows) -> None:
    watch(windows, T0, T0 + 6800)
    assert windows.close(T0 + 5000 + GRACE_MS - 1) == []
    windows.add(cross(T0 + 4990))
    window = only(windows.close(T0 + 5000 + GRACE_MS))
    assert window.counts is not None
    assert window.counts.sum() == 1


def test_a_crossing_later_than_that_still_counts_in_the_oldest_open_window(windows) -> None:
    watch(windows, T0, T0 + 9000)
    windows.close(T0 + 5000 + GRACE_MS)
    windows.add(cross(T0 + 4990))
    window = only(windows.close(T0 + 10_000 + GRACE_MS))
    assert window.counts is not None
    assert window.counts.sum() == 1


@pytest.mark.parametrize(
    ("pause_ms", "coverage"),
    [
        pytest.param(200, 1.0, id="the-frame-interval"),
        pytest.param(2000, 1.0, id="just-watched"),
        pytest.param(2200, (5000 - 2200) / 5000, id="too-long-a-pause"),
    ],
)
def test_a_long_pause_was_not_observed(windows, pause_ms, coverage) -> None:
    watch(windows, T0, T0 + 1000)
    watch(windows, T0 + 1000 + pause_ms, T0 + 8000)
    window = only(windows.close(T0 + 5000 + GRACE_MS))
    assert window.coverage == pytest.approx(coverage)
    assert (Quality.LOW_COVERAGE in window.quality) == (coverage < 0.9)


def test_a_slow_camera_is_observed_between_its_own_frames() -> None:
    slow = Windows(lines=1, labels=LABELS, length_s=20, frame_interval_ms=2000)
    watch(slow, T0, T0 + 24_000, step_ms=4000)
    assert only(slow.close(T0 + 20_000 + GRACE_MS)).coverage == 1.0


def test_the_share_before_and_after_a_boundary_goes_to_each_window(windows) -> None:
    windows.observe(T0 + 4000)
    windows.observe(T0 + 5500)
    first, second = windows.close(T0 + 10_000 + GRACE_MS)
    assert (first.coverage, second.coverage) == pytest.approx((0.2, 0.1))


def test_a_dead_camera_gives_windows_without_counts(windows) -> None:
    windows.close(T0 + 1)
    closed = windows.close(T0 + 15_000 + GRACE_MS)
    assert [window.start_ms for window in closed] == [T0, T0 + 5000, T0 + 10_000]
    assert all(window.counts is None and window.coverage == 0.0 for window in closed)
    assert all(Quality.LOW_COVERAGE in window.quality for window in closed)


def test_an_empty_street_gives_zeros(windows) -> None:
    watch(windows, T0, T0 + 6000)
    window = only(windows.close(T0 + 5000 + GRACE_MS))
    assert window.counts is not None
    assert window.counts.sum() == 0


def test_flags_given_with_a_frame_stand_on_its_window(windows) -> None:
    windows.observe(T0 + 1000, Quality.DEGRADED)
    windows.observe(T0 + 6000)
    first, second = windows.close(T0 + 10_000 + GRACE_MS)
    assert Quality.DEGRADED in first.quality
    assert Quality.DEGRADED not in second.quality


def test_labels_that_are_not_counted_here_are_passed_over(windows) -> None:
    watch(windows, T0, T0 + 5000)
    windows.add(cross(T0 + 100, label=Label.BUS))
    window = only(windows.close(T0 + 5000 + GRACE_MS))
    assert window.counts is not None
    assert window.counts.sum() == 0


def test_a_stop_closes_windows_where_they_stand(windows) -> None:
    watch(windows, T0, T0 + 3000)
    windows.add(cross(T0 + 100))
    windows.close(T0 + 3000)
    window = only(windows.close_all())
    assert window.coverage == pytest.approx(0.6)
    assert window.counts is not None
    assert window.counts.sum() == 1
    assert Quality.SPLIT in window.quality
    assert windows.close_all() == []


def test_nothing_leaves_before_the_clock_was_ever_set(windows) -> None:
    watch(windows, T0, T0 + 9000)
    assert windows.close(T0 + 5000 + GRACE_MS, synced=False) == []
    assert [window.start_ms for window in windows.close(T0 + 5001 + GRACE_MS, synced=True)] == [T0]
    watch(windows, T0 + 9200, T0 + 14_000)
    assert len(windows.close(T0 + 10_000 + GRACE_MS, synced=False)) == 1, (
        "a clock that was set stays good enough to go on"
    )


def test_windows_held_for_the_clock_are_bounded(windows) -> None:
    for late in range(0, (HELD_MAX + 50) * 5000, 5000):
        windows.close(T0 + late, synced=False)
    assert len(windows.close(T0 + (HELD_MAX + 50) * 5000, synced=True)) <= HELD_MAX + 1


@pytest.mark.parametrize("jump_ms", [pytest.param(-3_600_000, id="back"), pytest.param(10 * 86_400_000, id="ahead")])
def test_a_clock_that_jumps_starts_the_count_anew_and_says_so(windows, jump_ms) -> None:
    watch(windows, T0, T0 + 1000)
    windows.add(cross(T0 + 100))
    windows.close(T0 + 1000)
    jumped = windows.close(T0 + 1000 + jump_ms)
    assert [window.start_ms for window in jumped] == [T0]
    assert Quality.CLOCK_UNSYNCED in jumped[0].quality
    watch(windows, T0 + jump_ms, T0 + jump_ms + 7000)
    assert [window.start_ms for window in windows.close(T0 + jump_ms + 5000 + GRACE_MS)] == [T0 + jump_ms]


def test_a_crash_loses_no_more_than_since_the_checkpoint(windows) -> None:
    watch(windows, T0, T0 + 3000)
    windows.add(cross(T0 + 100))
    saved = windows.checkpoint()
    windows.add(cross(T0 + 3100))
    again = Windows(lines=2, labels=LABELS, length_s=5, frame_interval_ms=200)
    again.restore(saved)
    watch(again, T0 + 4000, T0 + 7000)
    window = only(again.close(T0 + 5000 + GRACE_MS))
    assert window.counts is not None
    assert window.counts.sum() == 1
    assert window.coverage == pytest.approx(0.8)
    assert Quality.RESTARTED in window.quality


def test_what_ended_while_the_eye_was_down_is_still_told(windows) -> None:
    watch(windows, T0, T0 + 3000)
    again = Windows(lines=2, labels=LABELS, length_s=5, frame_interval_ms=200)
    again.restore(windows.checkpoint())
    first, second = again.close(T0 + 10_000 + GRACE_MS)
    assert first.coverage == pytest.approx(0.6)
    assert second.counts is None


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Windows(1, LABELS, 5, 200), id="other-lines"),
        pytest.param(Windows(2, (Label.CAR,), 5, 200), id="other-labels"),
        pytest.param(Windows(2, LABELS, 20, 200), id="other-length"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(windows, other) -> None:
    watch(windows, T0, T0 + 3000)
    with pytest.raises(CheckpointRejectedError, match="other"):
        other.restore(windows.checkpoint())


@given(st.binary(max_size=200))
def test_a_damaged_checkpoint_is_refused(data) -> None:
    windows = Windows(2, LABELS, 5, 200)
    with pytest.raises(CheckpointRejectedError):
        windows.restore(data)


@given(st.lists(st.integers(-100_000, 100_000), max_size=60))
def test_whatever_the_camera_says_about_time_memory_is_bounded_and_nothing_is_lost(offsets) -> None:
    windows = Windows(1, LABELS, 5, 200)
    for offset in offsets:
        windows.observe(T0 + offset)
        windows.add(cross(T0 + offset))
    assert len(windows._open) <= OPEN_MAX
    told = sum(int(w.counts.sum()) for w in windows.close(T0 + 200_000) if w.counts is not None)
    assert told == len(offsets)


def test_no_more_windows_are_open_at_once_than_allowed(windows) -> None:
    for number in range(OPEN_MAX + 3):
        windows.add(cross(T0 + 5000 * number))
    assert len(windows._open) == OPEN_MAX
    closed = windows.close(T0 + 5000 * OPEN_MAX + GRACE_MS)
    assert sum(int(one.counts.sum()) for one in closed if one.counts is not None) == OPEN_MAX + 3
