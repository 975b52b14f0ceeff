"""Read what a LoRaWAN network server (ChirpStack v4, JSON) says of a sensor: a rule, which touches nothing.

topic, payload ─▶ Heard (sensor, address, counter, time, signal) ─▶ decoder's fields, with limits ─▶ Reading
"""

import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from veilleur_contracts.errors import RejectedError
from veilleur_contracts.messages import LightLevel, NoiseLevel, WaterLevel
from veilleur_contracts.sensors import PAYLOAD_BYTES_MAX, Decoder, FieldName, Sensor

UPLINKS: Final = "application/+/device/+/event/up"
"""Where ChirpStack v4 publishes what a device said; the fourth part is the device's address."""
COUNTER_BITS: Final = 31
"""Of a frame counter; with the 32 bits of a session's address it fits the integers of SQLite."""
UPLINK_BYTES_MAX: Final = 16_384
LATE_MAX: Final = timedelta(days=30)
EARLY_MAX: Final = timedelta(hours=1)
"""A time of the network server further off than these is not believed: the box's own clock is taken."""

Measured = WaterLevel | NoiseLevel | LightLevel


class UplinkRejectedError(RejectedError):
    """A message of the gateway that cannot be believed; the sentence names the reason, and none of its content."""


class _Signal(msgspec.Struct, frozen=True):
    rssi: Annotated[int, Meta(ge=-200, le=50)] | None = None


class _Device(msgspec.Struct, frozen=True, rename="camel"):
    dev_eui: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{16}$")]


class _Uplink(msgspec.Struct, frozen=True, rename="camel"):
    """The parts of an uplink event that are read; all others are passed over."""

    device_info: _Device
    dev_addr: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{8}$")]
    f_cnt: Annotated[int, Meta(ge=0, lt=1 << COUNTER_BITS)] = 0
    f_port: Annotated[int, Meta(ge=0, le=255)] = 0
    data: Annotated[str, Meta(max_length=4 * (PAYLOAD_BYTES_MAX + 2) // 3 + 4)] = ""
    time: datetime | None = None
    rx_info: Annotated[tuple[_Signal, ...], Meta(max_length=64)] = ()


@dataclass(frozen=True, slots=True)
class Heard:
    """One message of a sensor.

    Attributes:
        sensor: Its name.
        number: Session address and frame counter in one: the same message has the same number, a later one of the same
            session a greater one.
        measured: What it measured; None when the message was of another kind.
        battery_mv: Its battery; None when not told.
        faint_db: How far under 1 mW the best signal of any gateway was, dB; None when not told.
    """

    sensor: str
    number: int
    measured: Measured | None
    battery_mv: int | None
    faint_db: int | None


def address_in(topic: str) -> str | None:
    """Return the device address in a topic of ``UPLINKS``, None when it is no such topic."""
    parts = topic.split("/")
    is_one = len(parts) == 6 and (parts[0], parts[2], *parts[4:]) == ("application", "device", "event", "up")  # noqa: PLR2004 - as UPLINKS
    return parts[3].lower() if is_one else None


def read_uplink(
    topic: str, payload: bytes, sensors: Mapping[str, tuple[Sensor, Decoder]], now: datetime
) -> Heard | None:
    """Read one message of the gateway.

    Args:
        topic: Where it was published.
        payload: JSON, of whatever length.
        sensors: Sensor and decoder by device address, lower-case.
        now: By the box's clock.

    Returns:
        None when it is of no sensor of this site.

    Raises:
        UplinkRejectedError: Too long, no uplink event, of another device than its topic, or beyond a decoder's limits.
    """
    address = address_in(topic)
    known = None if address is None else sensors.get(address)
    if known is None:
        return None
    sensor, decoder = known
    uplink = _event_in(payload)
    if uplink.device_info.dev_eui.lower() != address:
        raise UplinkRejectedError("it is of another device than its topic")
    signals = [one.rssi for one in uplink.rx_info if one.rssi is not None]
    values: dict[FieldName, int] = {}
    if uplink.f_port == decoder.f_port:
        values = values_in(_payload_of(uplink.data), decoder)
    at_s = round(_believed(uplink.time, now).timestamp())
    return Heard(
        sensor.id,
        int(uplink.dev_addr, 16) << COUNTER_BITS | uplink.f_cnt,
        _measured(sensor, decoder, values, at_s) if values else None,
        values.get("battery_mv"),
        None if not signals else max(0, -max(signals)),
    )


def values_in(payload: bytes, decoder: Decoder) -> dict[FieldName, int]:
    """Return every field of ``payload``.

    Raises:
        UplinkRejectedError: Another length than the decoder's, or a value outside a field's limits.
    """
    if len(payload) != decoder.length:
        raise UplinkRejectedError(f"its payload has {len(payload)} bytes; the decoder reads {decoder.length}")
    values: dict[FieldName, int] = {}
    for field in decoder.field:
        value = field.value_in(payload)
        if not field.least <= value <= field.most:
            raise UplinkRejectedError(f"{field.name} is outside the limits of the decoder")
        values[field.name] = value
    return values


def missed_between(before: int | None, number: int) -> int:
    """Return how many messages went missing between two numbers of one session; 0 over a new session."""
    if before is None or before >> COUNTER_BITS != number >> COUNTER_BITS:
        return 0
    return max(0, number - before - 1)


def is_repeated(before: int | None, number: int) -> bool:
    """Tell whether a message is one that was heard already: the same session, and no greater counter."""
    return before is not None and before >> COUNTER_BITS == number >> COUNTER_BITS and number <= before


def sensors_by_address(sensors: Sequence[Sensor], decoders: Sequence[Decoder]) -> dict[str, tuple[Sensor, Decoder]]:
    """Return each sensor with its decoder, by device address."""
    by_id = {decoder.id: decoder for decoder in decoders}
    return {sensor.dev_eui: (sensor, by_id[sensor.decoder]) for sensor in sensors}


def _event_in(payload: bytes) -> _Uplink:
    if len(payload) > UPLINK_BYTES_MAX:
        raise UplinkRejectedError(f"it is longer than {UPLINK_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(payload, type=_Uplink)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UplinkRejectedError("it is no uplink event of ChirpStack v4") from None


def _payload_of(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise UplinkRejectedError("its payload is not base64") from None


def _believed(said: datetime | None, now: datetime) -> datetime:
    if said is None or said.tzinfo is None or not now - LATE_MAX <= said <= now + EARLY_MAX:
        return now
    return said


def _measured(sensor: Sensor, decoder: Decoder, values: Mapping[FieldName, int], at_s: int) -> Measured:
    named = (sensor.id, sensor.insee, at_s)
    match decoder.measures:
        case "water_level":
            return WaterLevel(*named, values["level_mm"])
        case "noise":
            return NoiseLevel(*named, decoder.window_s, values["laeq_db_x10"], values.get("lamax_db_x10"))
        case "light":
            return LightLevel(*named, values["lux"])
