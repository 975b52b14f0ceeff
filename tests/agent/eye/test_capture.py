"""One camera's thread: states, newest frame wins, time, and the end; no test here waits for a clock."""

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from box_builders import HandClock
from eye_builders import a_clip, a_walk
from veilleur_agent.eye.address import (
    Address,
    CameraError,
    CameraMissingError,
    CameraRefusedError,
    CameraSilentError,
    CameraUnreachableError,
    StreamCorruptError,
    address_of,
)
from veilleur_agent.eye.capture import Capture, frames_of
from veilleur_agent.eye.source import Picture
from veilleur_contracts.messages import CameraState

PATIENCE_S = 20.0
LIVE = address_of("rtsp://127.0.0.1:9/main", name="camera gare")


def a_picture(pts_s: float, shade: int = 0) -> Picture:
    return Picture(pts_s, np.full((144, 128), shade, np.uint8), is_key=False)


class Script:
    """A source that plays one list of pictures per connection; an error in the list is raised, a function called."""

    def __init__(self, *laps: list[Picture | CameraError | Exception | Callable[[], None]]) -> None:
        self.laps = list(laps)
        self.opened = 0
        self.closed = 0

    def __call__(self, _address: Address) -> "Script":
        lap = self.laps[self.opened]
        self.opened += 1
        if lap and isinstance(lap[0], CameraError):
            raise lap[0]
        self._lap = lap
        return self

    def pictures(self, _fps: float) -> Iterator[Picture]:
        for step in self._lap:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, Picture):
                yield step
            else:
                step()

    def close(self) -> None:
        self.closed += 1


class Waits:
    """Stands for every wait: notes its length, moves the clock, and ends the capture after so many."""

    def __init__(self, clock: HandClock, until: int = 1000) -> None:
        self.lengths: list[float] = []
        self.states: list[CameraState] = []
        self.capture: Capture | None = None
        self._clock = clock
        self._until = until

    def __call__(self, seconds: float) -> bool:
        self.lengths.append(seconds)
        if self.capture is not None:
            self.states.append(self.capture.state)
        self._clock.advance(seconds)
        return len(self.lengths) >= self._until


def a_run(script: Script, address: Address = LIVE, *, waits: int = 1, loop: bool = False) -> tuple[Capture, Waits]:
    """Let a capture run its script to the end, in its own thread."""
    clock = HandClock()
    waiting = Waits(clock, waits)
    capture = Capture("gare", address, fps=5, clock=clock, loop=loop, connect=script, wait=waiting, jitter=lambda: 1.0)
    waiting.capture = capture
    capture.start()
    capture._thread.join(PATIENCE_S)
    assert not capture._thread.is_alive()
    return capture, waiting


def test_the_newest_frame_wins_and_the_others_are_counted() -> None:
    capture, _ = a_run(Script([a_picture(0.0), a_picture(0.2), a_picture(0.4), CameraSilentError("gone")]))
    assert capture.has_frame
    frame = capture.take()
    assert frame is not None
    assert (frame.camera, frame.number, frame.at_ms) == ("gare", 2, 1_700_000_000_000)
    assert capture.take() is None
    assert (capture.counters.frames, capture.counters.frames_dropped) == (3, 2)


def test_a_camera_is_live_while_it_sends_and_stalled_when_it_stops() -> None:
    clock, states = HandClock(), []
    capture = Capture("gare", LIVE, fps=5, clock=clock, connect=Script([]), wait=lambda _: True)
    script = Script(
        [
            a_picture(0.0),
            lambda: states.append(capture.state),
            lambda: clock.advance(3.5),
            lambda: states.append(capture.state),
            a_picture(3.5, 1),
            lambda: states.append(capture.state),
        ]
    )
    capture._connect = script
    assert capture.state is CameraState.CONNECTING
    capture.start()
    capture._thread.join(PATIENCE_S)
    assert states == [CameraState.LIVE, CameraState.STALLED, CameraState.LIVE]


def test_a_slow_camera_is_not_stalled_between_its_frames() -> None:
    clock, states = HandClock(), []
    capture = Capture("gare", LIVE, fps=0.5, clock=clock, connect=Script([]), wait=lambda _: True)
    capture._connect = Script([a_picture(0.0), lambda: clock.advance(3.5), lambda: states.append(capture.state)])
    capture.start()
    capture._thread.join(PATIENCE_S)
    assert states == [CameraState.LIVE]


def test_a_camera_that_repeats_one_picture_is_frozen_while_its_packets_flow() -> None:
    clock, states = HandClock(), []
    capture = Capture("gare", LIVE, fps=5, clock=clock, connect=Script([]), wait=lambda _: True)
    lap: list[Picture | Callable[[], None]] = []
    for second in range(33):
        lap += [a_picture(float(second), 9), lambda: states.append(capture.state), lambda: clock.advance(1.0)]
    capture._connect = Script([*lap, a_picture(33.0, 10), lambda: states.append(capture.state)])
    capture.start()
    capture._thread.join(PATIENCE_S)
    assert states == [CameraState.LIVE] * 30 + [CameraState.FROZEN] * 3 + [CameraState.LIVE]


def test_a_rendered_file_that_stands_still_is_not_frozen() -> None:
    """Its scene is drawn without noise, and no file ever hangs."""
    capture, _ = a_run(Script([a_picture(0.0), a_picture(40.0)]), address_of("clip.mp4"), waits=1000)
    assert capture.state is CameraState.ENDED
    assert capture.counters.frames == 2


def test_a_camera_is_tried_again_after_longer_and_longer_waits() -> None:
    gone = CameraUnreachableError("nobody answers at camera gare")
    capture, waiting = a_run(Script([gone], [gone], [gone], [gone]), waits=4)
    assert waiting.lengths == [1, 2, 4, 8]
    assert waiting.states == [CameraState.BACKOFF] * 4
    assert capture.counters.reconnects == 3
    assert capture.fault is gone


def test_a_wrong_password_shows_and_is_not_hammered() -> None:
    refused = CameraRefusedError("camera gare refused the name or password")
    _, waiting = a_run(Script([refused]), waits=1)
    assert waiting.states == [CameraState.AUTH_FAILED]
    assert waiting.lengths == [60]


def test_a_camera_that_was_cut_comes_back_with_its_time_anchored_anew() -> None:
    gone = CameraSilentError("camera gare hung up")
    capture, waiting = a_run(Script([a_picture(100.0), gone], [a_picture(3.0), gone]), waits=2)
    frame = capture.take()
    assert frame is not None
    assert frame.at_ms == 1_700_000_000_000 + 1000
    assert (frame.number, capture.counters.reconnects, capture.counters.anchored) == (0, 1, 2)
    assert waiting.lengths == [1, 2]


def test_every_connection_is_closed() -> None:
    script = Script([a_picture(0.0), CameraSilentError("gone")], [a_picture(0.0), CameraSilentError("gone")])
    a_run(script, waits=2)
    assert script.opened == script.closed == 2


def test_a_file_plays_at_its_own_pace() -> None:
    _, waiting = a_run(Script([a_picture(n / 5) for n in range(4)]), address_of("clip.mp4"), waits=1000)
    assert waiting.lengths == pytest.approx([0.2, 0.2, 0.2])


def test_a_file_that_fell_behind_does_not_catch_up_in_a_burst() -> None:
    clock = HandClock()
    waiting = Waits(clock)
    lap = [a_picture(0.0), lambda: clock.advance(5.0), a_picture(0.2), a_picture(0.4), a_picture(0.6)]
    capture = Capture("gare", address_of("clip.mp4"), fps=5, clock=clock, connect=Script(lap), wait=waiting)
    capture.start()
    capture._thread.join(PATIENCE_S)
    assert waiting.lengths == pytest.approx([0.2, 0.2])


def test_a_file_that_ends_is_ended_and_its_last_frame_can_still_be_taken() -> None:
    capture, _ = a_run(Script([a_picture(0.0)]), address_of("clip.mp4"))
    assert (capture.state, capture.fault) == (CameraState.ENDED, None)
    assert capture.take() is not None


def test_a_damaged_file_is_not_played_again_and_says_what_was_wrong() -> None:
    damage = StreamCorruptError("clip.mp4 is cut short")
    capture, waiting = a_run(Script([a_picture(0.0), damage]), address_of("clip.mp4"))
    assert (capture.state, capture.fault, waiting.lengths) == (CameraState.ENDED, damage, [])


def test_a_missing_file_is_looked_for_again() -> None:
    missing = CameraMissingError("clip.mp4 is not there")
    capture, waiting = a_run(Script([missing], [a_picture(0.0)]), address_of("clip.mp4"), waits=1000)
    assert waiting.lengths == [1]
    assert (capture.state, capture.counters.reconnects) == (CameraState.ENDED, 1)


def test_a_file_without_a_picture_is_no_empty_street() -> None:
    capture, waiting = a_run(Script([], []), address_of("clip.mp4"), waits=2)
    assert isinstance(capture.fault, StreamCorruptError)
    assert waiting.states == [CameraState.BACKOFF] * 2


def test_a_looped_file_goes_on_in_time_and_its_laps_are_no_reconnects() -> None:
    clock, frames = HandClock(), []
    waiting = Waits(clock, 9)
    lap = [a_picture(n / 5) for n in range(4)]
    capture = Capture(
        "gare",
        address_of("clip.mp4"),
        fps=5,
        clock=clock,
        loop=True,
        connect=Script(lap, lap, lap),
        wait=waiting,
        fresh=lambda: frames.append(capture.take()),
    )
    capture.start()
    capture._thread.join(PATIENCE_S)
    times = [frame.at_ms - 1_700_000_000_000 for frame in frames if frame is not None]
    assert times == [0, 200, 400, 600, 600, 800, 1000, 1200, 1200, 1400, 1600]
    assert capture.counters.reconnects == 0


def test_a_bug_in_the_thread_reaches_whoever_takes_frames() -> None:
    woken = threading.Event()
    capture = Capture(
        "gare",
        LIVE,
        fps=5,
        clock=HandClock(),
        connect=Script([a_picture(0.0), ZeroDivisionError("a bug")]),
        fresh=woken.set,
    )
    capture.start()
    capture._thread.join(PATIENCE_S)
    assert woken.is_set()
    assert capture.has_frame
    with pytest.raises(ZeroDivisionError):
        capture.take()


def test_a_capture_is_closed_while_it_waits(tmp_path) -> None:
    """A real wait, a real file that is not there."""
    with Capture("gare", address_of(str(tmp_path / "no.mp4")), fps=5, clock=HandClock()) as capture:
        pass
    assert not capture._thread.is_alive()


def test_a_real_file_gives_its_frames_in_order_and_then_ends(tmp_path) -> None:
    clip = a_clip(tmp_path / "clip.mp4", a_walk(20))
    clock, frames = HandClock(), []
    capture = Capture(
        "gare",
        address_of(str(clip)),
        fps=5,
        clock=clock,
        wait=Waits(clock),
        fresh=lambda: frames.append(capture.take()),
    )
    capture.start()
    capture._thread.join(PATIENCE_S)
    taken = [frame for frame in frames if frame is not None]
    assert [frame.at_ms - 1_700_000_000_000 for frame in taken] == [200 * n for n in range(10)]
    assert {frame.i420.shape for frame in taken} == {(576, 640)}
    assert capture.state is CameraState.ENDED


def test_a_file_is_read_frame_by_frame_the_same_way_every_time(tmp_path) -> None:
    clip = a_clip(tmp_path / "clip.mp4", a_walk(20))
    first, second = list(frames_of(address_of(str(clip)), 5)), list(frames_of(address_of(str(clip)), 5))
    assert [frame.at_ms for frame in first] == [200 * n for n in range(10)]
    assert [frame.number for frame in first] == list(range(10))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.i420, other.i420)
