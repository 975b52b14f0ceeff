"""Everything that is known of one camera: its stages, its windows, its health, and what it has to say.

Analysed ─▶ view? ─▶ pipeline ─▶ crossings ─▶ windows ─▶ release ─▶ records        no thread, no socket, no disk
              └── blind, frozen: the frame does not count as observed
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from veilleur_agent.budget import TECHNICAL_BYTES, TokenBucket, technical_budget
from veilleur_agent.control import Tallied
from veilleur_agent.events import Tell
from veilleur_agent.eye.camera_health import View, ViewRejectedError, ViewWatch
from veilleur_agent.eye.checkpoint import SavedCamera
from veilleur_agent.eye.pipeline import Pipeline
from veilleur_agent.eye.records import Crossing
from veilleur_agent.eye.release import Release, RollUpRejectedError
from veilleur_agent.eye.scheduler import Analysed
from veilleur_agent.eye.settings import EyeSettings
from veilleur_agent.eye.windows import CheckpointRejectedError, Window, Windows
from veilleur_contracts.clock import Clock
from veilleur_contracts.codec import context_number_of
from veilleur_contracts.messages import CameraHealth, CameraState, Context, Quality, Record
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
        number = context_number_of(self.context)
        self._pipeline = Pipeline(camera, count_score=settings.package.card.thresholds.count)
        self._windows = Windows(len(camera.line), labels, window_s, 1000 / camera.fps)
        self._release = Release(number, labels, window_s, settings.permissions)
        self._view = ViewWatch()
        self._believed = (False, False)
        self._places = {label: place for place, label in enumerate(labels)}
        self._tally = np.zeros((len(camera.line), len(labels), 2), np.int64)
        self._frames = self._frames_told = 0
        self._told_at_s = clock.elapsed_s()
        self._state = CameraState.CONNECTING
        self._state_told: CameraState | None = None
        self._dropped_told = 0
        self._bucket = TokenBucket(technical_budget(), clock)

    def take(self, analysed: Analysed, state: CameraState) -> None:
        """Take in a frame that was looked at; one nobody could look at was not observed."""
        if analysed.detections is None:
            return
        frame = analysed.frame
        self._view.observe(frame, analysed.detections.boxes)
        self._tell_view()
        if self._view.blind or state is CameraState.FROZEN:
            return
        is_moved = View.MOVED in self._view.view
        step = self._pipeline.step(frame, analysed.detections)
        self._windows.observe(frame.at_ms, Quality.QUARANTINED if is_moved else Quality(0))
        self._frames += 1
        self._count(step.crossings)

    def windows_due(self, now_ms: int, *, synced: bool) -> list[Record]:
        """Return the records of the windows that have ended."""
        return list(self._released(self._windows.close(now_ms, synced=synced)))

    def finish(self) -> list[Record]:
        """Close everything where it stands, at a stop, and return the records."""
        self._count(self._pipeline.close())
        return list(self._released(self._windows.close_all()))

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
        return SavedCamera(self._windows.checkpoint(), self._release.checkpoint(), self._view.checkpoint())

    def restore(self, saved: SavedCamera) -> None:
        """Take up what an eye before this one knew; what no longer fits is told and left."""
        try:
            self._windows.restore(saved.windows)
            self._tell("windows.restored", camera=self.camera.id)
        except CheckpointRejectedError:
            self._tell("windows.lost", camera=self.camera.id)
        try:
            self._release.restore(saved.release)
        except RollUpRejectedError:
            self._tell("checkpoint.refused", what="release")
        if saved.view is not None:
            try:
                self._view.restore(saved.view)
            except ViewRejectedError:
                self._tell("checkpoint.refused", what="view")

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

    def _tell_view(self) -> None:
        believed = (View.MOVED in self._view.view, self._view.blind)
        if believed != self._believed:
            self._believed = believed
            self._tell("camera.view_changed", camera=self.camera.id, is_moved=believed[0], is_blind=believed[1])

    def _deci_fps(self, elapsed_s: float) -> int:
        if elapsed_s <= 0:
            return 0
        return min(DECIFPS_MAX, round(10 * (self._frames - self._frames_told) / elapsed_s))
