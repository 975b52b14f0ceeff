"""Who may sign what: every refusal has its name, and nobody alone loosens anything."""

from datetime import UTC, date, datetime, timedelta
from itertools import chain, combinations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as DsseEnvelope

from policy_builders import NOW, CityHall, a_policy, key_of, signed, visa_of
from veilleur_contracts.authority import (
    ExpiredError,
    NotYetError,
    OlderError,
    UnderSignedError,
    UnknownKeyError,
    check_root,
    keys_by_holder,
    read_root,
    verify,
    verify_contact,
    verify_stop,
)
from veilleur_contracts.envelope import (
    ENVELOPE_BYTES_MAX,
    DocumentType,
    ForgedError,
    WrongTypeError,
    key_id_of,
    read_envelope,
    seal,
    sign,
    signers_of,
    write_envelope,
)
from veilleur_contracts.policy_document import (
    Contact,
    Controller,
    MalformedDocumentError,
    Opinion,
    PolicyRejectedError,
    Role,
    Rules,
    Scope,
    Stop,
    TruncatedDocumentError,
    canonical,
)

HALL = CityHall()
ROOT = HALL.root()
SIGNERS = (Role.CONTROLLER, Role.OPERATOR, Role.DPO_VILLE, Role.DPO_AGGLO)
LOOSE = Rules(person_cell_min=4)
TIGHT = Rules(person_cell_min=10)
MIXED = Rules(person_cell_min=10, vehicle_window_s=900)
TIGHTER = Rules(vehicle_window_s=1800, person_cell_min=10)
CURRENT = a_policy(default=Rules(vehicle_window_s=1800))


def changed(thing, **changes):
    return msgspec.structs.replace(thing, **changes)


def altered(envelope: bytes, **changes) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(envelope), **changes})


def every_set_of(roles):
    return list(chain.from_iterable(combinations(roles, size) for size in range(len(roles) + 1)))


@pytest.mark.parametrize(
    "controllers",
    [{Controller.VILLE}, {Controller.AGGLO}, set(Controller)],
    ids=["ville", "agglo", "both"],
)
@pytest.mark.parametrize(
    ("rules", "loosens"),
    [
        pytest.param(TIGHT, False, id="tighten"),
        pytest.param(LOOSE, True, id="loosen"),
        pytest.param(MIXED, True, id="mixed"),
    ],
)
@pytest.mark.parametrize("roles", every_set_of(SIGNERS), ids=lambda roles: "+".join(roles) or "nobody")
def test_truth_table_of_signers(controllers, rules, loosens, roles) -> None:
    start = Rules(vehicle_window_s=1800) if rules is MIXED else Rules()
    current = a_policy(controllers=controllers, default=start)
    envelope = HALL.signed(changed(current, version=2, default=rules), *roles)
    competent = {Role.CONTROLLER, Role.OPERATOR} | {Role(f"dpo-{one.value}") for one in controllers}
    enough = competent <= set(roles) if loosens else bool(competent & set(roles))
    if enough:
        verified = verify(envelope, ROOT, NOW, current)
        assert verified.signers == set(roles)
        assert bool(verified.change.loosened) is loosens
    else:
        with pytest.raises(UnderSignedError) as refused:
            verify(envelope, ROOT, NOW, current)
        missing = min(competent - set(roles)) if loosens else min(competent)
        assert missing.value in str(refused.value)


def test_the_first_policy_needs_every_signature() -> None:
    policy = a_policy()
    assert verify(HALL.fully_signed(policy), ROOT, NOW).policy == policy
    with pytest.raises(UnderSignedError, match="controller"):
        verify(HALL.signed(policy, Role.OPERATOR, Role.DPO_VILLE), ROOT, NOW)


@pytest.mark.parametrize("role", [Role.ROOT, Role.FLEET])
def test_neither_root_nor_fleet_keys_sign_a_policy(role) -> None:
    with pytest.raises(UnderSignedError):
        verify(HALL.signed(changed(CURRENT, version=2, default=TIGHTER), role), ROOT, NOW, CURRENT)


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        pytest.param(lambda raw: altered(raw, payloadType=DocumentType.STOP), WrongTypeError, id="another-type"),
        pytest.param(lambda raw: altered(raw, payloadType="text/plain"), WrongTypeError, id="unknown-type"),
        pytest.param(lambda raw: altered(raw, payload="!!"), MalformedDocumentError, id="no-base64"),
        pytest.param(lambda raw: altered(raw, payload="é"), MalformedDocumentError, id="no-ascii"),
        pytest.param(lambda raw: altered(raw, more=1), MalformedDocumentError, id="one-key-more"),
        pytest.param(lambda raw: raw[:-20], TruncatedDocumentError, id="cut"),
        pytest.param(lambda _: b"", TruncatedDocumentError, id="empty"),
        pytest.param(lambda _: b"\x00\xff", MalformedDocumentError, id="binary"),
        pytest.param(lambda _: b"[" * 10_000, PolicyRejectedError, id="deep"),
        pytest.param(lambda raw: raw + b" " * ENVELOPE_BYTES_MAX, MalformedDocumentError, id="too-long"),
        pytest.param(
            lambda raw: altered(raw, signatures=msgspec.json.decode(raw)["signatures"] * 2),
            MalformedDocumentError,
            id="a-signature-twice",
        ),
        pytest.param(lambda raw: altered(raw, signatures=[]), UnderSignedError, id="nobody-signed"),
        pytest.param(
            lambda raw: altered(raw, signatures=[{"keyid": "a" * 64, "sig": "AAAA"}]), UnknownKeyError, id="unknown-key"
        ),
        pytest.param(
            lambda raw: altered(
                raw, signatures=[{**one, "sig": "AAAA"} for one in msgspec.json.decode(raw)["signatures"]]
            ),
            ForgedError,
            id="forged",
        ),
    ],
)
def test_each_fault_has_its_name_and_one_sentence(damage, error) -> None:
    with pytest.raises(error) as refused:
        verify(damage(HALL.fully_signed(a_policy())), ROOT, NOW)
    assert len(str(refused.value)) < 400
    assert "\n" not in str(refused.value)


def test_a_signature_moved_to_another_policy_is_forged() -> None:
    honest = msgspec.json.decode(HALL.fully_signed(a_policy()))
    other = HALL.fully_signed(a_policy(default=LOOSE))
    with pytest.raises(ForgedError):
        verify(altered(other, signatures=honest["signatures"]), ROOT, NOW)


def test_a_signature_is_not_moved_between_types() -> None:
    """The type is signed too: a stop's bytes signed as a stop are no policy, even if they decoded as one."""
    as_stop = signed(a_policy(), DocumentType.STOP, [HALL.keys[role][0] for role in SIGNERS])
    with pytest.raises(ForgedError):
        verify(altered(as_stop, payloadType=DocumentType.POLICY), ROOT, NOW)


@given(st.data())
def test_no_changed_byte_of_an_envelope_is_taken_for_the_policy(data) -> None:
    raw = HALL.fully_signed(a_policy())
    at = data.draw(st.integers(0, len(raw) - 2))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != raw[at]))
    forged = raw[:at] + bytes([other]) + raw[at + 1 :]
    try:
        taken = verify(forged, ROOT, NOW)
    except PolicyRejectedError:
        return
    assert taken.policy == a_policy()


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_by_name(data) -> None:
    with pytest.raises(PolicyRejectedError):
        verify(data, ROOT, NOW)


def test_extra_signatures_of_unknown_keys_do_no_harm() -> None:
    envelope = write_envelope(sign(read_envelope(HALL.fully_signed(a_policy())), key_of(250)))
    assert verify(envelope, ROOT, NOW).policy == a_policy()


@pytest.mark.parametrize(
    ("version", "said"), [pytest.param(1, "older", id="older"), pytest.param(2, "in force already", id="the-same")]
)
def test_a_version_never_goes_back(version, said) -> None:
    current = a_policy(version=2)
    with pytest.raises(OlderError, match=said):
        verify(HALL.fully_signed(a_policy(version=version)), ROOT, NOW, current)


@pytest.mark.parametrize(
    ("at", "error"),
    [
        pytest.param(NOW + timedelta(days=200), ExpiredError, id="on-the-minute"),
        pytest.param(datetime(2100, 1, 1, tzinfo=UTC), ExpiredError, id="2100"),
        pytest.param(datetime(1970, 1, 1, tzinfo=UTC), NotYetError, id="1970"),
        pytest.param(NOW - timedelta(days=1, hours=2), NotYetError, id="two-hours-early"),
    ],
)
def test_a_policy_holds_between_its_dates(at, error) -> None:
    with pytest.raises(error):
        verify(HALL.fully_signed(a_policy()), ROOT, at)


def test_nothing_holds_under_an_expired_root() -> None:
    root = HALL.root(expires=NOW - timedelta(days=1))
    with pytest.raises(ExpiredError, match="root 1"):
        verify(HALL.fully_signed(a_policy()), root, NOW)


def test_a_loosening_carries_the_opinion_of_each_competent_dpo() -> None:
    with pytest.raises(UnderSignedError, match="no visa of dpo-ville"):
        verify(HALL.fully_signed(a_policy(visas=())), ROOT, NOW)


def test_nobody_tells_an_opinion_for_a_dpo() -> None:
    opinion = visa_of(Role.DPO_VILLE, day=date(2026, 4, 30), opinion=Opinion.UNFAVOURABLE)
    told = changed(CURRENT, version=2, visas=(*CURRENT.visas, opinion))
    with pytest.raises(UnderSignedError, match="an opinion of dpo-ville"):
        verify(HALL.signed(told, Role.OPERATOR), ROOT, NOW, CURRENT)
    assert verify(HALL.signed(told, Role.DPO_VILLE), ROOT, NOW, CURRENT).policy == told


def test_leaving_the_agglomeration_needs_its_dpo() -> None:
    both = a_policy(controllers=Controller)
    alone = changed(both, version=2, scope=Scope(frozenset({Controller.VILLE})), default=LOOSE)
    with pytest.raises(UnderSignedError, match="dpo-agglo"):
        verify(HALL.fully_signed(alone), ROOT, NOW, both)


def test_a_threshold_of_two_wants_two_people() -> None:
    hall = CityHall()
    hall.keys[Role.CONTROLLER] = [key_of(200), key_of(201)]
    ids = frozenset(key_id_of(key.public_key().public_bytes_raw()) for key in hall.keys[Role.CONTROLLER])
    root = hall.root()
    root = changed(root, roles={**root.roles, Role.CONTROLLER: changed(root.roles[Role.CONTROLLER], threshold=2)})
    assert root.roles[Role.CONTROLLER].keys == ids
    tight = changed(CURRENT, version=2, default=TIGHTER)
    with pytest.raises(UnderSignedError):
        verify(signed(tight, DocumentType.POLICY, hall.keys[Role.CONTROLLER][:1]), root, NOW, CURRENT)
    assert verify(hall.signed(tight, Role.CONTROLLER), root, NOW, CURRENT).signers == {Role.CONTROLLER}


def test_a_root_follows_a_root_signed_by_both() -> None:
    after = CityHall()
    after.keys[Role.ROOT] = [key_of(1), key_of(101), key_of(102)]
    second = after.root(version=2)
    both = signed(second, DocumentType.ROOT, [*HALL.keys[Role.ROOT][:2], *after.keys[Role.ROOT][1:]])
    assert read_root(both, ROOT) == second


@pytest.mark.parametrize(
    ("signers", "version", "error"),
    [
        pytest.param(lambda old, _: old[:2], 2, UnderSignedError, id="without-the-new"),
        pytest.param(lambda _, new: new, 2, UnderSignedError, id="without-the-old"),
        pytest.param(lambda old, new: [*old[:1], *new], 2, UnderSignedError, id="one-of-the-old"),
        pytest.param(lambda old, new: [*old, *new], 3, OlderError, id="skips-a-version"),
        pytest.param(lambda old, new: [*old, *new], 1, OlderError, id="the-same-version"),
    ],
)
def test_a_root_that_does_not_follow_is_refused(signers, version, error) -> None:
    after = CityHall()
    after.keys[Role.ROOT] = [key_of(100), key_of(101), key_of(102)]
    raw = signed(after.root(version=version), DocumentType.ROOT, signers(HALL.keys[Role.ROOT], after.keys[Role.ROOT]))
    with pytest.raises(error):
        read_root(raw, ROOT)


def test_a_pinned_root_is_signed_by_itself() -> None:
    assert read_root(HALL.signed_root(), None) == ROOT
    with pytest.raises(UnderSignedError, match="1 of the 2"):
        read_root(HALL.signed_root(signers=HALL.keys[Role.ROOT][:1]), None)
    assert set(keys_by_holder(ROOT).values()) == {f"{role.value} in person" for role in Role}


def root_with(**roles):
    named = {**ROOT.roles, **{Role[name.upper()]: held for name, held in roles.items()}}
    return changed(ROOT, roles={role: held for role, held in named.items() if held is not None})


@pytest.mark.parametrize(
    ("root", "said"),
    [
        pytest.param(root_with(dpo_ville=None), "nobody the role dpo-ville", id="no-dpo"),
        pytest.param(root_with(root=changed(ROOT.roles[Role.ROOT], threshold=1)), "at least 2", id="one-root-key"),
        pytest.param(root_with(operator=changed(ROOT.roles[Role.OPERATOR], threshold=2)), "2 of 1", id="impossible"),
        pytest.param(root_with(operator=ROOT.roles[Role.DPO_VILLE]), "two people", id="one-person-for-two"),
        pytest.param(
            root_with(operator=changed(ROOT.roles[Role.OPERATOR], keys=frozenset({"a" * 64}))), "not hold", id="lost"
        ),
        pytest.param(changed(ROOT, expires=ROOT.issued), "expires before", id="no-time"),
        pytest.param(
            changed(ROOT, keys={**ROOT.keys, "a" * 64: next(iter(ROOT.keys.values()))}), "not its own", id="wrong-id"
        ),
    ],
)
def test_a_root_that_would_let_one_person_rule_is_refused(root, said) -> None:
    with pytest.raises(MalformedDocumentError, match=said):
        check_root(root)


@pytest.mark.parametrize("role", [Role.DPO_VILLE, Role.DPO_AGGLO])
def test_either_dpo_stops_alone(role) -> None:
    stop = Stop(role, NOW, Scope(frozenset(Controller)), "Contrôle en cours.")
    assert verify_stop(HALL.signed(stop, role), ROOT)[0] == stop


def test_a_stop_is_refused_from_anybody_else() -> None:
    scope = Scope(frozenset(Controller))
    with pytest.raises(MalformedDocumentError, match="by a DPO, not by operator"):
        verify_stop(HALL.signed(Stop(Role.OPERATOR, NOW, scope, "x"), Role.OPERATOR), ROOT)
    with pytest.raises(UnderSignedError):
        verify_stop(HALL.signed(Stop(Role.DPO_VILLE, NOW, scope, "x"), Role.DPO_AGGLO), ROOT)


def test_only_the_fleets_key_speaks_for_the_fleet() -> None:
    contact = Contact(NOW, 1)
    assert verify_contact(HALL.signed(contact, Role.FLEET), ROOT, NOW) == contact
    with pytest.raises(UnderSignedError):
        verify_contact(HALL.signed(contact, Role.OPERATOR), ROOT, NOW)
    with pytest.raises(NotYetError):
        verify_contact(HALL.signed(Contact(NOW + timedelta(hours=2), 1), Role.FLEET), ROOT, NOW)


def test_another_implementation_reads_the_envelope_and_its_signatures() -> None:
    raw = HALL.fully_signed(a_policy())
    theirs = DsseEnvelope.from_dict(msgspec.json.decode(raw))
    content = canonical(a_policy())
    kind = DocumentType.POLICY.value.encode()
    assert theirs.pae() == b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(content), content)
    for keyid, signature in theirs.signatures.items():
        key = next(one for keys in HALL.keys.values() for one in keys if key_id_of(raw_of(one)) == keyid)
        key.public_key().verify(bytes.fromhex(signature.signature), theirs.pae())


def raw_of(key) -> bytes:
    return key.public_key().public_bytes_raw()


def test_signing_again_replaces_ones_own_signature() -> None:
    envelope = seal(b"{}", DocumentType.STOP)
    twice = sign(sign(envelope, key_of(1)), key_of(1))
    assert len(twice.signatures) == 1
    assert signers_of(twice, {key_id_of(raw_of(key_of(1))): raw_of(key_of(1))}) == {twice.signatures[0].keyid}


def test_a_key_that_is_no_point_is_refused() -> None:
    with pytest.raises(MalformedDocumentError, match="32 bytes"):
        key_id_of(b"short")
