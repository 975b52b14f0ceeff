"""Sensors a box hears by radio, and how their payloads are read: data with limits, never a program.

    [[decoder]]                       [[decoder.field]]              [[sensor]]
    id = "ultrasonic"                 name = "level_mm"              id = "vistre-amont"
    measures = "water_level"          at = 2                         dev_eui = "a84041ffff123456"
    f_port = 2                        length = 2                     insee = "30189"
    length = 8                        times = -1                     decoder = "ultrasonic"
                                      plus = 4500
                                      least = 0
                                      most = 4500

A field is a whole number of 1 to 4 bytes at a fixed place: ``value = (raw & mask) * times // over + plus``. What lies
outside ``least..most`` is refused: a drowned or broken sensor must not look like a level.
"""

from collections.abc import Iterable
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from veilleur_contracts.errors import RejectedError
from veilleur_contracts.ids import Insee, Slug

SENSORS_MAX: Final = 64
DECODERS_MAX: Final = 16
PAYLOAD_BYTES_MAX: Final = 242
"""The longest LoRaWAN payload of any region."""

Measure = Literal["water_level", "noise", "light"]
FieldName = Literal["level_mm", "laeq_db_x10", "lamax_db_x10", "lux", "battery_mv"]

REQUIRED: Final[dict[Measure, FieldName]] = {"water_level": "level_mm", "noise": "laeq_db_x10", "light": "lux"}
"""What each measure cannot do without."""
ALLOWED: Final[dict[Measure, frozenset[FieldName]]] = {
    "water_level": frozenset({"level_mm", "battery_mv"}),
    "noise": frozenset({"laeq_db_x10", "lamax_db_x10", "battery_mv"}),
    "light": frozenset({"lux", "battery_mv"}),
}
WIRE_RANGE: Final[dict[FieldName, tuple[int, int]]] = {
    "level_mm": (0, 200_000),
    "laeq_db_x10": (0, 1600),
    "lamax_db_x10": (0, 1600),
    "lux": (0, 200_000),
    "battery_mv": (0, 60_000),
}
"""What the wire can say of each; a decoder may only be stricter."""

Factor = Annotated[int, Meta(ge=-1_000_000, le=1_000_000)]


class DecoderRejectedError(RejectedError):
    """Decoders or sensors that contradict themselves; the sentence names the place."""


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One number in a payload.

    Attributes:
        name: What it is, with its unit.
        at: Its first byte, counted from 0.
        length: How many bytes it has.
        order: Which byte comes first: the ``big`` or the ``little`` end.
        signed: Whether it is in two's complement.
        mask: Bits of it that belong to the number; None: all. Not with ``signed``.
        times: Multiplied by,
        over: then divided by, downwards,
        plus: then added to.
        least: Smallest value believed.
        most: Largest value believed.
    """

    name: FieldName
    at: Annotated[int, Meta(ge=0, lt=PAYLOAD_BYTES_MAX)]
    length: Annotated[int, Meta(ge=1, le=4)]
    least: int
    most: int
    order: Literal["big", "little"] = "big"
    signed: bool = False
    mask: Annotated[int, Meta(ge=1, le=0xFFFF_FFFF)] | None = None
    times: Factor = 1
    over: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    plus: Factor = 0

    def value_in(self, payload: bytes) -> int:
        """Return the number in ``payload``, which is long enough."""
        raw = int.from_bytes(payload[self.at : self.at + self.length], self.order, signed=self.signed)
        return (raw if self.mask is None else raw & self.mask) * self.times // self.over + self.plus


class Decoder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the payloads of one kind of sensor are read.

    Attributes:
        id: Its name.
        measures: What such a sensor measures.
        f_port: LoRaWAN port its measurements come on; others (settings, joins) are passed over.
        length: Bytes of a payload, neither more nor fewer.
        field: Its numbers.
        window_s: Over how long a noise level is averaged, seconds; 0: at an instant.
    """

    id: Slug
    measures: Measure
    f_port: Annotated[int, Meta(ge=1, le=223)]
    length: Annotated[int, Meta(ge=1, le=PAYLOAD_BYTES_MAX)]
    field: Annotated[tuple[Field, ...], Meta(min_length=1, max_length=8)]
    window_s: Annotated[int, Meta(ge=0, le=86_400)] = 0


class Sensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sensor.

    Attributes:
        id: Its name.
        dev_eui: Its LoRaWAN address, 16 hexadecimal digits; it never leaves the box.
        insee: INSEE code of its commune.
        decoder: Id of the decoder that reads it.
    """

    id: Slug
    dev_eui: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$")]
    insee: Insee
    decoder: Slug


def check_sensors(sensors: Iterable[Sensor], decoders: Iterable[Decoder], name: str) -> None:
    """Refuse what the types alone let through.

    Raises:
        DecoderRejectedError: A name or address twice, a sensor without its decoder, a field twice, beyond the payload,
            of another measure, missing, or believed beyond what the wire can say.
    """
    known: set[str] = set()
    for decoder in decoders:
        where = f"{name}: decoder {decoder.id}"
        if decoder.id in known:
            raise DecoderRejectedError(f"{where} is there twice; every id is used once")
        known.add(decoder.id)
        _check_decoder(decoder, where)
    seen: set[str] = set()
    for sensor in sensors:
        where = f"{name}: sensor {sensor.id}"
        if sensor.id in seen or sensor.dev_eui in seen:
            raise DecoderRejectedError(f"{where}: its id or dev_eui is there twice; each is used once")
        seen |= {sensor.id, sensor.dev_eui}
        if sensor.decoder not in known:
            raise DecoderRejectedError(f"{where}: there is no decoder {sensor.decoder}; add it, or name another")


def _check_decoder(decoder: Decoder, where: str) -> None:
    names = [field.name for field in decoder.field]
    if len(set(names)) < len(names):
        raise DecoderRejectedError(f"{where}: a field is there twice; each is read once")
    needed = REQUIRED[decoder.measures]
    if needed not in names:
        raise DecoderRejectedError(f"{where}: {decoder.measures} needs the field {needed}")
    for field in decoder.field:
        low, high = WIRE_RANGE[field.name]
        if field.name not in ALLOWED[decoder.measures]:
            raise DecoderRejectedError(f"{where}: {field.name} is no part of {decoder.measures}")
        if field.at + field.length > decoder.length:
            raise DecoderRejectedError(f"{where}: {field.name} ends after the {decoder.length} bytes of the payload")
        if field.signed and field.mask is not None:
            raise DecoderRejectedError(f"{where}: {field.name} is signed and masked; give one of the two")
        if not low <= field.least <= field.most <= high:
            raise DecoderRejectedError(
                f"{where}: {field.name} is believed from {field.least} to {field.most}; give limits in order, "
                f"within {low} to {high}"
            )
