"""The kinds of records there are, as the store and the topics of ``out/`` call them."""

from typing import Final, get_args

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

OfContext = (
    CrossingWindow
    | RollUp
    | OccupancyWindow
    | StayWindow
    | ObjectWindow
    | SpeedWindow
    | RoadState
    | StreetEvent
    | Validation
)
"""What refers to a Context by number, and cannot be read without it."""

OfSensor = WaterLevel | NoiseLevel | LightLevel
"""What a sensor measured: it names its commune itself."""

TAG_OF: Final[dict[type[AnyRecord], int]] = {kind: kind.__struct_config__.tag for kind in get_args(AnyRecord)}
"""The tag of each kind, as on the wire."""

NAME_OF: Final[dict[type[AnyRecord], str]] = {
    Context: "context",
    CrossingWindow: "crossings",
    CameraHealth: "health",
    Birth: "birth",
    Gap: "gap",
    RollUp: "rollup",
    OccupancyWindow: "occupancy",
    StayWindow: "stays",
    ObjectWindow: "objects",
    SpeedWindow: "speeds",
    RoadState: "road",
    StreetEvent: "event",
    ViewAlarm: "view",
    Validation: "validation",
    Reported: "reported",
    FetchAlarm: "fetch",
    ClipsHeld: "clips",
    WaterLevel: "water",
    NoiseLevel: "noise",
    LightLevel: "light",
    SensorHealth: "sensor",
}
"""The last part of a topic of ``out/``."""
