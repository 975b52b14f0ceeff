"""Say in plain words what a policy lets a camera do, and what it changes: lines of text, in French or English."""

from collections.abc import Iterator
from typing import Final

from veilleur_contracts.messages import MessageClass
from veilleur_contracts.policy_change import Change, Difference, Requirement
from veilleur_contracts.policy_document import CameraRules, Policy, Rules, Scope
from veilleur_contracts.policy_effect import Effect
from veilleur_fleet.texts import Texts

FIELDS: Final = {
    "person_window_s": "shortest window with pedestrians or cyclists (seconds)",
    "vehicle_window_s": "shortest window of vehicles (seconds)",
    "aggregate_window_s": "shortest window of class A (seconds)",
    "person_cell_min": "pedestrians or cyclists from which a count is told",
    "speed_cell_min": "vehicles from which a speed is told",
    "keep_images": "redacted images are kept",
    "retention_days": "days that images are kept",
    "masks_decided": "masks are decided, so the camera runs",
    "masks": "masked parts of the picture",
    "classes": "classes of message",
    "aggregates": "states of roads and places (class A)",
    "events.stopped-vehicle": "days on which a stopped vehicle may be told (class E)",
    "events.bulky-object": "days on which a bulky object may be told (class E)",
    "events.wrong-way": "days on which driving the wrong way may be told (class E)",
    "purpose": "purpose",
    "legal_references": "texts it rests on",
    "decision": "decision of the controller",
    "expires": "end of validity",
    "max_age_s": "longest silence of the fleet (seconds)",
    "controllers": "controllers",
    "lifts": "stops lifted",
    "visas": "opinions of the DPOs",
}
VALUES: Final = {
    "True": "yes",
    "False": "no",
    "": "none",
    "road-state": "state of the road",
    "crowd-band": "density of a crowd",
    "stopped-vehicle": "stopped vehicle",
    "bulky-object": "bulky object",
    "wrong-way": "driving the wrong way",
    "favourable": "favourable",
    "with-reservations": "with reservations",
    "unfavourable": "unfavourable",
    "ville": "the city",
    "agglo": "the agglomeration",
    "controller": "the controller",
    "operator": "the operator",
    "dpo-ville": "the city's DPO",
    "dpo-agglo": "the agglomeration's DPO",
}
DAY_S: Final = 86_400


def explained(policy: Policy, texts: Texts, camera: str | None = None) -> Iterator[str]:
    """Give what ``policy`` says, line by line.

    Args:
        policy: What to explain.
        texts: In which language.
        camera: Only this camera; None: every camera with rules of its own, and all the others.
    """
    say = texts.say
    yield say(
        "Policy {version}, for {controllers}, from {issued} to {expires}.",
        version=policy.version,
        controllers=_listed(policy.scope.controllers, texts),
        issued=policy.issued.date(),
        expires=policy.expires.date(),
    )
    yield say("Purpose: {purpose}", purpose=policy.purpose)
    yield say("Rests on: {references}", references=" ; ".join(policy.legal_references))
    yield say("Decision of the controller: {decision}", decision=policy.decision)
    for visa in policy.visas:
        yield say(
            "Opinion of {role} on {day}, {opinion}: {text}",
            role=_word(visa.role, texts),
            day=visa.day,
            opinion=_word(visa.opinion, texts),
            text=visa.text,
        )
    yield _covered(policy.scope, texts)
    named = {one.id: one for one in policy.cameras}
    if camera is not None:
        yield from _of_camera(policy, named.get(camera), camera, texts)
        return
    for one in policy.cameras:
        yield from _of_camera(policy, one, one.id, texts)
    yield ""
    yield say("Any other camera does not run: what to mask in its picture is not decided.")


def changes_told(change: Change, requirement: Requirement, texts: Texts) -> Iterator[str]:
    """Give what a policy changes and who must sign it, line by line."""
    for title, differences in (("Less strict:", change.loosened), ("Stricter:", change.tightened)):
        yield texts.say(title)
        if not differences:
            yield "  " + texts.say("nothing")
        for one in differences:
            yield f"  - {_told(one, texts)}"
    roles = _listed(requirement.roles, texts)
    if requirement.all_of_them:
        yield texts.say("It must be signed by all of: {roles}.", roles=roles)
    else:
        yield texts.say("It applies as soon as one of them has signed: {roles}.", roles=roles)


def _of_camera(policy: Policy, own: CameraRules | None, camera: str, texts: Texts) -> Iterator[str]:
    say = texts.say
    yield ""
    yield say("Camera {camera}", camera=camera)
    if own is None:
        yield "  - " + say("It does not run: what to mask in its picture is not decided.")
        return
    if own.masks:
        yield "  - " + say(
            "Parts of its picture are burnt out before anything looks at it: {count}.", count=len(own.masks)
        )
    else:
        yield "  - " + say("It was decided that nothing in its picture needs masking.")
    for line in _rules_told(own.rules or policy.default, policy, camera, texts):
        yield f"  - {line}"


def _rules_told(rules: Rules, policy: Policy, camera: str, texts: Texts) -> Iterator[str]:
    say = texts.say
    yield say("It says whether it works (class T).")
    if MessageClass.STATISTICS in rules.classes:
        yield say(
            "It gives anonymous statistics (class S): pedestrians and cyclists over {person} minutes at least, where"
            " counts of 1 to {most} are withheld; vehicles over {vehicle} minutes at least; speeds of {n} vehicles or"
            " more.",
            person=_minutes(rules.person_window_s),
            most=rules.person_cell_min - 1,
            vehicle=_minutes(rules.vehicle_window_s),
            n=rules.speed_cell_min,
        )
    else:
        yield say("It gives no statistics.")
    yield _aggregates_told(rules, policy, camera, texts)
    yield from _events_told(rules, policy, camera, texts)
    if rules.images is None:
        yield say("It keeps no image.")
    else:
        yield say(
            "It keeps redacted images for {days} days at most; {reference} allows {prefect_days}.",
            days=rules.images.days,
            reference=rules.images.reference,
            prefect_days=rules.images.prefect_days,
        )
    yield say(
        "After {expires}, or {days} day(s) without word from the fleet: statistics at most, and no image.",
        expires=policy.expires.date(),
        days=policy.max_age_s // DAY_S,
    )


def _aggregates_told(rules: Rules, policy: Policy, camera: str, texts: Texts) -> str:
    if MessageClass.AGGREGATE not in rules.classes or not rules.aggregates:
        return texts.say("It says nothing of the state of a road or place (class A).")
    allowed = Effect(policy).lasting(camera, min(policy.scope.communes, default="")).aggregates
    if not rules.aggregates <= allowed:
        return texts.say("It was to say the state of a road or place (class A), but no DPO's visa covers all of it.")
    return texts.say(
        "It says the state of a road or place (class A), with the DPO's visa, over {minutes} minutes at least:"
        " {kinds}.",
        minutes=_minutes(rules.aggregate_window_s),
        kinds=_listed(rules.aggregates, texts),
    )


def _events_told(rules: Rules, policy: Policy, camera: str, texts: Texts) -> Iterator[str]:
    here = [one for one in policy.authorisations if not one.cameras or one.communes or camera in one.cameras]
    if MessageClass.EVENT not in rules.classes or not here:
        yield texts.say("It raises no event (class E).")
        return
    for one in here:
        yield texts.say(
            "It may raise an event (class E), {kind}, from {first} to {last} in {area}: {reference}.",
            kind=_word(one.kind, texts),
            first=one.first_day,
            last=one.last_day,
            area=", ".join(sorted(one.communes | one.cameras)),
            reference=one.reference,
        )


def _covered(scope: Scope, texts: Texts) -> str:
    if not scope.communes and not scope.cameras:
        return texts.say("It covers all their cameras.")
    return texts.say("It covers only: {area}.", area=", ".join(sorted(scope.communes | scope.cameras)))


def _told(one: Difference, texts: Texts) -> str:
    where = [
        texts.say("camera {camera}", camera=one.camera) if one.camera else "",
        texts.say("commune {insee}", insee=one.insee) if one.insee else "",
    ]
    place = ", ".join(part for part in where if part) or texts.say("everywhere")
    return texts.say(
        "{place}: {field}, from {old} to {new}",
        place=place,
        field=texts.say(FIELDS[one.field]),
        old=_word(one.old, texts),
        new=_word(one.new, texts),
    )


def _word(value: str, texts: Texts) -> str:
    return (
        texts.say(VALUES[value])
        if value in VALUES
        else ", ".join(texts.say(VALUES[part]) if part in VALUES else part for part in value.split(", "))
    )


def _listed(values: frozenset[str] | frozenset[MessageClass], texts: Texts) -> str:
    return ", ".join(_word(str(value), texts) for value in sorted(values))


def _minutes(seconds: int) -> str:
    return f"{seconds / 60:g}"
