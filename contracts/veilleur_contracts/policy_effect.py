"""What a policy lets one camera do at one moment: a pure function from document to ``Permissions``."""

from datetime import datetime
from typing import Final

import msgspec

from veilleur_contracts.messages import MessageClass
from veilleur_contracts.policy import STRICTEST, AggregateKind, EventKind, Permissions, strictest_after
from veilleur_contracts.policy_document import DPO_OF, RETENTION_DAYS_MAX, CameraRules, Opinion, Policy, Rules

SIGNED: Final = "signed"
"""Name of the profile of a camera that a signed policy covers."""


LOOSEST_SIGNED: Final = Permissions(
    SIGNED,
    frozenset(MessageClass),
    person_cell_min=3,
    keep_images=True,
    retention_days=RETENTION_DAYS_MAX,
    events=frozenset(EventKind),
    aggregates=frozenset(AggregateKind),
    masks_decided=True,
)
"""More than any policy can give a camera: what room is made for before it is known what a policy says."""


def permissions_for(policy: Policy, camera: str, insee: str, now: datetime) -> Permissions:
    """Return what ``policy`` lets ``camera`` do at ``now``.

    Outside the policy's dates, and for a camera it does not cover, this is the strictest profile, and never more than
    the policy allowed while it held. Whether the policy is genuine is for ``authority.verify`` to say.

    Args:
        policy: A verified policy.
        camera: Id of the camera.
        insee: Its commune.
        now: UTC.
    """
    effect = Effect(policy)
    lasting = effect.lasting(camera, insee)
    if not policy.issued <= now < policy.expires:
        return strictest_after(lasting)
    return with_events(lasting, effect.events(camera, insee, now))


class Effect:
    """What a policy does, looked up fast: bounded by the cameras that the policy names."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._own = {one.id: one for one in policy.cameras}
        self._agreed = _aggregates_agreed(policy)
        self._known: dict[str, Permissions] = {}

    def lasting(self, camera: str, insee: str) -> Permissions:
        """Return what ``camera`` may do on a day without any authorisation for events."""
        if not self._policy.scope.covers(camera, insee):
            return STRICTEST
        own = self._own.get(camera)
        key = camera if own else ""
        if key not in self._known:
            self._known[key] = self._permissions_by(self._rules(own), own)
        return self._known[key]

    def events(self, camera: str, insee: str, now: datetime) -> frozenset[EventKind]:
        """Return the kinds of event authorised for ``camera`` at ``now``, the policy's own dates apart."""
        policy = self._policy
        if not policy.authorisations or not policy.scope.covers(camera, insee):
            return frozenset()
        if MessageClass.EVENT not in self._rules(self._own.get(camera)).classes:
            return frozenset()
        return frozenset(one.kind for one in policy.authorisations if one.covers(camera, insee, now))

    def _rules(self, own: CameraRules | None) -> Rules:
        return self._policy.default if own is None or own.rules is None else own.rules

    def _permissions_by(self, rules: Rules, own: CameraRules | None) -> Permissions:
        may = MessageClass.AGGREGATE in rules.classes
        aggregates = rules.aggregates & self._agreed if may else frozenset()
        classes = rules.classes - {MessageClass.AGGREGATE, MessageClass.EVENT}
        return Permissions(
            SIGNED,
            classes | {MessageClass.AGGREGATE} if aggregates else classes,
            person_window_s=rules.person_window_s,
            vehicle_window_s=rules.vehicle_window_s,
            aggregate_window_s=rules.aggregate_window_s,
            person_cell_min=rules.person_cell_min,
            speed_cell_min=rules.speed_cell_min,
            keep_images=rules.images is not None,
            retention_days=0 if rules.images is None else rules.images.days,
            aggregates=aggregates,
            masks=frozenset() if own is None else own.masks,
            masks_decided=own is not None,
        )


def with_events(lasting: Permissions, events: frozenset[EventKind]) -> Permissions:
    """Return ``lasting`` with the events of the day, and class E if there are any."""
    if not events:
        return lasting
    return msgspec.structs.replace(lasting, classes=lasting.classes | {MessageClass.EVENT}, events=events)


def _aggregates_agreed(policy: Policy) -> frozenset[AggregateKind]:
    """Return the kinds of class A to which every competent DPO agreed: one who did not speak did not agree."""
    agreed = frozenset(AggregateKind)
    for controller in policy.scope.controllers:
        visas = [visa for visa in policy.visas if visa.role is DPO_OF[controller]]
        latest = max((visa.day for visa in visas), default=None)
        for visa in visas:
            if visa.day == latest:
                agreed &= frozenset() if visa.opinion is Opinion.UNFAVOURABLE else visa.aggregates
        if latest is None:
            return frozenset()
    return agreed
