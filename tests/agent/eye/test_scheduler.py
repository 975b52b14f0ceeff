"""Fair shares of one detector: drop, never a backlog."""

import itertools
import threading
from collections import Counter, deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eye_builders import a_frame, a_street, sprite_package, with_sprite
from veilleur_agent.eye.detect import Detector, DetectorFailedError
from veilleur_agent.eye.records import Detections, RawFrame, no_detections
from veilleur_agent.eye.scheduler import Scheduler, Turns
from veilleur_contracts.messages import Label

STREET = a_frame(a_street(64, 64)).i420


class Camera:
    """A camera that has a new frame at every moment, or only those it is given."""

    def __init__(self, camera: str, frames: list[RawFrame] | None = None) -> None:
        self.camera = camera
        self._given = None if frames is None else deque(frames)
        self._numbers = itertools.count()

    @property
    def has_frame(self) -> bool:
        return self._given is None or bool(self._given)

    def take(self) -> RawFrame | None:
        if self._given is None:
            number = next(self._numbers)
            return RawFrame(self.camera, number, number * 200, STREET)
        return self._given.popleft() if self._given else None


class Glance:
    """A frame being looked at, finished when it is told to."""

    def __init__(self, frame: RawFrame, looker: "Looker") -> None:
        self.frame = frame
        self.error: BaseException | None = None
        self.done = False
        self._looker = looker

    def is_done(self, _wait_s: float) -> bool:
        return self.done

    def result(self) -> Detections:
        assert self.done, "nobody waits in a test"
        self._looker.begun.remove(self)
        if self.error is not None:
            raise self.error
        return no_detections()

    def abandon(self) -> None:
        self._looker.begun.remove(self)


class Looker:
    """A detector that finishes frames when it is told to."""

    def __init__(self, in_flight: int = 2) -> None:
        self.in_flight = in_flight
        self.begun: list[Glance] = []
        self.most = 0

    def begin(self, frame: RawFrame) -> Glance:
        self.begun.append(Glance(frame, self))
        self.most = max(self.most, len(self.begun))
        return self.begun[-1]

    def finish(self, place: int = 0, error: BaseException | None = None) -> None:
        self.begun[place].done, self.begun[place].error = True, error


def served(scheduler: Scheduler, looker: Looker, turns: int) -> Counter[str]:
    """Let an overloaded scheduler serve so many frames."""
    cameras: Counter[str] = Counter()
    for _ in range(turns):
        assert scheduler.next(0.0) is None
        looker.finish()
        analysed = scheduler.next(0.0)
        assert analysed is not None
        cameras[analysed.frame.camera] += 1
    return cameras


@pytest.mark.parametrize(
    ("rates", "shares"),
    [
        pytest.param({"a": 5, "b": 5, "c": 5}, {"a": 100, "b": 100, "c": 100}, id="equal"),
        pytest.param({"a": 10, "b": 5}, {"a": 200, "b": 100}, id="by-rate"),
        pytest.param({"a": 1, "b": 8, "c": 1}, {"a": 30, "b": 240, "c": 30}, id="one-greedy"),
    ],
)
def test_an_overloaded_machine_gives_each_camera_its_share(rates, shares) -> None:
    looker = Looker(in_flight=1)
    scheduler = Scheduler(looker)
    for camera, fps in rates.items():
        scheduler.add(Camera(camera), fps)
    counted = served(scheduler, looker, sum(shares.values()))
    assert all(abs(counted[camera] - share) <= 1 for camera, share in shares.items())


def test_no_more_frames_are_taken_than_are_looked_at() -> None:
    looker = Looker(in_flight=2)
    scheduler = Scheduler(looker)
    for camera in "abcd":
        scheduler.add(Camera(camera), 5)
    served(scheduler, looker, 100)
    assert looker.most == 2


def test_one_camera_alone_has_one_frame_looked_at_so_that_its_frames_keep_their_order() -> None:
    looker = Looker(in_flight=4)
    scheduler = Scheduler(looker)
    scheduler.add(Camera("a"), 5)
    scheduler.next(0.0)
    assert len(looker.begun) == 1


def test_frames_come_back_as_they_are_finished_each_cameras_in_order() -> None:
    looker = Looker(in_flight=2)
    scheduler = Scheduler(looker)
    scheduler.add(Camera("a"), 5)
    scheduler.add(Camera("b"), 5)
    numbers: dict[str, list[int]] = {"a": [], "b": []}
    assert scheduler.next(0.0) is None
    for place in (1, 0, 1, 1, 0, 0, 1):
        looker.finish(place)
        analysed = scheduler.next(0.0)
        assert analysed is not None
        numbers[analysed.frame.camera].append(analysed.frame.number)
    assert all(one == list(range(len(one))) for one in numbers.values())


def test_a_camera_that_was_away_is_served_at_once_but_gets_nothing_back() -> None:
    turns = Turns()
    turns.add("a", 5)
    turns.add("b", 5)
    for _ in range(50):
        turns.next(["a"])
    assert Counter(turns.next(["a", "b"]) for _ in range(10)) == {"a": 5, "b": 5}


@given(
    rates=st.dictionaries(st.sampled_from("abcdef"), st.floats(0.5, 30), min_size=1),
    moments=st.lists(st.sets(st.sampled_from("abcdef")), max_size=200),
)
def test_whoever_is_ready_is_served_and_nobody_waits_for_ever(rates, moments) -> None:
    turns = Turns()
    for camera, fps in rates.items():
        turns.add(camera, fps)
    for moment in moments:
        ready = moment & rates.keys()
        assert (turns.next(ready) in ready) if ready else turns.next(ready) is None
    # A camera asking for rate r waits while the others have at most their share: bounded by the ratio of rates.
    bound = sum(int(fps / min(rates.values())) + 2 for fps in rates.values())
    served_within = {turns.next(rates.keys()) for _ in range(bound)}
    assert served_within == rates.keys()


def test_a_frame_that_could_not_be_looked_at_says_why_and_is_no_empty_street() -> None:
    looker = Looker()
    scheduler = Scheduler(looker)
    scheduler.add(Camera("a"), 5)
    scheduler.next(0.0)
    fault = DetectorFailedError("the computation failed")
    looker.finish(error=fault)
    analysed = scheduler.next(0.0)
    assert analysed is not None
    assert (analysed.detections, analysed.fault) == (None, fault)
    scheduler.next(0.0)
    assert len(looker.begun) == 1, "the camera goes on"


def test_what_is_being_looked_at_is_given_up_at_the_end() -> None:
    looker = Looker()
    scheduler = Scheduler(looker)
    scheduler.add(Camera("a"), 5)
    scheduler.add(Camera("b"), 5)
    scheduler.next(0.0)
    scheduler.close()
    assert looker.begun == []


def test_a_camera_that_wakes_the_scheduler_is_served_without_waiting() -> None:
    looker = Looker()
    scheduler = Scheduler(looker)
    camera = Camera("a", [])
    scheduler.add(camera, 5)
    waker = threading.Timer(0.05, scheduler.wake)
    waker.start()
    assert scheduler.next(60.0) is None
    waker.join()


def test_a_bug_in_the_detector_ends_the_process() -> None:
    looker = Looker()
    scheduler = Scheduler(looker)
    scheduler.add(Camera("a"), 5)
    scheduler.next(0.0)
    looker.finish(error=ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        scheduler.next(0.0)


def test_a_camera_that_was_removed_is_served_no_more() -> None:
    looker = Looker(in_flight=1)
    scheduler = Scheduler(looker)
    scheduler.add(Camera("a"), 5)
    scheduler.add(Camera("b"), 5)
    served(scheduler, looker, 10)
    scheduler.remove("a")
    late = served(scheduler, looker, 10)
    assert late["a"] <= 1, "the frame that was being looked at still comes"


def test_a_camera_that_was_forgotten_gives_not_even_the_frame_that_was_being_looked_at() -> None:
    looker = Looker()
    scheduler = Scheduler(looker)
    for camera in ("a", "b"):
        scheduler.add(Camera(camera), 5)
    scheduler.next(0.0)
    scheduler.remove("a")
    scheduler.forget("a")
    scheduler.forget("never there")
    assert {glance.frame.camera for glance in looker.begun} == {"b"}
    assert served(scheduler, looker, 10)["a"] == 0


def test_two_cameras_share_the_real_detector() -> None:
    frames = {
        label.name.lower(): [
            RawFrame(label.name.lower(), n, 200 * n, a_frame(with_sprite(a_street(), label, (0.4, 0.3, 0.5, 0.6))).i420)
            for n in range(10)
        ]
        for label in (Label.CAR, Label.PERSON)
    }
    seen: dict[str, list[int]] = {camera: [] for camera in frames}
    with Detector(sprite_package()) as detector:
        scheduler = Scheduler(detector)
        for camera, given_frames in frames.items():
            scheduler.add(Camera(camera, given_frames), 5)
        while sum(map(len, seen.values())) < 20:
            analysed = scheduler.next(20.0)
            assert analysed is not None, "woken by nobody, so it waited twenty seconds"
            assert analysed.detections is not None
            assert analysed.detections.labels.tolist() == [Label[analysed.frame.camera.upper()]]
            seen[analysed.frame.camera].append(analysed.frame.number)
    assert seen == {camera: list(range(10)) for camera in frames}
    assert np.all(np.diff(seen["car"]) == 1)
