"""Watch how fast vehicles go over the lines of one camera, and whether they go the way they may.

Tracks ─▶ Speedometer ─▶ km/h of who crossed a second ago ─▶ SpeedWindows ─▶ SpeedWindow     (only with a ground)
Crossing over a one-way line against it ─▶ StreetEvent
"""

from collections.abc import Sequence
from typing import Final

from veilleur_agent.eye.ground import Ground
from veilleur_agent.eye.pipeline import Step
from veilleur_agent.eye.records import Crossing, RawFrame
from veilleur_agent.eye.release_street import event_record
from veilleur_agent.eye.release_zones import speed_records
from veilleur_agent.eye.speed_windows import SpeedWindows
from veilleur_agent.eye.speeds import Speedometer
from veilleur_agent.eye.windows import Window
from veilleur_contracts.messages import Direction, EventKind, Label, Record, StreetEvent
from veilleur_contracts.policy import Permissions
from veilleur_contracts.site import Camera

MOTOR: Final = frozenset({Label.CAR, Label.MOTORCYCLE, Label.BUS, Label.TRUCK})
"""Whose speed and whose way is watched: a cyclist may often go against a one-way street."""
AFTER_MS: Final = 1000
"""A speed is measured this long after the crossing, over the second before and the second after the line: who comes
into the picture fast was not seen long enough before."""
DUE_MAX: Final = 64


class SpeedsWatch:
    """The speeds over the lines of one camera. Holds ``DUE_MAX`` crossings of the last second at most.

    Args:
        camera: Its place in the site.
        ground: Where its picture lies on the ground.
        context: Number of the Context its records refer to.
        window_s: Length of a window, seconds.
        permissions: What the policy in force allows.
    """

    def __init__(self, camera: Camera, ground: Ground, context: int, window_s: int, permissions: Permissions) -> None:
        self._lines = len(camera.line)
        self._context = context
        self._permissions = permissions
        self._meter = Speedometer(ground)
        self._windows = SpeedWindows(window_s)
        self._due: list[Crossing] = []

    def take(self, frame: RawFrame, step: Step, *, in_good_view: bool) -> list[StreetEvent]:
        """Take in an observed frame; what is measured in a view that has moved would be wrong, so it is not."""
        if not in_good_view:
            self._due.clear()
            return []
        self._meter.watch(step.tracks, frame.at_ms)
        self._measure(frame.at_ms - AFTER_MS)
        crossed = [one for one in step.crossings if one.label in MOTOR and one.track >= 0]
        self._due = (self._due + crossed)[:DUE_MAX]
        return []

    def records(self, window: Window) -> list[Record]:
        """Return the speeds over each line, each way."""
        speeds = self._windows.take(window.start_ms)
        return [*speed_records(self._context, window, speeds, range(self._lines), self._permissions)]

    def finish(self) -> None:
        """Measure whoever has just crossed."""
        self._measure(None)

    def checkpoint(self) -> bytes:
        """Return the speeds of the open windows."""
        return self._windows.checkpoint()

    def restore(self, data: bytes, *, same_context: bool) -> None:
        """Take up a checkpoint of the same Context.

        Raises:
            RejectedError: Damaged, or of other windows.
        """
        if same_context:
            self._windows.restore(data)

    def _measure(self, before_ms: int | None) -> None:
        """Measure who crossed before that time, or everybody."""
        ready = [one for one in self._due if before_ms is None or one.at_ms <= before_ms]
        self._due = [one for one in self._due if one not in ready]
        for one in ready:
            kmh = self._meter.kmh_of(one.track)
            if kmh is not None:
                self._windows.add(one.line, one.direction, one.at_ms, kmh)


class OneWayWatch:
    """The lines of one camera that motor vehicles may cross one way alone.

    Args:
        camera: Its place in the site.
        context: Number of the Context its records refer to.
        permissions: What the policy in force allows.
    """

    def __init__(self, camera: Camera, context: int, permissions: Permissions) -> None:
        self._context = context
        self._permissions = permissions
        self._ways = {
            index: Direction[line.one_way.upper()] for index, line in enumerate(camera.line) if line.one_way is not None
        }

    def take(self, frame: RawFrame, step: Step, *, in_good_view: bool) -> list[StreetEvent]:
        """Take in an observed frame; return who has just gone against a one-way line. It is over when it is told."""
        wrong = wrong_ways(step.crossings, self._ways) if in_good_view else []
        events = (
            event_record(
                self._context,
                EventKind.WRONG_WAY,
                one.line,
                (one.at_ms, frame.at_ms),
                self._permissions,
                over=True,
            )
            for one in wrong
        )
        return [event for event in events if event is not None]

    def records(self, window: Window) -> list[Record]:  # noqa: ARG002 - as every watch is asked
        """Return nothing: crossings are told by direction already."""
        return []

    def finish(self) -> None:
        """Do nothing: a crossing takes no time."""

    def checkpoint(self) -> bytes:
        """Return nothing: there is nothing to remember."""
        return b""

    def restore(self, data: bytes, *, same_context: bool) -> None:
        """Do nothing."""


def wrong_ways(crossings: Sequence[Crossing], ways: dict[int, Direction]) -> list[Crossing]:
    """Return the motor vehicles that crossed one of the lines of ``ways`` in the other direction."""
    return [one for one in crossings if one.label in MOTOR and one.line in ways and one.direction is not ways[one.line]]
