"""Key and certificate of a box on disk: what is taken, what is refused, and when the next is due."""

from datetime import timedelta

import pytest
from cryptography import x509

from pki_builders import World, agglo_box, ville_box
from veilleur_agent.mouth.enrol import Invitation, enrol_now
from veilleur_agent.mouth.errors import CertificateRejectedError
from veilleur_agent.mouth.identity import FILE_NAME, JITTER, NEXT_NAME, Identity, due_at, life_of
from veilleur_agent.mouth.renewal import RETRY_S, _retry_s
from veilleur_contracts.clock import SystemClock
from veilleur_contracts.enrolment import RENEW_AFTER
from veilleur_contracts.errors import RejectedError
from veilleur_fleet.pki.authority import key_of_csr, make_authority, pem_of


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()


def issued(world: World, request: str, holder=ville_box, authority=None) -> str:
    return pem_of((authority or world.authority).issue(holder, key_of_csr(request), world.clock))


def test_a_key_is_kept_until_its_certificate_is_there_and_then_belongs_to_it(world, tmp_path) -> None:
    identity = Identity(tmp_path, ville_box.name)
    assert identity.held() is None
    request = identity.request()
    assert key_of_csr(identity.request()) == key_of_csr(request)
    identity.take(issued(world, request), world.authority.pem)
    assert identity.held().public_key() == key_of_csr(request)
    assert not (tmp_path / NEXT_NAME).exists()
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert key_of_csr(identity.request()) != key_of_csr(request)


def test_a_certificate_of_another_box_key_or_authority_changes_nothing(world, tmp_path) -> None:
    identity = Identity(tmp_path, ville_box.name)
    identity.take(issued(world, identity.request()), world.authority.pem)
    before = (tmp_path / FILE_NAME).read_bytes()
    other = make_authority(tmp_path / "other", "another passphrase", world.clock, "other")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for pem in (
        issued(world, identity.request(), agglo_box),
        issued(world, Identity(elsewhere, ville_box.name).request()),
        issued(world, identity.request(), authority=other),
        "rubbish",
        "é",
    ):
        with pytest.raises(CertificateRejectedError):
            identity.take(pem, world.authority.pem)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_a_box_without_a_certificate_has_none_to_show(world, tmp_path) -> None:
    with pytest.raises(CertificateRejectedError):
        Identity(tmp_path, ville_box.name).context(world.authority.pem, "broker")


def test_the_next_certificate_is_due_at_two_thirds_or_a_little_later_and_always_at_the_same_time(
    world, tmp_path
) -> None:
    identity = Identity(tmp_path, ville_box.name)
    shares = []
    for _ in range(8):
        made = x509.load_pem_x509_certificate(issued(world, identity.request()).encode())
        assert due_at(made) == due_at(made)
        shares.append((due_at(made) - made.not_valid_before_utc) / life_of(made))
    assert all(RENEW_AFTER <= share <= RENEW_AFTER + JITTER for share in shares)
    assert len(set(shares)) == len(shares)


@pytest.mark.parametrize("fleet", ["http://fleet.example:8443", "fleet.example", "https://flé.example", ""])
def test_a_box_enrols_at_no_door_without_a_certificate_or_an_address(tmp_path, fleet) -> None:
    with pytest.raises(RejectedError, match="--fleet"):
        enrol_now(Invitation(fleet, "vt1.token"), tmp_path, SystemClock())


def test_what_fails_is_tried_again_often_enough_before_the_end_and_never_in_a_storm() -> None:
    assert _retry_s(timedelta(days=30)) == RETRY_S[1]
    assert _retry_s(timedelta(seconds=1)) == RETRY_S[0]
