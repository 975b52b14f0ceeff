"""What a box should do: its cameras, their lines and zones, read from ``site.toml`` and refused with a sentence.

    [site]                                  [[camera]]                       [[camera.line]]
    box = "gare-01"                         id = "gare-parvis"               id = "kerb"
    controller = "ville"                    insee = "30189"                  from = [0.1, 0.6]
                                            source = "rtsp://10.0.0.7/main"  to = [0.9, 0.6]
                                            user = "veilleur"
                                            secret = "gare-parvis"

A site holds no password: ``secret`` names an entry of a file that only the eye reads.
"""

import hashlib
import itertools
import math
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from veilleur_contracts.errors import RejectedError
from veilleur_contracts.ids import BoxId, CameraId, ControllerId, Insee, LineId, Slug, ZoneId
from veilleur_contracts.messages import Label
from veilleur_contracts.sensors import (
    DECODERS_MAX,
    SENSORS_MAX,
    Decoder,
    DecoderRejectedError,
    Sensor,
    check_sensors,
)

SITE_BYTES_MAX: Final = 262_144
CAMERAS_MAX: Final = 32
SHORTEST_LINE: Final = 0.005
"""Fractions of the frame: below it, a line is shorter than one detector cell."""
GROUND_POINTS_MIN: Final = 4
"""A homography has eight unknowns, and a point gives two equations."""
FLATTEST: Final = 0.02
"""Height over longest side of a triangle under which three points lie on one line: a homography would be noise."""
VALIDATED_MIN: Final = 10
"""True crossings under which nothing is said about recall: Jeffreys' 90 % interval would be a third wide."""

Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Point = tuple[Fraction, Fraction]
Metres = Annotated[float, Meta(ge=-5000.0, le=5000.0)]
LabelName = Literal["person", "bicycle", "car", "motorcycle", "bus", "truck"]
DirectionName = Literal["left_to_right", "right_to_left"]


class SiteRejectedError(RejectedError):
    """A site that cannot be followed; the sentence names the place and the remedy."""


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A directed segment that is counted over.

    Attributes:
        id: Its name.
        start: First point, fractions of the frame, y downwards (``from`` in the file).
        end: Second point (``to`` in the file).
        one_way: The only direction that motor vehicles may take; None: both.
    """

    id: LineId
    start: Point = msgspec.field(name="from")
    end: Point = msgspec.field(name="to")
    one_way: DirectionName | None = None


class Zone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A polygon in which presence is measured.

    Attributes:
        id: Its name.
        polygon: Its corners, fractions of the frame.
        limit_s: How long a motor vehicle may stand in it, seconds; None: as long as it likes.
        objects: Whether to watch for bulky objects left in it.
        road: Whether it is a stretch of road whose state is told (class A, only where the policy allows).
    """

    id: ZoneId
    polygon: Annotated[tuple[Point, ...], Meta(min_length=3, max_length=32)]
    limit_s: Annotated[int, Meta(ge=10, le=86_400)] | None = None
    objects: bool = False
    road: bool = False


class Ground(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Points of the ground whose place is known in the picture and in the street; speeds and lengths need them.

    Attributes:
        image: At least four, fractions of the frame.
        metres: The same points in order, metres on the ground, from anywhere and along any two axes at right angles.
    """

    image: Annotated[tuple[Point, ...], Meta(min_length=GROUND_POINTS_MIN, max_length=32)]
    metres: Annotated[tuple[tuple[Metres, Metres], ...], Meta(min_length=GROUND_POINTS_MIN, max_length=32)]


class Validated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How well one label was counted against somebody's own tally (``veilleur-agent validate``).

    Attributes:
        recall: Share of the true crossings that were counted.
        precision: Share of the counted crossings that were true.
        n: True crossings it was measured on.
    """

    recall: Annotated[float, Meta(ge=0.0, le=1.0)]
    precision: Annotated[float, Meta(ge=0.0, le=1.0)]
    n: Annotated[int, Meta(ge=VALIDATED_MIN, le=1_000_000)]


class Keep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That redacted stills of a camera are kept, sealed, on the box; only where a signed policy allows images.

    Attributes:
        still_s: One still every so many seconds.
    """

    still_s: Annotated[int, Meta(ge=10, le=86_400)]


class Camera(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One camera: where its picture comes from and what is counted in it.

    Attributes:
        id: Its name.
        insee: INSEE code of its commune.
        source: A path, or an ``rtsp://``, ``http://`` or ``/dev/video`` address, without credentials.
        user: Account on the camera, if it asks for one.
        secret: Name of the entry of the secrets file that holds the password.
        fps: Frames analysed per second.
        loop: Whether a file starts again when it ends.
        labels: Labels counted, by name.
        line: Its lines.
        zone: Its zones.
        ground: Where points of the picture lie on the ground; None: no speeds and no lengths.
        validated: How well each label was counted when somebody counted too.
        keep: What is kept of its pictures; None: nothing.
    """

    id: CameraId
    insee: Insee
    source: Annotated[str, Meta(min_length=1, max_length=512)]
    user: Annotated[str, Meta(max_length=64)] | None = None
    secret: Slug | None = None
    fps: Annotated[float, Meta(gt=0.0, le=30.0)] = 5.0
    loop: bool = False
    labels: Annotated[tuple[str, ...], Meta(min_length=1, max_length=6)] = tuple(label.name.lower() for label in Label)
    line: Annotated[tuple[Line, ...], Meta(max_length=16)] = ()
    zone: Annotated[tuple[Zone, ...], Meta(max_length=16)] = ()
    ground: Ground | None = None
    validated: dict[LabelName, Validated] = {}
    keep: Keep | None = None

    def label_set(self) -> tuple[Label, ...]:
        """Return the labels counted, in wire order."""
        return tuple(sorted({Label[name.upper()] for name in self.labels}))

    def validated_for(self, label: Label) -> Validated | None:
        """Return how well ``label`` was counted, None when nobody has measured."""
        return next((one for name, one in self.validated.items() if Label[name.upper()] is label), None)


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose box this is.

    Attributes:
        box: Its name.
        controller: Who answers for its cameras in law.
        window_s: Length of a window, seconds; None: the shortest the policy allows.
    """

    box: BoxId
    controller: ControllerId
    window_s: Annotated[int, Meta(ge=1, le=86_400)] | None = None


class Site(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a box should do.

    Attributes:
        site: Whose box it is.
        camera: Its cameras.
        sensor: Sensors it hears by radio, from the gateway beside it.
        decoder: How their payloads are read.
    """

    site: Identity
    camera: Annotated[tuple[Camera, ...], Meta(min_length=1, max_length=CAMERAS_MAX)]
    sensor: Annotated[tuple[Sensor, ...], Meta(max_length=SENSORS_MAX)] = ()
    decoder: Annotated[tuple[Decoder, ...], Meta(max_length=DECODERS_MAX)] = ()


def read_site(path: Path) -> Site:
    """Read and check a site file.

    Raises:
        SiteRejectedError: Missing, too large, not TOML, an unknown key, or something that cannot be counted.
    """
    return parse_site(_bytes_of(path), str(path))


def parse_site(data: bytes, name: str) -> Site:
    """Read and check a site; ``name`` is what the error calls it.

    Raises:
        SiteRejectedError: As ``read_site``.
    """
    try:
        site = msgspec.convert(tomllib.loads(data.decode("utf-8")), Site)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"{name} is not TOML: {error}"
        raise SiteRejectedError(message) from None
    except msgspec.ValidationError as error:
        message = f"{name}: {error}; see docs/operations.md for the keys a site may hold"
        raise SiteRejectedError(message) from None
    check_site(site, name)
    return site


def site_hash_of(site: Site) -> str:
    """Return the SHA-256 of ``site`` in canonical form, 64 hexadecimal digits."""
    return hashlib.sha256(msgspec.json.encode(site, order="deterministic")).hexdigest()


def check_site(site: Site, name: str) -> None:
    """Refuse what the types alone let through.

    Raises:
        SiteRejectedError: Two things of one name, an unknown label, a line or zone that encloses nothing, or a
            password in an address.
    """
    _check_unique(f"{name}: cameras", (camera.id for camera in site.camera))
    try:
        check_sensors(site.sensor, site.decoder, name)
    except DecoderRejectedError as error:
        raise SiteRejectedError(str(error)) from None
    for camera in site.camera:
        where = f"{name}: camera {camera.id}"
        _check_source(where, camera)
        _check_unique(f"{where}: lines", (line.id for line in camera.line))
        _check_unique(f"{where}: zones", (zone.id for zone in camera.zone))
        known = {label.name.lower() for label in Label}
        for label in camera.labels:
            if label not in known:
                message = f"{where}: unknown label {label!r}; known are {', '.join(sorted(known))}"
                raise SiteRejectedError(message)
        for line in camera.line:
            check_line(line, where)
        for zone in camera.zone:
            if abs(_area_of(zone.polygon)) < SHORTEST_LINE**2:
                message = f"{where}: zone {zone.id} encloses nothing; give corners that span an area"
                raise SiteRejectedError(message)
        if camera.ground is not None:
            check_ground(camera.ground, where)


def check_line(line: Line, where: str) -> None:
    """Refuse a line nobody can cross.

    Raises:
        SiteRejectedError: Its ends coincide (or nearly) or lie outside the frame.
    """
    if not all(0.0 <= value <= 1.0 for value in (*line.start, *line.end)):
        message = f"{where}: line {line.id} leaves the frame; its ends are fractions from 0 to 1"
        raise SiteRejectedError(message)
    if math.dist(line.start, line.end) < SHORTEST_LINE:
        message = f"{where}: line {line.id} has no length; give two different ends"
        raise SiteRejectedError(message)


def check_ground(ground: Ground, where: str) -> None:
    """Refuse points that fix no plane, whatever they are measured in.

    Raises:
        SiteRejectedError: Not as many metres as points, a point twice, or no four points of which no three lie on one
            line, in the picture or on the ground.
    """
    if len(ground.image) != len(ground.metres):
        message = f"{where}: ground has {len(ground.image)} points in the picture and {len(ground.metres)} in metres"
        raise SiteRejectedError(f"{message}; give each point once in both")
    for what, points in (("picture", ground.image), ("street", ground.metres)):
        if not any(_spans(four) for four in itertools.combinations(points, GROUND_POINTS_MIN)):
            message = f"{where}: ground has no four points of which no three lie on one line in the {what}"
            raise SiteRejectedError(f"{message}; give the corners of something wide, like a crossing or a parking bay")


def _spans(four: Sequence[tuple[float, float]]) -> bool:
    """Tell whether no three of ``four`` points lie on one line, or nearly."""
    for a, b, c in itertools.combinations(four, 3):
        longest = max(math.dist(a, b), math.dist(b, c), math.dist(c, a))
        doubled = abs((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
        if doubled <= FLATTEST * longest**2:
            return False
    return True


def _check_source(where: str, camera: Camera) -> None:
    if "://" not in camera.source:
        return
    try:
        url = urlsplit(camera.source)
        has_credentials = url.username is not None or url.password is not None
        has_host = bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        has_credentials, has_host = "@" in camera.source, False
    if has_credentials:
        message = f"{where}: its source holds credentials; put the name in `user`, the password in the secrets file"
        raise SiteRejectedError(message)
    if not has_host:
        message = f"{where}: its source is not an address; write it like rtsp://10.0.0.7:554/stream"
        raise SiteRejectedError(message)
    if url.scheme not in {"rtsp", "http", "https"}:
        message = f"{where}: {url.scheme}:// is no kind of source we read; use rtsp://, http:// or a path"
        raise SiteRejectedError(message)


def _check_unique(what: str, ids: Iterable[str]) -> None:
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            message = f"{what}: {one} is there twice; every id is used once"
            raise SiteRejectedError(message)
        seen.add(one)


def _area_of(polygon: tuple[Point, ...]) -> float:
    """Signed area of a polygon (shoelace), in squared fractions of the frame."""
    following = (*polygon[1:], polygon[0])
    return sum(ax * by - bx * ay for (ax, ay), (bx, by) in zip(polygon, following, strict=True)) / 2


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(SITE_BYTES_MAX + 1)
    except OSError as error:
        message = f"cannot read site {path}: {error.strerror}"
        raise SiteRejectedError(message) from None
    if len(data) > SITE_BYTES_MAX:
        message = f"site {path} is longer than {SITE_BYTES_MAX} bytes"
        raise SiteRejectedError(message)
    return data
