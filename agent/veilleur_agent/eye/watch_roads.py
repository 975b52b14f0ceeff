"""Watch how the roads of one camera stand, where that may be told at all: over windows of their own, of class A.

Tracks ─┬─▶ Standstill ─▶ RoadMeter of the open window ─┐
└─▶ ZoneWatch ─▶ vehicles that have left ───────┴─▶ Traffic ─▶ level ─▶ RoadState
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from veilleur_agent.eye.ground import Ground
from veilleur_agent.eye.pipeline import Step
from veilleur_agent.eye.polygons import Polygons
from veilleur_agent.eye.records import RawFrame, Tracks
from veilleur_agent.eye.release_street import road_record
from veilleur_agent.eye.roads import UNSEEN_MS, RoadMeter, Standstill, level_after, queue_of
from veilleur_agent.eye.zones import GRACE_MS, ZoneWatch
from veilleur_contracts.messages import Label, RoadLevel, RoadState
from veilleur_contracts.policy import Permissions
from veilleur_contracts.site import Camera

MOTOR: Final = (Label.CAR, Label.MOTORCYCLE, Label.BUS, Label.TRUCK)
CLOSE_AFTER_MS: Final = GRACE_MS + 2_000
"""A vehicle that has left is known to have done so that late."""
OBSERVED_MIN: Final = 0.5
"""Share of a window that must have been observed for its state to be told."""
OPEN_MAX: Final = 8


class RoadsWatch:
    """The roads of one camera. Holds ``OPEN_MAX`` windows at most; a restart begins them anew.

    Args:
        camera: Its place in the site.
        ground: Where its picture lies on the ground, for lengths.
        context: Number of the Context its records refer to.
        permissions: What the policy in force allows.
    """

    def __init__(self, camera: Camera, ground: Ground | None, context: int, permissions: Permissions) -> None:
        self._roads = [(index, zone) for index, zone in enumerate(camera.zone) if zone.road]
        self._polygons = Polygons([np.array(zone.polygon, np.float64) for _, zone in self._roads])
        self._ground = ground
        self._context = context
        self._permissions = permissions
        self._window_ms = permissions.aggregate_window_s * 1000
        self._size = (0, 0)
        self._zones = self._zones_of(1.0)
        self._standstill = Standstill()
        self._open: dict[int, list[RoadMeter]] = {}
        self._levels = [RoadLevel.FREE_FLOW] * len(self._roads)
        self._last_ms: int | None = None

    def take(self, frame: RawFrame, step: Step) -> None:
        """Take in a frame observed in good view."""
        if (frame.width, frame.height) != self._size:
            self._size = (frame.width, frame.height)
            self._zones = self._zones_of(frame.width / frame.height)
        last_ms, self._last_ms = self._last_ms, frame.at_ms
        for stay in self._zones.watch(step.tracks, frame.at_ms)[1]:
            self._meters(stay.until_ms)[stay.zone].passed += 1
        ids, feet, stands = self._motor(step.tracks, frame)
        if last_ms is None or not 0 < frame.at_ms - last_ms <= UNSEEN_MS:
            return
        for road, here in enumerate(self._polygons.holding(feet)):
            queue_m = queue_of(feet[here & stands], self._ground)
            meter = self._meters(frame.at_ms - 1)[road]
            meter.add(ids[here].tolist(), stands[here], queue_m, frame.at_ms - last_ms)

    def due(self, now_ms: int) -> list[RoadState]:
        """Return the states of the windows that have ended, oldest first."""
        ended = [start for start in sorted(self._open) if start + self._window_ms + CLOSE_AFTER_MS <= now_ms]
        return [state for start in ended for state in self._told(start, self._open.pop(start))]

    def _told(self, start_ms: int, meters: list[RoadMeter]) -> Iterator[RoadState]:
        for road, meter in enumerate(meters):
            traffic = meter.traffic()
            if traffic.observed_ms < OBSERVED_MIN * self._window_ms:
                continue
            self._levels[road] = level_after(self._levels[road], traffic.occupied, traffic.standing)
            span_s = (start_ms // 1000, self._window_ms // 1000)
            index = self._roads[road][0]
            state = road_record(self._context, span_s, index, (self._levels[road], traffic), self._permissions)
            if state is not None:
                yield state

    def _motor(
        self, tracks: Tracks, frame: RawFrame
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Return ids, feet and standstill of the motor vehicles seen in this frame."""
        motor = tracks.seen & np.isin(tracks.labels, [int(label) for label in MOTOR])
        boxes, ids = tracks.boxes[motor].astype(np.float64), tracks.ids[motor]
        tall, wide = boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]
        feet = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3] - 0.1 * tall], axis=1)
        aspect = frame.width / frame.height
        sizes = np.sqrt(np.maximum(wide * aspect * tall, 1e-8))
        stands = self._standstill.watch(ids.tolist(), feet * (aspect, 1.0), sizes, frame.at_ms)
        return ids, feet, stands

    def _meters(self, at_ms: int) -> list[RoadMeter]:
        start = at_ms - at_ms % self._window_ms
        if start not in self._open:
            while len(self._open) >= OPEN_MAX:
                del self._open[min(self._open)]
            self._open[start] = [RoadMeter() for _ in self._roads]
        return self._open[start]

    def _zones_of(self, aspect: float) -> ZoneWatch:
        return ZoneWatch([zone for _, zone in self._roads], MOTOR, aspect)
