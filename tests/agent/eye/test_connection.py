"""What a connection knows without touching the camera."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilleur_agent.eye.address import CameraRefusedError, CameraSilentError, CameraUnreachableError
from veilleur_agent.eye.connection import Backoff, FrozenWatch, UtcAnchor
from veilleur_agent.eye.source import Picture

GONE = CameraUnreachableError("nobody answers at camera gare")


def a_picture(shade: int, *, pts_s: float = 0.0, is_key: bool = False) -> Picture:
    return Picture(pts_s, np.full((144, 128), shade, np.uint8), is_key)


def test_the_wait_doubles_from_one_second_to_a_minute() -> None:
    backoff = Backoff(lambda: 1.0)
    assert [backoff.delay_s(GONE, 0.0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_the_wait_is_spread_over_its_upper_half() -> None:
    assert Backoff(lambda: 0.0).delay_s(GONE, 0.0) == pytest.approx(0.5)


def test_a_connection_that_lived_makes_the_next_failure_a_new_story() -> None:
    backoff = Backoff(lambda: 1.0)
    for _ in range(5):
        backoff.delay_s(GONE, 0.0)
    assert backoff.delay_s(CameraSilentError("camera gare hung up"), 11.0) == 1.0


def test_a_camera_that_accepts_and_cuts_at_once_is_not_asked_every_second() -> None:
    backoff = Backoff(lambda: 1.0)
    assert [backoff.delay_s(CameraSilentError("camera gare hung up"), 0.5) for _ in range(3)] == [1, 2, 4]


def test_a_wrong_password_is_not_tried_more_than_once_a_minute() -> None:
    refused = CameraRefusedError("camera gare refused the name or password")
    assert Backoff(lambda: 1.0).delay_s(refused, 0.0) == 60.0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 100)), max_size=50))
def test_no_wait_is_shorter_than_half_a_second_or_longer_than_a_minute(tries) -> None:
    for jitter, lived_s in tries:
        assert 0.5 <= Backoff(lambda jitter=jitter: jitter).delay_s(GONE, lived_s) <= 60.0


@pytest.mark.parametrize(
    ("arrivals", "expected", "times"),
    [
        pytest.param([(0.0, 5000), (0.2, 5230), (0.4, 5410)], [5000, 5200, 5400], 1, id="jitter-is-smoothed"),
        pytest.param([(0.0, 5000), (0.2, 5010), (0.4, 5210)], [5000, 5010, 5210], 1, id="never-before-it-was-taken"),
        pytest.param([(0.0, 5000), (0.2, 6201)], [5000, 6201], 2, id="more-than-a-second-late"),
        pytest.param([(0.0, 5000), (2.0, 5100)], [5000, 5100], 2, id="a-burst-at-connect"),
        pytest.param([(9.0, 5000), (0.2, 5200), (0.4, 5400)], [5000, 5200, 5400], 2, id="camera-clock-goes-back"),
        pytest.param([(0.0, 5000), (0.2, 6199)], [5000, 5200], 1, id="within-a-second"),
    ],
)
def test_frames_bear_the_cameras_spacing_tied_to_utc(arrivals, expected, times) -> None:
    anchor = UtcAnchor()
    assert [anchor.at_ms(pts_s, now_ms) for pts_s, now_ms in arrivals] == expected
    assert anchor.times_anchored == times


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 2**41)), min_size=1, max_size=60))
def test_a_frame_is_dated_at_most_a_second_before_its_arrival_and_never_after_it(arrivals) -> None:
    anchor = UtcAnchor()
    assert all(0 <= now_ms - anchor.at_ms(pts_s, now_ms) <= 1000 for pts_s, now_ms in arrivals)


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 900)), min_size=1, max_size=60))
def test_time_never_goes_back_while_no_clock_does(steps) -> None:
    anchor, pts_s, now_ms, times = UtcAnchor(), 0.0, 0, []
    for later_s, later_ms in steps:
        pts_s, now_ms = pts_s + later_s, now_ms + later_ms
        times.append(anchor.at_ms(pts_s, now_ms))
    assert times == sorted(times)


def test_one_picture_again_and_again_is_frozen_after_half_a_minute() -> None:
    watch = FrozenWatch(0.0)
    assert [watch.is_frozen(a_picture(7), now_s) for now_s in (0.0, 15.0, 29.9, 30.0, 40.0)] == [
        False,
        False,
        False,
        True,
        True,
    ]


def test_one_picture_encoded_again_and_again_is_frozen_though_its_refinements_differ() -> None:
    watch = FrozenWatch(0.0)
    frozen = [watch.is_frozen(a_picture(100 + step % 10, is_key=step % 10 == 0), step * 0.2) for step in range(200)]
    assert not any(frozen[:150])
    assert frozen[-1]


def test_a_picture_that_changes_at_its_key_pictures_alone_is_alive() -> None:
    """A still night, whose noise the encoder smooths away between two key pictures."""
    watch = FrozenWatch(0.0)
    assert not any(watch.is_frozen(a_picture(step // 10, is_key=step % 10 == 0), step * 0.2) for step in range(1000))


def test_a_picture_that_moves_again_is_alive_again() -> None:
    watch = FrozenWatch(0.0)
    watch.is_frozen(a_picture(7), 0.0)
    assert watch.is_frozen(a_picture(7), 31.0)
    assert not watch.is_frozen(a_picture(8), 32.0)
