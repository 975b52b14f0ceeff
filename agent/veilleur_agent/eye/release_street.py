"""The rules by which objects, standing vehicles, wrong ways and the state of a road may leave the eye.

object-time ──▶ class S? ───────────────▶ ObjectWindow
road state ───▶ class A, with a visa? ──▶ RoadState
one object ───▶ class E, of this kind? ─▶ StreetEvent       otherwise nothing: not later, not less exact, nothing
"""

from collections.abc import Iterable, Mapping
from typing import Final

from veilleur_agent.eye.roads import Traffic
from veilleur_agent.eye.windows import Window
from veilleur_contracts.messages import EventKind, MessageClass, ObjectWindow, RoadLevel, RoadState, StreetEvent
from veilleur_contracts.policy import AggregateKind, Permissions
from veilleur_contracts.policy import EventKind as PermittedKind

PERMITTED_AS: Final = {
    EventKind.STANDING_VEHICLE: PermittedKind.STOPPED_VEHICLE,
    EventKind.BULKY_OBJECT: PermittedKind.BULKY_OBJECT,
    EventKind.WRONG_WAY: PermittedKind.WRONG_WAY,
}
"""What an authorisation calls each kind of event."""
LAIN_MAX_S: Final = 10_000_000
FLOW_MAX: Final = 1_000_000
QUEUE_MAX_M: Final = 10_000


def may_tell_event(kind: EventKind, permissions: Permissions) -> bool:
    """Tell whether one object of ``kind`` may be told of here and now."""
    return MessageClass.EVENT in permissions.classes and PERMITTED_AS[kind] in permissions.events


def may_tell_road(window_s: int, permissions: Permissions) -> bool:
    """Tell whether the state of a road may be told over windows of ``window_s`` seconds."""
    is_permitted = MessageClass.AGGREGATE in permissions.classes and AggregateKind.ROAD_STATE in permissions.aggregates
    return is_permitted and window_s >= permissions.aggregate_window_s


def object_records(
    context: int, window: Window, lain_ms: Mapping[int, int], zones: Iterable[int], permissions: Permissions
) -> list[ObjectWindow]:
    """Return how long objects have lain in each of ``zones``; none where nothing was observed.

    Args:
        context: Number of the Context the windows refer to.
        window: Whose span, coverage and quality they share.
        lain_ms: Milliseconds that objects lay, all together, by zone; missing: none.
        zones: Indices of the zones that are watched for objects.
        permissions: What the policy in force allows.
    """
    if MessageClass.STATISTICS not in permissions.classes or window.counts is None:
        return []
    at_s, window_s = window.start_ms // 1000, window.length_ms // 1000
    worth = (int(window.coverage * 100), int(window.quality))
    return [
        ObjectWindow(context, at_s, window_s, zone, *worth, min(LAIN_MAX_S, round(lain_ms.get(zone, 0) / 1000)))
        for zone in zones
    ]


def event_record(
    context: int, kind: EventKind, place: int, times_ms: tuple[int, int], permissions: Permissions, *, over: bool
) -> StreetEvent | None:
    """Return what may be told of one object, None when nothing may.

    Args:
        context: Number of the Context that names the zones and lines.
        kind: What it did.
        place: Index of the zone; of the line for a wrong way.
        times_ms: Since when, and now, UTC milliseconds.
        permissions: What the policy in force allows.
        over: Whether it has ended.
    """
    if not may_tell_event(kind, permissions):
        return None
    since_ms, at_ms = times_ms
    return StreetEvent(context, at_ms // 1000, int(kind), place, since_ms // 1000, int(over))


def road_record(
    context: int, span_s: tuple[int, int], zone: int, state: tuple[RoadLevel, Traffic], permissions: Permissions
) -> RoadState | None:
    """Return what may be told of a road, None when nothing may.

    Args:
        context: Number of the Context that names the zones.
        span_s: Beginning, UTC seconds, and length of what was looked at, seconds.
        zone: Index of the stretch of road.
        state: Its level, and the traffic it was made of.
        permissions: What the policy in force allows.
    """
    at_s, window_s = span_s
    if not may_tell_road(window_s, permissions):
        return None
    level, traffic = state
    occupied = min(100, round(traffic.occupied * 100))
    flow, queue_m = min(traffic.flow_per_h, FLOW_MAX), min(traffic.queue_m, QUEUE_MAX_M)
    return RoadState(context, at_s, window_s, zone, int(level), flow, occupied, queue_m)
