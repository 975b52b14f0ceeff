"""Say of a record what routing asks."""

from typing import Final

from veilleur_contracts.messages import (
    AnyRecord,
    Birth,
    CameraHealth,
    ClipsHeld,
    Context,
    CrossingWindow,
    FetchAlarm,
    Gap,
    LightLevel,
    MessageClass,
    NoiseLevel,
    ObjectWindow,
    OccupancyWindow,
    Reported,
    RoadState,
    RollUp,
    SensorHealth,
    SpeedWindow,
    StayWindow,
    StreetEvent,
    Validation,
    ViewAlarm,
    WaterLevel,
)
from veilleur_contracts.messages import EventKind as WireEvent
from veilleur_contracts.policy import EventKind
from veilleur_fleet.routing.rules import Purpose, Subject
from veilleur_fleet.store.kinds import OfSensor

PURPOSE_OF: Final[dict[type[AnyRecord], Purpose]] = {
    Context: Purpose.MOBILITY,
    CrossingWindow: Purpose.MOBILITY,
    RollUp: Purpose.MOBILITY,
    OccupancyWindow: Purpose.MOBILITY,
    SpeedWindow: Purpose.MOBILITY,
    Validation: Purpose.MOBILITY,
    StayWindow: Purpose.PARKING,
    ObjectWindow: Purpose.CLEANLINESS,
    RoadState: Purpose.TRAFFIC,
    Birth: Purpose.UPKEEP,
    CameraHealth: Purpose.UPKEEP,
    FetchAlarm: Purpose.UPKEEP,
    Gap: Purpose.UPKEEP,
    Reported: Purpose.UPKEEP,
    ClipsHeld: Purpose.UPKEEP,
    ViewAlarm: Purpose.UPKEEP,
    SensorHealth: Purpose.UPKEEP,
    WaterLevel: Purpose.FLOOD,
    NoiseLevel: Purpose.NOISE,
    LightLevel: Purpose.LIGHTING,
}
"""What a record is told for; one that is not here, and is no event, is routed to nobody.

Not one table with the names of ``store/kinds``: those are every record's and stand in topics for ever, and a purpose is
a decision that may change."""

EVENT_OF: Final = {
    WireEvent.STANDING_VEHICLE: EventKind.STOPPED_VEHICLE,
    WireEvent.BULKY_OBJECT: EventKind.BULKY_OBJECT,
    WireEvent.WRONG_WAY: EventKind.WRONG_WAY,
}
"""What the wire calls an event, and what a policy authorises."""
PURPOSE_OF_EVENT: Final = {
    EventKind.STOPPED_VEHICLE: Purpose.PARKING,
    EventKind.BULKY_OBJECT: Purpose.CLEANLINESS,
    EventKind.WRONG_WAY: Purpose.ROAD_SAFETY,
}


def subject_of(kind: MessageClass, controller: str, record: AnyRecord, context: Context | None) -> Subject:
    """Return what routing asks of ``record``.

    Args:
        kind: Class of its stream.
        controller: Who answers for its box.
        record: What it says.
        context: What it refers to; None: it is a whole box's.
    """
    insee, camera = (None, None) if context is None else (context.insee, context.camera)
    if isinstance(record, OfSensor):
        insee = record.insee
    if isinstance(record, StreetEvent):
        event = EVENT_OF[WireEvent(record.kind)]
        return Subject(kind, controller, PURPOSE_OF_EVENT[event], record.at_s, insee, camera, event)
    return Subject(kind, controller, PURPOSE_OF.get(type(record)), 0, insee, camera, is_key=isinstance(record, Context))
