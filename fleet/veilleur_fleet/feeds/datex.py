"""Counts as a DATEX II v3 ``MeasuredDataPublication`` in JSON: vehicles by line and direction, slot by slot.

DATEX knows a flow per hour and no pedestrians, so persons are not in it; the vehicles really counted stand beside the
rate as ``numberOfInputValuesUsed``. A count that was not measured or may not be told is a quantity that is not there.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from veilleur_contracts.messages import Direction, Label
from veilleur_fleet.errors import QueryRejectedError
from veilleur_fleet.feeds.places import PublishedPlace
from veilleur_fleet.feeds.series import Channel
from veilleur_fleet.feeds.slots import HOUR_S

MODEL: Final = "3.5"
SITES_TABLE: Final = "veilleur-sites"
VEHICLE: Final = {
    Label.BICYCLE: "bicycle",
    Label.CAR: "car",
    Label.MOTORCYCLE: "motorcycle",
    Label.BUS: "bus",
    Label.TRUCK: "lorry",
}
_WAY: Final = {Direction.LEFT_TO_RIGHT: "lr", Direction.RIGHT_TO_LEFT: "rl"}

Part = dict[str, Any]


def publication(
    publisher: str, places: Iterable[tuple[PublishedPlace, Sequence[Channel]]], published_s: int
) -> dict[str, Any]:
    """Return the whole message.

    Raises:
        QueryRejectedError: There is nothing to publish: DATEX wants one measurement at least.
    """
    measured = [part for place, channels in places for part in site_measurements(place, channels)]
    if not measured:
        message = "nothing was counted in this period that could be published: DATEX II knows no empty publication"
        raise QueryRejectedError(message)
    told = {
        "lang": "fr",
        "publicationTime": _utc(published_s),
        "publicationCreator": {"country": "FR", "nationalIdentifier": publisher},
        "measurementSiteTableReference": [_reference("MeasurementSiteTable", SITES_TABLE)],
        "headerInformation": {"informationStatus": {"value": "real"}},
        "siteMeasurements": measured,
    }
    return {"payload": {"versionG": MODEL, "modelBaseVersionG": "3", "roaMeasuredDataPublication": told}}


def site_measurements(place: PublishedPlace, channels: Sequence[Channel]) -> Iterator[Part]:
    """Yield what each line of one camera measured each way in each slot in which anything may be told."""
    found: dict[tuple[int, int, str, Direction], list[Part]] = {}
    for channel in channels:
        if channel.label not in VEHICLE:
            continue
        for number, count in enumerate(channel.counts):
            if count is not None:
                at_s = channel.from_s + number * channel.step_s
                key = (at_s, channel.step_s, channel.line.line, channel.direction)
                found.setdefault(key, []).append(_quantity(channel, count))
    for (at_s, step_s, line, direction), quantities in sorted(found.items()):
        site = f"{place.controller}.{place.camera}.{line}.{_WAY[direction]}"
        period = {"startOfPeriod": _utc(at_s), "endOfPeriod": _utc(at_s + step_s)}
        yield {
            "measurementSiteReference": _reference("MeasurementSite", site),
            "measurementTimeDefault": {"period": period},
            "physicalQuantity": quantities,
        }


def _quantity(channel: Channel, count: int) -> Part:
    """Return a flow; its index is the label's number, for ever the same."""
    flow = {"vehicleFlowRate": round(count * HOUR_S / channel.step_s), "numberOfInputValuesUsed": count}
    kind = {"vehicleType": [{"value": VEHICLE[channel.label]}]}
    data = {"roaTrafficFlow": {"forVehiclesWithCharacteristicsOf": kind, "vehicleFlow": flow}}
    return {"index": int(channel.label), "physicalQuantity": {"roaSinglePhysicalQuantity": {"basicData": data}}}


def _reference(kind: str, name: str) -> Part:
    return {"targetClass": kind, "idG": name, "versionG": "1"}


def _utc(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
