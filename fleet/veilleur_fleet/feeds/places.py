"""Which cameras are published, and where they stand: ``places.toml``, because no box knows its own coordinates.

    publisher = "Ville de Nîmes"            [[place]]
                                            controller = "ville"
                                            camera = "gare-parvis"
                                            name = "Gare, parvis"
                                            longitude = 4.3661
                                            latitude = 43.8325

A camera that is not named there is not published.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from veilleur_contracts.errors import RejectedError
from veilleur_contracts.ids import CameraId, ControllerId, LineId

PLACES_BYTES_MAX: Final = 1_048_576
PLACES_MAX: Final = 5000

Compass = Literal["N", "NE", "E", "SE", "S", "SW", "W", "NW"]
_Name = Annotated[str, Meta(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")]


class PlacesRejectedError(RejectedError):
    """A file of places that cannot be followed; the sentence names what is wrong and the remedy."""


class Heading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where those who cross a line are going, by direction.

    Attributes:
        left_to_right: Compass point; None: nobody has said it.
        right_to_left: The same, the other way.
    """

    left_to_right: Compass | None = None
    right_to_left: Compass | None = None


class PublishedPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One camera that is published.

    Attributes:
        controller: Who answers for it.
        camera: Its name.
        name: What people call the place.
        longitude: Degrees, WGS 84.
        latitude: Degrees, WGS 84.
        heading: By line, where those who cross it are going.
    """

    controller: ControllerId
    camera: CameraId
    name: _Name
    longitude: Annotated[float, Meta(ge=-180.0, le=180.0)]
    latitude: Annotated[float, Meta(ge=-90.0, le=90.0)]
    heading: dict[LineId, Heading] = {}


class Places(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that is published, and who publishes it."""

    publisher: _Name
    place: Annotated[tuple[PublishedPlace, ...], Meta(min_length=1, max_length=PLACES_MAX)]


def read_places(path: Path) -> Places:
    """Read and check a file of places.

    Raises:
        PlacesRejectedError: Missing, too large, not TOML, an unknown key, or a camera that is named twice.
    """
    try:
        with path.open("rb") as file:
            data = file.read(PLACES_BYTES_MAX + 1)
    except OSError as error:
        message = f"cannot read places {path}: {error.strerror}; docs/feeds.md shows what it holds"
        raise PlacesRejectedError(message) from None
    if len(data) > PLACES_BYTES_MAX:
        message = f"places {path} is longer than {PLACES_BYTES_MAX} bytes; split it and export twice"
        raise PlacesRejectedError(message)
    try:
        places = msgspec.convert(tomllib.loads(data.decode("utf-8")), Places)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"{path} is not TOML: {error}"
        raise PlacesRejectedError(message) from None
    except msgspec.ValidationError as error:
        message = f"{path}: {error}; docs/feeds.md names the keys it may hold"
        raise PlacesRejectedError(message) from None
    seen: set[tuple[str, str]] = set()
    for place in places.place:
        if (place.controller, place.camera) in seen:
            message = f"{path}: camera {place.camera} of {place.controller} is there twice; name each camera once"
            raise PlacesRejectedError(message)
        seen.add((place.controller, place.camera))
    return places
