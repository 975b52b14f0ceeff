"""Everything one camera is watched for besides crossings: zones, speeds, objects, one-way lines.

frame, step ─▶ each Watch ─▶ events, as they happen    ─▶ at most so many, then later
            └▶ RoadsWatch ─▶ states, over windows of their own (class A, only where it may be told)
Window      ─▶ each Watch ─▶ records, when it has closed
"""

from collections import deque
from collections.abc import Mapping
from typing import Final

from veilleur_agent.budget import EVENT_BYTES, TokenBucket, event_budget
from veilleur_agent.events import Tell
from veilleur_agent.eye.ground import Ground
from veilleur_agent.eye.pipeline import Step
from veilleur_agent.eye.records import RawFrame
from veilleur_agent.eye.release_street import may_tell_road
from veilleur_agent.eye.watch import Watch
from veilleur_agent.eye.watch_objects import ObjectsWatch
from veilleur_agent.eye.watch_roads import RoadsWatch
from veilleur_agent.eye.watch_ways import OneWayWatch, SpeedsWatch
from veilleur_agent.eye.watch_zones import ZonesWatch
from veilleur_agent.eye.windows import Window
from veilleur_contracts.clock import Clock
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.messages import Record, RoadState, StreetEvent
from veilleur_contracts.policy import Permissions
from veilleur_contracts.site import Camera

ASPECT: Final = 16 / 9
"""Of the pictures a ground is fitted in; a homography of fractions comes out the same in any other."""
EVENTS_MAX: Final = 256
"""Events that wait for their budget; the oldest are dropped, and that is told."""


def ground_of(camera: Camera) -> Ground | None:
    """Return where the picture of ``camera`` lies on the ground, None when the site does not say.

    Raises:
        GroundRejectedError: Its points fix no plane, or do not agree on one.
    """
    return None if camera.ground is None else Ground(camera.ground, ASPECT)


def watches_of(camera: Camera, context: int, window_s: int, permissions: Permissions) -> dict[str, Watch]:
    """Return what ``camera`` is watched for, by the name its checkpoint goes by.

    Raises:
        GroundRejectedError: As ``ground_of``.
    """
    watches: dict[str, Watch] = {}
    ground = ground_of(camera)
    if camera.zone:
        watches["zones"] = ZonesWatch(camera, context, window_s, permissions)
    if any(zone.objects for zone in camera.zone):
        watches["objects"] = ObjectsWatch(camera, context, window_s, permissions)
    if ground is not None and camera.line:
        watches["speeds"] = SpeedsWatch(camera, ground, context, window_s, permissions)
    if any(line.one_way is not None for line in camera.line):
        watches["ways"] = OneWayWatch(camera, context, permissions)
    return watches


def roads_of(camera: Camera, context: int, permissions: Permissions) -> RoadsWatch | None:
    """Return what watches the roads of ``camera``, None where it has none or their state may not be told."""
    is_permitted = may_tell_road(permissions.aggregate_window_s, permissions)
    if not is_permitted or not any(zone.road for zone in camera.zone):
        return None
    return RoadsWatch(camera, ground_of(camera), context, permissions)


class Watching:
    """All watches over one camera. Holds ``EVENTS_MAX`` events at most.

    Args:
        camera: Its place in the site.
        context: Number of the Context its records refer to.
        window_s: Length of a window, seconds.
        permissions: What the policy in force allows.
        clock: For the budget of events.
        tell: Says a registered event.
    """

    def __init__(
        self, camera: Camera, context: int, window_s: int, permissions: Permissions, *, clock: Clock, tell: Tell
    ) -> None:
        self._camera = camera.id
        self._tell = tell
        self._watches = watches_of(camera, context, window_s, permissions)
        self._roads = roads_of(camera, context, permissions)
        self._bucket = TokenBucket(event_budget(permissions), clock)
        self._events: deque[StreetEvent] = deque()

    def take(self, frame: RawFrame, step: Step, *, in_good_view: bool) -> None:
        """Take in an observed frame and what it came to."""
        for watch in self._watches.values():
            self._events.extend(watch.take(frame, step, in_good_view=in_good_view))
        if in_good_view and self._roads is not None:
            self._roads.take(frame, step)
        dropped = max(0, len(self._events) - EVENTS_MAX)
        for _ in range(dropped):
            self._events.popleft()
        if dropped:
            self._tell("street.events_dropped", camera=self._camera, events=dropped)

    def events(self) -> list[StreetEvent]:
        """Return the events that may be said now, oldest first; the others wait for their budget."""
        ready = []
        while self._events and self._bucket.take(EVENT_BYTES):
            ready.append(self._events.popleft())
        return ready

    def states(self, now_ms: int) -> list[RoadState]:
        """Return the states of the roads whose windows have ended."""
        return [] if self._roads is None else self._roads.due(now_ms)

    def records(self, window: Window) -> list[Record]:
        """Return what ``window``, which has just closed, tells of everything watched."""
        return [record for watch in self._watches.values() for record in watch.records(window)]

    def finish(self) -> None:
        """End what is going on where it stands: the last windows are about to close."""
        for watch in self._watches.values():
            watch.finish()

    def checkpoint(self) -> dict[str, bytes]:
        """Return what a restart must know, by watch."""
        return {name: watch.checkpoint() for name, watch in self._watches.items()}

    def restore(self, saved: Mapping[str, bytes], *, same_context: bool) -> None:
        """Take up what an eye before this one knew; what is damaged or no longer fits is told and left."""
        for name, watch in self._watches.items():
            if name in saved:
                try:
                    watch.restore(saved[name], same_context=same_context)
                except RejectedError:
                    self._tell("checkpoint.refused", what=name)
