"""How many bytes may pass a door in a time, so that what a hostile eye could leak is a number, not a hope."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from veilleur_contracts.clock import Clock
from veilleur_contracts.messages import MessageClass
from veilleur_contracts.policy import Permissions
from veilleur_contracts.site import Camera

WINDOW_BYTES: Final = 104
"""A CrossingWindow of six labels in its link envelope, every field at its largest."""
TECHNICAL_BYTES: Final = 75
"""A CameraHealth in its link envelope, every field at its largest."""
ROLL_UP_BYTES: Final = 45
OCCUPANCY_BYTES: Final = 101
STAY_BYTES: Final = 87
OBJECT_BYTES: Final = 45
SPEED_BYTES: Final = 54
ROAD_BYTES: Final = 48
EVENT_BYTES: Final = 40
"""The same of a RollUp, OccupancyWindow, StayWindow, ObjectWindow, SpeedWindow, RoadState and StreetEvent."""
VALIDATION_BYTES: Final = 128
ROLL_UPS_PER_DAY: Final = 2 * 2 * 25
"""For each line: persons and bicycles, both ways, each hour and each day."""
CONTEXT_BYTES: Final = 1024
TECHNICAL_PER_MINUTE: Final = 1.5
"""One each minute and one change of state every other; past that, a change is told by the next message."""
TECHNICAL_AT_ONCE: Final = 10
EVENTS_PER_HOUR: Final = 60
EVENTS_AT_ONCE: Final = 20
BACKLOG_S: Final = 6 * 3600
"""A mouth may be away that long and a quarter of what the eye held still passes at once, the rest at the rate."""
DAY_S: Final = 86_400
HONEST_RATE: Final = 0.95
HONEST_BURST: Final = 0.25


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes that may pass: ``rate_bytes_s`` for ever, and ``burst_bytes`` once on top."""

    rate_bytes_s: float
    burst_bytes: int

    def within(self) -> "Budget":
        """Return what an honest speaker keeps to, so that it never meets the bound, restarts and all."""
        return Budget(self.rate_bytes_s * HONEST_RATE, round(self.burst_bytes * HONEST_BURST))

    def bytes_per_day(self) -> int:
        """Return the most that can pass in one day, its burst included."""
        return self.burst_bytes + round(self.rate_bytes_s * DAY_S)


def budget_of(camera: Camera, window_s: int, permissions: Permissions) -> Budget:
    """Return what ``camera`` needs on the link for everything that it may say and is asked for."""
    a_window, events = _bytes_of_a_window(camera), event_budget(permissions)
    rate = a_window / window_s + technical_budget().rate_bytes_s + events.rate_bytes_s
    rate += len(camera.line) * ROLL_UP_BYTES * ROLL_UPS_PER_DAY / DAY_S
    if MessageClass.AGGREGATE in permissions.classes:
        rate += sum(zone.road for zone in camera.zone) * ROAD_BYTES / permissions.aggregate_window_s
    contexts = 4 * (CONTEXT_BYTES + VALIDATION_BYTES)
    at_once = contexts + a_window + technical_budget().burst_bytes + events.burst_bytes
    return Budget(rate, at_once + round(rate * BACKLOG_S))


def _bytes_of_a_window(camera: Camera) -> int:
    presence = OCCUPANCY_BYTES + len(camera.label_set()) * STAY_BYTES
    speeds = 0 if camera.ground is None else 2 * SPEED_BYTES
    objects = sum(zone.objects for zone in camera.zone)
    return len(camera.line) * (WINDOW_BYTES + speeds) + len(camera.zone) * presence + objects * OBJECT_BYTES


def event_budget(permissions: Permissions) -> Budget:
    """Return the share of a camera's budget that its events may use; nothing where they are not permitted."""
    if MessageClass.EVENT not in permissions.classes or not permissions.events:
        return Budget(0.0, 0)
    return Budget(EVENTS_PER_HOUR * EVENT_BYTES / 3600, EVENTS_AT_ONCE * EVENT_BYTES)


def technical_budget() -> Budget:
    """Return the share of a camera's budget that its health messages may use."""
    rate = TECHNICAL_PER_MINUTE * TECHNICAL_BYTES / 60
    return Budget(rate, TECHNICAL_AT_ONCE * TECHNICAL_BYTES)


def leak_bytes_per_day(budgets: Iterable[Budget]) -> int:
    """Return the most that an eye with these budgets could get past the mouth in one day, were it hostile."""
    return sum(budget.bytes_per_day() for budget in budgets)


class TokenBucket:
    """Let ``budget`` pass and not a byte more; full at the start, refilled by elapsed time alone."""

    def __init__(self, budget: Budget, clock: Clock) -> None:
        self._budget = budget
        self._clock = clock
        self._left = float(budget.burst_bytes)
        self._at_s = clock.elapsed_s()

    def take(self, size_bytes: int) -> bool:
        """Take ``size_bytes`` if there are that many; take nothing otherwise."""
        now_s = self._clock.elapsed_s()
        refilled = self._left + (now_s - self._at_s) * self._budget.rate_bytes_s
        self._left, self._at_s = min(float(self._budget.burst_bytes), refilled), now_s
        if self._left < size_bytes:
            return False
        self._left -= size_bytes
        return True
