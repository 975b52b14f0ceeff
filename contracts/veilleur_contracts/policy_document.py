"""The signed documents that say what boxes may do: policy, stop, contact; closed, canonical, without a float.

    root ──names keys of──▶ controller · operator · dpo-ville · dpo-agglo · fleet
                                  │ sign
                                  ▼
              policy · stop · contact ──▶ Permissions, asked by ``release``

A document is canonical JSON: keys sorted, sets sorted, no space, so that one meaning has one SHA-256.
"""

import hashlib
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from veilleur_contracts.errors import RejectedError
from veilleur_contracts.ids import CameraId, Insee, Sha256
from veilleur_contracts.messages import MessageClass
from veilleur_contracts.policy import (
    AGGREGATE_WINDOW_S,
    PERSON_WINDOW_S,
    VEHICLE_WINDOW_S,
    AggregateKind,
    EventKind,
    Mask,
)

POLICY_BYTES_MAX: Final = 1_048_576
RETENTION_DAYS_MAX: Final = 15
"""Images are kept at most this long, whatever an authorisation allows (DESIGN §1)."""
VALIDITY_MAX: Final = timedelta(days=366)
"""A policy is looked at again within the year."""
SAID_MAX: Final = 240
"""How much of a decoder's complaint is repeated: it may hold a value somebody hostile chose."""
YEARS: Final = range(2020, 2200)
PLAIN_TEXT: Final = r"^[^\x00-\x1f\x7f]*$"

_T = TypeVar("_T")


class PolicyRejectedError(RejectedError):
    """A policy, root, stop or contact that cannot be used; the last good one stays in force."""


class TruncatedDocumentError(PolicyRejectedError):
    """The bytes stop before the document does."""


class MalformedDocumentError(PolicyRejectedError):
    """The bytes are no such document: unknown key, out of bounds, not canonical, or it contradicts itself."""


class Controller(StrEnum):
    """Who answers for a camera in law."""

    VILLE = "ville"
    AGGLO = "agglo"


class Role(StrEnum):
    """In what quality a key signs."""

    ROOT = "root"
    CONTROLLER = "controller"
    OPERATOR = "operator"
    DPO_VILLE = "dpo-ville"
    DPO_AGGLO = "dpo-agglo"
    FLEET = "fleet"


DPO_OF: Final = {Controller.VILLE: Role.DPO_VILLE, Controller.AGGLO: Role.DPO_AGGLO}
"""The data protection officer competent for a controller's cameras."""
DPO_ROLES: Final = frozenset(DPO_OF.values())

Version = Annotated[int, Meta(ge=1, le=0x7FFF_FFFF)]
Instant = Annotated[datetime, Meta(tz=True)]
Text = Annotated[str, Meta(min_length=1, max_length=2000, pattern=PLAIN_TEXT)]
Reference = Annotated[str, Meta(min_length=1, max_length=200, pattern=PLAIN_TEXT)]
Cameras = Annotated[frozenset[CameraId], Meta(max_length=4096)]
Communes = Annotated[frozenset[Insee], Meta(max_length=256)]


class Closed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A struct that refuses what it does not know."""


class Images(Closed, frozen=True):
    """That redacted images may be kept, and how long.

    Attributes:
        days: Days before they are destroyed.
        prefect_days: Days the prefect's authorisation allows.
        reference: The prefect's authorisation.
    """

    days: Annotated[int, Meta(ge=1, le=RETENTION_DAYS_MAX)]
    prefect_days: Annotated[int, Meta(ge=1, le=30)]
    reference: Reference


class Rules(Closed, frozen=True):
    """What one camera, or every camera without rules of its own, may say and keep.

    Attributes:
        classes: Classes of message; T is always among them. A needs a visa besides, E an authorisation.
        aggregates: Kinds of class A.
        person_window_s: Shortest window with persons or cyclists, seconds; never under decree 2021-269's 20 minutes.
        vehicle_window_s: Shortest window of vehicles, seconds.
        aggregate_window_s: Shortest window of class A, seconds.
        person_cell_min: k: cells of 1..k−1 persons are withheld.
        speed_cell_min: n: speed is told from n vehicles on.
        images: That images may be kept; None: none are.
    """

    classes: frozenset[MessageClass] = frozenset({MessageClass.TECHNICAL, MessageClass.STATISTICS})
    aggregates: frozenset[AggregateKind] = frozenset()
    person_window_s: Annotated[int, Meta(ge=PERSON_WINDOW_S, le=86_400)] = PERSON_WINDOW_S
    vehicle_window_s: Annotated[int, Meta(ge=VEHICLE_WINDOW_S, le=86_400)] = VEHICLE_WINDOW_S
    aggregate_window_s: Annotated[int, Meta(ge=AGGREGATE_WINDOW_S, le=86_400)] = AGGREGATE_WINDOW_S
    person_cell_min: Annotated[int, Meta(ge=3, le=1000)] = 5
    speed_cell_min: Annotated[int, Meta(ge=5, le=1000)] = 5
    images: Images | None = None


class CameraRules(Closed, frozen=True):
    """What is decided for one camera; being listed at all means that its masks were decided.

    Attributes:
        id: The camera.
        masks: Parts burnt out before inference; none is a decision too.
        rules: Its own rules; None: the default ones.
    """

    id: CameraId
    masks: Annotated[frozenset[Mask], Meta(max_length=32)] = frozenset()
    rules: Rules | None = None


class Scope(Closed, frozen=True):
    """Whose and which cameras a document speaks of; an empty set of communes or cameras means all of them."""

    controllers: Annotated[frozenset[Controller], Meta(min_length=1)]
    communes: Communes = frozenset()
    cameras: Cameras = frozenset()

    def covers(self, camera: str, insee: str) -> bool:
        """Tell whether the document speaks of ``camera`` in the commune ``insee``."""
        return (not self.communes or insee in self.communes) and (not self.cameras or camera in self.cameras)


class Authorisation(Closed, frozen=True):
    """That events of one kind may be raised somewhere, from one day to another; it stops by itself.

    Attributes:
        kind: What may be raised.
        communes: Where; a camera in one of them is concerned.
        cameras: Or these cameras.
        first_day: First day, in France.
        last_day: Last day, in France, still included.
        reference: The text that authorises it.
    """

    kind: EventKind
    first_day: date
    last_day: date
    reference: Reference
    communes: Communes = frozenset()
    cameras: Cameras = frozenset()

    def covers(self, camera: str, insee: str, now: datetime) -> bool:
        """Tell whether it holds for ``camera`` at ``now``."""
        return (camera in self.cameras or insee in self.communes) and self.starts() <= now < self.ends()

    def starts(self) -> datetime:
        """Return when it begins: midnight UTC, which is after midnight in Paris."""
        return datetime(self.first_day.year, self.first_day.month, self.first_day.day, tzinfo=UTC)

    def ends(self) -> datetime:
        """Return when it ends: midnight of Paris in summer, so that it never outlives its day."""
        return datetime(self.last_day.year, self.last_day.month, self.last_day.day, 22, tzinfo=UTC)


class Opinion(StrEnum):
    """What a DPO thinks of a policy."""

    FAVOURABLE = "favourable"
    WITH_RESERVATIONS = "with-reservations"
    UNFAVOURABLE = "unfavourable"


class Visa(Closed, frozen=True):
    """A DPO's opinion, kept beside the controller's decision (GDPR 38(6): it advises, it does not decide).

    Attributes:
        role: Which DPO.
        day: When it was given.
        opinion: What it comes to.
        text: The opinion in words.
        aggregates: Kinds of class A it agrees to.
    """

    role: Role
    day: date
    opinion: Opinion
    text: Text
    aggregates: frozenset[AggregateKind] = frozenset()


class Policy(Closed, frozen=True):
    """What the boxes of one or both controllers may do.

    Attributes:
        version: Rises with every policy.
        issued: From when it holds.
        expires: From when it no longer does.
        max_age_s: Without word from the fleet for longer, the strictest profile holds.
        scope: Whose and which cameras.
        purpose: Why the street is counted.
        legal_references: Texts it rests on.
        decision: The controller's decision, in words.
        default: Rules of cameras without their own.
        cameras: Cameras whose masks are decided, and their rules.
        authorisations: What class E rests on.
        visas: The DPOs' opinions.
        lifts: SHA-256 of stops that this policy lifts.
    """

    version: Version
    issued: Instant
    expires: Instant
    scope: Scope
    purpose: Text
    legal_references: Annotated[tuple[Reference, ...], Meta(min_length=1, max_length=32)]
    decision: Text
    default: Rules = Rules()
    cameras: Annotated[tuple[CameraRules, ...], Meta(max_length=4096)] = ()
    authorisations: Annotated[tuple[Authorisation, ...], Meta(max_length=64)] = ()
    visas: Annotated[tuple[Visa, ...], Meta(max_length=8)] = ()
    lifts: Annotated[frozenset[Sha256], Meta(max_length=64)] = frozenset()
    max_age_s: Annotated[int, Meta(ge=3600, le=2_592_000)] = 604_800


class Stop(Closed, frozen=True):
    """A DPO's order to say and keep nothing; in force at once, until a policy lifts it.

    Attributes:
        role: The DPO who orders it.
        issued: When.
        scope: Whose and which cameras.
        reason: Why, in words.
    """

    role: Role
    issued: Instant
    scope: Scope
    reason: Text


class Contact(Closed, frozen=True):
    """Word from the fleet that nothing newer is being kept from a box.

    Attributes:
        at: When it was said.
        policy_version: The newest policy; a box that holds an older one is being kept in the dark.
        stops: SHA-256 of the stops in force.
        controllers: Whose boxes it is meant for. Without this, a word that is true of others' boxes could be given to
            one to hide a stop from it.
    """

    at: Instant
    policy_version: Annotated[int, Meta(ge=0, le=0x7FFF_FFFF)]
    stops: Annotated[frozenset[Sha256], Meta(max_length=64)] = frozenset()
    controllers: Annotated[frozenset[Controller], Meta(min_length=1)] = frozenset(Controller)


def canonical(document: msgspec.Struct) -> bytes:
    """Return the one encoding of ``document``: JSON, keys and sets sorted, UTF-8, no space.

    The same bytes as OLPC canonical JSON and RFC 8785, since there is no float and no control character in it.
    """
    return msgspec.json.encode(document, order="sorted")


def document_sha256(data: bytes) -> str:
    """Return the SHA-256 of a document's canonical bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def decode_document(data: bytes, kind: type[_T], most: int = POLICY_BYTES_MAX) -> _T:
    """Read one document strictly.

    Raises:
        TruncatedDocumentError: It stops too early.
        MalformedDocumentError: Too long, not JSON, unknown or missing keys, out of bounds, not canonical.
    """
    name = kind.__name__.lower()
    if len(data) > most:
        message = f"the {name} is {len(data)} bytes long; at most {most} are read"
        raise MalformedDocumentError(message)
    try:
        document = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        if is_cut_off(data):
            message = f"the {name} is cut off after {len(data)} bytes; fetch it again"
            raise TruncatedDocumentError(message) from None
        message = f"the {name} cannot be used: {str(error)[:SAID_MAX]}"
        raise MalformedDocumentError(message) from None
    if msgspec.json.encode(document, order="sorted") != data:
        message = f"the {name} is not in canonical form, so its signatures mean nothing; sign it again"
        raise MalformedDocumentError(message)
    return document


def is_cut_off(data: bytes) -> bool:
    """Tell whether ``data`` is JSON that stops too early, whatever it would have said."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError) as error:
        return "truncated" in str(error)
    return False


def check_policy(policy: Policy) -> None:
    """Refuse what the types alone let through.

    Raises:
        MalformedDocumentError: Dates the wrong way round, two rules for one camera, images kept too long, an
            authorisation without an area, a visa of somebody who is no DPO.
    """
    for at in (policy.issued, policy.expires):
        check_instant(at)
    if not policy.issued < policy.expires <= policy.issued + VALIDITY_MAX:
        _refuse(f"the policy must expire after it is issued and within {VALIDITY_MAX.days} days")
    _check_cameras(policy)
    _check_rules(policy.default, "the default rules")
    for authorisation in policy.authorisations:
        if not authorisation.communes and not authorisation.cameras:
            _refuse(f"the authorisation {authorisation.reference!r} names no commune and no camera; give it an area")
        if authorisation.last_day < authorisation.first_day:
            _refuse(f"the authorisation {authorisation.reference!r} ends before it begins")
    for visa in policy.visas:
        if visa.role not in DPO_ROLES:
            _refuse(f"a visa is given by a DPO, not by {visa.role.value}")


def _check_cameras(policy: Policy) -> None:
    seen: set[str] = set()
    for camera in policy.cameras:
        if camera.id in seen:
            _refuse(f"camera {camera.id} has two sets of rules; give it one")
        seen.add(camera.id)
        _check_rules(camera.rules or policy.default, f"camera {camera.id}")
        for mask in camera.masks:
            if not 3 <= len(mask) <= 32:  # noqa: PLR2004 - a polygon has three corners; 32 are enough for a façade
                _refuse(f"camera {camera.id}: a mask has 3 to 32 corners, not {len(mask)}")


def check_instant(at: datetime) -> None:
    """Refuse an instant that is not whole seconds of UTC in this century or the next.

    Raises:
        MalformedDocumentError: As said.
    """
    if at.utcoffset() != timedelta(0) or at.microsecond or at.year not in YEARS:
        _refuse(f"{at.isoformat()} is not whole seconds of UTC; write it like 2026-01-30T08:00:00Z")


def _check_rules(rules: Rules, where: str) -> None:
    if MessageClass.TECHNICAL not in rules.classes:
        _refuse(f"{where}: class T cannot be forbidden; a box that says nothing of its health cannot be audited")
    if rules.images is not None and rules.images.days > rules.images.prefect_days:
        images = rules.images
        _refuse(f"{where}: images kept {images.days} days, above the {images.prefect_days} the prefect authorised")


def _refuse(message: str) -> None:
    raise MalformedDocumentError(message)
