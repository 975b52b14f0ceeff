"""Watch for bulky objects left in the zones of one camera.

RawFrame, boxes, once a second in good view ─▶ LeftObjects ─▶ the zone it lies in ─┬─▶ ObjectWindow
                                                                                   └─▶ StreetEvent
"""

from typing import Final

import msgspec
import numpy as np

from veilleur_agent.eye.bulky import Box, BulkyRejectedError, LeftObjects
from veilleur_agent.eye.pipeline import Step
from veilleur_agent.eye.polygons import inside
from veilleur_agent.eye.records import RawFrame
from veilleur_agent.eye.release_street import event_record, object_records
from veilleur_agent.eye.timesheet import Timesheet
from veilleur_agent.eye.windows import Window
from veilleur_contracts.messages import EventKind, Record, StreetEvent
from veilleur_contracts.policy import Permissions
from veilleur_contracts.site import Camera

SAMPLE_EVERY_MS: Final = 1_000


class _Saved(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    objects: bytes
    lain: bytes


class ObjectsWatch:
    """The zones of one camera in which nothing may be left.

    Args:
        camera: Its place in the site.
        context: Number of the Context its records refer to.
        window_s: Length of a window, seconds.
        permissions: What the policy in force allows.
    """

    def __init__(self, camera: Camera, context: int, window_s: int, permissions: Permissions) -> None:
        self._context = context
        self._permissions = permissions
        self._polygons = {
            index: np.array(zone.polygon, np.float64) for index, zone in enumerate(camera.zone) if zone.objects
        }
        self._objects = LeftObjects()
        self._lain = Timesheet(window_s * 1000)
        self._last_ms = 0

    def take(self, frame: RawFrame, step: Step, *, in_good_view: bool) -> list[StreetEvent]:
        """Take in an observed frame; return what has been left long enough to be told, and what has gone."""
        if not in_good_view or 0 <= frame.at_ms - self._last_ms < SAMPLE_EVERY_MS:
            return []
        self._last_ms = frame.at_ms
        events = []
        for one in self._objects.watch(frame, step.detections.boxes):
            zone = self._zone_of(one.box)
            if zone is not None:
                times = (one.since_ms, frame.at_ms)
                events.append(self._event(zone, times, over=one.over))
        for lying in self._objects.lain():
            zone = self._zone_of(lying.box)
            if zone is not None:
                self._lain.add((zone, 0), lying.from_ms, lying.until_ms)
        return [event for event in events if event is not None]

    def records(self, window: Window) -> list[Record]:
        """Return how long objects lay in each zone."""
        lain_ms = {zone: ms for (zone, _), ms in self._lain.take(window.start_ms).items()}
        return [*object_records(self._context, window, lain_ms, self._polygons, self._permissions)]

    def finish(self) -> None:
        """Do nothing: what lies there goes on lying there."""

    def checkpoint(self) -> bytes:
        """Return the objects known, and how long they lay in the open windows."""
        return msgspec.msgpack.encode(_Saved(self._objects.checkpoint(), self._lain.checkpoint()))

    def restore(self, data: bytes, *, same_context: bool) -> None:
        """Take up a checkpoint; an object outlives any Context.

        Raises:
            RejectedError: Damaged, or of other windows.
        """
        try:
            saved = msgspec.msgpack.decode(data, type=_Saved)
        except (msgspec.DecodeError, RecursionError):
            message = "the checkpoint of left objects is damaged; those still there are taken for scenery"
            raise BulkyRejectedError(message) from None
        self._objects.restore(saved.objects)
        if same_context:
            self._lain.restore(saved.lain)

    def _zone_of(self, box: Box) -> int | None:
        """Return the first zone that holds the middle of the lower edge of ``box``."""
        x1, y1, x2, y2 = box
        foot = np.array([[(x1 + x2) / 2, 0.9 * y2 + 0.1 * y1]])
        return next((zone for zone, polygon in self._polygons.items() if inside(polygon, foot)[0]), None)

    def _event(self, zone: int, times_ms: tuple[int, int], *, over: bool) -> StreetEvent | None:
        return event_record(self._context, EventKind.BULKY_OBJECT, zone, times_ms, self._permissions, over=over)
