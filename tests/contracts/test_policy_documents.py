"""Policy documents: one canonical form, refusals in a sentence, and a loosening that is computed."""

import time
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical

from policy_builders import NOW, a_policy, visa_of
from veilleur_contracts.messages import MessageClass
from veilleur_contracts.policy import (
    BENCH,
    STOPPED,
    STRICTEST,
    AggregateKind,
    EventKind,
    Permissions,
    fields_looser,
    is_within,
    strictest_after,
    tightest_of,
)
from veilleur_contracts.policy_change import Change, Difference, compare, is_looser_nowhere, who_must_sign
from veilleur_contracts.policy_document import (
    Authorisation,
    CameraRules,
    Controller,
    Images,
    MalformedDocumentError,
    Opinion,
    Policy,
    Role,
    Rules,
    Scope,
    TruncatedDocumentError,
    canonical,
    check_policy,
    decode_document,
)
from veilleur_contracts.policy_effect import permissions_for

T, S, A, E = MessageClass
MASK = ((0, 0), (10_000, 0), (10_000, 2_000), (0, 2_000))
OTHER_MASK = ((0, 0), (500, 0), (500, 500))
PARKING = Authorisation(
    EventKind.STOPPED_VEHICLE, date(2026, 5, 1), date(2026, 5, 10), "Arrêté 2026-17", communes=frozenset({"30189"})
)
EVERYTHING = Rules(
    classes=frozenset(MessageClass),
    aggregates=frozenset(AggregateKind),
    person_cell_min=3,
    images=Images(10, 15, "Arrêté préfectoral 2025-311"),
)
AGREED = (visa_of(Role.DPO_VILLE, aggregates=frozenset(AggregateKind)),)


def changed(policy, **changes) -> Policy:
    return msgspec.structs.replace(policy, **changes)


def camera_with(**changes) -> Policy:
    return a_policy(cameras=(CameraRules("parvis", **changes),))


rules = st.builds(
    Rules,
    classes=st.frozensets(st.sampled_from([S, A, E])).map(lambda some: some | {T}),
    aggregates=st.frozensets(st.sampled_from(AggregateKind)),
    person_window_s=st.sampled_from([1200, 1800]),
    vehicle_window_s=st.sampled_from([900, 3600]),
    aggregate_window_s=st.sampled_from([300, 600]),
    person_cell_min=st.sampled_from([3, 5, 10]),
    speed_cell_min=st.sampled_from([5, 10]),
    images=st.none() | st.sampled_from([Images(1, 15, "x"), Images(15, 15, "x")]),
)
masks = st.frozensets(st.sampled_from([MASK, OTHER_MASK]))
camera_rules = st.builds(CameraRules, st.sampled_from(["parvis", "quai"]), masks, st.none() | rules)
days = st.sampled_from([date(2026, 5, day) for day in (1, 4, 8, 20)])
authorisations = (
    st.tuples(st.sampled_from(EventKind), days, days, st.frozensets(st.sampled_from(["30189", "30258"])))
    .filter(lambda drawn: drawn[1] <= drawn[2])
    .map(lambda drawn: Authorisation(drawn[0], drawn[1], drawn[2], "r", drawn[3], frozenset({"quai"})))
)
policies = st.builds(
    a_policy,
    default=rules,
    cameras=st.lists(camera_rules, max_size=2, unique_by=lambda one: one.id).map(tuple),
    authorisations=st.lists(authorisations, max_size=2).map(tuple),
    scope=st.builds(
        Scope,
        st.frozensets(st.sampled_from(Controller), min_size=1),
        st.sampled_from([frozenset(), frozenset({"30189"})]),
        st.sampled_from([frozenset(), frozenset({"parvis"})]),
    ),
    visas=st.sampled_from([AGREED, (visa_of(Role.DPO_VILLE),)]),
    expires=st.sampled_from([NOW + timedelta(days=10), NOW + timedelta(days=100)]),
    lifts=st.sampled_from([frozenset(), frozenset({"a" * 64})]),
)
permissions = st.builds(
    Permissions,
    st.sampled_from(["one", "two"]),
    st.frozensets(st.sampled_from(MessageClass)),
    person_window_s=st.sampled_from([5, 1200, 1800]),
    person_cell_min=st.sampled_from([1, 5]),
    keep_images=st.booleans(),
    retention_days=st.sampled_from([0, 15]),
    events=st.frozensets(st.sampled_from(EventKind)),
    masks=masks,
    masks_decided=st.booleans(),
)


@given(policies)
def test_a_policy_has_one_encoding_and_other_tools_agree_on_it(policy) -> None:
    data = canonical(policy)
    assert decode_document(data, Policy) == policy
    assert encode_canonical(msgspec.json.decode(data)).encode() == data


@given(policies, st.data())
def test_a_truncated_policy_says_so(policy, data) -> None:
    whole = canonical(policy)
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(TruncatedDocumentError, match=f"cut off after {cut} bytes"):
        decode_document(whole[:cut], Policy)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(lambda data: data.replace(b'"version":1', b'"version": 1'), "canonical", id="a-space"),
        pytest.param(lambda data: data.replace(b'"version":1', b'"version":0'), "version", id="out-of-bounds"),
        pytest.param(lambda data: data.replace(b'{"auth', b'{"aaa":1,"auth'), "unknown field", id="unknown-key"),
        pytest.param(lambda data: data.replace(b'["S","T"]', b'["T","S"]'), "canonical", id="a-set-unsorted"),
        pytest.param(lambda data: data.replace(b'["S","T"]', b'["S","T","T"]'), "canonical", id="a-set-repeats"),
        pytest.param(lambda data: b"\xff" + data, "policy", id="not-text"),
        pytest.param(lambda _: b"[" * 100_000, "policy", id="deep"),
        pytest.param(lambda data: data + b" " * 2_000_000, "bytes long", id="too-long"),
        pytest.param(lambda data: data.replace(b"Connai", b"Con\\u0000"), "canonical|purpose", id="control"),
    ],
)
def test_refuses_what_is_no_policy(damage, said) -> None:
    data = damage(canonical(a_policy(purpose="Connaitre.")))
    with pytest.raises((MalformedDocumentError, TruncatedDocumentError), match=said) as refused:
        decode_document(data, Policy)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        pytest.param(a_policy(expires=NOW - timedelta(days=1)), "expire after", id="expires-when-issued"),
        pytest.param(a_policy(expires=NOW + timedelta(days=400)), "within 366 days", id="holds-for-ever"),
        pytest.param(a_policy(issued=datetime(9999, 12, 31, tzinfo=UTC)), "UTC", id="another-millennium"),
        pytest.param(a_policy(issued=NOW.replace(microsecond=1)), "whole seconds", id="a-fraction"),
        pytest.param(a_policy(cameras=(CameraRules("quai"), CameraRules("quai"))), "two sets", id="twice-a-camera"),
        pytest.param(camera_with(masks=frozenset({((0, 0), (1, 1))})), "corners", id="a-mask-of-two-points"),
        pytest.param(a_policy(default=Rules(classes=frozenset({S}))), "class T", id="no-health"),
        pytest.param(a_policy(default=Rules(images=Images(15, 10, "x"))), "prefect", id="above-the-prefect"),
        pytest.param(camera_with(rules=Rules(images=Images(15, 10, "x"))), "parvis", id="above-it-for-one-camera"),
        pytest.param(a_policy(authorisations=(changed(PARKING, communes=frozenset()),)), "area", id="nowhere"),
        pytest.param(a_policy(authorisations=(changed(PARKING, last_day=date(2026, 4, 1)),)), "ends", id="backwards"),
        pytest.param(a_policy(visas=(visa_of(Role.OPERATOR),)), "DPO, not by operator", id="no-dpos-visa"),
    ],
)
def test_refuses_a_policy_that_contradicts_itself(policy, said) -> None:
    with pytest.raises(MalformedDocumentError, match=said):
        check_policy(policy)


@pytest.mark.parametrize(
    "beyond",
    [
        pytest.param({"person_window_s": 1199}, id="persons-under-twenty-minutes"),
        pytest.param({"vehicle_window_s": 899}, id="vehicles-under-fifteen"),
        pytest.param({"aggregate_window_s": 299}, id="aggregates-under-five"),
        pytest.param({"person_cell_min": 2}, id="k-under-three"),
        pytest.param({"speed_cell_min": 4}, id="n-under-five"),
        pytest.param({"images": {"days": 16, "prefect_days": 30, "reference": "x"}}, id="sixteen-days"),
    ],
)
def test_no_signature_can_sign_away_a_legal_floor(beyond) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(beyond, Rules)


@given(permissions, permissions, permissions)
def test_loosening_of_permissions_is_a_partial_order(one, two, three) -> None:
    assert is_within(one, one)
    if is_within(one, two) and is_within(two, one):
        assert changed(one, profile="x") == changed(two, profile="x")
    if is_within(one, two) and is_within(two, three):
        assert is_within(one, three)


@given(permissions, permissions, permissions)
def test_the_tightest_of_two_is_their_greatest_lower_bound(one, two, three) -> None:
    both = tightest_of(one, two, "both")
    assert is_within(both, one)
    assert is_within(both, two)
    assert is_within(three, both) or not (is_within(three, one) and is_within(three, two))


@given(permissions)
def test_losing_a_policy_never_allows_more_than_it_did(last) -> None:
    after = strictest_after(last)
    assert is_within(after, last)
    assert fields_looser(STRICTEST, after) in {(), ("masks_decided",)}


def test_the_profiles_are_ordered() -> None:
    assert is_within(STOPPED, STRICTEST)
    assert is_within(STRICTEST, BENCH)
    assert strictest_after(None) is STRICTEST


@given(policies)
def test_a_policy_is_not_looser_than_itself(policy) -> None:
    assert compare(policy, policy) == Change()


@given(policies, policies)
def test_two_policies_neither_looser_do_the_same(one, two) -> None:
    if is_looser_nowhere(one, two) and is_looser_nowhere(two, one):
        for camera in ("parvis", "quai", "place"):
            for insee in ("30189", "30258", "30001"):
                for day in range(1, 25):
                    at = datetime(2026, 5, day, 12, tzinfo=UTC)
                    assert permissions_for(one, camera, insee, at) == permissions_for(two, camera, insee, at)


def tightened_by(draw, policy) -> Policy:
    """Return ``policy`` with some of its fields made stricter."""

    def stricter(rule: Rules) -> Rules:
        return Rules(
            classes=frozenset(draw(st.sets(st.sampled_from(sorted(rule.classes))))) | {T},
            aggregates=rule.aggregates & draw(st.frozensets(st.sampled_from(AggregateKind))),
            person_window_s=max(rule.person_window_s, draw(st.sampled_from([1200, 1800]))),
            vehicle_window_s=rule.vehicle_window_s,
            aggregate_window_s=rule.aggregate_window_s,
            person_cell_min=max(rule.person_cell_min, draw(st.sampled_from([3, 5, 10]))),
            speed_cell_min=rule.speed_cell_min,
            images=draw(st.sampled_from([rule.images, None])),
        )

    default = stricter(policy.default)
    cameras = tuple(
        CameraRules(
            one.id,
            one.masks | draw(masks),
            stricter(one.rules) if one.rules else draw(st.sampled_from([None, default])),
        )
        for one in policy.cameras
    )
    expires = min(policy.expires, draw(st.sampled_from([NOW + timedelta(days=5), NOW + timedelta(days=100)])))
    return changed(
        policy,
        version=policy.version + 1,
        default=default,
        cameras=cameras,
        expires=expires,
        authorisations=tuple(one for one in policy.authorisations if draw(st.booleans())),
    )


@given(policies, st.data())
def test_loosening_of_policies_is_transitive_along_a_chain_of_tightenings(first, data) -> None:
    second = tightened_by(data.draw, first)
    third = tightened_by(data.draw, second)
    assert is_looser_nowhere(first, second)
    assert is_looser_nowhere(second, third)
    assert is_looser_nowhere(first, third)
    assert is_looser_nowhere(third, first) == (not compare(first, third).tightened)


@given(policies, policies)
def test_what_one_way_loosens_the_other_way_tightens(one, two) -> None:
    def fields(differences):
        return {(each.camera, each.insee, each.field) for each in differences if each.field != "visas"}

    assert fields(compare(one, two).loosened) == fields(compare(two, one).tightened)


@given(policies, policies, st.integers(1, 30), st.sampled_from(["parvis", "quai", "x"]))
def test_a_change_without_loosening_allows_no_camera_more_on_any_day(old, new, day, camera) -> None:
    if not compare(old, new).loosened:
        at = datetime(2026, 5, day, 12, tzinfo=UTC)
        for insee in ("30189", "30258", "30001"):
            assert is_within(permissions_for(new, camera, insee, at), permissions_for(old, camera, insee, at))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"default": Rules(classes=frozenset({T, S, A}), aggregates=frozenset(AggregateKind))}, "classes"),
        pytest.param({"default": Rules(person_cell_min=4)}, "person_cell_min"),
        pytest.param({"default": Rules(images=Images(5, 15, "x"))}, "keep_images"),
        pytest.param({"cameras": (CameraRules("parvis"),)}, "masks"),
        pytest.param({"cameras": (CameraRules("parvis", frozenset({OTHER_MASK})),)}, "masks"),
        pytest.param({"cameras": (CameraRules("parvis", frozenset({MASK})), CameraRules("quai"))}, "masks_decided"),
        pytest.param(
            {"authorisations": (PARKING, changed(PARKING, last_day=date(2026, 6, 1)))}, "events.stopped-vehicle"
        ),
        pytest.param({"scope": Scope(frozenset(Controller))}, "controllers"),
        pytest.param({"expires": NOW + timedelta(days=201)}, "expires"),
        pytest.param({"max_age_s": 700_000}, "max_age_s"),
        pytest.param({"purpose": "Autre chose."}, "purpose"),
        pytest.param({"legal_references": ("Autre",)}, "legal_references"),
        pytest.param({"decision": "Autre."}, "decision"),
        pytest.param({"lifts": frozenset({"a" * 64})}, "lifts"),
        pytest.param({"visas": ()}, "visas"),
    ],
)
def test_each_field_that_loosens_is_named(change, field) -> None:
    old = a_policy(
        cameras=(CameraRules("parvis", frozenset({MASK})),),
        authorisations=(PARKING,),
        default=Rules(classes=frozenset({T, S, E})),
        visas=AGREED,
    )
    if "default" in change:
        old = changed(old, default=Rules())
    assert field in {one.field for one in compare(old, changed(old, version=2, **change)).loosened}


def test_a_longer_window_is_told_once_and_only_where_it_changes() -> None:
    old = a_policy(cameras=(CameraRules("parvis", rules=Rules()), CameraRules("quai")))
    new = changed(old, version=2, default=Rules(person_window_s=1800))
    assert compare(old, new) == Change(tightened=(Difference("", "", "person_window_s", "1200", "1800"),))


def test_a_first_policy_is_always_a_loosening() -> None:
    assert "purpose" in {one.field for one in compare(None, a_policy()).loosened}


def test_taking_a_strict_camera_out_of_scope_is_a_loosening() -> None:
    """Outside the scope the strictest profile holds, which is looser than silence."""
    silent = a_policy(cameras=(CameraRules("parvis", rules=Rules(classes=frozenset({T}))),))
    without = changed(silent, version=2, cameras=())
    assert Difference("parvis", "", "classes", "T", "S, T") in compare(silent, without).loosened


@pytest.mark.parametrize(
    ("controllers", "roles"),
    [
        pytest.param({Controller.VILLE}, {Role.DPO_VILLE}, id="ville"),
        pytest.param({Controller.AGGLO}, {Role.DPO_AGGLO}, id="agglo"),
        pytest.param(set(Controller), {Role.DPO_VILLE, Role.DPO_AGGLO}, id="the-whole-fleet"),
    ],
)
@pytest.mark.parametrize("loosens", [True, False])
def test_the_competent_dpo_must_sign_a_loosening_and_may_sign_a_tightening(controllers, roles, loosens) -> None:
    one = (Difference("", "", "purpose", "a", "b"),)
    required = who_must_sign(Change(loosened=one if loosens else ()), Scope(frozenset(controllers)))
    assert required.roles == roles | {Role.CONTROLLER, Role.OPERATOR}
    assert required.all_of_them is loosens


def test_permissions_follow_the_camera_its_commune_and_the_day() -> None:
    policy = a_policy(
        default=changed(EVERYTHING, images=None),
        cameras=(CameraRules("parvis", frozenset({MASK}), EVERYTHING),),
        authorisations=(PARKING,),
        visas=AGREED,
    )
    at_parvis = permissions_for(policy, "parvis", "30189", NOW)
    assert at_parvis.classes == set(MessageClass)
    assert at_parvis.events == {EventKind.STOPPED_VEHICLE}
    assert at_parvis.aggregates == set(AggregateKind)
    assert (at_parvis.keep_images, at_parvis.retention_days) == (True, 10)
    assert (at_parvis.masks, at_parvis.masks_decided) == ({MASK}, True)
    elsewhere = permissions_for(policy, "quai", "30258", NOW)
    assert E not in elsewhere.classes
    assert not elsewhere.keep_images
    assert not elsewhere.masks_decided


@pytest.mark.parametrize(
    ("at", "raised"),
    [
        pytest.param(datetime(2026, 4, 30, 23, 59, tzinfo=UTC), False, id="the-evening-before"),
        pytest.param(datetime(2026, 5, 1, tzinfo=UTC), True, id="its-first-day"),
        pytest.param(datetime(2026, 5, 10, 21, 59, tzinfo=UTC), True, id="its-last-evening"),
        pytest.param(datetime(2026, 5, 10, 22, 0, tzinfo=UTC), False, id="midnight-in-paris"),
    ],
)
def test_an_authorisation_stops_by_itself(at, raised) -> None:
    policy = a_policy(issued=NOW - timedelta(days=20), default=EVERYTHING, authorisations=(PARKING,))
    assert (E in permissions_for(policy, "parvis", "30189", at).classes) is raised


@pytest.mark.parametrize(
    "visas",
    [
        pytest.param((), id="nobody-spoke"),
        pytest.param((visa_of(Role.DPO_VILLE),), id="not-of-this"),
        pytest.param((visa_of(Role.DPO_AGGLO, aggregates=frozenset(AggregateKind)),), id="the-other-dpo"),
        pytest.param((changed(AGREED[0], opinion=Opinion.UNFAVOURABLE),), id="against"),
        pytest.param((*AGREED, changed(AGREED[0], opinion=Opinion.UNFAVOURABLE)), id="both-on-one-day"),
        pytest.param((*AGREED, visa_of(Role.DPO_VILLE, day=date(2026, 4, 21))), id="no-longer"),
    ],
)
def test_class_a_needs_the_agreement_of_the_competent_dpo(visas) -> None:
    policy = a_policy(default=EVERYTHING, visas=visas)
    assert A not in permissions_for(policy, "parvis", "30189", NOW).classes
    agreed = changed(policy, visas=AGREED)
    assert A in permissions_for(agreed, "parvis", "30189", NOW).classes


@pytest.mark.parametrize("year", [1970, 2100])
def test_a_clock_set_elsewhere_gives_the_strictest_profile(year) -> None:
    policy = a_policy(default=EVERYTHING, cameras=(CameraRules("parvis", frozenset({MASK})),))
    held = permissions_for(policy, "parvis", "30189", datetime(year, 1, 1, tzinfo=UTC))
    assert held.classes == STRICTEST.classes
    assert held.masks == {MASK}
    assert not held.keep_images


def test_a_policy_with_masks_rules_and_visas_is_accepted() -> None:
    check_policy(a_policy(cameras=(CameraRules("parvis", frozenset({MASK, OTHER_MASK}), EVERYTHING),), visas=AGREED))


def test_a_city_of_cameras_is_compared_in_a_few_seconds() -> None:
    """1,200 cameras and 22 communes, all of them named: what a box must do when a policy comes."""
    cameras = tuple(CameraRules(f"camera-{number}", frozenset({MASK})) for number in range(1200))
    communes = frozenset(f"300{number:02d}" for number in range(22))
    old = a_policy(cameras=cameras, scope=Scope(frozenset(Controller), communes), authorisations=(PARKING,))
    started = time.process_time()
    assert compare(old, changed(old, version=2, default=Rules(person_cell_min=6))).loosened == ()
    assert time.process_time() - started < 5
