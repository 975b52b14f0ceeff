"""What a notice may say: one thing on one stretch of road, from a time to a time, in the words of Waze's feed."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from veilleur_contracts.errors import RejectedError
from veilleur_contracts.policy_document import PLAIN_TEXT

LASTS_MS_MAX: Final = 24 * 3_600_000
"""Then somebody looks again and confirms it anew: what nobody takes back must not stand for ever."""
AHEAD_MS_MAX: Final = 7 * 86_400_000
_POINTS: Final = range(2, 51)
_LATITUDES: Final = (41.0, 51.5)
_LONGITUDES: Final = (-5.5, 10.0)


class NoticeRejectedError(RejectedError):
    """A notice that cannot be confirmed or withdrawn; the sentence says what is wrong with it."""


class Subtype(StrEnum):
    """What is told, as CIFS names it; what cameras that count can tell, and no more."""

    OBJECT = "HAZARD_ON_ROAD_OBJECT"
    CAR_STOPPED = "HAZARD_ON_ROAD_CAR_STOPPED"
    FLOOD = "HAZARD_WEATHER_FLOOD"
    JAM_HEAVY = "JAM_HEAVY_TRAFFIC"
    JAM_STANDING = "JAM_STAND_STILL_TRAFFIC"
    CLOSED_HAZARD = "ROAD_CLOSED_HAZARD"
    CLOSED_WORKS = "ROAD_CLOSED_CONSTRUCTION"
    CLOSED_EVENT = "ROAD_CLOSED_EVENT"

    @property
    def type(self) -> str:
        """Return the CIFS type it is of."""
        return "ROAD_CLOSED" if self.startswith("ROAD_CLOSED") else self.partition("_")[0]


class Way(StrEnum):
    """Which way of the road is concerned."""

    ONE = "ONE_DIRECTION"
    BOTH = "BOTH_DIRECTIONS"


Degree = Annotated[float, Meta(ge=-180.0, le=180.0)]


class Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a notice says.

    Attributes:
        subtype: What it is.
        street: Name of the street.
        line: Points ``(latitude, longitude)`` along it, WGS 84, in the direction of the traffic concerned.
        way: Which way.
        description: More, for drivers; no name, no plate: it is public.
    """

    subtype: Subtype
    street: Annotated[str, Meta(min_length=2, max_length=100, pattern=PLAIN_TEXT)]
    line: Annotated[tuple[tuple[Degree, Degree], ...], Meta(max_length=_POINTS[-1])]
    way: Way = Way.ONE
    description: Annotated[str, Meta(max_length=40, pattern=PLAIN_TEXT)] = ""


def content_of(subtype: str, street: str, line: str, way: str, description: str = "") -> Content:
    """Read what somebody typed.

    Raises:
        NoticeRejectedError: Unknown words, too long a text, or no line.
    """
    said = {"subtype": subtype, "street": street.strip(), "line": line_of(line), "way": way}
    try:
        content = msgspec.convert(said | {"description": description.strip()}, Content)
    except msgspec.ValidationError as error:
        raise NoticeRejectedError(f"the notice cannot be used: {str(error)[:200]}") from None
    return content


def line_of(text: str) -> tuple[tuple[float, float], ...]:
    """Read ``lat lon lat lon ...``, as CIFS writes a polyline.

    Raises:
        NoticeRejectedError: No numbers, an odd many, one point, or a point that is not in metropolitan France.
    """
    try:
        numbers = [round(float(part), 6) for part in text.replace(",", " ").split()[: 2 * _POINTS[-1] + 2]]
    except ValueError:
        numbers = []
    points = tuple(zip(numbers[::2], numbers[1::2], strict=False))
    if len(numbers) % 2 or len(points) not in _POINTS or len(set(points)) < _POINTS[0]:
        raise NoticeRejectedError(
            "the line is 2 to 50 points, latitude before longitude: 43.8325 4.3661 43.8331 4.3668; one point alone"
            " does not say which way the traffic goes"
        )
    for latitude, longitude in points:
        if not (_LATITUDES[0] <= latitude <= _LATITUDES[1] and _LONGITUDES[0] <= longitude <= _LONGITUDES[1]):
            raise NoticeRejectedError(f"{latitude} {longitude} is not in France: latitude comes before longitude")
    return points


def check_times(starts_ms: int, ends_ms: int, now_ms: int) -> None:
    """See that a notice ends, and soon enough.

    Raises:
        NoticeRejectedError: It ends before it begins or is over, lasts too long, or begins too far ahead.
    """
    if not max(starts_ms, now_ms) < ends_ms:
        raise NoticeRejectedError("the notice is over before it begins: give an end that is still to come")
    if ends_ms - starts_ms > LASTS_MS_MAX:
        raise NoticeRejectedError(f"a notice lasts {LASTS_MS_MAX // 3_600_000} h at most; confirm it again then")
    if starts_ms > now_ms + AHEAD_MS_MAX:
        raise NoticeRejectedError(f"a notice begins within {AHEAD_MS_MAX // 86_400_000} days")


def ms_of(text: str, name: str) -> int:
    """Read a time with its zone.

    Raises:
        NoticeRejectedError: It is none.
    """
    try:
        at = datetime.fromisoformat(text) if len(text) <= 40 else None  # noqa: PLR2004 - longer than any time
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise NoticeRejectedError(f"{name}: write a time with its zone, like 2026-10-01T18:00:00+02:00")
    return int(at.astimezone(UTC).timestamp() * 1000)
