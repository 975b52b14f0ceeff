"""One example of each message: the golden bytes under test, and what ``docs/wire.md`` shows."""

from typing import Final

import msgspec

from veilleur_contracts import messages as m
from veilleur_contracts.codec import context_number_of, encode

_CONTEXT: Final = m.Context(
    "gare-parvis",
    "30189",
    "00112233445566ff",
    "8899aabbccddeeff",
    "0123456789abcdef",
    (0, 1, 2, 3, 4, 5),
    ("kerb", "cycle-lane"),
    (),
)
_WINDOW: Final = m.CrossingWindow(
    context_number_of(_CONTEXT), 1_790_000_100, 900, 1, 98, 50, 0, (321, 287, None, 0, 640, 702, 12, 9, 7, 7, 31, 28)
)
_STREAM: Final = m.stream_of(m.MessageClass.STATISTICS, 1_790_000_000_000)

EXAMPLES: Final[dict[type[m.Record], m.Record]] = {
    m.Context: _CONTEXT,
    m.CrossingWindow: _WINDOW,
    m.CameraHealth: m.CameraHealth("gare-parvis", 1_790_000_100, m.CameraState.LIVE, 50, 2, 0),
    m.Birth: m.Birth(1_790_000_000, "0.1.0", m.CONTRACT_REVISION, "strictest"),
    m.Gap: m.Gap(17, 40, m.GapReason.OUTBOX_FULL),
    m.RollUp: m.RollUp(context_number_of(_CONTEXT), 1_789_999_200, 3600, 0, m.Label.PERSON, 1, 7),
    m.OccupancyWindow: m.OccupancyWindow(
        context_number_of(_CONTEXT), 1_790_000_400, 1200, 0, 97, 0, (6, 14, None, 0, 2, 5, 0, 0, 0, 1, 0, 0)
    ),
    m.StayWindow: m.StayWindow(
        context_number_of(_CONTEXT), 1_790_000_400, 1200, 0, 97, 0, m.Label.CAR, (4, 9, 3, 2, 1, 0, 0, 0), 1_260
    ),
    m.ObjectWindow: m.ObjectWindow(context_number_of(_CONTEXT), 1_790_000_400, 1200, 0, 97, 0, 2_400),
    m.SpeedWindow: m.SpeedWindow(context_number_of(_CONTEXT), 1_790_000_100, 900, 1, 0, 214, (241, 297, 352)),
    m.RoadState: m.RoadState(context_number_of(_CONTEXT), 1_790_000_100, 300, 0, m.RoadLevel.HEAVY, 840, 31, 25),
    m.StreetEvent: m.StreetEvent(
        context_number_of(_CONTEXT), 1_790_000_100, m.EventKind.BULKY_OBJECT, 0, 1_789_998_000, 0
    ),
    m.ViewAlarm: m.ViewAlarm("gare-parvis", 1_790_000_100, m.ViewFault.MOVED, 34),
    m.Validation: m.Validation(
        context_number_of(_CONTEXT), (972, 991, 214, None, None, None, 985, 996, 530, *(None,) * 9)
    ),
    m.Reported: m.Reported(
        *(1_790_000_100, 1, 7, "8899aabbccddeeff", "00112233445566ff", "stopped", m.Strictness.STOPPED),
        *(0, 1, 1_790_000_000, None, m.Refusal.NONE),
    ),
    m.ClipsHeld: m.ClipsHeld(1_790_000_100, 11, 1, 823_000, 412, m.ClipFault.FULL),
    m.FetchAlarm: m.FetchAlarm(1_790_000_100, "8899aabbccddeeff", m.FetchFault.WRONG_HASH, 3),
    m.WaterLevel: m.WaterLevel("vistre-amont", "30189", 1_790_000_100, 1_240),
    m.NoiseLevel: m.NoiseLevel("arenes", "30189", 1_790_000_100, 900, 642, 815),
    m.LightLevel: m.LightLevel("jardins-fontaine", "30189", 1_790_000_100, 18),
    m.SensorHealth: m.SensorHealth("vistre-amont", 1_790_000_100, 3_412, 97, 2, 0),
    m.Batch: m.Batch(_STREAM, 41, (msgspec.Raw(encode(_CONTEXT)), msgspec.Raw(encode(_WINDOW)))),
    m.Ack: m.Ack(_STREAM, 42),
    m.Twin: m.Twin(1_790_000_000_000, (m.Pointer("stop", "ef" * 32, 811), m.Pointer("policy", "cd" * 32, 2_417))),
    m.Published: m.Published(9001, "gare-01", _STREAM, 42, msgspec.Raw(encode(_WINDOW))),
    m.Carried: m.Carried(1_790_000_000_000, 7, msgspec.Raw(encode(_WINDOW))),
    m.Received: m.Received(1_790_000_000_000, 7),
    m.DocumentReady: m.DocumentReady("site", "ab" * 32),
}
