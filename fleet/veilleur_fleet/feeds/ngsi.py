"""Counts as NGSI-LD entities: what one slot of one camera says, in the words of the smart data models.

    channels ─▶ CrowdFlowObserved    one for each line: persons, both ways
             ─▶ TrafficFlowObserved  one for each line, vehicle and direction
    place ────▶ Device               the camera, without its health

A count that was not measured or may not be told is an attribute that is not there: the models refuse null, and a zero
would be a lie.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from veilleur_contracts.messages import Direction, Label
from veilleur_fleet.feeds.places import PublishedPlace
from veilleur_fleet.feeds.series import Channel

CORE_CONTEXT: Final = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context.jsonld"
VEHICLE: Final = {
    Label.BICYCLE: "bicycle",
    Label.CAR: "car",
    Label.MOTORCYCLE: "motorcycle",
    Label.BUS: "bus",
    Label.TRUCK: "lorry",
}
_WAY: Final = {Direction.LEFT_TO_RIGHT: "lr", Direction.RIGHT_TO_LEFT: "rl"}

Entity = dict[str, Any]


def slots_of(channels: Sequence[Channel]) -> list[tuple[int, int]]:
    """Return every ``(beginning, length)`` that any of ``channels`` has, in order of its end."""
    slots = {
        (channel.from_s + number * channel.step_s, channel.step_s)
        for channel in channels
        for number in range(len(channel.counts))
    }
    return sorted(slots, key=lambda slot: (slot[0] + slot[1], slot))


def entities_at(
    place: PublishedPlace, publisher: str, channels: Sequence[Channel], slot: tuple[int, int]
) -> Iterator[Entity]:
    """Yield the entities of one camera in one slot, no id twice; the device first."""
    common = _common(place, publisher)
    yield _device(place, common)
    crowds: dict[str, dict[Direction, int | None]] = {}
    for channel in channels:
        number, inside = divmod(slot[0] - channel.from_s, channel.step_s)
        if inside or channel.step_s != slot[1] or not 0 <= number < len(channel.counts):
            continue
        count = channel.counts[number]
        if channel.label is Label.PERSON:
            crowds.setdefault(channel.line.line, {})[channel.direction] = count
        else:
            yield _traffic(place, channel, count, slot) | common
    for line, counts in crowds.items():
        yield _crowd(place, line, counts, slot) | common


def _common(place: PublishedPlace, publisher: str) -> Entity:
    point = {"type": "Point", "coordinates": [place.longitude, place.latitude]}
    return {
        "name": _property(place.name),
        "dataProvider": _property(publisher),
        "location": {"type": "GeoProperty", "value": point},
    }


def _device(place: PublishedPlace, common: Entity) -> Entity:
    kinds = {"category": _property(["sensor"]), "controlledProperty": _property(["trafficFlow", "crowdFlow"])}
    return {"id": _id("Device", place), "type": "Device", **kinds, **common}


def _traffic(place: PublishedPlace, channel: Channel, count: int | None, slot: tuple[int, int]) -> Entity:
    label, way = channel.label.name.lower(), _WAY[channel.direction]
    entity = {
        "id": _id("TrafficFlowObserved", place, channel.line.line, label, way),
        "type": "TrafficFlowObserved",
        "vehicleType": _property(VEHICLE[channel.label]),
        **_times(place, slot),
    }
    return entity if count is None else {**entity, "intensity": _observed(count, slot)}


def _crowd(place: PublishedPlace, line: str, counts: dict[Direction, int | None], slot: tuple[int, int]) -> Entity:
    told = {
        "peopleCountTowards": counts.get(Direction.LEFT_TO_RIGHT),
        "peopleCountAway": counts.get(Direction.RIGHT_TO_LEFT),
    }
    known = {name: _observed(count, slot) for name, count in told.items() if count is not None}
    if len(known) == len(told):
        known["peopleCount"] = _observed(sum(count or 0 for count in told.values()), slot)
    entity = {"id": _id("CrowdFlowObserved", place, line), "type": "CrowdFlowObserved"}
    return {**entity, **_times(place, slot), **known}


def _times(place: PublishedPlace, slot: tuple[int, int]) -> Entity:
    since, until = _utc(slot[0]), _utc(slot[0] + slot[1])
    return {
        "dateObserved": _property(f"{since}/{until}"),
        "dateObservedFrom": _property({"@type": "DateTime", "@value": since}),
        "dateObservedTo": _property({"@type": "DateTime", "@value": until}),
        "refDevice": {"type": "Relationship", "object": _id("Device", place)},
    }


def _property(value: Any) -> Entity:
    return {"type": "Property", "value": value}


def _observed(count: int, slot: tuple[int, int]) -> Entity:
    """Return a count that was known at the end of its slot."""
    return {"type": "Property", "value": count, "observedAt": _utc(slot[0] + slot[1])}


def _id(kind: str, place: PublishedPlace, *parts: str) -> str:
    return ":".join(("urn:ngsi-ld", kind, place.controller, place.camera, *parts))


def _utc(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
