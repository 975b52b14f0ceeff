"""The closed registry: everything that may be said between eye, mouth, fleet and consumers.

    eye ──Carried──▶ mouth ──Batch──▶ fleet ──out/──▶ consumers
    eye ◀─Received── mouth ◀──Ack──── fleet

Every record is a MessagePack array ``[tag, *fields]`` of scaled integers with bounds, short enums and ids: no floats,
no ``bin``, no free text, so that no picture fits through. Evolution: a tag is never changed or reused; a new field goes
last with a default; a field keeps its type and unit for ever. ``docs/wire.md`` is generated from here.
"""

from enum import IntEnum, IntFlag, StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from veilleur_contracts.ids import BoxId, CameraId, Insee, LineId, Sha256, Sha256Prefix, Slug, VersionText, ZoneId

CONTRACT_REVISION: Final = 1
RECORD_BYTES_MAX: Final = 1024
BATCH_BYTES_MAX: Final = 65_536
BATCH_RECORDS_MAX: Final = 1000
TWIN_DOCUMENTS_MAX: Final = 96
"""More than a box can hold in force: 32 roots, 17 policies, 32 stops and the fleet's word."""
TWIN_BYTES_MAX: Final = 16_384


class MessageClass(StrEnum):
    """The legal class of a message; it decides when the message may exist (docs/privacy.md)."""

    TECHNICAL = "T"
    STATISTICS = "S"
    AGGREGATE = "A"
    EVENT = "E"


class Label(IntEnum):
    """The class of a road user; the order is the order of counts on the wire."""

    PERSON = 0
    BICYCLE = 1
    CAR = 2
    MOTORCYCLE = 3
    BUS = 4
    TRUCK = 5


class Direction(IntEnum):
    """Which way a line was crossed, as seen standing at its first point and looking at its second."""

    LEFT_TO_RIGHT = 0
    RIGHT_TO_LEFT = 1


class CameraState(IntEnum):
    """What a camera is doing for us right now; stopped: by a DPO's order, forbidden: no policy lets it run."""

    CONNECTING = 0
    LIVE = 1
    STALLED = 2
    FROZEN = 3
    AUTH_FAILED = 4
    BACKOFF = 5
    ENDED = 6
    STOPPED = 7
    FORBIDDEN = 8


class Quality(IntFlag):
    """What a reader of a window must know before trusting it."""

    CLOCK_UNSYNCED = 1
    LOW_COVERAGE = 2
    RESTARTED = 4
    SPLIT = 8
    DEGRADED = 16
    GATED = 32
    QUARANTINED = 64


class GapReason(IntEnum):
    """Why sequence numbers are missing for ever; what is coarsened is summed in a later record and not lost."""

    OUTBOX_FULL = 0
    TOO_OLD = 1
    OUTBOX_DAMAGED = 2
    COARSENED = 3
    FLEET_RESTORED = 4


class RoadLevel(IntEnum):
    """State of a road from counts alone (the five levels of traffic information services)."""

    FREE_FLOW = 0
    HEAVY = 1
    SLOW = 2
    QUEUING = 3
    STATIONARY = 4


class EventKind(IntEnum):
    """What one object did; only under an authorisation for this kind, area and date."""

    STANDING_VEHICLE = 0
    BULKY_OBJECT = 1
    WRONG_WAY = 2


class ViewFault(IntFlag):
    """What is wrong with a camera's view."""

    DARK = 1
    COVERED = 2
    DEFOCUSED = 4
    MOVED = 8


class Strictness(IntEnum):
    """Why a box, or some camera of it, is held to less than its policy allows; none when it is not."""

    NONE = 0
    NO_POLICY = 1
    NOT_COVERED = 2
    UNFOUNDED = 3
    EXPIRED = 4
    ROOT_EXPIRED = 5
    NO_CONTACT = 6
    BEHIND = 7
    CLOCK = 8
    STOPPED = 9
    AUDIT_UNWRITABLE = 10
    MASKS_UNDECIDED = 11


class Refusal(IntEnum):
    """Why a box refused a document that it was given."""

    NONE = 0
    TRUNCATED_DOCUMENT = 1
    MALFORMED_DOCUMENT = 2
    WRONG_TYPE = 3
    WRONG_CONTROLLER = 4
    FORGED = 5
    UNKNOWN_KEY = 6
    UNDER_SIGNED = 7
    OLDER = 8
    EXPIRED = 9
    NOT_YET = 10


class FetchFault(IntEnum):
    """Why a box cannot fetch a document; none when it could at last."""

    NONE = 0
    UNREACHABLE = 1
    NOT_THERE = 2
    REFUSED = 3
    TOO_LONG = 4
    CUT_OFF = 5
    WRONG_HASH = 6
    DISK = 7


class ClipFault(IntFlag):
    """What is wrong with the keeping of stills."""

    FULL = 1
    DISK_REFUSES = 2
    KEY_NOT_DESTROYED = 4
    CLOCK_JUMPED = 8


AtS = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF, description="UTC seconds since 1970")]
WindowS = Annotated[int, Meta(ge=1, le=86_400, description="length of the window, seconds")]
ContextNumber = Annotated[
    int, Meta(ge=0, le=0xFFFF_FFFF, description="first 32 bits of the SHA-256 of the Context record")
]
Index = Annotated[int, Meta(ge=0, le=63, description="place in the Context's list")]
Percent = Annotated[int, Meta(ge=0, le=100, description="percent")]
DeciFps = Annotated[int, Meta(ge=0, le=1200, description="analysed frames per second x 10")]
QualityBits = Annotated[int, Meta(ge=0, le=127, description="sum of Quality flags")]
Count = Annotated[int, Meta(ge=0, le=1_000_000, description="how many")]
Withheld = Annotated[int, Meta(ge=0, le=1_000_000)] | None
Sequence = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF_FFFF, description="sequence number, from 1")]
StreamNumber = Annotated[
    int,
    Meta(ge=0, le=0x7FFF_FFFF_FFFF_FFFF, description="mouth start, ms x 8 + class ordinal, or + 4: alarms of class T"),
]
LabelNumber = Annotated[int, Meta(ge=0, le=5, description="Label")]
StateNumber = Annotated[int, Meta(ge=0, le=8, description="CameraState")]
ReasonNumber = Annotated[int, Meta(ge=0, le=4, description="GapReason")]


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A thing that is said; ``[tag, *fields]`` on the wire."""


class Context(Record, frozen=True, tag=1):
    """What the windows of one camera refer to by number, said once and again whenever it changes."""

    camera: CameraId
    insee: Insee
    site: Annotated[Sha256Prefix, Meta(description="the site document in force")]
    policy: Annotated[Sha256Prefix, Meta(description="the policy in force")]
    model: Annotated[Sha256Prefix, Meta(description="the model in force")]
    labels: Annotated[tuple[LabelNumber, ...], Meta(max_length=6, description="labels counted, in order")]
    lines: Annotated[tuple[LineId, ...], Meta(max_length=16, description="ids of the lines, in order")]
    zones: Annotated[tuple[ZoneId, ...], Meta(max_length=16, description="ids of the zones, in order")]


class CrossingWindow(Record, frozen=True, tag=2):
    """Crossings of one line during ``[at_s, at_s + window_s)``, by label and direction."""

    context: ContextNumber
    at_s: AtS
    window_s: WindowS
    line: Annotated[Index, Meta(description="place in Context.lines")]
    coverage: Annotated[Percent, Meta(description="share of the window that was really observed")]
    fps_x10: DeciFps
    quality: QualityBits
    counts: Annotated[
        tuple[Withheld, ...],
        Meta(max_length=12, description="for each label in order: left to right, right to left; nil is withheld"),
    ]


class CameraHealth(Record, frozen=True, tag=3):
    """What one camera has been doing, said at every change of state and each minute."""

    camera: CameraId
    at_s: AtS
    state: StateNumber
    fps_x10: DeciFps
    reconnects: Annotated[Count, Meta(description="since the eye started")]
    frames_dropped: Annotated[Count, Meta(description="frames passed over for fresher ones since the last message")]


class Birth(Record, frozen=True, tag=4):
    """A box has started to speak."""

    at_s: AtS
    agent: VersionText
    contract_revision: Annotated[int, Meta(ge=1, le=65_535, description="revision of this registry")]
    profile: Annotated[Slug, Meta(description="profile of the policy in force")]


class Gap(Record, frozen=True, tag=5):
    """Numbers ``first..last`` of this stream will never come; over it the high-water mark advances."""

    first: Sequence
    last: Sequence
    reason: ReasonNumber


class RollUp(Record, frozen=True, tag=6):
    """The sum of the cells withheld in the windows that began in ``[at_s, at_s + window_s)``, and of no others."""

    context: ContextNumber
    at_s: AtS
    window_s: Annotated[WindowS, Meta(description="3,600 or 86,400, seconds")]
    line: Annotated[Index, Meta(description="place in Context.lines")]
    label: LabelNumber
    direction: Annotated[int, Meta(ge=0, le=1, description="Direction")]
    count: Annotated[Withheld, Meta(description="nil: fewer than k, or it would give a cell away")]


class OccupancyWindow(Record, frozen=True, tag=7):
    """How many were in one zone at a time, over the window, by label."""

    context: ContextNumber
    at_s: AtS
    window_s: WindowS
    zone: Annotated[Index, Meta(description="place in Context.zones")]
    coverage: Percent
    quality: QualityBits
    counts: Annotated[
        tuple[Withheld, ...],
        Meta(max_length=12, description="for each label in order: median, 90th percentile; nil is withheld"),
    ]


class StayWindow(Record, frozen=True, tag=8):
    """Stays in one zone that ended in the window, by length; and the time stood there beyond the zone's limit."""

    context: ContextNumber
    at_s: AtS
    window_s: WindowS
    zone: Annotated[Index, Meta(description="place in Context.zones")]
    coverage: Percent
    quality: QualityBits
    label: LabelNumber
    counts: Annotated[
        tuple[Withheld, ...],
        Meta(max_length=8, description="stays under 10 s, 30 s, 1, 3, 10, 30 min, 2 h, longer; nil is withheld"),
    ]
    over_s: Annotated[int, Meta(ge=0, le=10_000_000, description="seconds stood beyond the limit, all together")]


class ObjectWindow(Record, frozen=True, tag=9):
    """How long objects have lain in one zone during the window, all together."""

    context: ContextNumber
    at_s: AtS
    window_s: WindowS
    zone: Annotated[Index, Meta(description="place in Context.zones")]
    coverage: Percent
    quality: QualityBits
    lain_s: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000_000,
            description="object-seconds; an object's first half hour counts at its end, so that sums are whole",
        ),
    ]


class SpeedWindow(Record, frozen=True, tag=10):
    """Speeds over one line in one direction during the window, motor vehicles together; nil under the least number."""

    context: ContextNumber
    at_s: AtS
    window_s: WindowS
    line: Annotated[Index, Meta(description="place in Context.lines")]
    direction: Annotated[int, Meta(ge=0, le=1, description="Direction")]
    measured: Annotated[Count, Meta(description="vehicles measured")]
    percentiles_kmh_x10: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=3000)] | None, ...],
        Meta(max_length=3, description="V15, V50, V85, km/h x 10; nil is withheld"),
    ]


class RoadState(Record, frozen=True, tag=11):
    """State of the road in one zone, from counts alone."""

    context: ContextNumber
    at_s: AtS
    window_s: WindowS
    zone: Annotated[Index, Meta(description="place in Context.zones")]
    level: Annotated[int, Meta(ge=0, le=4, description="RoadLevel")]
    flow_per_h: Annotated[Count, Meta(description="motor vehicles per hour")]
    occupied: Annotated[Percent, Meta(description="share of the time a vehicle was in the zone")]
    queue_m: Annotated[int, Meta(ge=0, le=10_000, description="longest queue, metres")]


class StreetEvent(Record, frozen=True, tag=12):
    """Something one object did in a zone or over a line."""

    context: ContextNumber
    at_s: AtS
    kind: Annotated[int, Meta(ge=0, le=2, description="EventKind")]
    place: Annotated[Index, Meta(description="place in Context.zones; for WRONG_WAY in Context.lines")]
    since_s: Annotated[AtS, Meta(description="when it began, UTC seconds since 1970")]
    over: Annotated[int, Meta(ge=0, le=1, description="1: it has ended")]


class ViewAlarm(Record, frozen=True, tag=13):
    """The view of a camera is no longer what its lines were drawn on, or is again (no fault)."""

    camera: CameraId
    at_s: AtS
    faults: Annotated[int, Meta(ge=0, le=15, description="sum of ViewFault flags; 0: it is good again")]
    shift_permille: Annotated[
        int, Meta(ge=0, le=1000, description="how far it has gone, thousandths of the width; 1000: out of sight")
    ]


class Validation(Record, frozen=True, tag=14):
    """How well the labels of a Context are counted, measured against somebody's own tally; it follows the Context."""

    context: ContextNumber
    factors: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=1_000_000)] | None, ...],
        Meta(
            max_length=18,
            description="for each label in order: recall x 1000, precision x 1000, true crossings it was measured on; "
            "three times nil where nobody has measured",
        ),
    ]


class Reported(Record, frozen=True, tag=15):
    """What a box holds of the documents it is steered by, as its eye verified them; at a change, and each hour."""

    at_s: AtS
    root: Annotated[int, Meta(ge=0, le=0x7FFF_FFFF, description="version of the root; 0: it was enrolled with none")]
    policy_version: Annotated[int, Meta(ge=0, le=0x7FFF_FFFF, description="of the policy last taken; 0: none")]
    policy: Annotated[Sha256Prefix | None, Meta(description="that policy; nil: none")]
    site: Annotated[Sha256Prefix, Meta(description="the site document in force")]
    profile: Annotated[Slug, Meta(description="profile of the camera that is held to the least")]
    why: Annotated[int, Meta(ge=0, le=11, description="Strictness, of that camera")]
    running: Annotated[int, Meta(ge=0, le=255, description="cameras that are read")]
    stops: Annotated[int, Meta(ge=0, le=96, description="stops in force, those only told of too")]
    heard_s: Annotated[AtS, Meta(description="when the fleet's last word was said, UTC seconds; 0: never")]
    refused: Annotated[Sha256Prefix | None, Meta(description="the document refused last; nil: none since the start")]
    refusal: Annotated[int, Meta(ge=0, le=10, description="Refusal, of that document")]


class FetchAlarm(Record, frozen=True, tag=23):
    """A document that a box was told of cannot be fetched, or could at last (no fault)."""

    at_s: AtS
    document: Annotated[Sha256Prefix, Meta(description="which")]
    fault: Annotated[int, Meta(ge=0, le=7, description="FetchFault")]
    tries: Annotated[Count, Meta(description="how often it was tried")]


class ClipsHeld(Record, frozen=True, tag=20):
    """What a box holds of kept stills, measured; at a change, each hour, and at once when something is wrong."""

    at_s: AtS
    days: Annotated[int, Meta(ge=0, le=4096, description="days of cameras, frozen ones too")]
    frozen: Annotated[int, Meta(ge=0, le=4096, description="those that are kept for justice")]
    oldest_s: Annotated[
        Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)] | None,
        Meta(description="age of the oldest still that is not frozen, seconds; nil: there is none"),
    ]
    size_mib: Annotated[int, Meta(ge=0, le=1 << 20, description="all of them together, MiB, rounded up")]
    faults: Annotated[int, Meta(ge=0, le=15, description="sum of ClipFault flags; 0: all is well")]


class WaterLevel(Record, frozen=True, tag=16):
    """How high the water stood at a sensor, as it told by radio."""

    sensor: Annotated[Slug, Meta(description="name of the sensor")]
    insee: Insee
    at_s: AtS
    level_mm: Annotated[int, Meta(ge=0, le=200_000, description="above the sensor's own zero, mm")]


class NoiseLevel(Record, frozen=True, tag=17):
    """How loud it was at a sensor; a level, never a sound."""

    sensor: Annotated[Slug, Meta(description="name of the sensor")]
    insee: Insee
    at_s: AtS
    window_s: Annotated[int, Meta(ge=0, le=86_400, description="averaged over, seconds; 0: at an instant")]
    laeq_db_x10: Annotated[int, Meta(ge=0, le=1600, description="equivalent level, A-weighted, dB x 10")]
    lamax_db_x10: Annotated[int, Meta(ge=0, le=1600, description="highest level, A-weighted, dB x 10")] | None = None


class LightLevel(Record, frozen=True, tag=18):
    """How bright it was at a sensor."""

    sensor: Annotated[Slug, Meta(description="name of the sensor")]
    insee: Insee
    at_s: AtS
    lux: Annotated[int, Meta(ge=0, le=200_000, description="illuminance, lux")]


class SensorHealth(Record, frozen=True, tag=24):
    """How a sensor is heard, said at most once an hour and when it is heard again after a silence."""

    sensor: Annotated[Slug, Meta(description="name of the sensor")]
    at_s: AtS
    battery_mv: Annotated[int, Meta(ge=0, le=60_000, description="battery, mV; nil: not told")] | None
    faint_db: Annotated[int, Meta(ge=0, le=200, description="dB under 1 mW of its best signal; nil: not told")] | None
    missed: Annotated[Count, Meta(description="messages that did not arrive since the last of these")]
    refused: Annotated[Count, Meta(description="messages that could not be believed since the last of these")]


class Batch(Record, frozen=True, tag=1):
    """Records ``first_seq, first_seq + 1, …`` of one stream; a Gap takes the place of all the numbers it names."""

    stream: StreamNumber
    first_seq: Sequence
    records: Annotated[tuple[msgspec.Raw, ...], Meta(max_length=BATCH_RECORDS_MAX, description="encoded records")]


class Ack(Record, frozen=True, tag=2):
    """Everything of ``stream`` up to and with ``upto`` is in the fleet's database."""

    stream: StreamNumber
    upto: Sequence


class Carried(Record, frozen=True, tag=1):
    """One record on the link from eye to mouth."""

    epoch: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF_FFFF, description="start of the eye that numbered it, ms")]
    seq: Sequence
    record: Annotated[msgspec.Raw, Meta(description="one encoded record")]


class Received(Record, frozen=True, tag=2):
    """The mouth has committed everything of ``epoch`` up to and with ``seq``."""

    epoch: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF_FFFF, description="epoch of the Carried records")]
    seq: Sequence


class DocumentReady(Record, frozen=True, tag=3):
    """The mouth has written a document or model to its store; the eye reads and verifies it itself."""

    name: Slug
    sha256: Sha256


class Pointer(Record, frozen=True, tag=1):
    """A document to be fetched by its hash; it is signed, so whoever hands it out can only lose it."""

    kind: Annotated[Slug, Meta(description="root, policy, stop or contact")]
    sha256: Sha256
    size_bytes: Annotated[int, Meta(ge=1, le=0x20_0000, description="exactly so many bytes")]


class Twin(Record, frozen=True, tag=3):
    """Which documents a box should hold, in the order to take them; retained by the broker."""

    sequence: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF_FFFF, description="rises with every change")]
    documents: Annotated[tuple[Pointer, ...], Meta(max_length=TWIN_DOCUMENTS_MAX)]


class Published(Record, frozen=True, tag=1):
    """What consumers read on ``out/``: one record with its box, its stream position and a cursor."""

    cursor: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF_FFFF, description="rises by one for each message of the shard")]
    box: BoxId
    stream: StreamNumber
    seq: Sequence
    record: Annotated[msgspec.Raw, Meta(description="one encoded record")]


AnyRecord = (
    Context
    | CrossingWindow
    | CameraHealth
    | Birth
    | Gap
    | RollUp
    | OccupancyWindow
    | StayWindow
    | ObjectWindow
    | SpeedWindow
    | RoadState
    | StreetEvent
    | ViewAlarm
    | Validation
    | Reported
    | FetchAlarm
    | ClipsHeld
    | WaterLevel
    | NoiseLevel
    | LightLevel
    | SensorHealth
)

CLASS_OF: Final[dict[type[Record], MessageClass]] = {
    Context: MessageClass.STATISTICS,
    CrossingWindow: MessageClass.STATISTICS,
    RollUp: MessageClass.STATISTICS,
    OccupancyWindow: MessageClass.STATISTICS,
    StayWindow: MessageClass.STATISTICS,
    ObjectWindow: MessageClass.STATISTICS,
    SpeedWindow: MessageClass.STATISTICS,
    RoadState: MessageClass.AGGREGATE,
    StreetEvent: MessageClass.EVENT,
    ViewAlarm: MessageClass.TECHNICAL,
    Validation: MessageClass.STATISTICS,
    CameraHealth: MessageClass.TECHNICAL,
    Birth: MessageClass.TECHNICAL,
    Reported: MessageClass.TECHNICAL,
    FetchAlarm: MessageClass.TECHNICAL,
    ClipsHeld: MessageClass.TECHNICAL,
    WaterLevel: MessageClass.STATISTICS,
    NoiseLevel: MessageClass.STATISTICS,
    LightLevel: MessageClass.STATISTICS,
    SensorHealth: MessageClass.TECHNICAL,
}
"""The class of each record; a Gap has the class of the stream it stands in."""

ALARMS: Final[frozenset[type[Record]]] = frozenset({ViewAlarm, FetchAlarm})
"""Records of class T that go before everything else, in a stream of their own."""

_CLASS_ORDER: Final = tuple(MessageClass)
_ALARM_ORDINAL: Final = len(_CLASS_ORDER)
STREAMS_A_START: Final = 8
"""Numbers that each start of a mouth has for its streams; five are in use."""


def stream_of(kind: MessageClass, started_ms: int) -> int:
    """Return the number of the stream of ``kind`` that a mouth started at ``started_ms`` speaks on."""
    return started_ms * STREAMS_A_START + _CLASS_ORDER.index(kind)


def alarm_stream_of(started_ms: int) -> int:
    """Return the number of the stream on which that mouth says what is in ``ALARMS``."""
    return started_ms * STREAMS_A_START + _ALARM_ORDINAL


def stream_for(record: type[Record], started_ms: int) -> int:
    """Return the number of the stream on which that mouth says records of this type; of a Gap, nobody can tell."""
    return alarm_stream_of(started_ms) if record in ALARMS else stream_of(CLASS_OF[record], started_ms)


def is_alarm_stream(stream: int) -> bool:
    """Tell whether ``stream`` is one of alarms."""
    return stream % STREAMS_A_START == _ALARM_ORDINAL


def class_of_stream(stream: int) -> MessageClass:
    """Return the class whose records travel on ``stream``.

    Raises:
        ValueError: The stream's ordinal names no class.
    """
    ordinal = stream % STREAMS_A_START
    if ordinal == _ALARM_ORDINAL:
        return MessageClass.TECHNICAL
    if ordinal > _ALARM_ORDINAL:
        message = f"stream {stream} names no message class"
        raise ValueError(message)
    return _CLASS_ORDER[ordinal]
