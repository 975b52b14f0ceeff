"""Counts as open data: the three CSV files of etalab's ``schema-comptage-mobilites`` 0.2.5.

    places ─────────────────────────▶ site.csv
    lines x labels x directions ────▶ channel.csv
    windows ─▶ slots (roll-up rule) ▶ measure.csv

Times are UTC, every slot of a channel stands in the file once, and an empty count means that it was not measured or may
not be told: the schema knows neither ``<5`` nor a flag.
"""

import csv
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from veilleur_contracts.messages import Direction, Label
from veilleur_fleet.errors import QueryRejectedError
from veilleur_fleet.feeds.places import Heading, Places, PublishedPlace
from veilleur_fleet.feeds.series import Bench, Channel, Period, channels_of

ROWS_MAX: Final = 20_000_000
FILES: Final = ("site.csv", "channel.csv", "measure.csv")
SITE: Final = (
    *("site_id", "parent_site_id", "site_name", "fr_insee_code", "xlong", "ylat", "external_ids"),
    "infrastructure_type",
)
CHANNEL: Final = (
    *("channel_id", "channel_provider_id", "site_provider_id", "site_id", "mobility_type", "comment"),
    *("counter_transmission_type", "publication_transmission_type", "counter_type", "direction"),
    *("provider_direction_code", "provider_direction_name", "data_provider_name", "temporality"),
    *("started_at", "ended_at", "last_updated_at", "time_step", "provider_portal_url"),
)
MEASURE: Final = ("channel_id", "counter_id", "start_datetime", "end_datetime", "count")
MOBILITY: Final = {
    Label.PERSON: "PEDESTRIAN",
    Label.BICYCLE: "BIKE",
    Label.CAR: "CAR",
    Label.MOTORCYCLE: "TWO WHEELS MOTORIZED",
    Label.BUS: "BUS",
    Label.TRUCK: "TRUCK",
}
_CODE: Final = {Direction.LEFT_TO_RIGHT: "LR", Direction.RIGHT_TO_LEFT: "RL"}

BENCH_COMMENT: Final = "Banc d'essai : fichiers ou rues dessinées, ne pas publier (bench policy, not a street)"

Row = dict[str, str]


@dataclass(slots=True)
class Exported:
    """What an export came to.

    Attributes:
        sites: Rows of ``site.csv``.
        channels: Rows of ``channel.csv``.
        measures: Rows of ``measure.csv``.
        unknown: Measures without a count.
        silent: Cameras that are to be published and have nothing to publish.
    """

    sites: int = 0
    channels: int = 0
    measures: int = 0
    unknown: int = 0
    silent: tuple[str, ...] = ()


def export(connection: sa.Connection, places: Places, period: Period, folder: Path, bench: Bench) -> Exported:
    """Write the three files into ``folder``; older ones are replaced only when all three are whole.

    Channels with counts of the bench policy, where ``bench`` keeps them, say so in ``comment``.

    Raises:
        QueryRejectedError: The windows of a line do not fit the slots, or there would be too many rows.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = [folder / f".{name}.part" for name in FILES]
    try:
        with ExitStack() as stack:
            files = [stack.enter_context(part.open("w", encoding="utf-8", newline="")) for part in parts]
            writers = [
                csv.DictWriter(file, columns, lineterminator="\n")
                for file, columns in zip(files, (SITE, CHANNEL, MEASURE), strict=True)
            ]
            for writer in writers:
                writer.writeheader()
            exported = Exported()
            for place in places.place:
                channels = channels_of(connection, place.controller, place.camera, period, bench)
                _write(place, places.publisher, channels, writers, exported)
        for name, part in zip(FILES, parts, strict=True):
            part.replace(folder / name)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return exported


def _write(
    place: PublishedPlace,
    publisher: str,
    channels: Iterable[Channel],
    writers: "list[csv.DictWriter[str]]",
    exported: Exported,
) -> None:
    sites, kinds, measures = writers
    before = exported.channels
    for channel in channels:
        if exported.channels == before:
            sites.writerow(site_row(place, channel))
            exported.sites += 1
        kinds.writerow(channel_row(place, publisher, channel))
        exported.channels += 1
        exported.measures += len(channel.counts)
        exported.unknown += channel.counts.count(None)
        if exported.measures > ROWS_MAX:
            message = f"the export would hold more than {ROWS_MAX} rows: ask for a shorter period, or by day"
            raise QueryRejectedError(message)
        measures.writerows(measure_rows(place, channel))
    if exported.channels == before:
        exported.silent = (*exported.silent, place.camera)


def site_row(place: PublishedPlace, channel: Channel) -> Row:
    """Return the row of ``site.csv`` of one camera, coordinates with six decimals (the schema asks for four)."""
    return {
        "site_id": site_id_of(place),
        "site_name": place.name,
        "fr_insee_code": channel.line.insee or "",
        "xlong": f"{place.longitude:.6f}",
        "ylat": f"{place.latitude:.6f}",
    }


def channel_row(place: PublishedPlace, publisher: str, channel: Channel) -> Row:
    """Return the row of ``channel.csv`` of one line, label and direction."""
    heading = place.heading.get(channel.line.line, Heading())
    to_right = channel.direction is Direction.LEFT_TO_RIGHT
    end_s = channel.from_s + channel.step_s * len(channel.counts)
    return {
        "channel_id": channel_id_of(place, channel),
        "site_id": site_id_of(place),
        "mobility_type": MOBILITY[channel.label],
        "comment": BENCH_COMMENT if channel.is_bench else "",
        "counter_transmission_type": "REMOTE TRANSMISSION",
        "counter_type": "VIDEO SENSOR",
        "direction": (heading.left_to_right if to_right else heading.right_to_left) or "",
        "provider_direction_code": _CODE[channel.direction],
        "provider_direction_name": f"{channel.line.line}, {channel.direction.name.lower().replace('_', ' ')}",
        "data_provider_name": publisher,
        "temporality": "PERMANENT",
        "started_at": utc(channel.line.started_s),
        "last_updated_at": utc(end_s),
        "time_step": str(channel.step_s),
    }


def measure_rows(place: PublishedPlace, channel: Channel) -> Iterator[Row]:
    """Yield the rows of ``measure.csv`` of one channel, one for each slot."""
    channel_id, counter_id = channel_id_of(place, channel), site_id_of(place)
    for number, count in enumerate(channel.counts):
        at_s = channel.from_s + number * channel.step_s
        yield {
            "channel_id": channel_id,
            "counter_id": counter_id,
            "start_datetime": utc(at_s),
            "end_datetime": utc(at_s + channel.step_s),
            "count": "" if count is None else str(count),
        }


def site_id_of(place: PublishedPlace) -> str:
    """Return the id of a site; names hold no point, so no two cameras share one."""
    return f"{place.controller}.{place.camera}"


def channel_id_of(place: PublishedPlace, channel: Channel) -> str:
    """Return the id of a channel, the same whatever the period and its slots."""
    label, way = channel.label.name.lower(), _CODE[channel.direction].lower()
    return f"{site_id_of(place)}.{channel.line.line}.{label}.{way}"


def utc(at_s: int) -> str:
    """Return a second since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
