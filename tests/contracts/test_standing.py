"""What is in force on a box: what it takes, what it forgets, and what holds when in doubt."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest

from policy_builders import NOW, CityHall, a_policy, key_of, signed, visa_of
from veilleur_contracts.authority import OlderError, UnderSignedError
from veilleur_contracts.envelope import DocumentType
from veilleur_contracts.messages import MessageClass
from veilleur_contracts.policy import STRICTEST
from veilleur_contracts.policy_document import (
    CameraRules,
    Contact,
    Controller,
    Images,
    MalformedDocumentError,
    Opinion,
    PolicyRejectedError,
    Role,
    Rules,
    Scope,
    Stop,
    canonical,
    document_sha256,
)
from veilleur_contracts.standing import (
    STOPS_MAX,
    WhyStrict,
    WrongControllerError,
    enrol,
    hear,
    holding_of,
    keep,
    look,
    offer,
    recall,
    why_strict,
)

HALL = CityHall()
PINNED = HALL.signed_root()
OPEN = a_policy(
    default=Rules(images=Images(10, 15, "Arrêté 2025-311")), cameras=(CameraRules("parvis"), CameraRules("quai"))
)
VILLE = Scope(frozenset({Controller.VILLE}))


def changed(thing, **changes):
    return msgspec.structs.replace(thing, **changes)


def a_box(policy=OPEN, at=NOW):
    box = enrol(PINNED, Controller.VILLE)
    box = offer(box, HALL.fully_signed(policy), at)
    return offer(box, HALL.signed(Contact(at, policy.version), Role.FLEET), at)


def same(one, two) -> bool:
    """Tell whether two boxes stand alike; against what the last policy was compared does not matter."""
    return one.policy == two.policy and replace(one, verified=None) == replace(two, verified=None)


def at_parvis(box, now=NOW):
    return holding_of(box, "parvis", "30189", now)


def stop_of(role=Role.DPO_VILLE, reason="Contrôle.", scope=VILLE) -> tuple[bytes, str]:
    stop = Stop(role, NOW, scope, reason)
    return HALL.signed(stop, role), document_sha256(canonical(stop))


def test_a_new_box_is_strict_until_its_policy_comes() -> None:
    assert at_parvis(enrol(PINNED, Controller.VILLE)).permissions == STRICTEST
    assert at_parvis(enrol(PINNED, Controller.VILLE)).why is WhyStrict.NO_POLICY
    held = at_parvis(a_box())
    assert held.why is None
    assert held.permissions.keep_images


def test_a_refused_document_changes_nothing() -> None:
    box = a_box()
    with pytest.raises(UnderSignedError):
        offer(box, HALL.signed(changed(OPEN, version=2, default=Rules(person_cell_min=3)), Role.OPERATOR), NOW)
    assert at_parvis(box).why is None


@pytest.mark.parametrize(
    ("later", "why"),
    [
        pytest.param(NOW + timedelta(days=6), None, id="six-days-of-silence"),
        pytest.param(NOW + timedelta(days=8), WhyStrict.NO_CONTACT, id="eight-days-of-silence"),
        pytest.param(NOW + timedelta(days=200), WhyStrict.EXPIRED, id="expired"),
        pytest.param(datetime(2100, 1, 1, tzinfo=UTC), WhyStrict.EXPIRED, id="2100"),
        pytest.param(datetime(1970, 1, 1, tzinfo=UTC), WhyStrict.CLOCK, id="1970"),
        pytest.param(NOW - timedelta(hours=2), WhyStrict.CLOCK, id="set-back-two-hours"),
        pytest.param(NOW - timedelta(minutes=30), None, id="within-slack"),
    ],
)
def test_doubt_about_time_means_the_strictest_profile(later, why) -> None:
    held = at_parvis(a_box(), later)
    assert held.why is why
    assert held.permissions.keep_images is (why is None)
    assert held.permissions.masks_decided


def test_a_clock_set_back_revives_nothing() -> None:
    box = look(a_box(), NOW + timedelta(days=3))
    assert at_parvis(box, NOW + timedelta(days=2)).why is WhyStrict.CLOCK
    assert look(box, NOW) == box
    assert look(box, datetime(2100, 1, 1, tzinfo=UTC)) == box


def test_a_word_from_the_fleet_heals_a_clock_that_had_jumped() -> None:
    jumped = look(a_box(), NOW + timedelta(days=150))
    assert at_parvis(jumped, NOW).why is WhyStrict.CLOCK
    later = NOW + timedelta(hours=1)
    healed = offer(jumped, HALL.signed(Contact(later, 1), Role.FLEET), later)
    assert at_parvis(healed, later).why is None


def test_a_root_that_expired_founds_nothing() -> None:
    hall = CityHall()
    root = hall.root(expires=NOW + timedelta(days=3))
    box = enrol(hall.signed_root(root), Controller.VILLE)
    box = offer(box, hall.fully_signed(OPEN), NOW)
    assert at_parvis(box, NOW + timedelta(days=3)).why is WhyStrict.ROOT_EXPIRED


def test_without_a_fleet_key_an_unsigned_contact_counts_and_with_one_it_does_not() -> None:
    later = NOW + timedelta(days=30)
    assert at_parvis(hear(a_box(), later), later).why is WhyStrict.NO_CONTACT
    hall = CityHall()
    del hall.keys[Role.FLEET]
    alone = offer(enrol(hall.signed_root(), Controller.VILLE), hall.fully_signed(OPEN), NOW)
    assert at_parvis(hear(alone, later), later).why is None


def test_a_box_kept_from_a_newer_policy_becomes_strict() -> None:
    told = NOW + timedelta(minutes=1)
    box = offer(a_box(), HALL.signed(Contact(told, 2), Role.FLEET), told)
    assert at_parvis(box, told).why is None
    again = told + timedelta(minutes=10)
    box = offer(box, HALL.signed(Contact(again, 2), Role.FLEET), again)
    assert at_parvis(box, told + timedelta(minutes=16)).why is WhyStrict.BEHIND
    box = offer(box, HALL.signed(changed(OPEN, version=2, max_age_s=3600), Role.OPERATOR), again)
    assert at_parvis(box, told + timedelta(minutes=16)).why is None


def test_an_old_word_from_the_fleet_is_no_news() -> None:
    box = a_box()
    assert offer(box, HALL.signed(Contact(NOW - timedelta(days=1), 1), Role.FLEET), NOW) == box


def test_a_stop_silences_at_once_and_only_where_it_says() -> None:
    envelope, _ = stop_of(scope=Scope(frozenset({Controller.VILLE}), cameras=frozenset({"parvis"})))
    box = offer(a_box(), envelope, NOW)
    assert at_parvis(box).why is WhyStrict.STOPPED
    assert at_parvis(box).permissions.classes == {MessageClass.TECHNICAL}
    assert holding_of(box, "quai", "30189", NOW).why is None
    elsewhere, _ = stop_of(scope=Scope(frozenset({Controller.AGGLO})))
    assert at_parvis(offer(a_box(), elsewhere, NOW)).why is None


def test_a_stop_holds_before_any_policy_and_beyond_its_expiry() -> None:
    envelope, _ = stop_of()
    assert at_parvis(offer(enrol(PINNED, Controller.VILLE), envelope, NOW)).why is WhyStrict.STOPPED
    assert at_parvis(offer(a_box(), envelope, NOW), datetime(2100, 1, 1, tzinfo=UTC)).why is WhyStrict.STOPPED


def test_only_a_policy_signed_by_all_lifts_a_stop_and_for_good() -> None:
    envelope, sha256 = stop_of()
    box = offer(a_box(), envelope, NOW)
    lifting = changed(OPEN, version=2, lifts=frozenset({sha256}))
    with pytest.raises(UnderSignedError):
        offer(box, HALL.signed(lifting, Role.DPO_VILLE), NOW)
    tightening = changed(OPEN, version=2, default=Rules())
    assert at_parvis(offer(box, HALL.signed(tightening, Role.OPERATOR), NOW)).why is WhyStrict.STOPPED
    lifted = offer(box, HALL.fully_signed(lifting), NOW)
    assert at_parvis(lifted).why is None
    assert offer(lifted, envelope, NOW) == lifted


def test_a_stop_the_fleet_tells_of_and_the_mouth_withholds_stops_everything() -> None:
    envelope, sha256 = stop_of(scope=Scope(frozenset({Controller.VILLE}), cameras=frozenset({"quai"})))
    told = NOW + timedelta(minutes=1)
    box = offer(a_box(), HALL.signed(Contact(told, 1, frozenset({sha256})), Role.FLEET), told)
    assert at_parvis(box, told).why is WhyStrict.STOPPED
    assert at_parvis(offer(box, envelope, told), told).why is None


def test_no_stop_is_turned_away_however_many_there_are() -> None:
    box = a_box()
    for number in range(STOPS_MAX + 1):
        envelope, _ = stop_of(reason=f"{number}.", scope=Scope(frozenset({Controller.AGGLO})))
        box = offer(box, envelope, NOW)
    assert len(box.stops) == STOPS_MAX
    assert at_parvis(box).why is WhyStrict.STOPPED


def test_a_policy_of_the_other_controller_is_refused() -> None:
    theirs = a_policy(controllers=(Controller.AGGLO,))
    with pytest.raises(WrongControllerError, match="belongs to ville"):
        offer(enrol(PINNED, Controller.VILLE), HALL.fully_signed(theirs), NOW)


def test_a_camera_outside_the_scope_is_held_to_the_strictest() -> None:
    narrow = changed(OPEN, scope=Scope(frozenset({Controller.VILLE}), communes=frozenset({"30258"})))
    assert at_parvis(a_box(narrow)).why is WhyStrict.NOT_COVERED


def test_leaving_a_controller_out_is_taken_by_its_boxes() -> None:
    both = a_policy(controllers=Controller)
    box = a_box(both)
    alone = changed(both, version=2, scope=Scope(frozenset({Controller.AGGLO})))
    assert at_parvis(offer(box, HALL.signed(alone, Role.DPO_AGGLO), NOW)).why is WhyStrict.NOT_COVERED


def test_what_is_kept_is_recalled_whole() -> None:
    box = a_box()
    opinion = visa_of(Role.DPO_VILLE, day=date(2026, 4, 30), opinion=Opinion.UNFAVOURABLE)
    second = changed(OPEN, version=2, visas=(*OPEN.visas, opinion))
    box = offer(box, HALL.signed(second, Role.DPO_VILLE), NOW)
    for version in (3, 4):
        third = changed(second, version=version, default=Rules(person_cell_min=version + 7))
        box = offer(box, HALL.signed(third, Role.OPERATOR), NOW)
    box = offer(box, stop_of()[0], NOW)
    assert len(box.tightenings) == 2
    assert same(recall(keep(box), PINNED), box)


def test_a_full_signature_starts_a_new_chain() -> None:
    box = offer(a_box(), HALL.signed(changed(OPEN, version=2, default=Rules()), Role.OPERATOR), NOW)
    assert len(box.tightenings) == 1
    box = offer(box, HALL.fully_signed(changed(OPEN, version=3)), NOW)
    assert box.tightenings == ()
    assert same(recall(keep(box), PINNED), box)


def test_an_older_policy_is_refused_after_a_restart() -> None:
    box = offer(a_box(), HALL.signed(changed(OPEN, version=2, default=Rules()), Role.OPERATOR), NOW)
    with pytest.raises(OlderError):
        offer(recall(keep(box), PINNED), HALL.fully_signed(OPEN), NOW)


def rotated(role) -> tuple[CityHall, bytes]:
    after = CityHall()
    after.keys[role] = [key_of(240)]
    raw = signed(after.root(version=2), DocumentType.ROOT, HALL.keys[Role.ROOT])
    return after, raw


@pytest.mark.parametrize("restarts", [False, True])
def test_a_policy_whose_keys_are_gone_no_longer_holds(restarts) -> None:
    after, raw = rotated(Role.DPO_VILLE)
    box = offer(a_box(), raw, NOW)
    box = recall(keep(box), PINNED) if restarts else box
    assert at_parvis(box).why is WhyStrict.UNFOUNDED
    assert at_parvis(offer(box, after.fully_signed(changed(OPEN, version=2, max_age_s=700_000)), NOW)).why is None


@pytest.mark.parametrize("restarts", [False, True])
def test_a_root_that_keeps_the_signers_keeps_the_policy(restarts) -> None:
    _, raw = rotated(Role.FLEET)
    box = offer(a_box(), raw, NOW)
    box = recall(keep(box), PINNED) if restarts else box
    assert at_parvis(box).why is None


def test_a_stop_outlives_the_keys_of_the_dpo_who_ordered_it() -> None:
    _, raw = rotated(Role.DPO_VILLE)
    box = offer(offer(a_box(), stop_of()[0], NOW), raw, NOW)
    assert at_parvis(recall(keep(box), PINNED)).why is WhyStrict.STOPPED


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[: len(data) // 2], id="cut"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda data: data.replace(b"ville", b"nimes", 1), id="another-controller"),
        pytest.param(lambda data: data + b" " * 20_000_000, id="too-long"),
        pytest.param(
            lambda data: msgspec.json.encode({**msgspec.json.decode(data), "base": "e30="}), id="another-policy"
        ),
    ],
)
def test_a_damaged_checkpoint_is_refused(damage) -> None:
    with pytest.raises(PolicyRejectedError):
        recall(damage(keep(a_box())), PINNED)


def test_roots_are_bounded() -> None:
    box = enrol(PINNED, Controller.VILLE)
    for version in range(2, 34):
        box = offer(box, HALL.signed_root(HALL.root(version=version)), NOW)
    with pytest.raises(MalformedDocumentError, match="enrol the box again"):
        offer(box, HALL.signed_root(HALL.root(version=34)), NOW)


def test_a_box_without_a_policy_is_strict_for_that_reason() -> None:
    assert why_strict(enrol(PINNED, Controller.VILLE), NOW) is WhyStrict.NO_POLICY


def test_word_meant_for_the_boxes_of_another_controller_is_none_for_this_one() -> None:
    box = a_box()
    others = Contact(NOW, 1, controllers=frozenset({Controller.AGGLO}))
    with pytest.raises(WrongControllerError, match="word from the fleet for agglo; this box is of ville"):
        offer(box, HALL.signed(others, Role.FLEET), NOW)
    ours = Contact(NOW, 1, controllers=frozenset({Controller.VILLE}))
    assert offer(box, HALL.signed(ours, Role.FLEET), NOW).heard == NOW
