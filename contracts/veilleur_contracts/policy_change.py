"""What one policy changes against another, computed field by field and never declared, and who must sign that.

    old, new ──▶ compare ──▶ Change(tightened, loosened) ──▶ who_must_sign ──▶ Requirement

Policies are compared by their effect: both are constant over the cameras, communes and days that neither names, so it
is enough to ask each about every named one and about one that nobody named.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec

from veilleur_contracts.policy import EventKind, fields_looser
from veilleur_contracts.policy_document import DPO_OF, Closed, Controller, Policy, Role, Scope
from veilleur_contracts.policy_effect import Effect

ANY: Final = ""
"""Stands for a camera or commune that neither policy names; no id is empty."""
Subject = tuple[str, str]
"""A camera and a commune."""

NOTHING_SIGNED: Final = Policy(
    version=1,
    issued=datetime(2020, 1, 1, tzinfo=UTC),
    expires=datetime(2020, 1, 2, tzinfo=UTC),
    scope=Scope(frozenset({Controller.VILLE}), cameras=frozenset({"none"})),
    purpose="none",
    legal_references=("none",),
    decision="none",
)
"""A policy that covers nobody, so that everything is at the strictest profile."""


class Difference(Closed, frozen=True, order=True):
    """One thing that is not as it was.

    Attributes:
        camera: Where; empty: every camera that is not named otherwise.
        insee: In which commune; empty: in every commune not named otherwise.
        field: What: a field of ``Permissions`` or of the policy.
        old: What it was, as text.
        new: What it becomes.
    """

    camera: str
    insee: str
    field: str
    old: str
    new: str


class Change(Closed, frozen=True):
    """What becomes stricter, and what less strict; a thing that cannot be ordered (a purpose) is in both."""

    tightened: tuple[Difference, ...] = ()
    loosened: tuple[Difference, ...] = ()


class Requirement(Closed, frozen=True):
    """Signatures that a document needs: all of these roles, or any one of them."""

    roles: frozenset[Role]
    all_of_them: bool = True

    def is_met_by(self, signed: frozenset[Role]) -> bool:
        """Tell whether ``signed`` is enough."""
        return self.roles <= signed if self.all_of_them else bool(self.roles & signed)

    def sentence(self, signed: frozenset[Role]) -> str:
        """Say what is missing."""
        if self.all_of_them:
            missing = ", ".join(sorted(self.roles - signed))
            return f"it lacks the signature of {missing}; ask them to sign it with `veilleur-fleet policy sign`"
        return f"nobody of {', '.join(sorted(self.roles))} has signed it; one of them must"


def compare(old: Policy | None, new: Policy) -> Change:
    """Tell what ``new`` tightens and loosens against ``old``; a first policy is compared with the strictest profile."""
    before, after = Effect(old or NOTHING_SIGNED), Effect(new)
    tightened = set(_of_document(old, new, looser=old))
    loosened = set(_of_document(old, new, looser=new))
    subjects = list(_subjects(old, new))
    _compare_lasting(before, after, subjects, tightened, loosened)
    _compare_events(old, new, subjects, tightened, loosened)
    named = {one.id for policy in (old, new) if policy for one in policy.cameras if one.rules}
    return Change(_told(tightened, named), _told(loosened, named))


def is_looser_nowhere(old: Policy, new: Policy) -> bool:
    """Tell whether ``new`` allows nothing that ``old`` does not: a partial order on what policies do."""
    return not compare(old, new).loosened


def who_must_sign(change: Change, scope: Scope) -> Requirement:
    """Return the signatures that ``change`` needs.

    Loosening anything, even among much that is tightened, needs the controller, the operator and every competent DPO:
    both when the scope is the whole fleet. Anything else applies at once, signed by any one of them.
    """
    competent = frozenset(DPO_OF[controller] for controller in scope.controllers)
    concerned = frozenset({Role.CONTROLLER, Role.OPERATOR}) | competent
    return Requirement(concerned, all_of_them=bool(change.loosened))


def _compare_lasting(
    before: Effect, after: Effect, subjects: Iterable[Subject], tightened: set[Difference], loosened: set[Difference]
) -> None:
    for camera, insee in subjects:
        was, becomes = before.lasting(camera, insee), after.lasting(camera, insee)
        for into, fields in (
            (tightened, fields_looser(becomes, was)),
            (loosened, fields_looser(was, becomes)),
        ):
            into.update(
                Difference(camera, insee, field, _text(getattr(was, field)), _text(getattr(becomes, field)))
                for field in fields
            )


def _compare_events(
    old: Policy | None,
    new: Policy,
    subjects: Iterable[Subject],
    tightened: set[Difference],
    loosened: set[Difference],
) -> None:
    moments = _moments(old, new)
    before, after = Effect(old or NOTHING_SIGNED), Effect(new)
    for camera, insee in subjects if moments else ():
        for moment in moments:
            was, becomes = before.events(camera, insee, moment), after.events(camera, insee, moment)
            for into, kinds in ((tightened, was - becomes), (loosened, becomes - was)):
                for kind in kinds:
                    spans = (_spans(policy, camera, insee, kind) for policy in (old, new))
                    into.add(Difference(camera, insee, f"events.{kind.value}", *spans))


def _told(differences: set[Difference], named: set[str]) -> tuple[Difference, ...]:
    """Say of a commune, and of a camera without rules of its own, only what is not said of every other one already."""
    everywhere = {(one.field, one.old, one.new) for one in differences if not one.camera and not one.insee}
    every_commune = {(one.camera, one.field, one.old, one.new) for one in differences if not one.insee}

    def is_said(one: Difference) -> bool:
        if one.insee and (one.camera, one.field, one.old, one.new) in every_commune:
            return True
        elsewhere = bool(one.insee) or (bool(one.camera) and one.camera not in named)
        return elsewhere and (one.field, one.old, one.new) in everywhere

    return tuple(sorted(one for one in differences if not is_said(one)))


def _subjects(old: Policy | None, new: Policy) -> Iterator[Subject]:
    """Give each (camera, commune) that either policy could tell from another."""
    policies = [policy for policy in (old, new) if policy is not None]
    cameras = {ANY}
    communes = {ANY}
    for policy in policies:
        cameras |= {one.id for one in policy.cameras} | policy.scope.cameras
        communes |= policy.scope.communes
        for authorisation in policy.authorisations:
            cameras |= authorisation.cameras
            communes |= authorisation.communes
    return ((camera, insee) for camera in sorted(cameras) for insee in sorted(communes))


def _of_document(old: Policy | None, new: Policy, *, looser: Policy | None) -> Iterator[Difference]:
    """Give what the document itself changes, seen from the side of ``looser``; texts are in both."""
    if old is None or looser is None:
        if looser is not None:
            yield Difference(ANY, ANY, "purpose", "", new.purpose)
        return
    tighter = old if looser is new else new
    for field in ("purpose", "legal_references", "decision"):
        if getattr(old, field) != getattr(new, field):
            yield _document_difference(old, new, field)
    for field in ("expires", "max_age_s"):
        if getattr(looser, field) > getattr(tighter, field):
            yield _document_difference(old, new, field)
    if not looser.scope.controllers <= tighter.scope.controllers:
        yield Difference(ANY, ANY, "controllers", _text(old.scope.controllers), _text(new.scope.controllers))
    if not looser.lifts <= tighter.lifts:
        yield _document_difference(old, new, "lifts")
    if looser is new and set(old.visas) - set(new.visas):
        yield Difference(ANY, ANY, "visas", _visas_text(old), _visas_text(new))


def _document_difference(old: Policy, new: Policy, field: str) -> Difference:
    return Difference(ANY, ANY, field, _text(getattr(old, field)), _text(getattr(new, field)))


def _moments(old: Policy | None, new: Policy) -> tuple[datetime, ...]:
    """Give one moment for each stretch of time over which no authorisation begins or ends."""
    authorisations = (one for policy in (old, new) if policy is not None for one in policy.authorisations)
    return tuple(sorted({moment for one in authorisations for moment in (one.starts(), one.ends())}))


def _spans(policy: Policy | None, camera: str, insee: str, kind: EventKind) -> str:
    spans = sorted(
        f"{one.first_day.isoformat()}..{one.last_day.isoformat()}"
        for one in (() if policy is None else policy.authorisations)
        if one.kind is kind and one.covers(camera, insee, one.starts())
    )
    return ", ".join(spans)


def _visas_text(policy: Policy) -> str:
    return ", ".join(sorted(f"{visa.role.value} {visa.day.isoformat()}" for visa in policy.visas))


def _text(value: object) -> str:
    if isinstance(value, frozenset | tuple):
        return _words(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def _words(values: Iterable[object]) -> str:
    return ", ".join(sorted(msgspec.json.encode(value).decode().strip('"') for value in values))
