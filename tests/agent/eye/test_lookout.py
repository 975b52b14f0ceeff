"""One camera as the eye's loop drives it: what it says and when, by a clock that moves only when told."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from box_builders import HandClock
from eye_builders import Picture, a_frame, detections_of, sprite_package, with_sprite
from veilleur_agent.budget import TECHNICAL_AT_ONCE
from veilleur_agent.events import check_event
from veilleur_agent.eye.checkpoint import SavedCamera
from veilleur_agent.eye.lookout import Lookout
from veilleur_agent.eye.records import Detections, RawFrame
from veilleur_agent.eye.scheduler import Analysed
from veilleur_agent.eye.settings import EyeSettings, Hashes
from veilleur_contracts.codec import context_number_of
from veilleur_contracts.messages import CameraHealth, CameraState, CrossingWindow, Direction, Label, Quality, Record
from veilleur_contracts.policy import BENCH
from veilleur_contracts.site import Camera, Identity, Line, Site

START_MS = 1_700_000_000_000
STEP_MS = 200
CAMERA = Camera(
    id="gare",
    insee="30189",
    source="/x",
    labels=("person", "car"),
    line=(Line("middle", (0.5, 0.1), (0.5, 0.9)), Line("far", (0.95, 0.1), (0.95, 0.9))),
)


def a_place() -> Picture:
    """A street with walls and windows in it: a bare one is taken for a covered lens."""
    rng = np.random.default_rng(5)
    blocks = rng.integers(60, 190, (24, 40), np.uint8)
    return np.repeat(np.kron(blocks, np.ones((16, 16), np.uint8))[:, :, None], 3, axis=2)


class Post:
    """A lookout with its clock, its log, and everything it has said."""

    def __init__(self, saved: SavedCamera | None = None, clock: HandClock | None = None) -> None:
        self.clock = clock or HandClock(START_MS)
        self.told: list[tuple[str, dict[str, object]]] = []
        site = Site(site=Identity(box="box-1", controller="ville"), camera=(CAMERA,))
        hashes = Hashes("0" * 16, "1" * 16, "2" * 16)
        settings = EyeSettings(
            site,
            BENCH,
            trusts_clock=True,
            package=sprite_package(),
            hashes=hashes,
            passwords={},
            checkpoint=Path("/nowhere"),
        )
        self.lookout = Lookout(CAMERA, settings, self.clock, self._tell)
        if saved is not None:
            self.lookout.restore(saved)
        self.said: list[Record] = []

    def _tell(self, event: str, **values: object) -> None:
        assert check_event(event, values) is not None, f"{event} would be dropped by box"
        self.told.append((event, values))

    def see(self, frame: RawFrame, found: Detections | None, state: CameraState = CameraState.LIVE) -> None:
        self.lookout.take(Analysed(frame, found, None), state)

    def pass_by(self, seconds: float = 6.0, first: float = 0.1, last: float = 0.9) -> None:
        """Somebody walks through the middle of the picture, from left to right."""
        steps = round(seconds * 1000 / STEP_MS)
        for step in range(steps):
            x = first + (last - first) * step / (steps - 1)
            box = (x - 0.03, 0.4, x + 0.03, 0.7)
            picture = with_sprite(a_place(), Label.PERSON, box)
            self.see(a_frame(picture, at_ms=self.clock.at_ms), detections_of((Label.PERSON, box)))
            self.clock.advance(STEP_MS / 1000)
            self.collect()

    def collect(self) -> None:
        self.said += self.lookout.due(self.clock.at_ms, synced=True)

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 5)):
            self.clock.advance(0.2)
            self.collect()

    def windows(self) -> list[CrossingWindow]:
        return [record for record in self.said if isinstance(record, CrossingWindow)]

    def total(self) -> int:
        return sum(count or 0 for window in self.windows() for count in window.counts)


@pytest.fixture
def post() -> Iterator[Post]:
    return Post()


def test_somebody_who_passes_is_in_one_window_and_in_the_tally(post: Post) -> None:
    post.pass_by()
    post.wait(12)
    assert post.total() == 1
    tally = post.lookout.tally()
    assert tally.counts[0][2 * 0 + Direction.RIGHT_TO_LEFT] + tally.counts[0][0] == 1
    assert sum(map(sum, tally.counts)) == 1
    assert {window.context for window in post.windows()} == {context_number_of(post.lookout.context)}


def test_windows_come_on_time_though_the_camera_is_dead_and_hold_no_zeros(post: Post) -> None:
    post.wait(30)
    assert len({window.at_s for window in post.windows()}) >= 4
    for window in post.windows():
        assert window.coverage == 0
        assert set(window.counts) == {None}, "not observed is nil, never zero"


def test_a_frame_nobody_could_look_at_is_not_observed(post: Post) -> None:
    for _ in range(60):
        post.see(a_frame(a_place(), at_ms=post.clock.at_ms), None)
        post.clock.advance(0.2)
        post.collect()
    post.wait(12)
    assert {window.coverage for window in post.windows()} == {0}


def test_a_covered_lens_is_not_observed_and_is_told_once(post: Post) -> None:
    black = np.full_like(a_place(), 16)
    for _ in range(60):
        post.see(a_frame(black, at_ms=post.clock.at_ms), detections_of())
        post.clock.advance(0.2)
        post.collect()
    post.wait(12)
    assert {window.coverage for window in post.windows()} == {0}
    assert [values["is_blind"] for event, values in post.told if event == "camera.view_changed"] == [True]


def test_a_frozen_picture_is_not_observed(post: Post) -> None:
    for _ in range(60):
        post.see(a_frame(a_place(), at_ms=post.clock.at_ms), detections_of(), CameraState.FROZEN)
        post.clock.advance(0.2)
        post.collect()
    post.wait(12)
    assert {window.coverage for window in post.windows()} == {0}


def healths(post: Post, states: list[CameraState], every_s: float) -> list[CameraHealth]:
    found = []
    for state in states:
        health = post.lookout.health_due(state, 0, 0)
        found += [] if health is None else [health]
        post.clock.advance(every_s)
    return found


def test_health_is_said_at_once_at_a_change_and_then_each_minute(post: Post) -> None:
    said = healths(post, [CameraState.LIVE] * 181, 1.0)
    assert [health.at_s - said[0].at_s for health in said] == [0, 60, 120, 180]
    changed = healths(post, [CameraState.STALLED, CameraState.STALLED, CameraState.LIVE], 1.0)
    assert [health.state for health in changed] == [CameraState.STALLED, CameraState.LIVE]


def test_a_camera_that_flaps_does_not_flood_and_its_last_state_is_told(post: Post) -> None:
    flapping = [CameraState.LIVE, CameraState.BACKOFF] * 300
    said = healths(post, flapping, 0.1)
    assert len(said) <= TECHNICAL_AT_ONCE + 2
    last = healths(post, [CameraState.ENDED] * 61, 1.0)
    assert last[0].state == CameraState.ENDED


def test_frames_passed_over_are_told_since_the_last_message(post: Post) -> None:
    post.lookout.health_due(CameraState.LIVE, 0, 5)
    post.clock.advance(61)
    health = post.lookout.health_due(CameraState.LIVE, 2, 12)
    assert health is not None
    assert (health.frames_dropped, health.reconnects) == (7, 2)


def test_a_stop_closes_what_is_open_where_it_stands(post: Post) -> None:
    post.pass_by()
    post.said += post.lookout.finish()
    assert post.total() == sum(map(sum, post.lookout.tally().counts)) == 1
    assert post.windows()[-1].quality & Quality.SPLIT


def test_a_restart_goes_on_from_the_checkpoint_and_counts_nobody_twice() -> None:
    first = Post()
    first.pass_by(last=0.7)
    before = first.total()
    second = Post(first.lookout.checkpoint(), first.clock)
    second.wait(12)
    assert before + second.total() == 1
    assert ("windows.restored", {"camera": "gare"}) in second.told
    assert second.windows()[0].quality & Quality.RESTARTED


def test_a_checkpoint_that_does_not_fit_is_told_and_left() -> None:
    post = Post(SavedCamera(b"rubbish", b"rubbish", b"rubbish"))
    assert [event for event, _ in post.told] == ["windows.lost", "checkpoint.refused", "checkpoint.refused"]
    post.pass_by()
    post.wait(12)
    assert post.total() == 1
