"""The rules of routing: a record goes to a service if one of its routes lets it, and to nobody otherwise.

    record ──▶ Subject ──▶ routes of the service ──▶ class · purpose · controller · commune ──▶ told
                                                └──▶ class E: an authorisation that covers it, besides

Pure: what is decided here touches nothing, so that `route explain` says what a consumer would be told.
"""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from veilleur_contracts.clock import datetime_of
from veilleur_contracts.errors import RejectedError
from veilleur_contracts.ids import ControllerId, Insee, Slug
from veilleur_contracts.messages import MessageClass
from veilleur_contracts.policy import EventKind
from veilleur_contracts.policy_document import PLAIN_TEXT, Authorisation, Policy, Reference, Scope

FILE_BYTES_MAX: Final = 262_144
ROUTES_MAX: Final = 256
GROUNDS_MAX: Final = 256


class RoutesRejectedError(RejectedError):
    """A routing table that cannot be used; the sentence names the route and the remedy."""


class Service(StrEnum):
    """The six services of the control centre; a table may name others."""

    URBAN_CCTV = "inter-urban-cctv"
    FLOOD_RISK = "flood-risk"
    TRAFFIC_CONTROL = "traffic-control"
    CITIZEN_REPORTS = "citizen-reports"
    MUNICIPAL_POLICE = "municipal-police"
    CRISIS_ROOM = "crisis-room"


class Purpose(StrEnum):
    """What something is told for."""

    MOBILITY = "mobility"
    TRAFFIC = "traffic"
    PARKING = "parking"
    CLEANLINESS = "cleanliness"
    ROAD_SAFETY = "road-safety"
    FLOOD = "flood"
    NOISE = "noise"
    LIGHTING = "lighting"
    UPKEEP = "upkeep"


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one service is told, and why.

    Attributes:
        service: The service.
        classes: Classes of message.
        purposes: What it is told for.
        controllers: Whose cameras; empty: everybody's.
        communes: Cameras of these communes; empty: all.
        grounds: For class E: references of authorisations, as the policy writes them; the service is among those whom
            the text of one of them lets be told.
        note: Convention or decision this rests on, for whoever reads the table.
    """

    service: Slug
    classes: Annotated[frozenset[MessageClass], Meta(min_length=1)]
    purposes: Annotated[frozenset[Purpose], Meta(min_length=1)]
    controllers: Annotated[frozenset[ControllerId], Meta(max_length=16)] = frozenset()
    communes: Annotated[frozenset[Insee], Meta(max_length=256)] = frozenset()
    grounds: Annotated[frozenset[Reference], Meta(max_length=64)] = frozenset()
    note: Annotated[str, Meta(max_length=200, pattern=PLAIN_TEXT)] = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    route: Annotated[tuple[Route, ...], Meta(max_length=ROUTES_MAX)] = ()


class Ground(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An authorisation of a signed policy, with how far that policy reaches.

    Attributes:
        version: Of the policy.
        scope: Whose and which cameras the policy speaks of.
        expires: From when it no longer holds.
        authorisation: What class E rests on.
    """

    version: int
    scope: Scope
    expires: datetime
    authorisation: Authorisation

    def covers(self, subject: "Subject") -> bool:
        """Tell whether ``subject`` may be told under it."""
        if subject.camera is None or subject.insee is None or subject.event is not self.authorisation.kind:
            return False
        at = datetime_of(subject.at_s * 1000)
        inside = subject.controller in self.scope.controllers and self.scope.covers(subject.camera, subject.insee)
        return inside and at < self.expires and self.authorisation.covers(subject.camera, subject.insee, at)


@dataclass(frozen=True, slots=True)
class Subject:
    """What routing asks of a record.

    Attributes:
        kind: Class of its stream.
        controller: Who answers for its box.
        purpose: What it is told for; None: for nothing that is routed, so to nobody.
        at_s: When it is of, UTC.
        insee: Commune of its camera; None: it is a whole box's.
        camera: Its camera; None: it is a whole box's.
        event: What one object did, of class E.
        is_key: Whether it is what others cannot be read without: a Context.
    """

    kind: MessageClass
    controller: str
    purpose: Purpose | None
    at_s: int = 0
    insee: str | None = None
    camera: str | None = None
    event: EventKind | None = None
    is_key: bool = False


class Bar(StrEnum):
    """Why a route does not let something through."""

    CLASS = "its class is not routed"
    PURPOSE = "its purpose is not routed"
    CONTROLLER = "its controller is not routed"
    COMMUNE = "its commune is not routed"
    GROUNDS = "no authorisation named by the route covers this event, camera and day"


@dataclass(frozen=True, slots=True)
class Routing:
    """The table in force, and the authorisations known.

    Attributes:
        routes: In order.
        grounds: Of the policies in force.
    """

    routes: tuple[Route, ...] = ()
    grounds: tuple[Ground, ...] = ()

    def of(self, service: str) -> tuple[Route, ...]:
        """Return the routes of ``service``."""
        return tuple(route for route in self.routes if route.service == service)

    def only(self, service: str) -> "Routing":
        """Return what concerns ``service`` alone, for whoever asks of many subjects."""
        return Routing(self.of(service), self.grounds)

    def tells(self, service: str, subject: Subject) -> bool:
        """Tell whether ``service`` is told ``subject``."""
        return any(self.bar(route, subject) is None for route in self.of(service))

    def bar(self, route: Route, subject: Subject) -> Bar | None:
        """Return why ``route`` does not let ``subject`` through; None: it does."""
        if not subject.is_key:  # what is routed cannot be read without the Context of its camera
            if subject.kind not in route.classes:
                return Bar.CLASS
            if subject.purpose not in route.purposes:
                return Bar.PURPOSE
        if route.controllers and subject.controller not in route.controllers:
            return Bar.CONTROLLER
        if route.communes and subject.insee not in route.communes:
            return Bar.COMMUNE
        if subject.kind is MessageClass.EVENT and not subject.is_key and not self._has_ground(route, subject):
            return Bar.GROUNDS
        return None

    def _has_ground(self, route: Route, subject: Subject) -> bool:
        return any(one.authorisation.reference in route.grounds and one.covers(subject) for one in self.grounds)


def check_routes(routes: Sequence[Route]) -> None:
    """Refuse what the types alone let through.

    Raises:
        RoutesRejectedError: Class E without the authorisation it rests on, or grounds where nothing needs them.
    """
    for number, route in enumerate(routes, start=1):
        where = f"route {number} ({route.service})"
        if MessageClass.EVENT in route.classes and not route.grounds:
            raise RoutesRejectedError(
                f"{where}: class E rests on an authorisation: name its reference in `grounds`, as the policy writes it"
            )
        if route.grounds and MessageClass.EVENT not in route.classes:
            raise RoutesRejectedError(f"{where}: it names grounds and not class E; take them out, or add E")


def read_routes(path: Path) -> tuple[Route, ...]:
    """Read a routing table.

    Raises:
        RoutesRejectedError: No such file, no TOML, an unknown key, or a route that cannot be.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise RoutesRejectedError(f"{path} is too long: a table has at most {FILE_BYTES_MAX} bytes")
        routes = msgspec.convert(tomllib.loads(data.decode("utf-8")), _File).route
    except OSError as error:
        raise RoutesRejectedError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise RoutesRejectedError(f"{path}: {str(error)[:240]}") from None
    check_routes(routes)
    return routes


def grounds_of(policy: Policy) -> tuple[Ground, ...]:
    """Return the authorisations of ``policy``."""
    return tuple(Ground(policy.version, policy.scope, policy.expires, one) for one in policy.authorisations)


def purposes_told(routes: Iterable[Route], kind: MessageClass, purpose: Purpose) -> tuple[Route, ...]:
    """Return those of ``routes`` that let ``kind`` through for ``purpose``."""
    return tuple(route for route in routes if kind in route.classes and purpose in route.purposes)


TEMPLATE: Final = """\
# Who of the control centre is told what. Each [[route]] adds to what its service is told; what no route lets through
# is told to no consumer. Check with `veilleur-fleet route explain`, put in force with `veilleur-fleet route set`.
#
# classes      T health, S statistics, A state of roads (needs the DPO's visa), E events (needs an authorisation)
# purposes     mobility   crossings, occupancy, speeds        traffic      state of roads
#              parking    stays, standing vehicles            cleanliness  objects in the street
#              road-safety  vehicles going the wrong way      upkeep       health of boxes, cameras and sensors
#              flood      levels of water                     noise, lighting   levels of noise and light
# controllers, communes   left out: all
# grounds      for class E: references of authorisations in the policy, which must cover event, camera and day

[[route]]
service = "traffic-control"
classes = ["S", "A"]
purposes = ["mobility", "traffic"]

[[route]]
service = "inter-urban-cctv"
classes = ["T"]
purposes = ["upkeep"]

[[route]]
service = "crisis-room"
classes = ["S", "A"]
purposes = ["mobility", "traffic", "flood"]

[[route]]
service = "citizen-reports"
classes = ["S"]
purposes = ["cleanliness"]

[[route]]
service = "flood-risk"
classes = ["S", "A"]
purposes = ["flood", "traffic"]

[[route]]
service = "municipal-police"
classes = ["S"]
purposes = ["parking"]

# [[route]]
# service = "municipal-police"
# classes = ["E"]
# purposes = ["parking"]
# communes = ["30189"]
# grounds = ["Arrêté préfectoral 2026-07 du 12 mars 2026"]
"""
