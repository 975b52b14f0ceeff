"""Everything that is known of one camera: its stages, its windows, its health, and what it has to say.

Analysed ─▶ sight ─▶ pipeline ─┬─▶ crossings ─▶ windows ─▶ release ─▶ records      no thread, no socket, no disk
              │                └─▶ watching ──────┴─────────────────▶ records, events
              ├── blind, frozen: the frame does not count as observed
              └── moved, out of focus: it counts, and its windows are quarantined
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from veilleur_agent.budget import TECHNICAL_BYTES, TokenBucket, technical_budget
from veilleur_agent.control import Tallied
from veilleur_agent.events import Tell
from veilleur_agent.eye.camera_health import ViewRejectedError
from veilleur_agent.eye.checkpoint import SavedCamera
from veilleur_agent.eye.pipeline import Pipeline
from veilleur_agent.eye.records import Crossing
from veilleur_agent.eye.release import Release, RollUpRejectedError
from veilleur_agent.eye.scheduler import Analysed
from veilleur_agent.eye.settings import EyeSettings
from veilleur_agent.eye.sight import Sight
from veilleur_agent.eye.watching import Watching
from veilleur_agent.eye.windows import CheckpointRejectedError, Window, Windows
from veilleur_contracts.clock import Clock
from veilleur_contracts.codec import context_number_of
from veilleur_contracts.messages import (
    CameraHealth,
    CameraState,
    Context,
    Record,
    Validation,
    ViewAlarm,
    ViewFault,
)
from veilleur_contracts.site import Camera

HEALTH_EVERY_S: Final = 60.0
MOST_COUNTED: Final = 1_000_000
DECIFPS_MAX: Final = 1200


class Lookout:
    """One camera, from the frames that were looked at to the records that may leave.

    Args:
        camera: Its place in the site.
        settings: Of the eye.
        clock: For health, which is said by time.
        tell: Says a registered event.
    """

    def __init__(self, camera: Camera, settings: EyeSettings, clock: Clock, tell: Tell) -> None:
        self.camera = camera
        self._tell = tell
        self._clock = clock
        labels, window_s = camera.label_set(), settings.window_s(camera)
        hashes = settings.hashes
        lines, zones = tuple(line.id for line in camera.line), tuple(zone.id for zone in camera.zone)
        numbers = tuple(int(label) for label in labels)
        self.context = Context(camera.id, camera.insee, hashes.site, hashes.policy, hashes.model, numbers, lines, zones)
        number = self._number = context_number_of(self.context)
        self._pipeline = Pipeline(camera, count_score=settings.package.card.thresholds.count)
        self._windows = Windows(len(camera.line), labels, window_s, 1000 / camera.fps)
        self._release = Release(number, labels, window_s, settings.permissions)
        self._sight = Sight(camera)
        self._seen_as = (False, False, False)
        self._watching = Watching(camera, number, window_s, settings.permissions, clock=clock, tell=tell)
        self._places = {label: place for place, label in enumerate(labels)}
        self._tally = np.zeros((len(camera.line), len(labels), 2), np.int64)
        self._frames = self._frames_told = 0
        self._told_at_s = clock.elapsed_s()
        self._state = CameraState.CONNECTING
        self._state_told: CameraState | None = None
        self._dropped_told = 0
        self._bucket = TokenBucket(technical_budget(), clock)
        self._ever_synced = False

    @property
    def is_in_good_view(self) -> bool:
        """Whether the view is what lines and masks were drawn on."""
        return not self._sight.faults

    def introduction(self) -> list[Record]:
        """Return what everything else it says refers to, to be said first and again to a mouth that has forgotten."""
        validated = validation_of(self.camera, self._number)
        return [self.context] if validated is None else [self.context, validated]

    def take(self, analysed: Analysed, state: CameraState) -> None:
        """Take in a frame that was looked at; one nobody could look at was not observed."""
        if analysed.detections is None:
            return
        frame = analysed.frame
        shows_something = self._sight.observe(frame, analysed.detections.boxes)
        self._tell_view()
        if not shows_something or state is CameraState.FROZEN:
            return
        step = self._pipeline.step(frame, analysed.detections)
        self._windows.observe(frame.at_ms, self._sight.quality)
        self._frames += 1
        self._count(step.crossings)
        self._watching.take(frame, step, in_good_view=not self._sight.faults)

    def due(self, now_ms: int, *, synced: bool) -> list[Record]:
        """Return what there is to say now: an alarm of the view, the windows that have ended, what objects did."""
        self._ever_synced |= synced
        windows = self._windows.close(now_ms, synced=synced)
        operational: list[Record] = []
        if self._ever_synced:
            operational += [*self._watching.states(now_ms), *self._watching.events()]
        return [*self._alarm(), *self._released(windows), *operational]

    def finish(self) -> list[Record]:
        """Close everything where it stands, at a stop, and return the records."""
        self._count(self._pipeline.close())
        self._watching.finish()
        return [*self._released(self._windows.close_all()), *self._watching.events()]

    def health_due(self, state: CameraState, reconnects: int, dropped: int) -> CameraHealth | None:
        """Return what to say of the camera's health now, None when there is nothing new.

        Args:
            state: What the camera is doing.
            reconnects: Since the eye started.
            dropped: Frames passed over for fresher ones since the eye started.
        """
        now_s = self._clock.elapsed_s()
        if state is not self._state:
            self._state = state
            self._tell("camera.state_changed", camera=self.camera.id, state=state.name.lower(), reconnects=reconnects)
        elapsed_s = now_s - self._told_at_s
        if state is self._state_told and elapsed_s < HEALTH_EVERY_S:
            return None
        if not self._bucket.take(TECHNICAL_BYTES):
            return None
        health = CameraHealth(
            self.camera.id,
            self._clock.now_ms() // 1000,
            int(state),
            self._deci_fps(elapsed_s),
            min(reconnects, MOST_COUNTED),
            min(dropped - self._dropped_told, MOST_COUNTED),
        )
        self._state_told, self._told_at_s = state, now_s
        self._frames_told, self._dropped_told = self._frames, dropped
        return health

    def tally(self) -> Tallied:
        """Return what the line counters have made since the eye started."""
        counts = tuple(tuple(int(count) for count in line.reshape(-1)) for line in self._tally)
        fps_x10 = self._deci_fps(self._clock.elapsed_s() - self._told_at_s)
        return Tallied(self.camera.id, self._frames, fps_x10, counts)

    def checkpoint(self) -> SavedCamera:
        """Return what a restart must know."""
        return SavedCamera(
            windows=self._windows.checkpoint(),
            release=self._release.checkpoint(),
            view=self._sight.checkpoint(),
            context=self._number,
            watching=self._watching.checkpoint(),
        )

    def restore(self, saved: SavedCamera) -> None:
        """Take up what an eye before this one knew; what no longer fits is told and left."""
        is_same = saved.context == self._number
        is_restored = is_same and self._restore_windows(saved.windows)
        if is_restored:
            self._tell("windows.restored", camera=self.camera.id)
        else:
            self._tell("windows.lost", camera=self.camera.id)
        self._watching.restore(saved.watching, same_context=is_same)
        try:
            self._release.restore(saved.release)
        except RollUpRejectedError:
            self._tell("checkpoint.refused", what="release")
        if saved.view is not None:
            try:
                self._sight.restore(saved.view)
            except ViewRejectedError:
                self._tell("checkpoint.refused", what="view")

    def give_way(self) -> list[Record]:
        """Close everything where it stands, for good: another Context takes this one's place; return the records."""
        return [*self.finish(), *self._release.finish()]

    def follow(self, saved: SavedCamera, *, same_view: bool) -> None:
        """Take up what the lookout before this one knew of the street; its windows are closed.

        Args:
            saved: Its checkpoint.
            same_view: Whether the same parts of the picture are masked; else the view is learnt anew.
        """
        self._watching.restore(saved.watching, same_context=False)
        if same_view and saved.view is not None:
            self._sight.restore(saved.view)

    def _restore_windows(self, data: bytes) -> bool:
        try:
            self._windows.restore(data)
        except CheckpointRejectedError:
            return False
        return True

    def _count(self, crossings: Sequence[Crossing]) -> None:
        for crossing in crossings:
            place = self._places.get(crossing.label)
            if place is not None:
                self._windows.add(crossing)
                self._tally[crossing.line, place, crossing.direction] += 1

    def _released(self, windows: Sequence[Window]) -> Iterator[Record]:
        for window in windows:
            if window.counts is None:
                yield from self._release.unobserved(window, len(self.camera.line))
            else:
                yield from self._release.release(window)
            yield from self._watching.records(window)

    def _alarm(self) -> list[ViewAlarm]:
        """Return the alarm of the view that is due, if its budget has room: else it stays due."""
        alarm = self._sight.alarm()
        if alarm is None or not self._bucket.take(TECHNICAL_BYTES):
            return []
        self._sight.told(alarm)
        return [alarm]

    def _tell_view(self) -> None:
        faults, is_blind = self._sight.faults, self._sight.is_blind
        is_moved, is_defocused = ViewFault.MOVED in faults, ViewFault.DEFOCUSED in faults
        if (is_moved, is_blind, is_defocused) != self._seen_as:
            self._seen_as = (is_moved, is_blind, is_defocused)
            self._tell(
                "camera.view_changed",
                camera=self.camera.id,
                is_moved=is_moved,
                is_blind=is_blind,
                is_defocused=is_defocused,
            )

    def _deci_fps(self, elapsed_s: float) -> int:
        if elapsed_s <= 0:
            return 0
        return min(DECIFPS_MAX, round(10 * (self._frames - self._frames_told) / elapsed_s))


def validation_of(camera: Camera, context: int) -> Validation | None:
    """Return how well the labels of ``camera`` are counted, None when nobody has validated any of them."""
    if not camera.validated:
        return None
    factors: list[int | None] = []
    for label in camera.label_set():
        one = camera.validated_for(label)
        known = (None, None, None) if one is None else (round(one.recall * 1000), round(one.precision * 1000), one.n)
        factors.extend(known)
    return Validation(context, tuple(factors))
